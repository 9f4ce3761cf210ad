%%% Commands of the operating system, for suites that look at the project from outside.
%%% Always holds: a command that was started is ended when its time is over or its starter dies. Called by: the suites.
-module(os_command).

-export([run/4, start/3, stop/1, repository/0]).
-export_type([running/0]).

-type running() :: {port(), OsPid :: non_neg_integer()}.

%% @doc Runs a command to its end; what it printed, on both channels, and its exit status.
-spec run(Dir :: string(), [string()], Env :: [{string(), string() | false}], TimeoutMs :: pos_integer()) ->
    {ExitStatus :: non_neg_integer() | timeout, Output :: string()}.
run(Dir, Command, Env, TimeoutMs) ->
    {Port, _} = Running = start(Dir, Command, Env),
    Timer = erlang:start_timer(TimeoutMs, self(), over),
    Result = collect(Port, Timer, []),
    _ = erlang:cancel_timer(Timer),
    case Result of
        {timeout, _} -> stop(Running);
        _ -> ok
    end,
    Result.

collect(Port, Timer, Output) ->
    receive
        {Port, {data, Bytes}} -> collect(Port, Timer, [Output, Bytes]);
        {Port, {exit_status, Status}} -> {Status, text(Output)};
        {timeout, Timer, over} -> {timeout, text(Output)}
    end.

text(Output) ->
    Bytes = iolist_to_binary(Output),
    case unicode:characters_to_list(Bytes) of
        Text when is_list(Text) -> Text;
        _ -> binary_to_list(Bytes)
    end.

%% @doc Starts a command; its output and exit status come as messages of the port.
-spec start(Dir :: string(), [string()], Env :: [{string(), string() | false}]) -> running().
start(Dir, [Program | Arguments], Env) ->
    Path =
        case filename:pathtype(Program) of
            absolute -> Program;
            _ -> os:find_executable(Program)
        end,
    Port = open_port({spawn_executable, Path}, [
        {args, Arguments}, {cd, Dir}, {env, Env}, binary, exit_status, stderr_to_stdout, use_stdio, hide
    ]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    {Port, OsPid}.

%% @doc Ends a command the hard way, if it still runs.
-spec stop(running()) -> ok.
stop({Port, OsPid}) ->
    case erlang:port_info(Port) of
        undefined ->
            ok;
        _ ->
            _ = os:cmd("kill -9 " ++ integer_to_list(OsPid)),
            catch port_close(Port),
            ok
    end.

%% @doc The root folder of the repository that this module was built in.
-spec repository() -> string().
repository() -> upwards(filename:dirname(filename:absname(code:which(?MODULE)))).

upwards(Folder) ->
    case filelib:is_regular(filename:join(Folder, "Cargo.lock")) of
        true -> Folder;
        false when Folder =/= "/" -> upwards(filename:dirname(Folder))
    end.
