%%% What came of the play: read from the collection and the files, told as a table, written to OUT.
%%%
%%% Always holds: records.ndjson in OUT is either whole or not there. The collection is read through the API, page by
%%% page, and held against the files: two sinks must tell the same.
%%% Called by: callstore_demo.
-module(callstore_demo_result).

-export([prepare/1, collect/1, write/2, show/2, faults/1]).
-export_type([result/0, sizes/0]).

%% Live calls; calls in RAM, which are those and the closed ones that are kept for a while; the bytes of both.
-type sizes() :: #{live := non_neg_integer(), kept := non_neg_integer(), memory_bytes := non_neg_integer()}.

-type result() :: #{
    outcomes := #{string() => {Calls :: pos_integer(), TalkMs :: non_neg_integer()}},
    calls := non_neg_integer(),
    revisions := non_neg_integer(),
    projected := non_neg_integer(),
    file_lines := non_neg_integer(),
    file_projected := non_neg_integer()
}.

-define(PAGE, 500).
-define(COPM3, <<"cdr/COPM3_dialogs">>).
-define(FILES, ["records", "COPM3_dialogs"]).

%% @doc Makes sure that OUT can be written, before anything is played.
-spec prepare(Out :: string()) -> ok.
prepare("") ->
    ok;
prepare(Out) ->
    case filelib:ensure_path(Out) of
        ok -> lists:foreach(fun(Name) -> writable(filename:join(Out, Name ++ ".ndjson")) end, ?FILES);
        {error, Reason} -> unwritable(Out, Reason)
    end.

%% An older result goes: what is there after this run is of this run.
writable(Path) ->
    Part = Path ++ ".part",
    case file:write_file(Part, <<>>) of
        ok -> lists:foreach(fun(Old) -> removed(Old, file:delete(Old)) end, [Part, Path]);
        {error, Reason} -> unwritable(Part, Reason)
    end.

removed(_Path, ok) -> ok;
removed(_Path, {error, enoent}) -> ok;
removed(Path, {error, Reason}) -> unwritable(Path, Reason).

-spec unwritable(string(), atom()) -> no_return().
unwritable(Path, Reason) -> callstore_demo_act:stop(2, [Path, " cannot be written: ", file:format_error(Reason)]).

%% @doc Counts the records of both sinks.
-spec collect(CdrDir :: string()) -> result().
collect(CdrDir) ->
    {Calls, Revisions} = fold_pages(
        fun(Cursor) -> era_callstore:records(#{}, Cursor) end, fun newest/2, {#{}, 0}
    ),
    Projected = fold_pages(
        fun(Cursor) -> era_callstore:collection(?COPM3, #{}, Cursor) end,
        fun(#{<<"invite_id">> := Cid}, Cids) -> Cids#{Cid => true} end,
        #{}
    ),
    Outcomes = maps:fold(
        fun(_Cid, {_Revision, Outcome, TalkMs}, Acc) ->
            maps:update_with(Outcome, fun({N, T}) -> {N + 1, T + TalkMs} end, {1, TalkMs}, Acc)
        end,
        #{},
        Calls
    ),
    #{
        outcomes => Outcomes,
        calls => map_size(Calls),
        revisions => Revisions,
        projected => map_size(Projected),
        file_lines => lists:sum([count_lines(F) || F <- files(CdrDir, "records")]),
        file_projected => length(lists:usort(lists:append([projected_in(F) || F <- files(CdrDir, "COPM3_dialogs")])))
    }.

fold_pages(Read, Fun, Acc) -> fold_pages(Read, Fun, Acc, #{limit => ?PAGE}).

fold_pages(Read, Fun, Acc, Page) ->
    #{items := Items, cursor := Cursor} = Read(Page),
    Next = lists:foldl(Fun, Acc, Items),
    case Cursor of
        done -> Next;
        _ -> fold_pages(Read, Fun, Next, Page#{cursor => Cursor})
    end.

newest(#{<<"cid">> := Cid, <<"revision">> := Revision} = Record, {Calls, Revisions}) ->
    Kept =
        case Calls of
            #{Cid := {Newer, _, _}} when Newer > Revision -> Calls;
            #{} -> Calls#{Cid => {Revision, outcome(Record), talk_ms(Record)}}
        end,
    {Kept, Revisions + 1}.

talk_ms(#{<<"durations">> := #{<<"talk_ms">> := Ms}}) when is_integer(Ms) -> Ms;
talk_ms(_) -> 0.

outcome(#{<<"end">> := #{<<"term_cause">> := 1000}}) -> "dead";
outcome(#{<<"answer">> := Answer, <<"end">> := #{<<"released_by">> := Side}}) when is_integer(Answer) ->
    case Side of
        <<"a">> -> "answered, the caller hung up";
        <<"b">> -> "answered, the callee hung up";
        _ -> "answered, ended otherwise"
    end;
outcome(#{<<"end">> := #{<<"sipcode">> := Code}}) when Code =:= 486; Code =:= 600 -> "busy";
outcome(#{<<"end">> := #{<<"sipcode">> := 603}}) -> "declined";
outcome(#{<<"end">> := #{<<"sipcode">> := 404}}) -> "not found";
outcome(#{<<"end">> := #{<<"term_cause">> := 3}}) -> "cancelled by the caller";
outcome(#{<<"end">> := #{<<"term_cause">> := 5}}) -> "no answer";
outcome(#{<<"end">> := #{<<"term_cause">> := 4}}) -> "refused";
outcome(#{<<"end">> := #{<<"term_cause">> := 6}}) -> "failed";
outcome(_) -> "other".

%% @doc What a result must never show.
-spec faults(result()) -> [iodata()].
faults(#{revisions := Revisions, projected := Projected, file_lines := Lines, file_projected := InFile}) ->
    [
        io_lib:format("the collection holds ~b ~s, the file ~b", [Kept, What, Written])
     || {What, Kept, Written} <- [{"records", Revisions, Lines}, {"calls in the projection", Projected, InFile}],
        Kept =/= Written
    ].

%% @doc Writes the files of the sink to OUT as one file each; returns where they are.
-spec write(Out :: string(), CdrDir :: string()) -> [string()].
write("", CdrDir) ->
    lists:append([files(CdrDir, Name) || Name <- ?FILES]);
write(Out, CdrDir) ->
    [joined(filename:join(Out, Name ++ ".ndjson"), files(CdrDir, Name)) || Name <- ?FILES].

joined(Path, Files) ->
    Part = Path ++ ".part",
    Joined =
        case file:open(Part, [write, raw, binary]) of
            {ok, Device} ->
                Copied = copied(Files, Device),
                first_error([Copied, file:datasync(Device), file:close(Device)]);
            {error, _} = Error ->
                Error
        end,
    case first_error([Joined, file:rename(Part, Path)]) of
        ok -> Path;
        {error, Reason} -> unwritable(Path, Reason)
    end.

copied([], _Device) ->
    ok;
copied([File | Files], Device) ->
    case file:copy({File, [read, raw, binary]}, Device) of
        {ok, _} -> copied(Files, Device);
        {error, _} = Error -> Error
    end.

first_error(Results) ->
    case [Error || {error, _} = Error <- Results] of
        [] -> ok;
        [Error | _] -> Error
    end.

%% Those that the sink has set aside are older than the one it writes; their names carry the time.
files(CdrDir, Name) ->
    lists:sort(filelib:wildcard(filename:join(CdrDir, Name ++ ".*T*.ndjson"))) ++
        [F || F <- [filename:join(CdrDir, Name ++ ".ndjson")], filelib:is_regular(F)].

%% Calls, not rows: a later revision may have changed the row of its call.
projected_in(Path) ->
    {ok, Rows} = file:read_file(Path),
    case re:run(Rows, <<"\"invite_id\":\"([^\"]*)\"">>, [global, {capture, all_but_first, binary}]) of
        {match, Found} -> [Cid || [Cid] <- Found];
        nomatch -> []
    end.

count_lines(Path) ->
    {ok, Device} = file:open(Path, [read, raw, binary]),
    Count = count_lines(Device, 0),
    ok = file:close(Device),
    Count.

count_lines(Device, Count) ->
    case file:read(Device, 1048576) of
        {ok, Block} -> count_lines(Device, Count + length(binary:matches(Block, <<"\n">>)));
        eof -> Count
    end.

%% @doc Prints the table.
-spec show(result(), map()) -> ok.
show(#{outcomes := Outcomes, calls := Calls} = Result, Played) ->
    #{took_ms := TookMs, events := Events, peak := Peak, places := Places} = Played,
    io:format("~n~-32ts ~9ts ~12ts~n", ["outcome", "calls", "mean talk s"]),
    Sorted = lists:sort(fun({_, {A, _}}, {_, {B, _}}) -> A >= B end, maps:to_list(Outcomes)),
    lists:foreach(
        fun({Outcome, {N, TalkMs}}) -> io:format("~-32ts ~9b ~12ts~n", [Outcome, N, mean_seconds(TalkMs, N)]) end,
        Sorted
    ),
    io:format("~-32ts ~9b~n~n", ["all", Calls]),
    lists:foreach(
        fun({Name, Value}) -> io:format("~-32ts ~9ts~n", [Name, value(Value)]) end,
        [
            {"events", Events},
            {"  accepted", maps:get(accepted, Played)},
            {"  duplicates", maps:get(duplicate, Played)},
            {"  rejected", maps:get(rejected, Played)},
            {"live calls left", maps:get(live, Played)},
            {"calls with a record", Calls},
            {"records, all revisions", maps:get(revisions, Result)},
            {"calls in the projection COPM3", maps:get(projected, Result)},
            {"events/s", Events * 1000 div TookMs},
            {"live calls at the peak", maps:get(live, Peak)},
            {"  in RAM then, with closed ones", maps:get(kept, Peak)},
            {"bytes per live call at the peak", per_call(Peak)}
        ]
    ),
    io:nl(),
    lists:foreach(fun({What, Where}) -> io:format("records: ~ts, ~ts~n", [Where, What]) end, Places).

mean_seconds(0, _N) -> "";
mean_seconds(TalkMs, N) -> io_lib:format("~.1f", [TalkMs / N / 1000]).

per_call(#{kept := 0}) -> "-";
per_call(#{kept := Kept, memory_bytes := Bytes}) -> Bytes div Kept.

value(Value) when is_integer(Value) -> integer_to_list(Value);
value(Text) -> Text.
