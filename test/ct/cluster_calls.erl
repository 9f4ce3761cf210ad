%%% Calls for suites of several nodes: what their events are, and what becomes of them once those were acknowledged.
%%%
%%%   alive    one first event; lives for ever
%%%   over     first event to last in one batch
%%%   mixed    by the number of the call, modulo 4:
%%%            0 as alive, 1 as over, 2 ends without its last event, 3 ends LATER calls later
%%%   silent   as 2 of mixed: closed by a decision of the application
%%% Always holds: the events of a call are the same wherever and whenever they are made: a batch can be repeated.
%%% Called by: cluster_load, the suites, and inside nodes. Pure.
%%% Must never: let two calls have an event in common.
-module(cluster_calls).

-export([events/3, fate/2, cids/2, cid/1]).
-export_type([kind/0, fate/0]).

-type kind() :: alive | over | mixed | silent.
%% What becomes of a call when its batch is acknowledged: it lives, it has a record, or that is up to a later batch.
-type fate() :: lives | ends | later.

-define(BASE, 1795378165000).
%% A multiple of 4 and of the size of batches, so that the end of a call is in a batch of its own producer.
-define(LATER, 200).

%% @doc The events of one batch: those of the calls From to To, and the ends that are due with them.
-spec events(kind(), From :: non_neg_integer(), To :: non_neg_integer()) -> [map()].
events(Kind, From, To) -> lists:append([of_call(Kind, N) || N <- lists:seq(From, To)]).

of_call(alive, N) -> [invite(N)];
of_call(over, N) -> [invite(N) | ending(N)];
of_call(silent, N) -> [invite(N) | silent_ending(N)];
of_call(mixed, N) ->
    case N rem 4 of
        0 -> of_call(alive, N);
        1 -> of_call(over, N);
        2 -> of_call(silent, N);
        %% The first of a producer have nobody before them: ends of calls that never began are calls of their own.
        3 when N rem 1000000 > ?LATER -> [invite(N) | ending(N - ?LATER)];
        3 -> [invite(N)]
    end.

%% @doc What becomes of a call.
-spec fate(kind(), non_neg_integer()) -> fate().
fate(alive, _N) -> lives;
fate(over, _N) -> ends;
fate(silent, _N) -> ends;
fate(mixed, N) -> element(N rem 4 + 1, {lives, ends, ends, later}).

-spec cids(From :: non_neg_integer(), To :: non_neg_integer()) -> [binary()].
cids(From, To) -> [cid(N) || N <- lists:seq(From, To)].

-spec cid(non_neg_integer()) -> binary().
cid(N) -> iolist_to_binary(io_lib:format("c0000000-0000-4000-8000-~12..0b", [N])).

invite(N) -> event(N, 1, <<"invite">>, 0, #{}).

ending(N) -> [event(N, 2, <<"dlg_start">>, 1000, dialog(N)), event(N, 3, <<"dlg_stop">>, 9000, ended(N))].

silent_ending(N) -> [event(N, 2, <<"dlg_start">>, 1000, dialog(N)), event(N, 3, <<"dlg_end">>, 9000, ended(N))].

dialog(N) -> #{<<"dialogid">> => <<"d", (integer_to_binary(N))/binary>>}.

ended(N) -> (dialog(N))#{<<"stopreason">> => <<"bye">>, <<"stopside">> => <<"a">>}.

event(N, Nth, Type, AfterMs, Fields) ->
    #{
        <<"class">> => <<"callevents">>,
        <<"type">> => Type,
        <<"eventts">> => ?BASE + AfterMs,
        <<"data">> => Fields#{
            <<"eventid">> => iolist_to_binary(io_lib:format("e~7..0b-0000-4000-8000-~12..0b", [Nth, N])),
            <<"eventts">> => ?BASE + AfterMs,
            <<"acallid">> => <<"a", (integer_to_binary(N))/binary>>,
            <<"cid">> => cid(N),
            <<"invitets">> => ?BASE,
            <<"fromdomain">> => <<"alfa.era.test">>
        }
    }.
