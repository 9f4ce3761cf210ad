%%% Where a copy of a group's log has come from: copies of one lineage have seen the same rows.
%%%
%%% A copy that Mnesia loaded from this node's own disc, or that was made here, begins a lineage; one that was loaded from
%%% another node is of that node's. So two nodes of one Mnesia whose copies are of different lineages each may have rows
%%% that the other lacks: both have been active without the other, and one has been started again since.
%%% Always holds: the lineage of a copy stays as long as Mnesia runs here.
%%% Called by: view (learn/1), groups and heal (of_copy/1); of_copy/1 also over erpc.
%%% Must never: guess: where the node that a copy came from does not answer, it begins a lineage of its own.
-module(era_callstore_lineage).

-export([learn/1, of_copy/1]).
-export_type([lineage/0]).

%% When the first copy was loaded, ms since 1970, and a name that no other has.
-type lineage() :: {LoadedMs :: integer(), Name :: {node(), integer()}}.

-define(KEY(Group), {?MODULE, Group}).
-define(ASK_MS, 10000).

%% @doc Finds out the lineage of the loaded copy here.
-spec learn(Group :: pos_integer()) -> ok.
learn(Group) ->
    _ = of_copy(Group),
    ok.

%% @doc The lineage of the copy here; `none' while none is loaded.
-spec of_copy(Group :: pos_integer()) -> lineage() | none.
of_copy(Group) ->
    Mnesia = era_callstore_log:incarnation(),
    case persistent_term:get(?KEY(Group), none) of
        {Mnesia, Lineage} -> Lineage;
        _ when Mnesia =:= none -> none;
        _ -> found(Group, Mnesia, era_callstore_log:loaded_from(Group))
    end.

found(_Group, _Mnesia, none) ->
    none;
found(Group, Mnesia, From) ->
    %% The view here and a node that loaded from here may both be first.
    global:trans({?KEY(Group), self()}, fun() ->
        case persistent_term:get(?KEY(Group), none) of
            {Mnesia, Lineage} ->
                Lineage;
            _ ->
                Lineage = origin(Group, From),
                ok = persistent_term:put(?KEY(Group), {Mnesia, Lineage}),
                Lineage
        end
    end, [node()]).

origin(_Group, Here) when Here =:= node() ->
    new();
origin(Group, From) ->
    try erpc:call(From, ?MODULE, of_copy, [Group], ?ASK_MS) of
        none -> new();
        Lineage -> Lineage
    catch
        error:{erpc, _} -> new();
        exit:{exception, _} -> new()
    end.

new() -> {erlang:system_time(millisecond), {node(), erlang:unique_integer()}}.
