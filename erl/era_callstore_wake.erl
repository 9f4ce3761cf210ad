%%% Bells: how the writer tells another process that there is something to do, without sending it one message a commit.
%%%
%%% A bell that has rung and was not yet answered does not ring again, so at most one wake-up waits in a mailbox.
%%% Always holds: who answers a bell before it looks for work misses none.
%%% Called by: writer (ring/1), ticker and outboxes (bell/1, answer/1).
%%% Must never: block.
-module(era_callstore_wake).

-export([bell/1, ring/1, answer/1]).
-export_type([bell/0]).

-type bell() :: {pid(), atomics:atomics_ref(), Message :: term()}.

%% @doc A bell of the calling process: it gets Message.
-spec bell(Message :: term()) -> bell().
bell(Message) -> {self(), atomics:new(1, []), Message}.

%% @doc Wakes those who are not woken already.
-spec ring([bell()]) -> ok.
ring(Bells) -> lists:foreach(fun ring_one/1, Bells).

%% @doc The owner is about to look for work.
-spec answer(bell()) -> ok.
answer({_, Rung, _}) -> atomics:put(Rung, 1, 0).

ring_one({Pid, Rung, Message}) ->
    case atomics:exchange(Rung, 1, 1) of
        0 -> Pid ! Message, ok;
        1 -> ok
    end.
