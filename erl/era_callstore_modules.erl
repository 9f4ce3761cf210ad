%%% Settings that list modules of the platform: {Module, Args} or {Name, Module, Args}.
%%%
%%% Always holds: a name stands once in a setting; a problem names the setting, the entry and the key in its arguments.
%%% Called by: era_callstore_sink, era_callstore_handler. Pure, but for loading the modules.
%%% Must never: start anything.
-module(era_callstore_modules).

-export([check/3, args/4, problem/5]).
-export_type([setting/0]).

-type setting() :: #{
    %% as the configuration calls it
    key := binary(),
    %% what an entry, and what the whole, is to be
    entry := iodata(),
    list := iodata()
}.
-type problem() :: era_callstore_nif:problem().

%% @doc Checks each entry with One, and that no two have one name.
-spec check(Value :: term(), setting(), One) -> {ok, [Checked]} | {error, [problem(), ...]} when
    One :: fun((Name :: binary(), module(), Args :: map()) -> {ok, Checked} | {error, [problem()]}),
    Checked :: #{name := binary(), _ => _}.
check(Entries, #{key := Key} = Setting, One) when is_list(Entries) ->
    Checked = [entry(Entry, Setting, One) || Entry <- Entries],
    Names = [Name || {ok, #{name := Name}} <- Checked],
    Right = ["two ", Key, " have this name: name them {Name, Module, Args}"],
    Twice = [problem(Key, Name, Name, twice, Right) || Name <- lists:usort(Names -- lists:usort(Names))],
    case [Problem || {error, Problems} <- Checked, Problem <- Problems] ++ Twice of
        [] -> {ok, [Entry || {ok, Entry} <- Checked]};
        Problems -> {error, Problems}
    end;
check(Other, #{key := Key, list := Right}, _One) ->
    {error, [problem(Key, [], Other, wrong_type, Right)]}.

entry({Name, Module, Args}, _Setting, One) when is_binary(Name), Name =/= <<>>, is_atom(Module), is_map(Args) ->
    One(Name, Module, Args);
entry({Module, Args}, _Setting, One) when is_atom(Module), is_map(Args) ->
    One(atom_to_binary(Module), Module, Args);
entry(Other, #{key := Key, entry := Right}, _One) ->
    {error, [problem(Key, [], Other, wrong_type, Right)]}.

%% @doc What the module itself has against its arguments, where it has a check/1.
-spec args(Setting :: binary(), Name :: binary(), module(), Args :: map()) -> [problem()].
args(Setting, Name, Module, Args) ->
    case erlang:function_exported(Module, check, 1) of
        true -> [problem(Setting, [Name, $., atom_to_list(K)], V, R, T) || {K, V, R, T} <- Module:check(Args)];
        false -> []
    end.

%% @doc A problem with a setting, or with what Within names in it.
-spec problem(Setting :: binary(), Within :: iodata(), Value :: term(), Reason :: atom(), Right :: iodata()) -> problem().
problem(Setting, Within, Value, Reason, Right) ->
    #{
        instance => <<"era_callstore">>,
        key => iolist_to_binary([Setting | [[$., Within] || Within =/= []]]),
        value => Value,
        reason => Reason,
        text => iolist_to_binary(Right)
    }.
