%%% What a file of lines holds after restarts, crashes, full discs and midnight.
-module(era_callstore_line_file_tests).

-include_lib("eunit/include/eunit.hrl").

-define(MAX, 1 bsl 30).

line_file_test_() ->
    {foreach, fun era_callstore_test_dir:make/0, fun era_callstore_test_dir:remove/1, [
        {with, [Test]}
     || Test <- [
            fun appended_lines_are_there_after_reopening/1,
            fun a_torn_last_line_is_cut_off/1,
            fun a_file_of_one_torn_line_becomes_empty/1,
            fun a_torn_line_longer_than_the_tail_is_cut_off/1,
            fun a_batch_that_comes_again_is_known/1,
            fun a_batch_known_from_before_a_restart_is_left_out/1,
            fun a_file_that_would_grow_too_large_is_set_aside/1,
            fun a_repeated_batch_is_known_after_setting_aside/1,
            fun a_new_day_begins_a_new_file/1,
            fun a_folder_in_the_way_is_an_error/1
        ]
    ]}.

appended_lines_are_there_after_reopening(Dir) ->
    Stem = filename:join(Dir, "lines"),
    {ok, File} = era_callstore_line_file:open(Stem),
    {ok, Appended} = era_callstore_line_file:append([<<"a">>, <<"b">>], ?MAX, File),
    {ok, Synced} = era_callstore_line_file:sync(Appended),
    ok = era_callstore_line_file:close(Synced),
    {ok, Again} = era_callstore_line_file:open(Stem),
    {ok, More} = era_callstore_line_file:append([<<"c">>], ?MAX, Again),
    ok = era_callstore_line_file:close(More),
    ?assertEqual(<<"a\nb\nc\n">>, read(Stem)).

a_torn_last_line_is_cut_off(Dir) ->
    Stem = with_content(Dir, <<"whole\ntor">>),
    append_and_close(Stem, [<<"next">>]),
    ?assertEqual(<<"whole\nnext\n">>, read(Stem)).

a_file_of_one_torn_line_becomes_empty(Dir) ->
    Stem = with_content(Dir, <<"tor">>),
    append_and_close(Stem, [<<"next">>]),
    ?assertEqual(<<"next\n">>, read(Stem)).

a_torn_line_longer_than_the_tail_is_cut_off(Dir) ->
    Stem = with_content(Dir, ["whole\n", binary:copy(<<"x">>, 5 * 1024 * 1024)]),
    append_and_close(Stem, [<<"next">>]),
    ?assertEqual(<<"whole\nnext\n">>, read(Stem)).

a_batch_that_comes_again_is_known(Dir) ->
    Stem = filename:join(Dir, "lines"),
    {ok, File} = era_callstore_line_file:open(Stem),
    {ok, Once} = era_callstore_line_file:append([<<"a">>, <<"b">>], ?MAX, File),
    {ok, Twice} = era_callstore_line_file:append([<<"a">>, <<"b">>], ?MAX, Once),
    ok = era_callstore_line_file:close(Twice),
    ?assertEqual(<<"a\nb\n">>, read(Stem)).

a_batch_known_from_before_a_restart_is_left_out(Dir) ->
    Stem = with_content(Dir, <<"a\nb\n">>),
    append_and_close(Stem, [<<"a">>, <<"b">>, <<"c">>]),
    ?assertEqual(<<"a\nb\nc\n">>, read(Stem)).

a_file_that_would_grow_too_large_is_set_aside(Dir) ->
    Stem = filename:join(Dir, "lines"),
    {ok, File} = era_callstore_line_file:open(Stem),
    {ok, One} = era_callstore_line_file:append([<<"0123456789">>], 15, File),
    {ok, Two} = era_callstore_line_file:append([<<"abcdefghij">>], 15, One),
    ok = era_callstore_line_file:close(Two),
    ?assertEqual(<<"abcdefghij\n">>, read(Stem)),
    ?assertEqual([<<"0123456789\n">>], set_aside(Stem)).

a_repeated_batch_is_known_after_setting_aside(Dir) ->
    Stem = filename:join(Dir, "lines"),
    {ok, File} = era_callstore_line_file:open(Stem),
    {ok, One} = era_callstore_line_file:append([<<"0123456789">>], 15, File),
    {ok, Two} = era_callstore_line_file:append([<<"0123456789">>, <<"abcdefghij">>], 15, One),
    ok = era_callstore_line_file:close(Two),
    ?assertEqual(<<"abcdefghij\n">>, read(Stem)),
    ?assertEqual([<<"0123456789\n">>], set_aside(Stem)).

a_new_day_begins_a_new_file(Dir) ->
    Stem = filename:join(Dir, "lines"),
    Midnight = 1795392000000,
    ok = era_callstore_clock:use_virtual(Midnight - 1000),
    try
        {ok, File} = era_callstore_line_file:open(Stem),
        {ok, One} = era_callstore_line_file:append([<<"before">>], ?MAX, File),
        ok = era_callstore_clock:use_virtual(Midnight + 1000),
        {ok, Two} = era_callstore_line_file:append([<<"after">>], ?MAX, One),
        ok = era_callstore_line_file:close(Two)
    after
        ok = era_callstore_clock:use_system()
    end,
    ?assertEqual(<<"after\n">>, read(Stem)),
    ?assertEqual([<<"before\n">>], set_aside(Stem)).

a_folder_in_the_way_is_an_error(Dir) ->
    Stem = filename:join(Dir, "lines"),
    ok = file:make_dir(Stem ++ ".ndjson"),
    ?assertMatch({error, {file_error, _, eisdir}}, era_callstore_line_file:open(Stem)).

%% --- helpers

with_content(Dir, Content) ->
    Stem = filename:join(Dir, "lines"),
    ok = file:write_file(Stem ++ ".ndjson", Content),
    Stem.

append_and_close(Stem, Lines) ->
    {ok, File} = era_callstore_line_file:open(Stem),
    {ok, Appended} = era_callstore_line_file:append(Lines, ?MAX, File),
    ok = era_callstore_line_file:close(Appended).

read(Stem) ->
    {ok, Content} = file:read_file(Stem ++ ".ndjson"),
    Content.

set_aside(Stem) ->
    Files = [File || File <- filelib:wildcard(Stem ++ ".*.ndjson")],
    [element(2, file:read_file(File)) || File <- lists:sort(Files)].
