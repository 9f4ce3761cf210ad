%%% Mnesia itself: running, with a directory of ours when the host has not started it, in one schema with the other
%%% nodes of the site.
%%%
%%% Always holds: Mnesia that the host runs is used as it is and never stopped by us; a schema of another node is
%%% never opened for work. First starts of nodes that see each other happen one after the other, so one schema
%%% results; a start that does not end because it waits for another node lets that one go before.
%%% Called by: the application at start and stop, the groups when Mnesia has gone away under them, era_callstore_dump, and
%%% era_callstore_rejoin (restart/1). With the log, rejoin and the collection the only module that says `mnesia:'.
%%% Must never: touch a table; delete a directory.
-module(era_callstore_schema).

-export([start/1, sync/0, stop/0, running/0, together/0, monitor/0, subscribe_system/0, is_ours/0, restart/1, stay_away/0]).
-export([log_bytes/0, dump/0]).
-export_type([options/0, reason/0]).

-include_lib("kernel/include/logger.hrl").

%% `later': no group is here yet, and one that comes may want the disc.
-type options() :: #{data_dir := file:filename(), disc := boolean() | later, nodes := [node()]}.
-type reason() ::
    era_callstore_dir:reason()
    | {host_schema_in_ram, file:filename()}
    | {mnesia_not_there, term()}
    | {mnesia_start, term()}
    | {mnesia_join, [node()], term()}.

%% Whose Mnesia it is: `host' or {ours, ClaimedDir | none}.
-define(WHOSE, {?MODULE, whose}).
%% Since when Mnesia has been gone here: ms, `no' after a start, nothing since the VM began.
-define(GONE, {?MODULE, gone}).
%% A little more than the second in which others look.
-define(AWAY_MS, 1200).
%% Mnesia dumps its log after this many writes. Its own default (1,000) is a second's work here and floods the log
%% file of the host with overload warnings.
-define(DUMP_LOG_WRITE_THRESHOLD, 20000).
-define(START_MS, 30000).
-define(SYNC_MS, 10000).
%% So long a start keeps its turn.
-define(TURN_MS, 3000).

%% @doc Makes sure that Mnesia runs and can keep what is asked for.
-spec start(options()) -> ok | {error, reason()}.
start(Options) ->
    ok = await_stopped(persistent_term:get(?WHOSE, host)),
    case mnesia:system_info(is_running) of
        no -> start_ours(Options);
        stopping -> {error, {mnesia_start, stopping}};
        _ -> use_running(Options)
    end.

%% @doc Ends what start/1 began. Everything written is on disc when it returns; Mnesia of ours stops right after, because
%% the application controller that stops it is still busy with us.
-spec stop() -> ok.
stop() ->
    ok = await_stopped(persistent_term:get(?WHOSE, host)),
    case {persistent_term:get(?WHOSE, host), running()} of
        {{ours, Dir}, true} ->
            _ = mnesia:sync_log(),
            stop_ours(Dir, init:get_status());
        {{ours, Dir}, false} ->
            release(Dir);
        {host, true} ->
            _ = mnesia:sync_log(),
            ok;
        {host, false} ->
            ok
    end.

%% When the whole node stops, the application controller stops Mnesia itself right after us.
stop_ours(Dir, {stopping, _}) ->
    release(Dir);
stop_ours(Dir, _) ->
    Self = self(),
    Stopper = spawn(fun() ->
        %% What has the application's group leader ends with the application.
        true = group_leader(whereis(init), self()),
        Self ! {self(), free},
        ok = stopped(),
        release(Dir)
    end),
    receive
        {Stopper, free} -> persistent_term:put(?WHOSE, {stopping, Stopper})
    end.

stopped() ->
    stopped = mnesia:stop(),
    persistent_term:put(?GONE, erlang:monotonic_time(millisecond)).

%% A start right after a stop finds Mnesia gone.
await_stopped({stopping, Stopper}) ->
    Monitor = erlang:monitor(process, Stopper),
    receive
        {'DOWN', Monitor, process, Stopper, _} -> persistent_term:put(?WHOSE, host)
    end;
await_stopped(_) ->
    ok.

%% @doc Whether Mnesia runs on this node.
-spec running() -> boolean().
running() -> mnesia:system_info(is_running) =:= yes.

%% @doc The nodes whose Mnesia runs together with that of this node, itself included; none while it does not run here.
-spec together() -> [node()].
together() ->
    try
        mnesia:system_info(running_db_nodes)
    catch
        %% It does not run and reads the schema on the disc, which is not there whole: its directory is being set aside, or spoilt.
        exit:{aborted, _} -> []
    end.

%% @doc A monitor whose DOWN says that Mnesia has stopped on this node.
-spec monitor() -> reference().
monitor() -> erlang:monitor(process, mnesia_sup).

%% @doc Mnesia's system events come to the caller as {mnesia_system_event, Event}.
-spec subscribe_system() -> ok | {error, term()}.
subscribe_system() ->
    case mnesia:subscribe(system) of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end.

%% @doc Whether Mnesia that runs was started by us.
-spec is_ours() -> boolean().
is_ours() ->
    case persistent_term:get(?WHOSE, host) of
        {ours, _} -> true;
        _ -> false
    end.

%% @doc Stops Mnesia of ours, then does something with its directory (`none' where it keeps nothing on disc) while nobody
%% uses it. Who starts Mnesia meanwhile, as the groups do when it has gone, waits for that.
-spec restart(Then :: fun((Dir :: file:filename() | none) -> ok)) -> ok | {error, {mnesia_restart, term()}}.
restart(Then) ->
    {ours, Dir} = persistent_term:get(?WHOSE),
    {Stopper, Monitor} = spawn_monitor(fun() ->
        receive
            begin_now -> ok
        end,
        ok = stopped(),
        release(Dir),
        ok = Then(Dir)
    end),
    persistent_term:put(?WHOSE, {stopping, Stopper}),
    Stopper ! begin_now,
    receive
        {'DOWN', Monitor, process, Stopper, normal} -> ok;
        {'DOWN', Monitor, process, Stopper, Reason} -> {error, {mnesia_restart, Reason}}
    end.

%% @doc The schema as it is now is on disc on every node that runs. A change of it waits in the buffers of the VMs for up
%% to two seconds; a node killed meanwhile would come back without it, and wait for a copy that is gone, or lack one.
-spec sync() -> ok.
sync() ->
    _ = erpc:multicall(together(), mnesia, sync_log, [], ?SYNC_MS),
    ok.

%% @doc The size of Mnesia's log since it was dumped last; 0 where there is none.
-spec log_bytes() -> non_neg_integer().
log_bytes() -> filelib:file_size(filename:join(mnesia:system_info(directory), "LATEST.LOG")).

%% Mnesia that has stopped answers with an error, which its own code does not let dialyzer see.
-dialyzer({no_match, dump/0}).
%% @doc Has Mnesia bring its log into the files of the tables, and waits for that.
-spec dump() -> ok | {error, term()}.
dump() ->
    try mnesia:dump_log() of
        dumped -> ok;
        %% Mnesia has stopped.
        Other -> {error, Other}
    catch
        exit:Reason -> {error, Reason}
    end.

%% --- Mnesia of the host

use_running(#{disc := Disc, nodes := Nodes}) ->
    ok = wait_running(),
    keep_whose(),
    Connect = fun() -> connect([N || N <- Nodes, not lists:member(N, together())]) end,
    Dir = mnesia:system_info(directory),
    case {Disc, mnesia:system_info(use_dir), persistent_term:get(?WHOSE, host)} of
        {true, true, _} -> first_error([fun() -> era_callstore_dir:writable(Dir) end, Connect]);
        {true, false, {ours, none}} -> first_error([Connect, fun() -> to_disc(Dir) end]);
        {true, false, host} -> {error, {host_schema_in_ram, Dir}};
        {_, _, _} -> Connect()
    end.

%% Started in RAM before a group was here.
to_disc(Dir) ->
    case era_callstore_dir:claim(Dir) of
        ok ->
            persistent_term:put(?WHOSE, {ours, Dir}),
            schema_to_disc();
        {error, _} = Error ->
            Error
    end.

%% A restart of the application finds the Mnesia it started itself: still ours.
keep_whose() ->
    persistent_term:put(?WHOSE, persistent_term:get(?WHOSE, host)).

%% Mnesia that is starting answers this call when it is up.
wait_running() ->
    case mnesia:wait_for_tables([schema], ?START_MS) of
        ok -> ok;
        Other -> Other
    end.

%% A node of our schema whose Mnesia runs without ours went on apart: Mnesia would take it in with what it has, and
%% era_callstore_heal is to bring both together first.
connect(Nodes) ->
    case with_mnesia(Nodes -- mnesia:system_info(db_nodes)) of
        [] -> ok;
        There -> join_error(There, mnesia:change_config(extra_db_nodes, There))
    end.

join_error(_Nodes, {ok, _}) -> ok;
%% Each has made tables of its own: we begin apart, and era_callstore_heal brings both together.
join_error(Nodes, {error, {merge_schema_failed, Reason}}) ->
    ?LOG_WARNING(#{what => "Mnesia of these nodes has tables of its own: it is not joined", nodes => Nodes, reason => Reason});
join_error(Nodes, {error, Reason}) -> {error, {mnesia_join, Nodes, Reason}}.

%% --- Mnesia of our own

start_ours(Options) ->
    case application:load(mnesia) of
        ok -> set_up(Options);
        {error, {already_loaded, mnesia}} -> set_up(Options);
        {error, Reason} -> {error, {mnesia_not_there, Reason}}
    end.

set_up(#{data_dir := DataDir} = Options) ->
    Dir =
        case application:get_env(mnesia, dir) of
            {ok, HostDir} -> to_list(HostDir);
            undefined -> to_list(DataDir)
        end,
    ok = application:set_env(mnesia, dir, Dir),
    ok = application:set_env(mnesia, dump_log_write_threshold, ?DUMP_LOG_WRITE_THRESHOLD),
    claim_and_start(Dir, Options).

claim_and_start(Dir, #{disc := later} = Options) ->
    case era_callstore_dir:has_schema(Dir) of
        true -> claim_and_start(Dir, Options#{disc := true});
        false -> start_ours_in_ram(opt_disc, Options)
    end;
claim_and_start(_Dir, #{disc := false} = Options) ->
    start_ours_in_ram(ram, Options);
claim_and_start(Dir, #{disc := true} = Options) ->
    case era_callstore_dir:claim(Dir) of
        ok ->
            ok = application:set_env(mnesia, schema_location, opt_disc),
            persistent_term:put(?WHOSE, {ours, Dir}),
            case start_in_turn(Options, fun(Others) -> start_on_disc(Dir, Others) end) of
                ok ->
                    ok;
                {error, _} = Error ->
                    _ = mnesia:stop(),
                    release(Dir),
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

start_ours_in_ram(Location, Options) ->
    ok = application:set_env(mnesia, schema_location, Location),
    persistent_term:put(?WHOSE, {ours, none}),
    start_in_turn(Options, fun start_in_ram/1).

%% Nodes that start together for the first time must not each make a schema: one after the other.
start_in_turn(#{nodes := Nodes}, Start) ->
    Connected = [N || N <- Nodes, N =/= node(), net_kernel:connect_node(N) =:= true],
    Turn = {era_callstore_first_start, self()},
    case global:trans(Turn, fun() -> Start(with_mnesia(Connected)) end, [node() | Connected], 60) of
        aborted -> {error, {mnesia_join, Connected, no_turn}};
        {out_of_turn, Finish} -> Finish();
        Result -> Result
    end.

start_in_ram(Others) ->
    first_error([fun start_mnesia/0, fun() -> connect(Others) end]).

start_on_disc(Dir, Others) ->
    case {era_callstore_dir:has_schema(Dir), Others} of
        {true, _} ->
            start_with_schema(fun(Started) ->
                first_error([fun() -> Started end, fun() -> own_schema(Dir) end, fun() -> connect(Others) end])
            end);
        {false, []} ->
            first_error([fun create_schema/0, fun start_mnesia/0]);
        {false, _} ->
            first_error([fun start_mnesia/0, fun() -> connect(Others) end, fun schema_to_disc/0])
    end.

%% Mnesia that was killed in the midst of a change of the schema does not start before another node has told how that
%% ended, which needs its own turn for it.
start_with_schema(Finish) ->
    Self = self(),
    Starter = spawn_monitor(fun() -> Self ! {self(), start_mnesia()} end),
    case started(Starter, ?TURN_MS) of
        not_yet ->
            ?LOG_NOTICE(#{what => "Mnesia does not start before other nodes do"}),
            {out_of_turn, fun() -> Finish(started(Starter, infinity)) end};
        Started ->
            Finish(Started)
    end.

started({Pid, Monitor}, TimeoutMs) ->
    receive
        {Pid, Started} ->
            true = erlang:demonitor(Monitor, [flush]),
            Started;
        {'DOWN', Monitor, process, Pid, Reason} ->
            {error, {mnesia_start, Reason}}
    after TimeoutMs -> not_yet
    end.

start_mnesia() ->
    ok = stay_away(persistent_term:get(?GONE, boot)),
    case application:start(mnesia) of
        ok ->
            persistent_term:put(?GONE, no),
            wait_running();
        {error, Reason} ->
            {error, {mnesia_start, Reason}}
    end.

%% @doc Waits until a node that was waiting for Mnesia here, which has just stopped, has seen it gone. Who awaits a dirty
%% write looks once a second whether the other node is still there, and would wait for ever for one that is there again.
-spec stay_away() -> ok.
stay_away() -> stay_away(no).

%% A VM that was killed was away before it began.
stay_away(Since) ->
    Now = erlang:monotonic_time(millisecond),
    Gone =
        case Since of
            boot -> erlang:convert_time_unit(erlang:system_info(start_time), native, millisecond);
            no -> Now;
            Ms -> Ms
        end,
    case nodes() of
        [] -> ok;
        [_ | _] -> receive after max(0, Gone + ?AWAY_MS - Now) -> ok end
    end.

create_schema() ->
    case mnesia:create_schema([node()]) of
        ok -> ok;
        {error, Reason} -> {error, {mnesia_start, Reason}}
    end.

%% Mnesia starts on a schema that does not name this node, and then keeps nothing.
own_schema(Dir) ->
    Nodes = mnesia:system_info(db_nodes),
    case lists:member(node(), Nodes) of
        true -> ok;
        false -> {error, {dir_of_node, Dir, hd(Nodes)}}
    end.

schema_to_disc() ->
    case mnesia:change_table_copy_type(schema, node(), disc_copies) of
        {atomic, ok} -> sync();
        {aborted, {already_exists, schema, _, disc_copies}} -> ok;
        {aborted, Reason} -> {error, {mnesia_start, Reason}}
    end.

%% --- small things

%% Nodes on which Mnesia runs. A node that does not answer is one on which it does not.
with_mnesia(Nodes) ->
    Others = [N || N <- Nodes, N =/= node()],
    Answers = erpc:multicall(Others, mnesia, system_info, [is_running], ?START_MS),
    [N || {N, {ok, yes}} <- lists:zip(Others, Answers)].

release(none) -> ok;
release(Dir) -> era_callstore_dir:release(Dir).

first_error([]) -> ok;
first_error([Step | Steps]) ->
    case Step() of
        ok -> first_error(Steps);
        {error, Reason} when is_tuple(Reason), tuple_size(Reason) >= 2 -> {error, Reason};
        Other -> {error, {mnesia_start, Other}}
    end.

to_list(Dir) -> unicode:characters_to_list(to_iodata(Dir)).

to_iodata(Dir) when is_atom(Dir) -> atom_to_list(Dir);
to_iodata(Dir) -> Dir.
