%%% The demo: plays a file of call events through the whole application on the events' own time, and shows what came of
%%% it. Also the shortest example of embedding: configure, start, put, read.
%%%
%%%   erl -noshell … -s callstore_demo main -extra EVENTS OUT DIR TTY          (see `run' beside this file)
%%%
%%% Always holds: virtual time never passes an event that was not put yet; every run begins with an empty data folder of
%%% its own; whatever goes wrong with the input, every call that ended in what was accepted gets its record, and the
%%% exit status is not 0.
%%% Exit status: as callstore_demo_act says.
%%% Must never: use more of era_callstore than role code and an operator may, and the clock.
-module(callstore_demo).

-export([main/0, event_ms/2]).

-import(callstore_demo_act, [stop/2, or_stop/1, complain/1]).

%% A put takes at most this much, and no more of virtual time than this.
-define(BATCH_LINES, 256).
-define(BATCH_BYTES, 512 * 1024).
-define(BATCH_MS, 1000).
-define(PUT_TIMEOUT_MS, 30000).
-define(PUT_TRIES, 3).
-define(SHOWN_FAULTS, 10).
%% After the last event: past the wait for dlg_stop, ringing, and the life of a call, with what follows from each.
-define(ADVANCES_MS, [10000, 600000, 3600000, 90000000, 90000000]).

-record(play, {
    lines :: callstore_demo_lines:lines(),
    bar :: callstore_demo_bar:bar(),
    batch = [] :: [{Number :: pos_integer(), binary()}],
    batch_bytes = 0 :: non_neg_integer(),
    batch_ms :: integer(),
    now_ms :: integer(),
    events = 0 :: non_neg_integer(),
    accepted = 0 :: non_neg_integer(),
    duplicate = 0 :: non_neg_integer(),
    rejected = 0 :: non_neg_integer(),
    faults = [] :: [iodata()],
    more_faults = 0 :: non_neg_integer(),
    peak = #{live => 0, kept => 0, memory_bytes => 0} :: callstore_demo_result:sizes()
}).

%% @doc Runs the demo with the emulator's extra arguments and ends the emulator.
-spec main() -> no_return().
main() ->
    callstore_demo_act:main(fun(#{events := Events, out := Out, dir := Dir, tty := Tty}) ->
        run(Events, Out, Dir, Tty)
    end).

run(Events, Out, Dir, Tty) ->
    Lines = or_stop(callstore_demo_lines:open(Events)),
    ok = callstore_demo_result:prepare(Out),
    {Play, First} = first_line(#play{
        lines = Lines,
        bar = callstore_demo_bar:new(Tty),
        batch_ms = 0,
        now_ms = 0
    }),
    ok = start(Dir, Play#play.now_ms),
    io:format("playing ~ts~n", [Events]),
    Began = erlang:monotonic_time(millisecond),
    Played = play(First, Play),
    TookMs = max(1, erlang:monotonic_time(millisecond) - Began),
    Left = settle(Played#play.now_ms, ?ADVANCES_MS),
    callstore_demo_bar:done(Played#play.bar),
    Result = callstore_demo_result:collect(cdr_dir(Dir)),
    Written = callstore_demo_result:write(Out, cdr_dir(Dir)),
    callstore_demo_result:show(Result, #{
        events => Played#play.events,
        accepted => Played#play.accepted,
        duplicate => Played#play.duplicate,
        rejected => Played#play.rejected,
        took_ms => TookMs,
        peak => Played#play.peak,
        live => Left,
        places => [{"collection in Mnesia", data_dir(Dir)} | [{"file", F} || F <- Written]]
    }),
    ok = application:stop(era_callstore),
    status(Played, Left, callstore_demo_result:faults(Result)).

%% --- start

%% The defaults of the application, and beside them: a folder of its own, the projection, and records in a file too.
start(Dir, NowMs) ->
    _ = file:del_dir_r(data_dir(Dir)),
    _ = file:del_dir_r(cdr_dir(Dir)),
    ok = application:load(era_callstore),
    lists:foreach(
        fun({Key, Value}) -> application:set_env(era_callstore, Key, Value) end,
        [
            {data_dir, data_dir(Dir)},
            {sinks, [{collection, #{}}, {file, #{dir => cdr_dir(Dir)}}]},
            {roles, [
                #{
                    <<"name">> => <<"callstore1">>,
                    <<"roletype">> => <<"callstore">>,
                    <<"iface">> => <<"default">>,
                    <<"group">> => 1,
                    <<"order">> => 1,
                    <<"include_domains">> => [],
                    <<"sorm3_enabled">> => true
                }
            ]}
        ]
    ),
    ok = era_callstore_clock:use_virtual(NowMs),
    case application:ensure_all_started(era_callstore) of
        {ok, _} -> await("a group that is active", fun() -> groups(fun(G) -> maps:get(state, G) =:= active end) end);
        {error, Reason} -> stop(2, io_lib:format("era_callstore does not start: ~tp", [Reason]))
    end.

data_dir(Dir) -> filename:join(Dir, "data").
cdr_dir(Dir) -> filename:join(Dir, "cdr").

%% --- playing

%% The clock must stand at the first event before anything starts.
first_line(#play{lines = Lines} = Play) ->
    case callstore_demo_lines:next(Lines) of
        {line, Number, Line, Next} ->
            Ms = event_ms(Line, erlang:system_time(millisecond)),
            {Play#play{lines = Next, now_ms = Ms, batch_ms = Ms}, {line, Number, Line}};
        {damaged, Why, Next} ->
            first_line(fault(Why, Play#play{lines = Next}));
        {eof, _} ->
            stop(1, ["the file has no events" | [["; ", Fault] || Fault <- Play#play.faults]])
    end.

play({line, Number, Line}, #play{batch_ms = Began} = Play) ->
    Ms = event_ms(Line, Began),
    #play{batch = Batch} = Ready = make_room(Ms, byte_size(Line), Play),
    next(Ready#play{
        batch = [{Number, Line} | Batch],
        batch_bytes = Ready#play.batch_bytes + byte_size(Line) + 1,
        batch_ms = case Batch of [] -> Ms; _ -> Ready#play.batch_ms end
    }).

next(#play{lines = Lines} = Play) ->
    case callstore_demo_lines:next(Lines) of
        {line, Number, Line, Next} ->
            play({line, Number, Line}, Play#play{lines = Next});
        {damaged, Why, Next} ->
            next(fault(Why, Play#play{lines = Next}));
        {eof, Next} ->
            ok = callstore_demo_lines:close(Next),
            put_batch(Play)
    end.

make_room(Ms, Bytes, #play{batch = Batch, batch_bytes = BatchBytes, batch_ms = Began} = Play) when
    length(Batch) >= ?BATCH_LINES; BatchBytes + Bytes > ?BATCH_BYTES; Ms - Began > ?BATCH_MS
->
    put_batch(Play);
make_room(_Ms, _Bytes, Play) ->
    Play.

%% What is due before the first event of the batch is done before the batch comes.
put_batch(#play{batch = []} = Play) ->
    Play;
put_batch(#play{batch = Reversed, batch_ms = Began, now_ms = Now} = Play) ->
    Batch = lists:reverse(Reversed),
    Time = max(Began, Now),
    ok = era_callstore_clock:advance_to(Time),
    Put = put_lines([[Line, $\n] || {_, Line} <- Batch], ?PUT_TRIES),
    Counted = counted(Put, Batch, Play#play{batch = [], batch_bytes = 0, now_ms = Time}),
    show(sampled(Counted)).

%% A put that was refused took nothing, or is harmless to repeat.
put_lines(Lines, Tries) ->
    case era_callstore:put_json(Lines, #{timeout => ?PUT_TIMEOUT_MS, producer => <<"demo">>}) of
        {ok, Done} -> {ok, Done};
        {error, _} when Tries > 1 -> put_lines(Lines, Tries - 1);
        {error, Reason} -> {error, Reason}
    end.

counted({ok, #{accepted := Accepted, duplicate := Duplicate, rejected := Rejected}}, Batch, Play) ->
    Counted = Play#play{
        events = Play#play.events + length(Batch),
        accepted = Play#play.accepted + Accepted,
        duplicate = Play#play.duplicate + Duplicate,
        rejected = Play#play.rejected + length(Rejected)
    },
    lists:foldl(
        fun({Index, Reason}, Acc) ->
            {Number, _} = lists:nth(Index, Batch),
            fault(io_lib:format("line ~b rejected: ~ts", [Number, rejection(Reason)]), Acc)
        end,
        Counted,
        Rejected
    );
counted({error, Reason}, [{First, _} | _] = Batch, #play{events = Events} = Play) ->
    Text = io_lib:format("~b lines from ~b on were refused: ~0tp", [length(Batch), First, Reason]),
    fault(Text, Play#play{events = Events + length(Batch)}).

rejection({bad_json, Byte}) -> io_lib:format("no JSON at byte ~b", [Byte]);
rejection({Why, Field}) -> io_lib:format("~ts (~ts)", [Field, Why]);
rejection(Why) -> atom_to_list(Why).

fault(Text, #play{faults = Faults} = Play) when length(Faults) < ?SHOWN_FAULTS ->
    Play#play{faults = Faults ++ [Text]};
fault(_Text, #play{more_faults = More} = Play) ->
    Play#play{more_faults = More + 1}.

sampled(#play{peak = #{live := Peak}} = Play) ->
    case sizes() of
        #{live := Live} = Sizes when Live > Peak -> Play#play{peak = Sizes};
        _ -> Play
    end.

show(#play{bar = Bar, lines = Lines, events = Events, now_ms = Now} = Play) ->
    Play#play{bar = callstore_demo_bar:show(callstore_demo_lines:position(Lines), Events, Now, Bar)}.

%% @doc The time of an event, as far as its line shows it: what the event is, is not decided here.
-spec event_ms(Line :: binary(), Else :: integer()) -> Ms :: integer().
event_ms(Line, Else) ->
    case re:run(Line, <<"\"eventts\"\\s*:\\s*\"?([0-9]{1,15})">>, [{capture, all_but_first, binary}]) of
        {match, [Digits]} ->
            case binary_to_integer(Digits) of
                Seconds when Seconds < 100000000000 -> Seconds * 1000;
                Ms -> Ms
            end;
        nomatch ->
            Else
    end.

%% --- the end

%% Time goes on until no call lives, past every deadline at most; then everything must be delivered.
settle(Now, [Ms | More]) ->
    ok = era_callstore_clock:advance_to(Now + Ms),
    case sizes() of
        #{live := Live} when Live > 0, More =/= [] ->
            settle(Now + Ms, More);
        #{live := Live} ->
            ok = await("every record delivered to every sink", fun() -> groups(fun delivered/1) end),
            Live
    end.

delivered(#{outbox := Sinks}) -> lists:all(fun(#{depth := Depth}) -> Depth =:= 0 end, maps:values(Sinks)).

groups(Holds) ->
    #{groups := Groups} = era_callstore:status(),
    map_size(Groups) > 0 andalso lists:all(Holds, maps:values(Groups)).

sizes() ->
    #{groups := Groups} = era_callstore:status(),
    Sum = fun(Key) -> lists:sum([maps:get(Key, G) || G <- maps:values(Groups)]) end,
    #{live => Sum(live), kept => Sum(kept), memory_bytes => Sum(memory_bytes)}.

await(What, Holds) ->
    Standing = fun() -> io_lib:format("; the status was:~n~tp", [era_callstore:status()]) end,
    callstore_demo_act:await(What, Holds, Standing).

status(#play{faults = Faults, more_faults = More} = Play, Left, Wrong) ->
    lists:foreach(fun callstore_demo_act:complain/1, Faults),
    More > 0 andalso complain(io_lib:format("and ~b more", [More])),
    lists:foreach(fun callstore_demo_act:complain/1, Wrong),
    Left > 0 andalso complain(io_lib:format("~b calls had no end in what was played: they live on, without a record", [Left])),
    %% Input with faults may lack the ends of calls; whole input may not.
    case {Wrong, Play#play.faults, Left} of
        {[_ | _], _, _} -> 3;
        {[], [_ | _], _} -> 1;
        {[], [], 0} -> 0;
        {[], [], _} -> 3
    end.
