%%% A process that serves dialogs, as a b2b does it, for suites: it answers whether it serves one, may take one over,
%%% and ends as it is told.
%%%
%%% Called by: watch_SUITE, inside nodes.
-module(watch_owner).
-behaviour(gen_server).

-export([start/1, start_many/1, spare/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% @doc A process that serves these dialogs.
-spec start([binary()]) -> pid().
start(Dialogs) ->
    {ok, Pid} = gen_server:start(?MODULE, Dialogs, []),
    Pid.

%% @doc One process for each dialog.
-spec start_many([binary()]) -> [pid()].
start_many(Dialogs) -> [start([Dialog]) || Dialog <- Dialogs].

%% @doc A process that takes over what it is asked to.
-spec spare() -> pid().
spare() ->
    _ = pg:start(pg),
    Pid = start([]),
    ok = pg:join(spare_b2b, Pid),
    Pid.

-spec init([binary()]) -> {ok, [binary()]}.
init(Dialogs) -> {ok, Dialogs}.

-spec handle_call(term(), gen_server:from(), [binary()]) -> {reply, term(), [binary()]}.
handle_call({serves, Ids}, _From, Dialogs) ->
    {reply, [Id || Id <- Ids, lists:member(Id, Dialogs)], Dialogs};
handle_call({adopt, #{dialogid := Dialog}}, _From, Dialogs) ->
    {reply, {ok, self()}, [Dialog | Dialogs]}.

-spec handle_cast({forget, binary()}, [binary()]) -> {noreply, [binary()]}.
handle_cast({forget, Dialog}, Dialogs) -> {noreply, lists:delete(Dialog, Dialogs)}.

-spec handle_info({end_as, term()}, [binary()]) -> {stop, term(), [binary()]}.
handle_info({end_as, Reason}, Dialogs) -> {stop, Reason, Dialogs}.
