%%% Start and stop of the application.
%%%
%%% Always holds: a wrong configuration or a directory that cannot be used is a start error that names the cause in
%%% words, in the log and in the returned reason. On stop, what was acknowledged is on disc and activity is given up.
%%% Called by: the runtime.
%%% Must never: start half of itself.
-module(era_callstore_app).
-behaviour(application).

-export([start/2, prep_stop/1, stop/1]).

-include_lib("kernel/include/logger.hrl").

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    ok = era_callstore_counters:new(),
    case era_callstore_config:from_env() of
        {ok, #{warnings := Warnings} = Config} ->
            lists:foreach(fun(W) -> tell(warning, "an odd configuration", W) end, Warnings),
            start_with(Config);
        {error, Problems} ->
            lists:foreach(fun(P) -> tell(error, "wrong configuration", P) end, Problems),
            {error, {wrong_configuration, Problems}}
    end.

start_with(Config) ->
    case era_callstore_schema:start(era_callstore_groups:schema_options(Config)) of
        ok ->
            case era_callstore_sup:start_link(Config) of
                {ok, Pid} -> {ok, Pid};
                {error, _} = Error -> Error;
                ignore -> {error, ignore}
            end;
        {error, Reason} ->
            Text = era_callstore_errors:text(Reason),
            ?LOG_ERROR(#{what => "Mnesia cannot be used", reason => Reason, text => Text}),
            {error, {Reason, Text}}
    end.

-spec prep_stop(State) -> State.
prep_stop(State) ->
    ok = era_callstore_groups:stand_down(),
    State.

-spec stop(term()) -> ok.
stop(_State) ->
    ok = era_callstore_config:put_in_force(none),
    ok = era_callstore_router:use(none),
    era_callstore_schema:stop().

tell(Level, What, Problem) ->
    ?LOG(Level, "~ts: ~ts", [What, era_callstore_config:format_problem(Problem)]).
