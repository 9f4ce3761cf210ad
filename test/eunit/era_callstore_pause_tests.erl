%%% A standstill of the node is noticed by whoever asks, and told to who follows.
-module(era_callstore_pause_tests).

-include_lib("eunit/include/eunit.hrl").

pause_test_() ->
    {setup, fun() ->
        {ok, Scope} = pg:start_link(era_callstore),
        {ok, Pid} = era_callstore_pause:start_link(),
        [Scope, Pid]
    end, fun(Pids) ->
        [
            begin
                unlink(Pid),
                Monitor = erlang:monitor(process, Pid),
                exit(Pid, kill),
                receive {'DOWN', Monitor, process, Pid, _} -> ok end
            end
         || Pid <- Pids
        ],
        persistent_term:erase(era_callstore_pause)
    end, {timeout, 60, fun a_beat_that_stands_still_is_a_pause/0}}.

%% The process is suspended in place of the whole node; nobody else may notice, only count/0 and who follows.
a_beat_that_stands_still_is_a_pause() ->
    Before = era_callstore_pause:count(),
    ok = era_callstore_pause:follow(),
    true = erlang:suspend_process(whereis(era_callstore_pause)),
    ok = era_callstore_test_app:until(fun() -> era_callstore_pause:count() =:= Before + 1 end),
    true = erlang:resume_process(whereis(era_callstore_pause)),
    receive {era_callstore_pause, paused} -> ok end,
    ?assertEqual(Before + 1, era_callstore_pause:count()).
