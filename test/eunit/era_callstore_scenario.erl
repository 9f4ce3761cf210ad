%%% Reads the files of test/scenarios/, writes their short hand out as events, and holds what came out against what they
%%% expect. test/scenarios/README.md describes the format; the Rust tests read the same files.
%%%
%%% Always holds: what a file says is used or refused, never passed over.
%%% Called by: the tests that play scenarios. Must never: know the application, except for its JSON reader.
-module(era_callstore_scenario).

-export([folder/0, names/0, load/1, event/2, fill/3, differences/3, order/2]).
-export_type([scenario/0, given/0]).

-type scenario() :: #{
    title := binary(),
    variants := [binary()],
    base := integer(),
    settings := map(),
    calls := map(),
    steps := [map()],
    shorthand := map()
}.
%% An event of a file: its place, and by how many ms it is moved on.
-type given() :: #{spec := map(), step := pos_integer(), index := pos_integer(), shift := integer()}.

-define(KEYS, [<<"title">>, <<"as">>, <<"variants">>, <<"base">>, <<"settings">>, <<"calls">>, <<"steps">>]).
-define(RESERVED, [<<"call">>, <<"at">>, <<"type">>, <<"fork">>, <<"id">>, <<"sets">>, <<"owner">>]).
-define(USUAL_VARIANTS, [<<"as given">>, <<"twice">>, <<"split">>]).

-spec folder() -> file:filename().
folder() ->
    filename:join(root(filename:dirname(filename:absname(code:which(?MODULE)))), "test/scenarios").

%% Tests run from below _build; the project is where the scenarios are.
root("/") -> error(no_scenarios);
root(Dir) ->
    case filelib:is_regular(filename:join(Dir, "test/scenarios/shorthand.json")) andalso not in_build(Dir) of
        true -> Dir;
        false -> root(filename:dirname(Dir))
    end.

in_build(Dir) -> lists:member("_build", filename:split(Dir)).

-spec names() -> [string()].
names() ->
    lists:sort([Name || [First | _] = Name <- filelib:wildcard("*.json", folder()), First >= $0, First =< $9]).

-spec load(string()) -> scenario().
load(Name) ->
    Own = read(Name),
    [] = maps:keys(maps:without(?KEYS, Own)),
    Told =
        case Own of
            #{<<"as">> := Other} -> read(binary_to_list(Other));
            #{} -> Own
        end,
    Shorthand = read("shorthand.json"),
    #{
        title => maps:get(<<"title">>, Own),
        variants => maps:get(<<"variants">>, Own, ?USUAL_VARIANTS),
        base => maps:get(<<"base">>, Told, maps:get(<<"base">>, Shorthand)),
        settings => maps:get(<<"settings">>, Told, #{}),
        calls => maps:get(<<"calls">>, Told, #{}),
        steps => maps:get(<<"steps">>, Told),
        shorthand => Shorthand
    }.

read(Name) ->
    {ok, Text} = file:read_file(filename:join(folder(), Name)),
    {ok, Term} = era_callstore_nif:json_decode(Text),
    Term.

%% @doc The event as a producer gives it.
-spec event(scenario(), given()) -> term().
event(Scenario, #{spec := #{<<"raw">> := Raw}} = Given) ->
    monsters(fill(Scenario, Raw, {<<"1">>, Given}));
event(#{shorthand := Shorthand} = Scenario, #{spec := Spec} = Given) ->
    Call = label(maps:get(<<"call">>, Spec, 1)),
    #{<<"type">> := Type} = Spec,
    #{<<"sets">> := AllSets, <<"types">> := Types, <<"envelope">> := Envelope} = Shorthand,
    [Usual, Own] = maps:get(Type, Types, [none, #{}]),
    Sets = maps:get(<<"sets">>, Spec, Usual),
    Fields = lists:foldl(fun(Set, Acc) -> maps:merge(Acc, maps:get(Set, AllSets)) end, #{}, Sets),
    Said = maps:without(?RESERVED, Spec),
    Data = maps:merge(maps:merge(Fields, Own), Said),
    fill(Scenario, Envelope#{<<"data">> => Data}, {Call, Given}).

%% @doc A value with its names and times put in, for a call or for an event of a call.
-spec fill(scenario(), term(), binary() | {Call :: binary(), given() | none}) -> term().
fill(Scenario, Value, Call) when is_binary(Call) -> fill(Scenario, Value, {Call, none});
fill(Scenario, Text, Of) when is_binary(Text) -> fill_text(Scenario, Text, Of);
fill(Scenario, List, Of) when is_list(List) -> [fill(Scenario, Value, Of) || Value <- List];
fill(Scenario, Map, Of) when is_map(Map) ->
    maps:from_list([{fill_text(Scenario, K, Of), fill(Scenario, V, Of)} || {K, V} <- maps:to_list(Map)]);
fill(_Scenario, Scalar, _Of) -> Scalar.

fill_text(#{base := Base} = Scenario, <<"@", Rest/binary>> = Text, Of) ->
    try
        Base + binary_to_integer(Rest)
    catch
        error:badarg -> fill_names(Scenario, Text, Of)
    end;
fill_text(Scenario, Text, Of) ->
    fill_names(Scenario, Text, Of).

fill_names(Scenario, Text, Of) ->
    case re:run(Text, <<"^(.*?)\\{([^{}]*)\\}(.*)$">>, [{capture, all_but_first, binary}, dotall]) of
        nomatch -> Text;
        {match, [<<>>, Name, <<>>]} -> value(Scenario, Name, Of);
        {match, [Before, Name, Behind]} ->
            Rest = fill_names(Scenario, Behind, Of),
            iolist_to_binary([Before, label(value(Scenario, Name, Of)), label(Rest)])
    end.

value(Scenario, Name, {Call, Given} = Of) ->
    case binary:split(Name, <<".">>) of
        [Other, Rest] -> value(Scenario, Rest, {Other, none});
        [Name] -> named(Name, Scenario, Call, Given, Of)
    end.

named(<<"n">>, _, Call, _, _) -> pad(Call, 2);
named(<<"n12">>, _, Call, _, _) -> pad(Call, 12);
named(<<"invitets">>, #{base := Base} = Scenario, Call, _, _) ->
    Base + maps:get(<<"invite_at">>, own(Scenario, Call), 0);
named(<<"auser">>, Scenario, _, _, Of) -> part(1, <<"a">>, Scenario, Of);
named(<<"adomain">>, Scenario, _, _, Of) -> part(2, <<"a">>, Scenario, Of);
named(<<"buser">>, Scenario, _, _, Of) -> part(1, <<"b">>, Scenario, Of);
named(<<"bdomain">>, Scenario, _, _, Of) -> part(2, <<"b">>, Scenario, Of);
named(<<"fork">>, _, _, #{spec := #{<<"fork">> := Fork}}, _) -> Fork;
named(<<"device">>, Scenario, Call, _, Of) ->
    Fork = value(Scenario, <<"fork">>, Of),
    case maps:get(<<"forks">>, own(Scenario, Call), #{}) of
        #{Fork := Device} -> Device;
        #{} -> value(Scenario, <<"b">>, Of)
    end;
named(<<"type">>, _, _, #{spec := #{<<"type">> := Type}}, _) -> Type;
named(<<"eventts">>, #{base := Base}, _, #{spec := #{<<"at">> := At}, shift := Shift}, _) -> Base + At + Shift;
named(<<"eventid">>, _, _, #{spec := #{<<"id">> := Id}}, _) -> Id;
named(<<"eventid">>, _, _, #{step := Step, index := Index}, _) ->
    iolist_to_binary(io_lib:format("e0000000-0000-4000-8000-~4..0b~8..0b", [Step, Index]));
named(Name, #{shorthand := #{<<"call">> := Usual}} = Scenario, Call, _, Of) ->
    fill(Scenario, maps:get(Name, maps:merge(Usual, own(Scenario, Call))), Of).

own(#{calls := Calls}, Call) -> maps:get(Call, Calls, #{}).

part(N, Name, Scenario, Of) ->
    lists:nth(N, binary:split(value(Scenario, Name, Of), <<"@">>)).

pad(Call, Width) ->
    iolist_to_binary(string:pad(Call, Width, leading, $0)).

label(Text) when is_binary(Text) -> Text;
label(Number) when is_integer(Number) -> integer_to_binary(Number).

%% Values that no file should hold.
monsters(#{<<"$repeat">> := [Text, Times]}) -> binary:copy(Text, Times);
monsters(#{<<"$nest">> := Depth}) -> lists:foldl(fun(_, Inner) -> [Inner] end, [], lists:seq(2, Depth));
monsters(#{<<"$bytes">> := Bytes}) -> list_to_binary(Bytes);
monsters(#{<<"$improper">> := List}) -> lists:foldr(fun(X, Rest) -> [X | Rest] end, lists:last(List), lists:droplast(List));
monsters(Map) when is_map(Map) -> maps:map(fun(_, Value) -> monsters(Value) end, Map);
monsters(List) when is_list(List) -> [monsters(Value) || Value <- List];
monsters(Scalar) -> Scalar.

%% @doc Where what came out is not like what is expected; `absent' is what is not there.
-spec differences(Path :: iodata(), Expected :: term(), Actual :: term()) -> [iodata()].
differences(Path, Expected, Actual) when is_map(Expected) ->
    case [Key || <<"$", _/binary>> = Key <- maps:keys(Expected)] of
        [] when is_map(Actual) ->
            lists:append([
                differences([Path, $., Key], Wanted, maps:get(Key, Actual, absent))
             || {Key, Wanted} <- maps:to_list(Expected)
            ]);
        [] ->
            [differs(Path, Expected, Actual)];
        Matchers ->
            case lists:all(fun(M) -> matches(M, maps:get(M, Expected), Actual) end, Matchers) of
                true -> [];
                false -> [differs(Path, Expected, Actual)]
            end
    end;
differences(Path, Expected, Actual) when is_list(Expected), is_list(Actual), length(Expected) =:= length(Actual) ->
    Numbered = lists:zip3(lists:seq(0, length(Expected) - 1), Expected, Actual),
    lists:append([differences([Path, $[, integer_to_list(N), $]], E, A) || {N, E, A} <- Numbered]);
differences(_Path, Same, Same) ->
    [];
differences(Path, Expected, Actual) ->
    [differs(Path, Expected, Actual)].

differs(Path, Expected, Actual) ->
    io_lib:format("~ts: wants ~0tp, is ~0tp", [Path, Expected, Actual]).

matches(<<"$some">>, Wanted, Actual) ->
    is_list(Actual) andalso lists:any(fun(Element) -> differences("", Wanted, Element) =:= [] end, Actual);
matches(<<"$all">>, Wanted, Actual) ->
    lists:all(fun(One) -> matches(<<"$some">>, One, Actual) end, Wanted);
matches(<<"$at_least">>, Wanted, Actual) -> is_integer(Actual) andalso Actual >= Wanted;
matches(<<"$at_most">>, Wanted, Actual) -> is_integer(Actual) andalso Actual =< Wanted;
matches(<<"$any">>, true, Actual) -> Actual =/= null andalso Actual =/= absent.

%% @doc The list in the order of this number, of all orders there are.
-spec order(non_neg_integer(), [T]) -> [T].
order(_Number, []) ->
    [];
order(Number, List) ->
    {Before, [Picked | After]} = lists:split(Number rem length(List), List),
    [Picked | order(Number div length(List), Before ++ After)].
