%%% The dump of Mnesia's log by its bytes.
-module(era_callstore_dump_tests).

-include_lib("eunit/include/eunit.hrl").

-define(TABLE, era_callstore_dump_test).
-define(DIR, "_build/test/dump_tests").
-define(LIMIT, (1 bsl 20)).

dump_test_() ->
    {setup, fun start/0, fun stop/1, [
        {timeout, 30, fun few_writes_of_many_bytes_are_dumped/0},
        {timeout, 30, fun without_mnesia_it_waits/0}
    ]}.

start() ->
    _ = file:del_dir_r(?DIR),
    ok = filelib:ensure_path(?DIR),
    _ = application:load(mnesia),
    Before = application:get_env(mnesia, dir),
    ok = application:set_env(mnesia, dir, filename:absname(?DIR)),
    ok = mnesia:create_schema([node()]),
    ok = mnesia:start(),
    {atomic, ok} = mnesia:create_table(?TABLE, [{disc_copies, [node()]}]),
    Before.

stop(Before) ->
    _ = mnesia:stop(),
    case Before of
        {ok, Dir} -> ok = application:set_env(mnesia, dir, Dir);
        undefined -> ok = application:unset_env(mnesia, dir)
    end,
    ok = file:del_dir_r(?DIR).

few_writes_of_many_bytes_are_dumped() ->
    _ = [
        {atomic, ok} = mnesia:transaction(fun() -> mnesia:write({?TABLE, N, crypto:strong_rand_bytes(?LIMIT div 4)}) end)
     || N <- lists:seq(1, 8)
    ],
    ok = mnesia:sync_log(),
    ?assert(era_callstore_schema:log_bytes() > ?LIMIT),
    {ok, Dump} = era_callstore_dump:start_link(?LIMIT),
    %% It answers after its first look.
    {error, unknown} = gen_server:call(Dump, anything, 20000),
    ?assert(era_callstore_schema:log_bytes() < ?LIMIT),
    ok = gen_server:stop(Dump).

without_mnesia_it_waits() ->
    stopped = mnesia:stop(),
    {ok, Dump} = era_callstore_dump:start_link(0),
    {error, unknown} = gen_server:call(Dump, anything, 20000),
    ?assert(is_process_alive(Dump)),
    ok = gen_server:stop(Dump).
