%%% Which passive copies are too far behind, by what was written and what they have told.
-module(era_callstore_credit_tests).

-include_lib("eunit/include/eunit.hrl").

-define(ROW, 65536).
-define(LIMIT, 10 * ?ROW).

nobody_is_behind_where_nobody_is_test() ->
    ?assertEqual([], era_callstore_credit:behind(rows(100, era_callstore_credit:new(?LIMIT)))).

a_copy_is_behind_when_it_lacks_more_than_the_limit_test() ->
    AtLimit = rows(10, one()),
    ?assertEqual([], era_callstore_credit:behind(AtLimit)),
    ?assertEqual([node()], era_callstore_credit:behind(row(11, AtLimit))),
    ?assertEqual(#{node() => 11 * ?ROW}, era_callstore_credit:lags(row(11, AtLimit))).

what_it_folds_gives_credit_test() ->
    Behind = rows(15, one()),
    ?assertEqual([node()], era_callstore_credit:behind(era_callstore_credit:folded(self(), 4, Behind))),
    ?assertEqual([], era_callstore_credit:behind(era_callstore_credit:folded(self(), 5, Behind))),
    ?assertEqual(#{node() => 0}, era_callstore_credit:lags(era_callstore_credit:folded(self(), 15, Behind))).

who_leaves_is_not_waited_for_test() ->
    ?assertEqual([], era_callstore_credit:behind(era_callstore_credit:left([self()], rows(20, one())))).

who_comes_later_owes_nothing_of_before_test() ->
    Written = rows(100, era_callstore_credit:new(?LIMIT)),
    ?assertEqual(#{node() => 0}, era_callstore_credit:lags(era_callstore_credit:joined([self()], Written))).

who_is_told_of_twice_stays_where_it_is_test() ->
    Behind = rows(20, one()),
    ?assertEqual(Behind, era_callstore_credit:joined([self()], Behind)).

what_a_stranger_says_counts_for_nobody_test() ->
    Stranger = spawn(fun() -> ok end),
    Behind = rows(20, one()),
    ?assertEqual(Behind, era_callstore_credit:folded(Stranger, 20, Behind)).

%% A row of few bytes has no mark of its own: at most a mark more is owed, and nothing at the end.
small_rows_are_counted_within_a_mark_test() ->
    Small = lists:foldl(fun(Seq, C) -> era_callstore_credit:written(Seq, 100, C) end, one(), lists:seq(1, 5000)),
    [
        begin
            #{} = Lags = era_callstore_credit:lags(era_callstore_credit:folded(self(), Seq, Small)),
            Owed = (5000 - Seq) * 100,
            ?assert(map_get(node(), Lags) >= Owed),
            ?assert(map_get(node(), Lags) =< Owed + ?ROW)
        end
     || Seq <- lists:seq(0, 5000, 250)
    ],
    ?assertEqual(#{node() => 0}, era_callstore_credit:lags(era_callstore_credit:folded(self(), 5000, Small))).

%% However long a copy says nothing, what is kept stays small, and it is behind until it comes within the limit.
the_way_that_is_kept_is_bounded_test() ->
    Long = rows(20000, one()),
    ?assert(erts_debug:flat_size(Long) < 200),
    ?assertEqual([node()], era_callstore_credit:behind(era_callstore_credit:folded(self(), 3, Long))),
    ?assertEqual([node()], era_callstore_credit:behind(era_callstore_credit:folded(self(), 19989, Long))),
    ?assertEqual([], era_callstore_credit:behind(era_callstore_credit:folded(self(), 19990, Long))).

writers_are_told_often_enough_for_the_smallest_limit_test() ->
    ?assertEqual(262144, era_callstore_credit:tell_bytes(64 * 1024 * 1024)),
    ?assertEqual(1, era_callstore_credit:tell_bytes(1)).

one() -> era_callstore_credit:joined([self()], era_callstore_credit:new(?LIMIT)).

rows(Number, Credit) -> lists:foldl(fun row/2, Credit, lists:seq(1, Number)).

row(Seq, Credit) -> era_callstore_credit:written(Seq, ?ROW, Credit).
