/* tests/fuzz/rows.h - what holds of every file of rows: reading ends, refusals say something, and going back to any place gives the same rows again. */
#ifndef TESTS_FUZZ_ROWS_H
#define TESTS_FUZZ_ROWS_H

#include "core/base/error.h"
#include "core/data/source.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS_MOST = 2000 }; /* a few bytes of a column file may say that millions of rows are alike */

static int64_t count_from(graft_source *s, int64_t at, int64_t most, int *failed)
{
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *row;
    int64_t n = 0;
    *failed = 0;
    if (s->api->seek(s, at)) return -1;
    for (; n < most; n++) {
        if (s->api->row(s, &row, &err)) {
            if (!err.message[0]) abort();
            *failed = 1;
            return n;
        }
        if (!row) return n;
        if (row->type != GRAFT_JSON_OBJECT) abort();
    }
    return n;
}

/* ending: of the name under which the input is opened (".csv"), "" for one without. may_fail: the file may be refused when opened. */
static int rows_check(const uint8_t *data, size_t size, const char *ending, int may_fail)
{
    static char path[4200]; /* names a file in memory */
    static int fd = -1;
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL, *again = NULL;
    const graft_json *row;
    int failed, failed_again;
    if (fd < 0) {
        char memory[64], name[64];
        snprintf(memory, sizeof memory, "/proc/self/fd/%d", fd = memfd_create("rows", 0));
        snprintf(name, sizeof name, "fuzz_rows%s.%ld", ending, (long)getpid());
        snprintf(path, sizeof path, "%s/rows%s", graft_test_dir(name), ending);
        if (symlink(memory, path)) abort();
    }
    if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size) return 0;
    if (graft_source_open(path, &s, &err) || graft_source_open(path, &again, &err)) {
        if (!may_fail || !err.message[0]) abort();
        return 0;
    }
    const int64_t all = count_from(again, 0, ROWS_MOST, &failed);
    for (int64_t k = 0; k < all && k < 64; k++) {
        if (s->api->row(s, &row, &err) || !row) abort();
        if (count_from(again, s->api->tell(s), ROWS_MOST - k - 1, &failed_again) != all - k - 1 || failed != failed_again) abort();
    }
    graft_source_close(s);
    graft_source_close(again);
    return 0;
}

#endif
