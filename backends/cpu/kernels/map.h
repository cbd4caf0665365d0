/* map.h - the same function of neighbouring elements, spread over the threads in chunks: up to 4 inputs and 3 outputs of one length.
 * An output may be one of the inputs: each element is read before it is written. */
#ifndef CPU_KERNELS_MAP_H
#define CPU_KERNELS_MAP_H

#include "ops.h"

typedef struct map {
    const float *in[4];
    float *out[3];
    int64_t n;
    float p, q;
    const float *hyper;
    void (*span)(const struct map *m, int64_t first, int64_t last);
} map;

static inline void map_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const map *m = ctx;
    const int64_t first = unit * CHUNK, left = m->n - first;
    m->span(m, first, first + (left < CHUNK ? left : CHUNK));
}

static inline void map_run(cpu_pool *pool, map *m)
{
    if (m->n <= CHUNK) m->span(m, 0, m->n);
    else cpu_pool_run(pool, chunks(m->n), map_unit, m);
}

INLINE vf map_load(const float *x, int64_t i, int64_t left) { return left >= VW ? v_load(x + i) : v_load_n(x + i, left); }
INLINE void map_store(float *y, int64_t i, vf v, int64_t left)
{
    if (left >= VW) v_store(y + i, v);
    else v_store_n(y + i, v, left);
}

/* y = EXPR(x, p, q) */
#define MAP1(name, EXPR)                                        \
    static void name(const map *m, int64_t first, int64_t last) \
    {                                                           \
        const vf p = v_set(m->p), q = v_set(m->q);              \
        (void)p, (void)q;                                       \
        for (int64_t i = first; i < last; i += VW) {            \
            const vf x = map_load(m->in[0], i, last - i);       \
            map_store(m->out[0], i, EXPR, last - i);            \
        }                                                       \
    }

/* out 0 = EXPR(x, y, p, q) */
#define MAP2(name, EXPR)                                        \
    static void name(const map *m, int64_t first, int64_t last) \
    {                                                           \
        const vf p = v_set(m->p), q = v_set(m->q);              \
        (void)p, (void)q;                                       \
        for (int64_t i = first; i < last; i += VW) {            \
            const vf x = map_load(m->in[0], i, last - i);       \
            const vf y = map_load(m->in[1], i, last - i);       \
            map_store(m->out[0], i, EXPR, last - i);            \
        }                                                       \
    }

/* Runs span over the inputs and outputs of c. */
static inline graft_status map_call(cpu_call *c, void (*span)(const map *, int64_t, int64_t), double p, double q)
{
    map m = {.n = c->out[0].n, .p = (float)p, .q = (float)q, .span = span};
    for (int i = 0; i < 4; i++) m.in[i] = c->in[i].on ? c->in[i].data : NULL;
    for (int i = 0; i < 3; i++) m.out[i] = c->out[i].on ? c->out[i].data : NULL;
    for (int i = 2; i >= 0 && !m.n; i--) m.n = c->out[i].on ? c->out[i].n : 0;
    map_run(c->pool, &m);
    return GRAFT_OK;
}

#endif
