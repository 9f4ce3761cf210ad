%%% Who went on apart from whom, and who gives way.
-module(era_callstore_sides_tests).

-include_lib("eunit/include/eunit.hrl").

-define(NODES, ['a@h', 'b@h', 'c@h']).

ranks() -> #{'a@h' => {1, 1}, 'b@h' => {1, 2}, 'c@h' => {1, 3}}.

said(Node, Side, Lineage, Lost) ->
    #{node => Node, side => Side, lineages => maps:from_list([{1, Lineage} || Lineage =/= none]), lost => Lost}.

the_best_place_of_a_node_is_its_rank_test() ->
    Member = fun(Order, Node) -> #{order => Order, instance => <<"i">>, node => Node} end,
    Groups = #{1 => #{members => [Member(2, 'a@h')]}, 7 => #{members => [Member(1, 'a@h'), Member(5, 'b@h')]}},
    ?assertEqual(#{'a@h' => {1, 2}, 'b@h' => {7, 5}}, era_callstore_sides:ranks(Groups)).

nodes_of_one_mnesia_and_one_lineage_are_together_test() ->
    [A, B] = [said(N, ['a@h', 'b@h'], {1, x}, []) || N <- ['a@h', 'b@h']],
    ?assertNot(era_callstore_sides:is_apart(A, B)).

a_node_whose_copy_is_not_loaded_is_not_apart_test() ->
    A = said('a@h', ['a@h', 'b@h'], {1, x}, []),
    B = said('b@h', ['a@h', 'b@h'], none, []),
    ?assertNot(era_callstore_sides:is_apart(A, B)).

a_node_without_mnesia_is_not_apart_test() ->
    ?assertNot(era_callstore_sides:is_apart(said('a@h', ['a@h'], {1, x}, []), said('b@h', [], none, []))).

nobody_is_apart_from_itself_test() ->
    A = said('a@h', ['a@h', 'b@h'], {1, x}, ['a@h', 'b@h']),
    ?assertNot(era_callstore_sides:is_apart(A, A)).

two_mnesias_are_apart_test() ->
    ?assert(era_callstore_sides:is_apart(said('a@h', ['a@h'], {1, x}, []), said('b@h', ['b@h'], {1, x}, []))).

those_who_have_lost_each_other_stay_apart_when_a_third_takes_both_in_test() ->
    Apart = fun(LostByA, LostByB) ->
        era_callstore_sides:is_apart(said('a@h', ?NODES, {1, x}, LostByA), said('b@h', ?NODES, {1, x}, LostByB))
    end,
    ?assert(Apart(['b@h'], ['a@h'])),
    %% One of them was started again since and has lost nobody.
    ?assertNot(Apart(['b@h'], [])).

the_smaller_side_gives_way_test() ->
    A = said('a@h', ['a@h'], {1, x}, ['b@h', 'c@h']),
    Others = [said(N, ['b@h', 'c@h'], {1, x}, ['a@h']) || N <- ['b@h', 'c@h']],
    [?assert(era_callstore_sides:gives_way(A, Other, Others, ranks())) || Other <- Others],
    [?assertNot(era_callstore_sides:gives_way(Other, A, [A | Others], ranks())) || Other <- Others],
    ?assertEqual(['b@h', 'c@h'], lists:sort(era_callstore_sides:those_with(hd(Others), A, Others))).

of_equal_sides_the_one_without_the_lowest_order_gives_way_test() ->
    A = said('a@h', ['a@h'], {1, x}, ['b@h']),
    B = said('b@h', ['b@h'], {1, x}, ['a@h']),
    ?assertNot(era_callstore_sides:gives_way(A, B, [B], ranks())),
    ?assert(era_callstore_sides:gives_way(B, A, [A], ranks())).

of_three_sides_the_last_gives_way_to_the_strongest_test() ->
    All = [A, B, C] = [said(N, [N], {1, x}, ?NODES -- [N]) || N <- ?NODES],
    ?assert(era_callstore_sides:gives_way(C, A, [A, B], ranks())),
    ?assert(era_callstore_sides:gives_way(C, B, [A, B], ranks())),
    ?assertEqual([A], era_callstore_sides:strongest([B, A], All, ranks())).

a_later_lineage_gives_way_whatever_its_order_test() ->
    A = said('a@h', ['a@h', 'b@h'], {2, y}, []),
    B = said('b@h', ['a@h', 'b@h'], {1, x}, []),
    ?assert(era_callstore_sides:is_apart(A, B)),
    ?assert(era_callstore_sides:gives_way(A, B, [B], ranks())),
    ?assertNot(era_callstore_sides:gives_way(B, A, [A], ranks())).

%% It waits for the copy of the other, which Mnesia will not find by itself.
one_without_a_loaded_copy_gives_way_whatever_its_order_test() ->
    A = said('a@h', ['a@h'], none, []),
    B = said('b@h', ['b@h'], {1, x}, ['a@h']),
    ?assert(era_callstore_sides:is_apart(A, B)),
    ?assert(era_callstore_sides:gives_way(A, B, [B], ranks())),
    ?assertNot(era_callstore_sides:gives_way(B, A, [A], ranks())).

%% Copies of group 1 are alike and the newest; those of group 2 are not.
copies_that_are_alike_decide_nothing_test() ->
    Said = fun(Node, Of) -> (said(Node, ['a@h', 'b@h'], none, []))#{lineages => #{1 => {9, same}, 2 => Of}} end,
    [A, B] = [Said('a@h', {2, y}), Said('b@h', {1, x})],
    ?assert(era_callstore_sides:is_apart(A, B)),
    ?assert(era_callstore_sides:gives_way(A, B, [B], ranks())),
    ?assertNot(era_callstore_sides:gives_way(B, A, [A], ranks())).

a_node_without_an_instance_gives_way_test() ->
    D = said('d@h', ['d@h'], none, []),
    %% Also where the other has nothing loaded either, and where C is on both sides.
    [
        begin
            ?assert(era_callstore_sides:gives_way(D, C, [C], ranks())),
            ?assertNot(era_callstore_sides:gives_way(C, D, [D], ranks()))
        end
     || C <- [said('c@h', ['c@h'], Lineage, []) || Lineage <- [none, {1, x}]]
    ].

%% Whatever two nodes that are apart say, as long as both know the same: exactly one of them gives way.
exactly_one_of_two_gives_way_test() ->
    Sides = [[N | Others] || N <- ?NODES, Others <- [[], ?NODES -- [N] | [[O] || O <- ?NODES -- [N]]]],
    Said = [
        said(N, Side, Lineage, Lost)
     || N <- ?NODES, Side <- Sides, hd(Side) =:= N, Lineage <- [none, {1, x}, {2, y}], Lost <- [[], ?NODES -- [N]]
    ],
    Pairs = [{A, B} || #{node := N} = A <- Said, #{node := M} = B <- Said, N < M, era_callstore_sides:is_apart(A, B), mutual(A, B)],
    ?assert(length(Pairs) > 100),
    [
        ?assertEqual(
            {A, B, not era_callstore_sides:gives_way(B, A, [A], ranks())},
            {A, B, era_callstore_sides:gives_way(A, B, [B], ranks())}
        )
     || {A, B} <- Pairs
    ].

%% B has lost C, A was started again and took both in; B was started again before that.
a_later_lineage_gives_way_also_to_one_that_it_has_lost_test() ->
    A = said('a@h', ?NODES, {3, z}, []),
    B = said('b@h', ?NODES, {2, y}, ['c@h']),
    C = said('c@h', ?NODES, {1, x}, ['b@h']),
    [?assert(era_callstore_sides:gives_way(One, C, [A, B, C] -- [One], ranks())) || One <- [A, B]],
    [?assertNot(era_callstore_sides:gives_way(C, One, [A, B], ranks())) || One <- [A, B]].

%% Of three that know the same of each other, whatever they share, have loaded and have lost, one gives way to nobody.
of_three_one_gives_way_to_nobody_test_() ->
    {timeout, 60, fun() ->
        Subsets = fun(N) -> [[], ?NODES -- [N] | [[O] || O <- ?NODES -- [N]]] end,
        Links = [[], [{'a@h', 'b@h'}], [{'a@h', 'c@h'}], [{'b@h', 'c@h'}]],
        Shared = [lists:append(One) || One <- [[], [lists:nth(2, Links)], [lists:nth(3, Links)], [lists:nth(4, Links)], tl(Links)]],
        Lineages = [none, {1, x}, {2, y}, {3, z}],
        Cases = [
            [said(N, [N | linked(N, Pairs)], Of, Lost) || {N, Of, Lost} <- [{'a@h', LA, A}, {'b@h', LB, B}, {'c@h', LC, C}]]
         || Pairs <- Shared, LA <- Lineages, LB <- Lineages, LC <- Lineages,
            A <- Subsets('a@h'), B <- Subsets('b@h'), C <- Subsets('c@h')
        ],
        ?assert(length(Cases) > 20000),
        [?assertMatch({_, [_ | _]}, {All, [One || One <- All, gives_way_to(One, All) =:= []]}) || All <- Cases]
    end}.

linked(Node, Pairs) -> [B || {A, B} <- Pairs, A =:= Node] ++ [A || {A, B} <- Pairs, B =:= Node].

gives_way_to(One, All) ->
    Peers = All -- [One],
    [Other || Other <- Peers, era_callstore_sides:is_apart(One, Other), era_callstore_sides:gives_way(One, Other, Peers, ranks())].

%% Each sees the other in its Mnesia, or neither does.
mutual(#{node := N, side := Ours}, #{node := M, side := Theirs}) -> lists:member(M, Ours) =:= lists:member(N, Theirs).
