%%% Events in: what is taken, what is refused and how it is told, on one node.
-module(era_callstore_put_tests).

-include_lib("eunit/include/eunit.hrl").

-import(era_callstore_test_app, [cid/1, events/1, invite/1]).

put_test_() ->
    {setup, fun() -> era_callstore_test_app:start(#{sinks => []}) end, fun era_callstore_test_app:stop/1,
        [
            {timeout, 120, {atom_to_list(element(2, erlang:fun_info(Test, name))), Test}}
         || Test <- [
                fun one_event_is_a_list_of_one/0,
                fun what_was_answered_is_read_at_once/0,
                fun a_repeated_batch_is_all_duplicates/0,
                fun an_event_twice_in_a_batch_is_one_and_a_duplicate/0,
                fun bad_events_are_named_by_index_and_the_others_are_taken/0,
                fun an_improper_tail_is_named_by_its_index/0,
                fun an_empty_list_is_nothing/0,
                fun a_hundred_thousand_maps_are_taken/0,
                fun a_bad_event_far_back_in_a_long_list_keeps_its_index/0,
                fun a_map_of_ten_thousand_keys_is_refused_alone/0,
                fun json_is_one_object_an_array_or_lines/0,
                fun json_cut_in_the_middle_is_rejected/0,
                fun many_megabytes_of_lines_are_taken_in_pieces/0,
                fun many_producers_are_all_answered/0,
                fun callers_mistakes_raise_with_a_text/0,
                fun a_full_queue_is_overload_at_once/0
            ]
        ]}.

one_event_is_a_list_of_one() ->
    ?assertEqual(taken(1, 0), era_callstore:put(invite(1))).

what_was_answered_is_read_at_once() ->
    {ok, #{accepted := 1}} = era_callstore:put(invite(2)),
    ?assertMatch({ok, #{<<"state">> := <<"initiated">>}}, era_callstore:call({cid, cid(2)})),
    ?assertEqual(not_found, era_callstore:call({cid, cid(999999)})).

a_repeated_batch_is_all_duplicates() ->
    ?assertEqual(taken(5, 0), era_callstore:put(events(3))),
    ?assertEqual(taken(0, 5), era_callstore:put(events(3))).

an_event_twice_in_a_batch_is_one_and_a_duplicate() ->
    ?assertEqual(taken(1, 1), era_callstore:put([invite(4), invite(4)])).

bad_events_are_named_by_index_and_the_others_are_taken() ->
    Events = [no_map, invite(5), #{}, invite(6), 7],
    {ok, #{accepted := 2, rejected := Rejected}} = era_callstore:put(Events),
    ?assertEqual([1, 3, 5], [Index || {Index, _} <- Rejected]),
    ?assertEqual({1, not_an_object}, hd(Rejected)).

an_improper_tail_is_named_by_its_index() ->
    ?assertMatch({ok, #{accepted := 2, rejected := [{3, improper_list}]}}, era_callstore:put([invite(7), invite(8) | tail])).

an_empty_list_is_nothing() ->
    ?assertEqual(taken(0, 0), era_callstore:put([])).

a_hundred_thousand_maps_are_taken() ->
    ?assertEqual(taken(100000, 0), era_callstore:put([invite(N) || N <- lists:seq(100001, 200000)], #{timeout => 60000})).

a_bad_event_far_back_in_a_long_list_keeps_its_index() ->
    Events = [invite(N) || N <- lists:seq(300001, 305000)] ++ [bad] ++ [invite(9), bad],
    {ok, #{accepted := 5001, rejected := Rejected}} = era_callstore:put(Events),
    ?assertEqual([5001, 5003], [Index || {Index, _} <- Rejected]).

a_map_of_ten_thousand_keys_is_refused_alone() ->
    #{<<"data">> := Fields} = Invite = invite(10),
    Many = maps:from_list([{<<"k", (integer_to_binary(N))/binary>>, N} || N <- lists:seq(1, 10000)]),
    Big = Invite#{<<"data">> := maps:merge(Many, Fields)},
    ?assertEqual({ok, #{accepted => 1, duplicate => 0, rejected => [{1, too_many_fields}]}}, era_callstore:put([Big, invite(11)])).

json_is_one_object_an_array_or_lines() ->
    Json = fun(N) -> era_callstore_nif:json_encode(invite(N)) end,
    ?assertEqual(taken(1, 0), era_callstore:put_json(Json(21))),
    ?assertEqual(taken(2, 0), era_callstore:put_json(["[", Json(22), ",", Json(23), "]"])),
    ?assertEqual(taken(2, 0), era_callstore:put_json([Json(24), "\n", Json(25), "\n"])).

json_cut_in_the_middle_is_rejected() ->
    Whole = era_callstore_nif:json_encode(invite(26)),
    Cut = binary:part(Whole, 0, byte_size(Whole) div 2),
    {ok, #{accepted := 1, rejected := [{2, Reason}]}} = era_callstore:put_json([Whole, "\n", Cut]),
    ?assertMatch({bad_json, _}, Reason).

many_megabytes_of_lines_are_taken_in_pieces() ->
    Lines = [[era_callstore_nif:json_encode(invite(N)), $\n] || N <- lists:seq(400001, 410000)],
    {ok, #{accepted := 10000, rejected := [{10001, _}]}} = era_callstore:put_json([Lines, "no json"]).

many_producers_are_all_answered() ->
    Self = self(),
    Producers = [
        spawn_link(fun() -> Self ! {self(), [era_callstore:put(invite(500000 + P * 1000 + N)) || N <- lists:seq(1, 50)]} end)
     || P <- lists:seq(1, 20)
    ],
    Answers = [receive {Pid, All} -> All end || Pid <- Producers],
    ?assertEqual([taken(1, 0)], lists:usort(lists:append(Answers))).

callers_mistakes_raise_with_a_text() ->
    Mistakes = [
        {fun() -> era_callstore:put(not_events) end, 1},
        {fun() -> era_callstore:put([], #{timeout => 0}) end, 2},
        {fun() -> era_callstore:put([], #{owner => <<"who">>}) end, 2},
        {fun() -> era_callstore:put([], []) end, 2},
        {fun() -> era_callstore:put_json(nothing) end, 1},
        {fun() -> era_callstore:call({cid, 1}) end, 1},
        {fun() -> era_callstore:calls(#{stat => ended}) end, 1},
        {fun() -> era_callstore:calls(#{state => never}) end, 1},
        {fun() -> era_callstore:calls(#{}, #{limit => 0}) end, 2},
        {fun() -> era_callstore:records(#{number => <<"1">>}, #{}) end, 1},
        {fun() -> era_callstore:collection(cdr, #{}, #{}) end, 1},
        {fun() -> era_callstore:check(nothing) end, 1}
    ],
    lists:foreach(
        fun({Mistake, Place}) ->
            try Mistake() of
                Value -> error({no_error, Place, Value})
            catch
                error:badarg:Stack -> ?assertMatch(#{Place := <<_, _/binary>>}, era_callstore_errors:format_error(badarg, Stack))
            end
        end,
        Mistakes
    ).

%% The writer is held and its queue filled: what comes then is refused at once, and taken when a writer is there again.
a_full_queue_is_overload_at_once() ->
    {Held, _, MaxBytes} = Writer = era_callstore_router:writer(1),
    ok = sys:suspend(Held),
    {ok, Waiting} = era_callstore_submit:put(Writer, <<"never folded">>, 1, MaxBytes),
    {TookUs, Answer} = timer:tc(fun() -> era_callstore:put(invite(600001), #{timeout => 10000}) end),
    ?assertEqual({error, overload}, Answer),
    ?assert(TookUs < 1000000),
    exit(Held, kill),
    ?assertEqual({error, gone}, era_callstore_submit:await(Waiting, 1000)),
    ?assertEqual(taken(1, 0), era_callstore:put(invite(600001), #{timeout => 10000})),
    ?assertNotMatch({Held, _, _}, era_callstore_router:writer(1)).

taken(Accepted, Duplicate) -> {ok, #{accepted => Accepted, duplicate => Duplicate, rejected => []}}.
