%%% A passive copy that does not fold slows the active: memory stays bounded, nothing acknowledged is lost, and a copy
%%% that goes is not waited for.
-module(slow_passive_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_passive_that_does_not_fold_slows_the_active_until_it_does/1,
    a_passive_that_dies_frees_the_active_at_once/1,
    a_passive_whose_mnesia_stops_frees_the_active_at_once/1,
    an_active_that_waits_can_hand_over/1,
    rows_whose_receipts_are_awaited_do_not_hold_the_next/1,
    who_waits_for_the_receipt_of_a_copy_that_dies_is_answered/1
]).

-define(VIEW, era_callstore_view_1).
-define(RECEIPT, era_callstore_receipt_1).
-define(LAG_BYTES, 1048576).
-define(QUEUE_BYTES, 262144).
%% One put of these is some 20 kB.
-define(BATCH_CALLS, 200).
-define(PRODUCERS, 8).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        a_passive_that_does_not_fold_slows_the_active_until_it_does,
        a_passive_that_dies_frees_the_active_at_once,
        a_passive_whose_mnesia_stops_frees_the_active_at_once,
        an_active_that_waits_can_hand_over,
        rows_whose_receipts_are_awaited_do_not_hold_the_next,
        who_waits_for_the_receipt_of_a_copy_that_dies_is_answered
    ].

init_per_testcase(Case, Config) -> [{dir, filename:join(?config(priv_dir, Config), atom_to_list(Case))} | Config].

end_per_testcase(_Case, _Config) -> ok.

a_passive_that_does_not_fold_slows_the_active_until_it_does(Config) ->
    [A, B] = Nodes = pair(Config),
    {Load, Before} = slowed(A, B),
    #{passives := #{} = Passives, waits_for := [Waited]} = status(A),
    ?assertEqual(cluster_node:name(B), Waited),
    #{Waited := #{lag_bytes := Lag}} = Passives,
    ct:pal("~b calls acknowledged before the active waits, the passive lacks ~b bytes", [length(Before), Lag]),
    ?assert(Lag > ?LAG_BYTES),
    %% One row at most is begun below the limit.
    ?assert(Lag =< ?LAG_BYTES + 1048576),
    Metric = ["passive_lag_bytes\\{group=\"1\",node=\"", atom_to_list(Waited), "\"\\} [0-9]{7}"],
    ?assertMatch({match, _}, re:run(metrics(A), Metric)),
    %% Nothing more is committed, however long the producers try; memory of the passive stays as it is.
    Rows = maps:get(lag_chunks, status(B)),
    Memory = memory(B),
    ok = refused(Load, ?PRODUCERS * 3),
    ?assertEqual(Rows, maps:get(lag_chunks, status(B))),
    ?assert(memory(B) - Memory < 4 * ?LAG_BYTES),
    ok = cluster_node:call(B, sys, resume, [?VIEW]),
    After = taken(Load, 20),
    All = ended(Load, Before ++ After),
    _ = cluster_node:settled(Nodes),
    ok = cluster_node:until(no_lag, fun() ->
        #{passives := Now, waits_for := []} = status(A),
        Now =:= #{Waited => #{lag_bytes => 0}}
    end),
    all_there(Nodes, All).

a_passive_that_dies_frees_the_active_at_once(Config) ->
    [A, B] = pair(Config),
    {Load, Before} = slowed(A, B),
    ok = cluster_node:kill(B),
    goes_on([A], Load, Before).

a_passive_whose_mnesia_stops_frees_the_active_at_once(Config) ->
    [A, B] = pair(Config),
    {Load, Before} = slowed(A, B),
    stopped = cluster_node:call(B, mnesia, stop, []),
    goes_on([A], Load, Before).

an_active_that_waits_can_hand_over(Config) ->
    [A, B, C] = cluster_node:start(plan(Config, 3)),
    ok = lowest_is_active([A, B, C]),
    {Load, Before} = slowed(A, C),
    ok = cluster_node:call(A, era_callstore, handover, [1]),
    ok = cluster_node:until(handed_over, fun() -> cluster_node:active([A]) =:= cluster_node:name(B) end),
    ok = cluster_node:call(C, sys, resume, [?VIEW]),
    goes_on([A, B, C], Load, Before).

rows_whose_receipts_are_awaited_do_not_hold_the_next(Config) ->
    [A, B] = pair(Config),
    Producers = unanswered(A, B, 3),
    ok = cluster_node:call(B, sys, resume, [?RECEIPT]),
    all_answered(Producers),
    all_there([A, B], [cluster_calls:cid(N) || N <- lists:seq(1, 3)]).

who_waits_for_the_receipt_of_a_copy_that_dies_is_answered(Config) ->
    [A, B] = pair(Config),
    Producers = unanswered(A, B, 3),
    ok = cluster_node:kill(B),
    all_answered(Producers),
    all_there([A], [cluster_calls:cid(N) || N <- lists:seq(1, 3)]).

%% The passive B gives no receipt: so many calls are committed on A, each in a row of its own, and nobody is answered.
unanswered(A, B, Count) ->
    ok = cluster_node:call(B, sys, suspend, [?RECEIPT]),
    Producers = [put_alone(A, N) || N <- lists:seq(1, Count)],
    receive
        {'DOWN', _, process, _, {said, Answer}} -> error({answered, Answer})
    after 0 -> Producers
    end.

put_alone(A, N) ->
    Rows = rows_committed(A),
    Events = cluster_calls:events(alive, N, N),
    {_, Monitor} = spawn_monitor(fun() ->
        exit({said, cluster_node:call(A, era_callstore, put, [Events, #{timeout => 30000}])})
    end),
    ok = cluster_node:until({committed, N}, fun() -> rows_committed(A) > Rows end),
    Monitor.

rows_committed(Node) ->
    [Rows] = [Value || {rows_committed, _, Value} <- cluster_node:call(Node, era_callstore_counters, all, [])],
    Rows.

all_answered(Monitors) ->
    lists:foreach(
        fun(Monitor) ->
            receive
                {'DOWN', Monitor, process, _, Said} -> ?assertMatch({said, {ok, #{rejected := []}}}, Said)
            end
        end,
        Monitors
    ).

goes_on(Nodes, Load, Before) ->
    All = ended(Load, Before ++ taken(Load, 20)),
    _ = cluster_node:until(folded, fun() -> lists:all(fun(N) -> maps:get(lag_chunks, status(N)) =:= 0 end, Nodes) end),
    all_there(Nodes, All).

%% --- load: producers that repeat a batch until it is acknowledged

%% Producers on A and a passive B that does not fold: returns when A refuses, with what it has acknowledged until then.
slowed(A, B) ->
    ok = cluster_node:call(B, sys, suspend, [?VIEW]),
    Test = self(),
    Tag = make_ref(),
    Producers = [spawn_monitor(fun() -> produce(Test, Tag, A, P * 1000000) end) || P <- lists:seq(1, ?PRODUCERS)],
    Load = {Tag, Producers},
    Before = until_refused(Load, []),
    ok = cluster_node:until(waits, fun() -> maps:get(waits_for, status(A)) =:= [cluster_node:name(B)] end),
    {Load, Before}.

produce(Test, Tag, Node, From) ->
    To = From + ?BATCH_CALLS - 1,
    Answer = cluster_node:call(Node, era_callstore, put, [cluster_calls:events(alive, From, To), #{timeout => 1000}]),
    Next =
        case Answer of
            {ok, #{rejected := []}} ->
                Test ! {Tag, taken, [cluster_calls:cid(N) || N <- lists:seq(From, To)]},
                To + 1;
            {error, Reason} ->
                Test ! {Tag, refused, Reason},
                From
        end,
    receive
        {Tag, finish} -> ok
    after 0 -> produce(Test, Tag, Node, Next)
    end.

until_refused({Tag, _} = Load, Cids) ->
    receive
        {Tag, taken, More} -> until_refused(Load, More ++ Cids);
        {Tag, refused, overload} -> Cids;
        {Tag, refused, timeout} -> until_refused(Load, Cids)
    after 60000 -> error(never_refused)
    end.

refused(_Load, 0) ->
    ok;
refused({Tag, _} = Load, Number) ->
    receive
        {Tag, refused, _} -> refused(Load, Number - 1);
        {Tag, taken, _} = Taken -> error(Taken)
    after 60000 -> error(not_refused)
    end.

taken(_Load, 0) ->
    [];
taken({Tag, _} = Load, Batches) ->
    receive
        {Tag, taken, Cids} -> Cids ++ taken(Load, Batches - 1);
        {Tag, refused, _} -> taken(Load, Batches)
    after 60000 -> error(not_taken)
    end.

ended({Tag, Producers}, Cids) ->
    lists:foreach(fun({Pid, _}) -> Pid ! {Tag, finish} end, Producers),
    lists:foreach(fun({Pid, Monitor}) -> receive {'DOWN', Monitor, process, Pid, normal} -> ok end end, Producers),
    rest(Tag, Cids).

rest(Tag, Cids) ->
    receive
        {Tag, taken, More} -> rest(Tag, More ++ Cids);
        {Tag, refused, _} -> rest(Tag, Cids)
    after 0 -> Cids
    end.

%% --- nodes

pair(Config) ->
    Nodes = cluster_node:start(plan(Config, 2)),
    ok = lowest_is_active(Nodes),
    Nodes.

plan(Config, Number) ->
    cluster_node:plan(?config(dir, Config), Number, #{lag_bytes => ?LAG_BYTES, queue_bytes => ?QUEUE_BYTES}).

lowest_is_active([First | _] = Nodes) ->
    ok = cluster_node:until(lowest_order, fun() -> cluster_node:active(Nodes) =:= cluster_node:name(First) end),
    _ = cluster_node:settled(Nodes),
    ok.

status(Node) -> map_get(1, map_get(groups, cluster_node:call(Node, era_callstore, status, []))).

metrics(Node) -> iolist_to_binary(cluster_node:call(Node, era_callstore, metrics, [])).

memory(Node) -> cluster_node:call(Node, erlang, memory, [total]).

all_there(Nodes, Cids) ->
    ?assertEqual([], lists:append([cluster_truth:missing(Node, Cids) || Node <- Nodes])),
    ?assertEqual(1, length(cluster_node:digests(Nodes))).
