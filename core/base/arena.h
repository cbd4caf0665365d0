/* core/base/arena.h - memory by lifetime: one arena per graph, per step, per load; freed at once. Also the only malloc of core. */
#ifndef CORE_BASE_ARENA_H
#define CORE_BASE_ARENA_H

#include "graft/base.h"

typedef struct graft_arena graft_arena;

graft_arena *graft_arena_new(void);              /* NULL when out of memory */
void         graft_arena_free(graft_arena *a);   /* NULL is fine */
void        *graft_arena_alloc(graft_arena *a, size_t bytes); /* zeroed, 16-byte aligned; NULL when out of memory */
char        *graft_arena_copy(graft_arena *a, const char *text, size_t bytes); /* NUL-terminated copy */
char        *graft_arena_printf(graft_arena *a, const char *fmt, ...) GRAFT_PRINTF(2, 3);
size_t       graft_arena_bytes(const graft_arena *a); /* taken from the system */

/* n * size, zeroed, NULL on overflow or no memory. For things that outlive arenas. */
void *graft_calloc(size_t n, size_t size);
void *graft_realloc(void *p, size_t n, size_t size); /* checked n * size; the old block stays valid when NULL comes back */
void  graft_free(void *p);
/* What was freed goes back to the system, as far as it can: after work that took much and before its memory is counted. */
void  graft_trim(void);

/* Grows *items (of `size` bytes each) so that room for at least `need` exists, doubling; *room is updated. 0 on success, else -1. */
int graft_grow(void **items, size_t *room, size_t need, size_t size);

/* Checked arithmetic on sizes that come from files: 1 on overflow. */
static inline int graft_mul_overflows(int64_t a, int64_t b, int64_t *out) { return __builtin_mul_overflow(a, b, out); }
static inline int graft_add_overflows(int64_t a, int64_t b, int64_t *out) { return __builtin_add_overflow(a, b, out); }

#endif
