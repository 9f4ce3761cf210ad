%%% The embedded collections: pages by domain and time, revisions, retention.
-module(era_callstore_collection_tests).

-include_lib("eunit/include/eunit.hrl").

collection_test_() ->
    {foreach, fun start/0, fun stop/1, [
        {atom_to_list(element(2, erlang:fun_info(Test, name))), Test}
     || Test <- [
            fun pages_are_newest_first_and_meet/0,
            fun a_domain_is_asked_with_or_without_its_subtree/0,
            fun a_name_that_only_ends_alike_is_no_subtree/0,
            fun a_call_of_two_domains_comes_once/0,
            fun since_ends_the_pages/0,
            fun revisions_are_newest_first_of_a_call/0,
            fun the_same_again_changes_nothing_another_content_is_refused/0,
            fun collections_do_not_mix/0,
            fun trim_deletes_the_oldest_and_leaves_the_rest/0,
            fun a_batch_goes_with_its_newest_item/0,
            fun what_is_here_already_is_not_kept_twice/0,
            fun an_item_of_two_rows_is_one_and_stays_with_the_later_row/0,
            fun an_index_is_made_of_what_the_table_has/0,
            fun without_mnesia_there_is_no_index/0,
            fun what_is_put_between_two_pages_disturbs_neither/0,
            fun an_empty_collection_has_an_empty_page/0,
            fun an_item_without_domain_is_found/0
        ]
    ]}.

start() ->
    ok = application:ensure_started(mnesia),
    {ok, Index} = era_callstore_collection_index:start_link(),
    ok = era_callstore_collection:ensure(ram_copies),
    Index.

stop(_) ->
    stopped = mnesia:stop(),
    ok = gen_server:stop(era_callstore_collection_index).

item(N) -> item(N, [<<"alfa.era.test">>]).

item(N, Domains) ->
    #{
        collection => record,
        cid => cid(N),
        revision => 1,
        end_ts => 1000000 + N,
        domains => Domains,
        json => <<"{\"n\":", (integer_to_binary(N))/binary, "}">>
    }.

cid(N) -> iolist_to_binary(io_lib:format("c~4..0b", [N])).

put(Items) -> ok = era_callstore_collection:put(Items).

pages(Wanted, Limit) -> pages(Wanted, undefined, Limit, start).

pages(Wanted, Since, Limit, From) ->
    case era_callstore_collection:page(record, Wanted, Since, {Limit, From}) of
        {Found, done} -> [numbers(Found)];
        {Found, more} -> [numbers(Found) | pages(Wanted, Since, Limit, element(1, lists:last(Found)))]
    end.

numbers(Found) -> [binary_to_integer(binary:part(Json, 5, byte_size(Json) - 6)) || {_, Json} <- Found].

pages_are_newest_first_and_meet() ->
    put([item(N) || N <- lists:seq(1, 7)]),
    ?assertEqual([[7, 6, 5], [4, 3, 2], [1]], pages(all, 3)),
    ?assertEqual([[7, 6, 5, 4, 3, 2, 1]], pages(all, 7)).

a_domain_is_asked_with_or_without_its_subtree() ->
    put([item(1, [<<"era.test">>]), item(2, [<<"alfa.era.test">>]), item(3, [<<"x.alfa.era.test">>]), item(4, [<<"beta.era.test">>])]),
    ?assertEqual([[2]], pages({domain, <<"alfa.era.test">>}, 10)),
    ?assertEqual([[3, 2]], pages({subtree, <<"alfa.era.test">>}, 10)),
    ?assertEqual([[4, 3, 2, 1]], pages({subtree, <<"era.test">>}, 10)),
    ?assertEqual([[]], pages({subtree, <<"gamma.era.test">>}, 10)).

a_name_that_only_ends_alike_is_no_subtree() ->
    put([item(1, [<<"xalfa.era.test">>])]),
    ?assertEqual([[]], pages({subtree, <<"alfa.era.test">>}, 10)).

a_call_of_two_domains_comes_once() ->
    put([item(N, [<<"a.era.test">>, <<"b.era.test">>]) || N <- lists:seq(1, 5)]),
    ?assertEqual([[5, 4], [3, 2], [1]], pages(all, 2)),
    ?assertEqual([[5, 4, 3, 2, 1]], pages({domain, <<"b.era.test">>}, 9)).

since_ends_the_pages() ->
    put([item(N) || N <- lists:seq(1, 5)]),
    ?assertEqual([[5, 4], [3]], pages(all, 1000003, 2, start)).

revisions_are_newest_first_of_a_call() ->
    One = item(1),
    put([One, One#{revision := 2, json := <<"{\"n\":12}">>}, One#{revision := 3, json := <<"{\"n\":13}">>}, item(2)]),
    ?assertEqual([<<"{\"n\":13}">>, <<"{\"n\":12}">>, <<"{\"n\":1}">>], era_callstore_collection:of_call(record, cid(1))),
    ?assertEqual([[2, 13, 12, 1]], pages(all, 10)),
    ?assertEqual([], era_callstore_collection:of_call(record, <<"c000">>)).

the_same_again_changes_nothing_another_content_is_refused() ->
    put([item(1)]),
    put([item(1)]),
    ?assertEqual([[1]], pages(all, 10)),
    Other = (item(1))#{json := <<"{\"n\":9}">>},
    ?assertEqual({error, {different_content, cid(1), 1}}, era_callstore_collection:put([Other])),
    ?assertEqual([[1]], pages(all, 10)).

collections_do_not_mix() ->
    put([item(1), (item(2))#{collection := <<"cdr/COPM3_dialogs">>}, (item(3))#{collection := <<"cdr/COPM3_dialogs2">>}]),
    ?assertEqual([[1]], pages(all, 10)),
    {Found, done} = era_callstore_collection:page(<<"cdr/COPM3_dialogs">>, all, undefined, {10, start}),
    ?assertEqual([2], numbers(Found)).

trim_deletes_the_oldest_and_leaves_the_rest() ->
    [put([item(N, [lists:nth(1 + N rem 2, [<<"a.era.test">>, <<"b.era.test">>])])]) || N <- lists:seq(1, 10)],
    ?assertEqual(done, era_callstore_collection:trim(1000001, 100)),
    ?assertEqual(more, era_callstore_collection:trim(1000007, 3)),
    ?assertEqual(done, era_callstore_collection:trim(1000007, 100)),
    ok = era_callstore_collection_index:sync(),
    ?assertEqual([[10, 9, 8, 7]], pages(all, 10)),
    ?assertEqual(4, era_callstore_collection:size()).

a_batch_goes_with_its_newest_item() ->
    put([item(1), item(9)]),
    put([item(2)]),
    ?assertEqual(done, era_callstore_collection:trim(1000009, 100)),
    ok = era_callstore_collection_index:sync(),
    ?assertEqual([[9, 1]], pages(all, 10)),
    ?assertEqual(done, era_callstore_collection:trim(1000010, 100)),
    ok = era_callstore_collection_index:sync(),
    ?assertEqual({0, [[]]}, {era_callstore_collection:size(), pages(all, 10)}).

what_is_here_already_is_not_kept_twice() ->
    put([item(1)]),
    put([item(1), item(2)]),
    ?assertEqual(2, length(era_callstore_collection:keys())),
    ok = era_callstore_collection:adopt([item(2), item(3), (item(1))#{json := <<"{\"n\":9}">>}]),
    ?assertEqual([[3, 2, 1]], pages(all, 10)),
    %% The rows hold no item twice, so a row that goes takes only what is its own.
    ?assertEqual(done, era_callstore_collection:trim(1000002, 100)),
    ok = era_callstore_collection_index:sync(),
    ?assertEqual([[3, 2]], pages(all, 10)).

%% As two nodes may write it, each before it knows of the other.
an_item_of_two_rows_is_one_and_stays_with_the_later_row() ->
    Items = [
        {record, Cid, 1, EndTs, Domains, Json}
     || #{cid := Cid, end_ts := EndTs, domains := Domains, json := Json} <- [item(1), item(2)]
    ],
    Rows = [{era_callstore_collection, {1000000 + Nth, {node(), Nth, Nth}}, Items} || Nth <- [1, 2]],
    [ok = mnesia:dirty_write(Row) || Row <- Rows],
    ok = era_callstore_collection_index:sync(),
    ?assertEqual({2, [[2, 1]]}, {era_callstore_collection:size(), pages(all, 10)}),
    ?assertEqual([map_get(json, item(1))], era_callstore_collection:of_call(record, cid(1))),
    ?assertEqual(done, era_callstore_collection:trim(1000002, 100)),
    ok = era_callstore_collection_index:sync(),
    ?assertEqual({2, [[2, 1]]}, {era_callstore_collection:size(), pages(all, 10)}),
    ?assertEqual(done, era_callstore_collection:trim(1000003, 100)),
    ok = era_callstore_collection_index:sync(),
    ?assertEqual({0, [[]]}, {era_callstore_collection:size(), pages(all, 10)}).

an_index_is_made_of_what_the_table_has() ->
    put([item(N) || N <- lists:seq(1, 100)]),
    put([item(N) || N <- lists:seq(101, 120)]),
    Before = {pages(all, 7), lists:sort(era_callstore_collection:keys())},
    Index = whereis(era_callstore_collection_index),
    true = unlink(Index),
    ok = gen_server:stop(Index),
    ?assertExit({aborted, {no_exists, _}}, pages(all, 7)),
    {ok, _} = era_callstore_collection_index:start_link(),
    ?assertExit({aborted, {no_exists, _}}, pages(all, 7)),
    ok = era_callstore_collection:ensure(ram_copies),
    ?assertEqual(Before, {pages(all, 7), lists:sort(era_callstore_collection:keys())}),
    put([item(121)]),
    ?assertEqual(121, era_callstore_collection:size()).

without_mnesia_there_is_no_index() ->
    put([item(1)]),
    stopped = mnesia:stop(),
    Index = whereis(era_callstore_collection_index),
    ok = era_callstore_collection_index:sync(),
    ?assertEqual(0, era_callstore_collection:size()),
    ok = application:ensure_started(mnesia),
    ok = era_callstore_collection:ensure(ram_copies),
    ?assertEqual({Index, [[]]}, {whereis(era_callstore_collection_index), pages(all, 10)}).

what_is_put_between_two_pages_disturbs_neither() ->
    put([item(N) || N <- lists:seq(1, 4)]),
    {First, more} = era_callstore_collection:page(record, all, undefined, {2, start}),
    put([item(5), item(6)]),
    ?assertEqual([4, 3], numbers(First)),
    ?assertEqual([[2, 1]], pages(all, undefined, 2, element(1, lists:last(First)))).

an_empty_collection_has_an_empty_page() ->
    ?assertEqual({[], done}, era_callstore_collection:page(<<"nothing">>, all, undefined, {10, start})).

an_item_without_domain_is_found() ->
    put([item(1, [<<>>])]),
    ?assertEqual([[1]], pages(all, 10)).
