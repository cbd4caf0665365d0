/* core/base/error.h - one sentence per failure. Every fallible function of core returns a graft_status and fills the caller's graft_error. */
#ifndef CORE_BASE_ERROR_H
#define CORE_BASE_ERROR_H

#include "graft/base.h"

/* Fills err (size, code, where, message; cut at their ends on a character's border) and returns code, so that `return graft_fail(...)` reads well.
 * where may be NULL. fmt is one sentence: expected, found, remedy. [any] */
graft_status graft_fail(graft_error *err, graft_status code, const char *where, const char *fmt, ...) GRAFT_PRINTF(4, 5);

/* "where: message" or "message" into out; returns out. */
const char *graft_error_text(const graft_error *err, char *out, size_t room);

/* The name of options (n of them, NULL ends early) nearest to word by edit distance, or NULL when none is near. For "did you mean". */
const char *graft_nearest(const char *word, const char *const *options, size_t n);

#define GRAFT_ERROR_INIT {.size = (uint32_t)sizeof(graft_error)}

#endif
