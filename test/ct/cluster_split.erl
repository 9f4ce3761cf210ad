%%% What is done to the nodes of one group that are cut off from each other, and what must be true when they are
%%% together again.
%%%
%%% Called by: split_SUITE, level_SUITE, rejoin_SUITE.
%%% Must never: take less than everything, on every copy.
-module(cluster_split).

-export([started/3, unguarded/0, put_alive/3, cut/2, mend/2, both_active/2, state/1, delivered/1, united/2, all_there/2]).
-export([logged/2, log/1, dir/1, silence_level/1, restore_level/1, form/1]).

-include_lib("stdlib/include/assert.hrl").

%% @doc So many nodes in a folder, of which the first is active.
-spec started(pos_integer(), map(), file:filename()) -> [cluster_node:running()].
started(Number, Settings, Dir) ->
    Nodes = cluster_node:start(cluster_node:plan(Dir, Number, Settings)),
    ok = cluster_node:lowest_active(Nodes),
    _ = cluster_node:settled(Nodes),
    Nodes.

%% @doc Without the runtime's own guard against links that are cut in part only.
-spec unguarded() -> [string()].
unguarded() -> ["-kernel", "prevent_overlapping_partitions", "false"].

%% @doc These calls are new and acknowledged.
-spec put_alive(cluster_node:running(), From :: pos_integer(), To :: pos_integer()) -> ok.
put_alive(Node, From, To) ->
    New = To - From + 1,
    {ok, #{accepted := New, rejected := []}} =
        cluster_node:call(Node, era_callstore, put, [cluster_calls:events(alive, From, To), #{timeout => 20000}]),
    ok.

-spec cut([cluster_node:running()], [cluster_node:running()]) -> ok.
cut(Some, Others) -> cluster_node:cut(Some, Others).

-spec mend([cluster_node:running()], [cluster_node:running()]) -> ok.
mend(Some, Others) -> cluster_node:mend(Some, Others).

%% @doc Each has noticed that it goes on apart.
-spec both_active(cluster_node:running(), cluster_node:running()) -> ok.
both_active(One, Other) ->
    cluster_node:until(both_active, fun() ->
        [active, active] =:= [state(Node) || Node <- [One, Other]] orelse {false, [state(Node) || Node <- [One, Other]]}
    end).

-spec state(cluster_node:running()) -> era_callstore_peers:state().
state(Node) ->
    #{groups := #{1 := #{state := State}}} = cluster_node:call(Node, era_callstore, status, []),
    State.

%% @doc Every sink has accepted what was issued.
-spec delivered(cluster_node:running()) -> ok.
delivered(Node) -> cluster_node:call(Node, era_callstore_outbox, drain, [1, 60000]).

%% @doc One Mnesia, one active, these calls and no others on every copy, and every copy the same.
-spec united([cluster_node:running()], Numbers :: [pos_integer()]) -> ok.
united(Nodes, Numbers) ->
    ok = cluster_node:together(Nodes),
    ok = cluster_node:lowest_active(Nodes),
    all_there(Nodes, Numbers).

%% @doc These calls and no others on every copy, and every copy the same.
-spec all_there([cluster_node:running()], Numbers :: [pos_integer()]) -> ok.
all_there(Nodes, Numbers) ->
    Statuses = cluster_node:settled(Nodes),
    Cids = [cluster_calls:cid(N) || N <- Numbers],
    ?assertEqual([], lists:append([cluster_truth:missing(Node, Cids) || Node <- Nodes])),
    ok = cluster_node:until(equal, fun() -> length(cluster_node:digests(Nodes)) =:= 1 end),
    [?assertEqual(Started, Live + Closed) || #{started := Started, live := Live, closed := Closed} <- Statuses],
    ?assertEqual([length(Cids)], lists:usort([Started || #{started := Started} <- Statuses])).

%% @doc Waits until the log file of the node says this.
-spec logged(cluster_node:running(), What :: iodata()) -> ok.
logged(Node, What) -> cluster_node:until({logged, What}, fun() -> re:run(log(Node), What) =/= nomatch end).

-spec log(cluster_node:running()) -> binary().
log(#{plan := Plan}) ->
    {ok, Log} = file:read_file(cluster_node:log(Plan)),
    Log.

-spec dir(cluster_node:running()) -> file:filename().
dir(#{plan := #{dir := Dir}}) -> Dir.

%% @doc This node, which is not active, answers no more how its copy stands, and everything else.
-spec silence_level(cluster_node:running()) -> ok.
silence_level(Node) ->
    {ok, era_callstore_level, Silent} = compile:forms([
        form(Text)
     || Text <- [
            "-module(era_callstore_level).", "-export([stand/1, look/1]).",
            "stand(_) -> receive never -> ok end.", "look(_) -> ok."
        ]
    ]),
    {module, _} = cluster_node:call(Node, code, load_binary, [era_callstore_level, "silent", Silent]),
    ok.

%% @doc It answers again.
-spec restore_level(cluster_node:running()) -> ok.
restore_level(Node) ->
    _ = cluster_node:call(Node, code, purge, [era_callstore_level]),
    {module, _} = cluster_node:call(Node, code, load_file, [era_callstore_level]),
    _ = cluster_node:call(Node, code, purge, [era_callstore_level]),
    ok.

%% @doc A form of a module that stands in for another one inside a node.
-spec form(string()) -> erl_parse:abstract_form().
form(Text) ->
    {ok, Tokens, _} = erl_scan:string(Text),
    {ok, Form} = erl_parse:parse_form(Tokens),
    Form.
