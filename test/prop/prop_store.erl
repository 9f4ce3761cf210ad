%%% Properties of the store behind the NIF, over generated calls: a set of events is one state, however it came.
%%%
%%% Calls are random walks through the vocabulary as Erlang maps: unknown types, events without their own identity, calls
%%% named by cid only, by leg only or by both, atom keys and binary keys.
%%% Called by: era_callstore_prop_tests.
-module(prop_store).

-include_lib("proper/include/proper.hrl").

-export([prop_any_order_is_one_state/0, prop_log_in_any_order_is_one_state/0, prop_maps_and_json_are_one/0]).

-define(BASE, 1795341600000).
-define(NOW, (?BASE + 600000)).
-define(SINK, <<"collection">>).

%% --- properties

%% Any order, any doubling, any split into chunks: same digest, same calls, same records byte by byte.
prop_any_order_is_one_state() ->
    ?FORALL(
        {Events, Seed, Cut},
        {events(), integer(), range(1, 9)},
        begin
            Router = router(),
            Other = shuffle(Seed, Events ++ [E || E <- Events, erlang:phash2({Seed, E}, 4) =:= 0]),
            One = fold(Router, [Events]),
            Two = fold(Router, split(Cut, Other)),
            Open = {state(One), state(Two)},
            close(One),
            close(Two),
            Closed = {records(One), records(Two)},
            ?WHENFAIL(
                io:format("open ~p~nclosed ~p~n", [Open, Closed]),
                same(Open) andalso same(Closed) andalso same({state(One), state(Two)})
            )
        end
    ).

%% All rows of a log that callstore wrote into itself, in any order and some of them twice: the same state, and nothing
%% to say anew.
prop_log_in_any_order_is_one_state() ->
    ?FORALL(
        {Events, Seed, Cut},
        {events(), integer(), range(1, 9)},
        begin
            Router = router(),
            One = era_callstore_nif:new(settings()),
            Log = lists:flatmap(fun(Batch) -> put(Router, One, Batch) ++ close(One) ++ accept(One) end, split(Cut, Events)),
            Rows = lists:zip(lists:seq(1, length(Log)), Log),
            Two = era_callstore_nif:new(settings()),
            Twice = Rows ++ [Row || {Number, _} = Row <- Rows, Number rem 3 =:= 0],
            lists:foreach(fun({Number, Chunk}) -> apply_row(Two, Number, Chunk) end, shuffle(Seed, Twice)),
            Said = era_callstore_nif:issue(Two, ?NOW + 60000, 8, <<"other@test">>, 100),
            Left = records(Two),
            States = {state(One), state(Two)},
            ?WHENFAIL(
                io:format("states ~p~nsaid ~p left ~p~n", [States, Said, Left]),
                same(States) andalso Said =:= none andalso Left =:= []
            )
        end
    ).

%% An event is the same as a map and as JSON.
prop_maps_and_json_are_one() ->
    ?FORALL(
        Events,
        events(),
        begin
            Router = router(),
            Lines = [[era_callstore_nif:json_encode(with_binary_keys(Event)), $\n] || Event <- Events],
            {AsMaps, []} = era_callstore_nif:encode(Router, Events, #{}),
            {AsJson, []} = era_callstore_nif:encode_json(Router, iolist_to_binary(Lines), #{}),
            [One, Two] = [era_callstore_nif:new(settings()) || _ <- [1, 2]],
            lists:foreach(fun({_, Chunk, _}) -> apply_row(One, 1, Chunk) end, AsMaps),
            lists:foreach(fun({_, Chunk, _}) -> apply_row(Two, 1, Chunk) end, AsJson),
            same({state(One), state(Two)})
        end
    ).

same({Same, Same}) -> true;
same(_) -> false.

%% --- the store

router() ->
    Roles = era_callstore_nif:json_encode([
        #{<<"name">> => <<"callstore1">>, <<"roletype">> => <<"callstore">>, <<"iface">> => <<"lo">>,
          <<"group">> => 11010, <<"order">> => 1, <<"include_domains">> => []}
    ]),
    {ok, Router} = era_callstore_nif:router(Roles, #{}),
    Router.

settings() ->
    #{
        site => <<"msk">>, master_domain => <<"era.test">>, group => 11010, sinks => [?SINK], cdr_enabled => true,
        sorm3_enabled => true, copm3_name => <<"cdr/COPM3_dialogs">>, watch => #{}
    }.

fold(Router, Batches) ->
    Store = era_callstore_nif:new(settings()),
    lists:foreach(fun(Batch) -> put(Router, Store, Batch) end, Batches),
    Store.

%% Returns the chunks, as rows of the log.
put(Router, Store, Events) ->
    {Encoded, []} = era_callstore_nif:encode(Router, Events, #{}),
    [append(Store, Chunk) || {_, Chunk, _} <- Encoded].

append(Store, Chunk) ->
    apply_row(Store, erlang:unique_integer([positive]), Chunk),
    Chunk.

apply_row(Store, Number, Chunk) ->
    Key = term_to_binary({1, node(), Number}),
    {ok, [_]} = era_callstore_nif:apply(Store, Key, [Chunk], ?NOW),
    ok.

%% Time passes, what is due is said and issued; returns what went into the log.
close(Store) ->
    case era_callstore_nif:tick(Store, ?NOW + 60000) of
        #{chunk := none} -> issue(Store);
        #{chunk := Chunk} -> [append(Store, Chunk) | close(Store)]
    end.

issue(Store) ->
    case era_callstore_nif:issue(Store, ?NOW + 60000, 7, <<"one@test">>, 100) of
        none -> [];
        Chunk -> [append(Store, Chunk)]
    end.

%% The sink takes everything; returns what went into the log.
accept(Store) ->
    case pending(Store) of
        [] ->
            [];
        Pending ->
            Taken = [{Cid, Revision} || {Cid, Revision, _, _, _, _} <- Pending],
            [append(Store, era_callstore_nif:accepted(?SINK, Taken, ?NOW))]
    end.

pending(Store) -> era_callstore_nif:pending(Store, ?SINK, 100).

records(Store) -> lists:sort(pending(Store)).

state(Store) ->
    Calls = [
        era_callstore_nif:call(Store, Key, ?NOW)
     || Call <- lists:seq(1, 4), Key <- [{cid, cid(Call)}, {callid, acallid(Call)}, {dialogid, dialogid(Call)}]
    ],
    {era_callstore_nif:digest(Store), maps:with([live, started, closed], era_callstore_nif:info(Store)), Calls}.

%% --- events

%% A step of a walk: call, which event, ms since the one before, and a detail that each type reads as it likes.
events() ->
    ?LET(
        Steps,
        non_empty(list({range(1, 4), kind(), range(-20, 4000), range(0, 250)})),
        begin
            {Events, _} = lists:mapfoldl(fun event/2, {?BASE, 1}, Steps),
            Events
        end
    ).

kind() ->
    frequency([
        {3, oneof([<<"invite">>, <<"route">>, <<"dlg_init">>, <<"dlg_call">>, <<"fork_start">>])},
        {3, oneof([<<"dlg_start">>, <<"hold">>, <<"unhold">>, <<"fork_stop">>, <<"fork_answer">>])},
        {2, oneof([<<"dlg_end">>, <<"dlg_stop">>, <<"call_cancel">>, <<"route_fin">>, <<"dlg_dead">>])},
        {1, oneof([<<"call_rec_links">>, <<"records_moved">>, <<"rec_info">>, <<"dlg_binding">>, <<"media_migrate">>])},
        {1, oneof([<<"leg_ping">>, <<"quality">>, <<"refer">>, <<"refer_aborted">>, <<"referring_invite">>])}
    ]).

event({Call, Kind, Gap, Detail}, {Ts0, Place}) ->
    Ts = Ts0 + Gap,
    Data = lists:foldl(
        fun maps:merge/2,
        #{<<"eventts">> => Ts},
        [named(Call, Detail), numbered(Place, Detail), dialog(Call, Kind, Detail), said(Call, Kind, Detail)]
    ),
    {keyed(Detail, #{<<"class">> => <<"callevents">>, <<"type">> => Kind, <<"eventts">> => Ts, <<"data">> => Data}),
        {Ts, Place + 1}}.

named(Call, Detail) when Detail rem 5 =:= 0 -> #{<<"cid">> => cid(Call)};
named(Call, Detail) when Detail rem 7 =:= 0 -> leg(Call);
named(Call, _) -> maps:put(<<"cid">>, cid(Call), leg(Call)).

leg(Call) -> #{<<"acallid">> => acallid(Call), <<"invitets">> => ?BASE}.

numbered(_Place, Detail) when Detail rem 11 =:= 0 -> #{};
numbered(Place, _) -> #{<<"eventid">> => format("e0000000-0000-4000-8000-~12..0b", [Place])}.

dialog(_, Kind, _) when Kind =:= <<"invite">>; Kind =:= <<"route">>; Kind =:= <<"dlg_binding">> -> #{};
dialog(Call, _, _) -> #{<<"dialogid">> => dialogid(Call)}.

said(Call, <<"invite">>, Detail) ->
    #{<<"fromusername">> => <<"101">>, <<"fromdomain">> => <<"alfa.era.test">>, <<"fromouter">> => Detail rem 2 =:= 0,
      <<"callednum">> => <<"202">>, <<"urifrom">> => uri(Call), <<"account">> => <<"empty">>};
said(Call, <<"fork_", _/binary>>, Detail) ->
    #{<<"forkcallid">> => fork(Call, Detail), <<"forkremoteuri">> => uri(Detail), <<"sipcode">> => 400 + Detail};
said(_, <<"dlg_binding">>, Detail) ->
    #{<<"dlgbinding">> => format("l~b", [Detail rem 3]), <<"dlgbindingset">> => Detail rem 2 =:= 0};
said(_, <<"rec_info">>, Detail) -> #{<<"domain">> => <<"alfa.era.test">>, <<"isrec">> => Detail rem 2 =:= 0};
said(_, <<"leg_ping">>, Detail) -> #{<<"mos">> => Detail / 4, <<"deep">> => [Detail, #{<<"a">> => <<"b">>}]};
said(Call, _, Detail) ->
    Holder = lists:nth(1 + Detail rem 2, [fork(Call, Detail), acallid(Call)]),
    #{<<"bcallid">> => fork(Call, Detail), <<"xcallid">> => Holder, <<"aremoteuri">> => uri(Call),
      <<"stopreason">> => lists:nth(1 + Detail rem 3, [<<"bye">>, <<"cancel">>, <<"timeout">>]),
      <<"stopside">> => lists:nth(1 + Detail rem 2, [<<"a">>, <<"b">>]), <<"is_rec">> => Detail rem 2 =:= 0}.

cid(Call) -> format("c0000000-0000-4000-8000-~12..0b", [Call]).
acallid(Call) -> format("call-~b@10.0.0.1", [Call]).
dialogid(Call) -> format("rB1-~b", [Call]).
fork(Call, Detail) -> format("rB2-~b-~b", [Call, Detail rem 3]).
uri(Number) -> format("sip:~b@alfa.era.test", [Number]).

format(Format, Args) -> iolist_to_binary(io_lib:format(Format, Args)).

%% Producers write their keys as atoms or as binaries.
keyed(Detail, Event) when Detail rem 3 =:= 0 ->
    maps:from_list([{binary_to_atom(Key), Value} || {Key, Value} <- maps:to_list(Event)]);
keyed(_, Event) ->
    Event.

with_binary_keys(Event) ->
    maps:from_list([{text(Key), Value} || {Key, Value} <- maps:to_list(Event)]).

text(Key) when is_atom(Key) -> atom_to_binary(Key);
text(Key) -> Key.

%% --- orders

shuffle(Seed, List) ->
    [X || {_, X} <- lists:sort([{erlang:phash2({Seed, Place}), X} || {Place, X} <- lists:zip(lists:seq(1, length(List)), List)])].

split(_Cut, []) -> [];
split(Cut, List) when length(List) =< Cut -> [List];
split(Cut, List) ->
    {Batch, Rest} = lists:split(Cut, List),
    [Batch | split(1 + (Cut * 7) rem 9, Rest)].
