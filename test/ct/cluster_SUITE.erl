%%% Several nodes of one group: they join, take over, are paused, killed and restarted, and lose nothing acknowledged.
-module(cluster_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    nodes_that_start_together_have_one_table/1,
    a_node_that_joins_under_load_gets_a_copy/1,
    nothing_acknowledged_is_lost_when_the_active_is_killed/1,
    a_passive_restarted_under_load_catches_up/1,
    all_killed_and_restarted_on_disc_have_everything/1,
    all_killed_and_restarted_in_ram_start_empty/1,
    activity_is_handed_over_without_a_gap/1,
    overload_is_refused_and_memory_bounded/1
]).

-define(BATCH_CALLS, 20).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        nodes_that_start_together_have_one_table,
        a_node_that_joins_under_load_gets_a_copy,
        nothing_acknowledged_is_lost_when_the_active_is_killed,
        a_passive_restarted_under_load_catches_up,
        all_killed_and_restarted_on_disc_have_everything,
        all_killed_and_restarted_in_ram_start_empty,
        activity_is_handed_over_without_a_gap,
        overload_is_refused_and_memory_bounded
    ].

init_per_testcase(Case, Config) ->
    Dir = filename:join(?config(priv_dir, Config), atom_to_list(Case)),
    [{dir, Dir} | Config].

%% A node ends with the process that started it, also one that is paused.
end_per_testcase(_Case, _Config) -> ok.

%% --- joining

nodes_that_start_together_have_one_table(Config) ->
    Nodes = cluster_node:start(plan(Config, 3, #{})),
    %% The one of lowest order is active in the end, whoever was first.
    ok = cluster_node:until(lowest_order, fun() -> cluster_node:active(Nodes) =:= cluster_node:name(hd(Nodes)) end),
    _ = cluster_node:settled(Nodes),
    %% Producers on any node.
    [put_all(Node, N * 100 + 1, N * 100 + 50) || {N, Node} <- lists:enumerate(Nodes)],
    Same = [maps:with([active, copies, live, closed, started, events, log_chunks], sorted(S)) || S <- cluster_node:settled(Nodes)],
    ?assertMatch([#{live := 150}], lists:usort(Same)),
    ?assertEqual(1, length(cluster_node:digests(Nodes))),
    Epochs = [cluster_node:call(Node, era_callstore_log, term, [1]) || Node <- Nodes],
    ?assertMatch([{_, _}], lists:usort(Epochs)).

a_node_that_joins_under_load_gets_a_copy(Config) ->
    [A, B, C] = plan(Config, 3, #{}),
    First = cluster_node:start([B, A]),
    _ = cluster_node:settled(First),
    Load = load(First),
    _ = acknowledged(Load, 20),
    All = [cluster_node:start(C) | First],
    Cids = ended(Load, acknowledged(Load, 20)),
    _ = cluster_node:settled(All),
    all_there(All, Cids).

%% --- 39

nothing_acknowledged_is_lost_when_the_active_is_killed(Config) ->
    Plans = [PlanA | _] = plan(Config, 3, #{sinks => [{file, #{dir => "cdr"}}]}),
    [A | Rest] = Nodes = cluster_node:start(Plans),
    _ = cluster_node:settled(Nodes),
    Load = load(Nodes, fun cluster_node:events_over/2),
    _ = acknowledged(Load, 30),
    ok = cluster_node:kill(A),
    _ = acknowledged_of(Load, Rest, 30),
    Statuses = cluster_node:settled(Rest),
    ?assertEqual([active, passive], lists:sort([State || #{state := State} <- Statuses])),
    Again = [cluster_node:start(PlanA) | Rest],
    Cids = ended(Load, acknowledged_of(Load, Rest, 30)),
    ok = cluster_node:until(lowest_order, fun() -> cluster_node:active(Again) =:= cluster_node:name(hd(Again)) end),
    _ = cluster_node:settled(Again),
    all_there(Again, Cids),
    ok = cluster_node:until(delivered, fun() ->
        [#{outbox := #{<<"file">> := #{depth := Depth}}} | _] = cluster_node:settled(Again),
        Depth =:= 0
    end),
    Records = lists:append([records(Plan) || Plan <- Plans]),
    Contents = lists:usort(Records),
    Revisions = lists:usort([Revision || {Revision, _} <- Contents]),
    ?assertEqual(length(Revisions), length(Contents)),
    ?assertEqual([], lists:usort(Cids) -- [Cid || {{Cid, _}, _} <- Contents]).

%% --- 41

a_passive_restarted_under_load_catches_up(Config) ->
    Plans = [_, _, PlanC] = plan(Config, 3, #{}),
    [A, B, C] = Nodes = cluster_node:start(Plans),
    _ = cluster_node:settled(Nodes),
    Load = load([A, B]),
    _ = acknowledged(Load, 20),
    ok = cluster_node:kill(C),
    _ = acknowledged(Load, 20),
    Again = [A, B, cluster_node:start(PlanC)],
    Cids = ended(Load, acknowledged(Load, 20)),
    _ = cluster_node:settled(Again),
    all_there(Again, Cids).

%% --- 42

all_killed_and_restarted_on_disc_have_everything(Config) ->
    {Cids, Again} = all_killed_and_restarted(Config, <<"disc">>),
    all_there(Again, Cids).

all_killed_and_restarted_in_ram_start_empty(Config) ->
    {_Cids, [First | _] = Again} = all_killed_and_restarted(Config, <<"ram">>),
    Statuses = cluster_node:settled(Again),
    [?assertMatch(#{live := 0, started := 0}, Status) || Status <- Statuses],
    ?assertMatch([#{started_empty := true}], [Status || #{started_empty := _} = Status <- Statuses]),
    Logs = [Log || #{plan := Plan} <- Again, {ok, Log} <- [file:read_file(cluster_node:log(Plan))]],
    ?assertMatch([_ | _], [Log || Log <- Logs, re:run(Log, "starts empty") =/= nomatch]),
    put_all(First, 1, 10),
    all_there(Again, [cluster_node:cid(N) || N <- lists:seq(1, 10)]).

all_killed_and_restarted(Config, Storage) ->
    Plans = plan(Config, 3, #{storage => Storage}),
    Nodes = cluster_node:start(Plans),
    _ = cluster_node:settled(Nodes),
    Load = load(Nodes),
    Before = acknowledged(Load, 30),
    ok = cluster_node:kill_together(Nodes),
    Cids = ended(Load, Before),
    Again = cluster_node:start(Plans),
    _ = cluster_node:settled(Again),
    {Cids, Again}.

%% --- hand-over

activity_is_handed_over_without_a_gap(Config) ->
    [A, B, C] = Nodes = cluster_node:start(plan(Config, 3, #{})),
    ok = cluster_node:until(lowest_order, fun() -> cluster_node:active(Nodes) =:= cluster_node:name(A) end),
    _ = cluster_node:settled(Nodes),
    Load = load(Nodes),
    _ = acknowledged(Load, 20),
    ok = cluster_node:call(C, era_callstore, handover, [1]),
    _ = acknowledged_of(Load, [C], 20),
    ?assertEqual(cluster_node:name(B), cluster_node:active(Nodes)),
    ok = cluster_node:call(B, era_callstore, handover, [1]),
    Cids = ended(Load, acknowledged_of(Load, [A], 20)),
    _ = cluster_node:settled(Nodes),
    ?assertEqual(#{}, refused(Load)),
    ?assert(longest_ms(Load) < 2000),
    all_there(Nodes, Cids).

%% --- 46

overload_is_refused_and_memory_bounded(Config) ->
    Nodes = [A, B] = cluster_node:start(plan(Config, 2, #{queue_bytes => 65536})),
    _ = cluster_node:settled(Nodes),
    {Here, HereErrors, HerePeak} = cluster_node:call(A, cluster_node, flood, [100, 20, 20, 5000]),
    ct:pal("acknowledged ~b calls, errors ~p, peak ~b MiB", [length(Here), HereErrors, HerePeak bsr 20]),
    ?assertMatch(#{overload := _}, HereErrors),
    ?assertEqual([overload], maps:keys(HereErrors)),
    ?assert(HerePeak < 512 * 1024 * 1024),
    ?assert(length(Here) > 0),
    _ = cluster_node:settled(Nodes),
    all_there(Nodes, Here),
    %% Afterwards it is as it was.
    put_all(B, 1, 10).

%% --- load: a producer on each node repeats a batch until it is acknowledged, then takes the next one

load(Nodes) -> load(Nodes, fun cluster_node:events_alive/2).

load(Nodes, Events) ->
    Test = self(),
    Tag = make_ref(),
    Producers = [
        {cluster_node:name(Node), spawn_link(fun() -> produce(Test, Tag, Node, Events, P * 1000000) end)}
     || {P, Node} <- lists:enumerate(Nodes)
    ],
    {Tag, Producers}.

produce(Test, Tag, Node, Events, From) ->
    To = From + ?BATCH_CALLS - 1,
    Begun = erlang:monotonic_time(millisecond),
    Answer =
        try
            cluster_node:call(Node, era_callstore, put, [Events(From, To), #{timeout => 10000}])
        catch
            _:Reason -> {dead, Reason}
        end,
    Took = erlang:monotonic_time(millisecond) - Begun,
    Said =
        case Answer of
            {ok, #{rejected := []}} -> {ok, [cluster_node:cid(N) || N <- lists:seq(From, To)]};
            Other -> Other
        end,
    Test ! {Tag, cluster_node:name(Node), Said, Took},
    case Said of
        {ok, _} -> unless_ended(Test, Tag, Node, Events, To + 1);
        {error, _} -> unless_ended(Test, Tag, Node, Events, From);
        {dead, _} -> ok
    end.

unless_ended(Test, Tag, Node, Events, From) ->
    receive
        {Tag, finish} -> ok
    after 0 -> produce(Test, Tag, Node, Events, From)
    end.

%% So many more batches, whoever put them; what was acknowledged is kept for ended/2.
acknowledged({_, Producers} = Load, Batches) -> more(Load, [Name || {Name, _} <- Producers], Batches).

%% The same, counting only those of these nodes.
acknowledged_of(Load, Nodes, Batches) -> more(Load, [cluster_node:name(N) || N <- Nodes], Batches).

more(_Load, _Names, 0) ->
    kept(cids, []);
more({Tag, _} = Load, Names, Batches) ->
    receive
        {Tag, Name, Said, Took} ->
            noted(Said, Took),
            case is_tuple(Said) andalso element(1, Said) =:= ok andalso lists:member(Name, Names) of
                true -> more(Load, Names, Batches - 1);
                false -> more(Load, Names, Batches)
            end
    after 40000 -> error({no_progress, Names, kept(refused, #{})})
    end.

noted({ok, Cids}, Took) ->
    put(cids, Cids ++ kept(cids, [])),
    put(longest, max(Took, kept(longest, 0)));
noted({error, Reason}, _Took) ->
    put(refused, maps:update_with(Reason, fun(N) -> N + 1 end, 1, kept(refused, #{})));
noted({dead, _}, _Took) ->
    ok.

%% Ends the producers; everything that was acknowledged.
ended({Tag, Producers}, _SoFar) ->
    Pids = [Pid || {_, Pid} <- Producers],
    lists:foreach(fun(Pid) -> Pid ! {Tag, finish} end, Pids),
    Monitors = [{Pid, erlang:monitor(process, Pid)} || Pid <- Pids],
    lists:foreach(fun({Pid, Monitor}) -> receive {'DOWN', Monitor, process, Pid, _} -> ok end end, Monitors),
    rest(Tag),
    kept(cids, []).

rest(Tag) ->
    receive
        {Tag, _Name, Said, Took} ->
            noted(Said, Took),
            rest(Tag)
    after 0 -> ok
    end.

refused(_Load) -> kept(refused, #{}).
longest_ms(_Load) -> kept(longest, 0).

kept(Key, Else) ->
    case get(Key) of
        undefined -> Else;
        Value -> Value
    end.

%% --- what must be true

plan(Config, Number, Settings) -> cluster_node:plan(?config(dir, Config), Number, Settings).

put_all(Node, From, To) ->
    New = To - From + 1,
    ?assertMatch(
        {ok, #{accepted := New, rejected := []}},
        cluster_node:call(Node, era_callstore, put, [cluster_node:events_alive(From, To)])
    ).

all_there(Nodes, Cids) ->
    ?assertEqual([], lists:append([cluster_node:missing(Node, Cids) || Node <- Nodes])),
    ?assertEqual(1, length(cluster_node:digests(Nodes))),
    [?assertEqual(Started, Live + Closed) || #{started := Started, live := Live, closed := Closed} <- cluster_node:settled(Nodes)].

sorted(#{copies := Copies} = Status) -> Status#{copies := lists:sort(Copies)}.

records(#{dir := Dir}) ->
    case file:read_file(filename:join([Dir, "cdr", "records.ndjson"])) of
        {ok, Lines} -> [record(Line) || Line <- binary:split(Lines, <<"\n">>, [global, trim_all])];
        {error, enoent} -> []
    end.

record(Line) ->
    {ok, #{<<"cid">> := Cid, <<"revision">> := Revision}} = era_callstore_nif:json_decode(Line),
    {{Cid, Revision}, Line}.
