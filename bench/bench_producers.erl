%% What: producers: processes that each play their own batches through one function, all started at the same moment, and the time
%%       until the last of them is done.
%% Holds: batches are literals (persistent_term), so playing them neither copies nor collects the events; making them is not in the time.
%% Callers: the cases, inside the measuring VM.
-module(bench_producers).

-export([prepare/2, play/3, rate/1]).

-export_type([prepared/0, played/0]).

-type prepared() :: [{?MODULE, pos_integer()}].
-type played() :: #{events := non_neg_integer(), ns := pos_integer()}.

%% Makes the batches of `Count` producers: `Make(Producer)` gives those of one. All are made at once, each in a process of its own.
-spec prepare(pos_integer(), fun((pos_integer()) -> [term()])) -> prepared().
prepare(Count, Make) ->
    Keys = [{?MODULE, Producer} || Producer <- lists:seq(1, Count)],
    Workers = [spawn_monitor(fun() -> persistent_term:put(Key, Make(Producer)) end) || {_, Producer} = Key <- Keys],
    [
        receive
            {'DOWN', Ref, process, Pid, normal} -> ok;
            {'DOWN', Ref, process, Pid, Reason} -> error(Reason)
        end
     || {Pid, Ref} <- Workers
    ],
    Keys.

%% Plays all batches: `Put(Batch, Producer)` returns how many events were taken. `Finish(Producer)` runs in the same process after
%% the last batch and inside the time: a barrier where the effect is later than the return.
-spec play(prepared(), fun((term(), pos_integer()) -> non_neg_integer()), fun((pos_integer()) -> ok)) -> played().
play(Prepared, Put, Finish) ->
    Caller = self(),
    Workers = [spawn_monitor(fun() -> producer(Caller, Key, Put, Finish) end) || Key <- Prepared],
    [
        receive
            {ready, Pid} -> ok
        end
     || {Pid, _} <- Workers
    ],
    Start = erlang:monotonic_time(nanosecond),
    [Pid ! go || {Pid, _} <- Workers],
    Taken = [
        receive
            {'DOWN', Ref, process, Pid, {taken, Events}} -> Events;
            {'DOWN', Ref, process, Pid, Reason} -> error(Reason)
        end
     || {Pid, Ref} <- Workers
    ],
    #{events => lists:sum(Taken), ns => erlang:monotonic_time(nanosecond) - Start}.

producer(Caller, {_, Producer} = Key, Put, Finish) ->
    Batches = persistent_term:get(Key),
    Caller ! {ready, self()},
    receive
        go -> ok
    end,
    Events = lists:foldl(fun(Batch, Sum) -> Sum + Put(Batch, Producer) end, 0, Batches),
    ok = Finish(Producer),
    exit({taken, Events}).

%% Events a second.
-spec rate(played()) -> float().
rate(#{events := Events, ns := Ns}) ->
    Events * 1.0e9 / Ns.
