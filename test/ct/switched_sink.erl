%%% A sink that is down as long as a file exists: it then refuses to start and every batch. Else it appends the cids of
%%% a batch, with their revisions, to one file that all nodes share.
%%%
%%% Always holds: it looks for nothing that it was given before, so that what comes twice is seen to.
%%% Called by: commit_SUITE, inside nodes.
-module(switched_sink).
-behaviour(era_callstore_sink).

-export([init/2, deliver/2, terminate/2]).
-export([delivered/1]).

-spec init(#{dir := file:filename()}, era_callstore_sink:context()) -> {ok, file:filename()} | {error, down}.
init(#{dir := Dir}, _Context) ->
    case is_down(Dir) of
        true -> {error, down};
        false -> {ok, Dir}
    end.

-spec deliver([era_callstore_sink:item()], file:filename()) ->
    {ok, file:filename()} | {error, down | file:posix(), file:filename()}.
deliver(Batch, Dir) ->
    Lines = [io_lib:format("~s ~b~n", [Cid, Revision]) || #{cid := Cid, revision := Revision} <- Batch],
    case is_down(Dir) of
        true ->
            {error, down, Dir};
        false ->
            case file:write_file(filename:join(Dir, "delivered"), Lines, [append]) of
                ok -> {ok, Dir};
                {error, Reason} -> {error, Reason, Dir}
            end
    end.

-spec terminate(term(), file:filename()) -> ok.
terminate(_Reason, _Dir) -> ok.

is_down(Dir) -> filelib:is_file(filename:join(Dir, "down")).

%% @doc What was delivered, in its order.
-spec delivered(file:filename()) -> [{Cid :: binary(), Revision :: pos_integer()}].
delivered(Dir) ->
    {ok, Lines} = file:read_file(filename:join(Dir, "delivered")),
    [
        begin
            [Cid, Revision] = binary:split(Line, <<" ">>),
            {Cid, binary_to_integer(Revision)}
        end
     || Line <- binary:split(Lines, <<"\n">>, [global, trim_all])
    ].
