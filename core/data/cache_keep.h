/* core/data/cache_keep.h - what lies in a folder of token caches, and what goes when it grows: a set that was not used for long, or the oldest of too many.
 *
 *   FOLDER/KEY/used   the data that the set was made of; the file's time is when it was used last */
#ifndef CORE_DATA_CACHE_KEEP_H
#define CORE_DATA_CACHE_KEEP_H

#include "graft/base.h"

enum { GRAFT_CACHE_DAYS = 30 }; /* a set unused for longer goes when another is made */

typedef struct graft_cache_set {
    char key[65];
    char about[512]; /* path of its data, "" unknown */
    int64_t bytes, used; /* ns since 1970 */
} graft_cache_set;

/* The sets of the folder, the longest unused first; graft_free. A folder that is not there has none. */
graft_status graft_cache_sets(const char *folder, graft_cache_set **out, size_t *n, graft_error *err);
graft_status graft_cache_remove(const char *folder, const char *key, graft_error *err);

/* The set is used now, which is when: ns since 1970, by the file system. What cannot be written is no error, and 0: it only goes sooner. */
int64_t graft_cache_note(const char *folder, const char *key, const char *about);
/* Sets unused for GRAFT_CACHE_DAYS go, and while all are more than limit bytes the oldest that was not used for a day. now: ns. One line says it. */
void graft_cache_prune(const char *folder, int64_t limit, int64_t now);

#endif
