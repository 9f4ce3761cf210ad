%%% A file of lines that only grows: appended in whole batches, repaired at start, set aside by size and day.
%%%
%%% Always holds: the file ends with a whole line. What append/3 says it wrote is in the file; what it says it did not
%%% write is not there at all. A failed sync is told at the next append, never forgotten.
%%% Called by: era_callstore_sink_file.
%%% Must never: know what a line means; delete a file.
-module(era_callstore_line_file).

-export([open/1, append/3, sync/1, close/1]).
-export_type([file/0, reason/0]).

-include_lib("kernel/include/logger.hrl").

-record(file, {
    stem :: file:filename(),
    fd :: file:io_device() | undefined,
    bytes = 0 :: non_neg_integer(),
    day :: calendar:date(),
    unsynced = false :: boolean(),
    failed_sync = none :: none | file:posix() | badarg | terminated,
    %% digests of the lines that a repeated batch may bring again
    tail = #{} :: #{binary() => true}
}).
-opaque file() :: #file{}.
-type reason() :: {disc_full, file:filename()} | {file_error, file:filename(), atom()}.

%% More than the largest batch, so that a batch written just before a crash is known again.
-define(TAIL_BYTES, 4194304).

%% @doc Opens Stem.ndjson; makes it when it is not there, cuts a torn last line off.
-spec open(Stem :: file:filename()) -> {ok, file()} | {error, reason()}.
open(Stem) ->
    Path = path(Stem),
    case file:open(Path, [read, write, raw, binary]) of
        {ok, Fd} ->
            case repair(Path, Fd) of
                {ok, Bytes, Tail} -> {ok, #file{stem = Stem, fd = Fd, bytes = Bytes, day = day_of(Path), tail = Tail}};
                {error, Reason} -> _ = file:close(Fd), {error, reason(Path, Reason)}
            end;
        {error, Reason} ->
            {error, reason(Path, Reason)}
    end.

%% @doc Appends lines (without their ends), those left out that are at the end of the file already.
-spec append([binary()], MaxBytes :: pos_integer(), file()) -> {ok, file()} | {error, reason(), file()}.
append([], _MaxBytes, File) ->
    {ok, File};
append(Lines, MaxBytes, #file{fd = undefined, stem = Stem} = File) ->
    case open(Stem) of
        {ok, Again} -> append(Lines, MaxBytes, Again);
        {error, Reason} -> {error, Reason, File}
    end;
append(_Lines, _MaxBytes, #file{failed_sync = Reason, stem = Stem} = File) when Reason =/= none ->
    {error, reason(path(Stem), Reason), File#file{failed_sync = none}};
append(Lines, MaxBytes, #file{tail = Tail} = File) ->
    Digested = [{erlang:md5(Line), Line} || Line <- Lines],
    New = [[Line, $\n] || {Digest, Line} <- Digested, not is_map_key(Digest, Tail)],
    case set_aside_when_due(iolist_size(New), MaxBytes, File) of
        {ok, Ready} ->
            case write(New, Ready) of
                {ok, Written} -> {ok, Written#file{tail = maps:from_list([{D, true} || {D, _} <- Digested])}};
                {error, _, _} = Error -> Error
            end;
        {error, _, _} = Error ->
            Error
    end.

%% @doc Makes everything appended safe from a loss of power.
-spec sync(file()) -> {ok, file()} | {error, reason(), file()}.
sync(#file{unsynced = false} = File) ->
    {ok, File};
sync(#file{fd = Fd, stem = Stem} = File) ->
    case file:datasync(Fd) of
        ok -> {ok, File#file{unsynced = false}};
        {error, Reason} -> {error, reason(path(Stem), Reason), File#file{failed_sync = Reason}}
    end.

-spec close(file()) -> ok.
close(#file{fd = undefined}) -> ok;
close(#file{fd = Fd}) -> _ = file:close(Fd), ok.

%% --- writing

write([], File) ->
    {ok, File};
write(Lines, #file{fd = Fd, bytes = Bytes, stem = Stem} = File) ->
    case file:pwrite(Fd, Bytes, Lines) of
        ok ->
            {ok, File#file{bytes = Bytes + iolist_size(Lines), unsynced = true}};
        {error, Reason} ->
            %% What was written of the batch must not stay: it comes again whole.
            _ = cut(Fd, Bytes),
            {error, reason(path(Stem), Reason), File}
    end.

cut(Fd, Bytes) ->
    case file:position(Fd, Bytes) of
        {ok, Bytes} -> file:truncate(Fd);
        {error, _} = Error -> Error
    end.

%% --- setting aside

set_aside_when_due(_More, _MaxBytes, #file{bytes = 0} = File) ->
    {ok, File#file{day = today()}};
set_aside_when_due(More, MaxBytes, #file{bytes = Bytes, day = Day} = File) ->
    case Bytes + More > MaxBytes orelse Day =/= today() of
        true -> set_aside(File);
        false -> {ok, File}
    end.

set_aside(#file{stem = Stem} = File) ->
    case sync(File) of
        {ok, Synced} ->
            close(Synced),
            Path = path(Stem),
            case file:rename(Path, free_name(Stem, 0)) of
                ok -> reopened(open(Stem), Synced);
                {error, Reason} -> reopened({error, reason(Path, Reason)}, Synced)
            end;
        {error, _, _} = Error ->
            Error
    end.

reopened({ok, #file{} = New}, #file{tail = Tail}) ->
    {ok, New#file{day = today(), tail = Tail}};
reopened({error, Reason}, #file{stem = Stem} = Old) ->
    %% The old file goes on, when it can be opened again.
    case open(Stem) of
        {ok, Again} -> {error, Reason, Again};
        {error, _} -> {error, Reason, Old#file{fd = undefined, failed_sync = none}}
    end.

free_name(Stem, Try) ->
    {{Y, Mo, D}, {H, Mi, S}} = now_utc(),
    Suffix = case Try of 0 -> ""; _ -> "-" ++ integer_to_list(Try) end,
    Name = io_lib:format("~ts.~4..0b~2..0b~2..0bT~2..0b~2..0b~2..0b~s.ndjson", [Stem, Y, Mo, D, H, Mi, S, Suffix]),
    case filelib:is_file(Name) of
        true -> free_name(Stem, Try + 1);
        false -> Name
    end.

%% --- repair

repair(Path, Fd) ->
    case file:position(Fd, eof) of
        {ok, 0} -> {ok, 0, #{}};
        {ok, Size} -> repair(Path, Fd, Size, min(Size, ?TAIL_BYTES));
        {error, Reason} -> {error, Reason}
    end.

repair(Path, Fd, Size, Length) ->
    case file:pread(Fd, Size - Length, Length) of
        {ok, End} ->
            case {binary:matches(End, <<"\n">>), Length} of
                {[], Size} -> repaired(Path, Fd, Size, 0, []);
                {[], _} -> repair(Path, Fd, Size, min(Size, Length * 2));
                {Matches, _} ->
                    {Last, 1} = lists:last(Matches),
                    Lines = binary:split(binary:part(End, 0, Last), <<"\n">>, [global]),
                    repaired(Path, Fd, Size, Size - Length + Last + 1, Lines)
            end;
        {error, Reason} ->
            {error, Reason};
        eof ->
            {error, eio}
    end.

repaired(_Path, _Fd, Size, Size, Lines) ->
    {ok, Size, digests(Lines)};
repaired(Path, Fd, Size, Whole, Lines) ->
    case cut(Fd, Whole) of
        ok ->
            ?LOG_NOTICE(#{what => "a torn last line was cut off", file => Path, bytes => Size - Whole}),
            {ok, Whole, digests(Lines)};
        {error, Reason} ->
            {error, Reason}
    end.

digests(Lines) -> maps:from_list([{erlang:md5(Line), true} || Line <- Lines]).

%% --- small things

reason(Path, Posix) when Posix =:= enospc; Posix =:= edquot -> {disc_full, Path};
reason(Path, Posix) -> {file_error, Path, Posix}.

path(Stem) -> Stem ++ ".ndjson".

day_of(Path) ->
    case filelib:last_modified(Path) of
        0 -> today();
        Local ->
            case calendar:local_time_to_universal_time_dst(Local) of
                [{Day, _} | _] -> Day;
                [] -> today()
            end
    end.

today() -> element(1, now_utc()).

now_utc() -> calendar:system_time_to_universal_time(era_callstore_clock:now_ms(), millisecond).
