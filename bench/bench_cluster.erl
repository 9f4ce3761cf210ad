%% What: two nodes on this machine: `put` with a copy on each beside the Mnesia peers over the same two nodes, the take-over after SIGKILL of
%%       the active, the restart of a full store, and what a joining instance costs the active.
%% Holds: both nodes are fresh VMs with empty folders; both producers sit on the active node. A rate over two nodes counts until
%%        the other node has everything, for ours and for the peer, so that async_dirty is not paid with a queue.
%% Callers: bench_main; bench_watch uses its pair of nodes. The functions in the second half run in the measuring VMs.
-module(bench_cluster).

-behaviour(bench_case).

-export([figures/0, run/2, max_runs/0]).
-export([start_ours/3, rate_ours/1, rate_mnesia/2, lag_is_zero/0, lag/0, copies/0, take_over/1, serve_again/2, sustain/1, sustained/0, sync/0]).
-export([with_pair/1, start_both/3, caught_up/1, between/2]).

-define(BATCH, 256).
-define(REPLICAS_OURS, 12).
-define(REPLICAS_TRANSACTION, 1).
-define(REPLICAS_DIRTY, 6).
-define(REPLICAS_SUSTAINED, 80).
-define(TAKE_OVER_CALLS, 100_000).
-define(RESTART_CALLS, 300_000).
-define(JOIN_CALLS, 100_000).
%% Long enough for a steady rate before the other joins.
-define(BEFORE_JOIN_MS, 1_500).
-define(ROWS_ON_THEIR_WAY, 8).

-spec figures() -> [bench_figures:description()].
figures() ->
    Rate = #{unit => <<"events/s">>, better => more, note => <<"sinks [collection], until both copies have it">>},
    Ms = #{unit => <<"ms">>, better => less},
    [
        Rate#{name => put_2nodes_transaction_vs_rmw_transaction, peer => <<"rmw transaction, 2 nodes">>},
        Rate#{name => put_2nodes_async_dirty_vs_rmw_async_dirty, peer => <<"rmw async_dirty, 2 nodes">>},
        Ms#{name => takeover_100k_ms, note => <<"SIGKILL of the active to the first ok">>},
        Ms#{name => restart_300k_ms, note => <<"start of the application to the first ok, after SIGKILL">>},
        #{name => join_under_load_rate, unit => <<"% of rate">>, better => more, note => <<"rate while another joins, 100,000 live">>}
    ].

-spec max_runs() -> pos_integer().
max_runs() -> 3.

-spec run([atom()], pos_integer()) -> #{atom() => number() | {number(), number()}}.
run(Wanted, Run) ->
    maps:from_list([{Name, value(Name, Run)} || Name <- Wanted]).

value(put_2nodes_transaction_vs_rmw_transaction, _Run) ->
    {ours(transaction), mnesia_peer(transaction, ?REPLICAS_TRANSACTION)};
value(put_2nodes_async_dirty_vs_rmw_async_dirty, _Run) ->
    {ours(async_dirty), mnesia_peer(async_dirty, ?REPLICAS_DIRTY)};
value(takeover_100k_ms, _Run) ->
    with_pair(fun(Active, Passive) ->
        ok = start_both(Active, Passive, transaction),
        ok = bench_vm:call(Active, bench_live, load, [0, ?TAKE_OVER_CALLS]),
        ok = caught_up(Passive),
        bench_vm:call(Passive, ?MODULE, take_over, [bench_vm:os_pid(Active)])
    end);
value(restart_300k_ms, _Run) ->
    Options = #{folder => "restart"},
    First = bench_vm:start(Options),
    ok = bench_vm:call(First, bench_app, start, [#{dir => data(First)}]),
    ok = bench_vm:call(First, bench_live, load, [0, ?RESTART_CALLS]),
    ok = bench_vm:call(First, ?MODULE, sync, []),
    ok = bench_vm:kill(First),
    bench_vm:with(bench_vm:keep_folder(Options), fun(Second) ->
        bench_vm:call(Second, ?MODULE, serve_again, [data(Second), ?RESTART_CALLS])
    end);
value(join_under_load_rate, _Run) ->
    with_pair(fun(Active, Joining) ->
        Nodes = nodes_of(Active, Joining),
        ok = bench_vm:call(Active, ?MODULE, start_ours, [data(Active), Nodes, transaction]),
        ok = bench_vm:call(Active, bench_live, load, [0, ?JOIN_CALLS]),
        ok = bench_vm:call(Active, ?MODULE, sustain, [?REPLICAS_SUSTAINED]),
        Begin = bench_vm:call(Active, ?MODULE, sustained, []),
        receive
        after ?BEFORE_JOIN_MS -> ok
        end,
        Before = bench_vm:call(Active, ?MODULE, sustained, []),
        ok = bench_vm:call(Joining, ?MODULE, start_ours, [data(Joining), Nodes, transaction]),
        ok = keeps_up(Joining),
        After = bench_vm:call(Active, ?MODULE, sustained, []),
        100 * between(Before, After) / between(Begin, Before)
    end).

%% Events a second between two counts of sustained/0.
-spec between({non_neg_integer(), integer()}, {non_neg_integer(), integer()}) -> float().
between({Events0, Ns0}, {Events1, Ns1}) when Events1 > Events0 ->
    (Events1 - Events0) * 1.0e9 / (Ns1 - Ns0).

ours(Commit) ->
    with_pair(fun(Active, Passive) ->
        ok = start_both(Active, Passive, Commit),
        bench_vm:call(Active, ?MODULE, rate_ours, [bench_vm:node_of(Passive)])
    end).

mnesia_peer(Access, Replicas) ->
    with_pair(fun(One, Other) ->
        ok = bench_vm:call(One, bench_peer_mnesia, start, [#{dir => data(One), storage => disc_copies}]),
        Join = #{dir => data(Other), storage => disc_copies, at => bench_vm:node_of(One)},
        ok = bench_vm:call(Other, bench_peer_mnesia, join, [Join]),
        bench_vm:call(One, ?MODULE, rate_mnesia, [Access, Replicas])
    end).

%% Two fresh nodes.
-spec with_pair(fun((bench_vm:vm(), bench_vm:vm()) -> Result)) -> Result.
with_pair(Body) ->
    bench_vm:with(#{folder => "pair1", name => bench1}, fun(One) ->
        bench_vm:with(#{folder => "pair2", name => bench2}, fun(Other) -> Body(One, Other) end)
    end).

%% Starts the application on both; the second has caught up then.
-spec start_both(bench_vm:vm(), bench_vm:vm(), atom()) -> ok.
start_both(Active, Passive, Commit) ->
    Nodes = nodes_of(Active, Passive),
    [ok = bench_vm:call(VM, ?MODULE, start_ours, [data(VM), Nodes, Commit]) || VM <- [Active, Passive]],
    caught_up(Passive).

%% The passive has a copy and has folded all of it.
-spec caught_up(bench_vm:vm()) -> ok.
caught_up(Passive) ->
    bench_case:until(fun() -> bench_vm:call(Passive, ?MODULE, copies, []) =:= 2 end, 60),
    bench_case:until(fun() -> bench_vm:call(Passive, ?MODULE, lag_is_zero, []) end, 60).

%% The same under load, where something is always on its way.
keeps_up(Passive) ->
    bench_case:until(fun() -> bench_vm:call(Passive, ?MODULE, copies, []) =:= 2 end, 60),
    bench_case:until(fun() -> bench_vm:call(Passive, ?MODULE, lag, []) =< ?ROWS_ON_THEIR_WAY end, 60).

nodes_of(One, Other) ->
    [bench_vm:node_of(VM) || VM <- [One, Other]].

data(VM) ->
    filename:join(bench_vm:folder(VM), "data").

%% --- inside the measuring VMs ------------------------------------------------------------------------------------------------------

%% The application as one of two instances of a group; the first node has the lower order.
-spec start_ours(file:filename(), [node()], atom()) -> ok.
start_ours(Dir, Nodes, Commit) ->
    _ = [net_kernel:connect_node(Node) || Node <- Nodes, Node =/= node()],
    Placed = [{<<"callstore", (integer_to_binary(Order))/binary>>, Order, Node} || {Order, Node} <- lists:enumerate(Nodes)],
    bench_app:start(#{
        dir => Dir,
        commit => Commit,
        roles => [
            #{<<"name">> => Name, <<"roletype">> => <<"callstore">>, <<"iface">> => <<"eth0">>, <<"group">> => 1, <<"order">> => Order}
         || {Name, Order, _} <- Placed
        ],
        instances => maps:from_list([{Name, Node} || {Name, _, Node} <- Placed])
    }).

-spec rate_ours(node()) -> float().
rate_ours(Passive) ->
    Prepared = bench_put:prepare(2, ?REPLICAS_OURS),
    Start = erlang:monotonic_time(nanosecond),
    #{events := Events} = bench_put:play_ours(Prepared),
    ok = bench_case:until(fun() -> erpc:call(Passive, ?MODULE, lag_is_zero, []) end, 120),
    Events * 1.0e9 / (erlang:monotonic_time(nanosecond) - Start).

-spec rate_mnesia(transaction | async_dirty, pos_integer()) -> float().
rate_mnesia(Access, Replicas) ->
    Prepared = bench_put:prepare(2, Replicas * 2),
    Put = fun({_LastMs, Batch}, _Producer) -> bench_peer_mnesia:put(Access, Batch) end,
    bench_producers:rate(bench_producers:play(Prepared, Put, fun(_) -> bench_peer_mnesia:barrier() end)).

-spec lag_is_zero() -> boolean().
lag_is_zero() -> lag() =:= 0.

%% Rows of the copy here that are not folded yet; more than any number while it is loading.
-spec lag() -> non_neg_integer() | loading.
lag() ->
    case era_callstore:status() of
        #{groups := #{1 := #{lag_chunks := Lag, state := State}}} when State =:= passive; State =:= active -> Lag;
        _ -> loading
    end.

-spec copies() -> non_neg_integer().
copies() ->
    #{groups := #{1 := #{copies := Copies}}} = era_callstore:status(),
    length(Copies).

%% Kills the active and puts until the first `ok`; milliseconds from before the kill.
-spec take_over(string()) -> float().
take_over(OsPid) ->
    [Event | _] = bench_events:replica(1_000, #{calls => 1}),
    Start = erlang:monotonic_time(nanosecond),
    [] = os:cmd("kill -9 " ++ OsPid),
    ok = put_until_ok(Event, 60),
    (erlang:monotonic_time(nanosecond) - Start) / 1.0e6.

put_until_ok(Event, Tries) when Tries > 0 ->
    case era_callstore:put(Event, #{timeout => 10_000}) of
        {ok, #{accepted := 1}} -> ok;
        {error, _} -> put_until_ok(Event, Tries - 1)
    end.

%% Everything acknowledged so far is on disc.
-spec sync() -> ok.
sync() ->
    mnesia:sync_log().

%% Starts on the data of a killed VM; milliseconds until a put is answered, with all calls there.
-spec serve_again(file:filename(), pos_integer()) -> float().
serve_again(Dir, Calls) ->
    [Event | _] = bench_events:replica(1_000, #{calls => 1}),
    Start = erlang:monotonic_time(nanosecond),
    ok = bench_app:start(#{dir => Dir}),
    ok = put_until_ok(Event, 60),
    Ms = (erlang:monotonic_time(nanosecond) - Start) / 1.0e6,
    Live = bench_app:live(),
    Live = Calls + 1,
    Ms.

%% Two producers that play until the VM ends, counting; the events are made before this returns.
-spec sustain(pos_integer()) -> ok.
sustain(Replicas) ->
    Prepared = bench_put:prepare(2, Replicas),
    Count = atomics:new(1, []),
    Players = spawn(fun() ->
        bench_producers:play(
            Prepared,
            fun({_LastMs, Batch}, _Producer) ->
                Taken = bench_app:put(Batch),
                ok = atomics:add(Count, 1, Taken),
                Taken
            end,
            fun(_) -> ok end
        )
    end),
    persistent_term:put(?MODULE, {Count, Players}).

%% Events taken so far, and when that is. Fails when there is nothing left to play: then no rate can be told.
-spec sustained() -> {non_neg_integer(), integer()}.
sustained() ->
    {Count, Players} = persistent_term:get(?MODULE),
    true = is_process_alive(Players),
    {atomics:get(Count, 1), erlang:monotonic_time(nanosecond)}.
