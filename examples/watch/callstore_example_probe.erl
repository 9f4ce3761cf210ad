%%% An example of a probe: asks the processes that serve dialogs whether they still do.
%%%
%%% Set with `{probe, callstore_example_probe}'. A b2b process answers the call {serves, [DialogId]} with those of them
%%% that it serves. One question an owner, all owners at once. Who cannot be reached in time is `unknown', never `gone':
%%% only a process that answers without the dialog, or a node that says that there is no such process, says `gone'.
-module(callstore_example_probe).
-behaviour(era_callstore_probe).

-export([probe/1]).

-define(ANSWER_MS, 2000).

-spec probe([era_callstore_probe:dialog()]) -> [{binary(), era_callstore_probe:answer()}].
probe(Dialogs) ->
    ByOwner = maps:groups_from_list(fun(#{owner := Owner}) -> Owner end, fun(#{dialogid := Id}) -> Id end, Dialogs),
    Asked = [{ask(Owner, Ids), Ids} || {Owner, Ids} <- maps:to_list(ByOwner)],
    lists:append([answer(Request, Ids) || {Request, Ids} <- Asked]).

ask(Owner, Ids) when is_pid(Owner) -> gen_server:send_request(Owner, {serves, Ids});
ask({Name, Node}, Ids) when is_atom(Name), is_atom(Node) -> gen_server:send_request({Name, Node}, {serves, Ids});
ask(_External, _Ids) -> none.

answer(none, Ids) ->
    [{Id, unknown} || Id <- Ids];
answer(Request, Ids) ->
    case gen_server:wait_response(Request, ?ANSWER_MS) of
        {reply, Served} -> [{Id, case lists:member(Id, Served) of true -> alive; false -> gone end} || Id <- Ids];
        {error, {noproc, _}} -> [{Id, gone} || Id <- Ids];
        _ -> [{Id, unknown} || Id <- Ids]
    end.
