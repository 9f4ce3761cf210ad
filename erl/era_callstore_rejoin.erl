%%% Mnesia of nodes that went on apart: which copies a node loads when it starts again, its own or those of the others.
%%%
%%% A node on which something is acknowledged while a copy elsewhere is missing keeps its own (keep_own/0): Mnesia would load
%%% those of the others, whatever ours has that they lack. When it is together with all others again, it does so no
%%% longer (settle/0). Mnesia brings either choice to the disc before it returns.
%%% A node gives up its own copies (leave/3) in one of two ways:
%%%   same_schema    Mnesia starts again with another node as master of each of our tables that are loaded here and
%%%                  there: these are loaded from it; tables that only this node has stay; of one that is not loaded
%%%                  Mnesia knows best whose copy is the newest
%%%   other_schema   each has made a schema of its own: the directory is set aside (`<dir>.aside', in place of an earlier
%%%                  one) and the node joins as a new one
%%% Always holds: whoever starts Mnesia while a node leaves waits until that is done (era_callstore_schema:start/1).
%%% Where a copy elsewhere is missing when settle/0 returns, this node keeps its own; whoever asks kept/1 in between
%%% waits.
%%% Called by: era_callstore_heal; is_together/1 and keeps_own/0 by the groups, kept/1 by commits, is_own/1 by gap; is_same_schema/1
%%% asks cookies/0 of the other node over erpc.
%%% Must never: leave before what the others lack has been given to them.
-module(era_callstore_rejoin).

-export([is_together/1, side/0, is_ours/0, foreign_tables/0, is_same_schema/1, cookies/0]).
-export([keep_own/0, kept/1, keeps_own/0, is_own/1, is_settled/0, settle/0, forget_given_back/0, leave/3, is_loaded/0]).
-export([is_stranded/1, take_own/0]).
-export_type([way/0]).

-include_lib("kernel/include/logger.hrl").

-define(ASK_MS, 5000).
-define(SETTLING, {?MODULE, settling}).

-type way() :: same_schema | other_schema.

%% @doc Whether this node and that one share one running Mnesia.
-spec is_together(node()) -> boolean().
is_together(Node) -> lists:member(Node, side()).

%% @doc The nodes that share one running Mnesia with this one, itself included; none when it does not run here.
-spec side() -> [node()].
side() -> era_callstore_schema:together().

%% @doc Whether Mnesia was started by us and holds no table of the host: then it may be started again unasked.
-spec is_ours() -> boolean().
is_ours() -> era_callstore_schema:is_ours() andalso foreign_tables() =:= [].

%% @doc Tables of the host in the schema that we share with it.
-spec foreign_tables() -> [atom()].
foreign_tables() ->
    [T || T <- mnesia:system_info(tables), T =/= schema, not lists:prefix("era_callstore_", atom_to_list(T))].

%% @doc Whether that node's schema and tables were made together with those here.
-spec is_same_schema(node()) -> boolean().
is_same_schema(Node) ->
    Here = cookies(),
    Other = erpc:call(Node, ?MODULE, cookies, [], ?ASK_MS),
    maps:with(maps:keys(Other), Here) =:= maps:with(maps:keys(Here), Other).

%% @doc What tells a table from another one of the same name.
-spec cookies() -> #{atom() => term()}.
cookies() -> maps:from_list([{Table, mnesia:table_info(Table, cookie)} || Table <- mnesia:system_info(tables)]).

%% @doc Gives up the copies here that are also on other nodes: a table is loaded from the node that is named for it,
%% another one from Keeper. Mnesia of ours is started again by the groups; one of the host is when this returns.
-spec leave(#{atom() => node()}, Keeper :: node(), way()) -> ok | {error, term()}.
leave(Masters, Keeper, same_schema) ->
    Loaded = [Table || Table <- own_tables(), is_here(Table)],
    case first_error([set_master(Table, maps:get(Table, Masters, Keeper)) || Table <- Loaded]) of
        ok -> restart(era_callstore_schema:is_ours());
        {error, _} = Error -> Error
    end;
leave(_Masters, _Keeper, other_schema) ->
    era_callstore_schema:restart(fun set_aside/1).

restart(true) ->
    era_callstore_schema:restart(fun(_Dir) -> ok end);
restart(false) ->
    stopped = mnesia:stop(),
    ok = era_callstore_schema:stay_away(),
    mnesia:start().

set_master(Table, Master) ->
    case lists:member(Master, mnesia:table_info(Table, disc_copies) ++ mnesia:table_info(Table, ram_copies)) of
        true -> mnesia:set_master_nodes(Table, [Master]);
        false -> ok
    end.

%% @doc Whether a copy here is to be loaded from nodes none of which is among these, and is not: its own is still on
%% the disc.
-spec is_stranded(Running :: [node()]) -> boolean().
is_stranded(Running) ->
    lists:any(
        fun(Table) ->
            Masters = mnesia:table_info(Table, master_nodes),
            Masters =/= [] andalso Masters -- [node() | Running] =:= Masters andalso not is_here(Table)
        end,
        own_tables()
    ).

%% @doc Goes on with the copies here after all: Mnesia of ours is started again, by the groups, and loads them.
-spec take_own() -> ok | {error, host_mnesia | term()}.
take_own() ->
    case is_ours() andalso keep_own() of
        ok -> restart(true);
        false -> {error, host_mnesia};
        {error, _} = Error -> Error
    end.

is_here(Table) -> mnesia:table_info(Table, where_to_read) =:= node().

%% @doc Whether every copy of this node is loaded.
-spec is_loaded() -> boolean().
is_loaded() ->
    try
        mnesia:wait_for_tables(mnesia:system_info(local_tables), 0) =:= ok
    catch
        %% It is just starting.
        exit:{aborted, _} -> false
    end.

%% @doc From now on Mnesia starts with the copies of our tables that are on this node's disc.
-spec keep_own() -> ok | {error, term()}.
keep_own() -> in_turn(fun set_own/0).

set_own() -> first_error([mnesia:set_master_nodes(Table, [node()]) || Table <- own_tables(), not is_own(Table)]).

%% @doc The same, known to be so when it returns, whatever settle/0 is at; costs little where it is so for this table
%% of ours already. Nothing where the table is not kept on disc.
-spec kept(atom()) -> ok | {error, term()}.
kept(Table) ->
    case mnesia:table_info(Table, storage_type) of
        disc_copies ->
            case is_own(Table) andalso not persistent_term:get(?SETTLING, false) of
                true -> ok;
                false -> keep_own()
            end;
        _ ->
            ok
    end.

%% @doc Whether Mnesia is to start with the copies on this node's disc.
-spec keeps_own() -> boolean().
keeps_own() -> lists:any(fun is_own/1, own_tables()).

%% @doc The same of one table.
-spec is_own(atom()) -> boolean().
is_own(Table) -> mnesia:table_info(Table, master_nodes) =:= [node()].

%% @doc Whether Mnesia is to choose by itself which copies to start with.
-spec is_settled() -> boolean().
is_settled() -> lists:all(fun(Table) -> mnesia:table_info(Table, master_nodes) =:= [] end, own_tables()).

%% @doc Where no copy of our tables is missing, every copy is as good as any other: from now on Mnesia chooses by
%% itself. Where one is, it starts with ours.
-spec settle() -> ok | {error, term()}.
settle() ->
    in_turn(fun() ->
        %% Who finds its own kept before this is noted has found a copy missing before that, and then so do we.
        ok = persistent_term:put(?SETTLING, true),
        try
            choose(is_whole())
        after
            persistent_term:put(?SETTLING, false)
        end
    end).

choose(false) ->
    set_own();
choose(true) ->
    Unsettled = [T || T <- lists:reverse(own_tables()), mnesia:table_info(T, master_nodes) =/= []],
    case first_error([mnesia:set_master_nodes(Table, []) || Table <- Unsettled]) of
        ok ->
            %% One may have been lost meanwhile.
            case is_whole() of
                true -> ok;
                false -> set_own()
            end;
        {error, _} = Error ->
            Error
    end.

%% Every copy of our tables works.
is_whole() ->
    lists:all(
        fun(Table) -> mnesia:table_info(Table, disc_copies) -- mnesia:table_info(Table, where_to_write) =:= [] end,
        own_tables()
    ).

in_turn(Choose) -> global:trans({?MODULE, self()}, Choose, [node()]).

%% @doc What was chosen for copies that have been given back since does not hold for those that may come: Mnesia here
%% would not even find the tables elsewhere.
-spec forget_given_back() -> ok | {error, term()}.
forget_given_back() ->
    Elsewhere = mnesia:system_info(tables) -- mnesia:system_info(local_tables),
    Ours = [Table || Table <- Elsewhere, lists:prefix("era_callstore_", atom_to_list(Table))],
    first_error([mnesia:set_master_nodes(T, []) || T <- Ours, mnesia:table_info(T, master_nodes) =/= []]).

%% The logs last: what is true of a log's choice is true of the table of epochs, which speaks of it, also when this
%% node is killed in between.
own_tables() ->
    Own = [
        Table
     || Table <- mnesia:system_info(local_tables),
        lists:prefix("era_callstore_", atom_to_list(Table)),
        mnesia:table_info(Table, storage_type) =:= disc_copies
    ],
    {Logs, Others} = lists:partition(fun(Table) -> lists:prefix("era_callstore_log_", atom_to_list(Table)) end, Own),
    Others ++ Logs.

%% The node joins with an empty directory. What was in it stays until the next time, for an operator.
set_aside(none) ->
    ok;
set_aside(Dir) ->
    Aside = Dir ++ ".aside",
    _ = file:del_dir_r(Aside),
    ok = file:rename(Dir, Aside),
    ?LOG_NOTICE(#{what => "the directory of Mnesia was set aside to join the others", dir => Dir, aside => Aside}).

first_error([]) -> ok;
first_error([ok | More]) -> first_error(More);
first_error([{error, _} = Error | _]) -> Error.
