%%% Runs the properties of test/prop under EUnit. A failure prints the smallest events that show it.
-module(era_callstore_prop_tests).

-include_lib("eunit/include/eunit.hrl").

-define(TIMES, 200).

properties_test_() ->
    [
        {atom_to_list(Property), {timeout, 300, fun() -> holds(Property) end}}
     || {Property, 0} <- prop_store:module_info(exports), lists:prefix("prop_", atom_to_list(Property))
    ].

holds(Property) ->
    ?assert(proper:quickcheck(prop_store:Property(), [{numtests, ?TIMES}, {to_file, user}])).
