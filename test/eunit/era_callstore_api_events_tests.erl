%%% What goes in, as code outside is written against it: events in every form that is allowed, callers' mistakes, and
%%% what the run time refuses; on the defaults.
%%%
%%% Says nothing but era_callstore:… to the application.
-module(era_callstore_api_events_tests).

-include_lib("eunit/include/eunit.hrl").

-import(era_callstore_test_calls, [cid/1, event/4, put_all/1]).
-import(era_callstore_test_app, [until/1]).

-define(BASE, 1795378165000).

events_test_() ->
    {foreach, fun() -> era_callstore_test_app:start(#{}) end, fun era_callstore_test_app:stop/1, [
        {atom_to_list(element(2, erlang:fun_info(Test, name))), {timeout, 60, Test}}
     || Test <- [
            fun atom_keys_are_as_good_as_binaries/0,
            fun every_spelling_of_nothing_is_null/0,
            fun seconds_are_milliseconds/0,
            fun a_call_without_cid_is_known_by_its_leg_and_joined_later/0,
            fun an_alias_is_a_type/0,
            fun put_json_takes_all_forms/0,
            fun a_mistake_is_badarg_with_words_that_the_shell_prints/0,
            fun what_the_run_time_refuses_is_a_value/0
        ]
    ]}.

%% --- what events may look like

atom_keys_are_as_good_as_binaries() ->
    Event = #{
        class => callevents, type => invite, eventts => ?BASE, domain => <<"alfa.era.test">>,
        data => #{
            eventts => ?BASE, cid => cid(1), acallid => <<"A1@h">>, invitets => ?BASE, fromdomain => <<"alfa.era.test">>
        }
    },
    ?assertMatch({ok, #{accepted := 1, rejected := []}}, era_callstore:put(Event)),
    ?assertMatch({ok, #{<<"domain">> := <<"alfa.era.test">>}}, era_callstore:call({cid, cid(1)})).

every_spelling_of_nothing_is_null() ->
    [
        begin
            Fields = #{<<"dialogid">> => <<"D">>, <<"bcallid">> => Nothing, <<"account">> => Nothing},
            ok = put_all([event(N, <<"dlg_start">>, 0, Fields)]),
            {ok, Call} = era_callstore:call({cid, cid(N)}),
            ?assertMatch({Nothing, #{<<"bcallid">> := null}}, {Nothing, Call}),
            ok = put_all([event(N, <<"dlg_stop">>, 5, #{<<"stopreason">> => <<"bye">>})])
        end
     || {N, Nothing} <- lists:zip(lists:seq(1, 9), [
            <<"empty">>, <<"undefined">>, <<"__empty">>, <<>>, null, undefined, empty, '__empty', nil
        ])
    ].

seconds_are_milliseconds() ->
    #{<<"data">> := Fields} = Event = event(1, <<"invite">>, 0, #{}),
    Seconds = ?BASE div 1000,
    InSeconds = Fields#{<<"eventts">> := Seconds, <<"invitets">> := Seconds},
    ok = put_all([Event#{<<"eventts">> := Seconds, <<"data">> := InSeconds}]),
    ?assertMatch({ok, #{<<"invitets">> := ?BASE}}, era_callstore:call({cid, cid(1)})),
    ?assertMatch(#{items := [_]}, era_callstore:calls(#{since_ms => ?BASE})).

a_call_without_cid_is_known_by_its_leg_and_joined_later() ->
    #{<<"data">> := Fields} = Invite = event(1, <<"invite">>, 0, #{}),
    ok = put_all([Invite#{<<"data">> := maps:remove(<<"cid">>, Fields)}]),
    {ok, #{<<"cid">> := StandIn}} = era_callstore:call({callid, <<"A1@h">>}),
    ?assertNotEqual(cid(1), StandIn),
    ok = put_all([event(1, <<"dlg_start">>, 5, #{<<"dialogid">> => <<"D1">>})]),
    ?assertMatch({ok, #{<<"state">> := <<"confirmed">>}}, era_callstore:call({cid, cid(1)})),
    ?assertEqual(era_callstore:call({cid, cid(1)}), era_callstore:call({callid, <<"A1@h">>})),
    ?assertEqual(1, era_callstore:count(#{})).

an_alias_is_a_type() ->
    ok = era_callstore:configure(#{event_aliases => #{<<"gave_up">> => <<"call_cancel">>}}),
    ok = put_all([event(1, <<"invite">>, 0, #{}), event(1, <<"gave_up">>, 5, #{})]),
    ok = until(fun() -> era_callstore:record(cid(1)) =/= [] end),
    ?assertMatch(
        [#{<<"end">> := #{<<"term_cause">> := 3}, <<"completeness">> := #{<<"unknown_types">> := []}}],
        era_callstore:record(cid(1))
    ).

put_json_takes_all_forms() ->
    Json = fun(N) ->
        io_lib:format(
            "{\"class\":\"callevents\",\"type\":\"invite\",\"eventts\":~b,\"data\":{\"cid\":\"~s\",\"eventts\":~b}}",
            [?BASE, cid(N), ?BASE]
        )
    end,
    Taken = fun(N) -> {ok, #{accepted => N, duplicate => 0, rejected => []}} end,
    ?assertEqual(Taken(1), era_callstore:put_json(iolist_to_binary(Json(1)))),
    ?assertEqual(Taken(2), era_callstore:put_json([Json(2), $\n, Json(3)])),
    ?assertEqual(Taken(2), era_callstore:put_json(["[", Json(4), ",", Json(5), "]"], #{timeout => 1000})),
    ?assertEqual({ok, #{accepted => 0, duplicate => 1, rejected => []}}, era_callstore:put_json(Json(1))),
    ?assertEqual(
        {ok, #{accepted => 1, duplicate => 0, rejected => [{1, {bad_json, 1}}, {3, no_identity}]}},
        era_callstore:put_json(["rubbish\n", Json(6), "\n{\"type\":\"invite\",\"data\":{\"eventts\":1795378165000}}"])
    ),
    ?assertEqual(Taken(0), era_callstore:put_json(<<>>)).

%% --- faults

a_mistake_is_badarg_with_words_that_the_shell_prints() ->
    Utf = <<"x", 255>>,
    [
        try erlang:apply(era_callstore, Function, Arguments) of
            Answer -> error({no_mistake, Function, Arguments, Answer})
        catch
            error:badarg:Stack ->
                [{era_callstore, _, Given, _} | _] = Stack,
                Text = unicode:characters_to_binary(erl_error:format_exception(error, badarg, Stack)),
                Place = <<"*** argument ", (integer_to_binary(Argument))/binary, ": ">>,
                ?assertMatch({Function, Arguments, {_, _}}, {Function, Arguments, binary:match(Text, Place)}),
                ?assertEqual(Arguments, lists:sublist(Given, length(Arguments)))
        end
     || {Function, Arguments, Argument} <- [
            {put, [nothing], 1}, {put, [[], #{timeout => infinity}], 2}, {put, [[], #{timeout => 0}], 2},
            {put, [[], #{owner => <<"b2b">>}], 2}, {put, [[], #{owner => {external, Utf}}], 2},
            {put, [[], #{producer => Utf}], 2}, {put, [[], #{color => red}], 2}, {put, [[], [{timeout, 1}]], 2},
            {put_json, [nothing], 1}, {put_json, [<<>>, nothing], 2},
            {call, [<<"cid">>], 1}, {call, [{cid, 1}], 1}, {call, [{uuid, <<"x">>}], 1}, {call, [{dialogid, Utf}], 1},
            {explain, [{cid, 1}], 1},
            {calls, [[]], 1}, {calls, [#{color => red}], 1}, {calls, [#{domain => "era.test"}], 1},
            {calls, [#{domain => Utf}], 1}, {calls, [#{subtree => 1}], 1}, {calls, [#{state => asleep}], 1},
            {calls, [#{owner => <<"b2b">>}], 1},
            {calls, [#{group => 0}], 1}, {calls, [#{since_ms => now}], 1}, {calls, [#{}, #{limit => 0}], 2},
            {calls, [#{}, #{limit => 1001}], 2}, {calls, [#{}, #{cursor => 1}], 2}, {calls, [#{}, #{page => 1}], 2},
            {calls, [#{}, []], 2},
            {count, [[]], 1}, {count, [#{color => red}], 1}, {counts, [alfa], 1}, {counts, [Utf], 1},
            {record, [1], 1}, {records, [#{number => <<"1">>}, #{}], 1}, {records, [#{}, #{limit => x}], 2},
            {collection, [cdr, #{}, #{}], 1}, {collection, [<<"cdr">>, [], #{}], 2},
            {collection, [<<"cdr">>, #{}, []], 3},
            {owner, [alfa], 1}, {owner, [Utf], 1}, {digest, [one], 1}, {handover, [one], 1},
            {check, [nothing], 1}, {configure, [nothing], 1}, {report, [nothing], 1}
        ]
    ].

what_the_run_time_refuses_is_a_value() ->
    Made = base64:encode(term_to_binary({1, <<"short">>})),
    ?assertEqual({error, bad_cursor}, era_callstore:calls(#{}, #{cursor => <<"no cursor">>})),
    ?assertEqual({error, bad_cursor}, era_callstore:calls(#{}, #{cursor => Made})),
    ?assertEqual({error, bad_cursor}, era_callstore:records(#{}, #{cursor => <<"no cursor">>})),
    ?assertEqual({error, no_active}, era_callstore:handover(77)),
    ?assertEqual({error, no_other}, era_callstore:handover(1)),
    ok = application:stop(era_callstore),
    ?assertEqual({error, no_active}, era_callstore:put(event(1, <<"invite">>, 0, #{}), #{timeout => 20})),
    ?assertEqual({error, no_active}, era_callstore:put_json(<<"[]">>, #{timeout => 20})),
    ?assertEqual({error, {not_served, <<"era.test">>}}, era_callstore:owner(<<"era.test">>)),
    ?assertEqual({error, not_running}, era_callstore:configuration()),
    ?assertEqual({error, not_running}, era_callstore:configure(#{site => <<"msk">>})),
    ok = until(fun() -> era_callstore:record(cid(1)) =:= {error, no_collection} end).
