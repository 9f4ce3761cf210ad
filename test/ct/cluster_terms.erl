%%% The terms of activity of a group's nodes, as their log files tell them.
%%%
%%% Called by: random_run, cluster_truth. Must never: ask a node.
-module(cluster_terms).

-export([of_logs/1, were_apart/4]).
-export_type([terms/0, term_id/0, apart/0]).

-type term_id() :: {Node :: binary(), Epoch :: pos_integer()}.
%% When a term began, and the latest that it can have ended, ms since 1970.
-type terms() :: #{term_id() => {FromMs :: integer(), ToMs :: integer() | infinity}}.

%% When a node may not have known of what others did: cut off, paused, or gone, until it was one with them again.
-type apart() :: {node(), FromMs :: integer(), ToMs :: integer()}.

%% @doc Terms that began on these nodes; each goes on until the node begins another one at the latest.
-spec of_logs([cluster_node:plan()]) -> terms().
of_logs(Plans) -> maps:from_list(lists:append([of_log(Plan) || Plan <- Plans])).

of_log(#{name := Node} = Plan) ->
    {ok, Log} = file:read_file(cluster_node:log(Plan)),
    Report = <<"=NOTICE REPORT==== (\\S+) ===\\s+epoch: (\\d+)\\s+group: 1\\s+instance: \\S+\\s+what: active\\n">>,
    Begun =
        case re:run(Log, Report, [global, {capture, all_but_first, binary}]) of
            {match, Reports} -> [{ms(At), binary_to_integer(Epoch)} || [At, Epoch] <- Reports];
            nomatch -> []
        end,
    Ends = [At || {At, _} <- tl(Begun ++ [{infinity, 0}])],
    [
        {{atom_to_binary(Node), Epoch}, {From, To}}
     || {{From, Epoch}, To} <- lists:zip(Begun, lists:sublist(Ends, length(Begun)))
    ].

%% 24-Nov-2026::14:25:45.402680, local time.
ms(At) ->
    {match, [Day, Month, Year, Hour, Minute, Second, Ms]} =
        re:run(At, "(\\d+)-(\\w+)-(\\d+)::(\\d+):(\\d+):(\\d+)\\.(\\d{3})", [{capture, all_but_first, list}]),
    Months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    {Number, Month} = lists:keyfind(Month, 2, lists:enumerate(Months)),
    [D, Y, H, M, S] = [list_to_integer(Text) || Text <- [Day, Year, Hour, Minute, Second]],
    [Universal | _] = calendar:local_time_to_universal_time_dst({{Y, Number, D}, {H, M, S}}),
    Seconds = calendar:datetime_to_gregorian_seconds(Universal),
    (Seconds - calendar:datetime_to_gregorian_seconds({{1970, 1, 1}, {0, 0, 0}})) * 1000 + list_to_integer(Ms).

%% @doc Whether two terms of different nodes were both in force in a time when one of these nodes was apart.
-spec were_apart(term_id(), term_id(), terms(), [apart()]) -> boolean().
were_apart({Node, _}, {Node, _}, _Terms, _Apart) ->
    false;
were_apart({Here, _} = One, {There, _} = Other, Terms, Apart) ->
    %% One that was killed as it began may not have come to say so.
    [A, B] = [maps:get(Term, Terms, {0, infinity}) || Term <- [One, Other]],
    lists:any(
        fun({Node, From, To}) ->
            lists:member(atom_to_binary(Node), [Here, There]) andalso meet(A, {From, To}) andalso meet(B, {From, To})
        end,
        Apart
    ).

%% An atom is more than any number.
meet({FromA, ToA}, {FromB, ToB}) -> FromA =< ToB andalso FromB =< ToA.
