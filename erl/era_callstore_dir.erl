%%% The data directory: that it can be written, and that one node has it.
%%%
%%% The claim is the file `era_callstore.owner': one Erlang term, {Node, OsPid, Started}, where Started tells this
%%% start of the process from an earlier one with the same number.
%%% Always holds: of two running nodes at most one has the claim. A claim whose process is gone is taken over.
%%% Called by: era_callstore_schema before it starts Mnesia there, and by the file sink for its folder (writable/1).
%%% Must never: remove or change anything but its own two files.
-module(era_callstore_dir).

-export([claim/1, release/1, writable/1, has_schema/1, started/1]).
-export_type([reason/0]).

-type reason() ::
    {dir_not_writable, file:filename(), file:posix() | badarg}
    | {disc_full, file:filename()}
    | {dir_of_node, file:filename(), node()}
    | {dir_held, file:filename(), OsPid :: string()}
    | {schema_spoilt, Path :: file:filename()}.

-define(CLAIM, "era_callstore.owner").
-define(SCHEMA, "schema.DAT").
-define(PROBE, "era_callstore.probe").
%% Enough that a file system with room for an empty file only is found out.
-define(PROBE_BYTES, 65536).

%% @doc Takes the directory for this node; makes it when it is not there.
-spec claim(file:filename()) -> ok | {error, reason()}.
claim(Dir) ->
    era_callstore_steps:do([
        fun() -> writable(Dir) end,
        fun() -> sound(filename:join(Dir, ?SCHEMA)) end,
        fun() -> claim_writable(Dir, filename:join(Dir, ?CLAIM)) end
    ]).

%% Mnesia would try for long and say little. What is empty it writes anew.
sound(Schema) ->
    case filelib:file_size(Schema) =:= 0 orelse dets:is_dets_file(Schema) of
        true -> ok;
        _ -> {error, {schema_spoilt, Schema}}
    end.

%% @doc Gives the directory back, when it is this node's.
-spec release(file:filename()) -> ok.
release(Dir) ->
    Path = filename:join(Dir, ?CLAIM),
    Own = own_claim(),
    case file:consult(Path) of
        {ok, [Own]} -> _ = file:delete(Path), ok;
        _ -> ok
    end.

%% @doc Whether a schema of Mnesia is there: one in use, or one that was made and waits for the first start.
-spec has_schema(file:filename()) -> boolean().
has_schema(Dir) ->
    lists:any(fun(File) -> filelib:is_regular(filename:join(Dir, File)) end, [?SCHEMA, "FALLBACK.BUP"]).

%% @doc Whether files can be made there and hold bytes.
-spec writable(file:filename()) -> ok | {error, reason()}.
writable(Dir) ->
    Probe = filename:join(Dir, ?PROBE),
    Result =
        case filelib:ensure_dir(Probe) of
            ok -> write_probe(Probe);
            {error, _} = Error -> Error
        end,
    _ = file:delete(Probe),
    case Result of
        ok -> ok;
        {error, enospc} -> {error, {disc_full, Dir}};
        {error, edquot} -> {error, {disc_full, Dir}};
        {error, Posix} -> {error, {dir_not_writable, Dir, Posix}}
    end.

write_probe(Probe) ->
    case file:open(Probe, [write, raw, binary]) of
        {ok, Fd} ->
            Written = file:write(Fd, binary:copy(<<0>>, ?PROBE_BYTES)),
            Synced = case Written of ok -> file:datasync(Fd); _ -> Written end,
            Closed = file:close(Fd),
            case Synced of ok -> Closed; _ -> Synced end;
        {error, _} = Error ->
            Error
    end.

claim_writable(Dir, Path) ->
    Own = own_claim(),
    case file:open(Path, [write, exclusive, raw]) of
        {ok, Fd} ->
            Written = file:write(Fd, io_lib:format("~p.~n", [Own])),
            ok = file:close(Fd),
            case Written of ok -> ok; {error, Posix} -> {error, {dir_not_writable, Dir, Posix}} end;
        {error, eexist} ->
            case judge(Dir, file:consult(Path), Own) of
                mine -> ok;
                stale -> _ = file:delete(Path), claim_writable(Dir, Path);
                {error, _} = Error -> Error
            end;
        {error, Posix} ->
            {error, {dir_not_writable, Dir, Posix}}
    end.

%% The folder of another node name is refused even when that node is down: its schema names that node.
judge(_Dir, {ok, [Own]}, Own) ->
    mine;
judge(Dir, {ok, [{Node, _, _} = Claim]}, _Own) when Node =/= node() ->
    case {alive(Claim), has_schema(Dir)} of
        {false, false} -> stale;
        _ -> {error, {dir_of_node, Dir, Node}}
    end;
judge(Dir, {ok, [{_, OsPid, _} = Claim]}, _Own) ->
    case alive(Claim) of
        true -> {error, {dir_held, Dir, OsPid}};
        false -> stale
    end;
judge(_Dir, _Torn, _Own) ->
    stale.

alive({_Node, OsPid, Started}) ->
    case started(OsPid) of
        unknown -> os:find_executable("kill") =/= false andalso os:cmd("kill -0 " ++ OsPid ++ " 2>&1") =:= "";
        Now -> Now =:= Started
    end.

own_claim() ->
    OsPid = os:getpid(),
    {node(), OsPid, started(OsPid)}.

%% @doc When a process of the system began, in clock ticks since boot, with the boot's id; `none' for no such process,
%% `unknown' where the system does not tell (no /proc).
-spec started(OsPid :: string()) -> {Boot :: binary(), Ticks :: binary()} | none | unknown.
started(OsPid) ->
    case {file:read_file("/proc/sys/kernel/random/boot_id"), file:read_file("/proc/" ++ OsPid ++ "/stat")} of
        {{ok, Boot}, {ok, Stat}} ->
            %% The second field is the command in parentheses and may hold anything; the 20th after it is starttime.
            AfterCommand = lists:last(binary:split(Stat, <<")">>, [global])),
            Fields = binary:split(AfterCommand, <<" ">>, [global, trim_all]),
            {string:trim(Boot), lists:nth(20, Fields)};
        {{ok, _}, {error, _}} ->
            none;
        _ ->
            unknown
    end.
