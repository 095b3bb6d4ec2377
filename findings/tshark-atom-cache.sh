#!/bin/sh
# tshark 4.0.17, Erlang distribution (erldp): an atom is printed only in the message that brings it into
# the atom cache. Later messages of the same connection show its number and no text.
#
# Needs: tshark 4.0.17 (Debian 12: apt-get install tshark=4.0.17-0+deb12u3).
# Exit status: 0 the behaviour is as described, 1 it has changed, 2 a tool is missing.
set -eu
tshark --version 2>/dev/null | grep -q '4\.0\.17' || { echo 'needs tshark 4.0.17' >&2; exit 2; }
capture=$(dirname "$0")/../captures/remote-execution.pcap

# Frames 24 and 25 go from the same node to the same node. 24 brings entry 35, 25 refers to it.
entry() {
    tshark -r "$capture" -Y "frame.number == $1" -V 2>/dev/null | grep 'AtomCacheRef\[ 0\]' | sed 's/^ *//'
}
ends() { tshark -r "$capture" -Y "frame.number == $1" -T fields -e ip.src -e tcp.srcport -e ip.dst 2>/dev/null; }
echo "frame 24: $(entry 24)"
echo "frame 25: $(entry 25)"
[ "$(ends 24)" = "$(ends 25)" ] || { echo 'the capture has changed' >&2; exit 1; }
[ "$(entry 24)" = "AtomCacheRef[ 0]:  35 - 'two@10.9.0.2'" ] || { echo 'changed: the new entry' >&2; exit 1; }
[ "$(entry 25)" = 'AtomCacheRef[ 0]:  35' ] || { echo 'changed: the reference' >&2; exit 1; }
echo 'as described'
