%%% Evens out the copies of one side: a node that died, or lost its links one after the other, may have written to
%%% some copies and no longer to others.
%%%
%%%   a peer has gone ──► how far is each copy? ──► rows that some have and others lack ──► committed again, for all
%%%                                                                                       └► deleted where they were
%%% A copy gets the rows of a term in order, so how far it is says what it lacks. A row that it has not and that lies
%%% below was trimmed, and so may the end of an old term have been: of terms before `even_from'
%%% (era_callstore_lineage) only rows count that the active has never known.
%%% Rows of a node that some copy still sees active are left alone: two that are active apart, with a third that both
%%% write to, would commit each other's rows again for ever. When that node is gone, or has been healed, they are
%%% looked at.
%%% Always holds: looks again until all copies of the active's lineage have answered; then what they have is the same,
%%% and they are told so. What is deleted has been committed again before. Copies of other lineages are
%%% era_callstore_heal's.
%%% Called by: the term's supervisor (start), era_callstore_group (look/1, when a peer has gone), union (terms/1);
%%% stand/1 and rows/2 on the other nodes, over erpc.
%%% Must never: hold up who is active.
-module(era_callstore_level).
-behaviour(gen_server).

-export([start_link/1, look/1, stand/1, rows/2, terms/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([stand/0]).

-include_lib("kernel/include/logger.hrl").

-define(ASK_MS, 10000).
-define(RETRY_MS, 1000).

-type term_id() :: {Epoch :: pos_integer(), node()}.
%% How a copy stands: where it comes from, and how far it is in each term of which it has rows.
-type stand() :: #{
    lineage := era_callstore_lineage:lineage() | none,
    even_from := pos_integer(),
    actives := [node()],
    lasts := #{term_id() => Seq :: pos_integer()}
}.

-record(state, {group :: pos_integer(), epoch :: pos_integer(), retry :: reference() | undefined}).

-spec start_link(#{group := pos_integer(), epoch := pos_integer()}) -> gen_server:start_ret().
start_link(#{group := Group} = Options) -> gen_server:start_link({local, name(Group)}, ?MODULE, Options, []).

%% @doc A peer has gone: are the copies still even? No effect where the group is not active.
-spec look(Group :: pos_integer()) -> ok.
look(Group) -> gen_server:cast(name(Group), look).

%% @doc How the copy here stands.
-spec stand(Group :: pos_integer()) -> stand().
stand(Group) ->
    #{
        lineage => era_callstore_lineage:of_copy(Group),
        even_from => era_callstore_lineage:even_from(Group),
        actives => era_callstore_router:active_nodes(Group),
        lasts => era_callstore_log:lasts(Group)
    }.

%% @doc Rows of terms that the copy here has behind the given ones, in order.
-spec rows(Group :: pos_integer(), #{term_id() => Seq :: non_neg_integer()}) -> [era_callstore_log:key()].
rows(Group, Behind) ->
    lists:sort(lists:append([era_callstore_log:keys_behind(Group, {E, N, S}) || {{E, N}, S} <- maps:to_list(Behind)])).

%% @doc The terms of these rows, each with its last one.
-spec terms([era_callstore_log:key()]) -> [era_callstore_log:known_term()].
terms(Keys) ->
    Last = lists:foldl(fun({E, N, S}, Acc) -> maps:update_with({E, N}, fun(L) -> max(L, S) end, S, Acc) end, #{}, Keys),
    [{E, N, S} || {{E, N}, S} <- maps:to_list(Last)].

%% --- the process

-spec init(#{group := pos_integer(), epoch := pos_integer()}) -> {ok, #state{}, {continue, look}}.
init(#{group := Group, epoch := Epoch}) -> {ok, #state{group = Group, epoch = Epoch}, {continue, look}}.

-spec handle_continue(look, #state{}) -> {noreply, #state{}}.
handle_continue(look, State) -> {noreply, looked(State)}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, no_such_call}, #state{}}.
handle_call(_Call, _From, State) -> {reply, {error, no_such_call}, State}.

-spec handle_cast(look, #state{}) -> {noreply, #state{}}.
handle_cast(look, State) -> {noreply, looked(State)}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({timeout, Retry, look}, #state{retry = Retry} = State) -> {noreply, looked(State#state{retry = undefined})};
handle_info(_Other, State) -> {noreply, State}.

looked(#state{group = Group, retry = Before} = State) ->
    _ = Before =:= undefined orelse erlang:cancel_timer(Before),
    case level(State) of
        ok ->
            State#state{retry = undefined};
        later ->
            State#state{retry = erlang:start_timer(?RETRY_MS, self(), look)};
        {error, Reason} ->
            ?LOG_WARNING(#{
                what => "uneven copies stay so for a while", group => Group, reason => Reason, retry_in_ms => ?RETRY_MS
            }),
            State#state{retry = erlang:start_timer(?RETRY_MS, self(), look)}
    end.

%% --- evening out

level(#state{group = Group, epoch = Epoch}) ->
    try
        Copies = era_callstore_log:copies(Group),
        Stands = of_one_lineage(lists:zip(Copies, erpc:multicall(Copies, ?MODULE, stand, [Group], ?ASK_MS))),
        Uneven = uneven(Stands, {Epoch, node()}),
        {Alive, Over} = lists:partition(fun({Term, _}) -> is_of(Term, actives(Stands)) end, Uneven),
        Rows = lists:append([rows_of(Holder, #{Term => Least}, Group) || {Term, {Holder, Least}} <- Over]),
        case {again(Group, wanted(Rows, from(Stands), Group)), Alive} of
            {ok, []} -> told(Group, Epoch, [Node || {Node, _} <- Stands]);
            {ok, [_ | _]} -> later;
            {{error, _} = Error, _} -> Error
        end
    catch
        throw:{failed, Reason} -> {error, Reason};
        error:{erpc, Reason} -> {error, {asked, Group, Reason}};
        exit:{exception, Reason} -> {error, {asked, Group, Reason}};
        %% Mnesia here has stopped.
        exit:{aborted, Reason} -> {error, {log, Reason}}
    end.

of_one_lineage(Answers) ->
    Stands = [{Node, Stand} || {Node, {ok, Stand}} <- Answers],
    case {[Node || {Node, Answer} <- Answers, element(1, Answer) =/= ok], lists:keyfind(node(), 1, Stands)} of
        {[], {_, #{lineage := Ours}}} -> [Of || {_, #{lineage := Lineage}} = Of <- Stands, Lineage =:= Ours];
        {Silent, _} -> throw({failed, {no_answer, Silent}})
    end.

actives(Stands) -> lists:usort(lists:append([Actives || {_, #{actives := Actives}} <- Stands])) -- [node()].

is_of({_, Node}, Actives) -> lists:member(Node, Actives).

%% Of each term but the one in force, of which a copy lacks the end: who is furthest, and how far the others are at
%% least.
uneven(Stands, InForce) ->
    Terms = lists:usort(lists:append([maps:keys(Lasts) || {_, #{lasts := Lasts}} <- Stands])),
    Ends = fun(Term) -> lists:sort([{maps:get(Term, Lasts, 0), Node} || {Node, #{lasts := Lasts}} <- Stands]) end,
    [
        {Term, {Furthest, Least}}
     || Term <- lists:delete(InForce, Terms),
        [{Least, _} | _] = Of <- [Ends(Term)],
        {Most, Furthest} <- [lists:last(Of)],
        Most > Least
    ].

from(Stands) -> lists:min([EvenFrom || {_, #{even_from := EvenFrom}} <- Stands]).

rows_of(Holder, Behind, Group) ->
    [{Key, Holder} || Key <- erpc:call(Holder, ?MODULE, rows, [Group, Behind], ?ASK_MS)].

wanted(Rows, From, Group) ->
    {New, Old} = lists:partition(fun({{Epoch, _, _}, _}) -> Epoch >= From end, Rows),
    Never = maps:from_keys(era_callstore_gap:lacking(Group, [Key || {Key, _} <- Old], in_order), true),
    lists:sort(New ++ [Row || {Key, _} = Row <- Old, is_map_key(Key, Never)]).

again(_Group, []) ->
    ok;
again(Group, Rows) ->
    ?LOG_NOTICE(#{what => "copies were left uneven: rows are committed again", group => Group, rows => length(Rows)}),
    Keys = [Key || {Key, _} <- Rows],
    era_callstore_steps:do(
        [
            fun() ->
                Chunks = erpc:call(Holder, era_callstore_log, chunks, [Group, Key], ?ASK_MS),
                era_callstore_submit:append_all(Group, Chunks)
            end
         || {Key, Holder} <- Rows
        ] ++ [
            fun() -> era_callstore_log:know_terms(Group, terms(Keys)) end,
            %% Under these keys the active would never trim them.
            fun() -> era_callstore_log:delete(Group, Keys) end
        ]
    ).

%% A copy that has been lost meanwhile is not told, and says so when it is asked the next time.
told(Group, Epoch, Nodes) ->
    _ = erpc:multicall(Nodes, era_callstore_lineage, is_even, [Group, Epoch], ?ASK_MS),
    ok.

name(Group) -> list_to_atom("era_callstore_level_" ++ integer_to_list(Group)).
