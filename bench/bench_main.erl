%% What: the entry of `make bench`: measures the figures asked for, prints them as a table, writes them to _build/bench/figures.json.
%% Holds: environment ONLY names a figure or the beginning of several (default: all), RUNS how often each is measured (default 5).
%%        With ONLY the other figures stay in the file as they were. Any failure ends with a status other than 0.
%% Callers: the Makefile, as `erl -noshell -pa … -s bench_main main`, in the root folder of the repository.
-module(bench_main).

-export([main/0]).

-define(CASES, [bench_core, bench_put, bench_live, bench_cluster, bench_watch]).
-define(FIGURES, "_build/bench/figures.json").

-spec main() -> no_return().
main() ->
    try measure(os:getenv("ONLY", ""), list_to_integer(os:getenv("RUNS", "5"))) of
        ok -> halt(0)
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "bench: ~tp~n", [{Class, Reason, Stack}]),
            halt(1)
    end.

measure(Only, Runs) ->
    case selection(Only) of
        [] ->
            io:format(standard_error, "bench: no figure is called ~ts. There are:~n", [Only]),
            [io:format(standard_error, "  ~ts~n", [Name]) || {_, Descriptions} <- selection(""), #{name := Name} <- Descriptions],
            halt(2);
        Selected ->
            ok = bench_events:use(bench_events:template()),
            io:format("events: ~ts, ~b calls, ~b events~n", [
                bench_events:source(), bench_events:calls_per_replica(), bench_events:events_per_replica()
            ]),
            Figures = lists:append([figures(Case, Descriptions, Runs) || {Case, Descriptions} <- Selected]),
            ok = bench_figures:print(Figures),
            ok = bench_figures:write(?FIGURES, Figures, mode(Only)),
            io:format("~nwritten to ~ts~n", [?FIGURES])
    end.

mode("") -> replace;
mode(_Only) -> update.

selection(Only) ->
    [
        {Case, Wanted}
     || Case <- ?CASES,
        Wanted <- [[D || #{name := Name} = D <- Case:figures(), lists:prefix(Only, atom_to_list(Name))]],
        Wanted =/= []
    ].

figures(Case, Descriptions, Asked) ->
    Names = [Name || #{name := Name} <- Descriptions],
    Runs = min(Asked, Case:max_runs()),
    Values = [run(Case, Names, Run, Runs) || Run <- lists:seq(1, Runs)],
    [bench_figures:figure(D, [maps:get(Name, Value) || Value <- Values]) || #{name := Name} = D <- Descriptions].

run(Case, Names, Run, Runs) ->
    Start = erlang:monotonic_time(millisecond),
    Values = Case:run(Names, Run),
    Seconds = (erlang:monotonic_time(millisecond) - Start) / 1000,
    io:format("~ts ~b/~b (~.1f s): ~ts~n", [Case, Run, Runs, Seconds, [brief(Name, Values) || Name <- Names]]),
    Values.

brief(Name, Values) ->
    case Values of
        #{Name := {Ours, Peer}} -> io_lib:format("~n    ~ts ~ts, peer ~ts", [Name, short(Ours), short(Peer)]);
        #{Name := Ours} -> io_lib:format("~n    ~ts ~ts", [Name, short(Ours)])
    end.

short(Number) -> io_lib:format("~.2f", [float(Number)]).
