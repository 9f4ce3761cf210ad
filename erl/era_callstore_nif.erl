%%% The edge to the Rust core: stubs and specs of the native functions, nothing else.
%%%
%%% Always holds: the library in priv/ is of the version named here, or the module does not load. Maps have binary keys
%%% unless a type says otherwise; times are milliseconds since 1970 UTC; reasons are atoms or tuples of atoms.
%%% Called by: the processes of one group (view, writer, ticker, outbox), the put path, configuration and queries.
%%% Must never: decide anything, hold state, or change between two versions of the application (a loaded library
%%% cannot be replaced while the node runs).
-module(era_callstore_nif).

-export([
    check_roles/2, router/2, route/2,
    encode/3, encode_dirty/3, encode_json/3, encode_json_dirty/3,
    new/1, apply/4, apply_dirty/4, apply_said/4, apply_said_dirty/4, said/4, drop_rows/2,
    tick/2, issue/5, pending/3, accepted/3, trim/3,
    take_over/2, stand_down/1, evidence/3, owners/3, verdict/2, mixed/4, rescued/3,
    call/3, calls/5, count/2, counts/2, explain/3, digest/1, info/1,
    json_decode/1, json_encode/1, version/0,
    chunk_versions/0, write_chunks/1, file_size/1
]).

-export_type([
    router/0, store/0, chunk/0, row_key/0, problem/0, key/0, settings/0, encoded/0, applied/0, pending/0,
    evidence/0, alarm/0, tick/0, said/0, wanted/0
]).

-on_load(load/0).

-nifs([
    check_roles/2, router/2, route/2,
    encode/3, encode_dirty/3, encode_json/3, encode_json_dirty/3,
    new/1, apply/4, apply_dirty/4, apply_said/4, apply_said_dirty/4, said/4, drop_rows/2,
    tick/2, issue/5, pending/3, accepted/3, trim/3,
    take_over/2, stand_down/1, evidence/3, owners/3, verdict/2, mixed/4, rescued/3,
    call/3, calls/5, count/2, counts/2, explain/3, digest/1, info/1,
    json_decode/1, json_encode/1, version/0,
    chunk_versions/0, write_chunks/1, file_size/1
]).

%% The version of the library this module belongs to; equal to the version of the crate `native`.
-define(VERSION, <<"0.1.0">>).

-type router() :: reference().
-type store() :: reference().
-type chunk() :: binary().
-type row_key() :: binary().
%% term_to_binary({Epoch, Node, Seq}): opaque to the core.
-type problem() :: #{
    instance := binary(), key := binary(), value := term(), reason := atom(), text := binary()
}.
-type key() :: {cid | dialogid | callid | connectionid, binary()}.
-type settings() :: #{
    site := binary(),
    master_domain := binary(),
    group := pos_integer(),
    sinks := [binary()],
    cdr_enabled := boolean(),
    sorm3_enabled := boolean(),
    copm3_name := binary(),
    watch := #{binary() => integer()}
}.
-type encoded() :: {
    [{Group :: pos_integer(), chunk(), Count :: pos_integer()}],
    Rejected :: [{Index :: pos_integer(), Reason :: term()}]
}.
-type applied() :: {New :: non_neg_integer(), Duplicate :: non_neg_integer(), Late :: non_neg_integer()}.
-type pending() :: {
    Cid :: binary(),
    Revision :: pos_integer(),
    Domains :: [binary(), ...],
    EndTs :: integer(),
    RecordJson :: binary(),
    ProjectionJson :: binary() | none
}.

%% How many things a row of the log said to those who listen, and the marks from which said/4 tells them.
-type said() :: {Count :: non_neg_integer(), Marks :: binary()}.
-type wanted() :: #{events := all | [Type :: binary()], domain => binary()}.

%% Owners as era_callstore_owner packs them; a DialogId of a call that has no dialog yet is its cid. Reason: that of the
%% monitor, as text (`noconnection', `noproc', `normal', `killed', …).
-type evidence() ::
    {owner_down, Owner :: binary(), Reason :: binary()}
    | {owner_up, Owner :: binary()}
    | {node_down | node_up, Node :: binary()}
    | {probe, DialogId :: binary(), alive | gone | unknown}
    | {inventory, Owner :: binary(), [DialogId :: binary()] | failed}
    | {rtp, dialogid | mgctxid, Id :: binary(), LastMs :: integer(), Active :: boolean()}
    | {alive | gone, DialogId :: binary()}.
%% A mass death: told when it begins and when it has grown; the same mass death has the same `Since'.
%% Behind that: how many died, and how many of them the brakes made wait.
-type alarm() :: {mass_death, NodeOrOwner :: binary(), SinceMs :: integer(), pos_integer(), Held :: non_neg_integer()}.
%% `owners': those of calls of which another was named since the last tick, or that live again.
-type tick() :: #{
    chunk := chunk() | none,
    next := NextMs :: integer() | infinity,
    probe := [{DialogId :: binary(), Owner :: binary() | none}],
    mix := [{Cid :: binary(), Attempt :: pos_integer(), JobJson :: binary()}],
    rescue := [{Cid :: binary(), DialogId :: binary(), Owner :: binary() | none, UntilMs :: integer()}],
    owners := [Owner :: binary()],
    alarms := [alarm()]
}.

%% @doc Checks all role instances of a site, a JSON array, against DOMAIN.md §4 and fills the defaults in.
-spec check_roles(RolesJson :: binary(), MasterDomain :: binary()) ->
    {ok, [Role :: map()], Warnings :: [problem()]} | {error, [problem()]}.
check_roles(_RolesJson, _MasterDomain) -> erlang:nif_error(not_loaded).

%% @doc Builds the table domain → group from checked role instances.
-spec router(RolesJson :: binary(), Settings) -> Answer when
    Settings :: #{event_aliases => #{binary() => binary()}, master_domain => binary()},
    Answer :: {ok, router()} | {error, [problem()]}.
router(_RolesJson, _Settings) -> erlang:nif_error(not_loaded).

%% @doc The group that serves a domain.
-spec route(router(), Domain :: binary()) -> {ok, Group :: pos_integer()} | none.
route(_Router, _Domain) -> erlang:nif_error(not_loaded).

%% @doc Checks and normalises at most 256 events and packs them into one chunk or more per group.
-spec encode(router(), [Event :: map()], Opts :: #{owner => binary(), producer => binary()}) ->
    encoded().
encode(_Router, _Events, _Opts) -> erlang:nif_error(not_loaded).

%% @doc As encode/3 for at most 4,096 events, on a dirty scheduler.
-spec encode_dirty(router(), [Event :: map()], Opts :: #{owner => binary(), producer => binary()}) ->
    encoded().
encode_dirty(_Router, _Events, _Opts) -> erlang:nif_error(not_loaded).

%% @doc As encode/3 from JSON: one object, an array, or one object a line.
-spec encode_json(router(), Json :: binary(), Opts :: #{owner => binary(), producer => binary()}) ->
    encoded().
encode_json(_Router, _Json, _Opts) -> erlang:nif_error(not_loaded).

%% @doc As encode_json/3, on a dirty scheduler.
-spec encode_json_dirty(router(), Json :: binary(), Opts :: #{owner => binary(), producer => binary()}) ->
    encoded().
encode_json_dirty(_Router, _Json, _Opts) -> erlang:nif_error(not_loaded).

%% @doc An empty store for the calls of one group.
-spec new(settings()) -> store().
new(_Settings) -> erlang:nif_error(not_loaded).

%% @doc Folds the chunks of one row of the log; one tuple per chunk. `poisoned': the store is to be thrown away.
-spec apply(store(), row_key(), [chunk()], NowMs :: integer()) ->
    {ok, [applied()]} | {error, poisoned | {bad_chunk, atom()}}.
apply(_Store, _RowKey, _Chunks, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc As apply/4, on a dirty scheduler.
-spec apply_dirty(store(), row_key(), [chunk()], NowMs :: integer()) ->
    {ok, [applied()]} | {error, poisoned | {bad_chunk, atom()}}.
apply_dirty(_Store, _RowKey, _Chunks, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc As apply/4, and what the row says to those who listen: nothing when it was folded before. IsDue: issue/5 would
%% issue something.
-spec apply_said(store(), row_key(), [chunk()], NowMs :: integer()) ->
    {ok, [applied()], said(), IsDue :: boolean()} | {error, poisoned | {bad_chunk, atom()}}.
apply_said(_Store, _RowKey, _Chunks, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc As apply_said/4, on a dirty scheduler.
-spec apply_said_dirty(store(), row_key(), [chunk()], NowMs :: integer()) ->
    {ok, [applied()], said(), IsDue :: boolean()} | {error, poisoned | {bad_chunk, atom()}}.
apply_said_dirty(_Store, _RowKey, _Chunks, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc What a row said, as far as it is wanted, in order, by its number in the row from 1. Needs no store; badarg where
%% marks and chunks do not belong together.
-spec said(Marks :: binary(), [chunk()], Group :: pos_integer(), wanted()) ->
    [{Number :: pos_integer(), Event :: map()}].
said(_Marks, _Chunks, _Group, _Wanted) -> erlang:nif_error(not_loaded).

%% @doc Forgets rows that were deleted from the log.
-spec drop_rows(store(), [row_key()]) -> ok.
drop_rows(_Store, _RowKeys) -> erlang:nif_error(not_loaded).

%% @doc The decisions due now, as events for the log, what is to be done, and when to ask again. Asked on the active only.
-spec tick(store(), NowMs :: integer()) -> tick().
tick(_Store, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc This instance is the active one from now on: nothing has been seen yet, reports about RTP are awaited. Comes
%% before the first evidence/3 and tick/2 of a term.
-spec take_over(store(), NowMs :: integer()) -> ok.
take_over(_Store, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc This instance is passive from now on: what was seen is forgotten.
-spec stand_down(store()) -> ok.
stand_down(_Store) -> erlang:nif_error(not_loaded).

%% @doc Notes what was seen; the next tick/2, which is due at once, weighs it. Told on the active only.
-spec evidence(store(), [evidence()], NowMs :: integer()) -> ok.
evidence(_Store, _Evidence, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc About Limit owners of calls that are not over, with the numbers of their calls. An owner may be on several pages:
%% its numbers add up.
-spec owners(store(), Cursor :: start | binary(), Limit :: pos_integer()) ->
    {[{Owner :: binary(), Count :: pos_integer()}], Cursor :: binary() | done}.
owners(_Store, _Cursor, _Limit) -> erlang:nif_error(not_loaded).

%% @doc How a call stands by what was seen of it, the row of the table in one word (`ended' where it is over), and the
%% evidence, a JSON list.
-spec verdict(store(), Cid :: binary()) ->
    {alive | suspect | dead, Reason :: binary(), EvidenceJson :: binary()} | not_found.
verdict(_Store, _Cid) -> erlang:nif_error(not_loaded).

%% @doc What became of an attempt to have a recording mixed, for the log: `asked' before the mixer is.
-spec mixed(Cid :: binary(), asked | accepted | failed, Attempt :: pos_integer(), NowMs :: integer()) -> chunk().
mixed(_Cid, _State, _Attempt, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc The fact, for the log, that a conversation was restored under another owner.
-spec rescued(Cid :: binary(), NewOwner :: binary(), NowMs :: integer()) -> chunk().
rescued(_Cid, _NewOwner, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc `record' events for at most Max closed calls of which a revision is due. Asked on the active only.
-spec issue(store(), NowMs :: integer(), Epoch :: pos_integer(), Node :: binary(), Max :: pos_integer()) ->
    chunk() | none.
issue(_Store, _NowMs, _Epoch, _Node, _Max) -> erlang:nif_error(not_loaded).

%% @doc At most Max revisions issued and not yet accepted by the sink, in order of closing.
-spec pending(store(), Sink :: binary(), Max :: pos_integer()) -> [pending()].
pending(_Store, _Sink, _Max) -> erlang:nif_error(not_loaded).

%% @doc The fact, for the log, that the sink accepted these revisions.
-spec accepted(Sink :: binary(), [{Cid :: binary(), Revision :: pos_integer()}], NowMs :: integer()) ->
    chunk().
accepted(_Sink, _Revisions, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc Rows to delete now, and a chunk to append whose rows become free at a later trim.
-spec trim(store(), NowMs :: integer(), MaxBytes :: pos_integer()) ->
    #{
        delete := [row_key()],
        forward := chunk() | none,
        log_bytes := non_neg_integer(),
        live_bytes := non_neg_integer()
    }.
trim(_Store, _NowMs, _MaxBytes) -> erlang:nif_error(not_loaded).

%% @doc One call, in the record's shape with its state.
-spec call(store(), key(), NowMs :: integer()) -> {ok, map()} | not_found.
call(_Store, _Key, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc One page of the live calls that match; the filter has the atom keys of era_callstore:calls/1.
-spec calls(store(), Filter :: map(), Limit :: pos_integer(), Cursor :: binary() | start, NowMs :: integer()) ->
    {[map()], Cursor :: binary() | done} | {error, term()}.
calls(_Store, _Filter, _Limit, _Cursor, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc How many live calls match.
-spec count(store(), Filter :: map()) -> non_neg_integer() | {error, term()}.
count(_Store, _Filter) -> erlang:nif_error(not_loaded).

%% @doc Live calls by state for a domain and the domains one level below it.
-spec counts(store(), Domain :: binary()) -> #{binary() => #{binary() => non_neg_integer()}}.
counts(_Store, _Domain) -> erlang:nif_error(not_loaded).

%% @doc What is known of a call and why, a line per event.
-spec explain(store(), key(), NowMs :: integer()) -> {ok, [Line :: binary()]} | not_found.
explain(_Store, _Key, _NowMs) -> erlang:nif_error(not_loaded).

%% @doc A digest of everything folded: equal on equal copies.
-spec digest(store()) -> binary().
digest(_Store) -> erlang:nif_error(not_loaded).

%% @doc Counters and sizes of the store, atom keys.
-spec info(store()) -> #{atom() => term()}.
info(_Store) -> erlang:nif_error(not_loaded).

%% @doc JSON to terms: objects become maps with binary keys, null becomes `null'.
-spec json_decode(binary()) ->
    {ok, term()} | {error, {Reason :: atom(), Offset :: non_neg_integer()}}.
json_decode(_Json) -> erlang:nif_error(not_loaded).

%% @doc Terms to JSON: maps, lists, binaries, atoms, numbers.
-spec json_encode(term()) -> binary().
json_encode(_Term) -> erlang:nif_error(not_loaded).

%% @doc The version of the loaded library.
-spec version() -> binary().
version() -> erlang:nif_error(not_loaded).

%% @doc Inode and size in bytes of a file on a local disc; `none' when it cannot be seen.
-spec file_size(Path :: binary()) -> {Inode :: non_neg_integer(), Bytes :: non_neg_integer()} | none.
file_size(_Path) -> erlang:nif_error(not_loaded).

%% @doc The versions of the chunk that are read and, told so, written.
-spec chunk_versions() -> {Oldest :: pos_integer(), Newest :: pos_integer()}.
chunk_versions() -> erlang:nif_error(not_loaded).

%% @doc Chunks of this node are written in this version from now on; badarg where it is none of this release.
-spec write_chunks(Version :: pos_integer()) -> ok.
write_chunks(_Version) -> erlang:nif_error(not_loaded).

-spec load() -> ok | {error, term()}.
load() ->
    case code:priv_dir(era_callstore) of
        {error, bad_name} -> {error, {load_failed, "no priv directory of era_callstore in the code path"}};
        Priv -> erlang:load_nif(filename:join(Priv, "era_callstore_nif"), ?VERSION)
    end.
