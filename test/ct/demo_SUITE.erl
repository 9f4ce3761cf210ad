%%% `make demo' and `make demo-cluster' as a user sees them: what they print, what they write, how they end, with good
%%% input
%%% and with bad.
-module(demo_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([
    plays_the_sample/1,
    owners_die_in_the_second_act/1,
    every_event_twice_is_one_play/1,
    gzip_that_ends_early/1,
    bad_lines/1,
    file_without_events/1,
    missing_file/1,
    unwritable_out/1,
    three_nodes_lose_nothing_when_the_active_is_killed/1,
    three_nodes_with_a_rate_that_is_none/1
]).

-define(RUN_MS, 120000).
-define(CALLS, 60).
-define(ANSWERED, 47).
%% Events a second, so that three nodes have some seconds of it.
-define(RATE, "200").
%% Far more than a take-over takes, and far less than to wait for the killed one.
-define(TAKE_OVER_MAX_MS, 10000).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        plays_the_sample,
        owners_die_in_the_second_act,
        every_event_twice_is_one_play,
        gzip_that_ends_early,
        bad_lines,
        file_without_events,
        missing_file,
        unwritable_out,
        three_nodes_lose_nothing_when_the_active_is_killed,
        three_nodes_with_a_rate_that_is_none
    ].

init_per_suite(Config) ->
    Root = os_command:repository(),
    Sample = filename:join([Root, "test", "sample", "sip-calls.ndjson.gz"]),
    {ok, Packed} = file:read_file(Sample),
    Lines = binary:split(zlib:gunzip(Packed), <<"\n">>, [global, trim_all]),
    [{root, Root}, {sample, Sample}, {packed, Packed}, {lines, Lines} | Config].

end_per_suite(_Config) -> ok.

plays_the_sample(Config) ->
    {Status, Output, Out} = demo(plays_the_sample, ?config(sample, Config), Config),
    ?assertEqual(0, Status),
    ?assertEqual(length(?config(lines, Config)), figure("accepted", Output)),
    ?assertEqual(0, figure("rejected", Output)),
    ?assertEqual(0, figure("live calls left", Output)),
    ?assertEqual(?CALLS, figure("calls with a record", Output)),
    ?assertEqual(?CALLS, map_size(revisions(Out))),
    ?assertEqual(figure("records, all revisions", Output), length(records(Out))),
    ?assertEqual(?ANSWERED, length(lists:usort([Cid || #{<<"invite_id">> := Cid} <- rows(Out)]))),
    ?assertEqual(?ANSWERED, length(rows(Out))).

%% A third of the owners is killed, the others fall with their node: no call is left open, none dies twice, what was to
%% be recorded is mixed once.
owners_die_in_the_second_act(Config) ->
    {Status, Output, _} = demo(?FUNCTION_NAME, ?config(sample, Config), Config),
    ?assertEqual(0, Status),
    [First, Second] = string:split(Output, "second act"),
    ?assertEqual(nomatch, string:find(First, "synthetic")),
    ?assertEqual(?CALLS, figure("synthetic ends", Second)),
    ?assertEqual(?CALLS, figure("dlg_dead", Second) + figure("calls that had no dialog yet", Second)),
    ?assertEqual(0, figure("live calls left", Second)),
    Events = [decoded(L) || L <- ?config(lines, Config)],
    Infos = [Data || #{<<"type">> := <<"rec_info">>, <<"data">> := #{<<"isrec">> := true} = Data} <- Events],
    Recorded = [Cid || #{<<"cid">> := Cid} <- Infos],
    ?assertEqual(length(lists:usort(Recorded)), figure("mix jobs", Second)),
    %% By kind: how many, and how long it took; not before the grace is over, and not long after it.
    [Killed, P50, _, _] = deaths("owner_down(?:, rtp)?", Second),
    [Fallen, NodeP50, _, NodeMax] = deaths("node_down", Second),
    ?assertEqual(?CALLS, Killed + Fallen),
    ?assertEqual((?CALLS + 2) div 3, Killed),
    ?assert(P50 >= 1000),
    ?assert(NodeP50 >= 2000 andalso NodeMax < 30000).

every_event_twice_is_one_play(Config) ->
    Lines = lists:append([[L, L] || L <- ?config(lines, Config)]),
    {Status, Output, Out} = demo(every_event_twice_is_one_play, plain(twice, Lines, Config), Config),
    ?assertEqual(0, Status),
    ?assertEqual(length(?config(lines, Config)), figure("duplicates", Output)),
    ?assertEqual(?CALLS, map_size(revisions(Out))).

%% What came before the end is played, and every call of it has its record: one whose end is in what is missing is closed by
%% its age in the end.
gzip_that_ends_early(Config) ->
    Packed = ?config(packed, Config),
    Cut = file("cut.ndjson.gz", binary:part(Packed, 0, byte_size(Packed) div 2), Config),
    {Status, Output, Out} = demo(gzip_that_ends_early, Cut, Config),
    ?assertEqual(1, Status),
    ?assertNotEqual(nomatch, string:find(Output, "ends early")),
    Accepted = figure("accepted", Output),
    ?assert(Accepted > 0),
    Played = cids(lists:sublist(?config(lines, Config), Accepted)),
    ?assertEqual(Played, lists:sort(maps:keys(revisions(Out)))),
    ?assertEqual(0, figure("live calls left", Output)),
    Signalled = [Cid || #{<<"cid">> := Cid, <<"end">> := #{<<"origin">> := <<"signalled">>}} <- records(Out)],
    ?assertEqual(ended(lists:sublist(?config(lines, Config), Accepted)), lists:usort(Signalled)).

bad_lines(Config) ->
    [First | Rest] = ?config(lines, Config),
    Bad = [<<"this is no JSON">>, binary:part(First, 0, byte_size(First) div 2), <<"{\"class\":\"callevents\"}">>],
    {Status, Output, Out} = demo(bad_lines, plain(bad, [First | Bad] ++ Rest, Config), Config),
    ?assertEqual(1, Status),
    ?assertEqual(length(Bad), figure("rejected", Output)),
    [?assertNotEqual(nomatch, string:find(Output, "line " ++ integer_to_list(N) ++ " rejected")) || N <- [2, 3, 4]],
    ?assertNotEqual(nomatch, string:find(Output, "line 2 rejected: no JSON at byte 2")),
    ?assertEqual(?CALLS, map_size(revisions(Out))).

file_without_events(Config) ->
    {Status, Output, _} = demo(file_without_events, plain(empty, [], Config), Config),
    ?assertEqual(1, Status),
    ?assertNotEqual(nomatch, string:find(Output, "no events")).

missing_file(Config) ->
    {Status, Output, _} = demo(missing_file, "/nowhere/calls.ndjson", Config),
    ?assertEqual(2, Status),
    ?assertNotEqual(nomatch, string:find(Output, "/nowhere/calls.ndjson: no such file or directory")).

%% A folder cannot be made where a file is; so it is for root too.
unwritable_out(Config) ->
    Out = filename:join(file("a-file", <<>>, Config), "out"),
    {Status, Output} = run(unwritable_out, ?config(sample, Config), Out, Config),
    ?assertEqual(2, Status),
    ?assertNotEqual(nomatch, string:find(Output, "cannot be written")),
    ?assertEqual(nomatch, string:find(Output, "playing")).

%% --- three nodes

three_nodes_lose_nothing_when_the_active_is_killed(Config) ->
    Events = length(?config(lines, Config)),
    {Status, Output} = cluster(?FUNCTION_NAME, ?RATE, Config),
    ?assertEqual(0, Status),
    [Before, After] = string:split(Output, "kill -9 callstore1, the active, after "),
    ?assertNotEqual(nomatch, string:find(Before, "callstore1 is active, epoch 1")),
    ?assertNotEqual(nomatch, string:find(After, "callstore1 runs again")),
    %% It was half-way.
    {Killed, _} = string:to_integer(After),
    ?assert(Killed > Events div 4 andalso Killed < Events * 3 div 4),
    %% The same table as of one node.
    ?assertEqual(Events, figure("accepted", Output) + figure("duplicates", Output)),
    ?assertEqual(0, figure("rejected", Output)),
    ?assertEqual(0, figure("live calls left", Output)),
    ?assertEqual(?CALLS, figure("calls with a record", Output)),
    %% And what is of three.
    ?assert(figure("take-over, kill to next answer, ms", Output) < ?TAKE_OVER_MAX_MS),
    ?assertEqual(Events, figure("events acknowledged", Output)),
    ?assert(figure("put again without an answer", Output) > 0),
    ?assertEqual(0, figure("lost", Output)),
    ?assertEqual(3, figure("copies", Output)),
    ?assertMatch({match, _}, re:run(Output, "^ *digests +equal *$", [multiline])).

three_nodes_with_a_rate_that_is_none(Config) ->
    {Status, Output} = cluster(?FUNCTION_NAME, "fast", Config),
    ?assertEqual(2, Status),
    ?assertNotEqual(nomatch, string:find(Output, "RATE is the number of events a second, not fast")).

cluster(Case, Rate, Config) ->
    Env = [{"DEMO_MAIN", "callstore_demo_cluster"}, {"RATE", Rate}],
    run(Case, ?config(sample, Config), "", Env, Config).

%% --- playing and reading

demo(Case, Events, Config) ->
    Out = filename:join([?config(priv_dir, Config), atom_to_list(Case), "out"]),
    {Status, Output} = run(Case, Events, Out, Config),
    {Status, Output, Out}.

run(Case, Events, Out, Config) -> run(Case, Events, Out, [], Config).

run(Case, Events, Out, More, Config) ->
    Root = ?config(root, Config),
    Dir = filename:join([?config(priv_dir, Config), atom_to_list(Case), "run"]),
    %% The application as it is compiled for tests says its crash points to a module beside the tests.
    Points = filename:dirname(code:which(crash_point)),
    Env = [
        {"DEMO_DIR", Dir}, {"ERA_CALLSTORE_EBIN", code:lib_dir(era_callstore, ebin)}, {"ERL_FLAGS", "-pa " ++ Points}
        | More
    ],
    {Status, Output} = os_command:run(Root, [filename:join(Root, "examples/demo/run"), Events, Out], Env, ?RUN_MS),
    ct:log("~ts", [Output]),
    {Status, Output}.

plain(Name, Lines, Config) -> file(atom_to_list(Name) ++ ".ndjson", [[L, $\n] || L <- Lines], Config).

file(Name, Content, Config) ->
    Path = filename:join(?config(priv_dir, Config), Name),
    ok = file:write_file(Path, Content),
    Path.

%% The number behind a name in the table.
figure(Name, Output) ->
    {match, [Digits]} = re:run(Output, "^ *" ++ Name ++ " +([0-9]+) *$", [multiline, {capture, all_but_first, list}]),
    list_to_integer(Digits).

%% Rows of the table of deaths whose evidence is of this pattern: calls in all, and p50, p99 and maximum of the slowest.
deaths(Evidence, Output) ->
    {match, Rows} = re:run(Output, "^" ++ Evidence ++ " +([0-9]+) +([0-9]+) +([0-9]+) +([0-9]+) *$", [
        global, multiline, {capture, all_but_first, list}
    ]),
    Figures = [[list_to_integer(Digits) || Digits <- Row] || Row <- Rows],
    [lists:sum([N || [N | _] <- Figures]) | lists:max([Times || [_ | Times] <- Figures])].

records(Out) -> json_lines(filename:join(Out, "records.ndjson")).

rows(Out) -> json_lines(filename:join(Out, "COPM3_dialogs.ndjson")).

%% Revisions of each call, which must be 1, 2 … in the order of the file.
revisions(Out) ->
    Revisions = lists:foldl(
        fun(#{<<"cid">> := Cid, <<"revision">> := R}, Acc) -> maps:update_with(Cid, fun(Rs) -> Rs ++ [R] end, [R], Acc) end,
        #{},
        records(Out)
    ),
    [?assertEqual({Cid, lists:seq(1, length(Rs))}, {Cid, Rs}) || {Cid, Rs} <- maps:to_list(Revisions)],
    Revisions.

cids(Lines) -> lists:usort([Cid || #{<<"data">> := #{<<"cid">> := Cid}} <- [decoded(L) || L <- Lines]]).

%% Calls whose end is among these lines.
ended(Lines) ->
    lists:usort([
        Cid
     || #{<<"type">> := Type, <<"data">> := #{<<"cid">> := Cid}} <- [decoded(L) || L <- Lines],
        lists:member(Type, [<<"dlg_end">>, <<"dlg_stop">>, <<"route_fin">>])
    ]).

json_lines(Path) ->
    {ok, Text} = file:read_file(Path),
    [decoded(Line) || Line <- binary:split(Text, <<"\n">>, [global, trim])].

decoded(Line) ->
    {ok, Term} = era_callstore_nif:json_decode(Line),
    Term.
