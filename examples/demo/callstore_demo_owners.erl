%%% The node of the demo's second act that serves the calls: a VM of its own with one process for each call.
%%%
%%% Always holds: the node ends with the demo, however the demo ends.
%%% Called by: callstore_demo_deaths; serve/1 runs inside the node.
%%% Must never: end a process or a VM that the demo has not started.
-module(callstore_demo_owners).

-export([boot/1, kill_processes/1, kill_node/1, serve/1]).
-export_type([owners/0]).

-record(owners, {node :: node(), os_pid :: string()}).
-opaque owners() :: #owners{}.

-define(BOOT_MS, 30000).

%% @doc Starts the node and so many processes in it.
-spec boot(Number :: pos_integer()) -> {owners(), [pid()]}.
boot(Number) ->
    [Name, Host] = string:lexemes(atom_to_list(node()), "@"),
    Cookie = atom_to_list(erlang:get_cookie()),
    {ok, Peer, Node} = peer:start_link(#{
        name => "b2b-" ++ Name, host => Host, longnames => true, connection => standard_io, wait_boot => ?BOOT_MS,
        args => [
            "+Bd", "-setcookie", Cookie, "-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-pa" | code:get_path()
        ]
    }),
    %% Its death is what the demo is about.
    true = unlink(Peer),
    true = net_kernel:connect_node(Node),
    {#owners{node = Node, os_pid = peer:call(Peer, os, getpid, [])}, erpc:call(Node, ?MODULE, serve, [Number])}.

%% @doc Kills processes of the node.
-spec kill_processes([pid()]) -> ok.
kill_processes(Owners) -> lists:foreach(fun(Owner) -> exit(Owner, kill) end, Owners).

%% @doc SIGKILL.
-spec kill_node(owners()) -> ok.
kill_node(#owners{os_pid = OsPid}) ->
    [] = os:cmd("kill -9 " ++ OsPid),
    ok.

%% @doc Inside the node: processes that serve a call each.
-spec serve(Number :: pos_integer()) -> [pid()].
serve(Number) -> [spawn(fun wait/0) || _ <- lists:seq(1, Number)].

wait() ->
    receive
        hang_up -> ok
    end.
