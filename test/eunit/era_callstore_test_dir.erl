%%% Folders for tests: made empty, removed with all that is in them.
%%%
%%% Called by: tests only. Must never: remove anything but what it made.
-module(era_callstore_test_dir).

-export([make/0, remove/1]).

-spec make() -> file:filename().
make() ->
    Name = io_lib:format("era_callstore_test.~s.~b", [os:getpid(), erlang:unique_integer([positive])]),
    Dir = filename:join(tmp(), lists:flatten(Name)),
    ok = file:make_dir(Dir),
    Dir.

-spec remove(file:filename()) -> ok.
remove(Dir) -> ok = file:del_dir_r(Dir).

tmp() ->
    case os:getenv("TMPDIR") of
        false -> "/tmp";
        Dir -> Dir
    end.
