%%% An example of a rescue: asks the spare b2b processes of the platform, one after the other, to take a dialog over.
%%%
%%% Set with `{rescue, callstore_example_rescue}'. Spare processes are the members of the group `spare_b2b' in pg's
%%% default scope; one answers the call {adopt, Dialog} with {ok, Owner} when it has restored the conversation.
-module(callstore_example_rescue).
-behaviour(era_callstore_rescue).

-export([rescue/1]).

-define(ADOPT_MS, 1000).

-spec rescue(era_callstore_rescue:dialog()) -> {ok, era_callstore_owner:owner()} | {error, nobody_could}.
rescue(Dialog) -> ask(pg:get_members(spare_b2b), Dialog).

ask([], _Dialog) ->
    {error, nobody_could};
ask([Spare | Others], Dialog) ->
    Request = gen_server:send_request(Spare, {adopt, Dialog}),
    case gen_server:wait_response(Request, ?ADOPT_MS) of
        {reply, {ok, Owner}} -> {ok, Owner};
        _ -> ask(Others, Dialog)
    end.
