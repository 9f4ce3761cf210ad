%%% Two nodes of a group, with each of the four kinds of commit: killed, paused, restarted, flooded, with a sink that is
%%% down. What each kind may lose is in the README; no more is lost than that (scenarios 39 to 42, 44 and 46).
-module(commit_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([
    the_active_is_killed_under_load/1,
    an_active_that_was_paused_for_longer_than_the_take_over_is_fenced/1,
    a_passive_killed_and_restarted_under_load_catches_up/1,
    all_killed_and_restarted_on_disc_have_everything/1,
    all_killed_and_restarted_in_ram_start_empty/1,
    a_sink_that_was_down_is_given_all_once_and_in_order/1,
    a_flood_on_both_nodes_is_refused_and_memory_bounded/1
]).

-define(COMMITS, [transaction, sync_transaction, sync_dirty, async_dirty]).
%% So long may what is on its way to another copy be on its way, on one machine.
-define(ON_ITS_WAY_MS, 2000).
%% So long Mnesia keeps a commit in the VM, and what the kill itself takes.
-define(IN_BUFFER_MS, 3000).
-define(FLOOD_MS, 10000).
%% Less than what one node puts at one moment.
-define(QUEUE_BYTES, 16384).
%% Of processes and binaries: what the log of this flood takes, and as much again; far less than what was refused.
-define(FLOOD_MAX_BYTES, 256 * 1024 * 1024).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, Commit} || Commit <- ?COMMITS].

groups() ->
    [
        {Commit, [], [
            the_active_is_killed_under_load,
            an_active_that_was_paused_for_longer_than_the_take_over_is_fenced,
            a_passive_killed_and_restarted_under_load_catches_up,
            all_killed_and_restarted_on_disc_have_everything,
            all_killed_and_restarted_in_ram_start_empty,
            a_sink_that_was_down_is_given_all_once_and_in_order,
            a_flood_on_both_nodes_is_refused_and_memory_bounded
        ]}
     || Commit <- ?COMMITS
    ].

init_per_group(Commit, Config) -> [{commit, Commit} | Config].

end_per_group(_Commit, _Config) -> ok.

init_per_testcase(Case, Config) ->
    Dir = filename:join([?config(priv_dir, Config), ?config(commit, Config), Case]),
    ok = filelib:ensure_path(Dir),
    [{dir, Dir} | Config].

end_per_testcase(_Case, _Config) -> ok.

%% --- 39

the_active_is_killed_under_load(Config) ->
    Plans = [PlanA, _] = plans(Config, #{sinks => [{file, #{dir => "cdr"}}]}),
    [A, B] = start(Plans),
    Load = cluster_load:start([A, B], mixed, #{pause_ms => 10}),
    ok = cluster_load:acknowledged(Load, 50),
    KilledMs = now_ms(),
    ok = cluster_node:kill(A),
    ok = cluster_load:acknowledged_of(Load, [B], 20),
    TakenOverMs = now_ms(),
    Again = [cluster_node:start(PlanA), B],
    ok = cluster_load:back(Load, hd(Again)),
    ok = cluster_node:lowest_active(Again),
    ok = cluster_load:acknowledged_of(Load, Again, 20),
    Outcome = cluster_load:finish(Load),
    case ?config(commit, Config) of
        async_dirty ->
            Kept = without_lost(hd(Again), Outcome, KilledMs - ?ON_ITS_WAY_MS, KilledMs, TakenOverMs),
            ok = cluster_truth:there(Again, Kept),
            ok = cluster_truth:delivered(Again),
            ok = cluster_truth:equal(Again),
            %% A record that only the dead node knew may be issued again by the next active.
            cluster_truth:recorded(Plans, cluster_truth:records(Plans), Kept);
        _ ->
            cluster_truth:all(Again, Plans, Outcome)
    end.

%% --- 40

%% The one of higher order is active, so that it has no reason to be so again when it comes back.
an_active_that_was_paused_for_longer_than_the_take_over_is_fenced(Config) ->
    Vm = ["-kernel", "net_ticktime", "4"],
    Plans = [_, PlanB] = plans(Config, #{sinks => [{file, #{dir => "cdr"}}], vm => Vm}),
    [A, B] = Nodes = start(Plans),
    ok = cluster_node:call(A, era_callstore, handover, [1]),
    Load = cluster_load:start(Nodes, mixed, #{pause_ms => 10}),
    ok = cluster_load:acknowledged(Load, 50),
    ?assertEqual(cluster_node:name(B), cluster_node:active([A])),
    ok = cluster_node:pause(B),
    DeliveredByB = length(cluster_truth:records([PlanB])),
    ok = cluster_load:acknowledged_of(Load, [A], 20),
    ok = cluster_node:resume(B),
    ok = cluster_load:acknowledged_of(Load, [B], 20),
    [#{state := active}, #{state := passive}] = cluster_node:settled(Nodes),
    ok = cluster_truth:all(Nodes, Plans, cluster_load:finish(Load)),
    ?assertEqual(DeliveredByB, length(cluster_truth:records([PlanB]))).

%% --- 41

a_passive_killed_and_restarted_under_load_catches_up(Config) ->
    Plans = [_, PlanB] = plans(Config, #{}),
    [A, B] = start(Plans),
    Load = cluster_load:start([A], alive, #{pause_ms => 10}),
    ok = cluster_load:acknowledged(Load, 20),
    ok = cluster_node:kill(B),
    ok = cluster_load:acknowledged(Load, 20),
    Again = [A, cluster_node:start(PlanB)],
    ok = cluster_load:acknowledged(Load, 20),
    cluster_truth:all(Again, Plans, cluster_load:finish(Load)).

%% --- 42

all_killed_and_restarted_on_disc_have_everything(Config) ->
    {KilledMs, Outcome, Plans, Again} = all_killed_and_restarted(Config, <<"disc">>),
    case ?config(commit, Config) of
        async_dirty ->
            Kept = without_lost(hd(Again), Outcome, KilledMs - ?IN_BUFFER_MS, KilledMs, now_ms()),
            cluster_truth:all(Again, Plans, Kept);
        _ ->
            cluster_truth:all(Again, Plans, Outcome)
    end.

all_killed_and_restarted_in_ram_start_empty(Config) ->
    {_, _, _, [First | _] = Again} = all_killed_and_restarted(Config, <<"ram">>),
    Statuses = cluster_node:settled(Again),
    [?assertMatch(#{live := 0, started := 0}, Status) || Status <- Statuses],
    ?assertMatch([#{started_empty := true}], [Status || #{started_empty := _} = Status <- Statuses]),
    Logs = [Log || #{plan := Plan} <- Again, {ok, Log} <- [file:read_file(cluster_node:log(Plan))]],
    ?assertMatch([_ | _], [Log || Log <- Logs, string:find(Log, "starts empty") =/= nomatch]),
    Load = cluster_load:start([First], alive),
    ok = cluster_load:acknowledged(Load, 3),
    cluster_truth:all(Again, [], cluster_load:finish(Load)).

all_killed_and_restarted(Config, Storage) ->
    Plans = plans(Config, #{storage => Storage}),
    Nodes = start(Plans),
    %% Of copies that all died Mnesia loads the one of the lowest name: that is not the active's here.
    ok = cluster_node:call(hd(Nodes), era_callstore, handover, [1]),
    Load = cluster_load:start(Nodes, alive, #{pause_ms => 10}),
    ok = cluster_load:acknowledged(Load, 50),
    %% Of what can be in a buffer at most there is more than that.
    BegunMs = now_ms(),
    ok = loaded_for(Load, BegunMs, case ?config(commit, Config) of async_dirty -> ?IN_BUFFER_MS; _ -> 0 end),
    KilledMs = now_ms(),
    ok = cluster_node:kill_together(Nodes),
    Outcome = cluster_load:finish(Load),
    Again = cluster_node:start(Plans),
    ok = cluster_node:lowest_active(Again),
    {KilledMs, Outcome, Plans, Again}.

loaded_for(Load, BegunMs, Ms) ->
    case now_ms() - BegunMs < Ms of
        true -> ok = cluster_load:acknowledged(Load, 5), loaded_for(Load, BegunMs, Ms);
        false -> ok
    end.

%% --- 44

%% The hour is none here: what counts is that the sink refuses for longer than all else takes, a take-over included.
a_sink_that_was_down_is_given_all_once_and_in_order(Config) ->
    Shared = filename:join(?config(dir, Config), "shared"),
    ok = filelib:ensure_path(Shared),
    ok = file:write_file(filename:join(Shared, "down"), ""),
    Sinks = [{<<"switched">>, switched_sink, #{dir => Shared}}, {file, #{dir => "cdr"}}],
    Plans = plans(Config, #{sinks => Sinks, retry_min_ms => 20, retry_max_ms => 200}),
    [A, B] = Nodes = start(Plans),
    Load = cluster_load:start(Nodes, over, #{pause_ms => 10}),
    ok = cluster_load:acknowledged(Load, 50),
    Outcome = cluster_load:finish(Load),
    Ended = length(cluster_truth:cids(Outcome)),
    %% The other sink has all of them meanwhile.
    ok = cluster_node:until(other_sink_delivered, fun() -> length(cluster_truth:records(Plans)) =:= Ended end),
    [#{outbox := #{<<"switched">> := Switched}} | _] = cluster_node:settled(Nodes),
    ?assertMatch(#{depth := Ended, oldest_ms := _, failures := _}, Switched),
    ok = cluster_node:kill(A),
    ok = cluster_node:until(taken_over, fun() -> cluster_node:active([B]) =:= cluster_node:name(B) end),
    [#{outbox := #{<<"switched">> := #{depth := Ended}}}] = cluster_node:settled([B]),
    ok = file:delete(filename:join(Shared, "down")),
    ok = cluster_truth:delivered([B]),
    Delivered = switched_sink:delivered(Shared),
    ?assertEqual(lists:sort([{Cid, 1} || Cid <- cluster_truth:cids(Outcome)]), lists:sort(Delivered)),
    %% A producer puts a batch when the one before it is answered: so its batches end one after the other.
    Order = [cluster_load:batch_of(Cid) || {Cid, _} <- Delivered],
    lists:foreach(
        fun(Producer) ->
            Own = [N || {P, N} <- Order, P =:= Producer],
            ?assertEqual(lists:sort(Own), Own)
        end,
        lists:usort([P || {P, _} <- Order])
    ).

%% --- 46

a_flood_on_both_nodes_is_refused_and_memory_bounded(Config) ->
    Plans = plans(Config, #{queue_bytes => ?QUEUE_BYTES}),
    Nodes = start(Plans),
    Floods = cluster_load:flood(Nodes, ?FLOOD_MS, 100),
    [
        begin
            ct:pal("acknowledged ~b batches, refused ~p, peak ~b MiB", [length(Acknowledged), Refused, Peak bsr 20]),
            ?assertMatch([_ | _], Acknowledged),
            ?assertEqual([overload], maps:keys(Refused)),
            ?assert(Peak < ?FLOOD_MAX_BYTES)
        end
     || #{acknowledged := Acknowledged, refused := Refused, peak_bytes := Peak} <- Floods
    ],
    Batches = lists:append([Acknowledged || #{acknowledged := Acknowledged} <- Floods]),
    ok = cluster_truth:all(Nodes, Plans, #{kind => alive, batches => Batches, refused => #{}, longest_ms => 0}),
    %% Afterwards it is as it was.
    Load = cluster_load:start(Nodes, alive),
    ok = cluster_load:acknowledged(Load, 10),
    ?assertMatch(#{refused := Refused} when Refused =:= #{}, cluster_load:finish(Load)).

%% --- small things

plans(Config, Settings) ->
    Common = #{commit => ?config(commit, Config), watch => #{stop_wait_ms => 200}},
    cluster_node:plan(?config(dir, Config), 2, maps:merge(Common, Settings)).

start(Plans) ->
    Nodes = cluster_node:start(Plans),
    ok = cluster_node:lowest_active(Nodes),
    _ = cluster_node:settled(Nodes),
    Nodes.

%% The outcome without what was lost, which is a tail: acknowledged in the last moments before the kill, and of what a
%% producer had acknowledged until then nothing that came after is kept.
without_lost(Node, #{batches := Batches} = Outcome, SinceMs, KilledMs, UntilMs) ->
    IsLost = fun(#{from := From, to := To}) -> cluster_truth:missing(Node, cluster_calls:cids(From, To)) =/= [] end,
    Lost = lists:filter(IsLost, Batches),
    ct:pal("lost ~b of ~b batches", [length(Lost), length(Batches)]),
    ?assertEqual([], [Batch || #{at_ms := At} = Batch <- Lost, At < SinceMs orelse At > UntilMs]),
    ?assertEqual([], [
        {Kept, Gone}
     || #{node := Node1, from := From} = Gone <- Lost,
        #{node := Node2, from := Later, at_ms := At} = Kept <- Batches -- Lost,
        Node1 =:= Node2, Later > From, At < KilledMs
    ]),
    Outcome#{batches := Batches -- Lost}.

now_ms() -> erlang:monotonic_time(millisecond).
