%%% Filters as callers give them: checked, and turned into what the core and the collections take. Pure.
%%%
%%% Always holds: what gets past this module is of the right types; anything else raises badarg with the key in words.
%%% Called by: era_callstore.
%%% Must never: drop a key that it does not know.
-module(era_callstore_filter).

-export([live/2, kept/3, is_text/1]).

%% @doc A filter of live calls, the first of the arguments.
-spec live(era_callstore_errors:call(), era_callstore:filter() | term()) -> map().
live(Call, Filter) -> checked(Call, 1, Filter, fun live/1).

%% @doc A filter of what the sink `collection' keeps, argument number Place.
-spec kept(era_callstore_errors:call(), Place :: pos_integer(), era_callstore:filter() | term()) -> map().
kept(Call, Place, Filter) -> checked(Call, Place, Filter, fun kept/1).

checked(Call, Place, Filter, Check) when is_map(Filter) ->
    maps:map(
        fun(Key, Value) ->
            case Check({Key, Value}) of
                {ok, Checked} -> Checked;
                {wanted, Text} -> era_callstore_errors:badarg(Call, Place, io_lib:format("~tp: ~ts", [Key, Text]))
            end
        end,
        Filter
    );
checked(Call, Place, _Filter, _Check) ->
    era_callstore_errors:badarg(Call, Place, "a map is wanted").

live({Key, Value}) when Key =:= user; Key =:= number; Key =:= binding -> text(Value);
live({state, Value}) ->
    Name = case is_atom(Value) of true -> atom_to_binary(Value); false -> Value end,
    case lists:member(Name, states()) of
        true -> {ok, Name};
        false -> {wanted, ["one of ", lists:join(", ", states()), " is wanted"]}
    end;
live({owner, Value}) ->
    case era_callstore_owner:to_binary(Value) of
        {ok, Binary} -> {ok, Binary};
        error -> {wanted, "a pid, {Name, Node}, a node or {external, Binary} is wanted"}
    end;
live({group, Value}) when is_integer(Value), Value > 0 -> {ok, Value};
live({group, _}) -> {wanted, "the number of a group is wanted"};
live(Other) -> kept(Other).

kept({domain, Value}) -> text(Value);
kept({subtree, Value}) when is_boolean(Value) -> {ok, Value};
kept({subtree, _}) -> {wanted, "true or false is wanted"};
kept({since_ms, Value}) when is_integer(Value) -> {ok, Value};
kept({since_ms, _}) -> {wanted, "an integer, ms since 1970 UTC, is wanted"};
kept({_, _}) -> {wanted, "there is no such key in this filter"}.

text(Value) ->
    case is_text(Value) of
        true -> {ok, Value};
        false -> {wanted, "a binary in UTF-8 is wanted"}
    end.

%% @doc Whether the core takes it for text.
-spec is_text(term()) -> boolean().
is_text(Value) -> is_binary(Value) andalso unicode:characters_to_binary(Value) =:= Value.

states() ->
    [
        <<"initiated">>, <<"routing">>, <<"calling">>, <<"early">>, <<"confirmed">>, <<"held">>, <<"ended">>, <<"dead">>,
        <<"closed">>
    ].
