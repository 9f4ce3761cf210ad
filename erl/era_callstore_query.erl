%%% Reading: which node answers for which group, and how answers of several groups become one.
%%%
%%% A group is asked on the node where it is active, so that a producer reads what it wrote; while none is active, any
%%% loaded copy answers.
%%% Always holds: a page walks the groups one after the other; its cursor is opaque and survives a change of node.
%%% Called by: era_callstore; ask_here/3 on another node over erpc.
%%% Must never: change anything.
-module(era_callstore_query).

-export([first/2, calls/3, count/1, counts/1, ask_here/3]).
-export([record/1, records/4, digest/1, owner/1]).
-export_type([key/0, page/0]).

-type key() :: era_callstore_nif:key().
-type page() :: #{items := [map()], cursor := binary() | done}.

-define(ASK_MS, 5000).
%% The core's own part of a cursor.
-define(CURSOR_BYTES, 8).

%% @doc The first group that knows the call answers: `call' or `explain'.
-spec first(call | explain, key()) -> {ok, term()} | not_found | {error, no_active}.
first(What, Key) -> first(groups(#{}), What, Key, not_found).

first([], _What, _Key, Otherwise) ->
    Otherwise;
first([Group | Groups], What, Key, Otherwise) ->
    case ask(Group, What, [Key]) of
        {ok, {ok, _} = Found} -> Found;
        {ok, not_found} -> first(Groups, What, Key, Otherwise);
        {error, _} = Error -> first(Groups, What, Key, Error)
    end.

%% @doc One page of live calls.
-spec calls(Filter :: map(), Limit :: pos_integer(), Cursor :: binary() | start) ->
    page() | {error, no_active | bad_cursor | term()}.
calls(Filter, Limit, Cursor) ->
    case cursor(Cursor) of
        {ok, start} -> calls_of(groups(Filter), start, Filter, Limit, []);
        {ok, {Group, Within}} when is_integer(Group), Within =:= start orelse byte_size(Within) =:= ?CURSOR_BYTES ->
            calls_of([G || G <- groups(Filter), G >= Group], Within, Filter, Limit, []);
        _ -> {error, bad_cursor}
    end.

calls_of([], _Within, _Filter, _Limit, Items) ->
    #{items => lists:append(lists:reverse(Items)), cursor => done};
calls_of([Group | Groups], Within, Filter, Limit, Items) ->
    case ask(Group, calls, [maps:remove(group, Filter), Limit, Within]) of
        {ok, {error, _} = Error} ->
            Error;
        {ok, {Found, done}} when length(Found) < Limit ->
            calls_of(Groups, start, Filter, Limit - length(Found), [Found | Items]);
        {ok, {Found, done}} ->
            #{items => lists:append(lists:reverse([Found | Items])), cursor => next_group(Groups)};
        {ok, {Found, Next}} ->
            #{items => lists:append(lists:reverse([Found | Items])), cursor => written({Group, Next})};
        {error, _} = Error ->
            Error
    end.

next_group([]) -> done;
next_group([Group | _]) -> written({Group, start}).

%% @doc How many live calls match, over all groups.
-spec count(Filter :: map()) -> non_neg_integer() | {error, term()}.
count(Filter) ->
    case all(groups(Filter), count, [maps:remove(group, Filter)], []) of
        {ok, Counts} -> total(Counts, 0);
        {error, _} = Error -> Error
    end.

total([], Total) -> Total;
total([Count | Counts], Total) when is_integer(Count), Count >= 0 -> total(Counts, Total + Count).

%% @doc Live calls by state, for a domain and those one level below.
-spec counts(Domain :: binary()) -> #{binary() => #{binary() => non_neg_integer()}} | {error, term()}.
counts(Domain) ->
    Add = fun(_State, A, B) -> A + B end,
    Merge = fun(_Domain, A, B) -> maps:merge_with(Add, A, B) end,
    case all(groups(#{}), counts, [Domain], []) of
        {ok, Answers} -> lists:foldl(fun(Counts, Sum) -> maps:merge_with(Merge, Counts, Sum) end, #{}, Answers);
        {error, _} = Error -> Error
    end.

%% What every group answers.
all([], _What, _Arguments, Answers) ->
    {ok, Answers};
all([Group | Groups], What, Arguments, Answers) ->
    case ask(Group, What, Arguments) of
        {ok, {error, _} = Error} -> Error;
        {ok, Answer} -> all(Groups, What, Arguments, [Answer | Answers]);
        {error, _} = Error -> Error
    end.

%% @doc The digest of every loaded copy of a group.
-spec digest(Group :: pos_integer()) -> #{node() => binary()}.
digest(Group) ->
    Nodes = era_callstore_router:copies(Group),
    Answers = erpc:multicall(Nodes, ?MODULE, ask_here, [Group, digest, []], ?ASK_MS),
    maps:from_list([{Node, Digest} || {Node, {ok, {ok, Digest}}} <- lists:zip(Nodes, Answers)]).

%% @doc Who serves a domain.
-spec owner(Domain :: binary()) ->
    #{group := pos_integer(), instance := binary() | none, node := node() | none} | {error, {not_served, binary()}}.
owner(Domain) ->
    case era_callstore_router:route(Domain) of
        {ok, Group} ->
            Node = era_callstore_router:active_node(Group),
            #{group => Group, node => Node, instance => instance(Group, Node)};
        none ->
            {error, {not_served, Domain}}
    end.

instance(Group, Node) ->
    case era_callstore_config:in_force() of
        {ok, #{groups := #{Group := #{members := Members}}}} ->
            hd([Instance || #{node := N, instance := Instance} <- Members, N =:= Node] ++ [none]);
        _ ->
            none
    end.

%% --- what the sink `collection' keeps

%% @doc All revisions of a call's record, newest first.
-spec record(Cid :: binary()) -> [map()] | {error, no_collection}.
record(Cid) ->
    case anywhere(of_call, [record, string:lowercase(Cid)]) of
        {ok, Revisions} -> [decoded(Json) || Json <- Revisions];
        {error, _} = Error -> Error
    end.

%% @doc One page of an embedded collection, newest first.
-spec records(era_callstore_collection:collection(), Filter :: map(), Limit, Cursor) -> Answer when
    Limit :: pos_integer(),
    Cursor :: binary() | start,
    Answer :: page() | {error, bad_cursor | no_collection}.
records(Collection, Filter, Limit, Cursor) ->
    case cursor(Cursor) of
        {ok, From} when From =:= start; tuple_size(From) =:= 3 ->
            Since = maps:get(since_ms, Filter, undefined),
            case anywhere(page, [Collection, wanted(Filter), Since, {Limit, From}]) of
                {ok, {Found, More}} ->
                    #{items => [decoded(Json) || {_, Json} <- Found], cursor => after_page(More, Found)};
                {error, _} = Error ->
                    Error
            end;
        _ ->
            {error, bad_cursor}
    end.

after_page(more, [_ | _] = Found) -> written(element(1, lists:last(Found)));
after_page(_, _) -> done.

wanted(#{domain := Domain, subtree := false}) -> {domain, Domain};
wanted(#{domain := Domain}) -> {subtree, Domain};
wanted(_) -> all.

%% The tables are on every node of a group; a node without one asks one that has.
anywhere(Function, Arguments) ->
    Copies = lists:usort([Node || Group <- groups(#{}), Node <- era_callstore_router:copies(Group)]),
    anywhere(Function, Arguments, [node() | lists:delete(node(), Copies)]).

anywhere(_Function, _Arguments, []) ->
    {error, no_collection};
anywhere(Function, Arguments, [Node | Nodes]) ->
    try
        {ok, erpc:call(Node, era_callstore_collection, Function, Arguments, ?ASK_MS)}
    catch
        %% The table is not there, or not loaded yet.
        exit:{exception, {aborted, {no_exists, _}}} -> anywhere(Function, Arguments, Nodes);
        error:{erpc, _} -> anywhere(Function, Arguments, Nodes)
    end.

decoded(Json) ->
    {ok, Decoded} = era_callstore_nif:json_decode(Json),
    Decoded.

%% --- asking a group

groups(#{group := Group}) -> [Group];
groups(_Filter) ->
    case era_callstore_config:in_force() of
        {ok, #{groups := Groups}} -> lists:sort(maps:keys(Groups));
        {error, not_running} -> []
    end.

ask(Group, What, Arguments) ->
    Active = [Node || Node <- [era_callstore_router:active_node(Group)], Node =/= none],
    ask_one_of(Active ++ (era_callstore_router:copies(Group) -- Active), Group, What, Arguments).

ask_one_of([], _Group, _What, _Arguments) ->
    {error, no_active};
ask_one_of([Node | Nodes], Group, What, Arguments) ->
    case ask_node(Node, Group, What, Arguments) of
        {ok, _} = Answer -> Answer;
        {error, no_copy} -> ask_one_of(Nodes, Group, What, Arguments)
    end.

ask_node(Node, Group, What, Arguments) when Node =:= node() ->
    ask_here(Group, What, Arguments);
ask_node(Node, Group, What, Arguments) ->
    try
        erpc:call(Node, ?MODULE, ask_here, [Group, What, Arguments], ?ASK_MS)
    catch
        error:{erpc, _} -> {error, no_copy};
        exit:{exception, _} -> {error, no_copy}
    end.

%% @doc What this node's copy of the group answers.
-spec ask_here(Group :: pos_integer(), call | explain | calls | count | counts | digest, [term()]) ->
    {ok, term()} | {error, no_copy}.
ask_here(Group, What, Arguments) ->
    case era_callstore_router:store(Group) of
        {ok, Store} ->
            try
                {ok, answer(What, Store, Arguments)}
            catch
                %% The store is about to be folded anew.
                error:poisoned -> {error, no_copy}
            end;
        none ->
            {error, no_copy}
    end.

answer(call, Store, [Key]) -> era_callstore_nif:call(Store, Key, now_ms());
answer(explain, Store, [Key]) -> era_callstore_nif:explain(Store, Key, now_ms());
answer(calls, Store, [Filter, Limit, Cursor]) -> era_callstore_nif:calls(Store, Filter, Limit, Cursor, now_ms());
answer(count, Store, [Filter]) -> era_callstore_nif:count(Store, Filter);
answer(counts, Store, [Domain]) -> era_callstore_nif:counts(Store, Domain);
answer(digest, Store, []) -> era_callstore_nif:digest(Store).

now_ms() -> era_callstore_clock:now_ms().

%% --- cursors: terms of ours as text

written(Term) -> base64:encode(term_to_binary(Term)).

cursor(start) -> {ok, start};
cursor(Written) ->
    try
        {ok, binary_to_term(base64:decode(Written), [safe])}
    catch
        error:_ -> error
    end.
