%%% Which version of the chunk this node writes: the newest that every node of the site reads, so that nodes of two
%%% releases serve one log while one after the other is upgraded.
%%%
%%%   every node ──the versions it reads──► pg ──► every node: the newest that all read, the oldest while one is not there
%%% Always holds: a node that the configuration places somewhere and that does not run counts as one that reads the oldest
%%% version only: it may come back as it was.
%%% Called by: era_callstore_groups (announce/0), era_callstore_router (agree/1), status.
%%% Must never: choose a version that this release does not write.
-module(era_callstore_chunk_version).

-export([announce/0, agree/1, written/0, agreed/3]).
-export_type([version/0]).

-include_lib("kernel/include/logger.hrl").

-define(SCOPE, era_callstore).

-type version() :: 1..255.

%% @doc This node reads what this release reads, as long as the caller lives.
-spec announce() -> ok.
announce() ->
    {Oldest, Newest} = era_callstore_nif:chunk_versions(),
    lists:foreach(fun(Version) -> ok = pg:join(?SCOPE, {reads_chunk, Version}, self()) end, lists:seq(Oldest, Newest)).

%% @doc From now on chunks are written here in the version that these nodes, as far as they run, have in common.
-spec agree([node()]) -> ok.
agree(Nodes) ->
    {Oldest, Newest} = Versions = era_callstore_nif:chunk_versions(),
    Readers = maps:from_list([
        {Version, [node(Pid) || Pid <- pg:get_members(?SCOPE, {reads_chunk, Version})]}
     || Version <- lists:seq(Oldest, Newest)
    ]),
    change(written(), agreed(Versions, Nodes, Readers)).

change(Version, Version) ->
    ok;
change(Before, Version) ->
    ok = era_callstore_nif:write_chunks(Version),
    persistent_term:put(?MODULE, Version),
    ?LOG_NOTICE(#{what => "chunks are written in another version", version => Version, before => Before}).

%% @doc The version that is written here.
-spec written() -> version().
written() ->
    {Oldest, _Newest} = era_callstore_nif:chunk_versions(),
    persistent_term:get(?MODULE, Oldest).

%% @doc The newest version of this release that all nodes read, by who reads which; the oldest when there is none.
-spec agreed({Oldest :: version(), Newest :: version()}, [node()], #{version() => [node()]}) -> version().
agreed({Oldest, Oldest}, _Nodes, _Readers) ->
    Oldest;
agreed({Oldest, Newest}, Nodes, Readers) ->
    case Nodes -- maps:get(Newest, Readers, []) of
        [] -> Newest;
        [_ | _] -> agreed({Oldest, Newest - 1}, Nodes, Readers)
    end.
