%% What: the behaviour of a benchmark case: which figures it gives and how one run of them is measured.
%% Holds: run/2 measures ours and the peer one after the other, so that a change of the machine's mood meets both.
%% Callers: bench_main.
-module(bench_case).

-export([until/2, elapsed_us/1]).

-callback figures() -> [bench_figures:description()].
%% The values of one run, of the wanted figures at least: alone, or {Ours, Peer}.
-callback run(Wanted :: [atom()], Run :: pos_integer()) -> #{atom() => number() | {number(), number()}}.
%% How many runs are worth their time, when fewer than asked for.
-callback max_runs() -> pos_integer() | infinity.

%% Asks every few milliseconds whether something holds, `Seconds` at most: for conditions that nobody announces.
-spec until(fun(() -> boolean()), pos_integer()) -> ok.
until(Condition, Seconds) ->
    ask(Condition, erlang:monotonic_time(millisecond) + Seconds * 1000).

ask(Condition, DeadlineMs) ->
    case Condition() of
        true ->
            ok;
        false ->
            _ = [error({not_within_time, Condition}) || erlang:monotonic_time(millisecond) > DeadlineMs],
            receive
            after 2 -> ask(Condition, DeadlineMs)
            end
    end.

%% Runs a function and says how long it took, in microseconds with fractions.
-spec elapsed_us(fun(() -> Result)) -> {float(), Result}.
elapsed_us(Fun) ->
    Start = erlang:monotonic_time(nanosecond),
    Result = Fun(),
    {(erlang:monotonic_time(nanosecond) - Start) / 1000, Result}.
