%%% Where a copy of a group's log has come from: copies of one lineage have seen the same rows.
%%%
%%% A copy that Mnesia loaded from this node's own disc, or that was made here, begins a lineage; one that was loaded from
%%% another node is of that node's. So two nodes of one Mnesia whose copies are of different lineages each may have rows
%%% that the other lacks: both have been active without the other, and one has been started again since.
%%% The table of epochs says which terms the log here has seen, so it is to be of the same lineage as the log is at
%%% the node that the log came from. Where Mnesia loaded the two from nodes that were apart, the copy begins a lineage
%%% of its own, and is replaced as the latest one: it is never asked what others lack.
%%% With it is known from which term on copies of one lineage may differ (even_from/1): a copy differs from another
%%% one only by what one of them got and the other did not after it was loaded.
%%% Always holds: the lineage of a copy stays as long as Mnesia runs here and the copy is not deleted.
%%% Called by: view (begin_load/1, learn/1), groups, heal and level (of_copy/1, even_from/1, is_even/2), gap (is_of/2); over erpc
%%% also of_epochs/0.
%%% Must never: guess: where the node that a copy came from does not answer, it begins a lineage of its own.
-module(era_callstore_lineage).

-export([begin_load/1, learn/1, of_copy/1, is_of/2, of_epochs/0, even_from/1, is_even/2]).
-export_type([lineage/0]).

%% When the first copy was loaded, ms since 1970, and a name that no other has.
-type lineage() :: {LoadedMs :: integer(), Name :: {node(), integer()}}.

-define(KEY(Group), {?MODULE, Group}).
-define(EPOCHS, {?MODULE, epochs}).
-define(EVEN(Group), {?MODULE, even_from, Group}).
-define(ASK_MS, 10000).

%% @doc A copy is about to be loaded or made here: where there is none, what was known of an earlier one is forgotten.
-spec begin_load(Group :: pos_integer()) -> ok.
begin_load(Group) ->
    [Epochs] = era_callstore_log:shared_tables(),
    ok = forget_unless_here(era_callstore_log:table(Group), [?KEY(Group), ?EVEN(Group)]),
    forget_unless_here(Epochs, [?EPOCHS]).

forget_unless_here(Table, Keys) ->
    case lists:member(node(), era_callstore_log:holders(Table)) of
        true -> ok;
        false -> lists:foreach(fun persistent_term:erase/1, Keys)
    end.

%% @doc Finds out the lineage of the loaded copy here.
-spec learn(Group :: pos_integer()) -> ok.
learn(Group) ->
    _ = of_copy(Group),
    ok.

%% @doc The lineage of the copy here; `none' while none is loaded.
-spec of_copy(Group :: pos_integer()) -> lineage() | none.
of_copy(Group) -> of_table(?KEY(Group), era_callstore_log:table(Group), fun(From) -> origin(Group, From) end).

%% @doc Whether the copy of that node is of the lineage of the one here, for all that is known.
-spec is_of(Group :: pos_integer(), node()) -> boolean().
is_of(Group, Node) ->
    case of_copy(Group) of
        none -> false;
        Lineage -> ask(Node, of_copy, [Group]) =:= Lineage
    end.

%% @doc The lineage of the copy of the table of epochs here; `none' while none is loaded.
-spec of_epochs() -> lineage() | none.
of_epochs() ->
    [Epochs] = era_callstore_log:shared_tables(),
    of_table(?EPOCHS, Epochs, fun origin_of_epochs/1).

of_table(Key, Table, Origin) ->
    Mnesia = era_callstore_log:incarnation(),
    case persistent_term:get(Key, none) of
        {Mnesia, Lineage} -> Lineage;
        _ when Mnesia =:= none -> none;
        _ -> found(Key, Mnesia, era_callstore_log:loaded_from(Table), Origin)
    end.

%% @doc The first term of which the copies of this lineage may differ in their rows.
-spec even_from(Group :: pos_integer()) -> pos_integer().
even_from(Group) ->
    Mnesia = era_callstore_log:incarnation(),
    case persistent_term:get(?EVEN(Group), none) of
        {Mnesia, Epoch} -> Epoch;
        _ -> 1
    end.

%% @doc Copies of this lineage are the same in all terms before this one.
-spec is_even(Group :: pos_integer(), Epoch :: pos_integer()) -> ok.
is_even(Group, Epoch) ->
    case even_from(Group) of
        Known when Known >= Epoch -> ok;
        _ -> persistent_term:put(?EVEN(Group), {era_callstore_log:incarnation(), Epoch})
    end.

found(_Key, _Mnesia, none, _Origin) ->
    none;
found(Key, Mnesia, From, Origin) ->
    %% The view here and a node that loaded from here may both be first.
    global:trans({Key, self()}, fun() ->
        case persistent_term:get(Key, none) of
            {Mnesia, Lineage} ->
                Lineage;
            _ ->
                Lineage = Origin(From),
                ok = persistent_term:put(Key, {Mnesia, Lineage}),
                Lineage
        end
    end, [node()]).

%% A copy that begins a lineage is like all that will be loaded from it.
origin(Group, Here) when Here =:= node() ->
    begun(Group);
origin(Group, From) ->
    case {ask(From, of_copy, [Group]), ask(From, even_from, [Group]), ask(From, of_epochs, []), of_epochs()} of
        {{Ms, _} = Lineage, EvenFrom, Epochs, Epochs} when is_integer(Ms), is_integer(EvenFrom) ->
            ok = is_even(Group, EvenFrom),
            Lineage;
        _ ->
            begun(Group)
    end.

begun(Group) ->
    ok = is_even(Group, 1 + era_callstore_log:epoch(Group)),
    new().

origin_of_epochs(Here) when Here =:= node() ->
    new();
origin_of_epochs(From) ->
    case ask(From, of_epochs, []) of
        {Ms, _} = Lineage when is_integer(Ms) -> Lineage;
        _ -> new()
    end.

%% `none' also where there is no answer.
ask(Node, Function, Arguments) ->
    try
        erpc:call(Node, ?MODULE, Function, Arguments, ?ASK_MS)
    catch
        error:{erpc, _} -> none;
        exit:{exception, _} -> none
    end.

new() -> {erlang:system_time(millisecond), {node(), erlang:unique_integer()}}.
