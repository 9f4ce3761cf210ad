%%% Counters of this node, declared as one table with their help texts.
%%%
%%% Always holds: counting costs one atomic addition and never blocks; counts only grow until the application stops.
%%% Called by: whoever counts (add/2), and era_callstore_metrics.
%%% Must never: be read to decide anything.
-module(era_callstore_counters).

-export([new/0, add/2, all/0]).
-export_type([name/0]).

-type name() ::
    events_accepted
    | events_duplicate
    | events_rejected
    | puts_overload
    | puts_no_active
    | rows_committed
    | row_bytes_committed
    | passive_waits
    | passive_wait_ms
    | rows_folded
    | records_delivered
    | deliveries_failed
    | rows_deleted
    | terms_begun
    | stores_poisoned
    | evidence_told
    | dialogs_probed
    | mixes_accepted
    | calls_rescued
    | events_sent
    | subscribers_resynced
    | handlers_failed.

declared() ->
    [
        {events_accepted, "Events committed that were new"},
        {events_duplicate, "Events committed that were known already"},
        {events_rejected, "Events refused, with a reason, in put on this node"},
        {puts_overload, "Calls of put answered {error, overload}"},
        {puts_no_active, "Calls of put that found no active instance within their timeout"},
        {rows_committed, "Rows of the log committed by writers of this node"},
        {row_bytes_committed, "Bytes of those rows"},
        {passive_waits, "Times that a writer of this node held a commit back because a passive copy was behind"},
        {passive_wait_ms, "Time that it held commits back, ms"},
        {rows_folded, "Rows of the log folded from other nodes or at start"},
        {records_delivered, "Revisions of records that sinks have accepted, counted once per sink"},
        {deliveries_failed, "Batches that a sink refused, crashed on or took too long for"},
        {rows_deleted, "Rows of the log trimmed"},
        {terms_begun, "Terms of activity begun on this node"},
        {stores_poisoned, "Stores thrown away after a panic and folded anew"},
        {evidence_told, "Owners and nodes that were seen going or coming"},
        {dialogs_probed, "Dialogs whose owner was asked whether it lives"},
        {mixes_accepted, "Recordings of dead dialogs that the mixer took"},
        {calls_rescued, "Conversations restored under another owner"},
        {events_sent, "Events out sent to subscribers of this node"},
        {subscribers_resynced, "Times a subscriber of this node was too slow, or what it wanted was not kept"},
        {handlers_failed, "Batches of events out that a handler refused, crashed on or took too long for"}
    ].

%% @doc Makes the counters, all zero; kept while the node runs.
-spec new() -> ok.
new() ->
    Names = [Name || {Name, _} <- declared()],
    Ref = counters:new(length(Names), [write_concurrency]),
    Index = maps:from_list(lists:zip(Names, lists:seq(1, length(Names)))),
    persistent_term:put(?MODULE, {Ref, Index}).

%% @doc Adds to a counter.
-spec add(name(), non_neg_integer()) -> ok.
add(Name, N) ->
    {Ref, #{Name := Index}} = persistent_term:get(?MODULE),
    counters:add(Ref, Index, N).

%% @doc All counters with their help texts, in order of declaration.
-spec all() -> [{name(), Help :: string(), non_neg_integer()}].
all() ->
    {Ref, Index} = persistent_term:get(?MODULE),
    [{Name, Help, counters:get(Ref, map_get(Name, Index))} || {Name, Help} <- declared()].
