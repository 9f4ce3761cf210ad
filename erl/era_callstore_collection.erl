%%% Collections embedded in Mnesia: finished records and the rows of projections, kept in the batches they came in.
%%%
%%%   era_callstore_collection   {Tab, {NewestEndTs, Origin}, [{Collection, Cid, Revision, EndTs, [Domain], Json}]}
%%% One row of Mnesia a batch, because a commit costs by the row; era_callstore_collection_index finds an item in them.
%%%
%%% Always holds: the same item put twice is one item; what was put is found on every copy when put/1 returns. A row goes
%%% when its newest item has passed its time. The table has a copy on every node of the group.
%%% Called by: era_callstore_sink_collection (ensure, put, trim), era_callstore_query (of_call, page), era_callstore_status
%%% (size), era_callstore_placement (tables), era_callstore_union (keys, items, lacking, adopt: what a copy that was apart has
%%% beside ours). With its index it says `mnesia:' for its own table only.
%%% Must never: be read to decide anything about a live call.
-module(era_callstore_collection).

-export([ensure/1, tables/0, put/1, of_call/2, page/4, trim/2, size/0]).
-export([keys/0, items/1, lacking/1, adopt/1]).
-export_type([collection/0, item/0, key/0, cursor/0]).

-define(TABLE, era_callstore_collection).
-define(WAIT_MS, 60000).
%% How long a copy may take to index what it has got.
-define(INDEXED_MS, 5000).

-type collection() :: record | Name :: binary().
-type item() :: #{
    collection := collection(),
    cid := binary(),
    revision := pos_integer(),
    end_ts := integer(),
    domains := [binary()],
    json := binary()
}.
-type key() :: era_callstore_collection_index:key().
-type cursor() :: start | era_callstore_collection_index:place().

%% @doc The tables that this module keeps.
-spec tables() -> [atom()].
tables() -> [?TABLE].

%% @doc Makes the table exist with a loaded and indexed copy on this node.
-spec ensure(era_callstore_log:storage()) -> ok | {error, term()}.
ensure(Storage) ->
    case era_callstore_log:ensure_table(?TABLE, Storage, ordered_set, [key, items]) of
        ok -> waited(era_callstore_log:wait([?TABLE], ?WAIT_MS));
        {error, _} = Error -> Error
    end.

waited(ok) -> era_callstore_collection_index:follow(?TABLE);
waited({timeout, Tables}) -> {error, {not_loaded, Tables}};
waited({error, _} = Error) -> Error.

%% @doc Keeps items as one row. Dirty, because an item put twice is one; the write is awaited on every copy.
-spec put([item()]) -> ok | {error, {different_content, Cid :: binary(), pos_integer()} | {log, term()}}.
put(Items) ->
    %% What another node wrote a moment ago is known.
    ok = era_callstore_collection_index:sync(),
    Found = [{Item, era_callstore_collection_index:item(key(Item))} || Item <- Items],
    case [{Cid, Revision} || {#{cid := Cid, revision := Revision} = Item, Kept} <- Found, contradicts(Item, Kept)] of
        [{Cid, Revision} | _] -> {error, {different_content, Cid, Revision}};
        [] -> write([Item || {Item, none} <- Found])
    end.

%% One revision has one content, for ever.
contradicts(_Item, none) -> false;
contradicts(#{json := Json}, {_, _, _, _, _, Kept}) -> Kept =/= Json.

write([]) ->
    ok;
write(Items) ->
    Newest = lists:max([EndTs || #{end_ts := EndTs} <- Items]),
    Origin = {node(), erlang:system_time(), erlang:unique_integer([positive])},
    Row = {?TABLE, {Newest, Origin}, [packed(Item) || Item <- Items]},
    try
        ok = mnesia:activity(sync_dirty, fun() -> mnesia:write(?TABLE, Row, write) end),
        indexed(mnesia:table_info(?TABLE, where_to_write))
    catch
        exit:{aborted, Reason} -> {error, {log, Reason}}
    end.

packed(#{collection := Of, cid := Cid, revision := Revision, end_ts := EndTs, domains := Domains, json := Json}) ->
    {Of, Cid, Revision, EndTs, Domains, Json}.

%% A copy that does not answer indexes what it has got when it can; it is not waited for.
indexed([Node]) when Node =:= node() ->
    era_callstore_collection_index:sync();
indexed(Nodes) ->
    _ = erpc:multicall(Nodes, era_callstore_collection_index, sync, [], ?INDEXED_MS),
    ok.

key(#{collection := Collection, cid := Cid, revision := Revision}) -> {Collection, Cid, Revision}.

%% @doc All revisions of one call, newest first.
-spec of_call(collection(), Cid :: binary()) -> [Json :: binary()].
of_call(Collection, Cid) ->
    ok = here(),
    era_callstore_collection_index:of_call(Collection, Cid).

%% @doc At most Limit items after the cursor, newest first, of the domains that Wanted accepts, ended at SinceMs or later.
-spec page(collection(), era_callstore_collection_index:wanted(), SinceMs :: integer() | undefined, {
    Limit :: pos_integer(), cursor()
}) -> {[{era_callstore_collection_index:place(), Json :: binary()}], done | more}.
page(Collection, Wanted, SinceMs, {Limit, Cursor}) ->
    ok = here(),
    era_callstore_collection_index:page(Collection, Wanted, SinceMs, {Limit, Cursor}).

%% @doc Deletes at most Max rows whose items all ended before LimitMs, the oldest first; `more' may be left.
-spec trim(LimitMs :: integer(), Max :: non_neg_integer()) -> done | more.
trim(_LimitMs, 0) ->
    more;
trim(LimitMs, Max) ->
    case mnesia:dirty_first(?TABLE) of
        {Newest, _} = Key when Newest < LimitMs ->
            ok = mnesia:activity(async_dirty, fun() -> mnesia:delete(?TABLE, Key, write) end),
            trim(LimitMs, Max - 1);
        _ ->
            done
    end.

%% @doc The keys of all items kept on this node; none where no sink keeps any.
-spec keys() -> [key()].
keys() ->
    case lists:member(?TABLE, mnesia:system_info(local_tables)) of
        true -> era_callstore_collection_index:keys();
        false -> []
    end.

%% @doc The items of these keys.
-spec items([key()]) -> [item()].
items(Keys) ->
    Found = [era_callstore_collection_index:item(Key) || Key <- Keys],
    [
        #{collection => Of, cid => Cid, revision => Revision, end_ts => EndTs, domains => Domains, json => Json}
     || {Of, Cid, Revision, EndTs, Domains, Json} <- Found
    ].

%% @doc Which of these keys are not here.
-spec lacking([key()]) -> [key()].
lacking(Keys) ->
    ok = here(),
    ok = era_callstore_collection_index:sync(),
    [Key || Key <- Keys, era_callstore_collection_index:item(Key) =:= none].

%% @doc Keeps items of a copy that was apart; what is here already stays as it is.
-spec adopt([item()]) -> ok | {error, {log, term()}}.
adopt(Items) ->
    Lacking = maps:from_keys(lacking([key(Item) || Item <- Items]), true),
    case put([Item || Item <- Items, is_map_key(key(Item), Lacking)]) of
        ok -> ok;
        {error, {log, _}} = Error -> Error
    end.

%% @doc Items kept on this node, of all collections.
-spec size() -> non_neg_integer().
size() -> era_callstore_collection_index:size().

%% A node whose copy was given back has an index of what it was.
here() ->
    try mnesia:table_info(?TABLE, where_to_read) of
        Node when Node =:= node() -> ok;
        _ -> exit({aborted, {no_exists, ?TABLE}})
    catch
        exit:{aborted, {no_exists, ?TABLE, _}} -> exit({aborted, {no_exists, ?TABLE}})
    end.
