%% What: the events that the benchmarks play: the real calls of the shared file (or of the sample in the repo), multiplied
%%       with fresh ids. One *replica* is all events of the file in their order; replica N has its own cids, Call-IDs,
%%       dialogids, event ids and tags, and its times are shifted by N times the length of the file.
%% Holds: the same replica number gives the same events in every VM, so a peer gets exactly what we get;
%%        an id keeps the length it has in the file, so sizes stay real.
%% Callers: the cases, outside the timed sections. Never used by the application.
-module(bench_events).

-export([template/0, use/1, replica/1, replica/2, calls_per_replica/0, events_per_replica/0, first_ms/0, shift_ms/1]).
-export([in_batches/2, last_ms/1, cid/1, source/0]).

-export_type([event/0, options/0]).

-type event() :: #{binary() => term()}.
-type options() :: #{
    without => [binary()], first_call => pos_integer(), calls => pos_integer(), shift_ms => non_neg_integer()
}.

%% How one value of an event comes out of the template: as it is, as one of the ids of the fresh call, or put together.
-type make() :: {keep, term()} | {put_together, [binary() | {digits, From :: 0..7, Length :: 1..8}]} | id().
-type id() ::
    eventid | cid | acallid | acallidhash | dialogid | dialogidhash | connectionid | eventts | invitets | invitedt.

-record(template, {
    calls :: tuple(), events :: [tuple()], first_ms :: integer(), length_ms :: integer(), source :: file:filename()
}).
-record(ids, {cid, digits, acallid, acallidhash, dialogid, dialogidhash, connectionid, shift_ms, invitets, invitedt}).

-define(GAP_MS, 10_000).

%% Reads the events and cuts them into a template; takes seconds, so one VM does it and hands the result to the others.
-spec template() -> tuple().
template() ->
    template(default_source()).

%% Makes a template the one that the other functions of this VM multiply.
-spec use(tuple()) -> ok.
use(#template{} = Template) ->
    persistent_term:put(?MODULE, Template).

%% Where the events come from.
-spec source() -> file:filename().
source() ->
    (loaded())#template.source.

-spec calls_per_replica() -> pos_integer().
calls_per_replica() ->
    tuple_size((loaded())#template.calls).

-spec events_per_replica() -> pos_integer().
events_per_replica() ->
    length((loaded())#template.events).

%% Time of the first event of replica 0 and by how much replica N is later.
-spec first_ms() -> integer().
first_ms() ->
    (loaded())#template.first_ms.

-spec shift_ms(non_neg_integer()) -> non_neg_integer().
shift_ms(Replica) ->
    Replica * ((loaded())#template.length_ms + ?GAP_MS).

%% The cid that call `Number` (0-based over all replicas) has.
-spec cid(non_neg_integer()) -> binary().
cid(Number) ->
    uuid(<<"call", Number:64>>).

%% All events of replica `Number`, in the order of the file.
-spec replica(non_neg_integer()) -> [event()].
replica(Number) ->
    replica(Number, #{}).

%% The same without the events of some types, of the calls from `first_call` to `calls` only (1-based), or with another
%% shift of the times.
-spec replica(non_neg_integer(), options()) -> [event()].
replica(Number, Options) ->
    #template{calls = Calls, events = Events} = loaded(),
    Without = maps:get(without, Options, []),
    First = maps:get(first_call, Options, 1),
    Kept = min(maps:get(calls, Options, tuple_size(Calls)), tuple_size(Calls)),
    ShiftMs = maps:get(shift_ms, Options, shift_ms(Number)),
    Fresh = [ids(Number * tuple_size(Calls) + Index - 1, element(Index, Calls), ShiftMs) || Index <- lists:seq(1, Kept)],
    Ids = list_to_tuple(Fresh),
    Base = Number * length(Events),
    [
        event(Event, element(Call, Ids), Base)
     || {Call, Type, _, _, _} = Event <- Events, Call >= First, Call =< Kept, not lists:member(Type, Without)
    ].

%% Cuts a list of events into batches of `Size`; the last may be shorter.
-spec in_batches(pos_integer(), [event()]) -> [[event()]].
in_batches(Size, Events) when length(Events) > Size ->
    {Batch, Rest} = lists:split(Size, Events),
    [Batch | in_batches(Size, Rest)];
in_batches(_Size, []) ->
    [];
in_batches(_Size, Events) ->
    [Events].

%% Time of the last event of a batch.
-spec last_ms([event(), ...]) -> integer().
last_ms(Batch) ->
    maps:get(<<"eventts">>, lists:last(Batch)).

%% --- fresh ids -------------------------------------------------------------------------------------------------------

ids(Number, {AfterFirstDash, InviteMs, Dialog}, ShiftMs) ->
    Cid = cid(Number),
    <<Digits:8/binary, _/binary>> = Cid,
    Acallid = <<(integer_to_binary(Number + 1))/binary, $-, AfterFirstDash/binary>>,
    Dialogid = put_together(Dialog, Digits),
    Invitets = InviteMs + ShiftMs,
    #ids{
        cid = Cid,
        digits = Digits,
        acallid = Acallid,
        acallidhash = erlang:crc32(Acallid),
        dialogid = Dialogid,
        dialogidhash = erlang:crc32(Dialogid),
        connectionid = <<Cid/binary, $., (integer_to_binary(Invitets))/binary>>,
        shift_ms = ShiftMs,
        invitets = Invitets,
        invitedt = list_to_binary(calendar:system_time_to_rfc3339(Invitets, [{unit, millisecond}, {offset, "Z"}]))
    }.

event({_Call, Type, AtMs, Index, Makes}, #ids{shift_ms = ShiftMs} = Ids, Base) ->
    Ts = AtMs + ShiftMs,
    #{
        <<"class">> => <<"callevents">>,
        <<"type">> => Type,
        <<"eventts">> => Ts,
        <<"data">> => maps:from_list([{Key, make(Make, Ids, Ts, Base + Index)} || {Key, Make} <- Makes])
    }.

make({keep, Value}, _Ids, _Ts, _Index) -> Value;
make({put_together, Parts}, #ids{digits = Digits, cid = Cid}, _Ts, _Index) -> put_together(Parts, Digits, Cid);
make(eventid, _Ids, _Ts, Index) -> uuid(<<"event", Index:64>>);
make(eventts, _Ids, Ts, _Index) -> Ts;
make(cid, Ids, _Ts, _Index) -> Ids#ids.cid;
make(acallid, Ids, _Ts, _Index) -> Ids#ids.acallid;
make(acallidhash, Ids, _Ts, _Index) -> Ids#ids.acallidhash;
make(dialogid, Ids, _Ts, _Index) -> Ids#ids.dialogid;
make(dialogidhash, Ids, _Ts, _Index) -> Ids#ids.dialogidhash;
make(connectionid, Ids, _Ts, _Index) -> Ids#ids.connectionid;
make(invitets, Ids, _Ts, _Index) -> Ids#ids.invitets;
make(invitedt, Ids, _Ts, _Index) -> Ids#ids.invitedt.

put_together(Parts, Digits) -> put_together(Parts, Digits, <<>>).

put_together(Parts, Digits, Cid) ->
    iolist_to_binary([part(Part, Digits, Cid) || Part <- Parts]).

part({digits, From, Length}, Digits, _Cid) -> binary:part(Digits, From, Length);
part(cid, _Digits, Cid) -> Cid;
part(Literal, _Digits, _Cid) -> Literal.

%% A uuid of version 5 in shape, drawn from a counter.
uuid(Name) ->
    <<A:32, B:16, _:4, C:12, _:2, D:14, E:48>> = erlang:md5(Name),
    Hex = hex(<<A:32, B:16, 5:4, C:12, 2:2, D:14, E:48>>),
    <<P1:8/binary, P2:4/binary, P3:4/binary, P4:4/binary, P5:12/binary>> = Hex,
    <<P1/binary, $-, P2/binary, $-, P3/binary, $-, P4/binary, $-, P5/binary>>.

hex(Bytes) ->
    <<<<(digit(Nibble))>> || <<Nibble:4>> <= Bytes>>.

digit(Nibble) when Nibble < 10 -> $0 + Nibble;
digit(Nibble) -> $a + Nibble - 10.

%% --- template --------------------------------------------------------------------------------------------------------

loaded() ->
    persistent_term:get(?MODULE).

default_source() ->
    Candidates = ["../shared/data/sip-calls.ndjson.gz" | filelib:wildcard("test/sample/*.ndjson*")],
    case lists:filter(fun filelib:is_regular/1, Candidates) of
        [File | _] -> File;
        [] -> error({no_events, Candidates})
    end.

-spec template(file:filename()) -> #template{}.
template(File) ->
    {ok, Packed} = file:read_file(File),
    Text = unpacked(Packed),
    Decoded = [decoded(Line) || Line <- binary:split(Text, <<"\n">>, [global]), Line =/= <<>>],
    {Numbers, Calls} = lists:foldl(fun number_call/2, {#{}, #{}}, Decoded),
    Times = [maps:get(<<"eventts">>, Event) || Event <- Decoded],
    #template{
        calls = list_to_tuple([maps:get(Number, Calls) || Number <- lists:seq(1, map_size(Calls))]),
        events = [compile(Event, Index, Numbers) || {Index, Event} <- lists:enumerate(0, Decoded)],
        first_ms = hd(Times),
        length_ms = lists:last(Times) - hd(Times),
        source = File
    }.

unpacked(<<16#1f, 16#8b, _/binary>> = Packed) -> zlib:gunzip(Packed);
unpacked(Text) -> Text.

decoded(Line) ->
    {ok, Event} = era_callstore_nif:json_decode(Line),
    Event.

%% Numbers the calls in the order in which they appear and notes what of each the fresh ids are made of. The dialogid
%% shows only after the first events of a call.
number_call(#{<<"data">> := #{<<"cid">> := Cid} = Data}, {Numbers, Calls}) ->
    case Numbers of
        #{Cid := Number} ->
            {Numbers, with_dialog(Number, maps:get(<<"dialogid">>, Data, none), Cid, Calls)};
        #{} ->
            #{<<"acallid">> := Acallid, <<"invitets">> := InviteMs} = Data,
            [_, AfterFirstDash] = binary:split(Acallid, <<"-">>),
            Number = map_size(Numbers) + 1,
            {Numbers#{binary:copy(Cid) => Number}, Calls#{Number => {binary:copy(AfterFirstDash), InviteMs, []}}}
    end.

with_dialog(Number, Dialogid, Cid, Calls) when is_binary(Dialogid) ->
    case Calls of
        #{Number := {AfterFirstDash, InviteMs, []}} ->
            Calls#{Number := {AfterFirstDash, InviteMs, put_together_from(Dialogid, Cid)}};
        #{} ->
            Calls
    end;
with_dialog(_Number, none, _Cid, Calls) ->
    Calls.

compile(#{<<"type">> := Type, <<"eventts">> := Ts, <<"data">> := #{<<"cid">> := Cid} = Data}, Index, Numbers) ->
    Makes = [{binary:copy(Key), compile_value(Key, Value, Cid, Data)} || {Key, Value} <- maps:to_list(Data)],
    {maps:get(Cid, Numbers), binary:copy(Type), Ts, Index, Makes}.

-spec compile_value(binary(), term(), binary(), map()) -> make().
compile_value(<<"eventid">>, _, _, _) -> eventid;
compile_value(<<"eventts">>, _, _, _) -> eventts;
compile_value(<<"cid">>, _, _, _) -> cid;
compile_value(<<"acallid">>, _, _, _) -> acallid;
compile_value(<<"acallidhash">>, _, _, _) -> acallidhash;
compile_value(<<"dialogid">>, _, _, _) -> dialogid;
compile_value(<<"dialogidhash">>, _, _, _) -> dialogidhash;
compile_value(<<"connectionid">>, _, _, _) -> connectionid;
compile_value(<<"invitets">>, _, _, _) -> invitets;
compile_value(<<"invitedt">>, _, _, _) -> invitedt;
compile_value(_Key, Acallid, _Cid, #{<<"acallid">> := Acallid}) -> acallid;
compile_value(<<"forklocaltag">>, Tag, Cid, _) -> from_parts(cut(Tag, [{binary:part(Cid, 4, 4), {digits, 4, 4}}]));
compile_value(_Key, Value, Cid, _) when is_binary(Value) -> from_parts(put_together_from(Value, Cid));
compile_value(_Key, Value, _Cid, _) -> {keep, Value}.

from_parts([Literal]) when is_binary(Literal) -> {keep, Literal};
from_parts(Parts) -> {put_together, Parts}.

%% Tags, dialogids and links carry the cid or its first digits: found in the order longest first.
put_together_from(Value, Cid) ->
    cut(Value, [
        {Cid, cid},
        {binary:part(Cid, 0, 8), {digits, 0, 8}},
        {binary:part(Cid, 0, 6), {digits, 0, 6}}
    ]).

cut(Value, []) ->
    [binary:copy(Value)];
cut(Value, [{Pattern, Part} | Longer]) ->
    case binary:split(Value, Pattern) of
        [Before, After] -> [binary:copy(Before), Part, binary:copy(After)];
        [_] -> cut(Value, Longer)
    end.
