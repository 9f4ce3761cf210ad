%%% The random run (random_run): RANDOM_MINUTES of it, 5 unless said otherwise, with RANDOM_SEED when that is said.
-module(random_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([all/0, suite/0]).
-export([nothing_acknowledged_is_lost_whatever_happens_to_three_nodes/1]).

-define(MINUTES, 5).

suite() -> [{timetrap, {minutes, minutes() + 10}}].

all() -> [nothing_acknowledged_is_lost_whatever_happens_to_three_nodes].

nothing_acknowledged_is_lost_whatever_happens_to_three_nodes(Config) ->
    Seed = number("RANDOM_SEED", erlang:phash2(os:timestamp(), 1000000000)),
    ct:pal("random run of ~b minutes; again with RANDOM_SEED=~b", [minutes(), Seed]),
    Done = random_run:run(#{
        dir => filename:join(?config(priv_dir, Config), "nodes"),
        seed => Seed,
        length_ms => minutes() * 60000,
        prevent_overlapping => Seed rem 2 =:= 0,
        commit => transaction
    }),
    ct:pal("done ~p", [Done]).

minutes() -> number("RANDOM_MINUTES", ?MINUTES).

number(Variable, Default) ->
    case os:getenv(Variable) of
        Unset when Unset =:= false; Unset =:= "" -> Default;
        Text -> list_to_integer(Text)
    end.
