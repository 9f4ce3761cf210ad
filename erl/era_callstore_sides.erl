%%% Who went on apart from whom, and which of two nodes gives up its copies for those of the other. Pure.
%%%
%%% A node says with whom it shares one Mnesia, of what lineage its copies are, and whom it has lost since its Mnesia
%%% started. Two nodes are apart when
%%%   they do not share one Mnesia (a net split), or each has lost the other and a third took both in
%%%   they share one and have copies of different lineages (one was started again with what it had)
%%% Of two that are apart gives way, whichever rule is the first that tells them from each other,
%%%   one that has no copy loaded, because it waits for that of the other
%%%   one whose copies are of a later lineage: it is not active either while the other is there (era_callstore_peers)
%%%   the smaller side
%%%   the one without the instance of lowest order
%%% Always holds: two nodes that know the same of each other decide the same: exactly one gives way. Of any number there is one that
%%% gives way to nobody.
%%% Called by: era_callstore_heal.
%%% Must never: ask a node.
-module(era_callstore_sides).

-export([ranks/1, is_apart/2, those_with/3, side_of/2, gives_way/4, strongest/3]).
-export_type([ranks/0, said/0]).

%% The best place that a node has: group, then order in it. No two nodes have the same.
-type ranks() :: #{node() => {Group :: pos_integer(), Order :: integer()}}.
-type said() :: #{
    node := node(),
    side := [node()],
    lineages := #{Group :: pos_integer() => era_callstore_lineage:lineage()},
    lost := [node()]
}.

%% @doc The ranks of all nodes of a configuration.
-spec ranks(#{pos_integer() => era_callstore_config:group()}) -> ranks().
ranks(Groups) ->
    Places = [
        {Node, {Group, Order}}
     || {Group, #{members := Members}} <- maps:to_list(Groups), #{node := Node, order := Order} <- Members
    ],
    Best = fun({Node, Place}, Ranks) -> maps:update_with(Node, fun(P) -> min(P, Place) end, Place, Ranks) end,
    lists:foldl(Best, #{}, Places).

%% @doc Whether the two have gone on apart. A node without Mnesia has not; copies that are not loaded yet are of no
%% lineage.
-spec is_apart(said(), said()) -> boolean().
is_apart(#{node := Same}, #{node := Same}) ->
    false;
is_apart(#{node := Here, side := Ours} = Us, #{node := There, side := Theirs} = Them) ->
    lists:member(Here, Ours) andalso lists:member(There, Theirs) andalso
        (is_split(Us, Them) orelse not is_of_one_lineage(Us, Them)).

is_split(#{node := Here, side := Ours, lost := WeLost}, #{node := There, lost := TheyLost}) ->
    not lists:member(There, Ours) orelse (lists:member(There, WeLost) andalso lists:member(Here, TheyLost)).

%% Of the copies that both have.
is_of_one_lineage(#{lineages := Ours}, #{lineages := Theirs}) ->
    maps:with(maps:keys(Theirs), Ours) =:= maps:with(maps:keys(Ours), Theirs).

%% @doc Those of the peers who have what Other has and we may not.
-spec those_with(Other :: said(), Us :: said(), Peers :: [said()]) -> [node()].
those_with(Other, Us, Peers) ->
    [Node || #{node := Node} = Peer <- Peers, is_apart(Us, Peer), not is_apart(Other, Peer)].

%% @doc All who are not apart from Other, itself first. One that is not apart from us either is on both sides.
-spec side_of(Other :: said(), Peers :: [said()]) -> [node(), ...].
side_of(#{node := There} = Other, Peers) ->
    [There | [Node || #{node := Node, side := [_ | _]} = Peer <- Peers, Node =/= There, not is_apart(Other, Peer)]].

%% @doc Whether we give way to another that is apart from us, as far as these peers have said how they stand.
-spec gives_way(Us :: said(), Other :: said(), Peers :: [said()], ranks()) -> boolean().
gives_way(#{node := Here} = Us, #{node := There} = Them, Peers, Ranks) ->
    case {is_loaded(Us), is_loaded(Them), newest_of_ours(Us, Them), newest_of_ours(Them, Us)} of
        {Loaded, Other, _, _} when Loaded =/= Other ->
            Other;
        {_, _, Mine, Other} when Mine =/= Other ->
            Mine > Other;
        _ ->
            Ours = side(Us, [Us | Peers]),
            Theirs = side(Them, [Us | Peers]),
            %% Nodes that are on both sides tell nothing: links were cut in part only.
            Strength = strength(Ours -- Theirs, Ranks),
            case strength(Theirs -- Ours, Ranks) of
                Strength -> rank(Here, Ranks) > rank(There, Ranks);
                OfOther -> Strength > OfOther
            end
    end.

%% @doc Of those to whom we give way, the ones that do not themselves give way to another of them.
-spec strongest([said()], Known :: [said()], ranks()) -> [said()].
strongest(Stronger, Known, Ranks) ->
    [
        One
     || One <- Stronger,
        not lists:any(fun(Other) -> is_apart(One, Other) andalso gives_way(One, Other, Known, Ranks) end, Stronger)
    ].

side(#{side := Side} = Said, Known) ->
    Side -- [Node || #{node := Node} = Other <- Known, is_apart(Said, Other)].

%% Of the groups of which both have a copy, and not one of the same lineage: those that are alike decide nothing.
newest_of_ours(#{lineages := Ours}, #{lineages := Theirs}) ->
    lists:max([none | [Of || {Group, Of} <- maps:to_list(Ours), maps:get(Group, Theirs, Of) =/= Of]]).

is_loaded(#{lineages := Lineages}) -> map_size(Lineages) > 0.

%% A node without an instance, which may run Mnesia all the same, comes last: an atom is more than a number.
rank(Node, Ranks) -> maps:get(Node, Ranks, {none, Node}).

%% Less is stronger.
strength(Side, Ranks) ->
    Places = lists:sort(maps:values(maps:with(Side, Ranks))),
    {-length(Places), Places}.
