%%% Nodes of two releases: which version of the chunk is written, and what a node does with one that it does not read.
-module(era_callstore_chunk_version_tests).

-include_lib("eunit/include/eunit.hrl").

-import(era_callstore_test_app, [cid/1, invite/1, until/1]).

the_newest_that_all_read_is_written_test() ->
    ?assertEqual(4, agreed([a, b], #{3 => [a, b], 4 => [b, a]})).

one_of_the_release_before_keeps_the_others_at_its_version_test() ->
    ?assertEqual(3, agreed([a, b], #{3 => [a, b], 4 => [a]})).

one_that_is_not_there_keeps_the_others_at_the_oldest_test() ->
    ?assertEqual(3, agreed([a, b, c], #{3 => [a, b], 4 => [a, b]})).

a_release_that_knows_one_version_writes_it_test() ->
    ?assertEqual(1, era_callstore_chunk_version:agreed({1, 1}, [a, b], #{1 => [a]})).

agreed(Nodes, Readers) -> era_callstore_chunk_version:agreed({3, 4}, Nodes, Readers).

a_version_of_this_release_only_can_be_written_test() ->
    {Oldest, Newest} = era_callstore_nif:chunk_versions(),
    ?assertEqual(ok, era_callstore_nif:write_chunks(Newest)),
    [?assertError(badarg, era_callstore_nif:write_chunks(Version)) || Version <- [Oldest - 1, Newest + 1]].

%% What is not read is not left out: the group waits for a release that reads it, and says so.
a_log_with_a_chunk_of_a_later_version_is_not_served_test_() ->
    {setup, fun() -> era_callstore_test_app:start(#{sinks => []}) end, fun era_callstore_test_app:stop/1, {timeout, 60, fun() ->
        {ok, #{accepted := 1}} = era_callstore:put(invite(1)),
        [{Key, [Chunk]}] = era_callstore_log:fold(1, fun(K, Chunks, Rows) -> [{K, Chunks} | Rows] end, []),
        {1, Node, Seq} = Key,
        Later = {1, Node, Seq + 1000},
        {_, Newest} = era_callstore_nif:chunk_versions(),
        ok = mnesia:dirty_write({era_callstore_log_1, Later, {0, [of_version(Newest + 1, Chunk)]}}),
        ok = application:stop(era_callstore),
        {ok, _} = application:ensure_all_started(era_callstore),
        ok = until(fun() -> state() =:= loading end),
        ?assertEqual({error, no_active}, era_callstore:put(invite(2), #{timeout => 1500})),
        {ok, Log} = file:read_file("_build/test/logs/eunit.log"),
        ?assertMatch({match, _}, re:run(Log, "a chunk of a version that this release does not read")),
        %% With it gone, everything else is there.
        ok = mnesia:dirty_delete(era_callstore_log_1, Later),
        ok = era_callstore_test_app:await_active(),
        ?assertMatch({ok, _}, era_callstore:call({cid, cid(1)})),
        ?assertMatch({ok, #{accepted := 1}}, era_callstore:put(invite(2)))
    end}}.

of_version(Version, <<"ECSC", _, Rest/binary>>) -> <<"ECSC", Version, Rest/binary>>.

state() -> maps:get(state, era_callstore_router:noted({group, 1, here}), none).
