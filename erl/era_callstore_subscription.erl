%%% One subscription to the events out of one group: reads for a process of this node and sends it what was said.
%%%
%%% Always holds: the subscriber's mailbox never holds more than about the setting `subscriber_messages' because of it:
%%% above that it is sent nothing and nothing is asked for; what the feed has let go of meanwhile comes as a `resync'
%%% with the live calls. Ends with its subscriber. A subscription of several groups is several of these with one
%%% reference.
%%% Called by: era_callstore (start/4, stop/1).
%%% Must never: keep events that its subscriber does not take.
-module(era_callstore_subscription).
-behaviour(gen_server).

-export([start/4, stop/1, table/0]).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2, handle_continue/2, terminate/2]).

-define(TABLE, era_callstore_subscriptions).
%% How soon a mailbox that was full, or a group that no copy could be asked for, is looked at again.
-define(FULL_MS, 20).
-define(AWAY_MS, 200).

-type options() :: #{
    ref := reference(),
    subscriber := pid(),
    group := pos_integer(),
    wanted := era_callstore_nif:wanted(),
    since := era_callstore_reader:since(),
    messages := pos_integer()
}.

-record(state, {
    ref :: reference(),
    subscriber :: pid(),
    monitor :: reference(),
    reader :: era_callstore_reader:reader(),
    messages :: pos_integer(),
    full = false :: boolean()
}).

%% @doc Subscribes a process of this node to groups; it is told what is said from the return of this function on.
-spec start([Group :: pos_integer()], era_callstore_nif:wanted(), era_callstore_reader:since(), pid()) ->
    {ok, reference()} | {error, not_running}.
start(Groups, Wanted, Since, Subscriber) ->
    Ref = make_ref(),
    {ok, #{subscriber_messages := Messages}} = era_callstore_config:in_force(),
    Options = #{ref => Ref, subscriber => Subscriber, wanted => Wanted, since => Since, messages => Messages},
    start_each(Groups, Options, Ref).

start_each([], _Options, Ref) ->
    {ok, Ref};
start_each([Group | Groups], Options, Ref) ->
    try supervisor:start_child(era_callstore_subscription_sup, [Options#{group => Group}]) of
        {ok, _} -> start_each(Groups, Options, Ref)
    catch
        exit:_ -> {error, not_running}
    end.

%% @doc Ends a subscription of this node: nothing is sent any more when this returns.
-spec stop(reference()) -> ok.
stop(Ref) ->
    Pids = try [Pid || {_, Pid} <- ets:lookup(?TABLE, Ref)] catch error:badarg -> [] end,
    lists:foreach(fun stop_one/1, Pids),
    _ = Pids =/= [] andalso ets:delete(?TABLE, Ref),
    ok.

stop_one(Pid) ->
    Monitor = erlang:monitor(process, Pid),
    exit(Pid, shutdown),
    receive
        {'DOWN', Monitor, process, _, _} -> ok
    end.

%% @doc Makes the table of who is subscribed; it belongs to the supervisor.
-spec table() -> ok.
table() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, bag]),
    ok.

%% --- the process

-spec start_link(options()) -> gen_server:start_ret().
start_link(Options) -> gen_server:start_link(?MODULE, Options, []).

-spec init(options()) -> {ok, #state{}, {continue, next}}.
init(#{ref := Ref, subscriber := Subscriber, group := Group, wanted := Wanted, since := Since, messages := Messages}) ->
    true = ets:insert(?TABLE, {Ref, self()}),
    Monitor = erlang:monitor(process, Subscriber),
    Reader = era_callstore_reader:new(Group, Wanted, Since),
    State = #state{ref = Ref, subscriber = Subscriber, monitor = Monitor, reader = Reader, messages = Messages},
    {ok, State, {continue, next}}.

-type next() :: {noreply, #state{}} | {noreply, #state{}, {continue, next}} | {stop, normal, #state{}}.

-spec handle_continue(next, #state{}) -> next().
handle_continue(next, #state{reader = Reader} = State) ->
    case room(State) of
        {ok, Free} -> done(era_callstore_reader:next(Reader), Free);
        {full, Full} -> later(?FULL_MS, Full);
        gone -> {stop, normal, State}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, no_such_call}, #state{}}.
handle_call(_Call, _From, State) -> {reply, {error, no_such_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> next().
handle_info({'DOWN', Monitor, process, _, _}, #state{monitor = Monitor} = State) ->
    {stop, normal, State};
handle_info(next, State) ->
    {noreply, State, {continue, next}};
handle_info(Message, #state{reader = Reader} = State) ->
    case era_callstore_reader:heard(Message, Reader) of
        ignore -> {noreply, State};
        Heard -> done(Heard, State)
    end.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{ref = Ref}) ->
    true = ets:delete_object(?TABLE, {Ref, self()}),
    ok.

done({wait, Reader}, State) ->
    {noreply, State#state{reader = Reader}};
done({away, Reader}, State) ->
    later(?AWAY_MS, State#state{reader = Reader});
done({items, Items, Reader}, #state{ref = Ref, subscriber = Subscriber} = State) ->
    lists:foreach(fun({Seq, Event}) -> Subscriber ! {era_callstore, Ref, Seq, Event} end, Items),
    _ = [era_callstore_counters:add(subscribers_resynced, 1) || {_, resync} <- Items],
    era_callstore_counters:add(events_sent, length(Items)),
    {noreply, State#state{reader = Reader}, {continue, next}}.

later(Ms, State) ->
    _ = erlang:send_after(Ms, self(), next),
    {noreply, State}.

%% A mailbox that was full is to be half empty before it gets more.
room(#state{subscriber = Subscriber, messages = Messages, full = Full} = State) ->
    Most = case Full of true -> Messages div 2; false -> Messages end,
    case erlang:process_info(Subscriber, message_queue_len) of
        {message_queue_len, Length} when Length > Most -> {full, State#state{full = true}};
        {message_queue_len, _} -> {ok, State#state{full = false}};
        undefined -> gone
    end.
