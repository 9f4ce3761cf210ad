%%% Real nodes on this machine for suites: each a VM of its own, reached over its standard input and output, so that the
%%% suite takes no part in the distribution between them.
%%%
%%% Always holds: a node is ended by its own process id; a wait is for a condition and has an end. Nodes that are cut
%%% from each other stay so, whoever calls whom, until they are mended.
%%% Called by: the suites of several nodes.
%%% Must never: be part of the cluster.
-module(cluster_node).

-export([plan/3, boot/1, boot/2, start/1, start/2, start_application/1, call/4, name/1, until/2]).
-export([kill/1, kill_together/1, pause/1, resume/1, stop/1, is_alive/1, cut/2, mend/2, accept/2]).
-export([settled/1, together/1, active/1, lowest_active/1, digests/1, log/1]).
-export([not_of_peer/2]).
-export_type([plan/0, running/0]).

-define(COOKIE, "cluster").
-define(CALL_MS, 60000).
-define(POLL_MS, 20).

%% A node that may be started, again and again in the same folder; code is looked for in the folders of `path' first.
-type plan() :: #{
    name := node(), dir := file:filename(), settings := map(), vm := [string()], path => [file:filename()]
}.
-type running() :: #{plan := plan(), peer := pid(), os_pid := string()}.

%% @doc Plans for nodes of one group, the first with the lowest order. Settings: of the application; `storage' and `vm'
%% (arguments of the emulator) beside them.
-spec plan(file:filename(), pos_integer(), map()) -> [plan()].
plan(Dir, Number, Settings) ->
    Run = lists:concat(["_", os:getpid(), "_", erlang:unique_integer([positive]), "@127.0.0.1"]),
    Of = fun(N) -> list_to_atom(lists:concat(["callstore", N, Run])) end,
    Nodes = [{N, Of(N)} || N <- lists:seq(1, Number)],
    Storage = maps:get(storage, Settings, <<"disc">>),
    Roles = [
        #{
            <<"name">> => instance(N), <<"roletype">> => <<"callstore">>, <<"iface">> => <<"lo">>, <<"group">> => 1,
            <<"order">> => N, <<"include_domains">> => [], <<"mnesia_storage_mode">> => Storage
        }
     || {N, _} <- Nodes
    ],
    Common = maps:merge(
        #{roles => Roles, instances => maps:from_list([{instance(N), Node} || {N, Node} <- Nodes]), sinks => []},
        maps:without([storage, vm], Settings)
    ),
    [
        #{
            name => Node, dir => filename:join(Dir, lists:concat(["node", N])),
            settings => Common, vm => maps:get(vm, Settings, [])
        }
     || {N, Node} <- Nodes
    ].

instance(N) -> <<"callstore", (integer_to_binary(N))/binary>>.

%% @doc A VM for each plan, without the application.
-spec boot([plan()]) -> [running()].
boot(Plans) ->
    %% A peer whose node is killed reports its own crash, at length; it says nothing that the suite did not do.
    _ = logger:add_primary_filter(?MODULE, {fun ?MODULE:not_of_peer/2, []}),
    each(Plans, fun(Plan) -> boot(Plan, []) end).

%% @private A filter runs in the process that logs.
-spec not_of_peer(logger:log_event(), []) -> stop | ignore.
not_of_peer(_Event, []) ->
    case get('$initial_call') of
        {peer, _, _} -> stop;
        _ -> ignore
    end.

-spec boot(plan(), [string()]) -> running().
boot(#{name := Node, dir := Dir, vm := Vm} = Plan, More) ->
    ok = filelib:ensure_path(Dir),
    [Name, Host] = string:lexemes(atom_to_list(Node), "@"),
    Log = io_lib:format("[{handler,default,logger_std_h,#{config=>#{file=>~p}}}]", [log(Plan)]),
    {ok, Peer, Node} = peer:start(#{
        name => Name, host => Host, longnames => true, connection => standard_io, wait_boot => 30000,
        args => ["-setcookie", ?COOKIE, "-connect_all", "true", "-kernel", "logger", lists:flatten(Log)] ++
            %% The emulator puts each before those that it was told of earlier.
            Vm ++ More ++ ["-pa" | lists:reverse(maps:get(path, Plan, []) ++ code_path())]
    }),
    Running = #{plan => Plan, peer => Peer, os_pid => peer:call(Peer, os, getpid, [])},
    ok = call(Running, file, set_cwd, [Dir]),
    Running.

%% @doc The log file of a node.
-spec log(plan()) -> file:filename().
log(#{dir := Dir}) -> filename:join(Dir, "log").

%% @doc VMs with the application, all started at the same time.
-spec start([plan()] | plan()) -> [running()] | running().
start(Plan) when is_map(Plan) -> hd(start([Plan]));
start(Plans) -> start(Plans, #{}).

-spec start([plan()], map()) -> [running()].
start(Plans, Settings) ->
    Booted = boot(Plans),
    Begun = each(Booted, fun(Node) -> start_application(Node, Settings) end),
    [ok = One || One <- Begun],
    Booted.

%% @doc The application on a booted node.
-spec start_application(running()) -> ok.
start_application(Node) -> start_application(Node, #{}).

start_application(#{plan := #{settings := Common}} = Node, Settings) ->
    ok = call(Node, application, load, [era_callstore]),
    maps:foreach(
        fun(Key, Value) -> ok = call(Node, application, set_env, [era_callstore, Key, Value]) end,
        maps:merge(Common, Settings)
    ),
    {ok, _} = call(Node, application, ensure_all_started, [era_callstore]),
    ok.

%% In parallel; whoever runs here stays the owner of what it makes for the length of a test case.
each(Things, Fun) ->
    Test = self(),
    Runners = [
        {spawn_monitor(fun() ->
            Result = Fun(Thing),
            Test ! {self(), Result},
            %% A node ends with its test case, also one that is paused.
            Monitor = erlang:monitor(process, Test),
            receive {'DOWN', Monitor, process, _, _} -> left(Result) end
        end), Thing}
     || Thing <- Things
    ],
    [
        receive
            {Pid, Result} -> erlang:demonitor(Monitor, [flush]), Result;
            {'DOWN', Monitor, process, _, Reason} -> error({Reason, Thing})
        end
     || {{Pid, Monitor}, Thing} <- Runners
    ].

left(#{peer := Peer} = Node) -> _ = [kill(Node) || is_process_alive(Peer)], ok;
left(_Other) -> ok.

%% @doc SIGKILL.
-spec kill(running()) -> ok.
kill(#{peer := Peer} = Node) ->
    signal("-9", Node),
    _ = (catch peer:stop(Peer)),
    ok.

%% @doc SIGKILL to all of them at one moment.
-spec kill_together([running()]) -> ok.
kill_together(Nodes) ->
    [] = os:cmd(lists:flatten(["kill -9 " | lists:join(" ", [OsPid || #{os_pid := OsPid} <- Nodes])])),
    lists:foreach(fun(#{peer := Peer}) -> _ = (catch peer:stop(Peer)) end, Nodes).

%% @doc Whether the VM runs, or is paused.
-spec is_alive(running()) -> boolean().
is_alive(#{peer := Peer}) -> is_process_alive(Peer).

-spec pause(running()) -> ok.
pause(Node) -> signal("-STOP", Node).

-spec resume(running()) -> ok.
resume(Node) -> signal("-CONT", Node).

signal(Signal, #{os_pid := OsPid}) ->
    [] = os:cmd("kill " ++ Signal ++ " " ++ OsPid),
    ok.

%% @doc An orderly end.
-spec stop(running()) -> ok.
stop(#{peer := Peer}) -> peer:stop(Peer).

-spec call(running(), module(), atom(), [term()]) -> term().
call(#{peer := Peer}, Module, Function, Arguments) -> peer:call(Peer, Module, Function, Arguments, ?CALL_MS).

%% @doc No link between the nodes of one list and those of the other, until mend/2. Each expects of the other a cookie that
%% the other does not have; a wrong one on one side alone could be the right one on the other.
-spec cut([running()], [running()]) -> ok.
cut(Some, Others) ->
    _ = [
        begin
            true = call(One, erlang, set_cookie, [name(Other), list_to_atom("not_" ++ atom_to_list(name(Other)))]),
            true = call(Other, erlang, set_cookie, [name(One), list_to_atom("not_" ++ atom_to_list(name(One)))])
        end
     || One <- Some, Other <- Others
    ],
    until({cut, [name(N) || N <- Some ++ Others]}, fun() ->
        _ = [call(One, erlang, disconnect_node, [name(Other)]) || One <- Some, Other <- Others],
        [] =:= [{A, B} || A <- Some, B <- Others, lists:member(name(B), call(A, erlang, nodes, []))]
    end).

%% @doc The links are back; whoever wants to talk connects.
-spec mend([running()], [running()]) -> ok.
mend(Some, Others) ->
    lists:foreach(fun(One) -> ok = accept(One, [name(Other) || Other <- Others]) end, Some),
    lists:foreach(fun(Other) -> ok = accept(Other, [name(One) || One <- Some]) end, Others).

%% @doc This node talks with these again, also with one that does not run now.
-spec accept(running(), [node()]) -> ok.
accept(Node, Names) ->
    Cookie = list_to_atom(?COOKIE),
    lists:foreach(fun(Name) -> true = call(Node, erlang, set_cookie, [Name, Cookie]) end, Names -- [name(Node)]).

-spec name(running()) -> node().
name(#{plan := #{name := Name}}) -> Name.

%% @doc Waits until the condition holds; says what it was when it never does.
-spec until(What :: term(), fun(() -> boolean() | {false, term()})) -> ok.
until(What, Holds) -> until(What, Holds, erlang:monotonic_time(millisecond) + 40000).

until(What, Holds, Deadline) ->
    case {Holds(), erlang:monotonic_time(millisecond) > Deadline} of
        {true, _} -> ok;
        {Other, true} -> error({never, What, Other});
        {_, false} -> receive after ?POLL_MS -> until(What, Holds, Deadline) end
    end.

%% @doc One active that all name, a copy on each of the nodes, nothing on the way: then the status of each.
-spec settled([running()]) -> [map()].
settled(Nodes) ->
    Names = lists:sort([name(N) || N <- Nodes]),
    ok = until({settled, Names}, fun() ->
        All = statuses(Nodes),
        Known = lists:usort([{Active, lists:sort(Copies)} || #{active := Active, copies := Copies} <- All]),
        case {Known, lists:sort([State || #{state := State} <- All])} of
            {[{Named, Names}], [active | Passive]} when Named =/= none ->
                lists:all(fun(S) -> S =:= passive end, Passive) andalso
                    lists:all(fun(#{lag_chunks := Lag}) -> Lag =:= 0 end, All) orelse {false, All};
            _ ->
                {false, All}
        end
    end),
    statuses(Nodes).

statuses(Nodes) -> [map_get(1, map_get(groups, call(Node, era_callstore, status, []))) || Node <- Nodes].

%% @doc Waits until the nodes share one Mnesia, with copies of one lineage on each of them: whatever went on apart is
%% healed.
-spec together([running()]) -> ok.
together(Nodes) ->
    Names = lists:sort([name(Node) || Node <- Nodes]),
    until({together, Names}, fun() ->
        Said = [call(Node, era_callstore_heal, said, []) || Node <- Nodes],
        Apart = [{A, B} || A <- Said, B <- Said, A =/= B, era_callstore_sides:is_apart(A, B)],
        Loaded = [L || #{lineages := #{1 := L}} <- Said],
        Sides = lists:usort([lists:sort(Side) || #{side := Side} <- Said]),
        {Apart, length(Loaded), Sides} =:= {[], length(Nodes), [Names]} orelse {false, Said}
    end).

%% @doc The node that is active, as the first of these says.
-spec active([running()]) -> node().
active([Node | _]) -> maps:get(active, hd(statuses([Node]))).

%% @doc Waits until the one of lowest order is active: the first that was given to start/1, whoever was active first.
-spec lowest_active([running()]) -> ok.
lowest_active([Lowest | _] = Nodes) -> until(lowest_order, fun() -> active(Nodes) =:= name(Lowest) end).

%% @doc Different digests of the copies; one, once they are equal.
-spec digests([running()]) -> [binary()].
digests([Node | _] = Nodes) ->
    Digests = call(Node, era_callstore, digest, [1]),
    Names = lists:sort([name(N) || N <- Nodes]),
    Names = lists:sort(maps:keys(Digests)),
    lists:usort(maps:values(Digests)).

code_path() -> [Dir || Dir <- code:get_path(), filename:basename(Dir) =/= ".", filelib:is_dir(Dir)].
