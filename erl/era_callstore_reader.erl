%%% Reading the stream of a group's events out, wherever the group is: live calls first when that is wanted or needed,
%%% then what is said, from one copy and, when that goes away, from another. No process: a state that its owner drives.
%%%
%%%   read ──lost──► look (resync) ──► pages of live calls ──► read …
%%% A node that has a copy of the group reads its own, whoever is active; another node reads the active's.
%%% Always holds: between two items nothing was left out but what is not wanted, unless a `resync' stands between them.
%%% After a `resync' come the live calls, each as a `call_opened' that says `snapshot', then `snapshot', then what was
%%% said since the resync's number; a call that opened or closed meanwhile may so be said twice, none is missed. At most
%%% one question is on the way: a reader whose owner asks for nothing gets nothing.
%%% Called by: era_callstore_subscription, era_callstore_handler_runner.
%%% Must never: wait for what has not been said yet.
-module(era_callstore_reader).

-export([new/3, next/1, heard/2, resync/1, cursor/1]).
-export_type([reader/0, item/0, since/0]).

-define(PAGE, 200).
-define(ASK_MS, 5000).

-type since() :: now | snapshot | resync | era_callstore_feed:cursor().
-type item() :: {Seq :: non_neg_integer(), Event :: map() | resync}.
-type phase() ::
    now
    | {read, era_callstore_feed:cursor()}
    | {look, Resync :: boolean()}
    | {page, era_callstore_feed:cursor(), Page :: start | binary(), Told :: non_neg_integer()}.

-record(reader, {
    group :: pos_integer(),
    wanted :: era_callstore_nif:wanted(),
    phase :: phase(),
    node = none :: node() | none,
    asked = none :: reference() | none
}).
-opaque reader() :: #reader{}.

%% @doc Reads a group from there on; `now' is the moment of this call where any copy can be asked.
-spec new(Group :: pos_integer(), era_callstore_nif:wanted(), since()) -> reader().
new(Group, Wanted, Since) ->
    Reader = #reader{group = Group, wanted = Wanted, phase = phase(Since)},
    case Since of
        now -> begun(placed(Reader));
        _ -> Reader
    end.

phase(now) -> now;
phase(snapshot) -> {look, false};
phase(resync) -> {look, true};
phase({_Seq, _Key} = Cursor) -> {read, Cursor}.

begun(#reader{node = none} = Reader) ->
    Reader;
begun(#reader{group = Group, node = Node} = Reader) ->
    case era_callstore_feed:where(Group, Node, now) of
        {ok, Cursor} -> Reader#reader{phase = {read, Cursor}};
        {error, away} -> Reader#reader{node = none}
    end.

%% @doc The next step: items that are there, or a question whose answer heard/2 takes. `away': no copy can be asked now.
-spec next(reader()) -> {items, [item()], reader()} | {wait, reader()} | {away, reader()}.
next(#reader{node = none} = Reader) ->
    case placed(Reader) of
        #reader{node = none} = Away -> {away, Away};
        Placed -> next(Placed)
    end;
next(#reader{phase = now} = Reader) ->
    case begun(Reader) of
        #reader{node = none} = Away -> {away, Away};
        Begun -> next(Begun)
    end;
next(#reader{phase = {read, Cursor}, group = Group, node = Node} = Reader) ->
    {wait, Reader#reader{asked = era_callstore_feed:pull(Group, Node, Cursor)}};
next(#reader{phase = {look, Resync}, group = Group, node = Node} = Reader) ->
    case era_callstore_feed:where(Group, Node, look) of
        {ok, {Seq, _} = Cursor} ->
            Looking = Reader#reader{phase = {page, Cursor, start, 0}},
            {items, [{Seq, resync} || Resync], Looking};
        {error, away} ->
            {away, Reader#reader{node = none}}
    end;
next(#reader{phase = {page, Cursor, Page, Told}} = Reader) ->
    case takes(<<"call_opened">>, Reader) of
        true -> paged(page(Page, Reader), Reader);
        false -> {items, [ended(Cursor, Told, Reader)], Reader#reader{phase = {read, Cursor}}}
    end.

%% @doc A message of the owner's mailbox: what was asked for, or `ignore' when it is none of the reader's.
-spec heard(Message :: term(), reader()) -> {items, [item()], reader()} | {away, reader()} | ignore.
heard({era_callstore_feed, Ref, lost}, #reader{asked = Ref} = Reader) ->
    {items, [], (unasked(Reader))#reader{phase = {look, true}}};
heard({era_callstore_feed, Ref, {rows, Rows, Next}}, #reader{asked = Ref, phase = {read, {Seq, _}}} = Reader) ->
    try lists:append([told(Row, Seq, Reader) || Row <- Rows]) of
        Items -> {items, Items, (unasked(Reader))#reader{phase = {read, Next}}}
    catch
        %% Marks of another version of the application.
        error:badarg -> {items, [], (unasked(Reader))#reader{phase = {look, true}}}
    end;
heard({'DOWN', Ref, process, _, _}, #reader{asked = Ref} = Reader) ->
    {away, (unasked(Reader))#reader{node = none}};
heard(_Message, _Reader) ->
    ignore.

%% @doc As if what comes next were not kept any more.
-spec resync(reader()) -> reader().
resync(Reader) -> (unasked(Reader))#reader{phase = {look, true}}.

%% @doc Where the reader stands; `none' before it has begun and between the live calls.
-spec cursor(reader()) -> era_callstore_feed:cursor() | none.
cursor(#reader{phase = {read, Cursor}}) -> Cursor;
cursor(_Reader) -> none.

unasked(#reader{asked = none} = Reader) ->
    Reader;
unasked(#reader{asked = Ref} = Reader) ->
    true = erlang:demonitor(Ref, [flush]),
    Reader#reader{asked = none}.

%% A copy here follows the log by itself; else the active, else whoever has a copy.
placed(#reader{group = Group} = Reader) ->
    Active = [Node || Node <- [era_callstore_router:active_node(Group)], Node =/= none],
    case {era_callstore_router:store(Group), Active ++ era_callstore_router:copies(Group)} of
        {{ok, _}, _} -> Reader#reader{node = node()};
        {none, [Node | _]} -> Reader#reader{node = Node};
        {none, []} -> Reader#reader{node = none}
    end.

%% --- what was said

told({Before, {row, Marks, Chunks}}, Seq, #reader{group = Group, wanted = Wanted}) ->
    [
        {Before + Number, Event}
     || {Number, Event} <- era_callstore_nif:said(Marks, Chunks, Group, Wanted), Before + Number > Seq
    ];
told({Before, {event, #{<<"type">> := Type} = Event}}, _Seq, Reader) ->
    [{Before + 1, Event} || takes(Type, Reader)].

takes(_Type, #reader{wanted = #{events := all}}) -> true;
takes(Type, #reader{wanted = #{events := Types}}) -> lists:member(Type, Types).

%% --- the live calls

page(Page, #reader{group = Group, node = Node, wanted = Wanted}) ->
    Arguments = [Group, calls, [maps:with([domain], Wanted), ?PAGE, Page]],
    try
        erpc:call(Node, era_callstore_query, ask_here, Arguments, ?ASK_MS)
    catch
        error:{erpc, _} -> {error, no_copy};
        exit:{exception, _} -> {error, no_copy}
    end.

paged({ok, {Calls, Next}}, #reader{phase = {page, {Seq, _} = Cursor, _, Told}, group = Group} = Reader) ->
    Items = [{Seq, opened(Call, Group)} || Call <- Calls],
    Count = Told + length(Calls),
    case Next of
        done -> {items, Items ++ [ended(Cursor, Count, Reader)], Reader#reader{phase = {read, Cursor}}};
        _ -> {items, Items, Reader#reader{phase = {page, Cursor, Next, Count}}}
    end;
paged({error, _}, Reader) ->
    {away, Reader#reader{node = none, phase = {look, true}}}.

opened(Call, Group) ->
    Head = maps:filter(
        fun(_, Value) -> Value =/= null end,
        maps:with([<<"acallid">>, <<"cid">>, <<"invitets">>, <<"connectionid">>, <<"state">>], Call)
    ),
    Domains = lists:usort([D || Key <- [<<"domain">>, <<"bdomain">>], D <- [maps:get(Key, Call, null)], D =/= null]),
    era_callstore_feed:event(Group, <<"call_opened">>, Head#{
        <<"domains">> => Domains, <<"before">> => null, <<"snapshot">> => true, <<"call">> => Call
    }).

ended({Seq, _}, Count, #reader{group = Group}) ->
    {Seq, era_callstore_feed:event(Group, <<"snapshot">>, #{<<"calls">> => Count})}.
