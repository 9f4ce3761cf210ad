%% What: an example of the behaviour era_callstore_handler. It appends what is said of calls to a file, one JSON object
%%       a line, with the sequence number beside it; the real one publishes the batch to a broker and waits for the
%%       broker's confirmation.
%% Holds: a batch is on disc before it is answered `ok`; what comes twice after a failure is written once, as the number
%%       tells.
%% Callers: the application, by the setting
%%       {handlers, [{callstore_example_ndjson, #{dir => "events", filter => #{events => [dlg_dead]}}}]}.
-module(callstore_example_ndjson).

-behaviour(era_callstore_handler).

-export([check/1, init/1, handle_events/2, terminate/2]).

%% Wrong arguments keep the application from starting, with these words.
-spec check(map()) -> [{atom(), term(), atom(), iodata()}].
check(#{dir := Dir}) when is_list(Dir) -> [];
check(Args) -> [{dir, maps:get(dir, Args, missing), wrong_value, "the name of a folder is wanted"}].

%% A file per group. `{ok, State, snapshot}` instead would ask for the live calls at every start, for who keeps a
%% picture of them.
-spec init(#{dir := file:filename(), group := pos_integer(), _ => _}) -> {ok, map()} | {error, term()}.
init(#{dir := Dir, group := Group}) ->
    File = filename:join(Dir, lists:concat(["group", Group, ".ndjson"])),
    case filelib:ensure_dir(File) of
        ok ->
            case file:open(File, [append, raw, binary]) of
                {ok, Handle} -> {ok, #{handle => Handle, last => 0}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

-spec handle_events([era_callstore_handler:item(), ...], map()) -> {ok, map()} | {error, term(), map()}.
handle_events(Items, #{handle := Handle, last := Last} = State) ->
    {New, Newest} = lists:foldl(fun fresh/2, {[], Last}, Items),
    case file:write(Handle, [line(Item) || Item <- lists:reverse(New)]) of
        ok ->
            case file:datasync(Handle) of
                ok -> {ok, State#{last := Newest}};
                {error, Reason} -> {error, Reason, State}
            end;
        {error, Reason} ->
            {error, Reason, State}
    end.

-spec terminate(term(), map()) -> ok | {error, term()}.
terminate(_Reason, #{handle := Handle}) -> file:close(Handle).

%% After a `resync` the numbers begin anew, maybe at one that was there; the live calls that follow all have the same
%% one.
fresh({Seq, resync} = Item, {New, _Last}) -> {[Item | New], Seq - 1};
fresh({Seq, #{<<"data">> := #{<<"snapshot">> := true}}} = Item, {New, _Last}) -> {[Item | New], Seq};
fresh({Seq, #{<<"type">> := <<"snapshot">>}} = Item, {New, _Last}) -> {[Item | New], Seq};
fresh({Seq, _Event} = Item, {New, Last}) when Seq > Last -> {[Item | New], Seq};
fresh(_Known, Acc) -> Acc.

line({Seq, resync}) -> [era_callstore_nif:json_encode(#{seq => Seq, resync => true}), $\n];
line({Seq, Event}) -> [era_callstore_nif:json_encode(Event#{seq => Seq}), $\n].
