%%% Nodes of one group that are cut off from each other, go on apart, and are brought together: nothing that either side
%%% acknowledged is lost.
-module(split_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(cluster_split, [
    unguarded/0, put_alive/3, cut/2, mend/2, both_active/2, delivered/1, united/2, logged/2, log/1, dir/1
]).

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    both_sides_of_a_pair_are_united_on_disc/1,
    both_sides_of_a_pair_are_united_in_ram/1,
    the_smaller_side_joins_the_larger/1,
    three_that_are_all_apart_are_united/1,
    a_node_killed_while_apart_loses_nothing/1,
    nodes_killed_one_after_the_other_lose_nothing/1,
    a_node_that_acknowledged_alone_is_healed_while_a_third_is_down/1,
    links_that_are_cut_in_part_are_healed/1,
    what_only_a_node_on_both_sides_has_too_is_loaded_from_there/1,
    a_row_that_one_copy_alone_got_reaches_the_others/1,
    a_call_closed_on_both_sides_has_one_record_in_the_end/1,
    records_kept_on_both_sides_are_all_kept/1,
    nodes_that_began_apart_are_united/1,
    a_host_with_tables_of_its_own_is_healed_when_asked/1,
    a_paused_active_commits_nothing_and_is_healed/1
]).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [
        both_sides_of_a_pair_are_united_on_disc,
        both_sides_of_a_pair_are_united_in_ram,
        the_smaller_side_joins_the_larger,
        three_that_are_all_apart_are_united,
        a_node_killed_while_apart_loses_nothing,
        nodes_killed_one_after_the_other_lose_nothing,
        a_node_that_acknowledged_alone_is_healed_while_a_third_is_down,
        links_that_are_cut_in_part_are_healed,
        what_only_a_node_on_both_sides_has_too_is_loaded_from_there,
        a_row_that_one_copy_alone_got_reaches_the_others,
        a_call_closed_on_both_sides_has_one_record_in_the_end,
        records_kept_on_both_sides_are_all_kept,
        nodes_that_began_apart_are_united,
        a_host_with_tables_of_its_own_is_healed_when_asked,
        a_paused_active_commits_nothing_and_is_healed
    ].

init_per_testcase(Case, Config) ->
    [{dir, filename:join(?config(priv_dir, Config), atom_to_list(Case))} | Config].

end_per_testcase(_Case, _Config) -> ok.

both_sides_of_a_pair_are_united_on_disc(Config) -> pair_is_united(<<"disc">>, Config).

both_sides_of_a_pair_are_united_in_ram(Config) -> pair_is_united(<<"ram">>, Config).

pair_is_united(Storage, Config) ->
    [A, B] = Nodes = started(2, #{storage => Storage}, Config),
    ok = put_alive(A, 1, 50),
    ok = cut([A], [B]),
    ok = both_active(A, B),
    ok = put_alive(A, 51, 80),
    ok = put_alive(B, 81, 120),
    ok = mend([A], [B]),
    united(Nodes, lists:seq(1, 120)).

%% The runtime's guard against overlapping partitions would part B and C as well, while links go one by one.
the_smaller_side_joins_the_larger(Config) ->
    [A, B, C] = Nodes = started(3, #{vm => unguarded()}, Config),
    ok = cluster_node:call(C, events_listener, start, [listener, #{events => [<<"takeover">>, <<"heal">>], since => now}]),
    ok = put_alive(A, 1, 50),
    ok = cut([A], [B, C]),
    ok = both_active(A, B),
    ok = put_alive(A, 51, 80),
    ok = put_alive(C, 81, 120),
    ok = mend([A], [B, C]),
    united(Nodes, lists:seq(1, 120)),
    %% It was healed, not they.
    ok = logged(A, "healed: one log again"),
    Healed = atom_to_binary(cluster_node:name(A)),
    ok = cluster_node:until(told, fun() ->
        case cluster_node:call(C, events_listener, said, [listener, <<"heal">>]) of
            [#{<<"data">> := #{<<"node">> := Healed, <<"rows">> := Rows}}] when Rows > 0 -> true;
            Other -> {false, Other}
        end
    end),
    ?assertEqual(nomatch, re:run(log(B), "healed: one log again")).

three_that_are_all_apart_are_united(Config) ->
    [A, B, C] = Nodes = started(3, #{}, Config),
    ok = cut([A], [B]),
    ok = cut([A, B], [C]),
    ok = both_active(A, B),
    ok = both_active(B, C),
    ok = put_alive(A, 1, 30),
    ok = put_alive(B, 31, 60),
    ok = put_alive(C, 61, 90),
    ok = mend([A], [B]),
    ok = mend([A, B], [C]),
    united(Nodes, lists:seq(1, 90)).

%% What it acknowledged alone is on its disc only, and the other has gone on.
a_node_killed_while_apart_loses_nothing(Config) ->
    [A, B] = started(2, #{}, Config),
    _ = killed_while_apart(A, B).

killed_while_apart(A, B) ->
    ok = put_alive(A, 1, 30),
    ok = cut([A], [B]),
    ok = both_active(A, B),
    ok = put_alive(A, 31, 60),
    ok = put_alive(B, 61, 90),
    ok = cluster_node:kill(B),
    ok = put_alive(A, 91, 100),
    #{plan := PlanB} = B,
    %% A has forgotten the cookie that it had for the node: the link is there.
    BAgain = cluster_node:boot(PlanB, []),
    ok = mend([A], [BAgain]),
    ok = cluster_node:start_application(BAgain),
    united([A, BAgain], lists:seq(1, 100)),
    ok = logged(BAgain, "healed: one log again"),
    BAgain.

%% Each acknowledges alone until it is killed as well; the one that died first is the first to come back.
nodes_killed_one_after_the_other_lose_nothing(Config) ->
    [A, B, C] = started(3, #{}, Config),
    ok = put_alive(A, 1, 30),
    ok = cluster_node:kill(A),
    ok = put_alive(B, 31, 60),
    ok = cluster_node:kill(B),
    ok = put_alive(C, 61, 90),
    ok = cluster_node:kill(C),
    Again = cluster_node:start([Plan || #{plan := Plan} <- [A, B, C]]),
    united(Again, lists:seq(1, 90)).

a_node_that_acknowledged_alone_is_healed_while_a_third_is_down(Config) ->
    [#{plan := PlanA} = A, B, C] = started(3, #{}, Config),
    ok = cluster_node:kill(C),
    _ = cluster_node:settled([A, B]),
    ok = put_alive(A, 1, 30),
    ok = cluster_node:kill(A),
    ok = put_alive(B, 31, 60),
    united([cluster_node:start(PlanA), B], lists:seq(1, 60)).

%% Without the runtime's own guard against it: C sees both, A and B do not see each other.
links_that_are_cut_in_part_are_healed(Config) ->
    [A, B, C] = Nodes = started(3, #{vm => unguarded()}, Config),
    ok = put_alive(A, 1, 30),
    ok = cut([A], [B]),
    ok = both_active(A, B),
    ok = put_alive(A, 31, 60),
    ok = put_alive(B, 61, 90),
    ok = put_alive(C, 91, 120),
    ok = mend([A], [B]),
    united(Nodes, lists:seq(1, 120)).

%% B gives way to A, and needs to give it nothing: C, which is with both, has it all, and A has not. A says nothing of
%% how it stands, so nobody evens it out yet.
what_only_a_node_on_both_sides_has_too_is_loaded_from_there(Config) ->
    [A, B, C] = Nodes = started(3, #{vm => unguarded()}, Config),
    ok = put_alive(A, 1, 30),
    ok = cluster_node:call(A, era_callstore, handover, [1]),
    ok = cluster_node:until(handed_over, fun() -> cluster_node:active([C]) =:= cluster_node:name(B) end),
    ok = cluster_split:silence_level(A),
    ok = cut([A], [B]),
    ok = put_alive(B, 31, 60),
    Mnesia = cluster_node:call(B, era_callstore_log, incarnation, []),
    ok = mend([A], [B]),
    ok = cluster_node:until(healed, fun() ->
        cluster_node:call(B, era_callstore_log, incarnation, []) =/= Mnesia andalso
            cluster_node:call(B, era_callstore_router, local_groups, []) =:= [1]
    end),
    ?assertEqual(cluster_node:name(C), cluster_node:call(B, mnesia, table_info, [era_callstore_log_1, load_node])),
    ?assertEqual([], cluster_truth:missing(B, [cluster_calls:cid(N) || N <- lists:seq(1, 60)])),
    ok = cluster_split:restore_level(A),
    ok = cluster_node:together(Nodes),
    ok = cluster_node:until(even, fun() ->
        cluster_truth:missing(A, [cluster_calls:cid(N) || N <- lists:seq(1, 60)]) =:= []
    end),
    cluster_split:all_there(Nodes, lists:seq(1, 60)).

%% C is with both; what A acknowledged after the cut is in its copy and not in B's when A dies.
a_row_that_one_copy_alone_got_reaches_the_others(Config) ->
    [A, B, C] = started(3, #{vm => unguarded()}, Config),
    ok = put_alive(A, 1, 30),
    ok = cut([A], [B]),
    ok = both_active(A, B),
    ok = put_alive(A, 31, 60),
    ok = cluster_node:kill(A),
    Cids = [cluster_calls:cid(N) || N <- lists:seq(1, 60)],
    ok = cluster_node:until(everywhere, fun() -> [[], []] =:= [cluster_truth:missing(N, Cids) || N <- [B, C]] end),
    ?assertEqual(1, length(cluster_node:digests([B, C]))),
    %% And only once: under keys that the active does not know it would stay for ever.
    ok = cluster_node:until(same_rows, fun() ->
        Keys = [lists:sort(cluster_node:call(N, era_callstore_log, keys, [1])) || N <- [B, C]],
        length(lists:usort(Keys)) =:= 1 orelse {false, Keys}
    end).

%% The end reaches both sides, as it does when a producer repeats what the first side has not answered in time.
a_call_closed_on_both_sides_has_one_record_in_the_end(Config) ->
    [A, B] = Nodes = started(2, #{sinks => [{collection, #{}}]}, Config),
    Events = cluster_calls:events(over, 1, 20),
    ok = cut([A], [B]),
    ok = both_active(A, B),
    [{ok, #{rejected := []}} = cluster_node:call(Node, era_callstore, put, [Events]) || Node <- Nodes],
    [ok = delivered(Node) || Node <- Nodes],
    ok = mend([A], [B]),
    united(Nodes, lists:seq(1, 20)),
    ok = delivered(A),
    lists:foreach(
        fun(N) ->
            [Records, Records] = [cluster_node:call(Node, era_callstore, record, [cluster_calls:cid(N)]) || Node <- Nodes],
            %% Each side has issued the first; the second is the same everywhere.
            ?assertMatch([#{<<"revision">> := 2}, #{<<"revision">> := 1}], Records),
            ?assertMatch([_], lists:usort([Id || #{<<"record_id">> := Id} <- Records]))
        end,
        lists:seq(1, 20)
    ).

records_kept_on_both_sides_are_all_kept(Config) ->
    [A, B] = Nodes = started(2, #{sinks => [{collection, #{}}]}, Config),
    ok = cut([A], [B]),
    ok = both_active(A, B),
    {ok, _} = cluster_node:call(A, era_callstore, put, [cluster_calls:events(over, 1, 20)]),
    {ok, _} = cluster_node:call(B, era_callstore, put, [cluster_calls:events(over, 21, 40)]),
    [ok = delivered(Node) || Node <- Nodes],
    ok = mend([A], [B]),
    united(Nodes, lists:seq(1, 40)),
    [
        ?assertMatch([#{<<"revision">> := 1}], cluster_node:call(Node, era_callstore, record, [cluster_calls:cid(N)]))
     || Node <- Nodes, N <- lists:seq(1, 40)
    ].

%% Neither knew of the other when each made its tables.
nodes_that_began_apart_are_united(Config) ->
    [A, B] = Nodes = cluster_node:boot(cluster_node:plan(?config(dir, Config), 2, #{})),
    ok = cut([A], [B]),
    [ok = cluster_node:start_application(Node) || Node <- Nodes],
    ok = both_active(A, B),
    ok = put_alive(A, 1, 30),
    ok = put_alive(B, 31, 60),
    ok = mend([A], [B]),
    united(Nodes, lists:seq(1, 60)),
    ?assert(filelib:is_dir(filename:join([dir(B), "data.aside"]))).

a_host_with_tables_of_its_own_is_healed_when_asked(Config) ->
    [A, B] = Nodes = started(2, #{}, Config),
    Names = [cluster_node:name(Node) || Node <- Nodes],
    {atomic, ok} = cluster_node:call(A, mnesia, create_table, [host_table, [{disc_copies, Names}]]),
    ok = cluster_node:call(A, mnesia, dirty_write, [{host_table, 1, before}]),
    ok = cut([A], [B]),
    ok = both_active(A, B),
    ok = put_alive(A, 1, 30),
    ok = put_alive(B, 31, 60),
    ok = mend([A], [B]),
    ok = cluster_node:until(alarm, fun() -> maps:get(heal_due, cluster_node:call(B, era_callstore, status, [])) end),
    ok = logged(B, "holds\\s+tables\\s+of\\s+the\\s+host"),
    ?assertMatch({match, _}, re:run(cluster_node:call(B, era_callstore, metrics, []), "era_callstore_heal_due 1")),
    ?assertMatch(#{heal_due := false}, cluster_node:call(A, era_callstore, status, [])),
    %% Both sides go on; nothing was started anew.
    ok = put_alive(B, 61, 70),
    [NameA, NameB] = Names,
    ?assertMatch({ok, #{with := [NameA]}}, cluster_node:call(A, era_callstore, heal, [NameB])),
    united(Nodes, lists:seq(1, 70)),
    ?assertEqual([{host_table, 1, before}], cluster_node:call(B, mnesia, dirty_read, [host_table, 1])),
    ?assertMatch(#{heal_due := false, apart := []}, cluster_node:call(B, era_callstore, status, [])),
    ?assertEqual({error, not_apart}, cluster_node:call(A, era_callstore, heal, [NameB])).

a_paused_active_commits_nothing_and_is_healed(Config) ->
    Vm = ["-kernel", "net_ticktime", "4"],
    [A, B, C] = Nodes = started(3, #{vm => Vm}, Config),
    ok = put_alive(A, 1, 30),
    {Epoch, _} = cluster_node:call(A, era_callstore_log, term, [1]),
    ok = cluster_node:pause(A),
    ok = cluster_node:until(next, fun() -> lists:member(cluster_node:active([B]), [cluster_node:name(B), cluster_node:name(C)]) end),
    ok = put_alive(B, 31, 60),
    Seen = cluster_node:call(B, era_callstore_log, keys, [1]),
    ok = cluster_node:resume(A),
    united(Nodes, lists:seq(1, 60)),
    ?assertMatch({match, _}, re:run(log(A), "the term ends after a pause of this node")),
    %% Not a row of the term that the pause has ended came after it.
    Late = [Key || {E, _, _} = Key <- cluster_node:call(B, era_callstore_log, keys, [1]), E =:= Epoch, not lists:member(Key, Seen)],
    ?assertEqual([], Late).

started(Number, Settings, Config) -> cluster_split:started(Number, Settings, ?config(dir, Config)).
