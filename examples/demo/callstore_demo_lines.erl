%%% The lines of a file of events, plain or gzip, one by one.
%%%
%%% Always holds: at most one block of the file and one line are in memory, whatever the size of either; what a damaged
%%% file gave before the damage is given, then the damage is told.
%%% Called by: callstore_demo. Must never: look into a line.
-module(callstore_demo_lines).

-export([open/1, next/1, close/1, position/1]).
-export_type([lines/0]).

-record(lines, {
    file :: file:io_device(),
    size :: non_neg_integer(),
    read = 0 :: non_neg_integer(),
    zip :: zlib:zstream() | plain,
    %% Bytes that the lines have so far, unpacked.
    unpacked = 0 :: non_neg_integer(),
    %% What was read and not yet given, and how much of it is known to hold no line end.
    rest = <<>> :: binary(),
    scanned = 0 :: non_neg_integer(),
    ended = false :: false | true | {damaged, iodata()},
    number = 0 :: non_neg_integer()
}).
-opaque lines() :: #lines{}.

-define(BLOCK_BYTES, 65536).
-define(LINE_BYTES, 16 * 1024 * 1024).

%% @doc Opens a file; gzip is known by its first two bytes, not by its name.
-spec open(file:filename()) -> {ok, lines()} | {error, iodata()}.
open(Path) ->
    case file:open(Path, [read, raw, binary]) of
        {ok, File} ->
            case {file:read(File, 2), file:position(File, eof)} of
                {{ok, <<16#1f, 16#8b>>}, {ok, Size}} -> start(File, Size, inflater());
                {{error, Reason}, _} -> {error, [Path, ": ", file:format_error(Reason)]};
                {_, {error, Reason}} -> {error, [Path, ": ", file:format_error(Reason)]};
                {_, {ok, Size}} -> start(File, Size, plain)
            end;
        {error, Reason} ->
            {error, [Path, ": ", file:format_error(Reason)]}
    end.

start(File, Size, Zip) ->
    {ok, 0} = file:position(File, bof),
    {ok, #lines{file = File, size = Size, zip = Zip}}.

%% A file may be several gzip members in a row.
inflater() ->
    Zip = zlib:open(),
    ok = zlib:inflateInit(Zip, 31, reset),
    Zip.

%% @doc The next line that is not blank, without its end, and its number; `damaged' is said once, before `eof'.
-spec next(lines()) ->
    {line, Number :: pos_integer(), binary(), lines()} | {damaged, iodata(), lines()} | {eof, lines()}.
next(#lines{rest = Rest, scanned = Scanned, ended = Ended, number = Number} = Lines) ->
    case binary:match(Rest, <<"\n">>, [{scope, {Scanned, byte_size(Rest) - Scanned}}]) of
        {At, 1} ->
            <<Line:At/binary, _, Left/binary>> = Rest,
            given(Line, Lines#lines{rest = Left, scanned = 0, number = Number + 1});
        nomatch when byte_size(Rest) > ?LINE_BYTES ->
            damaged("a line of more than 16 MiB", Lines);
        nomatch when Ended =:= false ->
            next(more(Lines#lines{scanned = byte_size(Rest)}));
        nomatch when Ended =:= true, Rest =:= <<>> ->
            {eof, Lines};
        nomatch when Ended =:= true ->
            given(Rest, Lines#lines{rest = <<>>, scanned = 0, number = Number + 1});
        nomatch ->
            {damaged, Why} = Ended,
            damaged(Why, Lines)
    end.

damaged(Why, #lines{number = Number} = Lines) ->
    Where = io_lib:format("after line ~b: ", [Number]),
    {damaged, [Where, Why], Lines#lines{rest = <<>>, scanned = 0, ended = true}}.

given(Line, #lines{number = Number} = Lines) ->
    case string:trim(Line) of
        <<>> -> next(Lines);
        Text -> {line, Number, Text, Lines}
    end.

more(#lines{file = File, read = Read, rest = Rest} = Lines) ->
    case file:read(File, ?BLOCK_BYTES) of
        {ok, Block} ->
            unpacked(Block, Lines#lines{read = Read + byte_size(Block)});
        eof ->
            Lines#lines{ended = whole(Lines)};
        {error, Reason} ->
            Lines#lines{ended = {damaged, file:format_error(Reason)}, rest = Rest}
    end.

unpacked(Block, #lines{zip = plain} = Lines) ->
    joined(Block, Lines);
unpacked(Block, Lines) ->
    inflated(Block, Lines).

%% What came out before the damage is kept. A line may be cut by the end of a piece.
inflated(Input, #lines{zip = Zip} = Lines) ->
    try zlib:safeInflate(Zip, Input) of
        {continue, Piece} -> inflated([], joined(Piece, Lines));
        {finished, Piece} -> joined(Piece, Lines)
    catch
        error:Reason -> Lines#lines{ended = {damaged, io_lib:format("the gzip data is damaged (~0p)", [Reason])}}
    end.

joined(Piece, #lines{rest = Rest, unpacked = Before} = Lines) ->
    Joined = iolist_to_binary([Rest | Piece]),
    Lines#lines{rest = Joined, unpacked = Before + byte_size(Joined) - byte_size(Rest)}.

whole(#lines{zip = plain}) ->
    true;
whole(#lines{zip = Zip}) ->
    try zlib:inflateEnd(Zip) of
        ok -> true
    catch
        error:data_error -> {damaged, "the gzip file ends early"}
    end.

%% @doc How much of the file was given out, 0 to 1.
-spec position(lines()) -> float().
position(#lines{unpacked = 0}) -> 1.0;
position(#lines{read = Read, size = Size, unpacked = Unpacked, rest = Rest}) ->
    Read / Size * (Unpacked - byte_size(Rest)) / Unpacked.

%% @doc Closes the file.
-spec close(lines()) -> ok.
close(#lines{file = File, zip = Zip}) ->
    Zip =:= plain orelse zlib:close(Zip),
    file:close(File).
