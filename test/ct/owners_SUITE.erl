%%% Owners that change, come back, or were started again: who serves a call is watched, with real nodes and processes.
-module(owners_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2]).
-export([
    a_call_that_comes_back_to_its_first_owner_is_watched_there/1,
    a_call_that_comes_back_to_an_owner_that_has_died_is_found_dead/1,
    a_name_that_is_registered_anew_serves_on_and_is_watched_again/1,
    a_call_that_was_found_alive_again_has_its_owner_watched/1,
    a_call_that_names_a_lost_node_is_lost_with_it/1,
    a_node_that_was_started_again_within_the_grace_has_lost_its_processes/1,
    a_hidden_node_that_is_out_of_reach_and_back_kills_nobody/1,
    a_passive_judges_nothing/1,
    owners_that_died_while_no_instance_ran_are_found_dead/1
]).

-import(watch_cluster, [
    stores/1, b2b/2, in_conversation/3, named/2, kill/3, watch/1, told/1, monitors/1, record/2, finish/2, call/3,
    until/1, cid/1, dialog/1, alive/1, later/4
]).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [
        a_call_that_comes_back_to_its_first_owner_is_watched_there,
        a_call_that_comes_back_to_an_owner_that_has_died_is_found_dead,
        a_name_that_is_registered_anew_serves_on_and_is_watched_again,
        a_call_that_was_found_alive_again_has_its_owner_watched,
        a_call_that_names_a_lost_node_is_lost_with_it,
        a_node_that_was_started_again_within_the_grace_has_lost_its_processes,
        a_hidden_node_that_is_out_of_reach_and_back_kills_nobody,
        a_passive_judges_nothing,
        owners_that_died_while_no_instance_ran_are_found_dead
    ].

%% The grace for nodes is long enough to start one again; a call waits for its dlg_stop for longer than for the end of a
%% dead owner's call.
init_per_suite(Config) ->
    Limits = #{node_grace_ms => 8000, stop_wait_ms => 1500},
    watch_cluster:start(#{probe => callstore_example_probe, watch => Limits}, Config).

end_per_suite(Config) -> watch_cluster:stop(Config).

%% What cases before it served is let go.
init_per_testcase(_Case, Config) ->
    [Store | _] = stores(Config),
    until(fun() -> monitors(Store) =:= 0 end),
    Config.

%% --- cases

a_call_that_comes_back_to_its_first_owner_is_watched_there(Config) ->
    [Store | _] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    [First] = in_conversation(Store, B2b, [1001]),
    Second = cluster_node:call(B2b, watch_owner, start, [[dialog(1001)]]),
    {ok, _} = call(Store, put, [later(1001, <<"hold">>, 1, #{}), #{owner => Second}]),
    served_by(Store, 1001, Second),
    until(fun() -> is_watched(B2b, Second) andalso not is_watched(B2b, First) end),
    {ok, _} = call(Store, put, [later(1001, <<"unhold">>, 2, #{}), #{owner => First}]),
    served_by(Store, 1001, First),
    until(fun() -> is_watched(B2b, First) end),
    ok = kill(B2b, First, kill),
    ?assertMatch([#{<<"kind">> := <<"owner_down">>, <<"reason">> := <<"killed">>} | _], evidence(Store, 1001)),
    cluster_node:stop(B2b).

a_call_that_comes_back_to_an_owner_that_has_died_is_found_dead(Config) ->
    [Store | _] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    [First] = in_conversation(Store, B2b, [1101]),
    Second = cluster_node:call(B2b, watch_owner, start, [[dialog(1101)]]),
    {ok, _} = call(Store, put, [later(1101, <<"hold">>, 1, #{}), #{owner => Second}]),
    served_by(Store, 1101, Second),
    until(fun() -> is_watched(B2b, Second) andalso not is_watched(B2b, First) end),
    ok = kill(B2b, First, kill),
    {ok, _} = call(Store, put, [later(1101, <<"unhold">>, 2, #{}), #{owner => First}]),
    ?assertMatch([#{<<"kind">> := <<"owner_down">>, <<"reason">> := <<"noproc">>} | _], evidence(Store, 1101)),
    cluster_node:stop(B2b).

a_name_that_is_registered_anew_serves_on_and_is_watched_again(Config) ->
    [Store | _] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    {Name, Process} = named(B2b, [dialog(1201)]),
    {ok, _} = call(Store, put, [alive(1201), #{owner => Name}]),
    %% There it is watched once the nodes are connected.
    until(fun() -> is_watched(B2b, Process) end),
    Told = told(Store),
    ok = kill(B2b, Process, normal),
    until(fun() -> not cluster_node:call(B2b, erlang, is_process_alive, [Process]) end),
    %% Who answers to the name now has taken the dialog over, and says so when it is asked.
    {Name, Next} = named(B2b, [dialog(1201)]),
    until(fun() -> told(Store) > Told andalso monitors(Store) =:= 0 end),
    until(fun() -> monitors(Store) =:= 1 end),
    ?assertEqual(<<"confirmed">>, state(Store, 1201)),
    ok = kill(B2b, Next, kill),
    ?assertMatch([#{<<"kind">> := <<"owner_down">>, <<"reason">> := <<"killed">>} | _], evidence(Store, 1201)),
    cluster_node:stop(B2b).

a_call_that_was_found_alive_again_has_its_owner_watched(Config) ->
    [Store | _] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    [Owner] = in_conversation(Store, B2b, [1301]),
    %% It says twice that it does not serve the call; then it does again, and says so.
    ok = cluster_node:call(B2b, gen_server, cast, [Owner, {forget, dialog(1301)}]),
    until(fun() ->
        ok = call(Store, report, [#{kind => gone, dialogid => dialog(1301)}]),
        state(Store, 1301) =:= <<"dead">>
    end),
    until(fun() -> monitors(Store) =:= 0 end),
    {ok, Owner} = cluster_node:call(B2b, gen_server, call, [Owner, {adopt, #{dialogid => dialog(1301)}}]),
    until(fun() ->
        ok = call(Store, report, [#{kind => alive, dialogid => dialog(1301)}]),
        state(Store, 1301) =:= <<"confirmed">>
    end),
    until(fun() -> is_watched(B2b, Owner) end),
    ok = kill(B2b, Owner, kill),
    until(fun() -> state(Store, 1301) =:= <<"dead">> end),
    until(fun() ->
        [#{<<"end">> := #{<<"evidence">> := Evidence}} | _] = call(Store, record, [cid(1301)]),
        [R || #{<<"kind">> := <<"owner_down">>, <<"reason">> := R} <- Evidence] =:= [<<"killed">>]
    end),
    cluster_node:stop(B2b).

a_call_that_names_a_lost_node_is_lost_with_it(Config) ->
    [Store | _] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    [Owner] = in_conversation(Store, B2b, [1401]),
    cluster_node:kill(B2b),
    until(fun() -> lists:member(cluster_node:name(B2b), maps:get(nodes_down, watch(Store))) end),
    %% An event of it that was still on its way; the node is known to be down, and nobody says so again.
    {ok, _} = call(Store, put, [alive(1402), #{owner => Owner}]),
    [?assertMatch(#{<<"end">> := #{<<"origin">> := <<"synthetic">>}}, record(Store, N)) || N <- [1401, 1402]].

a_node_that_was_started_again_within_the_grace_has_lost_its_processes(Config) ->
    [Store | _] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    Numbers = lists:seq(1501, 1510),
    _ = in_conversation(Store, B2b, Numbers),
    {Name, _} = named(B2b, [dialog(1511)]),
    {ok, _} = call(Store, put, [alive(1511), #{owner => Name}]),
    until(fun() -> monitors(Store) =:= 11 end),
    cluster_node:kill(B2b),
    until(fun() -> lists:member(cluster_node:name(B2b), maps:get(nodes_down, watch(Store))) end),
    Again = b2b(Config, ?FUNCTION_NAME),
    %% What had a name has it again, and has its dialog back; what had none is gone.
    {Name, _} = named(Again, [dialog(1511)]),
    until(fun() -> maps:get(nodes_down, watch(Store)) =:= [] end),
    [
        ?assertMatch([#{<<"kind">> := <<"owner_down">>, <<"reason">> := <<"noproc">>} | _], evidence(Store, N))
     || N <- Numbers
    ],
    {ok, #{<<"state">> := <<"confirmed">>}} = call(Store, call, [{cid, cid(1511)}]),
    until(fun() -> monitors(Store) =:= 1 end),
    ok = finish(Store, 1511),
    cluster_node:stop(Again).

a_hidden_node_that_is_out_of_reach_and_back_kills_nobody(Config) ->
    [Store | _] = stores(Config),
    Node = list_to_atom(lists:concat(["hidden_b2b_", os:getpid(), "@127.0.0.1"])),
    Dir = filename:join(?config(priv_dir, Config), ?FUNCTION_NAME),
    Plan = #{name => Node, dir => Dir, settings => #{}, vm => ["-hidden"]},
    B2b = cluster_node:boot(Plan, []),
    Owners = in_conversation(Store, B2b, [1601, 1602]),
    Told = told(Store),
    true = cluster_node:call(Store, erlang, disconnect_node, [Node]),
    %% That it is down, and that it is up.
    until(fun() -> told(Store) >= Told + 2 end),
    until(fun() -> maps:get(nodes_down, watch(Store)) =:= [] andalso monitors(Store) =:= length(Owners) end),
    [{ok, #{<<"state">> := <<"confirmed">>}} = call(Store, call, [{cid, cid(N)}]) || N <- [1601, 1602]],
    [finish(Store, N) || N <- [1601, 1602]],
    cluster_node:stop(B2b).

%% The one that may judge is kept from seeing; the other sees all of it.
a_passive_judges_nothing(Config) ->
    [Active, Passive] = stores(Config),
    Did = did(Passive),
    B2b = b2b(Config, ?FUNCTION_NAME),
    [Owner] = in_conversation(Active, B2b, [1701]),
    true = cluster_node:call(Passive, net_kernel, connect_node, [cluster_node:name(B2b)]),
    %% It neither sees nor asks.
    Senses = [cluster_node:call(Active, erlang, whereis, [N]) || N <- [era_callstore_watch_1, era_callstore_jobs_1]],
    [ok = cluster_node:call(Active, sys, suspend, [Sense]) || Sense <- Senses],
    ok = kill(B2b, Owner, kill),
    Lives = [cluster_node:name(B2b), erlang, is_process_alive, [Owner]],
    until(fun() -> not cluster_node:call(Passive, erpc, call, Lives) end),
    %% A report that is given to the passive is for the active, and nobody else takes it.
    {error, no_active} = call(Passive, report, [#{kind => gone, dialogid => dialog(1701)}]),
    %% So much time passes that both would have ended the call: another has waited in vain for its dlg_stop.
    {ok, _} = call(Passive, put, [lists:sublist(watch_cluster:events(1702), 4)]),
    #{<<"completeness">> := #{<<"stop_lost">> := true}} = record(Active, 1702),
    [{ok, #{<<"state">> := <<"confirmed">>}} = call(Store, call, [{cid, cid(1701)}]) || Store <- [Active, Passive]],
    [ok = cluster_node:call(Active, sys, resume, [Sense]) || Sense <- Senses],
    #{<<"end">> := #{<<"origin">> := <<"synthetic">>}, <<"node">> := Judge} = record(Active, 1701),
    ?assertEqual(atom_to_binary(cluster_node:name(Active)), Judge),
    ?assertEqual(Did, did(Passive)),
    [
        ?assertEqual(undefined, cluster_node:call(Passive, erlang, whereis, [Name]))
     || Name <- [era_callstore_watch_1, era_callstore_jobs_1]
    ],
    ?assertEqual(#{}, watch(Passive)),
    cluster_node:stop(B2b).

%% The instances that start then have never heard of the node.
owners_that_died_while_no_instance_ran_are_found_dead(Config) ->
    [Store | _] = Stores = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    _ = in_conversation(Store, B2b, [1801, 1802]),
    {ok, _} = call(Store, put, [alive(1803), #{owner => cluster_node:name(B2b)}]),
    {ok, _} = call(Store, put, [alive(1804), #{owner => {b2b, cluster_node:name(B2b)}}]),
    ok = cluster_node:kill_together([B2b | Stores]),
    [Again | _] = watch_cluster:changed(
        fun(Killed) -> cluster_node:start([Plan || #{plan := Plan} <- Killed]) end, Config
    ),
    [
        ?assertMatch(
            [#{<<"kind">> := <<"node_down">>} | _],
            evidence(Again, N)
        )
     || N <- lists:seq(1801, 1804)
    ].

%% --- what is asked

evidence(Store, N) ->
    #{<<"end">> := #{<<"origin">> := <<"synthetic">>, <<"evidence">> := Evidence}} = record(Store, N),
    Evidence.

%% What an instance saw, asked, and wrote into the log.
did(Store) ->
    Counters = [evidence_told, dialogs_probed, mixes_accepted, calls_rescued, terms_begun],
    All = cluster_node:call(Store, era_callstore_counters, all, []),
    Counted = [{Counter, Value} || {Counter, _, Value} <- All, lists:member(Counter, Counters)],
    Keys = cluster_node:call(Store, era_callstore_log, keys, [1]),
    {Counted, [Key || {_, Node, _} = Key <- Keys, Node =:= cluster_node:name(Store)]}.

served_by(Store, N, Owner) ->
    {ok, #{<<"owner">> := Served}} = call(Store, call, [{cid, cid(N)}]),
    ?assertEqual(Owner, Served).

is_watched(B2b, Owner) ->
    {monitored_by, By} = cluster_node:call(B2b, erlang, process_info, [Owner, monitored_by]),
    By =/= [].

state(Store, N) ->
    {ok, #{<<"state">> := State}} = call(Store, call, [{cid, cid(N)}]),
    State.
