%%% Two nodes, one group: who is active, who takes over, and that nothing acknowledged is lost on the way.
-module(takeover_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    nodes_that_start_together_make_one_table/1,
    producers_on_a_passive_node_are_routed/1,
    a_handover_loses_nothing_and_is_no_gap/1,
    the_next_order_takes_over_from_a_killed_active/1,
    a_lower_order_that_comes_back_takes_activity_back/1,
    a_node_that_stops_in_order_hands_over/1,
    a_writer_of_an_old_term_commits_nothing/1
]).

-import(era_callstore_test_app, [cid/1, invite/1, until/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [
        nodes_that_start_together_make_one_table,
        producers_on_a_passive_node_are_routed,
        a_handover_loses_nothing_and_is_no_gap,
        the_next_order_takes_over_from_a_killed_active,
        a_lower_order_that_comes_back_takes_activity_back,
        a_node_that_stops_in_order_hands_over,
        a_writer_of_an_old_term_commits_nothing
    ].

init_per_suite(Config) ->
    _ = os:cmd("epmd -daemon"),
    Config.

end_per_suite(_Config) -> ok.

init_per_testcase(Case, Config) ->
    Dir = filename:join(?config(priv_dir, Config), atom_to_list(Case)),
    Names = [list_to_atom(lists:concat([Name, "_", os:getpid(), "_", erlang:unique_integer([positive])])) || Name <- [one, two]],
    [{dir, Dir}, {names, Names} | Config].

end_per_testcase(_Case, _Config) -> ok.

nodes_that_start_together_make_one_table(Config) ->
    [One, Two] = pair(Config),
    #{groups := #{1 := OfOne}} = call(One, era_callstore, status, []),
    #{groups := #{1 := #{epoch := Epoch} = OfTwo}} = call(Two, era_callstore, status, []),
    ?assertMatch(#{state := active, instance := <<"one">>, epoch := Epoch}, OfOne),
    ?assertMatch(#{state := passive, instance := <<"two">>}, OfTwo),
    ?assertEqual(name(One), maps:get(active, OfTwo)),
    ?assertEqual(lists:sort([name(One), name(Two)]), lists:sort(maps:get(copies, OfTwo))),
    stop([One, Two]).

producers_on_a_passive_node_are_routed(Config) ->
    [One, Two] = pair(Config),
    Events = [invite(N) || N <- lists:seq(1, 1000)],
    ?assertEqual({ok, #{accepted => 1000, duplicate => 0, rejected => []}}, call(Two, era_callstore, put, [Events])),
    ?assertMatch({ok, _}, call(Two, era_callstore, call, [{cid, cid(1)}])),
    equal_copies(One, 2),
    stop([One, Two]).

a_handover_loses_nothing_and_is_no_gap(Config) ->
    [One, Two] = pair(Config),
    Producer = produce_on(Two),
    ok = taken(100),
    ok = call(Two, era_callstore, handover, [1]),
    ok = await(Two, active),
    ok = taken(100),
    kill(One),
    ok = until(fun() -> call(Two, era_callstore, handover, [1]) =:= {error, no_other} end),
    Acknowledged = stop_producer(Producer),
    ?assertEqual([], [N || N <- Acknowledged, not is_there(Two, N)]),
    stop([Two]).

the_next_order_takes_over_from_a_killed_active(Config) ->
    [One, Two] = pair(Config),
    Producer = produce_on(Two),
    ok = taken(200),
    kill(One),
    ok = await(Two, active),
    ok = taken(200),
    Acknowledged = stop_producer(Producer),
    ?assertEqual([], [N || N <- Acknowledged, not is_there(Two, N)]),
    #{groups := #{1 := #{started := Started, live := Live, closed := Closed}}} = call(Two, era_callstore, status, []),
    ?assertEqual(Started, Live + Closed),
    stop([Two]).

a_lower_order_that_comes_back_takes_activity_back(Config) ->
    [One, Two] = pair(Config),
    kill(One),
    ok = await(Two, active),
    {ok, _} = call(Two, era_callstore, put, [[invite(N) || N <- lists:seq(1, 500)]]),
    Again = start(Config, 1),
    {ok, _} = call(Again, application, ensure_all_started, [era_callstore]),
    ok = await(Again, active),
    ok = await(Two, passive),
    ?assertEqual(500, call(Again, era_callstore, count, [#{}])),
    equal_copies(Two, 2),
    stop([Again, Two]).

a_node_that_stops_in_order_hands_over(Config) ->
    [One, Two] = pair(Config),
    Producer = produce_on(Two),
    ok = taken(100),
    ok = call(One, application, stop, [era_callstore]),
    ok = await(Two, active),
    ok = taken(100),
    Acknowledged = stop_producer(Producer),
    ?assertEqual([], [N || N <- Acknowledged, not is_there(Two, N)]),
    stop([One, Two]).

%% The term changes under a writer that does not know: what it writes next is refused and it ends.
a_writer_of_an_old_term_commits_nothing(Config) ->
    [One, Two] = pair(Config),
    {Writer, _, _} = call(One, era_callstore_router, writer, [1]),
    {ok, Epoch} = call(Two, era_callstore_log, new_term, [1]),
    Term = #{group => 1, table => era_callstore_log_1, epoch => Epoch - 1, commit => transaction, pauses => any, nodes => []},
    [
        ?assertEqual({error, {fenced, Epoch}}, call(One, era_callstore_log, append, [Term#{commit := Commit}, 999, [<<"chunk">>]]))
     || Commit <- [transaction, sync_transaction, sync_dirty, async_dirty]
    ],
    ?assertMatch({ok, _}, call(One, era_callstore, put, [invite(1), #{timeout => 20000}])),
    ?assertEqual(false, call(One, erlang, is_process_alive, [Writer])),
    equal_copies(One, 2),
    stop([One, Two]).

%% --- producers: one call after the other, the acknowledged ones remembered

produce_on(Node) ->
    Test = self(),
    spawn_monitor(fun() -> produce(Test, Node, 1, []) end).

produce(Test, Node, N, Acknowledged) ->
    receive
        stop -> exit({acknowledged, Acknowledged})
    after 0 ->
        {ok, _} = call(Node, era_callstore, put, [invite(N), #{timeout => 20000}]),
        Test ! taken,
        produce(Test, Node, N + 1, [N | Acknowledged])
    end.

taken(0) -> ok;
taken(N) ->
    receive
        taken -> taken(N - 1)
    end.

stop_producer({Pid, Monitor}) ->
    Pid ! stop,
    receive
        {'DOWN', Monitor, process, Pid, {acknowledged, Numbers}} -> Numbers
    end.

is_there(Node, N) -> call(Node, era_callstore, call, [{cid, cid(N)}]) =/= not_found.

%% --- nodes

pair(Config) ->
    Pair = [start(Config, 1), start(Config, 2)],
    Test = self(),
    Starters = [
        spawn_link(fun() -> Test ! {self(), call(Node, application, ensure_all_started, [era_callstore])} end)
     || Node <- Pair
    ],
    [receive {Starter, {ok, _}} -> ok end || Starter <- Starters],
    [One, Two] = Pair,
    ok = await(One, active),
    ok = await(Two, passive),
    %% Two may have been active before One was there; both know of the change when they agree on who is.
    ok = until(fun() -> [name(One)] =:= lists:usort([call(Node, era_callstore_router, active_node, [1]) || Node <- Pair]) end),
    Pair.

start(Config, Order) ->
    Names = ?config(names, Config),
    Args = ["-setcookie", atom_to_list(?MODULE), "-pa" | code_path()],
    {ok, Peer, Node} = peer:start(#{name => lists:nth(Order, Names), connection => standard_io, args => Args}),
    [_, Host] = string:split(atom_to_list(Node), "@"),
    [One, Two] = [list_to_atom(atom_to_list(Name) ++ "@" ++ Host) || Name <- Names],
    Started = {Peer, peer:call(Peer, os, getpid, []), Node},
    Role = hd(call(Started, era_callstore_role, default, [])),
    Settings = #{
        data_dir => filename:join(?config(dir, Config), integer_to_list(Order)),
        sinks => [],
        roles => [Role#{<<"name">> := <<"one">>}, Role#{<<"name">> := <<"two">>, <<"order">> := 2}],
        instances => #{<<"one">> => One, <<"two">> => Two}
    },
    ok = call(Started, application, load, [era_callstore]),
    maps:foreach(fun(Key, Value) -> ok = call(Started, application, set_env, [era_callstore, Key, Value]) end, Settings),
    Started.

stop(Nodes) -> lists:foreach(fun({Peer, _, _}) -> peer:stop(Peer) end, Nodes).

kill({Peer, OsPid, _}) ->
    _ = os:cmd("kill -9 " ++ OsPid),
    catch peer:stop(Peer).

name({_, _, Node}) -> Node.

call({Peer, _, _}, Module, Function, Arguments) -> peer:call(Peer, Module, Function, Arguments, 60000).

await(Node, State) ->
    until(fun() ->
        #{groups := #{1 := #{state := Now}}} = call(Node, era_callstore, status, []),
        Now =:= State
    end).

equal_copies(Node, Count) ->
    until(fun() ->
        Digests = call(Node, era_callstore, digest, [1]),
        map_size(Digests) =:= Count andalso length(lists:usort(maps:values(Digests))) =:= 1
    end).

code_path() -> [Dir || Dir <- code:get_path(), filename:basename(Dir) =/= ".", filelib:is_dir(Dir)].
