%%% Behaviour: asks the owners of dialogs whether they still serve them. Set with `{probe, Module}'.
%%%
%%% probe/1 runs in a process of its own on the active node and has `probe_timeout_ms'. It gets at most 500 dialogs. A
%%% dialog without an answer, and all of them after a crash or too long a time, are `unknown', which is never held to be
%%% death. `gone' is to be said by who must know; twice in a row it ends the dialog.
-module(era_callstore_probe).

-export_type([dialog/0, answer/0]).

%% `dialogid' of a call that has no dialog yet is its cid; `owner' is undefined where none was named.
-type dialog() :: #{dialogid := binary(), owner := era_callstore_owner:owner() | undefined}.
-type answer() :: alive | gone | unknown.

-callback probe([dialog()]) -> [{DialogId :: binary(), answer()}].
