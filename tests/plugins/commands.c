/* graft plugin and graft doctor as a person meets them: the built program, its words, its output and its exit status. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/support/support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ZOO     GRAFT_BINARY_DIR "/tests/zoo"
#define PROGRAM GRAFT_BINARY_DIR "/bin/graft"

static const int sanitized = (GRAFT_BUILD_FLAGS & (GRAFT_BUILD_ASAN | GRAFT_BUILD_TSAN)) != 0;
static char out[65536], err_text[65536];
static char folder[4096];

static void begin(const char *name)
{
    char path[4200];
    snprintf(folder, sizeof folder, "%s", graft_test_dir(name));
    snprintf(path, sizeof path, "%s/config", folder);
    setenv("XDG_CONFIG_HOME", path, 1);
    snprintf(path, sizeof path, "%s/cache", folder);
    setenv("XDG_CACHE_HOME", path, 1);
    ck_assert_int_eq(chdir(folder), 0);
}

static int skips(const char *why)
{
    if (sanitized) printf("skipped: a sanitized host opens no plain library: %s\n", why);
    return sanitized;
}

static void slurp(const char *path, char *to, size_t room)
{
    graft_error err = GRAFT_ERROR_INIT;
    char *text;
    size_t bytes;
    ck_assert_ok(graft_file_read(path, 1 << 20, &text, &bytes, &err));
    snprintf(to, room, "%s", text);
    graft_free(text);
}

/* Runs `graft a b c d`; its exit status. out and err_text hold what it wrote. */
static int graft(const char *a, const char *b, const char *c, const char *d)
{
    char o[4200], e[4200];
    int status = 0;
    snprintf(o, sizeof o, "%s/out.txt", folder);
    snprintf(e, sizeof e, "%s/err.txt", folder);
    const pid_t child = fork();
    if (child == 0) {
        const int to = open(o, O_WRONLY | O_CREAT | O_TRUNC, 0644), errors = open(e, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (to < 0 || errors < 0 || dup2(to, 1) < 0 || dup2(errors, 2) < 0) _exit(99);
        execl(PROGRAM, "graft", a, b, c, d, (char *)NULL);
        _exit(98);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status), "graft ended by signal %d", WTERMSIG(status));
    slurp(o, out, sizeof out);
    slurp(e, err_text, sizeof err_text);
    return WEXITSTATUS(status);
}

static const graft_json *json(graft_arena *a)
{
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    ck_assert_ok(graft_json_parse(a, "output", out, strlen(out), 0, &v, &err));
    return v;
}

static int says(const char *text, const char *part) { return strstr(text, part) != NULL; }

START_TEST(add_show_remove)
{
    char file[4200];
    begin("plugins/commands/add");
    if (skips("plugin add")) return;
    graft_arena *a = graft_arena_new();
    ck_assert_int_eq(graft("plugin", "add", ZOO "/good.so", "license=MIT"), 0);
    ck_assert(says(out, "probed       format good 1.2.3; door, init, table and fini in a child process"));
    ck_assert(says(out, "registered   format good 1.2.3 in "));
    ck_assert_str_eq(err_text, "");
    snprintf(file, sizeof file, "%s/config/graft/registry.json", folder);
    ck_assert_int_eq(graft("plugin", "show", "good", "--json"), 0);
    const graft_json *o = json(a);
    ck_assert(graft_json_is(graft_json_get(o, "state"), "ready, version 1.2.3"));
    ck_assert(graft_json_is(graft_json_get(o, "registry"), file));
    ck_assert(graft_json_is(graft_json_get(o, "file"), ZOO "/good.so"));
    ck_assert(graft_json_is(graft_json_get(graft_json_get(o, "entry"), "license"), "MIT"));
    ck_assert_int_eq((int)graft_json_get(graft_json_get(o, "entry"), "sha256")->bytes, 64);
    ck_assert_int_eq(graft("plugin", "why", "format/good", NULL), 0);
    ck_assert(says(out, "initialised  loaded into this process with the table \"graft.format/1\"\nformat good can be used.\n"));
    ck_assert_int_eq(graft("plugin", "list", "format", NULL), 0);
    ck_assert(says(out, "format   good"));
    ck_assert_int_eq(graft("plugin", "remove", "good", NULL), 0);
    ck_assert(says(out, "removed format good from "));
    ck_assert_int_eq(graft("plugin", "show", "good", NULL), 1);
    ck_assert(says(err_text, "No plugin is named 'good'"));
    graft_arena_free(a);
}
END_TEST

/* A library built anew: refused until it is added again, which keeps what the entry said besides. */
START_TEST(rebuilt)
{
    char copy[4200], expected[8500], *data;
    size_t bytes;
    graft_error err = GRAFT_ERROR_INIT;
    begin("plugins/commands/rebuilt");
    if (skips("plugin add")) return;
    snprintf(copy, sizeof copy, "%s/good.so", folder);
    ck_assert_ok(graft_file_read(ZOO "/good.so", 1 << 24, &data, &bytes, &err));
    ck_assert_ok(graft_file_replace(copy, data, bytes, &err));
    ck_assert_int_eq(graft("plugin", "add", "good.so", "description=mine"), 0);
    data[bytes - 1] = (char)(data[bytes - 1] ^ 1); /* inside the last section header: harmless, and another hash */
    ck_assert_ok(graft_file_replace(copy, data, bytes, &err));
    graft_free(data);
    ck_assert_int_eq(graft("plugin", "why", "good", NULL), 1);
    snprintf(expected, sizeof expected, "if you rebuilt it, run 'graft plugin add %s'.", copy);
    ck_assert_msg(says(err_text, expected), "%s", err_text);
    ck_assert_int_eq(graft("plugin", "list", NULL, NULL), 0);
    ck_assert(says(out, "changed since it was registered"));
    ck_assert_int_eq(graft("plugin", "add", copy, NULL), 0);
    ck_assert(says(out, ", in place of the one of "));
    ck_assert_int_eq(graft("plugin", "show", "good", NULL), 0);
    ck_assert(says(out, "description  mine\n"));
}
END_TEST

START_TEST(refusals_and_retry)
{
    begin("plugins/commands/retry");
    if (skips("plugin why")) return;
    graft_arena *a = graft_arena_new();
    const char *died = "probed: init_crashes: the probe process died with signal 11 (segmentation fault) in stage init. Quarantined by sha256; 'graft plugin retry " ZOO "/init_crashes.so' tries again.\n";
    ck_assert_int_eq(graft("plugin", "add", ZOO "/init_crashes.so", NULL), 1);
    ck_assert_msg(says(err_text, died), "%s", err_text);
    ck_assert_int_eq(graft("doctor", NULL, NULL, NULL), 0);
    ck_assert(says(out, "quarantined  " ZOO "/init_crashes.so: the probe process died with signal 11"));
    ck_assert_int_eq(graft("plugin", "retry", ZOO "/init_crashes.so", "--json"), 1);
    const graft_json *o = json(a);
    ck_assert_int_eq(graft_json_get(o, "usable")->integer, 0);
    ck_assert_int_eq(graft_json_get(o, "steps")->count, 3); /* found, trusted, opened */
    ck_assert_int_eq(strncmp(graft_json_get(o, "refusal")->text, died, graft_json_get(o, "refusal")->bytes), 0);
    ck_assert_int_eq(graft("plugin", "why", ZOO "/wrong_name.so", NULL), 0); /* without an entry its own name is right */
    ck_assert(says(out, "It can be used; no registry names it yet: 'graft plugin add " ZOO "/wrong_name.so' does.\n"));
    ck_assert_int_eq(graft("plugin", "add", ZOO "/absent.so", NULL), 1);
    ck_assert(says(err_text, "found: absent: there is no file " ZOO "/absent.so."));
    graft_arena_free(a);
}
END_TEST

START_TEST(words)
{
    begin("plugins/commands/words");
    ck_assert_int_eq(graft("plugin", "lsit", NULL, NULL), 1);
    ck_assert_str_eq(err_text, "graft plugin: unknown word 'lsit', did you mean 'list'?\n");
    ck_assert_int_eq(graft("plugin", "show", NULL, NULL), 1);
    ck_assert_str_eq(err_text, "graft plugin: 'show' needs a NAME, see `graft help plugin`\n");
    ck_assert_int_eq(graft("plugin", "list", "modle", NULL), 1);
    ck_assert_str_eq(err_text, "graft plugin: unknown word 'modle', did you mean 'model'?\n");
    ck_assert_int_eq(graft("plugin", "path", NULL, NULL), 0);
    ck_assert(says(out, "registry 1   " GRAFT_BINARY_DIR "/lib/graft/registry.json\n"));
}
END_TEST

/* Listing opens nothing: a library whose constructor crashes is listed all the same, and unprobed. */
START_TEST(listing_opens_nothing)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    const char *text = "{\"formats\": {\"constructor_crashes\": {\"file_name\": \"" ZOO "/constructor_crashes.so\"}, \"gone\": {\"file_name\": \"gone.so\"}}}";
    begin("plugins/commands/list");
    ck_assert_ok(graft_file_replace("mine.json", text, strlen(text), &err));
    ck_assert_int_eq(graft("plugin", "list", "--registry", "mine.json"), 0);
    ck_assert_str_eq(err_text, "");
    ck_assert(says(out, "format   constructor_crashes  not probed yet"));
    ck_assert(says(out, "format   gone                 no such file"));
    ck_assert_int_eq(graft_path_exists("cache/graft/probe"), 0);
    ck_assert_int_eq(graft("plugin", "remove", "gone", "--registry=mine.json"), 1);
    ck_assert(says(err_text, "/mine.json, which this command leaves alone. Remove the entry there.\n"));
    graft_arena_free(a);
}
END_TEST

START_TEST(doctor)
{
    begin("plugins/commands/doctor");
    if (skips("doctor")) return;
    graft_arena *a = graft_arena_new();
    ck_assert_int_eq(graft("doctor", "--json", NULL, NULL), 0);
    const graft_json *o = json(a), *best = graft_json_get(o, "backends")->child;
    ck_assert_ptr_nonnull(best);
    ck_assert(graft_json_is(graft_json_get(best, "verdict"), "chosen"));
    ck_assert_int_gt((int)graft_json_get(best, "score")->integer, 0);
    ck_assert_int_gt((int)graft_json_get(graft_json_get(o, "machine"), "usable_processors")->integer, 0);
    ck_assert_int_eq(graft_json_get(graft_json_get(o, "registries")->child, "found")->integer, 1);
    ck_assert_int_eq(graft("doctor", NULL, NULL, NULL), 0);
    ck_assert(says(out, "\n         chosen\n"));
    graft_arena_free(a);
}
END_TEST

static void cases(TCase *tc)
{
    if (!graft_path_exists(PROGRAM)) {
        printf("skipped: " PROGRAM " is not built\n");
        return;
    }
    tcase_add_test(tc, add_show_remove);
    tcase_add_test(tc, rebuilt);
    tcase_add_test(tc, refusals_and_retry);
    tcase_add_test(tc, words);
    tcase_add_test(tc, listing_opens_nothing);
    tcase_add_test(tc, doctor);
}

int main(void) { return graft_test_main("commands", cases); }
