%% What: the peers' knowledge of calls, as a good Erlang engineer would write it first: one map per call, one event folded
%%       into it at a time, the CDR built as a map when the call ends. Pure.
%% Holds: it does the job that ours is measured at: state, times, both subscribers, forks, holds, routing, recording, a history
%%        of all events, duplicates by event id, one CDR per call. Where the job has a cheaper reading it takes it: the history keeps
%%        id, time and type of an event and not its fields (with all fields the peers are about twice slower), events fold in the
%%        order of arrival (no refold), there are no indexes by subscriber or Call-ID, a closed call is never purged.
%% Callers: bench_peer_mnesia, bench_peer_ets, which keep the maps and the counters.
-module(bench_peer_call).

-export([fold/2, cid/1]).

-export_type([call/0, outcome/0]).

-type call() :: #{atom() => term()}.
-type outcome() :: duplicate | {call(), Counters :: [{{Domain :: binary(), State :: atom()}, integer()}], CDR :: map() | none}.

%% The key of the call that an event belongs to.
-spec cid(bench_events:event()) -> binary().
cid(#{<<"data">> := #{<<"cid">> := Cid}}) -> Cid.

%% Folds one event into its call, `none` when the call is new.
-spec fold(bench_events:event(), call() | none) -> outcome().
fold(#{<<"type">> := Type, <<"eventts">> := Ts, <<"data">> := #{<<"eventid">> := Id} = Body}, Known) ->
    Call = known(Known, Ts, Body),
    #{history := History, state := State, domain := Domain} = Call,
    case lists:keymember(Id, 1, History) of
        true ->
            duplicate;
        false ->
            Applied = apply_event(Type, Ts, Body, Call#{history := [{Id, Ts, Type} | History]}),
            finish(Applied, Known, Domain, State)
    end.

known(none, Ts, #{<<"cid">> := Cid} = Body) ->
    #{
        cid => Cid,
        acallid => value(<<"acallid">>, Body),
        invitets => maps:get(<<"invitets">>, Body, Ts),
        connectionid => value(<<"connectionid">>, Body),
        dialogid => null,
        domain => value(<<"fromdomain">>, Body),
        bdomain => null,
        state => initiated,
        a => #{},
        b => #{},
        bcallid => null,
        times => #{},
        routing => [],
        forks => #{},
        holds => [],
        recording => #{state => none, domains => #{}, links => []},
        media => #{},
        ended => #{},
        history => []
    };
known(Call, _Ts, _Body) ->
    Call.

finish(#{state := closed} = Call, _Known, _Domain, closed) ->
    {Call, [], cdr(Call)};
finish(#{state := closed} = Call, none, Domain, _Before) ->
    {Call, [{{Domain, closed}, 1}], cdr(Call)};
finish(#{state := closed} = Call, _Known, Domain, Before) ->
    {Call, [{{Domain, Before}, -1}, {{Domain, closed}, 1}], cdr(Call)};
finish(#{state := State} = Call, none, Domain, _Before) ->
    {Call, [{{Domain, State}, 1}], none};
finish(#{state := State} = Call, _Known, _Domain, State) ->
    {Call, [], none};
finish(#{state := State} = Call, _Known, Domain, Before) ->
    {Call, [{{Domain, Before}, -1}, {{Domain, State}, 1}], none}.

%% --- what each type of event changes ------------------------------------------------------------------------------------

apply_event(<<"invite">>, Ts, Body, #{a := A, b := B} = Call) ->
    Call#{
        domain := value(<<"fromdomain">>, Body),
        a := A#{
            number => value(<<"urifrom">>, Body),
            username => value(<<"fromusername">>, Body),
            domain => value(<<"fromdomain">>, Body),
            outer => value(<<"fromouter">>, Body)
        },
        b := B#{number => value(<<"callednum">>, Body), original_number => value(<<"urito">>, Body)},
        times := at(invite, Ts, Call)
    };
apply_event(<<"route", _/binary>> = Type, Ts, Body, #{routing := Routing} = Call) ->
    Step = #{
        type => Type,
        ts => Ts,
        ruleid => value(<<"ruleid">>, Body),
        action => value(<<"routeaction">>, Body),
        to => value(<<"routeto">>, Body)
    },
    Routed = Call#{routing := [Step | Routing]},
    case Type of
        <<"route_fin">> -> ended(call_final, Ts, Body, Routed);
        _ -> step(routing, Routed)
    end;
apply_event(<<"dlg_init">>, Ts, Body, Call) ->
    step(calling, Call#{dialogid := value(<<"dialogid">>, Body), times := at(dlg_init, Ts, Call)});
apply_event(<<"dlg_call">>, Ts, Body, #{a := A, b := B} = Call) ->
    step(calling, Call#{
        a := A#{uri => value(<<"remoteuri">>, Body)},
        b := B#{uri => value(<<"localuri">>, Body), number => value(<<"callednum">>, Body)},
        times := at(ring, Ts, Call)
    });
apply_event(<<"fork_start">>, Ts, Body, #{forks := Forks} = Call) ->
    Fork = #{
        uri => value(<<"forkrequesturi">>, Body),
        dir => value(<<"forkdir">>, Body),
        start => Ts,
        'end' => null,
        sipcode => null,
        won => false
    },
    step(early, Call#{forks := Forks#{value(<<"forkcallid">>, Body) => Fork}});
apply_event(<<"fork_stop">>, Ts, Body, #{forks := Forks} = Call) ->
    Key = value(<<"forkcallid">>, Body),
    Fork = maps:get(Key, Forks, #{start => null, won => false}),
    Stopped = Fork#{'end' => Ts, sipcode => value(<<"sipcode">>, Body), reason => value(<<"reason">>, Body)},
    Call#{forks := Forks#{Key => Stopped}};
apply_event(<<"dlg_start">>, Ts, Body, #{forks := Forks, media := Media, b := B} = Call) ->
    Winner = value(<<"bcallid">>, Body),
    Won =
        case Forks of
            #{Winner := Fork} -> Forks#{Winner := Fork#{won := true, answer => Ts}};
            #{} -> Forks
        end,
    step(confirmed, Call#{
        bcallid := Winner,
        b := B#{uri => value(<<"blocaluri">>, Body)},
        forks := Won,
        media := Media#{mgcgroup => value(<<"mgcgroup">>, Body), mgctxid => value(<<"mgctxid">>, Body)},
        times := at(answer, Ts, Call)
    });
apply_event(<<"rec_info">>, _Ts, Body, #{recording := #{domains := Domains} = Recording} = Call) ->
    Wanted = Domains#{value(<<"domain">>, Body) => value(<<"isrec">>, Body)},
    Call#{recording := Recording#{state := asked, domains := Wanted}};
apply_event(<<"hold">>, Ts, Body, #{holds := Holds} = Call) ->
    step(held, Call#{holds := [#{side => side(Body, Call), from => Ts, to => null} | Holds]});
apply_event(<<"unhold">>, Ts, Body, #{holds := Holds} = Call) ->
    Side = side(Body, Call),
    Closed = [close_hold(Hold, Side, Ts) || Hold <- Holds],
    case lists:any(fun(#{to := To}) -> To =:= null end, Closed) of
        true -> Call#{holds := Closed};
        false -> step(confirmed, Call#{holds := Closed})
    end;
apply_event(<<"dlg_end">>, Ts, Body, #{ended := Ended, times := Times} = Call) ->
    Reason = value(<<"stopreason">>, Body),
    Known = Ended#{completion => Reason, released_by => value(<<"stopside">>, Body), is_rec => value(<<"is_rec">>, Body)},
    step(ended, Call#{ended := Known, times := Times#{'end' => Ts}});
apply_event(<<"dlg_stop">>, Ts, Body, #{times := Times} = Call) ->
    EndTs = maps:get('end', Times, Ts),
    ended(value(<<"stopreason">>, Body), EndTs, Body, Call#{bdomain := value(<<"bdomain">>, Body)});
apply_event(<<"call_rec_links">>, _Ts, Body, #{recording := #{links := Links} = Recording} = Call) ->
    Call#{recording := Recording#{state := mixed, links := [value(<<"link">>, Body) | Links], size => value(<<"size">>, Body)}};
apply_event(_Other, _Ts, _Body, Call) ->
    Call.

ended(Completion, Ts, Body, #{ended := Ended, times := Times, holds := Holds} = Call) ->
    Call#{
        state := closed,
        holds := [close_hold(Hold, maps:get(side, Hold), Ts) || Hold <- Holds],
        times := Times#{'end' => Ts},
        ended := Ended#{
            completion => Completion,
            released_by => value(<<"stopside">>, Body),
            sipcode => value(<<"sipcode">>, Body),
            reason => value(<<"reason">>, Body)
        }
    }.

close_hold(#{side := Side, to := null} = Hold, Side, Ts) -> Hold#{to := Ts};
close_hold(Hold, _Side, _Ts) -> Hold.

side(#{<<"xcallid">> := Acallid}, #{acallid := Acallid}) -> a;
side(_Body, _Call) -> b.

at(What, Ts, #{times := Times}) ->
    Times#{What => Ts}.

%% A state is never left for an earlier one, but a held call may go back to its conversation.
step(confirmed, #{state := held} = Call) ->
    Call#{state := confirmed};
step(Next, #{state := State} = Call) ->
    case rank(Next) > rank(State) of
        true -> Call#{state := Next};
        false -> Call
    end.

rank(initiated) -> 0;
rank(routing) -> 1;
rank(calling) -> 2;
rank(early) -> 3;
rank(confirmed) -> 4;
rank(held) -> 5;
rank(ended) -> 6;
rank(closed) -> 7.

%% One look-up per field: a map of twenty binary keys is searched key by key.
value(Key, Body) ->
    case Body of
        #{Key := Value} -> present(Value);
        #{} -> null
    end.

present(<<"empty">>) -> null;
present(<<"undefined">>) -> null;
present(<<"__empty">>) -> null;
present(<<>>) -> null;
present(Value) -> Value.

%% --- the record -----------------------------------------------------------------------------------------------------------

cdr(#{times := Times, holds := Holds, forks := Forks, history := History, invitets := InviteMs} = Call) ->
    AnswerMs = maps:get(answer, Times, null),
    EndMs = maps:get('end', Times, null),
    (maps:without([history, times, state], Call))#{
        schema => 1,
        routing := lists:reverse(maps:get(routing, Call)),
        forks := [Fork#{callid => Callid} || {Callid, Fork} <- maps:to_list(Forks)],
        answer => AnswerMs,
        holds := lists:reverse(Holds),
        durations => #{
            setup_ms => between(InviteMs, AnswerMs),
            ring_ms => between(maps:get(ring, Times, null), AnswerMs),
            talk_ms => between(AnswerMs, EndMs),
            hold_ms => lists:sum([between(From, To) || #{from := From, to := To} <- Holds, To =/= null]),
            total_ms => between(InviteMs, EndMs)
        },
        completeness => #{events => length(History)}
    }.

between(From, To) when is_integer(From), is_integer(To) -> To - From;
between(_From, _To) -> null.
