%%% One row into the log of a group, by the active instance, so that nothing that is acknowledged of it is lost.
%%%
%%%   not paused? ──► Mnesia, fenced by the epoch ──► not paused? ──► does this node keep its own copy? ──► flush
%%% Always holds: ok says that the row was committed while the term was in force and this node ran. What was committed
%%% and is not ok is not lost, but whether it was in time is not known.
%%% Called by: era_callstore_writer. Must never: answer anybody, or look into a chunk.
-module(era_callstore_commit).

-export([row/4, keep_own/1, start_flush/1]).

-include("era_callstore_crash.hrl").

%% @doc Commits a row; what it says begins at Position.
-spec row(era_callstore_log:term_of_activity(), Seq :: pos_integer(), era_callstore_log:position(), [Chunk]) ->
    ok | {error, paused | {fenced, Epoch :: non_neg_integer()} | {log, term()} | term()}
when
    Chunk :: era_callstore_nif:chunk().
row(Term, Seq, Position, Chunks) ->
    era_callstore_steps:do([
        fun() -> not_paused(Term) end,
        fun() -> append(Term, Seq, Position, Chunks) end,
        fun() -> not_paused(Term) end,
        fun() -> keep_own(Term) end
    ]).

append(Term, Seq, Position, Chunks) ->
    ?CRASH_POINT(commit_before),
    Appended = era_callstore_log:append(Term, Seq, Position, Chunks),
    ?CRASH_POINT(commit_after),
    Appended.

%% Another may be active by now.
not_paused(#{pauses := any}) ->
    ok;
not_paused(#{pauses := Pauses}) ->
    case era_callstore_pause:count() of
        Pauses -> ok;
        _ -> {error, paused}
    end.

%% @doc What is acknowledged while a copy is missing is here and not there: should this node be started again, it is to
%% load its own copy. Looked at with each row: one that had come may have had the heal of this node settle it otherwise,
%% and be gone.
-spec keep_own(era_callstore_log:term_of_activity()) -> ok | {error, term()}.
keep_own(#{group := Group, table := Table, nodes := Nodes}) ->
    case Nodes -- era_callstore_log:copies(Group) of
        [] ->
            ok;
        [_ | _] ->
            case era_callstore_rejoin:kept(Table) of
                {error, _} = Error -> Error;
                _ -> ok
            end
    end.

%% @doc Begins to bring the row to the operating system, where it is to survive the death of the VM.
-spec start_flush(boolean()) -> era_callstore_flush:flush().
start_flush(true) -> era_callstore_flush:start();
start_flush(false) -> none.
