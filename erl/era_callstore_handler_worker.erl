%%% The process in which one handler runs for one group: calls the handler's module, nothing else.
%%%
%%% Always holds: one batch at a time; whatever the handler does to this process (crash, hang, exit), its runner only
%%% sees it end or keep silent.
%%% Called by: era_callstore_handler_runner, its owner, which gets {era_callstore_handler, Pid, Answer} messages.
%%% Must never: outlive its owner.
-module(era_callstore_handler_worker).

-export([start_link/2, handle/2, stop/2]).
-export([init/3]).

-include_lib("kernel/include/logger.hrl").

%% @doc Starts the handler; `ready', `snapshot' or {failed, Reason} follows as its first answer.
-spec start_link(module(), Args :: map()) -> pid().
start_link(Module, Args) -> proc_lib:spawn_link(?MODULE, init, [self(), Module, Args]).

%% @doc Gives a batch; `done' or {refused, Reason} follows.
-spec handle(pid(), [era_callstore_handler:item(), ...]) -> ok.
handle(Pid, Items) ->
    Pid ! {handle, Items},
    ok.

%% @doc Ends the handler in order; one that does not end in TimeoutMs is killed.
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
-spec init(pid(), module(), map()) -> ok.
init(Owner, Module, Args) ->
    process_flag(trap_exit, true),
    case Module:init(Args) of
        {ok, State} ->
            answer(Owner, ready),
            loop(Owner, Module, State);
        {ok, State, snapshot} ->
            answer(Owner, snapshot),
            loop(Owner, Module, State);
        {error, Reason} ->
            answer(Owner, {failed, Reason})
    end.

loop(Owner, Module, State) ->
    receive
        {handle, Items} ->
            case Module:handle_events(Items, State) of
                {ok, Next} ->
                    answer(Owner, done),
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
            ?LOG_NOTICE(#{what => "a handler got a message nobody waits for", handler => Module, message => Message}),
            State
    end.

terminate(Module, Reason, State) ->
    _ = Module:terminate(Reason, State),
    ok.

answer(Owner, Answer) ->
    Owner ! {era_callstore_handler, self(), Answer},
    ok.
