%%% Receipts: the writer of a row on another node is told when the row is with the operating system here.
%%%
%%% Of copies that were all killed at one moment Mnesia loads the one of the lowest name, or the one that saw the
%%% others go, whoever was active; and what others committed waits in its log's buffer for up to two seconds. So `ok' is
%%% not said before every copy has emptied that buffer.
%%%
%%%   writer ──commit──► copy here ──table event──► flush ──{era_callstore_receipt, Pid, Epoch, Seq}──► writer
%%%
%%% Always holds: who is among givers/1 before a commit gives a receipt for that row, or leaves: with its node, with
%%% Mnesia on it, or to load its tables anew. One receipt stands for all earlier rows of its epoch.
%%% Called by: era_callstore_view (rest/1, follow/1), era_callstore_writer (take/1, givers/1). Mnesia's table
%%% events come in.
%%% Must never: fold a row, or run where a commit is not to survive the death of the VM (in RAM, async_dirty).
-module(era_callstore_receipt).
-behaviour(gen_server).

-export([start_link/1, rest/1, follow/1, take/1, givers/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(SCOPE, era_callstore).

-record(state, {
    group :: pos_integer(),
    table :: atom(),
    mnesia = none :: reference() | none
}).

-spec start_link(Group :: pos_integer()) -> gen_server:start_ret().
start_link(Group) ->
    gen_server:start_link({local, name(Group)}, ?MODULE, Group, [{spawn_opt, [{message_queue_data, off_heap}]}]).

%% @doc The tables of the group are about to be loaded here: none are given until follow/1.
-spec rest(Group :: pos_integer()) -> ok.
rest(Group) -> gen_server:call(name(Group), rest, infinity).

%% @doc The tables of the group are loaded here: receipts are given from now on.
-spec follow(Group :: pos_integer()) -> ok | {error, term()}.
follow(Group) -> gen_server:call(name(Group), follow, infinity).

%% @doc The caller is the writer of the group on this node: receipts come to it.
-spec take(Group :: pos_integer()) -> ok.
take(Group) ->
    true = register(writer(Group), self()),
    ok.

%% @doc Who will give a receipt for a row that is committed after this: the other copies to which Mnesia writes.
-spec givers(Group :: pos_integer()) -> [pid()].
givers(Group) ->
    case [Pid || Pid <- pg:get_members(?SCOPE, {receipt, Group}), node(Pid) =/= node()] of
        [] -> [];
        [_ | _] = Pids -> those_written_to(Group, Pids)
    end.

those_written_to(Group, Pids) ->
    Copies = era_callstore_log:copies(Group),
    [Pid || Pid <- Pids, lists:member(node(Pid), Copies)].

%% --- the process

-spec init(pos_integer()) -> {ok, #state{}}.
init(Group) -> {ok, #state{group = Group, table = era_callstore_log:table(Group)}}.

-spec handle_call(rest | follow, gen_server:from(), #state{}) -> {reply, ok | {error, term()}, #state{}}.
handle_call(rest, _From, #state{mnesia = none} = State) ->
    {reply, ok, State};
handle_call(rest, _From, #state{mnesia = Mnesia} = State) ->
    true = erlang:demonitor(Mnesia, [flush]),
    {reply, ok, left(State)};
handle_call(follow, _From, #state{group = Group} = State) ->
    case era_callstore_log:subscribe(Group) of
        ok -> {reply, ok, caught_up(member(State))};
        {error, _} = Error -> {reply, Error, State}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'DOWN', Mnesia, process, _, _}, #state{mnesia = Mnesia} = State) ->
    {noreply, left(State)};
handle_info(Message, #state{table = Table} = State) ->
    give(later(Table, row(Message, Table, #{})), State),
    {noreply, State}.

member(#state{mnesia = none, group = Group} = State) ->
    Mnesia = era_callstore_schema:monitor(),
    ok = pg:join(?SCOPE, {receipt, Group}, self()),
    State#state{mnesia = Mnesia};
member(State) ->
    State.

left(#state{group = Group} = State) ->
    ok = pg:leave(?SCOPE, {receipt, Group}, self()),
    State#state{mnesia = none}.

%% A row that was written here before we were subscribed, and whose writer waits for us.
caught_up(#state{group = Group} = State) ->
    case era_callstore_log:term(Group) of
        {Epoch, Node} when Node =/= node() ->
            ok = give(#{{Epoch, Node} => era_callstore_log:last_seq(Group, Epoch, Node)}, State);
        _ ->
            ok
    end,
    State.

%% Rows that came meanwhile are brought to the operating system by the same flush.
later(Table, Rows) ->
    receive
        {mnesia_table_event, _} = Message -> later(Table, row(Message, Table, Rows))
    after 0 -> Rows
    end.

%% The last row of each writer.
row(Message, Table, Rows) ->
    case era_callstore_log:event(Message, Table) of
        {row, {Epoch, Node, Seq}, _Position, _Chunks} when Node =/= node() ->
            Rows#{{Epoch, Node} => max(Seq, maps:get({Epoch, Node}, Rows, 0))};
        _ ->
            Rows
    end.

give(Rows, _State) when map_size(Rows) =:= 0 ->
    ok;
give(Rows, #state{group = Group}) ->
    lists:foreach(fun({_, Node}) -> era_callstore_gap:row(Group, Node) end, maps:keys(Rows)),
    ok = era_callstore_flush:wait(era_callstore_flush:start(), 0),
    maps:foreach(
        fun({Epoch, Node}, Seq) ->
            %% By name: what pg knows here may be later than the row.
            {writer(Group), Node} ! {?MODULE, self(), Epoch, Seq}
        end,
        Rows
    ).

name(Group) -> list_to_atom("era_callstore_receipt_" ++ integer_to_list(Group)).

writer(Group) -> list_to_atom("era_callstore_writer_" ++ integer_to_list(Group)).
