%%% Copies of one side that a death has left uneven: what some have and others have not is committed again, once, and
%%% nobody waits for it.
-module(level_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(cluster_split, [put_alive/3, all_there/2]).

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_row_that_one_copy_lacks_is_committed_again/1,
    rows_that_were_trimmed_on_one_copy_only_are_not_committed_again/1,
    a_copy_that_does_not_say_how_it_stands_holds_nobody_up/1
]).

-define(LOG, era_callstore_log_1).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [
        a_row_that_one_copy_lacks_is_committed_again,
        rows_that_were_trimmed_on_one_copy_only_are_not_committed_again,
        a_copy_that_does_not_say_how_it_stands_holds_nobody_up
    ].

init_per_testcase(Case, Config) -> [{dir, filename:join(?config(priv_dir, Config), atom_to_list(Case))} | Config].

end_per_testcase(_Case, _Config) -> ok.

%% As if A had died between its messages to B and to C: the last row is taken from C's copy alone.
a_row_that_one_copy_lacks_is_committed_again(Config) ->
    [A, B, C] = started(3, Config),
    ok = put_alive(A, 1, 10),
    ok = put_alive(A, 11, 20),
    Last = lists:max(keys(C)),
    true = cluster_node:call(C, ets, delete, [?LOG, Last]),
    ok = cluster_node:kill(A),
    ok = even([B, C]),
    ?assertNot(lists:member(Last, keys(B))),
    %% Everything is in the rows of C: it has it when it has been started again and is alone.
    ok = cluster_node:kill_together([B, C]),
    all_there([cluster_node:start(Plan) || #{plan := Plan} <- [C, A, B]], lists:seq(1, 20)).

%% A delete that one copy has not got leaves a row there of which the calls may be forgotten by now.
rows_that_were_trimmed_on_one_copy_only_are_not_committed_again(Config) ->
    [A, B, C] = started(3, Config),
    ok = put_alive(A, 1, 10),
    ok = put_alive(A, 11, 20),
    Old = keys(A),
    ok = cluster_node:call(A, era_callstore, handover, [1]),
    ok = cluster_node:until(handed_over, fun() -> cluster_node:active([C]) =:= cluster_node:name(B) end),
    ok = put_alive(B, 21, 30),
    ok = leveled(B),
    [true = cluster_node:call(A, ets, delete, [?LOG, Key]) || Key <- Old],
    ok = cluster_node:kill(C),
    ok = cluster_node:until(noticed, fun() -> lists:sort(cluster_node:call(B, era_callstore_log, copies, [1])) =:=
        lists:sort([cluster_node:name(A), cluster_node:name(B)]) end),
    Before = keys(B),
    ok = cluster_node:call(B, era_callstore_level, look, [1]),
    ok = leveled(B),
    ?assertEqual(Before, keys(B)).

%% C answers nothing that concerns evenness, and everything else.
a_copy_that_does_not_say_how_it_stands_holds_nobody_up(Config) ->
    [A, B, C] = started(3, Config),
    ok = put_alive(A, 1, 10),
    Last = lists:max(keys(C)),
    ok = cluster_split:silence_level(C),
    true = cluster_node:call(C, ets, delete, [?LOG, Last]),
    ok = cluster_node:kill(A),
    ok = cluster_node:until(next, fun() -> cluster_node:active([B]) =:= cluster_node:name(B) end),
    Begun = erlang:monotonic_time(millisecond),
    ok = cluster_node:call(B, era_callstore_group, settled, [1]),
    ok = put_alive(B, 11, 20),
    Took = erlang:monotonic_time(millisecond) - Begun,
    ?assert(Took < 2000, Took),
    ok = cluster_split:restore_level(C),
    ok = even([B, C]),
    all_there([B, C], lists:seq(1, 20)).

%% --- small things

started(Number, Config) -> cluster_split:started(Number, #{}, ?config(dir, Config)).

keys(Node) -> lists:sort(cluster_node:call(Node, era_callstore_log, keys, [1])).

%% It has looked at the copies since it was asked to.
leveled(Active) ->
    _ = cluster_node:call(Active, sys, get_state, [era_callstore_level_1, 30000]),
    ok.

even(Nodes) ->
    cluster_node:until(even, fun() ->
        Keys = [keys(Node) || Node <- Nodes],
        length(lists:usort(Keys)) =:= 1 orelse {false, Keys}
    end).
