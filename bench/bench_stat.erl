%% What: the few statistics the benchmarks need, as pure functions over lists of numbers.
%% Holds: every function takes the sample in any order and fails on an empty one: no figure is better than an invented one.
%% Callers: the cases and bench_figures. Never prints, never reads a clock.
-module(bench_stat).

-export([summary/1, median/1, percentile/2, ratio/3]).

-export_type([summary/0, better/0]).

-type summary() :: #{median := number(), min := number(), max := number(), runs := pos_integer()}.
-type better() :: more | less.

%% Median, smallest and largest of a sample and how many values it has.
-spec summary([number(), ...]) -> summary().
summary(Sample) ->
    #{median => median(Sample), min => lists:min(Sample), max => lists:max(Sample), runs => length(Sample)}.

%% The middle value; of an even number of values the mean of the middle two.
-spec median([number(), ...]) -> number().
median([_ | _] = Sample) ->
    Sorted = lists:sort(Sample),
    Count = length(Sorted),
    case Count rem 2 of
        1 -> lists:nth(Count div 2 + 1, Sorted);
        0 -> (lists:nth(Count div 2, Sorted) + lists:nth(Count div 2 + 1, Sorted)) / 2
    end.

%% The smallest value that at least `Percent` per cent of the sample do not exceed (nearest rank).
-spec percentile(number(), [number(), ...]) -> number().
percentile(Percent, [_ | _] = Sample) when Percent > 0, Percent =< 100 ->
    Sorted = lists:sort(Sample),
    lists:nth(max(1, ceil(length(Sorted) * Percent / 100)), Sorted).

%% How many times better ours is than the peer's, whichever direction is the good one.
-spec ratio(better(), Ours :: number(), Peer :: number()) -> float().
ratio(more, Ours, Peer) -> Ours / Peer;
ratio(less, Ours, Peer) -> Peer / Ours.
