#!/bin/sh
# OTP 25.2.3 (ssl 10.8.7): over TLS, net_kernel:allow/1 does not keep out a node whose certificate holds the address
# that it comes from: the dialed node adds that host to its list. Without the address in the certificate, and without
# TLS, the same node is kept out. 27.3.4.1 (ssl 11.2.12.1) and 29.1.2 (ssl 11.7.8) do the same.
#
# Needs: erl 25.2.3 (Debian 12: apt-get install erlang-base erlang-ssl), openssl. Port 45672 of 127.0.0.1.
# Exit status: 0 the behaviour is as described, 1 it has changed, 2 a tool is missing.
set -eu
version=$(erl -noshell -eval 'application:load(ssl), {ok, V} = application:get_key(ssl, vsn), io:put_chars(V), halt().' 2>/dev/null) || version=none
[ "$version" = 10.8.7 ] || { echo "needs ssl 10.8.7 of OTP 25.2.3, not $version" >&2; exit 2; }
folder=$(mktemp -d)
answering=
trap '[ -z "$answering" ] || kill "$answering" 2>/dev/null; rm -rf "$folder"' EXIT
cd "$folder"
export HOME="$folder"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=authority -days 2 \
    -keyout ca.key -out ca.pem 2>/dev/null

# Whether one@127.0.0.1 connects to a node that allows nobody@10.9.9.9 alone.
connects() {
    # shellcheck disable=SC2086
    erl -name two@127.0.0.1 -noinput -setcookie test -start_epmd false -erl_epmd_port 45672 -kernel net_setuptime 60 $1 -eval '
        ok = net_kernel:allow([list_to_atom("nobody@10.9.9.9")]), file:write_file("ready", "").' >two.log 2>&1 &
    answering=$!
    while [ ! -e ready ]; do sleep 0.1; done
    rm ready
    # shellcheck disable=SC2086
    erl -name one@127.0.0.1 -noinput -setcookie test -start_epmd false -erl_epmd_port 45672 -kernel net_setuptime 60 -dist_listen false $1 -eval '
        io:format("~w~n", [net_kernel:connect_node(list_to_atom("two@127.0.0.1"))]), halt().' 2>one.log
    kill "$answering"
    wait "$answering" 2>/dev/null || true
    answering=
}

# The options of TLS, with a certificate for these names.
tls() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=node -keyout node.key -out node.csr 2>/dev/null
    echo "subjectAltName=$1" >names
    openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out node.pem 2>/dev/null
    files="{certfile, \"$folder/node.pem\"}, {keyfile, \"$folder/node.key\"}, {cacertfile, \"$folder/ca.pem\"}"
    echo "[{server, [$files, {verify, verify_peer}, {fail_if_no_peer_cert, true}]}, {client, [$files, {verify, verify_none}]}]." >tls.conf
    echo "-proto_dist inet_tls -ssl_dist_optfile $folder/tls.conf"
}

plain=$(connects '')
name=$(connects "$(tls DNS:node.example)")
address=$(connects "$(tls IP:127.0.0.1)")
echo "without TLS: $plain; with a name in the certificate: $name; with the address: $address"
[ "$plain $name $address" = 'false false true' ] || { echo 'changed' >&2; exit 1; }
echo 'as described'
