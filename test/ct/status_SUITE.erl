%%% The status on every node alike: where a group is active, where it is passive, and where there is no instance of it.
-module(status_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([
    every_node_tells_everything_of_every_group/1,
    a_copy_that_is_not_loaded_tells_everything_too/1,
    the_table_has_a_row_for_each_group_in_straight_columns/1,
    metrics_tell_of_every_group_that_is_here/1,
    three_instances_tell_the_same_also_after_a_take_over/1
]).

%% What is documented to be there, whatever the state.
-define(KEYS, [
    state, instance, epoch, active, copies, lag_chunks, live, closed, log_chunks, log_bytes, outbox, memory_bytes
]).
%% What must be the same wherever it is asked.
-define(ALIKE, [epoch, active, live, closed, log_chunks]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        every_node_tells_everything_of_every_group,
        a_copy_that_is_not_loaded_tells_everything_too,
        the_table_has_a_row_for_each_group_in_straight_columns,
        metrics_tell_of_every_group_that_is_here,
        three_instances_tell_the_same_also_after_a_take_over
    ].

%% Group 1 is on both of the first nodes, group 2 on the second only; the third has no instance. They outlive the
%% process that starts the suite's cases, so a process of its own holds them.
init_per_suite(Config) ->
    Dir = filename:join(?config(priv_dir, Config), "status_nodes"),
    {Holder, Monitor} = spawn_monitor(fun() ->
        receive {start, To} -> To ! {self(), start(Dir)} end,
        receive stop -> ok end
    end),
    Holder ! {start, self()},
    receive
        {Holder, Nodes} -> erlang:demonitor(Monitor, [flush]), [{holder, Holder}, {nodes, Nodes} | Config];
        {'DOWN', Monitor, process, Holder, Reason} -> error(Reason)
    end.

end_per_suite(Config) ->
    ?config(holder, Config) ! stop,
    ok.

start(Dir) ->
    [#{settings := #{roles := Roles, instances := Instances}}, B, _] = Plans =
        cluster_node:plan(Dir, 3, #{sinks => [{collection, #{}}, {file, #{dir => "cdr"}}]}),
    [One, Two | _] = Roles,
    Other = Two#{
        <<"name">> := <<"other">>, <<"group">> := 2, <<"order">> := 1, <<"include_domains">> := [<<"beta.era.test">>]
    },
    Settings = #{
        roles => [One, Two, Other],
        instances => (maps:without([<<"callstore3">>], Instances))#{<<"other">> => maps:get(name, B)}
    },
    Nodes = cluster_node:start(Plans, Settings),
    ok = cluster_node:until(active, fun() ->
        [#{1 := #{state := S1}}, #{1 := #{state := S2}, 2 := #{state := S3}}, _] = [groups(Node) || Node <- Nodes],
        {S1, S2, S3} =:= {active, passive, active} orelse {false, {S1, S2, S3}}
    end),
    {ok, _} = cluster_node:call(hd(Nodes), era_callstore, put, [cluster_calls:events(over, 1, 20)]),
    {ok, _} = cluster_node:call(hd(Nodes), era_callstore, put, [cluster_calls:events(alive, 21, 30)]),
    ok = cluster_node:until(folded, fun() ->
        Told = lists:usort([maps:with(?ALIKE, maps:get(1, groups(Node))) || Node <- Nodes]),
        case Told of
            [#{live := 10}] -> true;
            _ -> {false, Told}
        end
    end),
    Nodes.

every_node_tells_everything_of_every_group(Config) ->
    Nodes = [A, B, _] = ?config(nodes, Config),
    All = [groups(Node) || Node <- Nodes],
    [?assertEqual([], ?KEYS -- maps:keys(maps:get(Group, Groups))) || Groups <- All, Group <- [1, 2]],
    [
        ?assertMatch([_], lists:usort([maps:with(?ALIKE, maps:get(Group, Groups)) || Groups <- All]))
     || Group <- [1, 2]
    ],
    Copies = [[lists:sort(maps:get(copies, maps:get(Group, Groups))) || Groups <- All] || Group <- [1, 2]],
    Both = lists:sort([cluster_node:name(A), cluster_node:name(B)]),
    ?assertEqual([[Both], [[cluster_node:name(B)]]], [lists:usort(C) || C <- Copies]),
    States = [[{maps:get(state, maps:get(G, Groups)), maps:get(instance, maps:get(G, Groups))} || G <- [1, 2]] || Groups <- All],
    ?assertEqual(
        [
            [{active, <<"callstore1">>}, {elsewhere, none}],
            [{passive, <<"callstore2">>}, {active, <<"other">>}],
            [{elsewhere, none}, {elsewhere, none}]
        ],
        States
    ),
    [?assertMatch(#{chunk_version := 1, site := <<_/binary>>}, cluster_node:call(N, era_callstore, status, [])) || N <- Nodes].

a_copy_that_is_not_loaded_tells_everything_too(Config) ->
    [_, _, C] = ?config(nodes, Config),
    Here = cluster_node:call(C, era_callstore_status, group_here, [1]),
    ?assertEqual([], ?KEYS -- maps:keys(Here)),
    ?assertMatch(#{live := 0, memory_bytes := 0, outbox := Empty} when Empty =:= #{}, Here).

the_table_has_a_row_for_each_group_in_straight_columns(Config) ->
    [
        begin
            Status = cluster_node:call(Node, era_callstore, status, []),
            Text = unicode:characters_to_list(cluster_node:call(Node, era_callstore_status, table, [Status])),
            [First, Asked, Head, One, Two] = string:lexemes(Text, "\n"),
            ?assertMatch({match, _}, re:run(First, atom_to_list(cluster_node:name(Node)))),
            ?assertEqual("probe off, mixer off, rescue off, handlers off", Asked),
            ?assertMatch([_], lists:usort([string:length(Line) || Line <- [Head, One, Two]])),
            Cells = [[Cell || Cell <- re:split(string:trim(Line), " {2,}", [{return, list}])] || Line <- [Head, One, Two]],
            ?assertMatch([13], lists:usort([length(Row) || Row <- Cells])),
            ?assertMatch([["group" | _], ["1" | _], ["2" | _]], Cells)
        end
     || Node <- ?config(nodes, Config)
    ].

metrics_tell_of_every_group_that_is_here(Config) ->
    [_, B, C] = ?config(nodes, Config),
    Told = fun(Node, What) -> re:run(cluster_node:call(Node, era_callstore, metrics, []), What) =/= nomatch end,
    ?assert(Told(B, "era_callstore_live_calls\\{group=\"1\"\\} 10\n")),
    ?assert(Told(B, "era_callstore_active\\{group=\"1\"\\} 0\n")),
    ?assert(Told(B, "era_callstore_active\\{group=\"2\"\\} 1\n")),
    ?assert(Told(B, "era_callstore_lag_rows\\{group=\"1\"\\} 0\n")),
    ?assertNot(Told(C, "era_callstore_live_calls")).

%% Who is active, since which epoch, where copies are, and that none lags: in one answer of each node, and as one
%% answer.
three_instances_tell_the_same_also_after_a_take_over(Config) ->
    Dir = filename:join(?config(priv_dir, Config), ?FUNCTION_NAME),
    Nodes = [#{plan := PlanA} = A, B, C] = cluster_node:start(cluster_node:plan(Dir, 3, #{})),
    First = told_alike(A, Nodes),
    ok = cluster_node:call(A, era_callstore, handover, [1]),
    Second = told_alike(B, Nodes),
    ?assert(Second > First),
    ok = cluster_node:kill(B),
    {ok, _} = cluster_node:call(A, era_callstore, put, [cluster_calls:events(alive, 1, 20)]),
    Third = told_alike(C, [A, C]),
    ?assert(Third > Second),
    ok = cluster_node:kill(A),
    Again = [cluster_node:start(PlanA), C],
    ?assert(told_alike(hd(Again), Again) > Third).

%% The epoch that all tell.
told_alike(Active, Nodes) ->
    Name = cluster_node:name(Active),
    Names = lists:sort([cluster_node:name(Node) || Node <- Nodes]),
    ok = cluster_node:until({alike, Name}, fun() ->
        All = [maps:get(1, groups(Node)) || Node <- Nodes],
        Alike = lists:usort([
            {maps:with([epoch, active, lag_chunks, live, closed, log_chunks], Of), lists:sort(Copies)}
         || #{copies := Copies} = Of <- All
        ]),
        States = [{N, State} || {N, #{state := State}} <- lists:zip([cluster_node:name(Node) || Node <- Nodes], All)],
        Right = [{N, case N of Name -> active; _ -> passive end} || {N, _} <- States],
        case {Alike, States} of
            {[{#{active := Name, lag_chunks := 0}, Names}], Right} -> true;
            Other -> {false, Other}
        end
    end),
    maps:get(epoch, maps:get(1, groups(Active))).

groups(Node) -> maps:get(groups, cluster_node:call(Node, era_callstore, status, [])).
