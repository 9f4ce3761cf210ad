%%% What is asked of a platform's modules, and what their answers do: mixes and rescues on virtual time, and what is
%%% off.
-module(era_callstore_jobs_tests).
-behaviour(era_callstore_probe).
-behaviour(era_callstore_mixer).
-behaviour(era_callstore_rescue).

-include_lib("eunit/include/eunit.hrl").

-export([probe/1, mix/1, rescue/1]).

-import(era_callstore_test_app, [base/0, cid/1, events/1, until/1]).

-define(ASK_MS, 5000).
-define(LIMITS, #{
    end_grace_ms => 1000, rtp_suspect_ms => 1000, repeat_ms => 100, mix_retry_ms => 10000, mix_retry_max_ms => 20000,
    rescue_ms => 5000, takeover_grace_ms => 0, stop_wait_ms => 5000
}).

%% --- modules that do what the test says: it is asked before each step

probe(Dialogs) -> [{Id, unknown} || #{dialogid := Id} <- Dialogs].

mix(Job) -> ask({mix, Job}).

rescue(Dialog) -> ask({rescue, Dialog}).

ask(What) ->
    ?MODULE ! {self(), What},
    receive
        {answer, {exit, Reason}} -> exit(Reason);
        {answer, Answer} -> Answer
    end.

asked() ->
    receive
        {Pid, What} when is_pid(Pid) -> {Pid, What}
    after ?ASK_MS -> error(not_asked)
    end.

answer(Pid, Answer) -> Pid ! {answer, Answer}.

%% Everything that was asked by now.
nothing_asked() ->
    receive
        {Pid, What} when is_pid(Pid) -> error({asked, What})
    after 0 -> ok
    end.

%% --- tests

jobs_test_() ->
    [
        {atom_to_list(element(2, erlang:fun_info(Test, name))), {timeout, 60, Test}}
     || Test <- [
            fun without_modules_everything_is_off_and_says_so/0,
            fun modules_that_are_set_are_named/0,
            fun a_rescue_in_time_gives_the_call_to_its_new_owner/0,
            fun a_rescue_that_answers_too_late_has_no_effect/0,
            fun a_rescue_that_answers_after_the_real_end_has_no_effect/0,
            fun a_mixer_that_fails_in_any_way_is_asked_again/0,
            fun a_mix_is_asked_for_once_whatever_speaks_for_the_death/0,
            fun links_close_a_mix_that_nobody_took/0
        ]
    ].

without_modules_everything_is_off_and_says_so() ->
    with(#{}, fun() ->
        Off = #{probe => off, mixer => off, rescue => off},
        ?assertMatch(#{groups := #{1 := #{watch := #{behaviours := Off}, handlers := off}}}, era_callstore:status()),
        ?assertEqual(Off#{handlers => off}, maps:get(behaviours, era_callstore:status())),
        ?assertMatch({match, _}, re:run(table(), "^probe off, mixer off, rescue off, handlers off$", [multiline])),
        %% The owner dies: nobody is asked for a rescue, the call is not kept for one, and its recording stays unmixed.
        Owner = served(1),
        exit(Owner, kill),
        ok = dead(1),
        advance(3600000),
        ?assertMatch([#{<<"recording">> := #{<<"state">> := <<"none">>}}], era_callstore:record(cid(1)))
    end).

modules_that_are_set_are_named() ->
    Handler = {<<"lines">>, era_callstore_handler_tests, #{test => spawn(fun() -> receive stop -> ok end end)}},
    Set = #{probe => ?MODULE, mixer => ?MODULE, rescue => ?MODULE},
    with(Set#{handlers => [Handler], deliver_timeout_ms => 100}, fun() ->
        #{groups := #{1 := #{watch := #{behaviours := OfGroup}}}, behaviours := Behaviours} = era_callstore:status(),
        ?assertEqual(Set, OfGroup),
        ?assertEqual(Set#{handlers => [<<"lines">>]}, Behaviours),
        Name = atom_to_list(?MODULE),
        Line = ["^probe ", Name, ", mixer ", Name, ", rescue ", Name, ", handlers lines$"],
        ?assertMatch({match, _}, re:run(table(), Line, [multiline]))
    end).

a_rescue_in_time_gives_the_call_to_its_new_owner() ->
    with(#{rescue => ?MODULE}, fun() ->
        {Pid, Spare} = asked_for_a_rescue(),
        answer(Pid, {ok, Spare}),
        until(fun() -> owner(1) =:= Spare end),
        advance(60000),
        ?assertEqual({<<"confirmed">>, []}, {state(1), era_callstore:record(cid(1))}),
        exit(Spare, kill),
        {Next, {rescue, #{owner := Spare}}} = asked_after_a_death(),
        answer(Next, {error, nobody}),
        ok = dead(1)
    end).

a_rescue_that_answers_too_late_has_no_effect() ->
    with(#{rescue => ?MODULE}, fun() ->
        {Pid, Spare} = asked_for_a_rescue(),
        %% The time is up on the clock of the application; the one who asks is not ended yet.
        advance(5000),
        ok = dead(1),
        Before = era_callstore:record(cid(1)),
        gone(Pid, {ok, Spare}),
        advance(60000),
        ?assertEqual(<<"dead">>, state(1)),
        ?assertNotEqual(Spare, owner(1)),
        ?assertEqual(Before, era_callstore:record(cid(1))),
        ?assertEqual(1, deaths())
    end).

a_rescue_that_answers_after_the_real_end_has_no_effect() ->
    with(#{rescue => ?MODULE}, fun() ->
        {Pid, Spare} = asked_for_a_rescue(),
        {ok, _} = era_callstore:put(lists:nthtail(3, events(1))),
        advance(100),
        [#{<<"end">> := #{<<"origin">> := <<"signalled">>}}] = Before = era_callstore:record(cid(1)),
        gone(Pid, {ok, Spare}),
        advance(60000),
        ?assertEqual(<<"closed">>, state(1)),
        ?assertEqual(Before, era_callstore:record(cid(1))),
        ?assertEqual(0, deaths())
    end).

a_mixer_that_fails_in_any_way_is_asked_again() ->
    with(#{mixer => ?MODULE, mixer_timeout_ms => 200}, fun() ->
        ok = recorded_and_dead(1),
        Fails = [{error, busy}, {exit, on_purpose}, rubbish, silence],
        lists:foreach(
            fun({Attempt, Fail}) ->
                {Pid, {mix, #{<<"attempt">> := Attempt, <<"dialogid">> := <<"d1">>, <<"start">> := Start}}} = asked(),
                ?assertEqual(base() + 2000, Start),
                gone(Pid, Fail),
                until(fun() -> recording(1) =:= <<"failed">> end),
                %% Not before the pause is over.
                advance(9000),
                nothing_asked(),
                advance(12000)
            end,
            lists:zip(lists:seq(1, length(Fails)), Fails)
        ),
        {Pid, {mix, #{<<"attempt">> := 5}}} = asked(),
        gone(Pid, ok),
        until(fun() -> recording(1) =:= <<"asked">> end),
        advance(3600000),
        nothing_asked()
    end).

a_mix_is_asked_for_once_whatever_speaks_for_the_death() ->
    with(#{mixer => ?MODULE, probe => ?MODULE}, fun() ->
        Owner = served(1),
        {ok, _} = era_callstore:put(rec_info(1)),
        Inventory = #{kind => inventory, owner => Owner, dialogs => []},
        Silent = #{kind => rtp, dialogid => <<"d1">>, last_ms => era_callstore_clock:now_ms(), active => false},
        Gone = #{kind => gone, dialogid => <<"d1">>},
        Speak = fun() ->
            ok = era_callstore:report([Gone, Inventory, Silent]),
            advance(200)
        end,
        exit(Owner, kill),
        [Speak() || _ <- lists:seq(1, 3)],
        [_, _, _, #{<<"data">> := Data} = End | _] = events(1),
        Own = End#{<<"type">> => <<"dlg_dead">>, <<"data">> := Data#{<<"eventid">> => eventid(70)}},
        {ok, _} = era_callstore:put(Own),
        until(fun() -> Speak(), is_asked() end),
        {Pid, {mix, #{<<"attempt">> := 1}}} = asked(),
        %% While it is at it, it is not asked beside itself, though the time for the next attempt comes.
        [Speak() || _ <- lists:seq(1, 3)],
        advance(15000),
        advance(15000),
        nothing_asked(),
        gone(Pid, ok),
        [Speak() || _ <- lists:seq(1, 3)],
        advance(3600000),
        nothing_asked(),
        ?assertEqual(1, deaths())
    end).

links_close_a_mix_that_nobody_took() ->
    with(#{mixer => ?MODULE}, fun() ->
        ok = recorded_and_dead(1),
        {Pid, {mix, #{<<"attempt">> := 1}}} = asked(),
        gone(Pid, {error, busy}),
        until(fun() -> recording(1) =:= <<"failed">> end),
        #{<<"data">> := Data} = Info = rec_info(1),
        Link = Data#{<<"eventid">> => eventid(80), <<"link">> => <<"rec/1.mp3">>},
        {ok, _} = era_callstore:put(Info#{<<"type">> => <<"call_rec_links">>, <<"data">> := Link}),
        advance(3600000),
        nothing_asked(),
        ?assertEqual(<<"mixed">>, recording(1))
    end).

%% --- what happens

with(Settings, Fun) ->
    true = register(?MODULE, self()),
    ok = era_callstore_clock:use_virtual(base()),
    Common = #{sinks => [{collection, #{}}], watch => ?LIMITS, retry_min_ms => 10, retry_max_ms => 50},
    Dir = era_callstore_test_app:start(maps:merge(Common, Settings)),
    {ok, {Seq, _}} = era_callstore_feed:where(1, node(), now),
    put(began, Seq),
    try
        Fun()
    after
        true = unregister(?MODULE),
        era_callstore_test_app:stop(Dir)
    end.

%% Time goes on, everything due is done and delivered.
advance(Ms) ->
    ok = era_callstore_clock:advance_to(era_callstore_clock:now_ms() + Ms),
    ok = era_callstore_outbox:drain(1, ?ASK_MS).

%% A conversation, and the process that serves it.
served(N) ->
    Owner = spawn(fun() -> receive hang_up -> ok end end),
    {ok, #{accepted := 3}} = era_callstore:put(lists:sublist(events(N), 3), #{owner => Owner}),
    advance(3000),
    until(fun() -> {monitored_by, By} = process_info(Owner, monitored_by), By =/= [] end),
    Owner.

asked_for_a_rescue() ->
    Owner = served(1),
    exit(Owner, kill),
    {Pid, {rescue, #{owner := Owner, dialogid := <<"d1">>}}} = asked_after_a_death(),
    {Pid, spawn(fun() -> receive hang_up -> ok end end)}.

%% In steps: what is seen in one is told before the next.
asked_after_a_death() ->
    until(fun() -> advance(200), is_asked() end),
    asked().

is_asked() ->
    {messages, Messages} = process_info(self(), messages),
    [What || {Pid, {_, _} = What} <- Messages, is_pid(Pid)] =/= [].

recorded_and_dead(N) ->
    Owner = served(N),
    {ok, _} = era_callstore:put(rec_info(N)),
    exit(Owner, kill),
    ok = dead(N),
    %% Somebody might still speak of its RTP.
    advance(1000).

dead(N) ->
    until(fun() -> advance(200), state(N) =:= <<"dead">> end).

%% The one that asks has its answer, or is left without, and has ended; what follows from it is done.
gone(Pid, Answer) ->
    Monitor = erlang:monitor(process, Pid),
    _ = [answer(Pid, Answer) || Answer =/= silence],
    receive {'DOWN', Monitor, process, Pid, _} -> ok after ?ASK_MS -> error(still_there) end,
    until(fun() ->
        #{groups := #{1 := #{watch := #{waiting := #{running := Running}}}}} = era_callstore:status(),
        Running =:= 0
    end).

state(N) ->
    {ok, #{<<"state">> := State}} = era_callstore:call({cid, cid(N)}),
    State.

owner(N) ->
    {ok, #{<<"owner">> := Owner}} = era_callstore:call({cid, cid(N)}),
    Owner.

recording(N) ->
    ok = era_callstore_outbox:drain(1, ?ASK_MS),
    [#{<<"recording">> := #{<<"state">> := State}} | _] = era_callstore:record(cid(N)),
    State.

%% As a subscriber hears of them.
deaths() ->
    {ok, Ref} = era_callstore:subscribe(#{since => get(began)}),
    {ok, _} = era_callstore:put(era_callstore_test_app:invite(99)),
    heard(Ref, 0).

heard(Ref, Deaths) ->
    receive
        {era_callstore, Ref, _, #{<<"type">> := <<"dlg_dead">>}} -> heard(Ref, Deaths + 1);
        {era_callstore, Ref, _, #{<<"type">> := <<"invite">>, <<"data">> := #{<<"cid">> := Cid}}} ->
            case cid(99) of
                Cid -> Deaths;
                _ -> heard(Ref, Deaths)
            end;
        {era_callstore, Ref, _, _} -> heard(Ref, Deaths)
    after ?ASK_MS -> error(not_heard)
    end.

table() -> unicode:characters_to_binary(era_callstore_status:table(era_callstore:status())).

rec_info(N) ->
    [_, _, #{<<"data">> := Data} = Start | _] = events(N),
    More = #{<<"eventid">> => eventid(60), <<"domain">> => <<"alfa.era.test">>, <<"isrec">> => true},
    Start#{<<"type">> := <<"rec_info">>, <<"data">> := maps:merge(Data, More)}.

eventid(Nth) -> iolist_to_binary(io_lib:format("e~7..0b-0000-4000-8000-000000000001", [Nth])).
