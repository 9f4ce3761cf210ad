%%% Real calls through the whole application, against what somebody else wrote down of them: the proxy's own CDRs.
%%%
%%% Plays ../shared/data/sip-calls.ndjson.gz where it is, else the sample inside the repository, on the events' own time;
%%% then shuffled inside a window of ten seconds with one event in twenty doubled.
-module(truth_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([in_order/1, shuffled_and_doubled/1]).

-define(GROUP, 11010).
-define(BATCH, 256).
-define(WINDOW_MS, 10000).
%% The proxy counts from the ACK, the events from the 200.
-define(TOLERANCE_MS, 60).
-define(WAIT_MS, 60000).
-define(PAGE, 500).

suite() -> [{timetrap, {minutes, 10}}].

all() -> [in_order, shuffled_and_doubled].

init_per_suite(Config) ->
    Folder = folder(filename:dirname(filename:absname(code:which(?MODULE)))),
    [{lines, lines(Folder)}, {cdrs, cdrs(Folder)} | Config].

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) ->
    [{_, First} | _] = ?config(lines, Config),
    ok = era_callstore_clock:use_virtual(element(1, First)),
    _ = application:load(era_callstore),
    Role = #{
        <<"name">> => <<"callstore1">>, <<"roletype">> => <<"callstore">>, <<"iface">> => <<"lo">>,
        <<"group">> => ?GROUP, <<"order">> => 1, <<"include_domains">> => [], <<"mnesia_storage_mode">> => <<"ram">>
    },
    ok = application:set_env(era_callstore, roles, [Role]),
    ok = application:set_env(era_callstore, data_dir, ?config(priv_dir, Config)),
    {ok, _} = application:ensure_all_started(era_callstore),
    Config.

end_per_testcase(_Case, _Config) ->
    ok = application:stop(era_callstore),
    _ = application:stop(mnesia),
    ok = application:unload(era_callstore),
    era_callstore_clock:use_system().

%% --- cases

in_order(Config) ->
    Lines = ?config(lines, Config),
    ok = play(Lines),
    held_against_proxy(Lines, ?config(cdrs, Config)).

shuffled_and_doubled(Config) ->
    _ = rand:seed(exsss, {2026, 11, 22}),
    Doubled = [Line || {_, _} = Line <- ?config(lines, Config), rand:uniform(20) =:= 1],
    Moved = [{Ts + rand:uniform(?WINDOW_MS), Line} || {_, {Ts, _, _}} = Line <- ?config(lines, Config) ++ Doubled],
    Shuffled = [Line || {_, Line} <- lists:keysort(1, Moved)],
    ok = play(Shuffled),
    held_against_proxy(Shuffled, ?config(cdrs, Config)).

%% --- playing

play(Lines) ->
    _ = batches(Lines, #{}),
    ok = era_callstore_clock:advance_to(era_callstore_clock:now_ms() + 3600000),
    era_callstore_outbox:drain(?GROUP, ?WAIT_MS).

batches([], Begun) ->
    Begun;
batches(Lines, Begun0) ->
    {Batch, Rest} = lists:split(min(?BATCH, length(Lines)), Lines),
    Latest = lists:max([Ts || {_, {Ts, _, _}} <- Batch]),
    ok = era_callstore_clock:advance_to(max(Latest, era_callstore_clock:now_ms())),
    {ok, Answer} = era_callstore:put_json([[Text, $\n] || {_, {_, _, Text}} <- Batch]),
    ?assertMatch(#{rejected := []}, Answer),
    ?assertEqual(length(Batch), maps:get(accepted, Answer) + maps:get(duplicate, Answer)),
    ok = era_callstore_clock:advance_to(era_callstore_clock:now_ms()),
    Begun = lists:foldl(fun({_, {_, Cid, _}}, Acc) -> Acc#{Cid => begun} end, Begun0, Batch),
    #{groups := #{?GROUP := #{live := Live, closed := Closed}}} = era_callstore:status(),
    ?assertEqual(maps:size(Begun), Live + Closed),
    ?assertEqual(Live, era_callstore:count(#{})),
    batches(Rest, Begun).

%% --- holding what came out against the proxy

held_against_proxy(Lines, Cdrs) ->
    ?assertEqual(0, era_callstore:count(#{})),
    ByCall = maps:groups_from_list(fun(#{<<"cid">> := Cid}) -> Cid end, all_records(start)),
    Calls = lists:usort([Cid || {_, {_, Cid, _}} <- Lines]),
    ?assertEqual(Calls, lists:sort(maps:keys(ByCall))),
    Newest = [newest(Revisions) || Revisions <- maps:values(ByCall)],
    ?assertEqual(length(Calls), length(lists:usort([Id || #{<<"record_id">> := Id} <- Newest]))),
    Talks = maps:from_list([
        {Acallid, Talk}
     || #{<<"acallid">> := Acallid, <<"durations">> := #{<<"talk_ms">> := Talk}} <- Newest, Talk =/= null
    ]),
    ?assert(Cdrs =/= []),
    ?assertEqual(lists:sort([Acallid || {Acallid, _} <- Cdrs]), lists:sort(maps:keys(Talks))),
    Apart = [
        {Acallid, Ms, maps:get(Acallid, Talks)}
     || {Acallid, Ms} <- Cdrs, abs(Ms - maps:get(Acallid, Talks)) > ?TOLERANCE_MS
    ],
    ?assertEqual([], Apart).

newest(Revisions) ->
    Numbers = [Number || #{<<"revision">> := Number} <- Revisions],
    ?assertEqual(lists:seq(1, length(Numbers)), lists:sort(Numbers)),
    ?assertMatch([_], lists:usort([Id || #{<<"record_id">> := Id} <- Revisions])),
    hd([Record || #{<<"revision">> := Number} = Record <- Revisions, Number =:= length(Numbers)]).

all_records(done) ->
    [];
all_records(Cursor) ->
    Page = maps:from_list([{limit, ?PAGE} | [{cursor, Cursor} || Cursor =/= start]]),
    #{items := Items, cursor := Next} = era_callstore:records(#{}, Page),
    Items ++ all_records(Next).

%% --- files

folder("/") ->
    error(no_calls);
folder(Dir) ->
    Found = [
        Folder
     || Folder <- [filename:join(Dir, "../shared/data"), filename:join(Dir, "test/sample")],
        filelib:is_regular(filename:join(Folder, "sip-calls.proxy-cdr.csv")),
        filelib:is_regular(filename:join(Folder, "sip-calls.ndjson.gz")),
        not lists:member("_build", filename:split(Dir))
    ],
    case Found of
        [First | _] -> First;
        [] -> folder(filename:dirname(Dir))
    end.

%% [{Place in the file, {Ts, Cid, Json}}]
lines(Folder) ->
    {ok, Zipped} = file:read_file(filename:join(Folder, "sip-calls.ndjson.gz")),
    Lines = binary:split(zlib:gunzip(Zipped), <<"\n">>, [global, trim_all]),
    [{Place, line(Line)} || {Place, Line} <- lists:zip(lists:seq(1, length(Lines)), Lines)].

line(Line) ->
    {ok, #{<<"eventts">> := Ts, <<"data">> := #{<<"cid">> := Cid}}} = era_callstore_nif:json_decode(Line),
    {Ts, Cid, Line}.

%% [{Call-ID, ms}]
cdrs(Folder) ->
    {ok, Text} = file:read_file(filename:join(Folder, "sip-calls.proxy-cdr.csv")),
    [_Head | Rows] = binary:split(Text, <<"\n">>, [global, trim_all]),
    [
        {Acallid, round(binary_to_float(Seconds) * 1000)}
     || Row <- Rows, [Acallid, _, _, Seconds | _] <- [binary:split(Row, <<",">>, [global])]
    ].
