%%% The sink `file': one record a line in `records.ndjson', and the projection in a file beside it.
%%%
%%%   {file, #{dir => "cdr",              folder, made when it is not there
%%%            max_bytes => 104857600,    a file that would grow past this is set aside first
%%%            fsync_ms => 1000}}         longest time a line is only in the system's buffer; 0: each batch is synced
%%%
%%% A file set aside is named by the time of that: records.20261122T200925.ndjson; so it is at every change of the day
%%% (UTC). With more than one group a group's files carry its number: records.11010.ndjson.
%%% Always holds: whole lines only; a line torn by a crash is cut off at start and its record comes again. A batch that
%%% cannot be written whole leaves no trace. A batch that comes again is known by the lines at the end of the file.
%%% Called by: era_callstore_worker.
%%% Must never: share a file with another group or node.
-module(era_callstore_sink_file).
-behaviour(era_callstore_sink).

-export([check/1, init/2, deliver/2, handle_info/2, terminate/2]).

-define(DEFAULTS, #{dir => "cdr", max_bytes => 104857600, fsync_ms => 1000}).

-record(state, {
    settings :: #{dir := file:filename(), max_bytes := pos_integer(), fsync_ms := non_neg_integer()},
    records :: era_callstore_line_file:file(),
    projection :: era_callstore_line_file:file(),
    timer :: reference() | undefined
}).

%% @private
-spec check(map()) -> [{atom(), term(), atom(), iodata()}].
check(Args) ->
    Unknown = maps:keys(maps:without(maps:keys(?DEFAULTS), Args)),
    [{Key, map_get(Key, Args), unknown_key, "there are: dir, max_bytes, fsync_ms"} || Key <- Unknown] ++
        lists:append([check(Key, Value) || {Key, Value} <- maps:to_list(Args)]).

check(dir, Dir) when is_list(Dir), Dir =/= []; is_binary(Dir), Dir =/= <<>> -> [];
check(dir, Dir) -> [{dir, Dir, wrong_type, "the name of a folder is wanted"}];
check(max_bytes, N) when is_integer(N), N > 0 -> [];
check(max_bytes, N) -> [{max_bytes, N, wrong_type, "an integer above 0 is wanted"}];
check(fsync_ms, N) when is_integer(N), N >= 0 -> [];
check(fsync_ms, N) -> [{fsync_ms, N, wrong_type, "an integer of 0 or more is wanted"}];
check(_Unknown, _) -> [].

%% @private
-spec init(map(), era_callstore_sink:context()) -> {ok, #state{}} | {error, term()}.
init(Args, Context) ->
    #{dir := Dir} = Settings = maps:merge(?DEFAULTS, Args),
    case era_callstore_dir:writable(Dir) of
        ok ->
            open(Settings, filename:join(Dir, stem("records", Context)),
                filename:join(Dir, stem(projection_name(Context), Context)));
        {error, _} = Error ->
            Error
    end.

open(Settings, RecordsStem, ProjectionStem) ->
    case era_callstore_line_file:open(RecordsStem) of
        {ok, Records} ->
            case era_callstore_line_file:open(ProjectionStem) of
                {ok, Projection} ->
                    {ok, #state{settings = Settings, records = Records, projection = Projection}};
                {error, _} = Error ->
                    era_callstore_line_file:close(Records),
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @private
-spec deliver([era_callstore_sink:item()], #state{}) ->
    {ok, #state{}} | {error, era_callstore_line_file:reason(), #state{}}.
deliver(Batch, #state{settings = #{max_bytes := MaxBytes}} = State) ->
    Records = [Record || #{record := Record} <- Batch],
    Projection = [Row || #{projection := Row} <- Batch, Row =/= none],
    case era_callstore_line_file:append(Records, MaxBytes, State#state.records) of
        {ok, RecordFile} ->
            Written = State#state{records = RecordFile},
            case era_callstore_line_file:append(Projection, MaxBytes, State#state.projection) of
                {ok, ProjectionFile} -> synced(Written#state{projection = ProjectionFile});
                {error, Reason, ProjectionFile} -> {error, Reason, Written#state{projection = ProjectionFile}}
            end;
        {error, Reason, RecordFile} ->
            {error, Reason, State#state{records = RecordFile}}
    end.

%% @private
-spec handle_info(term(), #state{}) -> {ok, #state{}}.
handle_info(sync, State) ->
    case sync(State#state{timer = undefined}) of
        {ok, Synced} -> {ok, Synced};
        %% The files say it again at the next batch, which is then refused.
        {error, _, Unsynced} -> {ok, Unsynced}
    end;
handle_info(_Other, State) ->
    {ok, State}.

%% @private
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{records = Records, projection = Projection} = State) ->
    _ = sync(State),
    era_callstore_line_file:close(Records),
    era_callstore_line_file:close(Projection).

synced(#state{settings = #{fsync_ms := 0}} = State) ->
    sync(State);
synced(#state{settings = #{fsync_ms := Ms}, timer = undefined} = State) ->
    {ok, State#state{timer = erlang:send_after(Ms, self(), sync)}};
synced(State) ->
    {ok, State}.

sync(#state{records = Records, projection = Projection} = State) ->
    case {era_callstore_line_file:sync(Records), era_callstore_line_file:sync(Projection)} of
        {{ok, R}, {ok, P}} -> {ok, State#state{records = R, projection = P}};
        {{error, Reason, R}, {_, P}} -> {error, Reason, State#state{records = R, projection = P}};
        {{error, Reason, R}, {error, _, P}} -> {error, Reason, State#state{records = R, projection = P}};
        {{ok, R}, {error, Reason, P}} -> {error, Reason, State#state{records = R, projection = P}}
    end.

%% `cdr/COPM3_dialogs' → COPM3_dialogs
projection_name(#{copm3_name := Name}) -> binary_to_list(lists:last(binary:split(Name, <<"/">>, [global]))).

stem(Name, #{groups := 1}) -> Name;
stem(Name, #{group := Group}) -> Name ++ "." ++ integer_to_list(Group).
