%%% One module of the platform at work for one group, in a process of its own: started, given one batch at a time, ended
%%% when it is silent for too long, and tried again after pauses that grow.
%%%
%%%   starting ──ready──► idle ──work/2──► working ──done──► idle …
%%%       ▲                                   │ refused, crashed, too long
%%%       └──────── backing off ◄─────────────┘      (who has refused goes on in its process)
%%% A state that its owner, a gen_server that traps exits, drives: every message that is not the owner's goes to
%%% heard/2.
%%% Always holds: one batch is out at a time; whatever the module does to its process (crash, hang, exit), the owner
%%% only sees it end or keep silent, and is told `failed' with a pause.
%%% Called by: era_callstore_outbox (sinks), era_callstore_handler_runner (handlers).
%%% Must never: run the module's code in the process of its owner, or outlive the owner.
-module(era_callstore_worker).

-export([start/1, work/2, heard/2, recovered/1, stop/2]).
-export([is_idle/1, is_there/1, failures/1]).
-export([init/4]).
-export_type([worker/0, options/0, heard/0]).

-include_lib("kernel/include/logger.hrl").

%% A pause is drawn from this share of its length around it, so that instances do not retry in step.
-define(JITTER, 0.2).

-type options() :: #{
    module := module(),
    %% arguments of its init; and the function that is given a batch and the state
    init := [term()],
    work := atom(),
    %% asked in its process before a batch is given to the module: one that waited for too long is refused as `over'
    still => fun(() -> boolean()),
    %% how long init or a batch may take
    timeout_ms := pos_integer(),
    retry_min_ms := pos_integer(),
    retry_max_ms := pos_integer()
}.

-record(worker, {
    options :: options(),
    phase = starting :: starting | idle | working | backing_off,
    pid :: pid() | undefined,
    timer :: reference() | undefined,
    failures = 0 :: non_neg_integer()
}).
-opaque worker() :: #worker{}.

%% ready: it has started, `snapshot' if it asks for that; done: with its batch; failed: tried again by itself after the
%% pause; again: the pause is over, its process has outlived it; starting: the pause is over, it is started anew.
-type heard() ::
    {ready | snapshot | done | again | starting, worker()}
    | {failed, Reason :: term(), PauseMs :: pos_integer(), worker()}
    | ignore.

%% --- in the owner

%% @doc Starts the module; `ready', `snapshot' or `failed' is heard of it.
-spec start(options()) -> worker().
start(Options) -> begun(#worker{options = Options}).

begun(#worker{options = #{module := Module, init := Arguments, work := Work} = Options} = Worker) ->
    Still = maps:get(still, Options, fun() -> true end),
    Do = fun(Batch, State) -> done(Still(), Module, Work, Batch, State) end,
    Pid = proc_lib:spawn_link(?MODULE, init, [self(), Module, Arguments, Do]),
    limit(Worker#worker{pid = Pid, phase = starting}).

%% @doc Gives a batch to an idle one; `done' or `failed' is heard of it.
-spec work(Batch :: [term(), ...], worker()) -> worker().
work(Batch, #worker{phase = idle, pid = Pid} = Worker) ->
    Pid ! {work, Batch},
    limit(Worker#worker{phase = working}).

%% @doc What a message of the owner's mailbox says of the worker; `ignore' when it is none of its.
-spec heard(Message :: term(), worker()) -> heard().
heard({?MODULE, Pid, Answer}, #worker{pid = Pid} = Worker) ->
    answered(Answer, Worker);
heard({'EXIT', Pid, Reason}, #worker{pid = Pid} = Worker) ->
    back_off({crashed, Reason}, without_process(cancel(Worker)));
heard({timeout, Timer, too_long}, #worker{timer = Timer, pid = Pid} = Worker) ->
    exit(Pid, kill),
    back_off(too_long, without_process(Worker#worker{timer = undefined}));
heard({timeout, Timer, retry}, #worker{timer = Timer, pid = undefined} = Worker) ->
    {starting, begun(Worker#worker{timer = undefined})};
heard({timeout, Timer, retry}, #worker{timer = Timer} = Worker) ->
    {again, Worker#worker{timer = undefined, phase = idle}};
heard(_Message, _Worker) ->
    ignore.

answered(Ready, #worker{phase = starting} = Worker) when Ready =:= ready; Ready =:= snapshot ->
    {Ready, (cancel(Worker))#worker{phase = idle}};
answered(done, #worker{phase = working} = Worker) ->
    {done, (cancel(Worker))#worker{phase = idle}};
answered({refused, Reason}, #worker{phase = working} = Worker) ->
    back_off(Reason, cancel(Worker));
answered({failed, Reason}, Worker) ->
    back_off(Reason, without_process(cancel(Worker)));
answered(_Answer, _Worker) ->
    ignore.

%% @doc Its work has succeeded: the next pause is the shortest again. How often it had failed before.
-spec recovered(worker()) -> {AfterFailures :: non_neg_integer(), worker()}.
recovered(#worker{failures = Failures} = Worker) -> {Failures, Worker#worker{failures = 0}}.

%% @doc Ends it in order; one that does not end in TimeoutMs is killed.
-spec stop(worker(), TimeoutMs :: non_neg_integer()) -> ok.
stop(#worker{pid = undefined}, _TimeoutMs) ->
    ok;
stop(#worker{pid = Pid}, TimeoutMs) ->
    Monitor = erlang:monitor(process, Pid),
    Pid ! stop,
    receive
        {'DOWN', Monitor, process, _, _} -> ok
    after TimeoutMs ->
        exit(Pid, kill),
        receive
            {'DOWN', Monitor, process, _, _} -> ok
        end
    end.

%% @doc Whether it can be given a batch.
-spec is_idle(worker()) -> boolean().
is_idle(#worker{phase = Phase}) -> Phase =:= idle.

%% @doc Whether it has a process, with a state that remembers what it was given.
-spec is_there(worker()) -> boolean().
is_there(#worker{pid = Pid}) -> Pid =/= undefined.

%% @doc How often in a row it has failed.
-spec failures(worker()) -> non_neg_integer().
failures(#worker{failures = Failures}) -> Failures.

back_off(Reason, #worker{options = #{retry_min_ms := Min, retry_max_ms := Max}, failures = Failures} = Worker) ->
    Pause = jitter(min(Max, Min bsl min(Failures, 20))),
    Timer = erlang:start_timer(Pause, self(), retry),
    {failed, Reason, Pause, Worker#worker{phase = backing_off, failures = Failures + 1, timer = Timer}}.

jitter(Ms) -> max(1, round(Ms * (1 - ?JITTER + 2 * ?JITTER * rand:uniform()))).

limit(#worker{options = #{timeout_ms := Ms}} = Worker) ->
    Worker#worker{timer = erlang:start_timer(Ms, self(), too_long)}.

cancel(#worker{timer = undefined} = Worker) ->
    Worker;
cancel(#worker{timer = Timer} = Worker) ->
    _ = erlang:cancel_timer(Timer),
    Worker#worker{timer = undefined}.

without_process(Worker) -> Worker#worker{pid = undefined}.

%% --- in its process

%% @private
-spec init(pid(), module(), [term()], Do :: fun((Batch :: [term()], State :: term()) -> term())) -> ok.
init(Owner, Module, Arguments, Do) ->
    process_flag(trap_exit, true),
    case apply(Module, init, Arguments) of
        {ok, State} ->
            answer(Owner, ready),
            loop(Owner, Module, Do, State);
        {ok, State, snapshot} ->
            answer(Owner, snapshot),
            loop(Owner, Module, Do, State);
        {error, Reason} ->
            answer(Owner, {failed, Reason})
    end.

loop(Owner, Module, Do, State) ->
    receive
        {work, Batch} ->
            case Do(Batch, State) of
                {ok, Next} ->
                    answer(Owner, done),
                    loop(Owner, Module, Do, Next);
                {error, Reason, Next} ->
                    answer(Owner, {refused, Reason}),
                    loop(Owner, Module, Do, Next)
            end;
        stop ->
            terminate(Module, shutdown, State);
        {'EXIT', Owner, Reason} ->
            terminate(Module, Reason, State);
        {'EXIT', _Linked, normal} ->
            loop(Owner, Module, Do, State);
        {'EXIT', _Linked, Reason} ->
            terminate(Module, Reason, State),
            exit(Reason);
        Other ->
            loop(Owner, Module, Do, other(Other, Module, State))
    end.

done(true, Module, Work, Batch, State) -> Module:Work(Batch, State);
done(false, _Module, _Work, _Batch, State) -> {error, over, State}.

other(Message, Module, State) ->
    case erlang:function_exported(Module, handle_info, 2) of
        true ->
            {ok, Next} = Module:handle_info(Message, State),
            Next;
        false ->
            ?LOG_NOTICE(#{what => "a module got a message nobody waits for", module => Module, message => Message}),
            State
    end.

terminate(Module, Reason, State) ->
    _ = Module:terminate(Reason, State),
    ok.

answer(Owner, Answer) ->
    Owner ! {?MODULE, self(), Answer},
    ok.
