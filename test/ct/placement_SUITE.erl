%%% Copies follow the configuration: a node that is taken out gives its copies back and is not waited for, a node that
%%% is put in gets them; the others work on meanwhile.
-module(placement_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_node_taken_out_gives_its_copies_back/1,
    a_node_taken_out_is_not_waited_for/1,
    a_node_taken_out_while_down_has_no_copies_when_it_comes_back/1,
    copies_that_wait_for_a_node_that_has_none_any_more_are_given_back/1,
    an_active_that_is_taken_out_is_followed_by_the_next/1,
    a_node_put_in_gets_copies_on_disc/1,
    a_node_taken_out_while_down_keeps_the_schema_that_holds_tables_of_the_host/1,
    the_last_copy_is_never_given_back/1
]).

-define(TABLES, [era_callstore_log_1, era_callstore_epoch, era_callstore_collection]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        a_node_taken_out_gives_its_copies_back,
        a_node_taken_out_is_not_waited_for,
        a_node_taken_out_while_down_has_no_copies_when_it_comes_back,
        copies_that_wait_for_a_node_that_has_none_any_more_are_given_back,
        an_active_that_is_taken_out_is_followed_by_the_next,
        a_node_put_in_gets_copies_on_disc,
        a_node_taken_out_while_down_keeps_the_schema_that_holds_tables_of_the_host,
        the_last_copy_is_never_given_back
    ].

init_per_testcase(Case, Config) -> [{dir, filename:join(?config(priv_dir, Config), atom_to_list(Case))} | Config].

end_per_testcase(_Case, _Config) -> ok.

a_node_taken_out_gives_its_copies_back(Config) ->
    [A, B, C] = Nodes = settled(cluster_node:start(plan(Config))),
    ok = put_all(A, 1, 100),
    #{epoch := Epoch} = status(A),
    ok = configure(A, [A, B]),
    ok = no_copies(A, C),
    ok = cluster_node:until(away, fun() -> not is_map_key(lag_chunks, own_status(C)) end),
    ?assertEqual([], tables_at(C)),
    %% Nobody takes it for a copy that is missing; it was one while the nodes started.
    ok = cluster_node:until(nothing_kept, fun() -> not cluster_node:call(A, era_callstore_rejoin, keeps_own, []) end),
    ok = put_all(A, 1001, 1010),
    ?assertEqual(false, cluster_node:call(A, era_callstore_rejoin, keeps_own, [])),
    %% The active has not been disturbed, and the node that is out still takes calls for it.
    _ = cluster_node:settled([A, B]),
    ?assertMatch(#{epoch := Epoch, state := active}, status(A)),
    ok = put_all(C, 101, 200),
    all_there([A, B], 1, 200),
    ?assertMatch({ok, _}, cluster_node:call(C, era_callstore, call, [{cid, cluster_calls:cid(150)}])),
    ok = cluster_node:until(told, fun() ->
        {ok, Log} = file:read_file(cluster_node:log(plan_of(A))),
        re:run(Log, "a copy is given back") =/= nomatch
    end),
    %% Put in again, it has everything.
    ok = configure(A, Nodes),
    _ = cluster_node:settled(Nodes),
    all_there(Nodes, 1, 200).

a_node_taken_out_is_not_waited_for(Config) ->
    [A, B, C] = Nodes = settled(cluster_node:start(plan(Config))),
    ok = put_all(A, 1, 100),
    ok = configure(A, [A, B]),
    ok = no_copies(A, C),
    ok = put_all(A, 101, 200),
    ok = cluster_node:kill_together(Nodes),
    Left = settled(cluster_node:start([plan_of(A), plan_of(B)], settings([A, B]))),
    all_there(Left, 1, 200).

a_node_taken_out_while_down_has_no_copies_when_it_comes_back(Config) ->
    [A, B, C] = settled(cluster_node:start(plan(Config))),
    ok = put_all(A, 1, 100),
    ok = cluster_node:kill(C),
    _ = cluster_node:settled([A, B]),
    ok = configure(A, [A, B]),
    ok = no_copies(A, C),
    ok = put_all(B, 101, 200),
    ok = cluster_node:kill_together([A, B]),
    Left = settled(cluster_node:start([plan_of(A), plan_of(B)], settings([A, B]))),
    all_there(Left, 1, 200),
    [Back] = cluster_node:start([plan_of(C)], settings([A, B])),
    ok = no_copies(hd(Left), Back),
    ok = cluster_node:until(no_tables, fun() -> tables_at(Back) =:= [] orelse {false, loaded_at(Back)} end),
    ok = put_all(Back, 201, 300),
    _ = cluster_node:settled(Left),
    all_there(Left, 1, 300).

%% C was killed while it was to load the copies of A (as a node that is healed is), and A has left the group since.
copies_that_wait_for_a_node_that_has_none_any_more_are_given_back(Config) ->
    [A, B, C] = settled(cluster_node:start(plan(Config))),
    ok = put_all(A, 1, 100),
    [ok = cluster_node:call(C, mnesia, set_master_nodes, [Table, [cluster_node:name(A)]]) || Table <- ?TABLES],
    ok = cluster_node:call(C, era_callstore_schema, sync, []),
    ok = cluster_node:kill(C),
    _ = cluster_node:settled([A, B]),
    ok = configure(B, [B]),
    ok = no_copies(B, C),
    ok = no_copies(B, A),
    ok = cluster_node:stop(A),
    [Back] = cluster_node:start([plan_of(C)], settings([B])),
    ok = cluster_node:until(copies_there_again, fun() -> tables_at(Back) =/= [] end),
    ok = cluster_node:until(no_tables, fun() -> tables_at(Back) =:= [] orelse {false, loaded_at(Back)} end),
    ok = no_copies(B, Back),
    ok = put_all(Back, 101, 200),
    all_there([B], 1, 200).

an_active_that_is_taken_out_is_followed_by_the_next(Config) ->
    [A, B, C] = settled(cluster_node:start(plan(Config))),
    ok = put_all(C, 1, 100),
    ok = configure(B, [B, C]),
    ok = put_all(A, 101, 200),
    ok = no_copies(B, A),
    _ = cluster_node:settled([B, C]),
    ?assertEqual(cluster_node:name(B), cluster_node:active([C])),
    all_there([B, C], 1, 200).

a_node_put_in_gets_copies_on_disc(Config) ->
    [PlanA, PlanB, PlanC] = plan(Config),
    [A, B] = settled(cluster_node:start([PlanA, PlanB], settings([PlanA, PlanB]))),
    [C] = cluster_node:start([PlanC], settings([PlanA, PlanB])),
    ok = put_all(C, 1, 100),
    ?assertEqual([], tables_at(C)),
    #{epoch := Epoch} = status(A),
    ok = configure(B, [A, B, C]),
    _ = cluster_node:settled([A, B, C]),
    ?assertMatch(#{epoch := Epoch, state := active}, status(A)),
    [?assert(lists:member(cluster_node:name(C), on_disc(A, Table))) || Table <- ?TABLES],
    all_there([A, B, C], 1, 100),
    %% It keeps them: alone after a kill of all, it has everything.
    ok = cluster_node:kill_together([A, B, C]),
    Again = settled(cluster_node:start([PlanA, PlanB, PlanC])),
    all_there(Again, 1, 100).

%% Out of the schema with it, the host's table would lose its copy there.
a_node_taken_out_while_down_keeps_the_schema_that_holds_tables_of_the_host(Config) ->
    [A, B, C] = settled(cluster_node:start(plan(Config))),
    Node = cluster_node:name(C),
    Copies = [cluster_node:name(A), Node],
    {atomic, ok} = cluster_node:call(A, mnesia, create_table, [host_table, [{disc_copies, Copies}]]),
    ok = put_all(A, 1, 10),
    ok = cluster_node:kill(C),
    ok = cluster_node:until(seen_gone, fun() ->
        not lists:any(fun(At) -> lists:member(Node, cluster_node:call(At, erlang, nodes, [])) end, [A, B])
    end),
    ok = configure(A, [A, B]),
    ok = cluster_node:until(told, fun() ->
        {ok, Log} = file:read_file(cluster_node:log(plan_of(A))),
        re:run(Log, "other_tables,\\s*\\[host_table\\]") =/= nomatch
    end),
    ?assert(lists:member(Node, cluster_node:call(A, mnesia, system_info, [db_nodes]))),
    ?assert(lists:member(Node, on_disc(A, host_table))),
    %% When it is back, it gives back what is ours and keeps what is the host's.
    [Back] = cluster_node:start([plan_of(C)], settings([A, B])),
    ok = no_copies(A, Back),
    ?assert(lists:member(Node, on_disc(A, host_table))),
    ok = put_all(Back, 11, 20),
    all_there([A, B], 1, 20).

the_last_copy_is_never_given_back(Config) ->
    [PlanA | _] = plan(Config),
    [A] = cluster_node:start([PlanA], settings([PlanA])),
    ok = put_all(A, 1, 10),
    [
        ?assertEqual({error, last_copy}, cluster_node:call(A, era_callstore_log, give_back, [Table, Node]))
     || Node <- [cluster_node:name(A)], Table <- ?TABLES
    ],
    all_there([A], 1, 10).

%% --- nodes

plan(Config) -> cluster_node:plan(?config(dir, Config), 3, #{sinks => [{collection, #{}}]}).

plan_of(#{plan := Plan}) -> Plan;
plan_of(Plan) -> Plan.

settled([First | _] = Nodes) ->
    ok = cluster_node:until(lowest_order, fun() -> cluster_node:active(Nodes) =:= cluster_node:name(First) end),
    _ = cluster_node:settled(Nodes),
    Nodes.

%% The roles and places of these nodes only.
settings(Nodes) ->
    Plans = [#{settings := #{roles := Roles, instances := Instances}} | _] = [plan_of(Node) || Node <- Nodes],
    Names = [Name || #{name := Name} <- Plans],
    Placed = maps:filter(fun(_, Node) -> lists:member(Node, Names) end, Instances),
    #{roles => [Role || #{<<"name">> := Name} = Role <- Roles, is_map_key(Name, Placed)], instances => Placed}.

configure(At, Nodes) ->
    ?assertEqual(ok, cluster_node:call(At, era_callstore, configure, [settings(Nodes)])).

%% As the active sees it, with nothing left to do there.
no_copies(Active, Of) ->
    Node = cluster_node:name(Of),
    ok = cluster_node:until(no_copies, fun() ->
        Holders = [{Table, cluster_node:call(Active, era_callstore_log, holders, [Table])} || Table <- ?TABLES],
        lists:all(fun({_, H}) -> H =/= [] andalso not lists:member(Node, H) end, Holders) orelse {false, Holders}
    end),
    _ = cluster_node:call(Active, sys, get_state, [era_callstore_placement_1]),
    ok.

on_disc(At, Table) -> cluster_node:call(At, mnesia, table_info, [Table, disc_copies]).

tables_at(Node) -> cluster_node:call(Node, mnesia, system_info, [local_tables]) -- [schema].

%% Where each table there is read, and which copies of it Mnesia there prefers.
loaded_at(Node) ->
    [
        {Table, [cluster_node:call(Node, mnesia, table_info, [Table, What]) || What <- [where_to_read, master_nodes]]}
     || Table <- tables_at(Node)
    ].

status(Node) -> map_get(1, map_get(groups, cluster_node:call(Node, era_callstore, status, []))).

own_status(Node) -> cluster_node:call(Node, era_callstore_router, noted, [{group, 1, here}]).

put_all(Node, From, To) ->
    New = To - From + 1,
    ?assertMatch(
        {ok, #{accepted := New, rejected := []}},
        cluster_node:call(Node, era_callstore, put, [cluster_calls:events(alive, From, To), #{timeout => 20000}])
    ),
    ok.

all_there(Nodes, From, To) ->
    Cids = [cluster_calls:cid(N) || N <- lists:seq(From, To)],
    ?assertEqual([], lists:append([cluster_truth:missing(Node, Cids) || Node <- Nodes])),
    ?assertEqual(1, length(cluster_node:digests(Nodes))).
