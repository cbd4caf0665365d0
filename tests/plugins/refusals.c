/* Every way that a plugin can be wrong before it works, and the exact sentence that each earns. The wrong ones are built from tests/plugins/zoo, or made here
 * from the right one: cut, renamed, chmodded. Sanitized builds refuse plain libraries, so there only what comes before the opening is asserted. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/plugin/load.h"
#include "core/plugin/probe.h"
#include "core/plugin/trust.h"
#include "graft/format.h"
#include "tests/support/support.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ZOO GRAFT_BINARY_DIR "/tests/zoo"

static const int sanitized = (GRAFT_BUILD_FLAGS & (GRAFT_BUILD_ASAN | GRAFT_BUILD_TSAN)) != 0;
static char heard[4096]; /* warnings, one a line */

static void hear(void *ctx, graft_log_level level, const char *sentence)
{
    (void)ctx;
    const size_t used = strlen(heard);
    snprintf(heard + used, sizeof heard - used, "%s%s\n", level == GRAFT_LOG_WARNING ? "" : "? ", sentence);
}

/* A test's own folder; results of probes go to its "cache". */
static const char *begin(const char *name)
{
    static char folder[4096];
    char cache[4200];
    snprintf(folder, sizeof folder, "%s", graft_test_dir(name));
    snprintf(cache, sizeof cache, "%s/cache", folder);
    setenv("XDG_CACHE_HOME", cache, 1);
    graft_log_to(hear, NULL, GRAFT_LOG_INFO);
    heard[0] = 0;
    return folder;
}

static int skips(const char *why)
{
    if (sanitized) printf("skipped: a sanitized host opens no plain library, so not tested here: %s\n", why);
    return sanitized;
}

/* The entry {section: {name: {"file_name": file, more}}} of a registry file dir/registry.json. */
static const graft_entry *entry_of(graft_registry *r, const char *dir, graft_kind kind, const char *name, const char *file, const char *more)
{
    graft_error err = GRAFT_ERROR_INIT;
    char path[4200], text[8192];
    snprintf(path, sizeof path, "%s/registry.json", dir);
    snprintf(text, sizeof text, "{\"%s\": {\"%s\": {\"file_name\": \"%s\"%s%s}}}", graft_kind_section(kind), name, file, *more ? ", " : "", more);
    ck_assert_ok(graft_registry_add(r, path, text, strlen(text), 0, &err));
    const graft_entry *e = graft_registry_find(r, kind, name);
    ck_assert_ptr_nonnull(e);
    return e;
}

/* Loading must fail, and say `expected` with its %P the file's path. */
static void refused(const char *dir, graft_kind kind, const char *name, const char *file, const char *more, const char *expected)
{
    graft_error err = GRAFT_ERROR_INIT;
    const graft_loaded *p = NULL;
    graft_registry *r = graft_registry_new();
    char full[16384] = "", path[4200];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    for (const char *c = expected; *c; c++) {
        const size_t used = strlen(full);
        if (c[0] == '%' && c[1] == 'P') snprintf(full + used, sizeof full - used, "%s", path), c++;
        else if (c[0] == '%' && c[1] == 'D') snprintf(full + used, sizeof full - used, "%s", dir), c++;
        else full[used] = *c, full[used + 1] = 0;
    }
    const graft_status status = graft_plugin_load(entry_of(r, dir, kind, name, file, more), &p, &err);
    ck_assert_msg(status != GRAFT_OK && !p, "%s: was not refused", name);
    ck_assert_str_eq(err.message, full);
    ck_assert_int_eq(strncmp(err.where, path, sizeof err.where - 1 < strlen(path) ? sizeof err.where - 1 : strlen(path)), 0);
    ck_assert_int_eq(err.code, status);
    graft_registry_close(r);
}

/* ---- built wrong ---- */

#define RETRY(name_) ". Quarantined by sha256; 'graft plugin retry " name_ "' tries again."

static const struct wrong {
    const char *name, *more, *expected;
} wrongs[] = {
    {"no_entry", "", "queried: no_entry: has no symbol graft_plugin_entry, so it is no graft plugin (it exports helper_table). Define it with GRAFT_PLUGIN."},
    {"null_entry", "", "queried: null_entry: graft_plugin_entry returned NULL, expected the door. Define it with GRAFT_PLUGIN."},
    {"small_door", "", "queried: small_door: its door has size 48, expected 64. Define it with GRAFT_PLUGIN."},
    {"major_new", "", "queried: major_new: built for ABI major 2, this host speaks 1. Update graft, or rebuild the plugin with SDK 1.x."},
    {"sanitized", "", "queried: sanitized: built with AddressSanitizer, this host with no sanitizer. Rebuild one of them."},
    {"reserved", "", "queried: reserved: its door's reserved field is 7, expected 0. Define it with GRAFT_PLUGIN."},
    {"no_init", "", "queried: no_init: its door has no init. Give GRAFT_PLUGIN init, fini and table."},
    {"no_version", "", "queried: no_version: its kind, name or version is missing or longer than 63 bytes. Use GRAFT_PLUGIN to fill the door."},
    {"unknown_kind", "", "queried: unknown_kind: its kind is \"tuner\"; this host knows model, method, format, backend and comm. Correct the kind, or update graft."},
    {"wrong_kind", "", "queried: wrong_kind: the registry says kind \"format\", the library says \"method\". Move the entry to section \"methods\"."},
    {"wrong_name", "", "queried: wrong_name: the registry says name \"wrong_name\", the library says \"right_name\". Rename the entry."},
    {"bad_version", "", "queried: bad_version: its version is \"2.1-final\", expected a semantic version such as 1.0.0. Correct it."},
    {"impure", "", "queried: impure: graft_plugin_entry gives another pointer at each call, expected one constant door. Define it with GRAFT_PLUGIN."},
    {"no_table", "", "queried: no_table: offers no table \"graft.format/1\", which a format needs. Return it from table()."},
    {"small_table", "", "queried: small_table: its table \"graft.format/1\" says size 4, expected 56 (16 at least). Fill size with sizeof."},
    {"missing_slot", "", "queried: missing_slot: its table \"graft.format/1\" has no function \"next\", which every format must give. Add it."},
    {"undefined_symbol", "", "opened: undefined_symbol: uses helper_scale, which neither it nor a library it names defines. Link it with -Wl,-z,defs to find such names. (undefined symbol: helper_scale)"},
    {"missing_library", "", "opened: missing_library: libzoo_gone.so.9 is needed and was not found. Install it, or choose another plugin. (libzoo_gone.so.9: cannot open shared object file: No such file or directory)"},
    {"declines", "", "initialised: declines: declined: no device with 4 GiB free (largest: 2.1 GiB)."},
    {"silent", "", "initialised: silent: init returned status 5 without a message. Fill the error with host->fail."},
    {"init_crashes", "", "probed: init_crashes: the probe process died with signal 11 (segmentation fault) in stage init" RETRY("init_crashes")},
    {"init_aborts", "", "probed: init_aborts: the probe process died with signal 6 (abort) in stage init" RETRY("init_aborts")},
    {"init_exits", "", "probed: init_exits: the plugin ended its process in stage init" RETRY("init_exits")},
    {"init_hangs", "", "probed: init_hangs: the probe process did not finish within 0.3 s in stage init" RETRY("init_hangs")},
    {"constructor_crashes", "", "probed: constructor_crashes: the probe process died with signal 11 (segmentation fault) in stage open" RETRY("constructor_crashes")},
    {"fini_crashes", "", "probed: fini_crashes: the probe process died with signal 11 (segmentation fault) in stage fini" RETRY("fini_crashes")},
    {"ended", "", "probed: ended: the probe process was ended from outside (signal 9). Try again."},
    {"prints", "", "probed: prints: wrote \"hello from a plugin \" to standard output, which belongs to the program's results. Use host->log."},
    {"rounds_up", "", "probed: rounds_up: changes the processor's rounding mode, which would change every number of the program. Restore it before init returns."},
#if defined(__SSE__)
    {"flushes", "", "probed: flushes: turns on flush-to-zero, which would change numbers of the whole program. Link it without -ffast-math."},
    {"table_crashes", "", "probed: table_crashes: the probe process died with signal 4 (illegal instruction) in stage table" RETRY("table_crashes")},
#endif
    {"good", "\"requires\": {\"processor\": [\"time_travel\"]}", "probed: good: needs the processor feature \"time_travel\", which this machine lacks. Choose another plugin."},
    {"good", "\"requires\": {\"library\": [\"libzoo_nowhere.so.3\"]}", "probed: good: needs the library libzoo_nowhere.so.3, which was not found. Install it, or choose another plugin."},
};

START_TEST(built_wrong)
{
    const struct wrong *w = &wrongs[_i];
    char folder[64], file[128];
    snprintf(folder, sizeof folder, "plugins/refusals/built_%d", _i);
    snprintf(file, sizeof file, "%s.so", w->name);
    begin(folder);
    if (skips(w->name)) return;
    graft_probe_time_limit(strcmp(w->name, "init_hangs") ? 0 : 300);
    refused(ZOO, GRAFT_KIND_FORMAT, w->name, file, w->more, w->expected);
    refused(ZOO, GRAFT_KIND_FORMAT, w->name, file, w->more, w->expected); /* the second time, from the kept result or afresh, it says the same */
    ck_assert_str_eq(heard, "");
}
END_TEST

/* ---- files that are wrong ---- */

/* A changed copy of the right plugin: `at` >= 0 puts two bytes there, `cut` >= 0 keeps only so many bytes. */
static void copy_good(const char *dir, const char *name, long at, unsigned value, long cut)
{
    graft_error err = GRAFT_ERROR_INIT;
    char *data, path[4200];
    size_t bytes;
    ck_assert_ok(graft_file_read(ZOO "/good.so", 1 << 24, &data, &bytes, &err));
    if (at >= 0) data[at] = (char)(value & 255), data[at + 1] = (char)(value >> 8);
    if (cut >= 0) bytes = (size_t)cut;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ok(graft_file_replace(path, data, bytes, &err));
    ck_assert_int_eq(chmod(path, 0644), 0);
    graft_free(data);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    graft_error err = GRAFT_ERROR_INIT;
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
    ck_assert_int_eq(chmod(path, 0644), 0);
}

START_TEST(not_there)
{
    const char *dir = begin("plugins/refusals/not_there");
    char expected[9000], path[4200];
    snprintf(expected, sizeof expected, "found: good: there is no file %%P. Build or install the plugin, or correct \"file_name\" in %s/registry.json.", dir);
    refused(dir, GRAFT_KIND_FORMAT, "good", "good.so", "", expected);
    refused(dir, GRAFT_KIND_MODEL, "good", "registry.json/good.so", "", expected);
    snprintf(path, sizeof path, "%s/good.so", dir);
    ck_assert_int_eq(mkdir(path, 0755), 0);
    refused(dir, GRAFT_KIND_FORMAT, "good", "good.so", "", "trusted: good: %P is a folder, expected a regular file. Name the .so itself.");
    snprintf(path, sizeof path, "%s/pipe.so", dir);
    ck_assert_int_eq(mkfifo(path, 0644), 0);
    refused(dir, GRAFT_KIND_FORMAT, "pipe", "pipe.so", "", "trusted: pipe: %P is no regular file, expected a regular file. Name the .so itself.");
}
END_TEST

START_TEST(not_trusted)
{
    const char *dir = begin("plugins/refusals/not_trusted");
    char path[4200], inner[4300];
    copy_good(dir, "good.so", -1, 0, -1);
    snprintf(path, sizeof path, "%s/linked.so", dir);
    ck_assert_int_eq(symlink("good.so", path), 0);
    refused(dir, GRAFT_KIND_FORMAT, "linked", "linked.so", "", "trusted: linked: %P is a symbolic link (to good.so), and what a link names can change. Register the file itself.");

    snprintf(path, sizeof path, "%s/good.so", dir);
    ck_assert_int_eq(chmod(path, 0666), 0);
    refused(dir, GRAFT_KIND_FORMAT, "good", "good.so", "", "trusted: good: %P is writable by everyone (mode 0666), so any user could replace the plugin. chmod o-w %P.");
    ck_assert_int_eq(chmod(path, 0644), 0);
    if (geteuid() == 0) {
        ck_assert_int_eq(chmod(path, 0664), 0);
        refused(dir, GRAFT_KIND_FORMAT, "good", "good.so", "", "trusted: good: %P is writable by its group (mode 0664), so any member could replace the plugin. chmod g-w %P.");
        ck_assert_int_eq(chmod(path, 0644), 0);
        ck_assert_int_eq(chown(path, 12345, 12345), 0);
        refused(dir, GRAFT_KIND_FORMAT, "good", "good.so", "", "trusted: good: %P belongs to user 12345, expected you or root. Copy it, or chown it.");
        ck_assert_int_eq(chown(path, 0, 0), 0);
        ck_assert_int_eq(chown(dir, 12345, 12345), 0);
        refused(dir, GRAFT_KIND_FORMAT, "good", "good.so", "", "trusted: good: %D belongs to user 12345, who could replace the plugin; expected you or root. chown it, or install the plugin elsewhere.");
        ck_assert_int_eq(chown(dir, 0, 0), 0);
    } else printf("skipped: only root can give files away: foreign owners, a foreign group\n");
    ck_assert_int_eq(chmod(dir, 0777), 0);
    refused(dir, GRAFT_KIND_FORMAT, "good", "good.so", "", "trusted: good: %D is writable by everyone (mode 0777), so any user could replace the plugin. chmod o-w %D.");
    snprintf(path, sizeof path, "%s/inner", dir);
    snprintf(inner, sizeof inner, "%s/good.so", path);
    ck_assert_int_eq(mkdir(path, 0755), 0);
    copy_good(path, "good.so", -1, 0, -1);
    refused(dir, GRAFT_KIND_FORMAT, "good", "inner/good.so", "", "trusted: good: %D is writable by everyone (mode 0777), so any user could replace the plugin. chmod o-w %D.");
    ck_assert_int_eq(chmod(dir, 0755), 0);
}
END_TEST

/* A sticky folder, as /tmp, is no reason: nobody but the owner can replace a file in it. */
START_TEST(sticky_is_fine)
{
    const char *dir = begin("plugins/refusals/sticky");
    graft_error err = GRAFT_ERROR_INIT;
    graft_trusted t;
    char path[4200];
    copy_good(dir, "good.so", -1, 0, -1);
    ck_assert_int_eq(chmod(dir, 01777), 0);
    snprintf(path, sizeof path, "%s/good.so", dir);
    ck_assert_ok(graft_trust_open("good", path, NULL, NULL, &t, &err));
    ck_assert_int_gt(t.bytes, 1000);
    graft_trust_close(&t);
    ck_assert_int_ne(graft_trust_open("good", "good.so", NULL, NULL, &t, &err), GRAFT_OK);
    ck_assert_str_eq(err.message, "trusted: good: the path of a plugin must be absolute and shorter than 4096 bytes.");
}
END_TEST

START_TEST(changed_since)
{
    const char *dir = begin("plugins/refusals/changed");
    graft_error err = GRAFT_ERROR_INIT;
    char sum[65], expected[9000], path[4200], more[128];
    copy_good(dir, "good.so", -1, 0, -1);
    snprintf(path, sizeof path, "%s/good.so", dir);
    graft_trusted t;
    ck_assert_ok(graft_trust_open("good", path, NULL, NULL, &t, &err));
    memcpy(sum, t.sha256, sizeof sum);
    graft_trust_close(&t);
    snprintf(more, sizeof more, "\"sha256\": \"%s\"", sum);
    copy_good(dir, "good.so", 200, 0x1234, -1);
    ck_assert_ok(graft_trust_open("good", path, NULL, NULL, &t, &err));
    snprintf(expected, sizeof expected, "trusted: good: sha256 is %.12s..., %s/registry.json expects %.12s.... The file changed since it was registered; if you rebuilt it, run 'graft plugin add %%P'.", t.sha256, dir, sum);
    graft_trust_close(&t);
    refused(dir, GRAFT_KIND_FORMAT, "good", "good.so", more, expected);
}
END_TEST

START_TEST(no_library)
{
    const char *dir = begin("plugins/refusals/no_library");
    write_text(dir, "script.so", "#!/bin/sh\necho hello\n");
    write_text(dir, "empty.so", "");
    write_text(dir, "short.so", "\177ELF\2\1\1");
    refused(dir, GRAFT_KIND_FORMAT, "script", "script.so", "", "opened: script: the file is no shared object (it begins with \"#!/bin/s\"); give the .so that the compiler made.");
    refused(dir, GRAFT_KIND_FORMAT, "empty", "empty.so", "", "opened: empty: the file is empty; copy or build it again.");
    refused(dir, GRAFT_KIND_FORMAT, "short", "short.so", "", "opened: short: the file is cut short or damaged: its headers reach to byte 64, the file has 7; copy or build it again.");
    Elf64_Ehdr head;
    graft_error err = GRAFT_ERROR_INIT;
    char *data, expected[300];
    size_t bytes;
    ck_assert_ok(graft_file_read(ZOO "/good.so", 1 << 24, &data, &bytes, &err));
    memcpy(&head, data, sizeof head);
    graft_free(data);
    copy_good(dir, "cut.so", -1, 0, 6000);
    snprintf(expected, sizeof expected, "opened: cut: the file is cut short or damaged: its headers reach to byte ");
    graft_trusted t;
    char path[4200];
    snprintf(path, sizeof path, "%s/cut.so", dir);
    ck_assert_ok(graft_trust_open("cut", path, NULL, NULL, &t, &err));
    ck_assert_int_eq(graft_trust_inspect(&t, &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(strncmp(err.message, expected, strlen(expected)), 0); /* which byte is the linker's choice */
    ck_assert_ptr_nonnull(strstr(err.message, ", the file has 6000; copy or build it again."));
    graft_trust_close(&t);
#if defined(__x86_64__)
    copy_good(dir, "arm.so", offsetof(Elf64_Ehdr, e_machine), EM_AARCH64, -1);
    refused(dir, GRAFT_KIND_FORMAT, "arm", "arm.so", "", "opened: arm: the file is built for arm64, this machine is x86-64; build it for this machine.");
    copy_good(dir, "small.so", EI_CLASS, ELFCLASS32 | ELFDATA2LSB << 8, -1);
    refused(dir, GRAFT_KIND_FORMAT, "small", "small.so", "", "opened: small: the file is built for another word size or byte order, this machine is x86-64; build it for this machine.");
#endif
    copy_good(dir, "program.so", offsetof(Elf64_Ehdr, e_type), ET_EXEC, -1);
    refused(dir, GRAFT_KIND_FORMAT, "program", "program.so", "", "opened: program: the file is a program, not a shared object; link it with -shared.");
    copy_good(dir, "object.so", offsetof(Elf64_Ehdr, e_type), ET_REL, -1);
    refused(dir, GRAFT_KIND_FORMAT, "object", "object.so", "", "opened: object: the file is an object file, not a shared object; link it with -shared.");
}
END_TEST

/* Every length of a cut file is refused in a sentence, and none is read beyond its end. */
START_TEST(cut_anywhere)
{
    const char *dir = begin("plugins/refusals/cut");
    graft_error err = GRAFT_ERROR_INIT;
    graft_elf elf;
    char *data;
    size_t bytes;
    (void)dir;
    ck_assert_ok(graft_file_read(ZOO "/good.so", 1 << 24, &data, &bytes, &err));
    ck_assert_ok(graft_elf_read((const uint8_t *)data, (int64_t)bytes, &elf, &err));
    ck_assert_int_eq(elf.n_exports, 1);
    ck_assert_str_eq(elf.exports[0], "graft_plugin_entry");
    for (size_t n = 0; n < bytes; n += 7) {
        char *part = graft_calloc(n + 1, 1); /* of its own, so that a sanitizer sees each read beyond it */
        memcpy(part, data, n);
        ck_assert_int_eq(graft_elf_read((const uint8_t *)part, (int64_t)n, &elf, &err), GRAFT_BAD_INPUT);
        graft_free(part);
    }
    graft_free(data);
}
END_TEST

START_TEST(plain_in_a_sanitized_host)
{
    begin("plugins/refusals/plain");
    if (!sanitized) {
        printf("skipped: not a sanitized build\n");
        return;
    }
    const char *what = GRAFT_BUILD_FLAGS & GRAFT_BUILD_ASAN ? "AddressSanitizer" : "ThreadSanitizer";
    char expected[200];
    snprintf(expected, sizeof expected, "opened: good: built without %s, this host has it. Rebuild one of them.", what);
    refused(ZOO, GRAFT_KIND_FORMAT, "good", "good.so", "", expected);
}
END_TEST

/* ---- warnings, quarantine, and what works ---- */

START_TEST(warned)
{
    begin("plugins/refusals/warned");
    graft_error err = GRAFT_ERROR_INIT;
    const graft_loaded *p;
    if (skips("warnings")) return;
    graft_registry *r = graft_registry_new();
    ck_assert_ok(graft_plugin_load(entry_of(r, ZOO, GRAFT_KIND_FORMAT, "extra_exports", "extra_exports.so", ""), &p, &err));
    ck_assert_str_eq(heard, "Plugin extra_exports exports 2 names, expected only graft_plugin_entry: helper_free.\n");
    heard[0] = 0;
    ck_assert_ok(graft_plugin_load(entry_of(r, ZOO, GRAFT_KIND_FORMAT, "leaks", "leaks.so", ""), &p, &err));
    ck_assert_str_eq(heard, "Plugin leaks keeps 1 blocks (100 bytes) of the host's memory after fini.\n"
                            "Plugin leaks leaves 1 threads running after fini.\n"
                            "Plugin leaks wrote to standard error: \"driver: be careful \".\n");
    int64_t blocks, bytes;
    graft_plugin_memory(p, &blocks, &bytes);
    ck_assert_int_eq(blocks, 1);
    ck_assert_int_eq(bytes, 100);
    graft_registry_close(r);
}
END_TEST

START_TEST(quarantined_until_retried)
{
    const char *dir = begin("plugins/refusals/quarantine");
    graft_error err = GRAFT_ERROR_INIT;
    graft_probe_report report;
    graft_trusted t;
    const char *expected = "probed: init_crashes: the probe process died with signal 11 (segmentation fault) in stage init" RETRY("init_crashes");
    if (skips("quarantine")) return;
    refused(ZOO, GRAFT_KIND_FORMAT, "init_crashes", "init_crashes.so", "", expected);
    ck_assert_ok(graft_trust_open("init_crashes", ZOO "/init_crashes.so", NULL, NULL, &t, &err));
    ck_assert_int_eq(graft_probe_recall(t.sha256, &report), 1);
    ck_assert_int_eq(report.quarantined, 1);
    ck_assert_str_eq(report.name, "init_crashes");
    ck_assert_str_eq(report.file, ZOO "/init_crashes.so");
    /* The kept result alone refuses it: under this limit a fresh probe would say something else. */
    graft_probe_time_limit(1);
    refused(ZOO, GRAFT_KIND_FORMAT, "init_crashes", "init_crashes.so", "", expected);
    graft_probe_time_limit(0);
    ck_assert_ok(graft_probe_forget(t.sha256, &err));
    ck_assert_int_eq(graft_probe_recall(t.sha256, &report), 0);
    refused(ZOO, GRAFT_KIND_FORMAT, "init_crashes", "init_crashes.so", "", expected);
    ck_assert_int_eq(graft_probe_recall(t.sha256, &report), 1);
    /* A damaged file of results counts as none. */
    char path[4300];
    snprintf(path, sizeof path, "cache/graft/probe/%s", t.sha256);
    write_text(dir, path, "{\"probe\": 1, \"verdict\": \"go");
    ck_assert_int_eq(graft_probe_recall(t.sha256, &report), 0);
    graft_trust_close(&t);
}
END_TEST

START_TEST(good_works)
{
    const char *dir = begin("plugins/refusals/good");
    graft_error err = GRAFT_ERROR_INIT;
    const graft_loaded *p, *again;
    if (skips("loading")) return;
    graft_registry *r = graft_registry_new();
    const graft_entry *e = entry_of(r, ZOO, GRAFT_KIND_FORMAT, "good", "good.so", "\"requires\": {\"library\": [\"libc.so.6\"], \"memory\": \"1 MiB\"}");
    ck_assert_ok(graft_plugin_load(e, &p, &err));
    ck_assert_str_eq(p->door->version, "1.2.3");
    ck_assert_str_eq(p->entry->name, "good");
    const graft_format_table *table = p->table;
    ck_assert_ptr_nonnull(table->next);
    ck_assert_int_eq(table->sniff(p->self, "", 0, ""), 0);
    graft_cursor at;
    ck_assert_int_eq(table->tell(NULL, &at, &err), GRAFT_UNSUPPORTED);
    ck_assert_str_eq(err.message, "unsupported: this format has no tell, so a run over it cannot be resumed; choose another format.");
    ck_assert_int_eq(table->seek(NULL, &at, &err), GRAFT_UNSUPPORTED);
    table->close(NULL);
    ck_assert_ok(graft_plugin_load(e, &again, &err));
    ck_assert_ptr_eq(p, again);
    graft_registry_close(r);
    ck_assert_str_eq(p->entry->name, "good"); /* outlives the registry */

    /* Two other files opened afterwards are themselves, though descriptors come and go. */
    r = graft_registry_new();
    copy_good(dir, "good.so", -1, 0, -1);
    ck_assert_ok(graft_plugin_load(entry_of(r, ZOO, GRAFT_KIND_FORMAT, "extra_exports", "extra_exports.so", ""), &p, &err));
    ck_assert_str_eq(p->door->name, "extra_exports");
    ck_assert_ok(graft_plugin_load(entry_of(r, dir, GRAFT_KIND_FORMAT, "good", "good.so", ""), &p, &err));
    ck_assert_str_eq(p->door->name, "good");
    graft_plugin_unload_all();
    ck_assert_ok(graft_plugin_load(entry_of(r, ZOO, GRAFT_KIND_FORMAT, "extra_exports", "extra_exports.so", ""), &p, &err));
    ck_assert_str_eq(p->door->name, "extra_exports");
    graft_plugin_unload_all();
    graft_registry_close(r);
}
END_TEST

/* No folder for results: plugins load all the same. */
START_TEST(without_cache)
{
    begin("plugins/refusals/without_cache");
    graft_error err = GRAFT_ERROR_INIT;
    const graft_loaded *p;
    if (skips("loading")) return;
    graft_log_to(hear, NULL, GRAFT_LOG_DEBUG);
    setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);
    graft_registry *r = graft_registry_new();
    ck_assert_ok(graft_plugin_load(entry_of(r, ZOO, GRAFT_KIND_FORMAT, "good", "good.so", ""), &p, &err));
    ck_assert_ok(graft_plugin_load(entry_of(r, ZOO, GRAFT_KIND_FORMAT, "extra_exports", "extra_exports.so", ""), &p, &err));
    const char *said = strstr(heard, "Probe results are not kept");
    ck_assert_ptr_nonnull(said);
    ck_assert_ptr_null(strstr(said + 1, "Probe results are not kept"));
    graft_registry_close(r);
}
END_TEST

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* The first time costs milliseconds (a fork and two openings); a second is the bound on a busy machine. */
START_TEST(first_time_is_quick)
{
    begin("plugins/refusals/quick");
    graft_error err = GRAFT_ERROR_INIT;
    const graft_loaded *p;
    if (skips("loading")) return;
    graft_registry *r = graft_registry_new();
    const double start = milliseconds();
    ck_assert_ok(graft_plugin_load(entry_of(r, ZOO, GRAFT_KIND_FORMAT, "good", "good.so", ""), &p, &err));
    const double first = milliseconds() - start;
    graft_plugin_unload_all();
    ck_assert_ok(graft_plugin_load(entry_of(r, ZOO, GRAFT_KIND_FORMAT, "good", "good.so", ""), &p, &err));
    printf("first load %.1f ms, second %.1f ms\n", first, milliseconds() - start - first);
    ck_assert_double_lt(first, 1000);
    graft_registry_close(r);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_loop_test(tc, built_wrong, 0, (int)(sizeof wrongs / sizeof *wrongs));
    tcase_add_test(tc, not_there);
    tcase_add_test(tc, not_trusted);
    tcase_add_test(tc, sticky_is_fine);
    tcase_add_test(tc, changed_since);
    tcase_add_test(tc, no_library);
    tcase_add_test(tc, cut_anywhere);
    tcase_add_test(tc, plain_in_a_sanitized_host);
    tcase_add_test(tc, warned);
    tcase_add_test(tc, quarantined_until_retried);
    tcase_add_test(tc, good_works);
    tcase_add_test(tc, without_cache);
    tcase_add_test(tc, first_time_is_quick);
}

int main(void) { return graft_test_main("refusals", cases); }
