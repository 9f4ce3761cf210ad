%%% Gaps in the log here: a node that starts with a copy of its own gets what others commit from then on, and lacks what they had
%%% committed before. Until it is healed, that a later row of a term is here says nothing of the earlier ones.
%%%
%%%   own copy loaded ──row of another lineage──► open, on the disc of every copy ──copies of the others loaded, or all are even──► closed
%%% A gap is a row of the table of epochs, {Tab, {gap, Group, Node}, 0, Node, [Since]}: it is where the log is, whichever of its
%%% nodes is killed or cut off next.
%%% Always holds: it is written here before a receipt is given for the first row behind it, and flushed with that row.
%%% Called by: view (loaded/1, row/2) and receipt (row/2), heal (open/0, close/1, close_own/1), union over erpc and level (lacking/3).
%%% With the log, schema, rejoin and the collection the only module that says `mnesia:'.
%%% Must never: take a row for known that may lie in a gap.
-module(era_callstore_gap).

-export([loaded/1, row/2, lacking/3, open/0, close/1, close_own/1]).
-export_type([gap/0]).

-include_lib("kernel/include/logger.hrl").

%% Whose rows come in order, to a copy that was loaded from this node's own disc because it was to be; `all' to any other.
-define(IN_ORDER(Group), {?MODULE, Group}).

-opaque gap() :: tuple().

%% @doc The copy here was just loaded.
-spec loaded(Group :: pos_integer()) -> ok.
loaded(Group) ->
    Table = era_callstore_log:table(Group),
    Kept = era_callstore_log:loaded_from(Table) =:= node() andalso era_callstore_rejoin:is_own(Table),
    in_order(Group, case Kept of true -> [node()]; false -> all end).

in_order(Group, Nodes) -> persistent_term:put(?IN_ORDER(Group), {era_callstore_log:incarnation(), Nodes}).

%% @doc Rows of this node come here now. Costs nothing but for the first one.
-spec row(Group :: pos_integer(), node()) -> ok.
row(Group, Node) ->
    case persistent_term:get(?IN_ORDER(Group), none) of
        {Mnesia, [_ | _] = Nodes} ->
            case lists:member(Node, Nodes) orelse Mnesia =/= era_callstore_log:incarnation() of
                true -> ok;
                false -> first_row(Group, Node, Nodes)
            end;
        _ ->
            ok
    end.

first_row(Group, Node, Nodes) ->
    case era_callstore_lineage:is_of(Group, Node) of
        true ->
            in_order(Group, [Node | Nodes]);
        false ->
            ok = write({epochs(), {gap, Group, node()}, 0, node(), [{erlang:system_time(), erlang:unique_integer()}]}),
            ?LOG_NOTICE(#{what => "rows come behind a gap until this node is healed", group => Group, from => Node}),
            in_order(Group, all)
    end.

%% @doc Which of these rows of another copy are to be brought here (era_callstore_log:lacking/3).
-spec lacking(Group :: pos_integer(), [era_callstore_log:key()], in_order | beside) -> [era_callstore_log:key()].
lacking(Group, Keys, How) ->
    Gaps = [Gap || Gap <- open(), group(Gap) =:= Group],
    era_callstore_log:lacking(Group, Keys, case Gaps of [] -> How; [_ | _] -> beside end).

%% @doc The gaps that are known here, of all groups and nodes.
-spec open() -> [gap()].
open() ->
    try
        mnesia:dirty_match_object(epochs(), {epochs(), {gap, '_', '_'}, '_', '_', '_'})
    catch
        %% No group has a log here yet.
        exit:{aborted, _} -> []
    end.

%% @doc These, and not others that were opened since, are closed: the copies are even.
-spec close([gap()]) -> ok.
close([]) ->
    ok;
close(Gaps) ->
    mnesia:activity(async_dirty, fun() ->
        lists:foreach(fun(Gap) -> ok = mnesia:delete_object(epochs(), Gap, write) end, Gaps)
    end).

%% @doc Copies of others have replaced the ones here.
-spec close_own([Group :: pos_integer()]) -> ok.
close_own(Groups) -> close([Gap || {_, {gap, Group, Node}, _, _, _} = Gap <- open(), Node =:= node(), lists:member(Group, Groups)]).

group({_, {gap, Group, _}, _, _, _}) -> Group.

write(Gap) -> mnesia:activity(async_dirty, fun() -> mnesia:write(epochs(), Gap, write) end).

epochs() -> hd(era_callstore_log:shared_tables()).
