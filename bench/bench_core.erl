%% What: the core alone, through the NIF, in one process: folding chunks into a fresh store, and making chunks from maps and from JSON.
%% Holds: batches of 256 events as in the put path. The peer of the fold is the ETS aggregation over the same events; the peer of the
%%        encoding from maps is term_to_binary of the same batch, what Erlang would send in its place; JSON has no peer in OTP 25.
%% Callers: bench_main; measure/2 runs in a VM of its own.
-module(bench_core).

-behaviour(bench_case).

-export([figures/0, run/2, max_runs/0, measure/1]).

-define(BATCH, 256).
-define(REPLICAS, 8).

-spec figures() -> [bench_figures:description()].
figures() ->
    Core = #{note => <<"core through the NIF, one process">>},
    [
        Core#{name => fold, unit => <<"events/s">>, better => more, peer => <<"ets, one process">>},
        Core#{name => encode_map, unit => <<"us/event">>, better => less, peer => <<"term_to_binary">>},
        Core#{name => encode_json, unit => <<"us/event">>, better => less}
    ].

-spec max_runs() -> infinity.
max_runs() -> infinity.

-spec run([atom()], pos_integer()) -> #{atom() => number() | {number(), number()}}.
run(Wanted, _Run) ->
    maps:from_list([
        {Name, bench_vm:with(#{folder => "core"}, fun(VM) -> bench_vm:call(VM, ?MODULE, measure, [Name]) end)}
     || Name <- Wanted
    ]).

%% One value and its peer's, in this VM.
-spec measure(atom()) -> number() | {number(), number()}.
measure(fold) ->
    Router = router(),
    [Prepared] = bench_producers:prepare(1, fun(_) -> batches() end),
    Chunks = [chunk(Router, Batch) || Batch <- persistent_term:get(Prepared)],
    Store = era_callstore_nif:new(settings()),
    NowMs = bench_events:first_ms(),
    Rows = [{term_to_binary({1, node(), Seq}), Chunk} || {Seq, Chunk} <- lists:enumerate(Chunks)],
    Fold = fun(_, _) ->
        lists:sum([
            begin
                {ok, [{New, 0, _Late}]} = era_callstore_nif:apply(Store, Key, [Chunk], NowMs),
                New
            end
         || {Key, Chunk} <- Rows
        ])
    end,
    Ours = once(Fold),
    Peer = bench_producers:play(
        [Prepared],
        fun(Batch, _) -> bench_peer_ets:put(tables(), Batch) end,
        fun(_) -> ok end
    ),
    {bench_producers:rate(Ours), bench_producers:rate(Peer)};
measure(encode_map) ->
    Router = router(),
    Prepared = bench_producers:prepare(1, fun(_) -> batches() end),
    Ours = played(Prepared, fun(Batch) -> chunk(Router, Batch) end),
    Peer = played(Prepared, fun(Batch) -> term_to_binary(Batch) end),
    {Ours, Peer};
measure(encode_json) ->
    Router = router(),
    Prepared = bench_producers:prepare(1, fun(_) -> [{length(Batch), json(Batch)} || Batch <- batches()] end),
    us_per_event(
        bench_producers:play(
            Prepared,
            fun({Events, Json}, _) ->
                {[{_Group, _Chunk, Events}], []} = era_callstore_nif:encode_json(Router, Json, #{}),
                Events
            end,
            fun(_) -> ok end
        )
    ).

once(Fold) ->
    ok = persistent_term:put({bench_producers, rows}, [all]),
    bench_producers:play([{bench_producers, rows}], Fold, fun(_) -> ok end).

%% The tables belong to the producer that folds into them.
tables() ->
    case get(?MODULE) of
        undefined ->
            Tables = bench_peer_ets:new(),
            undefined = put(?MODULE, Tables),
            Tables;
        Tables ->
            Tables
    end.

played(Prepared, Encode) ->
    us_per_event(
        bench_producers:play(
            Prepared,
            fun(Batch, _) ->
                true = is_binary(Encode(Batch)),
                length(Batch)
            end,
            fun(_) -> ok end
        )
    ).

us_per_event(#{events := Events, ns := Ns}) ->
    Ns / 1000 / Events.

batches() ->
    lists:append([bench_events:in_batches(?BATCH, bench_events:replica(N)) || N <- lists:seq(1, ?REPLICAS)]).

json(Batch) ->
    iolist_to_binary(lists:join($\n, [era_callstore_nif:json_encode(Event) || Event <- Batch])).

chunk(Router, Batch) ->
    {[{_Group, Chunk, _Count}], []} = era_callstore_nif:encode(Router, Batch, #{}),
    Chunk.

router() ->
    Role = #{<<"name">> => <<"callstore1">>, <<"roletype">> => <<"callstore">>, <<"group">> => 1, <<"order">> => 1},
    {ok, Router} = era_callstore_nif:router(era_callstore_nif:json_encode([Role]), #{event_aliases => #{}}),
    Router.

settings() ->
    #{
        site => <<"bench">>,
        master_domain => <<"era.test">>,
        group => 1,
        sinks => [<<"collection">>],
        cdr_enabled => true,
        sorm3_enabled => false,
        copm3_name => <<"COPM3_dialogs">>,
        watch => #{}
    }.
