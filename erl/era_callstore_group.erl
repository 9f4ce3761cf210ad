%%% One group on one node: decides when this node's instance is active, and holds its term of activity.
%%%
%%%   waiting ──Mnesia runs──► loading ──folded──► passive ◄──────► active
%%%      ▲                                            │  activate     │
%%%      └──── Mnesia gone, disc full, a term that ended out of order ┘
%%% Peers are this group's instances on other nodes. They tell each other of every change of state; each decides by the
%%% same rule (era_callstore_peers). With several instances of the group on one node the one of lowest order stands for
%%% all of them.
%%% Always holds: active only under an epoch allocated in Mnesia for this term. A term ends with all of its processes
%%% before another is begun. After a pause of this node nothing is begun before the peers have been asked again.
%%% Called by: era_callstore_group_sup (start), era_callstore_groups (stand_down/1, configure/2), era_callstore
%%% (handover/1, over erpc), era_callstore_heal (hold/1, release/1), era_callstore_status (its note); its peers, by
%%% message; settled/1 by tests.
%%% Must never: touch an event, or wait for a peer's answer.
-module(era_callstore_group).
-behaviour(gen_statem).

-export([start_link/2, settled/1, handover/1, stand_down/1, configure/2, hold/1, release/1]).
-export([callback_mode/0, init/1, waiting/3, loading/3, passive/3, active/3, terminate/3]).

-include_lib("kernel/include/logger.hrl").

%% How long until Mnesia, a peer that was away, or a failed load is tried again.
-define(RETRY_MS, 1000).
%% How long an instance that was started with its own copy, because it had acknowledged alone, waits for peers that are not
%% there: they may have gone on after it, and are likely to be started with it.
-define(ALONE_MS, 3000).

-type state() :: era_callstore_peers:state().

-record(data, {
    group :: pos_integer(),
    config :: era_callstore_config:config(),
    member :: era_callstore_config:member(),
    peers :: era_callstore_peers:peers(),
    monitors = #{} :: #{reference() => node()},
    mnesia :: reference() | undefined,
    epoch = 0 :: non_neg_integer(),
    yielded = false :: boolean(),
    %% the node stops or the group ends here: never active again
    leaving = false :: boolean(),
    %% whoever heals this node wants nothing to be begun meanwhile
    holder :: reference() | undefined,
    %% not active before this (ms, monotonic) while a peer is away
    alone_until = 0 :: integer(),
    %% pauses of this node when the term began
    pauses = 0 :: non_neg_integer(),
    term :: pid() | undefined,
    since :: integer()
}).

-spec start_link(Group :: pos_integer(), era_callstore_config:config()) -> gen_statem:start_ret().
start_link(Group, Config) -> gen_statem:start_link({local, name(Group)}, ?MODULE, {Group, Config}, []).

%% @doc The instance here gives its activity to the next one that can take it.
-spec handover(Group :: pos_integer()) -> ok | {error, not_active | no_other}.
handover(Group) -> gen_statem:call(name(Group), handover, 30000).

%% @doc The node is about to stop: what waits is finished, then nothing more is taken.
-spec stand_down(Group :: pos_integer()) -> ok.
stand_down(Group) -> gen_statem:call(name(Group), stand_down, 30000).

%% @doc The instance here finishes what waits, gives its activity up and takes none until release/1 or the caller's end.
-spec hold(Group :: pos_integer()) -> ok.
hold(Group) -> gen_statem:call(name(Group), {hold, self()}, 30000).

%% @doc Ends what hold/1 of the caller began, now or when it comes to it.
-spec release(Group :: pos_integer()) -> ok.
release(Group) -> gen_statem:cast(name(Group), {release, self()}).

%% @doc The configuration has changed in what does not concern the instance here: who the others are.
-spec configure(Group :: pos_integer(), era_callstore_config:config()) -> ok.
configure(Group, Config) -> gen_statem:cast(name(Group), {configure, Config}).

%% @doc Returns when the group has finished what it is at: a term that has begun has all of its processes.
-spec settled(Group :: pos_integer()) -> ok.
settled(Group) -> gen_statem:call(name(Group), settled, 30000).

%% --- the process

-spec callback_mode() -> gen_statem:callback_mode_result().
callback_mode() -> [state_functions, state_enter].

-spec init({pos_integer(), era_callstore_config:config()}) -> {ok, waiting, #data{}}.
init({Group, Config}) ->
    process_flag(trap_exit, true),
    ok = era_callstore_clock:begin_followers(),
    {ok, _, Member} = era_callstore_config:group(Config, Group),
    Nodes = others(Group, Config),
    Peers = era_callstore_peers:new(Nodes),
    Data = #data{group = Group, config = Config, member = Member, peers = Peers, since = now_ms()},
    ok = era_callstore_pause:follow(),
    {ok, waiting, lists:foldl(fun greet/2, Data, Nodes)}.

%% Mnesia does not run, or the tables could not be loaded.
-spec waiting(gen_statem:event_type() | enter, term(), #data{}) -> gen_statem:event_handler_result(state()).
waiting(enter, _Old, #data{since = Since} = Data) ->
    %% A term that ended as soon as it had begun is no reason to hurry into the next.
    Pause = case now_ms() - Since < ?RETRY_MS of true when Data#data.epoch > 0 -> ?RETRY_MS; _ -> 0 end,
    {keep_state, said(waiting, Data), [{state_timeout, Pause, retry}]};
waiting(state_timeout, retry, #data{config = Config, group = Group} = Data) ->
    case era_callstore_schema:start(era_callstore_groups:schema_options(Config)) of
        ok ->
            {next_state, loading, Data#data{mnesia = era_callstore_schema:monitor()}};
        {error, Reason} ->
            ?LOG_ERROR(#{
                what => "Mnesia cannot be used", group => Group, reason => Reason,
                text => era_callstore_errors:text(Reason), retry_in_ms => ?RETRY_MS
            }),
            {keep_state_and_data, [{state_timeout, ?RETRY_MS, retry}]}
    end;
waiting(Type, Message, Data) ->
    whenever(Type, Message, waiting, Data).

%% The view folds the log.
-spec loading(gen_statem:event_type() | enter, term(), #data{}) -> gen_statem:event_handler_result(state()).
loading(enter, _Old, #data{group = Group} = Data) ->
    ok = era_callstore_view:load(Group),
    {keep_state, said(loading, Data)};
loading(state_timeout, retry, #data{group = Group}) ->
    ok = era_callstore_view:load(Group),
    keep_state_and_data;
loading(info, {era_callstore_view, Group, loaded, Stats}, #data{group = Group} = Data) ->
    ?LOG_NOTICE(Stats#{what => "the log is folded", group => Group, instance => instance(Data)}),
    {next_state, passive, Data#data{alone_until = alone_until(era_callstore_rejoin:keeps_own())}};
loading(info, {era_callstore_view, Group, failed, Reason}, #data{group = Group}) ->
    ?LOG_ERROR(#{
        what => "the log cannot be loaded", group => Group, reason => Reason,
        text => era_callstore_errors:text(Reason), retry_in_ms => ?RETRY_MS
    }),
    {keep_state_and_data, [{state_timeout, ?RETRY_MS, retry}]};
loading(Type, Message, Data) ->
    whenever(Type, Message, loading, Data).

%% Folded and following; decides at each news.
-spec passive(gen_statem:event_type() | enter, term(), #data{}) -> gen_statem:event_handler_result(state()).
passive(enter, _Old, Data) ->
    {keep_state, said(passive, Data), [{state_timeout, 0, decide}]};
passive(state_timeout, decide, #data{leaving = Leaving, holder = Holder}) when Leaving; Holder =/= undefined ->
    keep_state_and_data;
passive(state_timeout, decide, #data{peers = Peers, alone_until = Until} = Data) ->
    Left = Until - erlang:monotonic_time(millisecond),
    case era_callstore_peers:decide(mine(passive, Data), Peers, passive) of
        activate when Left > 0 ->
            case era_callstore_peers:is_any_away(Peers) of
                true -> {keep_state_and_data, [{state_timeout, Left, decide}]};
                false -> decided(activate, Data)
            end;
        Decision ->
            decided(Decision, Data)
    end;
passive({call, From}, stand_down, Data) ->
    {keep_state, said(passive, Data#data{yielded = true, leaving = true}), [{reply, From, ok}]};
passive({call, From}, {hold, Pid}, Data) ->
    {keep_state, said(passive, held(Pid, Data)), [{reply, From, ok}]};
passive(cast, {release, _}, Data) ->
    {keep_state, said(passive, released(Data)), [{state_timeout, 0, decide}]};
passive(Type, Message, Data) ->
    whenever(Type, Message, passive, Data).

-spec active(gen_statem:event_type() | enter, term(), #data{}) -> gen_statem:event_handler_result(state()).
active(enter, _Old, _Data) ->
    keep_state_and_data;
active({call, From}, {hold, Pid}, Data) ->
    {next_state, passive, finish_term(held(Pid, Data)), [{reply, From, ok}]};
active({call, From}, handover, #data{peers = Peers} = Data) ->
    Able = mine(active, Data#data{yielded = true}),
    case era_callstore_peers:decide(Able, Peers, passive) of
        activate -> {keep_state_and_data, [{reply, From, {error, no_other}}]};
        _ -> {next_state, passive, finish_term(Data#data{yielded = true}), [{reply, From, ok}]}
    end;
active({call, From}, stand_down, Data) ->
    {next_state, passive, finish_term(Data#data{yielded = true, leaving = true}), [{reply, From, ok}]};
active(info, {'EXIT', Term, Reason}, #data{term = Term, group = Group} = Data) ->
    Ended = Data#data{term = undefined},
    ok = era_callstore_router:retract_writer(Group),
    case {was_paused(Data), era_callstore_log:term(Group)} of
        {true, _} ->
            {next_state, passive, ask_again(Ended)};
        {false, {Epoch, Node}} when Node =/= node() ->
            ?LOG_WARNING(#{what => "fenced: another instance is active", group => Group, node => Node, epoch => Epoch}),
            {next_state, waiting, forget_mnesia(Ended)};
        {false, _} ->
            ?LOG_ERROR(#{
                what => "the term ended out of order", group => Group, epoch => Data#data.epoch, reason => Reason
            }),
            {next_state, waiting, forget_mnesia(Ended)}
    end;
active(info, {era_callstore_pause, paused}, Data) ->
    case was_paused(Data) of
        true -> {next_state, passive, ask_again(abandon_term(Data))};
        false -> keep_state_and_data
    end;
active(info, {?MODULE, _From, {give, Node}}, Data) ->
    ?LOG_NOTICE(#{what => "activity is given to a lower order", group => Data#data.group, node => Node}),
    {next_state, passive, finish_term(Data)};
active(Type, Message, Data) ->
    whenever(Type, Message, active, Data).

%% What is done alike in every state that says nothing else of it.
whenever({call, From}, Request, _State, Data) -> answer(From, Request, Data);
whenever(cast, {release, _}, _State, Data) -> {keep_state, released(Data)};
whenever(cast, {configure, Config}, State, Data) -> reconfigured(State, Config, Data);
whenever(info, Message, State, Data) -> heard(State, Message, Data).

-spec terminate(term(), state(), #data{}) -> ok.
terminate(_Reason, _State, #data{term = undefined, group = Group}) ->
    era_callstore_router:forget(Group);
terminate(_Reason, _State, Data) ->
    _ = finish_term(Data),
    era_callstore_router:forget(Data#data.group).

%% --- activity

decided(activate, Data) -> begin_term(Data);
decided({ask, Node}, #data{group = Group, peers = Peers}) ->
    %% One that went on apart from us has what we lack: first we are healed.
    Same = era_callstore_peers:lineage(Node, Peers) =:= era_callstore_lineage:of_copy(Group),
    case Same andalso era_callstore_rejoin:is_together(Node) of
        true ->
            {name(Group), Node} ! {?MODULE, self(), {give, node()}},
            ok;
        false ->
            ok
    end,
    {keep_state_and_data, [{state_timeout, ?RETRY_MS, decide}]};
decided(stay, _Data) ->
    keep_state_and_data.

begin_term(#data{group = Group, config = Config} = Data) ->
    Pauses = era_callstore_pause:count(),
    case era_callstore_term:allocate(Group) of
        {ok, Epoch, From} ->
            %% Said before the first producer can be answered, so that who was answered finds it so.
            Active = said(active, Data#data{epoch = Epoch, yielded = false, since = now_ms(), pauses = Pauses}),
            Nodes = [node() | era_callstore_peers:nodes(Data#data.peers)],
            {ok, Sup} = era_callstore_term:start(
                #{group => Group, epoch => Epoch, pauses => watched(Pauses, Data), nodes => Nodes}, From, Config
            ),
            era_callstore_counters:add(terms_begun, 1),
            ?LOG_NOTICE(#{what => "active", group => Group, instance => instance(Data), epoch => Epoch}),
            {next_state, active, Active#data{term = Sup}};
        {error, Reason} ->
            ?LOG_ERROR(#{
                what => "no epoch can be allocated", group => Group, reason => Reason, retry_in_ms => ?RETRY_MS
            }),
            {keep_state_and_data, [{state_timeout, ?RETRY_MS, decide}]}
    end.

finish_term(#data{term = Sup, group = Group} = Data) ->
    ok = era_callstore_term:finish(Group, Sup),
    Data#data{term = undefined}.

abandon_term(#data{term = undefined} = Data) ->
    Data;
abandon_term(#data{term = Sup, group = Group} = Data) ->
    ok = era_callstore_term:abandon(Group, Sup),
    Data#data{term = undefined}.

alone_until(false) -> erlang:monotonic_time(millisecond);
alone_until(true) -> erlang:monotonic_time(millisecond) + ?ALONE_MS.

%% --- holding and pauses

held(Pid, #data{holder = undefined} = Data) -> Data#data{yielded = true, holder = erlang:monitor(process, Pid)};
held(Pid, Data) -> held(Pid, released(Data)).

released(#data{holder = undefined} = Data) ->
    Data;
released(#data{holder = Holder} = Data) ->
    true = erlang:demonitor(Holder, [flush]),
    Data#data{holder = undefined, yielded = false}.

%% An instance without peers has nobody who could have taken over while this node stood still.
watched(Pauses, #data{peers = Peers}) ->
    case era_callstore_peers:nodes(Peers) of
        [] -> any;
        _ -> Pauses
    end.

was_paused(#data{pauses = Pauses} = Data) ->
    watched(Pauses, Data) =/= any andalso era_callstore_pause:count() =/= Pauses.

%% What the peers had said before the pause is worth nothing: nobody is known until they have answered anew.
ask_again(#data{group = Group, monitors = Monitors, peers = Peers} = Data) ->
    ?LOG_WARNING(#{what => "the term ends after a pause of this node: peers are asked anew", group => Group}),
    _ = [erlang:demonitor(Monitor, [flush]) || Monitor <- maps:keys(Monitors)],
    Nodes = era_callstore_peers:nodes(Peers),
    ok = era_callstore_view:own_term(Group, none),
    lists:foldl(fun greet/2, Data#data{monitors = #{}, peers = era_callstore_peers:new(Nodes)}, Nodes).

%% --- peers

others(Group, Config) ->
    #{group := Nodes} = era_callstore_placement:of_config(Group, Config),
    lists:delete(node(), Nodes).

%% Who is new is asked; who is not a peer any more does not count, and the active takes its copies back.
reconfigured(State, Config, #data{group = Group, peers = Before} = Data) ->
    Peers = era_callstore_peers:change(others(Group, Config), Before),
    Changed = Data#data{config = Config, peers = Peers},
    ok = era_callstore_writer:nodes(Group, [node() | era_callstore_peers:nodes(Peers)]),
    ok = era_callstore_placement:nodes(Group, era_callstore_placement:of_config(Group, Config)),
    New = era_callstore_peers:nodes(Peers) -- era_callstore_peers:nodes(Before),
    news(State, said(State, lists:foldl(fun follow/2, Changed, New))).

greet(Node, #data{group = Group, monitors = Monitors} = Data) ->
    Monitor = erlang:monitor(process, {name(Group), Node}),
    {name(Group), Node} ! {?MODULE, self(), hello},
    Data#data{monitors = Monitors#{Monitor => Node}}.

heard(State, {?MODULE, From, hello}, Data) ->
    From ! {?MODULE, self(), {said, mine(State, Data)}},
    {keep_state, follow(node(From), Data)};
heard(State, {?MODULE, From, {said, Said}}, #data{peers = Peers, group = Group} = Data) ->
    %% Who has just loaded may be one that was healed: others have got rows of it that the active has under other keys.
    _ = [ok = era_callstore_level:look(Group) || era_callstore_peers:is_new(node(From), Said, Peers)],
    news(State, follow(node(From), Data#data{peers = era_callstore_peers:hear(node(From), Said, Peers)}));
heard(State, {'DOWN', Monitor, process, _, Reason}, #data{mnesia = Monitor, group = Group} = Data) ->
    ?LOG_ERROR(#{what => "Mnesia has stopped", group => Group, state => State, reason => Reason}),
    Abandoned = abandon_term(Data#data{mnesia = undefined}),
    %% No row comes any more: who is active elsewhere is not to wait for this copy.
    ok = era_callstore_router:retract_store(Group),
    {next_state, waiting, Abandoned};
heard(State, {'DOWN', Monitor, process, _, _}, #data{monitors = Monitors, peers = Peers} = Data) when
    is_map_key(Monitor, Monitors)
->
    {Node, Others} = maps:take(Monitor, Monitors),
    ok = era_callstore_level:look(Data#data.group),
    _ = erlang:send_after(?RETRY_MS, self(), {greet, Node}),
    news(State, Data#data{monitors = Others, peers = era_callstore_peers:away(Node, Peers)});
heard(State, {'DOWN', Holder, process, _, _}, #data{holder = Holder} = Data) ->
    Released = said(State, Data#data{holder = undefined, yielded = false}),
    {keep_state, Released, [{state_timeout, 0, decide} || State =:= passive]};
heard(_State, {greet, Node}, Data) ->
    {keep_state, follow(Node, Data)};
heard(_State, _Other, _Data) ->
    keep_state_and_data.

%% A peer that speaks is monitored; one that is monitored already is not monitored twice.
follow(Node, #data{monitors = Monitors, peers = Peers} = Data) ->
    Peer = lists:member(Node, era_callstore_peers:nodes(Peers)),
    case Peer andalso not lists:member(Node, maps:values(Monitors)) of
        true -> greet(Node, Data);
        false -> Data
    end.

news(passive, Data) ->
    {keep_state, Data, [{state_timeout, 0, decide}]};
news(active, Data) ->
    case era_callstore_peers:decide(mine(active, Data), Data#data.peers, active) of
        {step_down, Node} ->
            ?LOG_WARNING(#{what => "fenced: another instance is active", group => Data#data.group, node => Node}),
            {next_state, waiting, forget_mnesia(abandon_term(Data))};
        stay ->
            {keep_state, Data}
    end;
news(_State, Data) ->
    {keep_state, Data}.

%% --- small things

forget_mnesia(#data{mnesia = undefined} = Data) ->
    Data;
forget_mnesia(#data{mnesia = Monitor} = Data) ->
    erlang:demonitor(Monitor, [flush]),
    Data#data{mnesia = undefined}.

%% A process that answers has nothing half-done: a term that it has begun has all of its processes.
answer(From, settled, _Data) -> {keep_state_and_data, [{reply, From, ok}]};
answer(From, {era_callstore_clock, advanced}, _Data) -> {keep_state_and_data, [{reply, From, ok}]};
answer(From, handover, _Data) -> {keep_state_and_data, [{reply, From, {error, not_active}}]};
answer(From, {hold, Pid}, Data) -> {keep_state, held(Pid, Data), [{reply, From, ok}]};
answer(From, stand_down, Data) -> {keep_state, Data#data{leaving = true}, [{reply, From, ok}]}.

%% Tells the peers and leaves the note for the status.
said(State, #data{group = Group, peers = Peers} = Data) ->
    Said = mine(State, Data),
    lists:foreach(
        fun(Node) -> {name(Group), Node} ! {?MODULE, self(), {said, Said}} end,
        era_callstore_peers:nodes(Peers)
    ),
    ok = era_callstore_router:note({group, Group, here}, Said#{since => Data#data.since}),
    Data.

mine(State, #data{group = Group, member = #{order := Order, instance := Instance}, epoch = Epoch, yielded = Yielded}) ->
    Lineage = case State of waiting -> none; loading -> none; _ -> era_callstore_lineage:of_copy(Group) end,
    #{
        node => node(), order => Order, instance => Instance, state => State, epoch => Epoch, yielded => Yielded,
        lineage => Lineage
    }.

instance(#data{member = #{instance := Instance}}) -> Instance.

now_ms() -> erlang:system_time(millisecond).

name(Group) -> list_to_atom("era_callstore_group_" ++ integer_to_list(Group)).
