%% What: owners of 100,000 dialogs, each a process of another node: their watching set up and taken over, in time and memory; and the death
%%       of that node, with the time until all of its dialogs are decided and what `put` of other calls keeps of its rate meanwhile.
%% Holds: owners are real processes of a real node; a node dies by SIGKILL. A mass death runs on the system's clock, with the brakes lifted
%%        and a grace of GRACE_MS; what is measured begins when the grace ends, and ends when every dialog is dead in the log and folded.
%% Callers: bench_main. The functions in the second half run in the measuring VMs.
-module(bench_watch).

-behaviour(bench_case).

-export([figures/0, run/2, max_runs/0]).
-export([call/2, hold/1, set_up/2, bytes_per_owner/0, taken_over/2, peer_owners/1, start_on_system_clock/1, die/2]).

-define(OWNERS, 100_000).
-define(PRODUCERS, 8).
-define(GRACE_MS, 1_000).
%% Long enough for a steady rate before the node dies.
-define(BEFORE_DEATH_MS, 1_500).
-define(REPLICAS_BESIDE, 80).
-define(DOMAIN, <<"dying.era.test">>).

-spec figures() -> [bench_figures:description()].
figures() ->
    Ms = #{unit => <<"ms">>, better => less},
    Peer = <<"one process, erlang:monitor, a map">>,
    [
        Ms#{name => watch_100k_ms, peer => Peer, note => <<"take-over: from the new epoch until all owners are watched">>},
        Ms#{name => watch_setup_100k_ms, peer => <<"the same calls, no owner">>, note => <<"one put a call, 8 producers, until all are watched">>},
        #{name => watch_bytes_per_owner, unit => <<"bytes">>, better => less, peer => Peer, note => <<"the watching process, monitors included">>},
        Ms#{name => mass_death_100k_ms, note => <<"from the end of the grace until the last is decided, put of other calls beside it">>},
        #{name => mass_death_put_rate, unit => <<"% of rate">>, better => more, note => <<"put of other calls in that time">>}
    ].

-spec max_runs() -> pos_integer().
max_runs() -> 3.

-spec run([atom()], pos_integer()) -> #{atom() => number() | {number(), number()}}.
run(Wanted, _Run) ->
    {Deaths, Watched} = lists:partition(fun(Name) -> lists:prefix("mass_death", atom_to_list(Name)) end, Wanted),
    maps:merge(
        case Watched of [] -> #{}; _ -> watched() end,
        case Deaths of [] -> #{}; _ -> mass_death() end
    ).

watched() ->
    Without = bench_vm:with(#{folder => "watch0", name => bench0}, fun(VM) ->
        ok = bench_vm:call(VM, bench_app, start, [#{dir => data(VM)}]),
        bench_vm:call(VM, ?MODULE, set_up, [none, bench_events:first_ms()])
    end),
    with_owners(fun(B2b) ->
        bench_cluster:with_pair(fun(Active, Passive) ->
            ok = bench_cluster:start_both(Active, Passive, transaction),
            SetUp = bench_vm:call(Active, ?MODULE, set_up, [B2b, bench_events:first_ms()]),
            Bytes = bench_vm:call(Active, ?MODULE, bytes_per_owner, []),
            ok = bench_cluster:caught_up(Passive),
            TakenOver = bench_vm:call(Passive, ?MODULE, taken_over, [B2b, bench_vm:os_pid(Active)]),
            {PeerMs, PeerBytes} = bench_vm:call(Passive, ?MODULE, peer_owners, [B2b]),
            #{
                watch_100k_ms => {TakenOver, PeerMs},
                watch_setup_100k_ms => {SetUp, Without},
                watch_bytes_per_owner => {Bytes, PeerBytes}
            }
        end)
    end).

mass_death() ->
    bench_vm:with(#{folder => "watch1", name => bench1}, fun(VM) ->
        B2b = owners_vm(),
        try
            ok = bench_vm:call(VM, ?MODULE, start_on_system_clock, [data(VM)]),
            _ = bench_vm:call(VM, ?MODULE, set_up, [bench_vm:node_of(B2b), erlang:system_time(millisecond)]),
            {Ms, Rate} = bench_vm:call(VM, ?MODULE, die, [bench_vm:node_of(B2b), bench_vm:os_pid(B2b)]),
            #{mass_death_100k_ms => Ms, mass_death_put_rate => Rate}
        after
            bench_vm:stop(B2b)
        end
    end).

with_owners(Body) ->
    VM = owners_vm(),
    try
        Body(bench_vm:node_of(VM))
    after
        bench_vm:stop(VM)
    end.

owners_vm() ->
    VM = bench_vm:start(#{folder => "b2b", name => bench_b2b}),
    ok = bench_vm:call(VM, ?MODULE, hold, [?OWNERS]),
    VM.

data(VM) -> filename:join(bench_vm:folder(VM), "data").

%% --- inside the VM of the owners --------------------------------------------------------------------------------------------------

%% Starts so many processes that serve a dialog each.
-spec hold(pos_integer()) -> ok.
hold(Count) ->
    Keeper = spawn(fun() -> receive after infinity -> ok end end),
    Owners = [spawn(fun() -> Ref = monitor(process, Keeper), receive {'DOWN', Ref, _, _, _} -> ok end end) || _ <- lists:seq(1, Count)],
    persistent_term:put(?MODULE, Owners).

owners(none) -> lists:duplicate(?OWNERS, none);
owners(B2b) -> erpc:call(B2b, persistent_term, get, [?MODULE]).

%% --- inside the measuring VMs -------------------------------------------------------------------------------------------------------

%% Calls in conversation, each put with its owner; milliseconds until the last is watched.
-spec set_up(node() | none, integer()) -> float().
set_up(B2b, NowMs) ->
    Numbered = lists:zip(lists:seq(1, ?OWNERS), owners(B2b)),
    Prepared = bench_producers:prepare(?PRODUCERS, fun(Producer) ->
        [{call(N, NowMs), options(Owner)} || {N, Owner} <- Numbered, N rem ?PRODUCERS =:= Producer - 1]
    end),
    Put = fun({Events, Options}, _Producer) ->
        {ok, #{accepted := Accepted}} = era_callstore:put(Events, Options),
        Accepted
    end,
    {Us, ok} = bench_case:elapsed_us(fun() ->
        _ = bench_producers:play(Prepared, Put, fun(_) -> ok end),
        %% On virtual time nothing is done until the clock is told.
        _ = era_callstore_clock:advance_to(NowMs),
        bench_case:until(fun() -> B2b =:= none orelse watched_here() >= ?OWNERS end, 120)
    end),
    Us / 1000.

options(none) -> #{};
options(Owner) -> #{owner => Owner}.

watched_here() ->
    maps:get(monitors, era_callstore_router:noted({watch, 1, here}), 0).

%% Invite, ringing, answer.
call(N, Ms) ->
    Id = iolist_to_binary(io_lib:format("~12..0b", [N])),
    Dialog = #{<<"dialogid">> => <<"rB1-001-", Id/binary>>},
    [
        event(Id, <<"1">>, <<"invite">>, Ms, #{
            <<"urifrom">> => <<"sip:1", Id/binary, "@", ?DOMAIN/binary>>, <<"fromusername">> => <<"1", Id/binary>>,
            <<"fromdomain">> => ?DOMAIN
        }),
        event(Id, <<"2">>, <<"dlg_call">>, Ms, Dialog),
        event(Id, <<"3">>, <<"dlg_start">>, Ms, Dialog#{<<"mgctxid">> => <<"ctx-", Id/binary>>})
    ].

event(Id, Nth, Type, Ms, Body) ->
    #{
        <<"class">> => <<"callevents">>,
        <<"type">> => Type,
        <<"eventts">> => Ms,
        <<"data">> => Body#{
            <<"eventid">> => <<"e000000", Nth/binary, "-0000-4000-8000-", Id/binary>>,
            <<"eventts">> => Ms,
            <<"cid">> => <<"d0000000-0000-4000-8000-", Id/binary>>,
            <<"invitets">> => Ms,
            <<"acallid">> => <<"dying-", Id/binary, "@127.0.0.1">>
        }
    }.

-spec bytes_per_owner() -> float().
bytes_per_owner() -> bytes(whereis(era_callstore_watch_1)).

bytes(Pid) ->
    true = erlang:garbage_collect(Pid),
    {memory, Bytes} = process_info(Pid, memory),
    Bytes / ?OWNERS.

%% Kills the active and waits until this node watches all owners; milliseconds since its term began.
-spec taken_over(node(), string()) -> float().
taken_over(B2b, OsPid) ->
    true = net_kernel:connect_node(B2b),
    Before = era_callstore_log:term(1),
    [] = os:cmd("kill -9 " ++ OsPid),
    ok = bench_case:until(fun() -> era_callstore_log:term(1) =/= Before end, 60),
    {Us, ok} = bench_case:elapsed_us(fun() -> bench_case:until(fun() -> watched_here() >= ?OWNERS end, 60) end),
    Us / 1000.

%% What a process does that only monitors: milliseconds and bytes.
-spec peer_owners(node()) -> {float(), float()}.
peer_owners(B2b) ->
    Owners = owners(B2b),
    Caller = self(),
    Watcher = spawn(fun() ->
        receive
            {watch, Pids} ->
                Monitors = maps:from_list([{monitor(process, Pid), Pid} || Pid <- Pids]),
                Caller ! {self(), watched},
                receive stop -> map_size(Monitors) end
        end
    end),
    {Us, ok} = bench_case:elapsed_us(fun() ->
        Watcher ! {watch, Owners},
        receive {Watcher, watched} -> ok end
    end),
    Bytes = bytes(Watcher),
    Watcher ! stop,
    {Us / 1000, Bytes}.

-spec start_on_system_clock(file:filename()) -> ok.
start_on_system_clock(Dir) ->
    ok = bench_app:start(#{dir => Dir, watch => #{ends_per_s => 0, node_grace_ms => ?GRACE_MS}}),
    era_callstore_clock:use_system().

%% Two producers play other calls; the node of the owners is killed; milliseconds from the end of the grace until all of its dialogs are
%% decided, and the rate in that time in per cent of the rate before.
-spec die(node(), string()) -> {float(), float()}.
die(B2b, OsPid) ->
    true = net_kernel:connect_node(B2b),
    ?OWNERS = dying(),
    ok = bench_cluster:sustain(?REPLICAS_BESIDE),
    Begin = bench_cluster:sustained(),
    receive
    after ?BEFORE_DEATH_MS -> ok
    end,
    Before = bench_cluster:sustained(),
    true = erlang:monitor_node(B2b, true),
    [] = os:cmd("kill -9 " ++ OsPid),
    receive
        {nodedown, B2b} -> ok
    end,
    receive
    after ?GRACE_MS -> ok
    end,
    Grace = bench_cluster:sustained(),
    {Us, ok} = bench_case:elapsed_us(fun() -> bench_case:until(fun() -> dying() =:= 0 end, 120) end),
    After = bench_cluster:sustained(),
    {Us / 1000, 100 * bench_cluster:between(Grace, After) / bench_cluster:between(Begin, Before)}.

dying() -> era_callstore:count(#{domain => ?DOMAIN}).
