/* The I/O seam: what is read, written, replaced and removed, and what stays when a write, fsync or rename fails. */
#include "core/base/file.h"
#include "core/base/arena.h"
#include "core/base/error.h"
#include "tests/support/support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *in(const char *dir, const char *name)
{
    static char path[4][4096];
    static int at;
    at = (at + 1) % 4;
    snprintf(path[at], sizeof path[at], "%s/%s", dir, name);
    return path[at];
}

static void check_content(const char *path, const char *want)
{
    graft_error err = GRAFT_ERROR_INIT;
    char *text;
    size_t bytes;
    ck_assert_ok(graft_file_read(path, 1 << 26, &text, &bytes, &err));
    ck_assert_uint_eq(bytes, strlen(want));
    ck_assert_str_eq(text, want);
    graft_free(text);
}

START_TEST(maps)
{
    const char *dir = graft_test_dir("base_file_maps");
    graft_error err = GRAFT_ERROR_INIT;
    graft_map m;
    ck_assert_ok(graft_file_replace(in(dir, "x"), "hello", 5, &err));
    ck_assert_ok(graft_map_open(&m, in(dir, "x"), &err));
    ck_assert_int_eq(m.bytes, 5);
    ck_assert_int_eq(memcmp(m.data, "hello", 5), 0);
    graft_map_close(&m);
    ck_assert_ok(graft_file_replace(in(dir, "empty"), "", 0, &err));
    ck_assert_ok(graft_map_open(&m, in(dir, "empty"), &err));
    ck_assert_int_eq(m.bytes, 0);
    graft_map_close(&m);
    ck_assert_int_eq(graft_map_open(&m, dir, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.where, dir);
    ck_assert_str_eq(err.message, "expected a regular file, found a folder; give the path of a file");
    ck_assert_int_eq(graft_map_open(&m, in(dir, "none"), &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "cannot open the file: No such file or directory; check the path");
    ck_assert_int_eq(mkfifo(in(dir, "pipe"), 0600), 0);
    ck_assert_int_eq(graft_map_open(&m, in(dir, "pipe"), &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "expected a regular file, found a device or pipe; give the path of a file");
}
END_TEST

START_TEST(reading)
{
    const char *dir = graft_test_dir("base_file_read");
    graft_error err = GRAFT_ERROR_INIT;
    char *text;
    size_t bytes;
    ck_assert_ok(graft_file_replace(in(dir, "x"), "0123456789", 10, &err));
    ck_assert_ok(graft_file_read(in(dir, "x"), 10, &text, &bytes, &err));
    ck_assert_str_eq(text, "0123456789");
    graft_free(text);
    ck_assert_int_eq(graft_file_read(in(dir, "x"), 9, &text, &bytes, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "expected at most 9 bytes, found more; is this the right file?");
    ck_assert_ptr_null(text);
    ck_assert_int_eq(graft_file_read("/dev/zero", 100000, &text, &bytes, &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(graft_file_read(dir, 9, &text, &bytes, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "cannot read the file: Is a directory; check which part of the path is a folder");
    ck_assert_ok(graft_file_read("/dev/null", 9, &text, &bytes, &err));
    ck_assert_str_eq(text, "");
    graft_free(text);
}
END_TEST

START_TEST(streams)
{
    const char *dir = graft_test_dir("base_file_stream");
    graft_error err = GRAFT_ERROR_INIT;
    enum { LARGE = (9 << 20) + 12345 }; /* several buffers and a part of a block */
    char *large = graft_calloc(LARGE, 1);
    graft_file *f;
    graft_map m;
    for (size_t i = 0; i < LARGE; i++) large[i] = (char)(i * 2654435761u >> 16);
    ck_assert_ok(graft_file_create(&f, in(dir, "x"), &err));
    for (size_t at = 0, n = 1; at < LARGE; at += n, n = n * 3 + 1) {
        if (n > LARGE - at) n = LARGE - at;
        ck_assert_ok(graft_file_write(f, large + at, n, &err));
    }
    ck_assert_ok(graft_file_finish(f, &err));
    ck_assert_ok(graft_map_open(&m, in(dir, "x"), &err));
    ck_assert_int_eq(m.bytes, LARGE);
    ck_assert_int_eq(memcmp(m.data, large, LARGE), 0);
    graft_map_close(&m);
    ck_assert_ok(graft_file_create(&f, in(dir, "gone"), &err));
    ck_assert_ok(graft_file_write(f, "x", 1, &err));
    graft_file_abandon(f);
    ck_assert(!graft_path_exists(in(dir, "gone")));
    graft_file_abandon(NULL);
    ck_assert_int_eq(graft_file_create(&f, in(dir, "no/x"), &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "cannot create the file: No such file or directory; check the path");
    ck_assert_ptr_null(f);
    ck_assert_ok(graft_file_append(in(dir, "log"), "a\n", 2, &err));
    ck_assert_ok(graft_file_append(in(dir, "log"), "b\n", 2, &err));
    check_content(in(dir, "log"), "a\nb\n");
    graft_free(large);
}
END_TEST

/* The first failure of a stream is what finish says, and the half-written file is gone. */
START_TEST(full_disk_while_streaming)
{
    const char *dir = graft_test_dir("base_file_full");
    graft_error err = GRAFT_ERROR_INIT;
    static char block[600000];
    graft_file *f;
    for (long n = 1; n <= 3; n++) {
        int failed = 0;
        graft_file_fault("write", n, ENOSPC);
        ck_assert_ok(graft_file_create(&f, in(dir, "x"), &err));
        for (int i = 0; i < 20; i++) failed |= graft_file_write(f, block, sizeof block, &err) != GRAFT_OK;
        ck_assert_int_eq(failed, 1);
        ck_assert_int_eq(graft_file_write(f, block, 1, &err), GRAFT_IO); /* stays failed */
        ck_assert_int_eq(graft_file_finish(f, &err), GRAFT_IO);
        ck_assert_str_eq(err.message, "cannot write the file: No space left on device; free some space or choose another disk");
        ck_assert(!graft_path_exists(in(dir, "x")));
    }
    graft_file_fault("fsync", 1, EIO);
    ck_assert_ok(graft_file_create(&f, in(dir, "x"), &err));
    ck_assert_int_eq(graft_file_finish(f, &err), GRAFT_IO);
    ck_assert_str_eq(err.message, "cannot write the file: Input/output error; check the disk");
    ck_assert(!graft_path_exists(in(dir, "x")));
}
END_TEST

static const struct {
    const char *call;
    int number;
} faults[] = {{"write", ENOSPC}, {"fsync", EIO}, {"rename", EACCES}};

START_TEST(old_content_survives)
{
    const char *dir = graft_test_dir("base_file_replace");
    graft_error err = GRAFT_ERROR_INIT;
    char **names;
    size_t n;
    ck_assert_ok(graft_file_replace(in(dir, "x"), "old", 3, &err));
    graft_file_fault(faults[_i].call, 1, faults[_i].number);
    ck_assert_int_eq(graft_file_replace(in(dir, "x"), "new", 3, &err), GRAFT_IO);
    check_content(in(dir, "x"), "old");
    ck_assert_ok(graft_dir_list(dir, &names, &n, &err));
    ck_assert_uint_eq(n, 1); /* no temporary file stays */
    graft_dir_list_free(names, n);
    ck_assert_ok(graft_file_replace(in(dir, "x"), "new", 3, &err));
    check_content(in(dir, "x"), "new");
    /* A fault that is taken back does not happen. */
    graft_file_fault(faults[_i].call, 1, faults[_i].number);
    graft_file_fault(faults[_i].call, 0, 0);
    ck_assert_ok(graft_file_replace(in(dir, "x"), "newer", 5, &err));
}
END_TEST

/* Check runs each test in its own process, so the environment is read afresh here. */
START_TEST(fault_from_environment)
{
    setenv("GRAFT_FAULT", "write:2:ENOSPC", 1);
    char path[4096];
    graft_error err = GRAFT_ERROR_INIT;
    snprintf(path, sizeof path, "%s/tests/work", GRAFT_BINARY_DIR);
    ck_assert_ok(graft_dir_make(path, &err));
    snprintf(path, sizeof path, "%s/tests/work/base_file_environment", GRAFT_BINARY_DIR);
    ck_assert_ok(graft_file_append(path, "1", 1, &err));
    ck_assert_int_eq(graft_file_append(path, "2", 1, &err), GRAFT_IO);
    ck_assert_ok(graft_file_append(path, "3", 1, &err));
    ck_assert_ok(graft_path_remove(path, &err));
}
END_TEST

START_TEST(folders)
{
    const char *dir = graft_test_dir("base_file_folders");
    graft_error err = GRAFT_ERROR_INIT;
    char **names;
    size_t n;
    ck_assert_ok(graft_dir_make(in(dir, "a/b//c"), &err));
    ck_assert_ok(graft_dir_make(in(dir, "a/b/c/"), &err));
    ck_assert_ok(graft_dir_sync(in(dir, "a/b"), &err));
    ck_assert_ok(graft_file_replace(in(dir, "a/y"), "", 0, &err));
    ck_assert_ok(graft_file_replace(in(dir, "a/.x"), "", 0, &err));
    ck_assert_ok(graft_dir_list(in(dir, "a"), &names, &n, &err));
    ck_assert_uint_eq(n, 3);
    ck_assert_str_eq(names[0], ".x");
    ck_assert_str_eq(names[1], "b");
    ck_assert_str_eq(names[2], "y");
    graft_dir_list_free(names, n);
    ck_assert_int_eq(graft_dir_make(in(dir, "a/y/z"), &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "cannot make the folder: Not a directory; check the path and its permissions");
    ck_assert_int_eq(graft_dir_make("", &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(graft_dir_list(in(dir, "none"), &names, &n, &err), GRAFT_BAD_INPUT);
    ck_assert_ok(graft_path_rename(in(dir, "a/y"), in(dir, "a/z"), &err));
    ck_assert_int_eq(graft_path_rename(in(dir, "a/y"), in(dir, "a/w"), &err), GRAFT_BAD_INPUT);
    ck_assert(graft_path_is_dir(in(dir, "a")) && !graft_path_is_dir(in(dir, "a/z")));
}
END_TEST

/* A link inside is removed; what it points to stays. */
START_TEST(removing)
{
    const char *dir = graft_test_dir("base_file_remove");
    graft_error err = GRAFT_ERROR_INIT;
    ck_assert_ok(graft_dir_make(in(dir, "kept"), &err));
    ck_assert_ok(graft_file_replace(in(dir, "kept/file"), "x", 1, &err));
    ck_assert_ok(graft_dir_make(in(dir, "gone/deep/er"), &err));
    ck_assert_ok(graft_file_replace(in(dir, "gone/deep/file"), "x", 1, &err));
    ck_assert_int_eq(symlink("../kept", in(dir, "gone/link")), 0);
    ck_assert_int_eq(symlink("nowhere", in(dir, "gone/broken")), 0);
    ck_assert_ok(graft_path_remove(in(dir, "gone"), &err));
    ck_assert(!graft_path_exists(in(dir, "gone")));
    check_content(in(dir, "kept/file"), "x");
    ck_assert_int_eq(symlink("kept", in(dir, "link")), 0);
    ck_assert_ok(graft_path_remove(in(dir, "link"), &err));
    check_content(in(dir, "kept/file"), "x");
    ck_assert_ok(graft_path_remove(in(dir, "kept/file"), &err));
    ck_assert_ok(graft_path_remove(in(dir, "never was"), &err));
}
END_TEST

static void check_join(const char *dir, const char *name, const char *want)
{
    char *path = graft_path_join(dir, name);
    ck_assert_str_eq(path, want);
    graft_free(path);
}

START_TEST(paths)
{
    check_join("a", "b", "a/b");
    check_join("a/", "b", "a/b");
    check_join("", "b", "b");
    check_join("a", "", "a");
    check_join("/", "b", "/b");
    ck_assert_str_eq(graft_path_base("a/b/c.json"), "c.json");
    ck_assert_str_eq(graft_path_base("c.json"), "c.json");
    ck_assert_str_eq(graft_path_base("a/"), "");
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, maps);
    tcase_add_test(tc, reading);
    tcase_add_test(tc, streams);
    tcase_add_test(tc, full_disk_while_streaming);
    tcase_add_loop_test(tc, old_content_survives, 0, sizeof faults / sizeof *faults);
    tcase_add_test(tc, fault_from_environment);
    tcase_add_test(tc, folders);
    tcase_add_test(tc, removing);
    tcase_add_test(tc, paths);
}

int main(void) { return graft_test_main("file", cases); }
