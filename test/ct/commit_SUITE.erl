%%% Two nodes of a group, with each of the four kinds of commit: killed, paused, restarted, cut from each other,
%%% flooded,
%%% with a sink that is down. What each kind may lose is in the README; no more is lost than that (scenarios 39 to 44
%%% and 46).
-module(commit_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([
    the_active_is_killed_under_load/1,
    an_active_that_was_paused_is_fenced/1,
    a_passive_killed_and_restarted_under_load_catches_up/1,
    all_killed_and_restarted_on_disc_have_everything/1,
    all_killed_and_restarted_in_ram_start_empty/1,
    both_sides_of_a_split_under_load_are_united/1,
    a_sink_that_was_down_is_given_all_once_and_in_order/1,
    a_flood_on_both_nodes_is_refused_and_memory_bounded/1,
    what_was_on_its_way_is_lost_and_no_more/1,
    a_copy_whose_mnesia_starts_again_holds_nobody/1
]).

%% What a sink is given at once at most.
-define(BATCH, 256).
-define(COMMITS, [transaction, sync_transaction, sync_dirty, async_dirty]).
%% So long may what is on its way to another copy be on its way, on one machine.
-define(ON_ITS_WAY_MS, 2000).
%% So long Mnesia keeps a commit in the VM, and what the kill itself takes.
-define(IN_BUFFER_MS, 3000).
-define(FLOOD_MS, 10000).
%% Much longer than a take-over takes.
-define(PAUSED_MS, 30000).
-define(QUEUE_BYTES, 65536).
%% More bytes than the queue holds, three times over, from each of the producers of a node.
-define(FLOOD_BATCH_CALLS, 200).
-define(FLOOD_EVERY_MS, 1000).
%% More than what is between two VMs in buffers of the operating system.
-define(LAG_BYTES, 262144).
%% What goes beyond the limit at most: the row that is begun below it.
-define(ROW_BYTES, 1048576).
%% Of processes and binaries: what the log of this flood takes, and as much again; far less than what was refused.
-define(FLOOD_MAX_BYTES, 256 * 1024 * 1024).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, Commit} || Commit <- ?COMMITS].

groups() ->
    [
        {Commit, [], [
            the_active_is_killed_under_load,
            an_active_that_was_paused_is_fenced,
            a_passive_killed_and_restarted_under_load_catches_up,
            all_killed_and_restarted_on_disc_have_everything,
            all_killed_and_restarted_in_ram_start_empty,
            both_sides_of_a_split_under_load_are_united,
            a_sink_that_was_down_is_given_all_once_and_in_order,
            a_flood_on_both_nodes_is_refused_and_memory_bounded
        ] ++ [what_was_on_its_way_is_lost_and_no_more || Commit =:= async_dirty]
            ++ [a_copy_whose_mnesia_starts_again_holds_nobody || Commit =:= sync_dirty]}
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
an_active_that_was_paused_is_fenced(Config) ->
    Vm = ["-kernel", "net_ticktime", "4"],
    Plans = [PlanA, PlanB] = plans(Config, #{sinks => [{file, #{dir => "cdr"}}], vm => Vm}),
    [A, B] = Nodes = start(Plans),
    ok = cluster_node:call(A, era_callstore, handover, [1]),
    Load = cluster_load:start(Nodes, mixed, #{pause_ms => 10}),
    ok = cluster_load:acknowledged(Load, 50),
    ?assertEqual(cluster_node:name(B), cluster_node:active([A])),
    {Epoch, _} = cluster_node:call(A, era_callstore_log, term, [1]),
    PausedMs = now_ms(),
    ok = cluster_node:pause(B),
    DeliveredByB = length(cluster_truth:records([PlanB])),
    ok = cluster_load:acknowledged_of(Load, [A], 20),
    ok = loaded_for(Load, PausedMs, ?PAUSED_MS),
    Before = rows_of(Epoch, A),
    ok = cluster_node:resume(B),
    ok = cluster_load:acknowledged_of(Load, [B], 20),
    [#{state := active}, #{state := passive}] = cluster_node:settled(Nodes),
    ok = cluster_truth:all(Nodes, Plans, cluster_load:finish(Load)),
    %% It has delivered nothing late but what a sink was just writing, which is one batch, and the other has delivered it
    %% too; no row of its term came late: it knows that the term is over.
    Late = lists:nthtail(DeliveredByB, cluster_truth:records([PlanB])),
    ?assert(length(Late) =< ?BATCH),
    ?assertEqual([], Late -- cluster_truth:records([PlanA])),
    ?assertEqual([], lists:append([rows_of(Epoch, Node) || Node <- Nodes]) -- (Before ++ Before)),
    {ok, Log} = file:read_file(cluster_node:log(PlanB)),
    Said = "the term ends after a pause of this node|fenced: another instance is active",
    ?assertMatch({match, _}, re:run(Log, Said)).

rows_of(Epoch, Node) -> [Key || {E, _, _} = Key <- cluster_node:call(Node, era_callstore_log, keys, [1]), E =:= Epoch].

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

%% Mnesia looks once a second whether the copy is there for which a dirty write waits.
a_copy_whose_mnesia_starts_again_holds_nobody(Config) ->
    [A, B] = Nodes = start(plans(Config, #{sinks => [{collection, #{}}]})),
    ok = cluster_node:lowest_active(Nodes),
    Load = cluster_load:start([A], over, #{pause_ms => 0}),
    [
        begin
            ok = cluster_load:acknowledged(Load, 20),
            ok = cluster_node:call(B, era_callstore_schema, restart, [fun filelib:ensure_path/1]),
            ok = cluster_node:until(mnesia_is_back, fun() -> cluster_node:call(B, era_callstore_schema, running, []) end)
        end
     || _ <- lists:seq(1, 5)
    ],
    ok = cluster_load:acknowledged(Load, 20),
    Outcome = cluster_load:finish(Load),
    ok = cluster_truth:there(Nodes, Outcome),
    ok = cluster_truth:delivered(Nodes),
    cluster_truth:equal(Nodes).

%% --- 43

%% The active before the cut is the side that gives way: what it has acknowledged and the other may lack is at stake.
both_sides_of_a_split_under_load_are_united(Config) ->
    Plans = plans(Config, #{sinks => [{file, #{dir => "cdr"}}]}),
    [A, B] = Nodes = start(Plans),
    ok = cluster_node:call(A, era_callstore, handover, [1]),
    Load = cluster_load:start(Nodes, mixed, #{pause_ms => 10}),
    ok = cluster_load:acknowledged(Load, 50),
    ?assertEqual(cluster_node:name(B), cluster_node:active([A])),
    CutMs = os:system_time(millisecond),
    ok = cluster_node:cut([A], [B]),
    ok = cluster_node:until(both_active, fun() -> [cluster_node:active([N]) || N <- Nodes] =:= names(Nodes) end),
    ok = cluster_load:acknowledged_of(Load, [A], 50),
    ok = cluster_load:acknowledged_of(Load, [B], 50),
    ok = cluster_node:mend([A], [B]),
    ok = cluster_node:together(Nodes),
    TogetherMs = os:system_time(millisecond),
    ok = cluster_load:acknowledged_of(Load, [A], 20),
    ok = cluster_load:acknowledged_of(Load, [B], 20),
    Outcome = cluster_load:finish(Load),
    ok = cluster_truth:there(Nodes, Outcome),
    ok = cluster_truth:delivered(Nodes),
    ok = cluster_truth:equal(Nodes),
    Apart = [{Name, CutMs, TogetherMs} || Name <- names(Nodes)],
    Records = cluster_truth:one_content_unless_apart(cluster_truth:records(Plans), cluster_terms:of_logs(Plans), Apart),
    cluster_truth:recorded(Plans, Records, Outcome).

names(Nodes) -> [cluster_node:name(Node) || Node <- Nodes].

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
    Floods = cluster_load:flood(Nodes, ?FLOOD_MS, ?FLOOD_EVERY_MS, ?FLOOD_BATCH_CALLS),
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

%% --- async_dirty

%% The other copy reads nothing for a while, and little fits between the two: what is acknowledged meanwhile waits in
%% the
%% VM of the active, and dies with it. What a copy may lack is limited (lag_bytes); so is what is lost.
what_was_on_its_way_is_lost_and_no_more(Config) ->
    Small = "[{sndbuf,16384},{recbuf,16384}]",
    Vm = ["-kernel", "inet_dist_connect_options", Small, "-kernel", "inet_dist_listen_options", Small],
    Plans = [PlanA, _] = plans(Config, #{sinks => [{file, #{dir => "cdr"}}], lag_bytes => ?LAG_BYTES, vm => Vm}),
    [A, B] = start(Plans),
    %% One that keeps its own copy brings all when it is back.
    ok = cluster_node:until(nothing_kept, fun() -> not cluster_node:call(A, era_callstore_rejoin, keeps_own, []) end),
    Load = cluster_load:start([A], mixed, #{put_ms => 1000}),
    ok = cluster_load:acknowledged(Load, 20),
    Before = written_bytes(A),
    PausedMs = now_ms(),
    ok = cluster_node:pause(B),
    ok = cluster_load:refused(Load, 2),
    Ahead = written_bytes(A) - Before,
    #{groups := #{1 := Waiting}} = cluster_node:call(A, era_callstore, status, []),
    #{passives := Passives, waits_for := [_]} = Waiting,
    [#{lag_bytes := Lacks}] = maps:values(Passives),
    KilledMs = now_ms(),
    ok = cluster_node:kill(A),
    ok = cluster_node:resume(B),
    ok = cluster_node:until(taken_over, fun() -> cluster_node:active([B]) =:= cluster_node:name(B) end),
    TakenOverMs = now_ms(),
    Again = [cluster_node:start(PlanA), B],
    ok = cluster_load:back(Load, hd(Again)),
    ok = cluster_node:lowest_active(Again),
    ok = cluster_load:acknowledged(Load, 20),
    #{batches := Batches} = Outcome = cluster_load:finish(Load),
    #{batches := Kept} = Left = without_lost(hd(Again), Outcome, PausedMs - ?ON_ITS_WAY_MS, KilledMs, TakenOverMs),
    ct:pal("~b bytes written from before the pause on, the other copy lacked ~b, ~b of ~b batches lost", [
        Ahead, Lacks, length(Batches -- Kept), length(Batches)
    ]),
    ?assertMatch([_ | _], Batches -- Kept),
    ?assert(Lacks > ?LAG_BYTES andalso Lacks =< ?LAG_BYTES + ?ROW_BYTES),
    ok = cluster_truth:there(Again, Left),
    ok = cluster_truth:delivered(Again),
    ok = cluster_truth:equal(Again),
    cluster_truth:recorded(Plans, cluster_truth:records(Plans), Left).

written_bytes(Node) ->
    Metrics = cluster_node:call(Node, era_callstore, metrics, []),
    Metric = "era_callstore_row_bytes_committed_total ([0-9]+)",
    {match, [Bytes]} = re:run(Metrics, Metric, [{capture, all_but_first, list}]),
    list_to_integer(Bytes).

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
