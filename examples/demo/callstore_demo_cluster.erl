%%% The demo of three nodes: plays a file of call events at a rate into a group of three instances, kills the active
%%% with
%%% SIGKILL half-way, starts it again, and shows that nothing of what was acknowledged is lost.
%%%
%%%   examples/demo/run with DEMO_MAIN=callstore_demo_cluster, RATE=events/s      (`make demo-cluster')
%%%
%%% Events are put on all nodes in turn. A batch without an answer is put again, on another node, until it has one: what
%%% a producer does. Always holds: the virtual time is the same on all nodes and passes no event that was not put yet.
%%% Exit status: as callstore_demo_act says.
%%% Must never: use more of era_callstore than role code and an operator may, and the clock.
-module(callstore_demo_cluster).

-export([main/0]).

-import(callstore_demo_act, [stop/2, or_stop/1, complain/1, await/2]).

-define(BATCH_LINES, 128).
-define(BATCH_MS, 1000).
-define(PUT_TIMEOUT_MS, 30000).
-define(PUT_TRIES, 10).
-define(AWAIT_MS, 60000).
%% As in callstore_demo.
-define(ADVANCES_MS, [10000, 600000, 3600000, 90000000, 90000000]).

-record(play, {
    lines :: callstore_demo_lines:lines(),
    bar :: callstore_demo_bar:bar(),
    tty :: boolean(),
    rate :: pos_integer(),
    began :: integer(),
    cookie :: atom(),
    %% those that take events, in turn; those that run
    nodes :: [callstore_demo_node:running()],
    all :: [callstore_demo_node:running()],
    kill = due :: due | #{node := callstore_demo_node:running(), at := integer()} | done,
    take_over_ms :: non_neg_integer() | undefined,
    batch = [] :: [binary()],
    batch_ms :: integer(),
    now_ms :: integer(),
    events = 0 :: non_neg_integer(),
    accepted = 0 :: non_neg_integer(),
    duplicate = 0 :: non_neg_integer(),
    rejected = 0 :: non_neg_integer(),
    repeated = 0 :: non_neg_integer(),
    faults = 0 :: non_neg_integer(),
    %% the ids of what was acknowledged
    ids :: ets:table(),
    peak = #{live => 0, kept => 0, memory_bytes => 0} :: callstore_demo_result:sizes()
}).

%% @doc Runs the demo with the emulator's extra arguments and ends the emulator.
-spec main() -> no_return().
main() ->
    callstore_demo_act:main(fun(#{events := Events, dir := Dir, tty := Tty}) ->
        run(Events, filename:absname(Dir), Tty, rate(os:getenv("RATE", "")))
    end).

rate("") -> 2000;
rate(Text) ->
    case string:to_integer(Text) of
        {Rate, ""} when Rate > 0 -> Rate;
        _ -> stop(2, ["RATE is the number of events a second, not ", Text])
    end.

run(Events, Dir, Tty, Rate) ->
    Lines = or_stop(callstore_demo_lines:open(Events)),
    {First, Ms, Rest} = first_line(Lines),
    Plans = callstore_demo_node:plan(Dir, 3, os:getpid()),
    lists:foreach(fun(#{dir := NodeDir}) -> _ = file:del_dir_r(NodeDir) end, Plans),
    Cookie = list_to_atom("demo" ++ os:getpid()),
    Nodes = [callstore_demo_node:boot(Plan) || Plan <- Plans],
    lists:foreach(fun(Node) -> started(Node, callstore_demo_node:start(Node, Cookie, Ms)) end, Nodes),
    ok = await("three nodes with a copy each", fun() -> settled(Nodes) end),
    io:format("three nodes, one group, a copy on each; ~ts~n", [who_is_active(Nodes)]),
    io:format("playing ~ts, ~b events/s~n", [Events, Rate]),
    Began = erlang:monotonic_time(millisecond),
    Played = play(First, #play{
        lines = Rest, bar = callstore_demo_bar:new(Tty), tty = Tty, rate = Rate, began = Began, cookie = Cookie,
        nodes = Nodes, all = Nodes, batch_ms = Ms, now_ms = Ms, ids = ets:new(ids, [set])
    }),
    TookMs = max(1, erlang:monotonic_time(millisecond) - Began),
    finished(back(Played), TookMs, Dir).

started(_Node, ok) -> ok;
started(Node, {error, Reason}) -> stop(2, io_lib:format("~ts does not start: ~tp", [callstore_demo_node:label(Node), Reason])).

first_line(Lines) ->
    case callstore_demo_lines:next(Lines) of
        {line, _, Line, Rest} -> {Line, callstore_demo:event_ms(Line, erlang:system_time(millisecond)), Rest};
        {damaged, Why, _} -> stop(1, Why);
        {eof, _} -> stop(1, "the file has no events")
    end.

%% --- playing

play(Line, #play{batch = Batch, batch_ms = Began} = Play) ->
    Ms = callstore_demo:event_ms(Line, Began),
    if
        Batch =:= [] -> next(Play#play{batch = [Line], batch_ms = max(Ms, Play#play.now_ms)});
        length(Batch) >= ?BATCH_LINES; Ms - Began > ?BATCH_MS -> play(Line, put_batch(Play));
        true -> next(Play#play{batch = [Line | Batch]})
    end.

next(#play{lines = Lines} = Play) ->
    case callstore_demo_lines:next(Lines) of
        {line, _, Line, Rest} ->
            play(Line, Play#play{lines = Rest});
        {damaged, Why, Rest} ->
            complain(Why),
            next(Play#play{lines = Rest, faults = Play#play.faults + 1});
        {eof, Rest} ->
            ok = callstore_demo_lines:close(Rest),
            put_batch(Play)
    end.

put_batch(#play{batch = []} = Play) ->
    Play;
put_batch(#play{batch = Reversed, batch_ms = Ms} = Play) ->
    Batch = lists:reverse(Reversed),
    Advanced = advance(Ms, half_way(Play#play{batch = [], now_ms = Ms})),
    show(heard(sampled(put_until_ok(Batch, ?PUT_TRIES, paced(Advanced))))).

%% Not faster than the rate.
paced(#play{began = Began, rate = Rate, events = Events} = Play) ->
    Early = Began + Events * 1000 div Rate - erlang:monotonic_time(millisecond),
    receive after max(0, Early) -> Play end.

advance(Ms, #play{all = All} = Play) ->
    _ = [callstore_demo_node:try_call(Node, callstore_demo_node, advance_here, [Ms]) || Node <- All],
    Play.

%% Half of the file: the active is killed while events come to it.
half_way(#play{kill = due, lines = Lines, all = All} = Play) ->
    case callstore_demo_lines:position(Lines) >= 0.5 of
        true ->
            Active = active(All),
            [Node] = [N || N <- All, callstore_demo_node:name(N) =:= Active],
            said(Play, "kill -9 ~ts, the active, after ~b events", [callstore_demo_node:label(Node), Play#play.events]),
            At = erlang:monotonic_time(millisecond),
            _ = spawn_link(fun() -> callstore_demo_node:kill(Node) end),
            fresh_bar(Play#play{kill = #{node => Node, at => At}, nodes = [Node | lists:delete(Node, Play#play.nodes)]});
        false ->
            Play
    end;
half_way(Play) ->
    Play.

put_until_ok(_Batch, 0, _Play) ->
    stop(3, "a batch was refused on every node, again and again");
put_until_ok(Batch, Tries, #play{nodes = [Node | Others]} = Play) ->
    Json = [[Line, $\n] || Line <- Batch],
    Options = #{timeout => ?PUT_TIMEOUT_MS, producer => <<"demo">>},
    case callstore_demo_node:try_call(Node, era_callstore, put_json, [iolist_to_binary(Json), Options]) of
        {ok, Done} ->
            acknowledged(Done, Batch, taken_over(Play#play{nodes = turn(Node, Play)}));
        dead ->
            Gone = Play#play{nodes = Others, all = lists:delete(Node, Play#play.all)},
            put_until_ok(Batch, Tries - 1, Gone#play{repeated = Play#play.repeated + length(Batch)});
        {error, _} ->
            put_until_ok(Batch, Tries - 1, Play#play{nodes = Others ++ [Node], repeated = Play#play.repeated + length(Batch)})
    end.

%% The one that is about to die takes everything until it is dead.
turn(Node, #play{kill = #{node := Node}, nodes = Nodes}) -> Nodes;
turn(Node, #play{nodes = [Node | Others]}) -> Others ++ [Node].

acknowledged(#{accepted := Accepted, duplicate := Duplicate, rejected := Rejected}, Batch, Play) ->
    Refused = [Index || {Index, _} <- Rejected],
    Taken = [Line || {Index, Line} <- lists:enumerate(Batch), not lists:member(Index, Refused)],
    lists:foreach(fun(Line) -> true = ets:insert(Play#play.ids, {id(Line)}) end, Taken),
    Play#play{
        events = Play#play.events + length(Batch),
        accepted = Play#play.accepted + Accepted,
        duplicate = Play#play.duplicate + Duplicate,
        rejected = Play#play.rejected + length(Rejected)
    }.

id(Line) ->
    case re:run(Line, <<"\"eventid\"\\s*:\\s*\"([^\"]+)\"">>, [{capture, all_but_first, binary}]) of
        {match, [Id]} -> Id;
        nomatch -> Line
    end.

%% The first answer after the death of the active: the next one serves. The dead one is started again.
taken_over(#play{kill = #{node := #{plan := Plan} = Dead, at := At}, all = All} = Play) ->
    case lists:member(Dead, All) of
        true ->
            Play;
        false ->
            Ms = erlang:monotonic_time(millisecond) - At,
            said(Play, "the first batch is acknowledged ~b ms after the kill; ~ts", [Ms, who_is_active(All)]),
            Again = callstore_demo_node:boot(Plan),
            ok = callstore_demo_node:start_later(Again, Play#play.cookie, Play#play.now_ms),
            fresh_bar(Play#play{kill = done, take_over_ms = Ms, all = All ++ [Again]})
    end;
taken_over(Play) ->
    Play.

%% The one that was started again takes events like the others.
heard(Play) ->
    receive
        {started, Node, Result} -> joined(Node, Result, Play)
    after 0 -> Play
    end.

joined(Node, Result, #play{nodes = Nodes} = Play) ->
    ok = started(Node, Result),
    said(Play, "~ts runs again", [callstore_demo_node:label(Node)]),
    fresh_bar(Play#play{nodes = Nodes ++ [Node]}).

%% A short file may be over before the killed one is back.
back(#play{nodes = Nodes, all = All} = Play) when length(Nodes) < length(All) ->
    receive
        {started, Node, Result} -> joined(Node, Result, Play)
    after ?AWAIT_MS -> stop(3, "the node that was killed does not come back")
    end;
back(Play) ->
    Play.

sampled(#play{nodes = [Node | _], peak = #{live := Peak}} = Play) ->
    case callstore_demo_node:try_call(Node, era_callstore, status, []) of
        #{groups := #{1 := #{live := Live, kept := Kept, memory_bytes := Bytes}}} when Live > Peak ->
            Play#play{peak = #{live => Live, kept => Kept, memory_bytes => Bytes}};
        _ ->
            Play
    end.

show(#play{bar = Bar, lines = Lines, events = Events, now_ms = Now} = Play) ->
    Play#play{bar = callstore_demo_bar:show(callstore_demo_lines:position(Lines), Events, Now, Bar)}.

said(#play{bar = Bar}, Format, Arguments) ->
    callstore_demo_bar:done(Bar),
    io:format(Format ++ "~n", Arguments).

%% On a terminal the bar goes on below what was said.
fresh_bar(#play{tty = true} = Play) -> Play#play{bar = callstore_demo_bar:new(true)};
fresh_bar(Play) -> Play.

%% --- the end

finished(#play{all = [Node | _] = All} = Play, TookMs, Dir) ->
    Left = settle(Play, ?ADVANCES_MS),
    callstore_demo_bar:done(Play#play.bar),
    Result = callstore_demo_node:call(Node, callstore_demo_result, collect, [Dir]),
    callstore_demo_result:show(Result, #{
        events => Play#play.events, accepted => Play#play.accepted, duplicate => Play#play.duplicate,
        rejected => Play#play.rejected, took_ms => TookMs, peak => Play#play.peak, live => Left,
        places => [{"collection in Mnesia, a copy on each node", Dir}]
    }),
    Acknowledged = ets:info(Play#play.ids, size),
    Lost = Acknowledged - callstore_demo_node:call(Node, callstore_demo_node, events_in_records, []),
    Digests = callstore_demo_node:call(Node, era_callstore, digest, [1]),
    Equal = length(lists:usort(maps:values(Digests))) =:= 1,
    io:nl(),
    lists:foreach(
        fun({Name, Value}) -> io:format("~-34ts ~9ts~n", [Name, Value]) end,
        [
            {"take-over, kill to next answer, ms", integer_to_list(or_none(Play#play.take_over_ms))},
            {"events acknowledged", integer_to_list(Acknowledged)},
            {"  put again without an answer", integer_to_list(Play#play.repeated)},
            {"  lost", integer_to_list(Lost)},
            {"copies", integer_to_list(map_size(Digests))},
            {"  digests", case Equal of true -> "equal"; false -> "DIFFERENT" end}
        ]
    ),
    io:format("~n~ts~n", [who_is_active(All)]),
    Wrong =
        [io_lib:format("~b acknowledged events are in no record", [Lost]) || Lost =/= 0] ++
            ["the copies differ" || not Equal] ++
            [io_lib:format("~b copies instead of 3", [map_size(Digests)]) || map_size(Digests) =/= 3] ++
            [io_lib:format("~b calls have no record", [Left]) || Left > 0] ++
            ["nothing was killed: the file is too short" || Play#play.take_over_ms =:= undefined],
    lists:foreach(fun callstore_demo_act:complain/1, Wrong),
    case {Wrong, Play#play.faults + Play#play.rejected} of
        {[_ | _], _} -> 3;
        {[], 0} -> 0;
        {[], _} -> 1
    end.

or_none(undefined) -> 0;
or_none(Ms) -> Ms.

%% Time goes on until no call lives, then everything is delivered and every copy has it.
settle(#play{now_ms = Now, all = All} = Play, [Ms | More]) ->
    ok = await("three copies that have caught up", fun() -> settled(All) end),
    Later = advance(Now + Ms, Play#play{now_ms = Now + Ms}),
    [#{live := Live} | _] = groups(All),
    case {Live, More} of
        {0, _} -> delivered(Later);
        {_, []} -> Live;
        {_, _} -> settle(Later, More)
    end.

delivered(#play{all = All}) ->
    Empty = fun(#{outbox := Sinks}) -> lists:all(fun(#{depth := Depth}) -> Depth =:= 0 end, maps:values(Sinks)) end,
    ok = await("every record delivered", fun() -> settled(All) andalso lists:all(Empty, groups(All)) end),
    %% A node that started with a copy of its own is healed within seconds.
    ok = await("three copies that are equal", fun() -> length(lists:usort(digests(All))) =:= 1 end),
    0.

%% By the first node, of each copy.
digests([Node | _]) -> maps:values(callstore_demo_node:call(Node, era_callstore, digest, [1])).

settled(Nodes) ->
    lists:all(
        fun
            (#{lag_chunks := 0, copies := Copies, state := State, active := Active}) ->
                length(Copies) =:= length(Nodes) andalso Active =/= none andalso (State =:= passive orelse State =:= active);
            (_) ->
                false
        end,
        groups(Nodes)
    ).

groups(Nodes) -> [map_get(1, map_get(groups, callstore_demo_node:call(Node, era_callstore, status, []))) || Node <- Nodes].

actives(Nodes) -> [S || #{state := active} = S <- groups(Nodes)].

active(Nodes) ->
    [#{active := Active} | _] = groups(Nodes),
    Active.

who_is_active(Nodes) ->
    ok = await("an active instance", fun() -> actives(Nodes) =/= [] end),
    [#{instance := Instance, epoch := Epoch} | _] = actives(Nodes),
    io_lib:format("~ts is active, epoch ~b", [Instance, Epoch]).
