%%% The application's configuration: what may be set, its defaults, and the checked form that is in force.
%%%
%%% Always holds: a configuration returned by check/1 is whole: every setting has a value of the right type, every
%%% instance a node, every group its members in order of activity. With nothing set it is one instance of group 1 that
%%% serves the whole tree, here, on disc, with the sink `collection'.
%%% Called by: the application at start, era_callstore:check/1 and configure/1, and whoever reads what is in force.
%%% Must never: start anything, or repair a wrong value silently.
-module(era_callstore_config).

-export([check/1, from_env/0, in_force/0, put_in_force/1, group/2, format_problem/1]).
-export_type([config/0, group/0, member/0, sink/0, input/0]).

-type input() :: #{atom() => term()} | [{atom(), term()}].
-type member() :: #{order := integer(), instance := binary(), node := node()}.
-type sink() :: #{name := binary(), module := module(), args := map()}.
-type group() :: #{
    group := pos_integer(),
    storage := era_callstore_log:storage(),
    members := [member()],
    roles := #{Instance :: binary() => era_callstore_role:role()}
}.
-type config() :: #{
    site := binary(),
    master_domain := binary(),
    roles := [era_callstore_role:role()],
    instances := #{binary() => node()},
    data_dir := file:filename(),
    commit := era_callstore_log:commit(),
    sinks := [sink()],
    handlers := [era_callstore_handler:handler()],
    event_aliases := #{binary() => binary()},
    watch := #{binary() => non_neg_integer()},
    probe := module() | off,
    probe_timeout_ms := pos_integer(),
    mixer := module() | off,
    mixer_timeout_ms := pos_integer(),
    rescue := module() | off,
    copm3_name := binary(),
    queue_bytes := pos_integer(),
    lag_bytes := pos_integer(),
    feed_bytes := pos_integer(),
    subscriber_messages := pos_integer(),
    deliver_timeout_ms := pos_integer(),
    retry_min_ms := pos_integer(),
    retry_max_ms := pos_integer(),
    trim_interval_ms := pos_integer(),
    trim_bytes := pos_integer(),
    groups := #{pos_integer() => group()},
    warnings := [era_callstore_nif:problem()],
    given := #{atom() => term()}
}.

-define(IN_FORCE, {?MODULE, in_force}).

%% name, default, type, what would be right
settings() ->
    [
        {site, <<"site1">>, text, "a binary that is not empty"},
        {master_domain, <<"era.test">>, text, "the name of the root domain, a binary that is not empty"},
        {roles, era_callstore_role:default(), any, "a list of role instances or {file, Path}"},
        {instances, default, any, "a map from the names of instances to nodes"},
        {data_dir, "data", path, "the name of a directory"},
        {commit, transaction, {one_of, [transaction, sync_transaction, sync_dirty, async_dirty]},
            "transaction, sync_transaction, sync_dirty or async_dirty"},
        {sinks, [{collection, #{}}], any,
            "a list of {collection | file | Module, Args :: map()} or {Name, Module, Args}"},
        {handlers, [], any, "a list of {Module, Args :: map()} or {Name, Module, Args}"},
        {event_aliases, #{}, aliases, "a map of binaries to binaries: their name of an event type to ours"},
        {watch, #{}, times, "a map of names to integers of 0 or more, in the unit the name ends with"},
        {probe, off, {module, probe}, "a module with probe/1 (era_callstore_probe) or off"},
        {probe_timeout_ms, 5000, positive, "an integer above 0"},
        {mixer, off, {module, mix}, "a module with mix/1 (era_callstore_mixer) or off"},
        {mixer_timeout_ms, 30000, positive, "an integer above 0"},
        {rescue, off, {module, rescue}, "a module with rescue/1 (era_callstore_rescue) or off"},
        {copm3_name, <<"cdr/COPM3_dialogs">>, text, "the name of a collection, a binary that is not empty"},
        {queue_bytes, 64 * 1024 * 1024, positive, "an integer above 0"},
        {lag_bytes, 64 * 1024 * 1024, positive, "an integer above 0"},
        {feed_bytes, 16 * 1024 * 1024, positive, "an integer above 0"},
        {subscriber_messages, 10000, positive, "an integer above 0"},
        {deliver_timeout_ms, 30000, positive, "an integer above 0"},
        {retry_min_ms, 500, positive, "an integer above 0"},
        {retry_max_ms, 60000, positive, "an integer above 0"},
        {trim_interval_ms, 10000, positive, "an integer above 0"},
        {trim_bytes, 1024 * 1024, positive, "an integer above 0"}
    ].

%% @doc Checks the environment of the application.
-spec from_env() -> {ok, config()} | {error, [era_callstore_nif:problem()]}.
from_env() ->
    Env = proplists:delete(included_applications, application:get_all_env(era_callstore)),
    check(maps:from_list(Env)).

%% @doc The configuration in force on this node.
-spec in_force() -> {ok, config()} | {error, not_running}.
in_force() ->
    case persistent_term:get(?IN_FORCE, none) of
        none -> {error, not_running};
        Config -> {ok, Config}
    end.

%% @doc Puts a checked configuration in force; `none' when the application stops.
-spec put_in_force(config() | none) -> ok.
put_in_force(Config) -> persistent_term:put(?IN_FORCE, Config).

%% @doc What this node does for a group: the group, and its best instance placed here.
-spec group(config(), Group :: pos_integer()) -> {ok, group(), member()} | none.
group(#{groups := Groups}, Group) ->
    case Groups of
        #{Group := #{members := Members} = Found} ->
            case [M || #{node := Node} = M <- Members, Node =:= node()] of
                [Best | _] -> {ok, Found, Best};
                [] -> none
            end;
        #{} ->
            none
    end.

%% @doc One line for a person.
-spec format_problem(era_callstore_nif:problem()) -> unicode:chardata().
format_problem(#{instance := Instance, key := Key, value := Value, text := Text}) ->
    io_lib:format("~ts: ~ts = ~0tp: ~ts", [Instance, Key, Value, Text]).

%% @doc Checks settings, a map or a property list; what is not given has its default.
-spec check(input()) -> {ok, config()} | {error, [era_callstore_nif:problem()]}.
check(Input) ->
    Given = maps:from_list(to_pairs(Input)),
    {Values, Problems} = lists:foldl(fun(S, Acc) -> setting(S, Given, Acc) end, {#{}, []}, settings()),
    Unknown = [
        problem(Key, Value, unknown_key, ["there is no such setting; there are: ", known()])
     || {Key, Value} <- maps:to_list(maps:without([K || {K, _, _, _} <- settings()], Given))
    ],
    case Unknown ++ lists:reverse(Problems) of
        [] -> check_whole(Values#{given => Given});
        All -> {error, All ++ sources(Values)}
    end.

%% What is wrong with roles, sinks and handlers, whatever else is; of roles nothing can be said without a root.
sources(#{sinks := Sinks, handlers := Handlers} = Values) ->
    Roles =
        case Values of
            #{roles := Source, master_domain := Master} -> era_callstore_role:check(Source, Master);
            #{} -> {ok, [], []}
        end,
    [P || {error, Ps} <- [Roles, era_callstore_sink:check(Sinks), era_callstore_handler:check(Handlers)], P <- Ps].

to_pairs(Input) when is_map(Input) -> maps:to_list(Input);
to_pairs(Input) -> proplists:unfold(Input).

known() -> lists:join(", ", [atom_to_list(K) || {K, _, _, _} <- settings()]).

setting({Key, Default, Type, Right}, Given, {Values, Problems}) ->
    Value = maps:get(Key, Given, Default),
    case value(Type, Value) of
        {ok, Checked} -> {Values#{Key => Checked}, Problems};
        error -> {Values, [problem(Key, Value, wrong_value, [Right, " is wanted"]) | Problems]}
    end.

value(any, Value) -> {ok, Value};
value(text, Value) when is_binary(Value), Value =/= <<>> ->
    case unicode:characters_to_binary(Value) of
        Value -> {ok, Value};
        _ -> error
    end;
value(positive, Value) when is_integer(Value), Value > 0 -> {ok, Value};
value({one_of, Values}, Value) ->
    case lists:member(Value, Values) of
        true -> {ok, Value};
        false -> error
    end;
value({module, _Function}, off) -> {ok, off};
value({module, Function}, Value) when is_atom(Value) ->
    _ = code:ensure_loaded(Value),
    case erlang:function_exported(Value, Function, 1) of
        true -> {ok, Value};
        false -> error
    end;
value(path, Value) when is_binary(Value); is_list(Value) ->
    case unicode:characters_to_list(Value) of
        [_ | _] = Path -> {ok, Path};
        _ -> error
    end;
value(aliases, Value) when is_map(Value) ->
    case lists:all(fun({K, V}) -> is_binary(K) andalso is_binary(V) end, maps:to_list(Value)) of
        true -> {ok, Value};
        false -> error
    end;
value(times, Value) when is_map(Value) ->
    times(maps:to_list(Value), #{});
value(_, _) ->
    error.

times([], Checked) -> {ok, Checked};
times([{Name, V} | More], Checked) when is_atom(Name), is_integer(V), V >= 0 ->
    times(More, Checked#{atom_to_binary(Name) => V});
times([{Name, V} | More], Checked) when is_binary(Name), is_integer(V), V >= 0 ->
    times(More, Checked#{Name => V});
times(_, _) -> error.

check_whole(#{roles := Source, sinks := Sinks, handlers := Handlers, master_domain := Master} = Values) ->
    CheckedSinks = era_callstore_sink:check(Sinks),
    CheckedHandlers = era_callstore_handler:check(Handlers),
    case era_callstore_role:check(Source, Master) of
        {ok, Roles, Warnings} ->
            Placed = place(Roles, Values),
            Found = [P || {error, Ps} <- [CheckedSinks, CheckedHandlers, Placed], P <- Ps],
            case Found ++ watch_problems(Values) ++ router_problems(Roles, Values) of
                [] ->
                    {ok, Specs} = CheckedSinks,
                    {ok, Handling} = CheckedHandlers,
                    {ok, Instances} = Placed,
                    {ok, Values#{
                        roles := Roles,
                        sinks := Specs,
                        handlers := Handling,
                        instances := Instances,
                        warnings => Warnings,
                        groups => groups(Roles, Instances)
                    }};
                Problems ->
                    {error, Problems}
            end;
        {error, _} ->
            {error, sources(Values)}
    end.

%% Which limits there are is known to the core, by making a store with them.
watch_problems(#{watch := Watch, site := Site, master_domain := Master, copm3_name := Copm3Name}) ->
    Settings = #{
        site => Site, master_domain => Master, group => 1, sinks => [], cdr_enabled => true, sorm3_enabled => false,
        copm3_name => Copm3Name
    },
    lists:append([watch_problem(Name, Value, Settings) || {Name, Value} <- maps:to_list(Watch)]).

watch_problem(Name, Value, Settings) ->
    try era_callstore_nif:new(Settings#{watch => #{Name => Value}}) of
        _ -> []
    catch
        error:_ -> [problem(["watch.", Name], Value, unknown_key, "there is no such limit")]
    end.

%% The rules that need the set of all instances and the aliases are known to the core's router.
router_problems(Roles, Values) ->
    Settings = maps:with([event_aliases, master_domain], Values),
    case era_callstore_nif:router(era_callstore_nif:json_encode(Roles), Settings) of
        {ok, _} -> [];
        {error, Problems} -> Problems
    end.

place(Roles, #{instances := default}) ->
    {ok, maps:from_list([{Name, node()} || Name <- names(Roles)])};
place(Roles, #{instances := Instances}) when is_map(Instances) ->
    Names = names(Roles),
    Problems =
        [
            instance_problem(Name, missing, unplaced, "no node runs it: name one in `instances'")
         || Name <- Names, not is_map_key(Name, Instances)
        ] ++
            [
                instance_problem(Name, Node, no_such_instance, "no role instance has this name")
             || {Name, Node} <- maps:to_list(Instances), not lists:member(Name, Names)
            ] ++
            [
                instance_problem(Name, Node, wrong_value, "a node name, an atom, is wanted")
             || {Name, Node} <- maps:to_list(Instances), not is_atom(Node)
            ],
    case Problems of
        [] -> {ok, Instances};
        _ -> {error, Problems}
    end;
place(_Roles, #{instances := Other}) ->
    {error, [problem(instances, Other, wrong_value, "a map from the names of instances to nodes is wanted")]}.

names(Roles) -> [Name || #{<<"name">> := Name} <- Roles].

groups(Roles, Instances) ->
    lists:foldl(fun(Role, Groups) -> add_to_group(Role, Instances, Groups) end, #{}, Roles).

add_to_group(#{<<"name">> := Name, <<"group">> := Group, <<"order">> := Order} = Role, Instances, Groups) ->
    Member = #{order => Order, instance => Name, node => maps:get(Name, Instances)},
    Empty = #{group => Group, storage => ram_copies, members => [], roles => #{}},
    #{members := Members, roles := InGroup, storage := Storage} = Current = maps:get(Group, Groups, Empty),
    Groups#{
        Group => Current#{
            members := lists:sort(fun(#{order := A}, #{order := B}) -> A =< B end, [Member | Members]),
            roles := InGroup#{Name => Role},
            storage := storage(Role, Storage)
        }
    }.

%% One copy on disc is enough to make the others worth keeping there too.
storage(#{<<"mnesia_storage_mode">> := <<"ram">>}, Storage) -> Storage;
storage(_Role, _Storage) -> disc_copies.

instance_problem(Name, Value, Reason, Text) ->
    (problem(instances, Value, Reason, Text))#{instance := printable(Name)}.

printable(Name) when is_binary(Name) -> Name;
printable(Name) -> unicode:characters_to_binary(io_lib:format("~0tp", [Name])).

problem(Key, Value, Reason, Text) ->
    #{
        instance => <<"era_callstore">>,
        key => unicode:characters_to_binary(io_lib:format("~ts", [Key])),
        value => Value,
        reason => Reason,
        text => unicode:characters_to_binary(Text)
    }.
