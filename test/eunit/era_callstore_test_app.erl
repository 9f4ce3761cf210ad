%%% The whole application for a test: in a folder of its own, on virtual time when asked, and calls to feed it with.
%%%
%%% Called by: tests only. Must never: leave the application, its settings or its folder behind.
-module(era_callstore_test_app).

-export([start/1, start_in/2, restart/1, stop/1, await_active/0]).
-export([invite/1, events/1, cid/1, base/0, until/1]).

-define(BASE, 1795378165000).
-define(AWAIT_MS, 20000).
-define(LOG_HANDLER, era_callstore_test_log).
-define(LOG_FILE, "_build/test/logs/eunit.log").

%% A folder and the application running in it with these settings.
-spec start(#{atom() => term()}) -> file:filename().
start(Settings) ->
    Dir = era_callstore_test_dir:make(),
    {ok, _} = start_in(Dir, Settings),
    ok = await_active(),
    Dir.

-spec start_in(file:filename(), #{atom() => term()}) -> {ok, [atom()]} | {error, term()}.
start_in(Dir, Settings) ->
    ok = log_to_file(),
    forget_settings(),
    All = maps:merge(#{data_dir => filename:join(Dir, "data")}, Settings),
    maps:foreach(fun(Key, Value) -> application:set_env(era_callstore, Key, Value) end, All),
    application:ensure_all_started(era_callstore).

%% What the application logs under test goes to a file: on the screen it would bury what failed.
log_to_file() ->
    case logger:get_handler_config(?LOG_HANDLER) of
        {ok, _} ->
            ok;
        {error, _} ->
            ok = filelib:ensure_dir(?LOG_FILE),
            {ok, #{filters := Filters, filter_default := Default}} = logger:get_handler_config(default),
            Config = #{config => #{file => ?LOG_FILE}, filters => Filters, filter_default => Default},
            ok = logger:add_handler(?LOG_HANDLER, logger_std_h, Config),
            logger:set_handler_config(default, level, none)
    end.

%% Stops and starts again with the same settings.
-spec restart(file:filename()) -> ok.
restart(_Dir) ->
    ok = application:stop(era_callstore),
    {ok, _} = application:ensure_all_started(era_callstore),
    await_active().

-spec stop(file:filename()) -> ok.
stop(Dir) ->
    _ = application:stop(era_callstore),
    ok = until(fun() -> mnesia:system_info(is_running) =:= no end),
    ok = era_callstore_clock:use_system(),
    forget_settings(),
    ok = era_callstore_test_dir:remove(Dir).

-spec await_active() -> ok.
await_active() ->
    ok = era_callstore_router:await_active(1, ?AWAIT_MS),
    until(fun() ->
        #{groups := #{1 := #{state := State}}} = era_callstore:status(),
        State =:= active
    end),
    era_callstore_group:settled(1).

%% Waits for a condition; no longer than a test may take.
-spec until(fun(() -> boolean())) -> ok.
until(Holds) -> until(Holds, erlang:monotonic_time(millisecond) + ?AWAIT_MS).

until(Holds, Deadline) ->
    case {Holds(), erlang:monotonic_time(millisecond) > Deadline} of
        {true, _} -> ok;
        {false, true} -> error({never, Holds});
        {false, false} -> receive after 5 -> until(Holds, Deadline) end
    end.

forget_settings() ->
    _ = application:load(era_callstore),
    [application:unset_env(era_callstore, Key) || {Key, _} <- application:get_all_env(era_callstore), Key =/= included_applications],
    application:unset_env(mnesia, dir),
    application:unset_env(mnesia, schema_location),
    ok.

-spec base() -> integer().
base() -> ?BASE.

-spec cid(pos_integer()) -> binary().
cid(N) -> iolist_to_binary(io_lib:format("c0000000-0000-4000-8000-~12..0b", [N])).

%% The first event of call N: it lives from then on.
-spec invite(pos_integer()) -> map().
invite(N) -> event(N, 1, <<"invite">>, ?BASE, #{<<"urifrom">> => <<"sip:100@alfa.era.test">>, <<"fromdomain">> => <<"alfa.era.test">>}).

%% Call N from its first event to its last: answered after 2 s, talked for 10 s, ended by A.
-spec events(pos_integer()) -> [map()].
events(N) ->
    D = #{<<"dialogid">> => <<"d", (integer_to_binary(N))/binary>>},
    Ended = D#{<<"stopreason">> => <<"bye">>, <<"stopside">> => <<"a">>},
    [
        invite(N),
        event(N, 2, <<"dlg_init">>, ?BASE + 1, D),
        event(N, 3, <<"dlg_start">>, ?BASE + 2000, D),
        event(N, 4, <<"dlg_end">>, ?BASE + 12000, Ended),
        event(N, 5, <<"dlg_stop">>, ?BASE + 15000, Ended)
    ].

event(N, Nth, Type, Ts, Fields) ->
    #{
        <<"class">> => <<"callevents">>,
        <<"type">> => Type,
        <<"eventts">> => Ts,
        <<"data">> => Fields#{
            <<"eventid">> => iolist_to_binary(io_lib:format("e~7..0b-0000-4000-8000-~12..0b", [Nth, N])),
            <<"eventts">> => Ts,
            <<"acallid">> => <<"a", (integer_to_binary(N))/binary, "@127.0.0.1">>,
            <<"cid">> => cid(N),
            <<"invitets">> => ?BASE
        }
    }.
