%%% Has Mnesia dump its log before the log is large.
%%%
%%% Mnesia counts writes and minutes, not bytes. A row here holds up to thousands of events, or hundreds of records: as many
%%% of them as Mnesia lets come together would be gigabytes, read again at the next start.
%%% Always holds: one dump at a time is asked for.
%%% Called by: era_callstore_sup.
%%% Must never: be waited for; a commit goes on during a dump.
-module(era_callstore_dump).
-behaviour(gen_server).

-export([start_link/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-include_lib("kernel/include/logger.hrl").

-define(LOOK_MS, 1000).

%% @doc Looks once a second whether the log of Mnesia on this node has grown beyond Bytes.
-spec start_link(Bytes :: pos_integer()) -> gen_server:start_ret().
start_link(Bytes) -> gen_server:start_link(?MODULE, Bytes, []).

-spec init(pos_integer()) -> {ok, pos_integer(), {continue, look}}.
init(Bytes) -> {ok, Bytes, {continue, look}}.

-spec handle_continue(look, pos_integer()) -> {noreply, pos_integer()}.
handle_continue(look, Bytes) -> {noreply, looked(Bytes)}.

-spec handle_call(term(), gen_server:from(), pos_integer()) -> {reply, {error, unknown}, pos_integer()}.
handle_call(_Request, _From, Bytes) -> {reply, {error, unknown}, Bytes}.

-spec handle_cast(term(), pos_integer()) -> {noreply, pos_integer()}.
handle_cast(_Message, Bytes) -> {noreply, Bytes}.

-spec handle_info(look | term(), pos_integer()) -> {noreply, pos_integer()}.
handle_info(look, Bytes) -> {noreply, looked(Bytes)};
handle_info(_Other, Bytes) -> {noreply, Bytes}.

looked(Bytes) ->
    IsLarge = era_callstore_schema:running() andalso era_callstore_schema:log_bytes() > Bytes,
    case IsLarge andalso era_callstore_schema:dump() of
        {error, Reason} -> ?LOG_WARNING(#{what => "Mnesia's log is large and could not be dumped", reason => Reason});
        _ -> ok
    end,
    _ = erlang:send_after(?LOOK_MS, self(), look),
    Bytes.
