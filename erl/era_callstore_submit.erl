%%% The way of a chunk to the writer of its group on this node, and of the answer back.
%%%
%%%   caller ──bytes counted in the writer's queue──► {append, Ref, Chunk, Count, Bytes} ──► era_callstore_writer
%%%      ▲                                                                                          │
%%%      └────────────────────────── {Ref, Answer}, or the writer's end ◄───────────────────────────┘
%%% Always holds: bytes are counted before they are sent, so what waits is bounded whoever sends. Runs in the caller.
%%% Called by: era_callstore_put (put/4, await/2), ticker, outbox and jobs (append/3), level and union (append_all/2).
%%% Must never: look into a chunk, or send one twice.
-module(era_callstore_submit).

-export([put/4, append/3, append_all/2, await/2]).

%% @doc Sends a chunk of Count events, unless too many bytes wait already; the answer is awaited with await/2.
-spec put({pid(), atomics:atomics_ref(), pos_integer()}, era_callstore_nif:chunk(), Count :: pos_integer(), Bytes) ->
    {ok, reference()} | {error, overload}
when
    Bytes :: non_neg_integer().
put({Pid, Queue, MaxBytes}, Chunk, Count, Bytes) ->
    case atomics:add_get(Queue, 1, Bytes) of
        Waiting when Waiting > MaxBytes, Waiting > Bytes ->
            %% The queue of a writer that has just died says nothing: its end is what the caller is to hear.
            case is_process_alive(Pid) of
                true ->
                    ok = atomics:sub(Queue, 1, Bytes),
                    {error, overload};
                false ->
                    {ok, send(Pid, Chunk, Count, Bytes)}
            end;
        _ ->
            {ok, send(Pid, Chunk, Count, Bytes)}
    end.

%% @doc Appends what the application itself decided and waits for the commit. Not refused for overload: it is what
%% makes the queue shorter.
-spec append(Group :: pos_integer(), era_callstore_nif:chunk(), Count :: pos_integer()) ->
    {ok, era_callstore_nif:applied()} | {error, term()}.
append(Group, Chunk, Count) ->
    case era_callstore_router:writer(Group) of
        {Pid, Queue, _} ->
            Bytes = byte_size(Chunk),
            ok = atomics:add(Queue, 1, Bytes),
            await(send(Pid, Chunk, Count, Bytes), infinity);
        none ->
            {error, no_active}
    end.

%% @doc Appends chunks of other rows, one after the other.
-spec append_all(Group :: pos_integer(), [era_callstore_nif:chunk()]) -> ok | {error, term()}.
append_all(_Group, []) ->
    ok;
append_all(Group, [Chunk | Chunks]) ->
    case append(Group, Chunk, 1) of
        {ok, _} -> append_all(Group, Chunks);
        {error, _} = Error -> Error
    end.

%% @doc The answer to a chunk. `gone': the writer ended first, and whether the chunk was committed is not known.
-spec await(reference(), timeout()) ->
    {ok, era_callstore_nif:applied()} | {error, poisoned | gone | timeout}.
await(Ref, TimeoutMs) ->
    receive
        {Ref, Answer} -> Answer;
        {'DOWN', Ref, process, _, _} -> {error, gone}
    after TimeoutMs ->
        erlang:demonitor(Ref, [flush]),
        %% The alias is gone now; an answer that came before is taken.
        receive
            {Ref, Answer} -> Answer
        after 0 -> {error, timeout}
        end
    end.

send(Pid, Chunk, Count, Bytes) ->
    Ref = erlang:monitor(process, Pid, [{alias, reply_demonitor}]),
    Pid ! {append, Ref, Chunk, Count, Bytes},
    Ref.
