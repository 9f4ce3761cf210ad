%%% An example of a mixer: leaves each job as a file in a spool folder, from where the mixing service takes it.
%%%
%%% Set with `{mixer, callstore_example_mixer}'; the folder is the environment variable CALLSTORE_SPOOL. A job that
%%% comes twice is one file: its name is the cid. The file is there whole or not at all, and on the medium, before `ok'.
-module(callstore_example_mixer).
-behaviour(era_callstore_mixer).

-export([mix/1]).

-spec mix(era_callstore_mixer:job()) -> ok | {error, term()}.
mix(#{<<"cid">> := Cid} = Job) ->
    case os:getenv("CALLSTORE_SPOOL") of
        false -> {error, no_spool};
        Dir -> spool(filename:join(Dir, <<Cid/binary, ".mix">>), io_lib:format("~tp.~n", [Job]))
    end.

spool(File, Text) ->
    Partial = <<File/binary, ".part">>,
    case write(Partial, unicode:characters_to_binary(Text)) of
        ok -> file:rename(Partial, File);
        {error, _} = Error -> Error
    end.

write(File, Bytes) ->
    case file:open(File, [write, raw, binary]) of
        {ok, Handle} ->
            Written = first_error([fun() -> file:write(Handle, Bytes) end, fun() -> file:sync(Handle) end]),
            Closed = file:close(Handle),
            first_error([fun() -> Written end, fun() -> Closed end]);
        {error, _} = Error ->
            Error
    end.

first_error([]) -> ok;
first_error([Step | Steps]) ->
    case Step() of
        ok -> first_error(Steps);
        {error, _} = Error -> Error
    end.
