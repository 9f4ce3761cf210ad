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
    group :: pos_integer(),
    name :: binary(),
    %% behind what is done
    done :: era_callstore_reader:reader(),
    %% behind what is being handled
    reader :: era_callstore_reader:reader(),
    worker :: era_callstore_worker:worker(),
    seq = 0 :: non_neg_integer(),
    told_at :: integer()
}).

-spec start_link(options()) -> gen_server:start_ret().
start_link(Options) -> gen_server:start_link(?MODULE, Options, []).

-spec init(options()) -> {ok, #state{}}.
init(#{group := Group, handler := #{name := Name, wanted := Wanted, module := Module, args := Args}} = Options) ->
    process_flag(trap_exit, true),
    Since =
        case era_callstore_feed:handled(Group, Name) of
            none -> resync;
            Cursor -> Cursor
        end,
    Reader = era_callstore_reader:new(Group, Wanted, Since),
    #{deliver_timeout_ms := TimeoutMs} = Options,
    Worker = era_callstore_worker:start((maps:with([retry_min_ms, retry_max_ms], Options))#{
        module => Module, init => [Args#{group => Group}], work => handle_events, timeout_ms => TimeoutMs
    }),
    State = #state{
        group = Group, name = Name, done = Reader, reader = Reader, worker = Worker, told_at = monotonic_ms()
    },
    {ok, noted(#{}, State)}.

-spec handle_continue(next, #state{}) -> {noreply, #state{}} | {noreply, #state{}, {continue, next}}.
handle_continue(next, #state{reader = Reader} = State) -> read(era_callstore_reader:next(Reader), State).

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, no_such_call}, #state{}}.
handle_call(_Call, _From, State) -> {reply, {error, no_such_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {noreply, #state{}, {continue, next}}.
handle_info(Message, #state{worker = Worker} = State) ->
    case era_callstore_worker:heard(Message, Worker) of
        {ready, Idle} -> {noreply, reading(State#state{worker = Idle}), {continue, next}};
        {snapshot, Idle} -> {noreply, reading(anew(State#state{worker = Idle})), {continue, next}};
        {done, Idle} -> {noreply, handled(State#state{worker = Idle}), {continue, next}};
        {failed, Reason, PauseMs, Pausing} -> {noreply, back_off(Reason, PauseMs, State#state{worker = Pausing})};
        {again, Idle} -> {noreply, reading(State#state{worker = Idle}), {continue, next}};
        {starting, Starting} -> {noreply, State#state{worker = Starting}};
        ignore -> said(Message, State)
    end.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{worker = Worker} = State) ->
    ok = era_callstore_worker:stop(Worker, ?STOP_MS),
    tell(true, State).

%% --- steps

%% What the reader hears while the handler has nothing to do; else it stands.
said(Message, #state{worker = Worker, reader = Reader} = State) ->
    case era_callstore_worker:is_idle(Worker) of
        false ->
            {noreply, State};
        true when Message =:= next ->
            {noreply, State, {continue, next}};
        true ->
            case era_callstore_reader:heard(Message, Reader) of
                ignore -> {noreply, State};
                Heard -> read(Heard, State)
            end
    end.

reading(#state{done = Done} = State) -> State#state{reader = Done}.

anew(#state{done = Done} = State) -> State#state{done = era_callstore_reader:resync(Done)}.

read({wait, Reader}, State) ->
    {noreply, State#state{reader = Reader}};
read({away, Reader}, State) ->
    _ = erlang:send_after(?AWAY_MS, self(), next),
    {noreply, State#state{reader = Reader, done = Reader}};
read({items, [], Reader}, State) ->
    {noreply, passed(State#state{reader = Reader, done = Reader}), {continue, next}};
read({items, Items, Reader}, #state{worker = Worker} = State) ->
    {Seq, _} = lists:last(Items),
    {noreply, State#state{worker = era_callstore_worker:work(Items, Worker), reader = Reader, seq = Seq}}.

handled(#state{reader = Reader, worker = Worker, group = Group, name = Name} = State) ->
    {Failures, Recovered} = era_callstore_worker:recovered(Worker),
    _ = [
        ?LOG_NOTICE(#{what => "a handler works again", group => Group, handler => Name, after_failures => Failures})
     || Failures > 0
    ],
    passed(noted(#{}, State#state{worker = Recovered, done = Reader})).

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

back_off(Reason, PauseMs, #state{worker = Worker, group = Group, name = Name} = State) ->
    era_callstore_counters:add(handlers_failed, 1),
    ?LOG_WARNING(#{
        what => "a handler has failed", group => Group, handler => Name, reason => Reason,
        failures => era_callstore_worker:failures(Worker), retry_in_ms => PauseMs
    }),
    noted(#{reason => Reason}, forgetful(State)).

%% A handler that begins anew while the live calls were being told hears them from the first.
forgetful(#state{worker = Worker, done = Done} = State) ->
    case era_callstore_worker:is_there(Worker) orelse era_callstore_reader:cursor(Done) of
        none -> anew(State);
        _ -> State
    end.

noted(More, #state{group = Group, name = Name, seq = Seq, worker = Worker} = State) ->
    Failures = era_callstore_worker:failures(Worker),
    ok = era_callstore_router:note({handler, Group, Name}, More#{seq => Seq, failures => Failures}),
    State.

monotonic_ms() -> erlang:monotonic_time(millisecond).
