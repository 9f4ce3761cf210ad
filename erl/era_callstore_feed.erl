%%% The stream of a group's events out, as one copy of the group has it: what was said lately, by position.
%%%
%%%   writer (active), view (passive) ──row, marks──► [ring of rows] ◄──pull── readers: subscriptions, handlers
%%% Positions count what was said from the first term on, one after the other. The writer knows them and puts into each row
%%% of the log where it begins; every copy that folds a row knows so where it stands, and goes on with the right number
%%% when it becomes active. A copy that has followed no row since it was loaded begins at the clock's microseconds, above
%%% everything said before.
%%% Always holds: here is only what was committed and folded. The rows of the ring follow each other without a gap; where
%%% one would be (rows were loaded, a store was folded anew, two copies differ by what they forgot first) the ring begins
%%% anew, and whoever read before it is told `lost'. A reader that is lost has to look at the live calls.
%%% Memory is bounded by the setting `feed_bytes'; a chunk is shared with the log.
%%% Called by: view (row/5, …), writer (begin_term/3, told/4, …), whoever has something to say of a group (say/3), and
%%% era_callstore_reader on any node (pull/3, where/3).
%%% Must never: look into a chunk, send anything that was not asked for, or hold the writer.
-module(era_callstore_feed).
-behaviour(gen_server).

-export([start_link/1, loaded/2, row/5, gap/1, sync/1]).
-export([begin_term/3, position/1, told/4, beside/2, say/3, resync/1]).
-export([pull/3, where/3, handled/3, handled/2, event/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([options/0, place/0, cursor/0, row/0, answer/0, key/0]).

%% So much is given to a reader at once, one row at least.
-define(PULL_BYTES, 262144).
-define(PULL_EVENTS, 1000).
%% What a row takes beside its bytes.
-define(ROW_BYTES, 256).
-define(CALL_MS, 5000).

-type position() :: era_callstore_log:position().
%% Where the writer of a term stands.
-opaque place() :: {Group :: pos_integer(), Epoch :: pos_integer(), position()}.
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
row(Group, Key, Position, Said, Chunks) -> gen_server:cast(name(Group), {row, Key, Position, Said, Chunks}).

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
    {Group, Epoch, gen_server:call(name(Group), {begin_term, Epoch, From}, infinity)}.

%% @doc Where in the stream the next row begins.
-spec position(place()) -> position().
position({_Group, _Epoch, Position}) -> Position.

%% @doc A row was committed and folded; `unknown' when the store had to be folded anew, and what the row says is not known.
-spec told(era_callstore_log:key(), era_callstore_nif:said() | unknown, [era_callstore_nif:chunk()], place()) -> place().
told(Key, {Count, _} = Said, Chunks, {Group, Epoch, Position}) ->
    ok = row(Group, Key, Position, Said, Chunks),
    {Group, Epoch, Position + Count};
told(_Key, unknown, _Chunks, Place) ->
    beside(resync, Place).

%% @doc The writer was asked to say something beside the log. At a resync a number is passed over: whoever stands before it
%% is lost, on every copy.
-spec beside({say, map()} | resync, place()) -> place().
beside({say, Event}, {Group, Epoch, Position}) ->
    ok = gen_server:cast(name(Group), {say, {said, Epoch, node(), Position}, Position, Event}),
    {Group, Epoch, Position + 1};
beside(resync, {Group, Epoch, Position}) ->
    ok = gen_server:cast(name(Group), {gap, Position + 1}),
    {Group, Epoch, Position + 1}.

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

%% @doc Asks for what was said after a cursor; one {era_callstore_feed, Ref, answer()} follows when there is something, or
%% {'DOWN', Ref, …}.
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

%% @doc A handler has done everything up to the cursor. The other copies are told now and then: the next active goes on there.
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
    {ok, #state{group = Group, max_bytes = MaxBytes, peers = Peers}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call({begin_term, Epoch, From}, _From, #state{group = Group} = State) ->
    #state{position = Position} = Begun = begun(State),
    Event = event(Group, <<"takeover">>, #{
        <<"node">> => atom_to_binary(node()), <<"epoch">> => Epoch, <<"from">> => from(From)
    }),
    Said = say({said, Epoch, node(), Position}, Position, Event, Begun),
    {reply, Said#state.position, Said};
handle_call({where, look}, _From, #state{first = First, rows = Rows, bytes = Bytes} = State) when Bytes < ?PULL_BYTES ->
    case Rows of
        #{First := #kept{after_key = none}} -> {reply, {First, none}, State};
        #{} -> {reply, ending(State), State}
    end;
handle_call({where, _For}, _From, State) ->
    {reply, ending(State), State};
handle_call({handled, Handler}, _From, #state{handled = Handled} = State) ->
    {reply, maps:get(Handler, Handled, none), State};
handle_call(sync, _From, State) ->
    {reply, ok, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({row, Key, Position, {Count, Marks}, Chunks}, State) ->
    Bytes = byte_size(Marks) + iolist_size(Chunks),
    {noreply, append(Key, Position, Count, Bytes, {row, Marks, Chunks}, State)};
handle_cast({pull, Ref, Cursor}, State) ->
    {noreply, pulled(Ref, Cursor, State)};
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
    {noreply, (restarted(max(Position, Before), State))#state{exact = false}};
handle_cast({gap, unknown}, #state{position = Position} = State) ->
    {noreply, (restarted(Position, State))#state{exact = false}};
handle_cast({gap, Position}, State) ->
    {noreply, restarted(Position, State)}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(_Other, State) -> {noreply, State}.

ending(#state{position = Position, last = Last}) -> {Position, Last}.

begun(#state{exact = true} = State) -> State;
begun(#state{position = Position} = State) -> restarted(max(Position, erlang:system_time(microsecond)), State).

from(none) -> null;
from({Epoch, Node}) -> #{<<"epoch">> => Epoch, <<"node">> => atom_to_binary(Node)}.

say(Key, Position, Event, #state{group = Group, peers = Peers} = State) ->
    _ = gen_server:abcast(Peers, name(Group), {heard, Key, Position, Event}),
    append(Key, Position, 1, erlang:external_size(Event), {event, Event}, State).

%% --- the ring

append(Key, Position, Count, Bytes, What, #state{position = Position} = State) ->
    #state{last = Last, rows = Rows, bytes = Total, waiting = Waiting} = State,
    Kept = #kept{after_key = Last, key = Key, count = Count, bytes = Bytes + ?ROW_BYTES, what = What},
    Next = Position + Count,
    lists:foreach(fun(Ref) -> answer(Ref, {rows, [{Position, What}], {Next, Key}}) end, Waiting),
    trimmed(State#state{
        position = Next, last = Key, exact = true, rows = Rows#{Position => Kept}, bytes = Total + Kept#kept.bytes, waiting = []
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
