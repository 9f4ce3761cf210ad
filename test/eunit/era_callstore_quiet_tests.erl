%%% Rows of other sides are brought one by one: no revision is issued before all are there, however many sides bring
%%% some.
-module(era_callstore_quiet_tests).

-include_lib("eunit/include/eunit.hrl").

-import(era_callstore_test_app, [cid/1, events/1, until/1]).

no_revision_is_issued_while_any_side_brings_rows_test_() ->
    {timeout, 60,
        {setup, fun() -> era_callstore_test_app:start(#{}) end, fun era_callstore_test_app:stop/1, fun() ->
            [One, Other] = Bringing = [spawn(fun() -> receive all_there -> ok end end) || _ <- [1, 2]],
            [ok = era_callstore_writer:quiet(1, Pid) || Pid <- Bringing],
            {ok, _} = era_callstore:put(events(1)),
            ?assertEqual([], issued()),
            One ! all_there,
            ok = ended(One),
            {ok, _} = era_callstore:put(events(2)),
            ?assertEqual([], issued()),
            %% One whose process dies brings nothing more either.
            exit(Other, kill),
            ok = ended(Other),
            until(fun() -> length(issued()) =:= 2 end),
            {ok, _} = era_callstore:put(events(3)),
            until(fun() -> length(issued()) =:= 3 end)
        end}}.

%% The writer has done all that it was asked before.
issued() ->
    ok = era_callstore_writer:settle(1),
    ok = era_callstore_outbox:drain(1, 10000),
    [N || N <- [1, 2, 3], era_callstore:record(cid(N)) =/= []].

ended(Pid) ->
    Monitor = erlang:monitor(process, Pid),
    receive
        {'DOWN', Monitor, process, _, _} -> ok
    end,
    %% The writer has heard of it as well: what it is asked now comes after that.
    {Writer, _, _} = era_callstore_router:writer(1),
    _ = sys:get_state(Writer),
    ok.
