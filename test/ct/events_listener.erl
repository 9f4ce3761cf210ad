%%% A subscriber inside a node of a suite: keeps what it hears until it is asked for it.
%%%
%%% Called by: events_SUITE, through cluster_node:call/4. Must never: answer with more than was heard.
-module(events_listener).

-export([start/2, start_deaf/2, wake/1, heard/1, said/2, count/1, resynced/1, put_calls/3, fence/1]).

%% @doc A process of this name subscribes; returns when it has.
-spec start(Name :: atom(), map()) -> ok.
start(Name, Options) -> start(Name, Options, fun(Ref) -> listen(Ref, []) end).

%% @doc As start/2, but reads nothing before wake/1.
-spec start_deaf(Name :: atom(), map()) -> ok.
start_deaf(Name, Options) ->
    start(Name, Options, fun(Ref) -> receive wake -> listen(Ref, []) end end).

-spec wake(Name :: atom()) -> ok.
wake(Name) ->
    Name ! wake,
    ok.

start(Name, Options, Listen) ->
    Caller = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        true = register(Name, self()),
        {ok, Ref} = era_callstore:subscribe(Options),
        Caller ! {self(), subscribed},
        Listen(Ref)
    end),
    receive
        {Pid, subscribed} -> erlang:demonitor(Monitor, [flush]), ok;
        {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
    end.

%% @doc What was heard so far, in order.
-spec heard(Name :: atom()) -> [{Seq :: non_neg_integer(), map() | resync}].
heard(Name) -> asked(Name, fun(Heard) -> lists:reverse(Heard) end).

%% @doc Of what was heard, the events of a type.
-spec said(Name :: atom(), Type :: binary()) -> [map()].
said(Name, Type) ->
    asked(Name, fun(Heard) -> [Event || {_, #{<<"type">> := T} = Event} <- lists:reverse(Heard), T =:= Type] end).

%% @doc How much was heard.
-spec count(Name :: atom()) -> non_neg_integer().
count(Name) -> asked(Name, fun erlang:length/1).

%% @doc The numbers before the first resync, and the calls that opened after it, once the live calls have been told.
-spec resynced(Name :: atom()) -> {Seqs :: [non_neg_integer()], Cids :: [binary()]} | not_yet.
resynced(Name) ->
    asked(Name, fun(Heard) ->
        {First, After} = lists:splitwith(fun({_, Event}) -> Event =/= resync end, lists:reverse(Heard)),
        Opened = [Cid || {_, #{<<"type">> := <<"call_opened">>, <<"data">> := #{<<"cid">> := Cid}}} <- After],
        case [E || {_, #{<<"type">> := <<"snapshot">>} = E} <- After] of
            [] -> not_yet;
            _ -> {[Seq || {Seq, _} <- First], lists:usort(Opened)}
        end
    end).

%% The listener itself looks at what it has: all of it is much to send about.
asked(Name, Fun) ->
    Name ! {self(), Fun},
    receive
        {Name, Answer} -> Answer
    after 30000 -> error({no_answer, Name})
    end.

listen(Ref, Heard) ->
    receive
        {era_callstore, Ref, Seq, Event} ->
            listen(Ref, [{Seq, Event} | Heard]);
        {Pid, Fun} ->
            {registered_name, Name} = erlang:process_info(self(), registered_name),
            Pid ! {Name, Fun(Heard)},
            listen(Ref, Heard)
    end.

%% @doc Puts the first event of each of these calls, some at a time; each is acknowledged when this returns.
-spec put_calls(From :: pos_integer(), To :: pos_integer(), AtOnce :: pos_integer()) -> ok.
put_calls(From, To, _AtOnce) when From > To ->
    ok;
put_calls(From, To, AtOnce) ->
    Last = min(To, From + AtOnce - 1),
    {ok, #{rejected := []}} = era_callstore:put(cluster_calls:events(alive, From, Last), #{timeout => 30000}),
    put_calls(Last + 1, To, AtOnce).

%% @doc The term of the active instance here ends out of order, and it takes no other for as long as this node runs.
-spec fence(Group :: pos_integer()) -> ok.
fence(Group) ->
    Caller = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        {Writer, _, _} = era_callstore_router:writer(Group),
        {dictionary, Words} = erlang:process_info(Writer, dictionary),
        [Term | _] = proplists:get_value('$ancestors', Words),
        Ended = erlang:monitor(process, Term),
        Name = list_to_atom("era_callstore_group_" ++ integer_to_list(Group)),
        %% It hears of both at once, of the end first.
        ok = sys:suspend(Name),
        exit(Writer, kill),
        receive {'DOWN', Ended, process, _, _} -> ok end,
        Held = gen_statem:send_request(Name, {hold, self()}),
        ok = sys:resume(Name),
        {reply, ok} = gen_statem:receive_response(Held, 30000),
        Caller ! {self(), fenced},
        receive after infinity -> ok end
    end),
    receive
        {Pid, fenced} -> erlang:demonitor(Monitor, [flush]), ok;
        {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
    end.
