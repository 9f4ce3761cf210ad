%%% One node of the demo with three nodes: a VM of its own, reached over its standard input and output.
%%%
%%% Always holds: a node ends with the demo, however the demo ends.
%%% Called by: callstore_demo_cluster; the functions of the second half run inside the node.
%%% Must never: end a process that the demo has not started.
-module(callstore_demo_node).

-export([plan/3, boot/1, start/3, start_later/3, kill/1, call/4, try_call/4, label/1, name/1]).
-export([begin_here/3, advance_here/1, events_in_records/0]).
-export_type([plan/0, running/0]).

-type plan() :: #{label := string(), name := node(), dir := file:filename(), instances := #{binary() => node()}}.
-type running() :: #{plan := plan(), peer := pid(), os_pid := string()}.

-define(BOOT_MS, 30000).
-define(CALL_MS, 120000).
-define(PAGE, 500).

%% @doc Nodes of one group on this machine, the first with the lowest order.
-spec plan(Dir :: file:filename(), Number :: pos_integer(), Unique :: string()) -> [plan()].
plan(Dir, Number, Unique) ->
    Labels = ["callstore" ++ integer_to_list(N) || N <- lists:seq(1, Number)],
    Name = fun(Label) -> list_to_atom(Label ++ "-" ++ Unique ++ "@127.0.0.1") end,
    Instances = maps:from_list([{list_to_binary(Label), Name(Label)} || Label <- Labels]),
    [#{label => Label, name => Name(Label), dir => filename:join(Dir, Label), instances => Instances} || Label <- Labels].

%% @doc A VM without the application.
-spec boot(plan()) -> running().
boot(#{name := Node, dir := Dir} = Plan) ->
    [Name, Host] = string:lexemes(atom_to_list(Node), "@"),
    ok = filelib:ensure_path(Dir),
    Log = io_lib:format("[{handler,default,logger_std_h,#{config=>#{file=>~p}}}]", [filename:join(Dir, "log")]),
    {ok, Peer, Node} = peer:start(#{
        name => Name, host => Host, longnames => true, connection => standard_io, wait_boot => ?BOOT_MS,
        args => ["+Bd", "-setcookie", "start", "-kernel", "logger", lists:flatten(Log), "-pa" | code:get_path()]
    }),
    #{plan => Plan, peer => Peer, os_pid => peer:call(Peer, os, getpid, [])}.

%% @doc Starts the application, on the play's time.
-spec start(running(), Cookie :: atom(), NowMs :: integer()) -> ok | {error, term()}.
start(#{plan := Plan} = Node, Cookie, NowMs) -> call(Node, ?MODULE, begin_here, [Plan, Cookie, NowMs]).

%% @doc The same beside the play; the caller gets {started, Node, Result}.
-spec start_later(running(), Cookie :: atom(), NowMs :: integer()) -> ok.
start_later(Node, Cookie, NowMs) ->
    Demo = self(),
    _ = spawn_link(fun() -> Demo ! {started, Node, start(Node, Cookie, NowMs)} end),
    ok.

%% @doc SIGKILL.
-spec kill(running()) -> ok.
kill(#{os_pid := OsPid}) ->
    [] = os:cmd("kill -9 " ++ OsPid),
    ok.

%% @doc Calls a function in the node.
-spec call(running(), module(), atom(), [term()]) -> term().
call(#{peer := Peer}, Module, Function, Arguments) -> peer:call(Peer, Module, Function, Arguments, ?CALL_MS).

%% @doc The same in a node that may be dead.
-spec try_call(running(), module(), atom(), [term()]) -> term() | dead.
try_call(Node, Module, Function, Arguments) ->
    try
        call(Node, Module, Function, Arguments)
    catch
        exit:_ -> dead
    end.

%% @doc What people call it.
-spec label(running()) -> string().
label(#{plan := #{label := Label}}) -> Label.

-spec name(running()) -> node().
name(#{plan := #{name := Name}}) -> Name.

%% --- inside the node

%% @doc Settings, time, start.
-spec begin_here(plan(), Cookie :: atom(), NowMs :: integer()) -> ok | {error, term()}.
begin_here(#{dir := Dir, instances := Instances}, Cookie, NowMs) ->
    true = erlang:set_cookie(Cookie),
    Roles = [
        #{
            <<"name">> => Instance, <<"roletype">> => <<"callstore">>, <<"iface">> => <<"default">>, <<"group">> => 1,
            <<"order">> => Order, <<"include_domains">> => [], <<"sorm3_enabled">> => true
        }
     || {Order, Instance} <- lists:enumerate(lists:sort(maps:keys(Instances)))
    ],
    ok = application:load(era_callstore),
    lists:foreach(
        fun({Key, Value}) -> application:set_env(era_callstore, Key, Value) end,
        [{data_dir, filename:join(Dir, "data")}, {sinks, [{collection, #{}}]}, {roles, Roles}, {instances, Instances}]
    ),
    ok = era_callstore_clock:use_virtual(NowMs),
    case application:ensure_all_started(era_callstore) of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end.

%% @doc The play's time goes on; in a node whose application is about to start as well.
-spec advance_here(NowMs :: integer()) -> ok.
advance_here(NowMs) ->
    case whereis(era_callstore) of
        undefined -> era_callstore_clock:use_virtual(NowMs);
        _ -> era_callstore_clock:advance_to(NowMs)
    end.

%% @doc Events that the newest records of all calls tell of.
-spec events_in_records() -> non_neg_integer().
events_in_records() -> lists:sum([Events || {_Revision, Events} <- maps:values(events_in_records(#{limit => ?PAGE}, #{}))]).

events_in_records(Page, Known) ->
    #{items := Items, cursor := Cursor} = era_callstore:records(#{}, Page),
    Found = lists:foldl(fun newest/2, Known, Items),
    case Cursor of
        done -> Found;
        _ -> events_in_records(Page#{cursor => Cursor}, Found)
    end.

newest(#{<<"cid">> := Cid, <<"revision">> := Revision, <<"completeness">> := #{<<"events">> := Events}}, Known) ->
    case Known of
        #{Cid := {Newer, _}} when Newer > Revision -> Known;
        #{} -> Known#{Cid => {Revision, Events}}
    end.
