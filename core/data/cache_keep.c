/* core/data/cache_keep.c - see cache_keep.h. A day's grace keeps sets that another process may be reading. */
#include "core/data/cache_keep.h"

#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY (INT64_C(86400) * 1000000000)

static int is_key(const char *name) { return strlen(name) == 64 && strspn(name, "0123456789abcdef") == 64; }

static int join(char out[4400], const char *folder, const char *key, const char *file)
{
    return snprintf(out, 4400, "%s/%s%s%s", folder, key, *file ? "/" : "", file) < 4400;
}

static graft_status look(const char *folder, graft_cache_set *s, graft_error *err)
{
    char **names = NULL, path[4400];
    size_t n = 0;
    graft_status status = join(path, folder, s->key, "") ? graft_dir_list(path, &names, &n, err) : graft_fail(err, GRAFT_BAD_INPUT, folder, "the path is too long");
    for (size_t i = 0; !status && i < n; i++) {
        int64_t bytes = 0, modified = 0;
        graft_error gone = GRAFT_ERROR_INIT; /* another process may have taken a part file away */
        if (!join(path, folder, s->key, names[i]) || graft_path_stamp(path, &bytes, &modified, &gone)) continue;
        s->bytes += bytes;
        if (modified > s->used) s->used = modified;
    }
    graft_dir_list_free(names, n);
    char *text = NULL;
    graft_error unknown = GRAFT_ERROR_INIT;
    if (!status && join(path, folder, s->key, "used") && !graft_file_read(path, 1 << 16, &text, &n, &unknown)) snprintf(s->about, sizeof s->about, "%.*s", (int)strcspn(text, "\n") < 511 ? (int)strcspn(text, "\n") : 511, text);
    graft_free(text);
    return status;
}

static int oldest_first(const void *a, const void *b)
{
    const graft_cache_set *x = a, *y = b;
    return x->used < y->used ? -1 : x->used > y->used;
}

graft_status graft_cache_sets(const char *folder, graft_cache_set **out, size_t *n, graft_error *err)
{
    char **names = NULL;
    size_t all = 0;
    *out = NULL, *n = 0;
    if (!graft_path_is_dir(folder)) return GRAFT_OK;
    graft_status s = graft_dir_list(folder, &names, &all, err);
    if (!s && !(*out = graft_calloc(all + 1, sizeof **out))) s = graft_fail(err, GRAFT_NO_MEMORY, folder, "out of memory");
    for (size_t i = 0; !s && i < all; i++) {
        if (!is_key(names[i])) continue;
        snprintf((*out)[*n].key, sizeof(*out)[*n].key, "%s", names[i]);
        s = look(folder, &(*out)[(*n)++], err);
    }
    graft_dir_list_free(names, all);
    if (!s) qsort(*out, *n, sizeof **out, oldest_first);
    return s;
}

graft_status graft_cache_remove(const char *folder, const char *key, graft_error *err)
{
    char path[4400];
    if (!is_key(key) || !join(path, folder, key, "")) return graft_fail(err, GRAFT_BAD_INPUT, folder, "there is no set '%.80s'", key);
    return graft_path_remove(path, err);
}

int64_t graft_cache_note(const char *folder, const char *key, const char *about)
{
    char path[4400], text[600];
    graft_error unheard = GRAFT_ERROR_INIT;
    snprintf(text, sizeof text, "%.580s\n", about);
    int64_t bytes = 0, now = 0;
    const int written = join(path, folder, key, "") && graft_path_is_dir(path) && join(path, folder, key, "used") && !graft_file_replace(path, text, strlen(text), &unheard);
    return written && !graft_path_stamp(path, &bytes, &now, &unheard) ? now : 0;
}

void graft_cache_prune(const char *folder, int64_t limit, int64_t now)
{
    graft_cache_set *sets = NULL;
    graft_error unheard = GRAFT_ERROR_INIT; /* a folder that cannot be read is said when the set is written */
    size_t n = 0, gone = 0;
    int64_t total = 0, freed = 0;
    if (graft_cache_sets(folder, &sets, &n, &unheard)) n = 0;
    for (size_t i = 0; i < n; i++) total += sets[i].bytes;
    for (size_t i = 0; i < n; i++) {
        const int64_t idle = now - sets[i].used;
        if (!(idle > GRAFT_CACHE_DAYS * DAY || (total > limit && idle > DAY)) || graft_cache_remove(folder, sets[i].key, &unheard)) continue;
        total -= sets[i].bytes, freed += sets[i].bytes, gone++;
    }
    if (gone) graft_log(GRAFT_LOG_INFO, "%zu sets of tokenised samples that were not used for long are gone from %s (%.1f GB); `graft data cache` lists the others", gone, folder, (double)freed / 1e9);
    graft_free(sets);
}
