%%% Runs the properties of test/prop under EUnit. A failure prints the smallest case that shows it.
-module(era_callstore_prop_tests).

-include_lib("eunit/include/eunit.hrl").

-define(MODULES, [prop_store, prop_terms]).
-define(TIMES, 200).

properties_test_() ->
    [
        {atom_to_list(Property), {timeout, 300, fun() -> holds(Module, Property) end}}
     || Module <- ?MODULES,
        {Property, 0} <- Module:module_info(exports),
        lists:prefix("prop_", atom_to_list(Property))
    ].

holds(Module, Property) ->
    ?assert(proper:quickcheck(Module:Property(), [{numtests, ?TIMES}, {to_file, user}])).
