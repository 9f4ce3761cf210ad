%%% The demo's second act: the same calls, none of which has ended yet, each served by a process of another node. A
%%% third of the processes are killed, then the node. Shows what was found of it: by which evidence, how fast, what
%%% followed.
%%%
%%%   erl -name … -s callstore_demo_deaths main -extra EVENTS OUT DIR TTY            (see `run' beside this file)
%%%
%%% The calls stand where they stood at the end of the file, without their ends. From then on the virtual time goes at
%%% the pace of the real one, so the times shown are real; the limits that were shortened are printed first.
%%% Always holds: every event of every call that is served was accepted before anybody is killed.
%%% Exit status: as callstore_demo_act says. Called by: `run' beside this file, in a VM of its own.
%%% Must never: use more of era_callstore than role code and an operator may, and the clock.
-module(callstore_demo_deaths).

-export([main/0]).

-import(callstore_demo_act, [stop/2, or_stop/1, complain/1, await/2]).

%% So many calls at most: they are held in memory to be given their owners.
-define(CALLS, 3000).
-define(LIMITS, #{end_grace_ms => 1000, node_grace_ms => 2000, rtp_suspect_ms => 1000, ends_per_s => 200}).
-define(PACE_MS, 10).
-define(AWAIT_MS, 60000).
-define(PAGE, 500).
%% What ends a call, or is only said of one that has ended.
-define(ENDS, [
    "dlg_end", "dlg_stop", "dlg_dead", "call_stop", "call_cancel", "route_fin", "call_rec_links", "records_moved"
]).

-record(act, {
    bar :: callstore_demo_bar:bar(),
    began :: integer(),
    total :: pos_integer(),
    ref :: reference(),
    %% when the owner of a call was killed; when its dlg_dead came, and how many; when it was closed
    killed = #{} :: #{binary() => integer()},
    dead = #{} :: #{binary() => {integer(), pos_integer()}},
    closed = #{} :: #{binary() => integer()}
}).

%% @doc Runs the second act with the emulator's extra arguments and ends the emulator.
-spec main() -> no_return().
main() ->
    callstore_demo_act:main(fun(#{events := Events, dir := Dir, tty := Tty}) ->
        run(Events, filename:absname("deaths", Dir), Tty)
    end).

run(Events, Dir, Tty) ->
    {Calls, LastMs} = calls(Events),
    Total = map_size(Calls),
    ok = start(Dir, LastMs),
    {Node, Owners} = callstore_demo_owners:boot(Total),
    {ok, Ref} = era_callstore:subscribe(#{events => [<<"dlg_dead">>, <<"call_closed">>], since => now}),
    Served = lists:zip(lists:sort(maps:keys(Calls)), Owners),
    lists:foreach(fun({Cid, Owner}) -> served(maps:get(Cid, Calls), Owner) end, Served),
    _ = spawn_link(fun() -> pace(LastMs, erlang:monotonic_time(millisecond)) end),
    ok = await("the owners are watched", fun() -> maps:get(owners, watch()) =:= Total end),
    Text = "~nsecond act: ~b calls of the same file without their ends, each served by a process of another node~n",
    io:format(Text, [Total]),
    io:format("limits: ~ts~n", [lists:join(", ", [io_lib:format("~s ~b", [K, V]) || {K, V} <- maps:to_list(?LIMITS)])]),
    Act = #act{
        bar = callstore_demo_bar:new(Tty, "deaths"), began = erlang:monotonic_time(millisecond), total = Total,
        ref = Ref
    },
    {Third, Others} = lists:split((Total + 2) div 3, Served),
    io:format("~b of the processes are killed~n", [length(Third)]),
    Killed = killed(Third, fun() -> callstore_demo_owners:kill_processes([Owner || {_, Owner} <- Third]) end, Act),
    ok = silent([Cid || {Cid, _} <- Third], Calls),
    Found = died(Third, Killed),
    callstore_demo_bar:done(Found#act.bar),
    io:format("the node is killed (SIGKILL), with ~b calls~n", [length(Others)]),
    Done = died(Others, killed(Others, fun() -> callstore_demo_owners:kill_node(Node) end, Found)),
    callstore_demo_bar:done(Done#act.bar),
    ok = await("every record delivered", fun delivered/0),
    Recorded = [Cid || {Cid, Lines} <- maps:to_list(Calls), is_recorded(Lines)],
    ok = await("every recording mixed", fun() -> map_size(callstore_demo_mixer:jobs()) >= length(Recorded) end),
    finished(Done, Recorded).

%% --- the calls

%% The lines of each call that do not end it, and the time of the last.
calls(Events) ->
    Lines = or_stop(callstore_demo_lines:open(Events)),
    case calls(callstore_demo_lines:next(Lines), #{}, 0) of
        {Calls, _} when map_size(Calls) =:= 0 -> stop(1, "no call of the file names itself by a cid");
        {Calls, LastMs} -> {maps:map(fun(_, Reversed) -> lists:reverse(Reversed) end, Calls), LastMs}
    end.

calls({line, _, Line, Next}, Calls, LastMs) ->
    More =
        case {text("type", Line), text("cid", Line)} of
            {_, none} -> Calls;
            {_, Cid} when not is_map_key(Cid, Calls), map_size(Calls) >= ?CALLS -> Calls;
            {Type, Cid} ->
                Ends = lists:member(Type, [list_to_binary(End) || End <- ?ENDS]),
                case Ends of
                    true -> Calls;
                    false -> maps:update_with(Cid, fun(Lines) -> [Line | Lines] end, [Line], Calls)
                end
        end,
    calls(callstore_demo_lines:next(Next), More, max(LastMs, callstore_demo:event_ms(Line, LastMs)));
calls({damaged, Why, _Next}, _Calls, _LastMs) ->
    stop(1, Why);
calls({eof, Lines}, Calls, LastMs) ->
    ok = callstore_demo_lines:close(Lines),
    {Calls, LastMs}.

text(Name, Line) ->
    case re:run(Line, ["\"", Name, "\"\\s*:\\s*\"([^\"]*)\""], [{capture, all_but_first, binary}]) of
        {match, [Text]} -> Text;
        nomatch -> none
    end.

is_recorded(Lines) ->
    lists:any(
        fun(Line) ->
            text("type", Line) =:= <<"rec_info">> andalso re:run(Line, "\"isrec\"\\s*:\\s*\"?true") =/= nomatch
        end,
        Lines
    ).

served(Lines, Owner) ->
    case era_callstore:put_json([[Line, $\n] || Line <- Lines], #{owner => Owner, producer => <<"b2b">>}) of
        {ok, _} -> ok;
        {error, Reason} -> stop(3, io_lib:format("a call was refused: ~0tp", [Reason]))
    end.

%% The media gateway says that the RTP of these calls has stopped: a second kind of evidence.
silent(Cids, Calls) ->
    Dialogs = [Dialog || Cid <- Cids, Dialog <- [dialog(maps:get(Cid, Calls))], Dialog =/= none],
    LastMs = era_callstore_clock:now_ms(),
    era_callstore:report([#{kind => rtp, dialogid => D, last_ms => LastMs, active => false} || D <- Dialogs]).

dialog(Lines) ->
    case [Dialog || Line <- Lines, Dialog <- [text("dialogid", Line)], Dialog =/= none] of
        [Dialog | _] -> Dialog;
        [] -> none
    end.

%% --- the application

start(Dir, NowMs) ->
    _ = file:del_dir_r(Dir),
    ok = callstore_demo_mixer:open(),
    ok = application:load(era_callstore),
    lists:foreach(
        fun({Key, Value}) -> application:set_env(era_callstore, Key, Value) end,
        [{data_dir, filename:join(Dir, "data")}, {mixer, callstore_demo_mixer}, {watch, ?LIMITS}]
    ),
    ok = era_callstore_clock:use_virtual(NowMs),
    case application:ensure_all_started(era_callstore) of
        {ok, _} -> await("a group that is active", fun() -> maps:get(state, group()) =:= active end);
        {error, Reason} -> stop(2, io_lib:format("era_callstore does not start: ~tp", [Reason]))
    end.

%% The virtual time goes as the real one.
pace(FromMs, Began) ->
    receive after ?PACE_MS -> ok end,
    ok = era_callstore_clock:advance_to(FromMs + erlang:monotonic_time(millisecond) - Began),
    pace(FromMs, Began).

group() ->
    #{groups := #{1 := Group}} = era_callstore:status(),
    Group.

watch() -> maps:get(watch, group()).

delivered() -> lists:all(fun(#{depth := Depth}) -> Depth =:= 0 end, maps:values(maps:get(outbox, group()))).

%% --- deaths

killed(Served, Kill, #act{killed = Killed} = Act) ->
    ok = Kill(),
    At = erlang:monotonic_time(millisecond),
    Act#act{killed = maps:merge(Killed, maps:from_list([{Cid, At} || {Cid, _} <- Served]))}.

%% Until all of them are closed.
died(Served, Act) ->
    died([Cid || {Cid, _} <- Served], Act, erlang:monotonic_time(millisecond) + ?AWAIT_MS).

died(Cids, #act{closed = Closed, total = Total} = Act, Deadline) ->
    Bar = callstore_demo_bar:show(map_size(Closed) / Total, map_size(Closed), now_ms(Act), Act#act.bar),
    case lists:dropwhile(fun(Cid) -> is_map_key(Cid, Closed) end, Cids) of
        [] -> Act#act{bar = Bar};
        [_ | _] = Open -> died(Open, heard(Act#act{bar = Bar}, Open, Deadline), Deadline)
    end.

now_ms(#act{began = Began}) -> erlang:monotonic_time(millisecond) - Began.

heard(#act{ref = Ref, dead = Dead, closed = Closed} = Act, Open, Deadline) ->
    Now = erlang:monotonic_time(millisecond),
    receive
        {era_callstore, Ref, _Seq, #{<<"type">> := <<"dlg_dead">>, <<"data">> := #{<<"cid">> := Cid}}} ->
            Act#act{dead = maps:update_with(Cid, fun({At, N}) -> {At, N + 1} end, {Now, 1}, Dead)};
        {era_callstore, Ref, _Seq, #{<<"type">> := <<"call_closed">>, <<"data">> := #{<<"cid">> := Cid}}} ->
            Act#act{closed = Closed#{Cid => Now}};
        {era_callstore, Ref, _Seq, resync} ->
            stop(3, "the demo heard too slowly of what happened")
    after max(0, Deadline - Now) ->
        Text = "~b calls are not closed ~b s after their owners' death",
        stop(3, io_lib:format(Text, [length(Open), ?AWAIT_MS div 1000]))
    end.

%% --- the end

finished(#act{killed = Killed, dead = Dead, total = Total} = Act, Recorded) ->
    Records = records(#{limit => ?PAGE}, []),
    Jobs = callstore_demo_mixer:jobs(),
    Synthetic = [R || #{<<"end">> := #{<<"origin">> := <<"synthetic">>, <<"term_cause">> := 1000}} = R <- Records],
    ok = show_deaths(Records, Act),
    Braked = lists:sum([Held || #{kind := mass_death, held := Held} <- maps:get(alarms, watch())]),
    lists:foreach(
        fun({Name, Value}) -> io:format("~-48ts ~9b~n", [Name, Value]) end,
        [
            {"calls", Total},
            {"synthetic ends", length(Synthetic)},
            {"  dlg_dead", map_size(Dead)},
            {"  calls that had no dialog yet", Total - map_size(Dead)},
            {"mass deaths held by the brakes, calls", Braked},
            {"mix jobs", lists:sum(maps:values(Jobs))},
            {"live calls left", maps:get(live, group())}
        ]
    ),
    Wrong =
        [io_lib:format("~b synthetic ends of ~b calls", [length(Synthetic), Total]) || length(Synthetic) =/= Total] ++
            [io_lib:format("dlg_dead came ~b times of ~ts", [N, Cid]) || {Cid, {_, N}} <- maps:to_list(Dead), N > 1] ++
            ["a call whose owner lived is dead" || map_size(maps:without(maps:keys(Killed), Dead)) > 0] ++
            ["the mix jobs are not those of the recordings" || Jobs =/= maps:from_list([{C, 1} || C <- Recorded])] ++
            ["calls live whose owners are gone" || maps:get(live, group()) > 0],
    lists:foreach(fun callstore_demo_act:complain/1, Wrong),
    ok = application:stop(era_callstore),
    case Wrong of
        [] -> 0;
        _ -> 3
    end.

show_deaths(Records, #act{killed = Killed, dead = Dead, closed = Closed}) ->
    Took = fun(Cid) ->
        At = case Dead of #{Cid := {Heard, _}} -> Heard; #{} -> maps:get(Cid, Closed) end,
        At - maps:get(Cid, Killed)
    end,
    ByKind = maps:groups_from_list(fun kinds/1, fun(#{<<"cid">> := Cid}) -> Took(Cid) end, Records),
    Head = ["deaths by evidence; kill to dlg_dead, ms", "calls", "p50", "p99", "max"],
    io:format("~n~-40ts ~7ts ~9ts ~9ts ~9ts~n", Head),
    Rows = maps:to_list(ByKind) ++ [{"all", lists:append(maps:values(ByKind))}],
    lists:foreach(
        fun({Kinds, Times}) ->
            Sorted = lists:sort(Times),
            Figures = [percentile(P, Sorted) || P <- [50, 99, 100]],
            io:format("~-40ts ~7b ~9b ~9b ~9b~n", [Kinds, length(Sorted) | Figures])
        end,
        Rows
    ),
    io:nl().

kinds(#{<<"end">> := #{<<"evidence">> := Evidence}}) ->
    lists:append(lists:join(", ", lists:usort([binary_to_list(Kind) || #{<<"kind">> := Kind} <- Evidence]))).

percentile(P, Sorted) -> lists:nth(max(1, (P * length(Sorted) + 99) div 100), Sorted).

records(Page, Found) ->
    #{items := Items, cursor := Cursor} = era_callstore:records(#{}, Page),
    case Cursor of
        done -> newest(Items ++ Found);
        _ -> records(Page#{cursor => Cursor}, Items ++ Found)
    end.

newest(Records) ->
    Latest = fun(#{<<"revision">> := A}, #{<<"revision">> := B}) -> A >= B end,
    ByCall = maps:groups_from_list(fun(#{<<"cid">> := Cid}) -> Cid end, Records),
    [hd(lists:sort(Latest, Revisions)) || Revisions <- maps:values(ByCall)].
