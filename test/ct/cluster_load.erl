%%% Load for several nodes: a producer on each repeats a batch until it is acknowledged, then takes the next one, as
%%% role code does that must not lose an event.
%%%
%%%   producers ──{said, …}──► the load (one process): counts, remembers what was acknowledged, answers who waits
%%%
%%% Always holds: a producer whose node is gone keeps its batch and goes on with it when the node is back (back/2). What
%%% was acknowledged is known with the node that said so, and when. Repeats, where wanted, put a batch a second time.
%%% Called by: the suites of several nodes; put_here/4 and flood_here/5 run inside the nodes.
%%% Must never: give a batch up.
-module(cluster_load).

-export([start/2, start/3, back/2, acknowledged/2, acknowledged_of/3, refused/2, finish/1, batch_of/1]).
-export([flood/4, put_here/3, put_here/4, flood_here/5]).
-export_type([load/0, outcome/0, batch/0, flood/0]).

-define(BATCH_CALLS, 20).
-define(PROGRESS_MS, 60000).
-define(PUT_MS, 10000).
-define(FLOOD_PRODUCERS, 50).
-define(FLOOD_PUT_MS, 5000).
%% Memory is looked at so often.
-define(FLOOD_LOOK_MS, 10).

-opaque load() :: pid().
-type batch() :: #{
    node := node(), from := non_neg_integer(), to := non_neg_integer(), begun_ms := integer(), at_ms := integer()
}.
%% Acknowledged batches, the latest first; answers that were none, counted; the longest that a producer waited for `ok'.
-type outcome() :: #{
    kind := cluster_calls:kind(), batches := [batch()], refused := #{term() => pos_integer()},
    longest_ms := non_neg_integer()
}.

%% Acknowledged batches, answers that were none, counted, and the most that processes and binaries were seen to hold.
-type flood() :: #{acknowledged := [batch()], refused := #{term() => pos_integer()}, peak_bytes := non_neg_integer()}.

-record(load, {
    producers :: #{node() => pid()},
    outcome :: outcome(),
    counts = #{} :: #{node() => non_neg_integer()},
    waiting = [] :: [{reference(), pid(), [node()] | refused, Until :: non_neg_integer()}]
}).

%% @doc A producer on each of these nodes.
-spec start([cluster_node:running()], cluster_calls:kind()) -> load().
start(Nodes, Kind) -> start(Nodes, Kind, #{}).

%% @doc With a pause after each batch, and one of so many batches put twice; the numbers of calls begin above `base'.
%% A put
%% that was not answered within `put_ms' is refused.
-spec start([cluster_node:running()], cluster_calls:kind(), Options) -> load() when
    Options :: #{
        pause_ms => non_neg_integer(), put_ms => pos_integer(), repeat_one_of => pos_integer(),
        base => non_neg_integer()
    }.
start(Nodes, Kind, Options) ->
    Base = maps:get(base, Options, 0),
    spawn_link(fun() ->
        Load = self(),
        Producers = [
            {cluster_node:name(Node), spawn_link(fun() -> produce(Load, Node, Kind, Options, Base + P * 1000000) end)}
         || {P, Node} <- lists:enumerate(Nodes)
        ],
        Outcome = #{kind => Kind, batches => [], refused => #{}, longest_ms => 0},
        loop(#load{producers = maps:from_list(Producers), outcome = Outcome})
    end).

%% @doc The node runs again: its producer goes on.
-spec back(load(), cluster_node:running()) -> ok.
back(Load, Node) -> Load ! {back, Node}, ok.

%% @doc Waits for so many more batches, whoever puts them.
-spec acknowledged(load(), Batches :: pos_integer()) -> ok.
acknowledged(Load, Batches) -> await(Load, all, Batches).

%% @doc Waits for so many more batches by the producers of these nodes.
-spec acknowledged_of(load(), [cluster_node:running()], Batches :: pos_integer()) -> ok.
acknowledged_of(Load, Nodes, Batches) -> await(Load, [cluster_node:name(Node) || Node <- Nodes], Batches).

%% @doc Waits for so many more answers that are none.
-spec refused(load(), Answers :: pos_integer()) -> ok.
refused(Load, Answers) -> await(Load, refused, Answers).

%% @doc Ends the producers, after the answers that are on their way.
-spec finish(load()) -> outcome().
finish(Load) ->
    Monitor = erlang:monitor(process, Load),
    Load ! {finish, self(), Monitor},
    receive
        {Monitor, Outcome} -> erlang:demonitor(Monitor, [flush]), Outcome;
        {'DOWN', Monitor, process, Load, Reason} -> error(Reason)
    end.

%% @doc Whose call it is, and of which of its batches.
-spec batch_of(Cid :: binary()) -> {Producer :: non_neg_integer(), Nth :: non_neg_integer()}.
batch_of(Cid) ->
    Number = binary_to_integer(lists:last(binary:split(Cid, <<"-">>, [global]))),
    {Number div 1000000, Number rem 1000000 div ?BATCH_CALLS}.

%% @doc Many producers on each of these nodes, none of which minds an error, for so long: all of them put at one
%% moment, again
%% and again, each a batch that it has made before.
-spec flood([cluster_node:running()], LengthMs :: pos_integer(), EveryMs :: pos_integer(), Calls :: pos_integer()) ->
    [flood()].
flood(Nodes, LengthMs, EveryMs, Calls) ->
    Test = self(),
    Floods = [
        spawn_link(fun() ->
            Arguments = [?FLOOD_PRODUCERS, LengthMs, EveryMs, Calls, Nth * 100000000],
            Test ! {self(), cluster_node:call(Node, ?MODULE, flood_here, Arguments)}
        end)
     || {Nth, Node} <- lists:enumerate(Nodes)
    ],
    [receive {Flood, Result} -> Result end || Flood <- Floods].

await(Load, Nodes, Batches) ->
    Monitor = erlang:monitor(process, Load),
    Load ! {await, Monitor, self(), Nodes, Batches},
    receive
        {Monitor, reached} -> erlang:demonitor(Monitor, [flush]), ok;
        {'DOWN', Monitor, process, Load, Reason} -> error(Reason)
    after ?PROGRESS_MS -> error({no_progress, Nodes})
    end.

%% --- the load

loop(#load{producers = Producers, waiting = Waiting} = Load) ->
    receive
        {said, Batch, Answer} ->
            loop(answered(noted(Batch, Answer, Load)));
        {back, Node} ->
            maps:get(cluster_node:name(Node), Producers) ! {back, Node},
            loop(Load);
        {await, Ref, From, all, Batches} ->
            self() ! {await, Ref, From, maps:keys(Producers), Batches},
            loop(Load);
        {await, Ref, From, Nodes, Batches} ->
            loop(Load#load{waiting = [{Ref, From, Nodes, count(Nodes, Load) + Batches} | Waiting]});
        {finish, From, Ref} ->
            lists:foreach(fun(Producer) -> Producer ! finish end, maps:values(Producers)),
            Monitors = [{Pid, erlang:monitor(process, Pid)} || Pid <- maps:values(Producers)],
            lists:foreach(fun({Pid, Monitor}) -> receive {'DOWN', Monitor, process, Pid, _} -> ok end end, Monitors),
            From ! {Ref, rest(Load)}
    end.

rest(Load) ->
    receive
        {said, Batch, Answer} -> rest(noted(Batch, Answer, Load))
    after 0 -> Load#load.outcome
    end.

noted(#{node := Node, begun_ms := Begun, at_ms := At} = Batch, ok, #load{outcome = Outcome, counts = Counts} = Load) ->
    #{batches := Batches, longest_ms := Longest} = Outcome,
    Load#load{
        outcome = Outcome#{batches := [Batch | Batches], longest_ms := max(Longest, At - Begun)},
        counts = maps:update_with(Node, fun(N) -> N + 1 end, 1, Counts)
    };
noted(_Batch, {error, Reason}, #load{outcome = #{refused := Refused} = Outcome} = Load) ->
    Load#load{outcome = Outcome#{refused := maps:update_with(Reason, fun(N) -> N + 1 end, 1, Refused)}}.

answered(#load{waiting = Waiting} = Load) ->
    {Reached, Others} = lists:partition(fun({_, _, Nodes, Until}) -> count(Nodes, Load) >= Until end, Waiting),
    lists:foreach(fun({Ref, From, _, _}) -> From ! {Ref, reached} end, Reached),
    Load#load{waiting = Others}.

count(refused, #load{outcome = #{refused := Refused}}) -> lists:sum(maps:values(Refused));
count(Nodes, #load{counts = Counts}) -> lists:sum([maps:get(Node, Counts, 0) || Node <- Nodes]).

%% --- a producer

produce(Load, Node, Kind, Options, From) ->
    To = From + ?BATCH_CALLS - 1,
    case until_acknowledged(Load, Node, {Kind, From, To, maps:get(put_ms, Options, ?PUT_MS)}) of
        {ok, SameOrBack} ->
            repeated(SameOrBack, Kind, Options, From, To),
            receive
                finish -> ok
            after maps:get(pause_ms, Options, 0) -> produce(Load, SameOrBack, Kind, Options, To + 1)
            end;
        finished ->
            ok
    end.

until_acknowledged(Load, Node, {_, From, To, _} = Calls) ->
    Begun = now_ms(),
    Answer = put_batch(Node, Calls),
    Batch = #{
        node => cluster_node:name(Node), from => From, to => To, begun_ms => Begun, at_ms => now_ms()
    },
    case Answer of
        {ok, #{rejected := []}} ->
            Load ! {said, Batch, ok},
            {ok, Node};
        {error, _} = Error ->
            Load ! {said, Batch, Error},
            receive
                finish -> finished
            after 0 -> until_acknowledged(Load, Node, Calls)
            end;
        node_gone ->
            receive
                finish -> finished;
                {back, Again} -> until_acknowledged(Load, Again, Calls)
            end
    end.

%% The answer to a batch that was put a second time is no news, whatever it is.
repeated(Node, Kind, #{repeat_one_of := OneOf}, From, To) when (To + 1) div ?BATCH_CALLS rem OneOf =:= 0 ->
    _ = put_batch(Node, {Kind, From, To, ?PUT_MS}),
    ok;
repeated(_Node, _Kind, _Options, _From, _To) ->
    ok.

%% The events are made over there: little then goes over the node's standard input.
put_batch(Node, {Kind, From, To, TimeoutMs}) ->
    try
        cluster_node:call(Node, ?MODULE, put_here, [Kind, From, To, TimeoutMs])
    catch
        %% The peer has ended, or its node did under the call.
        exit:_ -> node_gone;
        error:noconnection -> node_gone
    end.

%% --- inside the nodes

%% @doc Puts one batch here.
-spec put_here(cluster_calls:kind(), From :: non_neg_integer(), To :: non_neg_integer()) -> era_callstore_put:result().
put_here(Kind, From, To) -> put_here(Kind, From, To, ?PUT_MS).

-spec put_here(cluster_calls:kind(), From :: non_neg_integer(), To :: non_neg_integer(), TimeoutMs :: pos_integer()) ->
    era_callstore_put:result().
put_here(Kind, From, To, TimeoutMs) ->
    era_callstore:put(cluster_calls:events(Kind, From, To), #{timeout => TimeoutMs}).

%% @doc The flood of one node.
-spec flood_here(Producers, LengthMs, EveryMs, Calls, Base) -> flood() when
    Producers :: pos_integer(), LengthMs :: pos_integer(), EveryMs :: pos_integer(), Calls :: pos_integer(),
    Base :: non_neg_integer().
flood_here(Producers, LengthMs, EveryMs, Calls, Base) ->
    Times = lists:seq(now_ms() + EveryMs, now_ms() + LengthMs, EveryMs),
    Self = self(),
    Pids = [
        spawn_link(fun() -> Self ! {self(), poured(Base + P * 1000000, Calls, Times, empty())} end)
     || P <- lists:seq(1, Producers)
    ],
    Watch = spawn_link(fun() -> Self ! {self(), peak(0)} end),
    Poured = lists:foldl(fun sum/2, empty(), [receive {Pid, One} -> One end || Pid <- Pids]),
    Watch ! finish,
    receive {Watch, Peak} -> Poured#{peak_bytes := Peak} end.

empty() -> #{acknowledged => [], refused => #{}, peak_bytes => 0}.

poured(_From, _Calls, [], Poured) ->
    Poured;
poured(From, Calls, [At | Times], #{acknowledged := Acknowledged, refused := Refused} = Poured) ->
    To = From + Calls - 1,
    Events = cluster_calls:events(alive, From, To),
    receive after max(0, At - now_ms()) -> ok end,
    Begun = now_ms(),
    case era_callstore:put(Events, #{timeout => ?FLOOD_PUT_MS}) of
        {ok, #{rejected := []}} ->
            Batch = #{node => node(), from => From, to => To, begun_ms => Begun, at_ms => now_ms()},
            poured(To + 1, Calls, Times, Poured#{acknowledged := [Batch | Acknowledged]});
        {error, Reason} ->
            More = maps:update_with(Reason, fun(N) -> N + 1 end, 1, Refused),
            poured(To + 1, Calls, Times, Poured#{refused := More})
    end.

peak(Peak) ->
    receive
        finish -> Peak
    after ?FLOOD_LOOK_MS -> peak(max(Peak, erlang:memory(processes) + erlang:memory(binary)))
    end.

sum(#{acknowledged := A, refused := R}, #{acknowledged := As, refused := Rs} = Sum) ->
    Refused = maps:fold(fun(Reason, N, Acc) -> maps:update_with(Reason, fun(M) -> M + N end, N, Acc) end, Rs, R),
    Sum#{acknowledged := A ++ As, refused := Refused}.

now_ms() -> erlang:monotonic_time(millisecond).
