%%% Nodes of two releases that follow each other serve one log, one of which reads only the older version of the chunk.
%%%
%%% The older release is this one. The next one is this one with a library that also reads and writes a made-up
%%% version of
%%% the chunk (feature `next_chunk', src/event/chunk.rs), built here into a folder of its own.
-module(upgrade_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    each_release_takes_over_from_the_other_under_load/1,
    the_next_version_is_written_when_the_last_node_is_upgraded/1,
    a_node_of_the_older_release_serves_no_log_of_the_next_version/1
]).

-define(BUILD_MS, 600000).
-define(LIBRARY, "libera_callstore_nif.so").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [
        each_release_takes_over_from_the_other_under_load,
        the_next_version_is_written_when_the_last_node_is_upgraded,
        a_node_of_the_older_release_serves_no_log_of_the_next_version
    ].

init_per_suite(Config) ->
    ct:timetrap(?BUILD_MS),
    Root = os_command:repository(),
    Target = filename:join(Root, "target"),
    {Status, Output} = os_command:run(
        Root,
        [
            "cargo", "rustc", "--locked", "--quiet", "-p", "callstore-native", "--lib", "--features", "next_chunk",
            "--target-dir", Target, "--", "-C", "link-arg=-Wl,-z,nodelete"
        ],
        [{"RUSTLER_PRIMARY_NIF_INIT", "1"}],
        ?BUILD_MS
    ),
    ct:log("~ts", [Output]),
    ?assertEqual(0, Status),
    Next = filename:join([?config(priv_dir, Config), "next", "era_callstore"]),
    ok = filelib:ensure_path(filename:join(Next, "priv")),
    {ok, _} = file:copy(
        filename:join([Target, "debug", ?LIBRARY]), filename:join([Next, "priv", "era_callstore_nif.so"])
    ),
    Ebin = filename:join(Next, "ebin"),
    ok = filelib:ensure_path(Ebin),
    [
        {ok, _} = file:copy(File, filename:join(Ebin, filename:basename(File)))
     || File <- filelib:wildcard(filename:join(code:lib_dir(era_callstore, ebin), "*"))
    ],
    [{next, Ebin} | Config].

end_per_suite(_Config) -> ok.

init_per_testcase(Case, Config) -> [{dir, filename:join(?config(priv_dir, Config), atom_to_list(Case))} | Config].

end_per_testcase(_Case, _Config) -> ok.

%% A runs the older release and has the lowest order; B runs the next.
each_release_takes_over_from_the_other_under_load(Config) ->
    [A, PlanB] = Plans = plans(Config),
    Nodes = [OldA, B] = started([A, next(PlanB, Config)]),
    ?assertEqual([{1, 1}, {1, 2}], [cluster_node:call(N, era_callstore_nif, chunk_versions, []) || N <- Nodes]),
    Load = cluster_load:start(Nodes, mixed, #{pause_ms => 10}),
    ok = cluster_load:acknowledged(Load, 50),
    %% From the older to the next: it died, and may come back as it was.
    ok = cluster_node:kill(OldA),
    ok = cluster_load:acknowledged_of(Load, [B], 20),
    ?assertEqual([1], written([B])),
    Again = cluster_node:start(A),
    ok = cluster_load:back(Load, Again),
    ok = cluster_node:lowest_active([Again, B]),
    ok = cluster_load:acknowledged_of(Load, [Again, B], 20),
    %% And from the next to the older.
    ok = cluster_node:call(Again, era_callstore, handover, [1]),
    ok = cluster_node:until(handed_over, fun() -> cluster_node:active([Again]) =:= cluster_node:name(B) end),
    ok = cluster_load:acknowledged_of(Load, [Again, B], 20),
    ok = cluster_node:kill(B),
    ok = cluster_load:acknowledged_of(Load, [Again], 20),
    ?assertEqual(cluster_node:name(Again), cluster_node:active([Again])),
    Both = [Again, cluster_node:start(next(PlanB, Config))],
    ok = cluster_load:back(Load, lists:last(Both)),
    ok = cluster_load:acknowledged_of(Load, Both, 20),
    ok = cluster_truth:all(Both, Plans, cluster_load:finish(Load)),
    ?assertEqual([1], written(Both)),
    ?assertEqual([1], versions_in_log(Both)).

%% The order of the README: one after the other, stopped in order, started with the next release.
the_next_version_is_written_when_the_last_node_is_upgraded(Config) ->
    [PlanA, PlanB] = Plans = plans(Config),
    [A, B] = started(Plans),
    Load = cluster_load:start([A, B], mixed, #{pause_ms => 10}),
    ok = cluster_load:acknowledged(Load, 20),
    NextB = upgraded(B, PlanB, Load, Config),
    ok = cluster_node:together([A, NextB]),
    ok = cluster_load:acknowledged_of(Load, [A, NextB], 20),
    ?assertEqual([1], written([A, NextB])),
    NextA = upgraded(A, PlanA, Load, Config),
    Next = [NextA, NextB],
    ok = cluster_node:together(Next),
    ok = cluster_node:until(next_version, fun() -> written(Next) =:= [2] orelse {false, written(Next)} end),
    ok = cluster_load:acknowledged_of(Load, Next, 20),
    ok = cluster_truth:all(Next, Plans, cluster_load:finish(Load)),
    ?assertEqual([1, 2], versions_in_log(Next)).

a_node_of_the_older_release_serves_no_log_of_the_next_version(Config) ->
    [PlanA, PlanB] = plans(Config),
    [A, B] = started([next(PlanA, Config), next(PlanB, Config)]),
    ok = cluster_node:until(next_version, fun() -> written([A, B]) =:= [2] end),
    {ok, _} = cluster_node:call(A, era_callstore, put, [cluster_calls:events(alive, 1, 50)]),
    ok = cluster_node:kill(A),
    OldA = cluster_node:start(PlanA),
    ok = cluster_node:until(told, fun() ->
        {ok, Log} = file:read_file(cluster_node:log(PlanA)),
        re:run(Log, "a\\s+chunk\\s+of\\s+a\\s+version\\s+that\\s+this\\s+release\\s+does\\s+not\\s+read") =/= nomatch
    end),
    ?assertMatch(#{state := loading, active := Active} when Active =/= none, status(OldA)),
    %% The other serves both meanwhile; what it writes now the older could read.
    {ok, _} = cluster_node:call(OldA, era_callstore, put, [cluster_calls:events(alive, 51, 100)]),
    ?assertMatch(#{state := active, live := 100}, status(B)),
    ?assertEqual([1], written([B])),
    ok = cluster_node:stop(OldA),
    Nodes = [cluster_node:start(next(PlanA, Config)), B],
    ok = cluster_node:lowest_active(Nodes),
    _ = cluster_node:settled(Nodes),
    ?assertEqual([], cluster_truth:missing(hd(Nodes), cluster_calls:cids(1, 100))),
    ok = cluster_truth:equal(Nodes).

%% --- releases

plans(Config) ->
    cluster_node:plan(?config(dir, Config), 2, #{
        sinks => [{file, #{dir => "cdr"}}], watch => #{stop_wait_ms => 200}
    }).

next(Plan, Config) -> Plan#{path => [?config(next, Config)]}.

started([First | _] = Plans) ->
    Nodes = cluster_node:start(Plans),
    ok = cluster_node:lowest_active(Nodes),
    _ = cluster_node:settled(Nodes),
    true = maps:get(name, First) =:= cluster_node:active(Nodes),
    Nodes.

%% Its producer goes on when it is back; the others meanwhile.
upgraded(Node, Plan, Load, Config) ->
    ok = cluster_node:call(Node, application, stop, [era_callstore]),
    ok = cluster_node:stop(Node),
    Next = cluster_node:start(next(Plan, Config)),
    ok = cluster_load:back(Load, Next),
    ok = cluster_node:until(caught_up, fun() ->
        case status(Next) of
            #{state := State, lag_chunks := 0} when State =:= passive; State =:= active -> true;
            Other -> {false, Other}
        end
    end),
    Next.

status(Node) -> map_get(1, map_get(groups, cluster_node:call(Node, era_callstore, status, []))).

%% The versions that these nodes write.
written(Nodes) ->
    lists:usort([maps:get(chunk_version, cluster_node:call(Node, era_callstore, status, [])) || Node <- Nodes]).

%% By the byte behind the magic of each chunk in each copy.
versions_in_log(Nodes) ->
    lists:usort([
        Version
     || Node <- Nodes, Key <- cluster_node:call(Node, era_callstore_log, keys, [1]),
        <<"ECSC", Version, _/binary>> <- cluster_node:call(Node, era_callstore_log, chunks, [1, Key])
    ]).
