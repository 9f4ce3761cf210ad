%%% Owners that go, with real processes and nodes: two instances of one group, and nodes of a b2b beside them.
-module(watch_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([
    a_killed_owner_ends_its_dialog_once/1,
    an_owner_that_ends_in_order_before_its_end_event_is_no_death/1,
    a_real_end_after_a_synthetic_one_makes_revision_two/1,
    a_probe_that_says_gone_twice_ends_the_dialog_of_an_external_owner/1,
    an_inventory_without_the_dialog_counts_when_it_comes_twice/1,
    a_rescued_conversation_lives_on_under_its_new_owner/1,
    a_mix_is_asked_for_until_the_mixer_takes_it/1,
    a_node_that_is_out_of_reach_and_back_kills_nobody/1,
    a_killed_node_ends_all_of_its_dialogs_once/1,
    the_next_active_watches_the_same_owners/1
]).

-import(watch_cluster, [
    stores/1, b2b/2, in_conversation/3, kill/3, watch/1, told/1, monitors/1, record/2, ready/2, finish/2, call/3,
    until/1, cid/1, events/1, alive/1, rec_info/1
]).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [
        a_killed_owner_ends_its_dialog_once,
        an_owner_that_ends_in_order_before_its_end_event_is_no_death,
        a_real_end_after_a_synthetic_one_makes_revision_two,
        a_probe_that_says_gone_twice_ends_the_dialog_of_an_external_owner,
        an_inventory_without_the_dialog_counts_when_it_comes_twice,
        a_rescued_conversation_lives_on_under_its_new_owner,
        a_mix_is_asked_for_until_the_mixer_takes_it,
        a_node_that_is_out_of_reach_and_back_kills_nobody,
        a_killed_node_ends_all_of_its_dialogs_once,
        the_next_active_watches_the_same_owners
    ].

init_per_suite(Config) ->
    Dir = ?config(priv_dir, Config),
    Settings = #{
        probe => callstore_example_probe, mixer => callstore_example_mixer, rescue => callstore_example_rescue
    },
    watch_cluster:start(Settings, [{spool, filename:join(Dir, "watch_spool")} | Config]).

end_per_suite(Config) -> watch_cluster:stop(Config).

%% --- cases

a_killed_owner_ends_its_dialog_once(Config) ->
    [Store | _] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    [Owner] = in_conversation(Store, B2b, [1001]),
    kill(B2b, Owner, kill),
    #{<<"end">> := End} = Record = record(Store, 1001),
    ?assertMatch(#{<<"origin">> := <<"synthetic">>, <<"estimated">> := true, <<"term_cause">> := 1000}, End),
    ?assertMatch([#{<<"kind">> := <<"owner_down">>, <<"reason">> := <<"killed">>} | _], maps:get(<<"evidence">>, End)),
    ?assertEqual(1, maps:get(<<"revision">>, Record)),
    {ok, #{<<"state">> := State}} = call(Store, call, [{cid, cid(1001)}]),
    ?assertEqual(<<"dead">>, State),
    {ok, Lines} = call(Store, explain, [{cid, cid(1001)}]),
    ?assertEqual(1, length([Line || Line <- Lines, binary:match(Line, <<" dlg_dead">>) =/= nomatch])),
    cluster_node:stop(B2b).

an_owner_that_ends_in_order_before_its_end_event_is_no_death(Config) ->
    [Store | _] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    [Owner] = in_conversation(Store, B2b, [1101]),
    kill(B2b, Owner, normal),
    until(fun() -> monitors(Store) =:= 0 end),
    %% The end is said after the process has gone, as a broker may do it.
    {ok, _} = call(Store, put, [lists:nthtail(3, events(1101))]),
    #{<<"end">> := End} = record(Store, 1101),
    ?assertMatch(#{<<"origin">> := <<"signalled">>, <<"term_cause">> := 1}, End),
    cluster_node:stop(B2b).

a_real_end_after_a_synthetic_one_makes_revision_two(Config) ->
    [Store | _] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    [Owner] = in_conversation(Store, B2b, [1201]),
    kill(B2b, Owner, kill),
    #{<<"end">> := #{<<"origin">> := <<"synthetic">>}} = record(Store, 1201),
    {ok, _} = call(Store, put, [lists:nthtail(3, events(1201))]),
    until(fun() -> length(call(Store, record, [cid(1201)])) =:= 2 end),
    [#{<<"revision">> := 2, <<"end">> := End} | _] = call(Store, record, [cid(1201)]),
    ?assertMatch(#{<<"origin">> := <<"signalled">>, <<"estimated">> := false, <<"term_cause">> := 1}, End),
    cluster_node:stop(B2b).

a_probe_that_says_gone_twice_ends_the_dialog_of_an_external_owner(Config) ->
    [Store | _] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    %% One process serves two dialogs and forgets one of them.
    Owner = cluster_node:call(B2b, watch_owner, start, [[<<"d1301">>, <<"d1302">>]]),
    true = cluster_node:call(B2b, erlang, register, [b2b, Owner]),
    Named = {b2b, cluster_node:name(B2b)},
    [{ok, _} = call(Store, put, [alive(N), #{owner => Named}]) || N <- [1301, 1302]],
    ok = cluster_node:call(B2b, gen_server, cast, [Owner, {forget, <<"d1301">>}]),
    #{<<"end">> := #{<<"evidence">> := Evidence}} = record(Store, 1301),
    ?assertMatch([_ | _], [E || #{<<"kind">> := <<"probe">>, <<"answer">> := <<"gone">>} = E <- Evidence]),
    {ok, #{<<"state">> := <<"confirmed">>}} = call(Store, call, [{cid, cid(1302)}]),
    finish(Store, 1302),
    cluster_node:stop(B2b).

an_inventory_without_the_dialog_counts_when_it_comes_twice(Config) ->
    [Store, Passive] = stores(Config),
    Owner = {external, <<"gateway">>},
    [{ok, _} = call(Store, put, [alive(N), #{owner => Owner}]) || N <- [1401, 1402]],
    Inventory = #{kind => inventory, owner => Owner, dialogs => [<<"d1402">>]},
    Failed = Inventory#{dialogs => failed},
    %% From any node; one that failed says nothing.
    [ok = call(Passive, report, [Report]) || Report <- [Failed, Failed, Inventory]],
    {ok, #{<<"state">> := <<"confirmed">>}} = call(Store, call, [{cid, cid(1401)}]),
    until(fun() ->
        ok = call(Passive, report, [Inventory]),
        call(Store, record, [cid(1401)]) =/= []
    end),
    {ok, #{<<"state">> := <<"confirmed">>}} = call(Store, call, [{cid, cid(1402)}]),
    finish(Store, 1402).

a_rescued_conversation_lives_on_under_its_new_owner(Config) ->
    [Store | _] = Stores = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    [_ = cluster_node:call(S, pg, start, [pg]) || S <- Stores],
    Spare = cluster_node:call(Store, watch_owner, spare, []),
    [Owner] = in_conversation(Store, B2b, [1501]),
    kill(B2b, Owner, kill),
    until(fun() ->
        {ok, #{<<"owner">> := Now}} = call(Store, call, [{cid, cid(1501)}]),
        Now =:= Spare
    end),
    {ok, #{<<"state">> := <<"confirmed">>}} = call(Store, call, [{cid, cid(1501)}]),
    ?assertEqual([], call(Store, record, [cid(1501)])),
    finish(Store, 1501),
    true = cluster_node:call(Store, erlang, exit, [Spare, kill]),
    until(fun() -> cluster_node:call(Store, pg, get_members, [spare_b2b]) =:= [] end),
    cluster_node:stop(B2b).

a_mix_is_asked_for_until_the_mixer_takes_it(Config) ->
    [Store | _] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    [Owner] = in_conversation(Store, B2b, [1601]),
    {ok, _} = call(Store, put, [rec_info(1601)]),
    kill(B2b, Owner, kill),
    %% There is no spool folder yet: the mixer refuses.
    Spool = ?config(spool, Config),
    recording(Store, 1601, <<"failed">>),
    ok = filelib:ensure_path(Spool),
    File = filename:join(Spool, <<(cid(1601))/binary, ".mix">>),
    until(fun() -> filelib:is_regular(File) end),
    {ok, [#{<<"dialogid">> := <<"d1601">>, <<"mgctxid">> := <<"ctx1601">>, <<"attempt">> := Attempt}]} = file:consult(File),
    ?assert(Attempt > 1),
    recording(Store, 1601, <<"asked">>),
    cluster_node:stop(B2b).

a_node_that_is_out_of_reach_and_back_kills_nobody(Config) ->
    [Store | _] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    Numbers = lists:seq(1701, 1720),
    Owners = in_conversation(Store, B2b, Numbers),
    until(fun() -> monitors(Store) >= length(Owners) end),
    Told = told(Store),
    true = cluster_node:call(Store, erlang, disconnect_node, [cluster_node:name(B2b)]),
    until(fun() -> told(Store) > Told end),
    %% It is called again, and its owners are watched again.
    until(fun() ->
        not lists:member(cluster_node:name(B2b), maps:get(nodes_down, watch(Store))) andalso
            monitors(Store) >= length(Owners)
    end),
    [{ok, #{<<"state">> := <<"confirmed">>}} = call(Store, call, [{cid, cid(N)}]) || N <- Numbers],
    [finish(Store, N) || N <- Numbers],
    cluster_node:stop(B2b).

a_killed_node_ends_all_of_its_dialogs_once(Config) ->
    [Store | _] = Stores = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    Numbers = lists:seq(2001, 2300),
    _ = in_conversation(Store, B2b, Numbers),
    cluster_node:kill(B2b),
    until(fun() -> call(Store, count, [#{}]) =:= 0 end),
    lists:foreach(
        fun(N) -> #{<<"end">> := #{<<"term_cause">> := 1000}, <<"revision">> := 1} = record(Store, N) end, Numbers
    ),
    %% More than the brakes let pass in a second, on one kind of evidence.
    ?assertMatch([#{kind := mass_death} | _], maps:get(alarms, watch(Store))),
    [Digest] = cluster_node:digests(Stores),
    ?assert(is_binary(Digest)).

the_next_active_watches_the_same_owners(Config) ->
    [Store, Next] = stores(Config),
    B2b = b2b(Config, ?FUNCTION_NAME),
    [Owner | _] = in_conversation(Store, B2b, lists:seq(3001, 3100)),
    cluster_node:kill(Store),
    until(fun() -> maps:get(monitors, watch(Next), 0) >= 100 end),
    kill(B2b, Owner, kill),
    #{<<"end">> := #{<<"origin">> := <<"synthetic">>}, <<"epoch">> := Epoch} = record(Next, 3001),
    ?assert(Epoch > 1),
    ?assertEqual(99, call(Next, count, [#{}])),
    cluster_node:stop(B2b).

%% Waits until the newest record says so of the recording.
recording(Store, N, State) ->
    cluster_node:until({recording, State}, fun() ->
        [#{<<"recording">> := #{<<"state">> := Is}} | _] = ready(Store, N),
        Is =:= State orelse {false, {Is, call(Store, explain, [{cid, cid(N)}])}}
    end).
