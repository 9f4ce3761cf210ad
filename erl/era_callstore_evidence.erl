%%% Evidence on its way to the core: what was seen is noted there and has the ticker look at once.
%%%
%%% Always holds: evidence is told on the active only; who tells it waits for nothing but the core.
%%% Called by: era_callstore_watch and era_callstore_jobs (tell/3), the ticker (bell/2), era_callstore (of_reports/2).
%%% Must never: weigh what it tells.
-module(era_callstore_evidence).

-export([bell/2, tell/3, of_reports/2, reason_text/1]).
-export_type([report/0]).

-type report() ::
    #{kind := rtp, dialogid => binary(), mgctxid => binary(), last_ms := integer(), active := boolean()}
    | #{kind := inventory, owner := era_callstore_owner:owner(), dialogs := [binary()] | failed}
    | #{kind := alive | gone, dialogid := binary()}.

-define(REASON_CHARACTERS, 200).
%% So much is told in one call of the core.
-define(AT_ONCE, 1000).

%% @doc The ticker of this term wants to hear of evidence.
-spec bell(Group :: pos_integer(), era_callstore_wake:bell()) -> ok.
bell(Group, Bell) -> era_callstore_router:note({ticker, Group, here}, #{bell => Bell}).

%% @doc Tells the core of the active instance what was seen.
-spec tell(Group :: pos_integer(), era_callstore_nif:store(), [era_callstore_nif:evidence()]) -> ok.
tell(_Group, _Store, []) ->
    ok;
tell(Group, Store, Evidence) ->
    ok = in_parts(Store, Evidence),
    case era_callstore_router:noted({ticker, Group, here}) of
        #{bell := Bell} -> era_callstore_wake:ring([Bell]);
        #{} -> ok
    end.

in_parts(Store, Evidence) ->
    {Part, Rest} = lists:split(min(?AT_ONCE, length(Evidence)), Evidence),
    ok = era_callstore_nif:evidence(Store, Part, era_callstore_clock:now_ms()),
    case Rest of
        [] -> ok;
        _ -> in_parts(Store, Rest)
    end.

%% @doc The reason of a monitor as text.
-spec reason_text(term()) -> binary().
reason_text(Reason) when is_atom(Reason) ->
    atom_to_binary(Reason);
reason_text(Reason) ->
    Printed = string:slice(io_lib:format("~0tP", [Reason, 12]), 0, ?REASON_CHARACTERS),
    <<_/binary>> = unicode:characters_to_binary(Printed).

%% @doc What role code reports, as evidence; a report that is none is its caller's mistake.
-spec of_reports(era_callstore_errors:call(), [report()]) -> [era_callstore_nif:evidence()].
of_reports(Called, Reports) when is_list(Reports) ->
    [of_report(Called, Number, Report) || {Number, Report} <- lists:zip(lists:seq(1, length(Reports)), Reports)];
of_reports(Called, Report) when is_map(Report) ->
    of_reports(Called, [Report]);
of_reports(Called, _Other) ->
    era_callstore_errors:badarg(Called, 1, "a report, a map, or a list of them is wanted").

of_report(Called, Number, #{kind := rtp, last_ms := Last, active := Active} = Report) when
    is_integer(Last), is_boolean(Active)
->
    case Report of
        #{dialogid := Id} when is_binary(Id) -> {rtp, dialogid, Id, Last, Active};
        #{mgctxid := Id} when is_binary(Id) -> {rtp, mgctxid, Id, Last, Active};
        _ -> wrong(Called, Number)
    end;
of_report(Called, Number, #{kind := inventory, owner := Owner, dialogs := Dialogs}) ->
    case {era_callstore_owner:to_binary(Owner), Dialogs} of
        {{ok, Binary}, failed} -> {inventory, Binary, failed};
        {{ok, Binary}, _} when is_list(Dialogs) ->
            case lists:all(fun is_binary/1, Dialogs) of
                true -> {inventory, Binary, Dialogs};
                false -> wrong(Called, Number)
            end;
        _ -> wrong(Called, Number)
    end;
of_report(_Called, _Number, #{kind := Kind, dialogid := Id}) when
    is_binary(Id), (Kind =:= alive orelse Kind =:= gone)
->
    {Kind, Id};
of_report(Called, Number, _Other) ->
    wrong(Called, Number).

-spec wrong(era_callstore_errors:call(), pos_integer()) -> no_return().
wrong(Called, Number) ->
    Text =
        "report ~b: wanted is #{kind => rtp, dialogid | mgctxid => Binary, last_ms => Ms, active => Boolean}, "
        "#{kind => inventory, owner => Owner, dialogs => [Binary] | failed} or "
        "#{kind => alive | gone, dialogid => Binary}",
    era_callstore_errors:badarg(Called, 1, io_lib:format(Text, [Number])).
