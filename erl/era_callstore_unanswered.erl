%%% Rows that are committed and folded, and of which some copy still owes its receipt: nobody is answered yet. Pure.
%%%
%%%   writer ──add──► [oldest … newest] ──take, in order──► answers
%%%                        ▲ received: a copy has every row up to this one;  only: who is left to give receipts
%%% Always holds: rows are taken in the order in which they were added, each once, when nobody owes it anything.
%%% Called by: era_callstore_writer. Must never: send a message, or look into a row.
-module(era_callstore_unanswered).

-export([new/0, add/4, received/3, only/2, take/1, size/1]).
-export_type([rows/1]).

-type row(Row) :: {Seq :: pos_integer(), Owing :: [pid()], Row}.
-type rows(Row) :: queue:queue(row(Row)).

-spec new() -> rows(_).
new() -> queue:new().

%% @doc A row that was just committed, and who is to give a receipt for it; rows are numbered upwards.
-spec add(Seq :: pos_integer(), Givers :: [pid()], Row, rows(Row)) -> rows(Row).
add(Seq, Givers, Row, Rows) -> queue:in({Seq, Givers, Row}, Rows).

%% @doc A copy has every row up to Last.
-spec received(Giver :: pid(), Last :: non_neg_integer(), rows(Row)) -> rows(Row).
received(Giver, Last, Rows) ->
    owed(
        fun
            (Seq, Owing) when Seq =< Last -> lists:delete(Giver, Owing);
            (_Seq, Owing) -> Owing
        end,
        Rows
    ).

%% @doc No receipt comes from anybody but these.
-spec only(Givers :: [pid()], rows(Row)) -> rows(Row).
only(Givers, Rows) -> owed(fun(_Seq, Owing) -> [Pid || Pid <- Owing, lists:member(Pid, Givers)] end, Rows).

owed(Owed, Rows) -> queue:filtermap(fun({Seq, Owing, Row}) -> {true, {Seq, Owed(Seq, Owing), Row}} end, Rows).

%% @doc The oldest rows, as far as nobody owes them anything, and those that are left.
-spec take(rows(Row)) -> {[Row], rows(Row)}.
take(Rows) ->
    case queue:peek(Rows) of
        {value, {_Seq, [], Row}} ->
            {Taken, Left} = take(queue:drop(Rows)),
            {[Row | Taken], Left};
        _ ->
            {[], Rows}
    end.

-spec size(rows(_)) -> non_neg_integer().
size(Rows) -> queue:len(Rows).
