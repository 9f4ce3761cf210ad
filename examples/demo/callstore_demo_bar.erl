%%% The progress bar: one line that is drawn over on a terminal, a plain line every tenth elsewhere.
%%% Called by: the acts of the demo. Must never: slow the play down; it draws ten times a second at most.
-module(callstore_demo_bar).

-export([new/1, new/2, show/4, done/1]).
-export_type([bar/0]).

-record(bar, {
    tty :: boolean(),
    counts :: string(),
    drawn_at = 0 :: integer(),
    tenth = 0 :: 0..10,
    first_ms :: integer() | undefined
}).
-opaque bar() :: #bar{}.

-define(WIDTH, 40).
-define(DRAW_EVERY_MS, 100).

%% @doc A bar that has not begun.
-spec new(Tty :: boolean()) -> bar().
new(Tty) -> new(Tty, "events").

%% @doc The same for what is counted by another name.
-spec new(Tty :: boolean(), Counts :: string()) -> bar().
new(Tty, Counts) -> #bar{tty = Tty, counts = Counts, drawn_at = erlang:monotonic_time(millisecond) - ?DRAW_EVERY_MS}.

%% @doc Shows how far the play is: share of the file, events so far, the time it is in the play.
-spec show(Share :: float(), Events :: non_neg_integer(), NowMs :: integer(), bar()) -> bar().
show(Share, Events, NowMs, #bar{first_ms = undefined} = Bar) ->
    show(Share, Events, NowMs, Bar#bar{first_ms = NowMs});
show(Share, Events, NowMs, #bar{tty = true, drawn_at = At} = Bar) ->
    case erlang:monotonic_time(millisecond) of
        Time when Time - At >= ?DRAW_EVERY_MS; Share >= 1.0 ->
            Full = round(Share * ?WIDTH),
            Drawn = [lists:duplicate(Full, $#), lists:duplicate(?WIDTH - Full, $.)],
            io:format("\r[~s] ~ts", [Drawn, figures(Share, Events, NowMs, Bar)]),
            Bar#bar{drawn_at = Time};
        _ ->
            Bar
    end;
show(Share, Events, NowMs, #bar{tenth = Tenth} = Bar) ->
    case trunc(Share * 10) of
        Now when Now > Tenth ->
            io:format("  ~ts~n", [figures(Share, Events, NowMs, Bar)]),
            Bar#bar{tenth = Now};
        _ ->
            Bar
    end.

figures(Share, Events, NowMs, #bar{first_ms = First, counts = Counts}) ->
    Seconds = (NowMs - First) div 1000,
    io_lib:format("~3b %  ~9b ~ts  ~2..0b:~2..0b:~2..0b", [
        round(Share * 100), Events, Counts, Seconds div 3600, Seconds rem 3600 div 60, Seconds rem 60
    ]).

%% @doc Ends the bar's line.
-spec done(bar()) -> ok.
done(#bar{tty = true}) -> io:nl();
done(#bar{}) -> ok.
