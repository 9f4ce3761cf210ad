%%% The index of the embedded collections on this node, in RAM: items by call, and by domain and time.
%%%
%%%   items   {{Collection, Cid}, Revision, EndTs, [Domain], Json, Row}      a bag: found by hash, few of one call
%%%   order   {{Collection, Domain, -EndTs, Cid, -Revision}}                 newest first
%%%   rows    {Row}                                                          those that are in it
%%% Made from the table of Mnesia when that is loaded, then by its events. The Json of an item is the binary that the row
%%% has, not a copy.
%%%
%%% Always holds: a page costs its length times the number of domains asked for, whatever the size of the collection. Until
%%% all rows are in it there is no index: whoever reads is told so (exit {aborted, {no_exists, Table}}, as by Mnesia).
%%% Called by: era_callstore_collection; Mnesia's table events come in.
%%% Must never: write to Mnesia.
-module(era_callstore_collection_index).
-behaviour(gen_server).

-export([start_link/0, follow/1, sync/0]).
-export([item/1, keys/0, size/0, of_call/2, page/4]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([key/0, place/0, packed/0, wanted/0]).

-include_lib("kernel/include/logger.hrl").

-define(ITEMS, era_callstore_collection_items).
-define(ORDER, era_callstore_collection_order).
-define(ROWS, era_callstore_collection_rows).
-define(PAGE_ROWS, 16).
%% Before and after every end time in a key of the order (numbers < binaries).
-define(BEFORE_ALL, -(1 bsl 62)).
-define(AFTER_ALL, <<>>).

-type collection() :: era_callstore_collection:collection().
-type key() :: {collection(), Cid :: binary(), Revision :: pos_integer()}.
%% An item as it is in a row.
-type packed() ::
    {collection(), Cid :: binary(), Revision :: pos_integer(), EndTs :: integer(), [Domain :: binary()], Json :: binary()}.
-type place() :: {NegEndTs :: integer(), Cid :: binary(), NegRevision :: integer()}.
-type wanted() :: {domain | subtree, binary()} | all.

-record(state, {
    table = none :: atom(),
    %% to the run of Mnesia whose table is in the index
    mnesia = none :: reference() | none
}).

-spec start_link() -> gen_server:start_ret().
start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], [{spawn_opt, [{message_queue_data, off_heap}]}]).

%% @doc Table is loaded here: when this returns, all of its rows are in the index, and later ones follow.
-spec follow(atom()) -> ok | {error, term()}.
follow(Table) -> gen_server:call(?MODULE, {follow, Table}, infinity).

%% @doc What Mnesia has written here so far is in the index.
-spec sync() -> ok.
sync() -> gen_server:call(?MODULE, sync, infinity).

%% --- reading

%% @doc One item, by its key.
-spec item(key()) -> packed() | none.
item({Collection, Cid, Revision}) ->
    try entry(?ITEMS, Collection, Cid, Revision) of
        [{_, _, EndTs, Domains, Json, _Row} | _] -> {Collection, Cid, Revision, EndTs, Domains, Json};
        [] -> none
    catch
        error:badarg:Stack -> no_index(Stack)
    end.

entry(Items, Collection, Cid, Revision) ->
    [Entry || Entry <- ets:lookup(Items, {Collection, Cid}), element(2, Entry) =:= Revision].

%% @doc The keys of all items.
-spec keys() -> [key()].
keys() ->
    try
        ets:select(?ITEMS, [{{{'$1', '$2'}, '$3', '_', '_', '_', '_'}, [], [{{'$1', '$2', '$3'}}]}])
    catch
        error:badarg:Stack -> no_index(Stack)
    end.

%% @doc Items in the index; 0 while there is none.
-spec size() -> non_neg_integer().
size() ->
    case ets:info(?ITEMS, size) of
        undefined -> 0;
        Size -> Size
    end.

%% @doc All revisions of one call, newest first.
-spec of_call(collection(), Cid :: binary()) -> [Json :: binary()].
of_call(Collection, Cid) ->
    try
        Revisions = [{-Revision, Json} || {_, Revision, _, _, Json, _} <- ets:lookup(?ITEMS, {Collection, Cid})],
        [Json || {_, Json} <- lists:keysort(1, Revisions)]
    catch
        error:badarg:Stack -> no_index(Stack)
    end.

%% @doc At most Limit items after the cursor, newest first, of the domains that Wanted accepts, ended at SinceMs or later.
-spec page(collection(), wanted(), SinceMs :: integer() | undefined, {Limit :: pos_integer(), start | place()}) ->
    {[{place(), Json :: binary()}], done | more}.
page(Collection, Wanted, SinceMs, {Limit, Cursor}) ->
    Oldest = case SinceMs of undefined -> infinity; _ -> -SinceMs end,
    try
        Heads = [H || Domain <- domains(Collection, Wanted), H <- [head(Collection, Domain, Cursor)], H =/= none],
        take(gb_sets:from_list(Heads), Collection, Oldest, Limit, none, [])
    catch
        error:badarg:Stack -> no_index(Stack)
    end.

%% A k-way merge of the domains' orders; a call of two domains comes twice in a row and is taken once.
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
                    case at(Collection, Place) of
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
    head_at(Collection, Domain, ets:next(?ORDER, before_domain(Collection, Domain)));
head(Collection, Domain, {NegEndTs, Cid, NegRevision}) ->
    head_at(Collection, Domain, ets:next(?ORDER, {Collection, Domain, NegEndTs, Cid, NegRevision})).

head_at(Collection, Domain, {Collection, Domain, NegEndTs, Cid, NegRevision}) -> {{NegEndTs, Cid, NegRevision}, Domain};
head_at(_Collection, _Domain, _Other) -> none.

at(Collection, {_, Cid, NegRevision}) ->
    case entry(?ITEMS, Collection, Cid, -NegRevision) of
        [{_, _, _, _, Json, _} | _] -> {ok, Json};
        [] -> gone
    end.

%% The domains that have items, found by skipping over each: the order is never walked.
domains(_Collection, {domain, Domain}) -> [Domain];
domains(Collection, all) -> present(Collection, before_domain(Collection, <<>>));
domains(Collection, {subtree, Top}) -> [D || D <- domains(Collection, all), in_subtree(D, Top)].

in_subtree(Top, Top) -> true;
in_subtree(Domain, Top) ->
    Above = byte_size(Domain) - byte_size(Top) - 1,
    Above > 0 andalso binary:part(Domain, Above, byte_size(Top) + 1) =:= <<$., Top/binary>>.

present(Collection, Key) ->
    case ets:next(?ORDER, Key) of
        {Collection, Domain, _, _, _} -> [Domain | present(Collection, after_domain(Collection, Domain))];
        _ -> []
    end.

before_domain(Collection, Domain) -> {Collection, Domain, ?BEFORE_ALL, <<>>, 0}.

after_domain(Collection, Domain) -> {Collection, Domain, ?AFTER_ALL, <<>>, 0}.

%% The tables come and go with the copy.
-spec no_index(list()) -> no_return().
no_index(Stack) ->
    case ets:whereis(?ITEMS) of
        undefined -> exit({aborted, {no_exists, ?ITEMS}});
        _ -> erlang:raise(error, badarg, Stack)
    end.

%% --- the process

-spec init([]) -> {ok, #state{}}.
init([]) -> {ok, #state{}}.

-spec handle_call({follow, atom()} | sync, gen_server:from(), #state{}) -> {reply, ok | {error, term()}, #state{}}.
handle_call(sync, _From, State) ->
    {reply, ok, State};
handle_call({follow, Table}, _From, #state{mnesia = Mnesia} = State) ->
    case mnesia:subscribe({table, Table, detailed}) of
        {ok, _} ->
            made(Table, State);
        {error, {already_exists, _}} ->
            %% Nothing has been missed, unless the copy went and came again meanwhile.
            case Mnesia =/= none andalso ets:info(?ROWS, size) =:= mnesia:table_info(Table, size) of
                true -> {reply, ok, State};
                false -> made(Table, State)
            end;
        {error, _} = Error ->
            {reply, Error, State}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({mnesia_table_event, {write, Table, {Table, Row, Items}, _Old, _}}, #state{table = Table} = State) ->
    ok = add(Row, Items, {?ITEMS, ?ORDER, ?ROWS}),
    {noreply, State};
handle_info({mnesia_table_event, {delete, Table, _What, Old, _}}, #state{table = Table} = State) ->
    lists:foreach(fun({_, Row, Items}) -> remove(Row, Items) end, Old),
    {noreply, State};
handle_info({'DOWN', Mnesia, process, _, _}, #state{mnesia = Mnesia} = State) ->
    ok = emptied(State),
    {noreply, #state{}};
handle_info(_Other, State) ->
    {noreply, State}.

%% Under other names until it is complete.
made(Table, State) ->
    ok = emptied(State),
    Mnesia = erlang:monitor(process, mnesia_sup),
    Began = erlang:monotonic_time(millisecond),
    Read = [named_table, protected, {read_concurrency, true}],
    Items = ets:new(era_callstore_collection_items_made, [bag | Read]),
    Order = ets:new(era_callstore_collection_order_made, [ordered_set | Read]),
    Rows = ets:new(?ROWS, [named_table, set, protected]),
    try
        ok = mnesia:activity(async_dirty, fun() ->
            add_pages(mnesia:select(Table, [{'_', [], ['$_']}], ?PAGE_ROWS, read), {Items, Order, Rows})
        end)
    of
        ok ->
            ?ORDER = ets:rename(Order, ?ORDER),
            ?ITEMS = ets:rename(Items, ?ITEMS),
            ?LOG_INFO(#{
                what => "the collections are indexed",
                items => size(), took_ms => erlang:monotonic_time(millisecond) - Began
            }),
            {reply, ok, #state{table = Table, mnesia = Mnesia}}
    catch
        %% Mnesia has stopped, or the copy has gone.
        exit:{aborted, Reason} ->
            true = erlang:demonitor(Mnesia, [flush]),
            lists:foreach(fun ets:delete/1, [Items, Order, Rows]),
            {reply, {error, Reason}, #state{}}
    end.

emptied(#state{mnesia = none}) ->
    ok;
emptied(#state{mnesia = Mnesia}) ->
    true = erlang:demonitor(Mnesia, [flush]),
    lists:foreach(fun ets:delete/1, [?ITEMS, ?ORDER, ?ROWS]).

add_pages('$end_of_table', _Tables) ->
    ok;
add_pages({Rows, Next}, Tables) ->
    lists:foreach(fun({_, Row, Items}) -> ok = add(Row, Items, Tables) end, Rows),
    add_pages(mnesia:select(Next), Tables).

add(Row, Items, {ToItems, ToOrder, ToRows}) ->
    %% The row that came last has an item that is in several.
    Before = [Entry || {Of, Cid, Revision, _, _, _} <- Items, Entry <- entry(ToItems, Of, Cid, Revision), element(6, Entry) =/= Row],
    true = ets:insert(ToItems, [
        {{Of, Cid}, Revision, EndTs, Domains, Json, Row}
     || {Of, Cid, Revision, EndTs, Domains, Json} <- Items
    ]),
    lists:foreach(fun(Entry) -> true = ets:delete_object(ToItems, Entry) end, Before),
    true = ets:insert(ToOrder, lists:flatmap(fun places/1, Items)),
    true = ets:insert(ToRows, {Row}),
    ok.

%% An item that is in another row as well stays with that one.
remove(Row, Items) ->
    lists:foreach(
        fun({Of, Cid, Revision, _, _, _} = Item) ->
            case entry(?ITEMS, Of, Cid, Revision) of
                [{_, _, _, _, _, Row} = Entry] ->
                    true = ets:delete_object(?ITEMS, Entry),
                    lists:foreach(fun({Place}) -> true = ets:delete(?ORDER, Place) end, places(Item));
                _ ->
                    ok
            end
        end,
        Items
    ),
    true = ets:delete(?ROWS, Row),
    ok.

places({Of, Cid, Revision, EndTs, Domains, _Json}) -> [{{Of, Domain, -EndTs, Cid, -Revision}} || Domain <- Domains].
