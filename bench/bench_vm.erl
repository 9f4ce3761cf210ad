%% What: fresh Erlang VMs for the measurements: each run of each side starts in a VM of its own, with an empty data folder, so no run
%%       inherits heap, tables, code or log of another.
%% Holds: a VM ends with the process that started it; its folder is removed before it starts and after with/2.
%% Callers: the cases. The controlling VM does nothing while the others measure.
-module(bench_vm).

-export([with/2, start/1, stop/1, kill/1, call/4, node_of/1, os_pid/1, folder/1, keep_folder/1]).

-export_type([vm/0, options/0]).

-record(vm, {peer :: pid(), node :: node(), os_pid :: string(), folder :: file:filename()}).

-opaque vm() :: #vm{}.
%% `folder`: name below _build/bench/run; `name`: makes the VM a distributed node of that name.
-type options() :: #{folder := string(), name => atom(), reuse => boolean()}.

-define(RUN_DIR, "_build/bench/run").

%% Starts a VM, gives it to Body and takes it down whatever happens.
-spec with(options(), fun((vm()) -> Result)) -> Result.
with(Options, Body) ->
    VM = start(Options),
    try
        Body(VM)
    after
        stop(VM),
        ok = keep_none(folder(VM))
    end.

%% Starts a VM that can multiply the events. `reuse` keeps what a former VM left in the folder.
-spec start(options()) -> vm().
start(#{folder := Name} = Options) ->
    Folder = filename:absname(filename:join(?RUN_DIR, Name)),
    _ = [ok = keep_none(Folder) || not maps:get(reuse, Options, false)],
    ok = filelib:ensure_path(Folder),
    {ok, Peer, Node} = peer:start(maps:merge(names(Options), #{connection => 0, args => arguments(), wait_boot => 60_000})),
    VM = #vm{peer = Peer, node = Node, os_pid = peer:call(Peer, os, getpid, []), folder = Folder},
    ok = call(VM, bench_events, use, [persistent_term:get(bench_events)]),
    VM.

names(#{name := Name}) ->
    #{name => Name, host => "127.0.0.1", longnames => true};
names(#{}) ->
    #{}.

%% The paths of this VM, and quiet logging: progress belongs to the controlling VM. Prepared events are literals, for which the
%% default area of 1 GB is too small. Schedulers that find nothing to do sleep at once, as the README advises for a release.
arguments() ->
    Paths = [filename:absname(Path) || Path <- code:get_path(), not lists:prefix(code:lib_dir(), Path), Path =/= "."],
    Sleep = ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"],
    ["+MIscs", "8192"] ++ Sleep ++ ["-pa" | Paths] ++ ["-setcookie", "bench", "-connect_all", "true", "-kernel", "logger_level", "error"].

%% Ends a VM the quick way; nothing of it is needed any more.
-spec stop(vm()) -> ok.
stop(#vm{peer = Peer} = VM) ->
    case is_process_alive(Peer) of
        true -> kill(VM);
        false -> ok
    end.

%% SIGKILL, and waits until the process is gone: it loses its connection before its memory.
-spec kill(vm()) -> ok.
kill(#vm{peer = Peer, os_pid = OsPid}) ->
    Ref = monitor(process, Peer),
    [] = os:cmd("kill -9 " ++ OsPid),
    receive
        {'DOWN', Ref, process, Peer, _} -> ok
    end,
    bench_case:until(fun() -> not filelib:is_dir("/proc/" ++ OsPid) end, 60).

%% Calls a function in the VM and waits for it as long as it takes.
-spec call(vm(), module(), atom(), [term()]) -> term().
call(#vm{peer = Peer}, Module, Function, Args) ->
    peer:call(Peer, Module, Function, Args, infinity).

-spec node_of(vm()) -> node().
node_of(#vm{node = Node}) -> Node.

-spec os_pid(vm()) -> string().
os_pid(#vm{os_pid = OsPid}) -> OsPid.

%% The data folder of the VM.
-spec folder(vm()) -> file:filename().
folder(#vm{folder = Folder}) -> Folder.

%% The options that start the next VM on the same data.
-spec keep_folder(options()) -> options().
keep_folder(Options) -> Options#{reuse => true}.

keep_none(Folder) ->
    case file:del_dir_r(Folder) of
        ok -> ok;
        {error, enoent} -> ok
    end.
