%%% Behaviour of a handler: code that gets the events out as callbacks, such as one that publishes them to a broker.
%%%
%%% A handler of the setting `handlers' runs on the active instance of every group, and there in a process of its own.
%%% It is given what was said, in order, a batch at a time, as a subscriber is; the next batch comes when it has
%%% answered. What it did not finish (an error, a crash, too long) comes again after a pause that grows, until the feed
%%% has let go of it: then `resync' and the live calls come instead, as they do when it is started for the first time.
%%% The next active goes on where the last one was known to be. So: each event at least once, the last ones perhaps
%%% twice, and none left out without a `resync'. A sequence number, with the group, tells what came before.
%%%
%%% Always holds: what a handler does holds back nobody else.
%%% Implemented by modules of the host; examples/events/ has one.
%%% Must never: answer `ok' for a batch that it would still miss after a crash.
-module(era_callstore_handler).

-export([check/1]).
-export_type([handler/0, item/0]).

%% What is said (class `callevents' or `callstore', in the envelope), and its position in the stream of its group.
-type item() :: era_callstore_reader:item().
-type handler() :: #{name := binary(), module := module(), args := map(), wanted := era_callstore_nif:wanted()}.

%% Called in the handler's own process when its group becomes active here, and after a crash. Args as in the setting,
%% with `group'. `snapshot': what was said before does not matter; `resync' and the live calls come first.
-callback init(Args :: map()) -> {ok, State :: term()} | {ok, State :: term(), snapshot} | {error, Reason :: term()}.
-callback handle_events([item(), ...], State) -> {ok, State} | {error, Reason :: term(), State}.
-callback terminate(Reason :: term(), State :: term()) -> term().
%% A message that is not ours, such as the handler's own timer.
-callback handle_info(Message :: term(), State) -> {ok, State}.
%% Problems of the arguments, found before anything starts: key, value, reason, what would be right.
-callback check(Args :: map()) -> [{Key :: atom(), Value :: term(), Reason :: atom(), Right :: iodata()}].
-optional_callbacks([check/1, handle_info/2]).

-define(SETTING, <<"handlers">>).
-define(RIGHT, "{Module, Args :: map()} or {Name :: binary(), Module, Args} is wanted").

%% @doc Checks the setting `handlers'. `filter' in the arguments is ours: `events' and `domain', as in subscribe/1.
-spec check(term()) -> {ok, [handler()]} | {error, [era_callstore_nif:problem()]}.
check(Handlers) ->
    era_callstore_modules:check(
        Handlers, #{key => ?SETTING, entry => ?RIGHT, list => "a list is wanted: " ?RIGHT}, fun check/3
    ).

check(Name, Module, Given) ->
    _ = code:ensure_loaded(Module),
    Args = maps:remove(filter, Given),
    Is = [erlang:function_exported(Module, F, N) || {F, N} <- [{init, 1}, {handle_events, 2}, {terminate, 2}]],
    case {Is, era_callstore_filter:heard(maps:get(filter, Given, #{}))} of
        {[true, true, true], {ok, Wanted}} ->
            case era_callstore_modules:args(?SETTING, Name, Module, Args) of
                [] -> {ok, #{name => Name, module => Module, args => Args, wanted => Wanted}};
                Problems -> {error, Problems}
            end;
        {[true, true, true], {wanted, Key, Right}} ->
            {error, [era_callstore_modules:problem(?SETTING, [Name, ".filter"], Key, wrong_value, Right)]};
        _ ->
            Right = "a module with init/1, handle_events/2 and terminate/2 (era_callstore_handler) is wanted",
            {error, [era_callstore_modules:problem(?SETTING, Name, Module, no_such_handler, Right)]}
    end.
