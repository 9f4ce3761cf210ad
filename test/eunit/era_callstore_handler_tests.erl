%%% Events out to handlers: batches in order, what happens when one refuses, crashes or hangs, and the example.
-module(era_callstore_handler_tests).
-behaviour(era_callstore_handler).

-include_lib("eunit/include/eunit.hrl").

-export([init/1, handle_events/2, terminate/2]).

-import(era_callstore_test_app, [cid/1, events/1, invite/1, until/1]).

-define(ASK_MS, 20000).

%% --- a handler that does what the test says: the test is a process that is asked before each step

init(#{test := Test} = Args) -> ask(Test, init, {ok, Args}).

handle_events(Items, #{test := Test} = State) -> ask(Test, {events, Items}, {ok, State}).

terminate(_Reason, _State) -> ok.

ask(Test, What, {ok, State} = Usual) ->
    Test ! {self(), What},
    receive
        {Test, usual} -> Usual;
        {Test, snapshot} -> {ok, State, snapshot};
        {Test, {error, Reason}} -> case What of init -> {error, Reason}; _ -> {error, Reason, State} end;
        {Test, {exit, Reason}} -> exit(Reason)
    end.

answer(Pid, Answer) -> Pid ! {self(), Answer}.

asked() ->
    receive
        {Pid, What} when is_pid(Pid) -> {Pid, What}
    after ?ASK_MS -> error(not_asked)
    end.

%% --- tests

handlers_test_() ->
    [
        {atom_to_list(element(2, erlang:fun_info(Test, name))), {timeout, 60, fun() -> alone(Test) end}}
     || Test <- [
            fun a_handler_begins_with_the_live_calls_and_hears_all_in_order/0,
            fun a_filter_is_the_applications/0,
            fun a_batch_that_crashed_the_handler_comes_again/0,
            fun a_batch_that_was_refused_comes_again/0,
            fun a_handler_that_asks_for_them_gets_the_live_calls_again/0,
            fun a_handler_that_cannot_start_is_tried_again/0,
            fun a_hanging_handler_holds_nobody_else/0,
            fun without_a_handler_it_is_off_and_says_so/0,
            fun wrong_handlers_are_named/0,
            fun the_example_writes_each_event_as_one_line/0
        ]
    ].

%% A process of its own: what a handler asks in one test is not heard in the next.
alone(Test) ->
    {_, Monitor} = spawn_monitor(Test),
    receive
        {'DOWN', Monitor, process, _, normal} -> ok;
        {'DOWN', Monitor, process, _, Reason} -> error(Reason)
    end.

with(Settings, Fun) ->
    Dir = era_callstore_test_app:start(maps:merge(#{sinks => [], retry_min_ms => 10, retry_max_ms => 50}, Settings)),
    try
        Fun(Dir)
    after
        {_, Stop} = spawn_monitor(fun() -> era_callstore_test_app:stop(Dir) end),
        answer_all(Stop)
    end.

%% Who still asks when a test is over is not to hold up the end.
answer_all(Stop) ->
    receive
        {'DOWN', Stop, process, _, Reason} -> ?assertEqual(normal, Reason);
        {Pid, _} when is_pid(Pid) -> answer(Pid, usual), answer_all(Stop)
    end.

mine() -> mine(#{}).
mine(Filter) -> #{handlers => [{<<"mine">>, ?MODULE, #{test => self(), filter => Filter}}]}.

started() ->
    {Pid, init} = asked(),
    answer(Pid, usual),
    {Pid, {events, Items}} = asked(),
    answer(Pid, usual),
    more_live(Pid, Items).

more_live(Pid, Items) ->
    case lists:last(Items) of
        {_, #{<<"type">> := <<"takeover">>}} -> {Pid, Items};
        _ ->
            {Pid, {events, More}} = asked(),
            answer(Pid, usual),
            more_live(Pid, Items ++ More)
    end.

put_all(Events) ->
    {ok, #{rejected := []}} = era_callstore:put(Events),
    ok.

%% The handler's items until one of this type; all answered as usual.
until_handled(Pid, Type) ->
    {Pid, {events, Items}} = asked(),
    answer(Pid, usual),
    case lists:member(Type, types(Items)) of
        true -> Items;
        false -> Items ++ until_handled(Pid, Type)
    end.

types(Items) -> [case E of resync -> resync; #{<<"type">> := T} -> T end || {_, E} <- Items].

a_handler_begins_with_the_live_calls_and_hears_all_in_order() ->
    with(mine(), fun(_) ->
        {Pid, Items} = started(),
        ?assertEqual([resync, <<"snapshot">>, <<"takeover">>], types(Items)),
        ok = put_all(events(1)),
        Heard = until_handled(Pid, <<"call_closed">>),
        ?assertEqual(
            [<<"call_opened">>, <<"invite">>, <<"dlg_init">>, <<"dlg_start">>,
                <<"dlg_end">>, <<"dlg_stop">>, <<"call_closed">>],
            types(Heard)
        ),
        {Last, _} = lists:last(Items),
        ?assertEqual(lists:seq(Last + 1, Last + 7), [Seq || {Seq, _} <- Heard]),
        until(fun() ->
            #{groups := #{1 := #{handlers := #{<<"mine">> := Status}}}} = era_callstore:status(),
            Status =:= #{seq => Last + 7, failures => 0}
        end)
    end).

a_filter_is_the_applications() ->
    with(mine(#{events => [dlg_start]}), fun(_) ->
        {Pid, init} = asked(),
        answer(Pid, usual),
        {Pid, {events, Begun}} = asked(),
        answer(Pid, usual),
        More = case length(Begun) of 1 -> until_handled(Pid, <<"snapshot">>); 2 -> [] end,
        ?assertEqual([resync, <<"snapshot">>], types(Begun ++ More)),
        ok = put_all(events(1)),
        ?assertEqual([<<"dlg_start">>], types(until_handled(Pid, <<"dlg_start">>)))
    end).

a_batch_that_crashed_the_handler_comes_again() ->
    with(mine(), fun(_) ->
        {Pid, _} = started(),
        ok = put_all([invite(1)]),
        {Pid, {events, Batch}} = asked(),
        answer(Pid, {exit, on_purpose}),
        {Next, init} = asked(),
        ?assertNotEqual(Pid, Next),
        answer(Next, usual),
        ?assertEqual({Next, {events, Batch}}, asked()),
        answer(Next, usual),
        until(fun() -> failures() =:= 0 end)
    end).

a_batch_that_was_refused_comes_again() ->
    with(mine(), fun(_) ->
        {Pid, _} = started(),
        ok = put_all([invite(1)]),
        {Pid, {events, Batch}} = asked(),
        answer(Pid, {error, broker_away}),
        {Pid, {events, Again}} = asked(),
        ?assertEqual(Batch, Again),
        ?assertEqual(1, failures()),
        answer(Pid, usual),
        until(fun() -> failures() =:= 0 end)
    end).

a_handler_that_asks_for_them_gets_the_live_calls_again() ->
    with(mine(), fun(_) ->
        {Pid, _} = started(),
        ok = put_all([invite(1)]),
        _ = until_handled(Pid, <<"invite">>),
        ok = put_all([invite(2)]),
        {Pid, {events, _}} = asked(),
        answer(Pid, {exit, on_purpose}),
        {Next, init} = asked(),
        answer(Next, snapshot),
        Items = until_handled(Next, <<"snapshot">>),
        ?assertEqual(resync, hd(types(Items))),
        Cids = [C || {_, #{<<"data">> := #{<<"cid">> := C, <<"snapshot">> := true}}} <- Items],
        ?assertEqual([cid(1), cid(2)], lists:sort(Cids))
    end).

a_handler_that_cannot_start_is_tried_again() ->
    with(mine(), fun(_) ->
        {Pid, init} = asked(),
        answer(Pid, {error, no_broker}),
        {Next, init} = asked(),
        ?assertNotEqual(Pid, Next),
        answer(Next, usual),
        {Next, {events, [{_, resync} | _]}} = asked(),
        answer(Next, usual)
    end).

a_hanging_handler_holds_nobody_else() ->
    with(maps:merge(mine(), #{deliver_timeout_ms => 200}), fun(_) ->
        {Pid, _} = started(),
        Monitor = erlang:monitor(process, Pid),
        {ok, Ref} = era_callstore:subscribe(#{events => [invite]}),
        ok = put_all([invite(1)]),
        {Pid, {events, Batch}} = asked(),
        receive {era_callstore, Ref, _, #{<<"type">> := <<"invite">>}} -> ok after ?ASK_MS -> error(not_heard) end,
        receive {'DOWN', Monitor, process, Pid, killed} -> ok after ?ASK_MS -> error(not_killed) end,
        {Next, init} = asked(),
        answer(Next, usual),
        ?assertEqual({Next, {events, Batch}}, asked()),
        answer(Next, usual)
    end).

without_a_handler_it_is_off_and_says_so() ->
    with(#{}, fun(_) ->
        ?assertMatch(#{groups := #{1 := #{handlers := off}}}, era_callstore:status())
    end).

wrong_handlers_are_named() ->
    Key = fun(Handlers) ->
        {error, Problems} = era_callstore:check(#{handlers => Handlers}),
        [{K, R} || #{key := K, reason := R} <- Problems]
    end,
    ?assertEqual([{<<"handlers">>, wrong_type}], Key(all)),
    ?assertEqual([{<<"handlers">>, wrong_type}], Key([?MODULE])),
    ?assertEqual([{<<"handlers.lists">>, no_such_handler}], Key([{lists, #{}}])),
    ?assertEqual([{<<"handlers.h">>, twice}], Key([{<<"h">>, ?MODULE, #{}}, {<<"h">>, ?MODULE, #{}}])),
    ?assertEqual([{<<"handlers.h.filter">>, wrong_value}], Key([{<<"h">>, ?MODULE, #{filter => #{events => []}}}])).

the_example_writes_each_event_as_one_line() ->
    Example = compiled("examples/events/callstore_example_ndjson.erl"),
    ?assertMatch(
        {error, [#{key := <<"handlers.callstore_example_ndjson.dir">>}]},
        era_callstore:check(#{handlers => [{Example, #{}}]})
    ),
    Out = era_callstore_test_dir:make(),
    Filter = #{events => [dlg_start, call_closed], domain => <<"alfa.era.test">>},
    with(#{handlers => [{Example, #{dir => Out, filter => Filter}}]}, fun(_) ->
        ok = put_all(events(1) ++ events(2)),
        File = filename:join(Out, "group1.ndjson"),
        until(fun() -> length(lines(File)) >= 6 end),
        [Resync, Snapshot | Said] = [decoded(Line) || Line <- lines(File)],
        ?assertMatch(#{<<"resync">> := true}, Resync),
        ?assertMatch(#{<<"type">> := <<"snapshot">>}, Snapshot),
        ?assertEqual(
            [{<<"dlg_start">>, cid(1)}, {<<"call_closed">>, cid(1)},
                {<<"dlg_start">>, cid(2)}, {<<"call_closed">>, cid(2)}],
            [{T, C} || #{<<"type">> := T, <<"data">> := #{<<"cid">> := C}} <- Said]
        )
    end),
    ok = era_callstore_test_dir:remove(Out).

compiled(Path) ->
    {ok, Module, Binary} = compile:file(filename:join(repository(), Path), [binary, warnings_as_errors, return_errors]),
    {module, Module} = code:load_binary(Module, Path, Binary),
    Module.

repository() ->
    {ok, Cwd} = file:get_cwd(),
    Cwd.

lines(File) ->
    case file:read_file(File) of
        {ok, Text} -> binary:split(Text, <<"\n">>, [global, trim_all]);
        {error, enoent} -> []
    end.

decoded(Line) ->
    {ok, Decoded} = era_callstore_nif:json_decode(Line),
    Decoded.

failures() ->
    #{groups := #{1 := #{handlers := #{<<"mine">> := #{failures := Failures}}}}} = era_callstore:status(),
    Failures.
