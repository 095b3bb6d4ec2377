#!/bin/sh
# OTP 25.2.3 (ssl 10.8.7): a connection of two nodes over TLS 1.3 stops for good when a node asks the other for new
# keys, which it does by default after 388,736,063,997 octets (`key_update_at`): the process that reads asks the one
# that sends to answer with a KeyUpdate of its own, and gets no reply, since tls_sender replies to no such call of a
# distribution connection. Nothing more is read, until the tick time ends the connection. 27.3.4.1 (ssl 11.2.12.1)
# does the same; 29.1.2 (ssl 11.7.8) goes on.
#
# Needs: erl 25.2.3 (Debian 12: apt-get install erlang-base erlang-ssl), openssl. Port 45671 of 127.0.0.1.
# Exit status: 0 the behaviour is as described, 1 it has changed, 2 a tool is missing.
set -eu
version=$(erl -noshell -eval 'application:load(ssl), {ok, V} = application:get_key(ssl, vsn), io:put_chars(V), halt().' 2>/dev/null) || version=none
[ "$version" = 10.8.7 ] || { echo "needs ssl 10.8.7 of OTP 25.2.3, not $version" >&2; exit 2; }
folder=$(mktemp -d)
answering=
trap '[ -z "$answering" ] || kill "$answering" 2>/dev/null; rm -rf "$folder"' EXIT
cd "$folder"
export HOME="$folder"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=node -days 2 \
    -keyout node.key -out node.pem 2>/dev/null

# Calls that are answered, of 100 calls of 1,000 octets each.
answered() {
    cat >tls.conf <<CONF
[{server, [{certfile, "$folder/node.pem"}, {keyfile, "$folder/node.key"}, {versions, ['tlsv1.3']}, {verify, verify_none} $1]},
 {client, [{versions, ['tlsv1.3']}, {verify, verify_none} $1]}].
CONF
    options='-noinput -setcookie test -proto_dist inet_tls -start_epmd false -erl_epmd_port 45671 -kernel net_setuptime 60'
    # shellcheck disable=SC2086
    erl -name two@127.0.0.1 $options -ssl_dist_optfile "$folder/tls.conf" >two.log 2>&1 &
    answering=$!
    # shellcheck disable=SC2086
    erl -name one@127.0.0.1 $options -ssl_dist_optfile "$folder/tls.conf" -dist_listen false -eval '
        Up = fun F(0) -> false; F(N) -> net_kernel:connect_node(list_to_atom("two@127.0.0.1")) orelse
                                        (timer:sleep(200) =:= ok andalso F(N - 1)) end,
        true = Up(50),
        Call = fun(_) -> try 1000 =:= erpc:call(list_to_atom("two@127.0.0.1"), erlang, byte_size, [<<0:8000>>], 10000)
                         catch _:_ -> false end end,
        io:format("~w~n", [length(lists:takewhile(Call, lists:seq(1, 100)))]),
        halt().' 2>one.log
    kill "$answering"
    wait "$answering" 2>/dev/null || true
    answering=
}

usual=$(answered '')
updating=$(answered ', {key_update_at, 20000}')
echo "100 calls of 1,000 octets: $usual answered; with new keys every 20,000 octets: $updating answered"
[ "$usual" = 100 ] || { echo 'the calls fail for another reason' >&2; exit 1; }
[ "$updating" -ge 10 ] || { echo 'changed' >&2; exit 1; }
[ "$updating" -lt 30 ] || { echo 'changed' >&2; exit 1; }
echo 'as described'
