%%% Log size follows live calls, not history: two hundred times the live set goes through a group, on virtual time.
-module(era_callstore_trim_tests).
-behaviour(era_callstore_sink).

-include_lib("eunit/include/eunit.hrl").

-export([init/2, deliver/2, terminate/2]).

-import(era_callstore_test_app, [base/0, cid/1]).

%% Calls of one round, all live at the end of it; and calls that begin in the first and live on.
-define(CALLS, 240).
-define(LONG_LIVED, 60).
-define(ROUNDS, 200).
-define(ROUND_MS, 10000).
%% What a call has to say, so that the live set is larger than what the log may be without a look at it.
-define(NOTE, binary:copy(<<"0123456789abcdef">>, 256)).
%% src/store/trim.rs: the log is left alone below this.
-define(SMALL_LOG_BYTES, 4194304).

log_size_follows_live_calls_test_() ->
    {setup,
        fun() ->
            ok = era_callstore_clock:use_virtual(base()),
            era_callstore_test_app:start(#{
                sinks => [{<<"taken">>, ?MODULE, #{}}],
                trim_interval_ms => 1000,
                watch => #{tombstone_ms => 2000, tombstone_id_ms => 2000, stop_wait_ms => 1000}
            })
        end,
        fun era_callstore_test_app:stop/1, fun(Dir) -> {timeout, 120, fun() -> runs(Dir) end} end}.

runs(Dir) ->
    Sizes = [played(Round) || Round <- lists:seq(1, ?ROUNDS)],
    {Rows, Bytes} = {[R || {R, _} <- Sizes], [B || {_, B} <- Sizes]},
    %% Bounded by the live set, and in the second half of the run as in the first.
    Live = (?CALLS + ?LONG_LIVED) * byte_size(?NOTE),
    Through = ?ROUNDS * ?CALLS * byte_size(?NOTE),
    ?assertMatch({Most, Limit, _} when Most < Limit, {lists:max(Bytes), ?SMALL_LOG_BYTES + 4 * Live, Sizes}),
    ?assertMatch({Most, Limit, _} when Most < Limit, {lists:max(Bytes), Through div 20, Sizes}),
    [?assert(lists:max(second_half(S)) =< 1.3 * lists:max(first_half(S))) || S <- [Rows, Bytes]],
    %% Every row there was when the long-lived calls began is gone: they stand in newer ones, whole, and once each.
    #{live := All, started := Started, closed := Closed, duplicates := Copied} = status(),
    ?assertEqual(?CALLS + ?LONG_LIVED, All),
    ?assertEqual(Started, All + Closed),
    ?assert(Copied >= ?LONG_LIVED),
    ?assert(oldest_row() > ?ROUNDS),
    Before = {era_callstore:digest(1), long_lived()},
    ok = era_callstore_test_app:restart(Dir),
    ?assertMatch(#{live := All}, status()),
    ?assertEqual(Before, {era_callstore:digest(1), long_lived()}),
    %% And it goes on from there: when all is over, the log is as good as empty.
    _ = played(?ROUNDS + 1),
    {ok, _} = era_callstore:put([ended(N, (?ROUNDS + 2) * ?ROUND_MS) || N <- live()]),
    ok = past(?ROUNDS + 2),
    ?assertMatch(#{live := 0, kept := 0, log_chunks := Left} when Left < 5, status()).

first_half(Sizes) -> lists:sublist(Sizes, length(Sizes) div 2).
second_half(Sizes) -> lists:nthtail(length(Sizes) div 2, Sizes).

%% The calls of a round begin, those of the one before end and are forgotten.
played(Round) ->
    First = Round * ?CALLS,
    Long = case Round of 1 -> lists:seq(1, ?LONG_LIVED); _ -> [] end,
    Old = case Round of 1 -> []; _ -> lists:seq(First - ?CALLS, First - 1) end,
    At = Round * ?ROUND_MS,
    {ok, #{rejected := []}} = era_callstore:put([begun(N, At) || N <- Long ++ lists:seq(First, First + ?CALLS - 1)]),
    {ok, #{rejected := []}} = era_callstore:put([ended(N, At) || N <- Old]),
    ok = past(Round),
    %% It is told of rows that are deleted; all of that is in its mailbox by now.
    _ = sys:get_state(era_callstore_view_1),
    #{log_chunks := Rows, log_bytes := Bytes} = status(),
    {Rows, Bytes}.

past(Round) ->
    ok = era_callstore_outbox:drain(1, 20000),
    lists:foreach(
        fun(Ms) -> ok = era_callstore_clock:advance_to(base() + Round * ?ROUND_MS + Ms) end,
        lists:seq(1000, ?ROUND_MS - 1000, 1000)
    ).

live() -> lists:seq(1, ?LONG_LIVED) ++ lists:seq((?ROUNDS + 1) * ?CALLS, (?ROUNDS + 2) * ?CALLS - 1).

long_lived() ->
    [begin {ok, Call} = era_callstore:call({cid, cid(N)}), Call end || N <- lists:seq(1, ?LONG_LIVED)].

oldest_row() ->
    [{_, _, Seq} | _] = lists:reverse(era_callstore_log:fold(1, fun(Key, _, Keys) -> [Key | Keys] end, [])),
    Seq.

status() -> map_get(1, map_get(groups, era_callstore:status())).

begun(N, At) -> event(N, 1, <<"dlg_start">>, At, #{<<"note">> => ?NOTE}).

ended(N, At) -> event(N, 2, <<"dlg_stop">>, At, #{<<"stopreason">> => <<"bye">>, <<"stopside">> => <<"a">>}).

event(N, Nth, Type, At, Fields) ->
    Ts = base() + At,
    #{
        <<"class">> => <<"callevents">>,
        <<"type">> => Type,
        <<"eventts">> => Ts,
        <<"data">> => Fields#{
            <<"eventid">> => iolist_to_binary(io_lib:format("e~7..0b-0000-4000-8000-~12..0b", [Nth, N])),
            <<"eventts">> => Ts,
            <<"cid">> => cid(N),
            <<"dialogid">> => <<"d", (integer_to_binary(N))/binary>>,
            <<"invitets">> => base()
        }
    }.

%% --- a sink that takes everything

-spec init(map(), era_callstore_sink:context()) -> {ok, none}.
init(_Args, _Context) -> {ok, none}.

-spec deliver([era_callstore_sink:item()], none) -> {ok, none}.
deliver(_Batch, none) -> {ok, none}.

-spec terminate(term(), none) -> ok.
terminate(_Reason, none) -> ok.
