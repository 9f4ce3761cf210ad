%%% Nodes that Mnesia here has lost since it started, and that have not been found to be like this one since. Two that
%%% have lost each other went on apart, also when a third takes both into one Mnesia afterwards, and nothing else
%%% tells so.
%%%
%%% Always holds: what is known belongs to one run of Mnesia. One that went before Mnesia's events came counts as lost
%%% as well: it was here, or was not; to have lost it does no harm where it has not lost us.
%%% Called by: era_callstore_heal, whose process gets Mnesia's events (follow/1, noted/1, found/1, forget/0) and which
%%% tells others (nodes/0).
%%% Must never: ask a node.
-module(era_callstore_lost).

-export([follow/1, is_followed/0, noted/1, found/1, nodes/0, forget/0]).

-define(NOTE, {heal, 0, lost}).

%% @doc Mnesia's events come to the calling process from now on; Partners is who should be here.
-spec follow(Partners :: [node()]) -> ok.
follow(Partners) ->
    %% Mnesia that is just starting does not count itself yet: later.
    case is_followed() orelse not era_callstore_rejoin:is_together(node()) of
        true ->
            ok;
        false ->
            Mnesia = era_callstore_log:incarnation(),
            ok = drop_events(),
            case era_callstore_schema:subscribe_system() of
                ok -> note(Mnesia, Partners -- [node() | era_callstore_rejoin:side()]);
                {error, _} -> ok
            end
    end.

%% Of the run before.
drop_events() ->
    receive
        {mnesia_system_event, _} -> drop_events()
    after 0 -> ok
    end.

%% @doc Whether the events of the run of Mnesia that there is now come to somebody.
-spec is_followed() -> boolean().
is_followed() ->
    case era_callstore_router:noted(?NOTE) of
        #{mnesia := Mnesia} -> era_callstore_log:incarnation() =:= Mnesia;
        #{} -> false
    end.

%% @doc Mnesia says that it has lost a node; of this one it says so as it stops.
-spec noted(node()) -> ok.
noted(Node) when Node =:= node() -> ok;
noted(Node) -> note(era_callstore_log:incarnation(), [Node | ?MODULE:nodes()]).

%% @doc These are with us again, and one of us has been loaded anew.
-spec found([node()]) -> ok.
found(Nodes) ->
    case ?MODULE:nodes() of
        [] -> ok;
        Lost -> note(era_callstore_log:incarnation(), Lost -- Nodes)
    end.

%% @doc Who is lost.
-spec nodes() -> [node()].
nodes() ->
    case is_followed() of
        true -> map_get(nodes, era_callstore_router:noted(?NOTE));
        false -> []
    end.

%% @doc Whoever followed Mnesia is gone.
-spec forget() -> ok.
forget() -> era_callstore_router:note(?NOTE, #{}).

note(Mnesia, Nodes) -> era_callstore_router:note(?NOTE, #{mnesia => Mnesia, nodes => lists:usort(Nodes)}).
