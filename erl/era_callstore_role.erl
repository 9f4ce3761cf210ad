%%% The role instances of a site, as given and as checked.
%%%
%%% Always holds: what check/2 returns has passed every rule of DOMAIN.md §4 and carries every default.
%%% Called by: era_callstore_config.
%%% Must never: know a rule itself; the rules are the core's (src/domain), reached by era_callstore_nif:check_roles/2.
-module(era_callstore_role).

-export([check/2, default/0]).
-export_type([source/0, role/0]).

-type source() :: [map()] | {file, file:name_all()}.
-type role() :: #{binary() => term()}.

%% @doc The one instance that runs where nothing is configured: it serves every domain.
-spec default() -> [role()].
default() ->
    [
        #{
            <<"name">> => <<"callstore1">>,
            <<"roletype">> => <<"callstore">>,
            <<"iface">> => <<"default">>,
            <<"group">> => 1,
            <<"order">> => 1,
            <<"include_domains">> => []
        }
    ].

%% @doc Checked instances, the disabled ones left out, with what is odd but harmless.
-spec check(source(), MasterDomain :: binary()) ->
    {ok, [role()], Warnings :: [era_callstore_nif:problem()]} | {error, [era_callstore_nif:problem()]}.
check({file, Path}, Master) ->
    case file:read_file(Path) of
        {ok, Json} ->
            check_json(Json, Master);
        {error, Posix} ->
            Text = io_lib:format("the file cannot be read: ~ts", [file:format_error(Posix)]),
            {error, [problem({file, Path}, unreadable, Text)]}
    end;
check(Roles, Master) when is_list(Roles), Roles =/= [] ->
    try era_callstore_nif:json_encode(Roles) of
        Json -> check_json(Json, Master)
    catch
        error:badarg -> {error, [problem(Roles, not_json, "a list of maps of JSON values is wanted")]}
    end;
check(Other, _Master) ->
    {error, [problem(Other, wrong_type, "a list of role instances or {file, Path} is wanted")]}.

check_json(Json, Master) ->
    case era_callstore_nif:check_roles(Json, Master) of
        {ok, Roles, Warnings} -> {ok, [R || R <- Roles, maps:get(<<"enabled">>, R, true) =/= false], Warnings};
        {error, Problems} -> {error, [named(P) || P <- Problems]}
    end.

%% One that is of no instance is of the application.
named(#{instance := <<>>} = Problem) -> Problem#{instance := <<"era_callstore">>};
named(Problem) -> Problem.

problem(Value, Reason, Text) ->
    #{
        instance => <<"era_callstore">>,
        key => <<"roles">>,
        value => Value,
        reason => Reason,
        text => unicode:characters_to_binary(Text)
    }.
