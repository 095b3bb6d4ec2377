#!/bin/sh
# Zig 0.17.1 (`zig cc`): after -Bdynamic, -lNAME with libNAME.a alone is an error. ld of binutils takes the archive there,
# as its manual says. rustc writes -Bdynamic before the libraries of build scripts that do not name their kind, so
# crates such as pcap do not link statically with cargo-zigbuild. A linker script libNAME.so that names the archive
# helps.
#
# Needs: python3 with venv, gcc with binutils.
# Exit status: 0 the behaviour is as described, 1 it has changed, 2 a tool is missing.
set -eu
command -v gcc >/dev/null || { echo 'needs gcc' >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python" || { echo 'needs python3 with venv' >&2; exit 2; }
"$folder/python/bin/pip" install --quiet 'ziglang==0.17.1' 2>/dev/null
zig() { "$folder/python/bin/python" -m ziglang "$@"; }
cd "$folder"

mkdir lib
echo 'int answer(void) { return 42; }' >answer.c
echo 'int answer(void); int main(void) { return answer() - 42; }' >main.c
gcc -c answer.c
ar rcs lib/libanswer.a answer.o

gcc main.c -o by-gcc -Llib -Wl,-Bdynamic -lanswer
./by-gcc || { echo 'ld has changed' >&2; exit 1; }
echo "gcc, $(ld --version | head -n 1): links the archive after -Bdynamic"

if zig cc main.c -o by-zig -Llib -Wl,-Bdynamic -lanswer 2>error; then
    echo 'zig has changed: it links the archive' >&2
    exit 1
fi
message=$(head -n 1 error)
echo "zig $(zig version): $message"
case $message in
*'unable to find dynamic system library'*no_fallback*) ;;
*) echo 'zig has changed: error' >&2 && exit 1 ;;
esac
zig cc main.c -o by-zig -Llib -lanswer || { echo 'zig has changed: without -Bdynamic' >&2; exit 1; }
./by-zig

echo 'INPUT(libanswer.a)' >lib/libanswer.so
zig cc main.c -o by-script -Llib -Wl,-Bdynamic -lanswer || { echo 'zig has changed: linker script' >&2; exit 1; }
./by-script
echo 'as described'
