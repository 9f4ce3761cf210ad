%%% The ticker of an active instance: asks the core what time has made due, and puts the decisions into the log.
%%%
%%% It sleeps until the core's next deadline; a commit may bring an earlier one, so the writer's bell makes it ask again
%%% soon, but not more often than once in RESOLUTION_MS; evidence makes it ask at once. Where more is due at once it
%%% rests for as long as it has worked, so that the death of a node does not starve producers.
%%% On virtual time it does not rest, and acts only when the clock is advanced or evidence comes.
%%% Always holds: exists on the active only; a decision is an event in the log before anything follows from it. What
%%% others are to be asked goes to the watch and to the jobs.
%%% Called by: nobody; woken by the clock, bells and its own timer. Trims the log in passing.
%%% Must never: decide anything itself.
-module(era_callstore_ticker).
-behaviour(gen_server).

-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, handle_continue/2]).

-include_lib("kernel/include/logger.hrl").
-include("era_callstore_crash.hrl").

-define(RESOLUTION_MS, 200).
%% The system clock may be set; so long at most a deadline is missed by that.
-define(LONGEST_MS, 60000).
%% Work without a rest, at least.
-define(REST_AFTER_MS, 20).

-record(state, {
    group :: pos_integer(),
    trim_interval_ms :: pos_integer(),
    trim_bytes :: pos_integer(),
    bell :: era_callstore_wake:bell(),
    evidence :: era_callstore_wake:bell(),
    timer :: reference() | undefined,
    timer_at = infinity :: integer() | infinity,
    trimmed_at :: integer()
}).

-type options() :: #{group := pos_integer(), trim_interval_ms := pos_integer(), trim_bytes := pos_integer()}.

-spec start_link(options()) -> gen_server:start_ret().
start_link(Options) -> gen_server:start_link(?MODULE, Options, []).

-spec init(options()) -> {ok, #state{}, {continue, run}}.
init(#{group := Group, trim_interval_ms := Interval, trim_bytes := Bytes}) ->
    Bell = era_callstore_wake:bell(touched),
    Evidence = era_callstore_wake:bell(evidence),
    ok = era_callstore_evidence:bell(Group, Evidence),
    ok = era_callstore_clock:follow(),
    ok = era_callstore_writer:attach(Group, Bell),
    State = #state{
        group = Group,
        trim_interval_ms = Interval,
        trim_bytes = Bytes,
        bell = Bell,
        evidence = Evidence,
        trimmed_at = era_callstore_clock:now_ms()
    },
    {ok, State, {continue, run}}.

-spec handle_continue(run, #state{}) -> {noreply, #state{}} | {stop, {shutdown, term()}, #state{}}.
handle_continue(run, State) -> ran({run(State), State}).

-spec handle_call({era_callstore_clock, advanced}, gen_server:from(), #state{}) ->
    {reply, ok, #state{}} | {stop, {shutdown, term()}, ok, #state{}}.
handle_call({era_callstore_clock, advanced}, _From, State) ->
    case run(State) of
        {ok, Next} -> {reply, ok, Next};
        {error, Reason} -> {stop, {shutdown, Reason}, ok, State}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, {shutdown, term()}, #state{}}.
handle_info({timeout, Timer, run}, #state{timer = Timer} = State) ->
    Rung = State#state{timer = undefined, timer_at = infinity},
    ran({run(Rung), Rung});
handle_info(touched, State) ->
    {noreply, wake_at(era_callstore_clock:now_ms() + ?RESOLUTION_MS, State)};
handle_info(evidence, State) ->
    ran({run(State), State});
handle_info({era_callstore_clock, changed}, State) ->
    Cancelled = cancel(State),
    ran({run(Cancelled), Cancelled});
handle_info(_Other, State) ->
    {noreply, State}.

%% An error here says that the writer has ended: the term is over.
ran({{ok, State}, _}) -> {noreply, State};
ran({{error, Reason}, State}) -> {stop, {shutdown, Reason}, State}.

%% What is due now, and then a timer for what is due next.
run(#state{group = Group, bell = Bell, evidence = Evidence} = State) ->
    ok = era_callstore_wake:answer(Bell),
    ok = era_callstore_wake:answer(Evidence),
    case era_callstore_router:store(Group) of
        {ok, Store} ->
            case tick(Group, Store, monotonic_ms()) of
                {ok, Next} -> settled(Next, trim(Store, State));
                {rest, Until} -> {ok, wake_at(Until, State)};
                {error, _} = Error -> Error
            end;
        none ->
            {error, no_store}
    end.

settled(Next, {ok, #state{group = Group} = State}) ->
    case era_callstore_writer:settle(Group) of
        ok -> {ok, wake_at(earliest(Next, State#state.trimmed_at + State#state.trim_interval_ms), State)};
        {error, _} = Error -> Error
    end;
settled(_Next, {error, _} = Error) ->
    Error.

tick(Group, Store, Began) ->
    Now = era_callstore_clock:now_ms(),
    #{owners := Owners, alarms := Alarms} = Tick = era_callstore_nif:tick(Store, Now),
    ok = era_callstore_watch:owners(Group, Owners),
    ok = era_callstore_watch:alarms(Group, Alarms),
    ok = era_callstore_jobs:todo(Group, Tick),
    case decided(Group, Tick) of
        {ok, Next} when Next =< Now -> more(Group, Store, Began);
        Other -> Other
    end.

%% What was decided is due until it is in the log.
decided(_Group, #{chunk := none, next := Next}) ->
    {ok, Next};
decided(Group, #{chunk := Chunk}) ->
    ?CRASH_POINT(decision_before),
    case era_callstore_submit:append(Group, Chunk, 1) of
        {ok, _} ->
            ?CRASH_POINT(decision_after),
            {ok, 0};
        {error, _} = Error -> Error
    end.

more(Group, Store, Began) ->
    Ended = monotonic_ms(),
    case era_callstore_clock:is_virtual() of
        false when Ended - Began >= ?REST_AFTER_MS -> {rest, era_callstore_clock:now_ms() + Ended - Began};
        _ -> tick(Group, Store, Began)
    end.

trim(Store, #state{group = Group, trimmed_at = Last, trim_interval_ms = Interval, trim_bytes = Bytes} = State) ->
    Now = era_callstore_clock:now_ms(),
    case Now - Last >= Interval of
        false ->
            {ok, State};
        true ->
            #{delete := Keys, forward := Forward} = Trim = era_callstore_nif:trim(Store, Now, Bytes),
            ok = era_callstore_log:delete(Group, [binary_to_term(Key, [safe]) || Key <- Keys]),
            era_callstore_counters:add(rows_deleted, length(Keys)),
            ok = era_callstore_router:note({trim, Group, last}, maps:with([log_bytes, live_bytes], Trim)),
            forwarded(Group, Forward, State#state{trimmed_at = Now})
    end.

forwarded(_Group, none, State) ->
    {ok, State};
forwarded(Group, Chunk, State) ->
    case era_callstore_submit:append(Group, Chunk, 1) of
        {ok, _} -> {ok, State};
        {error, _} = Error -> Error
    end.

wake_at(At, #state{timer_at = Earlier} = State) when Earlier =< At ->
    State;
wake_at(At, State) ->
    case era_callstore_clock:is_virtual() of
        true ->
            State;
        false ->
            Cancelled = cancel(State),
            In = min(?LONGEST_MS, max(0, At - era_callstore_clock:now_ms())),
            Cancelled#state{timer = erlang:start_timer(In, self(), run), timer_at = At}
    end.

cancel(#state{timer = undefined} = State) ->
    State#state{timer_at = infinity};
cancel(#state{timer = Timer} = State) ->
    _ = erlang:cancel_timer(Timer),
    State#state{timer = undefined, timer_at = infinity}.

monotonic_ms() -> erlang:monotonic_time(millisecond).

earliest(infinity, B) -> B;
earliest(A, B) -> min(A, B).
