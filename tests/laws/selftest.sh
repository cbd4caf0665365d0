#!/bin/sh
# The laws can fail: each line below, put into a copy of the tree, must break the law that it names.
# Usage: selftest.sh SOURCE_DIR
set -u
source=$1
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0

# breaks PATH TEXT PHRASE: a file PATH with this TEXT makes laws.sh say PHRASE.
breaks()
{
    rm -rf "$work/tree"
    mkdir -p "$work/tree/core/base" "$work/tree/backends/cpu" "$work/tree/sdk/include/graft" "$work/tree/tests/laws" "$work/tree/$(dirname "$1")"
    cp "$source/tests/laws/laws.sh" "$source/tests/laws/code.awk" "$work/tree/tests/laws/"
    echo '/* core */ int a;' >"$work/tree/core/base/a.c"
    echo '/* plugin */ int b;' >"$work/tree/backends/cpu/b.c"
    if ! (cd "$work/tree" && sh tests/laws/laws.sh . >"$work/clean"); then
        echo "expected a clean tree to pass:"
        cat "$work/clean"
        failed=1
    fi
    printf '/* head */\n%b\n' "$2" >"$work/tree/$1"
    if (cd "$work/tree" && sh tests/laws/laws.sh . >"$work/said") || ! grep -qF "$3" "$work/said"; then
        echo "expected '$3' for $1 with: $2"
        cat "$work/said"
        failed=1
    fi
}

breaks core/base/x.c '#include "core/model/model.h"' 'rooms to its left'
breaks core/base/x.c '#include "x.h"' 'rooms to its left'
breaks backends/cpu/x.c '#include "core/base/arena.h"' 'their own folder only'
breaks backends/cpu/x.c '#include "../../core/base/arena.h"' 'their own folder only'
breaks core/base/x.c 'void f(void) { abort(); }' 'never ends the program'
breaks core/base/x.c 'void f(void) { printf("x"); }' 'speaks to the terminal'
breaks core/base/x.c 'void f(char *a) { strcpy(a, "x"); }' 'no system, popen'
breaks core/base/x.c 'void *f(void) { return malloc(3); }' "core/base/arena.c"
breaks backends/cpu/x.c 'void f(void *p) { free(p); }' "the host's alloc"
breaks core/base/x.c 'void *f(void) { return dlopen("x", 1); }' 'core/plugin only'
breaks core/model/x.c 'int f(void) { return open("x", 1); }' 'core/base/file.h'
breaks core/model/x.c 'int f(void) { return rand(); }' 'come from seeds'
breaks core/model/x.c 'const char *f(void) { return "cpu"; }' "never says a plugin's name"
breaks core/cli/x.c 'const char *f(void) { return "key finetuning_type!=cpu"; }' "never says a plugin's name"
breaks core/base/x.c "$(awk 'BEGIN { for (i = 0; i < 701; i++) print "int a" i ";" }')" 'at most 700 lines'
breaks core/base/x.c "void f(void)\\n{\\n$(awk 'BEGIN { for (i = 0; i < 90; i++) print ";" }')\\n}" 'about 60 lines'
breaks core/base/x.c '/* FIX''ME */' 'work left undone'
[ "$failed" -eq 0 ] && echo "every law can be broken and notices it"
exit "$failed"
