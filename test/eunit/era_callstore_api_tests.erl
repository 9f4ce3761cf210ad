%%% Reading and running, as code outside is written against it: names, filter keys, shapes of answers; on the defaults.
%%%
%%% Says nothing but era_callstore:… to the application, started with nothing set but a folder. What goes in is the
%%% other half: era_callstore_api_events_tests.
-module(era_callstore_api_tests).

-include_lib("eunit/include/eunit.hrl").

-import(era_callstore_test_calls, [cid/1, conversation/1, ending/1, event/4, invite/2, put_all/1, put_all/2]).
-import(era_callstore_test_app, [until/1]).

-define(BASE, 1795378165000).
-define(FULL, [
    <<"schema">>, <<"record_id">>, <<"revision">>, <<"cid">>, <<"connectionid">>, <<"invitets">>, <<"acallid">>,
    <<"bcallid">>, <<"dialogid">>, <<"domain">>, <<"bdomain">>, <<"master_domain">>, <<"site">>, <<"group">>,
    <<"node">>, <<"epoch">>, <<"a">>, <<"b">>, <<"routing">>, <<"forks">>, <<"answer">>, <<"holds">>, <<"links">>,
    <<"bindings">>, <<"media">>, <<"recording">>, <<"end">>, <<"durations">>, <<"completeness">>
]).

api_test_() ->
    {foreach, fun() -> era_callstore_test_app:start(#{}) end, fun era_callstore_test_app:stop/1, [
        {atom_to_list(element(2, erlang:fun_info(Test, name))), {timeout, 60, Test}}
     || Test <- [
            fun a_call_is_found_by_every_key/0,
            fun a_call_has_the_shape_of_its_record_and_state_and_owner/0,
            fun an_owner_comes_back_as_it_was_said/0,
            fun calls_are_filtered_by_every_key/0,
            fun keys_of_a_filter_are_joined_by_and/0,
            fun pages_meet_and_end_in_done/0,
            fun counts_are_those_of_the_pages/0,
            fun counts_of_a_domain_go_one_level_down/0,
            fun every_state_is_said_by_its_name/0,
            fun explain_has_a_line_for_each_event/0,
            fun a_record_has_all_keys_and_all_revisions_newest_first/0,
            fun records_are_filtered_and_paged/0,
            fun the_projection_is_a_collection/0,
            fun the_owner_of_a_domain_is_the_active_instance/0,
            fun status_has_every_key/0,
            fun digests_are_equal_for_equal_sets/0,
            fun metrics_are_prometheus_text/0,
            fun i_prints_a_table/0,
            fun configure_changes_what_is_named_and_only_that/0,
            fun check_changes_nothing/0
        ]
    ]}.

%% --- reading a call

a_call_is_found_by_every_key() ->
    ok = put_all(conversation(1)),
    Found = [
        era_callstore:call(Key)
     || Key <- [
            {cid, cid(1)}, {cid, string:uppercase(cid(1))}, {dialogid, <<"D1">>}, {callid, <<"A1@h">>},
            {callid, <<"B1">>}, {callid, <<"F1">>},
            {connectionid, <<(cid(1))/binary, ".", (integer_to_binary(?BASE))/binary>>}
        ]
    ],
    ?assertMatch([{ok, #{<<"dialogid">> := <<"D1">>}}], lists:usort(Found)),
    [?assertEqual(not_found, era_callstore:call({Kind, <<"no">>})) || Kind <- [cid, dialogid, callid, connectionid]].

a_call_has_the_shape_of_its_record_and_state_and_owner() ->
    ok = put_all(conversation(1)),
    {ok, Call} = era_callstore:call({cid, cid(1)}),
    ?assertEqual([], (?FULL ++ [<<"state">>, <<"owner">>]) -- maps:keys(Call)),
    ?assertMatch(
        #{
            <<"state">> := <<"confirmed">>, <<"owner">> := null, <<"revision">> := null, <<"end">> := null,
            <<"domain">> := <<"sales.alfa.era.test">>, <<"bdomain">> := <<"beta.era.test">>,
            <<"a">> := #{<<"number">> := <<"100">>, <<"uri">> := <<"sip:100@sales.alfa.era.test">>},
            <<"forks">> := [
                #{<<"callid">> := <<"F1">>, <<"won">> := false}, #{<<"callid">> := <<"B1">>, <<"won">> := true}
            ],
            <<"answer">> := ?BASE + 2000, <<"bindings">> := [<<"vip">>], <<"group">> := 1, <<"site">> := <<"site1">>
        },
        Call
    ).

an_owner_comes_back_as_it_was_said() ->
    Owners = [self(), {some_server, node()}, node(), {external, <<"gw 7">>}],
    [
        begin
            ok = put_all(conversation(N), #{owner => Owner}),
            ?assertMatch({ok, #{<<"owner">> := Owner}}, era_callstore:call({cid, cid(N)})),
            ?assertMatch(#{items := [#{<<"owner">> := Owner}], cursor := done}, era_callstore:calls(#{owner => Owner}))
        end
     || {N, Owner} <- lists:zip(lists:seq(1, length(Owners)), Owners)
    ].

calls_are_filtered_by_every_key() ->
    ok = put_all(conversation(1), #{owner => {external, <<"gw">>}}),
    ok = put_all([invite(2, <<"gamma.era.test">>)]),
    Of = fun(Filter) -> lists:sort([Cid || #{<<"cid">> := Cid} <- maps:get(items, era_callstore:calls(Filter))]) end,
    One = [cid(1)],
    Two = [cid(2)],
    [
        ?assertEqual({Filter, Found}, {Filter, Of(Filter)})
     || {Filter, Found} <- [
            {#{}, One ++ Two},
            {#{domain => <<"era.test">>}, One ++ Two},
            {#{domain => <<"era.test">>, subtree => false}, []},
            {#{domain => <<"alfa.era.test">>}, One},
            {#{domain => <<"ALFA.era.test">>}, One},
            {#{domain => <<"beta.era.test">>, subtree => false}, One},
            {#{domain => <<"gamma.era.test">>}, Two},
            {#{domain => <<"fa.era.test">>}, []},
            {#{user => <<"100@sales.alfa.era.test">>}, One},
            {#{user => <<"200@beta.era.test">>}, One},
            {#{user => <<"100@beta.era.test">>}, []},
            {#{number => <<"200">>}, One},
            {#{state => confirmed}, One},
            {#{state => <<"initiated">>}, Two},
            {#{state => held}, []},
            {#{binding => <<"vip">>}, One},
            {#{binding => <<"was">>}, []},
            {#{owner => {external, <<"gw">>}}, One},
            {#{group => 1}, One ++ Two},
            {#{since_ms => ?BASE}, One ++ Two},
            {#{since_ms => ?BASE + 1000000}, []}
        ]
    ].

keys_of_a_filter_are_joined_by_and() ->
    ok = put_all(conversation(1) ++ conversation(2)),
    ok = put_all([event(2, <<"hold">>, 5000, #{<<"dialogid">> => <<"D2">>, <<"xcallid">> => <<"A2@h">>})]),
    All = #{
        domain => <<"alfa.era.test">>, subtree => true, user => <<"200@beta.era.test">>, number => <<"100">>,
        state => confirmed, binding => <<"vip">>, group => 1, since_ms => 0
    },
    ?assertMatch(#{items := [#{<<"dialogid">> := <<"D1">>}], cursor := done}, era_callstore:calls(All)),
    ?assertMatch(#{items := [#{<<"dialogid">> := <<"D2">>}]}, era_callstore:calls(All#{state := held})),
    ?assertEqual(#{items => [], cursor => done}, era_callstore:calls(All#{number := <<"101">>})),
    ?assertEqual(1, era_callstore:count(All)).

pages_meet_and_end_in_done() ->
    ok = put_all([invite(N, <<"alfa.era.test">>) || N <- lists:seq(1, 45)]),
    [
        begin
            Pages = pages(Filter, #{limit => Limit}),
            Cids = [Cid || Page <- Pages, #{<<"cid">> := Cid} <- Page],
            ?assertEqual([cid(N) || N <- lists:seq(1, 45)], lists:sort(Cids)),
            ?assert(lists:all(fun(Page) -> length(Page) =< Limit end, Pages))
        end
     || Filter <- [#{}, #{domain => <<"alfa.era.test">>}, #{state => initiated}], Limit <- [1, 7, 45, 1000]
    ],
    #{items := Items, cursor := Cursor} = era_callstore:calls(#{}),
    ?assertEqual({20, true}, {length(Items), is_binary(Cursor)}).

counts_are_those_of_the_pages() ->
    ok = put_all(conversation(1) ++ conversation(2) ++ [invite(3, <<"beta.era.test">>)]),
    Paged = fun(Filter) -> length(lists:append(pages(Filter, #{limit => 2}))) end,
    [
        ?assertEqual({Filter, Paged(Filter)}, {Filter, era_callstore:count(Filter)})
     || Filter <- [
            #{}, #{domain => <<"beta.era.test">>}, #{domain => <<"era.test">>, subtree => false}, #{state => confirmed},
            #{user => <<"100@sales.alfa.era.test">>}, #{number => <<"200">>}, #{binding => <<"vip">>}, #{group => 1},
            #{domain => <<"beta.era.test">>, state => initiated}
        ]
    ].

counts_of_a_domain_go_one_level_down() ->
    ok = put_all(conversation(1) ++ [invite(2, <<"alfa.era.test">>)]),
    ?assertEqual(
        #{
            <<"era.test">> => #{},
            <<"alfa.era.test">> => #{<<"confirmed">> => 1, <<"initiated">> => 1},
            <<"beta.era.test">> => #{<<"confirmed">> => 1}
        },
        era_callstore:counts(<<"era.test">>)
    ),
    ?assertEqual(
        #{<<"alfa.era.test">> => #{<<"initiated">> => 1}, <<"sales.alfa.era.test">> => #{<<"confirmed">> => 1}},
        era_callstore:counts(<<"alfa.era.test">>)
    ).

every_state_is_said_by_its_name() ->
    D = #{<<"dialogid">> => <<"D1">>},
    Steps = [
        {<<"invite">>, #{}, <<"initiated">>},
        {<<"route">>, #{<<"ruleid">> => <<"r">>}, <<"routing">>},
        {<<"dlg_init">>, D, <<"calling">>},
        {<<"fork_start">>, D#{<<"forkcallid">> => <<"F1">>}, <<"early">>},
        {<<"dlg_start">>, D#{<<"bcallid">> => <<"F1">>}, <<"confirmed">>},
        {<<"hold">>, D#{<<"xcallid">> => <<"A1@h">>}, <<"held">>},
        {<<"unhold">>, D#{<<"xcallid">> => <<"A1@h">>}, <<"confirmed">>},
        {<<"dlg_end">>, D#{<<"stopreason">> => <<"bye">>, <<"stopside">> => <<"b">>}, <<"ended">>},
        {<<"dlg_stop">>, D#{<<"stopreason">> => <<"bye">>, <<"stopside">> => <<"b">>}, <<"closed">>}
    ],
    [
        begin
            ok = put_all([event(1, Type, At, Fields)]),
            ?assertMatch({ok, #{<<"state">> := State}}, era_callstore:call({cid, cid(1)}))
        end
     || {At, {Type, Fields, State}} <- lists:zip(lists:seq(1, length(Steps)), Steps)
    ],
    ok = put_all([event(2, Type, 1, #{<<"dialogid">> => <<"D2">>}) || Type <- [<<"dlg_start">>, <<"dlg_dead">>]]),
    {ok, #{<<"state">> := Dead}} = era_callstore:call({cid, cid(2)}),
    ?assert(lists:member(Dead, [<<"dead">>, <<"closed">>])).

explain_has_a_line_for_each_event() ->
    Events = conversation(1),
    ok = put_all(Events, #{producer => <<"b2b-1">>}),
    {ok, [Cid | Lines]} = era_callstore:explain({dialogid, <<"D1">>}),
    ?assertEqual(cid(1), Cid),
    [
        ?assertMatch([_ | _], [Line || Line <- Lines, binary:match(Line, <<" ", Type/binary, " ">>) =/= nomatch])
     || #{<<"type">> := Type} <- Events
    ],
    ?assertMatch([_ | _], [Line || Line <- Lines, binary:match(Line, <<"b2b-1">>) =/= nomatch]),
    ?assertEqual(not_found, era_callstore:explain({cid, cid(9)})).

%% --- records

a_record_has_all_keys_and_all_revisions_newest_first() ->
    ok = put_all(conversation(1) ++ ending(1)),
    ok = until(fun() -> length(era_callstore:record(cid(1))) =:= 1 end),
    [Record] = era_callstore:record(cid(1)),
    ?assertEqual([], ?FULL -- maps:keys(Record)),
    ?assertMatch(
        #{
            <<"schema">> := 1, <<"revision">> := 1, <<"epoch">> := 1, <<"node">> := <<"nonode@nohost">>,
            <<"end">> := #{
                <<"ts">> := ?BASE + 12000, <<"term_cause">> := 1, <<"completion">> := <<"bye">>,
                <<"released_by">> := <<"a">>, <<"origin">> := <<"signalled">>, <<"estimated">> := false,
                <<"evidence">> := []
            },
            <<"durations">> := #{
                <<"setup_ms">> := 2000, <<"talk_ms">> := 10000, <<"hold_ms">> := 0, <<"total_ms">> := 12000
            },
            <<"completeness">> := #{<<"start_lost">> := false, <<"stop_lost">> := false, <<"unknown_types">> := []}
        },
        Record
    ),
    Links = #{<<"dialogid">> => <<"D1">>, <<"link">> => <<"rec/1">>, <<"size">> => 7},
    ok = put_all([event(1, <<"call_rec_links">>, 60000, Links)]),
    ok = until(fun() -> length(era_callstore:record(cid(1))) =:= 2 end),
    ?assertMatch(
        [#{<<"revision">> := 2, <<"recording">> := #{<<"links">> := [<<"rec/1">>], <<"size">> := 7}}, Record],
        era_callstore:record(string:uppercase(cid(1)))
    ),
    ?assertEqual(1, length(lists:usort([Id || #{<<"record_id">> := Id} <- era_callstore:record(cid(1))]))),
    ?assertEqual([], era_callstore:record(cid(2))),
    ?assertEqual(0, era_callstore:count(#{})).

records_are_filtered_and_paged() ->
    ok = put_all(lists:append([conversation(N) ++ ending(N) || N <- lists:seq(1, 5)])),
    All = fun(Filter) -> era_callstore:records(Filter, #{limit => 100}) end,
    ok = until(fun() -> length(maps:get(items, All(#{}))) =:= 5 end),
    [
        ?assertEqual({Filter, Number}, {Filter, length(maps:get(items, All(Filter)))})
     || {Filter, Number} <- [
            {#{domain => <<"alfa.era.test">>}, 5}, {#{domain => <<"alfa.era.test">>, subtree => false}, 0},
            {#{domain => <<"beta.era.test">>, subtree => false}, 5}, {#{since_ms => ?BASE + 12000}, 5},
            {#{since_ms => ?BASE + 12001}, 0}
        ]
    ],
    #{items := [_, _], cursor := C1} = era_callstore:records(#{}, #{limit => 2}),
    #{items := [_, _], cursor := C2} = era_callstore:records(#{}, #{limit => 2, cursor => C1}),
    #{items := [_], cursor := done} = era_callstore:records(#{}, #{limit => 2, cursor => C2}).

the_projection_is_a_collection() ->
    Projecting = [maps:put(<<"sorm3_enabled">>, true, role(1))],
    ok = era_callstore:configure(#{roles => Projecting}),
    ok = put_all(conversation(1) ++ ending(1) ++ [event(2, <<"invite">>, 0, #{}), event(2, <<"call_cancel">>, 5, #{})]),
    Rows = fun() -> maps:get(items, era_callstore:collection(<<"cdr/COPM3_dialogs">>, #{}, #{})) end,
    ok = until(fun() -> Rows() =/= [] end),
    [Row] = Rows(),
    ?assertEqual(
        lists:sort([
            <<"begin_time">>, <<"end_time">>, <<"client_ipv4">>, <<"client_ip_port">>, <<"protocol_code">>,
            <<"session_id">>, <<"duration">>, <<"call_type_id">>, <<"calling_original_number">>,
            <<"calling_translated_number">>, <<"called_original_number">>, <<"called_translated_number">>, <<"fax">>,
            <<"term_cause">>, <<"gateway_ip4">>, <<"invite_id">>, <<"invite_ts">>, <<"acallid">>, <<"bcallid">>
        ]),
        lists:sort(maps:keys(Row))
    ),
    ?assertMatch(
        #{
            <<"begin_time">> := ?BASE, <<"end_time">> := ?BASE + 12000, <<"duration">> := 10, <<"term_cause">> := 1,
            <<"protocol_code">> := 5060, <<"session_id">> := <<"A1@h">>, <<"acallid">> := <<"A1@h">>,
            <<"bcallid">> := <<"B1">>
        },
        Row
    ),
    ?assertEqual(#{items => [], cursor => done}, era_callstore:collection(<<"no such">>, #{}, #{})).

%% --- running it

the_owner_of_a_domain_is_the_active_instance() ->
    Expected = #{group => 1, instance => <<"callstore1">>, node => node()},
    Domains = [<<"era.test">>, <<"alfa.era.test">>, <<"elsewhere.test">>],
    [?assertEqual(Expected, era_callstore:owner(Domain)) || Domain <- Domains].

status_has_every_key() ->
    ok = put_all(conversation(1)),
    #{site := <<"site1">>, node := Node, groups := #{1 := Group}} = era_callstore:status(),
    ?assertEqual(node(), Node),
    ?assertMatch(
        #{
            state := active, instance := <<"callstore1">>, epoch := 1, active := Node, copies := [Node],
            lag_chunks := 0, live := 1, closed := 0, outbox := #{<<"collection">> := #{depth := 0, oldest_ms := 0}}
        },
        Group
    ),
    [?assert(map_get(Key, Group) > 0) || Key <- [log_chunks, log_bytes, memory_bytes]].

digests_are_equal_for_equal_sets() ->
    Digest = fun() -> maps:get(node(), era_callstore:digest(1)) end,
    Empty = Digest(),
    ok = put_all(conversation(1)),
    One = Digest(),
    ok = put_all(lists:reverse(conversation(1))),
    ?assertEqual(One, Digest()),
    ok = put_all([event(2, <<"invite">>, 0, #{})]),
    ?assertEqual(3, length(lists:usort([Empty, One, Digest()]))).

metrics_are_prometheus_text() ->
    ok = put_all(conversation(1)),
    Text = iolist_to_binary(era_callstore:metrics()),
    Lines = binary:split(Text, <<"\n">>, [global, trim]),
    Form = "^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+({[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*})? -?[0-9.]+)$",
    ?assertEqual([], [Line || Line <- Lines, re:run(Line, Form) =:= nomatch]),
    ?assertNotEqual(nomatch, binary:match(Text, <<"era_callstore_live_calls{group=\"1\"} 1\n">>)).

i_prints_a_table() ->
    Self = group_leader(),
    Printer = spawn_link(fun() -> collect_io([]) end),
    group_leader(Printer, self()),
    Answer = try era_callstore:i() after group_leader(Self, self()) end,
    ?assertEqual(ok, Answer),
    Printer ! {printed, self()},
    Text = receive {Printer, Printed} -> unicode:characters_to_binary(Printed) end,
    [?assertNotEqual(nomatch, binary:match(Text, Word)) || Word <- [<<"callstore1">>, <<"active">>, <<"live">>]].

configure_changes_what_is_named_and_only_that() ->
    ok = put_all([event(1, <<"invite">>, 0, #{})]),
    Aliases = #{<<"ring">> => <<"fork_start">>},
    ?assertEqual(ok, era_callstore:configure(#{site => <<"msk">>, event_aliases => Aliases})),
    ?assertMatch(#{site := <<"msk">>}, era_callstore:status()),
    ?assertMatch({ok, #{site := <<"msk">>, commit := transaction}}, era_callstore:configuration()),
    ok = put_all([event(1, <<"ring">>, 5, #{<<"forkcallid">> => <<"F1">>})]),
    ?assertMatch({ok, #{<<"state">> := <<"early">>}}, era_callstore:call({cid, cid(1)})),
    ?assertMatch({error, [#{key := <<"commit">>, value := soon}]}, era_callstore:configure([{commit, soon}])),
    ?assertMatch({ok, #{commit := transaction}}, era_callstore:configuration()).

check_changes_nothing() ->
    Before = era_callstore:configuration(),
    ?assertEqual(ok, era_callstore:check(#{})),
    ?assertEqual(ok, era_callstore:check([{site, <<"spb">>}])),
    {error, [Problem]} = era_callstore:check(#{roles => [maps:put(<<"group">>, 0, role(1))]}),
    ?assertMatch(
        #{instance := <<"callstore1">>, key := <<"group">>, value := 0, reason := bad_value, text := <<_, _/binary>>},
        Problem
    ),
    ?assertEqual(Before, era_callstore:configuration()).

%% --- helpers

pages(Filter, Page) ->
    #{items := Items, cursor := Cursor} = era_callstore:calls(Filter, Page),
    [Items | case Cursor of done -> []; _ -> pages(Filter, Page#{cursor => Cursor}) end].

collect_io(Printed) ->
    receive
        {io_request, From, Ref, {put_chars, _, Chars}} ->
            From ! {io_reply, Ref, ok},
            collect_io([Printed, Chars]);
        {printed, Asks} ->
            Asks ! {self(), Printed}
    end.

role(Group) ->
    #{
        <<"name">> => <<"callstore1">>, <<"roletype">> => <<"callstore">>, <<"iface">> => <<"lan">>,
        <<"group">> => Group, <<"order">> => 1, <<"include_domains">> => []
    }.
