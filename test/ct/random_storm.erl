%%% A storm over the nodes of a random run: nodes are started, killed, paused and cut from each other, one thing after the other and
%%% nothing waited for in between; each may come while the nodes still deal with the one before.
%%%
%%% Always holds: when run/2 returns, all nodes run that ran or were started and not killed since, and see each other; who is active,
%%% and whether they are together, is not awaited.
%%% Called by: random_run. Must never: choose by anything but the seed.
-module(random_storm).

-export([run/2]).

-define(LEAST, 3).
-define(MORE, 5).
-define(PAUSE_MS, 1500).
-define(NAP_MS, 1500).
%% What a node that starts may wait for.
-define(START_MS, 60000).

-record(storm, {
    plans :: #{node() => cluster_node:plan()},
    up :: #{node() => cluster_node:running()},
    %% who starts the application on a node that is up
    starters = #{} :: #{node() => reference()}
}).

%% @doc The nodes that are up then, and those of them that were started.
-spec run(#{node() => cluster_node:plan()}, #{node() => cluster_node:running()}) ->
    {#{node() => cluster_node:running()}, Started :: [node()]}.
run(Plans, Up) ->
    Number = ?LEAST + rand:uniform(?MORE),
    Storm = lists:foldl(fun(_, Before) -> step(Before) end, #storm{plans = Plans, up = Up}, lists:seq(1, Number)),
    calm(Storm).

step(Storm) ->
    Next = do(pick([kill, kill, start, start, cut, mend, nap]), Storm),
    pass(rand:uniform(?PAUSE_MS)),
    Next.

do(kill, #storm{up = Up} = Storm) when map_size(Up) > 0 ->
    Name = pick(names(Up)),
    say("storm: kill ~s", [Name]),
    ok = cluster_node:kill(map_get(Name, Up)),
    Storm#storm{up = maps:remove(Name, Up), starters = forgotten(Name, Storm)};
do(start, #storm{plans = Plans, up = Up, starters = Starters} = Storm) when map_size(Up) < map_size(Plans) ->
    Name = pick(names(Plans) -- names(Up)),
    say("storm: start ~s", [Name]),
    Node = cluster_node:boot(map_get(Name, Plans), []),
    {_, Starter} = spawn_monitor(fun() -> ok = cluster_node:start_application(Node) end),
    Storm#storm{up = Up#{Name => Node}, starters = Starters#{Name => Starter}};
do(cut, #storm{up = Up} = Storm) when map_size(Up) > 1 ->
    One = pick(names(Up)),
    Other = pick(names(Up) -- [One]),
    say("storm: cut ~s from ~s", [One, Other]),
    ok = cluster_node:cut([map_get(One, Up)], [map_get(Other, Up)]),
    Storm;
do(mend, Storm) ->
    say("storm: mend", []),
    mended(Storm);
do(nap, #storm{up = Up} = Storm) when map_size(Up) > 0 ->
    Name = pick(names(Up)),
    Ms = rand:uniform(?NAP_MS),
    say("storm: pause ~s for ~b ms", [Name, Ms]),
    ok = cluster_node:pause(map_get(Name, Up)),
    pass(Ms),
    ok = cluster_node:resume(map_get(Name, Up)),
    Storm;
do(_Impossible, Storm) ->
    Storm.

%% Its start fails with it.
forgotten(Name, #storm{starters = Starters}) ->
    case Starters of
        #{Name := Starter} ->
            receive {'DOWN', Starter, process, _, _} -> maps:remove(Name, Starters) after ?START_MS -> error({starts_on, Name}) end;
        #{} ->
            Starters
    end.

mended(#storm{plans = Plans, up = Up} = Storm) ->
    lists:foreach(fun(Node) -> ok = cluster_node:accept(Node, names(Plans)) end, maps:values(Up)),
    Storm.

calm(Storm) ->
    #storm{up = Up, starters = Starters} = mended(Storm),
    maps:foreach(
        fun(Name, Starter) ->
            receive
                {'DOWN', Starter, process, _, normal} -> ok;
                {'DOWN', Starter, process, _, Reason} -> error({not_started, Name, Reason})
            after ?START_MS -> error({starts_on, Name})
            end
        end,
        Starters
    ),
    {Up, names(Starters)}.

names(Map) -> lists:sort(maps:keys(Map)).

pick(List) -> lists:nth(rand:uniform(length(List)), List).

%% Time passes: it is what a storm is made of.
pass(Ms) -> receive after Ms -> ok end.

say(Format, Arguments) -> ct:log(Format, Arguments).
