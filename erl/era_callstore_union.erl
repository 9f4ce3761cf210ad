%%% Gives copies what they lack of others: to another side's what they lack of those here (rows of logs, rows of
%%% collections), and within one side what some copies have got and others have not.
%%%
%%%   here: keys ──► there: which are lacking ──► here: chunks of these ──► there: committed by the active, folded
%%% Always holds: what give/2 has given is committed on the other side when it returns ok; given twice it is there once,
%%% because an event is known by its identity. Nothing is taken away here.
%%% Called by: era_callstore_heal (give/2) while no instance here is active; take/2 on the other side, over erpc;
%%% era_callstore_group (level/1) as its term begins and when a peer has gone.
%%% Must never: take a row for known because another copy has it.
-module(era_callstore_union).

-export([give/2, take/2, level/1]).
-export_type([given/0]).

-type given() :: #{rows := non_neg_integer(), bytes := non_neg_integer(), kept := non_neg_integer()}.

-include_lib("kernel/include/logger.hrl").

-define(ASK_MS, 30000).
-define(LEVEL_MS, 2000).
%% How long the other side may take to have an active instance.
-define(ACTIVE_MS, 10000).
-define(POLL_MS, 50).
%% Keys asked for at once.
-define(KEYS, 2000).

%% @doc Gives what the nodes Others lack of the groups here, each with its members, and of the collections.
-spec give(#{pos_integer() => [node()]}, Others :: [node(), ...]) ->
    {ok, given()} | {error, {no_active, pos_integer()} | {refused, term()} | {asked, node(), term()}}.
give(Groups, Others) ->
    try
        Shared = lists:sort([Group || {Group, Members} <- maps:to_list(Groups), Members -- Others =/= Members]),
        Rows = lists:append([give_log(Group, Others) || Group <- Shared]),
        Keeper = hd([active(Group, Others, now_ms() + ?ACTIVE_MS) || Group <- lists:sublist(Shared, 1)] ++ Others),
        {ok, #{rows => length(Rows), bytes => lists:sum(Rows), kept => give_collection(Keeper)}}
    catch
        throw:{failed, Reason} -> {error, Reason};
        error:{erpc, Reason} -> {error, {asked, hd(Others), Reason}};
        exit:{exception, Reason} -> {error, {asked, hd(Others), Reason}}
    end.

%% --- logs

%% The bytes of each row that was given.
give_log(Group, Others) ->
    Active = active(Group, Others, now_ms() + ?ACTIVE_MS),
    Keys = lists:sort(era_callstore_log:keys(Group)),
    Lacking = lists:append([ask(Active, era_callstore_log, lacking, [Group, Part]) || Part <- parts(Keys)]),
    give_rows(Group, Lacking, Active).

%% While a process of ours lives, the other side's writer issues nothing.
give_rows(_Group, [], _Active) ->
    [];
give_rows(Group, Keys, Active) ->
    Bringing = spawn_link(fun() -> receive all_there -> ok end end),
    try
        brought(Group, Keys, Active, Bringing)
    after
        Bringing ! all_there
    end.

brought(Group, Keys, Active, Bringing) ->
    ok = answered(ask(Active, era_callstore_writer, quiet, [Group, Bringing])),
    Bytes = [give_row(Group, Key, Active) || Key <- Keys],
    ok = answered(ask(Active, era_callstore_log, know_terms, [Group, terms(Keys)])),
    Bytes.


give_row(Group, Key, Active) ->
    Chunks = era_callstore_log:chunks(Group, Key),
    ok = answered(ask(Active, ?MODULE, take, [Group, Chunks])),
    iolist_size(Chunks).

%% Each term with its last row.
terms(Keys) ->
    Last = lists:foldl(fun({E, N, S}, Acc) -> maps:update_with({E, N}, fun(L) -> max(L, S) end, S, Acc) end, #{}, Keys),
    [{E, N, S} || {{E, N}, S} <- maps:to_list(Last)].

%% The instance of the other side that is active; it may just be about to be.
active(Group, Others, Deadline) ->
    case [Node || Node <- era_callstore_router:active_nodes(Group), lists:member(Node, Others)] of
        [Active | _] ->
            Active;
        [] ->
            case now_ms() > Deadline of
                true -> throw({failed, {no_active, Group}});
                false -> receive after ?POLL_MS -> active(Group, Others, Deadline) end
            end
    end.

%% @doc On the active: commits the chunks of a row from another side.
-spec take(Group :: pos_integer(), [era_callstore_nif:chunk()]) -> ok | {error, term()}.
take(_Group, []) ->
    ok;
take(Group, [Chunk | Chunks]) ->
    case era_callstore_writer:append(Group, Chunk, 1) of
        {ok, _} -> take(Group, Chunks);
        {error, _} = Error -> Error
    end.

%% --- within one side

%% @doc On the active, when a node has gone: it may have written to some copies and no longer to others. What one of them
%% has and another has not of any term but the one in force is committed again, for all.
-spec level(Group :: pos_integer()) -> ok | {error, term()}.
level(Group) ->
    try
        Others = lists:delete(node(), era_callstore_log:copies(Group)),
        Answers = erpc:multicall(Others, era_callstore_log, keys, [Group], ?LEVEL_MS),
        Copies = [{node(), era_callstore_log:keys(Group)} | [{N, Keys} || {N, {ok, Keys}} <- lists:zip(Others, Answers)]],
        leveled(Group, uneven(Copies, era_callstore_log:term(Group)))
    catch
        error:{erpc, Reason} -> {error, {asked, Group, Reason}};
        exit:{exception, Reason} -> {error, {asked, Group, Reason}};
        %% Mnesia here has stopped.
        exit:{aborted, Reason} -> {error, {log, Reason}}
    end.

leveled(_Group, []) ->
    ok;
leveled(Group, Rows) ->
    ?LOG_NOTICE(#{what => "copies were left uneven: rows are committed again", group => Group, rows => length(Rows)}),
    take(Group, lists:append([ask(Holder, era_callstore_log, chunks, [Group, Key]) || {Key, Holder} <- Rows])).

%% Each row that some copy has not got, with a node that has it. A copy gets the rows of a term in order; an older one
%% that it has not was trimmed.
uneven(Copies, InForce) ->
    Lasts = [maps:from_list([{{E, N}, S} || {E, N, S} <- terms(Keys)]) || {_, Keys} <- Copies],
    Rows = maps:from_list([{Key, Node} || {Node, Keys} <- Copies, {E, N, _} = Key <- Keys, {E, N} =/= InForce]),
    lists:sort([
        Row
     || {{E, N, S}, _} = Row <- maps:to_list(Rows), lists:any(fun(Last) -> maps:get({E, N}, Last, 0) < S end, Lasts)
    ]).

%% --- collections

%% Records that a sink of this side kept meanwhile. Of one revision with two contents the other side's stays.
give_collection(Other) ->
    lists:sum([
        give_items(ask(Other, era_callstore_collection, lacking, [Part]), Other)
     || Part <- parts(era_callstore_collection:keys())
    ]).

give_items(Keys, Other) ->
    Items = era_callstore_collection:items(Keys),
    ok = answered(ask(Other, era_callstore_collection, adopt, [Items])),
    length(Items).

%% --- small things

ask(Node, Module, Function, Arguments) -> erpc:call(Node, Module, Function, Arguments, ?ASK_MS).

answered(ok) -> ok;
answered({error, Reason}) -> throw({failed, {refused, Reason}}).

now_ms() -> erlang:monotonic_time(millisecond).

parts([]) -> [];
parts(Keys) when length(Keys) =< ?KEYS -> [Keys];
parts(Keys) ->
    {Part, Rest} = lists:split(?KEYS, Keys),
    [Part | parts(Rest)].
