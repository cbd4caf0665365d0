#!/bin/sh
# The SDK as a stranger meets it: installs this build into an empty folder, builds every plugin of the tree outside of it against what was installed, and looks
# at the results: one exported symbol, nothing wanted from the host, no mutable globals to speak of. Then one plugin by hand with pkg-config, in C and C++.
# Usage: installed.sh SOURCE_DIR BUILD_DIR C_COMPILER CXX_COMPILER (or "")
set -u
source=$1 build=$2 cc=$3 cxx=$4
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
failed=0

wrong()
{
    echo "$1"
    failed=1
}

# check_library FILE
check_library()
{
    exported=$(nm -D --defined-only "$1" | awk '{ print $3 }' | tr '\n' ' ')
    [ "$exported" = "graft_plugin_entry " ] || wrong "$1: expected one exported symbol, graft_plugin_entry, found: $exported"
    wanted=$(nm -D --undefined-only "$1" | awk '{ print $2 }' | grep -E '^(graft|core)_' | tr '\n' ' ')
    [ -z "$wanted" ] || wrong "$1: expected nothing from the host, found undefined: $wanted"
    # The toolchain's own part of .data and .bss is 16 bytes each.
    mutable=$(size -A "$1" | awk '$1 == ".data" || $1 == ".bss" { if ($2 > 16) printf "%s %d bytes ", $1, $2 }')
    [ -z "$mutable" ] || wrong "$1: expected no mutable globals, found $mutable"
}

cmake --install "$build" --prefix "$prefix" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
config=$(find "$prefix" -name graft-config.cmake)
plugins=$(dirname "$(find "$prefix" -name registry.json)")
pc=$(find "$prefix" -name graft.pc)
if [ -z "$config" ] || [ "$plugins" = . ] || [ -z "$pc" ]; then
    echo "expected graft-config.cmake, registry.json and graft.pc under the prefix, found:"
    find "$prefix"
    exit 1
fi

n=0
for folder in "$source"/plugins/*/* "$source"/formats/* "$source"/backends/*; do
    set -- "$folder"/*.c
    [ -e "$1" ] || continue
    name=${folder##*/}
    # A copy outside the tree, so that nothing but the SDK can be reached.
    mkdir -p "$work/outside" && cp -r "$folder" "$work/outside/"
    if cmake -S "$prefix/share/graft/sdk/plugin" -B "$work/build/$name" -DPLUGIN="$work/outside/$name" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" >"$work/log" 2>&1 &&
        cmake --build "$work/build/$name" --parallel 2 >>"$work/log" 2>&1; then
        check_library "$work/build/$name/$name.so"
        n=$((n + 1))
    else
        wrong "$name: expected to build against the installed SDK"
        cat "$work/log"
    fi
    [ -e "$plugins/$name.so" ] || wrong "$name.so: expected in $plugins, found none"
done
for library in "$plugins"/*.so; do check_library "$library"; done
[ "$n" -ge 1 ] || wrong "expected plugins in the tree, found none"

# The installed program finds what was installed with it.
XDG_CACHE_HOME=$work/cache XDG_CONFIG_HOME=$work/config "$prefix/bin/graft" plugin list >"$work/list" 2>&1 || wrong "expected the installed graft to list its plugins: $(cat "$work/list")"
named=$(grep -c '"file_name": *"[^"]*\.so"' "$plugins/registry.json") # a skeleton for authors is built, and not registered
[ "$(grep -c "$plugins/" "$work/list")" -eq "$named" ] || wrong "expected the installed graft to name $named plugins in $plugins, found: $(cat "$work/list")"
if grep -q 'no such file' "$work/list"; then wrong "expected every registered plugin to be installed, found: $(grep 'no such file' "$work/list")"; fi

cat >"$work/hello.c" <<'C'
#include <graft/graft.h>

static int owns(void *self, const graft_json *saved)
{
    (void)self;
    (void)saved;
    return 0;
}
static graft_method_table table = {};
static const void *find(void *self, const char *id)
{
    (void)self;
    table.size = (uint32_t)sizeof table;
    table.owns = owns;
    return strcmp(id, "graft.method/1") ? NULL : &table;
}
static graft_status init(const graft_host *host, void **self, graft_error *err)
{
    (void)host;
    (void)err;
    *self = NULL;
    return GRAFT_OK;
}
static void fini(void *self) { (void)self; }
GRAFT_PLUGIN("method", "hello", "1.0.0", init, fini, find)
C
cp "$work/hello.c" "$work/hello.cpp"
by_hand()
{
    # shellcheck disable=SC2046 # flags are meant to split
    "$1" "$2" -shared -fPIC -fvisibility=hidden $(PKG_CONFIG_PATH=${pc%/*} pkg-config --cflags graft) "$3" -o "$work/hello.so" || { wrong "$3: expected to build with pkg-config's flags"; return; }
    exported=$(nm -D --defined-only "$work/hello.so" | awk '{ print $3 }')
    [ "$exported" = graft_plugin_entry ] || wrong "$3: expected one exported symbol, graft_plugin_entry, found: $exported"
}
by_hand "$cc" -std=gnu11 "$work/hello.c"
if [ -n "$cxx" ]; then by_hand "$cxx" -std=c++17 "$work/hello.cpp"; else echo "skipped: a plugin in C++, for want of a C++ compiler"; fi

[ "$failed" -eq 0 ] && echo "$n plugins build outside of the tree"
exit "$failed"
