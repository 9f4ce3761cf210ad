%%% How far the passive copies of a group are behind its active, in bytes, and whether the active may write on. Pure.
%%%
%%%   bytes written in this term   0 ───────●───────────────●────────────────────►
%%%                                         │ folded by a   │ a mark every MARK_BYTES: {Seq, bytes written up to it}
%%%   behind: a copy of which more than the limit lies between what it has folded and the end
%%% Always holds: a copy is known by its view; what is known of it goes with it. What a copy is said to lack is at most
%%% MARK_BYTES more than what it lacks, and 0 when it lacks nothing. Marks are kept for the limit and a mark more, so
%%% their number is bounded; who is further behind than the oldest is behind whatever the number.
%%% Called by: era_callstore_behind and era_callstore_writer, of the copies on other nodes; era_callstore_group_sup
%%% (tell_bytes/1), for the view.
%%% Must never: send a message or ask a node.
-module(era_callstore_credit).

-export([new/1, joined/2, left/2, no_more/1, written/3, folded/3, behind/1, lags/1, tell_bytes/1]).
-export_type([credit/0]).

-define(MARK_BYTES, 65536).
-define(TELL_BYTES, 262144).

-type mark() :: {Seq :: non_neg_integer(), Bytes :: non_neg_integer()}.
-record(credit, {
    limit :: pos_integer(),
    seq = 0 :: non_neg_integer(),
    bytes = 0 :: non_neg_integer(),
    %% newest first
    marks = [{0, 0}] :: [mark(), ...],
    folded = #{} :: #{View :: pid() => Bytes :: non_neg_integer()}
}).
-opaque credit() :: #credit{}.

%% @doc At the begin of a term: nothing written, nobody there. LimitBytes: how far a copy may be behind.
-spec new(LimitBytes :: pos_integer()) -> credit().
new(LimitBytes) -> #credit{limit = LimitBytes}.

%% @doc Bytes that a view folds before it tells the writer, so that it is told in good time and not of every row.
-spec tell_bytes(LimitBytes :: pos_integer()) -> pos_integer().
tell_bytes(LimitBytes) -> max(1, min(?TELL_BYTES, LimitBytes div 4)).

%% @doc Copies are loaded and follow from now on; those that are known already stay where they are.
-spec joined([pid()], credit()) -> credit().
joined(Views, #credit{folded = Folded, bytes = Bytes} = Credit) ->
    Credit#credit{folded = maps:merge(maps:from_keys(Views, Bytes), Folded)}.

%% @doc Copies are gone.
-spec left([pid()], credit()) -> credit().
left(Views, #credit{folded = Folded} = Credit) -> Credit#credit{folded = maps:without(Views, Folded)}.

%% @doc Nobody is waited for any more.
-spec no_more(credit()) -> credit().
no_more(Credit) -> Credit#credit{folded = #{}}.

%% @doc A row was committed; rows are numbered from 1.
-spec written(Seq :: pos_integer(), Bytes :: non_neg_integer(), credit()) -> credit().
written(Seq, New, #credit{bytes = Before, marks = [{_, Marked} | _] = Marks, limit = Limit} = Credit) ->
    Bytes = Before + New,
    Written = Credit#credit{seq = Seq, bytes = Bytes},
    case Bytes - Marked >= ?MARK_BYTES of
        true -> Written#credit{marks = [{Seq, Bytes} | until_oldest(Marks, Bytes - Limit)]};
        false -> Written
    end.

%% The first mark at or before Oldest is the last that is kept.
until_oldest([{_, Bytes} = Mark | _], Oldest) when Bytes =< Oldest -> [Mark];
until_oldest([Mark | Marks], Oldest) -> [Mark | until_oldest(Marks, Oldest)];
until_oldest([], _Oldest) -> [].

%% @doc A copy says that it has folded every row of this term up to Seq. Who is not known is not counted.
-spec folded(pid(), Seq :: pos_integer(), credit()) -> credit().
folded(View, Seq, #credit{folded = Folded} = Credit) when is_map_key(View, Folded) ->
    Credit#credit{folded = Folded#{View := reached(Seq, Credit)}};
folded(_View, _Seq, Credit) ->
    Credit.

reached(Seq, #credit{seq = Last, bytes = Bytes}) when Seq >= Last -> Bytes;
reached(Seq, #credit{marks = Marks}) ->
    case [Bytes || {Marked, Bytes} <- Marks, Marked =< Seq] of
        [Reached | _] -> Reached;
        %% Further behind than what is kept of the way.
        [] -> max(0, element(2, lists:last(Marks)) - 1)
    end.

%% @doc Nodes of the copies that lack more than the limit.
-spec behind(credit()) -> [node()].
behind(#credit{folded = Folded, bytes = Bytes, limit = Limit}) ->
    Least = Bytes - Limit,
    maps:fold(
        fun
            (View, Reached, Nodes) when Reached < Least -> [node(View) | Nodes];
            (_, _, Nodes) -> Nodes
        end,
        [],
        Folded
    ).

%% @doc What each copy lacks, in bytes.
-spec lags(credit()) -> #{node() => non_neg_integer()}.
lags(#credit{folded = Folded, bytes = Bytes}) ->
    maps:fold(fun(View, Reached, Lags) -> Lags#{node(View) => Bytes - Reached} end, #{}, Folded).
