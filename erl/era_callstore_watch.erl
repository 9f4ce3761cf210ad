%%% Watches the owners of the calls of an active instance: processes and nodes are monitored, reports are taken.
%%%
%%%   owners of calls ──► monitors ──DOWN, nodedown, nodeup──► evidence ──► core; the ticker looks at once
%%% A process that cannot be reached is not one that died: its node counts as down until it is connected again, and then
%%% the process is monitored anew. Lost nodes that serve calls are called again and again.
%%% The ticker names owners that are new to a call. In rounds the monitors are compared with all owners that serve
%%% calls: one that serves again (a call that came back to it or was opened again, a name that was registered anew) is
%%% monitored again; one that serves none is let go. What was told of an owner is told once, and again only when calls
%%% came to it since: it would count against what has proven to live meanwhile.
%%% Always holds: exists on the active only, and with it the core's watch (take_over … stand_down); one monitor an
%%% owner; every owner of a live call that Erlang can monitor is monitored, lost with its node, or told to be down, one
%%% round after it was named at the latest.
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
%% How often monitors are compared with the owners that serve calls; a round may take this share of the time at most.
-define(ROUND_MS, 5000).
-define(ROUND_SHARE, 50).
%% How often a lost node is called.
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
    %% owners that ended or are lost while they serve calls, as was told; of how many calls in the last round
    away = #{} :: #{owner_text() => pos_integer() | new},
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
    ok = net_kernel:monitor_nodes(true, [{node_type, all}]),
    _ = erlang:send_after(?ROUND_MS, self(), round),
    {noreply, noted(watch_owners(maps:keys(serving(Store, start, #{})), State))}.

-spec handle_call({report, [era_callstore_nif:evidence()]}, gen_server:from(), #state{}) -> {reply, ok, #state{}}.
handle_call({report, Evidence}, _From, #state{group = Group, store = Store, tracked = Tracked} = State) ->
    ok = era_callstore_evidence:tell(Group, Store, [E || E <- Evidence, Tracked]),
    {reply, ok, State}.

-spec handle_cast({owners, [owner_text()]} | {alarms, [era_callstore_nif:alarm()]}, #state{}) -> {noreply, #state{}}.
handle_cast({owners, Owners}, #state{tracked = true} = State) ->
    {noreply, noted(watch_owners(Owners, newly_served(Owners, State)))};
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
handle_info({nodedown, Node, _}, State) ->
    {noreply, noted(node_lost(Node, State))};
handle_info({nodeup, Node, _}, State) ->
    {noreply, noted(node_found(Node, State))};
handle_info(round, State) ->
    Began = monotonic_ms(),
    Compared = noted(compared(State)),
    _ = erlang:send_after(max(?ROUND_MS, ?ROUND_SHARE * (monotonic_ms() - Began)), self(), round),
    {noreply, Compared};
handle_info({call, Node}, #state{down = Down} = State) when is_map_key(Node, Down) ->
    case lists:member(Node, nodes(connected)) of
        %% Connected again before it was known to be lost: nobody will say that it is up.
        true ->
            {noreply, noted(node_found(Node, State))};
        %% Connecting may take as long as a network lets it; nodeup says that it is done.
        false ->
            _ = spawn_link(fun() -> net_kernel:connect_node(Node) end),
            _ = erlang:send_after(?CALL_MS, self(), {call, Node}),
            {noreply, State}
    end;
handle_info(_Other, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{group = Group, store = Store}) ->
    ok = era_callstore_router:note({watch, Group, here}, #{}),
    era_callstore_nif:stand_down(Store).

%% --- owners

watch_owners(Owners, State) ->
    {Evidence, Watching} = lists:foldl(fun watch_owner/2, {[], State}, Owners),
    told(lists:reverse(Evidence), Watching).

watch_owner(Owner, {Evidence, #state{owners = Known, down = Down} = State}) ->
    case is_map_key(Owner, Known) orelse era_callstore_owner:from_log(Owner) of
        true ->
            {Evidence, State};
        %% Outside of Erlang: probes, inventories and reports say how it is.
        {ok, {external, _}} ->
            {Evidence, State};
        {ok, Watched} ->
            Node = era_callstore_owner:node_of(Watched),
            case {is_map_key(Node, Down), Node =:= node() orelse is_alive()} of
                %% What was told of its node was told of other calls.
                {true, _} ->
                    {[{owner_down, Owner, <<"noconnection">>} | Evidence], lost(Owner, Node, State)};
                {false, true} ->
                    {Evidence, watch(Owner, Watched, State)};
                %% This node is of no cluster and can reach no other.
                {false, false} ->
                    {Evidence, State}
            end;
        error ->
            {Evidence, State}
    end.

watch(Owner, Node, #state{owners = Owners} = State) when is_atom(Node) ->
    %% Says nodedown when it cannot be connected.
    true = erlang:monitor_node(Node, true),
    State#state{owners = Owners#{Owner => {node, Node}}};
watch(Owner, Process, #state{owners = Owners, monitors = Monitors} = State) ->
    Monitor = erlang:monitor(process, Process),
    State#state{owners = Owners#{Owner => {monitor, Monitor}}, monitors = Monitors#{Monitor => Owner}}.

%% What fell with its node is not dead: the node is lost.
down(Monitor, Reason, #state{monitors = Monitors, owners = Owners} = State) ->
    case maps:take(Monitor, Monitors) of
        {Owner, Left} when Reason =:= noconnection ->
            {ok, Process} = era_callstore_owner:from_log(Owner),
            Node = era_callstore_owner:node_of(Process),
            Lost = lost(Owner, Node, State#state{monitors = Left}),
            case is_map_key(Node, Lost#state.down) of
                true -> {[], Lost};
                false -> {[{node_down, atom_to_binary(Node)}], mark_down(Node, Lost)}
            end;
        {Owner, Left} ->
            ended(Owner, Reason, State#state{monitors = Left, owners = maps:remove(Owner, Owners)});
        error ->
            {[], State}
    end.

%% One that was told to have ended, and that a round does not find either, is not told again.
ended(Owner, noproc, #state{away = Away} = State) when is_map_key(Owner, Away) ->
    {[], State};
ended(Owner, Reason, #state{away = Away} = State) ->
    Evidence = {owner_down, Owner, era_callstore_evidence:reason_text(Reason)},
    {[Evidence], State#state{away = Away#{Owner => new}}}.

lost(Owner, Node, #state{owners = Owners, away = Away} = State) ->
    State#state{owners = Owners#{Owner => {lost, Node}}, away = Away#{Owner => new}}.

%% What was told of them was told of other calls: it is told again.
newly_served(Owners, #state{owners = Known, away = Away} = State) ->
    Lost = [Owner || Owner <- Owners, is_map_key(Owner, Away), is_map_key(Owner, Known)],
    State#state{owners = maps:without(Lost, Known), away = maps:without(Owners, Away)}.

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

%% Told by the monitor of a node, or of an owner on it, whichever comes first.
node_lost(Node, #state{down = Down, owners = Owners} = State) ->
    OnIt = [Owner || {Owner, {node, On}} <- maps:to_list(Owners), On =:= Node],
    Moved = lists:foldl(fun(Owner, S) -> lost(Owner, Node, S) end, State, OnIt),
    case OnIt =/= [] andalso not is_map_key(Node, Down) of
        true -> told([{node_down, atom_to_binary(Node)}], mark_down(Node, Moved));
        false -> Moved
    end.

%% What is on it is watched again, and says itself if it is no more.
node_found(Node, #state{down = Down, owners = Owners, away = Away} = State) when is_map_key(Node, Down) ->
    Lost = [Owner || {Owner, {lost, On}} <- maps:to_list(Owners), On =:= Node],
    Up = told([{node_up, atom_to_binary(Node)}], State#state{down = maps:remove(Node, Down)}),
    watch_owners(Lost, Up#state{owners = maps:without(Lost, Owners), away = maps:without(Lost, Away)});
node_found(_Node, State) ->
    State.

mark_down(Node, #state{group = Group, down = Down} = State) ->
    ?LOG_WARNING(#{what => "a node that serves calls is down or out of reach", group => Group, node => Node}),
    self() ! {call, Node},
    State#state{down = Down#{Node => true}}.

%% --- rounds

compared(#state{store = Store} = State) ->
    Serving = serving(Store, start, #{}),
    #state{away = Away} = Left = let_go(Serving, State),
    More = [Owner || {Owner, Calls} <- maps:to_list(Away), is_integer(Calls), map_get(Owner, Serving) > Calls],
    #state{owners = Owners, away = Told} = Asked = newly_served(More, Left),
    Missing = [Owner || Owner <- maps:keys(Serving), not is_map_key(Owner, Owners), may_be_there(Owner, Told)],
    watch_owners(Missing, Asked#state{away = maps:map(fun(Owner, _) -> map_get(Owner, Serving) end, Told)}).

%% A process that ended stays so; a name may be another process by now.
may_be_there(<<"pid:", _/binary>> = Owner, Away) -> not is_map_key(Owner, Away);
may_be_there(_Owner, _Away) -> true.

%% Owners that serve no call any more.
let_go(Serving, #state{owners = Owners, monitors = Monitors, away = Away} = State) ->
    Gone = [{Owner, How} || {Owner, How} <- maps:to_list(Owners), not is_map_key(Owner, Serving)],
    lists:foreach(fun({_, How}) -> release(How) end, Gone),
    Left = maps:without([Owner || {Owner, _} <- Gone], Owners),
    Awaited = maps:from_list([{Node, true} || {lost, Node} <- maps:values(Left)]),
    State#state{
        owners = Left,
        monitors = maps:without([Monitor || {_, {monitor, Monitor}} <- Gone], Monitors),
        away = maps:filter(fun(Owner, _) -> is_map_key(Owner, Serving) end, Away),
        down = Awaited
    }.

release({monitor, Monitor}) -> erlang:demonitor(Monitor, [flush]);
release({node, Node}) -> erlang:monitor_node(Node, false);
release({lost, _Node}) -> true.

%% Owners and the numbers of their calls; one may be on several pages.
serving(Store, Cursor, Owners) ->
    {Page, Next} = era_callstore_nif:owners(Store, Cursor, ?PAGE),
    Found = maps:merge_with(fun(_, Some, More) -> Some + More end, Owners, maps:from_list(Page)),
    case Next of
        done -> Found;
        _ -> serving(Store, Next, Found)
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

monotonic_ms() -> erlang:monotonic_time(millisecond).

name(Group) -> list_to_atom("era_callstore_watch_" ++ integer_to_list(Group)).
