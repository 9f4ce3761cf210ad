%%% The top supervisor: pg for who is where, the beat that notices pauses, the router, the dump of Mnesia's log, the index of the collections, the
%%% groups, what heals this node after a net split, and the subscriptions.
%%%
%%% Always holds: who depends on another starts after it and with it.
%%% Called by: era_callstore_app.
%%% Must never: restart a group; era_callstore_groups does, so that one that fails for ever does not take the node along.
-module(era_callstore_sup).
-behaviour(supervisor).

-export([start_link/1]).
-export([init/1]).

%% The log of Mnesia is dumped when it is larger.
-define(DUMP_LOG_BYTES, (128 bsl 20)).

-spec start_link(era_callstore_config:config()) -> supervisor:startlink_ret().
start_link(Config) -> supervisor:start_link({local, ?MODULE}, ?MODULE, Config).

-spec init(era_callstore_config:config()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Config) ->
    Children = [
        #{id => pg, start => {pg, start_link, [era_callstore]}},
        #{id => pause, start => {era_callstore_pause, start_link, []}},
        #{id => router, start => {era_callstore_router, start_link, []}},
        #{id => dump, start => {era_callstore_dump, start_link, [?DUMP_LOG_BYTES]}},
        #{id => collection, start => {era_callstore_collection_index, start_link, []}},
        #{id => groups, start => {era_callstore_groups, start_link, [Config]}, shutdown => 60000},
        #{id => heal, start => {era_callstore_heal, start_link, []}, shutdown => 60000},
        #{id => subscriptions, start => {era_callstore_subscription_sup, start_link, []}, type => supervisor}
    ],
    {ok, {#{strategy => rest_for_one, intensity => 5, period => 60}, Children}}.
