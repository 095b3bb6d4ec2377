#!/usr/bin/env escript
%% -*- erlang -*-
%%! +pc unicode
%% What a real Erlang reads from one direction of a distribution connection. Nothing here is ours:
%% terms are decoded by the emulator's own decoder of distribution messages, which is given the atoms
%% that a header refers to; frames, headers, atom cache and fragments are read as OTP's dist.c and
%% external.c do.
%%
%%   escript frames.escript      reads lines of ID HEX, the bytes of one direction from its first on
%%
%% For each message, once it is whole, it prints
%%
%%   ID|OP|BYTES|FRAGMENTS|PAYLOAD BYTES|FIELD,FIELD,...|PAYLOAD|NAME|KIND|TAG|FUNCTION|REASON
%%
%% with terms in hexadecimal as term_to_binary/1 gives them, and - for what there is not; FUNCTION as
%% module:name/arity; REASON by its outer shape, of signals that have one. For each message that has
%% begun and is not whole at the end, it prints ID|unfinished|OP|BYTES; then ID|atoms|REFERENCES, how many
%% references to atoms the headers had; and behind everything else
%%
%%   ID|end|TICKS|BYTES BEHIND THE LAST FRAME
%%
%% or, behind the first frame that no node would take, ID|refused. Of what is no direction of a
%% distribution connection from its beginning, it prints nothing.

-mode(compile).

main([]) ->
    io:setopts([{encoding, latin1}, binary]),
    directions().

directions() ->
    case file:read_line(standard_io) of
        eof ->
            ok;
        {ok, Line} ->
            [Id, Hex] = binary:split(string:chomp(Line), <<" ">>),
            handshake(Id, binary:decode_hex(Hex)),
            directions()
    end.

%% Messages of {packet, 2} up to the last that this side sends in a handshake.
handshake(Id, <<Len:16, Body:Len/binary, Rest/binary>>) ->
    case Body of
        <<Tag, _/binary>> when Tag =:= $r, Len =:= 21; Tag =:= $a, Len =:= 17 ->
            frames(Id, Rest, #{cache => #{}, trains => #{}, ticks => 0, atoms => 0});
        <<Tag, _/binary>> when Tag =:= $N; Tag =:= $n; Tag =:= $s; Tag =:= $c ->
            handshake(Id, Rest);
        _ ->
            ok
    end;
handshake(_, _) ->
    ok.

frames(Id, <<0:32, Rest/binary>>, #{ticks := Ticks} = State) ->
    frames(Id, Rest, State#{ticks := Ticks + 1});
frames(Id, <<Len:32, Body:Len/binary, Rest/binary>>, State) ->
    try frame(Id, Body, State) of
        State1 -> frames(Id, Rest, State1)
    catch
        error:_ -> tell([Id, "|refused"])
    end;
frames(Id, Rest, #{ticks := Ticks, trains := Trains, atoms := Atoms}) ->
    [tell(lists:join($|, [Id, "unfinished", integer_to_list(Op), integer_to_list(Bytes)]))
     || #{op := Op, bytes := Bytes} <- maps:values(Trains)],
    tell(lists:join($|, [Id, "atoms", integer_to_list(Atoms)])),
    tell(lists:join($|, [Id, "end", integer_to_list(Ticks), integer_to_list(byte_size(Rest))])).

frame(Id, <<112, 131, Terms/binary>> = Body, State) ->
    {Control, Behind} = split(Terms),
    Payload = case Behind of <<131, Rest/binary>> -> Rest; <<>> -> <<>> end,
    message(Id, Control, Payload, {}, 4 + byte_size(Body), 1),
    State;
frame(Id, <<131, 68, Header/binary>> = Body, State) ->
    {Atoms, Terms, State1} = header(Header, State),
    {Control, Payload} = split(Terms),
    message(Id, Control, Payload, Atoms, 4 + byte_size(Body), 1),
    State1;
frame(Id, <<131, 69, Sequence:64, Left:64, Header/binary>> = Body, State) ->
    {Atoms, Terms, State1} = header(Header, State),
    {Control, Payload} = split(Terms),
    <<104, _, 97, Op, _/binary>> = Control,
    Train = #{op => Op, control => Control, payload => [Payload], atoms => Atoms, next => Left - 1,
              bytes => 4 + byte_size(Body), count => 1},
    go_on(Id, Sequence, Train, State1);
frame(Id, <<131, 70, Sequence:64, Left:64, More/binary>> = Body, #{trains := Trains} = State) ->
    #{Sequence := #{next := Left, bytes := Bytes, count := Count, payload := Payload} = Train} = Trains,
    go_on(Id, Sequence, Train#{next := Left - 1, bytes := Bytes + 4 + byte_size(Body),
                               count := Count + 1, payload := [Payload, More]}, State).

go_on(Id, Sequence, #{next := 0} = Train, #{trains := Trains} = State) ->
    #{control := Control, payload := Payload, atoms := Atoms, bytes := Bytes, count := Count} = Train,
    message(Id, Control, iolist_to_binary(Payload), Atoms, Bytes, Count),
    State#{trains := maps:remove(Sequence, Trains)};
go_on(_, Sequence, Train, #{trains := Trains} = State) ->
    State#{trains := Trains#{Sequence => Train}}.

%% The atoms that a distribution header refers to, and the cache behind it.
header(<<0, Terms/binary>>, State) ->
    {{}, Terms, State};
header(<<Count, Rest/binary>>, #{cache := Cache, atoms := Before} = State) ->
    Bytes = Count div 2 + 1,
    <<Flags:Bytes/binary, References/binary>> = Rest,
    Nibbles = lists:append([[Byte band 15, Byte bsr 4] || <<Byte>> <= Flags]),
    LengthBits = case lists:nth(Count + 1, Nibbles) band 1 of 0 -> 8; 1 -> 16 end,
    {Atoms, Terms, Cache1} =
        references(lists:sublist(Nibbles, Count), References, LengthBits, Cache, []),
    {Atoms, Terms, State#{cache := Cache1, atoms := Before + Count}}.

references([], Terms, _, Cache, Atoms) ->
    {list_to_tuple(lists:reverse(Atoms)), Terms, Cache};
references([Nibble | Nibbles], <<Index, Rest/binary>>, LengthBits, Cache, Atoms) ->
    Slot = (Nibble band 7) * 256 + Index,
    case Nibble band 8 of
        8 ->
            <<Len:LengthBits, Text:Len/binary, Behind/binary>> = Rest,
            Atom = binary_to_atom(Text, utf8),
            references(Nibbles, Behind, LengthBits, Cache#{Slot => Atom}, [Atom | Atoms]);
        0 ->
            references(Nibbles, Rest, LengthBits, Cache, [maps:get(Slot, Cache) | Atoms])
    end.

%% --- Messages --------------------------------------------------------------------------------

message(Id, Control, Payload, Atoms, Bytes, Fragments) ->
    Term = decoded(Control, Atoms),
    [Op | Fields] = tuple_to_list(Term),
    HasPayload = lists:member(Op, [2, 6, 12, 16, 22, 23, 24, 25, 26, 27, 28, 29, 30, 33, 34, 37]),
    Message = case HasPayload of true -> decoded(Payload, Atoms); false -> none end,
    {Kind, Tag, Function} = call(Term, Message),
    tell(lists:join($|, [
        Id, integer_to_list(Op), integer_to_list(Bytes), integer_to_list(Fragments),
        case HasPayload of true -> integer_to_list(byte_size(Payload)); false -> "-" end,
        lists:join($,, [hex(Field) || Field <- Fields]),
        case HasPayload of true -> hex(Message); false -> "-" end,
        name(Term), Kind, tag(Tag), Function, reason(Term, Message)
    ])).

decoded(Bytes, Atoms) ->
    erts_debug:dist_ext_to_term(Atoms, <<131, Bytes/binary>>).

%% Registered names that are sent to or monitored.
name({6, _, _, Name}) -> text(Name);
name({16, _, _, Name, _}) -> text(Name);
name({19, _, Name, _}) when is_atom(Name) -> text(Name);
name(Term) when element(1, Term) =:= 37, is_atom(element(4, Term)) -> text(element(4, Term));
name(_) -> "-".

%% What OTP's libraries mean by a message; see gen.erl, erpc.erl, rpc.erl and the protocol of io.
call(Control, Arguments) when element(1, Control) =:= 29; element(1, Control) =:= 30 ->
    Id = element(2, Control),
    case {element(5, Control), Arguments} of
        {{erpc, execute_call, 4}, [_, M, F, A]} -> {"erpc_call", Id, function(M, F, length(A))};
        {{erpc, execute_call, 3}, [M, F, A]} -> {"erpc_call", Id, function(M, F, length(A))};
        {{erpc, execute_cast, 3}, [M, F, A]} -> {"erpc_cast", Id, function(M, F, length(A))};
        {{erpc, execute_call, 2}, _} -> {"spawn", Id, function(erpc, execute_call, 2)};
        {{M, F, A}, _} -> {"spawn", Id, function(M, F, A)}
    end;
call(Control, _) when element(1, Control) =:= 31; element(1, Control) =:= 32 ->
    {"spawn_reply", element(2, Control), "-"};
call(Control, _) when element(1, Control) =:= 21; element(1, Control) =:= 28 ->
    {"down", element(4, Control), "-"};
call(Control, _) when element(1, Control) =:= 20 ->
    {"demonitor", element(4, Control), "-"};
call(Control, _) when element(1, Control) >= 24, element(1, Control) =< 27 ->
    {"-", none, "-"};
call({37, Flags, _, _}, _) when Flags band 16 =/= 0 ->
    {"-", none, "-"};
call({37, Flags, _, _, _}, _) when Flags band 16 =/= 0 ->
    {"-", none, "-"};
call(_, {'$gen_call', {_, Tag}, {Call, M, F, A, _}}) when Call =:= call; Call =:= block_call ->
    {"rpc_call", Tag, function(M, F, length(A))};
call(_, {'$gen_call', {_, Tag}, _}) -> {"gen_call", Tag, "-"};
call(_, {'$gen_cast', {cast, M, F, A, _}}) -> {"rpc_cast", none, function(M, F, length(A))};
call(_, {'$gen_cast', _}) -> {"gen_cast", none, "-"};
call(_, {io_request, _, Tag, _}) -> {"io_request", Tag, "-"};
call(_, {io_reply, Tag, _}) -> {"io_reply", Tag, "-"};
call(_, {Tag, _}) when is_reference(Tag) -> {"gen_reply", Tag, "-"};
call(_, {[_ | Tag] = Alias, _}) when is_reference(Tag) -> {"gen_reply", Alias, "-"};
call(_, {{Tag, Node}, _}) when is_reference(Tag), is_atom(Node) -> {"gen_reply", Tag, "-"};
call(_, _) -> {"-", none, "-"}.

function(M, F, A) -> format("~tw:~tw/~b", [M, F, A]).

%% Why a process ended, as far as it is told without what may be anybody's data.
reason(Control, _) when element(1, Control) =:= 3; element(1, Control) =:= 8;
                        element(1, Control) =:= 13; element(1, Control) =:= 18;
                        element(1, Control) =:= 21 ->
    shape(element(tuple_size(Control), Control));
reason(Control, Payload) when element(1, Control) >= 24, element(1, Control) =< 28 ->
    shape(Payload);
reason(Control, Payload) when element(1, Control) =:= 37, element(2, Control) band 16 =/= 0 ->
    shape(Payload);
reason(_, _) ->
    "-".

shape(Atom) when is_atom(Atom) -> format("~tw", [Atom]);
shape(Tuple) when tuple_size(Tuple) > 0, is_atom(element(1, Tuple)) ->
    format("{~tw,~tc}", [element(1, Tuple), 16#2026]);
shape(Tuple) when is_tuple(Tuple) -> <<"{…}"/utf8>>;
shape(List) when is_list(List) -> <<"[…]"/utf8>>;
shape(Map) when is_map(Map) -> <<"#{…}"/utf8>>;
shape(_) -> <<"…"/utf8>>.

tag([alias | Tag]) -> tag(Tag);
tag([[alias | _] | Tag]) -> tag(Tag);
tag({Tag, Node}) when is_atom(Node) -> tag(Tag);
tag(Tag) when is_reference(Tag) -> hex(Tag);
tag(_) -> "-".

%% --- The control term and what is behind it --------------------------------------------------

split(Terms) ->
    Behind = skip(1, Terms),
    split_binary(Terms, byte_size(Terms) - byte_size(Behind)).

%% What is behind so many terms.
skip(0, Rest) -> Rest;
skip(N, <<70, _:8/binary, Rest/binary>>) -> skip(N - 1, Rest);
skip(N, <<77, Len:32, _, _:Len/binary, Rest/binary>>) -> skip(N - 1, Rest);
skip(N, <<82, _, Rest/binary>>) -> skip(N - 1, Rest);
skip(N, <<88, Rest/binary>>) -> skip(N - 1, fixed(12, skip(1, Rest)));
skip(N, <<89, Rest/binary>>) -> skip(N - 1, fixed(8, skip(1, Rest)));
skip(N, <<90, Len:16, Rest/binary>>) -> skip(N - 1, fixed(4 + 4 * Len, skip(1, Rest)));
skip(N, <<97, _, Rest/binary>>) -> skip(N - 1, Rest);
skip(N, <<98, _:32, Rest/binary>>) -> skip(N - 1, Rest);
skip(N, <<99, _:31/binary, Rest/binary>>) -> skip(N - 1, Rest);
skip(N, <<Tag, Len:16, _:Len/binary, Rest/binary>>) when Tag =:= 100; Tag =:= 107; Tag =:= 118 ->
    skip(N - 1, Rest);
skip(N, <<101, Rest/binary>>) -> skip(N - 1, fixed(5, skip(1, Rest)));
skip(N, <<102, Rest/binary>>) -> skip(N - 1, fixed(5, skip(1, Rest)));
skip(N, <<103, Rest/binary>>) -> skip(N - 1, fixed(9, skip(1, Rest)));
skip(N, <<104, Arity, Rest/binary>>) -> skip(N - 1 + Arity, Rest);
skip(N, <<105, Arity:32, Rest/binary>>) -> skip(N - 1 + Arity, Rest);
skip(N, <<106, Rest/binary>>) -> skip(N - 1, Rest);
skip(N, <<108, Len:32, Rest/binary>>) -> skip(N + Len, Rest);
skip(N, <<109, Len:32, _:Len/binary, Rest/binary>>) -> skip(N - 1, Rest);
skip(N, <<110, Len, _, _:Len/binary, Rest/binary>>) -> skip(N - 1, Rest);
skip(N, <<111, Len:32, _, _:Len/binary, Rest/binary>>) -> skip(N - 1, Rest);
skip(N, <<112, Size:32, Rest/binary>>) -> skip(N - 1, fixed(Size - 4, Rest));
skip(N, <<113, Rest/binary>>) -> skip(N + 2, Rest);
skip(N, <<114, Len:16, Rest/binary>>) -> skip(N - 1, fixed(1 + 4 * Len, skip(1, Rest)));
skip(N, <<Tag, Len, _:Len/binary, Rest/binary>>) when Tag =:= 115; Tag =:= 119 -> skip(N - 1, Rest);
skip(N, <<116, Pairs:32, Rest/binary>>) -> skip(N - 1 + 2 * Pairs, Rest);
skip(N, <<120, Rest/binary>>) -> skip(N - 1, fixed(12, skip(1, Rest))).

fixed(Len, Bytes) ->
    <<_:Len/binary, Rest/binary>> = Bytes,
    Rest.

%% --- Text ------------------------------------------------------------------------------------

format(Format, Terms) -> unicode:characters_to_binary(io_lib:format(Format, Terms)).

hex(Term) -> binary:encode_hex(term_to_binary(Term)).

text(Atom) -> atom_to_binary(Atom, utf8).

tell(Line) -> ok = file:write(standard_io, [Line, $\n]).
