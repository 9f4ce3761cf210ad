%%% Behaviour of a sink: where records go.
%%%
%%% A sink is given every revision of every record at least once, in order of closing, a batch at a time. It answers `ok'
%%% when it has the whole batch in safety; that fact goes into the log and the batch never comes again, unless the
%%% instance died between the two. Hence: idempotent by `record_id' and `revision'.
%%%
%%% Always holds: each sink of each group runs in a process of its own; what it does holds nobody else.
%%% Implemented by: era_callstore_sink_collection, era_callstore_sink_file, and modules of the host.
%%% Must never: answer `ok' for a batch that a crash of the sink could still lose.
-module(era_callstore_sink).

-export([check/1, context/2, prepare/2]).
-export_type([item/0, context/0]).

-type item() :: #{
    cid := binary(),
    revision := pos_integer(),
    domain := CallersDomain :: binary(),
    domains := OfAllLegs :: [binary(), ...],
    end_ts := integer(),
    record := Json :: binary(),
    projection := Json :: binary() | none
}.
%% What a sink may want to know about where it runs.
-type context() :: #{
    group := pos_integer(),
    groups := pos_integer(),
    storage := era_callstore_log:storage(),
    copm3_name := binary()
}.

%% Called on every node of the group when its copy is loaded, before anything is delivered.
-callback prepare(Args :: map(), context()) -> ok | {error, Reason :: term()}.
%% Called in the sink's own process when its group becomes active here; an error is tried again later.
-callback init(Args :: map(), context()) -> {ok, State :: term()} | {error, Reason :: term()}.
%% At most 256 items. On an error, or a crash, the same items come again later.
-callback deliver([item()], State) -> {ok, State} | {error, Reason :: term(), State}.
-callback terminate(Reason :: term(), State :: term()) -> term().
%% A message that is not the outbox's, such as the sink's own timer.
-callback handle_info(Message :: term(), State) -> {ok, State}.
%% Problems of the arguments, found before anything starts: key, value, reason, what would be right.
-callback check(Args :: map()) -> [{Key :: atom(), Value :: term(), Reason :: atom(), Right :: iodata()}].
-optional_callbacks([check/1, prepare/2, handle_info/2]).

-include_lib("kernel/include/logger.hrl").

-define(SETTING, <<"sinks">>).
-define(ENTRY, "{collection | file | Module, Args :: map()}").
-define(BUILT_IN, #{collection => era_callstore_sink_collection, file => era_callstore_sink_file}).

%% @doc Checks the setting `sinks': {collection | file | Module, Args} or {Name, Module, Args}.
-spec check(term()) -> {ok, [era_callstore_config:sink()]} | {error, [era_callstore_nif:problem()]}.
check(Sinks) ->
    era_callstore_modules:check(
        Sinks, #{key => ?SETTING, entry => ?ENTRY " is wanted", list => "a list of " ?ENTRY " is wanted"}, fun check/3
    ).

%% @doc What the sinks of a group may want to know.
-spec context(era_callstore_config:config(), Group :: pos_integer()) -> context().
context(#{groups := Groups, copm3_name := Name}, Group) ->
    #{Group := #{storage := Storage}} = Groups,
    #{group => Group, groups => map_size(Groups), storage => Storage, copm3_name => Name}.

%% @doc Lets every sink prepare this node. One that cannot holds back nobody: it says so again when it is started.
-spec prepare([era_callstore_config:sink()], context()) -> ok.
prepare(Sinks, Context) ->
    lists:foreach(
        fun(#{name := Name, module := Module, args := Args}) ->
            case erlang:function_exported(Module, prepare, 2) andalso Module:prepare(Args, Context) of
                {error, Reason} -> ?LOG_WARNING(#{what => "a sink is not prepared", sink => Name, reason => Reason});
                _ -> ok
            end
        end,
        Sinks
    ).

check(Name, Given, Args) ->
    Module = maps:get(Given, ?BUILT_IN, Given),
    _ = code:ensure_loaded(Module),
    case erlang:function_exported(Module, deliver, 2) andalso erlang:function_exported(Module, init, 2) of
        true ->
            case era_callstore_modules:args(?SETTING, Name, Module, Args) of
                [] -> {ok, #{name => Name, module => Module, args => Args}};
                Problems -> {error, Problems}
            end;
        false ->
            Right = "a module with init/2, deliver/2 and terminate/2 (era_callstore_sink) is wanted",
            {error, [era_callstore_modules:problem(?SETTING, Name, Module, no_such_sink, Right)]}
    end.
