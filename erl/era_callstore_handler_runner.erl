%%% One handler of an active instance: reads what was said and gives it to the handler's process, batch by batch.
%%%
%%%   starting ──ready──► reading ──items──► handling ──done──► reading …
%%%       ▲                                      │ refused, crashed, too long
%%%       └──────── backing off ◄────────────────┘
%%% Always holds: one batch is out at a time, and the reader stands behind it until it is done; nothing else is kept
%%% here. What is done is told to the feeds of the group, so that the next active goes on there.
%%% Called by: era_callstore_term_sup starts it, status reads its note.
%%% Must never: run a handler's code in its own process.
-module(era_callstore_handler_runner).
-behaviour(gen_server).

-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, handle_continue/2, terminate/2]).

-include_lib("kernel/include/logger.hrl").

-define(STOP_MS, 4000).
%% The other copies hear of progress not more often than so.
-define(TELL_MS, 200).
-define(AWAY_MS, 200).

-type options() :: #{
    group := pos_integer(),
    handler := era_callstore_handler:handler(),
    deliver_timeout_ms := pos_integer(),
    retry_min_ms := pos_integer(),
    retry_max_ms := pos_integer()
}.

-record(state, {
    options :: options(),
    group :: pos_integer(),
    name :: binary(),
    %% behind what is done
    done :: era_callstore_reader:reader(),
    %% behind what is being handled
    reader :: era_callstore_reader:reader(),
    phase = starting :: starting | reading | handling | backing_off,
    worker :: pid() | undefined,
    timer :: reference() | undefined,
    seq = 0 :: non_neg_integer(),
    failures = 0 :: non_neg_integer(),
    told_at :: integer()
}).

-spec start_link(options()) -> gen_server:start_ret().
start_link(Options) -> gen_server:start_link(?MODULE, Options, []).

-spec init(options()) -> {ok, #state{}}.
init(#{group := Group, handler := #{name := Name, wanted := Wanted}} = Options) ->
    process_flag(trap_exit, true),
    Since =
        case era_callstore_feed:handled(Group, Name) of
            none -> resync;
            Cursor -> Cursor
        end,
    Reader = era_callstore_reader:new(Group, Wanted, Since),
    State = #state{
        options = Options, group = Group, name = Name, done = Reader, reader = Reader, told_at = monotonic_ms()
    },
    {ok, start_handler(noted(#{}, State))}.

-spec handle_continue(next, #state{}) -> {noreply, #state{}} | {noreply, #state{}, {continue, next}}.
handle_continue(next, #state{reader = Reader} = State) -> read(era_callstore_reader:next(Reader), State).

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, no_such_call}, #state{}}.
handle_call(_Call, _From, State) -> {reply, {error, no_such_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {noreply, #state{}, {continue, next}}.
handle_info({era_callstore_handler, Worker, ready}, #state{worker = Worker, phase = starting} = State) ->
    {noreply, reading(cancel(State)), {continue, next}};
handle_info({era_callstore_handler, Worker, snapshot}, #state{worker = Worker, phase = starting} = State) ->
    {noreply, reading(anew(cancel(State))), {continue, next}};
handle_info({era_callstore_handler, Worker, done}, #state{worker = Worker, phase = handling} = State) ->
    {noreply, handled(cancel(State)), {continue, next}};
handle_info({era_callstore_handler, Worker, {refused, Reason}}, #state{worker = Worker, phase = handling} = State) ->
    {noreply, back_off(Reason, cancel(State))};
handle_info({era_callstore_handler, Worker, {failed, Reason}}, #state{worker = Worker} = State) ->
    {noreply, back_off(Reason, without_worker(cancel(State)))};
handle_info({'EXIT', Worker, Reason}, #state{worker = Worker} = State) ->
    {noreply, back_off({crashed, Reason}, without_worker(cancel(State)))};
handle_info({timeout, Timer, too_long}, #state{timer = Timer, worker = Worker} = State) ->
    exit(Worker, kill),
    {noreply, back_off(too_long, without_worker(State#state{timer = undefined}))};
handle_info({timeout, Timer, retry}, #state{timer = Timer, worker = undefined} = State) ->
    {noreply, start_handler(State#state{timer = undefined})};
handle_info({timeout, Timer, retry}, #state{timer = Timer} = State) ->
    {noreply, reading(State#state{timer = undefined}), {continue, next}};
handle_info(next, #state{phase = reading} = State) ->
    {noreply, State, {continue, next}};
handle_info(Message, #state{phase = reading, reader = Reader} = State) ->
    case era_callstore_reader:heard(Message, Reader) of
        ignore -> {noreply, State};
        Heard -> read(Heard, State)
    end;
handle_info(_Other, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{worker = Worker} = State) ->
    _ = Worker =/= undefined andalso era_callstore_handler_worker:stop(Worker, ?STOP_MS),
    tell(true, State).

%% --- steps

start_handler(#state{options = #{handler := #{module := Module, args := Args}}, group = Group} = State) ->
    Worker = era_callstore_handler_worker:start_link(Module, Args#{group => Group}),
    limit(State#state{worker = Worker, phase = starting}).

reading(#state{done = Done} = State) -> State#state{phase = reading, reader = Done}.

anew(#state{done = Done} = State) -> State#state{done = era_callstore_reader:resync(Done)}.

read({wait, Reader}, State) ->
    {noreply, State#state{reader = Reader}};
read({away, Reader}, State) ->
    _ = erlang:send_after(?AWAY_MS, self(), next),
    {noreply, State#state{reader = Reader, done = Reader}};
read({items, [], Reader}, State) ->
    {noreply, passed(State#state{reader = Reader, done = Reader}), {continue, next}};
read({items, Items, Reader}, #state{worker = Worker} = State) ->
    ok = era_callstore_handler_worker:handle(Worker, Items),
    {Seq, _} = lists:last(Items),
    {noreply, limit(State#state{phase = handling, reader = Reader, seq = Seq})}.

handled(#state{reader = Reader, failures = Failures} = State) ->
    Recovered =
        case Failures of
            0 ->
                State;
            _ ->
                ?LOG_NOTICE(#{
                    what => "a handler works again", group => State#state.group, handler => State#state.name,
                    after_failures => Failures
                }),
                State#state{failures = 0}
        end,
    passed(noted(#{}, Recovered#state{phase = reading, done = Reader})).

%% Progress, for this copy at once, for the others now and then.
passed(#state{told_at = At} = State) ->
    Now = monotonic_ms(),
    ToPeers = Now - At >= ?TELL_MS,
    ok = tell(ToPeers, State),
    State#state{told_at = case ToPeers of true -> Now; false -> At end}.

tell(ToPeers, #state{group = Group, name = Name, done = Done}) ->
    case era_callstore_reader:cursor(Done) of
        none -> ok;
        Cursor -> era_callstore_feed:handled(Group, Name, {Cursor, ToPeers})
    end.

back_off(Reason, #state{options = Options, failures = Failures, group = Group, name = Name} = State) ->
    era_callstore_counters:add(handlers_failed, 1),
    #{retry_min_ms := Min, retry_max_ms := Max} = Options,
    Wait = min(Max, Min bsl min(Failures, 20)),
    ?LOG_WARNING(#{
        what => "a handler has failed", group => Group, handler => Name, reason => Reason, failures => Failures + 1,
        retry_in_ms => Wait
    }),
    Timer = erlang:start_timer(Wait, self(), retry),
    noted(#{reason => Reason}, State#state{phase = backing_off, failures = Failures + 1, timer = Timer}).

noted(More, #state{group = Group, name = Name, seq = Seq, failures = Failures} = State) ->
    ok = era_callstore_router:note({handler, Group, Name}, More#{seq => Seq, failures => Failures}),
    State.

limit(#state{options = #{deliver_timeout_ms := Ms}} = State) ->
    State#state{timer = erlang:start_timer(Ms, self(), too_long)}.

cancel(#state{timer = undefined} = State) ->
    State;
cancel(#state{timer = Timer} = State) ->
    _ = erlang:cancel_timer(Timer),
    State#state{timer = undefined}.

%% A handler that begins anew while the live calls were being told hears them from the first.
without_worker(#state{done = Done} = State) ->
    case era_callstore_reader:cursor(Done) of
        none -> anew(State#state{worker = undefined});
        _ -> State#state{worker = undefined}
    end.

monotonic_ms() -> erlang:monotonic_time(millisecond).
