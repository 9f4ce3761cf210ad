%%% The outbox of one sink of an active instance: what is issued and not yet accepted goes to the sink, batch by batch.
%%%
%%%   starting ──ready──► idle ──woken──► gathering ──► delivering ──delivered──► accepted into the log ──► idle or gathering
%%%       ▲                                                  │ refused, crashed, too long
%%%       └──────────────── backing off ◄────────────────────┘
%%% What is issued within GATHER_MS goes along in one batch: a delivery and its acceptance cost much more than a record.
%%% Always holds: there is no queue here; what is pending is asked from the core each time, so nothing is lost with this
%%% process. A batch is accepted only by an event in the log. Sinks do not know of each other.
%%% Woken by: the writer's bell after commits. Called by: era_callstore_group starts it, status reads its note, tests and
%%% demo call drain/2.
%%% Must never: run a sink's code in its own process; deliver for a term that is over.
-module(era_callstore_outbox).
-behaviour(gen_server).

-export([start_link/1, drain/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include_lib("kernel/include/logger.hrl").
-include("era_callstore_crash.hrl").

-define(BATCH, 256).
-define(GATHER_MS, 20).
-define(STOP_MS, 4000).
%% Back-off is drawn from this share of its length around it, so that instances do not retry in step.
-define(JITTER, 0.2).

-type options() :: #{
    term := era_callstore_log:term_of_activity(),
    sink := era_callstore_config:sink(),
    context := era_callstore_sink:context(),
    deliver_timeout_ms := pos_integer(),
    retry_min_ms := pos_integer(),
    retry_max_ms := pos_integer()
}.

-record(state, {
    options :: options(),
    group :: pos_integer(),
    sink :: binary(),
    bell :: era_callstore_wake:bell(),
    phase = backing_off :: starting | idle | gathering | delivering | backing_off,
    worker :: pid() | undefined,
    batch = [] :: [{binary(), pos_integer()}],
    timer :: reference() | undefined,
    failures = 0 :: non_neg_integer(),
    draining = [] :: [gen_server:from()]
}).

-spec start_link(options()) -> gen_server:start_ret().
start_link(Options) ->
    gen_server:start_link(?MODULE, Options, []).

%% @doc Issues what is due and waits until every sink of the group, active on this node, has accepted all of it.
-spec drain(Group :: pos_integer(), timeout()) -> ok | {error, no_active | gone}.
drain(Group, TimeoutMs) ->
    case era_callstore_writer:settle(Group) of
        ok ->
            Outboxes = pg:get_local_members(era_callstore, {outbox, Group}),
            lists:foreach(fun(Pid) -> ok = gen_server:call(Pid, drain, TimeoutMs) end, Outboxes);
        {error, _} = Error ->
            Error
    end.

%% --- the process

-spec init(options()) -> {ok, #state{}}.
init(#{term := #{group := Group}, sink := #{name := Name}} = Options) ->
    process_flag(trap_exit, true),
    Bell = era_callstore_wake:bell(wake),
    ok = pg:join(era_callstore, {outbox, Group}, self()),
    ok = era_callstore_writer:attach(Group, Bell),
    {ok, start_sink(#state{options = Options, group = Group, sink = Name, bell = Bell})}.

-spec handle_call(drain, gen_server:from(), #state{}) -> {noreply, #state{}} | {stop, {shutdown, term()}, #state{}}.
handle_call(drain, From, #state{phase = Phase} = State) when Phase =:= idle; Phase =:= gathering ->
    next(cancel(State#state{draining = [From | State#state.draining]}));
handle_call(drain, From, State) ->
    {noreply, State#state{draining = [From | State#state.draining]}}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, {shutdown, term()}, #state{}}.
handle_info(wake, #state{phase = idle} = State) ->
    gather(State);
handle_info(wake, State) ->
    {noreply, State};
handle_info({era_callstore_sink, Worker, ready}, #state{worker = Worker, phase = starting} = State) ->
    next(cancel(State));
handle_info({era_callstore_sink, Worker, delivered}, #state{worker = Worker, phase = delivering} = State) ->
    accepted(cancel(State));
handle_info({era_callstore_sink, Worker, {refused, Reason}}, #state{worker = Worker, phase = delivering} = State) ->
    {noreply, back_off(Reason, cancel(State))};
handle_info({era_callstore_sink, Worker, {failed, Reason}}, #state{worker = Worker} = State) ->
    {noreply, back_off(Reason, without_worker(cancel(State)))};
handle_info({'EXIT', Worker, Reason}, #state{worker = Worker} = State) ->
    {noreply, back_off({crashed, Reason}, without_worker(cancel(State)))};
handle_info({timeout, Timer, too_long}, #state{timer = Timer, worker = Worker} = State) ->
    exit(Worker, kill),
    {noreply, back_off(too_long, without_worker(State#state{timer = undefined}))};
handle_info({timeout, Timer, gathered}, #state{timer = Timer, phase = gathering} = State) ->
    next(State#state{timer = undefined});
handle_info({timeout, Timer, retry}, #state{timer = Timer, worker = undefined} = State) ->
    {noreply, start_sink(State#state{timer = undefined})};
handle_info({timeout, Timer, retry}, #state{timer = Timer} = State) ->
    next(State#state{timer = undefined});
handle_info(_Other, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{worker = undefined}) -> ok;
terminate(_Reason, #state{worker = Worker}) -> era_callstore_sink_worker:stop(Worker, ?STOP_MS).

%% --- steps

start_sink(#state{options = #{sink := #{module := Module, args := Args}, context := Context}} = State) ->
    Worker = era_callstore_sink_worker:start_link(Module, Args, Context),
    limit(State#state{worker = Worker, phase = starting}).

%% Who drains waits for nothing.
gather(#state{draining = [_ | _]} = State) ->
    next(State);
gather(State) ->
    {noreply, State#state{phase = gathering, timer = erlang:start_timer(?GATHER_MS, self(), gathered)}}.

next(#state{group = Group, sink = Sink, bell = Bell} = State) ->
    ok = era_callstore_wake:answer(Bell),
    case era_callstore_router:store(Group) of
        {ok, Store} -> pending(era_callstore_nif:pending(Store, Sink, ?BATCH), State);
        none -> {stop, {shutdown, no_store}, State}
    end.

pending([], #state{draining = Draining} = State) ->
    lists:foreach(fun(From) -> gen_server:reply(From, ok) end, Draining),
    {noreply, State#state{phase = idle, draining = []}};
pending(Items, #state{worker = Worker} = State) ->
    case reached(State) andalso in_term(State) of
        true ->
            ?CRASH_POINT(deliver_before),
            ok = era_callstore_sink_worker:deliver(Worker, [item(Item) || Item <- Items]),
            Batch = [{Cid, Revision} || {Cid, Revision, _, _, _, _} <- Items],
            {noreply, limit(State#state{phase = delivering, batch = Batch})};
        false ->
            {stop, {shutdown, fenced}, State}
    end.

%% A sink is given what no kill of all copies at one moment takes back: the next term would issue it with other content.
reached(#state{group = Group}) -> era_callstore_writer:reached(Group) =:= ok.

item({Cid, Revision, [Domain | _] = Domains, EndTs, Record, Projection}) ->
    #{
        cid => Cid,
        revision => Revision,
        domain => Domain,
        domains => Domains,
        end_ts => EndTs,
        record => Record,
        projection => Projection
    }.

%% Another may be active by now where this node was paused.
in_term(#state{options = #{term := #{group := Group, epoch := Epoch, pauses := Pauses}}}) ->
    (Pauses =:= any orelse era_callstore_pause:count() =:= Pauses) andalso
        era_callstore_log:term(Group) =:= {Epoch, node()}.

accepted(#state{group = Group, sink = Sink, batch = Batch} = State) ->
    Chunk = era_callstore_nif:accepted(Sink, Batch, era_callstore_clock:now_ms()),
    ?CRASH_POINT(accept_before),
    case era_callstore_submit:append(Group, Chunk, length(Batch)) of
        {ok, _} ->
            ?CRASH_POINT(accept_after),
            era_callstore_counters:add(records_delivered, length(Batch)),
            more(length(Batch), recovered(State#state{batch = []}));
        {error, Reason} ->
            {stop, {shutdown, Reason}, State}
    end.

%% A full batch says that more waits.
more(?BATCH, State) -> next(State);
more(_, State) -> gather(State).

recovered(#state{failures = 0} = State) ->
    State;
recovered(#state{failures = Failures} = State) ->
    ?LOG_NOTICE(#{
        what => "a sink accepts again", group => State#state.group, sink => State#state.sink, after_failures => Failures
    }),
    note(#{failures => 0}, State),
    State#state{failures = 0}.

back_off(Reason, #state{options = Options, failures = Failures} = State) ->
    era_callstore_counters:add(deliveries_failed, 1),
    #{retry_min_ms := Min, retry_max_ms := Max} = Options,
    Wait = jitter(min(Max, Min bsl min(Failures, 20))),
    ?LOG_WARNING(#{
        what => "a sink did not accept", group => State#state.group, sink => State#state.sink,
        reason => Reason, failures => Failures + 1, retry_in_ms => Wait
    }),
    note(#{failures => Failures + 1, reason => Reason}, State),
    Timer = erlang:start_timer(Wait, self(), retry),
    State#state{phase = backing_off, batch = [], failures = Failures + 1, timer = Timer}.

jitter(Ms) -> max(1, round(Ms * (1 - ?JITTER + 2 * ?JITTER * rand:uniform()))).

note(Said, #state{group = Group, sink = Sink}) ->
    era_callstore_router:note({outbox, Group, Sink}, Said).

limit(#state{options = #{deliver_timeout_ms := Ms}} = State) ->
    State#state{timer = erlang:start_timer(Ms, self(), too_long)}.

cancel(#state{timer = undefined} = State) ->
    State;
cancel(#state{timer = Timer} = State) ->
    _ = erlang:cancel_timer(Timer),
    State#state{timer = undefined}.

without_worker(State) -> State#state{worker = undefined}.
