#!/bin/sh
# The laws of the house, checked on the source text. Each broken law is one block: the law, then PATH:LINE:TEXT of every place that breaks it.
# Usage: laws.sh SOURCE_DIR
# shellcheck disable=SC2086 # lists of folders are meant to split
set -u
cd "$1" || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

# law SENTENCE: the places that break it come on standard input. Runs behind a pipe, so what it counts goes into files.
law()
{
    echo >>"$work/laws"
    cat >"$work/places"
    [ -s "$work/places" ] || return 0
    echo >>"$work/broken"
    printf 'BROKEN: %s\n' "$1"
    sed 's/^/    /' "$work/places"
}

files() { for d in "$@"; do [ -d "$d" ] && find "$d" -name '*.[ch]' -not -path '*/build*'; done | sort; }
code() { files "$@" | xargs -r awk -f tests/laws/code.awk; }
outside_strings() { sed 's/"\([^"\\]\|\\.\)*"/""/g'; }

plugin_dirs="plugins formats backends"
code core >"$work/core"
code sdk/include $plugin_dirs >"$work/plugins"
code core sdk/include $plugin_dirs | outside_strings >"$work/all"
outside_strings <"$work/core" >"$work/core.code"
outside_strings <"$work/plugins" >"$work/plugins.code"
if [ ! -s "$work/core" ] || [ ! -s "$work/plugins" ]; then
    echo "expected the source tree in $1, found none"
    exit 2
fi

# ---- who may include whom ---------------------------------------------------------------------------------------------------------------------
awk -F: '
BEGIN { n = split("base plugin graph model data train cli", room, " "); for (i = 1; i <= n; i++) rank[room[i]] = i }
$3 ~ /^[ \t]*#[ \t]*include[ \t]*"/ {
    split($1, from, "/"); split($3, quoted, "\""); split(quoted[2], to, "/")
    if (to[1] == "graft" && to[2] != "") next
    if (to[1] != "core" || !(to[2] in rank) || rank[to[2]] > rank[from[2]]) print
}' "$work/core" | law "a room of core includes the SDK, itself and the rooms to its left (base plugin graph model data train cli), by its path from the root"

awk -F: '
$3 ~ /^[ \t]*#[ \t]*include[ \t]*"/ {
    split($3, quoted, "\"")
    if ($1 ~ /^sdk\//) { if (quoted[2] ~ /\//) print; next }
    if (quoted[2] ~ /^graft\//) next
    if (quoted[2] ~ /^\.\.\/\.\.\// || quoted[2] ~ /(^|\/)(core|tests|sdk)\//) print
}' "$work/plugins" | law "plugins, formats and backends include <graft/...> and their own folder only; SDK headers include each other by name"

# ---- who may call what --------------------------------------------------------------------------------------------------------------------------
call() { grep -E "(^|[^A-Za-z0-9_>.])($1)[ ]*\(" "$2"; }

call 'abort|exit|quick_exit|assert' "$work/all" | grep -v '^core/cli/' | law "a library never ends the program: no abort, exit, assert outside core/cli"
call '_exit' "$work/all" | grep -v '^core/plugin/' | law "_exit is for the probe's child process in core/plugin"
call 'printf|vprintf|puts|putchar|perror|fprintf|fputs|fputc|fwrite' "$work/all" | grep -v '^core/cli/' | law "only core/cli speaks to the terminal"
call 'system|popen|strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca|tmpnam|mktemp' "$work/all" | law "no system, popen, strcpy, strcat, sprintf, gets, strtok, alloca, tmpnam"
call 'malloc|calloc|realloc|free|strdup|strndup|asprintf|aligned_alloc|posix_memalign' "$work/core.code" |
    grep -v -E '^core/base/arena\.c:|^core/model/tokenizer/normalise\.c:[0-9]+: *free\(' | # what utf8proc took is given back to the C library
    law "core's memory comes from core/base/arena.c"
call 'malloc|calloc|realloc|free|strdup|strndup|asprintf|aligned_alloc|posix_memalign' "$work/plugins.code" | law "a plugin's memory comes from the host's alloc"
call 'dlopen|dlmopen|dlsym' "$work/all" | grep -v -E '^(core/plugin|backends/[a-z]+)/' |
    law "dlopen and dlsym are called in core/plugin only (a backend may open its device's driver)"
call 'fopen|freopen|open|openat|creat|mmap|rename|unlink' "$work/core.code" | grep -v -E '^core/(base|plugin)/' | law "core reaches files through core/base/file.h"
call 'rand|srand|random|drand48|time|localtime|gmtime' "$work/core.code" | grep -v -E '^core/(cli|train)/|^core/model/template_tools\.c:' | law "numbers and orders come from seeds, never from the clock or the C library's rand"

# ---- names --------------------------------------------------------------------------------------------------------------------------------------
for d in plugins/*/* formats/* backends/*; do
    [ -d "$d" ] || continue
    name=${d##*/}
    # These are words of files and of everybody before they are a plugin's.
    case $name in templates | comm | null | text | prefix | prompt | adapter) continue ;; esac
    # The table of arguments repeats LLaMA-Factory's keys with their documented values, its templates name formats of tool calls, and GGUF names its
    # tokenizers: those are words of files.
    grep -E "(\"|finetuning_type!?=)$name\\\\?[\" ]" "$work/core" | grep -v -E '^core/(cli/args_(data|model|own|swift|training|tuning)|model/template_formats|model/tokenizer/gguf)\.c:'
done | law "core never says a plugin's name"

for f in $(files core sdk/include $plugin_dirs tests bench); do
    head -n 1 "$f" | grep -q '^/\*' || echo "$f:1:$(head -n 1 "$f")"
done | law "a file opens with a comment that says what it does"

for f in $(files core sdk/include $plugin_dirs tests bench); do
    n=$(wc -l <"$f")
    [ "$n" -le 700 ] || echo "$f:$n: lines"
done | law "a file has at most 700 lines"

files core $plugin_dirs | xargs -r awk '
FNR == 1 { start = 0 }
/^{/ { start = FNR }
/^}/ { if (start && FNR - start > 85) print FILENAME ":" start ": a function of " FNR - start " lines"; start = 0 }' | law "a function has about 60 lines (85 at most)"

grep -rnE '\b(TODO|FIXME|XXX|HACK)\b|\b[Ff]or now\b' --include='*.[ch]' --include='*.txt' --include='*.cmake' --include='*.sh' --include='*.md' core sdk $plugin_dirs tests bench docs examples CMakeLists.txt 2>/dev/null |
    grep -v '^tests/laws/' | law "what is here is finished: no notes of work left undone"

laws=$(wc -l <"$work/laws")
if [ -e "$work/broken" ]; then
    echo "$(wc -l <"$work/broken") of $laws laws are broken"
    exit 1
fi
echo "$laws laws hold"
