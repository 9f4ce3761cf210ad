%% What: `make soak`: two instances of a group and a node of producers beside them take events at half of the rate that they take at most,
%%       for MINUTES (10), and what a leak would make grow is looked at: memory, ETS, processes, ports, file handles.
%% Holds: the rate is measured first, with the same nodes. The application runs on virtual time, which follows the slower producer on all
%%        nodes, so that tombstones and trimming are in it; records go to a sink that forgets them, since what the collection keeps for
%%        30 days is no leak. After the first quarter each figure's middle in the last third is held against that in the first third.
%% Callers: the Makefile, as `erl -noshell -pa … -s bench_soak main`. The second half runs in the VMs.
-module(bench_soak).

-behaviour(era_callstore_sink).

-export([main/0]).
-export([begin_here/2, produce/1, pace/1, put_so_far/0, sample/0, sound/0]).
-export([init/2, deliver/2, terminate/2]).

-define(BATCH, 256).
-define(PRODUCERS, 2).
-define(BATCHES_PER_TICK, 8).
-define(RATE_WARM_UP_MS, 5_000).
-define(RATE_MS, 20_000).
-define(EVERY_MS, 30_000).
-define(LEAST_SAMPLES, 20).
-define(CATCH_UP_S, 60).
%% How much more the last third may show than the first, beside what each column may.
-define(GROWTH, 1.10).
-define(MIB, 1048576).
-define(TABLES_TOLD, 3).
-define(DECISIONS, mnesia_transient_decision).
%% What of the wanted rate must have been put.
-define(RATE_KEPT, 0.9).

%% What is told, its title, and the growth that says nothing; `shown' is told and not judged: the log's rows go up and down, and Mnesia
%% keeps the decision of each transaction over three dumps of its log, which is ten minutes where little is written.
-define(COLUMNS, [
    {total_bytes, "VM MiB", 16 * ?MIB}, {rss_bytes, "RSS MiB", 16 * ?MIB}, {binary_bytes, "binary", 16 * ?MIB},
    {ets_bytes, "ETS MiB", ?MIB}, {core_bytes, "core MiB", 4 * ?MIB}, {ets_tables, "ETS tables", 5}, {processes, "processes", 10},
    {ports, "ports", 5}, {files, "files", 10}, {atoms, "atoms", 100}, {log_rows, "log rows", shown},
    {decision_bytes, "decisions", shown}
]).

-spec main() -> no_return().
main() ->
    Status =
        try soak(list_to_integer(os:getenv("MINUTES", "10"))) of
            [] -> 0;
            Wrong -> [io:format("soak: ~ts~n", [Text]) || Text <- Wrong], 1
        catch
            Class:Reason:Stack ->
                io:format(standard_error, "soak: ~tp~n", [{Class, Reason, Stack}]),
                2
        end,
    halt(Status).

soak(Minutes) ->
    ok = bench_events:use(bench_events:template()),
    bench_cluster:with_pair(fun(Active, Passive) ->
        bench_vm:with(#{folder => "soak", name => soak}, fun(Role) ->
            VMs = [{"active", Active}, {"passive", Passive}, {"producers", Role}],
            Nodes = [bench_vm:node_of(VM) || {_, VM} <- VMs],
            [ok = bench_vm:call(VM, ?MODULE, begin_here, [filename:join(bench_vm:folder(VM), "data"), Nodes]) || {_, VM} <- VMs],
            ok = bench_cluster:caught_up(Passive),
            ok = bench_vm:call(Role, ?MODULE, produce, [Nodes]),
            Most = most(Role),
            Rate = round(Most / 2),
            io:format("~b events/s at most; ~b minutes at ~b events/s~n", [round(Most), Minutes, Rate]),
            ok = bench_vm:call(Role, ?MODULE, pace, [Rate]),
            LengthMs = Minutes * 60_000,
            Begin = bench_vm:call(Role, ?MODULE, put_so_far, []),
            head(),
            Samples = samples(VMs, now_ms(), min(?EVERY_MS, LengthMs div ?LEAST_SAMPLES), LengthMs),
            End = bench_vm:call(Role, ?MODULE, put_so_far, []),
            Kept = bench_cluster:between(Begin, End),
            ok = bench_vm:call(Role, ?MODULE, pace, [0]),
            ok = bench_case:until(fun() -> bench_vm:call(Active, ?MODULE, sound, []) end, ?CATCH_UP_S),
            io:format("~b events/s put on the average; started = live + closed, the copies are equal~n", [round(Kept)]),
            verdict([Name || {Name, _} <- VMs], Samples) ++
                [io_lib:format("~b of ~b events/s were put", [round(Kept), Rate]) || Kept < ?RATE_KEPT * Rate]
        end)
    end).

%% Events a second as fast as it goes.
most(Role) ->
    ok = bench_vm:call(Role, ?MODULE, pace, [infinity]),
    ok = pass(?RATE_WARM_UP_MS),
    Begin = bench_vm:call(Role, ?MODULE, put_so_far, []),
    ok = pass(?RATE_MS),
    bench_cluster:between(Begin, bench_vm:call(Role, ?MODULE, put_so_far, [])).

samples(VMs, Start, EveryMs, LengthMs) ->
    [
        begin
            ok = pass(Start + AtMs - now_ms()),
            Sample = [{Name, bench_vm:call(VM, ?MODULE, sample, [])} || {Name, VM} <- VMs],
            [line(AtMs, Name, Figures) || {Name, Figures} <- Sample],
            Sample
        end
     || AtMs <- lists:seq(EveryMs, LengthMs, EveryMs)
    ].

%% Time passes: that is what a soak is.
pass(Ms) ->
    receive
    after max(0, Ms) -> ok
    end.

%% --- telling and judging

head() ->
    io:format("~8ts ~-10ts~ts~n", ["min", "node", [io_lib:format(" ~11ts", [Title]) || {_, Title, _} <- ?COLUMNS]]).

line(AtMs, Name, Figures) ->
    Cells = [io_lib:format(" ~11ts", [shown(Key, map_get(Key, Figures))]) || {Key, _, _} <- ?COLUMNS],
    io:format("~8.2f ~-10ts~ts~n", [AtMs / 60_000, Name, Cells]).

shown(Key, Value) ->
    case is_bytes(Key) of
        true -> io_lib:format("~.1f", [Value / ?MIB]);
        false -> integer_to_list(Value)
    end.

is_bytes(Key) -> lists:suffix("_bytes", atom_to_list(Key)).

%% What has grown, in words.
verdict(Names, Samples) ->
    Judged = lists:nthtail(length(Samples) div 4, Samples),
    Third = max(1, length(Judged) div 3),
    Parts = [lists:sublist(Judged, Third), lists:nthtail(length(Judged) - Third, Judged)],
    Grown = [
        {Name, Title, shown(Key, From), shown(Key, To), To > From * ?GROWTH andalso To > From + Allowed}
     || Name <- Names, {Key, Title, Allowed} <- ?COLUMNS, Allowed =/= shown,
        [From, To] <- [[round(bench_stat:median([map_get(Key, proplists:get_value(Name, S)) || S <- Part])) || Part <- Parts]]
    ],
    io:format("~nmiddle of the first third and of the last, after the first quarter:~n"),
    [io:format("~-10ts ~-10ts ~11ts ~11ts  ~ts~n", [N, T, F, L, case G of true -> "GROWN"; false -> "flat" end]) || {N, T, F, L, G} <- Grown],
    io:format("~nETS tables that grew most meanwhile:~n"),
    [told_tables(Name, proplists:get_value(Name, hd(Judged)), proplists:get_value(Name, lists:last(Judged))) || Name <- Names],
    [io_lib:format("~ts of the node ~ts has grown from ~ts to ~ts", [T, N, F, L]) || {N, T, F, L, true} <- Grown].

told_tables(Name, #{tables := Before}, #{tables := After}) ->
    Most = lists:reverse(lists:sort([{Bytes - maps:get(Table, Before, 0), Table} || {Table, Bytes} <- maps:to_list(After)])),
    [io:format("~-10ts ~9b KiB  ~tp~n", [Name, More div 1024, Table]) || {More, Table} <- lists:sublist(Most, ?TABLES_TOLD), More > 0].

now_ms() -> erlang:monotonic_time(millisecond).

%% --- inside the VMs ------------------------------------------------------------------------------------------------------------------

%% The application; an instance on each of the first two nodes, the first with the lower order.
-spec begin_here(file:filename(), [node()]) -> ok.
begin_here(Dir, Nodes) ->
    _ = [net_kernel:connect_node(Node) || Node <- Nodes, Node =/= node()],
    Placed = [{<<"callstore", (integer_to_binary(Order))/binary>>, Order, Node} || {Order, Node} <- lists:enumerate(lists:sublist(Nodes, 2))],
    bench_app:start(#{
        dir => Dir,
        sinks => [{<<"forgets">>, ?MODULE, #{}}],
        roles => [
            #{<<"name">> => Name, <<"roletype">> => <<"callstore">>, <<"iface">> => <<"eth0">>, <<"group">> => 1, <<"order">> => Order}
         || {Name, Order, _} <- Placed
        ],
        instances => maps:from_list([{Name, Node} || {Name, _, Node} <- Placed])
    }).

%% Producers that wait for a pace. Both play the same replica, each half of its calls, then the next one.
-spec produce([node()]) -> ok.
produce(Nodes) ->
    Counters = atomics:new(?PRODUCERS + 1, []),
    Half = bench_events:calls_per_replica() div 2,
    Halves = [#{calls => Half}, #{first_call => Half + 1}],
    _ = spawn(fun() ->
        Clock = spawn_link(fun() -> clock(Nodes, bench_events:first_ms()) end),
        Pids = [
            spawn_link(fun() -> producer(#{calls => Calls, counters => Counters, nth => Nth, clock => Clock}, 0, paused()) end)
         || {Nth, Calls} <- lists:enumerate(Halves)
        ],
        persistent_term:put(?MODULE, {Counters, Pids}),
        receive
            never -> ok
        end
    end),
    bench_case:until(fun() -> persistent_term:get(?MODULE, none) =/= none end, 10).

%% From now on so many events a second, by all producers together.
-spec pace(non_neg_integer() | infinity) -> ok.
pace(Rate) ->
    {_, Pids} = persistent_term:get(?MODULE),
    lists:foreach(fun(Pid) -> Pid ! {pace, Rate} end, Pids).

%% Events taken so far, and when that is.
-spec put_so_far() -> {non_neg_integer(), integer()}.
put_so_far() ->
    {Counters, Pids} = persistent_term:get(?MODULE),
    true = lists:all(fun is_process_alive/1, Pids),
    {atomics:get(Counters, ?PRODUCERS + 1), erlang:monotonic_time(nanosecond)}.

paused() ->
    receive
        {pace, 0} -> paused();
        {pace, Rate} -> begun(Rate)
    end.

begun(infinity) -> infinity;
begun(Rate) -> {erlang:monotonic_time(microsecond), 0, Rate / ?PRODUCERS}.

producer(#{calls := Calls} = Producer, Replica, Pace) ->
    Batches = bench_events:in_batches(?BATCH, bench_events:replica(Replica, Calls)),
    producer(Producer, Replica + 1, lists:foldl(fun(Batch, P) -> put_batch(Producer, Batch, paced(P)) end, Pace, Batches)).

paced(Pace) ->
    receive
        {pace, 0} -> paused();
        {pace, Rate} -> begun(Rate)
    after wait_ms(Pace) -> Pace
    end.

wait_ms(infinity) -> 0;
wait_ms({Start, Events, Rate}) -> max(0, round((Start + Events * 1.0e6 / Rate - erlang:monotonic_time(microsecond)) / 1000)).

put_batch(#{counters := Counters, nth := Nth, clock := Clock}, Batch, Pace) ->
    {ok, #{accepted := Taken, rejected := []}} = era_callstore:put(Batch, #{timeout => 60_000}),
    ok = atomics:add(Counters, ?PRODUCERS + 1, Taken),
    case atomics:add_get(Counters, Nth, 1) rem ?BATCHES_PER_TICK of
        0 -> Clock ! {reached, Nth, bench_events:last_ms(Batch)};
        _ -> ok
    end,
    case Pace of
        infinity -> infinity;
        {Start, Events, Rate} -> {Start, Events + length(Batch), Rate}
    end.

%% The slower producer's time on all nodes.
clock(Nodes, Ms) -> clock(Nodes, Ms, maps:from_keys(lists:seq(1, ?PRODUCERS), Ms)).

clock(Nodes, Ms, Reached) ->
    Now = heard(Reached),
    case lists:min(maps:values(Now)) of
        Later when Later > Ms ->
            _ = erpc:multicall(Nodes, era_callstore_clock, advance_to, [Later]),
            clock(Nodes, Later, Now);
        _ ->
            clock(Nodes, Ms, Now)
    end.

heard(Reached) ->
    receive
        {reached, Nth, Ms} -> heard_more(Reached#{Nth := Ms})
    end.

heard_more(Reached) ->
    receive
        {reached, Nth, Ms} -> heard_more(Reached#{Nth := Ms})
    after 0 -> Reached
    end.

%% What is looked at.
-spec sample() -> #{tables := #{atom() => non_neg_integer()}, atom() => non_neg_integer()}.
sample() ->
    Tables = ets:all(),
    Groups = maps:values(map_get(groups, era_callstore:status())),
    Here = [Status || #{state := State} = Status <- Groups, State =:= active orelse State =:= passive],
    {ok, Files} = file:list_dir("/proc/self/fd"),
    ByTable = table_bytes(Tables),
    Decisions = maps:get(?DECISIONS, ByTable, 0),
    #{
        tables => ByTable,
        total_bytes => erlang:memory(total),
        rss_bytes => rss_bytes(),
        binary_bytes => erlang:memory(binary),
        ets_bytes => erlang:memory(ets) - Decisions,
        decision_bytes => Decisions,
        core_bytes => lists:sum([Bytes || #{memory_bytes := Bytes} <- Here]),
        ets_tables => length(Tables),
        processes => erlang:system_info(process_count),
        ports => erlang:system_info(port_count),
        files => length(Files),
        atoms => erlang:system_info(atom_count),
        log_rows => lists:sum([Rows || #{log_chunks := Rows} <- Here])
    }.

%% Tables of one name together; one that has gone meanwhile is none.
table_bytes(Tables) ->
    Word = erlang:system_info(wordsize),
    lists:foldl(
        fun({Name, Words}, Sum) -> maps:update_with(Name, fun(Bytes) -> Bytes + Words * Word end, Words * Word, Sum) end,
        #{},
        [{Name, Words} || T <- Tables, Name <- [ets:info(T, name)], Words <- [ets:info(T, memory)], is_integer(Words)]
    ).

rss_bytes() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [KiB]} = re:run(Status, "VmRSS:\\s+([0-9]+) kB", [{capture, all_but_first, binary}]),
    binary_to_integer(KiB) * 1024.

%% Both copies have the same, and each call is either live or closed.
-spec sound() -> boolean().
sound() ->
    #{groups := #{1 := #{started := Started, live := Live, closed := Closed}}} = era_callstore:status(),
    Started =:= Live + Closed andalso length(lists:usort(maps:values(era_callstore:digest(1)))) =:= 1.

%% --- the sink that forgets

-spec init(map(), era_callstore_sink:context()) -> {ok, []}.
init(_Args, _Context) -> {ok, []}.

-spec deliver([era_callstore_sink:item()], []) -> {ok, []}.
deliver(_Items, State) -> {ok, State}.

-spec terminate(term(), []) -> ok.
terminate(_Reason, _State) -> ok.
