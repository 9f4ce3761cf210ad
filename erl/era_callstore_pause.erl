%%% Notices that this node did not run for a while: it was stopped (SIGSTOP) or starved for so
%%% long that the others may have taken it for dead.
%%%
%%% A beat every BEAT_MS; a gap between two beats that is longer than the limit is a pause. The limit lies well below the
%%% time after which the runtime of another node gives this one up (net_ticktime), so who asks count/0 knows of a
%%% pause before it can act on what it believed before it.
%%% Always holds: count/0 has grown when this node has been paused since it was asked last, also when the beat itself has not
%%% come round yet. Groups are told by {era_callstore_pause, paused}.
%%% Called by: era_callstore_sup (start), commit, outbox and group (count/0), group (follow/0).
%%% Must never: decide what follows.
-module(era_callstore_pause).
-behaviour(gen_server).

-export([start_link/0, count/0, follow/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-include_lib("kernel/include/logger.hrl").

-define(BEAT_MS, 200).
%% Also on a network that is patient, a standstill of this length is one.
-define(LONGEST_MS, 5000).
-define(SCOPE, era_callstore).
-define(FOLLOWERS, pause_followers).
%% Places in the array: when the last beat was (ms, monotonic), pauses, the limit (ms).
-define(BEAT, 1).
-define(PAUSES, 2).
-define(LIMIT, 3).

-spec start_link() -> gen_server:start_ret().
start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc How often this node was paused since it started; one more at once when it is noticed just now.
-spec count() -> non_neg_integer().
count() ->
    case persistent_term:get(?MODULE, none) of
        none -> 0;
        Array -> atomics:get(Array, ?PAUSES) + unseen(Array)
    end.

%% A pause that the beat has not counted yet.
unseen(Array) ->
    case erlang:monotonic_time(millisecond) - atomics:get(Array, ?BEAT) > atomics:get(Array, ?LIMIT) of
        true -> 1;
        false -> 0
    end.

%% @doc The calling process is told of pauses from now on.
-spec follow() -> ok.
follow() -> pg:join(?SCOPE, ?FOLLOWERS, self()).

%% --- the process

-spec init([]) -> {ok, atomics:atomics_ref()}.
init([]) ->
    Array = atomics:new(3, [{signed, true}]),
    ok = atomics:put(Array, ?LIMIT, limit_ms(net_kernel:get_net_ticktime())),
    ok = atomics:put(Array, ?PAUSES, count()),
    ok = beat(Array),
    persistent_term:put(?MODULE, Array),
    {ok, Array}.

%% Another node is given up after three quarters of its tick time at the earliest.
limit_ms(Seconds) when is_integer(Seconds) -> min(?LONGEST_MS, Seconds * 500);
limit_ms({ongoing_change_to, Seconds}) -> limit_ms(Seconds);
limit_ms(ignored) -> ?LONGEST_MS.

beat(Array) ->
    ok = atomics:put(Array, ?BEAT, erlang:monotonic_time(millisecond)),
    _ = erlang:send_after(?BEAT_MS, self(), beat),
    ok.

-spec handle_call(term(), gen_server:from(), atomics:atomics_ref()) -> {noreply, atomics:atomics_ref()}.
handle_call(_Request, _From, Array) -> {noreply, Array}.

-spec handle_cast(term(), atomics:atomics_ref()) -> {noreply, atomics:atomics_ref()}.
handle_cast(_Message, Array) -> {noreply, Array}.

-spec handle_info(term(), atomics:atomics_ref()) -> {noreply, atomics:atomics_ref()}.
handle_info(beat, Array) ->
    case unseen(Array) of
        0 ->
            ok = beat(Array);
        1 ->
            Gap = erlang:monotonic_time(millisecond) - atomics:get(Array, ?BEAT),
            %% Counted before the beat, so that nobody sees neither.
            ok = atomics:add(Array, ?PAUSES, 1),
            ok = beat(Array),
            ?LOG_WARNING(#{what => "this node did not run for a while", for_ms => Gap}),
            lists:foreach(fun(Pid) -> Pid ! {?MODULE, paused} end, pg:get_local_members(?SCOPE, ?FOLLOWERS))
    end,
    {noreply, Array};
handle_info(_Other, Array) ->
    {noreply, Array}.
