%%% What runs and how it is: for programs as a map, for people as a table.
%%%
%%% Always holds: asking costs no process that is on the way of an event anything but a lookup; every node tells the
%%% same of the same group, except what is its own (state, lag).
%%% Called by: era_callstore, era_callstore_metrics; group_here/1 on other nodes over erpc.
%%% Must never: fail because a node does not answer: what is not known is left out.
-module(era_callstore_status).

-export([status/0, group_here/1, table/1]).
-export_type([status/0, group_status/0]).

-type group_status() :: #{
    %% `elsewhere': no instance is here, and what follows is said by the active one; `away': nobody can be asked
    state := era_callstore_peers:state() | elsewhere | away,
    instance := binary() | none,
    epoch := non_neg_integer(),
    active := node() | none,
    copies := [node()],
    lag_chunks := non_neg_integer(),
    %% of a copy that is not loaded yet, what is counted in it is 0
    live := non_neg_integer(),
    closed := non_neg_integer(),
    started => non_neg_integer(),
    %% calls in RAM: those that live, and the closed ones that are not forgotten yet
    kept => non_neg_integer(),
    events => non_neg_integer(),
    duplicates => non_neg_integer(),
    late => non_neg_integer(),
    due => non_neg_integer(),
    log_chunks := non_neg_integer(),
    log_bytes := non_neg_integer(),
    %% the log is kept in RAM, and no other node had it when this one started
    started_empty => true,
    outbox := #{binary() => map()},
    %% on the active: bytes of its rows that each passive copy has not folded yet, and whom the commits wait for
    passives => #{node() => #{lag_bytes := non_neg_integer()}},
    waits_for => [node()],
    %% who gets the events out: how far each is, and what failed; `off' when no handler is configured
    handlers => off | #{binary() => map()},
    %% on the active: owners watched, nodes down, alarms, modules asked, what waits to be asked
    watch => map(),
    memory_bytes := non_neg_integer()
}.
-type status() :: #{
    site := binary() | none,
    node := node(),
    groups := #{pos_integer() => group_status()},
    %% modules of the platform that are asked or told here, `off' where none is set
    behaviours => #{probe | mixer | rescue => module() | off, handlers => off | [Name :: binary(), ...]},
    %% of the chunks that this node writes
    chunk_version => era_callstore_chunk_version:version(),
    %% nodes whose Mnesia runs apart from the one here, and whether era_callstore:heal/1 is awaited for this node
    apart => [node()],
    heal_due => boolean()
}.

-define(ASK_MS, 2000).

%% @doc The status as this node sees it; a group that it does not hold is asked for on the node where it is active.
-spec status() -> status().
status() ->
    case era_callstore_config:in_force() of
        {ok, #{site := Site, groups := Groups} = Config} ->
            (era_callstore_heal:apart())#{
                site => Site, node => node(), groups => maps:map(fun(Group, _) -> group(Group) end, Groups),
                behaviours => (era_callstore_behaviours:configured(Config))#{handlers => handler_names(Config)},
                chunk_version => era_callstore_chunk_version:written()
            };
        {error, not_running} ->
            #{site => none, node => node(), groups => #{}}
    end.

group(Group) ->
    case era_callstore_router:noted({group, Group, here}) of
        Said when map_size(Said) > 0 -> group_here(Group);
        _ -> elsewhere(Group, era_callstore_router:copies(Group))
    end.

elsewhere(Group, []) ->
    unknown(Group);
elsewhere(Group, Copies) ->
    Active = era_callstore_router:active_node(Group),
    try
        erpc:call(hd([N || N <- [Active], N =/= none] ++ Copies), ?MODULE, group_here, [Group], ?ASK_MS)
    of
        There -> There#{state => elsewhere, instance => none}
    catch
        error:{erpc, _} -> unknown(Group);
        exit:{exception, _} -> unknown(Group)
    end.

unknown(Group) ->
    (where(Group))#{
        state => away, instance => none, epoch => 0, lag_chunks => 0, live => 0, closed => 0, log_chunks => 0,
        log_bytes => 0, outbox => #{}, memory_bytes => 0
    }.

where(Group) ->
    #{active => era_callstore_router:active_node(Group), copies => era_callstore_router:copies(Group)}.

%% @doc The status of a group of which this node runs an instance.
-spec group_here(Group :: pos_integer()) -> group_status().
group_here(Group) ->
    Said = maps:with([state, instance], era_callstore_router:noted({group, Group, here})),
    Store =
        case era_callstore_router:store(Group) of
            {ok, Ref} -> of_store(Group, Ref);
            none -> #{}
        end,
    Log = era_callstore_router:noted({group, Group, log}),
    Parts = [Said, Store, Log, watch(Group), passives(Group, Said), handlers(Group)],
    maps:merge(lists:foldl(fun(More, Known) -> maps:merge(Known, More) end, unknown(Group), Parts), #{
        epoch => epoch(Group),
        log_chunks => era_callstore_log:size(Group),
        lag_chunks => era_callstore_view:waiting(Group)
    }).

passives(Group, #{state := active}) ->
    Lags = era_callstore_router:noted({writer, Group, lag_bytes}),
    #{
        passives => maps:map(fun(_, Bytes) -> #{lag_bytes => Bytes} end, Lags),
        waits_for => maps:get(nodes, era_callstore_router:noted({writer, Group, waits_for}), [])
    };
passives(_Group, _Said) ->
    #{}.

watch(Group) ->
    case era_callstore_router:noted({watch, Group, here}) of
        Watch when map_size(Watch) =:= 0 -> #{};
        Watch -> #{watch => Watch#{waiting => era_callstore_router:noted({jobs, Group, here})}}
    end.

handlers(Group) ->
    case era_callstore_config:in_force() of
        {ok, Config} ->
            case handler_names(Config) of
                off -> #{handlers => off};
                Names ->
                    Said = [{Name, era_callstore_router:noted({handler, Group, Name})} || Name <- Names],
                    #{handlers => maps:from_list(Said)}
            end;
        {error, not_running} ->
            #{handlers => off}
    end.

handler_names(#{handlers := []}) -> off;
handler_names(#{handlers := Handlers}) -> [Name || #{name := Name} <- Handlers].

%% Of the term in force, whosever it is.
epoch(Group) ->
    case era_callstore_log:term(Group) of
        {Epoch, _Node} -> Epoch;
        none -> 0
    end.

of_store(Group, Store) ->
    #{live := Live, closed := Closed, memory_bytes := Memory, pending := Pending} =
        Info = era_callstore_nif:info(Store),
    Outbox = maps:map(
        fun(Sink, Depth) -> maps:merge(Depth, era_callstore_router:noted({outbox, Group, Sink})) end, Pending
    ),
    Counted = maps:with([started, kept, events, duplicates, late, log_bytes, due], Info),
    Counted#{live => Live, closed => Closed, memory_bytes => Memory, outbox => Outbox}.

%% @doc The status as lines for a terminal.
-spec table(status()) -> unicode:chardata().
table(#{site := Site, node := Node, groups := Groups} = Status) ->
    Head = [
        "group", "state", "instance", "active", "epoch", "copies", "lag rows", "live", "closed", "log rows", "log", "RAM",
        "outbox"
    ],
    Rows = [row(Group, Of) || {Group, Of} <- lists:sort(maps:to_list(Groups))],
    [io_lib:format("site ~ts, node ~ts~n", [Site, Node]), behaviours(Status) | aligned([Head | Rows])].

behaviours(#{behaviours := Behaviours}) ->
    Said = [[atom_to_list(Kind), $\s, asked(maps:get(Kind, Behaviours))] || Kind <- [probe, mixer, rescue, handlers]],
    [lists:join(", ", Said), $\n];
behaviours(#{}) ->
    [].

asked(Names) when is_list(Names) -> lists:join($\s, Names);
asked(Module) -> atom_to_list(Module).

row(Group, #{state := State, instance := Instance, active := Active, copies := Copies, outbox := Outbox} = Status) ->
    #{epoch := Epoch, lag_chunks := Lag, live := Live, closed := Closed, log_chunks := Rows} = Status,
    #{log_bytes := LogBytes, memory_bytes := MemoryBytes} = Status,
    Numbers = [Epoch, length(Copies), Lag, Live, Closed, Rows],
    Depths = [[Sink, ":", shown(Depth)] || {Sink, #{depth := Depth}} <- lists:sort(maps:to_list(Outbox))],
    [integer_to_list(Group), shown(State), shown(Instance), shown(Active)] ++
        [shown(Number) || Number <- Numbers] ++
        [bytes(LogBytes), bytes(MemoryBytes), case Depths of [] -> "-"; _ -> lists:join(" ", Depths) end].

shown(none) -> "-";
shown(Number) when is_integer(Number) -> integer_to_list(Number);
shown(Atom) when is_atom(Atom) -> atom_to_list(Atom);
shown(Binary) -> Binary.

bytes(N) when N >= 1048576 -> io_lib:format("~.1f MiB", [N / 1048576]);
bytes(N) -> io_lib:format("~.1f KiB", [N / 1024]).

aligned(Rows) ->
    Widths = lists:foldl(
        fun(Row, Acc) -> lists:zipwith(fun(Cell, W) -> max(string:length(Cell), W) end, Row, Acc) end,
        [0 || _ <- hd(Rows)],
        Rows
    ),
    [[lists:zipwith(fun(Cell, W) -> string:pad(Cell, W + 2) end, Row, Widths), $\n] || Row <- Rows].
