%%% Crash points: the places between `put' and `ok', and on a record's way out, at which a test may kill the node.
%%%
%%% Always holds: compiled without CRASH_POINTS, which is how everybody but rebar3's profile `test' compiles, a point is
%%% nothing; test/ct/crash_SUITE looks into the beams for it. Their names are listed in test/ct/crash_point.erl.
%%% Must never: stand where passing it has a value, or change what the code does.
-ifdef(CRASH_POINTS).
-define(CRASH_POINT(Name), crash_point:passed(Name)).
-else.
-define(CRASH_POINT(Name), ok).
-endif.
