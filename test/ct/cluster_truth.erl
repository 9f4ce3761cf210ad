%%% What must be true of a group's nodes when the dust has settled, whatever was done to them.
%%%
%%%   there/2         every acknowledged call is in every copy, and is what its events make of it
%%%   equal/1         digests are equal, and started = live + closed on each copy
%%%   recorded/3      every call that ended has its record in a file, each record and revision with one content
%%% Always holds: a failure names the calls, at most SHOWN of them.
%%% Called by: the suites of several nodes; here_wrong/2 runs inside the nodes.
%%% Must never: take the word of the active for that of a copy.
-module(cluster_truth).

-export([all/3, there/2, missing/2, equal/1, delivered/1, records/1, cids/1]).
-export([one_content/1, one_content_unless_apart/3, recorded/3]).
-export([here_wrong/2, here_missing/1]).
-export_type([record/0]).

-include_lib("stdlib/include/assert.hrl").

-define(SHOWN, 10).
-define(IN_ONE_CALL, 500).

-type record() :: {{Cid :: binary(), Revision :: pos_integer()}, Line :: binary()}.

%% @doc All of it, of nodes that run and of what their files hold.
-spec all([cluster_node:running()], [cluster_node:plan()], cluster_load:outcome()) -> ok.
all(Nodes, Plans, Outcome) ->
    ok = there(Nodes, Outcome),
    ok = delivered(Nodes),
    ok = equal(Nodes),
    recorded(Plans, one_content(records(Plans)), Outcome).

%% @doc Every acknowledged call is in every copy; ends that wait for a decision are awaited.
-spec there([cluster_node:running()], cluster_load:outcome()) -> ok.
there(Nodes, #{kind := Kind, batches := Batches}) ->
    _ = cluster_node:settled(Nodes),
    cluster_node:until(acknowledged_calls_are_there, fun() ->
        case [{cluster_node:name(Node), Wrong} || Node <- Nodes, [_ | _] = Wrong <- [wrong(Node, Kind, Batches)]] of
            [] -> true;
            Wrong -> {false, Wrong}
        end
    end).

%% By batch, with where and when it was acknowledged, so that what was done at that time can be looked up.
wrong(Node, Kind, Batches) ->
    Wrong = wrong_numbers(Node, Kind, [{From, To} || #{from := From, to := To} <- Batches]),
    lists:sublist([
        {clock(AtMs), Where, Of}
     || #{node := Where, from := From, to := To, at_ms := AtMs} <- Batches,
        Of <- [maps:with(lists:seq(From, To), Wrong)],
        map_size(Of) > 0
    ], ?SHOWN).

wrong_numbers(_Node, _Kind, []) -> #{};
wrong_numbers(Node, Kind, Ranges) ->
    {Now, Rest} = lists:split(min(?IN_ONE_CALL, length(Ranges)), Ranges),
    maps:merge(cluster_node:call(Node, ?MODULE, here_wrong, [Kind, Now]), wrong_numbers(Node, Kind, Rest)).

clock(MonotonicMs) ->
    calendar:system_time_to_rfc3339(MonotonicMs + erlang:time_offset(millisecond), [{unit, millisecond}]).

%% @doc The calls that were acknowledged.
-spec cids(cluster_load:outcome()) -> [binary()].
cids(#{batches := Batches}) -> lists:append([cluster_calls:cids(From, To) || #{from := From, to := To} <- Batches]).

%% @doc Which of these calls the copy of this node does not know.
-spec missing(cluster_node:running(), [binary()]) -> [binary()].
missing(Node, Cids) -> cluster_node:call(Node, ?MODULE, here_missing, [Cids]).

%% @doc The copies are equal, and each call is either live or closed.
-spec equal([cluster_node:running()]) -> ok.
equal(Nodes) ->
    cluster_node:until(copies_are_equal, fun() ->
        Statuses = cluster_node:settled(Nodes),
        Counted = [maps:with([started, live, closed], Status) || Status <- Statuses],
        Sums = [Started =:= Live + Closed || #{started := Started, live := Live, closed := Closed} <- Statuses],
        case {cluster_node:digests(Nodes), lists:usort(Counted), lists:usort(Sums)} of
            {[_], [_], [true]} -> true;
            Different -> {false, Different}
        end
    end).

%% @doc Every sink has accepted all that was issued.
-spec delivered([cluster_node:running()]) -> ok.
delivered(Nodes) ->
    cluster_node:until(delivered, fun() ->
        Outboxes = [Outbox || #{outbox := Outbox} <- cluster_node:settled(Nodes)],
        case lists:usort([Depth || Outbox <- Outboxes, #{depth := Depth} <- maps:values(Outbox)]) of
            [] -> true;
            [0] -> true;
            _ -> {false, Outboxes}
        end
    end).

%% @doc The lines of the file sinks of all of these nodes, in folder `cdr' of each.
-spec records([cluster_node:plan()]) -> [record()].
records(Plans) -> lists:append([of_node(Plan) || Plan <- Plans]).

of_node(#{dir := Dir}) ->
    lists:append([of_file(File) || File <- filelib:wildcard(filename:join([Dir, "cdr", "records*.ndjson"]))]).

of_file(File) ->
    {ok, Content} = file:read_file(File),
    %% After the last line end there is nothing, or a line that is being written.
    [record(Line) || Line <- lists:droplast(binary:split(Content, <<"\n">>, [global]))].

record(Line) ->
    {ok, #{<<"cid">> := Cid, <<"revision">> := Revision}} = era_callstore_nif:json_decode(Line),
    {{Cid, Revision}, Line}.

%% @doc No record and revision has two contents.
-spec one_content([record()]) -> [record()].
one_content(Records) ->
    Contents = lists:usort(Records),
    ?assertEqual([], lists:sublist(twice(Contents), ?SHOWN)),
    Contents.

%% @doc A revision has two contents only where each was issued by a node that did not know of the other's: in terms of
%% activity that went on apart. Then a higher revision with one content has followed.
-spec one_content_unless_apart([record()], cluster_terms:terms(), [cluster_terms:apart()]) ->
    [record()].
one_content_unless_apart(Records, Terms, Apart) ->
    Contents = lists:usort(Records),
    Known = [
        {Record, issued_by(A), issued_by(B)}
     || {Record, A, B} <- twice(Contents), not cluster_terms:were_apart(issued_by(A), issued_by(B), Terms, Apart)
    ],
    ?assertEqual([], lists:sublist(Known, ?SHOWN)),
    Newer = fun({{Cid, _}, _} = Record, Acc) -> Acc#{Cid => newer(Record, maps:get(Cid, Acc, []))} end,
    Latest = lists:foldl(Newer, #{}, Contents),
    ?assertEqual([], lists:sublist([Several || [_, _ | _] = Several <- maps:values(Latest)], ?SHOWN)),
    Contents.

issued_by(Line) ->
    {ok, #{<<"node">> := Node, <<"epoch">> := Epoch}} = era_callstore_nif:json_decode(Line),
    {Node, Epoch}.

%% The contents of the highest revision.
newer({{_, Revision}, _} = Record, [{{_, Revision}, _} | _] = Same) -> [Record | Same];
newer(Record, _LowerBecauseSorted) -> [Record].

twice([{Same, A}, {Same, B} | Rest]) -> [{Same, A, B} | twice([{Same, B} | Rest])];
twice([_ | Rest]) -> twice(Rest);
twice([]) -> [].

%% @doc Every call that ended has its record, none that lives has one; nothing to hold them against without a sink.
-spec recorded([cluster_node:plan()], [record()], cluster_load:outcome()) -> ok.
recorded([#{settings := #{sinks := []}} | _], [], _Outcome) ->
    ok;
recorded([], [], _Outcome) ->
    ok;
recorded(_Plans, Records, #{kind := Kind, batches := Batches}) ->
    Recorded = maps:from_keys([Cid || {{Cid, _}, _} <- Records], true),
    Numbers = [N || #{from := From, to := To} <- Batches, N <- lists:seq(From, To)],
    Without = [N || N <- Numbers, cluster_calls:fate(Kind, N) =:= ends, not is_map_key(cluster_calls:cid(N), Recorded)],
    Undead = [N || N <- Numbers, cluster_calls:fate(Kind, N) =:= lives, is_map_key(cluster_calls:cid(N), Recorded)],
    ?assertEqual([], lists:sublist(Without, ?SHOWN)),
    ?assertEqual([], lists:sublist(Undead, ?SHOWN)).

%% --- inside the nodes

%% @doc Calls of these ranges that this node's own copy does not know, or not as it should.
-spec here_wrong(cluster_calls:kind(), [{From :: integer(), To :: integer()}]) ->
    #{Number :: integer() => State :: term()}.
here_wrong(Kind, Ranges) ->
    Now = era_callstore_clock:now_ms(),
    Look =
        case era_callstore_router:store(1) of
            {ok, Store} -> fun(N) -> state(era_callstore_nif:call(Store, {cid, cluster_calls:cid(N)}, Now)) end;
            %% The copy is being loaded anew.
            none -> fun(_N) -> not_found end
        end,
    maps:from_list([
        {N, Is}
     || {From, To} <- Ranges, N <- lists:seq(From, To), Is <- [Look(N)], not right(cluster_calls:fate(Kind, N), Is)
    ]).

state(not_found) -> not_found;
state({ok, #{<<"state">> := State}}) -> State.

right(_Fate, not_found) -> false;
right(later, _State) -> true;
right(ends, State) -> lists:member(State, [<<"closed">>, <<"dead">>]);
right(lives, State) -> not lists:member(State, [<<"closed">>, <<"dead">>]).

-spec here_missing([binary()]) -> [binary()].
here_missing(Cids) ->
    {ok, Store} = era_callstore_router:store(1),
    Now = era_callstore_clock:now_ms(),
    [Cid || Cid <- Cids, era_callstore_nif:call(Store, {cid, Cid}, Now) =:= not_found].
