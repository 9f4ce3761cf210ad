%%% Filters as callers give them: checked, and turned into what the core and the collections take. Pure.
%%%
%%% Always holds: what gets past this module is of the right types; anything else raises badarg with the key in words.
%%% Called by: era_callstore, and era_callstore_handler for its settings.
%%% Must never: drop a key that it does not know.
-module(era_callstore_filter).

-export([live/2, kept/3, heard/1, subscribed/2, is_text/1]).

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

%% @doc Which events out are wanted, for the core: all when nothing is said.
-spec heard(map() | term()) -> {ok, era_callstore_nif:wanted()} | {wanted, Key :: term(), iodata()}.
heard(Filter) when is_map(Filter) -> heard(maps:to_list(Filter), #{events => all});
heard(Filter) -> {wanted, Filter, "a map with `events' and `domain' is wanted"}.

heard([], Wanted) ->
    {ok, Wanted};
heard([{events, all} | More], Wanted) ->
    heard(More, Wanted);
heard([{events, Types} | More], Wanted) ->
    case types(Types) of
        {ok, Names} -> heard(More, Wanted#{events := Names});
        error -> {wanted, events, "all or a list of types, atoms or binaries, is wanted"}
    end;
heard([{domain, Domain} | More], Wanted) when is_binary(Domain), Domain =/= <<>> ->
    heard(More, Wanted#{domain => Domain});
heard([{domain, _} | _], _Wanted) ->
    {wanted, domain, "the name of a domain, a binary, is wanted"};
heard([{Key, _} | _], _Wanted) ->
    {wanted, Key, "there is no such key; there are events and domain"}.

types(Types) when is_list(Types) ->
    case length(Types) > 0 andalso lists:all(fun(T) -> is_atom(T) orelse is_binary(T) end, Types) of
        true -> {ok, [case is_atom(T) of true -> atom_to_binary(T); false -> T end || T <- Types]};
        false -> error
    end;
types(_) ->
    error.

%% @doc What is subscribed to, the first of the arguments.
-spec subscribed(era_callstore_errors:call(), map() | term()) ->
    {era_callstore_nif:wanted(), Since :: now | snapshot | non_neg_integer(), Group :: pos_integer() | all}.
subscribed(Call, Options) when is_map(Options) ->
    Since = maps:get(since, Options, now),
    Group = maps:get(group, Options, all),
    case {heard(maps:without([since, group], Options)), since(Since), Group =:= all orelse is_integer(Group)} of
        {{ok, Wanted}, true, true} -> {Wanted, Since, Group};
        {{wanted, Key, Text}, _, _} -> era_callstore_errors:badarg(Call, 1, io_lib:format("~tp: ~ts", [Key, Text]));
        {_, false, _} -> era_callstore_errors:badarg(Call, 1, "since: a sequence number, now or snapshot is wanted");
        {_, _, false} -> era_callstore_errors:badarg(Call, 1, "group: the number of a group is wanted")
    end;
subscribed(Call, _Options) ->
    era_callstore_errors:badarg(Call, 1, "a map is wanted").

since(Since) -> Since =:= now orelse Since =:= snapshot orelse (is_integer(Since) andalso Since >= 0).

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
