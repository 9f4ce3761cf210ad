%%% What a platform lets us ask of it: its modules for probes, mixes and rescues, and what their absence means.
%%%
%%% Always holds: without a module nobody is asked: no rounds of questions, no mix jobs, no wait for a rescue. Pure.
%%% Called by: the supervisors of group and term.
%%% Must never: call one of the modules.
-module(era_callstore_behaviours).

-export([configured/1, timeouts/1, limits/1]).

%% How long a rescue may take where a module is set and the limit is not.
-define(RESCUE_MS, 5000).

%% @doc The module for each, or `off'.
-spec configured(era_callstore_config:config()) -> #{probe | mixer | rescue => module() | off}.
configured(Config) -> maps:with([probe, mixer, rescue], Config).

%% @doc How long each may take, ms.
-spec timeouts(era_callstore_config:config()) -> #{probe | mixer | rescue => pos_integer()}.
timeouts(#{probe_timeout_ms := Probe, mixer_timeout_ms := Mixer} = Config) ->
    Rescue = maps:get(<<"rescue_ms">>, limits(Config)),
    #{probe => Probe, mixer => Mixer, rescue => max(1, Rescue)}.

%% @doc The limits of the watch as the modules that there are let them be.
-spec limits(era_callstore_config:config()) -> #{binary() => non_neg_integer()}.
limits(#{watch := Watch, probe := Probe, mixer := Mixer, rescue := Rescue}) ->
    Rescued = maps:merge(#{<<"rescue_ms">> => ?RESCUE_MS}, Watch),
    Off = [{Probe, <<"probe_ms">>}, {Mixer, <<"mix_retry_ms">>}, {Rescue, <<"rescue_ms">>}],
    maps:merge(Rescued, maps:from_list([{Name, 0} || {off, Name} <- Off])).
