-module(era_callstore_unanswered_tests).

-include_lib("eunit/include/eunit.hrl").

rows(List) ->
    lists:foldl(
        fun({Seq, Givers}, Rows) -> era_callstore_unanswered:add(Seq, Givers, {row, Seq}, Rows) end,
        era_callstore_unanswered:new(),
        List
    ).

a_row_for_which_nobody_owes_a_receipt_is_answered_at_once_test() ->
    {Taken, Left} = era_callstore_unanswered:take(rows([{1, []}])),
    ?assertEqual([{row, 1}], Taken),
    ?assertEqual(0, era_callstore_unanswered:size(Left)).

one_receipt_stands_for_all_earlier_rows_and_for_no_later_one_test() ->
    Rows = rows([{1, [a]}, {2, [a]}, {3, [a]}]),
    {Taken, Left} = era_callstore_unanswered:take(era_callstore_unanswered:received(a, 2, Rows)),
    ?assertEqual([{row, 1}, {row, 2}], Taken),
    ?assertEqual({[], Left}, era_callstore_unanswered:take(Left)),
    ?assertEqual(1, era_callstore_unanswered:size(Left)).

a_row_waits_for_every_copy_test() ->
    Rows = era_callstore_unanswered:received(a, 1, rows([{1, [a, b]}])),
    ?assertMatch({[], _}, era_callstore_unanswered:take(Rows)),
    ?assertMatch({[{row, 1}], _}, era_callstore_unanswered:take(era_callstore_unanswered:received(b, 1, Rows))).

nothing_is_answered_before_what_was_committed_earlier_test() ->
    Rows = rows([{1, [a]}, {2, []}]),
    ?assertMatch({[], _}, era_callstore_unanswered:take(Rows)),
    ?assertMatch({[{row, 1}, {row, 2}], _}, era_callstore_unanswered:take(era_callstore_unanswered:received(a, 1, Rows))).

who_has_gone_is_waited_for_no_longer_test() ->
    Rows = rows([{1, [a, b]}, {2, [b]}]),
    {Taken, Left} = era_callstore_unanswered:take(era_callstore_unanswered:only([b, c], era_callstore_unanswered:received(b, 1, Rows))),
    ?assertEqual([{row, 1}], Taken),
    ?assertMatch({[{row, 2}], _}, era_callstore_unanswered:take(era_callstore_unanswered:received(b, 2, Left))).
