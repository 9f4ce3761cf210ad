%%% Who owns a dialog, as role code says it and as it stands in events: the two forms of one thing.
%%%
%%% Always holds: from_binary(to_binary(Owner)) =:= {ok, Owner}; the text form is printable.
%%% Called by: the put path, queries, jobs, and the watch of owners.
%%% Must never: create an atom from outside. from_log/1 creates those of owners in the log, where only role code can
%%% have named them, as atoms of its own.
-module(era_callstore_owner).

-export([to_binary/1, from_binary/1, from_log/1, node_of/1]).
-export_type([owner/0]).

-type owner() :: pid() | {Name :: atom(), node()} | node() | {external, binary()}.

%% @doc The text form; `error' when the term names no owner.
-spec to_binary(owner() | term()) -> {ok, binary()} | error.
to_binary(Pid) when is_pid(Pid) ->
    {ok, <<"pid:", (base64:encode(term_to_binary(Pid)))/binary>>};
to_binary({external, Id}) when is_binary(Id), Id =/= <<>> ->
    case unicode:characters_to_binary(Id) of
        Id -> {ok, <<"external:", Id/binary>>};
        _ -> error
    end;
to_binary({Name, Node}) when is_atom(Name), is_atom(Node) ->
    {ok, <<"name:", (atom_to_binary(Name))/binary, " ", (atom_to_binary(Node))/binary>>};
to_binary(Node) when is_atom(Node), Node =/= undefined ->
    {ok, <<"node:", (atom_to_binary(Node))/binary>>};
to_binary(_) ->
    error.

%% @doc The Erlang form; `error' when the text is none of ours or names what this node has never heard of.
-spec from_binary(binary()) -> {ok, owner()} | error.
from_binary(<<"pid:", Encoded/binary>>) ->
    try binary_to_term(base64:decode(Encoded), [safe]) of
        Pid when is_pid(Pid) -> {ok, Pid};
        _ -> error
    catch
        error:_ -> error
    end;
from_binary(<<"external:", Id/binary>>) when Id =/= <<>> ->
    {ok, {external, Id}};
from_binary(<<"name:", Rest/binary>>) ->
    case binary:split(Rest, <<" ">>) of
        [Name, Node] -> known(fun() -> {binary_to_existing_atom(Name), binary_to_existing_atom(Node)} end);
        _ -> error
    end;
from_binary(<<"node:", Node/binary>>) ->
    known(fun() -> binary_to_existing_atom(Node) end);
from_binary(_) ->
    error.

%% @doc The Erlang form of an owner that the log names, also where this node has not heard of its node since it started.
-spec from_log(binary()) -> {ok, owner()} | error.
from_log(Text) ->
    case from_binary(Text) of
        {ok, Owner} -> {ok, Owner};
        error -> new(Text)
    end.

new(<<"pid:", Encoded/binary>>) ->
    try binary_to_term(base64:decode(Encoded)) of
        Pid when is_pid(Pid) -> {ok, Pid};
        _ -> error
    catch
        error:_ -> error
    end;
new(<<"name:", Rest/binary>>) ->
    case binary:split(Rest, <<" ">>) of
        [Name, Node] -> known(fun() -> {binary_to_atom(Name), binary_to_atom(Node)} end);
        _ -> error
    end;
new(<<"node:", Node/binary>>) when Node =/= <<>> ->
    known(fun() -> binary_to_atom(Node) end);
new(_) ->
    error.

%% @doc The node that an owner is on; `none' for one outside of Erlang.
-spec node_of(owner()) -> node() | none.
node_of({external, _}) -> none;
node_of(Pid) when is_pid(Pid) -> node(Pid);
node_of({_Name, Node}) -> Node;
node_of(Node) -> Node.

known(Fun) ->
    try
        {ok, Fun()}
    catch
        error:badarg -> error;
        error:system_limit -> error
    end.
