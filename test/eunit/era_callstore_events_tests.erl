%%% Events out to subscribers of one node: what is said, in which order, what a filter leaves out, and who is too slow.
-module(era_callstore_events_tests).

-include_lib("eunit/include/eunit.hrl").

-import(era_callstore_test_app, [cid/1, events/1, invite/1, until/1]).

-define(HEAR_MS, 20000).

events_test_() ->
    [
        {atom_to_list(element(2, erlang:fun_info(Test, name))), {timeout, 60, Test}}
     || Test <- [
            fun a_call_is_heard_from_its_opening_to_its_record/0,
            fun an_event_put_twice_is_heard_once/0,
            fun a_filter_leaves_out_and_the_numbers_grow/0,
            fun a_domain_is_heard_with_what_is_below_it/0,
            fun a_number_goes_on_where_it_was/0,
            fun what_was_said_while_nobody_listened_is_heard_from_its_number/0,
            fun what_is_not_kept_any_more_comes_as_resync_and_live_calls/0,
            fun the_live_calls_come_first_when_asked_for/0,
            fun a_slow_subscriber_is_sent_no_more_than_it_may_hold/0,
            fun a_subscription_ends_with_its_subscriber/0,
            fun after_unsubscribe_nothing_comes/0,
            fun a_take_over_is_said_and_heal_may_be/0,
            fun a_store_folded_anew_is_a_resync/0,
            fun groups_are_heard_together_and_count_for_themselves/0,
            fun what_is_no_subscription_is_refused/0
        ]
    ].

with(Settings, Fun) ->
    Dir = era_callstore_test_app:start(maps:merge(#{sinks => []}, Settings)),
    try
        Fun()
    after
        era_callstore_test_app:stop(Dir),
        forget()
    end.

%% All tests run in one process: what one did not read is not to fill the mailbox of the next.
forget() ->
    receive
        {era_callstore, _, _, _} -> forget()
    after 0 -> ok
    end.

put_all(Events) ->
    {ok, #{rejected := []}} = era_callstore:put(Events),
    ok.

hear(Ref) ->
    receive
        {era_callstore, Ref, Seq, Event} -> {Seq, Event}
    after ?HEAR_MS -> error({not_heard, Ref})
    end.

hear(Ref, N) -> [hear(Ref) || _ <- lists:seq(1, N)].

until_heard(Ref, Type) ->
    case hear(Ref) of
        {_, #{<<"type">> := Type}} = Last -> [Last];
        Other -> [Other | until_heard(Ref, Type)]
    end.

types(Heard) -> [case E of resync -> resync; #{<<"type">> := T} -> T end || {_, E} <- Heard].

seqs(Heard) -> [Seq || {Seq, _} <- Heard].

consecutive([First | _] = Seqs) -> ?assertEqual(lists:seq(First, First + length(Seqs) - 1), Seqs).

%% --- tests

a_call_is_heard_from_its_opening_to_its_record() ->
    with(#{sinks => [{collection, #{}}], watch => #{stop_wait_ms => 100}}, fun() ->
        {ok, Ref} = era_callstore:subscribe(#{}),
        [ok = put_all([E]) || E <- events(1)],
        Heard = until_heard(Ref, <<"record">>),
        ?assertEqual(
            [
                <<"call_opened">>, <<"invite">>, <<"dlg_init">>, <<"call_changed">>,
                <<"dlg_start">>, <<"call_changed">>,
                <<"dlg_end">>, <<"call_changed">>, <<"dlg_stop">>, <<"call_closed">>, <<"record">>
            ],
            types(Heard)
        ),
        consecutive(seqs(Heard)),
        [{_, Opened}, {_, Invite} | _] = Heard,
        ?assertMatch(
            #{<<"class">> := <<"callstore">>, <<"data">> := #{<<"state">> := <<"initiated">>, <<"group">> := 1}}, Opened
        ),
        #{<<"data">> := Put} = Expected = invite(1),
        Connection = <<(cid(1))/binary, ".", (integer_to_binary(era_callstore_test_app:base()))/binary>>,
        ?assertEqual(Expected#{<<"data">> := Put#{<<"connectionid">> => Connection}}, Invite),
        {_, #{<<"data">> := Record}} = lists:last(Heard),
        ?assertMatch(#{<<"revision">> := 1, <<"epoch">> := 1, <<"record_id">> := _}, Record),
        until(fun() -> era_callstore:record(cid(1)) =/= [] end),
        [#{<<"record_id">> := Id}] = era_callstore:record(cid(1)),
        ?assertEqual(Id, map_get(<<"record_id">>, Record))
    end).

an_event_put_twice_is_heard_once() ->
    with(#{}, fun() ->
        {ok, Ref} = era_callstore:subscribe(#{}),
        [ok = put_all([invite(1), invite(1)]) || _ <- lists:seq(1, 3)],
        ok = put_all([invite(2)]),
        Heard = hear(Ref, 4),
        ?assertEqual([<<"call_opened">>, <<"invite">>, <<"call_opened">>, <<"invite">>], types(Heard)),
        consecutive(seqs(Heard))
    end).

a_filter_leaves_out_and_the_numbers_grow() ->
    with(#{}, fun() ->
        {ok, All} = era_callstore:subscribe(#{events => all}),
        {ok, Some} = era_callstore:subscribe(#{events => [dlg_start, <<"call_closed">>]}),
        ok = put_all(events(1) ++ events(2)),
        Everything = hear(All, 14),
        Types = [<<"dlg_start">>, <<"call_closed">>],
        Wanted = [Item || {_, #{<<"type">> := T}} = Item <- Everything, lists:member(T, Types)],
        ?assertEqual(4, length(Wanted)),
        ?assertEqual(Wanted, hear(Some, 4))
    end).

a_domain_is_heard_with_what_is_below_it() ->
    with(#{}, fun() ->
        {ok, Ref} = era_callstore:subscribe(#{domain => <<"alfa.era.test">>, events => [invite]}),
        Domains = [{1, <<"beta.era.test">>}, {2, <<"x.alfa.era.test">>}, {3, <<"alfa.era.test">>}],
        [ok = put_all([of_domain(N, D)]) || {N, D} <- Domains],
        Cids = [map_get(<<"cid">>, map_get(<<"data">>, E)) || {_, E} <- hear(Ref, 2)],
        ?assertEqual([cid(2), cid(3)], Cids)
    end).

of_domain(N, Domain) ->
    #{<<"data">> := Fields} = Invite = invite(N),
    Invite#{<<"data">> := Fields#{<<"fromdomain">> => Domain, <<"urifrom">> => <<"sip:1@", Domain/binary>>}}.

a_number_goes_on_where_it_was() ->
    with(#{}, fun() ->
        {ok, First} = era_callstore:subscribe(#{}),
        ok = put_all(events(1)),
        ok = put_all(events(2)),
        Heard = hear(First, 14),
        ok = era_callstore:unsubscribe(First),
        %% From within a row as well as from its end.
        [
            begin
                {ok, Again} = era_callstore:subscribe(#{since => Seq}),
                Rest = [Item || {S, _} = Item <- Heard, S > Seq],
                ?assertEqual(Rest, hear(Again, length(Rest))),
                ok = put_all([invite(100 + Place)]),
                ?assertMatch([{_, #{<<"type">> := <<"call_opened">>}}, _], hear(Again, 2)),
                ok = era_callstore:unsubscribe(Again)
            end
         || {Place, {Seq, _}} <- lists:zip(lists:seq(1, 14), Heard), lists:member(Place, [1, 7, 9])
        ]
    end).

what_was_said_while_nobody_listened_is_heard_from_its_number() ->
    with(#{}, fun() ->
        {ok, First} = era_callstore:subscribe(#{}),
        ok = put_all([invite(1)]),
        [_, {Seq, _}] = hear(First, 2),
        ok = era_callstore:unsubscribe(First),
        ok = nobody_listens(),
        [ok = put_all([invite(N)]) || N <- lists:seq(2, 6)],
        {ok, Again} = era_callstore:subscribe(#{since => Seq + 2}),
        {ok, Now} = era_callstore:subscribe(#{}),
        ok = put_all([invite(7)]),
        Heard = hear(Again, 12),
        ?assertEqual(lists:seq(Seq + 3, Seq + 14), seqs(Heard)),
        ?assertEqual(lists:nthtail(10, Heard), hear(Now, 2))
    end).

%% As if a minute had passed since the last question: one that still waits is answered first.
nobody_listens() ->
    ok = put_all([invite(1000)]),
    [era_callstore_feed_1 ! who_listens || _ <- [1, 2]],
    era_callstore_feed:sync(1).

what_is_not_kept_any_more_comes_as_resync_and_live_calls() ->
    with(#{feed_bytes => 1000}, fun() ->
        {ok, First} = era_callstore:subscribe(#{}),
        ok = put_all([invite(1)]),
        [{Old, _} | _] = hear(First, 2),
        %% One by one: who falls behind so small a feed hears `resync' instead.
        [begin ok = put_all([invite(N)]), [_, _] = hear(First, 2) end || N <- lists:seq(2, 30)],
        [
            begin
                {ok, Ref} = era_callstore:subscribe(#{since => Since}),
                [{Seq, resync} | Live] = until_heard(Ref, <<"snapshot">>),
                {_, End} = lists:last(Live),
                ?assertMatch(#{<<"data">> := #{<<"calls">> := 30}}, End),
                ?assertEqual([Seq], lists:usort(seqs(Live))),
                Cids = [C || {_, #{<<"data">> := #{<<"cid">> := C, <<"snapshot">> := true}}} <- Live],
                ?assertEqual([cid(N) || N <- lists:seq(1, 30)], lists:sort(Cids)),
                ok = put_all([invite(Next)]),
                ?assertMatch([{_, _}, {_, #{<<"type">> := <<"invite">>}}], hear(Ref, 2)),
                ok = put_all([lists:last(events(Next))]),
                ok = era_callstore:unsubscribe(Ref)
            end
         %% One that was let go of, and one that was never said.
         || {Since, Next} <- [{Old, 31}, {1 bsl 60, 32}]
        ]
    end).

the_live_calls_come_first_when_asked_for() ->
    with(#{}, fun() ->
        ok = put_all([invite(N) || N <- lists:seq(1, 450)] ++ events(451)),
        {ok, Ref} = era_callstore:subscribe(#{since => snapshot}),
        ok = put_all([invite(500)]),
        Heard = until_heard(Ref, <<"snapshot">>) ++ until_heard(Ref, <<"invite">>),
        {Snapshot, [{Seq, #{<<"type">> := <<"snapshot">>}}, {Next, _} | _]} =
            lists:splitwith(fun({_, #{<<"type">> := T}}) -> T =:= <<"call_opened">> end, Heard),
        ?assert(lists:member(cid(450), [map_get(<<"cid">>, map_get(<<"data">>, E)) || {_, E} <- Snapshot])),
        ?assert(length(Snapshot) >= 450),
        ?assertEqual(Seq + 1, Next),
        ?assertNot(lists:member(cid(451), [map_get(<<"cid">>, map_get(<<"data">>, E)) || {_, E} <- Snapshot]))
    end).

a_slow_subscriber_is_sent_no_more_than_it_may_hold() ->
    with(#{feed_bytes => 20000, subscriber_messages => 100}, fun() ->
        {ok, Ref} = era_callstore:subscribe(#{}),
        {ok, Small} = era_callstore:subscribe(#{events => [takeover]}),
        [ok = put_all([invite(N + I) || I <- lists:seq(0, 9)]) || N <- lists:seq(0, 4990, 10)],
        until(fun() -> waiting() >= 100 end),
        Length = waiting(),
        %% What may wait, and one pull of the feed: a thousand events.
        ?assert(Length =< 1100, Length),
        Before = until_resync(Ref),
        consecutive(seqs(Before)),
        After = until_heard(Ref, <<"snapshot">>),
        Cids = [C || {_, #{<<"data">> := #{<<"cid">> := C}}} <- After],
        ?assertEqual(5000, length(lists:usort(Cids))),
        ok = era_callstore:unsubscribe(Small)
    end).

waiting() -> element(2, process_info(self(), message_queue_len)).

until_resync(Ref) ->
    case hear(Ref) of
        {_, resync} -> [];
        Other -> [Other | until_resync(Ref)]
    end.

a_subscription_ends_with_its_subscriber() ->
    with(#{}, fun() ->
        Test = self(),
        {Pid, Monitor} = spawn_monitor(fun() ->
            {ok, _} = era_callstore:subscribe(#{}),
            Test ! subscribed,
            receive stop -> ok end
        end),
        receive subscribed -> ok after ?HEAR_MS -> error(not_subscribed) end,
        ?assertMatch([{undefined, _, worker, _}], supervisor:which_children(era_callstore_subscription_sup)),
        Pid ! stop,
        receive {'DOWN', Monitor, process, Pid, _} -> ok after ?HEAR_MS -> error(does_not_end) end,
        until(fun() -> ets:tab2list(era_callstore_subscriptions) =:= [] end),
        until(fun() -> supervisor:which_children(era_callstore_subscription_sup) =:= [] end)
    end).

after_unsubscribe_nothing_comes() ->
    with(#{}, fun() ->
        {ok, Ref} = era_callstore:subscribe(#{}),
        {ok, Other} = era_callstore:subscribe(#{}),
        ok = put_all([invite(1)]),
        _ = hear(Other, 2),
        ok = era_callstore:unsubscribe(Ref),
        ok = era_callstore:unsubscribe(Ref),
        ok = put_all([invite(2)]),
        _ = hear(Other, 2),
        receive {era_callstore, Ref, _, _} = Heard -> error(Heard) after 0 -> ok end
    end).

a_take_over_is_said_and_heal_may_be() ->
    with(#{}, fun() ->
        {ok, Ref} = era_callstore:subscribe(#{events => [takeover, heal, invite], domain => <<"nowhere.test">>}),
        ok = era_callstore_feed:say(1, <<"heal">>, #{<<"nodes">> => []}),
        {_, Heal} = hear(Ref),
        ?assertMatch(
            #{<<"class">> := <<"callstore">>, <<"type">> := <<"heal">>,
                <<"data">> := #{<<"group">> := 1, <<"nodes">> := []}}, Heal
        ),
        %% The term ends out of order and another begins, from the log.
        {Writer, _, _} = era_callstore_router:writer(1),
        exit(Writer, kill),
        {_, TakeOver} = lists:last(until_heard(Ref, <<"takeover">>)),
        Node = atom_to_binary(node()),
        ?assertMatch(
            #{
                <<"type">> := <<"takeover">>,
                <<"data">> := #{<<"node">> := Node, <<"epoch">> := 2,
                    <<"from">> := #{<<"epoch">> := 1, <<"node">> := Node}}
            },
            TakeOver
        )
    end).

a_store_folded_anew_is_a_resync() ->
    with(#{}, fun() ->
        {ok, Ref} = era_callstore:subscribe(#{}),
        ok = put_all([invite(1)]),
        _ = hear(Ref, 2),
        ok = era_callstore_feed:resync(1),
        ?assertEqual([resync, <<"call_opened">>, <<"snapshot">>], types(hear(Ref, 3))),
        ok = put_all([invite(2)]),
        Heard = hear(Ref, 2),
        ?assertEqual([<<"call_opened">>, <<"invite">>], types(Heard))
    end).

groups_are_heard_together_and_count_for_themselves() ->
    Role = fun(N, Domains) ->
        #{
            <<"name">> => <<"callstore", (integer_to_binary(N))/binary>>, <<"roletype">> => <<"callstore">>,
            <<"iface">> => <<"lo">>, <<"group">> => N, <<"order">> => 1, <<"include_domains">> => Domains
        }
    end,
    with(#{roles => [Role(1, []), Role(2, [<<"beta.era.test">>])]}, fun() ->
        ok = era_callstore_router:await_active(2, ?HEAR_MS),
        ok = era_callstore_group:settled(2),
        {ok, Both} = era_callstore:subscribe(#{events => [invite]}),
        {ok, Second} = era_callstore:subscribe(#{events => [invite], group => 2}),
        ok = put_all([of_domain(1, <<"alfa.era.test">>), of_domain(2, <<"beta.era.test">>)]),
        Cids = fun(Heard) -> lists:sort([map_get(<<"cid">>, map_get(<<"data">>, E)) || {_, E} <- Heard]) end,
        ?assertEqual([cid(1), cid(2)], Cids(hear(Both, 2))),
        [{Seq, _}] = Heard = hear(Second, 1),
        ?assertEqual([cid(2)], Cids(Heard)),
        ?assertEqual({error, several_groups}, era_callstore:subscribe(#{since => Seq})),
        {ok, Again} = era_callstore:subscribe(#{events => [invite], group => 2, since => Seq - 1}),
        ?assertEqual(Heard, hear(Again, 1)),
        ok = era_callstore:unsubscribe(Both),
        ?assertEqual(
            lists:sort([Second, Again]),
            lists:sort([Ref || {Ref, _} <- ets:tab2list(era_callstore_subscriptions)])
        )
    end).

what_is_no_subscription_is_refused() ->
    with(#{}, fun() ->
        [
            ?assertError(badarg, era_callstore:subscribe(Wrong))
         || Wrong <- [
                all, #{events => []}, #{events => "invite"}, #{domain => alfa}, #{since => -1}, #{since => soon},
                #{group => one}, #{other => 1}
            ]
        ],
        ?assertError(badarg, era_callstore:unsubscribe(self())),
        ?assertEqual({error, {no_such_group, 7}}, era_callstore:subscribe(#{group => 7}))
    end),
    ?assertEqual({error, not_running}, era_callstore:subscribe(#{})).
