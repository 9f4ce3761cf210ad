%%% Owners as text, bells, the clock, counters, reasons in words.
-module(era_callstore_small_tests).

-include_lib("eunit/include/eunit.hrl").

owners_survive_their_text_form_test_() ->
    [
        ?_assertEqual({ok, Owner}, from(era_callstore_owner:to_binary(Owner)))
     || Owner <- [self(), {some_name, 'n@h'}, 'n@h', {external, <<"pbx 7">>}]
    ].

what_is_no_owner_is_refused_test_() ->
    [?_assertEqual(error, era_callstore_owner:to_binary(Term)) || Term <- [<<"x">>, {external, <<>>}, 7, undefined, {a}]].

text_of_another_form_is_no_owner_test_() ->
    [
        ?_assertEqual(error, era_callstore_owner:from_binary(Text))
     || Text <- [<<>>, <<"pid:zzz">>, <<"node:never_heard_of@nowhere">>, <<"name:one">>, <<"external:">>, <<"pid:">>]
    ].

an_owner_from_outside_makes_no_atom_test() ->
    Before = erlang:system_info(atom_count),
    [era_callstore_owner:from_binary(<<"node:x", (integer_to_binary(N))/binary>>) || N <- lists:seq(1, 100)],
    ?assertEqual(Before, erlang:system_info(atom_count)).

from({ok, Text}) -> era_callstore_owner:from_binary(Text).

a_bell_rings_once_until_it_is_answered_test() ->
    Bell = era_callstore_wake:bell(ding),
    [ok = era_callstore_wake:ring([Bell]) || _ <- lists:seq(1, 3)],
    ?assertEqual(1, heard(ding)),
    ok = era_callstore_wake:answer(Bell),
    ok = era_callstore_wake:ring([Bell]),
    ?assertEqual(1, heard(ding)).

heard(Message) ->
    receive
        Message -> 1 + heard(Message)
    after 0 -> 0
    end.

virtual_time_stands_until_it_is_advanced_and_never_goes_back_test_() ->
    {setup,
        fun() ->
            {ok, Scope} = pg:start(era_callstore),
            ok = era_callstore_clock:use_virtual(1000),
            Scope
        end,
        fun(Scope) ->
            ok = era_callstore_clock:use_system(),
            gen_server:stop(Scope)
        end,
        fun() ->
            ?assertEqual(1000, era_callstore_clock:now_ms()),
            ok = era_callstore_clock:advance_to(1500),
            ?assertEqual(1500, era_callstore_clock:now_ms()),
            ok = era_callstore_clock:advance_to(1200),
            ?assertEqual(1500, era_callstore_clock:now_ms())
        end}.

time_is_advanced_only_when_followers_that_were_about_to_begin_have_done_what_is_due_test_() ->
    {setup,
        fun() ->
            {ok, Scope} = pg:start(era_callstore),
            ok = era_callstore_clock:use_virtual(1000),
            Scope
        end,
        fun(Scope) ->
            ok = era_callstore_clock:use_system(),
            gen_server:stop(Scope)
        end,
        fun() ->
            Self = self(),
            Beginner = spawn_link(fun() -> begin_a_follower(Self) end),
            receive {Beginner, ready} -> ok end,
            ok = era_callstore_clock:advance_to(1500),
            ?assertEqual({did, 1500}, receive {did, _} = Done -> Done after 0 -> nothing end)
        end}.

%% Answers the clock when its follower follows, as a group does that is about to begin its term.
begin_a_follower(Test) ->
    ok = era_callstore_clock:begin_followers(),
    Test ! {self(), ready},
    answered(fun() ->
        Self = self(),
        Follower = spawn_link(fun() ->
            ok = era_callstore_clock:follow(),
            Self ! follows,
            answered(fun() -> Test ! {did, era_callstore_clock:now_ms()} end)
        end),
        receive follows -> Follower end
    end).

answered(Do) ->
    receive
        {'$gen_call', From, {era_callstore_clock, advanced}} ->
            Do(),
            gen_server:reply(From, ok)
    end.

system_time_is_not_advanced_test() ->
    ok = era_callstore_clock:use_system(),
    ?assertEqual({error, system_time}, era_callstore_clock:advance_to(1)),
    ?assert(abs(era_callstore_clock:now_ms() - erlang:system_time(millisecond)) < 1000).

counters_count_and_have_help_test() ->
    ok = era_callstore_counters:new(),
    ok = era_callstore_counters:add(events_accepted, 3),
    ok = era_callstore_counters:add(events_accepted, 4),
    All = era_callstore_counters:all(),
    ?assertMatch({events_accepted, [_ | _], 7}, lists:keyfind(events_accepted, 1, All)),
    ?assert(lists:all(fun({_, Help, _}) -> length(Help) > 10 end, All)).

a_mistake_names_its_argument_test() ->
    try
        era_callstore_errors:badarg({put, [a, b]}, 2, "a map is wanted")
    catch
        error:badarg:Stack ->
            ?assertMatch([{era_callstore, put, [a, b], _}, {?MODULE, _, _, _} | _], Stack),
            ?assertEqual(#{2 => <<"a map is wanted">>}, era_callstore_errors:format_error(badarg, Stack))
    end.

every_reason_of_a_start_has_a_sentence_test_() ->
    [
        ?_assertMatch([_], [Sentence || Sentence <- [era_callstore_errors:text(R)], binary:match(Sentence, <<" ">>) =/= nomatch])
     || R <- [
            {dir_not_writable, "d", eacces},
            {disc_full, "d"},
            {dir_of_node, "d", 'a@b'},
            {dir_held, "d", "77"},
            {schema_spoilt, "d/schema.DAT"},
            {host_schema_in_ram, "d"},
            {mnesia_not_there, enoent},
            {mnesia_start, x},
            {mnesia_join, ['a@b'], x},
            {different_content, <<"cid">>, 1}
        ]
    ].
