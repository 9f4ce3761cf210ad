%%% Who becomes active, by what an instance knows of the others.
-module(era_callstore_peers_tests).

-include_lib("eunit/include/eunit.hrl").

alone_it_activates_test() ->
    ?assertEqual(activate, decide(said(a, 1, passive), [])).

it_waits_while_a_peer_is_unknown_test() ->
    Peers = era_callstore_peers:new([b]),
    ?assertEqual(stay, era_callstore_peers:decide(said(a, 1, passive), Peers, passive)),
    ?assertEqual([b], era_callstore_peers:unknown(Peers)).

a_peer_that_is_away_does_not_count_test() ->
    Peers = era_callstore_peers:away(b, era_callstore_peers:new([b])),
    ?assertEqual(activate, era_callstore_peers:decide(said(a, 2, passive), Peers, passive)).

the_lowest_order_activates_and_the_others_do_not_test() ->
    ?assertEqual(activate, decide(said(a, 1, passive), [said(b, 2, passive)])),
    ?assertEqual(stay, decide(said(b, 2, passive), [said(a, 1, passive)])).

a_lower_order_that_still_loads_is_not_waited_for_test() ->
    ?assertEqual(activate, decide(said(b, 2, passive), [said(a, 1, loading)])).

a_lower_order_that_has_caught_up_asks_the_active_test() ->
    ?assertEqual({ask, b}, decide(said(a, 1, passive), [said(b, 2, active)])).

a_higher_order_leaves_the_active_alone_test() ->
    ?assertEqual(stay, decide(said(b, 2, passive), [said(a, 1, active)])).

who_yielded_comes_after_who_did_not_test() ->
    Yielded = (said(a, 1, passive))#{yielded := true},
    ?assertEqual(activate, decide(said(b, 2, passive), [Yielded])),
    ?assertEqual(stay, decide(Yielded, [said(b, 2, passive)])),
    ?assertEqual(stay, decide(Yielded, [said(b, 2, active)])).

a_copy_of_a_later_lineage_is_healed_before_it_can_be_active_test() ->
    Mine = (said(a, 1, passive))#{lineage => {2, x}},
    Older = (said(b, 2, passive))#{lineage => {1, x}},
    ?assertEqual(stay, decide(Mine, [Older])),
    ?assertEqual(stay, decide(Mine, [Older#{state := active}])),
    ?assertEqual(activate, decide(Mine, [Older#{lineage := {2, x}}])),
    %% It gives what it has to us, and waits for us to be active.
    ?assertEqual(activate, decide(Mine, [Older#{yielded := true}])),
    ?assertEqual(activate, decide(Mine, [Older#{lineage := none, state := loading}])),
    ?assertEqual(activate, decide(Older#{order := 0}, [Mine])).

who_yielded_activates_when_nobody_else_can_test() ->
    Yielded = (said(a, 1, passive))#{yielded := true},
    ?assertEqual(activate, decide(Yielded, [said(b, 2, loading)])).

equal_orders_are_told_apart_by_node_test() ->
    ?assertEqual(activate, decide(said(a, 1, passive), [said(b, 1, passive)])),
    ?assertEqual(stay, decide(said(b, 1, passive), [said(a, 1, passive)])).

of_two_actives_the_earlier_term_steps_down_test() ->
    Mine = (said(a, 1, active))#{epoch := 3},
    Later = (said(b, 2, active))#{epoch := 4},
    ?assertEqual({step_down, b}, era_callstore_peers:decide(Mine, peers([Later]), active)),
    ?assertEqual(stay, era_callstore_peers:decide(Later, peers([Mine]), active)).

what_a_stranger_says_is_not_kept_test() ->
    Peers = era_callstore_peers:hear(x, said(x, 1, active), peers([said(b, 2, passive)])),
    ?assertEqual([b], era_callstore_peers:nodes(Peers)),
    ?assertEqual(none, era_callstore_peers:active(Peers)).

what_is_known_of_a_peer_outlives_a_change_of_the_others_test() ->
    Before = peers([said(b, 2, active), said(c, 3, passive)]),
    After = era_callstore_peers:change([b, d], Before),
    ?assertMatch({ok, #{node := b}}, era_callstore_peers:active(After)),
    ?assertEqual([b, d], lists:sort(era_callstore_peers:nodes(After))),
    ?assertEqual([d], era_callstore_peers:unknown(After)).

who_is_no_peer_any_more_is_not_waited_for_test() ->
    Peers = era_callstore_peers:change([], peers([said(b, 2, active)])),
    ?assertEqual(activate, era_callstore_peers:decide(said(a, 3, passive), Peers, passive)).

%% Every set of states of three instances: exactly one of those that are passive activates, and only when none is active.
exactly_one_activates_test() ->
    States = [loading, passive, active],
    lists:foreach(
        fun({A, B, C}) ->
            All = [said(a, 1, A), said(b, 2, B), said(c, 3, C)],
            Activating = [
                Node
             || #{node := Node, state := passive} = Mine <- All, decide(Mine, lists:delete(Mine, All)) =:= activate
            ],
            Passive = [N || #{node := N, state := passive} <- All],
            case lists:member(active, [A, B, C]) orelse Passive =:= [] of
                true -> ?assertEqual([], Activating);
                false -> ?assertEqual([hd(Passive)], Activating)
            end
        end,
        [{A, B, C} || A <- States, B <- States, C <- States]
    ).

%% Whatever lineages three passive instances have: one of the oldest activates, and only one, without anybody's help.
exactly_one_of_the_oldest_lineage_activates_test() ->
    Lineages = [{1, x}, {2, y}, {3, z}],
    lists:foreach(
        fun(Of) ->
            Places = lists:zip([{a, 1}, {b, 2}, {c, 3}], Of),
            All = [(said(Node, Order, passive))#{lineage := L} || {{Node, Order}, L} <- Places],
            Activating = [Node || #{node := Node} = Mine <- All, decide(Mine, lists:delete(Mine, All)) =:= activate],
            [First | _] = [Node || #{node := Node, lineage := L} <- All, L =:= lists:min(Of)],
            ?assertEqual({Of, [First]}, {Of, Activating})
        end,
        [[A, B, C] || A <- Lineages, B <- Lineages, C <- Lineages]
    ).

said(Node, Order, State) ->
    #{
        node => Node, order => Order, instance => atom_to_binary(Node), state => State, epoch => 0, yielded => false,
        lineage => {1, x}
    }.

peers(Said) ->
    lists:foldl(
        fun(#{node := Node} = S, Peers) -> era_callstore_peers:hear(Node, S, Peers) end,
        era_callstore_peers:new([Node || #{node := Node} <- Said]),
        Said
    ).

decide(Mine, Said) -> era_callstore_peers:decide(Mine, peers(Said), passive).
