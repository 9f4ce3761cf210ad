%%% Mnesia of nodes that went on apart: which copies a node loads when it starts again, its own or those of the others.
%%%
%%% A node on which something is acknowledged while a copy elsewhere is missing keeps its own (keep_own/0): Mnesia would load
%%% those of the others, whatever ours has that they lack. When it is together with all others again, it does so no
%%% longer (settle/0).
%%% A node gives up its own copies (leave/2) in one of two ways:
%%%   same_schema    Mnesia starts again with the others as masters of our tables that they share: these are loaded from
%%%                  them, tables that only this node has stay
%%%   other_schema   each has made a schema of its own: the directory is set aside (`<dir>.aside', in place of an earlier
%%%                  one) and the node joins as a new one
%%% Always holds: whoever starts Mnesia while a node leaves waits until that is done (era_callstore_schema:start/1).
%%% Called by: era_callstore_heal; is_together/1 by the groups, keep_own/0 by writers.
%%% Must never: leave before what the others lack has been given to them.
-module(era_callstore_rejoin).

-export([is_together/1, side/0, is_ours/0, foreign_tables/0, is_same_schema/1, cookies/0]).
-export([keep_own/0, keeps_own/0, settle/0, leave/2, is_loaded/0]).
-export_type([way/0]).

-include_lib("kernel/include/logger.hrl").

-define(ASK_MS, 5000).

-type way() :: same_schema | other_schema.

%% @doc Whether this node and that one share one running Mnesia.
-spec is_together(node()) -> boolean().
is_together(Node) -> lists:member(Node, side()).

%% @doc The nodes that share one running Mnesia with this one, itself included; none when it does not run here.
-spec side() -> [node()].
side() -> mnesia:system_info(running_db_nodes).

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

%% @doc Gives up the copies here that are also on these nodes. Mnesia of ours is started again by the groups; one of the
%% host is when this returns.
-spec leave([node(), ...], way()) -> ok | {error, term()}.
leave(Masters, same_schema) ->
    case first_error([set_masters(Table, Masters) || Table <- own_tables()]) of
        ok -> restart(era_callstore_schema:is_ours());
        {error, _} = Error -> Error
    end;
leave(_Masters, other_schema) ->
    era_callstore_schema:restart(fun set_aside/1).

restart(true) ->
    era_callstore_schema:restart(fun(_Dir) -> ok end);
restart(false) ->
    stopped = mnesia:stop(),
    mnesia:start().

set_masters(Table, Masters) ->
    Copies = mnesia:table_info(Table, disc_copies) ++ mnesia:table_info(Table, ram_copies),
    case [M || M <- Masters, lists:member(M, Copies)] of
        [_ | _] = Of -> mnesia:set_master_nodes(Table, Of);
        [] -> ok
    end.

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
keep_own() -> first_error([mnesia:set_master_nodes(Table, [node()]) || Table <- own_tables()]).

%% @doc Whether Mnesia is to start with the copies on this node's disc.
-spec keeps_own() -> boolean().
keeps_own() -> lists:any(fun(Table) -> mnesia:table_info(Table, master_nodes) =:= [node()] end, own_tables()).

%% @doc Every copy is as good as any other: from now on Mnesia chooses by itself again.
-spec settle() -> ok | {error, term()}.
settle() ->
    first_error([
        mnesia:set_master_nodes(Table, []) || Table <- own_tables(), mnesia:table_info(Table, master_nodes) =/= []
    ]).

own_tables() ->
    [
        Table
     || Table <- mnesia:system_info(local_tables),
        lists:prefix("era_callstore_", atom_to_list(Table)),
        mnesia:table_info(Table, storage_type) =:= disc_copies
    ].

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
