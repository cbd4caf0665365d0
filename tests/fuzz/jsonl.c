/* Rows of JSON and JSON Lines files: reading ends, and going back to any place gives the same rows again. */
#include "core/base/error.h"
#include "core/data/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t count_from(graft_source *s, int64_t at, int *failed)
{
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *row;
    int64_t n = 0;
    *failed = 0;
    if (s->api->seek(s, at)) return -1;
    for (;; n++) {
        if (s->api->row(s, &row, &err)) {
            if (!err.message[0]) abort();
            *failed = 1;
            return n;
        }
        if (!row) return n;
        if (row->type != GRAFT_JSON_OBJECT) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[64]; /* a file in memory */
    static int fd = -1;
    if (fd < 0) snprintf(path, sizeof path, "/proc/self/fd/%d", fd = memfd_create("rows", 0));
    if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size) return 0;
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL, *again = NULL;
    const graft_json *row;
    int failed, failed_again;
    if (graft_source_open(path, &s, &err) || graft_source_open(path, &again, &err)) abort();
    const int64_t all = count_from(again, 0, &failed);
    for (int64_t k = 0; k < all; k++) {
        if (s->api->row(s, &row, &err) || !row) abort();
        if (count_from(again, s->api->tell(s), &failed_again) != all - k - 1 || failed != failed_again) abort();
    }
    graft_source_close(s);
    graft_source_close(again);
    return 0;
}
