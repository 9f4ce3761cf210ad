%% What: the peers (a) and (b): one row per call in a Mnesia table, read, changed and written for every event, in a transaction
%%       or in async_dirty context; CDRs in a second table; live counters in ETS.
%% Holds: the tables are copied to all nodes given, as ours are; the write lock is taken with the read (no lock upgrade); the
%%        dirty form uses dirty_read/dirty_write, the cheapest Mnesia offers.
%% Callers: bench_put, bench_cluster, each in a VM of its own. Ends with its VM.
-module(bench_peer_mnesia).

-export([start/1, join/1, put/2, barrier/0]).

-type access() :: transaction | async_dirty.

-define(CALLS, bench_calls).
-define(CDRS, bench_cdrs).
-define(COUNTERS, bench_counters).

%% Starts Mnesia in `dir` and creates the tables. `dump_log_write_threshold` is what ours sets.
-spec start(#{dir := file:filename(), storage := disc_copies | ram_copies}) -> ok.
start(#{dir := Dir, storage := Storage}) ->
    ok = filelib:ensure_path(Dir),
    ok = application:set_env(mnesia, dir, Dir),
    ok = application:set_env(mnesia, dump_log_write_threshold, 20_000),
    ok = mnesia:create_schema([node()]),
    ok = mnesia:start(),
    [{atomic, ok} = mnesia:create_table(Tab, [{Storage, [node()]}]) || Tab <- [?CALLS, ?CDRS]],
    counters_table().

%% Brings a further node in: it starts Mnesia in `dir` and gets a copy of both tables.
-spec join(#{dir := file:filename(), storage := disc_copies | ram_copies, at := node()}) -> ok.
join(#{dir := Dir, storage := Storage, at := At}) ->
    ok = filelib:ensure_path(Dir),
    ok = application:set_env(mnesia, dir, Dir),
    ok = application:set_env(mnesia, dump_log_write_threshold, 20_000),
    ok = mnesia:start(),
    {ok, [At]} = mnesia:change_config(extra_db_nodes, [At]),
    _ = [{atomic, ok} = mnesia:change_table_copy_type(schema, node(), disc_copies) || Storage =:= disc_copies],
    [{atomic, ok} = mnesia:add_table_copy(Tab, node(), Storage) || Tab <- [?CALLS, ?CDRS]],
    counters_table().

%% The counters live as long as their VM: the caller of start/1 may be the process of one remote call.
counters_table() ->
    Caller = self(),
    Ready = make_ref(),
    _Owner = spawn(fun() ->
        ?COUNTERS = ets:new(?COUNTERS, [named_table, public, {write_concurrency, true}]),
        Caller ! Ready,
        receive
            stop -> ok
        end
    end),
    receive
        Ready -> ok
    end.

%% Takes a batch, event by event; returns how many were new.
-spec put(access(), [bench_events:event()]) -> non_neg_integer().
put(Access, Events) ->
    lists:foldl(fun(Event, New) -> New + put_one(Access, Event) end, 0, Events).

put_one(transaction, Event) ->
    Key = bench_peer_call:cid(Event),
    {atomic, Outcome} = mnesia:transaction(fun() ->
        Outcome = bench_peer_call:fold(Event, call(mnesia:read(?CALLS, Key, write))),
        store(Outcome, Key, fun(Tab, Row) -> mnesia:write(Tab, Row, write) end)
    end),
    counted(Outcome);
put_one(async_dirty, Event) ->
    Key = bench_peer_call:cid(Event),
    Outcome = bench_peer_call:fold(Event, call(mnesia:dirty_read(?CALLS, Key))),
    counted(store(Outcome, Key, fun mnesia:dirty_write/2)).

%% Returns when every node has what the calling process has put: what one process sends to another arrives in order.
-spec barrier() -> ok.
barrier() ->
    mnesia:sync_dirty(fun() -> mnesia:write(?CDRS, {?CDRS, {barrier, self()}, none}, write) end).

call([{?CALLS, _Key, Call}]) -> Call;
call([]) -> none.

store(duplicate, _Key, _Write) ->
    duplicate;
store({Call, _Counters, Cdr} = Outcome, Key, Write) ->
    ok = Write(?CALLS, {?CALLS, Key, Call}),
    case Cdr of
        none -> ok;
        #{} -> ok = Write(?CDRS, {?CDRS, Key, Cdr})
    end,
    Outcome.

counted(duplicate) ->
    0;
counted({_Call, Counters, _Cdr}) ->
    _ = [ets:update_counter(?COUNTERS, Key, By, {Key, 0}) || {Key, By} <- Counters],
    1.
