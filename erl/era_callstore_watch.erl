%%% Watches the owners of the calls of an active instance: processes and nodes are monitored, reports are taken.
%%%
%%%   owners of calls ──► monitors ──DOWN, nodedown, nodeup──► evidence ──► core; the ticker looks at once
%%% A process that cannot be reached is not one that died: its node counts as down until it is connected again, and then
%%% the process is monitored anew. Lost nodes that serve calls are called again and again.
%%% Always holds: exists on the active only, and with it the core's watch (take_over … stand_down); one monitor an owner;
%%% an owner that serves no call any more is let go within two rounds.
%%% Called by: ticker (owners/2), era_callstore (report/1), the status (its note).
%%% Must never: decide that a call is dead, or wait for a node or an owner.
-module(era_callstore_watch).
-behaviour(gen_server).

-export([start_link/1, owners/2, alarms/2, report/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, handle_continue/2, terminate/2]).
-export_type([options/0]).

-include_lib("kernel/include/logger.hrl").

%% Owners asked for at once, and evidence told at once.
-define(PAGE, 5000).
-define(DOWNS, 2000).
%% How often monitors are compared with the owners that serve calls, and a lost node is called.
-define(ROUND_MS, 60000).
-define(CALL_MS, 1000).
-define(REPORT_MS, 5000).
-define(ALARMS_KEPT, 20).

-type owner_text() :: binary().
-type options() :: #{
    group := pos_integer(),
    store := era_callstore_nif:store(),
    tracked := boolean(),
    behaviours := #{probe | mixer | rescue => module() | off}
}.

-record(state, {
    group :: pos_integer(),
    store :: era_callstore_nif:store(),
    tracked :: boolean(),
    behaviours :: #{probe | mixer | rescue => module() | off},
    %% how each owner is watched: by a monitor, by its node alone, or it is lost with its node
    owners = #{} :: #{owner_text() => {monitor, reference()} | {node, node()} | {lost, node()}},
    monitors = #{} :: #{reference() => owner_text()},
    down = #{} :: #{node() => true},
    alarms = [] :: [map()]
}).

-spec start_link(options()) -> gen_server:start_ret().
start_link(#{group := Group} = Options) -> gen_server:start_link({local, name(Group)}, ?MODULE, Options, []).

%% @doc Owners were named that had not been named of their calls before.
-spec owners(Group :: pos_integer(), [owner_text()]) -> ok.
owners(_Group, []) -> ok;
owners(Group, Owners) -> gen_server:cast(name(Group), {owners, Owners}).

%% @doc Mass deaths have begun, or have grown.
-spec alarms(Group :: pos_integer(), [era_callstore_nif:alarm()]) -> ok.
alarms(_Group, []) -> ok;
alarms(Group, Alarms) -> gen_server:cast(name(Group), {alarms, Alarms}).

%% @doc Gives evidence to the active instances of all groups; each takes what is about its calls.
-spec report([era_callstore_nif:evidence()]) -> ok | {error, no_active}.
report(Evidence) ->
    case era_callstore_config:in_force() of
        {ok, #{groups := Groups}} ->
            Answers = [report_to(Group, Evidence) || Group <- maps:keys(Groups)],
            case lists:all(fun(Answer) -> Answer =:= ok end, Answers) of
                true -> ok;
                false -> {error, no_active}
            end;
        {error, not_running} ->
            {error, no_active}
    end.

report_to(Group, Evidence) ->
    case era_callstore_router:active_node(Group) of
        none ->
            {error, no_active};
        Node ->
            try
                gen_server:call({name(Group), Node}, {report, Evidence}, ?REPORT_MS)
            catch
                exit:_ -> {error, no_active}
            end
    end.

%% --- the process

-spec init(options()) -> {ok, #state{}, {continue, watch_all}}.
init(#{group := Group, store := Store, tracked := Tracked, behaviours := Behaviours}) ->
    process_flag(trap_exit, true),
    ok = era_callstore_nif:take_over(Store, era_callstore_clock:now_ms()),
    State = #state{group = Group, store = Store, tracked = Tracked, behaviours = Behaviours},
    {ok, noted(State), {continue, watch_all}}.

-spec handle_continue(watch_all, #state{}) -> {noreply, #state{}}.
handle_continue(watch_all, #state{tracked = false} = State) ->
    {noreply, State};
handle_continue(watch_all, #state{store = Store} = State) ->
    ok = net_kernel:monitor_nodes(true),
    _ = erlang:send_after(?ROUND_MS, self(), round),
    {noreply, noted(watch_owners(maps:keys(serving(Store, start, #{})), State))}.

-spec handle_call({report, [era_callstore_nif:evidence()]}, gen_server:from(), #state{}) -> {reply, ok, #state{}}.
handle_call({report, Evidence}, _From, #state{group = Group, store = Store, tracked = Tracked} = State) ->
    ok = era_callstore_evidence:tell(Group, Store, [E || E <- Evidence, Tracked]),
    {reply, ok, State}.

-spec handle_cast({owners, [owner_text()]} | {alarms, [era_callstore_nif:alarm()]}, #state{}) -> {noreply, #state{}}.
handle_cast({owners, Owners}, #state{tracked = true} = State) ->
    {noreply, noted(watch_owners(Owners, State))};
handle_cast({owners, _Owners}, State) ->
    {noreply, State};
handle_cast({alarms, Alarms}, State) ->
    {noreply, noted(lists:foldl(fun alarm/2, State, Alarms))}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'DOWN', Monitor, process, _, Reason}, State) ->
    {Evidence, Next} = more_downs(1, down(Monitor, Reason, State)),
    {noreply, noted(told(lists:reverse(Evidence), Next))};
handle_info({nodedown, Node}, State) ->
    {noreply, noted(node_lost(Node, State))};
handle_info({nodeup, Node}, #state{down = Down, owners = Owners} = State) when is_map_key(Node, Down) ->
    Lost = [Owner || {Owner, {lost, On}} <- maps:to_list(Owners), On =:= Node],
    Up = told([{node_up, atom_to_binary(Node)}], State#state{down = maps:remove(Node, Down)}),
    {noreply, noted(watch_owners(Lost, Up#state{owners = maps:without(Lost, Owners)}))};
handle_info(round, State) ->
    _ = erlang:send_after(?ROUND_MS, self(), round),
    {noreply, noted(let_go(State))};
handle_info({call, Node}, #state{down = Down} = State) when is_map_key(Node, Down) ->
    %% Connecting may take as long as a network lets it; nodeup says that it is done.
    _ = spawn_link(fun() -> net_kernel:connect_node(Node) end),
    _ = erlang:send_after(?CALL_MS, self(), {call, Node}),
    {noreply, State};
handle_info(_Other, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{group = Group, store = Store}) ->
    ok = era_callstore_router:note({watch, Group, here}, #{}),
    era_callstore_nif:stand_down(Store).

%% --- owners

watch_owners(Owners, State) -> lists:foldl(fun watch_owner/2, State, Owners).

watch_owner(Owner, #state{owners = Known} = State) when is_map_key(Owner, Known) ->
    State;
watch_owner(Owner, State) ->
    case era_callstore_owner:from_binary(Owner) of
        {ok, Process} when is_pid(Process); is_tuple(Process), element(1, Process) =/= external ->
            watch_process(Owner, Process, State);
        {ok, Node} when is_atom(Node) ->
            watch_node(Owner, Node, State);
        %% Outside of Erlang: probes, inventories and reports say how it is.
        {ok, {external, _}} ->
            State;
        %% No node of this name was ever heard of here: probes and inventories only.
        error ->
            State
    end.

watch_process(Owner, Process, #state{owners = Owners, monitors = Monitors} = State) ->
    Monitor = erlang:monitor(process, Process),
    State#state{owners = Owners#{Owner => {monitor, Monitor}}, monitors = Monitors#{Monitor => Owner}}.

watch_node(Owner, Node, #state{owners = Owners, down = Down} = State) when is_map_key(Node, Down) ->
    State#state{owners = Owners#{Owner => {lost, Node}}};
watch_node(Owner, Node, #state{owners = Owners} = State) ->
    %% Says nodedown when it cannot be connected.
    true = erlang:monitor_node(Node, true),
    State#state{owners = Owners#{Owner => {node, Node}}}.

%% What fell with its node is not dead: the node is lost.
down(Monitor, Reason, #state{monitors = Monitors, owners = Owners} = State) ->
    case maps:take(Monitor, Monitors) of
        {Owner, Left} when Reason =:= noconnection ->
            Node = node_of(Owner),
            Lost = State#state{monitors = Left, owners = Owners#{Owner => {lost, Node}}},
            case is_map_key(Node, Lost#state.down) of
                true -> {[], Lost};
                false -> {[{node_down, atom_to_binary(Node)}], mark_down(Node, Lost)}
            end;
        {Owner, Left} ->
            Next = State#state{monitors = Left, owners = maps:remove(Owner, Owners)},
            {[{owner_down, Owner, era_callstore_evidence:reason_text(Reason)}], Next};
        error ->
            {[], State}
    end.

%% A node takes thousands with it: they are told together.
more_downs(?DOWNS, Collected) ->
    Collected;
more_downs(Count, {Evidence, State}) ->
    receive
        {'DOWN', Monitor, process, _, Reason} ->
            {More, Next} = down(Monitor, Reason, State),
            more_downs(Count + 1, {More ++ Evidence, Next})
    after 0 -> {Evidence, State}
    end.

node_of(Owner) ->
    case era_callstore_owner:from_binary(Owner) of
        {ok, Pid} when is_pid(Pid) -> node(Pid);
        {ok, {_Name, Node}} -> Node
    end.

%% Told by the monitor of a node, or of an owner on it, whichever comes first.
node_lost(Node, #state{down = Down, owners = Owners} = State) ->
    OnIt = [Owner || {Owner, {node, On}} <- maps:to_list(Owners), On =:= Node],
    Moved = State#state{owners = maps:merge(Owners, maps:from_list([{Owner, {lost, Node}} || Owner <- OnIt]))},
    case OnIt =/= [] andalso not is_map_key(Node, Down) of
        true -> told([{node_down, atom_to_binary(Node)}], mark_down(Node, Moved));
        false -> Moved
    end.

mark_down(Node, #state{group = Group, down = Down} = State) ->
    ?LOG_WARNING(#{what => "a node that serves calls is down or out of reach", group => Group, node => Node}),
    self() ! {call, Node},
    State#state{down = Down#{Node => true}}.

%% Owners that serve no call any more.
let_go(#state{store = Store, owners = Owners, monitors = Monitors} = State) ->
    Serving = serving(Store, start, #{}),
    Gone = [{Owner, How} || {Owner, How} <- maps:to_list(Owners), not is_map_key(Owner, Serving)],
    lists:foreach(fun({_, How}) -> release(How) end, Gone),
    Left = maps:without([Owner || {Owner, _} <- Gone], Owners),
    Awaited = maps:from_list([{Node, true} || {lost, Node} <- maps:values(Left)]),
    State#state{
        owners = Left,
        monitors = maps:without([Monitor || {_, {monitor, Monitor}} <- Gone], Monitors),
        down = Awaited
    }.

release({monitor, Monitor}) -> erlang:demonitor(Monitor, [flush]);
release({node, Node}) -> erlang:monitor_node(Node, false);
release({lost, _Node}) -> true.

serving(Store, Cursor, Owners) ->
    case era_callstore_nif:owners(Store, Cursor, ?PAGE) of
        {Page, done} -> maps:merge(Owners, maps:from_list(Page));
        {Page, Next} -> serving(Store, Next, maps:merge(Owners, maps:from_list(Page)))
    end.

%% --- what is told

told([], State) ->
    State;
told(Evidence, #state{group = Group, store = Store} = State) ->
    era_callstore_counters:add(evidence_told, length(Evidence)),
    ok = era_callstore_evidence:tell(Group, Store, Evidence),
    State.

%% One alarm for a mass death, whose count grows.
alarm({mass_death, Of, Since, Count, Held}, #state{group = Group, alarms = Alarms} = State) ->
    Alarm = #{kind => mass_death, 'of' => Of, since_ms => Since, count => Count, held => Held},
    case [A || #{'of' := O, since_ms := S} = A <- Alarms, O =:= Of, S =:= Since] of
        [Known] ->
            State#state{alarms = [case A of Known -> Alarm; _ -> A end || A <- Alarms]};
        [] ->
            What = "many calls of one owner are found dead at once",
            ?LOG_ERROR(Alarm#{what => What, group => Group}),
            State#state{alarms = lists:sublist([Alarm | Alarms], ?ALARMS_KEPT)}
    end.

noted(#state{group = Group, owners = Owners, monitors = Monitors, down = Down, alarms = Alarms} = State) ->
    ok = era_callstore_router:note({watch, Group, here}, #{
        tracked => State#state.tracked,
        owners => map_size(Owners),
        monitors => map_size(Monitors),
        nodes_down => maps:keys(Down),
        alarms => Alarms,
        behaviours => State#state.behaviours
    }),
    State.

name(Group) -> list_to_atom("era_callstore_watch_" ++ integer_to_list(Group)).
