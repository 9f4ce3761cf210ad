%%% Load for several nodes: a producer on each repeats a batch until it is acknowledged, then takes the next one, as
%%% role code does that must not lose an event.
%%%
%%%   producers ──{said, …}──► the load (one process): counts, remembers what was acknowledged, answers who waits
%%%
%%% Always holds: a producer whose node is gone keeps its batch and goes on with it when the node is back (back/2). What
%%% was acknowledged is known with the node that said so, and when. Repeats, where wanted, put a batch a second time.
%%% Called by: the suites of several nodes; put_here/3 and flood_here/4 run inside the nodes.
%%% Must never: give a batch up.
-module(cluster_load).

-export([start/2, start/3, back/2, acknowledged/2, acknowledged_of/3, finish/1, batch_of/1]).
-export([flood/3, put_here/3, flood_here/4]).
-export_type([load/0, outcome/0, batch/0, flood/0]).

-define(BATCH_CALLS, 20).
-define(PROGRESS_MS, 60000).
-define(PUT_MS, 10000).
-define(FLOOD_PRODUCERS, 50).
-define(FLOOD_PUT_MS, 5000).

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
    waiting = [] :: [{reference(), pid(), [node()], Until :: non_neg_integer()}]
}).

%% @doc A producer on each of these nodes.
-spec start([cluster_node:running()], cluster_calls:kind()) -> load().
start(Nodes, Kind) -> start(Nodes, Kind, #{}).

%% @doc With a pause after each batch, and one of so many batches put twice; the numbers of calls begin above `base'.
-spec start([cluster_node:running()], cluster_calls:kind(), Options) -> load() when
    Options :: #{pause_ms => non_neg_integer(), repeat_one_of => pos_integer(), base => non_neg_integer()}.
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

%% @doc Many producers on each of these nodes, none of which waits for another or minds an error, for so long.
-spec flood([cluster_node:running()], LengthMs :: pos_integer(), PauseMs :: pos_integer()) -> [flood()].
flood(Nodes, LengthMs, PauseMs) ->
    Test = self(),
    Floods = [
        spawn_link(fun() ->
            Arguments = [?FLOOD_PRODUCERS, LengthMs, PauseMs, Nth * 100000000],
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

count(Nodes, #load{counts = Counts}) -> lists:sum([maps:get(Node, Counts, 0) || Node <- Nodes]).

%% --- a producer

produce(Load, Node, Kind, Options, From) ->
    To = From + ?BATCH_CALLS - 1,
    case until_acknowledged(Load, Node, {Kind, From, To}) of
        {ok, SameOrBack} ->
            repeated(SameOrBack, Kind, Options, From, To),
            receive
                finish -> ok
            after maps:get(pause_ms, Options, 0) -> produce(Load, SameOrBack, Kind, Options, To + 1)
            end;
        finished ->
            ok
    end.

until_acknowledged(Load, Node, {_, From, To} = Calls) ->
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
    _ = put_batch(Node, {Kind, From, To}),
    ok;
repeated(_Node, _Kind, _Options, _From, _To) ->
    ok.

%% The events are made over there: little then goes over the node's standard input.
put_batch(Node, {Kind, From, To}) ->
    try
        cluster_node:call(Node, ?MODULE, put_here, [Kind, From, To])
    catch
        %% The peer has ended, or its node did under the call.
        exit:_ -> node_gone;
        error:noconnection -> node_gone
    end.

%% --- inside the nodes

%% @doc Puts one batch here.
-spec put_here(cluster_calls:kind(), From :: non_neg_integer(), To :: non_neg_integer()) -> era_callstore_put:result().
put_here(Kind, From, To) -> era_callstore:put(cluster_calls:events(Kind, From, To), #{timeout => ?PUT_MS}).

%% @doc The flood of one node.
-spec flood_here(Producers, LengthMs, PauseMs, Base) -> flood() when
    Producers :: pos_integer(), LengthMs :: pos_integer(), PauseMs :: pos_integer(), Base :: non_neg_integer().
flood_here(Producers, LengthMs, PauseMs, Base) ->
    Until = now_ms() + LengthMs,
    Self = self(),
    Pids = [
        spawn_link(fun() -> Self ! {self(), poured(Base + P * 1000000, PauseMs, Until, empty())} end)
     || P <- lists:seq(1, Producers)
    ],
    lists:foldl(fun sum/2, empty(), [receive {Pid, Poured} -> Poured end || Pid <- Pids]).

empty() -> #{acknowledged => [], refused => #{}, peak_bytes => 0}.

poured(From, PauseMs, Until, #{acknowledged := Acknowledged, refused := Refused, peak_bytes := Peak} = Poured) ->
    To = From + ?BATCH_CALLS - 1,
    Begun = now_ms(),
    Answer = era_callstore:put(cluster_calls:events(alive, From, To), #{timeout => ?FLOOD_PUT_MS}),
    Bytes = erlang:memory(processes) + erlang:memory(binary),
    Seen = Poured#{peak_bytes := max(Peak, Bytes)},
    Next =
        case Answer of
            {ok, #{rejected := []}} ->
                Batch = #{node => node(), from => From, to => To, begun_ms => Begun, at_ms => now_ms()},
                Seen#{acknowledged := [Batch | Acknowledged]};
            {error, Reason} ->
                Seen#{refused := maps:update_with(Reason, fun(N) -> N + 1 end, 1, Refused)}
        end,
    receive after PauseMs -> ok end,
    case now_ms() < Until of
        true -> poured(To + 1, PauseMs, Until, Next);
        false -> Next
    end.

sum(#{acknowledged := A, refused := R, peak_bytes := P}, #{acknowledged := As, refused := Rs, peak_bytes := Ps}) ->
    Refused = maps:fold(fun(Reason, N, Acc) -> maps:update_with(Reason, fun(M) -> M + N end, N, Acc) end, Rs, R),
    #{acknowledged => A ++ As, refused => Refused, peak_bytes => max(P, Ps)}.

now_ms() -> erlang:monotonic_time(millisecond).
