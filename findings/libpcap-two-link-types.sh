#!/bin/sh
# libpcap 1.10.3 (tcpdump 4.99.3): a valid pcapng file with interfaces of two link types, as mergecap writes
# it, is refused before its first packet. tshark 4.0.17 reads all of it.
#
# Needs: tcpdump with libpcap 1.10.3, tshark 4.0.17 (Debian 12: apt-get install tcpdump tshark).
# Exit status: 0 the behaviour is as described, 1 it has changed, 2 a tool is missing.
set -eu
tcpdump --version 2>&1 | grep -q 'libpcap version 1\.10\.3' || { echo 'needs libpcap 1.10.3' >&2; exit 2; }
tshark --version 2>/dev/null | grep -q '4\.0\.17' || { echo 'needs tshark 4.0.17' >&2; exit 2; }
captures=$(cd "$(dirname "$0")/../captures" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# A Linux cooked v2 capture and an Ethernet capture, one after the other.
mergecap -a -F pcapng -w "$folder/two.pcapng" "$captures/epmd-queries.pcap" "$captures/epmd-missing-node.pcap" 2>/dev/null
packets() { tshark -r "$1" -T fields -e frame.number 2>/dev/null | wc -l | tr -d ' '; }
both=$(packets "$folder/two.pcapng")
read=$(tcpdump -nr "$folder/two.pcapng" 2>"$folder/errors" | wc -l | tr -d ' ')
error=$(tail -n 1 "$folder/errors")
echo "tshark: $both packets; tcpdump: $read packets, then: $error"
[ "$both" -eq 230 ] || { echo 'tshark has changed' >&2; exit 1; }
[ "$read" -eq 0 ] || { echo 'tcpdump has changed: packets' >&2; exit 1; }
case $error in
*'an interface has a type 1 different from the type of the first interface'*) ;;
*) echo 'tcpdump has changed: error' >&2 && exit 1 ;;
esac
echo 'as described'
