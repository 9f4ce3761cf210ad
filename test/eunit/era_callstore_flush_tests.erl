%%% Flushing: what was logged is in the file, and a file that does not hold what was committed is told of. The log here is of the
%%% test, under the name that Mnesia's has.
-module(era_callstore_flush_tests).

-include_lib("eunit/include/eunit.hrl").

-define(LOG, latest_log).

flush_test_() ->
    {foreach, fun era_callstore_test_dir:make/0, fun era_callstore_test_dir:remove/1, [
        fun(Dir) -> {atom_to_list(element(2, erlang:fun_info(Test, name))), fun() -> with_log(Test, Dir) end} end
     || Test <- [
            fun what_was_logged_is_in_the_file/1,
            fun a_file_that_did_not_grow_is_told_of/1,
            fun what_others_log_does_not_stand_for_a_row_for_long/1,
            fun a_log_that_was_begun_anew_is_found/1,
            fun without_a_log_nothing_is_awaited/1
        ]
    ]}.

%% A log is closed by the process that has opened it.
with_log(Test, Dir) ->
    ok = open(Dir),
    try
        Test(Dir)
    after
        _ = disk_log:close(?LOG),
        erase(era_callstore_flush)
    end.

open(Dir) ->
    {ok, ?LOG} = disk_log:open([{name, ?LOG}, {file, file(Dir)}, {repair, false}]),
    ok.

file(Dir) -> filename:join(Dir, "LATEST.LOG").

log(Bytes) -> ok = disk_log:alog(?LOG, binary:copy(<<1>>, Bytes)).

%% Logs a row and brings it to the file, as a writer does.
written(Bytes) ->
    log(Bytes),
    era_callstore_flush:wait(era_callstore_flush:start(), Bytes).

what_was_logged_is_in_the_file(Dir) ->
    log(1000),
    ?assert(filelib:file_size(file(Dir)) < 1000),
    ?assertEqual(ok, era_callstore_flush:wait(era_callstore_flush:start(), 1000)),
    ?assert(filelib:file_size(file(Dir)) > 1000),
    [?assertEqual({N, ok}, {N, written(1000)}) || N <- lists:seq(2, 20)],
    ?assert(filelib:file_size(file(Dir)) > 20000).

a_file_that_did_not_grow_is_told_of(Dir) ->
    ok = written(1000),
    Path = unicode:characters_to_binary(file(Dir)),
    ?assertEqual({error, {not_written, Path}}, era_callstore_flush:wait(era_callstore_flush:start(), 1000)).

what_others_log_does_not_stand_for_a_row_for_long(_Dir) ->
    ok = written(1000),
    log(5000),
    ok = written(1000),
    ?assertMatch({error, {not_written, _}}, era_callstore_flush:wait(era_callstore_flush:start(), 1000)).

%% As Mnesia does it for a dump: what was logged before is in the old file.
a_log_that_was_begun_anew_is_found(Dir) ->
    ok = written(1000),
    log(1000),
    Flush = era_callstore_flush:start(),
    ok = disk_log:close(?LOG),
    ok = file:rename(file(Dir), file(Dir) ++ ".old"),
    ok = open(Dir),
    ?assertEqual(ok, era_callstore_flush:wait(Flush, 1000)),
    ?assert(filelib:file_size(file(Dir) ++ ".old") > 2000),
    %% Of the new file it is known where it ended.
    ok = written(1000),
    ?assertMatch({error, {not_written, _}}, era_callstore_flush:wait(era_callstore_flush:start(), 1000)).

without_a_log_nothing_is_awaited(_Dir) ->
    ok = disk_log:close(?LOG),
    ?assertEqual(ok, era_callstore_flush:wait(era_callstore_flush:start(), 1000)).
