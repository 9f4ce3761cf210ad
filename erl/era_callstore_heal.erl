%%% Heals this node when it went on apart from others: what they lack is given to them, then their copies replace the ones here.
%%%
%%%   together ──a peer is there and apart──► apart ──ours gives way──► groups held ─► union given ─► Mnesia anew ─► together
%%%      ▲                                      │ (else: the other is healed)                                          │
%%%      └──────────────────────────────────────┴──────────────────────────────────────────────────────────────────────┘
%%% A peer is taken for apart when it is so in two looks in a row: one that just joins is for a moment.
%%% Always holds: nothing here is given up before the other side has committed what it lacked of it; nothing is begun here
%%% meanwhile. While a peer is missing or apart, Mnesia here starts with its own copies. Mnesia that holds tables of the
%%% host is only started again when heal/0 asks for it: until then an alarm stands in the log file, the status and the
%%% metrics.
%%% Called by: era_callstore (heal/1, on the node to be healed), era_callstore_status and _metrics (apart/0).
%%% Must never: choose between two contents: both sides' events go into one log.
-module(era_callstore_heal).
-behaviour(gen_server).

-export([start_link/0, heal/0, apart/0, said/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([reason/0, healed/0]).

-include_lib("kernel/include/logger.hrl").

-define(LOOK_MS, 1000).
%% Pause after an attempt that failed.
-define(AGAIN_MS, 5000).
-define(ASK_MS, 5000).
-define(JOINED_MS, 120000).
-define(POLL_MS, 50).
-define(NOTE, {heal, 0, here}).
-define(LOST, {heal, 0, lost}).

-type reason() ::
    not_apart
    | not_running
    %% a group whose only copies would be given up
    | {only_copy, Group :: pos_integer()}
    %% tables of the host in a schema that was made apart from the other's: they cannot be brought together by us
    | {host_schema_apart, [Table :: atom()]}
    | {no_active, Group :: pos_integer()}
    | {refused, term()}
    | {asked, node(), term()}
    | {mnesia_restart, term()}
    | {not_joined, [node()]}
    %% a process of ours, or Mnesia, went away meanwhile
    | {failed, term()}
    %% of Mnesia
    | term().
-type healed() :: #{with := [node()], rows := non_neg_integer(), bytes := non_neg_integer(), kept := non_neg_integer()}.
-type groups() :: #{pos_integer() => era_callstore_config:group()}.

-record(state, {
    %% apart at the last look
    seen = [] :: [node()],
    %% an alarm was told
    alarmed = false :: boolean(),
    %% the run of Mnesia whose events come here
    mnesia = none :: pid() | none,
    %% no healing before this (ms, monotonic)
    pause_until :: integer()
}).

-spec start_link() -> gen_server:start_ret().
start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Heals this node now, whoever would give way by the rule: also where Mnesia holds tables of the host, whose copies
%% here are then replaced by those of the other side as well.
-spec heal() -> {ok, healed()} | {error, reason()}.
heal() ->
    try
        gen_server:call(?MODULE, heal, infinity)
    catch
        exit:{noproc, _} -> {error, not_running}
    end.

%% @doc Nodes that went on apart from this one, and whether it waits to be asked before it is healed.
-spec apart() -> #{apart := [node()], heal_due := boolean()}.
apart() -> maps:merge(#{apart => [], heal_due => false}, era_callstore_router:noted(?NOTE)).

%% @doc How this node stands.
-spec said() -> era_callstore_sides:said().
said() ->
    Lineages = [{Group, era_callstore_lineage:of_copy(Group)} || Group <- era_callstore_router:local_groups()],
    #{
        node => node(),
        side => era_callstore_rejoin:side(),
        lineages => maps:from_list([{Group, Lineage} || {Group, Lineage} <- Lineages, Lineage =/= none]),
        lost => lost()
    }.

%% --- the process

-spec init([]) -> {ok, #state{}}.
init([]) -> {ok, look_again(#state{pause_until = now_ms()})}.

-spec handle_call(heal, gen_server:from(), #state{}) -> {reply, {ok, healed()} | {error, reason()}, #state{}}.
handle_call(heal, _From, State) ->
    case era_callstore_config:in_force() of
        {ok, #{groups := Groups}} ->
            Us = said(),
            case [Peer || Peer <- peers(Groups), era_callstore_sides:is_apart(Us, Peer)] of
                [] -> {reply, {error, not_apart}, State};
                [Other | _] -> {reply, healed(Us, Other, Groups), noted([], false, State)}
            end;
        {error, not_running} ->
            {reply, {error, not_running}, State}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(look, State) ->
    Looked =
        case {era_callstore_schema:running(), era_callstore_config:in_force()} of
            {true, {ok, #{groups := Groups}}} -> tried(fun() -> look(Groups, followed(State)) end, State);
            _ -> State
        end,
    {noreply, look_again(Looked)};
handle_info({mnesia_system_event, {mnesia_down, Node}}, State) ->
    ok = era_callstore_router:note(?LOST, #{mnesia => State#state.mnesia, nodes => lists:usort([Node | lost()])}),
    {noreply, State};
handle_info(_Other, State) ->
    {noreply, State}.

%% Mnesia may stop at any moment: then there is nothing to be seen until it runs again.
tried(Look, State) ->
    try
        Look()
    catch
        exit:{aborted, _} -> State
    end.

%% Nodes that Mnesia here has lost since it started, and that have not been found to be like us since.
lost() ->
    case {era_callstore_log:incarnation(), era_callstore_router:noted(?LOST)} of
        {Mnesia, #{mnesia := Mnesia, nodes := Nodes}} -> Nodes;
        _ -> []
    end.

%% Of a peer that is with us again one of us has been loaded anew.
found(Nodes, #state{mnesia = Mnesia}) ->
    case lost() of
        [] -> ok;
        Lost -> era_callstore_router:note(?LOST, #{mnesia => Mnesia, nodes => Lost -- Nodes})
    end.

followed(#state{mnesia = Known} = State) ->
    case era_callstore_log:incarnation() of
        Known ->
            State;
        Mnesia ->
            case era_callstore_schema:subscribe_system() of
                ok -> State#state{mnesia = Mnesia};
                {error, _} -> State
            end
    end.

look_again(State) ->
    _ = erlang:send_after(?LOOK_MS, self(), look),
    State.

look(Groups, #state{seen = Seen, pause_until = Until} = State) ->
    Us = said(),
    Peers = peers(Groups),
    Apart = [Peer || Peer <- Peers, era_callstore_sides:is_apart(Us, Peer)],
    ok = keep_or_settle(Us, Peers, Apart, Groups),
    ok = found([N || #{node := N, side := [_ | _]} = Peer <- Peers, not era_callstore_sides:is_apart(Us, Peer)], State),
    Nodes = [Node || #{node := Node} <- Apart],
    Ranks = era_callstore_sides:ranks(Groups),
    Stronger = [
        Peer
     || #{node := Node} = Peer <- Apart, lists:member(Node, Seen), era_callstore_sides:gives_way(Us, Peer, Peers, Ranks)
    ],
    %% One that gives way itself will not be active.
    Strongest = era_callstore_sides:strongest(Stronger, [Us | Peers], Ranks),
    case {Strongest, era_callstore_rejoin:is_ours()} of
        {[], _} -> noted(Nodes, false, State);
        {[_ | _], false} -> noted(Nodes, true, State);
        {[Other | _], true} ->
            case now_ms() >= Until andalso healed(Us, Other, Groups) of
                {ok, _} -> noted([], false, State);
                false -> noted(Nodes, false, State);
                {error, _} -> noted(Nodes, false, State#state{pause_until = now_ms() + ?AGAIN_MS})
            end
    end.

%% What the peers that answer say of themselves.
peers(Groups) ->
    Others = [N || N <- maps:keys(era_callstore_sides:ranks(Groups)), lists:member(N, nodes())],
    Answers = erpc:multicall(Others, ?MODULE, said, [], ?ASK_MS),
    [Said || {ok, Said} <- Answers].

%% A writer does so at once when it commits without a copy; this is for the passive ones, and for the way back.
keep_or_settle(#{side := Side} = Us, Peers, Apart, Groups) ->
    Here = [Of || {_, Of} <- maps:to_list(Groups), lists:member(node(), nodes_of(Of))],
    Partners = lists:usort(lists:append([nodes_of(Of) || Of <- Here])),
    Loaded = [N || #{node := N, lineages := L} <- [Us | Peers], map_size(L) > 0],
    Done =
        case {Partners -- Side, Apart, Partners -- Loaded, era_callstore_rejoin:keeps_own()} of
            {[], [], [], true} -> era_callstore_rejoin:settle();
            {[_ | _], _, _, false} when map_size(map_get(lineages, Us)) > 0 -> era_callstore_rejoin:keep_own();
            _ -> ok
        end,
    case Done of
        ok -> ok;
        {error, Reason} -> ?LOG_ERROR(#{what => "which copies to start with could not be noted", reason => Reason})
    end.

noted(Apart, Due, #state{seen = Seen, alarmed = Alarmed} = State) ->
    _ = [
        ?LOG_ERROR(#{what => "these nodes went on apart from this one: each may have events of its own", nodes => Apart})
     || Apart =/= [], Apart -- Seen =/= []
    ],
    _ = [
        ?LOG_ALERT(#{
            what => "this node is to be healed and Mnesia holds tables of the host: call era_callstore:heal/1",
            node => node(), tables => era_callstore_rejoin:foreign_tables()
        })
     || Due, not Alarmed
    ],
    ok = era_callstore_router:note(?NOTE, #{apart => Apart, heal_due => Due}),
    State#state{seen = Apart, alarmed = Due}.

%% --- healing

-spec healed(era_callstore_sides:said(), era_callstore_sides:said(), groups()) -> {ok, healed()} | {error, reason()}.
healed(Us, Other, Groups) ->
    Began = now_ms(),
    try heal_with(Us, Other, Groups) of
        {ok, Healed} ->
            ?LOG_NOTICE(Healed#{what => "healed: one log again", took_ms => now_ms() - Began}),
            {ok, Healed};
        {error, Reason} ->
            not_healed(Other, Reason)
    catch
        %% The other node has gone, or does not answer.
        error:{erpc, Reason} -> not_healed(Other, {asked, map_get(node, Other), Reason});
        exit:{exception, Reason} -> not_healed(Other, {asked, map_get(node, Other), Reason});
        exit:Reason -> not_healed(Other, {failed, Reason});
        %% What is not foreseen must not end the application by our failing again and again.
        error:Reason -> not_healed(Other, {failed, Reason})
    end.

not_healed(#{node := Other}, Reason) ->
    ?LOG_ERROR(#{what => "this node could not be healed yet", other => Other, reason => Reason}),
    {error, Reason}.

heal_with(Us, #{node := Other} = Them, Groups) ->
    Others = era_callstore_sides:those_with(Them, Us, peers(Groups)),
    Here = maps:filter(fun(_, Of) -> lists:member(node(), nodes_of(Of)) end, Groups),
    Way = case era_callstore_rejoin:is_same_schema(Other) of true -> same_schema; false -> other_schema end,
    case allowed(Here, Others, Way) of
        ok -> held(maps:keys(Here), fun() -> told(maps:keys(Here), give_and_join(Here, Others, Way)) end);
        {error, _} = Error -> Error
    end.

nodes_of(#{members := Members}) -> [Node || #{node := Node} <- Members].

%% What nobody else has must outlive the new start of Mnesia here.
allowed(Here, Others, Way) ->
    Alone = [
        Group
     || {Group, #{storage := Storage} = Of} <- maps:to_list(Here),
        nodes_of(Of) -- Others =:= nodes_of(Of),
        Storage =:= ram_copies orelse Way =:= other_schema
    ],
    case {Alone, Way, era_callstore_rejoin:is_ours()} of
        {[Group | _], _, _} -> {error, {only_copy, Group}};
        {[], other_schema, false} -> {error, {host_schema_apart, era_callstore_rejoin:foreign_tables()}};
        _ -> ok
    end.

%% The groups begin nothing meanwhile; they are released whatever happens.
held(Groups, Do) ->
    try
        lists:foreach(fun era_callstore_group:hold/1, Groups),
        Do()
    after
        lists:foreach(fun era_callstore_group:release/1, Groups)
    end.

%% Those who listen to the groups, by the active of the other side, which is not asked for its activity before the release.
told(Groups, {ok, #{with := Others, rows := Rows, kept := Kept}} = Healed) ->
    Said = #{
        <<"node">> => atom_to_binary(node()),
        <<"with">> => [atom_to_binary(Other) || Other <- Others],
        <<"rows">> => Rows,
        <<"records">> => Kept
    },
    Actives = [{Group, Node} || Group <- Groups, Node <- era_callstore_router:active_nodes(Group), lists:member(Node, Others)],
    _ = [erpc:cast(Node, era_callstore_feed, say, [Group, <<"heal">>, Said]) || {Group, Node} <- Actives],
    Healed;
told(_Groups, {error, _} = Error) ->
    Error.

give_and_join(Here, Others, Way) ->
    Groups = maps:keys(Here),
    case era_callstore_union:give(maps:map(fun(_, Of) -> nodes_of(Of) end, Here), Others) of
        {ok, Given} ->
            case era_callstore_rejoin:leave(Others, Way) of
                ok -> joined(Groups, Given#{with => Others}, now_ms() + ?JOINED_MS);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% The groups have started Mnesia and loaded their copies.
joined(Groups, #{with := Others} = Given, Deadline) ->
    Joined =
        lists:any(fun era_callstore_rejoin:is_together/1, Others) andalso era_callstore_rejoin:is_loaded() andalso
            lists:all(fun(Group) -> era_callstore_lineage:of_copy(Group) =/= none end, Groups),
    case {Joined, now_ms() > Deadline} of
        {true, _} ->
            %% What is loaded is theirs: a start from here on may load from whoever has it, should these be gone by then.
            ok = era_callstore_rejoin:settle(),
            {ok, Given};
        {false, true} -> {error, {not_joined, Others}};
        {false, false} -> receive after ?POLL_MS -> joined(Groups, Given, Deadline) end
    end.

now_ms() -> erlang:monotonic_time(millisecond).
