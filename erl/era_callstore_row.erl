%%% A row of the log in the making: chunks that are to be committed together, and who waits for each.
%%%
%%% Always holds: chunks stand in the order in which they came, what the writer itself decided before them. No more is
%%% gathered when there are 4,096 events or 1 MiB; one chunk alone may be more.
%%% Called by: era_callstore_writer, whose mailbox gather/1 reads, and in whose place answer/2 sends.
%%% Must never: look into a chunk.
-module(era_callstore_row).

-export([new/0, add/5, add_before/3, gather/1, is_empty/1, revisions/1, written/1, after_rebuild/2, answer/2]).
-export_type([row/0, entry/0]).

-include("era_callstore_crash.hrl").

-define(EVENTS, 4096).
-define(BYTES, 1048576).
%% Revisions decided at once, so that a flood of ends does not hold the producers; fewer with a small row of theirs: a few
%% more than so many events end as a rule.
-define(REVISIONS, 64).
-define(EVENTS_PER_REVISION, 8).

-type entry() :: {
    ReplyTo :: reference() | none, era_callstore_nif:chunk(), Count :: pos_integer(), Bytes :: non_neg_integer()
}.
%% Newest first.
-record(row, {entries = [] :: [entry()], events = 0 :: non_neg_integer(), bytes = 0 :: non_neg_integer()}).
-opaque row() :: #row{}.

-spec new() -> row().
new() -> #row{}.

%% @doc Adds a chunk of Count events for which ReplyTo waits.
-spec add(ReplyTo, era_callstore_nif:chunk(), Count, Bytes, row()) -> row() when
    ReplyTo :: reference() | none, Count :: pos_integer(), Bytes :: non_neg_integer().
add(ReplyTo, Chunk, Count, Bytes, #row{entries = Entries, events = Events, bytes = Total} = Row) ->
    Row#row{entries = [{ReplyTo, Chunk, Count, Bytes} | Entries], events = Events + Count, bytes = Total + Bytes}.

%% @doc Puts a chunk for which nobody waits before all others.
-spec add_before(era_callstore_nif:chunk(), Count :: pos_integer(), row()) -> row().
add_before(Chunk, Count, #row{entries = Entries, events = Events, bytes = Total} = Row) ->
    Bytes = byte_size(Chunk),
    Row#row{entries = Entries ++ [{none, Chunk, Count, Bytes}], events = Events + Count, bytes = Total + Bytes}.

%% @doc Adds what waits in the mailbox of the caller, as far as the row has room.
-spec gather(row()) -> row().
gather(#row{events = Events, bytes = Bytes} = Row) when Events >= ?EVENTS; Bytes >= ?BYTES ->
    Row;
gather(Row) ->
    receive
        {append, ReplyTo, Chunk, Count, Bytes} -> gather(add(ReplyTo, Chunk, Count, Bytes, Row))
    after 0 -> Row
    end.

-spec is_empty(row()) -> boolean().
is_empty(#row{entries = Entries}) -> Entries =:= [].

%% @doc How many revisions may go with what the row has so far.
-spec revisions(row()) -> pos_integer().
revisions(#row{events = 0}) -> ?REVISIONS;
revisions(#row{events = Events}) -> min(?REVISIONS, ?EVENTS_PER_REVISION + Events div ?EVENTS_PER_REVISION).

%% @doc The entries in the order in which they are committed, and their bytes.
-spec written(row()) -> {[entry()], Bytes :: non_neg_integer()}.
written(#row{entries = Entries, bytes = Bytes}) -> {lists:reverse(Entries), Bytes}.

%% @doc The answers to entries of a row after which the store was folded anew: those at the places Bad are in the log and
%% in no store, the others were taken, whatever was known before.
-spec after_rebuild([entry()], Bad :: [pos_integer()]) -> [{ok, era_callstore_nif:applied()} | {error, poisoned}].
after_rebuild(Entries, Bad) ->
    Answer = fun(Place, Count) ->
        case lists:member(Place, Bad) of
            true -> {error, poisoned};
            false -> {ok, {Count, 0, 0}}
        end
    end,
    [Answer(Place, Count) || {Place, {_, _, Count, _}} <- lists:enumerate(Entries)].

%% @doc Answers those who wait, each with what stands at the place of its entry.
-spec answer([entry()], Answers :: [term()]) -> ok.
answer([], []) ->
    ok;
answer([{none, _, _, _} | Entries], [_ | Answers]) ->
    answer(Entries, Answers);
answer([{Ref, _, _, _} | Entries], [Answer | Answers]) ->
    Ref ! {Ref, Answer},
    ?CRASH_POINT(answer_one),
    answer(Entries, Answers).
