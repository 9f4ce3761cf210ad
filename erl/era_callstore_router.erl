%%% Who serves what, as this node knows it: domain → group → the active's node, and the processes and stores here.
%%%
%%% Reads cost a lookup (persistent_term, ETS, pg). The process exists to own the table and to wake who waits for a
%%% group to become active. Which node is active is known through pg: the writer of the active is a member of
%%% {active, Group}, the view of every loaded copy of {copy, Group}; the runtime removes them when they die.
%%% Always holds: what is published here belongs to a process that published it itself; a stale row is noticed by its user
%%% as `noproc' and is no error.
%%% Called by: the put path and queries (reads), writer and view (publish), configuration (use/1).
%%% Must never: be on the way of an event.
-module(era_callstore_router).
-behaviour(gen_server).

-export([start_link/0, use/1, resource/0, route/1]).
-export([publish_writer/4, retract_writer/1, writer/1, publish_store/2, retract_store/1, store/1, local_groups/0]).
-export([note/2, noted/1, forget/1]).
-export([active_node/1, active_nodes/1, active_writers/2, copies/1, views/1]).
-export([await_active/2, join_node/0, nodes/0]).
-export_type([key/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(TABLE, era_callstore_local).
-define(SCOPE, era_callstore).
-define(RESOURCE, {?MODULE, resource}).
%% A waiter without an answer after this long has given up; its place is freed then.
-define(FORGET_WAITER_MS, 600000).

%% Who says something of itself: of which group, and of which part.
-type key() ::
    {group | outbox | handler | trim | ticker | watch | jobs | writer, pos_integer(), term()}
    | {heal, 0, here | lost}.

-record(state, {monitor :: reference(), waiting = #{} :: #{pos_integer() => [{gen_server:from(), integer()}]}}).

-spec start_link() -> gen_server:start_ret().
start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Routes by this configuration from now on; `none' when the application stops.
-spec use(era_callstore_config:config() | none) -> ok.
use(none) ->
    _ = persistent_term:erase(?RESOURCE),
    ok;
use(#{roles := Roles} = Config) ->
    Settings = maps:with([event_aliases, master_domain], Config),
    {ok, Router} = era_callstore_nif:router(era_callstore_nif:json_encode(Roles), Settings),
    persistent_term:put(?RESOURCE, Router),
    gen_server:cast(?MODULE, agree).

%% @doc The core's router, for encode; `none' before the application has started.
-spec resource() -> era_callstore_nif:router() | none.
resource() -> persistent_term:get(?RESOURCE, none).

%% @doc The group that serves a domain; `none' also before the application has started.
-spec route(Domain :: binary()) -> {ok, pos_integer()} | none.
route(Domain) ->
    case resource() of
        none -> none;
        Router -> era_callstore_nif:route(Router, Domain)
    end.

%% @doc The caller is the writer of the active instance of the group; Queue counts the bytes that wait for it.
-spec publish_writer(Group :: pos_integer(), pid(), Queue :: atomics:atomics_ref(), QueueBytes :: pos_integer()) -> ok.
publish_writer(Group, Pid, Queue, QueueBytes) ->
    true = ets:insert(?TABLE, {{writer, Group}, Pid, Queue, QueueBytes}),
    ok = pg:join(?SCOPE, {active, Group}, Pid).

%% @doc The writer of the group takes nothing more.
-spec retract_writer(Group :: pos_integer()) -> ok.
retract_writer(Group) ->
    case ets:take(?TABLE, {writer, Group}) of
        [{_, Pid, _, _}] -> _ = pg:leave(?SCOPE, {active, Group}, Pid), ok;
        [] -> ok
    end.

%% @doc The writer of the group, when the group is active on this node.
-spec writer(Group :: pos_integer()) ->
    {pid(), Queue :: atomics:atomics_ref(), QueueBytes :: pos_integer()} | none.
writer(Group) ->
    case lookup({writer, Group}) of
        [{_, Pid, Queue, QueueBytes}] -> {Pid, Queue, QueueBytes};
        [] -> none
    end.

%% @doc The caller is the view of a loaded copy of the group, with this store.
-spec publish_store(Group :: pos_integer(), era_callstore_nif:store()) -> ok.
publish_store(Group, Store) ->
    true = ets:insert(?TABLE, {{store, Group}, Store}),
    case lists:member(self(), pg:get_local_members(?SCOPE, {copy, Group})) of
        true -> ok;
        false -> pg:join(?SCOPE, {copy, Group}, self())
    end.

%% @doc The copy of the group on this node is not to be read and follows nobody, until its view publishes it again.
-spec retract_store(Group :: pos_integer()) -> ok.
retract_store(Group) ->
    true = ets:delete(?TABLE, {store, Group}),
    lists:foreach(fun(View) -> pg:leave(?SCOPE, {copy, Group}, View) end, pg:get_local_members(?SCOPE, {copy, Group})).

%% @doc The store of the group on this node, when its copy is loaded.
-spec store(Group :: pos_integer()) -> {ok, era_callstore_nif:store()} | none.
store(Group) ->
    case lookup({store, Group}) of
        [{_, Store}] -> {ok, Store};
        [] -> none
    end.

%% @doc Groups of which this node has a loaded copy.
-spec local_groups() -> [pos_integer()].
local_groups() ->
    try
        lists:sort(ets:select(?TABLE, [{{{store, '$1'}, '_'}, [], ['$1']}]))
    catch
        error:badarg -> []
    end.

%% @doc What a process says of itself for the status, under a key of its own.
-spec note(key(), map()) -> ok.
note(Key, Said) ->
    true = ets:insert(?TABLE, {Key, Said}),
    ok.

%% @doc What was said last; empty when nothing was.
-spec noted(key()) -> map().
noted(Key) ->
    case lookup(Key) of
        [{_, Said}] -> Said;
        [] -> #{}
    end.

%% @doc The group is not on this node any more.
-spec forget(Group :: pos_integer()) -> ok.
forget(Group) ->
    true = ets:delete(?TABLE, {store, Group}),
    true = ets:delete(?TABLE, {writer, Group}),
    true = ets:match_delete(?TABLE, {{'_', Group, '_'}, '_'}),
    ok.

%% @doc The node where the group is active, this one first.
-spec active_node(Group :: pos_integer()) -> node() | none.
active_node(Group) ->
    case pg:get_local_members(?SCOPE, {active, Group}) of
        [_ | _] ->
            node();
        [] ->
            case pg:get_members(?SCOPE, {active, Group}) of
                [Pid | _] -> node(Pid);
                [] -> none
            end
    end.

%% @doc All nodes where the group is active: more than one while nodes that were apart have not been healed.
-spec active_nodes(Group :: pos_integer()) -> [node()].
active_nodes(Group) -> lists:usort([node(Pid) || Pid <- pg:get_members(?SCOPE, {active, Group})]).

%% @doc Writers of the group on that node that take something.
-spec active_writers(Group :: pos_integer(), node()) -> [pid()].
active_writers(Group, Node) ->
    [Pid || Pid <- pg:get_members(?SCOPE, {active, Group}), node(Pid) =:= Node].

%% @doc The views of loaded copies on other nodes. To the writer of this node is told who comes and goes from then on:
%% {era_callstore_router, joined | left, [pid()]}.
-spec views(Group :: pos_integer()) -> [pid()].
views(Group) -> on_others(pg:get_members(?SCOPE, {copy, Group})).

on_others(Pids) -> [Pid || Pid <- Pids, node(Pid) =/= node()].

%% @doc Nodes with a loaded copy of the group, this one first.
-spec copies(Group :: pos_integer()) -> [node()].
copies(Group) ->
    Nodes = lists:usort([node(Pid) || Pid <- pg:get_members(?SCOPE, {copy, Group})]),
    case lists:member(node(), Nodes) of
        true -> [node() | lists:delete(node(), Nodes)];
        false -> Nodes
    end.

%% @doc Waits until some node is active for the group.
-spec await_active(Group :: pos_integer(), TimeoutMs :: non_neg_integer()) -> ok | timeout.
await_active(_Group, 0) ->
    timeout;
await_active(Group, TimeoutMs) ->
    try
        gen_server:call(?MODULE, {await_active, Group}, TimeoutMs)
    catch
        exit:{timeout, _} -> timeout;
        %% The application stops.
        exit:{noproc, _} -> timeout;
        exit:{shutdown, _} -> timeout
    end.

%% @doc This node runs the application, as long as the caller does: it is asked and configured with the others. Not for the
%% process of this module: pg of OTP 25 fails when a process that watches a scope and is a member of it ends.
-spec join_node() -> ok.
join_node() ->
    ok = era_callstore_chunk_version:announce(),
    pg:join(?SCOPE, node, self()).

%% @doc Nodes that run the application.
-spec nodes() -> [node()].
nodes() -> lists:usort([node(Pid) || Pid <- pg:get_members(?SCOPE, node)]).

%% Before the application has started and after it has stopped there is nothing.
lookup(Key) ->
    try
        ets:lookup(?TABLE, Key)
    catch
        error:badarg -> []
    end.

%% --- the process

-spec init([]) -> {ok, #state{}}.
init([]) ->
    ?TABLE = ets:new(?TABLE, [named_table, public, set, {read_concurrency, true}]),
    {Monitor, _Members} = pg:monitor_scope(?SCOPE),
    {ok, #state{monitor = Monitor}}.

-spec handle_call({await_active, pos_integer()}, gen_server:from(), #state{}) ->
    {reply, ok, #state{}} | {noreply, #state{}}.
handle_call({await_active, Group}, From, #state{waiting = Waiting} = State) ->
    case pg:get_members(?SCOPE, {active, Group}) of
        [_ | _] ->
            {reply, ok, State};
        [] ->
            Now = erlang:monotonic_time(millisecond),
            Others = [W || {_, Since} = W <- maps:get(Group, Waiting, []), Now - Since < ?FORGET_WAITER_MS],
            {noreply, State#state{waiting = Waiting#{Group => [{From, Now} | Others]}}}
    end.

-spec handle_cast(agree, #state{}) -> {noreply, #state{}}.
handle_cast(agree, State) ->
    ok = agree(),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({Monitor, join, {active, Group}, _Pids}, #state{monitor = Monitor, waiting = Waiting} = State) ->
    lists:foreach(fun({From, _}) -> gen_server:reply(From, ok) end, maps:get(Group, Waiting, [])),
    {noreply, State#state{waiting = maps:remove(Group, Waiting)}};
handle_info({Monitor, _, {reads_chunk, _}, _}, #state{monitor = Monitor} = State) ->
    ok = agree(),
    {noreply, State};
handle_info({Monitor, join, {copy, Group}, Views}, #state{monitor = Monitor} = State) ->
    {noreply, tell_writer(Group, joined, Views, State)};
handle_info({Monitor, leave, {copy, Group}, Views}, #state{monitor = Monitor} = State) ->
    {noreply, tell_writer(Group, left, Views, State)};
handle_info(_Other, State) ->
    {noreply, State}.

%% Of the nodes that run and those that should.
agree() ->
    case era_callstore_config:in_force() of
        {ok, #{instances := Instances}} ->
            era_callstore_chunk_version:agree(lists:usort(maps:values(Instances) ++ ?MODULE:nodes()));
        {error, not_running} ->
            ok
    end.

tell_writer(Group, What, Views, State) ->
    _ = [Writer ! {?MODULE, What, on_others(Views)} || {Writer, _, _} <- [writer(Group)]],
    State.
