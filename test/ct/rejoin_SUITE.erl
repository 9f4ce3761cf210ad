%%% Which copies a node starts with, and how it finds the others again when its links fail in the midst of that.
-module(rejoin_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(cluster_split, [unguarded/0, put_alive/3, cut/2, mend/2, both_active/2, state/1, united/2, logged/2]).

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_copy_lost_while_its_return_is_settled_is_not_forgotten/1,
    a_node_that_acknowledged_alone_waits_for_its_peers_before_it_is_active/1,
    a_node_cut_off_while_it_starts_finds_the_others/1,
    a_node_whose_healer_has_gone_goes_on_with_its_own_copies/1,
    a_node_lost_before_the_first_look_is_known_as_lost/1,
    a_copy_made_anew_is_of_the_lineage_that_it_was_loaded_from/1,
    a_copy_made_anew_outlives_a_kill_of_all/1,
    a_start_that_waits_for_another_node_lets_it_start/1,
    a_node_without_an_instance_is_healed/1,
    a_copy_that_takes_rows_behind_a_gap_is_brought_what_is_in_it/1,
    a_copy_with_a_gap_that_was_cut_off_before_it_was_healed_is_brought_it/1,
    a_copy_with_a_gap_that_was_started_again_is_brought_it/1
]).

%% What the README says that such a node waits.
-define(ALONE_MS, 3000).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [
        a_copy_lost_while_its_return_is_settled_is_not_forgotten,
        a_node_that_acknowledged_alone_waits_for_its_peers_before_it_is_active,
        a_node_cut_off_while_it_starts_finds_the_others,
        a_node_whose_healer_has_gone_goes_on_with_its_own_copies,
        a_node_lost_before_the_first_look_is_known_as_lost,
        a_copy_made_anew_is_of_the_lineage_that_it_was_loaded_from,
        a_copy_made_anew_outlives_a_kill_of_all,
        a_start_that_waits_for_another_node_lets_it_start,
        a_node_without_an_instance_is_healed,
        a_copy_that_takes_rows_behind_a_gap_is_brought_what_is_in_it,
        a_copy_with_a_gap_that_was_cut_off_before_it_was_healed_is_brought_it,
        a_copy_with_a_gap_that_was_started_again_is_brought_it
    ].

init_per_testcase(Case, Config) -> [{dir, filename:join(?config(priv_dir, Config), atom_to_list(Case))} | Config].

end_per_testcase(_Case, _Config) -> ok.

%% B has come, A has seen it and is about to settle; B goes, and A acknowledges alone.
a_copy_lost_while_its_return_is_settled_is_not_forgotten(Config) ->
    [#{plan := PlanA} = A, #{plan := PlanB} = B] = started(2, #{}, Config),
    ok = put_alive(A, 1, 10),
    ok = cluster_node:kill(B),
    ok = put_alive(A, 11, 20),
    ok = cluster_node:call(A, era_callstore_rejoin, settle, []),
    ?assert(cluster_node:call(A, era_callstore_rejoin, keeps_own, [])),
    %% Nor does it matter what was settled before: what is acknowledged alone is noted before it is.
    [ok = cluster_node:call(A, mnesia, set_master_nodes, [Table, []]) || Table <- tables(A)],
    ok = put_alive(A, 21, 30),
    ok = cluster_node:kill(A),
    united(cluster_node:start([PlanA, PlanB]), lists:seq(1, 30)).

%% B starts with its own copy, which lacks what A did alone, and gets what A does from then on. A goes before B is healed.
a_copy_that_takes_rows_behind_a_gap_is_brought_what_is_in_it(Config) ->
    [#{plan := PlanA} = A, #{plan := PlanB} = B] = started(2, #{}, Config),
    ok = put_alive(A, 1, 10),
    [ok = cluster_node:call(Node, sys, suspend, [era_callstore_heal]) || Node <- [A, B]],
    ok = cluster_node:call(B, era_callstore_rejoin, keep_own, []),
    ok = cluster_node:kill(B),
    ok = put_alive(A, 11, 20),
    [Back] = cluster_node:start([PlanB]),
    ok = cluster_node:call(Back, sys, suspend, [era_callstore_heal]),
    ok = cluster_node:until(one_mnesia, fun() ->
        state(Back) =:= passive andalso cluster_node:call(Back, era_callstore_rejoin, is_together, [cluster_node:name(A)])
    end),
    ok = put_alive(A, 21, 30),
    ok = cluster_node:kill(A),
    ok = put_alive(Back, 31, 40),
    ?assertEqual([cluster_calls:cid(N) || N <- lists:seq(11, 20)], cluster_truth:missing(Back, cluster_calls:cids(1, 40))),
    ok = cluster_node:call(Back, sys, resume, [era_callstore_heal]),
    united(cluster_node:start([PlanA]) ++ [Back], lists:seq(1, 40)).

%% A starts with its own copy, which lacks what B did alone, and gets what B does from then on. They are cut from each other before
%% A is healed; A is the one that does not give way then.
a_copy_with_a_gap_that_was_cut_off_before_it_was_healed_is_brought_it(Config) ->
    {Back, B} = with_a_gap(Config),
    ok = cut([Back], [B]),
    ok = both_active(Back, B),
    ok = put_alive(Back, 31, 40),
    ok = put_alive(B, 41, 50),
    ?assertEqual([cluster_calls:cid(N) || N <- lists:seq(11, 20)], cluster_truth:missing(Back, cluster_calls:cids(1, 40))),
    [ok = cluster_node:call(Node, sys, resume, [era_callstore_heal]) || Node <- [Back, B]],
    ok = mend([Back], [B]),
    united([Back, B], lists:seq(1, 50)),
    no_gap([Back, B]).

%% As above, and A is killed and started again before they see each other.
a_copy_with_a_gap_that_was_started_again_is_brought_it(Config) ->
    {#{plan := PlanA} = Back, B} = with_a_gap(Config),
    ok = cluster_node:kill(Back),
    ok = put_alive(B, 31, 40),
    Again = cluster_node:boot(PlanA, []),
    ok = cut([Again], [B]),
    ok = cluster_node:start_application(Again),
    ok = both_active(Again, B),
    ok = put_alive(Again, 41, 50),
    ok = put_alive(B, 51, 60),
    ok = cluster_node:call(B, sys, resume, [era_callstore_heal]),
    ok = mend([Again], [B]),
    united([Again, B], lists:seq(1, 60)),
    no_gap([Again, B]).

no_gap(Nodes) ->
    cluster_node:until(no_gap, fun() ->
        Open = [cluster_node:call(Node, era_callstore_gap, open, []) || Node <- Nodes],
        lists:append(Open) =:= [] orelse {false, Open}
    end).

%% A has calls 1 to 10 and 21 to 30, B has those and 11 to 20, all of one term.
with_a_gap(Config) ->
    [#{plan := PlanA} = A, B] = started(2, #{vm => unguarded()}, Config),
    ok = cluster_node:call(A, era_callstore, handover, [1]),
    ok = cluster_node:until(handed_over, fun() -> [passive, active] =:= [state(A), state(B)] end),
    ok = put_alive(B, 1, 10),
    [ok = cluster_node:call(Node, sys, suspend, [era_callstore_heal]) || Node <- [A, B]],
    ok = cluster_node:call(A, era_callstore_rejoin, keep_own, []),
    ok = cluster_node:kill(A),
    ok = put_alive(B, 11, 20),
    [Back] = cluster_node:start([PlanA]),
    ok = cluster_node:call(Back, sys, suspend, [era_callstore_heal]),
    ok = cluster_node:until(one_mnesia, fun() ->
        state(Back) =:= passive andalso cluster_node:call(Back, era_callstore_rejoin, is_together, [cluster_node:name(B)])
    end),
    ok = put_alive(B, 21, 30),
    ?assertMatch([_], cluster_node:call(B, era_callstore_gap, open, [])),
    ?assertEqual([passive, active], [state(Back), state(B)]),
    {Back, B}.

%% B may have gone on after A, and does not come for a while.
a_node_that_acknowledged_alone_waits_for_its_peers_before_it_is_active(Config) ->
    [#{plan := PlanA} = A, #{plan := PlanB} = B] = started(2, #{}, Config),
    ok = cluster_node:kill(B),
    ok = put_alive(A, 1, 10),
    ok = cluster_node:kill(A),
    Alone = cluster_node:start(PlanA),
    ok = logged(Alone, "the log is folded"),
    Folded = erlang:monotonic_time(millisecond),
    ok = cluster_node:until(active, fun() -> state(Alone) =:= active end),
    Waited = erlang:monotonic_time(millisecond) - Folded,
    ?assert(Waited > ?ALONE_MS - 1000, Waited),
    ok = put_alive(Alone, 11, 20),
    %% Where all peers are there, it does not wait.
    ok = cluster_node:kill(Alone),
    Nodes = cluster_node:start([PlanA, PlanB]),
    united(Nodes, lists:seq(1, 20)),
    %% Nor where it has not acknowledged alone.
    ok = settled(hd(Nodes)),
    no_gap(Nodes),
    ok = cluster_node:stop(lists:last(Nodes)),
    ok = cluster_node:until(passed_on, fun() -> cluster_node:active([hd(Nodes)]) =:= cluster_node:name(hd(Nodes)) end).

%% B starts while nobody is to be reached, so Mnesia there waits for the copy of A, which it does not look for by
%% itself.
a_node_cut_off_while_it_starts_finds_the_others(Config) ->
    [A, #{plan := PlanB} = B] = started(2, #{}, Config),
    ok = put_alive(A, 1, 10),
    ok = settled(B),
    ok = cluster_node:kill(B),
    ok = put_alive(A, 11, 20),
    Again = cluster_node:boot(PlanB, []),
    ok = cut([A], [Again]),
    ok = cluster_node:start_application(Again),
    ok = cluster_node:until(loading, fun() -> state(Again) =:= loading end),
    ok = mend([A], [Again]),
    united([A, Again], lists:seq(1, 20)).

%% As if A had died right after B had given it everything and had left for A's copies.
a_node_whose_healer_has_gone_goes_on_with_its_own_copies(Config) ->
    [#{plan := PlanA} = A, #{plan := PlanB} = B, C] = started(3, #{vm => unguarded()}, Config),
    ok = put_alive(A, 1, 10),
    ok = cut([B], [A, C]),
    ok = both_active(A, B),
    ok = put_alive(B, 11, 20),
    ok = cluster_node:kill(A),
    ok = put_alive(C, 21, 30),
    [ok = cluster_node:call(B, mnesia, set_master_nodes, [Table, [cluster_node:name(A)]]) || Table <- tables(B)],
    ok = cluster_node:kill(B),
    ok = cluster_node:accept(C, [cluster_node:name(B)]),
    Again = cluster_node:start(PlanB),
    united([Again, C], lists:seq(1, 30)),
    ok = logged(Again, "it goes on with its own copies"),
    united([cluster_node:start(PlanA), Again, C], lists:seq(1, 30)).

%% C is with both. Were it not noted that B has lost A, nobody would see that they went on apart.
a_node_lost_before_the_first_look_is_known_as_lost(Config) ->
    [A, #{plan := PlanB} = B, C] = started(3, #{vm => unguarded()}, Config),
    ok = settled(B),
    ok = cluster_node:kill(B),
    _ = cluster_node:settled([A, C]),
    Again = cluster_node:start(PlanB),
    ok = cluster_node:call(Again, sys, suspend, [era_callstore_heal]),
    %% It has asked A of what lineage its copy is.
    ok = cluster_node:until(passive, fun() -> state(Again) =:= passive end),
    ok = cut([A], [Again]),
    ok = cluster_node:call(Again, sys, resume, [era_callstore_heal]),
    Lost = cluster_node:name(A),
    ok = cluster_node:until(lost, fun() ->
        #{lost := Nodes} = cluster_node:call(Again, era_callstore_heal, said, []),
        lists:member(Lost, Nodes) orelse {false, Nodes}
    end),
    ok = put_alive(A, 1, 10),
    ok = put_alive(Again, 11, 20),
    ok = mend([A], [Again]),
    united([A, Again, C], lists:seq(1, 20)).

%% B made the tables, so its first copy began a lineage; the second one is A's, which has been started alone meanwhile.
a_copy_made_anew_is_of_the_lineage_that_it_was_loaded_from(Config) ->
    [PlanA, PlanB] = Plans = cluster_node:plan(?config(dir, Config), 2, #{}),
    B = cluster_node:start(PlanB),
    ok = cluster_node:until(active, fun() -> state(B) =:= active end),
    A = cluster_node:start(PlanA),
    _ = cluster_node:settled([A, B]),
    First = lineage(B),
    ?assertEqual(First, lineage(A)),
    %% Also that of the table of epochs is asked for.
    ?assertEqual(epochs(A), epochs(B)),
    ok = configure(A, Plans, [PlanA]),
    ok = cluster_node:until(given_back, fun() -> tables(B) =:= [] end),
    ok = cluster_node:kill(A),
    Again = cluster_node:start([PlanA], only(Plans, [PlanA])),
    ok = cluster_node:until(active, fun() -> state(hd(Again)) =:= active end),
    ok = put_alive(hd(Again), 1, 10),
    ?assertNotEqual(First, lineage(hd(Again))),
    ok = configure(hd(Again), Plans, Plans),
    united(Again ++ [B], lists:seq(1, 10)),
    ?assertEqual(lineage(hd(Again)), lineage(B)),
    ?assertEqual(nomatch, re:run(cluster_split:log(B), "healed")).

%% Of copies that were all killed at one moment Mnesia loads that of the lowest name, here the new one.
a_copy_made_anew_outlives_a_kill_of_all(Config) ->
    [A, B] = Nodes = started(2, #{}, Config),
    Plans = [PlanA, PlanB] = [Plan || #{plan := Plan} <- Nodes],
    ok = put_alive(A, 1, 10),
    ok = configure(B, Plans, [PlanB]),
    ok = cluster_node:until(given_back, fun() -> tables(A) =:= [] end),
    ok = put_alive(B, 11, 20),
    ok = configure(B, Plans, Plans),
    ok = cluster_node:lowest_active(Nodes),
    cluster_split:all_there(Nodes, lists:seq(1, 20)),
    [ok = settled(Node) || Node <- Nodes],
    ok = cluster_node:kill_together(Nodes),
    united(cluster_node:start([PlanA, PlanB]), lists:seq(1, 20)).

%% Mnesia on A does not come up before B has, as after a kill of both in the midst of a change of the schema.
a_start_that_waits_for_another_node_lets_it_start(Config) ->
    Nodes = started(2, #{}, Config),
    ok = put_alive(hd(Nodes), 1, 10),
    [ok = settled(Node) || Node <- Nodes],
    ok = cluster_node:kill_together(Nodes),
    [A, B] = Again = cluster_node:boot([Plan || #{plan := Plan} <- Nodes]),
    {ok, mnesia_app, Held} = compile:forms([
        cluster_split:form(Text)
     || Text <- [
            "-module(mnesia_app).", "-export([start/2]).",
            "start(Type, Arguments) ->"
            "    true = register(held, self()),"
            "    receive go -> ok end,"
            "    {module, _} = code:load_file(mnesia_app),"
            "    mnesia_app:start(Type, Arguments)."
        ]
    ]),
    {module, _} = cluster_node:call(A, code, load_binary, [mnesia_app, "held", Held]),
    {Starting, Monitor} = spawn_monitor(fun() -> ok = cluster_node:start_application(A) end),
    ok = cluster_node:until(held, fun() -> is_pid(cluster_node:call(A, erlang, whereis, [held])) end),
    ok = cluster_node:start_application(B),
    ?assert(is_process_alive(Starting)),
    go = cluster_node:call(A, erlang, send, [held, go]),
    receive {'DOWN', Monitor, process, Starting, normal} -> ok end,
    united(Again, lists:seq(1, 10)).

%% It runs Mnesia all the same, for those who ask it; nobody but the heal starts that again.
a_node_without_an_instance_is_healed(Config) ->
    [PlanA, PlanB, _] = Plans = cluster_node:plan(?config(dir, Config), 3, #{vm => unguarded()}),
    Nodes = [A, B, D] = cluster_node:start(Plans, only(Plans, [PlanA, PlanB])),
    _ = cluster_node:settled([A, B]),
    ok = put_alive(D, 1, 10),
    ok = one_mnesia(Nodes),
    ok = cut([D], [A, B]),
    ok = cluster_node:until(cut_off, fun() -> side(D) =:= [cluster_node:name(D)] end),
    ok = put_alive(A, 11, 20),
    ok = mend([D], [A, B]),
    ok = one_mnesia(Nodes),
    ok = put_alive(D, 21, 30),
    cluster_split:all_there([A, B], lists:seq(1, 30)).

%% --- small things

started(Number, Settings, Config) -> cluster_split:started(Number, Settings, ?config(dir, Config)).

%% It is like all others, and Mnesia there is to choose which copies to start with.
settled(Node) ->
    cluster_node:until(settled, fun() -> not cluster_node:call(Node, era_callstore_rejoin, keeps_own, []) end).

tables(Node) -> cluster_node:call(Node, mnesia, system_info, [local_tables]) -- [schema].

lineage(Node) -> cluster_node:call(Node, era_callstore_lineage, of_copy, [1]).

epochs(Node) -> cluster_node:call(Node, era_callstore_lineage, of_epochs, []).

side(Node) -> cluster_node:call(Node, era_callstore_rejoin, side, []).

one_mnesia(Nodes) ->
    Names = lists:sort([cluster_node:name(Node) || Node <- Nodes]),
    cluster_node:until(one_mnesia, fun() ->
        Sides = [lists:sort(side(Node)) || Node <- Nodes],
        lists:usort(Sides) =:= [Names] orelse {false, Sides}
    end).

configure(At, Plans, Placed) ->
    ?assertEqual(ok, cluster_node:call(At, era_callstore, configure, [only(Plans, Placed)])).

%% The roles and places of these plans only.
only([#{settings := #{roles := Roles, instances := Instances}} | _], Placed) ->
    Names = [Name || #{name := Name} <- Placed],
    There = maps:filter(fun(_, Node) -> lists:member(Node, Names) end, Instances),
    #{roles => [Role || #{<<"name">> := Name} = Role <- Roles, is_map_key(Name, There)], instances => There}.
