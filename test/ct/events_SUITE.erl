%%% Events out over nodes: subscribers and handlers follow the group, whoever is active.
-module(events_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0]).
-export([
    who_listens_follows_a_kill_of_the_active_without_a_gap/1,
    who_listens_follows_a_hand_over_without_a_gap/1,
    who_listens_at_a_fenced_instance_hears_what_the_next_one_says/1,
    a_slow_subscriber_elsewhere_costs_bounded_memory_and_is_resynced/1,
    a_dialog_whose_owner_is_killed_is_said_dead_once/1
]).

-import(cluster_calls, [cid/1]).
-import(cluster_node, [call/4, name/1, until/2]).

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [
        who_listens_follows_a_kill_of_the_active_without_a_gap,
        who_listens_follows_a_hand_over_without_a_gap,
        who_listens_at_a_fenced_instance_hears_what_the_next_one_says,
        a_slow_subscriber_elsewhere_costs_bounded_memory_and_is_resynced,
        a_dialog_whose_owner_is_killed_is_said_dead_once
    ].

%% --- cases

who_listens_follows_a_kill_of_the_active_without_a_gap(Config) ->
    {[One, Two], Three, Out} = cluster(?FUNCTION_NAME, Config),
    ok = listening([One, Two, Three]),
    Self = self(),
    Producer = spawn_link(fun() ->
        ok = call(Three, events_listener, put_calls, [1001, 3000, 5]),
        Self ! {self(), acknowledged}
    end),
    ok = until(half_way, fun() -> call(Three, events_listener, count, [listener]) > 1000 end),
    ok = cluster_node:kill(One),
    receive {Producer, acknowledged} -> ok after 120000 -> ct:fail(not_acknowledged) end,
    [ok = complete(Node, name(One), 1001, 3000) || Node <- [Two, Three]],
    ok = handled(Out, 1001, 3000),
    [cluster_node:stop(Node) || Node <- [Two, Three]].

who_listens_follows_a_hand_over_without_a_gap(Config) ->
    {[One, Two], Three, Out} = cluster(?FUNCTION_NAME, Config),
    ok = listening([One, Two, Three]),
    Self = self(),
    Producer = spawn_link(fun() ->
        ok = call(Two, events_listener, put_calls, [1001, 3000, 5]),
        Self ! {self(), acknowledged}
    end),
    ok = until(half_way, fun() -> call(Three, events_listener, count, [listener]) > 1000 end),
    ok = call(Two, era_callstore, handover, [1]),
    receive {Producer, acknowledged} -> ok after 120000 -> ct:fail(not_acknowledged) end,
    [ok = complete(Node, name(One), 1001, 3000) || Node <- [One, Two, Three]],
    ok = handled(Out, 1001, 3000),
    [cluster_node:stop(Node) || Node <- [One, Two, Three]].

%% Its term ends out of order, as when another's epoch refuses its commit: from then on it says what the other commits,
%% and nothing of its own.
who_listens_at_a_fenced_instance_hears_what_the_next_one_says(Config) ->
    {[One, Two], Three, _Out} = cluster(?FUNCTION_NAME, Config),
    ok = listening([One, Two]),
    ok = call(Two, events_listener, put_calls, [1001, 1100, 50]),
    ok = until(heard, fun() -> said(One, <<"invite">>) =/= [] end),
    ok = call(One, events_listener, fence, [1]),
    ok = until(fenced, fun() ->
        #{groups := #{1 := #{state := State, active := Active}}} = call(One, era_callstore, status, []),
        {State, Active} =:= {passive, name(Two)} orelse {false, {State, Active}}
    end),
    %% What was said while it loaded is told as live calls; from here on it follows.
    ok = call(Three, events_listener, put_calls, [1500, 1500, 1]),
    ok = until(followed, fun() ->
        lists:member(cid(1500), [Cid || {_, #{<<"data">> := #{<<"cid">> := Cid}}} <- heard(One)])
    end),
    ok = call(Three, events_listener, put_calls, [2001, 2100, 50]),
    Cids = [cid(N) || N <- lists:seq(2001, 2100)],
    Heard = fun(Node) ->
        Invited = [{Seq, Cid} || {Seq, _} = Item <- heard(Node), Cid <- invited([Item])],
        [It || {_, Cid} = It <- Invited, lists:member(Cid, Cids)]
    end,
    ok = until(all_said, fun() -> lists:all(fun(Node) -> length(Heard(Node)) >= 100 end, [One, Two]) end),
    #{groups := #{1 := #{state := State}}} = call(One, era_callstore, status, []),
    ?assertEqual(passive, State),
    %% One stream: under the same numbers, each event once.
    ?assertEqual(Heard(Two), Heard(One)),
    ?assertEqual(Cids, lists:sort([Cid || {_, Cid} <- Heard(One)])),
    [cluster_node:stop(Node) || Node <- [One, Two, Three]].

a_slow_subscriber_elsewhere_costs_bounded_memory_and_is_resynced(Config) ->
    {[One, Two], Three, _Out} = cluster(?FUNCTION_NAME, #{feed_bytes => 400000, subscriber_messages => 1000}, Config),
    ok = call(Three, events_listener, start_deaf, [listener, #{}]),
    Before = memory(Three),
    ok = call(Two, events_listener, put_calls, [1001, 11000, 500]),
    {message_queue_len, Waiting} = call(Three, erlang, process_info, [pid(Three, listener), message_queue_len]),
    %% What it may hold, and what was on the way: a row of the log.
    ?assert(Waiting >= 1000 andalso Waiting =< 1000 + 2 * 4096, Waiting),
    %% 20,000 events are some 20 MB of terms.
    Grown = memory(Three) - Before,
    ?assert(Grown < 10000000, Grown),
    ok = call(Three, events_listener, wake, [listener]),
    ok = until(resynced, fun() -> call(Three, events_listener, resynced, [listener]) =/= not_yet end),
    {[Begin | _] = Seqs, Live} = call(Three, events_listener, resynced, [listener]),
    ?assertEqual(lists:seq(Begin, Begin + length(Seqs) - 1), Seqs),
    ?assertEqual(10001, length(Live)),
    [cluster_node:stop(Node) || Node <- [One, Two, Three]].

a_dialog_whose_owner_is_killed_is_said_dead_once(Config) ->
    {[One, Two], Three, _Out} = cluster(?FUNCTION_NAME, Config),
    ok = listening([One, Two, Three]),
    Owner = call(Three, erlang, spawn, [timer, sleep, [infinity]]),
    [Invite] = cluster_calls:events(alive, 7, 7),
    #{<<"data">> := Head} = Invite,
    Start = Invite#{
        <<"type">> := <<"dlg_start">>,
        <<"data">> := Head#{
            <<"eventid">> := <<"e0000002-0000-4000-8000-000000000007">>, <<"dialogid">> => <<"d7">>,
            <<"dialogidhash">> => 77, <<"ghost">> => false, <<"acallidhash">> => 5
        }
    },
    {ok, _} = call(Two, era_callstore, put, [[Invite, Start], #{owner => Owner}]),
    ok = until(watched, fun() ->
        #{groups := #{1 := Group}} = call(One, era_callstore, status, []),
        maps:get(monitors, maps:get(watch, Group, #{}), 0) =:= 1
    end),
    true = call(Three, erlang, exit, [Owner, kill]),
    Nodes = [One, Two, Three],
    ok = until(closed, fun() -> lists:all(fun(Node) -> said(Node, <<"call_closed">>) =/= [] end, Nodes) end),
    %% What comes after it has come: nothing of a second one is on the way.
    ok = call(Two, events_listener, put_calls, [8, 8, 1]),
    ok = until(next_call, fun() -> lists:all(fun(Node) -> length(said(Node, <<"call_opened">>)) =:= 2 end, Nodes) end),
    [
        begin
            [#{<<"class">> := Class, <<"data">> := Said}] = said(Node, <<"dlg_dead">>),
            ?assertEqual(<<"callevents">>, Class),
            ?assertEqual(
                [
                    <<"acallid">>, <<"acallidhash">>, <<"cid">>, <<"connectionid">>, <<"dialogid">>, <<"dialogidhash">>,
                    <<"eventid">>, <<"eventts">>, <<"ghost">>, <<"invitets">>
                ],
                lists:sort(maps:keys(Said))
            ),
            ?assertMatch(#{<<"dialogid">> := <<"d7">>, <<"dialogidhash">> := 77, <<"ghost">> := false}, Said),
            ?assertMatch(#{<<"acallid">> := <<"a7">>, <<"acallidhash">> := 5}, Said),
            [#{<<"data">> := Closed}] = said(Node, <<"call_closed">>),
            ?assertMatch(#{<<"state">> := <<"dead">>, <<"before">> := <<"confirmed">>}, Closed)
        end
     || Node <- Nodes
    ],
    [cluster_node:stop(Node) || Node <- Nodes].

%% --- nodes

%% Two instances of one group and a node without a copy of it; a handler that writes lines.
cluster(Case, Config) -> cluster(Case, #{}, Config).

cluster(Case, More, Config) ->
    Dir = filename:join(?config(priv_dir, Config), Case),
    Out = filename:join(Dir, "events"),
    Examples = filename:join(Dir, "examples"),
    ok = filelib:ensure_path(Examples),
    Source = filename:join([os_command:repository(), "examples", "events", "callstore_example_ndjson.erl"]),
    {ok, _} = compile:file(Source, [{outdir, Examples}, warnings_as_errors, return_errors]),
    Settings = #{
        handlers => [{callstore_example_ndjson, #{dir => Out}}],
        watch => #{end_grace_ms => 200, takeover_grace_ms => 300, repeat_ms => 100},
        vm => ["-pa", Examples, "-kernel", "prevent_overlapping_partitions", "false"]
    },
    [#{settings := Common} = First | _] = Plans = cluster_node:plan(Dir, 2, maps:merge(Settings, More)),
    Third = First#{
        name := list_to_atom("listener_" ++ atom_to_list(map_get(name, First))), dir := filename:join(Dir, "node3"),
        settings := Common
    },
    [One, Two] = Stores = cluster_node:start(Plans),
    Three = cluster_node:start(Third),
    _ = [call(Three, net_kernel, connect_node, [name(Node)]) || Node <- Stores],
    _ = cluster_node:settled(Stores),
    ok = until(lowest_order, fun() -> cluster_node:active([Two]) =:= name(One) end),
    ok = until(all_see_it, fun() -> call(Three, era_callstore_router, active_node, [1]) =:= name(One) end),
    %% A copy that has followed nothing yet does not know the number at which it is.
    ok = call(One, events_listener, put_calls, [1, 1, 1]),
    ok = until(followed, fun() -> length(lists:usort([where(Two, Node) || Node <- Stores])) =:= 1 end),
    {Stores, Three, Out}.

where(Node, Asked) -> call(Node, era_callstore_feed, where, [1, name(Asked), now]).

listening(Nodes) ->
    [ok = call(Node, events_listener, start, [listener, #{}]) || Node <- Nodes],
    ok.

heard(Node) -> call(Node, events_listener, heard, [listener]).

said(Node, Type) -> call(Node, events_listener, said, [listener, Type]).

pid(Node, Name) -> call(Node, erlang, whereis, [Name]).

memory(Node) -> call(Node, erlang, memory, [processes]).

%% Everything was heard, numbered without a gap, the take-over among it; each event once.
complete(Node, From, First, Last) ->
    Cids = [cid(N) || N <- lists:seq(First, Last)],
    ok = until({heard, name(Node)}, fun() ->
        Missing = Cids -- invited(heard(Node)),
        Missing =:= [] orelse {false, {length(Missing), lists:sublist(Missing, 3)}}
    end),
    Heard = heard(Node),
    [Begin | _] = Seqs = [Seq || {Seq, _} <- Heard],
    ?assertEqual(lists:seq(Begin, Begin + length(Seqs) - 1), Seqs),
    ?assertEqual([], [Seq || {Seq, resync} <- Heard]),
    ?assertEqual(Cids, lists:sort(invited(Heard))),
    ?assertMatch(
        [#{<<"data">> := #{<<"from">> := #{<<"node">> := _}}} | _],
        [E || {_, #{<<"type">> := <<"takeover">>} = E} <- Heard, from(E) =:= atom_to_binary(From)]
    ),
    ok.

from(#{<<"data">> := #{<<"from">> := #{<<"node">> := Node}}}) -> Node;
from(_) -> none.

invited(Heard) -> [Cid || {_, #{<<"type">> := <<"invite">>, <<"data">> := #{<<"cid">> := Cid}}} <- Heard].

%% The handler of the one active or the other has written everything, and what it wrote twice has one number.
handled(Out, First, Last) ->
    File = filename:join(Out, "group1.ndjson"),
    Cids = [cid(N) || N <- lists:seq(First, Last)],
    ok = until(handled, fun() ->
        Missing = Cids -- invited(lines(File)),
        Missing =:= [] orelse {false, {length(Missing), lists:sublist(Missing, 3)}}
    end),
    %% As the nodes started, one may have been active before the other.
    Lines = lists:dropwhile(fun(Line) -> invited([Line]) =/= [cid(First)] end, lines(File)),
    ?assertEqual([], [Seq || {Seq, resync} <- Lines]),
    Invited = lists:usort([
        {Seq, Cid}
     || {Seq, #{<<"type">> := <<"invite">>, <<"data">> := #{<<"cid">> := Cid}}} <- Lines, lists:member(Cid, Cids)
    ]),
    ?assertEqual(length(Cids), length(Invited)),
    ok.

lines(File) ->
    {ok, Text} = file:read_file(File),
    [line(Line) || Line <- binary:split(Text, <<"\n">>, [global, trim_all])].

line(Line) ->
    case era_callstore_nif:json_decode(Line) of
        {ok, #{<<"seq">> := Seq, <<"resync">> := true}} -> {Seq, resync};
        {ok, #{<<"seq">> := Seq} = Event} -> {Seq, Event}
    end.
