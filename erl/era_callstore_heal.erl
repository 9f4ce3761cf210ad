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
%%% Called by: era_callstore (heal/1, on the node to be healed, over erpc), era_callstore_status and _metrics
%%% (apart/0); said/0 by the heal of other nodes, over erpc. Mnesia's system events come in.
%%% Must never: choose between two contents: both sides' events go into one log.
-module(era_callstore_heal).
-behaviour(gen_server).

-export([start_link/0, heal/0, apart/0, said/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([reason/0, healed/0]).

-include_lib("kernel/include/logger.hrl").

-define(LOOK_MS, 1000).
%% Pause after an attempt that failed.
-define(AGAIN_MS, 3000).
-define(ASK_MS, 5000).
-define(JOINED_MS, 120000).
%% Mnesia that runs for so long without the others will not find them by itself; and so long others who have gone are
%% waited for.
-define(ALONE_MS, 3000).
-define(POLL_MS, 50).
-define(NOTE, {heal, 0, here}).

-type reason() ::
    not_apart
    | not_running
    %% a group whose only copies would be given up
    | {only_copy, Group :: pos_integer()}
    %% tables of the host in a schema that was made apart from the other's: they cannot be brought together by us
    | {host_schema_apart, [Table :: atom()]}
    | {no_active, Group :: pos_integer()}
    %% copies of these groups are not loaded: whether the others have what is in them is not known
    | {not_loaded, [Group :: pos_integer()]}
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
    %% the log file has been told of these, and of an alarm
    told = [] :: [node()],
    alarmed = false :: boolean(),
    %% no healing before this (ms, monotonic)
    pause_until :: integer(),
    %% the others have come, and it is awaited that their copies are loaded: until then this node keeps its own
    settling = false :: boolean(),
    %% since when nobody is there whose copies are to replace the ones here
    stranded_since = none :: integer() | none
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
        lost => era_callstore_lost:nodes()
    }.

%% --- the process

-spec init([]) -> {ok, #state{}}.
init([]) ->
    ok = era_callstore_lost:forget(),
    {ok, look_again(#state{pause_until = now_ms()})}.

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

-spec handle_cast(connect, #state{}) -> {noreply, #state{}}.
handle_cast(connect, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(look, State) ->
    Looked =
        case {era_callstore_schema:running(), era_callstore_config:in_force()} of
            {true, {ok, #{groups := Groups}}} -> tried(fun() -> look(Groups, State) end, State);
            _ -> State
        end,
    {noreply, look_again(Looked)};
handle_info({mnesia_system_event, {mnesia_down, Node}}, State) ->
    ok = era_callstore_lost:noted(Node),
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

%% Soon, where Mnesia's events do not come yet, and where the next look may settle what this node starts with.
look_again(#state{settling = Settling} = State) ->
    Soon = Settling orelse not era_callstore_lost:is_followed(),
    _ = erlang:send_after(case Soon of true -> ?POLL_MS; false -> ?LOOK_MS end, self(), look),
    State#state{settling = false}.

look(Groups, Before) ->
    ok = era_callstore_lost:follow(partners(Groups)),
    Gaps = era_callstore_gap:open(),
    Us = said(),
    Peers = peers(Groups),
    Apart = [Peer || Peer <- Peers, era_callstore_sides:is_apart(Us, Peer)],
    ok = keep_or_settle(Us, Peers, Apart, Groups, Gaps),
    ok = era_callstore_lost:found([N || #{node := N, side := [_ | _]} = Peer <- Peers, not lists:member(Peer, Apart)]),
    AllHere = Apart =:= [] andalso partners(Groups) -- map_get(side, Us) =:= [],
    Settling = AllHere andalso not era_callstore_rejoin:is_settled(),
    State = told_apart([Node || #{node := Node} <- Apart], Before#state{settling = Settling}),
    case era_callstore_rejoin:is_stranded([N || #{node := N, side := [_ | _]} <- Peers]) of
        true -> stranded(noted([Node || #{node := Node} <- Apart], false, State));
        false -> weighed(Us, Apart, Peers, Groups, State#state{stranded_since = none})
    end.

%% What we had was given to those who have gone; here it still is.
stranded(#state{stranded_since = none} = State) ->
    State#state{stranded_since = now_ms()};
stranded(#state{stranded_since = Since} = State) ->
    case now_ms() - Since > ?ALONE_MS andalso era_callstore_rejoin:take_own() of
        false ->
            State;
        ok ->
            ?LOG_WARNING(#{what => "who was to heal this node has gone: it goes on with its own copies"}),
            State#state{stranded_since = none};
        {error, Reason} ->
            ?LOG_ERROR(#{what => "this node cannot go on with its own copies", reason => Reason}),
            State#state{stranded_since = now_ms()}
    end.

weighed(Us, Apart, Peers, Groups, #state{seen = Seen, pause_until = Until} = State) ->
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

%% What the peers that answer say of themselves. After a split nobody else may want to talk to a node without an
%% instance.
peers(Groups) ->
    {Others, Away} = lists:partition(
        fun(Node) -> lists:member(Node, nodes()) end, lists:delete(node(), maps:keys(era_callstore_sides:ranks(Groups)))
    ),
    lists:foreach(fun(Node) -> gen_server:cast({?MODULE, Node}, connect) end, Away),
    Answers = erpc:multicall(Others, ?MODULE, said, [], ?ASK_MS),
    [Said || {ok, Said} <- Answers].

%% A writer does so at once when it commits without a copy; this is for the passive ones, and for the way back.
keep_or_settle(#{side := Side} = Us, Peers, Apart, Groups, Gaps) ->
    Partners = partners(Groups),
    Loaded = [N || #{node := N, lineages := L} <- [Us | Peers], map_size(L) > 0],
    ok = chosen(era_callstore_rejoin:forget_given_back()),
    case {Partners -- Side, Apart, Partners -- Loaded} of
        {[], [], []} ->
            ok = era_callstore_gap:close(Gaps),
            chosen(era_callstore_rejoin:is_settled() orelse era_callstore_rejoin:settle());
        {[_ | _], _, _} when map_size(map_get(lineages, Us)) > 0 ->
            chosen(era_callstore_rejoin:keep_own());
        _ ->
            ok
    end.

chosen({error, Reason}) -> ?LOG_ERROR(#{what => "which copies to start with could not be noted", reason => Reason});
chosen(_) -> ok.

%% Nodes of the groups that have an instance here.
partners(Groups) ->
    lists:usort(lists:append([nodes_of(Of) || {_, Of} <- maps:to_list(here(Groups))])).

here(Groups) -> maps:filter(fun(_, Of) -> lists:member(node(), nodes_of(Of)) end, Groups).

noted(Apart, Due, #state{alarmed = Alarmed} = State) ->
    _ = [
        ?LOG_ALERT(#{
            what => "this node is to be healed and Mnesia holds tables of the host: call era_callstore:heal/1",
            node => node(), tables => era_callstore_rejoin:foreign_tables()
        })
     || Due, not Alarmed
    ],
    ok = era_callstore_router:note(?NOTE, #{apart => Apart, heal_due => Due}),
    State#state{seen = Apart, alarmed = Due}.

told_apart(Apart, #state{seen = Seen, told = Told} = State) ->
    Known = [Node || Node <- Apart, lists:member(Node, Seen)],
    _ = [
        ?LOG_ERROR(#{what => "these nodes went on apart from this one: each may have events of its own", nodes => Known})
     || Known -- Told =/= []
    ],
    State#state{told = Known}.

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
        error:Reason:Stack -> not_healed(Other, {failed, {Reason, Stack}})
    end.

not_healed(#{node := Other}, Reason) ->
    ?LOG_ERROR(#{what => "this node could not be healed yet", other => Other, reason => Reason}),
    {error, Reason}.

heal_with(#{lineages := Lineages} = Us, #{node := Other} = Them, Groups) ->
    Peers = peers(Groups),
    Others = era_callstore_sides:those_with(Them, Us, Peers),
    %% Those who are with them alone first.
    Side = Others ++ (era_callstore_sides:side_of(Them, Peers) -- Others),
    Here = here(Groups),
    %% One that waits for the copy of another has nothing to give, or gave it before.
    Loaded = maps:with(maps:keys(Lineages), Here),
    Way = case era_callstore_rejoin:is_same_schema(Other) of true -> same_schema; false -> other_schema end,
    First = [
        %% It has gone since it was looked at.
        fun() -> case Others of [] -> {error, {asked, Other, no_answer}}; [_ | _] -> ok end end,
        fun() -> allowed(Here, maps:keys(Here) -- maps:keys(Loaded), Others, Way) end,
        fun() -> has_active(maps:keys(Loaded), [node() | Side]) end
    ],
    case era_callstore_steps:do(First) of
        ok ->
            Held = maps:keys(Here),
            held(Held, fun() -> told(Held, Side, give_and_join(Loaded, Groups, Others, Side, Way)) end);
        {error, _} = Error ->
            Error
    end.

nodes_of(#{members := Members}) -> [Node || #{node := Node} <- Members].

%% What nobody else has must outlive the new start of Mnesia here.
allowed(_Here, [_ | _] = Unloaded, _Others, other_schema) ->
    {error, {not_loaded, Unloaded}};
allowed(Here, _Unloaded, Others, Way) ->
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

%% Someone is to commit what we give: one of theirs, or the next of them when we give our activity up. Nobody is held up
%% before there is one.
has_active(Groups, Nodes) ->
    case [Group || Group <- Groups, Nodes -- era_callstore_router:active_nodes(Group) =:= Nodes] of
        [] -> ok;
        [Group | _] -> {error, {no_active, Group}}
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
told(Groups, Side, {ok, #{with := Others, rows := Rows, kept := Kept}} = Healed) ->
    Said = #{
        <<"node">> => atom_to_binary(node()),
        <<"with">> => [atom_to_binary(Other) || Other <- Others],
        <<"rows">> => Rows,
        <<"records">> => Kept
    },
    Actives = fun(Group) -> [Node || Node <- era_callstore_router:active_nodes(Group), lists:member(Node, Side)] end,
    _ = [erpc:cast(Node, era_callstore_feed, say, [Group, <<"heal">>, Said]) || Group <- Groups, Node <- Actives(Group)],
    Healed;
told(_Groups, _Side, {error, _} = Error) ->
    Error.

give_and_join(Loaded, Groups, Others, Side, Way) ->
    case given(maps:map(fun(_, Of) -> nodes_of(Of) end, Loaded), Others, Side) of
        {ok, #{actives := Actives, keeper := Keeper} = Given} ->
            case left(Actives, Keeper, Way, Groups) of
                ok ->
                    Healed = maps:with([rows, bytes, kept], Given),
                    joined(Groups, [Keeper | Others], Healed#{with => Others}, now_ms());
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

given(Groups, [Other | _], _Side) when map_size(Groups) =:= 0 ->
    {ok, #{rows => 0, bytes => 0, kept => 0, actives => #{}, keeper => Other}};
given(Groups, Others, Side) ->
    era_callstore_union:give(Groups, Others, Side).

%% Each log from who has committed what we gave: of the others one may lack what only we and that one had.
left(Actives, Keeper, Way, Groups) ->
    Of = fun(Group, Active, Acc) -> maps:merge(Acc, maps:from_keys(era_callstore_log:tables_of(Group), Active)) end,
    Left = era_callstore_rejoin:leave(maps:fold(Of, #{}, Actives), Keeper, Way),
    case {Left, maps:size(here(Groups)), era_callstore_config:in_force()} of
        %% Without an instance here nobody else starts Mnesia again.
        {ok, 0, {ok, Config}} -> era_callstore_schema:start(era_callstore_groups:schema_options(Config));
        _ -> Left
    end.

%% The groups have started Mnesia and loaded their copies.
joined(Groups, Near, Given, Began) ->
    Running = era_callstore_schema:running(),
    _ = [ok = era_callstore_lost:follow(partners(Groups)) || Running],
    Together = lists:any(fun era_callstore_rejoin:is_together/1, Near),
    Loaded = Together andalso era_callstore_rejoin:is_loaded() andalso
        lists:all(fun(Group) -> era_callstore_lineage:of_copy(Group) =/= none end, maps:keys(here(Groups))),
    case {Loaded, Running andalso not Together, now_ms() - Began} of
        {true, _, _} ->
            %% What is loaded is theirs: a start from here on may load from whoever has it, should these be gone by then.
            ok = era_callstore_rejoin:settle(),
            ok = era_callstore_gap:close_own(maps:keys(here(Groups))),
            {ok, Given};
        %% Cut off from them again. Those who are there now are looked for anew.
        {false, true, Ms} when Ms > ?ALONE_MS -> {error, {not_joined, Near}};
        {false, _, Ms} when Ms > ?JOINED_MS -> {error, {not_joined, Near}};
        {false, _, _} -> receive after ?POLL_MS -> joined(Groups, Near, Given, Began) end
    end.

now_ms() -> erlang:monotonic_time(millisecond).
