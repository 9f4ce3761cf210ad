%%% The sink `collection': records, and rows of the projection, kept in Mnesia on every node of the group.
%%%
%%%   {collection, #{retention_days => 30}}      how long after its end a call's record is kept
%%%
%%% Always holds: what was accepted is in every copy; the same revision again changes nothing.
%%% Called by: era_callstore_sink_worker. Read through era_callstore:record/1, records/2 and collection/3.
%%% Must never: delete more at a time than a delivery would notice.
-module(era_callstore_sink_collection).
-behaviour(era_callstore_sink).

-export([check/1, prepare/2, init/2, deliver/2, terminate/2]).

-define(RETENTION_DAYS, 30).
-define(DAY_MS, 86400000).
-define(TRIM_EVERY_MS, 60000).
-define(TRIM_MAX, 2000).

-record(state, {
    copm3_name :: binary(),
    retention_ms :: pos_integer(),
    trimmed_at = 0 :: integer()
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
            {ok, #state{copm3_name = Name, retention_ms = Days * ?DAY_MS}};
        {error, _} = Error ->
            Error
    end.

%% @private
-spec deliver([era_callstore_sink:item()], #state{}) -> {ok, #state{}} | {error, term(), #state{}}.
deliver(Batch, #state{copm3_name = Name} = State) ->
    case era_callstore_collection:put(lists:append([items(Item, Name) || Item <- Batch])) of
        ok -> {ok, trimmed(era_callstore_clock:now_ms(), State)};
        {error, Reason} -> {error, Reason, State}
    end.

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

trimmed(Now, #state{trimmed_at = Last} = State) when Now - Last < ?TRIM_EVERY_MS ->
    State;
trimmed(Now, #state{retention_ms = Retention, copm3_name = Name} = State) ->
    _ = era_callstore_collection:trim(record, Now - Retention, ?TRIM_MAX),
    _ = era_callstore_collection:trim(Name, Now - Retention, ?TRIM_MAX),
    State#state{trimmed_at = Now}.
