%%% What an active instance asks of others: whether a dialog lives, to mix a recording, to restore a conversation.
%%%
%%%   ticker ──probe, mix, rescue──► [what waits] ──► a process each, with a time limit ──► evidence, or a fact
%%%                                                                                             in the log
%%% Always holds: exists on the active only. Whatever the module of a platform does (crash, hang, rubbish), the answer
%%% is one of ours: a probe that fails says `unknown', a mixer that fails has refused, a rescue that fails did not help.
%%% What is lost with this process is asked for again: the core's looks and the log's facts say what is due.
%%% Called by: ticker (todo/2).
%%% Must never: call a module of a platform in this process, or decide what a wrong answer means for a call.
-module(era_callstore_jobs).
-behaviour(gen_server).

-export([start_link/1, todo/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export([asked/3]).
-export_type([options/0]).

-include_lib("kernel/include/logger.hrl").

%% Dialogs in one question; questions and jobs at once, of each kind; questions that may wait.
-define(DIALOGS, 500).
-define(AT_ONCE, 16).
-define(WAITING, 200).

-type behaviours() :: #{probe | mixer | rescue => module() | off}.
-type options() :: #{
    group := pos_integer(),
    store := era_callstore_nif:store(),
    behaviours := behaviours(),
    timeouts := #{probe | mixer | rescue => pos_integer()}
}.
-type kind() :: probe | mixer | rescue.

-record(state, {
    group :: pos_integer(),
    store :: era_callstore_nif:store(),
    behaviours :: behaviours(),
    timeouts :: #{kind() => pos_integer()},
    waiting = #{} :: #{kind() => queue:queue(term())},
    %% calls whose mix waits or runs: the core names it again until the log says that it is asked for
    mixing = #{} :: #{Cid :: binary() => true},
    running = #{} :: #{reference() => {kind(), term(), Timer :: reference()}}
}).

-spec start_link(options()) -> gen_server:start_ret().
start_link(#{group := Group} = Options) -> gen_server:start_link({local, name(Group)}, ?MODULE, Options, []).

%% @doc What a tick has found to be asked of others.
-spec todo(Group :: pos_integer(), era_callstore_nif:tick()) -> ok.
todo(_Group, #{probe := [], mix := [], rescue := []}) -> ok;
todo(Group, Tick) -> gen_server:cast(name(Group), {todo, maps:with([probe, mix, rescue], Tick)}).

%% --- the process

-spec init(options()) -> {ok, #state{}}.
init(#{group := Group, store := Store, behaviours := Behaviours, timeouts := Timeouts}) ->
    process_flag(trap_exit, true),
    {ok, noted(#state{group = Group, store = Store, behaviours = Behaviours, timeouts = Timeouts})}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, no_such_call}, #state{}}.
handle_call(_Call, _From, State) -> {reply, {error, no_such_call}, State}.

-spec handle_cast({todo, map()}, #state{}) -> {noreply, #state{}} | {stop, {shutdown, term()}, #state{}}.
handle_cast({todo, #{probe := Probe, mix := Mix, rescue := Rescue}}, State) ->
    Items = [{probe, Part} || Part <- parts(Probe)] ++ [{mixer, M} || M <- Mix] ++ [{rescue, R} || R <- Rescue],
    started(lists:foldl(fun({Kind, Item}, S) -> wait(Kind, Item, S) end, State, Items)).

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, {shutdown, term()}, #state{}}.
handle_info({'DOWN', Monitor, process, _Pid, Reason}, #state{running = Running} = State) when
    is_map_key(Monitor, Running)
->
    {{Kind, Item, Timer}, Left} = maps:take(Monitor, Running),
    _ = erlang:cancel_timer(Timer),
    Next = mixed(Kind, Item, State#state{running = Left}),
    case finished(Kind, Item, answer(Kind, Reason, Next), Next) of
        ok -> started(Next);
        {error, Ended} -> {stop, {shutdown, Ended}, Next}
    end;
handle_info({timeout, _Timer, {too_long, Pid}}, State) ->
    exit(Pid, kill),
    {noreply, State};
handle_info(_Other, State) ->
    {noreply, State}.

%% --- queues

parts([]) -> [];
parts(Dialogs) when length(Dialogs) =< ?DIALOGS -> [Dialogs];
parts(Dialogs) ->
    {Part, Rest} = lists:split(?DIALOGS, Dialogs),
    [Part | parts(Rest)].

wait(Kind, Item, #state{behaviours = Behaviours, waiting = Waiting} = State) ->
    Queue = maps:get(Kind, Waiting, queue:new()),
    case Behaviours of
        #{Kind := off} ->
            State;
        %% Owners are asked round after round: what was dropped is asked for in the next.
        #{Kind := _} when Kind =:= probe ->
            case queue:len(Queue) >= ?WAITING of
                true -> State;
                false -> State#state{waiting = Waiting#{Kind => queue:in(Item, Queue)}}
            end;
        #{Kind := _} when Kind =:= mixer, is_map_key(element(1, Item), State#state.mixing) ->
            State;
        #{Kind := _} ->
            mixing(Kind, Item, State#state{waiting = Waiting#{Kind => queue:in(Item, Queue)}})
    end.

mixing(mixer, {Cid, _, _}, #state{mixing = Mixing} = State) -> State#state{mixing = Mixing#{Cid => true}};
mixing(_Kind, _Item, State) -> State.

mixed(mixer, {Cid, _, _}, #state{mixing = Mixing} = State) -> State#state{mixing = maps:remove(Cid, Mixing)};
mixed(_Kind, _Item, State) -> State.

%% A rescue that comes after the core has stopped waiting for it would bring back a call that was declared dead.
is_too_late(rescue, {_Cid, _Dialog, _Owner, UntilMs}) -> era_callstore_clock:now_ms() >= UntilMs;
is_too_late(_Kind, _Item) -> false.

%% Its end was said meanwhile: it is nobody's any more.
has_ended(Cid, #state{store = Store}) ->
    case era_callstore_nif:verdict(Store, Cid) of
        {_, Reason, _} -> Reason =:= <<"ended">>;
        not_found -> true
    end.

started(State) -> started([rescue, mixer, probe], State).

started([], State) ->
    {noreply, noted(State)};
started([Kind | Kinds] = All, #state{waiting = Waiting} = State) ->
    case running(Kind, State) < ?AT_ONCE andalso queue:out(maps:get(Kind, Waiting, queue:new())) of
        {{value, Item}, Left} ->
            Taken = State#state{waiting = Waiting#{Kind => Left}},
            case is_too_late(Kind, Item) orelse begun(Kind, Item, Taken) of
                true -> started(All, Taken);
                ok -> started(All, start(Kind, Item, Taken));
                {error, Ended} -> {stop, {shutdown, Ended}, Taken}
            end;
        _ ->
            started(Kinds, State)
    end.

running(Kind, #state{running = Running}) -> length([K || {K, _, _} <- maps:values(Running), K =:= Kind]).

start(Kind, Item, #state{behaviours = Behaviours, timeouts = Timeouts, running = Running} = State) ->
    #{Kind := Module} = Behaviours,
    {Pid, Monitor} = spawn_opt(?MODULE, asked, [Kind, Module, Item], [link, monitor]),
    Timer = erlang:start_timer(map_get(Kind, Timeouts), self(), {too_long, Pid}),
    State#state{running = Running#{Monitor => {Kind, Item, Timer}}}.

%% --- in a process of its own

%% @private Ends in the answer.
-spec asked(kind(), module(), term()) -> no_return().
asked(Kind, Module, Item) -> exit({answer, ask(Kind, Module, Item)}).

ask(probe, Module, Dialogs) ->
    Module:probe([#{dialogid => Dialog, owner => owner(Owner)} || {Dialog, Owner} <- Dialogs]);
ask(mixer, Module, {_Cid, Attempt, Json}) ->
    {ok, Job} = era_callstore_nif:json_decode(Json),
    Module:mix(Job#{<<"attempt">> => Attempt});
ask(rescue, Module, {Cid, Dialog, Owner, _UntilMs}) ->
    Module:rescue(#{cid => Cid, dialogid => Dialog, owner => owner(Owner)}).

owner(none) ->
    undefined;
owner(Text) ->
    case era_callstore_owner:from_binary(Text) of
        {ok, Owner} -> Owner;
        error -> undefined
    end.

%% --- answers

%% The exit of the process that asked is its answer.
answer(_Kind, {answer, Answer}, _State) -> {said, Answer};
answer(Kind, Reason, #state{group = Group}) ->
    Why = case Reason of killed -> too_long; _ -> {crashed, Reason} end,
    ?LOG_WARNING(#{what => "a module of the platform did not answer", asked => Kind, group => Group, reason => Why}),
    {failed, Why}.

%% The mixer is asked once the log says that it is: whoever is active next knows of the attempt.
begun(mixer, {Cid, Attempt, _Json}, State) ->
    fact(era_callstore_nif:mixed(Cid, asked, Attempt, era_callstore_clock:now_ms()), State);
begun(_Kind, _Item, _State) ->
    ok.

finished(probe, Dialogs, Answer, #state{group = Group, store = Store}) ->
    Said = case Answer of {said, List} when is_list(List) -> proper(List); _ -> #{} end,
    era_callstore_counters:add(dialogs_probed, length(Dialogs)),
    Evidence = [{probe, Dialog, maps:get(Dialog, Said, unknown)} || {Dialog, _} <- Dialogs],
    era_callstore_evidence:tell(Group, Store, Evidence);
finished(mixer, {Cid, Attempt, _Json}, Answer, State) ->
    Became =
        case Answer of
            {said, ok} ->
                era_callstore_counters:add(mixes_accepted, 1),
                accepted;
            {said, Other} ->
                refused(mixer, Cid, Other, State),
                failed;
            {failed, _} ->
                failed
        end,
    fact(era_callstore_nif:mixed(Cid, Became, Attempt, era_callstore_clock:now_ms()), State);
finished(rescue, {Cid, _Dialog, _Owner, _UntilMs} = Item, {said, {ok, NewOwner}} = Answer, State) ->
    case {era_callstore_owner:to_binary(NewOwner), is_too_late(rescue, Item) orelse has_ended(Cid, State)} of
        {{ok, _}, true} ->
            refused(rescue, Cid, {too_late, Answer}, State);
        {{ok, Text}, false} ->
            era_callstore_counters:add(calls_rescued, 1),
            fact(era_callstore_nif:rescued(Cid, Text, era_callstore_clock:now_ms()), State);
        {error, _} ->
            refused(rescue, Cid, Answer, State)
    end;
finished(rescue, {Cid, _Dialog, _Owner, _UntilMs}, Answer, State) ->
    refused(rescue, Cid, Answer, State).

proper(List) -> maps:from_list([{D, A} || {D, A} <- List, is_binary(D), lists:member(A, [alive, gone, unknown])]).

refused(Kind, Cid, Answer, #state{group = Group}) ->
    ?LOG_NOTICE(#{what => "refused", asked => Kind, group => Group, cid => Cid, answer => Answer}).

fact(Chunk, #state{group = Group}) ->
    case era_callstore_submit:append(Group, Chunk, 1) of
        {ok, _} -> ok;
        {error, Reason} -> {error, Reason}
    end.

noted(#state{group = Group, waiting = Waiting, running = Running} = State) ->
    Count = fun(Kind) -> queue:len(maps:get(Kind, Waiting, queue:new())) + running(Kind, State) end,
    ok = era_callstore_router:note({jobs, Group, here}, #{
        probes => Count(probe), mixes => Count(mixer), rescues => Count(rescue), running => map_size(Running)
    }),
    State.

name(Group) -> list_to_atom("era_callstore_jobs_" ++ integer_to_list(Group)).
