%%% The stream of a group's events out, as one copy of the group has it: what was said lately, by position.
%%%
%%%   writer (active), view (passive) ──row, marks──► [ring of rows] ◄──pull── readers: subscriptions, handlers
%%% Positions count what was said from the first term on, one after the other. The writer knows them and puts into each
%%% row of the log where it begins; every copy that folds a row knows so where it stands, and goes on with the right
%%% number when it becomes active. A copy that has followed no row since it was loaded begins at the clock's
%%% microseconds, above everything said before.
%%% Always holds: here is only what was committed and folded. The rows of the ring follow each other without a gap;
%%% where one would be (rows were loaded, a store was folded anew, two copies differ by what they forgot first) the ring
%%% begins anew, and whoever read before it is told `lost'. A reader that is lost has to look at the live calls.
%%% Memory is bounded by the setting `feed_bytes'; a chunk is shared with the log. While nobody listens, the writer
%%% hands its rows over by the dozen, so that a commit wakes nobody for it.
%%% Called by: view (row/5, …), writer (begin_term/3, told/4, …), whoever has something to say of a group (say/3), and
%%% era_callstore_reader on any node (pull/3, where/3).
%%% Must never: look into a chunk, send anything that was not asked for, or hold the writer.
-module(era_callstore_feed).
-behaviour(gen_server).

-export([start_link/1, loaded/2, row/5, gap/1, sync/1]).
-export([begin_term/3, position/1, told/4, beside/2, flush/1, say/3, resync/1]).
-export([pull/3, where/3, handled/3, handled/2, event/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([options/0, place/0, cursor/0, row/0, answer/0, key/0]).

%% So much is given to a reader at once, one row at least.
-define(PULL_BYTES, 262144).
-define(PULL_EVENTS, 1000).
%% What a row takes beside its bytes.
-define(ROW_BYTES, 256).
-define(CALL_MS, 5000).
%% Rows, and bytes of them, that the writer keeps while nobody listens; so long after the last question somebody still
%% does.
-define(TOGETHER_ROWS, 32).
-define(TOGETHER_BYTES, 262144).
-define(LISTENING_MS, 60000).
%% A writer that was asked for what it keeps and has ended instead is waited for no longer than this.
-define(FLUSH_MS, 1000).

-type position() :: era_callstore_log:position().
%% Where the writer of a term stands, and what it has not handed over yet, newest first.
-record(place, {
    group :: pos_integer(),
    epoch :: pos_integer(),
    position :: position(),
    listening :: atomics:atomics_ref(),
    kept = [] :: [tuple()],
    rows = 0 :: non_neg_integer(),
    bytes = 0 :: non_neg_integer()
}).
-opaque place() :: #place{}.
%% What was said by a row of the log, or beside the log.
-type key() :: era_callstore_log:key() | {said, Epoch :: pos_integer(), node(), position()} | none.
%% Where a reader stands: everything up to Seq was read, the last of it said by Key. A number alone is taken on trust.
-type cursor() :: {Seq :: position(), key() | any}.
-type row() ::
    {Before :: position(), {row, Marks :: binary(), [era_callstore_nif:chunk()]} | {event, map()}}.
-type answer() :: {rows, [row()], cursor()} | lost.
-type options() :: #{group := pos_integer(), feed_bytes := pos_integer(), peers := [node()]}.

-record(kept, {after_key :: key(), key :: key(), count :: pos_integer(), bytes :: non_neg_integer(), what :: tuple()}).

-record(state, {
    group :: pos_integer(),
    max_bytes :: pos_integer(),
    peers :: [node()],
    position = 0 :: position(),
    last = none :: key(),
    %% whether `position' is exact: a row was followed, or a term begun
    exact = false :: boolean(),
    %% rows by the position before them, the oldest from First on
    first = 0 :: position(),
    rows = #{} :: #{position() => #kept{}},
    bytes = 0 :: non_neg_integer(),
    waiting = [] :: [reference()],
    %% 1 while somebody listens, for the writer to see; whether somebody has asked since it was looked at; and questions
    %% that wait for what the writer keeps
    listening :: atomics:atomics_ref(),
    asked = false :: boolean(),
    unflushed = [] :: [{pull, reference(), cursor()} | {where, gen_server:from(), now | look}],
    handled = #{} :: #{binary() => cursor()}
}).

-spec start_link(options()) -> gen_server:start_ret().
start_link(#{group := Group} = Options) ->
    gen_server:start_link({local, name(Group)}, ?MODULE, Options, [{spawn_opt, [{message_queue_data, off_heap}]}]).

%% @doc The copy was folded from the log, whose newest row begins at Position.
-spec loaded(Group :: pos_integer(), position()) -> ok.
loaded(Group, Position) -> gen_server:cast(name(Group), {loaded, Position}).

%% @doc A row was committed and folded; it says Count things from Position on.
-spec row(Group :: pos_integer(), era_callstore_log:key(), position(), era_callstore_nif:said(), [Chunk]) -> ok when
    Chunk :: era_callstore_nif:chunk().
row(_Group, _Key, _Position, {0, _Marks}, _Chunks) -> ok;
row(Group, Key, Position, Said, Chunks) -> gen_server:cast(name(Group), {rows, [{row, Key, Position, Said, Chunks}]}).

%% @doc What is known here has changed otherwise than by rows in order; the stream goes on where the next row says.
-spec gap(Group :: pos_integer()) -> ok.
gap(Group) -> gen_server:cast(name(Group), {gap, unknown}).

%% @doc Returns when everything that the caller has told before is in the ring.
-spec sync(Group :: pos_integer()) -> ok.
sync(Group) -> gen_server:call(name(Group), sync, infinity).

%% --- what the writer says, and whoever asks it to say something

%% @doc A term of activity begins here; From: the one before it. Returns where its first row says something.
-spec begin_term(Group :: pos_integer(), Epoch :: pos_integer(), From :: {pos_integer(), node()} | none) -> place().
begin_term(Group, Epoch, From) ->
    {Position, Listening} = gen_server:call(name(Group), {begin_term, Epoch, From}, infinity),
    #place{group = Group, epoch = Epoch, position = Position, listening = Listening}.

%% @doc Where in the stream the next row begins.
-spec position(place()) -> position().
position(#place{position = Position}) -> Position.

%% @doc A row was committed and folded; `unknown' when the store had to be folded anew, and what the row says is not
%% known.
-spec told(era_callstore_log:key(), era_callstore_nif:said() | unknown, [era_callstore_nif:chunk()], place()) ->
    place().
told(_Key, {0, _}, _Chunks, Place) ->
    Place;
told(Key, {Count, _} = Said, Chunks, #place{position = Position, listening = Listening} = Place) ->
    #place{kept = Kept, rows = Rows, bytes = Bytes} = Place,
    Told = Place#place{
        position = Position + Count, kept = [{row, Key, Position, Said, Chunks} | Kept], rows = Rows + 1,
        bytes = Bytes + iolist_size(Chunks)
    },
    case atomics:get(Listening, 1) of
        0 when Told#place.rows < ?TOGETHER_ROWS, Told#place.bytes < ?TOGETHER_BYTES -> Told;
        _ -> flush(Told)
    end;
told(_Key, unknown, _Chunks, Place) ->
    beside(resync, Place).

%% @doc Hands over what is kept, before the term ends.
-spec flush(place()) -> place().
flush(#place{kept = []} = Place) ->
    Place;
flush(#place{group = Group, kept = Kept} = Place) ->
    ok = gen_server:cast(name(Group), {rows, lists:reverse(Kept)}),
    Place#place{kept = [], rows = 0, bytes = 0}.

%% @doc The writer was asked to say something beside the log, or for what it keeps. At a resync a number is passed over:
%% whoever stands before it is lost, on every copy.
-spec beside({say, map()} | resync | flush, place()) -> place().
beside(Asked, Place) ->
    #place{group = Group, epoch = Epoch, position = Position} = Flushed = flush(Place),
    {Told, Next} =
        case Asked of
            {say, Event} -> {{say, {said, Epoch, node(), Position}, Position, Event}, Position + 1};
            resync -> {{gap, Position + 1}, Position + 1};
            flush -> {flushed, Position}
        end,
    ok = gen_server:cast(name(Group), Told),
    Flushed#place{position = Next}.

%% @doc Says something of the group to those who listen, such as <<"heal">>; on the node where the group is active.
-spec say(Group :: pos_integer(), Type :: binary(), map()) -> ok | {error, no_active}.
say(Group, Type, Said) -> ask_writer(Group, {say, event(Group, Type, Said)}).

%% @doc What is known has changed otherwise than by rows in order: who listens is to look at the live calls anew.
-spec resync(Group :: pos_integer()) -> ok | {error, no_active}.
resync(Group) -> ask_writer(Group, resync).

ask_writer(Group, Asked) ->
    case era_callstore_router:writer(Group) of
        {Pid, _, _} -> Pid ! {?MODULE, Asked}, ok;
        none -> {error, no_active}
    end.

%% --- what readers ask

%% @doc Asks for what was said after a cursor; one {era_callstore_feed, Ref, answer()} follows when there is something,
%% or {'DOWN', Ref, …}.
-spec pull(Group :: pos_integer(), node(), cursor()) -> Ref :: reference().
pull(Group, Node, Cursor) ->
    Ref = erlang:monitor(process, {name(Group), Node}, [{alias, reply_demonitor}]),
    gen_server:cast({name(Group), Node}, {pull, Ref, Cursor}),
    Ref.

%% @doc Where to read on there: from now on, or for one who has looked at the live calls after this. The latter begins
%% where a ring that has just begun does, so that the take-over by which it began is not missed.
-spec where(Group :: pos_integer(), node(), now | look) -> {ok, cursor()} | {error, away}.
where(Group, Node, For) ->
    try
        {ok, gen_server:call({name(Group), Node}, {where, For}, ?CALL_MS)}
    catch
        exit:_ -> {error, away}
    end.

%% @doc A handler has done everything up to the cursor. The other copies are told now and then: the next active goes on
%% there.
-spec handled(Group :: pos_integer(), Handler :: binary(), {cursor(), ToPeers :: boolean()}) -> ok.
handled(Group, Handler, Done) -> gen_server:cast(name(Group), {handled, Handler, Done}).

%% @doc Up to where a handler has come, as far as this copy knows.
-spec handled(Group :: pos_integer(), Handler :: binary()) -> cursor() | none.
handled(Group, Handler) -> gen_server:call(name(Group), {handled, Handler}, infinity).

%% @doc An event of class `callstore' that stands in no row, in the envelope.
-spec event(Group :: pos_integer(), Type :: binary(), map()) -> map().
event(Group, Type, Said) ->
    #{
        <<"class">> => <<"callstore">>,
        <<"type">> => Type,
        <<"eventts">> => era_callstore_clock:now_ms(),
        <<"data">> => Said#{<<"group">> => Group}
    }.

%% --- the process

-spec init(options()) -> {ok, #state{}}.
init(#{group := Group, feed_bytes := MaxBytes, peers := Peers}) ->
    _ = erlang:send_after(?LISTENING_MS, self(), who_listens),
    {ok, #state{group = Group, max_bytes = MaxBytes, peers = Peers, listening = atomics:new(1, [])}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({begin_term, Epoch, From}, _From, #state{group = Group} = State) ->
    #state{position = Position} = Begun = begun(State),
    Event = event(Group, <<"takeover">>, #{
        <<"node">> => atom_to_binary(node()), <<"epoch">> => Epoch, <<"from">> => from(From)
    }),
    Said = say({said, Epoch, node(), Position}, Position, Event, Begun),
    {reply, {Said#state.position, Said#state.listening}, answered(Said)};
handle_call({where, For}, From, State) ->
    {noreply, asked({where, From, For}, State)};
handle_call({handled, Handler}, _From, #state{handled = Handled} = State) ->
    {reply, maps:get(Handler, Handled, none), State};
handle_call(sync, _From, State) ->
    {reply, ok, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({rows, Rows}, State) ->
    {noreply, lists:foldl(fun row/2, State, Rows)};
handle_cast(flushed, State) ->
    {noreply, answered(State)};
handle_cast({pull, _Ref, _Cursor} = Question, State) ->
    {noreply, asked(Question, State)};
handle_cast({say, Key, Position, Event}, State) ->
    {noreply, say(Key, Position, Event, State)};
handle_cast({heard, Key, Position, Event}, #state{position = Position} = State) ->
    {noreply, append(Key, Position, 1, erlang:external_size(Event), {event, Event}, State)};
handle_cast({heard, _Key, _Position, _Event}, State) ->
    %% A row that came before it over another way has said that there is a gap.
    {noreply, State};
handle_cast({handled, Handler, {Cursor, ToPeers}}, #state{group = Group, peers = Peers, handled = Handled} = State) ->
    _ = ToPeers andalso gen_server:abcast(Peers, name(Group), {handled, Handler, {Cursor, false}}),
    {noreply, State#state{handled = Handled#{Handler => Cursor}}};
handle_cast({loaded, Position}, #state{position = Before} = State) ->
    {noreply, answered((restarted(max(Position, Before), State))#state{exact = false})};
handle_cast({gap, unknown}, #state{position = Position} = State) ->
    {noreply, (restarted(Position, State))#state{exact = false}};
handle_cast({gap, Position}, State) ->
    {noreply, restarted(Position, State)}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(who_listens, #state{asked = Asked, waiting = Waiting, listening = Listening} = State) ->
    _ = erlang:send_after(?LISTENING_MS, self(), who_listens),
    _ = Asked orelse Waiting =/= [] orelse atomics:put(Listening, 1, 0),
    {noreply, State#state{asked = false}};
handle_info(not_flushed, State) ->
    {noreply, answered(State)};
handle_info(_Other, State) ->
    {noreply, State}.

begun(#state{exact = true} = State) -> State;
begun(#state{position = Position} = State) -> restarted(max(Position, erlang:system_time(microsecond)), State).

from(none) -> null;
from({Epoch, Node}) -> #{<<"epoch">> => Epoch, <<"node">> => atom_to_binary(Node)}.

say(Key, Position, Event, #state{group = Group, peers = Peers} = State) ->
    _ = gen_server:abcast(Peers, name(Group), {heard, Key, Position, Event}),
    append(Key, Position, 1, erlang:external_size(Event), {event, Event}, State).

%% --- the ring

row({row, Key, Position, {Count, Marks}, Chunks}, State) ->
    Bytes = byte_size(Marks) + iolist_size(Chunks),
    append(Key, Position, Count, Bytes, {row, Marks, Chunks}, State).

append(Key, Position, Count, Bytes, What, #state{position = Position} = State) ->
    #state{last = Last, rows = Rows, bytes = Total, waiting = Waiting} = State,
    Kept = #kept{after_key = Last, key = Key, count = Count, bytes = Bytes + ?ROW_BYTES, what = What},
    Next = Position + Count,
    lists:foreach(fun(Ref) -> answer(Ref, {rows, [{Position, What}], {Next, Key}}) end, Waiting),
    trimmed(State#state{
        position = Next, last = Key, exact = true, rows = Rows#{Position => Kept},
        bytes = Total + Kept#kept.bytes, waiting = []
    });
append(Key, Position, Count, Bytes, What, State) ->
    append(Key, Position, Count, Bytes, What, restarted(Position, State)).

%% What comes is not what follows.
restarted(Position, #state{waiting = Waiting} = State) ->
    lists:foreach(fun(Ref) -> answer(Ref, lost) end, Waiting),
    State#state{
        position = Position, last = none, exact = true, first = Position, rows = #{}, bytes = 0, waiting = []
    }.

trimmed(#state{bytes = Bytes, max_bytes = Max, first = First, rows = Rows} = State) when
    Bytes > Max, map_size(Rows) > 1
->
    {#kept{count = Count, bytes = Freed}, Left} = maps:take(First, Rows),
    trimmed(State#state{first = First + Count, rows = Left, bytes = Bytes - Freed});
trimmed(State) ->
    State.

%% --- readers

%% The first who asks after a silence gets its answer when the writer, if it is here, has handed over what it keeps.
asked(Question, #state{listening = Listening, unflushed = Unflushed, group = Group} = State) ->
    Asked = State#state{asked = true},
    case {atomics:exchange(Listening, 1, 1), Unflushed} of
        {0, []} ->
            case ask_writer(Group, flush) of
                ok ->
                    _ = erlang:send_after(?FLUSH_MS, self(), not_flushed),
                    Asked#state{unflushed = [Question]};
                {error, no_active} ->
                    question(Question, Asked)
            end;
        {1, []} ->
            question(Question, Asked);
        {_, [_ | _]} ->
            Asked#state{unflushed = [Question | Unflushed]}
    end.

answered(#state{unflushed = Unflushed} = State) ->
    lists:foldr(fun question/2, State#state{unflushed = []}, Unflushed).

question({pull, Ref, Cursor}, State) ->
    pulled(Ref, Cursor, State);
question({where, From, For}, State) ->
    gen_server:reply(From, place_for(For, State)),
    State.

place_for(look, #state{first = First, rows = Rows, bytes = Bytes} = State) when Bytes < ?PULL_BYTES ->
    case Rows of
        #{First := #kept{after_key = none}} -> {First, none};
        #{} -> ending(State)
    end;
place_for(_For, State) ->
    ending(State).

pulled(Ref, {_Seq, any}, #state{exact = false} = State) ->
    answer(Ref, lost),
    State;
pulled(Ref, {Position, Key}, #state{position = Position, last = Last} = State) when Key =:= any; Key =:= Last ->
    wait(Ref, State);
pulled(Ref, {Seq, Key}, #state{rows = Rows} = State) ->
    case Rows of
        #{Seq := #kept{after_key = After}} when Key =:= any; Key =:= After -> give(Ref, Seq, State);
        #{} when Key =:= any -> give_within(Ref, Seq, State);
        #{} -> answer(Ref, lost), State
    end.

ending(#state{position = Position, last = Last}) -> {Position, Last}.

wait(Ref, #state{waiting = Waiting} = State) -> State#state{waiting = [Ref | Waiting]}.

%% A number within a row: the whole row is given, and its reader knows what it has read.
give_within(Ref, Seq, #state{rows = Rows} = State) ->
    case [Before || {Before, #kept{count = Count}} <- maps:to_list(Rows), Before < Seq, Seq < Before + Count] of
        [Before] -> give(Ref, Before, State);
        [] -> answer(Ref, lost), State
    end.

give(Ref, Before, #state{rows = Rows} = State) ->
    {Given, Cursor} = gathered(Before, Rows, {?PULL_BYTES, Before + ?PULL_EVENTS}, none),
    answer(Ref, {rows, Given, Cursor}),
    State.

gathered(Before, Rows, {Left, End} = Room, Last) ->
    case Rows of
        #{Before := #kept{count = Count, bytes = Bytes, key = Key, what = What}} when
            Last =:= none; Left > 0 andalso Before + Count =< End
        ->
            {More, Cursor} = gathered(Before + Count, Rows, setelement(1, Room, Left - Bytes), Key),
            {[{Before, What} | More], Cursor};
        #{} ->
            {[], {Before, Last}}
    end.

answer(Ref, Answer) ->
    Ref ! {?MODULE, Ref, Answer},
    ok.

name(Group) -> list_to_atom("era_callstore_feed_" ++ integer_to_list(Group)).
