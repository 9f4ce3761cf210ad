%%% The way of events into the log, on the producer's side: encode here, then hand chunks to the active of each group.
%%%
%%%   events ──nif encode──► {Group, Chunk} ──► active here:      its writer, when the queue has room
%%%   (this process)                       └──► active elsewhere: the same over there (submit_here/4 by erpc)
%%% Always holds: what is answered `ok' was committed and folded. While no instance is active, and when one goes away
%%% under a chunk, the chunk is sent again until the timeout: a repeated event is known by its id.
%%% Called by: era_callstore.
%%% Must never: keep an event after the answer, or block without a limit.
-module(era_callstore_put).

-export([events/3, json/3, submit_here/4]).
-export_type([result/0, reason/0, rejection/0, options/0]).

-include("era_callstore_crash.hrl").

-type reason() :: overload | no_active | timeout | {not_served, binary()} | poisoned.
%% Why an event was not taken. Byte counts from 1 in the event's own text; Field is clipped to 64 characters.
-type rejection() ::
    not_an_object
    | no_data
    | no_identity
    | too_many_fields
    | improper_list
    | {bad_json, Byte :: pos_integer()}
    | {missing | bad_field | too_large | too_deep | not_utf8, Field :: binary()}.
-type result() ::
    {ok, #{
        accepted := non_neg_integer(),
        duplicate := non_neg_integer(),
        rejected := [{Index :: pos_integer(), rejection()}]
    }}
    | {error, reason()}.
%% What the core wants to know beside the events.
-type options() :: #{owner => binary(), producer => binary()}.

%% Events of one encode; the bound of a chunk.
-define(PART, 4096).
%% Above this many events or bytes encoding runs on a dirty scheduler.
-define(DIRTY_EVENTS, 256).
-define(DIRTY_BYTES, 131072).
%% JSON lines are cut into pieces of about this size.
-define(JSON_PART_BYTES, 1048576).

-record(sum, {seen = 0, accepted = 0, duplicate = 0, rejected = [] :: [[{pos_integer(), rejection()}]]}).

%% @doc Events as terms: a list, which may be long, or end in something that is no list.
-spec events([map()] | term(), options(), Deadline :: integer()) -> result().
events(Events, Options, Deadline) ->
    with_router(fun(Router) -> parts(Router, Events, Options, Deadline, #sum{}) end).

%% @doc Events as JSON: one object, an array, or one object a line.
-spec json(binary(), options(), Deadline :: integer()) -> result().
json(Json, Options, Deadline) ->
    with_router(fun(Router) -> json_parts(Router, json_pieces(Json), Options, Deadline, #sum{}) end).

%% @doc The producer's part on the node of the active; called there over erpc.
-spec submit_here(Group :: pos_integer(), era_callstore_nif:chunk(), Count, TimeoutMs) -> Answer when
    Count :: pos_integer(),
    TimeoutMs :: non_neg_integer(),
    Answer :: {ok, era_callstore_nif:applied()} | {error, overload | no_active | gone | timeout | poisoned}.
submit_here(Group, Chunk, Count, TimeoutMs) ->
    case era_callstore_router:writer(Group) of
        none ->
            {error, no_active};
        Writer ->
            ?CRASH_POINT(submit_before),
            case era_callstore_submit:put(Writer, Chunk, Count, byte_size(Chunk)) of
                {ok, Ref} ->
                    ?CRASH_POINT(submit_sent),
                    Answer = era_callstore_submit:await(Ref, TimeoutMs),
                    ?CRASH_POINT(submit_after),
                    Answer;
                {error, overload} ->
                    {error, overload}
            end
    end.

with_router(Fun) ->
    case era_callstore_router:resource() of
        none -> counted({error, no_active});
        Router -> counted(Fun(Router))
    end.

counted({ok, #{accepted := Accepted, duplicate := Duplicate, rejected := Rejected}} = Result) ->
    era_callstore_counters:add(events_accepted, Accepted),
    era_callstore_counters:add(events_duplicate, Duplicate),
    era_callstore_counters:add(events_rejected, length(Rejected)),
    Result;
counted({error, Reason} = Result) ->
    case Reason of
        overload -> era_callstore_counters:add(puts_overload, 1);
        no_active -> era_callstore_counters:add(puts_no_active, 1);
        _ -> ok
    end,
    Result.

%% --- parts

parts(_Router, [], _Options, _Deadline, Sum) ->
    result(Sum);
parts(Router, Events, Options, Deadline, #sum{seen = Seen} = Sum) ->
    {Part, Length, Rest} = split(Events, ?PART, 0, []),
    {Chunks, Rejected} = encode(Router, Part, Length, Options),
    case submit_all(Chunks, Deadline, add_rejected(Rejected, Sum)) of
        {ok, Taken} -> parts_rest(Router, Rest, Options, Deadline, Taken#sum{seen = Seen + Length});
        {error, _} = Error -> Error
    end.

parts_rest(Router, Rest, Options, Deadline, Sum) when is_list(Rest) ->
    parts(Router, Rest, Options, Deadline, Sum);
parts_rest(_Router, _ImproperTail, _Options, _Deadline, Sum) ->
    result(add_rejected([{1, improper_list}], Sum)).

%% A short list is not copied.
split(Events, Max, 0, []) when length(Events) =< Max ->
    {Events, length(Events), []};
split([Event | Rest], Max, N, Taken) when N < Max ->
    split(Rest, Max, N + 1, [Event | Taken]);
split(Rest, _Max, N, Taken) ->
    {lists:reverse(Taken), N, Rest}.

encode(_Router, [], 0, _Options) -> {[], []};
encode(Router, Part, Length, Options) when Length =< ?DIRTY_EVENTS -> era_callstore_nif:encode(Router, Part, Options);
encode(Router, Part, _Length, Options) -> era_callstore_nif:encode_dirty(Router, Part, Options).

json_parts(_Router, [], _Options, _Deadline, Sum) ->
    result(Sum);
json_parts(Router, [Piece | Pieces], Options, Deadline, #sum{seen = Seen} = Sum) ->
    {Chunks, Rejected} = encode_json(Router, Piece, Options),
    case submit_all(Chunks, Deadline, add_rejected(Rejected, Sum)) of
        {ok, Taken} ->
            Events = length(Rejected) + lists:sum([Count || {_, _, Count} <- Chunks]),
            json_parts(Router, Pieces, Options, Deadline, Taken#sum{seen = Seen + Events});
        {error, _} = Error ->
            Error
    end.

encode_json(Router, Piece, Options) when byte_size(Piece) =< ?DIRTY_BYTES ->
    era_callstore_nif:encode_json(Router, Piece, Options);
encode_json(Router, Piece, Options) ->
    era_callstore_nif:encode_json_dirty(Router, Piece, Options).

json_pieces(Json) when byte_size(Json) =< ?JSON_PART_BYTES -> [Json];
json_pieces(Json) ->
    case is_array(Json) of
        true -> [Json];
        false -> line_pieces(Json)
    end.

is_array(<<$[, _/binary>>) -> true;
is_array(<<Space, Rest/binary>>) when Space =:= $\s; Space =:= $\t; Space =:= $\r; Space =:= $\n -> is_array(Rest);
is_array(_) -> false.

line_pieces(Json) when byte_size(Json) =< ?JSON_PART_BYTES -> [Json];
line_pieces(Json) ->
    case binary:match(Json, <<"\n">>, [{scope, {?JSON_PART_BYTES, byte_size(Json) - ?JSON_PART_BYTES}}]) of
        {At, 1} ->
            <<Piece:(At + 1)/binary, Rest/binary>> = Json,
            [Piece | line_pieces(Rest)];
        nomatch ->
            [Json]
    end.

%% --- sums

add_rejected([], Sum) ->
    Sum;
add_rejected(Rejected, #sum{seen = Seen, rejected = Before} = Sum) ->
    Sum#sum{rejected = [[{Seen + Index, Reason} || {Index, Reason} <- Rejected] | Before]}.

result(#sum{accepted = Accepted, duplicate = Duplicate, rejected = Rejected}) ->
    {ok, #{accepted => Accepted, duplicate => Duplicate, rejected => lists:append(lists:reverse(Rejected))}}.

%% --- handing over

submit_all([], _Deadline, Sum) ->
    {ok, Sum};
submit_all([{Group, Chunk, Count} | Chunks], Deadline, #sum{accepted = Accepted, duplicate = Duplicate} = Sum) ->
    case submit(Group, Chunk, Count, Deadline, no_active) of
        {ok, {New, _Known, Late}} ->
            %% A late event is one of a call that is over and forgotten; what a batch held twice is in Count alone.
            Taken = Sum#sum{accepted = Accepted + New + Late, duplicate = Duplicate + Count - New - Late},
            submit_all(Chunks, Deadline, Taken);
        {error, _} = Error ->
            Error
    end.

%% Tries until the deadline; Failure is what the last try says of itself when time is up.
submit(Group, Chunk, Count, Deadline, Failure) ->
    case {era_callstore_router:writer(Group), left(Deadline)} of
        {_, 0} -> {error, Failure};
        {none, Left} -> submit_elsewhere(Group, Chunk, Count, Left, Deadline, Failure);
        {_, Left} -> tried(submit_here(Group, Chunk, Count, Left), Group, Chunk, Count, Deadline, Failure)
    end.

submit_elsewhere(Group, Chunk, Count, Left, Deadline, Failure) ->
    case era_callstore_router:active_node(Group) of
        Node when Node =/= none, Node =/= node() ->
            Answer =
                try
                    erpc:call(Node, ?MODULE, submit_here, [Group, Chunk, Count, Left], Left)
                catch
                    error:{erpc, timeout} -> {error, timeout};
                    error:{erpc, _} -> {error, gone};
                    exit:{exception, _} -> {error, gone}
                end,
            tried(Answer, Group, Chunk, Count, Deadline, Failure);
        _ ->
            case era_callstore_router:await_active(Group, Left) of
                ok -> submit(Group, Chunk, Count, Deadline, Failure);
                timeout -> {error, Failure}
            end
    end.

tried({ok, _} = Taken, _Group, _Chunk, _Count, _Deadline, _Failure) ->
    Taken;
tried({error, Reason} = Error, _Group, _Chunk, _Count, _Deadline, _Failure) when
    Reason =:= overload; Reason =:= poisoned; Reason =:= timeout
->
    Error;
tried({error, no_active}, Group, Chunk, Count, Deadline, Failure) ->
    submit(Group, Chunk, Count, Deadline, Failure);
tried({error, gone}, Group, Chunk, Count, Deadline, _Failure) ->
    submit(Group, Chunk, Count, Deadline, timeout).

left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
