%%% The view of a group on one node: folds the group's log into the core's store, at start and then row by row.
%%%
%%%   empty ──load──► waiting for tables ──► subscribed ──► folded ──► loaded (published)
%%%
%%% Always holds: subscribed before folded, so no row is missed; a row folded twice does no harm. What is published has
%%% been folded to the end. Rows of the term of activity of this node are folded by its writer and skipped here.
%%% A store that was poisoned is replaced by a new one, folded anew from the log; the chunk that poisons is left out and
%%% named in the log file. The writer of another node is told how far its rows are folded here: it waits for those who are
%%% far behind.
%%% Called by: era_callstore_group_sup (start), era_callstore_group (load/1, own_term/2), era_callstore_term (own_term/2),
%%% era_callstore_writer (fold_said/3, rebuild/2), era_callstore_status (waiting/1). Mnesia's table events come in.
%%% Must never: write to the log, run a timer of calls, or send anything to a sink.
-module(era_callstore_view).
-behaviour(gen_server).

-export([start_link/1, load/1, own_term/2, rebuild/2, fold_row/3, fold_said/3, waiting/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, handle_continue/2]).

-include_lib("kernel/include/logger.hrl").

%% The wait for tables is cut into pieces of this length, so that its progress is told.
-define(WAIT_MS, 10000).
%% Above this size, which takes about a millisecond, a row is folded on a dirty scheduler.
-define(DIRTY_BYTES, 98304).
-define(MAX_REBUILDS, 16).
%% The longest time that a writer is not told of rows folded here, when they are too few to be told of at once.
-define(TELL_MS, 200).

-type options() :: #{
    group := pos_integer(),
    storage := era_callstore_log:storage(),
    %% writers elsewhere are to know when their rows survive the death of this VM
    receipts := boolean(),
    sinks := [era_callstore_config:sink()],
    context := era_callstore_sink:context(),
    settings := era_callstore_nif:settings(),
    %% so many bytes are folded before the writer is told at once
    tell_bytes := pos_integer()
}.

-record(state, {
    group :: pos_integer(),
    table :: atom(),
    options :: options(),
    watcher :: pid() | undefined,
    store :: era_callstore_nif:store() | undefined,
    own_epoch = none :: pos_integer() | none,
    %% chunks that poison a store, by row and place in the row
    bad = #{} :: #{{era_callstore_log:key(), pos_integer()} => true},
    %% the last row that its writer has not been told of, and the bytes of all those
    untold = none :: era_callstore_log:key() | none,
    untold_bytes = 0 :: non_neg_integer(),
    %% a message `tell' is on its way to us
    will_tell = false :: boolean()
}).

-spec start_link(options()) -> gen_server:start_ret().
start_link(#{group := Group} = Options) ->
    gen_server:start_link({local, name(Group)}, ?MODULE, Options, [
        {spawn_opt, [{message_queue_data, off_heap}]}
    ]).

%% @doc Begins to load; the caller gets {era_callstore_view, Group, loaded, Stats} or {…, failed, Reason}.
-spec load(Group :: pos_integer()) -> ok.
load(Group) -> gen_server:cast(name(Group), {load, self()}).

%% @doc Rows of this epoch of this node are folded by the writer; `none' when the term ended in order.
-spec own_term(Group :: pos_integer(), Epoch :: pos_integer() | none) -> ok.
own_term(Group, Epoch) -> gen_server:call(name(Group), {own_term, Epoch}, infinity).

%% @doc Replaces a poisoned store by one folded anew, everything in the log included, and publishes it. Bad: the places
%% in the row Key whose chunks had to be left out.
-spec rebuild(Group :: pos_integer(), era_callstore_log:key()) ->
    {ok, era_callstore_nif:store(), Bad :: [pos_integer()]} | {error, term()}.
rebuild(Group, Key) -> gen_server:call(name(Group), {rebuild, Key}, infinity).

%% @doc Folds one row, and notes what it says to those who listen. IsDue: revisions are to be issued.
-spec fold_said(era_callstore_nif:store(), era_callstore_log:key(), [era_callstore_nif:chunk()]) ->
    {ok, [era_callstore_nif:applied()], era_callstore_nif:said(), IsDue :: boolean()}
    | {error, poisoned | {bad_chunk, atom()}}.
fold_said(Store, Key, Chunks) ->
    fold(Store, Key, Chunks, fun era_callstore_nif:apply_said/4, fun era_callstore_nif:apply_said_dirty/4).

%% @doc Folds one row, on a dirty scheduler when it is large.
-spec fold_row(era_callstore_nif:store(), era_callstore_log:key(), [era_callstore_nif:chunk()]) ->
    {ok, [era_callstore_nif:applied()]} | {error, poisoned | {bad_chunk, atom()}}.
fold_row(Store, Key, Chunks) ->
    fold(Store, Key, Chunks, fun era_callstore_nif:apply/4, fun era_callstore_nif:apply_dirty/4).

fold(Store, Key, Chunks, Small, Large) ->
    RowKey = era_callstore_log:row_key(Key),
    Now = era_callstore_clock:now_ms(),
    try
        case iolist_size(Chunks) > ?DIRTY_BYTES of
            true -> Large(Store, RowKey, Chunks, Now);
            false -> Small(Store, RowKey, Chunks, Now)
        end
    catch
        %% The panic itself; whoever comes after it is told that the store is poisoned.
        error:nif_panicked -> {error, poisoned}
    end.

%% @doc Rows that wait to be folded here.
-spec waiting(Group :: pos_integer()) -> non_neg_integer().
waiting(Group) ->
    case whereis(name(Group)) of
        undefined ->
            0;
        Pid ->
            case erlang:process_info(Pid, message_queue_len) of
                {message_queue_len, Length} -> Length;
                undefined -> 0
            end
    end.

%% --- the process

-spec init(options()) -> {ok, #state{}}.
init(#{group := Group} = Options) ->
    {ok, #state{group = Group, table = era_callstore_log:table(Group), options = Options}}.

-spec handle_call({own_term, pos_integer() | none} | {rebuild, era_callstore_log:key()}, gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {stop, {shutdown, term()}, term(), #state{}}.
handle_call({own_term, Epoch}, _From, #state{group = Group} = State) ->
    ok = era_callstore_feed:sync(Group),
    {reply, ok, State#state{own_epoch = Epoch}};
handle_call({rebuild, Key}, _From, State) ->
    era_callstore_counters:add(stores_poisoned, 1),
    case rebuild_store(State, ?MAX_REBUILDS) of
        {ok, #state{store = Store, bad = Bad} = Rebuilt} ->
            {reply, {ok, Store, [Place || {K, Place} <- maps:keys(Bad), K =:= Key]}, Rebuilt};
        {error, _} = Error ->
            {stop, {shutdown, Error}, Error, State}
    end.

-spec handle_cast({load, pid()}, #state{}) -> {noreply, #state{}, {continue, ensure_tables}}.
handle_cast({load, Watcher}, State) ->
    %% A term of this node that ended out of order is over by now.
    {noreply, State#state{watcher = Watcher, own_epoch = none}, {continue, ensure_tables}}.

-spec handle_continue(ensure_tables | wait | fold, #state{}) ->
    {noreply, #state{}} | {noreply, #state{}, {continue, wait | fold}}.
handle_continue(ensure_tables, #state{group = Group, options = #{storage := Storage, receipts := Receipts}} = State) ->
    _ = [ok = era_callstore_receipt:rest(Group) || Receipts],
    ok = era_callstore_lineage:begin_load(Group),
    case era_callstore_log:ensure_tables(Group, Storage) of
        ok -> {noreply, State, {continue, wait}};
        {error, Reason} -> failed(Reason, State)
    end;
handle_continue(wait, #state{group = Group, options = #{sinks := Sinks, context := Context}} = State) ->
    case era_callstore_log:wait(Group, ?WAIT_MS) of
        ok ->
            ok = era_callstore_sink:prepare(Sinks, Context),
            ok = era_callstore_lineage:learn(Group),
            ok = era_callstore_gap:loaded(Group),
            {noreply, State, {continue, fold}};
        {timeout, Tables} ->
            ?LOG_NOTICE(#{
                what => "waiting for tables to load",
                group => Group, tables => Tables, nodes_down => era_callstore_log:awaited(Tables)
            }),
            {noreply, State, {continue, wait}};
        {error, Reason} ->
            failed(Reason, State)
    end;
handle_continue(fold, #state{group = Group} = State) ->
    Begun = erlang:monotonic_time(millisecond),
    Folded =
        case follow(State) of
            ok -> rebuild_store(State, ?MAX_REBUILDS);
            {error, _} = Error -> Error
        end,
    case Folded of
        {ok, #state{store = Store} = Loaded} ->
            Stats = #{
                rows => era_callstore_log:size(Group),
                live => maps:get(live, era_callstore_nif:info(Store), 0),
                took_ms => erlang:monotonic_time(millisecond) - Begun
            },
            ok = say_when_empty(Stats, Loaded),
            ok = era_callstore_feed:loaded(Group, era_callstore_log:last_position(Group)),
            tell(loaded, Stats, Loaded),
            {noreply, Loaded};
        {error, Reason} ->
            failed(Reason, State)
    end.

%% Receipts first: a row that is folded here in any case may need one.
follow(#state{group = Group, options = #{receipts := Receipts}}) ->
    case Receipts andalso era_callstore_receipt:follow(Group) of
        {error, _} = Error ->
            Error;
        _ ->
            Followed = era_callstore_log:subscribe(Group),
            %% Of these some may have come between.
            lists:foreach(fun(Node) -> era_callstore_gap:row(Group, Node) end, era_callstore_router:active_nodes(Group)),
            Followed
    end.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, {shutdown, term()}, #state{}}.
handle_info(Message, #state{table = Table, own_epoch = Own, store = Store} = State) when Store =/= undefined ->
    case era_callstore_log:event(Message, Table) of
        {row, {Own, Node, _}, _Position, _Chunks} when Node =:= node() ->
            {noreply, State};
        {row, {_, Writer, _} = Key, Position, Chunks} ->
            ok = era_callstore_gap:row(State#state.group, Writer),
            fold_event(Key, Position, Chunks, State);
        {deleted, Key} ->
            ok = era_callstore_nif:drop_rows(Store, more_deleted(Table, [era_callstore_log:row_key(Key)])),
            {noreply, State};
        none when Message =:= tell ->
            {noreply, told(State#state{will_tell = false})};
        none ->
            {noreply, State}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

%% --- what the writer is told

folded(Key, Chunks, #state{untold_bytes = Before, options = #{tell_bytes := Enough}} = State) ->
    Bytes = Before + iolist_size(Chunks),
    Untold = State#state{untold = Key, untold_bytes = Bytes},
    case Untold of
        _ when Bytes >= Enough ->
            told(Untold);
        #state{will_tell = true} ->
            Untold;
        #state{will_tell = false} ->
            _ = erlang:send_after(?TELL_MS, self(), tell),
            Untold#state{will_tell = true}
    end.

told(#state{untold = none} = State) ->
    State;
told(#state{untold = {Epoch, Node, Seq}, group = Group} = State) ->
    Told = {?MODULE, folded, self(), Epoch, Seq},
    lists:foreach(fun(Writer) -> Writer ! Told end, era_callstore_router:active_writers(Group, Node)),
    State#state{untold = none, untold_bytes = 0}.

%% A trim deletes many rows at once; in what order deletes and rows are folded does not matter.
more_deleted(Table, Keys) ->
    receive
        {mnesia_table_event, {delete, _, _}} = Message ->
            {deleted, Key} = era_callstore_log:event(Message, Table),
            more_deleted(Table, [era_callstore_log:row_key(Key) | Keys])
    after 0 -> Keys
    end.

fold_event(Key, Position, Chunks, #state{store = Store, group = Group} = State) ->
    case fold_said(Store, Key, Chunks) of
        {ok, _, Said, _IsDue} ->
            era_callstore_counters:add(rows_folded, 1),
            ok = tell_feed(Key, Position, Said, Chunks, State),
            {noreply, folded(Key, Chunks, State)};
        {error, Reason} ->
            ?LOG_ERROR(#{what => "a row cannot be folded", group => Group, row => Key, reason => Reason}),
            era_callstore_counters:add(stores_poisoned, 1),
            ok = era_callstore_feed:gap(Group),
            case rebuild_store(State, ?MAX_REBUILDS) of
                {ok, Rebuilt} -> {noreply, folded(Key, Chunks, Rebuilt)};
                {error, _} = Error -> {stop, {shutdown, Error}, State}
            end
    end.

%% While this node is active its writer alone says what follows what.
tell_feed(Key, Position, Said, Chunks, #state{group = Group, own_epoch = none}) ->
    era_callstore_feed:row(Group, Key, Position, Said, Chunks);
tell_feed(_Key, _Position, _Said, _Chunks, _State) ->
    ok.

%% --- folding the whole log

%% Each round leaves out one chunk more than the one before, so it ends.
rebuild_store(_State, 0) ->
    {error, too_many_bad_chunks};
rebuild_store(#state{group = Group, options = #{settings := Settings}, bad = Bad} = State, Rounds) ->
    Store = era_callstore_nif:new(Settings),
    try era_callstore_log:fold(Group, fun(Key, Chunks, ok) -> fold_or_throw(Store, Key, Chunks, Bad) end, ok) of
        ok ->
            era_callstore_router:publish_store(Group, Store),
            {ok, State#state{store = Store}}
    catch
        throw:{row_failed, Key, _Chunks, {bad_chunk, version}} ->
            %% Not left out: it is sound, and says what a later release has acknowledged.
            {error, {chunk_version, Key}};
        throw:{row_failed, Key, Chunks, Reason} ->
            Place = find_bad(Settings, Key, Chunks, Bad),
            ?LOG_ERROR(#{
                what => "a chunk of the log is left out: it cannot be folded",
                group => Group, row => Key, place => Place, reason => Reason
            }),
            rebuild_store(State#state{bad = Bad#{{Key, Place} => true}}, Rounds - 1);
        exit:{aborted, Reason} ->
            {error, Reason}
    end.

fold_or_throw(Store, Key, Chunks, Bad) ->
    case fold_row(Store, Key, without(Key, Chunks, Bad)) of
        {ok, _} -> era_callstore_counters:add(rows_folded, 1);
        {error, Reason} -> throw({row_failed, Key, Chunks, Reason})
    end.

without(_Key, Chunks, Bad) when map_size(Bad) =:= 0 -> Chunks;
without(Key, Chunks, Bad) -> [C || {N, C} <- numbered(Chunks), not is_map_key({Key, N}, Bad)].

%% The first chunk of the row that fails alone, in a store of its own; the first one left when none does.
find_bad(Settings, Key, Chunks, Bad) ->
    Left = [{N, C} || {N, C} <- numbered(Chunks), not is_map_key({Key, N}, Bad)],
    Alone = [N || {N, C} <- Left, ok =/= element(1, fold_row(era_callstore_nif:new(Settings), Key, [C]))],
    hd(Alone ++ [N || {N, _} <- Left]).

numbered(Chunks) -> lists:zip(lists:seq(1, length(Chunks)), Chunks).

%% --- small things

%% A log in RAM ends with the last node that has it: the first to come back is to know, and its operator.
say_when_empty(#{rows := 0}, #state{group = Group, options = #{storage := ram_copies}}) ->
    case era_callstore_log:copies(Group) of
        [Node] when Node =:= node() ->
            ?LOG_WARNING(#{what => "the log is kept in RAM and starts empty: no other node has it", group => Group}),
            era_callstore_router:note({group, Group, log}, #{started_empty => true});
        _ ->
            era_callstore_router:note({group, Group, log}, #{})
    end;
say_when_empty(_Stats, #state{group = Group}) ->
    era_callstore_router:note({group, Group, log}, #{}).

failed(Reason, State) ->
    tell(failed, Reason, State),
    {noreply, State}.

tell(What, Details, #state{watcher = Watcher, group = Group}) ->
    Watcher ! {?MODULE, Group, What, Details},
    ok.

name(Group) -> list_to_atom("era_callstore_view_" ++ integer_to_list(Group)).
