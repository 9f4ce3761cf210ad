%%% Gives another side what it lacks of the copies here: rows of logs, rows of collections.
%%%
%%%   here: keys ──► there: which are lacking ──► here: chunks of these ──► there: committed by the active, folded
%%% Always holds: what give/3 has given is committed on the other side when it returns ok; given twice it is there once,
%%% because an event is known by its identity. Nothing is taken away here.
%%% Called by: era_callstore_heal (give/3) while no instance here is active; take/2 on the other side, over erpc.
%%% Must never: take a row for known because another copy has it.
-module(era_callstore_union).

-export([give/3, take/2]).
-export_type([given/0]).

%% To whom: the active of each group, which has all rows of both sides from then on, and who was given the records kept.
-type given() :: #{
    rows := non_neg_integer(), bytes := non_neg_integer(), kept := non_neg_integer(),
    actives := #{Group :: pos_integer() => node()}, keeper := node()
}.

-define(ASK_MS, 30000).
%% How long the other side may take to have an active instance.
-define(ACTIVE_MS, 10000).
-define(POLL_MS, 50).
%% Keys asked for at once.
-define(KEYS, 2000).

%% @doc Gives what the nodes Others lack of the groups here, each with its members, and of the collections. Who is
%% active for them is one of Side, which may be with us as well.
-spec give(#{pos_integer() => [node()]}, Others :: [node(), ...], Side :: [node(), ...]) ->
    {ok, given()} | {error, {no_active, pos_integer()} | {refused, term()} | {asked, node(), term()}}.
give(Groups, Others, Side) ->
    try
        Shared = lists:sort([Group || {Group, Members} <- maps:to_list(Groups), Members -- Others =/= Members]),
        Actives = [{Group, active(Group, Side, now_ms() + ?ACTIVE_MS)} || Group <- Shared],
        Rows = lists:append([give_log(Group, Active) || {Group, Active} <- Actives]),
        Keeper = hd([Active || {_, Active} <- Actives] ++ Others),
        {ok, #{
            rows => length(Rows), bytes => lists:sum(Rows), kept => give_collection(Keeper),
            actives => maps:from_list(Actives), keeper => Keeper
        }}
    catch
        throw:{failed, Reason} -> {error, Reason};
        error:{erpc, Reason} -> {error, {asked, hd(Others), Reason}};
        exit:{exception, Reason} -> {error, {asked, hd(Others), Reason}}
    end.

%% --- logs

%% The bytes of each row that was given.
give_log(Group, Active) ->
    Keys = lists:sort(era_callstore_log:keys(Group)),
    How = case era_callstore_rejoin:is_together(Active) of true -> beside; false -> in_order end,
    Lacking = lists:append([ask(Active, era_callstore_gap, lacking, [Group, Part, How]) || Part <- parts(Keys)]),
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
    ok = answered(ask(Active, era_callstore_log, know_terms, [Group, era_callstore_level:terms(Keys)])),
    Bytes.

give_row(Group, Key, Active) ->
    Chunks = era_callstore_log:chunks(Group, Key),
    ok = answered(ask(Active, ?MODULE, take, [Group, Chunks])),
    iolist_size(Chunks).

%% The instance of the other side that is active; it may just be about to be.
active(Group, Side, Deadline) ->
    case [Node || Node <- Side, lists:member(Node, era_callstore_router:active_nodes(Group))] of
        [Active | _] ->
            Active;
        [] ->
            case now_ms() > Deadline of
                true -> throw({failed, {no_active, Group}});
                false -> receive after ?POLL_MS -> active(Group, Side, Deadline) end
            end
    end.

%% @doc On the active: commits the chunks of a row from another side.
-spec take(Group :: pos_integer(), [era_callstore_nif:chunk()]) -> ok | {error, term()}.
take(Group, Chunks) -> era_callstore_submit:append_all(Group, Chunks).

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
