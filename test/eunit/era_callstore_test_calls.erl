%%% Calls for the tests of the API, told in the words of the platform.
%%%
%%% Called by: era_callstore_api_tests and era_callstore_api_events_tests.
-module(era_callstore_test_calls).

-export([put_all/1, put_all/2, cid/1, invite/2, conversation/1, ending/1, event/4]).

-define(BASE, 1795378165000).

%% All are taken.
put_all(Events) -> put_all(Events, #{}).

put_all(Events, Options) ->
    {ok, #{rejected := []}} = era_callstore:put(Events, Options),
    ok.

cid(N) -> iolist_to_binary(io_lib:format("c0000000-0000-4000-8000-~12..0b", [N])).

name(Prefix, N) -> <<Prefix/binary, (integer_to_binary(N))/binary>>.

%% A call from sales.alfa to beta that rings two devices, is answered after 2 s, and has a label that stays and one that
%% went.
conversation(N) ->
    D = #{<<"dialogid">> => name(<<"D">>, N)},
    Device = #{<<"forkremoteuri">> => <<"sip:200@beta.era.test">>},
    Fork = fun(Prefix) -> maps:merge(D, Device#{<<"forkcallid">> => name(Prefix, N)}) end,
    Legs = D#{
        <<"aremoteuri">> => <<"sip:100@sales.alfa.era.test">>, <<"bremoteuri">> => <<"sip:200@beta.era.test">>,
        <<"bcallid">> => name(<<"B">>, N)
    },
    Label = fun(Text, Set) -> #{<<"dlgbinding">> => Text, <<"dlgbindingset">> => Set} end,
    [
        event(N, <<"invite">>, 0, #{
            <<"fromusername">> => <<"100">>, <<"fromdomain">> => <<"sales.alfa.era.test">>, <<"callednum">> => <<"200">>
        }),
        event(N, <<"dlg_init">>, 10, D),
        event(N, <<"fork_start">>, 20, Fork(<<"F">>)),
        event(N, <<"fork_start">>, 21, Fork(<<"B">>)),
        event(N, <<"fork_stop">>, 1000, maps:merge(Fork(<<"F">>), #{<<"sipcode">> => 486})),
        event(N, <<"dlg_start">>, 2000, Legs),
        event(N, <<"dlg_binding">>, 2001, Label(<<"vip">>, true)),
        event(N, <<"dlg_binding">>, 2002, Label(<<"was">>, true)),
        event(N, <<"dlg_binding">>, 2003, Label(<<"was">>, false))
    ].

ending(N) ->
    Ended = #{<<"dialogid">> => name(<<"D">>, N), <<"stopreason">> => <<"bye">>, <<"stopside">> => <<"a">>},
    [event(N, <<"dlg_end">>, 12000, Ended), event(N, <<"dlg_stop">>, 15000, Ended)].

event(N, Type, At, Fields) ->
    Ts = ?BASE + At,
    #{
        <<"class">> => <<"callevents">>,
        <<"type">> => Type,
        <<"eventts">> => Ts,
        <<"data">> => maps:merge(
            #{
                <<"eventts">> => Ts,
                <<"acallid">> => <<(name(<<"A">>, N))/binary, "@h">>,
                <<"cid">> => cid(N),
                <<"invitets">> => ?BASE
            },
            Fields
        )
    }.

%% The first event of a call from a domain.
invite(N, Domain) -> event(N, <<"invite">>, 0, #{<<"fromusername">> => <<"7">>, <<"fromdomain">> => Domain}).
