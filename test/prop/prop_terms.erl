%%% Properties of the way from Erlang terms into the core: whatever a producer gives is one event taken or one rejected
%%% with a reason of the list, and harms no other event of its batch.
%%%
%%% Called by: era_callstore_prop_tests.
-module(prop_terms).

-include_lib("proper/include/proper.hrl").

-export([prop_any_term_is_taken_or_rejected/0, prop_a_field_of_any_term_is_taken_or_rejected/0]).

-define(TS, 1795341600000).
-define(CID, <<"c0000000-0000-4000-8000-000000000001">>).

prop_any_term_is_taken_or_rejected() ->
    Event = oneof([odd(), fields(), ?LET(Fields, fields(), #{<<"data">> => Fields})]),
    ?FORALL(Terms, events(Event), one_by_one(Terms)).

prop_a_field_of_any_term_is_taken_or_rejected() ->
    ?FORALL(Fields, events(fields()), one_by_one([with_fields(Event) || Event <- Fields])).

%% Each is counted once, the sound ones around them are taken, and what was taken can be folded and read.
one_by_one(Terms) ->
    Sound = with_fields(#{<<"eventid">> => ?CID}),
    Router = router(),
    {Chunks, Rejected} = era_callstore_nif:encode(Router, [Sound | Terms] ++ [Sound], #{}),
    Taken = lists:sum([Count || {_, _, Count} <- Chunks]),
    Store = era_callstore_nif:new(settings()),
    [{ok, _} = era_callstore_nif:apply(Store, <<"1">>, [Chunk], ?TS) || {_, Chunk, _} <- Chunks],
    Read = era_callstore_nif:call(Store, {cid, ?CID}, ?TS),
    Indexes = [Index || {Index, _} <- Rejected],
    Strange = [Reason || {_, Reason} <- Rejected, not is_reason(Reason)],
    ?WHENFAIL(
        io:format("taken ~p, rejected ~0p, read ~0p~n", [Taken, Rejected, Read]),
        Taken + length(Rejected) =:= length(Terms) + 2 andalso Strange =:= [] andalso
            not lists:member(1, Indexes) andalso not lists:member(length(Terms) + 2, Indexes) andalso
            element(1, Read) =:= ok
    ).

is_reason({bad_json, Byte}) -> is_integer(Byte);
is_reason({Kind, Field}) ->
    lists:member(Kind, [missing, bad_field, too_large, too_deep, not_utf8]) andalso is_binary(Field);
is_reason(Kind) ->
    lists:member(Kind, [not_an_object, no_data, no_identity, too_many_fields]).

with_fields(Fields) ->
    #{
        <<"class">> => <<"callevents">>, <<"type">> => <<"dlg_start">>, <<"eventts">> => ?TS,
        <<"data">> => maps:merge(#{<<"cid">> => ?CID}, Fields)
    }.

%% --- generators

%% What is odd about a term is its kind: the terms are a fixed list, and where they stand is left to chance.
odd() -> ?LET(Number, range(1, length(odd_terms())), lists:nth(Number, odd_terms())).

odd_terms() ->
    [
        0, -1, 1 bsl 62, 1 bsl 63, -(1 bsl 100), ?TS, 0.0, -1.5e300, true, false, null, nil, undefined, empty,
        'with space', <<>>, <<"x">>, <<"empty">>, <<"true">>, <<"17">>, ?CID, string:uppercase(?CID), <<255, 254>>, <<1:3>>,
        <<0, 10, 13>>, binary:copy(<<"y">>, 70000), "text", [], [[]], [1, 2 | 3], [$a | tail], [0, 16#110000, -1],
        lists:seq(1, 50), nested(15), nested(40), {}, {a, 1}, {1, [2 | 3]}, self(), make_ref(), fun erlang:self/0, #{},
        #{1 => 2}, #{<<"a">> => [null, 1.5]}, #{<<255>> => 1}, #{a => self()}, #{<<"data">> => #{<<"cid">> => ?CID}}
    ].

nested(Depth) -> lists:foldl(fun(_, Inner) -> [Inner] end, 7, lists:seq(1, Depth)).

key() ->
    oneof([
        elements([
            <<"cid">>, <<"acallid">>, <<"invitets">>, <<"eventid">>, <<"eventts">>, <<"dialogid">>, <<"bcallid">>,
            <<"type">>, <<"class">>, <<"data">>, dialogid, sipcode, relates, <<"connectionid">>, <<"acallidhash">>,
            <<"stopside">>, <<"mgctxid">>, <<"of nobody">>
        ]),
        odd()
    ]).

fields() -> ?LET(Pairs, resize(8, list({key(), odd()})), maps:from_list(Pairs)).

events(Event) -> resize(12, list(Event)).

%% --- the core

router() ->
    {ok, Router} = era_callstore_nif:router(era_callstore_nif:json_encode(era_callstore_role:default()), #{}),
    Router.

settings() ->
    #{
        site => <<"msk">>, master_domain => <<"era.test">>, group => 1, sinks => [], cdr_enabled => true,
        sorm3_enabled => true, copm3_name => <<"cdr/COPM3_dialogs">>, watch => #{}
    }.
