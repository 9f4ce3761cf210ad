%%% One random run: three nodes of a group under load, and what may happen to nodes happens to them, by a seed.
%%%
%%% The seed decides what is done to whom; how far the nodes have got by then is theirs. What is done, and who is active
%%% then, is in the log of the test.
%%%   kill      SIGKILL of one node                  restart   start of one that is not there
%%%   kill_all  SIGKILL of all at one moment         stop      an orderly end
%%%   crash     SIGKILL at a crash point             handover  the active gives its activity on
%%%   nap       SIGSTOP for less than a take-over    sleep     SIGSTOP for more than one
%%%   cut       one node apart from the others, and mended later
%%%   cut_link  two nodes apart, a third with both, and mended later
%%%   cut_kill  as cut, and one node, whichever, is killed meanwhile
%%%   flap      start of one that is not there, and SIGKILL of it or of another one before it is with the others again
%%%   storm     several of these, and nothing waited for in between (random_storm)
%%% Always holds: but for a storm, a copy goes only when the others know that the one before has gone, or went on apart from it.
%%% At the end all nodes run and are connected. When nodes may have gone on apart is
%%% noted: only then two of them may give one revision of a record two contents.
%%% Called by: random_SUITE.
%%% Must never: choose by anything but the seed.
-module(random_run).

-export([run/1]).
-export_type([options/0]).

-define(NODES, 3).
-define(TELL_MS, 15000).
-define(NAP_MS, 1000).
-define(CRASH_MS, 3000).
%% With a net_ticktime of TICK_S a node that keeps silent is given up after at most 1.25 times as long.
-define(TICK_S, 4).
-define(SLEEP_MS, 8000).
-define(APART_MS, 4000).
-define(FLAP_MS, 2500).

-type options() :: #{
    dir := file:filename(), seed := integer(), length_ms := pos_integer(),
    %% whether the runtime keeps from one node those that it has lost (prevent_overlapping_partitions)
    prevent_overlapping := boolean(),
    commit := era_callstore_log:commit()
}.

-record(run, {
    plans :: #{node() => cluster_node:plan()},
    up :: #{node() => cluster_node:running()},
    load :: cluster_load:load(),
    until_ms :: integer(),
    told_ms :: integer(),
    actions :: [atom()],
    %% which nodes may not have known of the others, and when, by the clock of this machine; and since when one is gone
    apart = [] :: [cluster_terms:apart()],
    gone = #{} :: #{node() => Ms :: integer()},
    done = #{} :: #{atom() => pos_integer()}
}).

%% @doc Runs and checks; the counts of what was done.
-spec run(options()) -> #{atom() => pos_integer()}.
run(#{dir := Dir, seed := Seed, length_ms := Length, prevent_overlapping := Prevent, commit := Commit}) ->
    _ = rand:seed(exsss, Seed),
    Plans = cluster_node:plan(Dir, ?NODES, #{
        commit => Commit,
        sinks => [{file, #{dir => "cdr"}}],
        watch => #{stop_wait_ms => 500, age_ms => 864000000, tombstone_ms => 86400000},
        vm => [
            "-kernel", "net_ticktime", integer_to_list(?TICK_S),
            "-kernel", "prevent_overlapping_partitions", atom_to_list(Prevent)
        ]
    }),
    Nodes = cluster_node:start(Plans),
    _ = cluster_node:settled(Nodes),
    Now = now_ms(),
    Run = #run{
        plans = maps:from_list([{Name, Plan} || #{name := Name} = Plan <- Plans]),
        up = maps:from_list([{cluster_node:name(Node), Node} || Node <- Nodes]),
        load = cluster_load:start(Nodes, mixed, #{pause_ms => 100, repeat_one_of => 7}),
        until_ms = Now + Length,
        told_ms = Now,
        actions = actions()
    },
    ok = cluster_load:acknowledged(Run#run.load, 10),
    finished(steps(Run), Plans).

%% As often as they stand here.
actions() ->
    [
        kill, kill, kill, kill_all, crash, crash, crash, stop, restart, restart, restart, restart, handover, handover,
        nap, cut, cut, cut_link, cut_kill, sleep, flap, flap, storm, storm, storm
    ].

steps(#run{until_ms = Until} = Run) ->
    case now_ms() < Until of
        true -> steps(told(step(pick(Run#run.actions), Run)));
        false -> Run
    end.

%% What cannot be done just now is not done.
step(Action, Run) ->
    case do(Action, Run) of
        impossible ->
            Run;
        Next ->
            ok = progress(Next),
            say("~s is active", [cluster_node:active(maps:values(Next#run.up))]),
            Next#run{done = maps:update_with(Action, fun(N) -> N + 1 end, 1, Next#run.done)}
    end.

do(restart, Run) ->
    case down(Run) of
        [] -> impossible;
        Down -> started([pick(Down)], Run)
    end;
do(flap, Run) ->
    case down(Run) of
        [] -> impossible;
        Down -> flapped(pick(Down), Run)
    end;
do(storm, #run{plans = Plans, up = Up, load = Load, gone = Gone} = Run) ->
    From = clock_ms(),
    {Left, Started} = random_storm:run(Plans, Up),
    lists:foreach(fun(Name) -> cluster_load:back(Load, map_get(Name, Left)) end, Started),
    Down = lists:sort(maps:keys(Plans) -- maps:keys(Left)),
    Since = maps:merge(maps:from_keys(maps:keys(Plans), From), Gone),
    #run{apart = Apart} = Together = started(Down, Run#run{up = Left, gone = Since}),
    Stormy = [{Name, map_get(Name, Since), clock_ms()} || Name <- maps:keys(Plans)],
    Together#run{apart = Stormy ++ Apart, gone = #{}};
do(Action, #run{up = Up}) when map_size(Up) < 2, Action =/= handover, Action =/= nap ->
    impossible;
do(kill, #run{up = Up} = Run) ->
    Name = pick(names(Run)),
    say("kill ~s", [Name]),
    ok = cluster_node:kill(map_get(Name, Up)),
    gone(Name, Run);
do(kill_all, #run{up = Up} = Run) ->
    say("kill all ~b at one moment", [map_size(Up)]),
    Gone = maps:merge(maps:map(fun(_, _) -> clock_ms() end, Up), Run#run.gone),
    ok = cluster_node:kill_together(maps:values(Up)),
    %% With those that were gone before: Mnesia loads no table that nobody has until all of its copies are back.
    started(lists:sort(maps:keys(Run#run.plans)), Run#run{up = #{}, gone = Gone});
do(crash, #run{up = Up} = Run) ->
    Point = pick(crash_point:names()),
    %% A term begins and ends once in a while.
    Nth = rand:uniform(case lists:member(Point, crash_point:names(put) ++ crash_point:names(record)) of
        true -> 20;
        false -> 1
    end),
    Name = pick(names(Run)),
    say("crash ~s at passage ~b of ~s", [Name, Nth, Point]),
    ok = cluster_node:call(map_get(Name, Up), crash_point, arm, [Point, Nth]),
    crashed(Name, Run);
do(stop, #run{up = Up} = Run) ->
    Name = pick(names(Run)),
    say("stop ~s", [Name]),
    Node = map_get(Name, Up),
    ok = cluster_node:call(Node, application, stop, [era_callstore]),
    ok = cluster_node:stop(Node),
    gone(Name, Run);
do(handover, #run{up = Up} = Run) ->
    Name = pick(names(Run)),
    Said = cluster_node:call(map_get(Name, Up), era_callstore, handover, [1]),
    say("hand over: ~p", [Said]),
    Run;
do(nap, #run{up = Up} = Run) ->
    Name = pick(names(Run)),
    say("pause ~s for ~b ms", [Name, ?NAP_MS]),
    ok = cluster_node:pause(map_get(Name, Up)),
    pass(?NAP_MS),
    ok = cluster_node:resume(map_get(Name, Up)),
    Run;
do(sleep, #run{up = Up} = Run) ->
    Name = pick(names(Run)),
    say("pause ~s for ~b ms", [Name, ?SLEEP_MS]),
    From = clock_ms(),
    ok = cluster_node:pause(map_get(Name, Up)),
    pass(?SLEEP_MS),
    ok = cluster_node:resume(map_get(Name, Up)),
    together(From, Run);
do(cut_link, #run{up = Up}) when map_size(Up) < 3 ->
    impossible;
do(cut_link, Run) ->
    Name = pick(names(Run)),
    apart([Name], [pick(names(Run) -- [Name])], Run, fun(Cut) -> Cut end);
do(cut, Run) ->
    Name = pick(names(Run)),
    apart([Name], names(Run) -- [Name], Run, fun(Cut) -> Cut end);
do(cut_kill, Run) ->
    Name = pick(names(Run)),
    Killed = pick(names(Run)),
    apart([Name], names(Run) -- [Name], Run, fun(#run{up = Up} = Cut) ->
        say("kill ~s", [Killed]),
        ok = cluster_node:kill(map_get(Killed, Up)),
        Cut#run{up = maps:remove(Killed, Up), gone = (Cut#run.gone)#{Killed => clock_ms()}}
    end).

%% The last of those that were there is not killed: the one that is started may not have what it has.
flapped(Name, #run{plans = Plans, up = Up, load = Load, gone = Gone} = Run) ->
    Killed = pick([Name | case names(Run) of [_] -> []; Several -> Several end]),
    AfterMs = rand:uniform(?FLAP_MS),
    say("start ~s, kill ~s after ~b ms", [Name, Killed, AfterMs]),
    From = clock_ms(),
    Node = cluster_node:boot(map_get(Name, Plans), []),
    {_, Starter} = spawn_monitor(fun() -> ok = cluster_node:start_application(Node) end),
    pass(AfterMs),
    ok = cluster_node:kill(maps:get(Killed, Up, Node)),
    Started = receive {'DOWN', Starter, process, _, Reason} -> Reason end,
    case {Killed, Started} of
        {Name, _} ->
            %% It has gone since it went the first time.
            _ = cluster_node:settled(maps:values(Up)),
            together(From, Run);
        {_, normal} ->
            Left = maps:remove(Killed, Up#{Name => Node}),
            cluster_load:back(Load, Node),
            #run{apart = Apart} = Together = together(From, Run#run{up = Left}),
            Stale = {Name, map_get(Name, Gone), clock_ms()},
            Together#run{apart = [Stale | Apart], gone = (maps:remove(Name, Gone))#{Killed => From}}
    end.

%% Those of some names apart from those of others; half-way something may be done.
apart(Some, Others, #run{up = Up} = Run, Do) ->
    say("cut ~p from ~p for ~b ms", [Some, Others, ?APART_MS]),
    From = clock_ms(),
    ok = cluster_node:cut([map_get(Name, Up) || Name <- Some], [map_get(Name, Up) || Name <- Others]),
    pass(?APART_MS div 2),
    #run{up = Left} = Cut = Do(Run),
    pass(?APART_MS div 2),
    say("mend", []),
    lists:foreach(fun(Node) -> ok = cluster_node:accept(Node, names(Run)) end, maps:values(Left)),
    together(From, Cut).

%% A node that is armed may pass its point soon, late or never.
crashed(Name, #run{up = Up} = Run) ->
    Node = map_get(Name, Up),
    case dies(Node, now_ms() + ?CRASH_MS) orelse not disarmed(Node) of
        true -> gone(Name, Run);
        false -> Run
    end.

disarmed(Node) ->
    try
        ok = cluster_node:call(Node, crash_point, disarm, []),
        true
    catch
        %% It has died under the call.
        exit:_ -> false;
        error:noconnection -> false
    end.

dies(Node, Deadline) ->
    case {cluster_node:is_alive(Node), now_ms() > Deadline} of
        {false, _} -> true;
        {true, true} -> false;
        {true, false} -> pass(20), dies(Node, Deadline)
    end.

%% The others have noticed, before another goes.
gone(Name, #run{up = Up, gone = Gone} = Run) ->
    Left = maps:remove(Name, Up),
    Since = clock_ms(),
    _ = cluster_node:settled(maps:values(Left)),
    Run#run{up = Left, gone = Gone#{Name => Since}}.

%% What went on apart is one again, before more is done.
together(From, #run{up = Up, apart = Apart} = Run) ->
    ok = cluster_node:together(maps:values(Up)),
    _ = cluster_node:settled(maps:values(Up)),
    To = clock_ms(),
    Run#run{apart = [{Name, From, To} || Name <- names(Run)] ++ Apart}.

started(Names, #run{plans = Plans, up = Up, load = Load, gone = Gone} = Run) ->
    say("start ~p", [Names]),
    From = clock_ms(),
    Nodes = cluster_node:start([map_get(Name, Plans) || Name <- Names]),
    lists:foreach(fun(Node) -> cluster_load:back(Load, Node) end, Nodes),
    Started = Run#run{up = maps:merge(Up, maps:from_list([{cluster_node:name(Node), Node} || Node <- Nodes]))},
    #run{apart = Apart} = Together = together(From, Started),
    %% One that had acknowledged alone starts with what it had when it went.
    Stale = [{Name, map_get(Name, Gone), clock_ms()} || Name <- Names],
    Together#run{apart = Stale ++ Apart, gone = maps:without(Names, Gone)}.

%% Producers of the nodes that run get on.
progress(#run{up = Up, load = Load}) -> cluster_load:acknowledged_of(Load, maps:values(Up), 3).

finished(#run{load = Load, done = Done} = Run, Plans) ->
    #run{up = Up, apart = Apart} = case down(Run) of [] -> Run; Down -> started(Down, Run) end,
    Nodes = [map_get(Name, Up) || #{name := Name} <- Plans],
    ok = cluster_load:acknowledged_of(Load, Nodes, 10),
    #{batches := Batches, refused := Refused, longest_ms := Longest} = Outcome = cluster_load:finish(Load),
    say("~b batches acknowledged, refused ~p, longest ~b ms, done ~p", [length(Batches), Refused, Longest, Done]),
    ok = cluster_truth:there(Nodes, Outcome),
    ok = cluster_truth:delivered(Nodes),
    ok = cluster_truth:equal(Nodes),
    Terms = cluster_terms:of_logs(Plans),
    Records = cluster_truth:one_content_unless_apart(cluster_truth:records(Plans), Terms, Apart),
    ok = cluster_truth:recorded(Plans, Records, Outcome),
    Done.

%% --- small things

names(#run{up = Up}) -> lists:sort(maps:keys(Up)).

down(#run{plans = Plans, up = Up}) -> lists:sort(maps:keys(Plans) -- maps:keys(Up)).

pick(List) -> lists:nth(rand:uniform(length(List)), List).

%% Time passes: it is what a pause is.
pass(Ms) -> receive after Ms -> ok end.

told(#run{told_ms = Told, until_ms = Until, done = Done} = Run) ->
    case now_ms() - Told > ?TELL_MS of
        true ->
            say("~b s to go, done so far ~p", [max(0, Until - now_ms()) div 1000, Done]),
            Run#run{told_ms = now_ms()};
        false ->
            Run
    end.

say(Format, Arguments) -> ct:log(Format, Arguments).

now_ms() -> erlang:monotonic_time(millisecond).

%% As the log files of nodes say it.
clock_ms() -> erlang:system_time(millisecond).
