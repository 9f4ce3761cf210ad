%%% The wait of a writer for passive copies that are too far behind (era_callstore_credit): no commit until none is.
%%%
%%% Always holds: a copy that Mnesia has lost is not waited for, since nothing is written to it; a writer that is to end
%%% waits for nobody. How far each copy is behind is noted for the status.
%%% Called by: era_callstore_writer, in whose mailbox wait/4 looks for what views, the router and its parent say.
%%% Must never: answer a producer, or take anything else out of the mailbox.
-module(era_callstore_behind).

-export([wait/4, folded/5, changed/4, noted/2]).

-include_lib("kernel/include/logger.hrl").

%% A wait that is longer than this is told in the log file.
-define(LONG_WAIT_MS, 1000).

-type credit() :: era_callstore_credit:credit().

%% @doc Returns when no copy is too far behind. `exit': the parent says so.
-spec wait(Group :: pos_integer(), Epoch :: pos_integer(), credit(), Parent :: pid()) ->
    {ok, credit()} | {exit, Reason :: term()}.
wait(Group, Epoch, Credit, Parent) ->
    Begun = erlang:monotonic_time(millisecond),
    Waited = waited({Group, Epoch, Parent}, Credit, Begun + ?LONG_WAIT_MS),
    era_callstore_counters:add(passive_waits, 1),
    era_callstore_counters:add(passive_wait_ms, erlang:monotonic_time(millisecond) - Begun),
    ok = era_callstore_router:note({writer, Group, waits_for}, #{}),
    Waited.

waited({Group, _, _} = Whose, Credit, TellAt) ->
    Copies = era_callstore_log:copies(Group),
    case [Node || Node <- era_callstore_credit:behind(Credit), lists:member(Node, Copies)] of
        [] ->
            {ok, Credit};
        [_ | _] = Nodes ->
            ok = era_callstore_router:note({writer, Group, waits_for}, #{nodes => Nodes}),
            wait_for(Nodes, Whose, Credit, TellAt)
    end.

wait_for(Nodes, {Group, Epoch, Parent} = Whose, Credit, TellAt) ->
    receive
        {era_callstore_view, folded, View, Of, Seq} ->
            waited(Whose, folded(Group, {Of, Epoch}, View, Seq, Credit), TellAt);
        {era_callstore_router, Change, Views} ->
            waited(Whose, changed(Group, Change, Views, Credit), TellAt);
        finish ->
            %% Activity is given up: what waits is written now, whoever is behind.
            self() ! finish,
            {ok, era_callstore_credit:no_more(Credit)};
        {'EXIT', Parent, Reason} ->
            {exit, Reason}
    after left_ms(TellAt) ->
        ?LOG_WARNING(#{what => "no commit until a passive copy has caught up", group => Group, nodes => Nodes}),
        wait_for(Nodes, Whose, Credit, infinity)
    end.

left_ms(infinity) -> infinity;
left_ms(At) -> max(0, At - erlang:monotonic_time(millisecond)).

%% @doc A view has folded up to Seq of the first of two epochs, which is said to a writer of the second.
-spec folded(Group :: pos_integer(), {pos_integer(), pos_integer()}, View :: pid(), Seq :: pos_integer(), credit()) ->
    credit().
folded(Group, {Epoch, Epoch}, View, Seq, Credit) -> noted(Group, era_callstore_credit:folded(View, Seq, Credit));
%% Of another term: said to a writer that was here before.
folded(_Group, _Epochs, _View, _Seq, Credit) -> Credit.

%% @doc Copies have come or gone.
-spec changed(Group :: pos_integer(), joined | left, [pid()], credit()) -> credit().
changed(Group, joined, Views, Credit) -> noted(Group, era_callstore_credit:joined(Views, Credit));
changed(Group, left, Views, Credit) -> noted(Group, era_callstore_credit:left(Views, Credit)).

%% @doc For the status.
-spec noted(Group :: pos_integer(), credit()) -> credit().
noted(Group, Credit) ->
    ok = era_callstore_router:note({writer, Group, lag_bytes}, era_callstore_credit:lags(Credit)),
    Credit.
