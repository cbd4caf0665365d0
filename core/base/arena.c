/* core/base/arena.c - see arena.h. Blocks come zeroed from the system, double from 4 KiB up to 1 MiB, and are freed together.
 * The only calls of the C library's allocator in core are in this file. */
#include "core/base/arena.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FIRST_BLOCK = 4096,
       LARGEST_BLOCK = 1 << 20,
       ALIGN = 16,
       HUGE_FROM = 32 << 20 };

typedef struct block {
    struct block *before;
    size_t room, used; /* of the bytes behind this head */
} block;

struct graft_arena {
    block *top;
    size_t next_block, taken;
};

/* Large blocks are fresh pages: offered for huge ones before anyone touches them, they cost a five-hundredth of the page faults. */
static void *offer_huge(void *p, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    const uintptr_t page = 4096, from = ((uintptr_t)p + page - 1) / page * page, end = ((uintptr_t)p + bytes) / page * page;
    if (p && bytes >= HUGE_FROM) madvise((void *)from, end - from, MADV_HUGEPAGE);
#else
    (void)bytes;
#endif
    return p;
}

void *graft_calloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1); /* checks n * size; a zero-sized request still gives a block, so NULL always means failure */
    return offer_huge(p, n * size);
}

void *graft_realloc(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) return NULL;
    return realloc(p, bytes ? bytes : 1);
}

void graft_free(void *p) { free(p); }

void graft_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

int graft_grow(void **items, size_t *room, size_t need, size_t size)
{
    size_t more = *room ? *room : 8;
    if (need <= *room) return 0;
    while (more < need)
        if (__builtin_mul_overflow(more, (size_t)2, &more)) return -1;
    void *grown = graft_realloc(*items, more, size);
    if (!grown) return -1;
    *items = grown;
    *room = more;
    return 0;
}

graft_arena *graft_arena_new(void)
{
    graft_arena *a = graft_calloc(1, sizeof *a);
    if (a) a->next_block = FIRST_BLOCK, a->taken = sizeof *a;
    return a;
}

void graft_arena_free(graft_arena *a)
{
    if (!a) return;
    for (block *b = a->top, *before; b; b = before) {
        before = b->before;
        free(b);
    }
    free(a);
}

static size_t head_bytes(void) { return (sizeof(block) + ALIGN - 1) / ALIGN * ALIGN; }

void *graft_arena_alloc(graft_arena *a, size_t bytes)
{
    size_t rounded, whole;
    if (!a || __builtin_add_overflow(bytes, (size_t)ALIGN - 1, &rounded)) return NULL;
    rounded = rounded / ALIGN * ALIGN;
    if (!rounded) rounded = ALIGN;
    if (!a->top || a->top->room - a->top->used < rounded) {
        const size_t room = rounded > a->next_block ? rounded : a->next_block;
        if (__builtin_add_overflow(room, head_bytes(), &whole)) return NULL;
        block *b = calloc(1, whole);
        if (!b) return NULL;
        b->room = room;
        a->taken += whole;
        if (a->next_block < LARGEST_BLOCK) a->next_block *= 2;
        b->before = a->top;
        a->top = b;
    }
    char *p = (char *)a->top + head_bytes() + a->top->used;
    a->top->used += rounded;
    return p;
}

char *graft_arena_copy(graft_arena *a, const char *text, size_t bytes)
{
    char *p = bytes < SIZE_MAX ? graft_arena_alloc(a, bytes + 1) : NULL;
    if (p && bytes) memcpy(p, text, bytes);
    return p;
}

char *graft_arena_printf(graft_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    char *p = NULL;
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    if (n >= 0) p = graft_arena_alloc(a, (size_t)n + 1);
    if (p) vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return p;
}

size_t graft_arena_bytes(const graft_arena *a) { return a ? a->taken : 0; }
