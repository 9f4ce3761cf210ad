%%% The ring of one copy by itself: numbers that go on, bounds, and that whoever would miss something is told so.
-module(era_callstore_feed_tests).

-include_lib("eunit/include/eunit.hrl").

-define(GROUP, 9999998).
-define(HEAR_MS, 5000).

feed_test_() ->
    [
        {atom_to_list(element(2, erlang:fun_info(Test, name))), fun() -> with(Test) end}
     || Test <- [
            fun rows_that_follow_each_other_are_read_from_any_place/0,
            fun a_row_that_does_not_follow_loses_those_who_read_before_it/0,
            fun the_same_number_said_by_another_row_is_lost/0,
            fun the_oldest_rows_go_when_the_ring_is_full/0,
            fun a_term_goes_on_where_the_rows_that_were_followed_end/0,
            fun a_term_of_a_copy_that_followed_nothing_begins_above_all_that_was_said/0,
            fun a_pull_holds_no_more_than_a_thousand_events_or_one_row/0,
            fun a_reader_that_waits_is_told_of_the_next_row/0,
            fun the_writer_keeps_its_rows_while_nobody_listens_but_not_many/0,
            fun progress_of_handlers_is_known/0
        ]
    ].

with(Test) ->
    {ok, Feed} = era_callstore_feed:start_link(#{group => ?GROUP, feed_bytes => 3000, peers => []}),
    try
        Test()
    after
        ok = gen_server:stop(Feed)
    end.

row(Seq, Position, Count) -> row(Seq, Position, Count, <<"chunk">>).

row(Seq, Position, Count, Chunk) ->
    era_callstore_feed:row(?GROUP, key(Seq), Position, {Count, <<"marks">>}, [Chunk]).

key(Seq) -> {1, node(), Seq}.

pull(Cursor) ->
    Ref = era_callstore_feed:pull(?GROUP, node(), Cursor),
    fun() ->
        receive
            {era_callstore_feed, Ref, lost} -> lost;
            {era_callstore_feed, Ref, {rows, Rows, Next}} -> {[Before || {Before, _} <- Rows], Next}
        after ?HEAR_MS -> error(no_answer)
        end
    end.

pulled(Cursor) -> (pull(Cursor))().

where(For) ->
    {ok, Cursor} = era_callstore_feed:where(?GROUP, node(), For),
    Cursor.

rows_that_follow_each_other_are_read_from_any_place() ->
    ok = row(1, 0, 3),
    ok = row(2, 3, 0),
    ok = row(3, 3, 2),
    ?assertEqual({5, key(3)}, where(now)),
    ?assertEqual({[0, 3], {5, key(3)}}, pulled({0, any})),
    ?assertEqual({[0, 3], {5, key(3)}}, pulled({2, any})),
    ?assertEqual({[3], {5, key(3)}}, pulled({3, key(1)})),
    ?assertEqual(lost, pulled({6, any})).

a_row_that_does_not_follow_loses_those_who_read_before_it() ->
    ok = row(1, 0, 3),
    Waiting = pull({3, key(1)}),
    ok = row(2, 4, 1),
    ?assertEqual(lost, Waiting()),
    ?assertEqual(lost, pulled({3, key(1)})),
    ?assertEqual(lost, pulled({1, any})),
    ?assertEqual({[4], {5, key(2)}}, pulled({4, any})),
    %% Who has looked at the live calls begins with what the ring begins with.
    ?assertEqual({4, none}, where(look)).

the_same_number_said_by_another_row_is_lost() ->
    ok = row(1, 0, 3),
    ?assertEqual(lost, pulled({3, key(7)})),
    ok = row(2, 3, 1),
    ?assertEqual(lost, pulled({3, key(7)})),
    ?assertEqual({[3], {4, key(2)}}, pulled({3, key(1)})).

the_oldest_rows_go_when_the_ring_is_full() ->
    [ok = row(N, N - 1, 1, binary:copy(<<"x">>, 744)) || N <- lists:seq(1, 10)],
    ?assertEqual(lost, pulled({0, any})),
    %% Two of a thousand bytes and some, as the ring counts them.
    ?assertEqual({[8, 9], {10, key(10)}}, pulled({8, any})),
    ?assertEqual(lost, pulled({7, key(7)})),
    ?assertEqual({10, key(10)}, where(look)).

a_term_goes_on_where_the_rows_that_were_followed_end() ->
    ok = era_callstore_feed:loaded(?GROUP, 0),
    ok = row(1, 40, 3),
    ?assertEqual(44, era_callstore_feed:position(era_callstore_feed:begin_term(?GROUP, 2, {1, node()}))),
    {[43], {44, {said, 2, _, 43}}} = pulled({43, key(1)}).

a_term_of_a_copy_that_followed_nothing_begins_above_all_that_was_said() ->
    Before = erlang:system_time(microsecond),
    ok = era_callstore_feed:loaded(?GROUP, 40),
    Waiting = pull({40, none}),
    Begun = era_callstore_feed:position(era_callstore_feed:begin_term(?GROUP, 2, none)),
    ?assert(Begun > Before),
    ?assertEqual(lost, Waiting()),
    ?assertEqual({Begun - 1, none}, where(look)).

a_pull_holds_no_more_than_a_thousand_events_or_one_row() ->
    ok = row(1, 0, 600),
    ok = row(2, 600, 600),
    ok = row(3, 1200, 3000),
    ?assertEqual({[0], {600, key(1)}}, pulled({0, any})),
    ?assertEqual({[1200], {4200, key(3)}}, pulled({1200, key(2)})).

a_reader_that_waits_is_told_of_the_next_row() ->
    ok = row(1, 10, 2),
    Waiting = pull(where(now)),
    Place = era_callstore_feed:begin_term(?GROUP, 2, none),
    ?assertMatch({[12], {13, {said, 2, _, 12}}}, Waiting()),
    Next = pull(where(now)),
    Told = era_callstore_feed:told(key(2), {1, <<"marks">>}, [<<"chunk">>], Place),
    ?assertEqual({[13], {14, key(2)}}, Next()),
    ?assertEqual(14, era_callstore_feed:position(Told)),
    Said = pull({14, key(2)}),
    Beside = era_callstore_feed:beside({say, era_callstore_feed:event(?GROUP, <<"heal">>, #{})}, Told),
    ?assertMatch({[14], {15, {said, 2, _, 14}}}, Said()),
    Lost = pull({15, {said, 2, node(), 14}}),
    ?assertEqual(16, era_callstore_feed:position(era_callstore_feed:beside(resync, Beside))),
    ?assertEqual(lost, Lost()).

the_writer_keeps_its_rows_while_nobody_listens_but_not_many() ->
    Place = era_callstore_feed:begin_term(?GROUP, 1, none),
    First = era_callstore_feed:position(Place),
    Tell = fun(N, P) -> era_callstore_feed:told(key(N), {1, <<"marks">>}, [<<"c">>], P) end,
    Kept = lists:foldl(Tell, Place, lists:seq(1, 31)),
    ?assertEqual(First, position(ring())),
    Full = Tell(32, Kept),
    ?assertEqual(First + 32, position(ring())),
    ?assertEqual(First + 33, era_callstore_feed:position(Tell(33, Full))),
    _ = era_callstore_feed:flush(Tell(33, Full)),
    ?assertEqual(First + 33, position(ring())),
    %% One large chunk is not kept at all.
    Large = era_callstore_feed:told(key(34), {1, <<"marks">>}, [binary:copy(<<"x">>, 300000)], Tell(33, Full)),
    ?assertEqual(First + 34, era_callstore_feed:position(Large)),
    ?assertEqual(First + 34, position(ring())).

%% The ring's state, asked as nobody who listens would.
ring() -> sys:get_state(list_to_atom("era_callstore_feed_" ++ integer_to_list(?GROUP))).

position(Ring) -> element(5, Ring).

progress_of_handlers_is_known() ->
    ?assertEqual(none, era_callstore_feed:handled(?GROUP, <<"h">>)),
    ok = era_callstore_feed:handled(?GROUP, <<"h">>, {{5, key(1)}, true}),
    ?assertEqual({5, key(1)}, era_callstore_feed:handled(?GROUP, <<"h">>)).
