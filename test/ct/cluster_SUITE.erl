%%% Several nodes of one group: they join, hand activity over and take it back, and lose nothing acknowledged meanwhile.
-module(cluster_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    nodes_that_start_together_have_one_table_and_take_events_on_each/1,
    a_node_that_joins_under_load_gets_a_copy/1,
    activity_is_handed_over_without_a_gap/1,
    a_lower_order_that_comes_back_catches_up_and_takes_activity_back/1,
    a_node_that_stops_in_order_hands_over/1,
    a_writer_of_an_old_term_commits_nothing/1,
    nodes_that_are_cut_from_each_other_stay_so_until_mended/1
]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        nodes_that_start_together_have_one_table_and_take_events_on_each,
        a_node_that_joins_under_load_gets_a_copy,
        activity_is_handed_over_without_a_gap,
        a_lower_order_that_comes_back_catches_up_and_takes_activity_back,
        a_node_that_stops_in_order_hands_over,
        a_writer_of_an_old_term_commits_nothing,
        nodes_that_are_cut_from_each_other_stay_so_until_mended
    ].

init_per_testcase(Case, Config) ->
    [{dir, filename:join(?config(priv_dir, Config), atom_to_list(Case))} | Config].

%% A node ends with the process that started it, also one that is paused.
end_per_testcase(_Case, _Config) -> ok.

nodes_that_start_together_have_one_table_and_take_events_on_each(Config) ->
    Nodes = start(Config, 3),
    [put_calls(Node, N * 100 + 1, N * 100 + 50) || {N, Node} <- lists:enumerate(Nodes)],
    Same = [
        maps:with([active, copies, live, closed, started, events, log_chunks], Status#{copies := lists:sort(Copies)})
     || #{copies := Copies} = Status <- cluster_node:settled(Nodes)
    ],
    ?assertMatch([#{live := 150}], lists:usort(Same)),
    ok = cluster_truth:equal(Nodes),
    Terms = [cluster_node:call(Node, era_callstore_log, term, [1]) || Node <- Nodes],
    ?assertMatch([{_, _}], lists:usort(Terms)).

a_node_that_joins_under_load_gets_a_copy(Config) ->
    [A, B, C] = cluster_node:plan(?config(dir, Config), 3, #{}),
    First = cluster_node:start([B, A]),
    _ = cluster_node:settled(First),
    Load = cluster_load:start(First, alive),
    ok = cluster_load:acknowledged(Load, 20),
    All = [cluster_node:start(C) | First],
    ok = cluster_load:acknowledged(Load, 20),
    ok = nothing_lost(All, cluster_load:finish(Load)).

activity_is_handed_over_without_a_gap(Config) ->
    [A, B, C] = Nodes = start(Config, 3),
    Load = cluster_load:start(Nodes, alive),
    ok = cluster_load:acknowledged(Load, 20),
    ok = cluster_node:call(C, era_callstore, handover, [1]),
    ok = cluster_load:acknowledged_of(Load, [C], 20),
    ?assertEqual(cluster_node:name(B), cluster_node:active(Nodes)),
    ok = cluster_node:call(B, era_callstore, handover, [1]),
    ok = cluster_load:acknowledged_of(Load, [A], 20),
    #{refused := Refused, longest_ms := Longest} = Outcome = cluster_load:finish(Load),
    ?assertEqual(#{}, Refused),
    ?assert(Longest < 2000),
    ok = nothing_lost(Nodes, Outcome),
    ok = cluster_node:kill_together([B, C]),
    cluster_node:until(nobody_to_hand_over_to, fun() ->
        cluster_node:call(A, era_callstore, handover, [1]) =:= {error, no_other}
    end).

a_lower_order_that_comes_back_catches_up_and_takes_activity_back(Config) ->
    [#{plan := PlanA} = A, B] = start(Config, 2),
    ok = cluster_node:kill(A),
    ok = put_calls(B, 1, 500),
    Again = [cluster_node:start(PlanA), B],
    ok = cluster_node:lowest_active(Again),
    ?assertEqual(500, cluster_node:call(hd(Again), era_callstore, count, [#{}])),
    cluster_truth:equal(Again).

a_node_that_stops_in_order_hands_over(Config) ->
    [A, B] = start(Config, 2),
    Load = cluster_load:start([B], alive),
    ok = cluster_load:acknowledged(Load, 20),
    ok = cluster_node:call(A, application, stop, [era_callstore]),
    ok = cluster_load:acknowledged(Load, 20),
    ?assertEqual(cluster_node:name(B), cluster_node:active([B])),
    #{refused := Refused} = Outcome = cluster_load:finish(Load),
    ?assertEqual(#{}, Refused),
    ok = cluster_node:stop(A),
    nothing_lost([B], Outcome).

%% The term changes under a writer that does not know: what it writes next is refused and it ends.
a_writer_of_an_old_term_commits_nothing(Config) ->
    [A, B] = Nodes = start(Config, 2),
    {Writer, _, _} = cluster_node:call(A, era_callstore_router, writer, [1]),
    {ok, Epoch} = cluster_node:call(B, era_callstore_log, new_term, [1]),
    Old = #{group => 1, table => era_callstore_log:table(1), epoch => Epoch - 1, pauses => any, nodes => []},
    [
        ?assertEqual(
            {error, {fenced, Epoch}},
            cluster_node:call(A, era_callstore_log, append, [Old#{commit => Commit}, 999, 1, [<<"chunk">>]])
        )
     || Commit <- [transaction, sync_transaction, sync_dirty, async_dirty]
    ],
    ok = put_calls(A, 1, 1),
    ?assertEqual(false, cluster_node:call(A, erlang, is_process_alive, [Writer])),
    cluster_truth:equal(Nodes).

%% The means of cutting, for the tests that heal.
nodes_that_are_cut_from_each_other_stay_so_until_mended(Config) ->
    Nodes = [A, B, C] = cluster_node:boot(cluster_node:plan(?config(dir, Config), 3, #{})),
    ?assertEqual([true, true], connect(A, [B, C])),
    ok = cluster_node:until(connected, fun() -> lists:all(fun(Node) -> seen(Node) =:= 2 end, Nodes) end),
    ok = cluster_node:cut([A], [B, C]),
    ?assertEqual([false, false], connect(A, [B, C])),
    ?assertEqual(pang, cluster_node:call(B, net_adm, ping, [cluster_node:name(A)])),
    ?assertEqual(pong, cluster_node:call(B, net_adm, ping, [cluster_node:name(C)])),
    ?assertEqual(0, seen(A)),
    ok = cluster_node:mend([A], [B, C]),
    ?assertEqual([true, true], connect(A, [B, C])),
    cluster_node:until(connected, fun() -> lists:all(fun(Node) -> seen(Node) =:= 2 end, Nodes) end).

%% --- small things

%% Nodes with the one of lowest order active.
start(Config, Number) ->
    Nodes = cluster_node:start(cluster_node:plan(?config(dir, Config), Number, #{})),
    ok = cluster_node:lowest_active(Nodes),
    _ = cluster_node:settled(Nodes),
    Nodes.

put_calls(Node, From, To) ->
    New = To - From + 1,
    Answer = cluster_node:call(Node, cluster_load, put_here, [alive, From, To]),
    ?assertMatch({ok, #{accepted := New, rejected := []}}, Answer),
    ok.

nothing_lost(Nodes, Outcome) ->
    ok = cluster_truth:there(Nodes, Outcome),
    cluster_truth:equal(Nodes).

connect(Node, Others) ->
    [cluster_node:call(Node, net_kernel, connect_node, [cluster_node:name(Other)]) || Other <- Others].

seen(Node) -> length(cluster_node:call(Node, erlang, nodes, [])).
