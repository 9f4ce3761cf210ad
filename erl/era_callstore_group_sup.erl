%%% What one group needs on one node: its feed of events out, its view, its receipts and its state machine.
%%%
%%% Always holds: they live and end together, since each holds a part of what is known of the copy.
%%% Called by: era_callstore_groups.
-module(era_callstore_group_sup).
-behaviour(supervisor).

-export([start_link/2]).
-export([init/1]).

-spec start_link(Group :: pos_integer(), era_callstore_config:config()) -> supervisor:startlink_ret().
start_link(Group, Config) -> supervisor:start_link(?MODULE, {Group, Config}).

-spec init({pos_integer(), era_callstore_config:config()}) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Group, #{site := Site, master_domain := Master, sinks := Sinks, feed_bytes := FeedBytes} = Config}) ->
    #{commit := Commit} = Config,
    {ok, #{storage := Storage, roles := Roles, members := Members}, #{instance := Instance}} =
        era_callstore_config:group(Config, Group),
    #{Instance := Role} = Roles,
    %% Where a commit is to survive the death of the VM.
    Receipts = Storage =/= ram_copies andalso Commit =/= async_dirty,
    View = #{
        group => Group,
        storage => Storage,
        receipts => Receipts,
        sinks => Sinks,
        tell_bytes => era_callstore_credit:tell_bytes(map_get(lag_bytes, Config)),
        context => era_callstore_sink:context(Config, Group),
        settings => #{
            site => Site,
            master_domain => Master,
            group => Group,
            sinks => [Name || #{name := Name} <- Sinks],
            cdr_enabled => maps:get(<<"cdr_enabled">>, Role, true),
            sorm3_enabled => maps:get(<<"sorm3_enabled">>, Role, false),
            copm3_name => maps:get(copm3_name, Config),
            watch => era_callstore_behaviours:limits(Config)
        }
    },
    Peers = lists:usort([Node || #{node := Node} <- Members, Node =/= node()]),
    Feed = #{group => Group, feed_bytes => FeedBytes, peers => Peers},
    Receipt = #{id => receipt, start => {era_callstore_receipt, start_link, [Group]}, shutdown => 5000},
    Children = [Receipt || Receipts] ++ [
        #{id => feed, start => {era_callstore_feed, start_link, [Feed]}, shutdown => 5000},
        #{id => view, start => {era_callstore_view, start_link, [View]}, shutdown => 5000},
        #{id => group, start => {era_callstore_group, start_link, [Group, Config]}, shutdown => 30000}
    ],
    {ok, {#{strategy => one_for_all, intensity => 3, period => 30}, Children}}.
