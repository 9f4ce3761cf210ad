%%% The groups of this node: starts what the configuration places here, and starts it again when it fails.
%%%
%%% Always holds: a group that fails, however often, takes neither another group nor the application with it: it is
%%% started again after a pause that grows. What runs is what the configuration in force says.
%%% Called by: the application, era_callstore:configure/1 (through apply_config/1 on every node).
%%% Must never: be on the way of an event.
-module(era_callstore_groups).
-behaviour(gen_server).

-export([start_link/1, apply_config/1, stand_down/0, schema_options/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include_lib("kernel/include/logger.hrl").

-define(PAUSE_MIN_MS, 500).
-define(PAUSE_MAX_MS, 30000).
%% A group that ran this long before it failed starts with the shortest pause again.
-define(STEADY_MS, 60000).
-define(STOP_MS, 40000).

-record(running, {pid :: pid() | undefined, failures = 0 :: non_neg_integer(), since = 0 :: integer()}).
-record(state, {config :: era_callstore_config:config(), groups = #{} :: #{pos_integer() => #running{}}}).

-spec start_link(era_callstore_config:config()) -> gen_server:start_ret().
start_link(Config) -> gen_server:start_link({local, ?MODULE}, ?MODULE, Config, []).

%% @doc Puts a checked configuration in force on this node.
-spec apply_config(era_callstore_config:config()) -> ok.
apply_config(Config) -> gen_server:call(?MODULE, {apply_config, Config}, infinity).

%% @doc Every group of this node finishes what waits and gives its activity up.
-spec stand_down() -> ok.
stand_down() -> gen_server:call(?MODULE, stand_down, infinity).

%% @doc What the groups of this node need of Mnesia.
-spec schema_options(era_callstore_config:config()) -> era_callstore_schema:options().
schema_options(#{data_dir := Dir, instances := Instances} = Config) ->
    Placed = [era_callstore_config:group(Config, Group) || Group <- local(Config)],
    Storages = [Storage || {ok, #{storage := Storage}, _} <- Placed],
    #{
        data_dir => Dir,
        disc => case Storages of [] -> later; [_ | _] -> lists:member(disc_copies, Storages) end,
        nodes => lists:usort(maps:values(Instances))
    }.

%% --- the process

-spec init(era_callstore_config:config()) -> {ok, #state{}}.
init(Config) ->
    process_flag(trap_exit, true),
    ok = era_callstore_router:join_node(),
    {ok, in_force(Config, #state{config = Config})}.

-spec handle_call(stand_down | {apply_config, era_callstore_config:config()}, gen_server:from(), #state{}) ->
    {reply, ok, #state{}}.
handle_call({apply_config, Config}, _From, State) ->
    {reply, ok, in_force(Config, State)};
handle_call(stand_down, _From, #state{groups = Groups} = State) ->
    lists:foreach(fun stand_down/1, maps:to_list(Groups)),
    {reply, ok, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'EXIT', Pid, Reason}, #state{groups = Groups} = State) ->
    case [Group || {Group, #running{pid = P}} <- maps:to_list(Groups), P =:= Pid] of
        [Group] -> {noreply, failed(Group, Reason, State)};
        [] -> {noreply, State}
    end;
handle_info({start_again, Group}, #state{groups = Groups} = State) ->
    case Groups of
        #{Group := #running{pid = undefined} = Running} -> {noreply, start(Group, Running, State)};
        #{} -> {noreply, State}
    end;
handle_info(_Other, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{groups = Groups}) ->
    lists:foreach(fun(#running{pid = Pid}) -> stop(Pid) end, maps:values(Groups)).

%% --- what runs and what should

in_force(Config, #state{config = Old, groups = Groups} = State) ->
    ok = era_callstore_config:put_in_force(Config),
    ok = era_callstore_router:use(Config),
    Wanted = local(Config),
    Ended = [
        Group
     || Group <- maps:keys(Groups),
        not lists:member(Group, Wanted) orelse needs(Group, Old) =/= needs(Group, Config)
    ],
    lists:foreach(fun(Group) -> end_group(Group, map_get(Group, Groups)) end, Ended),
    Kept = State#state{config = Config, groups = maps:without(Ended, Groups)},
    lists:foreach(fun(Group) -> era_callstore_group:configure(Group, Config) end, maps:keys(Kept#state.groups)),
    lists:foldl(fun(Group, S) -> start(Group, #running{}, S) end, Kept, Wanted -- maps:keys(Kept#state.groups)).

local(#{groups := Groups} = Config) ->
    lists:sort([Group || Group <- maps:keys(Groups), era_callstore_config:group(Config, Group) =/= none]).

%% All that a running group has been started with; domains are the router's and change under it, and who the other
%% instances are it is told.
needs(Group, Config) ->
    case era_callstore_config:group(Config, Group) of
        {ok, #{roles := Roles, storage := Storage}, #{instance := Instance} = Member} ->
            Own = maps:remove(<<"include_domains">>, map_get(Instance, Roles)),
            Settings = maps:without([roles, instances, groups, event_aliases, warnings, given], Config),
            {Storage, Own, Member, Settings};
        none ->
            none
    end.

start(Group, #running{failures = Failures} = Running, #state{config = Config, groups = Groups} = State) ->
    case era_callstore_group_sup:start_link(Group, Config) of
        {ok, Pid} ->
            Started = Running#running{pid = Pid, since = erlang:monotonic_time(millisecond)},
            State#state{groups = Groups#{Group => Started}};
        {error, Reason} ->
            failed(Group, Reason, State#state{groups = Groups#{Group => Running#running{failures = Failures}}})
    end.

failed(Group, Reason, #state{groups = Groups} = State) ->
    #{Group := #running{failures = Failures, since = Since} = Running} = Groups,
    Ran = erlang:monotonic_time(millisecond) - Since,
    Before = case Ran > ?STEADY_MS of true -> 0; false -> Failures end,
    Pause = min(?PAUSE_MAX_MS, ?PAUSE_MIN_MS bsl min(Before, 10)),
    ?LOG_ERROR(#{what => "a group has failed", group => Group, reason => Reason, start_again_in_ms => Pause}),
    ok = era_callstore_router:forget(Group),
    _ = erlang:send_after(Pause, self(), {start_again, Group}),
    State#state{groups = Groups#{Group := Running#running{pid = undefined, failures = Before + 1}}}.

end_group(Group, Running) ->
    ?LOG_NOTICE(#{what => "a group ends or starts anew: the configuration has changed", group => Group}),
    stand_down({Group, Running}),
    stop(Running#running.pid).

%% A group that cannot stand down in order is ended out of order: what it acknowledged is in the log.
stand_down({_Group, #running{pid = undefined}}) ->
    ok;
stand_down({Group, _Running}) ->
    try
        era_callstore_group:stand_down(Group)
    catch
        exit:Reason ->
            ?LOG_WARNING(#{what => "a group did not stand down in order", group => Group, reason => Reason})
    end.

stop(undefined) ->
    ok;
stop(Pid) ->
    exit(Pid, shutdown),
    receive
        {'EXIT', Pid, _} -> ok
    after ?STOP_MS ->
        exit(Pid, kill),
        receive
            {'EXIT', Pid, _} -> ok
        end
    end.
