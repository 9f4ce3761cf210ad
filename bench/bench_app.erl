%% What: starts the application in a measuring VM as a release would, on virtual time, and moves that time along with the producers.
%% Holds: everything but what a case names has its default.
%% Callers: the cases, inside a measuring VM.
-module(bench_app).

-export([start/1, follow_clock/1, reached/3, finished/2, live/0, core_bytes/0, outbox_empty/0, put/1]).

-export_type([options/0, clock/0]).

-type options() :: #{dir := file:filename(), sinks => list(), commit => atom(), roles => list(), instances => map(), watch => map()}.
-opaque clock() :: {pid(), atomics:atomics_ref(), pos_integer()}.

-define(BATCHES_PER_TICK, 8).
-define(END_OF_TIME, 1 bsl 60).

%% Starts era_callstore with its Mnesia in `dir`. Time stands at the first event.
-spec start(options()) -> ok.
start(#{dir := Dir} = Options) ->
    _ = application:load(era_callstore),
    ok = application:set_env(era_callstore, data_dir, Dir),
    _ = [ok = application:set_env(era_callstore, Key, Value) || {Key, Value} <- maps:to_list(maps:remove(dir, Options))],
    ok = era_callstore_clock:use_virtual(bench_events:first_ms()),
    {ok, _Started} = application:ensure_all_started(era_callstore),
    bench_case:until(fun() -> is_serving() end, 60).

is_serving() ->
    case era_callstore:owner(<<"era.test">>) of
        #{node := Node} when is_atom(Node), Node =/= undefined, Node =/= none -> true;
        _ -> false
    end.

%% Puts a batch and says how many events were taken; anything but `ok` ends the measurement.
-spec put([bench_events:event()]) -> non_neg_integer().
put(Events) ->
    {ok, #{accepted := Accepted, rejected := []}} = era_callstore:put(Events),
    Accepted.

%% A clock that stands where the slowest of `Count` producers is.
-spec follow_clock(pos_integer()) -> clock().
follow_clock(Count) ->
    Times = atomics:new(Count * 2, [{signed, true}]),
    {spawn_link(fun() -> clock_loop() end), Times, Count}.

%% A producer has put a batch whose last event is of this time.
-spec reached(clock(), Producer :: pos_integer(), Ms :: integer()) -> ok.
reached({Clock, Times, Count}, Producer, Ms) ->
    ok = atomics:put(Times, Producer, Ms),
    case atomics:add_get(Times, Count + Producer, 1) rem ?BATCHES_PER_TICK of
        0 -> Clock ! {advance_to, slowest(Times, Count)};
        _ -> ok
    end,
    ok.

%% A producer has put its last batch and holds the clock no longer.
-spec finished(clock(), Producer :: pos_integer()) -> ok.
finished({_Clock, Times, _Count}, Producer) ->
    atomics:put(Times, Producer, ?END_OF_TIME).

slowest(Times, Count) ->
    lists:min([atomics:get(Times, Producer) || Producer <- lists:seq(1, Count)]).

clock_loop() ->
    receive
        {advance_to, Ms} ->
            Latest = latest(Ms),
            _ = [ok = era_callstore_clock:advance_to(Latest) || Latest < ?END_OF_TIME],
            clock_loop()
    end.

latest(Ms) ->
    receive
        {advance_to, Later} -> latest(max(Ms, Later))
    after 0 -> Ms
    end.

%% Calls that live in the one group.
-spec live() -> non_neg_integer().
live() ->
    lists:sum([Live || #{live := Live} <- groups()]).

%% RAM that the core counts for all it holds.
-spec core_bytes() -> non_neg_integer().
core_bytes() ->
    lists:sum([Bytes || #{memory_bytes := Bytes} <- groups()]).

%% No record waits for a sink.
-spec outbox_empty() -> boolean().
outbox_empty() ->
    lists:all(
        fun(#{outbox := Outbox}) -> lists:all(fun(#{depth := Depth}) -> Depth =:= 0 end, maps:values(Outbox)) end,
        groups()
    ).

groups() ->
    #{groups := Groups} = era_callstore:status(),
    maps:values(Groups).
