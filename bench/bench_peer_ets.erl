%% What: the peer (c): one row per call in a plain ETS table that one process reads, changes and writes for every event; CDRs in a
%%       second table, live counters in a third. No log, no copy, no transaction: what this costs less, ours costs for its guarantees.
%% Holds: the process that owns the tables is the one that folds, so nothing is sent or locked.
%% Callers: bench_put, bench_core, bench_live.
-module(bench_peer_ets).

-export([new/0, put/2, bytes_per_call/1]).

-export_type([tables/0]).

-opaque tables() :: {ets:table(), ets:table(), ets:table()}.

-spec new() -> tables().
new() ->
    {ets:new(bench_calls, [set]), ets:new(bench_cdrs, [set]), ets:new(bench_counters, [set])}.

%% Takes a batch, event by event; returns how many were new.
-spec put(tables(), [bench_events:event()]) -> non_neg_integer().
put(Tables, Events) ->
    lists:foldl(fun(Event, New) -> New + put_one(Tables, Event) end, 0, Events).

put_one({Calls, Cdrs, Counters}, Event) ->
    Key = bench_peer_call:cid(Event),
    Known =
        case ets:lookup(Calls, Key) of
            [{_, Call}] -> Call;
            [] -> none
        end,
    case bench_peer_call:fold(Event, Known) of
        duplicate ->
            0;
        {Folded, Changes, Cdr} ->
            true = ets:insert(Calls, {Key, Folded}),
            _ = [ets:insert(Cdrs, {Key, Cdr}) || Cdr =/= none],
            _ = [ets:update_counter(Counters, CounterKey, By, {CounterKey, 0}) || {CounterKey, By} <- Changes],
            1
    end.

%% RAM of the table of calls, per call in it.
-spec bytes_per_call(tables()) -> float().
bytes_per_call({Calls, _Cdrs, _Counters}) ->
    ets:info(Calls, memory) * erlang:system_info(wordsize) / ets:info(Calls, size).
