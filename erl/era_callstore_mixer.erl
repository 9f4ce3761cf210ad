%%% Behaviour: has the recording of a dead dialog mixed. Set with `{mixer, Module}'.
%%%
%%% mix/1 runs in a process of its own on the active node and has `mixer_timeout_ms'. `ok' says that the job is in
%%% safety; after anything else it is given again, with growing pauses, also by the next active instance. So it may come
%%% twice: make it idempotent by `cid'.
-module(era_callstore_mixer).

-export_type([job/0]).

%% Binary keys, null where it was never said: cid, connectionid, invitets, acallid, bcallid, dialogid; mgctxid,
%% mgcgroup, srcfile, mgcpath, the latest; sources, a list of one map a media context, in order of use: `from' (ms since
%% 1970 UTC) and what was said of it (mgctxid, mgcgroup, srvidx, srcfile, mgcpath …); domains, a list of one map a
%% domain: `domain', `wanted' and what its rule said (dir, fromnum, tonum, crossdomain, isrec, recruleid, storage,
%% speech …); start and end (ms since 1970 UTC); attempt (from 1). Fields of the platform that callstore does not know
%% are in there as they came.
-type job() :: #{binary() => term()}.

-callback mix(job()) -> ok | {error, Reason :: term()}.
