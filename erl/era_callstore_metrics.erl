%%% Metrics of this node in Prometheus' text format (version 0.0.4).
%%%
%%% Always holds: every metric has a help text and a type; names begin with `era_callstore_' and end with their unit.
%%% Called by: era_callstore:metrics/0.
%%% Must never: ask another node: each node is scraped for itself.
-module(era_callstore_metrics).

-export([text/0]).

gauges() ->
    [
        {live, live_calls, "Calls that are not over"},
        {log_chunks, log_rows, "Rows of the log"},
        {log_bytes, log_bytes, "Bytes of chunks in the log"},
        {lag_chunks, lag_rows, "Rows that wait to be folded here"},
        {memory_bytes, store_memory_bytes, "Memory of the store"},
        {epoch, epoch, "Epoch of the term of activity in force"}
    ].

%% @doc All counters, and the sizes of the groups that this node holds.
-spec text() -> iolist().
text() ->
    Groups = [{Group, era_callstore_status:group_here(Group)} || Group <- era_callstore_router:local_groups()],
    #{apart := Apart, heal_due := Due} = era_callstore_heal:apart(),
    [
        [counter(Counter) || Counter <- era_callstore_counters:all()],
        metric("apart_nodes", "gauge", "Nodes whose Mnesia runs apart from the one here", [{"", length(Apart)}]),
        metric("heal_due", "gauge", "Whether this node waits for era_callstore:heal/1", [
            {"", case Due of true -> 1; false -> 0 end}
        ]),
        [gauge(Gauge, Groups) || Gauge <- gauges()],
        metric("active", "gauge", "Whether this node is active for the group", [
            {label(Group), case State of active -> 1; _ -> 0 end} || {Group, #{state := State}} <- Groups
        ]),
        metric("passive_lag_bytes", "gauge", "Bytes of the active's rows that a passive copy has not folded yet", [
            {["{group=\"", integer_to_list(Group), "\",node=\"", atom_to_list(Node), "\"}"], Bytes}
         || {Group, #{passives := Passives}} <- Groups, {Node, #{lag_bytes := Bytes}} <- maps:to_list(Passives)
        ]),
        outbox(depth, "outbox_records", "Revisions that wait for the sink", Groups),
        outbox(oldest_ms, "outbox_oldest_ms", "Age or time of the oldest revision that waits for the sink, ms", Groups)
    ].

counter({Name, Help, Value}) ->
    metric([atom_to_list(Name), "_total"], "counter", Help, [{"", Value}]).

gauge({Key, Name, Help}, Groups) ->
    metric(atom_to_list(Name), "gauge", Help, [{label(Group), V} || {Group, #{Key := V}} <- Groups]).

outbox(Key, Name, Help, Groups) ->
    metric(Name, "gauge", Help, [
        {["{group=\"", integer_to_list(Group), "\",sink=\"", Sink, "\"}"], V}
     || {Group, #{outbox := Outbox}} <- Groups, {Sink, #{Key := V}} <- maps:to_list(Outbox), is_integer(V)
    ]).

metric(_Name, _Type, _Help, []) ->
    [];
metric(Name, Type, Help, Values) ->
    [
        ["# HELP era_callstore_", Name, " ", Help, "\n# TYPE era_callstore_", Name, " ", Type, "\n"],
        [["era_callstore_", Name, Label, " ", integer_to_list(Value), "\n"] || {Label, Value} <- Values]
    ].

label(Group) -> ["{group=\"", integer_to_list(Group), "\"}"].
