%% What: turns the values of all runs into figures, prints them as a table and writes them as JSON.
%% Holds: a figure that was not measured does not appear; a figure without a peer has null where the peer's would stand.
%%        `ratio` says how many times better ours is than the peer, for rates and for times alike.
%% Callers: bench_main. Never measures.
-module(bench_figures).

-export([figure/2, print/1, write/3]).

-export_type([figure/0, description/0]).

%% What a case says of one of its figures before it is measured.
-type description() :: #{
    name := atom(),
    unit := binary(),
    better := bench_stat:better(),
    peer => binary(),
    note => binary()
}.
-type figure() :: #{
    name := atom(),
    unit := binary(),
    median := number(),
    min := number(),
    max := number(),
    runs := pos_integer(),
    peer := binary() | null,
    peer_median := number() | null,
    ratio := number() | null,
    note := binary()
}.

%% One figure out of the values of its runs, each alone or beside the value of the peer.
-spec figure(description(), [number() | {number(), number()}, ...]) -> figure().
figure(#{name := Name, unit := Unit} = Description, Values) ->
    {Ours, Peers} = lists:unzip([pair(Value) || Value <- Values]),
    Base = (bench_stat:summary(Ours))#{name => Name, unit => Unit, note => maps:get(note, Description, <<>>)},
    maps:merge(Base, peer(Description, maps:get(median, Base), Peers)).

pair({Ours, Peer}) -> {Ours, Peer};
pair(Ours) -> {Ours, none}.

peer(#{peer := Peer, better := Better}, Ours, [First | _] = Peers) when First =/= none ->
    Median = bench_stat:median(Peers),
    #{peer => Peer, peer_median => Median, ratio => bench_stat:ratio(Better, Ours, Median)};
peer(#{}, _Ours, _Peers) ->
    #{peer => null, peer_median => null, ratio => null}.

%% Prints all figures as one table.
-spec print([figure()]) -> ok.
print(Figures) ->
    Head = ["name", "median", "min-max", "unit", "runs", "peer", "peer median", "ratio", "measured with"],
    Rows = [Head | [row(Figure) || Figure <- Figures]],
    Widths = lists:foldl(fun widest/2, [0 || _ <- Head], Rows),
    io:format("~n~ts", [[[cells(Row, Widths), $\n] || Row <- Rows]]).

widest(Row, Widths) ->
    lists:zipwith(fun(Cell, Width) -> max(string:length(Cell), Width) end, Row, Widths).

cells(Row, Widths) ->
    Padded = lists:zipwith(fun(Cell, Width) -> string:pad(Cell, Width) end, Row, Widths),
    string:trim(lists:flatten(lists:join("  ", Padded)), trailing).

row(#{name := Name, median := Median, min := Min, max := Max, unit := Unit, runs := Runs, note := Note} = Figure) ->
    #{peer := Peer, peer_median := PeerMedian, ratio := Ratio} = Figure,
    [
        atom_to_list(Name),
        number(Median),
        number(Min) ++ "-" ++ number(Max),
        text(Unit),
        integer_to_list(Runs),
        text(Peer),
        number(PeerMedian),
        case Ratio of
            null -> "";
            _ -> "x" ++ number(Ratio)
        end,
        text(Note)
    ].

text(null) -> "";
text(Text) -> unicode:characters_to_list(Text).

number(null) -> "";
number(N) when abs(N) >= 1000 -> grouped(integer_to_list(round(N)));
number(N) when abs(N) >= 100 -> integer_to_list(round(N));
number(N) when is_integer(N) -> integer_to_list(N);
number(N) -> float_to_list(float(N), [{decimals, 2}]).

grouped(Digits) when length(Digits) > 3 ->
    {Head, Tail} = lists:split(length(Digits) - 3, Digits),
    grouped(Head) ++ "," ++ Tail;
grouped(Digits) ->
    Digits.

%% Writes the figures as one JSON object, name to figure. With `update` the figures of earlier runs that were not
%% measured again stay in the file; with `replace` the file holds this run only.
-spec write(file:filename(), [figure()], update | replace) -> ok.
write(File, Figures, Mode) ->
    ok = filelib:ensure_dir(File),
    Fresh = [{atom_to_binary(Name), json(Figure)} || #{name := Name} = Figure <- Figures],
    All = lists:ukeysort(1, Fresh ++ earlier(File, Mode)),
    Lines = [[era_callstore_nif:json_encode(Name), ": ", era_callstore_nif:json_encode(Figure)] || {Name, Figure} <- All],
    ok = file:write_file(File, ["{\n", lists:join(",\n", Lines), "\n}\n"]).

json(Figure) ->
    maps:fold(fun(Key, Value, Acc) -> Acc#{atom_to_binary(Key) => Value} end, #{}, maps:without([name], Figure)).

earlier(_File, replace) ->
    [];
earlier(File, update) ->
    case file:read_file(File) of
        {ok, Text} ->
            {ok, Figures} = era_callstore_nif:json_decode(Text),
            maps:to_list(Figures);
        {error, enoent} ->
            []
    end.
