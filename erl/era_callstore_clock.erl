%%% The time by which calls are judged: the system clock, or a virtual one that a demo or a test sets and advances.
%%%
%%% Always holds: time never runs backwards by way of this module; whoever follows the clock has done everything due
%%% before advance_to/1 returns, also a follower that was about to begin.
%%% Called by: everything that hands a time to the core. Followed by the tickers, which the groups begin.
%%% Must never: be used for timeouts of messages and processes; those are the runtime's own.
-module(era_callstore_clock).

-export([now_ms/0, use_system/0, use_virtual/1, advance_to/1, is_virtual/0, follow/0, begin_followers/0]).

%% Messages to a follower: {era_callstore_clock, changed} when the source of time was replaced, and the call
%% {era_callstore_clock, advanced} (answered when everything due is done). Who begins followers gets the call alone, and
%% answers when those that it was about to begin follow.
-define(SCOPE, era_callstore).
-define(GROUP, clock_followers).
-define(BEGINNERS, clock_beginners).

%% @doc Milliseconds since 1970 UTC.
-spec now_ms() -> integer().
now_ms() ->
    case persistent_term:get(?MODULE, system) of
        system -> erlang:system_time(millisecond);
        Virtual -> atomics:get(Virtual, 1)
    end.

%% @doc Whether the clock stands still until it is advanced.
-spec is_virtual() -> boolean().
is_virtual() -> persistent_term:get(?MODULE, system) =/= system.

%% @doc Time is the system's, from now on, on this node.
-spec use_system() -> ok.
use_system() ->
    persistent_term:put(?MODULE, system),
    tell_changed().

%% @doc Time stands at Ms until advance_to/1, on this node.
-spec use_virtual(Ms :: integer()) -> ok.
use_virtual(Ms) when is_integer(Ms) ->
    Virtual = atomics:new(1, [{signed, true}]),
    ok = atomics:put(Virtual, 1, Ms),
    persistent_term:put(?MODULE, Virtual),
    tell_changed().

%% @doc Moves the virtual time to Ms, unless it is there already, and waits until every active group of this node has
%% done what is due.
-spec advance_to(Ms :: integer()) -> ok | {error, system_time}.
advance_to(Ms) when is_integer(Ms) ->
    case persistent_term:get(?MODULE, system) of
        system ->
            {error, system_time};
        Virtual ->
            forward(Virtual, Ms, atomics:get(Virtual, 1)),
            lists:foreach(fun advanced/1, pg:get_local_members(?SCOPE, ?BEGINNERS)),
            lists:foreach(fun advanced/1, pg:get_local_members(?SCOPE, ?GROUP))
    end.

%% @doc The calling process follows the clock from now on.
-spec follow() -> ok.
follow() -> pg:join(?SCOPE, ?GROUP, self()).

%% @doc The calling process begins followers from now on.
-spec begin_followers() -> ok.
begin_followers() -> pg:join(?SCOPE, ?BEGINNERS, self()).

forward(_Virtual, Ms, Current) when Current >= Ms ->
    ok;
forward(Virtual, Ms, Current) ->
    case atomics:compare_exchange(Virtual, 1, Current, Ms) of
        ok -> ok;
        Other -> forward(Virtual, Ms, Other)
    end.

%% A follower that ends meanwhile has nothing left to do: its successor begins at the new time.
advanced(Pid) ->
    try
        gen_server:call(Pid, {?MODULE, advanced}, infinity)
    catch
        exit:{Reason, _} when Reason =:= noproc; Reason =:= normal; Reason =:= shutdown -> ok;
        exit:{{shutdown, _}, _} -> ok
    end.

tell_changed() ->
    case whereis(?SCOPE) of
        undefined -> ok;
        _ -> lists:foreach(fun(Pid) -> Pid ! {?MODULE, changed} end, pg:get_local_members(?SCOPE, ?GROUP))
    end,
    ok.
