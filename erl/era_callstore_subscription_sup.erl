%%% The subscriptions of this node.
%%%
%%% Always holds: one that fails takes no other along, and is not started again: its subscriber is not told the same
%%% twice.
%%% Called by: era_callstore_sup, era_callstore_subscription.
-module(era_callstore_subscription_sup).
-behaviour(supervisor).

-export([start_link/0]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    ok = era_callstore_subscription:table(),
    Child = #{
        id => subscription, start => {era_callstore_subscription, start_link, []},
        restart => temporary, shutdown => 1000
    },
    {ok, {#{strategy => simple_one_for_one}, [Child]}}.
