%%% The mix of a dead dialog's recording: once in effect, asked for until it is taken, whoever is active, whoever
%%% restarts.
-module(mix_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2]).
-export([
    a_mix_that_waits_for_its_next_attempt_goes_on_on_the_next_active/1,
    a_mix_that_is_being_tried_when_the_active_dies_is_tried_by_the_next/1,
    a_mix_goes_on_where_it_was_after_a_restart_of_all/1,
    links_close_a_mix_over_a_take_over/1
]).

-import(watch_cluster, [
    stores/1, changed/2, b2b/2, in_conversation/3, kill/3, ready/2, call/3, until/1, cid/1, rec_info/1, rec_links/1
]).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [
        a_mix_that_waits_for_its_next_attempt_goes_on_on_the_next_active,
        a_mix_that_is_being_tried_when_the_active_dies_is_tried_by_the_next,
        a_mix_goes_on_where_it_was_after_a_restart_of_all,
        links_close_a_mix_over_a_take_over
    ].

init_per_suite(Config) ->
    Spool = filename:join(?config(priv_dir, Config), "mix_spool"),
    ok = watch_mixer:mode(Spool, refuse),
    watch_cluster:start(#{mixer => watch_mixer}, [{spool, Spool} | Config]).

end_per_suite(Config) -> watch_cluster:stop(Config).

%% Both run, the one of lowest order is active, and it can be told what the mixer does.
init_per_testcase(_Case, Config) ->
    Stores = stores(Config),
    _ = cluster_node:settled(Stores),
    ok = cluster_node:lowest_active(Stores),
    Config.

%% --- cases

a_mix_that_waits_for_its_next_attempt_goes_on_on_the_next_active(Config) ->
    [Active, Next] = stores(Config),
    ok = mode(refuse, Config),
    ok = dead_and_recorded(1001, Active, ?FUNCTION_NAME, Config),
    until(fun() -> length(attempts(1001, Config)) >= 2 end),
    until(fun() -> recording(Active, 1001) =:= <<"failed">> end),
    ok = killed(Active),
    until(fun() -> is_asked_by(Next, 1001, Config) end),
    ok = mode(take, Config),
    ok = taken_once(Next, 1001, Config),
    %% The next active has counted on: no attempt was given out twice, none left out.
    Attempts = attempts(1001, Config),
    ?assertEqual(lists:seq(1, length(Attempts)), Attempts),
    back(Active, Config).

a_mix_that_is_being_tried_when_the_active_dies_is_tried_by_the_next(Config) ->
    [Active, Next] = stores(Config),
    ok = mode(hang, Config),
    ok = dead_and_recorded(1101, Active, ?FUNCTION_NAME, Config),
    until(fun() -> attempts(1101, Config) =:= [1] end),
    %% Said before the mixer was asked, on every copy.
    until(fun() -> recording(Next, 1101) =:= <<"asked">> end),
    ok = killed(Active),
    ok = mode(take, Config),
    ok = taken_once(Next, 1101, Config),
    ?assertEqual([1, 2], attempts(1101, Config)),
    back(Active, Config).

a_mix_goes_on_where_it_was_after_a_restart_of_all(Config) ->
    [Active | _] = stores(Config),
    ok = mode(take, Config),
    ok = dead_and_recorded(1201, Active, taken, Config),
    ok = taken_once(Active, 1201, Config),
    ok = mode(refuse, Config),
    ok = dead_and_recorded(1202, Active, refused, Config),
    until(fun() -> length(attempts(1202, Config)) >= 2 end),
    Again = restarted(Config),
    ok = mode(take, Config),
    ok = taken_once(hd(Again), 1202, Config),
    Attempts = attempts(1202, Config),
    ?assertEqual(lists:seq(1, length(Attempts)), Attempts),
    %% And nothing is asked anew of what was taken: a job that came after a restart more was given out meanwhile.
    Last = restarted(Config),
    ok = dead_and_recorded(1203, hd(Last), later, Config),
    ok = taken_once(hd(Last), 1203, Config),
    ?assertEqual([1], attempts(1201, Config)),
    ?assertEqual(Attempts, attempts(1202, Config)).

links_close_a_mix_over_a_take_over(Config) ->
    [Active, Next] = stores(Config),
    ok = mode(refuse, Config),
    ok = dead_and_recorded(1301, Active, ?FUNCTION_NAME, Config),
    until(fun() -> recording(Active, 1301) =:= <<"failed">> end),
    %% Somebody else has mixed it.
    {ok, _} = call(Active, put, [rec_links(1301)]),
    until(fun() -> recording(Active, 1301) =:= <<"mixed">> end),
    Attempts = attempts(1301, Config),
    ok = killed(Active),
    ok = mode(take, Config),
    ok = dead_and_recorded(1302, Next, later, Config),
    ok = taken_once(Next, 1302, Config),
    ?assertEqual(Attempts, attempts(1301, Config)),
    ?assertEqual(<<"mixed">>, recording(Next, 1301)),
    back(Active, Config).

%% --- calls and nodes

%% A conversation that is recorded, and whose owner dies.
dead_and_recorded(N, Store, Name, Config) ->
    B2b = b2b(Config, Name),
    [Owner] = in_conversation(Store, B2b, [N]),
    {ok, _} = call(Store, put, [rec_info(N)]),
    ok = kill(B2b, Owner, kill),
    _ = ready(Store, N),
    cluster_node:stop(B2b).

killed(Node) -> cluster_node:kill(Node).

%% Started again in its folder.
back(#{plan := Plan} = Killed, Config) ->
    Again = fun(Stores) -> [case Store of Killed -> cluster_node:start(Plan); _ -> Store end || Store <- Stores] end,
    Stores = changed(Again, Config),
    ok = cluster_node:together(Stores),
    _ = cluster_node:settled(Stores),
    ok.

restarted(Config) ->
    Stores = changed(
        fun(Running) ->
            ok = cluster_node:kill_together(Running),
            cluster_node:start([Plan || #{plan := Plan} <- Running])
        end,
        Config
    ),
    %% Each may have started with its own copy: one is healed by the other, which is not to be killed meanwhile.
    ok = cluster_node:together(Stores),
    _ = cluster_node:settled(Stores),
    ok = cluster_node:lowest_active(Stores),
    Stores.

%% --- the mixer

mode(Mode, Config) -> watch_mixer:mode(?config(spool, Config), Mode).

attempts(N, Config) ->
    Cid = cid(N),
    [Attempt || {_, Of, Attempt} <- watch_mixer:asked(?config(spool, Config)), Of =:= Cid].

is_asked_by(Node, N, Config) ->
    {Name, Cid} = {cluster_node:name(Node), cid(N)},
    [] =/= [By || {By, Of, _} <- watch_mixer:asked(?config(spool, Config)), By =:= Name, Of =:= Cid].

%% Taken, in the record, and not taken again once that is so.
taken_once(Store, N, Config) ->
    Cid = cid(N),
    Jobs = fun() -> [Job || {_, Of, Job} <- watch_mixer:taken(?config(spool, Config)), Of =:= Cid] end,
    until(fun() -> Jobs() =/= [] end),
    until(fun() -> recording(Store, N) =:= <<"asked">> end),
    Dialog = watch_cluster:dialog(N),
    ?assertMatch([#{<<"dialogid">> := Dialog, <<"mgctxid">> := _, <<"domains">> := [#{<<"wanted">> := true}]}], Jobs()),
    ok.

recording(Store, N) ->
    [#{<<"recording">> := #{<<"state">> := State}} | _] = ready(Store, N),
    State.
