%%% Nodes that die by SIGKILL at each crash point, two instances of a group under load: nothing acknowledged is lost,
%%% the copies are equal again, and each record and revision has one content. And: a release has no crash points.
-module(crash_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_build_without_the_profile_of_tests_has_no_crash_points/1,
    every_crash_point_is_in_the_code_and_in_the_list/1,
    the_active_dies_at_each_point_between_put_and_ok/1,
    the_active_dies_at_each_point_of_a_records_way/1,
    the_next_active_dies_at_each_point_of_its_terms_begin/1,
    the_next_active_dies_while_it_takes_over_from_a_dead_one/1,
    the_active_dies_while_it_hands_over/1
]).

%% The point is passed so often before it kills, so that the node has work half-done around it.
-define(NTH, 5).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        a_build_without_the_profile_of_tests_has_no_crash_points,
        every_crash_point_is_in_the_code_and_in_the_list,
        the_active_dies_at_each_point_between_put_and_ok,
        the_active_dies_at_each_point_of_a_records_way,
        the_next_active_dies_at_each_point_of_its_terms_begin,
        the_next_active_dies_while_it_takes_over_from_a_dead_one,
        the_active_dies_while_it_hands_over
    ].

init_per_testcase(Case, Config) ->
    [{dir, filename:join(?config(priv_dir, Config), atom_to_list(Case))} | Config].

end_per_testcase(_Case, _Config) -> ok.

%% --- where the points are

a_build_without_the_profile_of_tests_has_no_crash_points(_Config) ->
    Root = os_command:repository(),
    {ok, Terms} = file:consult(filename:join(Root, "rebar.config")),
    Options = [binary, return_errors, {i, filename:join(Root, "erl")} | proplists:get_value(erl_opts, Terms)],
    Sources = filelib:wildcard(filename:join([Root, "erl", "*.erl"])),
    ?assert(length(Sources) > 40),
    ?assertEqual([], [Source || Source <- Sources, crash_point:named_in(compiled(Source, Options))]),
    %% What is looked for is found where it is.
    Writer = filename:join([Root, "erl", "era_callstore_writer.erl"]),
    ?assert(crash_point:named_in(compiled(Writer, [{d, 'CRASH_POINTS'} | Options]))).

compiled(Source, Options) ->
    {ok, _Module, Beam} = compile:file(Source, Options),
    Beam.

every_crash_point_is_in_the_code_and_in_the_list(_Config) ->
    Beams = filelib:wildcard(filename:join([code:lib_dir(era_callstore), "ebin", "*.beam"])),
    ?assertEqual(lists:sort(crash_point:names()), lists:sort(lists:append([placed(Beam) || Beam <- Beams]))).

placed(Beam) ->
    {ok, {_, [{abstract_code, {raw_abstract_v1, Forms}}]}} = beam_lib:chunks(Beam, [abstract_code]),
    points(Forms).

points({call, _, {remote, _, {atom, _, crash_point}, {atom, _, passed}}, [{atom, _, Name}]}) -> [Name];
points(Tuple) when is_tuple(Tuple) -> points(tuple_to_list(Tuple));
points([Head | Tail]) -> points(Head) ++ points(Tail);
points(_Other) -> [].

%% --- deaths

the_active_dies_at_each_point_between_put_and_ok(Config) ->
    each(Config, crash_point:names(put), fun(Name, [Active, Next], Load) ->
        arm(Active, Name, ?NTH),
        died(Active, Name),
        ok = cluster_load:acknowledged_of(Load, [Next], 3),
        [again(Active, Load), Next]
    end).

the_active_dies_at_each_point_of_a_records_way(Config) ->
    each(Config, crash_point:names(record), fun(Name, [Active, Next], Load) ->
        arm(Active, Name, ?NTH),
        died(Active, Name),
        ok = cluster_load:acknowledged_of(Load, [Next], 3),
        [again(Active, Load), Next]
    end).

the_next_active_dies_at_each_point_of_its_terms_begin(Config) ->
    each(Config, crash_point:names(term_begin), fun(Name, [Active, Next], Load) ->
        arm(Next, Name, 1),
        ok = cluster_node:call(Active, era_callstore, handover, [1]),
        died(Next, Name),
        ok = cluster_load:acknowledged_of(Load, [Active], 3),
        [Active, again(Next, Load)]
    end).

the_next_active_dies_while_it_takes_over_from_a_dead_one(Config) ->
    each(Config, crash_point:names(term_begin), fun(Name, [Active, Next], Load) ->
        arm(Next, Name, 1),
        ok = cluster_node:kill(Active),
        died(Next, Name),
        Again = cluster_node:start([Plan || #{plan := Plan} <- [Active, Next]]),
        lists:foreach(fun(Node) -> cluster_load:back(Load, Node) end, Again),
        Again
    end).

the_active_dies_while_it_hands_over(Config) ->
    each(Config, crash_point:names(term_end), fun(Name, [Active, Next], Load) ->
        arm(Active, Name, 1),
        ?assertExit(_, cluster_node:call(Active, era_callstore, handover, [1])),
        died(Active, Name),
        ok = cluster_load:acknowledged_of(Load, [Next], 3),
        [again(Active, Load), Next]
    end).

%% One pair of nodes is led through the points one after the other, with a load of its own for each.
each(Config, Names, Dies) ->
    Settings = #{sinks => [{file, #{dir => "cdr"}}], watch => #{stop_wait_ms => 100}},
    Plans = cluster_node:plan(?config(dir, Config), 2, Settings),
    Nodes = cluster_node:start(Plans),
    _ = lists:foldl(
        fun({Nth, Name}, Pair) ->
            ct:pal("~s", [Name]),
            ok = cluster_node:lowest_active(Pair),
            _ = cluster_node:settled(Pair),
            Load = cluster_load:start(Pair, mixed, #{base => Nth * 10000000, pause_ms => 10}),
            ok = cluster_load:acknowledged(Load, 4),
            Again = Dies(Name, Pair, Load),
            ok = cluster_load:acknowledged_of(Load, Again, 4),
            ok = cluster_truth:all(Again, Plans, cluster_load:finish(Load)),
            Again
        end,
        Nodes,
        lists:enumerate(Names)
    ),
    ok.

arm(Node, Name, Nth) -> ok = cluster_node:call(Node, crash_point, arm, [Name, Nth]).

%% A point that nobody passes is a failure: nobody dies.
died(Node, Name) -> cluster_node:until({reached, Name}, fun() -> not cluster_node:is_alive(Node) end).

again(#{plan := Plan}, Load) ->
    Node = cluster_node:start(Plan),
    ok = cluster_load:back(Load, Node),
    Node.
