%%% Starting: with nothing, again after a stop, and where it cannot be: every cause is told in words.
-module(era_callstore_start_tests).

-include_lib("eunit/include/eunit.hrl").

-import(era_callstore_test_app, [cid/1, events/1, invite/1, start_in/2]).

start_test_() ->
    {foreach, fun era_callstore_test_dir:make/0, fun era_callstore_test_app:stop/1, [
        fun(Dir) -> {atom_to_list(element(2, erlang:fun_info(Test, name))), {timeout, 60, fun() -> Test(Dir) end}} end
     || Test <- [
            fun live_calls_and_records_are_back_after_a_restart/1,
            fun a_record_accepted_before_a_restart_does_not_come_again/1,
            fun ram_starts_empty/1,
            fun what_waits_is_committed_before_the_application_stops/1,
            fun a_wrong_configuration_is_a_start_error_that_names_it/1,
            fun a_folder_that_cannot_be_made_is_a_start_error/1,
            fun a_schema_of_another_node_is_a_start_error/1,
            fun a_folder_held_by_a_running_node_is_a_start_error/1,
            fun a_spoilt_schema_is_shared_with_nobody_and_a_start_error/1,
            fun mnesia_of_the_host_is_used_and_left_running/1,
            fun mnesia_of_the_host_in_ram_cannot_keep_calls_on_disc/1,
            fun domains_change_at_runtime_and_calls_stay/1,
            fun a_wrong_change_changes_nothing/1,
            fun a_group_more_and_a_group_less_at_runtime/1,
            fun status_and_metrics_tell_what_runs/1,
            fun without_the_application_everything_answers/1
        ]
    ]}.

started(Dir, Settings) ->
    {ok, _} = start_in(Dir, Settings),
    era_callstore_test_app:await_active().

live_calls_and_records_are_back_after_a_restart(Dir) ->
    ok = started(Dir, #{}),
    {ok, _} = era_callstore:put([invite(1), invite(2) | events(3)]),
    ok = era_callstore_outbox:drain(1, 10000),
    #{nonode@nohost := Before} = era_callstore:digest(1),
    ok = era_callstore_test_app:restart(Dir),
    ?assertEqual(2, era_callstore:count(#{})),
    ?assertMatch({ok, #{<<"state">> := <<"initiated">>}}, era_callstore:call({cid, cid(1)})),
    ?assertMatch([#{<<"revision">> := 1}], era_callstore:record(cid(3))),
    ?assertEqual(#{nonode@nohost => Before}, era_callstore:digest(1)),
    ?assertMatch(#{groups := #{1 := #{epoch := 2}}}, era_callstore:status()).

a_record_accepted_before_a_restart_does_not_come_again(Dir) ->
    Cdr = filename:join(Dir, "cdr"),
    ok = started(Dir, #{sinks => [{file, #{dir => Cdr}}]}),
    {ok, _} = era_callstore:put(events(1)),
    ok = era_callstore_outbox:drain(1, 10000),
    {ok, Before} = file:read_file(filename:join(Cdr, "records.ndjson")),
    ok = file:delete(filename:join(Cdr, "records.ndjson")),
    ok = era_callstore_test_app:restart(Dir),
    {ok, _} = era_callstore:put(events(2)),
    ok = era_callstore_outbox:drain(1, 10000),
    {ok, After} = file:read_file(filename:join(Cdr, "records.ndjson")),
    ?assertNotEqual(nomatch, binary:match(Before, cid(1))),
    ?assertEqual(nomatch, binary:match(After, cid(1))),
    ?assertNotEqual(nomatch, binary:match(After, cid(2))).

ram_starts_empty(Dir) ->
    ok = started(Dir, #{roles => [(hd(era_callstore_role:default()))#{<<"mnesia_storage_mode">> => <<"ram">>}]}),
    {ok, _} = era_callstore:put(invite(1)),
    ok = era_callstore_test_app:restart(Dir),
    ?assertEqual(0, era_callstore:count(#{})),
    ?assertEqual(false, filelib:is_dir(filename:join(Dir, "data"))).

what_waits_is_committed_before_the_application_stops(Dir) ->
    ok = started(Dir, #{sinks => []}),
    Self = self(),
    Producers = [spawn_link(fun() -> Self ! {self(), era_callstore:put(invite(N), #{timeout => 200})} end) || N <- lists:seq(1, 200)],
    ok = application:stop(era_callstore),
    Answers = [{N, receive {Pid, Answer} -> Answer end} || {N, Pid} <- lists:zip(lists:seq(1, 200), Producers)],
    {ok, _} = application:ensure_all_started(era_callstore),
    ok = era_callstore_test_app:await_active(),
    [?assertMatch({ok, _}, era_callstore:call({cid, cid(N)})) || {N, {ok, #{accepted := 1}}} <- Answers].

a_wrong_configuration_is_a_start_error_that_names_it(Dir) ->
    {error, {era_callstore, Reason}} = start_in(Dir, #{commit => quickly}),
    ?assertMatch({{wrong_configuration, [#{key := <<"commit">>, value := quickly}]}, _}, Reason).

a_folder_that_cannot_be_made_is_a_start_error(Dir) ->
    File = filename:join(Dir, "file"),
    ok = file:write_file(File, <<>>),
    {error, {era_callstore, {{{dir_not_writable, _, _}, Text}, _}}} = start_in(Dir, #{data_dir => filename:join(File, "data")}),
    ?assertNotEqual(nomatch, binary:match(Text, <<"cannot be written">>)).

%% A schema that names another node, as one finds after a node was renamed.
a_schema_of_another_node_is_a_start_error(Dir) ->
    Data = filename:join(Dir, "data"),
    ok = make_schema_of('other@elsewhere', Data),
    {error, {era_callstore, {{{dir_of_node, Data, 'other@elsewhere'}, _}, _}}} = start_in(Dir, #{}),
    ?assertEqual(no, mnesia:system_info(is_running)).

a_folder_held_by_a_running_node_is_a_start_error(Dir) ->
    Data = filename:join(Dir, "data"),
    Port = open_port({spawn_executable, os:find_executable("cat")}, [binary]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    ok = filelib:ensure_dir(filename:join(Data, "x")),
    ok = era_callstore_dir:claim(Data),
    {ok, [{Node, _, _}]} = file:consult(filename:join(Data, "era_callstore.owner")),
    Claim = {Node, integer_to_list(OsPid), era_callstore_dir:started(integer_to_list(OsPid))},
    ok = file:write_file(filename:join(Data, "era_callstore.owner"), io_lib:format("~p.~n", [Claim])),
    {error, {era_callstore, {{{dir_held, Data, _}, _}, _}}} = start_in(Dir, #{}),
    port_close(Port).

%% What a node sees of its own directory while that is being set aside, too.
a_spoilt_schema_is_shared_with_nobody_and_a_start_error(Dir) ->
    ok = started(Dir, #{}),
    ok = application:stop(era_callstore),
    ok = era_callstore_test_app:until(fun() -> mnesia:system_info(is_running) =:= no end),
    Schema = filename:join([Dir, "data", "schema.DAT"]),
    ok = file:write_file(Schema, <<"rubbish">>),
    ?assertExit({aborted, _}, mnesia:system_info(running_db_nodes)),
    ?assertEqual([], era_callstore_rejoin:side()),
    ?assertEqual([], era_callstore_log:awaited([era_callstore_log:table(1)])),
    ?assertMatch({error, _}, era_callstore_log:ensure_tables(1, disc_copies)),
    {error, {era_callstore, {{Reason, _}, _}}} = start_in(Dir, #{}),
    ?assertEqual({schema_spoilt, Schema}, Reason).

mnesia_of_the_host_is_used_and_left_running(Dir) ->
    ok = host_mnesia(Dir),
    {atomic, ok} = mnesia:create_table(host_table, [{disc_copies, [node()]}]),
    ok = started_without_dir(),
    ok = mnesia:dirty_write({host_table, 1, kept}),
    {ok, _} = era_callstore:put(invite(1)),
    ok = application:stop(era_callstore),
    ?assertEqual(yes, mnesia:system_info(is_running)),
    ?assertEqual([{host_table, 1, kept}], mnesia:dirty_read(host_table, 1)),
    ?assertEqual(false, filelib:is_dir(filename:join(Dir, "data"))),
    stopped = mnesia:stop().

mnesia_of_the_host_in_ram_cannot_keep_calls_on_disc(Dir) ->
    ok = application:set_env(mnesia, dir, filename:join(Dir, "host")),
    ok = mnesia:start(),
    {error, {era_callstore, {{{host_schema_in_ram, _}, _}, _}}} = start_in(Dir, #{}),
    stopped = mnesia:stop().

domains_change_at_runtime_and_calls_stay(Dir) ->
    ok = started(Dir, #{roles => [role(<<"one">>, 1, [])], sinks => []}),
    {ok, _} = era_callstore:put(invite(1)),
    Two = [role(<<"one">>, 1, []), role(<<"two">>, 2, [<<"alfa.era.test">>])],
    ?assertEqual(ok, era_callstore:configure(#{roles => Two})),
    ok = era_callstore_router:await_active(2, 10000),
    ?assertMatch(#{group := 2, instance := <<"two">>}, era_callstore:owner(<<"x.alfa.era.test">>)),
    ?assertMatch(#{group := 1}, era_callstore:owner(<<"beta.era.test">>)),
    {ok, _} = era_callstore:put(invite(2)),
    ?assertMatch({ok, #{<<"group">> := 1}}, era_callstore:call({cid, cid(1)})),
    ?assertMatch({ok, #{<<"group">> := 2}}, era_callstore:call({cid, cid(2)})),
    #{items := Items, cursor := Cursor} = era_callstore:calls(#{}, #{limit => 1}),
    #{items := More, cursor := done} = era_callstore:calls(#{}, #{limit => 5, cursor => Cursor}),
    ?assertEqual([cid(1), cid(2)], [maps:get(<<"cid">>, Call) || Call <- Items ++ More]),
    ?assertEqual(2, era_callstore:count(#{})).

a_wrong_change_changes_nothing(Dir) ->
    ok = started(Dir, #{}),
    ?assertMatch({error, [#{key := <<"group">>}]}, era_callstore:configure(#{roles => [role(<<"one">>, 0, [])]})),
    ?assertMatch({ok, #{groups := #{1 := _}}}, era_callstore:configuration()),
    ?assertMatch({ok, _}, era_callstore:put(invite(1))).

a_group_more_and_a_group_less_at_runtime(Dir) ->
    ok = started(Dir, #{roles => [role(<<"one">>, 1, [])], sinks => []}),
    {ok, _} = era_callstore:put(invite(1)),
    ok = era_callstore:configure(#{roles => [role(<<"two">>, 2, [])]}),
    ok = era_callstore_router:await_active(2, 10000),
    ?assertEqual(none, era_callstore_router:writer(1)),
    ?assertEqual([2], maps:keys(maps:get(groups, era_callstore:status()))),
    ok = era_callstore:configure(#{roles => [role(<<"one">>, 1, [])]}),
    ok = era_callstore_test_app:await_active(),
    ?assertMatch({ok, _}, era_callstore:call({cid, cid(1)})).

status_and_metrics_tell_what_runs(Dir) ->
    ok = started(Dir, #{}),
    {ok, _} = era_callstore:put([invite(1) | events(2)]),
    ok = era_callstore_outbox:drain(1, 10000),
    ?assertMatch(
        #{
            site := <<"site1">>,
            groups := #{
                1 := #{
                    state := active, instance := <<"callstore1">>, epoch := 1, active := nonode@nohost,
                    copies := [nonode@nohost], lag_chunks := _, live := 1, closed := 1, log_chunks := _, log_bytes := _,
                    outbox := #{<<"collection">> := #{depth := 0, oldest_ms := _}}, memory_bytes := _
                }
            }
        },
        era_callstore:status()
    ),
    Metrics = iolist_to_binary(era_callstore:metrics()),
    ?assertNotEqual(nomatch, binary:match(Metrics, <<"\nera_callstore_live_calls{group=\"1\"} 1\n">>)),
    ?assertNotEqual(nomatch, binary:match(Metrics, <<"\nera_callstore_active{group=\"1\"} 1\n">>)),
    Table = unicode:characters_to_binary(era_callstore_status:table(era_callstore:status())),
    ?assertNotEqual(nomatch, binary:match(Table, <<"callstore1">>)).

without_the_application_everything_answers(_Dir) ->
    ?assertEqual({error, no_active}, era_callstore:put(invite(1), #{timeout => 10})),
    ?assertEqual({error, not_running}, era_callstore:configuration()),
    ?assertMatch(#{groups := Groups} when map_size(Groups) =:= 0, era_callstore:status()).

%% --- helpers

role(Name, Group, Domains) ->
    (hd(era_callstore_role:default()))#{<<"name">> := Name, <<"group">> := Group, <<"include_domains">> := Domains}.

host_mnesia(Dir) ->
    ok = application:set_env(mnesia, dir, filename:join(Dir, "host")),
    ok = mnesia:create_schema([node()]),
    mnesia:start().

started_without_dir() ->
    {ok, _} = application:ensure_all_started(era_callstore),
    era_callstore_test_app:await_active().

%% Mnesia's schema file of a node that this is not: made by a node of that name.
make_schema_of(Node, Data) ->
    Script = io_lib:format("application:set_env(mnesia, dir, \"~ts\"), ok = mnesia:create_schema([node()]), halt(0).", [Data]),
    ok = filelib:ensure_dir(filename:join(Data, "x")),
    %% A name on the command line starts epmd where none runs; net_kernel:start/1 does not.
    Arguments = ["-noshell", "-name", atom_to_list(Node), "-eval", lists:flatten(Script)],
    Port = open_port({spawn_executable, os:find_executable("erl")}, [{args, Arguments}, exit_status, stderr_to_stdout]),
    wait_exit(Port, []).

wait_exit(Port, Output) ->
    receive
        {Port, {exit_status, 0}} -> ok;
        {Port, {exit_status, Status}} -> {error, {Status, lists:flatten(lists:reverse(Output))}};
        {Port, {data, Data}} -> wait_exit(Port, [Data | Output])
    end.
