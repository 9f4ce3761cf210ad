%% What: `put` through the whole application on one node, disc, transaction: throughput from two producers in batches of 256 beside the
%%       three peers, and the latency of a lone event.
%% Holds: the same events for everybody, made before the time starts; each side in a VM of its own; records of ours go to the sink
%%        `collection` (the default) unless the figure's name says otherwise; peers write their CDRs to a second table.
%% Callers: bench_main; measure_*/1 run in VMs of their own.
-module(bench_put).

-behaviour(bench_case).

-export([figures/0, run/2, max_runs/0]).
-export([measure_ours/2, measure_mnesia/2, measure_ets/1, lone_ours/1, lone_mnesia/1, prepare/2, play_ours/1]).

-define(BATCH, 256).
-define(PRODUCERS, 2).
%% How much each side plays: about a second or two of work.
-define(REPLICAS_OURS, 20).
-define(REPLICAS_TRANSACTION, 4).
-define(REPLICAS_DIRTY, 10).
-define(REPLICAS_ETS, 10).
-define(LONE_WARM_UP, 3_000).
-define(LONE_EVENTS, 10_000).

-spec figures() -> [bench_figures:description()].
figures() ->
    Rate = #{unit => <<"events/s">>, better => more, note => <<"sinks [collection]">>},
    Latency = #{unit => <<"us">>, better => less, peer => <<"rmw transaction">>, note => <<"sinks [collection]">>},
    [
        Rate#{name => put_1node_disc_transaction_vs_rmw_transaction, peer => <<"rmw transaction, 2 producers">>},
        Rate#{name => put_1node_disc_transaction_vs_rmw_async_dirty, peer => <<"rmw async_dirty, 2 producers">>},
        Rate#{name => put_1node_disc_transaction_vs_ets, peer => <<"ets, one process">>},
        Rate#{name => put_1node_disc_transaction_all_delivered, note => <<"until the last record is in the collection">>},
        Rate#{name => put_1node_disc_transaction_no_sink, note => <<"sinks []">>},
        Latency#{name => lone_put_p50_us},
        Latency#{name => lone_put_p99_us}
    ].

-spec max_runs() -> infinity.
max_runs() -> infinity.

-spec run([atom()], pos_integer()) -> #{atom() => number() | {number(), number()}}.
run(Wanted, _Run) ->
    Throughput = [Name || Name <- Wanted, not is_lone(Name)],
    Lone = [Name || Name <- Wanted, is_lone(Name)],
    maps:merge(throughput(Throughput), lone(Lone)).

is_lone(Name) -> lists:prefix("lone", atom_to_list(Name)).

throughput([]) ->
    #{};
throughput(Wanted) ->
    Default = [Name || Name <- Wanted, Name =/= put_1node_disc_transaction_no_sink],
    #{rate := Rate, delivered_rate := Delivered} =
        case Default of
            [] -> #{rate => 0, delivered_rate => 0};
            _ -> in_vm(measure_ours, [[{collection, #{}}], ?REPLICAS_OURS])
        end,
    maps:from_list([{Name, beside(Name, Rate, Delivered)} || Name <- Wanted]).

beside(put_1node_disc_transaction_vs_rmw_transaction, Rate, _) ->
    {Rate, in_vm(measure_mnesia, [transaction, ?REPLICAS_TRANSACTION])};
beside(put_1node_disc_transaction_vs_rmw_async_dirty, Rate, _) ->
    {Rate, in_vm(measure_mnesia, [async_dirty, ?REPLICAS_DIRTY])};
beside(put_1node_disc_transaction_vs_ets, Rate, _) ->
    {Rate, in_vm(measure_ets, [?REPLICAS_ETS])};
beside(put_1node_disc_transaction_all_delivered, _, Delivered) ->
    Delivered;
beside(put_1node_disc_transaction_no_sink, _, _) ->
    #{rate := Rate} = in_vm(measure_ours, [[], ?REPLICAS_OURS]),
    Rate.

lone([]) ->
    #{};
lone(_Wanted) ->
    {OursP50, OursP99} = in_vm(lone_ours, [?LONE_EVENTS]),
    {PeerP50, PeerP99} = in_vm(lone_mnesia, [?LONE_EVENTS]),
    #{lone_put_p50_us => {OursP50, PeerP50}, lone_put_p99_us => {OursP99, PeerP99}}.

in_vm(Function, Args) ->
    bench_vm:with(#{folder => atom_to_list(Function)}, fun(VM) ->
        ok = bench_vm:call(VM, file, set_cwd, [bench_vm:folder(VM)]),
        bench_vm:call(VM, ?MODULE, Function, Args)
    end).

%% --- inside the measuring VM -------------------------------------------------------------------------------------------------

%% Rate until the last `ok`, and until the last record is where it goes.
-spec measure_ours(Sinks :: list(), Replicas :: pos_integer()) -> #{rate := float(), delivered_rate := float()}.
measure_ours(Sinks, Replicas) ->
    ok = bench_app:start(#{dir => "data", sinks => Sinks}),
    Prepared = prepare(?PRODUCERS, Replicas),
    Start = erlang:monotonic_time(nanosecond),
    #{events := Events} = Played = play_ours(Prepared),
    ok = bench_case:until(fun bench_app:outbox_empty/0, 120),
    AllNs = erlang:monotonic_time(nanosecond) - Start,
    #{rate => bench_producers:rate(Played), delivered_rate => Events * 1.0e9 / AllNs}.

%% Batches for each of `Count` producers, together `Replicas` replicas: pairs of the time of the last event and the events.
-spec prepare(pos_integer(), pos_integer()) -> bench_producers:prepared().
prepare(Count, Replicas) ->
    bench_producers:prepare(Count, fun(Producer) ->
        lists:append([
            [
                {bench_events:last_ms(Batch), Batch}
             || Batch <- bench_events:in_batches(
                    ?BATCH,
                    bench_events:replica(Nth * Count + Producer - 1, #{shift_ms => bench_events:shift_ms(Nth)})
                )
            ]
         || Nth <- lists:seq(0, Replicas div Count - 1)
        ])
    end).

%% Plays prepared batches through the application, its clock following.
-spec play_ours(bench_producers:prepared()) -> bench_producers:played().
play_ours(Prepared) ->
    Clock = bench_app:follow_clock(length(Prepared)),
    bench_producers:play(
        Prepared,
        fun({LastMs, Batch}, Producer) ->
            Taken = bench_app:put(Batch),
            ok = bench_app:reached(Clock, Producer, LastMs),
            Taken
        end,
        fun(Producer) -> bench_app:finished(Clock, Producer) end
    ).

-spec measure_mnesia(transaction | async_dirty, pos_integer()) -> float().
measure_mnesia(Access, Replicas) ->
    ok = bench_peer_mnesia:start(#{dir => filename:absname("data"), storage => disc_copies}),
    Prepared = prepare(?PRODUCERS, Replicas),
    Put = fun({_LastMs, Batch}, _Producer) -> bench_peer_mnesia:put(Access, Batch) end,
    bench_producers:rate(bench_producers:play(Prepared, Put, fun(_) -> ok end)).

-spec measure_ets(pos_integer()) -> float().
measure_ets(Replicas) ->
    Prepared = prepare(1, Replicas),
    ok = persistent_term:put({bench_producers, whole}, [persistent_term:get(Key) || Key <- Prepared]),
    %% One batch that is the whole play: the tables belong to the process that folds.
    Put = fun(Batches, _Producer) ->
        Tables = bench_peer_ets:new(),
        lists:sum([bench_peer_ets:put(Tables, Batch) || {_LastMs, Batch} <- Batches])
    end,
    bench_producers:rate(bench_producers:play([{bench_producers, whole}], Put, fun(_) -> ok end)).

-spec lone_ours(pos_integer()) -> {float(), float()}.
lone_ours(Count) ->
    ok = bench_app:start(#{dir => "data", sinks => [{collection, #{}}]}),
    percentiles(Count, fun(Event) -> 1 = bench_app:put([Event]) end).

-spec lone_mnesia(pos_integer()) -> {float(), float()}.
lone_mnesia(Count) ->
    ok = bench_peer_mnesia:start(#{dir => filename:absname("data"), storage => disc_copies}),
    percentiles(Count, fun(Event) -> 1 = bench_peer_mnesia:put(transaction, [Event]) end).

percentiles(Count, Put) ->
    {WarmUp, Rest} = lists:split(?LONE_WARM_UP, bench_events:replica(1)),
    lists:foreach(Put, WarmUp),
    Times = [element(1, bench_case:elapsed_us(fun() -> Put(Event) end)) || Event <- lists:sublist(Rest, Count)],
    {bench_stat:percentile(50, Times), bench_stat:percentile(99, Times)}.
