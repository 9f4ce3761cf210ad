%%% Gives copies back: a node that the configuration no longer places in the group keeps no copy of the group's tables.
%%%
%%%   configuration ──nodes──► tables' copies that are elsewhere ──► deleted from there, whether that node runs or not
%%% A node that is down keeps its copies on disc; it is taken out of Mnesia's schema where no table of others is there, so
%%% that nobody waits for it, and gives them back when it comes: also where Mnesia there would load them only from a
%%% node
%%% that is not of the group any more.
%%% Always holds: exists on the active only, whose own copy works, so the last copy is never given back. The tables that
%%% groups share (epochs, collections) stay on every node that any group has an instance on.
%%% Called by: the term's supervisor (start), era_callstore_group (nodes/2, when the configuration changes). Looks again
%%% when Mnesia starts on a node, and after a pause when a copy could not be given back.
%%% Must never: make a copy, or touch a table that is not ours.
-module(era_callstore_placement).
-behaviour(gen_server).

-export([start_link/1, nodes/2, of_config/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, handle_continue/2]).
-export_type([nodes/0]).

-include_lib("kernel/include/logger.hrl").

-define(RETRY_MIN_MS, 1000).
-define(RETRY_MAX_MS, 60000).
%% A copy that could not be given back for so long (the next pause) is not loaded there, and would never be.
-define(LOAD_FROM_PAUSE_MS, 4000).

%% Where the group has instances, and where any group has.
-type nodes() :: #{group := [node()], site := [node()]}.

-record(state, {
    group :: pos_integer(),
    nodes :: nodes(),
    pause_ms = ?RETRY_MIN_MS :: pos_integer(),
    retry :: reference() | undefined
}).

-spec start_link(#{group := pos_integer(), nodes := nodes()}) -> gen_server:start_ret().
start_link(#{group := Group} = Options) -> gen_server:start_link({local, name(Group)}, ?MODULE, Options, []).

%% @doc The group has these nodes from now on. No effect where the group is not active.
-spec nodes(Group :: pos_integer(), nodes()) -> ok.
nodes(Group, Nodes) -> gen_server:cast(name(Group), {nodes, Nodes}).

%% @doc What a configuration says of a group.
-spec of_config(Group :: pos_integer(), era_callstore_config:config()) -> nodes().
of_config(Group, #{groups := Groups}) ->
    Of = fun(#{members := Members}) -> [Node || #{node := Node} <- Members] end,
    #{group => lists:usort(Of(map_get(Group, Groups))), site => lists:usort(lists:flatmap(Of, maps:values(Groups)))}.

%% --- the process

-spec init(#{group := pos_integer(), nodes := nodes()}) -> {ok, #state{}, {continue, look}}.
init(#{group := Group, nodes := Nodes}) -> {ok, #state{group = Group, nodes = Nodes}, {continue, look}}.

-spec handle_continue(look, #state{}) -> {noreply, #state{}}.
handle_continue(look, State) ->
    _ = era_callstore_schema:subscribe_system(),
    {noreply, looked(State)}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, no_such_call}, #state{}}.
handle_call(_Call, _From, State) -> {reply, {error, no_such_call}, State}.

-spec handle_cast({nodes, nodes()}, #state{}) -> {noreply, #state{}}.
handle_cast({nodes, Nodes}, State) -> {noreply, looked(State#state{nodes = Nodes, pause_ms = ?RETRY_MIN_MS})}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({timeout, Retry, look}, #state{retry = Retry} = State) -> {noreply, looked(State#state{retry = undefined})};
handle_info({mnesia_system_event, {mnesia_up, _Node}}, State) -> {noreply, looked(State)};
handle_info(_Other, State) -> {noreply, State}.

%% --- copies

looked(#state{group = Group, nodes = #{site := OfSite} = Nodes} = State) ->
    Surplus = surplus(Group, Nodes),
    Failed = [{Table, Node, Reason} || {Table, Node} <- Surplus, {error, Reason} <- [given_back(Table, Node, Group)]],
    Down = lists:usort([Node || {_, Node, down} <- Failed]),
    IsStuck = State#state.pause_ms > ?LOAD_FROM_PAUSE_MS,
    Stuck = [{Table, Node} || {Table, Node, {not_active, _, _, _}} <- Failed, IsStuck],
    ok = lists:foreach(fun load_there/1, Stuck),
    Left = [Reason || Node <- Down -- OfSite, {error, Reason} <- [given_up(Node, Group)]],
    %% One that is down and has other tables too is looked at when it comes.
    case [Node || {_, Node, Reason} <- Failed, Reason =/= down] ++ [R || R <- Left, element(1, R) =/= other_tables] of
        [] -> State#state{pause_ms = ?RETRY_MIN_MS};
        [_ | _] -> again(State)
    end.

again(#state{retry = undefined, pause_ms = Pause} = State) ->
    State#state{retry = erlang:start_timer(Pause, self(), look), pause_ms = min(?RETRY_MAX_MS, 2 * Pause)};
again(State) ->
    State.

surplus(Group, #{group := OfGroup, site := OfSite}) ->
    Shared = era_callstore_log:shared_tables() ++ era_callstore_collection:tables(),
    Wanted = [{Table, OfGroup} || Table <- era_callstore_log:tables_of(Group)] ++ [{Table, OfSite} || Table <- Shared],
    [{Table, Node} || {Table, Nodes} <- Wanted, Node <- era_callstore_log:holders(Table) -- Nodes].

given_back(Table, Node, Group) ->
    Given = era_callstore_log:give_back(Table, Node),
    told(Given, #{group => Group, table => Table, node => Node}),
    Given.

%% A copy that Mnesia does not load there, because it waits for a node that it was told to load from and that has none any
%% more, is loaded from whoever has the table.
load_there({Table, Node}) -> erpc:cast(Node, mnesia, force_load_table, [Table]).

given_up(Node, Group) ->
    Given = era_callstore_log:give_up(Node),
    told(Given, #{group => Group, tables => all, node => Node}),
    Given.

told(ok, Where) ->
    ?LOG_NOTICE(Where#{what => "a copy is given back: the configuration has no instance there"});
told({error, Reason}, Where) ->
    ?LOG_NOTICE(Where#{what => "a copy that should not be there cannot be given back yet", reason => Reason}).

name(Group) -> list_to_atom("era_callstore_placement_" ++ integer_to_list(Group)).
