%%% The writer of an active instance: everything that goes into the log of the group goes through it, in order.
%%%
%%%   producers, ticker, outboxes ──chunk──► [what waits] ──► one Mnesia activity, one row ──► fold ──► [unanswered]
%%%                                                              ▲                               │         │ receipts
%%%                                                              └── `record' events due ◄───────┘         ▼ of all copies
%%%                                                                                                     answers
%%% While one commit runs the next row gathers, so the size of a row follows the load; a lone chunk waits for nothing.
%%% While receipts for one row are awaited the next is committed; rows are answered in order.
%%% No commit begins while a passive copy lacks more than lag_bytes; what waits then is bounded by the queue.
%%% Always holds: an answer {ok, …} comes after the commit and after the fold, and after every copy has what is to
%%% survive the death of its VM. Bytes on the way to this process are counted in Queue before they are sent.
%%% A writer whose term is over writes nothing, stops at once and answers nobody: callers see it go and look again. So
%%% does one whose node was paused: another may be active by now.
%%% Called by: the term's supervisor and era_callstore_term (start, stop/1), era_callstore_group (nodes/2), ticker and
%%% outbox (attach/2, settle/1, reached/1), era_callstore_union elsewhere (quiet/2); chunks: era_callstore_submit.
%%% Must never: look into a chunk, wait for a sink, or serve two terms.
-module(era_callstore_writer).

-export([start_link/1, attach/2, settle/1, reached/1, quiet/2, nodes/2, stop/1]).
-export([init/2, system_continue/3, system_terminate/4, system_get_state/1, system_code_change/4]).
-export_type([options/0]).

-include_lib("kernel/include/logger.hrl").
-include("era_callstore_crash.hrl").

%% How long revisions wait for a row with which they can go: one of their own costs as much as that of a producer.
-define(ISSUE_WAIT_MS, 5).
%% So many rows are committed at most while receipts for them are awaited, and so often givers that keep silent are looked
%% after.
-define(UNANSWERED_MAX, 8).
-define(LOOK_MS, 20).

-type options() :: #{
    term := era_callstore_log:term_of_activity(),
    store := era_callstore_nif:store(),
    %% the term before this one
    from := {pos_integer(), node()} | none,
    %% whether a commit is to survive the death of the VM: on disc, and by the kind of commit
    flush := boolean(),
    queue_bytes := pos_integer(),
    %% how far a passive copy may be behind
    lag_bytes := pos_integer()
}.

-type row() :: {
    era_callstore_log:key(), [era_callstore_row:entry()], Answers :: [term()], era_callstore_nif:said() | unknown
} | {reached, reference()}.

-record(state, {
    parent :: pid(),
    term :: era_callstore_log:term_of_activity(),
    seq = 1 :: pos_integer(),
    said :: era_callstore_feed:place(),
    store :: era_callstore_nif:store(),
    queue :: atomics:atomics_ref(),
    flush :: boolean(),
    node = atom_to_binary(node()) :: binary(),
    %% who brings rows of other sides: no revision is issued until all are there
    quiet = #{} :: #{reference() => true},
    %% whether revisions may be due
    due = true :: boolean(),
    credit :: era_callstore_credit:credit(),
    %% rows for which receipts are awaited, how much they say, and whether they are going to be looked after
    unanswered = era_callstore_unanswered:new() :: era_callstore_unanswered:rows(row()),
    ahead = 0 :: non_neg_integer(),
    looks = false :: boolean(),
    %% who looks for work after every commit
    bells = [] :: [era_callstore_wake:bell()]
}).

-spec start_link(options()) -> {ok, pid()} | {error, term()}.
start_link(Options) -> proc_lib:start_link(?MODULE, init, [self(), Options], infinity, [
    link, {message_queue_data, off_heap}
]).

%% @doc The bell rings once now, and after every commit from now on.
-spec attach(Group :: pos_integer(), era_callstore_wake:bell()) -> ok.
attach(Group, Bell) ->
    case era_callstore_router:writer(Group) of
        {Pid, _, _} -> Pid ! {attach, Bell}, ok;
        none -> ok
    end.

%% @doc The group has these nodes from now on: a copy that another one lacks is not missing. No effect where the group is
%% not active.
-spec nodes(Group :: pos_integer(), [node()]) -> ok.
nodes(Group, Nodes) ->
    _ = [Pid ! {nodes, Nodes} || {Pid, _, _} <- [era_callstore_router:writer(Group)]],
    ok.

%% @doc Time has passed: issues the revisions that are due and returns when none is left.
-spec settle(Group :: pos_integer()) -> ok | {error, no_active | gone}.
settle(Group) -> asked(Group, fun(Ref) -> [issue, {settled, Ref}] end).

%% @doc Returns when what has been folded so far is acknowledged, or could be: every copy has what is to survive.
-spec reached(Group :: pos_integer()) -> ok | {error, no_active | gone}.
reached(Group) -> asked(Group, fun(Ref) -> [{reached, Ref}] end).

asked(Group, Messages) ->
    case era_callstore_router:writer(Group) of
        {Pid, _, _} ->
            Ref = erlang:monitor(process, Pid, [{alias, reply_demonitor}]),
            _ = [Pid ! Message || Message <- Messages(Ref)],
            receive
                {Ref, ok} -> ok;
                {'DOWN', Ref, process, _, _} -> {error, gone}
            end;
        none ->
            {error, no_active}
    end.

%% @doc No revision is issued until this process has ended: of a call whose events come row by row from another side, the
%% revision that was issued there comes last.
-spec quiet(Group :: pos_integer(), pid()) -> ok | {error, no_active}.
quiet(Group, Pid) ->
    case era_callstore_router:writer(Group) of
        {Writer, _, _} -> Writer ! {quiet, Pid}, ok;
        none -> {error, no_active}
    end.

%% @doc Takes nothing new, finishes what waits, ends.
-spec stop(pid()) -> ok.
stop(Pid) ->
    Monitor = erlang:monitor(process, Pid),
    Pid ! finish,
    receive
        {'DOWN', Monitor, process, _, _} -> ok
    end.

%% --- the process

-spec init(pid(), options()) -> no_return().
init(Parent, #{term := Term, from := From, store := Store, flush := Flush} = Options) ->
    process_flag(trap_exit, true),
    #{group := Group, epoch := Epoch} = Term,
    #{queue_bytes := QueueBytes, lag_bytes := LagBytes} = Options,
    Queue = atomics:new(1, [{signed, true}]),
    Said = era_callstore_feed:begin_term(Group, Epoch, From),
    ok = era_callstore_receipt:take(Group),
    ok = era_callstore_router:publish_writer(Group, self(), Queue, QueueBytes),
    %% Who comes between is told of twice, which does no harm.
    Credit = era_callstore_credit:joined(era_callstore_router:views(Group), era_callstore_credit:new(LagBytes)),
    proc_lib:init_ack(Parent, {ok, self()}),
    issue(#state{
        parent = Parent, term = Term, said = Said, store = Store, flush = Flush, queue = Queue,
        credit = era_callstore_behind:noted(Group, Credit)
    }).

loop(State) ->
    receive
        {append, Ref, Chunk, Count, Bytes} ->
            Row = era_callstore_row:gather(era_callstore_row:add(Ref, Chunk, Count, Bytes, era_callstore_row:new())),
            commit(with_revisions(Row, State), State);
        issue ->
            loop(State#state{due = true});
        {settled, Ref} when State#state.due, map_size(State#state.quiet) =:= 0 ->
            self() ! {settled, Ref},
            issue(State);
        {Asked, Ref} when Asked =:= settled; Asked =:= reached ->
            loop(all_received(unanswered([], {reached, Ref}, State)));
        {era_callstore_receipt, Giver, Epoch, Last} ->
            loop(received(Giver, Epoch, Last, State));
        look ->
            loop(looked(State#state{looks = false}));
        {era_callstore_view, folded, View, Epoch, Seq} ->
            #state{term = #{epoch := Own}, credit = Credit} = State,
            loop(State#state{credit = era_callstore_behind:folded(group(State), {Epoch, Own}, View, Seq, Credit)});
        {era_callstore_router, Change, Views} ->
            loop(State#state{credit = era_callstore_behind:changed(group(State), Change, Views, State#state.credit)});
        {era_callstore_feed, Asked} ->
            Answered = answered(State),
            loop(Answered#state{said = era_callstore_feed:beside(Asked, Answered#state.said)});
        {nodes, Nodes} ->
            loop(State#state{term = (State#state.term)#{nodes := Nodes}});
        {attach, Bell} ->
            %% What was committed between its owner's first look and now it has not been told of.
            ok = era_callstore_wake:ring([Bell]),
            loop(State#state{bells = [Bell | State#state.bells]});
        {quiet, Pid} ->
            loop(State#state{quiet = (State#state.quiet)#{erlang:monitor(process, Pid) => true}});
        {'DOWN', Bringing, process, _, _} when is_map_key(Bringing, State#state.quiet) ->
            loop(State#state{quiet = maps:remove(Bringing, State#state.quiet), due = true});
        finish ->
            era_callstore_router:retract_writer(group(State)),
            finish(State);
        {system, From, Request} ->
            sys:handle_system_msg(Request, From, State#state.parent, ?MODULE, [], State);
        {'EXIT', Parent, Reason} when Parent =:= State#state.parent ->
            over(Reason, State);
        _Other ->
            loop(State)
    after issue_in(State) -> issue(State)
    end.

issue_in(#state{due = true, quiet = Quiet}) when Quiet =:= #{} -> ?ISSUE_WAIT_MS;
issue_in(_State) -> infinity.

%% Everything sent before the retraction is still in the mailbox; what comes after it is refused by our end.
finish(State) ->
    Row = era_callstore_row:gather(era_callstore_row:new()),
    case era_callstore_row:is_empty(Row) of
        true ->
            Answered = answered(State),
            _ = era_callstore_feed:flush(Answered#state.said),
            exit(normal);
        false ->
            finish(committed(Row, State))
    end.

%% What came while a copy was waited for goes along.
commit(Row, State) ->
    case era_callstore_credit:behind(State#state.credit) of
        [] -> loop(committed(Row, answered(?UNANSWERED_MAX - 1, State)));
        _ -> loop(committed(era_callstore_row:gather(Row), wait(answered(State))))
    end.

wait(#state{term = #{group := Group, epoch := Epoch}, credit = Credit, parent = Parent} = State) ->
    case era_callstore_behind:wait(Group, Epoch, Credit, Parent) of
        {ok, Ready} -> State#state{credit = Ready};
        {exit, Reason} -> over(Reason, State)
    end.

committed(Row, State) ->
    #state{term = Term, seq = Seq, said = Place, ahead = Ahead, queue = Queue} = State,
    {Entries, Bytes} = era_callstore_row:written(Row),
    Chunks = [Chunk || {_, Chunk, _, _} <- Entries],
    ok = atomics:sub(Queue, 1, lists:sum([B || {Ref, _, _, B} <- Entries, Ref =/= none])),
    Givers = givers(State),
    case era_callstore_commit:row(Term, Seq, era_callstore_feed:position(Place) + Ahead, Chunks) of
        ok ->
            era_callstore_counters:add(rows_committed, 1),
            era_callstore_counters:add(row_bytes_committed, Bytes),
            Flush = era_callstore_commit:start_flush(State#state.flush),
            ?CRASH_POINT(flush_begun),
            {Answers, Said, Folded} = fold(Entries, Chunks, State),
            ?CRASH_POINT(fold_after),
            ok = flushed(Flush, Bytes, State),
            ?CRASH_POINT(flush_after),
            Credit = era_callstore_behind:noted(group(State), era_callstore_credit:written(Seq, Bytes, State#state.credit)),
            Waiting = unanswered(Givers, {key(State), Entries, Answers, Said}, Folded),
            all_received(Waiting#state{seq = Seq + 1, credit = Credit, ahead = Ahead + says(Said)});
        {error, Reason} ->
            over({shutdown, Reason}, State)
    end.

flushed(Flush, Bytes, State) ->
    case era_callstore_flush:wait(Flush, Bytes) of
        ok -> ok;
        {error, Reason} -> over({shutdown, Reason}, State)
    end.

givers(#state{flush = true} = State) -> era_callstore_receipt:givers(group(State));
givers(#state{flush = false}) -> [].

%% --- rows that are not answered yet

unanswered(Givers, What, #state{seq = Seq, unanswered = Rows} = State) ->
    State#state{unanswered = era_callstore_unanswered:add(Seq, Givers, What, Rows)}.

received(Giver, Epoch, Last, #state{term = #{epoch := Epoch}, unanswered = Unanswered} = State) ->
    all_received(State#state{unanswered = era_callstore_unanswered:received(Giver, Last, Unanswered)});
received(_Giver, _Epoch, _Last, State) ->
    State.

%% Who has gone gives none any more, and lacks what is answered now.
looked(#state{term = Term, unanswered = Unanswered} = State) ->
    case era_callstore_commit:keep_own(Term) of
        ok -> all_received(State#state{unanswered = era_callstore_unanswered:only(givers(State), Unanswered)});
        {error, Reason} -> over({shutdown, Reason}, State)
    end.

all_received(#state{unanswered = Unanswered} = State) ->
    {Rows, Left} = era_callstore_unanswered:take(Unanswered),
    looking(lists:foldl(fun answer_row/2, State#state{unanswered = Left}, Rows)).

looking(#state{looks = false, unanswered = Unanswered} = State) ->
    case era_callstore_unanswered:size(Unanswered) of
        0 -> State;
        _ -> _ = erlang:send_after(?LOOK_MS, self(), look), State#state{looks = true}
    end;
looking(State) ->
    State.

%% What is said of the row is in the stream once every copy has it.
answer_row({reached, Ref}, State) ->
    Ref ! {Ref, ok},
    State;
answer_row({Key, Entries, Answers, Said}, #state{said = Place, ahead = Ahead} = State) ->
    ?CRASH_POINT(receipt_after),
    Told = era_callstore_feed:told(Key, Said, [Chunk || {_, Chunk, _, _} <- Entries], Place),
    ok = era_callstore_row:answer(Entries, Answers),
    ?CRASH_POINT(answer_after),
    era_callstore_wake:ring(State#state.bells),
    State#state{said = Told, ahead = Ahead - says(Said)}.

says({Count, _Marks}) -> Count;
%% A number is passed over.
says(unknown) -> 1.

%% Waits until no more than so many rows are unanswered.
answered(State) -> answered(0, State).

answered(Most, #state{parent = Parent, unanswered = Unanswered} = State) ->
    case era_callstore_unanswered:size(Unanswered) =< Most of
        true ->
            State;
        false ->
            receive
                {era_callstore_receipt, Giver, Epoch, Last} -> answered(Most, received(Giver, Epoch, Last, State));
                {'EXIT', Parent, Reason} -> over(Reason, State)
            after ?LOOK_MS -> answered(Most, looked(State))
            end
    end.

%% --- the fold and the answers

fold(Entries, Chunks, #state{store = Store} = State) ->
    case era_callstore_view:fold_said(Store, key(State), Chunks) of
        {ok, Results, Said, IsDue} ->
            {[{ok, Result} || Result <- Results], Said, State#state{due = IsDue}};
        {error, _Reason} ->
            %% The row is in the log: the store folded anew has it, but for a chunk that poisons.
            case era_callstore_view:rebuild(group(State), key(State)) of
                {ok, New, Bad} ->
                    {era_callstore_row:after_rebuild(Entries, Bad), unknown, State#state{store = New, due = true}};
                {error, Reason} ->
                    over({shutdown, Reason}, State)
            end
    end.

%% Revisions that are due: with what waits, alone when nothing does.
issue(State) ->
    Row = with_revisions(era_callstore_row:new(), State),
    case era_callstore_row:is_empty(Row) of
        true -> loop(State#state{due = false});
        false -> commit(era_callstore_row:gather(Row), State)
    end.

%% They are decided by what is folded so far, so they stand before everything else in the row.
with_revisions(Row, #state{quiet = Quiet, due = Due}) when map_size(Quiet) > 0; not Due ->
    Row;
with_revisions(Row, #state{term = #{epoch := Epoch}, store = Store, node = Node}) ->
    ?CRASH_POINT(issue_before),
    Most = era_callstore_row:revisions(Row),
    case era_callstore_nif:issue(Store, era_callstore_clock:now_ms(), Epoch, Node, Most) of
        none ->
            Row;
        Chunk ->
            ?CRASH_POINT(issue_decided),
            era_callstore_row:add_before(Chunk, Most, Row)
    end.

-spec over(term(), #state{}) -> no_return().
over(Reason, State) ->
    ?LOG_NOTICE(#{what => "the writer ends", term => State#state.term, reason => Reason}),
    era_callstore_router:retract_writer(group(State)),
    _ = era_callstore_feed:flush(State#state.said),
    exit(Reason).

group(#state{term = #{group := Group}}) -> Group.

key(#state{term = #{epoch := Epoch}, seq = Seq}) -> {Epoch, node(), Seq}.

%% --- what sys asks of a special process

-spec system_continue(pid(), [sys:dbg_opt()], #state{}) -> no_return().
system_continue(_Parent, _Debug, State) -> loop(State).

-spec system_terminate(term(), pid(), [sys:dbg_opt()], #state{}) -> no_return().
system_terminate(Reason, _Parent, _Debug, State) -> over(Reason, State).

-spec system_get_state(#state{}) -> {ok, #state{}}.
system_get_state(State) -> {ok, State}.

-spec system_code_change(#state{}, module(), term(), term()) -> {ok, #state{}}.
system_code_change(State, _Module, _OldVsn, _Extra) -> {ok, State}.
