%%% era_callstore: the calls of a telephony platform, while they live and as one record each when they are over.
%%%
%%% Events of calls go in (put/1,2, put_json/1,2). Who asks learns which calls live and in what state (call/1, calls/1,2,
%%% count/1, counts/1, explain/1), and reads what the sink `collection' keeps (record/1, records/2, collection/3).
%%% Who wants to hear what is said as it is said subscribes (subscribe/1, unsubscribe/1).
%%% A *group* of instances serves a part of the tree of domains; one instance of it is *active*. Every function may be
%%% called on any node that runs the application; calls are routed.
%%%
%%% Always holds: what happens at run time is a value, {error, Reason}; a caller's mistake raises badarg with the reason in
%%% words in `error_info'. An event that was answered {ok, …} may be forgotten by its producer.
%%% Called by: everybody outside the application; nobody inside it.
%%% Must never: hold logic of its own.
-module(era_callstore).

-compile({no_auto_import, [put/2]}).

-export([check/1, configure/1, configuration/0]).
-export([put/1, put/2, put_json/1, put_json/2]).
-export([report/1]).
-export([call/1, calls/1, calls/2, count/1, counts/1, explain/1]).
-export([record/1, records/2, collection/3, owner/1]).
-export([subscribe/1, unsubscribe/1]).
-export([status/0, digest/1, handover/1, heal/1, metrics/0, i/0]).

-export_type([config/0, problem/0, event/0, put_options/0, put_result/0, rejection/0, report/0, key/0, filter/0]).
-export_type([page_options/0, page/0]).
-export_type([subscription/0, sequence/0]).

-type config() :: era_callstore_config:input().
-type problem() :: era_callstore_nif:problem().
%% An event in the envelope of class `callevents': keys are binaries or atoms.
-type event() :: map().
-type put_options() :: #{
    timeout => TimeoutMs :: pos_integer(),
    owner => era_callstore_owner:owner(),
    producer => binary()
}.
-type put_result() :: era_callstore_put:result().
-type rejection() :: era_callstore_put:rejection().
-type report() :: era_callstore_evidence:report().
-type key() :: era_callstore_query:key().
-type filter() :: #{
    domain => binary(),
    subtree => boolean(),
    user => binary(),
    number => binary(),
    state => atom() | binary(),
    binding => binary(),
    owner => era_callstore_owner:owner(),
    group => pos_integer(),
    since_ms => integer()
}.
-type subscription() :: #{
    events => all | [Type :: atom() | binary()],
    %% a domain and all below it
    domain => binary(),
    group => pos_integer(),
    since => sequence() | now | snapshot
}.
%% A position in the stream of events out of one group.
-type sequence() :: non_neg_integer().
-type page_options() :: #{limit => pos_integer(), cursor => binary()}.
-type page() :: era_callstore_query:page().

-define(TIMEOUT_MS, 5000).
-define(LIMIT, 20).
-define(MAX_LIMIT, 1000).

%% @doc Checks settings without putting them in force; what is not named has its default.
-spec check(config()) -> ok | {error, [problem()]}.
check(Config) ->
    case era_callstore_config:check(settings(check, Config)) of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end.

%% @doc Changes the settings named, on all nodes that run the application; nothing is changed when a problem is found.
%% Lasts until the application stops: what is to last longer belongs into its environment.
-spec configure(config()) -> ok | {error, [problem()] | not_running | {nodes, [{node(), term()}]}}.
configure(Config) ->
    Changes = maps:from_list(settings(configure, Config)),
    case era_callstore_config:in_force() of
        {ok, #{given := Given}} -> configured(era_callstore_config:check(maps:merge(Given, Changes)));
        {error, _} = Error -> Error
    end.

configured({ok, Checked}) ->
    Nodes = era_callstore_router:nodes(),
    Answers = lists:zip(Nodes, erpc:multicall(Nodes, era_callstore_groups, apply_config, [Checked])),
    case [{Node, Answer} || {Node, Answer} <- Answers, Answer =/= {ok, ok}] of
        [] -> ok;
        Failed -> {error, {nodes, Failed}}
    end;
configured({error, _} = Error) ->
    Error.

%% @doc The settings in force, defaults filled in.
-spec configuration() -> {ok, era_callstore_config:config()} | {error, not_running}.
configuration() -> era_callstore_config:in_force().

%% @doc Takes one event or a list of events.
-spec put(event() | [event()]) -> put_result().
put(Events) -> put(Events, #{}).

%% @doc Takes events. `rejected' names by 1-based index what was not taken and why; everything else is committed as the
%% setting `commit' says, and folded. On an error it is harmless to repeat the whole.
-spec put(event() | [event()], put_options()) -> put_result().
put(Event, Options) when is_map(Event) ->
    put([Event], Options);
put(Events, Options) when is_list(Events) ->
    {Deadline, Core} = put_options({put, [Events, Options]}, Options),
    era_callstore_put:events(Events, Core, Deadline);
put(Events, Options) ->
    era_callstore_errors:badarg({put, [Events, Options]}, 1, "a map or a list of maps is wanted").

%% @doc Takes events as JSON: one object, an array, or one object a line.
-spec put_json(iodata()) -> put_result().
put_json(Json) -> put_json(Json, #{}).

%% @doc As put/2, from JSON.
-spec put_json(iodata(), put_options()) -> put_result().
put_json(Json, Options) ->
    {Deadline, Core} = put_options({put_json, [Json, Options]}, Options),
    Binary =
        try
            iolist_to_binary(Json)
        catch
            error:badarg -> era_callstore_errors:badarg({put_json, [Json, Options]}, 1, "iodata is wanted")
        end,
    era_callstore_put:json(Binary, Core, Deadline).

%% @doc Takes evidence of how owners, dialogs and their media are. Nothing of it is kept over a take-over: report again.
-spec report(report() | [report()]) -> ok | {error, no_active}.
report(Reports) -> era_callstore_watch:report(era_callstore_evidence:of_reports({report, [Reports]}, Reports)).

%% @doc One call: the record's shape as far as it is known, with `state' and `owner', which is what `put' was told, or
%% null; an owner on a node that this one has never heard of stays a binary.
-spec call(key()) -> {ok, map()} | not_found | {error, no_active}.
call(Key) -> era_callstore_query:first(call, key({call, [Key]}, Key)).

%% @doc The first page of live calls that match.
-spec calls(filter()) -> page() | {error, term()}.
calls(Filter) -> calls(Filter, #{}).

%% @doc One page of live calls that match; the keys of the filter are joined by and.
-spec calls(filter(), page_options()) -> page() | {error, term()}.
calls(Filter, Page) ->
    {Limit, Cursor} = page({calls, [Filter, Page]}, Page),
    era_callstore_query:calls(era_callstore_filter:live({calls, [Filter, Page]}, Filter), Limit, Cursor).

%% @doc How many live calls match.
-spec count(filter()) -> non_neg_integer() | {error, term()}.
count(Filter) -> era_callstore_query:count(era_callstore_filter:live({count, [Filter]}, Filter)).

%% @doc Live calls by state of a domain, and of each subtree one level below it.
-spec counts(Domain :: binary()) -> #{binary() => #{binary() => non_neg_integer()}} | {error, term()}.
counts(Domain) -> era_callstore_query:counts(text({counts, [Domain]}, Domain, "the name of a domain")).

%% @doc What is known of a call and why, a line per event.
-spec explain(key()) -> {ok, [binary()]} | not_found | {error, no_active}.
explain(Key) -> era_callstore_query:first(explain, key({explain, [Key]}, Key)).

%% @doc All revisions of a call's record that the sink `collection' keeps, newest first; `no_collection' when there is no
%% such sink.
-spec record(Cid :: binary()) -> [map()] | {error, no_collection}.
record(Cid) -> era_callstore_query:record(text({record, [Cid]}, Cid, "the cid of a call")).

%% @doc One page of the records that the sink `collection' keeps, all revisions, newest first. Keys of the filter:
%% domain, subtree, since_ms.
-spec records(filter(), page_options()) -> page() | {error, bad_cursor | no_collection}.
records(Filter, Page) ->
    {Limit, Cursor} = page({records, [Filter, Page]}, Page),
    era_callstore_query:records(record, era_callstore_filter:kept({records, [Filter, Page]}, 1, Filter), Limit, Cursor).

%% @doc One page of the rows of an embedded collection, such as `cdr/COPM3_dialogs', newest first.
-spec collection(Name :: binary(), filter(), page_options()) -> page() | {error, bad_cursor | no_collection}.
collection(Name, Filter, Page) ->
    Called = {collection, [Name, Filter, Page]},
    Collection = text(Called, Name, "the name of a collection"),
    {Limit, Cursor} = page(Called, Page),
    era_callstore_query:records(Collection, era_callstore_filter:kept(Called, 2, Filter), Limit, Cursor).

%% @doc Who serves a domain; the node is `none' while no instance is active.
-spec owner(Domain :: binary()) ->
    #{group := pos_integer(), instance := binary() | none, node := node() | none} | {error, {not_served, binary()}}.
owner(Domain) -> era_callstore_query:owner(text({owner, [Domain]}, Domain, "the name of a domain")).

%% @doc The calling process hears from now on what is said of calls: {era_callstore, Ref, Seq, Event}.
%%
%% Event is in the envelope of class `callevents', as it was accepted and each once, or of class `callstore':
%% call_opened, call_changed and call_closed (the call's state), record (a revision was issued), mix (asked, accepted,
%% failed), takeover, heal. Seq counts what the group says, filtered or not, over take-overs; with no filter it has no
%% gap. Where what follows is not kept any more, or the caller's mailbox was too full, {era_callstore, Ref, Seq,
%% resync} comes; after it, and at first with `since => snapshot', come the live calls as call_opened with `snapshot'
%% and `call', then an event `snapshot', all with the same Seq, and then the stream goes on from Seq. A call that
%% opens or closes while the live ones are told may be told twice, none is missed. Without `group' all groups are
%% heard, and each counts for itself: `since' a number wants one group. What is said of a group (takeover, heal) comes
%% whatever the domain. The subscription ends with the caller, or with unsubscribe/1.
-spec subscribe(subscription()) ->
    {ok, Ref :: reference()} | {error, not_running | several_groups | {no_such_group, pos_integer()}}.
subscribe(Options) ->
    {Wanted, Since, Group} = era_callstore_filter:subscribed({subscribe, [Options]}, Options),
    case {era_callstore_config:in_force(), Group} of
        {{error, _} = Error, _} -> Error;
        {{ok, #{groups := #{Group := _}}}, Group} -> subscribe([Group], Wanted, Since);
        {{ok, #{groups := Groups}}, all} -> subscribe(maps:keys(Groups), Wanted, Since);
        {{ok, _}, _} -> {error, {no_such_group, Group}}
    end.

subscribe([Group], Wanted, Seq) when is_integer(Seq) ->
    era_callstore_subscription:start([Group], Wanted, {Seq, any}, self());
subscribe(_Groups, _Wanted, Seq) when is_integer(Seq) ->
    {error, several_groups};
subscribe(Groups, Wanted, Since) ->
    era_callstore_subscription:start(Groups, Wanted, Since, self()).

%% @doc Ends a subscription of this node. Nothing of it comes any more, and the caller's mailbox holds nothing of it.
-spec unsubscribe(Ref :: reference()) -> ok.
unsubscribe(Ref) when is_reference(Ref) ->
    ok = era_callstore_subscription:stop(Ref),
    flushed(Ref);
unsubscribe(Ref) ->
    era_callstore_errors:badarg({unsubscribe, [Ref]}, 1, "the reference that subscribe/1 returned is wanted").

flushed(Ref) ->
    receive
        {era_callstore, Ref, _, _} -> flushed(Ref)
    after 0 -> ok
    end.

%% @doc What runs and how it is.
-spec status() -> era_callstore_status:status().
status() -> era_callstore_status:status().

%% @doc The digest of every copy of a group: equal on equal copies.
-spec digest(Group :: pos_integer()) -> #{node() => binary()}.
digest(Group) when is_integer(Group) -> era_callstore_query:digest(Group);
digest(Group) -> era_callstore_errors:badarg({digest, [Group]}, 1, "the number of a group is wanted").

%% @doc The active instance of a group gives its activity to the next one.
-spec handover(Group :: pos_integer()) -> ok | {error, no_active | no_other | not_active}.
handover(Group) when is_integer(Group) ->
    case era_callstore_router:active_node(Group) of
        none ->
            {error, no_active};
        Node ->
            try
                erpc:call(Node, era_callstore_group, handover, [Group])
            catch
                %% It has just died, or stops.
                error:{erpc, _} -> {error, no_active};
                exit:{exception, _} -> {error, no_active}
            end
    end;
handover(Group) ->
    era_callstore_errors:badarg({handover, [Group]}, 1, "the number of a group is wanted").

%% @doc Heals a node that went on apart from the others (a net split): what they lack is given to them, then Mnesia on that
%% node starts again with their copies. Done by itself where Mnesia is ours alone; where it holds tables of the host the
%% status says `heal_due', and this call is awaited: the host's own tables on that node are replaced by the others' copies.
-spec heal(node()) -> {ok, era_callstore_heal:healed()} | {error, era_callstore_heal:reason()}.
heal(Node) when is_atom(Node) ->
    try
        erpc:call(Node, era_callstore_heal, heal, [])
    catch
        error:{erpc, Reason} -> {error, {asked, Node, Reason}};
        %% What heals that node has ended under the call.
        exit:{exception, Reason} -> {error, {asked, Node, Reason}}
    end;
heal(Node) ->
    era_callstore_errors:badarg({heal, [Node]}, 1, "the name of a node is wanted").

%% @doc Counters and sizes of this node in Prometheus' text format.
-spec metrics() -> iolist().
metrics() -> era_callstore_metrics:text().

%% @doc Prints the status as a table.
-spec i() -> ok.
i() -> io:put_chars(era_callstore_status:table(era_callstore_status:status())).

%% --- arguments

settings(_Function, Config) when is_map(Config) -> maps:to_list(Config);
settings(Function, Config) ->
    case is_list(Config) andalso lists:all(fun(Item) -> is_tuple(Item) andalso tuple_size(Item) =:= 2 end, Config) of
        true -> Config;
        false -> era_callstore_errors:badarg({Function, [Config]}, 1, "a map or a list of {Key, Value} is wanted")
    end.

put_options(Called, Options) when is_map(Options) ->
    Core = maps:fold(fun(Key, Value, Checked) -> put_option(Key, Value, Checked, Called) end, #{}, Options),
    {erlang:monotonic_time(millisecond) + maps:get(timeout, Options, ?TIMEOUT_MS), Core};
put_options(Called, _Options) ->
    era_callstore_errors:badarg(Called, 2, "a map of options is wanted").

put_option(timeout, Ms, Core, _Called) when is_integer(Ms), Ms > 0 ->
    Core;
put_option(owner, Owner, Core, Called) ->
    case era_callstore_owner:to_binary(Owner) of
        {ok, Binary} -> Core#{owner => Binary};
        error ->
            Text = "owner: a pid, {Name, Node}, a node or {external, Binary} is wanted",
            era_callstore_errors:badarg(Called, 2, Text)
    end;
put_option(producer, Producer, Core, Called) ->
    case era_callstore_filter:is_text(Producer) of
        true -> Core#{producer => Producer};
        false -> era_callstore_errors:badarg(Called, 2, "producer: a binary in UTF-8 is wanted")
    end;
put_option(Key, _Value, _Core, Called) ->
    Text = "~tp: wanted are timeout (ms, above 0), owner and producer (a binary)",
    era_callstore_errors:badarg(Called, 2, io_lib:format(Text, [Key])).

key(Called, Key) ->
    case is_key(Key) of
        true -> Key;
        false -> era_callstore_errors:badarg(Called, 1, "{cid | dialogid | callid | connectionid, Binary} is wanted")
    end.

is_key({Kind, Value}) ->
    lists:member(Kind, [cid, dialogid, callid, connectionid]) andalso era_callstore_filter:is_text(Value);
is_key(_) ->
    false.

%% The first argument, a binary in UTF-8.
text({_, _} = Called, Value, What) ->
    case era_callstore_filter:is_text(Value) of
        true -> Value;
        false -> era_callstore_errors:badarg(Called, 1, [What, ", a binary in UTF-8, is wanted"])
    end.

%% The page is the last argument.
page(Called, Page) when is_map(Page) ->
    Wrong = maps:filter(fun(Key, Value) -> not page_option(Key, Value) end, Page),
    case map_size(Wrong) of
        0 -> {maps:get(limit, Page, ?LIMIT), maps:get(cursor, Page, start)};
        _ ->
            Text = "wanted are limit (1 to 1000) and cursor (a binary)",
            era_callstore_errors:badarg(Called, length(element(2, Called)), Text)
    end;
page(Called, _Page) ->
    era_callstore_errors:badarg(Called, length(element(2, Called)), "a map with limit and cursor is wanted").

page_option(limit, Limit) -> is_integer(Limit) andalso Limit > 0 andalso Limit =< ?MAX_LIMIT;
page_option(cursor, Cursor) -> is_binary(Cursor);
page_option(_, _) -> false.
