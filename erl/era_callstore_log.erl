%%% The log of a group: one Mnesia table with a copy on every node of the group, and the table of epochs.
%%%
%%%   era_callstore_log_<Group>   {Tab, {Epoch, Node, Seq}, {Position, [chunk()]}}   ordered_set; a row is one commit
%%%   era_callstore_epoch         {Tab, Group, Epoch, Node, Terms}         set; whose term of activity it is, and how far
%%%                                                                        each term before it is known here
%%%                               {Tab, {gap, Group, Node}, …}             era_callstore_gap
%%%
%%% Position: where in the stream of events out (era_callstore_feed) what the row says begins.
%%% Always holds: a row is written once and never changed, only deleted; append/4 writes nothing unless the term of its
%%% caller is the one in force. Two copies with the same rows are equal. The newest row is never deleted, so the next
%%% term knows how far the one before it came.
%%% Called by: view (load, subscribe), commit (append), group (terms), ticker (trim), union, level and gap (what a copy lacks),
%%% receipt (subscribe, the last row), lineage (where a copy is from), heal (the run of Mnesia), status and query (copies, size),
%%% placement (holders, give_back), and the sink that keeps its records in Mnesia for the copies of its tables. With gap,
%%% schema, rejoin and collection the only module that says `mnesia:'.
%%% Must never: look into a chunk; touch a table that is not its own.
-module(era_callstore_log).

-export([
    ensure_tables/2, ensure_table/4, wait/2,
    new_term/1, term/1, append/4, delete/2,
    subscribe/1, event/2, fold/3, last_position/1,
    keys/1, keys_behind/2, lasts/1, chunks/2, lacking/3, know_terms/2,
    row_key/1, last_seq/3, epoch/1, size/1, copies/1, table/1,
    incarnation/0, loaded_from/1,
    tables_of/1, shared_tables/0, holders/1, awaited/1, give_back/2, give_up/1
]).
-export_type([key/0, position/0, known_term/0, term_of_activity/0, storage/0, commit/0]).

-include_lib("kernel/include/logger.hrl").
-include("era_callstore_crash.hrl").

-define(EPOCHS, era_callstore_epoch).
-define(PAGE_ROWS, 32).
%% Terms that are remembered; copies that were apart for more take-overs than that count what is older as known.
-define(TERMS, 64).

-type key() :: {Epoch :: pos_integer(), node(), Seq :: pos_integer()}.
%% A term of activity that is over, and its last row that was known when the next began.
-type known_term() :: {Epoch :: pos_integer(), node(), LastSeq :: non_neg_integer()}.
%% Events out before this row, in all of the group's stream.
-type position() :: non_neg_integer().
-type storage() :: ram_copies | disc_copies.
-type commit() :: transaction | sync_transaction | sync_dirty | async_dirty.
-type term_of_activity() :: #{
    group := pos_integer(),
    table := atom(),
    epoch := pos_integer(),
    commit := commit(),
    %% of this node when the term began (era_callstore_pause); `any' where no other instance could have taken over
    pauses := non_neg_integer() | any,
    %% where copies are to be
    nodes := [node()]
}.

%% @doc The name of the group's table. Groups come from the configuration, so the atoms are bounded by it.
-spec table(Group :: pos_integer()) -> atom().
table(Group) -> list_to_atom("era_callstore_log_" ++ integer_to_list(Group)).

%% @doc Makes the log and the epochs exist with a copy on this node; joins the tables when others have made them.
-spec ensure_tables(Group :: pos_integer(), storage()) -> ok | {error, term()}.
ensure_tables(Group, Storage) ->
    case ensure_table(?EPOCHS, Storage, set, [group, epoch, node, terms]) of
        ok -> ensure_table(table(Group), Storage, ordered_set, [key, chunks]);
        {error, _} = Error -> Error
    end.

%% @doc Makes one table exist with a copy on this node.
-spec ensure_table(atom(), storage(), set | ordered_set, [atom()]) -> ok | {error, term()}.
ensure_table(Table, Storage, Type, Attributes) ->
    Turn = {{?MODULE, Table}, self()},
    Make = fun() -> make(Table, Storage, Type, Attributes) end,
    try global:trans(Turn, Make, lists:usort([node() | era_callstore_schema:together()]), 60) of
        aborted -> {error, {no_turn, Table}};
        Result -> Result
    catch
        %% Mnesia has stopped meanwhile.
        exit:{aborted, Reason} -> {error, Reason}
    end.

make(Table, Storage, Type, Attributes) ->
    case lists:member(Table, mnesia:system_info(tables)) of
        false ->
            Options = [{Storage, [node()]}, {type, Type}, {attributes, Attributes}],
            made(mnesia:create_table(Table, Options));
        true ->
            case mnesia:table_info(Table, storage_type) of
                Storage -> ok;
                unknown -> added(Table, Storage);
                disc_copies when Table =:= ?EPOCHS -> ok;
                _ -> made(mnesia:change_table_copy_type(Table, node(), Storage))
            end
    end.

%% That an earlier copy here was deleted may still stand in Mnesia's own log: a start would do that again, to the new one.
added(Table, Storage) ->
    dumped = mnesia:dump_log(),
    made(mnesia:add_table_copy(Table, node(), Storage)).

made({atomic, ok}) -> era_callstore_schema:sync();
made({aborted, {already_exists, _}}) -> ok;
made({aborted, {already_exists, _, _}}) -> ok;
made({aborted, Reason}) -> {error, Reason}.

%% @doc Waits until the tables are loaded here.
-spec wait([atom()] | pos_integer(), TimeoutMs :: timeout()) -> ok | {timeout, [atom()]} | {error, term()}.
wait(Group, TimeoutMs) when is_integer(Group) -> wait([?EPOCHS, table(Group)], TimeoutMs);
wait(Tables, TimeoutMs) -> mnesia:wait_for_tables(Tables, TimeoutMs).

%% @doc Begins a term of activity of this node: allocates its epoch, which ends every earlier term.
-spec new_term(Group :: pos_integer()) -> {ok, Epoch :: pos_integer()} | {error, term()}.
new_term(Group) ->
    Allocate = fun() ->
        Terms =
            case mnesia:read(?EPOCHS, Group, write) of
                [] -> [];
                [{_, _, Last, Node, Before}] -> known({Last, Node, last_seq(Group, Last, Node)}, Before)
            end,
        Epoch = 1 + lists:max([newest_epoch(Group) | [E || {E, _, _} <- Terms]]),
        ok = mnesia:write(?EPOCHS, {?EPOCHS, Group, Epoch, node(), Terms}, write),
        ?CRASH_POINT(term_written),
        Epoch
    end,
    atomic(mnesia:sync_transaction(Allocate)).

atomic({atomic, Value}) -> {ok, Value};
atomic({aborted, Reason}) -> {error, Reason}.

%% @doc The last row of a term in this node's own copy; 0 without one.
-spec last_seq(Group :: pos_integer(), Epoch :: pos_integer(), node()) -> non_neg_integer().
last_seq(Group, Epoch, Node) ->
    %% In terms of Erlang an atom is more than any number.
    case mnesia:dirty_prev(table(Group), {Epoch, Node, last}) of
        {Epoch, Node, Seq} -> Seq;
        _ -> 0
    end.

newest_epoch(Group) ->
    case mnesia:dirty_last(table(Group)) of
        {Epoch, _, _} -> Epoch;
        '$end_of_table' -> 0
    end.

%% @doc The newest term that the copies here know of, in force or of a row; 0 where there was none.
-spec epoch(Group :: pos_integer()) -> non_neg_integer().
epoch(Group) ->
    case term(Group) of
        {Epoch, _} -> max(Epoch, newest_epoch(Group));
        none -> newest_epoch(Group)
    end.

%% Newest first; of a term that is known twice the most.
known({Epoch, Node, Seq}, Terms) ->
    Others = [T || {E, N, _} = T <- Terms, {E, N} =/= {Epoch, Node}],
    Most = lists:max([Seq | [S || {E, N, S} <- Terms, {E, N} =:= {Epoch, Node}]]),
    lists:sublist(lists:reverse(lists:sort([{Epoch, Node, Most} | Others])), ?TERMS).

%% @doc Whose term it is, as this node knows.
-spec term(Group :: pos_integer()) -> {Epoch :: pos_integer(), node()} | none.
term(Group) ->
    try mnesia:dirty_read(?EPOCHS, Group) of
        [{_, _, Epoch, Node, _}] -> {Epoch, Node};
        [] -> none
    catch
        %% Mnesia has stopped, or the table is not there yet.
        exit:{aborted, _} -> none
    end.

%% @doc Writes one row, when the term is still the caller's. The kinds of commit are Mnesia's.
-spec append(term_of_activity(), Seq :: pos_integer(), position(), [era_callstore_nif:chunk()]) ->
    ok | {error, {fenced, Epoch :: non_neg_integer()} | {log, term()}}.
append(#{group := Group, table := Table, epoch := Epoch, commit := Commit}, Seq, Position, Chunks) ->
    Write = fun() ->
        case mnesia:read(?EPOCHS, Group, read) of
            [{_, _, Epoch, Node, _}] when Node =:= node() ->
                ?CRASH_POINT(commit_checked),
                ok = mnesia:write(Table, {Table, {Epoch, Node, Seq}, {Position, Chunks}}, write),
                ?CRASH_POINT(commit_written);
            [{_, _, Other, _, _}] ->
                {error, {fenced, Other}};
            [] ->
                {error, {fenced, 0}}
        end
    end,
    try
        mnesia:activity(Commit, Write)
    catch
        exit:{aborted, Reason} -> {error, {log, Reason}}
    end.

%% @doc Deletes rows, lazily: a delete repeated or lost does no harm, so none is worth a transaction. The newest row of
%% the log stays.
-spec delete(Group :: pos_integer(), [key()]) -> ok.
delete(Group, Keys) ->
    Table = table(Group),
    mnesia:activity(async_dirty, fun() ->
        Newest = mnesia:dirty_last(Table),
        lists:foreach(fun(Key) -> mnesia:delete(Table, Key, write) end, lists:delete(Newest, Keys))
    end).

%% @doc The table's events come to the caller from now on; event/2 reads them.
-spec subscribe(Group :: pos_integer()) -> ok | {error, term()}.
subscribe(Group) ->
    case mnesia:subscribe({table, table(Group), simple}) of
        {ok, _} -> ok;
        {error, {already_exists, _}} -> ok;
        {error, _} = Error -> Error
    end.

%% @doc What a message says about the table.
-spec event(Message :: term(), Table :: atom()) ->
    {row, key(), position(), [era_callstore_nif:chunk()]} | {deleted, key()} | none.
event({mnesia_table_event, {write, {Table, Key, {Position, Chunks}}, _}}, Table) -> {row, Key, Position, Chunks};
event({mnesia_table_event, {delete, {Table, Key}, _}}, Table) -> {deleted, Key};
event(_, _) -> none.

%% @doc Folds over every row of the local copy, in order of keys.
-spec fold(Group :: pos_integer(), fun((key(), [era_callstore_nif:chunk()], Acc) -> Acc), Acc) -> Acc.
fold(Group, Fun, Acc) ->
    Table = table(Group),
    mnesia:activity(async_dirty, fun() ->
        fold_page(mnesia:select(Table, [{'_', [], ['$_']}], ?PAGE_ROWS, read), Fun, Acc)
    end).

fold_page('$end_of_table', _Fun, Acc) ->
    Acc;
fold_page({Rows, Next}, Fun, Acc) ->
    Folded = lists:foldl(fun({_, Key, {_Position, Chunks}}, A) -> Fun(Key, Chunks, A) end, Acc, Rows),
    fold_page(mnesia:select(Next), Fun, Folded).

%% @doc Where the newest row of the local copy begins.
-spec last_position(Group :: pos_integer()) -> position().
last_position(Group) ->
    Table = table(Group),
    case mnesia:dirty_read(Table, mnesia:dirty_last(Table)) of
        [{_, _, {Position, _}}] -> Position;
        [] -> 0
    end.

%% @doc The keys of all rows of the local copy.
-spec keys(Group :: pos_integer()) -> [key()].
keys(Group) -> mnesia:dirty_all_keys(table(Group)).

%% @doc The keys of the rows of a term in the local copy that come after one, in order.
-spec keys_behind(Group :: pos_integer(), {Epoch :: pos_integer(), node(), Seq :: non_neg_integer()}) -> [key()].
keys_behind(Group, {Epoch, Node, _} = Key) ->
    case mnesia:dirty_next(table(Group), Key) of
        {Epoch, Node, _} = Next -> [Next | keys_behind(Group, Next)];
        _ -> []
    end.

%% @doc The last row of each term of which the local copy has any.
-spec lasts(Group :: pos_integer()) -> #{{Epoch :: pos_integer(), node()} => Seq :: pos_integer()}.
lasts(Group) -> lasts(Group, mnesia:dirty_first(table(Group)), #{}).

lasts(_Group, '$end_of_table', Lasts) ->
    Lasts;
lasts(Group, {Epoch, Node, _}, Lasts) ->
    %% Behind all rows of the term, as in last_seq/3.
    Next = mnesia:dirty_next(table(Group), {Epoch, Node, last}),
    lasts(Group, Next, Lasts#{{Epoch, Node} => last_seq(Group, Epoch, Node)}).

%% @doc The chunks of a row of the local copy; none when it was deleted.
-spec chunks(Group :: pos_integer(), key()) -> [era_callstore_nif:chunk()].
chunks(Group, Key) -> lists:append([Chunks || {_, _, {_Position, Chunks}} <- mnesia:dirty_read(table(Group), Key)]).

%% @doc Which of these rows of another copy have never been in the local copy. Where rows of a term come `in_order', one
%% that is not here was trimmed, if later ones are or were. That does not hold `beside' a copy that had begun apart from ours
%% and to which Mnesia writes together with ours: rows came behind a gap. There all counts that is not here.
-spec lacking(Group :: pos_integer(), [key()], in_order | beside) -> [key()].
lacking(Group, Keys, beside) ->
    [Key || Key <- Keys, mnesia:dirty_read(table(Group), Key) =:= []];
lacking(Group, Keys, in_order) ->
    Term = term(Group),
    Terms = lists:append([Terms || {_, _, _, _, Terms} <- mnesia:dirty_read(?EPOCHS, Group)]),
    lacking(Group, [Key || Key <- Keys, not was_here(Key, Term, Terms)], beside).

%% A row that was here may have been trimmed since.
was_here({Epoch, Node, _}, {Epoch, Node}, _Terms) ->
    true;
was_here({Epoch, Node, Seq}, _Term, Terms) ->
    case [Last || {E, N, Last} <- Terms, E =:= Epoch, N =:= Node] of
        [Last] -> Seq =< Last;
        [] when length(Terms) < ?TERMS -> false;
        [] -> Epoch < element(1, lists:last(Terms))
    end.

%% @doc Rows of these terms are here from now on, under keys of their own.
-spec know_terms(Group :: pos_integer(), [known_term()]) -> ok | {error, term()}.
know_terms(_Group, []) ->
    ok;
know_terms(Group, More) ->
    Know = fun() ->
        [{_, _, Epoch, Node, Terms}] = mnesia:read(?EPOCHS, Group, write),
        mnesia:write(?EPOCHS, {?EPOCHS, Group, Epoch, Node, lists:foldl(fun known/2, Terms, More)}, write)
    end,
    case atomic(mnesia:sync_transaction(Know)) of
        {ok, ok} -> ok;
        {error, _} = Error -> Error
    end.

%% @doc The key as the core knows it.
-spec row_key(key()) -> era_callstore_nif:row_key().
row_key(Key) -> term_to_binary(Key).

%% @doc Rows in the local copy.
-spec size(Group :: pos_integer()) -> non_neg_integer().
size(Group) ->
    try
        mnesia:table_info(table(Group), size)
    catch
        exit:{aborted, _} -> 0
    end.

%% @doc The run of Mnesia on this node; `none' when it does not run.
-spec incarnation() -> pid() | none.
incarnation() ->
    case whereis(mnesia_sup) of
        Pid when is_pid(Pid) -> Pid;
        _ -> none
    end.

%% @doc The node whose copy of a table the local one was loaded from, this one for its own disc; `none' while it is
%% not loaded.
-spec loaded_from(atom()) -> node() | none.
loaded_from(Table) ->
    try {mnesia:table_info(Table, where_to_read), mnesia:table_info(Table, load_node)} of
        {Here, Node} when Here =:= node(), Node =/= unknown -> Node;
        _ -> none
    catch
        exit:{aborted, _} -> none
    end.

%% @doc Nodes that hold a copy that works now.
-spec copies(Group :: pos_integer()) -> [node()].
copies(Group) ->
    try
        mnesia:table_info(table(Group), where_to_write)
    catch
        exit:{aborted, _} -> []
    end.

%% @doc The tables that the group alone uses.
-spec tables_of(Group :: pos_integer()) -> [atom()].
tables_of(Group) -> [table(Group)].

%% @doc The tables that all groups share: that of epochs.
-spec shared_tables() -> [atom()].
shared_tables() -> [?EPOCHS].

%% @doc Nodes that have a copy of a table, whether they run or not; none of a table that is not there.
-spec holders(atom()) -> [node()].
holders(Table) ->
    try
        lists:append([mnesia:table_info(Table, Storage) || Storage <- [ram_copies, disc_copies, disc_only_copies]])
    catch
        exit:{aborted, _} -> []
    end.

%% @doc Nodes with a copy of one of these tables on which Mnesia does not run: one of them may have what is newest.
-spec awaited([atom()]) -> [node()].
awaited(Tables) -> lists:usort(lists:flatmap(fun holders/1, Tables)) -- era_callstore_schema:together().

%% @doc Deletes the copy of a table on a node, never the last that works. `down': Mnesia does not run there and has its
%% copy on disc, which cannot be deleted so long.
-spec give_back(atom(), node()) -> ok | {error, last_copy | down | term()}.
give_back(Table, Node) ->
    case lists:delete(Node, mnesia:table_info(Table, where_to_write)) of
        [] -> {error, last_copy};
        [_ | _] -> gave(mnesia:del_table_copy(Table, Node), Table, Node)
    end.

gave({atomic, ok}, _Table, _Node) ->
    era_callstore_schema:sync();
gave({aborted, Reason}, Table, Node) ->
    case {lists:member(Node, holders(Table)), lists:member(Node, era_callstore_schema:together())} of
        %% Somebody else was first.
        {false, _} -> ok;
        {true, false} -> {error, down};
        {true, true} -> {error, Reason}
    end.

%% @doc Takes a node that is down out of Mnesia's schema, and so all its copies out of their tables, unless a table is
%% there that is not ours. When it comes back, it joins with the copies it has, and they can be given back.
-spec give_up(node()) -> ok | {error, {other_tables, [atom()]} | tuple()}.
give_up(Node) ->
    There = [Table || Table <- mnesia:system_info(tables), Table =/= schema, lists:member(Node, holders(Table))],
    case [Table || Table <- There, not is_ours(Table)] of
        [] ->
            case mnesia:del_table_copy(schema, Node) of
                {atomic, ok} -> era_callstore_schema:sync();
                {aborted, Reason} -> {error, Reason}
            end;
        Others ->
            {error, {other_tables, Others}}
    end.

is_ours(Table) -> lists:prefix("era_callstore_", atom_to_list(Table)).
