%%% Brings what Mnesia has logged from the VM's own buffer to the operating system, so that it survives the death of this
%%% VM (SIGKILL, a crash). It does not survive the loss of power: that needs era_callstore_schema:stop/0 or a copy.
%%%
%%% Mnesia logs a commit to disk_log, which keeps up to two seconds of it in its process before it writes. disk_log's
%%% only public way out of the buffer is sync/1, an fsync of milliseconds. The message by which its own timer makes it
%%% write is used here instead; test/ct/kill_SUITE fails when that message should lose its meaning.
%%% A full disc is the other reason: disk_log drops what it cannot write, tells Mnesia, and Mnesia only warns. So the file
%%% must have grown by what was committed.
%%% Always holds: when wait/2 returns ok, everything that this process logged before start/0 is in the file, or the log
%%% was closed for a dump, which writes it as well.
%%% Called by: era_callstore_commit (start/0) and era_callstore_writer (wait/2), around the fold, so that both go on at
%%% once; era_callstore_receipt.
%%% Must never: run where nothing is kept on disc.
-module(era_callstore_flush).

-export([start/0, wait/2]).
-export_type([flush/0]).

%% The log is the same as long as its process and its file are: a dump of the log begins a new file.
-record(flush, {
    log :: pid(),
    path :: binary(),
    inode = 0 :: non_neg_integer(),
    bytes_before = 0 :: non_neg_integer()
}).
-type flush() :: #flush{} | none.

-define(LOG, latest_log).

%% @doc Begins to write what is buffered.
-spec start() -> flush().
start() ->
    case get(?MODULE) of
        #flush{log = Pid} = Flush ->
            Pid ! {Pid, write_cache},
            Flush;
        undefined ->
            find()
    end.

%% @doc Waits until it is written, which is at least so many bytes.
-spec wait(flush(), Bytes :: non_neg_integer()) -> ok | {error, {not_written, Path :: binary()}}.
wait(none, _Bytes) ->
    ok;
wait(#flush{log = Pid, path = Path, inode = Inode, bytes_before = Before} = Flush, Bytes) ->
    %% Answered by the log's process after our message.
    _ = disk_log:info(?LOG),
    {NowInode, Now} = file_now(Path),
    %% Asked last, so that the bytes are those of the same log.
    case {disk_log:pid2name(Pid), NowInode} of
        {{ok, ?LOG}, Inode} when Now < Before + Bytes ->
            _ = erase(?MODULE),
            {error, {not_written, Path}};
        {{ok, ?LOG}, _} ->
            _ = put(?MODULE, Flush#flush{inode = NowInode, bytes_before = Now}),
            ok;
        _ ->
            %% Closed for a dump and begun anew meanwhile: what we committed was in the old log, or is in the new one.
            _ = erase(?MODULE),
            wait(start(), 0)
    end.

%% The first time there is nothing to compare with.
find() ->
    Processes = [Pid || {_, Pid, _, _} <- supervisor:which_children(disk_log_sup), is_pid(Pid)],
    case {[Pid || Pid <- Processes, disk_log:pid2name(Pid) =:= {ok, ?LOG}], disk_log:info(?LOG)} of
        {[Pid | _], Info} when is_list(Info) ->
            {file, Path} = lists:keyfind(file, 1, Info),
            Flush = #flush{log = Pid, path = unicode:characters_to_binary(Path)},
            _ = put(?MODULE, Flush),
            Pid ! {Pid, write_cache},
            Flush;
        _ ->
            none
    end.

%% Not by the file module: a dirty scheduler for each row costs more than all else here.
file_now(Path) ->
    case era_callstore_nif:file_size(Path) of
        {Inode, Bytes} -> {Inode, Bytes};
        none -> {0, 0}
    end.
