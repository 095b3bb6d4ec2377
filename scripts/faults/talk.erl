%% Two nodes that say what a script says, and count it: the account of a capture is held against that.
%%
%% The acceptor runs prepare/1, the initiator run/3. What each call of OTP costs in messages on the wire
%% is written beside it: `up' from the initiator, `down' from the acceptor.
-module(talk).
-behaviour(gen_server).
-export([prepare/1, run/3]).
-export([init/1, handle_call/3, handle_cast/2]).

-define(ROUNDS, 115).
-define(RARE, 10).
-define(MB, 1024 * 1024).

%% --- The acceptor ----------------------------------------------------------------------------

%% Sinks with names, and processes that others link to and kill; in text, for the other node.
prepare(Workers) ->
    {ok, _} = gen_server:start({local, store}, ?MODULE, [], []),
    Peers = [{named(W), spawn(fun sink/0), spawn(fun sink/0)} || W <- lists:seq(1, Workers)],
    binary_to_list(base64:encode(term_to_binary(Peers))).

named(W) ->
    Pid = spawn(fun sink/0),
    Name = list_to_atom("sink_" ++ integer_to_list(W)),
    true = register(Name, Pid),
    {Name, Pid}.

%% Takes everything, and says what it is asked to say.
sink() ->
    process_flag(trap_exit, true),
    sink_loop().

sink_loop() ->
    receive
        {say, To, What} -> To ! What;
        _ -> ok
    end,
    sink_loop().

init([]) -> {ok, nothing}.
handle_call(Request, _, State) -> {reply, Request, State}.
handle_cast(_, State) -> {noreply, State}.

%% --- The initiator ---------------------------------------------------------------------------

%% Plays everything, and writes what was said to a file as JSON.
run(Node, Peers, File) ->
    Parent = self(),
    Workers = [
        spawn_link(fun() -> Parent ! {self(), work(Node, W, Peer)} end)
     || {W, Peer} <- lists:enumerate(binary_to_term(base64:decode(Peers)))
    ],
    Told = lists:append([receive {Worker, Done} -> Done end || Worker <- Workers]),
    Counts = lists:foldl(fun(Key, Map) -> maps:update_with(Key, fun(N) -> N + 1 end, 1, Map) end,
                         #{}, [Key || {count, Key} <- Told]),
    Sends = [io_lib:format("[~b,~b,\"~s\"]", [Seq, Size, Op]) || {sent, Seq, Size, Op} <- Told],
    Json = [
        "{",
        [[json(Side), ": {", lists:join(", ", [
            [json(Name), ": ", integer_to_list(N)] || {{S, Name}, N} <- maps:to_list(Counts), S =:= Side
        ]), "}, "] || Side <- [up, down, name, function, call]],
        "\"sent\": [", lists:join(", ", Sends), "]}"
    ],
    file:write_file(File, Json).

json(Text) -> [$", io_lib:format("~ts", [Text]), $"].

work(Node, W, {{Name, _}, Sink, Linked}) ->
    put(told, []),
    [round(Node, W * 100000 + I, Name, Sink, Linked) || I <- lists:seq(1, ?ROUNDS)],
    [rare(Node, W * 100000 + 50000 + I, Name, Sink, Linked) || I <- lists:seq(1, ?RARE)],
    traced(Node, W * 100000 + 60000, Name, Sink, Linked),
    send(up, 'SEND_SENDER', Sink, W * 100000 + 70000, 2 * ?MB),
    W =< 2 andalso send(up, 'SEND_SENDER', Sink, W * 100000 + 70001, 8 * ?MB),
    %% Behind everything that this process has said.
    call(Node, last),
    get(told).

round(Node, Seq, Name, Sink, Linked) ->
    Size = element(1 + Seq rem 20, {0, 1, 2, 9, 30, 60, 99, 200, 254, 255, 256, 257, 300, 500, 700, 999,
                                    1400, 1500, 5000, 70000}),
    send(up, 'SEND_SENDER', Sink, 2 * Seq, Size),
    name(Name),
    send(up, 'REG_SEND', {Name, Node}, 2 * Seq + 1, Size),
    alone(fun() -> link(Linked), unlink(Linked) end), up('LINK'), up('UNLINK_ID'), down('UNLINK_ID_ACK'),
    First = monitor(process, Linked), up('MONITOR_P'),
    demonitor(First, [flush]), up('DEMONITOR_P'),
    Second = monitor(process, {Name, Node}), up('MONITOR_P'), name(Name),
    demonitor(Second, [flush]), up('DEMONITOR_P').

rare(Node, Seq, Name, Sink, Linked) ->
    exit(Linked, {ended, Seq}), up('PAYLOAD_EXIT2'),
    erlang:group_leader(self(), Sink), up('GROUP_LEADER'),
    call(Node, Seq),
    gen_server:cast({store, Node}, Seq), up('REG_SEND'), name(store),
    noproc(Node),
    spawns(Node, up('SPAWN_REQUEST'), down('SPAWN_REPLY')),
    %% The process that runs it is monitored.
    1 = erpc:call(Node, erlang, abs, [-1]),
    up('SPAWN_REQUEST'), down('SPAWN_REPLY'), down('PAYLOAD_MONITOR_P_EXIT'),
    tell({count, {function, "erlang:abs/1"}}), tell({count, {call, 'rpc answered'}}),
    ends(Linked, Seq), up('LINK'), up('PAYLOAD_EXIT'),
    Sink ! {say, self(), {back, Seq}}, up('SEND_SENDER'),
    receive {back, Seq} -> down('SEND_SENDER') end,
    Alias = alias(),
    {Name, Node} ! {say, Alias, {back, Seq}}, up('REG_SEND'), name(Name),
    receive {back, Seq} -> down('ALIAS_SEND') end,
    unalias(Alias).

%% A process that has a trace token gives it to all that it says but exit/2, and to who hears that; until
%% it hears something without one.
traced(Node, Seq, Name, Sink, Linked) ->
    seq_trace:set_token(label, Seq),
    send(up, 'SEND_SENDER_TT', Sink, Seq, 100),
    name(Name),
    send(up, 'REG_SEND_TT', {Name, Node}, Seq + 1, 100),
    spawns(Node, up('SPAWN_REQUEST_TT'), down('SPAWN_REPLY_TT')),
    Alias = alias(),
    Sink ! {say, Alias, {back, Seq}}, up('SEND_SENDER_TT'),
    receive {back, Seq} -> down('ALIAS_SEND_TT') end,
    unalias(Alias),
    exit(Linked, traced), up('PAYLOAD_EXIT2'),
    ends(Linked, Seq), up('LINK'), up('PAYLOAD_EXIT_TT'),
    seq_trace:set_token([]).

%% A local process links itself to the other, and ends; it has the trace token of this one.
ends(Linked, Seq) ->
    Token = seq_trace:get_token(),
    alone(fun() -> seq_trace:set_token(Token), link(Linked), exit({done, Seq}) end).

%% In a process of its own: of two links of the same two processes, the answer to the end of the first may
%% come in the middle of the second, which then needs fewer messages.
alone(Do) ->
    {_, Monitor} = spawn_monitor(Do),
    receive {'DOWN', Monitor, process, _, _} -> ok end.

spawns(Node, _, _) ->
    Request = spawn_request(Node, lists, seq, [1, 3], [{reply, yes}]),
    receive {spawn_reply, Request, ok, _} -> ok end,
    tell({count, {function, "lists:seq/2"}}), tell({count, {call, 'spawn answered'}}).

call(Node, Request) ->
    Request = gen_server:call({store, Node}, Request),
    up('MONITOR_P'), name(store), up('REG_SEND'), name(store), down('ALIAS_SEND'), up('DEMONITOR_P'),
    tell({count, {call, 'gen_call answered'}}).

noproc(Node) ->
    {'EXIT', {noproc, _}} = (catch gen_server:call({nobody, Node}, anything)),
    up('MONITOR_P'), name(nobody), up('REG_SEND'), name(nobody), down('PAYLOAD_MONITOR_P_EXIT'),
    tell({count, {call, 'gen_call noproc'}}).

send(up, Op, To, Seq, Size) ->
    Message = {Seq, binary:copy(<<Seq>>, Size)},
    To ! Message,
    up(Op),
    tell({sent, Seq, byte_size(term_to_binary(Message)) - 1, Op}).

up(Op) -> tell({count, {up, Op}}).
down(Op) -> tell({count, {down, Op}}).
name(Name) -> tell({count, {name, Name}}).
tell(What) -> put(told, [What | get(told)]).
