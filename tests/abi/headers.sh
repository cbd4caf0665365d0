#!/bin/sh
# Every SDK header compiles alone, and twice in one file, as C11 and as C++17.
# Usage: headers.sh SOURCE_DIR C_COMPILER CXX_COMPILER (or "" where there is none)
set -u
include=$1/sdk/include
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0
for header in "$include"/graft/*.h; do
    name=graft/${header##*/}
    printf '#include <%s>\n#include <%s>\nint graft_header_test;\n' "$name" "$name" >"$work/x.c"
    cp "$work/x.c" "$work/x.cpp"
    "$2" -std=c11 -Wall -Wextra -Wshadow -Wconversion -Wundef -Wpedantic -Werror -fsyntax-only -I "$include" "$work/x.c" || { echo "$name: expected to compile alone as C11"; failed=1; }
    [ -z "$3" ] && continue
    "$3" -std=c++17 -Wall -Wextra -Wshadow -Wundef -Werror -fsyntax-only -I "$include" "$work/x.cpp" || { echo "$name: expected to compile alone as C++17"; failed=1; }
done
[ -n "$3" ] || echo "skipped: C++17, for want of a C++ compiler"
exit "$failed"
