%%% From closed calls to sinks: the built-in ones, and sinks that refuse, crash or hang.
-module(era_callstore_sink_tests).
-behaviour(era_callstore_sink).

-include_lib("eunit/include/eunit.hrl").

-export([init/2, deliver/2, terminate/2]).

-import(era_callstore_test_app, [cid/1, events/1, until/1]).

%% --- a sink that does what the test says: the test is a process that is asked before each step

init(#{test := Test} = Args, _Context) ->
    ask(Test, init, {ok, Args}).

deliver(Batch, #{test := Test} = State) ->
    ask(Test, {deliver, [{Cid, Revision} || #{cid := Cid, revision := Revision} <- Batch]}, {ok, State}).

terminate(_Reason, _State) -> ok.

ask(Test, What, Usual) ->
    Test ! {self(), What},
    receive
        {Test, usual} -> Usual;
        {Test, {error, Reason}} -> case What of init -> {error, Reason}; _ -> {error, Reason, element(2, Usual)} end;
        {Test, {exit, Reason}} -> exit(Reason)
    end.

answer(Pid, Answer) -> Pid ! {self(), Answer}.

asked() ->
    receive
        {Pid, What} when is_pid(Pid) -> {Pid, What}
    after 10000 -> error(not_asked)
    end.

%% --- tests

sinks_test_() ->
    [
        {atom_to_list(element(2, erlang:fun_info(Test, name))), {timeout, 60, Test}}
     || Test <- [
            fun a_closed_call_is_one_record_in_every_sink/0,
            fun records_come_in_order_of_closing/0,
            fun a_refused_batch_comes_again_and_only_again/0,
            fun a_crashing_sink_is_started_again/0,
            fun a_sink_that_cannot_start_is_tried_again/0,
            fun a_hanging_sink_holds_nobody_else/0,
            fun what_no_sink_accepted_is_delivered_after_a_restart/0,
            fun without_sinks_nothing_waits/0
        ]
    ].

with(Settings, Fun) ->
    Test = self(),
    Dir = era_callstore_test_app:start(Settings),
    try
        Fun(Test, Dir)
    after
        era_callstore_test_app:stop(Dir)
    end.

told(Test) -> {<<"told">>, ?MODULE, #{test => Test}}.

a_closed_call_is_one_record_in_every_sink() ->
    Cdr = era_callstore_test_dir:make(),
    with(#{sinks => [{collection, #{}}, {file, #{dir => Cdr}}]}, fun(_, _) ->
        {ok, _} = era_callstore:put(lists:append([events(N) || N <- lists:seq(1, 300)])),
        ok = era_callstore_outbox:drain(1, 20000),
        ?assertMatch([#{<<"revision">> := 1, <<"end">> := #{<<"term_cause">> := 1}}], era_callstore:record(cid(7))),
        {ok, Lines} = file:read_file(filename:join(Cdr, "records.ndjson")),
        Cids = [
            maps:get(<<"cid">>, element(2, era_callstore_nif:json_decode(Line)))
         || Line <- binary:split(Lines, <<"\n">>, [global, trim_all])
        ],
        ?assertEqual([cid(N) || N <- lists:seq(1, 300)], lists:sort(Cids)),
        ?assertMatch(#{groups := #{1 := #{started := 300, closed := 300, live := 0}}}, era_callstore:status())
    end),
    era_callstore_test_dir:remove(Cdr).

records_come_in_order_of_closing() ->
    Test = self(),
    with(#{sinks => [told(Test)]}, fun(_, _) ->
        {Sink, init} = asked(),
        answer(Sink, usual),
        [{ok, _} = era_callstore:put(events(N)) || N <- [3, 1, 2]],
        ?assertEqual([{cid(3), 1}, {cid(1), 1}, {cid(2), 1}], deliveries(Sink, 3))
    end).

deliveries(_Sink, 0) -> [];
deliveries(Sink, N) ->
    {Sink, {deliver, Batch}} = asked(),
    answer(Sink, usual),
    Batch ++ deliveries(Sink, N - length(Batch)).

a_refused_batch_comes_again_and_only_again() ->
    Test = self(),
    with(#{sinks => [told(Test)], retry_min_ms => 10}, fun(_, _) ->
        {Sink, init} = asked(),
        answer(Sink, usual),
        {ok, _} = era_callstore:put(events(1)),
        {Sink, {deliver, Batch}} = asked(),
        answer(Sink, {error, busy}),
        {Sink, {deliver, Again}} = asked(),
        ?assertEqual(Batch, Again),
        ?assertMatch(#{groups := #{1 := #{outbox := #{<<"told">> := #{depth := 1, failures := 1, reason := busy}}}}}, era_callstore:status()),
        answer(Sink, usual),
        ok = era_callstore_outbox:drain(1, 10000),
        ?assertMatch(#{groups := #{1 := #{outbox := #{<<"told">> := #{depth := 0, failures := 0}}}}}, era_callstore:status()),
        receive
            {Sink, Unwanted} -> error(Unwanted)
        after 0 -> ok
        end
    end).

a_crashing_sink_is_started_again() ->
    Test = self(),
    with(#{sinks => [told(Test)], retry_min_ms => 10}, fun(_, _) ->
        {First, init} = asked(),
        answer(First, usual),
        {ok, _} = era_callstore:put(events(1)),
        {First, {deliver, Batch}} = asked(),
        answer(First, {exit, on_purpose}),
        {Second, init} = asked(),
        ?assertNotEqual(First, Second),
        answer(Second, usual),
        {Second, {deliver, Again}} = asked(),
        ?assertEqual(Batch, Again),
        answer(Second, usual),
        ok = era_callstore_outbox:drain(1, 10000)
    end).

a_sink_that_cannot_start_is_tried_again() ->
    Test = self(),
    with(#{sinks => [told(Test)], retry_min_ms => 10}, fun(_, _) ->
        {First, init} = asked(),
        answer(First, {error, not_yet}),
        {Second, init} = asked(),
        answer(Second, usual),
        {ok, _} = era_callstore:put(events(1)),
        ?assertEqual([{cid(1), 1}], deliveries(Second, 1))
    end).

a_hanging_sink_holds_nobody_else() ->
    Test = self(),
    with(#{sinks => [told(Test), {collection, #{}}], deliver_timeout_ms => 300, retry_min_ms => 10}, fun(_, _) ->
        {First, init} = asked(),
        answer(First, usual),
        {ok, _} = era_callstore:put(events(1)),
        {First, {deliver, Batch}} = asked(),
        %% Not answered. The other sink has it, put goes on, and after the limit the sink is killed and tried anew.
        ok = until(fun() -> era_callstore:record(cid(1)) =/= [] end),
        ?assertMatch({ok, _}, era_callstore:put(events(2))),
        {Second, init} = asked(),
        ?assertEqual(false, is_process_alive(First)),
        answer(Second, usual),
        ?assertEqual(Batch ++ [{cid(2), 1}], deliveries(Second, 2))
    end).

what_no_sink_accepted_is_delivered_after_a_restart() ->
    Test = self(),
    with(#{sinks => [told(Test)]}, fun(_, Dir) ->
        {First, init} = asked(),
        answer(First, usual),
        {ok, _} = era_callstore:put(events(1)),
        {First, {deliver, Batch}} = asked(),
        %% The sink is killed in the middle of the batch, and the application ends.
        exit(First, kill),
        ok = era_callstore_test_app:restart(Dir),
        {Second, init} = asked_by_another(First),
        answer(Second, usual),
        ?assertEqual(Batch, deliveries(Second, 1))
    end).

asked_by_another(First) ->
    case asked() of
        {First, _} -> asked_by_another(First);
        Other -> Other
    end.

without_sinks_nothing_waits() ->
    with(#{sinks => []}, fun(_, _) ->
        {ok, _} = era_callstore:put(events(1)),
        ok = era_callstore_outbox:drain(1, 1000),
        ?assertMatch(#{groups := #{1 := #{closed := 1, outbox := Outbox}}} when map_size(Outbox) =:= 0, era_callstore:status())
    end).
