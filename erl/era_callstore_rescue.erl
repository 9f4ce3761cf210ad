%%% Behaviour: a chance to restore a conversation before its dialog is declared dead. Set with `{rescue, Module}'.
%%%
%%% rescue/1 runs in a process of its own on the active node and has the limit `rescue_ms' of the setting `watch'. It is
%%% asked once for a conversation whose owner is gone or has lost it. {ok, NewOwner}: the call lives on under that owner,
%%% and says so (`rescued' in its record).
-module(era_callstore_rescue).

-export_type([dialog/0]).

-type dialog() :: #{cid := binary(), dialogid := binary(), owner := era_callstore_owner:owner() | undefined}.

-callback rescue(dialog()) -> {ok, NewOwner :: era_callstore_owner:owner()} | {error, Reason :: term()}.
