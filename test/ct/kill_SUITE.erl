%%% A node that is killed under load and started again: nothing that was acknowledged is lost.
-module(kill_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    acknowledged_events_survive_sigkill_with_transaction/1,
    acknowledged_events_survive_sigkill_with_sync_transaction/1,
    acknowledged_events_survive_sigkill_with_sync_dirty/1,
    records_are_delivered_once_over_kills/1,
    a_full_disc_stops_the_group_and_not_the_node/1
]).

-import(era_callstore_test_app, [cid/1, events/1, invite/1]).

-define(PRODUCERS, 2).
-define(BATCH_CALLS, 40).
%% Batches that are acknowledged before the node is killed in the midst of the next ones.
-define(BATCHES_BEFORE_KILL, 30).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [
        acknowledged_events_survive_sigkill_with_transaction,
        acknowledged_events_survive_sigkill_with_sync_transaction,
        acknowledged_events_survive_sigkill_with_sync_dirty,
        records_are_delivered_once_over_kills,
        a_full_disc_stops_the_group_and_not_the_node
    ].

init_per_testcase(Case, Config) ->
    Dir = filename:join(?config(priv_dir, Config), atom_to_list(Case)),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    [{dir, Dir} | Config].

end_per_testcase(_Case, _Config) -> ok.

acknowledged_events_survive_sigkill_with_transaction(Config) -> survives(transaction, Config).
acknowledged_events_survive_sigkill_with_sync_transaction(Config) -> survives(sync_transaction, Config).
acknowledged_events_survive_sigkill_with_sync_dirty(Config) -> survives(sync_dirty, Config).

survives(Commit, Config) ->
    Settings = #{commit => Commit, sinks => []},
    Node = start(Config, Settings),
    Acknowledged = killed_under_load(Node, fun era_callstore_test_app:invite/1),
    Again = start(Config, Settings),
    Lost = [Cid || Cid <- Acknowledged, not is_there(Again, Cid)],
    ?assertEqual([], Lost),
    #{groups := #{1 := #{started := Started, live := Live, closed := Closed}}} = call(Again, era_callstore, status, []),
    ?assertEqual(Started, Live + Closed),
    ?assert(Started >= length(Acknowledged)),
    stop(Again).

%% Calls that end at once, a file of records, and three kills.
records_are_delivered_once_over_kills(Config) ->
    Settings = #{sinks => [{collection, #{}}, {file, #{dir => filename:join(?config(dir, Config), "cdr")}}]},
    Acknowledged = lists:append([killed_under_load(start(Config, Settings), fun(N) -> events(Round * 1000000 + N) end) || Round <- [1, 2, 3]]),
    Node = start(Config, Settings),
    ok = call(Node, era_callstore_outbox, drain, [1, 60000]),
    Missing = [Cid || Cid <- Acknowledged, length(call(Node, era_callstore, record, [Cid])) =/= 1],
    ?assertEqual([], Missing),
    {ok, Lines} = file:read_file(filename:join([?config(dir, Config), "cdr", "records.ndjson"])),
    Cids = [cid_of(Line) || Line <- binary:split(Lines, <<"\n">>, [global, trim_all])],
    ?assertEqual([], Acknowledged -- Cids),
    ?assertEqual(length(Cids), length(lists:usort(Cids))),
    stop(Node).

%% A disc of one megabyte, which takes root; skipped without.
a_full_disc_stops_the_group_and_not_the_node(Config) ->
    Disc = filename:join(?config(dir, Config), "disc"),
    ok = file:make_dir(Disc),
    case os:cmd("mount -t tmpfs -o size=2m tmpfs " ++ Disc ++ " 2>&1") of
        "" ->
            try
                full_disc(Config, Disc)
            after
                os:cmd("umount -l " ++ Disc)
            end;
        Refused ->
            {skip, Refused}
    end.

full_disc(Config, Disc) ->
    Node = start(Config, #{data_dir => filename:join(Disc, "data"), sinks => [], trim_interval_ms => 3600000}),
    {Error, LastTaken} = until_error(Node, 1),
    ?assertMatch({error, Reason} when Reason =:= no_active; Reason =:= timeout, Error),
    ?assertEqual(true, call(Node, lists, keymember, [era_callstore, 1, call(Node, application, which_applications, [])])),
    kill(Node),
    %% With room again, everything is as it was.
    "" = os:cmd("mount -o remount,size=64m " ++ Disc ++ " 2>&1"),
    Again = start(Config, #{data_dir => filename:join(Disc, "data"), sinks => []}),
    ?assertEqual([], [N || N <- lists:seq(100, LastTaken), not is_there(Again, cid(N))]),
    stop(Again).

until_error(Node, N) when N < 2000 ->
    Calls = [N * 100 + I || I <- lists:seq(0, 99)],
    case call(Node, era_callstore, put, [[invite(Call) || Call <- Calls], #{timeout => 3000}]) of
        {ok, _} -> until_error(Node, N + 1);
        {error, _} = Error -> {Error, N * 100 - 1}
    end.

%% --- load and kill

%% Producers put batch after batch; after some answers the node is killed. Returns the cids that were acknowledged.
killed_under_load({Peer, OsPid} = Node, Event) ->
    Test = self(),
    Producers = [
        spawn_monitor(fun() -> produce(Test, Node, Event, P, 0) end)
     || P <- lists:seq(1, ?PRODUCERS)
    ],
    Before = acknowledged(?BATCHES_BEFORE_KILL, []),
    _ = os:cmd("kill -9 " ++ OsPid),
    [receive {'DOWN', Monitor, process, Pid, _} -> ok end || {Pid, Monitor} <- Producers],
    catch peer:stop(Peer),
    more_acknowledged(Before).

produce(Test, {Peer, _}, Event, P, N) ->
    Numbers = [P * 100000 + N * ?BATCH_CALLS + I || I <- lists:seq(1, ?BATCH_CALLS)],
    Events = lists:flatten([Event(Number) || Number <- Numbers]),
    {ok, _} = peer:call(Peer, era_callstore, put, [Events]),
    Test ! {acknowledged, lists:usort([cid_of_event(E) || E <- Events])},
    produce(Test, {Peer, none}, Event, P, N + 1).

acknowledged(0, Cids) -> Cids;
acknowledged(Batches, Cids) ->
    receive
        {acknowledged, More} -> acknowledged(Batches - 1, More ++ Cids)
    end.

more_acknowledged(Cids) ->
    receive
        {acknowledged, More} -> more_acknowledged(More ++ Cids)
    after 0 -> Cids
    end.

%% --- calls

cid_of_event(#{<<"data">> := #{<<"cid">> := Cid}}) -> Cid.

cid_of(Line) ->
    {match, [Cid]} = re:run(Line, <<"\"cid\":\"([0-9a-f-]+)\"">>, [{capture, all_but_first, binary}]),
    Cid.

is_there(Node, Cid) ->
    case call(Node, era_callstore, call, [{cid, Cid}]) of
        {ok, _} -> true;
        not_found -> false
    end.

%% --- nodes

start(Config, Settings) ->
    {ok, Peer, _} = peer:start(#{connection => standard_io, args => ["-pa" | code_path()]}),
    OsPid = peer:call(Peer, os, getpid, []),
    Node = {Peer, OsPid},
    ok = call(Node, file, set_cwd, [?config(dir, Config)]),
    ok = call(Node, application, load, [era_callstore]),
    maps:foreach(fun(Key, Value) -> ok = call(Node, application, set_env, [era_callstore, Key, Value]) end, Settings),
    {ok, _} = call(Node, application, ensure_all_started, [era_callstore]),
    ok = call(Node, era_callstore_router, await_active, [1, 60000]),
    Node.

stop({Peer, _}) -> peer:stop(Peer).

kill({Peer, OsPid}) ->
    _ = os:cmd("kill -9 " ++ OsPid),
    catch peer:stop(Peer).

call({Peer, _}, Module, Function, Arguments) -> peer:call(Peer, Module, Function, Arguments, 90000).

code_path() -> [Dir || Dir <- code:get_path(), filename:basename(Dir) =/= ".", filelib:is_dir(Dir)].
