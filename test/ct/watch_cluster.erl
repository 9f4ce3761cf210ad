%%% Two instances of one group and nodes of a b2b beside them, for suites about owners: the instances have the modules
%%% of examples/watch/ and short limits.
%%%
%%% Always holds: the instances live as long as the suite, the nodes of a b2b as long as a case.
%%% Called by: the suites about owners, mixes and rescues. Must never: be part of the cluster.
-module(watch_cluster).

-include_lib("common_test/include/ct.hrl").

-export([start/2, stop/1, stores/1, changed/2, b2b/2]).
-export([in_conversation/3, named/2, kill/3]).
-export([watch/1, told/1, monitors/1, record/2, ready/2, finish/2, call/3, until/1]).
-export([cid/1, dialog/1, events/1, alive/1, rec_info/1, rec_links/1, later/4]).

-type config() :: [{atom(), term()}].

%% @doc Adds `keeper' to the configuration of a suite. `watch' among the settings is added to the limits; a `spool' in
%% the configuration is the folder of mixers.
-spec start(Settings :: map(), config()) -> config().
start(Settings, Config) ->
    %% Suites that run together have one private folder.
    Own = "watch_" ++ integer_to_list(erlang:unique_integer([positive])),
    Dir = filename:join(?config(priv_dir, Config), Own),
    Examples = filename:join(Dir, "examples"),
    ok = filelib:ensure_path(Examples),
    Sources = filelib:wildcard(filename:join([os_command:repository(), "examples", "watch", "*.erl"])),
    [{ok, _} = compile:file(Source, [{outdir, Examples}, warnings_as_errors, return_errors]) || Source <- Sources],
    Limits = #{
        end_grace_ms => 200, end_grace_orderly_ms => 3000, node_grace_ms => 1000, takeover_grace_ms => 300,
        stop_wait_ms => 200, rtp_suspect_ms => 300, probe_ms => 800, repeat_ms => 100, mix_retry_ms => 100,
        mix_retry_max_ms => 200, ends_per_s => 100, rescue_ms => 2000
    },
    Common = #{
        sinks => [{collection, #{}}], watch => maps:merge(Limits, maps:get(watch, Settings, #{})),
        %% A b2b that one of the instances loses is not to divide the instances.
        vm => [
            "-pa", Examples, "-kernel", "prevent_overlapping_partitions", "false",
            "-env", "CALLSTORE_SPOOL", proplists:get_value(spool, Config, filename:join(Dir, "spool"))
        ]
    },
    Plans = cluster_node:plan(filename:join(Dir, "cluster"), 2, maps:merge(maps:remove(watch, Settings), Common)),
    Keeper = keeper(fun() ->
        Stores = cluster_node:start(Plans),
        _ = cluster_node:settled(Stores),
        ok = cluster_node:lowest_active(Stores),
        Stores
    end),
    [{keeper, Keeper} | Config].

-spec stop(config()) -> ok.
stop(Config) ->
    Keeper = ?config(keeper, Config),
    [_ = (catch cluster_node:stop(Store)) || Store <- stores(Config)],
    exit(Keeper, kill),
    ok.

%% Peers end with the process that started them; this one lives as long as the suite, and keeps the instances.
keeper(Start) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
        process_flag(trap_exit, true),
        kept(Start())
    end),
    case asked(Pid, Monitor, fun(Stores) -> Stores end) of
        [_ | _] -> Pid
    end.

kept(Stores) ->
    receive
        {change, From, Change} ->
            Changed = Change(Stores),
            From ! {self(), Changed},
            kept(Changed);
        %% Of a peer whose node was killed.
        {'EXIT', _, _} ->
            kept(Stores)
    end.

asked(Pid, Monitor, Change) ->
    Pid ! {change, self(), Change},
    receive
        {Pid, Stores} -> erlang:demonitor(Monitor, [flush]), Stores;
        {'DOWN', Monitor, process, _, Reason} -> error(Reason)
    end.

%% @doc The instances, the first with the lowest order.
-spec stores(config()) -> [cluster_node:running()].
stores(Config) -> changed(fun(Stores) -> Stores end, Config).

%% @doc Others are started, or started again, in the keeper's process.
-spec changed(fun(([cluster_node:running()]) -> [cluster_node:running()]), config()) -> [cluster_node:running()].
changed(Change, Config) ->
    Keeper = ?config(keeper, Config),
    asked(Keeper, erlang:monitor(process, Keeper), Change).

%% @doc A node that serves calls; the same name in the same case is the same node, started again.
-spec b2b(config(), Name :: atom()) -> cluster_node:running().
b2b(Config, Name) ->
    Node = list_to_atom(lists:concat([Name, "_", os:getpid(), "@127.0.0.1"])),
    Plan = #{name => Node, dir => filename:join(?config(priv_dir, Config), Name), settings => #{}, vm => []},
    cluster_node:boot(Plan, []).

%% --- owners

%% @doc Calls in conversation, each served by a process of its own.
-spec in_conversation(cluster_node:running(), B2b :: cluster_node:running(), [pos_integer()]) -> [pid()].
in_conversation(Store, B2b, Numbers) ->
    Owners = cluster_node:call(B2b, watch_owner, start_many, [[dialog(N) || N <- Numbers]]),
    true = cluster_node:call(Store, net_kernel, connect_node, [cluster_node:name(B2b)]),
    lists:foreach(
        fun({N, Owner}) -> {ok, #{accepted := 3}} = call(Store, put, [alive(N), #{owner => Owner}]) end,
        lists:zip(Numbers, Owners)
    ),
    until(fun() -> monitors(Store) >= length(Numbers) end),
    Owners.

%% @doc A process of this name that serves these dialogs; as it is named in events, and as it is now.
-spec named(cluster_node:running(), [binary()]) -> {{b2b, node()}, pid()}.
named(B2b, Dialogs) ->
    Owner = cluster_node:call(B2b, watch_owner, start, [Dialogs]),
    true = cluster_node:call(B2b, erlang, register, [b2b, Owner]),
    {{b2b, cluster_node:name(B2b)}, Owner}.

%% @doc Ends an owner, with a signal or in order.
-spec kill(cluster_node:running(), pid(), kill | term()) -> ok.
kill(B2b, Owner, kill) ->
    true = cluster_node:call(B2b, erlang, exit, [Owner, kill]),
    ok;
kill(B2b, Owner, Reason) ->
    {end_as, Reason} = cluster_node:call(B2b, erlang, send, [Owner, {end_as, Reason}]),
    ok.

%% --- what an instance says

-spec watch(cluster_node:running()) -> map().
watch(Store) ->
    #{groups := #{1 := Group}} = call(Store, status, []),
    maps:get(watch, Group, #{}).

%% @doc How often something was seen of owners and nodes.
-spec told(cluster_node:running()) -> non_neg_integer().
told(Store) ->
    [Told] = [Value || {evidence_told, _, Value} <- cluster_node:call(Store, era_callstore_counters, all, [])],
    Told.

-spec monitors(cluster_node:running()) -> non_neg_integer().
monitors(Store) -> maps:get(monitors, watch(Store), 0).

%% @doc The newest revision of a call's record, once there is one.
-spec record(cluster_node:running(), pos_integer()) -> map().
record(Store, N) -> hd(ready(Store, N)).

-spec ready(cluster_node:running(), pos_integer()) -> [map(), ...].
ready(Store, N) ->
    until(fun() -> call(Store, record, [cid(N)]) =/= [] end),
    call(Store, record, [cid(N)]).

%% @doc Ends a call in order.
-spec finish(cluster_node:running(), pos_integer()) -> ok.
finish(Store, N) ->
    {ok, _} = call(Store, put, [lists:nthtail(3, events(N))]),
    _ = record(Store, N),
    ok.

-spec call(cluster_node:running(), atom(), [term()]) -> term().
call(Node, Function, Arguments) -> cluster_node:call(Node, era_callstore, Function, Arguments).

-spec until(fun(() -> boolean())) -> ok.
until(Holds) -> cluster_node:until(condition, Holds).

%% --- calls

-spec cid(pos_integer()) -> binary().
cid(N) -> era_callstore_test_app:cid(N).

-spec dialog(pos_integer()) -> binary().
dialog(N) -> <<"d", (integer_to_binary(N))/binary>>.

-spec events(pos_integer()) -> [map()].
events(N) -> era_callstore_test_app:events(N).

%% @doc Invite, dialog, answer.
-spec alive(pos_integer()) -> [map()].
alive(N) ->
    [Invite, Init, #{<<"data">> := Data} = Start | _] = events(N),
    [Invite, Init, Start#{<<"data">> := Data#{<<"mgctxid">> => <<"ctx", (integer_to_binary(N))/binary>>}}].

%% @doc The call is to be recorded.
-spec rec_info(pos_integer()) -> map().
rec_info(N) -> later(N, <<"rec_info">>, 1, #{<<"domain">> => <<"alfa.era.test">>, <<"isrec">> => true}).

%% @doc The recording was mixed.
-spec rec_links(pos_integer()) -> map().
rec_links(N) -> later(N, <<"call_rec_links">>, 90, #{<<"link">> => <<"rec/1.mp3">>, <<"size">> => 7}).

%% @doc One event more of a conversation, the Nth, and so much later.
-spec later(pos_integer(), Type :: binary(), Nth :: 1..99, map()) -> map().
later(N, Type, Nth, Fields) ->
    [_, _, #{<<"data">> := Data, <<"eventts">> := Ts} = Start | _] = events(N),
    Id = iolist_to_binary(io_lib:format("e~7..0b-0000-4000-8000-~12..0b", [100 + Nth, N])),
    Own = #{<<"eventid">> => Id, <<"eventts">> => Ts + Nth},
    Start#{<<"type">> := Type, <<"eventts">> := Ts + Nth, <<"data">> := maps:merge(maps:merge(Data, Own), Fields)}.
