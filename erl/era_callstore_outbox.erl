%%% The outbox of one sink of an active instance: what is issued and not yet accepted goes to the sink, batch by batch.
%%%
%%%   starting ──ready──► idle ──woken──► gathering ──► delivering ──delivered──► accepted into the log ──► idle or gathering
%%%       ▲                                                  │ refused, crashed, too long
%%%       └──────────────── backing off ◄────────────────────┘
%%% What is issued within GATHER_MS goes along in one batch: a delivery and its acceptance cost much more than a record.
%%% Always holds: there is no queue here; what is pending is asked from the core each time, so nothing is lost with this
%%% process. A batch is accepted only by an event in the log. Sinks do not know of each other.
%%% Woken by: the writer's bell after commits. Called by: era_callstore_group starts it, status reads its note, tests
%%% and demo call drain/2.
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
    worker :: era_callstore_worker:worker(),
    %% runs while what else is issued is awaited
    gathering :: reference() | undefined,
    batch = [] :: [{binary(), pos_integer()}],
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
init(#{term := #{group := Group} = Term, sink := #{name := Name, module := Module, args := Args}} = Options) ->
    process_flag(trap_exit, true),
    Bell = era_callstore_wake:bell(wake),
    ok = pg:join(era_callstore, {outbox, Group}, self()),
    ok = era_callstore_writer:attach(Group, Bell),
    #{context := Context, deliver_timeout_ms := TimeoutMs} = Options,
    Worker = era_callstore_worker:start((maps:with([retry_min_ms, retry_max_ms], Options))#{
        module => Module, init => [Args, Context], work => deliver, timeout_ms => TimeoutMs,
        still => fun() -> in_term(Term) end
    }),
    {ok, #state{options = Options, group = Group, sink = Name, bell = Bell, worker = Worker}}.

-spec handle_call(drain, gen_server:from(), #state{}) -> {noreply, #state{}} | {stop, {shutdown, term()}, #state{}}.
handle_call(drain, From, #state{draining = Draining} = State) ->
    look(State#state{draining = [From | Draining]}).

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, {shutdown, term()}, #state{}}.
handle_info(wake, #state{worker = Worker} = State) ->
    case era_callstore_worker:is_idle(Worker) of
        true -> gather(State);
        false -> {noreply, State}
    end;
handle_info({timeout, Timer, gathered}, #state{gathering = Timer} = State) ->
    next(State#state{gathering = undefined});
handle_info(Message, #state{worker = Worker} = State) ->
    case era_callstore_worker:heard(Message, Worker) of
        {done, Idle} ->
            ?CRASH_POINT(deliver_after),
            accepted(State#state{worker = Idle});
        {failed, Reason, PauseMs, Pausing} ->
            {noreply, back_off(Reason, PauseMs, at_once(State#state{worker = Pausing, batch = []}))};
        ignore ->
            {noreply, State};
        {_ReadyOrStarting, Next} ->
            look(State#state{worker = Next})
    end.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{worker = Worker}) -> era_callstore_worker:stop(Worker, ?STOP_MS).

%% --- steps

%% One that is at work, or rests, looks by itself when it is done.
look(#state{worker = Worker} = State) ->
    case era_callstore_worker:is_idle(Worker) of
        true -> next(at_once(State));
        false -> {noreply, State}
    end.

%% Who drains waits for nothing.
gather(#state{draining = [_ | _]} = State) ->
    next(at_once(State));
gather(#state{gathering = undefined} = State) ->
    {noreply, State#state{gathering = erlang:start_timer(?GATHER_MS, self(), gathered)}};
gather(State) ->
    {noreply, State}.

at_once(#state{gathering = undefined} = State) ->
    State;
at_once(#state{gathering = Timer} = State) ->
    _ = erlang:cancel_timer(Timer),
    State#state{gathering = undefined}.

next(#state{group = Group, sink = Sink, bell = Bell} = State) ->
    ok = era_callstore_wake:answer(Bell),
    case era_callstore_router:store(Group) of
        {ok, Store} -> pending(era_callstore_nif:pending(Store, Sink, ?BATCH), State);
        none -> {stop, {shutdown, no_store}, State}
    end.

pending([], #state{draining = Draining} = State) ->
    lists:foreach(fun(From) -> gen_server:reply(From, ok) end, Draining),
    {noreply, State#state{draining = []}};
pending(Items, #state{worker = Worker, options = #{term := Term}} = State) ->
    case reached(State) andalso in_term(Term) of
        true ->
            ?CRASH_POINT(deliver_before),
            Delivering = era_callstore_worker:work([item(Item) || Item <- Items], Worker),
            Batch = [{Cid, Revision} || {Cid, Revision, _, _, _, _} <- Items],
            {noreply, State#state{worker = Delivering, batch = Batch}};
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
in_term(#{group := Group, epoch := Epoch, pauses := Pauses}) ->
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

recovered(#state{worker = Worker, group = Group, sink = Sink} = State) ->
    case era_callstore_worker:recovered(Worker) of
        {0, _} ->
            State;
        {Failures, Recovered} ->
            ?LOG_NOTICE(#{what => "a sink accepts again", group => Group, sink => Sink, after_failures => Failures}),
            note(#{failures => 0}, State),
            State#state{worker = Recovered}
    end.

back_off(Reason, PauseMs, #state{worker = Worker, group = Group, sink = Sink} = State) ->
    era_callstore_counters:add(deliveries_failed, 1),
    Failures = era_callstore_worker:failures(Worker),
    ?LOG_WARNING(#{
        what => "a sink did not accept", group => Group, sink => Sink, reason => Reason, failures => Failures,
        retry_in_ms => PauseMs
    }),
    note(#{failures => Failures, reason => Reason}, State),
    State.

note(Said, #state{group = Group, sink = Sink}) ->
    era_callstore_router:note({outbox, Group, Sink}, Said).
