%%% Another project's release embeds era_callstore (examples/release): it is built as a stranger would build it, started,
%%% and asked over the distribution.
-module(release_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([
    runs_with_its_configuration/1,
    has_no_crash_points/1,
    takes_events_and_gives_a_record/1,
    stops_in_order_and_comes_back/1
]).

-define(BUILD_MS, 300000).
-define(START_MS, 60000).
-define(ASK_MS, 20000).
-define(CID, "6f2c8f0e-5a3b-4b53-9a53-0d7b0d6f5c01").
%% Of one call that is refused in routing: two events, and it is over.
-define(CALL, [
    "#{<<\"class\">> => <<\"callevents\">>, <<\"type\">> => <<\"invite\">>, <<\"eventts\">> => 1795378165279, <<\"data\">> => "
    "#{<<\"eventid\">> => <<\"9a250698-f04a-5f13-b444-b51a205fa001\">>, <<\"cid\">> => <<\"" ?CID "\">>, "
    "<<\"acallid\">> => <<\"1@example\">>, <<\"invitets\">> => 1795378165279, <<\"fromdomain\">> => <<\"alfa.era.test\">>}}, "
    "#{<<\"class\">> => <<\"callevents\">>, <<\"type\">> => <<\"route_fin\">>, <<\"eventts\">> => 1795378165300, <<\"data\">> => "
    "#{<<\"eventid\">> => <<\"9a250698-f04a-5f13-b444-b51a205fa002\">>, <<\"cid\">> => <<\"" ?CID "\">>, "
    "<<\"acallid\">> => <<\"1@example\">>, <<\"invitets\">> => 1795378165279, <<\"sipcode\">> => 404}}"
]).

suite() -> [{timetrap, {minutes, 10}}].

all() ->
    [runs_with_its_configuration, has_no_crash_points, takes_events_and_gives_a_record, stops_in_order_and_comes_back].

init_per_suite(Config) ->
    Example = filename:join([os_command:repository(), "examples", "release"]),
    Base = filename:join(?config(priv_dir, Config), "build"),
    {Status, Output} = os_command:run(Example, ["rebar3", "release"], [{"REBAR_BASE_DIR", Base}], ?BUILD_MS),
    ct:log("~ts", [Output]),
    ?assertEqual(0, Status),
    Root = filename:join([Base, "default", "rel", "callstore_example"]),
    started([{root, Root} | Config]).

%% The node is linked to no test case: each case finds it running.
started(Config) ->
    Root = ?config(root, Config),
    Test = self(),
    Keeper = spawn(fun() ->
        Running = os_command:start(Root, [script(Config), "foreground"], []),
        Test ! {self(), Running},
        keep(Running)
    end),
    Running = receive {Keeper, R} -> R after ?START_MS -> ct:fail(not_started) end,
    Up = [{keeper, Keeper}, {running, Running} | proplists:delete(keeper, proplists:delete(running, Config))],
    await_answer(Up, "[maps:get(state, G) || G <- maps:values(maps:get(groups, era_callstore:status()))].", "[active]"),
    Up.

keep({Port, _} = Running) ->
    receive
        {Port, {exit_status, Status}} -> exit({exit_status, Status});
        {Port, {data, _}} -> keep(Running);
        stop -> os_command:stop(Running)
    end.

end_per_suite(Config) ->
    ?config(keeper, Config) ! stop,
    ok.

runs_with_its_configuration(Config) ->
    ?assertEqual("[11010]", ask(Config, "maps:keys(maps:get(groups, era_callstore:status())).")),
    ?assertEqual("\"msk\"", ask(Config, "binary_to_list(maps:get(site, era_callstore:status())).")),
    %% A command of the release's script as its README names it, beside expressions.
    {0, Status} = os_command:run(?config(root, Config), [script(Config), "rpc", "era_callstore", "status"], [], ?ASK_MS),
    ?assertNotEqual(nomatch, string:find(Status, "11010")).

has_no_crash_points(Config) ->
    Beams = filelib:wildcard(filename:join([?config(root, Config), "lib", "era_callstore-*", "ebin", "*.beam"])),
    ?assert(length(Beams) > 40),
    ?assertEqual([], [Beam || Beam <- Beams, crash_point:named_in(Beam)]).

takes_events_and_gives_a_record(Config) ->
    Taken = ask(Config, ["{ok, #{accepted := N, rejected := []}} = era_callstore:put([", ?CALL, "]), N."]),
    ?assertEqual("2", Taken),
    await_answer(Config, "length(era_callstore:record(<<\"" ?CID "\">>)).", "1"),
    ?assertEqual("404", ask(Config, sipcode())),
    ?assertEqual("0", ask(Config, "era_callstore:count(#{}).")).

stops_in_order_and_comes_back(Config) ->
    Keeper = ?config(keeper, Config),
    Monitor = monitor(process, Keeper),
    {0, _} = os_command:run(?config(root, Config), [script(Config), "stop"], [], ?START_MS),
    receive
        {'DOWN', Monitor, process, Keeper, Reason} -> ?assertEqual({exit_status, 0}, Reason)
    after ?START_MS -> ct:fail(not_stopped)
    end,
    Again = started(Config),
    ?assertEqual("404", ask(Again, sipcode())),
    ?assert(filelib:is_regular(filename:join([?config(root, Again), "cdr", "records.ndjson"]))),
    ?config(keeper, Again) ! stop,
    ok.

sipcode() ->
    "maps:get(<<\"sipcode\">>, maps:get(<<\"end\">>, hd(era_callstore:record(<<\"" ?CID "\">>)))).".

%% --- asking

script(Config) -> filename:join([?config(root, Config), "bin", "callstore_example"]).

ask(Config, Expression) ->
    {Status, Output} = evaluated(Config, Expression),
    ?assertEqual({0, Output}, {Status, Output}),
    string:trim(Output).

evaluated(Config, Expression) ->
    os_command:run(?config(root, Config), [script(Config), "eval", lists:flatten(Expression)], [], ?ASK_MS).

await_answer(Config, Expression, Wanted) ->
    await_answer(Config, Expression, Wanted, erlang:monotonic_time(millisecond) + ?START_MS).

await_answer(Config, Expression, Wanted, Deadline) ->
    {_, Output} = evaluated(Config, Expression),
    case {string:trim(Output), erlang:monotonic_time(millisecond) > Deadline} of
        {Wanted, _} -> ok;
        {Other, true} -> ct:fail({awaited, Wanted, got, Other});
        {_, false} -> await_answer(Config, Expression, Wanted, Deadline)
    end.
