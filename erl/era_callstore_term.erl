%%% How a term of activity begins and ends on this node.
%%%
%%%   allocate ──epoch, view told──► start ──► … ──► finish (what waits is committed and answered)
%%%                                            └───► abandon (nothing more is done; callers look again)
%%% Always holds: the epoch is allocated in Mnesia, and everything that other terms had committed before is folded,
%%% before a process of the term runs. When finish/2 or abandon/2 returns, all of them have ended.
%%% Called by: era_callstore_group, which holds the term's supervisor.
%%% Must never: decide who is active.
-module(era_callstore_term).

-export([allocate/1, start/3, finish/2, abandon/2]).

-include("era_callstore_crash.hrl").

%% Whose term it was before, as this node knows.
-type from() :: {Epoch :: pos_integer(), node()} | none.

%% @doc Allocates an epoch for this node, which ends every term before it.
-spec allocate(Group :: pos_integer()) -> {ok, Epoch :: pos_integer(), from()} | {error, term()}.
allocate(Group) ->
    ?CRASH_POINT(term_before),
    From = era_callstore_log:term(Group),
    case era_callstore_log:new_term(Group) of
        {ok, Epoch} ->
            ?CRASH_POINT(term_allocated),
            %% Answered after everything that other terms had committed before was folded.
            ok = era_callstore_view:own_term(Group, Epoch),
            {ok, Epoch, From};
        {error, _} = Error ->
            Error
    end.

%% @doc The processes of the term, linked to the caller.
-spec start(#{group := pos_integer(), epoch := pos_integer(), pauses := non_neg_integer() | any, nodes := [node()]}, from(),
    era_callstore_config:config()) -> {ok, pid()}.
start(#{group := Group} = Begun, From, #{commit := Commit} = Config) ->
    {ok, Store} = era_callstore_router:store(Group),
    Term = Begun#{table => era_callstore_log:table(Group), commit => Commit},
    {ok, Sup} = era_callstore_term_sup:start_link(Term, From, Store, Config),
    ?CRASH_POINT(term_begun),
    {ok, Sup}.

%% @doc Ends a term in order. The writer first: it commits and answers what waits; then the supervisor follows it by
%% itself.
-spec finish(Group :: pos_integer(), Sup :: pid()) -> ok.
finish(Group, Sup) ->
    ?CRASH_POINT(term_end_before),
    case era_callstore_router:writer(Group) of
        {Writer, _, _} -> era_callstore_writer:stop(Writer);
        none -> ok
    end,
    ?CRASH_POINT(term_end_written),
    receive
        {'EXIT', Sup, _} -> ok
    end,
    ?CRASH_POINT(term_end_after),
    era_callstore_view:own_term(Group, none).

%% @doc The term is over whatever waits: its processes are ended, callers look again.
-spec abandon(Group :: pos_integer(), Sup :: pid()) -> ok.
abandon(Group, Sup) ->
    exit(Sup, shutdown),
    receive
        {'EXIT', Sup, _} -> era_callstore_router:retract_writer(Group)
    end.
