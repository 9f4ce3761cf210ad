%%% What every act of the demo needs: to begin with the emulator's extra arguments, to end with an exit status, to wait.
%%%
%%% Exit status: 0 all well; 1 the input had faults; 2 the demo could not run; 3 the result is not what it must be.
%%% Called by: the acts of the demo. Must never: know what an act does.
-module(callstore_demo_act).

-export([main/1, stop/2, or_stop/1, complain/1, await/2, await/3]).

-define(AWAIT_MS, 120000).
-define(POLL_MS, 10).

-type arguments() :: #{events := file:filename(), out := file:filename(), dir := file:filename(), tty := boolean()}.

%% @doc Runs an act with the arguments EVENTS OUT DIR TTY and ends the emulator with the status that it returns, or that
%% it was stopped with.
-spec main(fun((arguments()) -> 0..3)) -> no_return().
main(Act) ->
    [Events, Out, Dir, Tty] = init:get_plain_arguments(),
    ok = io:setopts(standard_io, [{encoding, unicode}]),
    Status =
        try
            Act(#{events => Events, out => Out, dir => Dir, tty => Tty =:= "tty"})
        catch
            throw:{?MODULE, Code, Text} ->
                complain(Text),
                Code
        end,
    halt(Status).

%% @doc Ends the act.
-spec stop(1..3, iodata()) -> no_return().
stop(Code, Text) -> throw({?MODULE, Code, Text}).

%% @doc The value, or the end of an act that cannot run.
-spec or_stop({ok, Value} | {error, iodata()}) -> Value.
or_stop({ok, Value}) -> Value;
or_stop({error, Text}) -> stop(2, Text).

-spec complain(iodata()) -> ok.
complain(Text) -> io:format(standard_error, "demo: ~ts~n", [Text]).

%% @doc Waits until the condition holds; an act that waits in vain has failed.
-spec await(What :: iodata(), fun(() -> boolean())) -> ok.
await(What, Holds) -> await(What, Holds, fun() -> "" end).

%% @doc The same; says how things stand when it was in vain.
-spec await(What :: iodata(), fun(() -> boolean()), Standing :: fun(() -> iodata())) -> ok.
await(What, Holds, Standing) -> await(What, Holds, Standing, erlang:monotonic_time(millisecond) + ?AWAIT_MS).

await(What, Holds, Standing, Deadline) ->
    case {Holds(), erlang:monotonic_time(millisecond) > Deadline} of
        {true, _} -> ok;
        {false, true} -> stop(3, [io_lib:format("waited ~b s for ~ts", [?AWAIT_MS div 1000, What]), Standing()]);
        {false, false} -> receive after ?POLL_MS -> await(What, Holds, Standing, Deadline) end
    end.
