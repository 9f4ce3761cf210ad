%%% Who may have a data directory.
-module(era_callstore_dir_tests).

-include_lib("eunit/include/eunit.hrl").

dir_test_() ->
    {foreach, fun era_callstore_test_dir:make/0, fun era_callstore_test_dir:remove/1, [
        {with, [Test]}
     || Test <- [
            fun a_directory_is_made_and_claimed/1,
            fun claiming_twice_on_one_node_is_fine/1,
            fun a_claim_of_a_dead_process_is_taken_over/1,
            fun a_claim_of_an_earlier_process_of_the_same_number_is_taken_over/1,
            fun a_claim_of_a_running_process_stands/1,
            fun a_directory_with_another_nodes_schema_is_refused/1,
            fun an_unreadable_claim_is_taken_over/1,
            fun a_file_in_the_way_is_not_writable/1,
            fun releasing_removes_only_our_own_claim/1
        ]
    ]}.

a_directory_is_made_and_claimed(Tmp) ->
    Dir = filename:join([Tmp, "a", "b"]),
    ?assertEqual(ok, era_callstore_dir:claim(Dir)),
    ?assertMatch({ok, [{_, _, _}]}, file:consult(claim(Dir))).

claiming_twice_on_one_node_is_fine(Dir) ->
    ?assertEqual(ok, era_callstore_dir:claim(Dir)),
    ?assertEqual(ok, era_callstore_dir:claim(Dir)).

a_claim_of_a_dead_process_is_taken_over(Dir) ->
    write(Dir, {node(), "4194999", {<<"boot">>, <<"1">>}}),
    ?assertEqual(ok, era_callstore_dir:claim(Dir)).

a_claim_of_an_earlier_process_of_the_same_number_is_taken_over(Dir) ->
    write(Dir, {node(), os:getpid(), {<<"another boot">>, <<"1">>}}),
    ?assertEqual(ok, era_callstore_dir:claim(Dir)).

a_claim_of_a_running_process_stands(Dir) ->
    {OsPid, Started, Port} = running_process(Dir),
    write(Dir, {node(), OsPid, Started}),
    ?assertEqual({error, {dir_held, Dir, OsPid}}, era_callstore_dir:claim(Dir)),
    port_close(Port).

a_directory_with_another_nodes_schema_is_refused(Dir) ->
    ok = file:write_file(filename:join(Dir, "schema.DAT"), <<>>),
    write(Dir, {'other@host', "4194999", {<<"boot">>, <<"1">>}}),
    ?assertEqual({error, {dir_of_node, Dir, 'other@host'}}, era_callstore_dir:claim(Dir)).

an_unreadable_claim_is_taken_over(Dir) ->
    ok = file:write_file(claim(Dir), <<"{torn">>),
    ?assertEqual(ok, era_callstore_dir:claim(Dir)).

a_file_in_the_way_is_not_writable(Tmp) ->
    Path = filename:join(Tmp, "file"),
    ok = file:write_file(Path, <<>>),
    ?assertMatch({error, {dir_not_writable, _, _}}, era_callstore_dir:claim(filename:join(Path, "data"))).

releasing_removes_only_our_own_claim(Dir) ->
    ok = era_callstore_dir:claim(Dir),
    ok = era_callstore_dir:release(Dir),
    ?assertEqual(false, filelib:is_regular(claim(Dir))),
    write(Dir, {'other@host', "1", none}),
    ok = era_callstore_dir:release(Dir),
    ?assertEqual(true, filelib:is_regular(claim(Dir))).

%% --- helpers

claim(Dir) -> filename:join(Dir, "era_callstore.owner").

write(Dir, Claim) -> ok = file:write_file(claim(Dir), io_lib:format("~p.~n", [Claim])).

%% A process of the system that runs until the port is closed, and when it began.
running_process(_Dir) ->
    Port = open_port({spawn_executable, "/bin/cat"}, [binary]),
    {os_pid, Number} = erlang:port_info(Port, os_pid),
    OsPid = integer_to_list(Number),
    {OsPid, era_callstore_dir:started(OsPid), Port}.
