%%% The process in which one sink runs for one group: calls the sink's module, nothing else.
%%%
%%% Always holds: one delivery at a time; whatever the sink does to this process (crash, hang, exit), the outbox only sees
%%% it end or keep silent.
%%% Called by: era_callstore_outbox, its owner, which gets {era_callstore_sink, Pid, Answer} messages.
%%% Must never: outlive its owner.
-module(era_callstore_sink_worker).

-export([start_link/3, deliver/2, stop/2]).
-export([init/4]).

-include_lib("kernel/include/logger.hrl").
-include("era_callstore_crash.hrl").

%% @doc Starts the sink; `ready' or {failed, Reason} follows as its first answer.
-spec start_link(module(), Args :: map(), era_callstore_sink:context()) -> pid().
start_link(Module, Args, Context) ->
    proc_lib:spawn_link(?MODULE, init, [self(), Module, Args, Context]).

%% @doc Gives a batch; `delivered' or {refused, Reason} follows.
-spec deliver(pid(), [era_callstore_sink:item()]) -> ok.
deliver(Pid, Batch) ->
    Pid ! {deliver, Batch},
    ok.

%% @doc Ends the sink in order; one that does not end in TimeoutMs is killed.
-spec stop(pid(), TimeoutMs :: non_neg_integer()) -> ok.
stop(Pid, TimeoutMs) ->
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

%% @private
-spec init(pid(), module(), map(), era_callstore_sink:context()) -> ok.
init(Owner, Module, Args, Context) ->
    process_flag(trap_exit, true),
    case Module:init(Args, Context) of
        {ok, State} ->
            answer(Owner, ready),
            loop(Owner, Module, State);
        {error, Reason} ->
            answer(Owner, {failed, Reason})
    end.

loop(Owner, Module, State) ->
    receive
        {deliver, Batch} ->
            case Module:deliver(Batch, State) of
                {ok, Next} ->
                    ?CRASH_POINT(deliver_after),
                    answer(Owner, delivered),
                    loop(Owner, Module, Next);
                {error, Reason, Next} ->
                    answer(Owner, {refused, Reason}),
                    loop(Owner, Module, Next)
            end;
        stop ->
            terminate(Module, shutdown, State);
        {'EXIT', Owner, Reason} ->
            terminate(Module, Reason, State);
        {'EXIT', _Linked, normal} ->
            loop(Owner, Module, State);
        {'EXIT', _Linked, Reason} ->
            terminate(Module, Reason, State),
            exit(Reason);
        Other ->
            loop(Owner, Module, other(Other, Module, State))
    end.

other(Message, Module, State) ->
    case erlang:function_exported(Module, handle_info, 2) of
        true ->
            {ok, Next} = Module:handle_info(Message, State),
            Next;
        false ->
            ?LOG_NOTICE(#{what => "a sink got a message nobody waits for", sink => Module, message => Message}),
            State
    end.

terminate(Module, Reason, State) ->
    _ = Module:terminate(Reason, State),
    ok.

answer(Owner, Answer) ->
    Owner ! {era_callstore_sink, self(), Answer},
    ok.
