%%% Errors in words: for `error_info' of raised errors, and for the reasons of failures that operators meet.
%%%
%%% Always holds: every reason that start, put and the sinks return has a sentence here; an unknown one is printed.
%%% Called by: the shell and logger (format_error/2), era_callstore (badarg/3), the application at start.
%%% Must never: be matched on; programs match reasons.
-module(era_callstore_errors).

-export([badarg/3, format_error/2, text/1]).
-export_type([call/0]).

%% A function of era_callstore with the arguments it was called with.
-type call() :: {Function :: atom(), Arguments :: [term()]}.

%% @doc Raises badarg for a caller's mistake in argument number Place, as if era_callstore's function itself did.
-spec badarg(call(), Place :: pos_integer(), Text :: iodata()) -> no_return().
badarg({Function, Arguments}, Place, Text) ->
    Info = #{module => ?MODULE, cause => #{Place => unicode:characters_to_binary(Text)}},
    {current_stacktrace, Stack} = erlang:process_info(self(), current_stacktrace),
    Callers = lists:reverse(lists:takewhile(fun({Module, _, _, _}) -> not inside(Module) end, lists:reverse(Stack))),
    erlang:raise(error, badarg, [{era_callstore, Function, Arguments, [{error_info, Info}]} | Callers]).

inside(Module) -> Module =:= ?MODULE orelse Module =:= era_callstore orelse Module =:= era_callstore_filter orelse
    Module =:= era_callstore_evidence.

%% @doc What the runtime asks for when it prints an error with `error_info'.
-spec format_error(term(), erlang:stacktrace()) -> #{pos_integer() | general | reason => unicode:chardata()}.
format_error(_Reason, [{_Module, _Function, _Arguments, Location} | _]) ->
    Info = proplists:get_value(error_info, Location, #{}),
    maps:get(cause, Info, #{}).

%% @doc One sentence about a reason.
-spec text(term()) -> binary().
text(Reason) ->
    case unicode:characters_to_binary(say(Reason)) of
        Text when is_binary(Text) -> Text;
        {_, Text, _} -> Text
    end.

say({dir_not_writable, Dir, Posix}) ->
    ["the directory ", Dir, " cannot be written: ", file:format_error(Posix)];
say({disc_full, Path}) ->
    ["no room is left on the disc of ", Path];
say({dir_of_node, Dir, Node}) ->
    Text = "the directory ~ts belongs to the node ~ts, this node is ~ts: start under that name or use another directory",
    io_lib:format(Text, [Dir, Node, node()]);
say({dir_held, Dir, OsPid}) ->
    [
        "the directory ", Dir, " is in use by the running process ", OsPid,
        ": give this node another directory (data_dir)"
    ];
say({schema_spoilt, Path}) ->
    ["Mnesia's schema ", Path, " cannot be read: bring the directory back from a copy, or set it aside and start; "
     "what it held is loaded from the other nodes of the group, as far as there are any"];
say({host_schema_in_ram, Dir}) ->
    ["Mnesia was started by the host without a schema on disc (", Dir, "), so calls cannot be kept there: "
     "create one before Mnesia starts, let era_callstore start Mnesia, or set mnesia_storage_mode to ram"];
say({mnesia_not_there, Reason}) ->
    io_lib:format("the application mnesia is not in the release: ~0tp", [Reason]);
say({mnesia_start, Reason}) ->
    io_lib:format("Mnesia does not start, and says why in the log: ~0tp", [Reason]);
say({mnesia_join, Nodes, Reason}) ->
    io_lib:format("the schemas of ~0tp cannot be joined: ~0tp", [Nodes, Reason]);
say({wrong_configuration, Problems}) ->
    lists:join("; ", [era_callstore_config:format_problem(Problem) || Problem <- Problems]);
say({chunk_version, Row}) ->
    Text = "the log holds a chunk of a version that this release does not read, in row ~0tp: start a later release here",
    io_lib:format(Text, [Row]);
say({not_written, Path}) ->
    ["Mnesia's log ", Path, " did not take what was committed: the disc is full or fails"];
say({file_error, Path, Posix}) ->
    [Path, ": ", file:format_error(Posix)];
say({different_content, Cid, Revision}) ->
    io_lib:format("the record of ~ts, revision ~b, is kept already with another content", [Cid, Revision]);
say(Other) ->
    io_lib:format("~0tp", [Other]).
