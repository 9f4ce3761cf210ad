%%% One term of activity: writer, watch, jobs, placement, ticker, an outbox per sink and a runner per handler live and
%%% end together.
%%%
%%% Always holds: when one of them ends, for whatever reason, all do, and the group hears of it by this supervisor's
%%% end.
%%% Called by: era_callstore_group, its parent.
%%% Must never: restart a child: a term that has lost one begins anew, under a new epoch.
-module(era_callstore_term_sup).
-behaviour(supervisor).

-export([start_link/4]).
-export([init/1]).

-type term_of_activity() :: era_callstore_log:term_of_activity().
%% The term before this one, as this node knows.
-type from() :: {Epoch :: pos_integer(), node()} | none.

-spec start_link(term_of_activity(), from(), era_callstore_nif:store(), era_callstore_config:config()) ->
    supervisor:startlink_ret().
start_link(Term, From, Store, Config) -> supervisor:start_link(?MODULE, {Term, From, Store, Config}).

-spec init({term_of_activity(), from(), era_callstore_nif:store(), era_callstore_config:config()}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({#{group := Group, commit := Commit} = Term, From, Store, Config}) ->
    #{sinks := Sinks, handlers := Handlers} = Config,
    {ok, #{storage := Storage, roles := #{} = Roles}, #{instance := Instance}} =
        era_callstore_config:group(Config, Group),
    #{Instance := Role} = Roles,
    Flush = Storage =/= ram_copies andalso Commit =/= async_dirty,
    Writer = (maps:with([queue_bytes, lag_bytes], Config))#{term => Term, from => From, store => Store, flush => Flush},
    Behaviours = era_callstore_behaviours:configured(Config),
    Watch = #{
        group => Group,
        store => Store,
        tracked => maps:get(<<"cdr_enabled">>, Role, true),
        behaviours => Behaviours
    },
    Jobs = #{
        group => Group,
        store => Store,
        behaviours => Behaviours,
        timeouts => era_callstore_behaviours:timeouts(Config)
    },
    Placement = #{group => Group, nodes => era_callstore_placement:of_config(Group, Config)},
    Ticker = (maps:with([trim_interval_ms, trim_bytes], Config))#{group => Group},
    Context = era_callstore_sink:context(Config, Group),
    Retries = maps:with([deliver_timeout_ms, retry_min_ms, retry_max_ms], Config),
    Outbox = Retries#{term => Term, context => Context},
    Runner = Retries#{group => Group},
    Children =
        [
            child(writer, era_callstore_writer, Writer),
            child(watch, era_callstore_watch, Watch),
            child(jobs, era_callstore_jobs, Jobs),
            child(level, era_callstore_level, maps:with([group, epoch], Term)),
            child(placement, era_callstore_placement, Placement),
            child(ticker, era_callstore_ticker, Ticker)
        ] ++
            [child({outbox, Name}, era_callstore_outbox, Outbox#{sink => Sink}) || #{name := Name} = Sink <- Sinks] ++
            [
                child({handler, Name}, era_callstore_handler_runner, Runner#{handler => Handler})
             || #{name := Name} = Handler <- Handlers
            ],
    {ok, {#{strategy => one_for_all, intensity => 0, period => 1, auto_shutdown => any_significant}, Children}}.

child(Id, Module, Options) ->
    #{id => Id, start => {Module, start_link, [Options]}, restart => temporary, significant => true, shutdown => 10000}.
