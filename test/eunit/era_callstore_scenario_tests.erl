%%% Plays the files of test/scenarios/ through the whole application: put, log, fold, ticker, outbox, collection.
%%%
%%% Always holds: every variant of a scenario begins with an empty application on virtual time; after a step everything
%%% due is done and delivered before anything is looked at.
-module(era_callstore_scenario_tests).

-include_lib("eunit/include/eunit.hrl").

-define(GROUP, 11010).
-define(PROJECTION, <<"cdr/COPM3_dialogs">>).
-define(BATCH, 1000).
-define(WAIT_MS, 30000).
%% Of the orders of a batch so many are played here; the Rust tests play all.
-define(ORDERS, 6).
-define(STEPS, [
    <<"put">>, <<"advance">>, <<"expect">>, <<"repeat">>, <<"many">>, <<"owner_down">>, <<"node_down">>, <<"node_up">>,
    <<"probe">>, <<"rescue">>, <<"report">>
]).
%% Where owners are watched, time goes in steps: what is asked in one is answered before the next. How long a step of an
%% advance up to so much is.
-define(WATCH_STEPS_MS, [{600000, 1000}, {3600000, 10000}, {infinity, 60000}]).

-record(run, {
    scenario :: era_callstore_scenario:scenario(),
    variant :: as_given | twice | reversed | split | {order, non_neg_integer()},
    title :: unicode:chardata(),
    %% whether there are owners, probes or reports in it
    watched :: boolean()
}).

scenarios_test_() ->
    Names = era_callstore_scenario:names(),
    ?assert(length(Names) >= 39),
    {setup, fun silent/0, fun loud/1, [
        {lists:flatten(io_lib:format("~ts, ~0p", [Name, Variant])), {timeout, 120, fun() -> play(Name, Scenario, Variant) end}}
     || Name <- Names, {Scenario, Variants} <- [told(Name)], Variant <- Variants
    ]}.

told(Name) ->
    Scenario = era_callstore_scenario:load(Name),
    {Scenario, lists:append([variants(Variant, Scenario) || Variant <- maps:get(variants, Scenario)])}.

variants(<<"as given">>, _) -> [as_given];
variants(<<"twice">>, _) -> [twice];
variants(<<"reversed">>, _) -> [reversed];
variants(<<"split">>, _) -> [split];
variants(<<"permutations">>, #{steps := Steps}) ->
    Longest = lists:max([length(Put) || #{<<"put">> := Put} <- Steps]),
    All = lists:foldl(fun erlang:'*'/2, 1, lists:seq(1, Longest)),
    [{order, N * All div ?ORDERS + N} || N <- lists:seq(0, ?ORDERS - 1)].

%% --- the application

silent() ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, error),
    Level.

loud(Level) -> ok = logger:set_primary_config(level, Level).

play(Name, #{title := Title, steps := Steps} = Scenario, Variant) ->
    Run = #run{
        scenario = Scenario, variant = Variant, title = io_lib:format("~ts: ~ts, ~0p", [Name, Title, Variant]),
        watched = mentions([<<"owner">>, <<"probe">>, <<"report">>, <<"asked">>], Steps)
    },
    case Run#run.watched of
        true -> era_callstore_scenario_owners:begin_world();
        false -> ok
    end,
    try
        played(Run)
    after
        Run#run.watched andalso era_callstore_scenario_owners:end_world()
    end.

played(#run{scenario = #{base := Base, settings := Settings, steps := Steps}, watched = Watched} = Run) ->
    Dir = era_callstore_test_dir:make(),
    Rescues = mentions([<<"rescue">>], Steps),
    World = case Watched of true -> era_callstore_scenario_owners:settings(Rescues); false -> #{} end,
    ok = start(Base, Dir, Settings, World),
    try
        _ = [ok = era_callstore_scenario_owners:subscribe() || Watched],
        lists:foreach(fun({Number, Step}) -> step(Step, Number, Run) end, numbered(Steps))
    after
        era_callstore_test_app:stop(Dir)
    end.

mentions(Keys, Map) when is_map(Map) ->
    lists:any(fun(Key) -> is_map_key(Key, Map) end, Keys) orelse mentions(Keys, maps:values(Map));
mentions(Keys, List) when is_list(List) -> lists:any(fun(Value) -> mentions(Keys, Value) end, List);
mentions(_Keys, _Scalar) -> false.

start(Base, Dir, Settings, World) ->
    ok = era_callstore_clock:use_virtual(Base),
    Flags = maps:with([<<"cdr_enabled">>, <<"sorm3_enabled">>], Settings),
    Role = #{
        <<"name">> => <<"callstore1">>, <<"roletype">> => <<"callstore">>, <<"iface">> => <<"lo">>,
        <<"group">> => ?GROUP, <<"order">> => 1, <<"include_domains">> => [], <<"mnesia_storage_mode">> => <<"ram">>
    },
    {ok, _} = era_callstore_test_app:start_in(Dir, World#{
        roles => [maps:merge(Role, Flags)],
        site => <<"msk">>,
        master_domain => <<"era.test">>,
        sinks => [{collection, #{}}],
        event_aliases => maps:get(<<"event_aliases">>, Settings, #{}),
        watch => maps:get(<<"watch">>, Settings, #{})
    }),
    ok = era_callstore_router:await_active(?GROUP, ?WAIT_MS),
    ok = era_callstore_test_app:until(fun() -> maps:get(state, group_status()) =:= active end),
    ok = era_callstore_group:settled(?GROUP),
    settled().

%% Everything due now is done and every record is with the sink.
settled() ->
    ok = era_callstore_clock:advance_to(era_callstore_clock:now_ms()),
    ok = era_callstore_outbox:drain(?GROUP, ?WAIT_MS).

advance_to(Ms) ->
    ok = era_callstore_clock:advance_to(Ms),
    settled().

%% In steps where somebody is asked, and until all of them have answered.
advance(Ms, #run{watched = false}) ->
    advance_to(era_callstore_clock:now_ms() + Ms);
advance(Ms, #run{watched = true} = Run) ->
    [Step | _] = [Step || {Most, Step} <- ?WATCH_STEPS_MS, Ms =< Most],
    in_steps(era_callstore_clock:now_ms() + Ms, Step, Run).

in_steps(Target, Step, Run) ->
    Next = min(Target, era_callstore_clock:now_ms() + Step),
    ok = advance_to(Next),
    ok = answered(Run),
    case Next of
        Target -> ok;
        _ -> in_steps(Target, Step, Run)
    end.

answered(#run{watched = false}) ->
    ok;
answered(#run{watched = true}) ->
    ok = era_callstore_scenario_owners:idle(),
    settled().

%% --- steps

step(Step, Number, Run) ->
    case [Name || Name <- ?STEPS, maps:is_key(Name, Step)] of
        [<<"put">>] -> put(Step, Number, Run);
        [<<"advance">>] -> advance(maps:get(<<"advance">>, Step), Run);
        [<<"many">>] -> many(maps:get(<<"many">>, Step), Number, Run);
        [<<"owner_down">>] ->
            #{<<"owner_down">> := Owner, <<"reason">> := Reason} = Step,
            era_callstore_scenario_owners:owner_down(Owner, Reason);
        [<<"rescue">>] -> era_callstore_scenario_owners:rescues(rescues(maps:get(<<"rescue">>, Step), Run));
        [<<"node_down">>] -> era_callstore_scenario_owners:node_down(maps:get(<<"node_down">>, Step));
        [<<"node_up">>] -> era_callstore_scenario_owners:node_up(maps:get(<<"node_up">>, Step));
        [<<"probe">>] -> probe(maps:get(<<"probe">>, Step), Run);
        [<<"report">>] -> [ok = report(Report, Run) || Report <- maps:get(<<"report">>, Step)];
        [<<"repeat">>] -> repeat(maps:get(<<"repeat">>, Step), Number, Run);
        [<<"expect">>] -> expect(maps:get(<<"expect">>, Step), Number, Run)
    end,
    ok = answered(Run),
    check(Run).

numbered(List) -> lists:zip(lists:seq(1, length(List)), List).

put(#{<<"put">> := Specs} = Step, Number, #run{scenario = Scenario} = Run) ->
    Given = [
        #{spec => Spec, step => Number, index => Index, shift => 0}
     || {Index, Spec} <- numbered(Specs), maps:get(<<"only">>, Spec, <<"erlang">>) =:= <<"erlang">>
    ],
    ok = follow_clock(Given, Run),
    Events = [era_callstore_scenario:event(Scenario, One) || One <- Given],
    ok = put_all(Events, Step, Number, Run),
    ok = settled(),
    watched(Step).

watched(#{<<"owner">> := _}) -> era_callstore_scenario_owners:watched();
watched(#{}) -> ok.

%% The clock moves on to the latest of the events.
follow_clock(Given, #run{scenario = #{base := Base}}) ->
    case [Base + At + Shift || #{spec := #{<<"at">> := At}, shift := Shift} <- Given] of
        [] -> ok;
        Times -> advance_to(lists:max([era_callstore_clock:now_ms() | Times]))
    end.

put_all(Events, Step, Number, #run{variant = as_given, title = Title}) ->
    {ok, Answer} = era_callstore:put(Events, options(Step)),
    Wrong = answer_differs(Step, Answer),
    ?assertEqual([], Wrong, lists:flatten(io_lib:format("~ts, step ~b", [Title, Number])));
put_all(Events, _Step, _Number, #run{variant = twice}) ->
    {ok, _} = era_callstore:put(lists:append([[Event, Event] || Event <- Events])),
    ok = settled(),
    #{started := Started} = info(),
    {ok, _} = era_callstore:put(Events),
    ?assertMatch(#{started := Started}, info()),
    ok;
put_all(Events, _Step, _Number, #run{variant = reversed}) ->
    {ok, _} = era_callstore:put(lists:reverse(Events)),
    ok;
put_all(Events, _Step, _Number, #run{variant = split}) ->
    lists:foreach(fun(Event) -> {ok, _} = era_callstore:put(Event), ok = settled() end, Events);
put_all(Events, _Step, _Number, #run{variant = {order, Order}}) ->
    {ok, _} = era_callstore:put(era_callstore_scenario:order(Order, Events)),
    ok.

options(#{<<"owner">> := Owner}) -> #{owner => era_callstore_scenario_owners:owner(Owner)};
options(#{}) -> #{}.

answer_differs(Step, #{rejected := Rejected} = Answer) ->
    Counts = [
        {Key, Wanted, Actual}
     || Key <- [accepted, duplicate],
        #{Key := Actual} <- [Answer],
        {ok, Wanted} <- [maps:find(atom_to_binary(Key), Step)],
        Wanted =/= Actual
    ],
    Expected = maps:get(<<"rejected">>, Step, []),
    Missing = [Row || [Index | _] = Row <- Expected, not lists:keymember(Index, 1, Rejected)],
    Other = [Row || {Index, _} = Row <- Rejected, [E || [I | _] = E <- Expected, I =:= Index, reason_is(E, Row)] =:= []],
    Counts ++ Missing ++ Other.

reason_is([_, Kinds | Field], {_, Reason}) ->
    {Kind, About} =
        case Reason of
            {K, A} -> {K, [A]};
            K -> {K, []}
        end,
    lists:member(atom_to_binary(Kind), binary:split(Kinds, <<"|">>, [global])) andalso
        (Field =:= [] orelse [iolist_to_binary(io_lib:format("~ts", [A])) || A <- About] =:= Field).

repeat(#{<<"times">> := Times, <<"steps">> := Steps}, Number, Run) ->
    lists:foreach(fun(_) -> [step(Step, Number, Run) || Step <- Steps] end, lists:seq(1, Times));
repeat(#{<<"times">> := Times, <<"every">> := Every, <<"put">> := Specs}, Number, #run{scenario = Scenario} = Run) ->
    Placed = numbered([{Spec, Time * Every} || Time <- lists:seq(0, Times - 1), Spec <- Specs]),
    Given = [#{spec => Spec, step => Number, index => Index, shift => Shift} || {Index, {Spec, Shift}} <- Placed],
    ok = follow_clock(Given, Run),
    Events = [era_callstore_scenario:event(Scenario, One) || One <- Given],
    Ordered =
        case Run#run.variant of
            reversed -> lists:reverse(Events);
            _ -> Events
        end,
    ok = in_batches(Ordered),
    settled().

in_batches([]) ->
    ok;
in_batches(Events) ->
    {Batch, Rest} = lists:split(min(?BATCH, length(Events)), Events),
    {ok, _} = era_callstore:put(Batch),
    in_batches(Rest).

many(#{<<"calls">> := Calls, <<"put">> := Specs, <<"owner">> := Owner}, Number, #run{scenario = Scenario}) ->
    lists:foreach(
        fun(Call) ->
            {Label, Before} = {integer_to_binary(Call), (Call - 1) * length(Specs)},
            Given = [
                #{spec => Spec#{<<"call">> => Call}, step => Number, index => Index + Before, shift => 0}
             || {Index, Spec} <- numbered(Specs)
            ],
            Named = era_callstore_scenario:fill(Scenario, Owner, Label),
            {ok, _} = era_callstore:put(
                [era_callstore_scenario:event(Scenario, One) || One <- Given], options(#{<<"owner">> => Named})
            )
        end,
        lists:seq(1, Calls)
    ),
    ok = advance_to(era_callstore_clock:now_ms() + lists:max([At || #{<<"at">> := At} <- Specs])),
    era_callstore_scenario_owners:watched().

%% --- what others see and answer

probe(Answers, Run) ->
    Said = [{dialog(Call, Run), binary_to_existing_atom(Answer)} || {Call, Answer} <- maps:to_list(Answers)],
    era_callstore_scenario_owners:answers(maps:from_list(Said)).

rescues(Owners, Run) -> maps:from_list([{dialog(Call, Run), Owner} || {Call, Owner} <- maps:to_list(Owners)]).

report(#{<<"kind">> := <<"rtp">>, <<"call">> := Call, <<"active">> := Active} = Report, Run) ->
    #run{scenario = #{base := Base}} = Run,
    Last = maps:get(<<"last_at">>, Report, era_callstore_clock:now_ms() - Base),
    Rtp = #{kind => rtp, dialogid => dialog(Call, Run), last_ms => Base + Last, active => Active},
    era_callstore:report(Rtp);
report(#{<<"kind">> := <<"inventory">>, <<"owner">> := Owner, <<"calls">> := Calls}, Run) ->
    Dialogs = [dialog(Call, Run) || Call <- Calls],
    era_callstore:report(#{kind => inventory, owner => era_callstore_scenario_owners:owner(Owner), dialogs => Dialogs});
report(#{<<"kind">> := Kind, <<"call">> := Call}, Run) ->
    era_callstore:report(#{kind => binary_to_existing_atom(Kind), dialogid => dialog(Call, Run)}).

dialog(Call, #run{scenario = Scenario}) when is_integer(Call) ->
    era_callstore_scenario:fill(Scenario, <<"{dialogid}">>, integer_to_binary(Call));
dialog(Call, #run{scenario = Scenario}) ->
    era_callstore_scenario:fill(Scenario, <<"{dialogid}">>, Call).

%% --- expectations

expect(Expected, Number, #run{title = Title} = Run) ->
    Found = lists:append([hold(Key, Wanted, Run) || {Key, Wanted} <- maps:to_list(Expected)]),
    Text = [["\n  ", Line] || Line <- Found],
    ?assertEqual("", unicode:characters_to_list(Text), lists:flatten(io_lib:format("~ts, step ~b", [Title, Number]))).

hold(<<"live">>, Wanted, _Run) ->
    era_callstore_scenario:differences("live", Wanted, era_callstore:count(#{}));
hold(<<"closed">>, Wanted, _Run) ->
    era_callstore_scenario:differences("closed", Wanted, maps:get(closed, group_status()));
hold(<<"alarms">>, Wanted, _Run) ->
    #{watch := #{alarms := Alarms}} = group_status(),
    Told = #{
        <<"mass_death">> => length(Alarms),
        <<"count">> => lists:sum([Count || #{count := Count} <- Alarms]),
        <<"held">> => lists:sum([Held || #{held := Held} <- Alarms])
    },
    era_callstore_scenario:differences("alarms", Wanted, Told);
hold(<<"dlg_dead">>, #{<<"all">> := Wanted}, _Run) ->
    Deaths = era_callstore_scenario_owners:deaths(fun(Of) -> lists:sum(maps:values(Of)) >= Wanted end),
    era_callstore_scenario:differences("dlg_dead", Wanted, lists:sum(maps:values(Deaths)));
hold(<<"find">>, ByKey, #run{scenario = Scenario}) ->
    lists:append([
        era_callstore_scenario:differences(Filled, wanted_cid(Wanted, Scenario), found(Filled))
     || {Key, Wanted} <- maps:to_list(ByKey),
        Filled <- [era_callstore_scenario:fill(Scenario, Key, <<"1">>)]
    ]);
hold(<<"asked">>, ByCall, #run{scenario = Scenario} = Run) ->
    lists:append([
        era_callstore_scenario:differences(["asked of ", Call], Wanted, lists:sum(
            [era_callstore_scenario_owners:asked(Id) || Id <- [dialog(Call, Run), cid(Call, Scenario)]]
        ))
     || {Call, Wanted} <- maps:to_list(ByCall)
    ]);
hold(Key, ByCall, #run{scenario = Scenario}) ->
    lists:append([
        of_call(Key, [Key, " of ", Call], era_callstore_scenario:fill(Scenario, Wanted, Call), cid(Call, Scenario))
     || {Call, Wanted} <- maps:to_list(ByCall)
    ]).

of_call(<<"states">>, Path, Wanted, Cid) ->
    era_callstore_scenario:differences(Path, Wanted, maps:get(<<"state">>, call(Cid), absent));
of_call(<<"calls">>, Path, Wanted, Cid) ->
    era_callstore_scenario:differences(Path, Wanted, call(Cid));
of_call(<<"records">>, Path, Wanted, Cid) ->
    era_callstore_scenario:differences(Path, Wanted, newest(era_callstore:record(Cid)));
of_call(<<"revisions">>, Path, Wanted, Cid) ->
    Revisions = [Revision || #{<<"revision">> := Revision} <- era_callstore:record(Cid)],
    era_callstore_scenario:differences(Path, Wanted, Revisions);
of_call(<<"projections">>, Path, Wanted, Cid) ->
    #{items := Rows} = era_callstore:collection(?PROJECTION, #{}, #{limit => 1000}),
    era_callstore_scenario:differences(Path, Wanted, newest([Row || #{<<"invite_id">> := Of} = Row <- Rows, Of =:= Cid]));
of_call(<<"dlg_dead">>, Path, Wanted, Cid) ->
    Deaths = era_callstore_scenario_owners:deaths(fun(Of) -> maps:get(Cid, Of, 0) >= Wanted end),
    era_callstore_scenario:differences(Path, Wanted, maps:get(Cid, Deaths, 0));
of_call(<<"mix">>, Path, Wanted, Cid) ->
    era_callstore_scenario:differences(Path, Wanted, maps:get(Cid, era_callstore_scenario_owners:mixes(), 0));
of_call(<<"mix_jobs">>, Path, Wanted, Cid) ->
    era_callstore_scenario:differences(Path, Wanted, era_callstore_scenario_owners:mix_job(Cid));
of_call(<<"verdicts">>, Path, Wanted, Cid) ->
    {ok, Lines} = era_callstore:explain({cid, Cid}),
    [Verdict] = [Verdict || <<"watch: ", Rest/binary>> <- Lines, [Verdict | _] <- [binary:split(Rest, <<",">>)]],
    era_callstore_scenario:differences(Path, Wanted, Verdict);
of_call(<<"explains">>, Path, Words, Cid) ->
    {ok, Lines} = era_callstore:explain({cid, Cid}),
    Text = iolist_to_binary(lists:join($\n, Lines)),
    [[Path, ": no ", Word, " in\n", Text] || Word <- Words, binary:match(Text, Word) =:= nomatch].

newest([Newest | _]) -> Newest;
newest([]) -> null.

call(Cid) ->
    case era_callstore:call({cid, Cid}) of
        {ok, Call} -> Call;
        not_found -> #{}
    end.

found(Query) ->
    [Kind, Key] = binary:split(Query, <<":">>),
    case era_callstore:call({binary_to_existing_atom(Kind), Key}) of
        {ok, #{<<"cid">> := Cid}} -> Cid;
        not_found -> null
    end.

wanted_cid(null, _Scenario) -> null;
wanted_cid(Call, Scenario) -> cid(Call, Scenario).

cid(Call, Scenario) -> era_callstore_scenario:fill(Scenario, <<"{cid}">>, Call).

group_status() ->
    #{groups := #{?GROUP := Status}} = era_callstore:status(),
    Status.

%% What must be true at any moment.
check(#run{title = Title}) ->
    #{started := Started, live := Live, closed := Closed} = info(),
    ?assertEqual({Title, Started}, {Title, Live + Closed}),
    ?assertEqual(Live, era_callstore:count(#{})),
    #{items := Records} = era_callstore:records(#{}, #{limit => 100}),
    ByCall = maps:groups_from_list(fun(#{<<"cid">> := Cid}) -> Cid end, Records),
    maps:foreach(fun(_, Revisions) -> check_revisions(Revisions) end, ByCall).

info() ->
    {ok, Store} = era_callstore_router:store(?GROUP),
    era_callstore_nif:info(Store).

check_revisions(Revisions) ->
    ?assertMatch([_], lists:usort([Id || #{<<"record_id">> := Id} <- Revisions])),
    Numbers = lists:sort([Number || #{<<"revision">> := Number} <- Revisions]),
    ?assertEqual(lists:seq(1, length(Revisions)), Numbers).
