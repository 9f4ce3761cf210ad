%%% Behaviour: has the recording of a dead dialog mixed. Set with `{mixer, Module}'.
%%%
%%% mix/1 runs in a process of its own on the active node and has `mixer_timeout_ms'. `ok' says that the job is in
%%% safety; after anything else it is given again, with growing pauses, also by the next active instance. So it may come
%%% twice: make it idempotent by `cid'.
-module(era_callstore_mixer).

-export_type([job/0]).

%% Binary keys: cid, dialogid, mgctxid, mgcgroup, srcfile, mgcpath (binaries or null), domains, a list of
%% `#{<<"domain">>, <<"wanted">>}', start and end (ms since 1970 UTC, or null), attempt (from 1).
-type job() :: #{binary() => term()}.

-callback mix(job()) -> ok | {error, Reason :: term()}.
