%%% The mixer of the demo's second act: takes every job, and counts the jobs and the calls that they are of.
%%% Called by: the application, in a process of its own for each job. Must never: count one job twice.
-module(callstore_demo_mixer).
-behaviour(era_callstore_mixer).

-export([open/0, jobs/0, mix/1]).

%% @doc Begins to count. The table belongs to the caller.
-spec open() -> ok.
open() ->
    ?MODULE = ets:new(?MODULE, [named_table, public]),
    ok.

%% @doc How often each call's recording was to be mixed.
-spec jobs() -> #{Cid :: binary() => pos_integer()}.
jobs() -> maps:from_list(ets:tab2list(?MODULE)).

-spec mix(era_callstore_mixer:job()) -> ok.
mix(#{<<"cid">> := Cid}) ->
    _ = ets:update_counter(?MODULE, Cid, 1, {Cid, 0}),
    ok.
