%%% The crash points of the application (erl/era_callstore_crash.hrl): their names, and the switch that has the node
%%% die by SIGKILL at one of them.
%%%
%%% Always holds: disarmed, a passage costs one lookup; the process that reaches the armed point does not pass it.
%%% Called by: code compiled with CRASH_POINTS (passed/1); crash_SUITE and random_run (names, arm/2 inside
%%% the nodes), release_SUITE (named_in/1).
%%% Must never: be called by code that a release runs.
-module(crash_point).

-export([names/0, names/1, arm/2, disarm/0, passed/1, named_in/1]).
-export_type([name/0]).

-type name() :: atom().

%% @doc Every crash point, in the order in which an event, a record and a term pass them.
-spec names() -> [name()].
names() -> names(put) ++ names(record) ++ names(term_begin) ++ names(term_end).

%% @doc Those of the way from `put' to its answer, of a record's way, of a term's begin and its end in order.
-spec names(put | record | term_begin | term_end) -> [name()].
names(put) ->
    [
        submit_before, submit_sent, commit_before, commit_checked, commit_written, commit_after, flush_begun,
        fold_after, flush_after, receipt_after, answer_one, answer_after, submit_after
    ];
names(record) ->
    [
        decision_before, decision_after, issue_before, issue_decided, deliver_before, deliver_after, accept_before,
        accept_after
    ];
names(term_begin) ->
    [term_before, term_written, term_allocated, term_begun];
names(term_end) ->
    [term_end_before, term_end_written, term_end_after].

%% @doc This node dies when it passes the point for the Nth time from now.
-spec arm(name(), Nth :: pos_integer()) -> ok.
arm(Name, Nth) ->
    true = lists:member(Name, names()),
    persistent_term:put(?MODULE, {Name, Nth, atomics:new(1, [])}).

%% @doc This node passes all points again.
-spec disarm() -> ok.
disarm() ->
    _ = persistent_term:erase(?MODULE),
    ok.

%% @doc The calling process is at the point.
-spec passed(name()) -> ok.
passed(Name) ->
    case persistent_term:get(?MODULE, disarmed) of
        {Name, Nth, Passages} ->
            case atomics:add_get(Passages, 1, 1) of
                Nth -> die();
                _ -> ok
            end;
        _ ->
            ok
    end.

%% Others run on for the moment that the signal takes; this process does not.
-spec die() -> no_return().
die() ->
    _ = os:cmd("kill -9 " ++ os:getpid()),
    receive after infinity -> ok end.

%% @doc Whether a compiled module knows this one or a point.
-spec named_in(beam_lib:beam()) -> boolean().
named_in(Beam) ->
    {ok, {_, [{atoms, Atoms}]}} = beam_lib:chunks(Beam, [atoms]),
    lists:any(fun({_, Atom}) -> lists:member(Atom, [?MODULE | names()]) end, Atoms).
