%%% Steps of which each is done when the one before it was: the first error ends them.
%%%
%%% Called by: whoever has several things to do that may each be refused. Must never: undo a step.
-module(era_callstore_steps).

-export([do/1]).

-spec do([fun(() -> ok | {error, Reason})]) -> ok | {error, Reason}.
do([]) -> ok;
do([Step | Steps]) ->
    case Step() of
        ok -> do(Steps);
        {error, _} = Error -> Error
    end.
