%%% The other instances of a group, as one of them knows them, and who of all should be active. Pure.
%%%
%%% Always holds: decide/3 answers the same on every node that knows the same. Nobody becomes active while it does not
%%% know yet about a peer, or while a peer has a copy of an older lineage (era_callstore_lineage); a peer that is known to be
%%% away does not count.
%%% Called by: era_callstore_group.
%%% Must never: send a message or look at a clock.
-module(era_callstore_peers).

-export([new/1, nodes/1, change/2, hear/3, away/2, unknown/1, is_any_away/1, is_new/3, lineage/2, decide/3, active/1]).
-export_type([peers/0, said/0, state/0]).

-type state() :: waiting | loading | passive | active.
-type said() :: #{
    node := node(), order := integer(), instance := binary(), state := state(), epoch := non_neg_integer(),
    %% gave its activity up on request, and takes it again only when nobody else can
    yielded := boolean(),
    %% of its copy, where that is loaded
    lineage := era_callstore_lineage:lineage() | none
}.
-opaque peers() :: #{node() => unknown | away | said()}.

%% @doc Nothing is known yet of any of these nodes.
-spec new([node()]) -> peers().
new(Nodes) -> maps:from_list([{Node, unknown} || Node <- Nodes]).

%% @doc All peers of the configuration.
-spec nodes(peers()) -> [node()].
nodes(Peers) -> maps:keys(Peers).

%% @doc These nodes are the peers from now on: what is known of those that stay is kept, of the new ones nothing is known.
-spec change([node()], peers()) -> peers().
change(Nodes, Peers) -> maps:merge(new(Nodes), maps:with(Nodes, Peers)).

%% @doc A peer said how it is. What a node says that is no peer is not kept.
-spec hear(node(), said(), peers()) -> peers().
hear(Node, Said, Peers) when is_map_key(Node, Peers) -> Peers#{Node := Said};
hear(_Stranger, _Said, Peers) -> Peers.

%% @doc A peer does not run, or cannot be reached.
-spec away(node(), peers()) -> peers().
away(Node, Peers) when is_map_key(Node, Peers) -> Peers#{Node := away};
away(_Stranger, Peers) -> Peers.

%% @doc Peers that have not answered and are not known to be away.
-spec unknown(peers()) -> [node()].
unknown(Peers) -> [Node || {Node, unknown} <- maps:to_list(Peers)].

%% @doc Whether some peer does not run, or cannot be reached.
-spec is_any_away(peers()) -> boolean().
is_any_away(Peers) -> lists:member(away, maps:values(Peers)).

%% @doc Whether a peer says for the first time that it has a loaded copy, or one of another lineage.
-spec is_new(node(), said(), peers()) -> boolean().
is_new(_Node, #{lineage := none}, _Peers) -> false;
is_new(Node, #{lineage := Lineage}, Peers) -> is_map_key(Node, Peers) andalso lineage(Node, Peers) =/= Lineage.

%% @doc The lineage that a peer's copy is of, as far as it has said.
-spec lineage(node(), peers()) -> era_callstore_lineage:lineage() | none.
lineage(Node, Peers) ->
    case Peers of
        #{Node := #{lineage := Lineage}} -> Lineage;
        _ -> none
    end.

%% @doc The peer that says it is active, the latest term first.
-spec active(peers()) -> {ok, said()} | none.
active(Peers) ->
    Actives = [Said || #{state := active} = Said <- maps:values(Peers)],
    case lists:sort(fun(#{epoch := A}, #{epoch := B}) -> A >= B end, Actives) of
        [Active | _] -> {ok, Active};
        [] -> none
    end.

%% @doc What an instance that is loaded and caught up should do.
-spec decide(Mine :: said(), peers(), passive | active) ->
    activate | stay | {ask, node()} | {step_down, node()}.
decide(Mine, Peers, passive) ->
    case {unknown(Peers) ++ older(Mine, Peers), active(Peers)} of
        {[_ | _], _} -> stay;
        {[], {ok, #{node := Node} = Active}} -> case before(Mine, Active) of true -> {ask, Node}; false -> stay end;
        {[], none} -> first(Mine, Peers)
    end;
decide(#{epoch := Epoch}, Peers, active) ->
    case active(Peers) of
        {ok, #{epoch := Later, node := Node}} when Later > Epoch -> {step_down, Node};
        _ -> stay
    end.

%% Peers with a copy of an older lineage. What we have and they have not is to be given to them first: a term begun here
%% would say of it that all know it. One that has yielded may be about to give its own to us: it does not count.
older(#{lineage := Mine}, Peers) ->
    [
        Node
     || {Node, #{lineage := Lineage, yielded := false}} <- maps:to_list(Peers), Lineage =/= none, Mine =/= none, Lineage < Mine
    ].

%% A peer with a copy of a later lineage waits for us, whatever its order.
first(#{lineage := Lineage} = Mine, Peers) ->
    Passive = [Peer || #{state := passive, lineage := Of} = Peer <- maps:values(Peers), Of =< Lineage],
    case [Peer || Peer <- Passive, before(Peer, Mine)] of
        [] -> activate;
        [_ | _] -> stay
    end.

%% The order of flow of activity: who has yielded comes after all who have not; then by order, then by node.
before(A, B) -> rank(A) < rank(B).

rank(#{yielded := Yielded, order := Order, node := Node}) -> {Yielded, Order, Node}.
