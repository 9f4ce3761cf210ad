%%% Configuration: what nothing means, and what is said about each wrong value.
-module(era_callstore_config_tests).

-include_lib("eunit/include/eunit.hrl").

nothing_is_one_instance_that_serves_everything_test() ->
    {ok, Config} = era_callstore_config:check(#{}),
    ?assertMatch(
        #{
            site := <<"site1">>,
            commit := transaction,
            instances := #{<<"callstore1">> := nonode@nohost},
            sinks := [#{name := <<"collection">>, module := era_callstore_sink_collection}],
            groups := #{1 := #{storage := disc_copies, members := [#{order := 1, instance := <<"callstore1">>}]}},
            warnings := []
        },
        Config
    ).

each_wrong_setting_is_named_test_() ->
    [
        {lists:flatten(io_lib:format("~tp ~tp", [Key, Value])), fun() ->
            {error, [Problem]} = era_callstore_config:check(#{Key => Value}),
            ?assertMatch(#{instance := <<_, _/binary>>, value := _, reason := _, text := <<_, _/binary>>}, Problem),
            ?assertEqual(NamedAs, maps:get(key, Problem)),
            ?assert(is_binary(unicode:characters_to_binary(era_callstore_config:format_problem(Problem))))
        end}
     || {Key, Value, NamedAs} <- [
            {site, "msk", <<"site">>},
            {site, <<>>, <<"site">>},
            {master_domain, undefined, <<"master_domain">>},
            {master_domain, <<"no domain">>, <<"master_domain">>},
            {site, <<255>>, <<"site">>},
            {roles, [], <<"roles">>},
            {roles, {file, "/no/such/file"}, <<"roles">>},
            {roles, [#{<<"name">> => self()}], <<"roles">>},
            {instances, [], <<"instances">>},
            {instances, #{}, <<"instances">>},
            {instances, #{<<"callstore1">> => "node"}, <<"instances">>},
            {data_dir, 7, <<"data_dir">>},
            {data_dir, "", <<"data_dir">>},
            {commit, quickly, <<"commit">>},
            {sinks, none, <<"sinks">>},
            {sinks, [collection], <<"sinks">>},
            {sinks, [{no_such_module, #{}}], <<"sinks.no_such_module">>},
            {sinks, [{file, #{dir => 1}}], <<"sinks.file.dir">>},
            {sinks, [{file, #{folder => "x"}}], <<"sinks.file.folder">>},
            {sinks, [{file, #{max_bytes => 0}}], <<"sinks.file.max_bytes">>},
            {sinks, [{file, #{fsync_ms => -1}}], <<"sinks.file.fsync_ms">>},
            {sinks, [{collection, #{retention_days => 0}}], <<"sinks.collection.retention_days">>},
            {sinks, [{collection, #{}}, {collection, #{}}], <<"sinks.collection">>},
            {event_aliases, #{a => b}, <<"event_aliases">>},
            {watch, #{stop_wait_ms => soon}, <<"watch">>},
            {watch, #{no_such_limit_ms => 1}, <<"watch.no_such_limit_ms">>},
            {watch, [], <<"watch">>},
            {copm3_name, cdr, <<"copm3_name">>},
            {queue_bytes, 0, <<"queue_bytes">>},
            {trim_interval_ms, none, <<"trim_interval_ms">>},
            {comit, transaction, <<"comit">>}
        ]
    ].

each_wrong_role_field_is_named_with_its_instance_test_() ->
    [
        {lists:flatten(io_lib:format("~ts ~tp", [Key, Value])), fun() ->
            Role = maps:put(Key, Value, role(<<"one">>, 1, 1)),
            {error, Problems} = era_callstore_config:check(#{roles => [Role]}),
            ?assertMatch([_ | _], [P || #{key := K, text := <<_, _/binary>>} = P <- Problems, K =:= Key])
        end}
     || {Key, Value} <- [
            {<<"name">>, <<"1x">>},
            {<<"name">>, null},
            {<<"roletype">>, <<"b2b">>},
            {<<"group">>, 0},
            {<<"group">>, <<"one">>},
            {<<"order">>, <<"first">>},
            {<<"include_domains">>, <<"alfa.era.test">>},
            {<<"include_domains">>, [1]},
            {<<"cdr_enabled">>, <<"perhaps">>},
            {<<"sorm3_enabled">>, 3},
            {<<"mnesia_storage_mode">>, <<"tape">>},
            {<<"enabled">>, <<"no way">>}
        ]
    ].

instances_of_one_name_are_refused_test() ->
    {error, [#{instance := <<"one">>} | _]} =
        era_callstore_config:check(#{roles => [role(<<"one">>, 1, 1), role(<<"one">>, 1, 2)]}).

every_problem_is_told_at_once_test() ->
    Roles = [role(<<"1a">>, 1, 1), role(<<"two">>, 0, 1)],
    {error, Problems} = era_callstore_config:check(#{site => 1, commit => 2, comit => 3, roles => Roles, sinks => [nix]}),
    Keys = [<<"comit">>, <<"commit">>, <<"group">>, <<"name">>, <<"sinks">>, <<"site">>],
    ?assertEqual(Keys, lists:usort([K || #{key := K} <- Problems])).

the_whole_tree_below_the_master_domain_must_be_served_test() ->
    Alfa = (role(<<"one">>, 1, 1))#{<<"include_domains">> := [<<"alfa.era.test">>]},
    {error, [Problem]} = era_callstore_config:check(#{roles => [Alfa]}),
    ?assertMatch(#{instance := <<"one">>, key := <<"include_domains">>, reason := not_served}, Problem),
    ?assertMatch({ok, _}, era_callstore_config:check(#{roles => [Alfa], master_domain => <<"alfa.era.test">>})),
    ?assertMatch({ok, _}, era_callstore_config:check(#{roles => [Alfa, role(<<"two">>, 2, 1)]})).

a_disabled_instance_takes_no_part_test() ->
    Off = (role(<<"two">>, 2, 1))#{<<"enabled">> => false},
    {ok, #{groups := Groups}} = era_callstore_config:check(#{roles => [role(<<"one">>, 1, 1), Off]}),
    ?assertEqual([1], maps:keys(Groups)).

members_are_in_order_of_activity_and_the_best_one_here_is_found_test() ->
    Roles = [role(<<"three">>, 1, 3), role(<<"one">>, 1, 1), role(<<"two">>, 1, 2)],
    Instances = #{<<"one">> => 'a@h', <<"two">> => node(), <<"three">> => node()},
    {ok, Config} = era_callstore_config:check(#{roles => Roles, instances => Instances}),
    {ok, #{members := Members}, Best} = era_callstore_config:group(Config, 1),
    ?assertEqual([<<"one">>, <<"two">>, <<"three">>], [I || #{instance := I} <- Members]),
    ?assertMatch(#{instance := <<"two">>, order := 2}, Best),
    ?assertEqual(none, era_callstore_config:group(Config, 77)).

ram_everywhere_is_ram_copies_test() ->
    Ram = (role(<<"one">>, 1, 1))#{<<"mnesia_storage_mode">> => <<"ram">>},
    {ok, #{groups := #{1 := #{storage := Storage}}}} = era_callstore_config:check(#{roles => [Ram]}),
    ?assertEqual(ram_copies, Storage).

roles_may_stand_in_a_file_test() ->
    Dir = era_callstore_test_dir:make(),
    Path = filename:join(Dir, "roles.json"),
    ok = file:write_file(Path, era_callstore_nif:json_encode([role(<<"one">>, 7, 1)])),
    {ok, #{groups := Groups}} = era_callstore_config:check(#{roles => {file, Path}}),
    ?assertEqual([7], maps:keys(Groups)),
    ok = file:write_file(Path, <<"[{">>),
    ?assertMatch({error, [#{key := _} | _]}, era_callstore_config:check(#{roles => {file, Path}})),
    era_callstore_test_dir:remove(Dir).

keys_of_roles_may_be_atoms_test() ->
    Role = #{name => <<"one">>, roletype => <<"callstore">>, iface => <<"i">>, group => 1, order => 1, include_domains => []},
    ?assertMatch({ok, #{groups := #{1 := _}}}, era_callstore_config:check(#{roles => [Role]})).

a_property_list_is_as_good_as_a_map_test() ->
    ?assertMatch({ok, #{site := <<"msk">>}}, era_callstore_config:check([{site, <<"msk">>}])).

role(Name, Group, Order) ->
    #{
        <<"name">> => Name,
        <<"roletype">> => <<"callstore">>,
        <<"iface">> => <<"default">>,
        <<"group">> => Group,
        <<"order">> => Order,
        <<"include_domains">> => []
    }.
