%%% A mixer that does what a file in its spool folder says, and writes each thing it was asked there, so that what it
%%% was told outlives the node that told it.
%%%
%%%   mode      take | refuse | hang: what it does, read each time
%%%   asked     a term a line: {Node, Cid, Attempt}
%%%   taken     a term a line, of the jobs that it took
%%% Called by: mix_SUITE (mode/2, asked/1, taken/1), and inside nodes by the application (mix/1).
%%% Must never: take a job that it does not write.
-module(watch_mixer).
-behaviour(era_callstore_mixer).

-export([mode/2, asked/1, taken/1, mix/1]).

-spec mode(file:filename(), take | refuse | hang) -> ok.
mode(Spool, Mode) ->
    ok = filelib:ensure_path(Spool),
    File = filename:join(Spool, "mode"),
    ok = file:write_file(File ++ ".part", atom_to_list(Mode)),
    file:rename(File ++ ".part", File).

%% @doc Everything that it was asked, in order.
-spec asked(file:filename()) -> [{node(), Cid :: binary(), Attempt :: pos_integer()}].
asked(Spool) -> lines(filename:join(Spool, "asked")).

%% @doc The jobs that it took.
-spec taken(file:filename()) -> [{node(), Cid :: binary(), era_callstore_mixer:job()}].
taken(Spool) -> lines(filename:join(Spool, "taken")).

lines(File) ->
    case file:consult(File) of
        {ok, Terms} -> Terms;
        {error, enoent} -> []
    end.

-spec mix(era_callstore_mixer:job()) -> ok | {error, busy}.
mix(#{<<"cid">> := Cid, <<"attempt">> := Attempt} = Job) ->
    Spool = os:getenv("CALLSTORE_SPOOL"),
    {ok, Mode} = file:read_file(filename:join(Spool, "mode")),
    ok = append(filename:join(Spool, "asked"), {node(), Cid, Attempt}),
    case Mode of
        <<"take">> -> append(filename:join(Spool, "taken"), {node(), Cid, Job});
        <<"refuse">> -> {error, busy};
        <<"hang">> -> receive after infinity -> ok end
    end.

append(File, Term) -> file:write_file(File, io_lib:format("~0tp.~n", [Term]), [append]).
