%%% Collections embedded in Mnesia: finished records and the rows of projections, by call and by domain and time.
%%%
%%%   era_callstore_collection        {Tab, {Collection, Cid, Revision}, {EndTs, [Domain]}, Json}
%%%   era_callstore_collection_index  {Tab, {Collection, Domain, -EndTs, Cid, -Revision}, true}     newest first
%%%
%%% Always holds: a page costs its length times the number of domains asked for, whatever the size of the collection; the
%%% same item put twice is one item. The tables have a copy on every node of the group.
%%% Called by: era_callstore_sink_collection (put, trim), era_callstore_query (read), era_callstore_union (what a copy that was
%%% apart has beside ours). Says `mnesia:' for its own two
%%% tables only, beside era_callstore_log.
%%% Must never: be read to decide anything about a live call.
-module(era_callstore_collection).

-export([ensure/1, tables/0, put/1, of_call/2, page/4, trim/3, size/0]).
-export([keys/0, items/1, lacking/1, adopt/1]).
-export_type([collection/0, item/0, key/0, cursor/0]).

-define(TABLE, era_callstore_collection).
-define(INDEX, era_callstore_collection_index).
-define(WAIT_MS, 60000).
%% Before and after every end time in a key of the index (numbers < binaries).
-define(BEFORE_ALL, -(1 bsl 62)).
-define(AFTER_ALL, <<>>).

-type collection() :: record | Name :: binary().
-type item() :: #{
    collection := collection(),
    cid := binary(),
    revision := pos_integer(),
    end_ts := integer(),
    domains := [binary()],
    json := binary()
}.
-type key() :: {collection(), Cid :: binary(), Revision :: pos_integer()}.
-type place() :: {NegEndTs :: integer(), Cid :: binary(), NegRevision :: integer()}.
-type cursor() :: start | place().

%% @doc The tables that this module keeps.
-spec tables() -> [atom()].
tables() -> [?TABLE, ?INDEX].

%% @doc Makes the tables exist with a loaded copy on this node.
-spec ensure(era_callstore_log:storage()) -> ok | {error, term()}.
ensure(Storage) ->
    case era_callstore_log:ensure_table(?TABLE, Storage, ordered_set, [key, when_where, json]) of
        ok ->
            case era_callstore_log:ensure_table(?INDEX, Storage, ordered_set, [key, there]) of
                ok -> waited(era_callstore_log:wait([?TABLE, ?INDEX], ?WAIT_MS));
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

waited(ok) -> ok;
waited({timeout, Tables}) -> {error, {not_loaded, Tables}};
waited({error, _} = Error) -> Error.

%% @doc Keeps items. Dirty, because an item put twice is one; the last write is awaited on every copy, and writes of one
%% process reach a copy in order, so all are there when it returns.
-spec put([item()]) -> ok | {error, {different_content, Cid :: binary(), pos_integer()} | {log, term()}}.
put([]) ->
    ok;
put(Items) ->
    case [{Cid, R} || #{cid := Cid, revision := R} = Item <- Items, contradicts(Item)] of
        [{Cid, Revision} | _] ->
            {error, {different_content, Cid, Revision}};
        [] ->
            Rows = lists:append([rows(Item) || Item <- Items]),
            try
                ok = mnesia:activity(async_dirty, fun() -> lists:foreach(fun write/1, Rows) end),
                mnesia:activity(sync_dirty, fun() -> write(lists:last(Rows)) end)
            catch
                exit:{aborted, Reason} -> {error, {log, Reason}}
            end
    end.

%% One revision has one content, for ever.
contradicts(#{collection := Collection, cid := Cid, revision := Revision, json := Json}) ->
    case mnesia:dirty_read(?TABLE, {Collection, Cid, Revision}) of
        [] -> false;
        [{_, _, _, Json}] -> false;
        [_] -> true
    end.

rows(#{collection := Collection, cid := Cid, revision := Revision, end_ts := EndTs, domains := Domains, json := Json}) ->
    [{?TABLE, {Collection, Cid, Revision}, {EndTs, Domains}, Json} | [
        {?INDEX, {Collection, Domain, -EndTs, Cid, -Revision}, true}
     || Domain <- Domains
    ]].

write(Row) -> mnesia:write(element(1, Row), Row, write).

%% @doc All revisions of one call, newest first.
-spec of_call(collection(), Cid :: binary()) -> [Json :: binary()].
of_call(Collection, Cid) -> older(Collection, Cid, mnesia:dirty_prev(?TABLE, {Collection, Cid, infinity})).

older(Collection, Cid, {Collection, Cid, _} = Key) ->
    Json = [J || {_, _, _, J} <- mnesia:dirty_read(?TABLE, Key)],
    Json ++ older(Collection, Cid, mnesia:dirty_prev(?TABLE, Key));
older(_Collection, _Cid, _Other) ->
    [].

%% @doc At most Limit items after the cursor, newest first, of the domains that Wanted accepts, ended at SinceMs or later.
-spec page(collection(), Wanted :: {domain | subtree, binary()} | all, SinceMs :: integer() | undefined, {
    Limit :: pos_integer(), cursor()
}) -> {[{place(), Json :: binary()}], done | more}.
page(Collection, Wanted, SinceMs, {Limit, Cursor}) ->
    Oldest = case SinceMs of undefined -> infinity; _ -> -SinceMs end,
    Heads = [H || Domain <- domains(Collection, Wanted), H <- [head(Collection, Domain, Cursor)], H =/= none],
    take(gb_sets:from_list(Heads), Collection, Oldest, Limit, none, []).

%% A k-way merge of the domains' indexes; a call of two domains comes twice in a row and is taken once.
take(Heads, Collection, Oldest, Limit, Last, Taken) ->
    case gb_sets:is_empty(Heads) of
        true ->
            {lists:reverse(Taken), done};
        false ->
            {{Place, Domain}, Rest} = gb_sets:take_smallest(Heads),
            case {Place, Limit} of
                {{NegEndTs, _, _}, _} when NegEndTs > Oldest -> {lists:reverse(Taken), done};
                {Last, _} -> take(advance(Collection, Domain, Place, Rest), Collection, Oldest, Limit, Last, Taken);
                {_, 0} -> {lists:reverse(Taken), more};
                _ ->
                    Further = advance(Collection, Domain, Place, Rest),
                    case read(Collection, Place) of
                        {ok, Json} -> take(Further, Collection, Oldest, Limit - 1, Place, [{Place, Json} | Taken]);
                        gone -> take(Further, Collection, Oldest, Limit, Place, Taken)
                    end
            end
    end.

advance(Collection, Domain, Place, Heads) ->
    case head(Collection, Domain, Place) of
        none -> Heads;
        Head -> gb_sets:add(Head, Heads)
    end.

head(Collection, Domain, start) ->
    head_at(Collection, Domain, mnesia:dirty_next(?INDEX, before_domain(Collection, Domain)));
head(Collection, Domain, {NegEndTs, Cid, NegRevision}) ->
    head_at(Collection, Domain, mnesia:dirty_next(?INDEX, {Collection, Domain, NegEndTs, Cid, NegRevision})).

head_at(Collection, Domain, {Collection, Domain, NegEndTs, Cid, NegRevision}) -> {{NegEndTs, Cid, NegRevision}, Domain};
head_at(_Collection, _Domain, _Other) -> none.

read(Collection, {_, Cid, NegRevision}) ->
    case mnesia:dirty_read(?TABLE, {Collection, Cid, -NegRevision}) of
        [{_, _, _, Json}] -> {ok, Json};
        [] -> gone
    end.

%% The domains that have items, found by skipping over each: the index is never walked.
domains(_Collection, {domain, Domain}) -> [Domain];
domains(Collection, all) -> present(Collection);
domains(Collection, {subtree, Top}) -> [D || D <- present(Collection), in_subtree(D, Top)].

in_subtree(Top, Top) -> true;
in_subtree(Domain, Top) ->
    Above = byte_size(Domain) - byte_size(Top) - 1,
    Above > 0 andalso binary:part(Domain, Above, byte_size(Top) + 1) =:= <<$., Top/binary>>.

present(Collection) -> present(Collection, before_domain(Collection, <<>>)).

present(Collection, Key) ->
    case mnesia:dirty_next(?INDEX, Key) of
        {Collection, Domain, _, _, _} -> [Domain | present(Collection, after_domain(Collection, Domain))];
        _ -> []
    end.

%% @doc Deletes at most Max items of this collection that ended before LimitMs, the oldest of each domain first.
-spec trim(collection(), LimitMs :: integer(), Max :: non_neg_integer()) -> Deleted :: non_neg_integer().
trim(Collection, LimitMs, Max) ->
    trim_domains(present(Collection), Collection, LimitMs, Max, 0).

trim_domains([], _Collection, _LimitMs, _Left, Deleted) ->
    Deleted;
trim_domains([Domain | Domains], Collection, LimitMs, Left, Deleted) ->
    Of = trim_domain(Collection, Domain, LimitMs, Left, 0),
    trim_domains(Domains, Collection, LimitMs, Left - Of, Deleted + Of).

trim_domain(_Collection, _Domain, _LimitMs, 0, Deleted) ->
    Deleted;
trim_domain(Collection, Domain, LimitMs, Left, Deleted) ->
    case mnesia:dirty_prev(?INDEX, after_domain(Collection, Domain)) of
        {Collection, Domain, NegEndTs, Cid, NegRevision} = Key when -NegEndTs < LimitMs ->
            mnesia:activity(async_dirty, fun() ->
                ok = mnesia:delete(?INDEX, Key, write),
                ok = mnesia:delete(?TABLE, {Collection, Cid, -NegRevision}, write)
            end),
            trim_domain(Collection, Domain, LimitMs, Left - 1, Deleted + 1);
        _ ->
            Deleted
    end.

%% @doc The keys of all items kept on this node; none where no sink keeps any.
-spec keys() -> [key()].
keys() ->
    try
        mnesia:dirty_all_keys(?TABLE)
    catch
        exit:{aborted, {no_exists, _}} -> []
    end.

%% @doc The items of these keys.
-spec items([key()]) -> [item()].
items(Keys) ->
    [
        #{collection => Of, cid => Cid, revision => Revision, end_ts => EndTs, domains => Domains, json => Json}
     || Key <- Keys, {_, {Of, Cid, Revision}, {EndTs, Domains}, Json} <- mnesia:dirty_read(?TABLE, Key)
    ].

%% @doc Which of these keys are not here.
-spec lacking([key()]) -> [key()].
lacking(Keys) -> [Key || Key <- Keys, mnesia:dirty_read(?TABLE, Key) =:= []].

%% @doc Keeps items of a copy that was apart; what is here already stays as it is.
-spec adopt([item()]) -> ok | {error, {log, term()}}.
adopt(Items) ->
    case put([Item || #{collection := Of, cid := Cid, revision := R} = Item <- Items, lacking([{Of, Cid, R}]) =/= []]) of
        ok -> ok;
        {error, {log, _}} = Error -> Error
    end.

%% @doc Items kept on this node, of all collections.
-spec size() -> non_neg_integer().
size() ->
    try
        mnesia:table_info(?TABLE, size)
    catch
        exit:{aborted, _} -> 0
    end.

before_domain(Collection, Domain) -> {Collection, Domain, ?BEFORE_ALL, <<>>, 0}.

after_domain(Collection, Domain) -> {Collection, Domain, ?AFTER_ALL, <<>>, 0}.
