#!/usr/bin/env escript
%% -*- erlang -*-
%%! +pc unicode
%% What a real Erlang makes of external terms. Bytes are in hexadecimal, with their version byte
%% (131) or without; one term a line.
%%
%%   escript terms.escript make SEED COUNT   prints that many random terms
%%   escript terms.escript compare           reads lines of TERM|TEXT, and prints each whose text is
%%                                           not what this Erlang decodes from its bytes, and why;
%%                                           then how many were the same and how many different
%%   escript terms.escript accept            reads terms, and prints ok or badarg for each
%%
%% Text is Erlang's syntax in UTF-8. Where there is none, it is <node.id.serial>, #Port<node.id>,
%% #Ref<node.w2.w1.w0> and #Fun<module.index.uniq>, which are compared without the creation.

-mode(compile).

main(["make", Seed, Count]) ->
    rand:seed(exsss, list_to_integer(Seed)),
    [io:put_chars([hex(encoded(random_term(4))), $\n])
     || _ <- lists:seq(1, list_to_integer(Count))];
main(["compare"]) ->
    io:setopts([{encoding, latin1}, binary]),
    compare(0, 0);
main(["accept"]) ->
    io:setopts([{encoding, latin1}, binary]),
    accept();
main(_) ->
    io:put_chars(standard_error, "usage: terms.escript make SEED COUNT | compare | accept\n"),
    halt(2).

%% --- compare ---------------------------------------------------------------------------------

compare(Same, Different) ->
    case file:read_line(standard_io) of
        eof ->
            io:format("same: ~b, different: ~b~n", [Same, Different]);
        {ok, Line} ->
            [Hex, Text] = binary:split(string:chomp(Line), <<"|">>),
            case difference(bytes(Hex), Text) of
                none ->
                    compare(Same + 1, Different);
                Why ->
                    Told = io_lib:format("~ts~n  ~0tp~n", [Line, Why]),
                    ok = file:write(standard_io, unicode:characters_to_binary(Told)),
                    compare(Same, Different + 1)
            end
    end.

difference(Bytes, Text) ->
    try
        Theirs = normal(binary_to_term(Bytes)),
        Chars = unicode:characters_to_list(Text),
        {ok, Tokens, _} = erl_scan:string(lists:flatten(rebuilt(Chars)) ++ "."),
        {ok, Term} = erl_parse:parse_term(Tokens),
        case normal(Term) of
            Theirs -> none;
            Ours -> {expected, Theirs, found, Ours}
        end
    catch
        Class:Reason -> {Class, Reason}
    end.

%% Text in which what has no syntax is a tuple.
rebuilt([Quote | Rest]) when Quote =:= $"; Quote =:= $' ->
    {Quoted, Behind} = quoted(Quote, Rest, [Quote]),
    [Quoted | rebuilt(Behind)];
rebuilt("<<" ++ Rest) -> ["<<" | rebuilt(Rest)];
rebuilt("<" ++ Rest) -> named("'$pid'", Rest);
rebuilt("#Port<" ++ Rest) -> named("'$port'", Rest);
rebuilt("#Ref<" ++ Rest) -> named("'$ref'", Rest);
rebuilt("#Fun<" ++ Rest) -> named("'$fun'", Rest);
rebuilt([Char | Rest]) -> [Char | rebuilt(Rest)];
rebuilt([]) -> [].

%% An atom, and numbers behind dots. No atom that needs no quotes has a dot in it.
named(Tag, Text) ->
    {Name, Numbers} =
        case Text of
            "'" ++ Rest -> quoted($', Rest, "'");
            _ -> lists:splitwith(fun(C) -> C =/= $. end, Text)
        end,
    {Inside, ">" ++ Behind} = lists:splitwith(fun(C) -> C =/= $> end, Numbers),
    [_ | Words] = string:split(Inside, ".", all),
    ["{", Tag, ",", Name, [[",", Word] || Word <- Words], "}" | rebuilt(Behind)].

quoted(Quote, [Quote | Rest], Read) -> {lists:reverse([Quote | Read]), Rest};
quoted(Quote, [$\\, Char | Rest], Read) -> quoted(Quote, Rest, [Char, $\\ | Read]);
quoted(Quote, [Char | Rest], Read) -> quoted(Quote, Rest, [Char | Read]).

%% The same for a term. Floats are told by their bits: 0.0 is not -0.0.
normal(Term) when is_float(Term) ->
    {'$float', <<Term/float>>};
normal(Term) when is_pid(Term) ->
    <<Id:32, Serial:32, _:32>> = last(12, term_to_binary(Term)),
    {'$pid', node(Term), Id, Serial};
normal(Term) when is_port(Term) ->
    case term_to_binary(Term) of
        <<131, 120, _/binary>> = Bytes -> <<Id:64, _:32>> = last(12, Bytes);
        <<131, 89, _/binary>> = Bytes -> <<Id:32, _:32>> = last(8, Bytes)
    end,
    {'$port', node(Term), Id};
normal(Term) when is_reference(Term) ->
    <<131, 90, Len:16, _/binary>> = Bytes = term_to_binary(Term),
    Words = [Word || <<Word:32>> <= last(4 * Len, Bytes)],
    list_to_tuple(['$ref', node(Term) | lists:reverse(Words)]);
normal(Term) when is_function(Term) ->
    case erlang:fun_info(Term, type) of
        {type, external} ->
            Term;
        {type, local} ->
            [Module, Index, Uniq] =
                [element(2, erlang:fun_info(Term, Item)) || Item <- [module, index, uniq]],
            {'$fun', Module, Index, Uniq}
    end;
normal([Head | Tail]) ->
    [normal(Head) | normal(Tail)];
normal(Term) when is_tuple(Term) ->
    list_to_tuple([normal(Element) || Element <- tuple_to_list(Term)]);
normal(Term) when is_map(Term) ->
    maps:from_list([{normal(Key), normal(Value)} || {Key, Value} <- maps:to_list(Term)]);
normal(Term) ->
    Term.

last(Count, Bytes) -> binary:part(Bytes, byte_size(Bytes), -Count).

%% --- accept ----------------------------------------------------------------------------------

accept() ->
    case file:read_line(standard_io) of
        eof ->
            ok;
        {ok, Line} ->
            Verdict =
                try binary_to_term(bytes(string:chomp(Line))) of
                    _ -> "ok\n"
                catch
                    error:badarg -> "badarg\n"
                end,
            ok = file:write(standard_io, Verdict),
            accept()
    end.

%% --- make ------------------------------------------------------------------------------------

%% As nodes of several releases encode.
encoded(Term) ->
    Version = lists:nth(rand:uniform(5), [0, 1, 1, 2, 2]),
    try
        term_to_binary(Term, [{minor_version, Version}])
    catch
        error:badarg -> term_to_binary(Term)
    end.

random_term(0) ->
    random_leaf();
random_term(Depth) ->
    case rand:uniform(14) of
        1 -> list_to_tuple(random_terms(Depth));
        2 -> list_to_tuple(random_terms(Depth));
        3 -> random_terms(Depth);
        4 -> random_terms(Depth) ++ random_leaf();
        5 -> maps:from_list(lists:zip(random_terms(3, 1), random_terms(3, Depth - 1)));
        6 when Depth =:= 4 -> list_to_tuple(random_terms(200 + random(200), 0));
        7 when Depth =:= 4 -> maps:from_list([{N, random_leaf()} || N <- random_terms(50, 0)]);
        8 -> Free = random_term(Depth - 1), fun(X) -> {X, Free} end;
        _ -> random_leaf()
    end.

random_terms(Depth) -> random_terms(random(5), Depth - 1).
random_terms(Count, Depth) -> [random_term(Depth) || _ <- lists:seq(1, Count)].

random_leaf() ->
    case rand:uniform(18) of
        1 -> random(256);
        2 -> random(1 bsl 33) - (1 bsl 32);
        3 -> random_sign() * random(1 bsl random(80));
        4 -> random_sign() * binary:decode_unsigned(rand:bytes(1 + random(200)));
        5 -> random_float();
        6 -> random_float();
        7 -> list_to_atom(random_text(8));
        8 -> random_of(atoms());
        9 -> random_of(atoms());
        10 -> random_text(20);
        11 -> [random(256) || _ <- lists:seq(1, random(6))];
        12 -> unicode:characters_to_binary(random_text(20));
        13 -> rand:bytes(random(8));
        14 -> Size = random(30), <<(random(1 bsl Size)):Size>>;
        15 -> random_of([[], {}, #{}, <<>>, "", '']);
        16 -> random_of([fun lists:map/2, fun 'A b':'é'/0, fun 'when':'end'/255]);
        _ -> random_name()
    end.

random_name() ->
    Node = term_to_binary(random_of(['a@h', 'A@h', 'b@h.example.com', 'when', 'c d@h\'\\', 'Ω@h'])),
    <<131, Atom/binary>> = Node,
    Rest = rand:bytes(4),
    binary_to_term(
        case rand:uniform(6) of
            1 -> <<131, 88, Atom/binary, (random(1 bsl 15)):32, (random(1 bsl 13)):32, Rest/binary>>;
            2 -> <<131, 89, Atom/binary, (random(1 bsl 28)):32, Rest/binary>>;
            3 -> <<131, 120, Atom/binary, (random(1 bsl 64)):64, Rest/binary>>;
            _ ->
                Len = rand:uniform(5),
                Words = <<(random(1 bsl 18)):32, (rand:bytes(4 * (Len - 1)))/binary>>,
                <<131, 90, Len:16, Atom/binary, Rest/binary, Words/binary>>
        end
    ).

random_float() ->
    case rand:uniform(4) of
        1 -> random_of([0.0, -0.0, 1.0, -1.5, 1.0e22, 1.0e23, 123456789.125, 5.0e-324, 0.1,
                        1.7976931348623157e308, 2.2250738585072014e-308, 1.0e16, 1.0e15, 1.0e-5]);
        2 -> random(1000) / 8;
        _ ->
            try
                <<Float/float>> = rand:bytes(8),
                Float
            catch
                error:{badmatch, _} -> 4.2
            end
    end.

random_text(Most) ->
    Chars = random_of([
        "abcdefgz", "ABZ_@019", " '\"\\{}[]<>#,.|", [0, 7, 8, 9, 10, 11, 12, 13, 27, 31, 127],
        [128, 155, 159, 160, 173, 191, 215, 223, 228, 233, 247, 255],
        [256, 937, 8232, 8238, 8294, 65279, 65533, 65536, 128512, 16#10FFFF, 16#E000]
    ]),
    Other = random_of(["abc", Chars]),
    [random_of(random_of([Chars, Other])) || _ <- lists:seq(1, random(Most))].

atoms() ->
    Reserved =
        ['after', 'and', 'andalso', 'band', 'begin', 'bnot', 'bor', 'bsl', 'bsr', 'bxor', 'case',
         'catch', 'cond', 'div', 'else', 'end', 'fun', 'if', 'let', 'maybe', 'not', 'of', 'or',
         'orelse', 'receive', 'rem', 'try', 'when', 'xor'],
    Reserved ++
        [ok, true, undefined, 'Ok', '_', '@', 'a@b', 'a.b', '1a', 'ÿß', 'ÿ÷', '÷', 'aÀ', 'aΩ',
         'Ωa', '$gen_call', 'Elixir.GenServer', '', '\n', list_to_atom(lists:duplicate(255, $x)),
         list_to_atom(lists:duplicate(255, 233)), list_to_atom(lists:duplicate(255, 128512))].

random_of(List) -> lists:nth(rand:uniform(length(List)), List).
random_sign() -> random_of([1, -1]).
random(Below) -> rand:uniform(max(Below, 1)) - 1.

%% --- hexadecimal -----------------------------------------------------------------------------

hex(Bytes) -> [io_lib:format("~2.16.0b", [Byte]) || <<Byte>> <= Bytes].

bytes(Hex) ->
    case << <<(binary_to_integer(<<Two:2/binary>>, 16))>> || <<Two:2/binary>> <= Hex >> of
        <<131, _/binary>> = Bytes -> Bytes;
        Bytes -> <<131, Bytes/binary>>
    end.
