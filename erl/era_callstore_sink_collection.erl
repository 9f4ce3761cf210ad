%%% The sink `collection': records, and rows of the projection, kept in Mnesia on every node of the group.
%%%
%%%   {collection, #{retention_days => 30}}      how long after its end a call's record is kept
%%%
%%% Always holds: what was accepted is in every copy; the same revision again changes nothing. A delivery deletes more than
%%% it adds while there is something to delete, so what is kept does not outgrow its time.
%%% Called by: era_callstore_worker. Read through era_callstore:record/1, records/2 and collection/3.
%%% Must never: delete more at a time than a delivery would notice.
-module(era_callstore_sink_collection).
-behaviour(era_callstore_sink).

-export([check/1, prepare/2, init/2, deliver/2, handle_info/2, terminate/2]).

-define(RETENTION_DAYS, 30).
-define(DAY_MS, 86400000).
%% Rows deleted with a delivery, which adds one.
-define(TRIM_ROWS, 8).
%% What is deleted while nothing is delivered, and how often that is looked at.
-define(IDLE_TRIM_ROWS, 256).
-define(TRIM_EVERY_MS, 60000).

-record(state, {
    copm3_name :: binary(),
    retention_ms :: pos_integer()
}).

%% @private
-spec check(map()) -> [{atom(), term(), atom(), iodata()}].
check(Args) -> lists:append([check(Key, Value) || {Key, Value} <- maps:to_list(Args)]).

check(retention_days, Days) when is_integer(Days), Days > 0 -> [];
check(retention_days, Days) -> [{retention_days, Days, wrong_type, "an integer above 0 is wanted"}];
check(Key, Value) -> [{Key, Value, unknown_key, "there is: retention_days"}].

%% @private
-spec prepare(map(), era_callstore_sink:context()) -> ok | {error, term()}.
prepare(_Args, #{storage := Storage}) -> era_callstore_collection:ensure(Storage).

%% @private
-spec init(map(), era_callstore_sink:context()) -> {ok, #state{}} | {error, term()}.
init(Args, #{storage := Storage, copm3_name := Name}) ->
    case era_callstore_collection:ensure(Storage) of
        ok ->
            Days = maps:get(retention_days, Args, ?RETENTION_DAYS),
            _ = erlang:send_after(?TRIM_EVERY_MS, self(), trim),
            {ok, #state{copm3_name = Name, retention_ms = Days * ?DAY_MS}};
        {error, _} = Error ->
            Error
    end.

%% @private
-spec deliver([era_callstore_sink:item()], #state{}) -> {ok, #state{}} | {error, term(), #state{}}.
deliver(Batch, #state{copm3_name = Name} = State) ->
    case era_callstore_collection:put(lists:append([items(Item, Name) || Item <- Batch])) of
        ok ->
            _ = trim(?TRIM_ROWS, State),
            {ok, State};
        {error, Reason} ->
            {error, Reason, State}
    end.

%% @private
-spec handle_info(trim | term(), #state{}) -> {ok, #state{}}.
handle_info(trim, State) ->
    Next = case trim(?IDLE_TRIM_ROWS, State) of more -> 0; done -> ?TRIM_EVERY_MS end,
    _ = erlang:send_after(Next, self(), trim),
    {ok, State};
handle_info(_Other, State) ->
    {ok, State}.

%% @private
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, _State) -> ok.

items(#{cid := Cid, revision := Revision, domains := Domains, end_ts := EndTs, record := Record} = Delivered, Name) ->
    Kept = #{
        collection => record,
        cid => Cid,
        revision => Revision,
        end_ts => EndTs,
        domains => lists:usort(Domains),
        json => Record
    },
    case Delivered of
        #{projection := none} -> [Kept];
        #{projection := Row} -> [Kept, Kept#{collection := Name, json := Row}]
    end.

trim(Rows, #state{retention_ms = Retention}) ->
    era_callstore_collection:trim(era_callstore_clock:now_ms() - Retention, Rows).
