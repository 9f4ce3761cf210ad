%%% The world around the application in a scenario: owners that are processes of real nodes, a probe and a rescue that
%%% answer what the scenario says, a mixer that takes what it is given, a subscriber that counts deaths.
%%%
%%% A node of a scenario is a VM of its own. It goes down and comes back by its link: while it is down its cookie is a
%%% wrong one, so that nobody connects to it.
%%% Always holds: begin_world/0 … end_world/0 leaves nothing behind.
%%% Called by: era_callstore_scenario_tests; probe/1, mix/1 and rescue/1 by the application, serve/1 inside nodes.
%%% Must never: know what a scenario expects.
-module(era_callstore_scenario_owners).
-behaviour(era_callstore_probe).
-behaviour(era_callstore_mixer).
-behaviour(era_callstore_rescue).

-export([begin_world/0, end_world/0, settings/1, subscribe/0]).
-export([owner/1, owner_down/2, node_down/1, node_up/1, watched/0, answers/1, rescues/1, idle/0]).
-export([deaths/1, mixes/0, mix_job/1, asked/1, probe/1, mix/1, rescue/1, serve/1]).
-define(GROUP, 11010).
-define(COOKIE, scenario).
-define(BOOT_MS, 30000).

%% @doc A world without nodes; this VM can be connected.
-spec begin_world() -> ok.
begin_world() ->
    _ = os:cmd("epmd -daemon"),
    {ok, _} = net_kernel:start([unique("scenario"), longnames]),
    true = erlang:set_cookie(?COOKIE),
    %% {{node, Label}, Peer, Node}, {{owner, Owner}}, {{dialog, Id}, Answer}, {{mix, Cid}, Times},
    %% {{mix_job, Cid}, Job}, {{rescue, Dialog}, Owner}, {{asked, Id}, Times}
    ?MODULE = ets:new(?MODULE, [named_table, public]),
    ok.

-spec end_world() -> ok.
end_world() ->
    [ok = peer:stop(Peer) || [Peer] <- ets:match(?MODULE, {{node, '_'}, '$1', '_'})],
    true = ets:delete(?MODULE),
    net_kernel:stop().

unique(Name) ->
    list_to_atom(lists:concat([Name, "_", os:getpid(), "_", erlang:unique_integer([positive]), "@127.0.0.1"])).

%% How long what was committed may take until it is told.
-define(TOLD_MS, 10000).

%% @doc What the application is to be set to; `true' where conversations may be rescued.
-spec settings(boolean()) -> map().
settings(true) -> (settings(false))#{rescue => ?MODULE};
settings(false) -> #{probe => ?MODULE, mixer => ?MODULE}.

%% @doc The calling process counts deaths from now on.
-spec subscribe() -> ok.
subscribe() ->
    {ok, Ref} = era_callstore:subscribe(#{events => [<<"dlg_dead">>], since => now}),
    put(?MODULE, {Ref, #{}}),
    ok.

%% --- owners

%% @doc The owner that a scenario names; its node and its process are started where they do not run.
-spec owner(binary()) -> era_callstore_owner:owner().
owner(<<"external:", Id/binary>>) ->
    {external, Id};
owner(Text) ->
    [Name, Label] = binary:split(Text, <<"@">>),
    Owner = {binary_to_atom(Name), node_of(Label)},
    case ets:insert_new(?MODULE, {{owner, Owner}}) of
        true -> ok = erpc:call(element(2, Owner), ?MODULE, serve, [binary_to_atom(Name)]);
        false -> ok
    end,
    Owner.

node_of(Label) ->
    case ets:lookup(?MODULE, {node, Label}) of
        [{_, _, Node}] ->
            Node;
        [] ->
            [Name, Host] = string:lexemes(atom_to_list(unique(binary_to_list(Label))), "@"),
            {ok, Peer, Node} = peer:start_link(#{
                name => Name, host => Host, longnames => true, connection => standard_io, wait_boot => ?BOOT_MS,
                args => ["-setcookie", atom_to_list(?COOKIE), "-pa" | code:get_path()]
            }),
            true = net_kernel:connect_node(Node),
            true = ets:insert(?MODULE, {{node, Label}, Peer, Node}),
            Node
    end.

%% @doc Inside a node: a process of this name that serves until it is killed.
-spec serve(atom()) -> ok.
serve(Name) ->
    Pid = spawn(fun() -> receive stop -> ok end end),
    true = register(Name, Pid),
    ok.

%% @doc Has an owner end so, and waits until the application has seen it.
-spec owner_down(binary(), Reason :: binary()) -> ok.
owner_down(Text, Reason) ->
    {Name, Node} = owner(Text),
    Told = told(),
    Process = erpc:call(Node, erlang, whereis, [Name]),
    case Reason of
        <<"killed">> -> true = exit(Process, kill);
        <<"normal">> -> Process ! stop
    end,
    era_callstore_test_app:until(fun() -> told() > Told end).

-spec node_down(Label :: binary()) -> ok.
node_down(Label) ->
    Node = node_of(Label),
    true = erlang:set_cookie(Node, wrong),
    true = erlang:disconnect_node(Node),
    era_callstore_test_app:until(fun() -> lists:member(Node, maps:get(nodes_down, watch())) end).

-spec node_up(Label :: binary()) -> ok.
node_up(Label) ->
    Node = node_of(Label),
    true = erlang:set_cookie(Node, ?COOKIE),
    era_callstore_test_app:until(fun() -> not lists:member(Node, maps:get(nodes_down, watch())) end).

%% How often something was seen of owners and nodes.
told() ->
    [Told] = [Value || {evidence_told, _, Value} <- era_callstore_counters:all()],
    Told.

%% @doc Waits until the application asks nobody any more.
-spec idle() -> ok.
idle() ->
    %% What the ticks have found is with the process that asks, once that answers.
    {error, no_such_call} = gen_server:call(era_callstore_jobs_11010, are_you_there, infinity),
    era_callstore_test_app:until(fun() ->
        #{waiting := Waiting} = watch(),
        lists:sum(maps:values(Waiting)) =:= 0
    end).

%% @doc Waits until the application watches all owners of live calls; all of them must live.
-spec watched() -> ok.
watched() ->
    {ok, Store} = era_callstore_router:store(?GROUP),
    {Named, done} = era_callstore_nif:owners(Store, start, 1000000),
    Inside = [Owner || {Owner, _} <- Named, not is_external(Owner)],
    era_callstore_test_app:until(fun() -> maps:get(owners, watch()) >= length(Inside) end).

is_external(<<"external:", _/binary>>) -> true;
is_external(_) -> false.

watch() ->
    #{groups := #{?GROUP := #{watch := Watch}}} = era_callstore:status(),
    Watch.

%% --- what others answer

%% @doc From now on a probe of these dialogs answers so.
-spec answers(#{Dialog :: binary() => alive | gone | unknown}) -> ok.
answers(Answers) ->
    true = ets:insert(?MODULE, [{{dialog, Dialog}, Answer} || {Dialog, Answer} <- maps:to_list(Answers)]),
    ok.

-spec probe([era_callstore_probe:dialog()]) -> [{binary(), era_callstore_probe:answer()}].
probe(Dialogs) ->
    _ = [ets:update_counter(?MODULE, {asked, Id}, 1, {{asked, Id}, 0}) || #{dialogid := Id} <- Dialogs],
    [{Id, Answer} || #{dialogid := Id} <- Dialogs, {_, Answer} <- ets:lookup(?MODULE, {dialog, Id})].

%% @doc From now on the conversations of these dialogs can be restored, by these owners.
-spec rescues(#{Dialog :: binary() => Owner :: binary()}) -> ok.
rescues(Owners) ->
    true = ets:insert(?MODULE, [{{rescue, Dialog}, Owner} || {Dialog, Owner} <- maps:to_list(Owners)]),
    ok.

-spec rescue(era_callstore_rescue:dialog()) -> {ok, era_callstore_owner:owner()} | {error, nobody_can}.
rescue(#{dialogid := Dialog}) ->
    case ets:lookup(?MODULE, {rescue, Dialog}) of
        [{_, <<"external:", Id/binary>>}] -> {ok, {external, Id}};
        [] -> {error, nobody_can}
    end.

-spec mix(era_callstore_mixer:job()) -> ok.
mix(#{<<"cid">> := Cid} = Job) ->
    true = ets:insert(?MODULE, {{mix_job, Cid}, Job}),
    _ = ets:update_counter(?MODULE, {mix, Cid}, 1, {{mix, Cid}, 0}),
    ok.

%% --- what came of it

%% @doc How many `dlg_dead' the subscriber saw, by call, once Enough of them have come. What was committed is told a moment
%% later.
-spec deaths(Enough :: fun((#{Cid :: binary() => pos_integer()}) -> boolean())) -> #{Cid :: binary() => pos_integer()}.
deaths(Enough) ->
    {Ref, Known} = get(?MODULE),
    receive
        {era_callstore, Ref, _Seq, #{<<"type">> := <<"dlg_dead">>, <<"data">> := #{<<"cid">> := Cid}}} ->
            put(?MODULE, {Ref, maps:update_with(Cid, fun(N) -> N + 1 end, 1, Known)}),
            deaths(Enough)
    after case Enough(Known) of true -> 0; false -> ?TOLD_MS end ->
        Known
    end.

%% @doc The newest job that the mixer took of a call.
-spec mix_job(Cid :: binary()) -> era_callstore_mixer:job() | absent.
mix_job(Cid) ->
    case ets:lookup(?MODULE, {mix_job, Cid}) of
        [{_, Job}] -> Job;
        [] -> absent
    end.

%% @doc How often a dialog, or a call without one, was asked for.
-spec asked(DialogOrCid :: binary()) -> non_neg_integer().
asked(Id) ->
    case ets:lookup(?MODULE, {asked, Id}) of
        [{_, Times}] -> Times;
        [] -> 0
    end.

%% @doc How many jobs the mixer took, by call.
-spec mixes() -> #{Cid :: binary() => pos_integer()}.
mixes() -> maps:from_list([{Cid, N} || {{mix, Cid}, N} <- ets:tab2list(?MODULE)]).
