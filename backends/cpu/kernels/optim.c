/* optim.c - sum_squares (f64, chunks added in order) and one AdamW step in one pass over p, g, m, v. */
#include "map.h"

#include "graft/dynamic8.h"

typedef struct squares {
    const float *x;
    int64_t n;
    double *partial;
} squares;

static void squares_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const squares *s = ctx;
    enum { LANES = 16 };
    double acc[LANES] = {0};
    const int64_t first = unit * CHUNK, last = first + CHUNK < s->n ? first + CHUNK : s->n;
    int64_t i = first;
    for (; i + LANES <= last; i += LANES)
        for (int l = 0; l < LANES; l++) acc[l] += (double)s->x[i + l] * (double)s->x[i + l];
    for (int l = 0; i < last; i++, l++) acc[l] += (double)s->x[i] * (double)s->x[i];
    double sum = 0.0;
    for (int l = 0; l < LANES; l++) sum += acc[l];
    s->partial[unit] = sum;
}

static graft_status sum_squares(cpu_call *c)
{
    squares s = {.x = c->in[0].data, .n = c->in[0].n, .partial = (double *)(void *)c->work};
    cpu_pool_run(c->pool, chunks(s.n), squares_unit, &s);
    double sum = c->in[1].on ? (double)*(const float *)c->in[1].data : 0.0;
    for (int64_t i = 0; i < chunks(s.n); i++) sum += s.partial[i];
    *(float *)c->out[0].data = (float)sum;
    return GRAFT_OK;
}

static void squares_room(const cpu_call *c, int threads, cpu_room *r)
{
    (void)threads;
    r->work = (chunks(c->in[0].n) + 1) * (int64_t)sizeof(double);
}

enum { LR,
       BETA1,
       BETA2,
       EPS,
       DECAY,
       CORRECTION1,
       CORRECTION2,
       FACTOR };

static void span_adamw(const map *a, int64_t first, int64_t last)
{
    const float *h = a->hyper;
    const vf shrink = v_set(a->p != 0.0f ? 1.0f - h[LR] * h[DECAY] : 1.0f);
    const vf b1 = v_set(h[BETA1]), b2 = v_set(h[BETA2]), rest1 = v_set(1.0f - h[BETA1]), rest2 = v_set(1.0f - h[BETA2]);
    for (int64_t i = first; i < last; i += VW) {
        const int64_t left = last - i;
        const vf g = map_load(a->in[1], i, left) * h[FACTOR];
        const vf m = map_load(a->in[2], i, left) * b1 + g * rest1, v = map_load(a->in[3], i, left) * b2 + g * g * rest2;
        const vf p = map_load(a->in[0], i, left) * shrink - m / h[CORRECTION1] * h[LR] / (v_sqrt(v / h[CORRECTION2]) + h[EPS]);
        if (a->out[0]) map_store(a->out[0], i, p, left);
        if (a->out[1]) map_store(a->out[1], i, m, left);
        if (a->out[2]) map_store(a->out[2], i, v, left);
    }
}

static graft_status adamw(cpu_call *c)
{
    map m = {.n = c->in[0].n, .p = c->attr[0].i ? 1.0f : 0.0f, .hyper = c->in[4].data, .span = span_adamw};
    for (int i = 0; i < 4; i++) m.in[i] = c->in[i].data;
    for (int i = 0; i < 3; i++) m.out[i] = c->out[i].on ? c->out[i].data : NULL;
    map_run(c->pool, &m);
    return GRAFT_OK;
}

/* ---- eight bits: a unit is some blocks ---- */
enum { BLOCK = GRAFT_DYNAMIC8_BLOCK,
       WORDS = GRAFT_DYNAMIC8_WORDS,
       BLOCKS = CHUNK / BLOCK };

typedef struct eight {
    graft_dynamic8 t;
    float *x, *scales;
    int32_t *words;
    int64_t n;
} eight;

static void pack_block(const eight *e, int64_t b)
{
    const float *x = e->x + b * BLOCK;
    const int64_t n = e->n - b * BLOCK < BLOCK ? e->n - b * BLOCK : BLOCK;
    float largest = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        const float y = x[i] < 0.0f ? -x[i] : x[i];
        largest = y > largest ? y : largest;
    }
    if (e->scales) e->scales[b] = largest;
    if (largest <= 0.0f) largest = 1.0f;
    for (int64_t w = 0; w < WORDS && e->words; w++) {
        int32_t word = 0;
        for (int64_t k = 0; k < 3 && 3 * w + k < n; k++) word |= graft_dynamic8_code(&e->t, x[3 * w + k] / largest) << 8 * k;
        e->words[b * WORDS + w] = word;
    }
}

static void unpack_block(const eight *e, int64_t b)
{
    float *x = e->x + b * BLOCK;
    const int64_t n = e->n - b * BLOCK < BLOCK ? e->n - b * BLOCK : BLOCK;
    for (int64_t w = 0; 3 * w < n; w++)
        for (int64_t k = 0; k < 3 && 3 * w + k < n; k++) x[3 * w + k] = e->t.value[e->words[b * WORDS + w] >> 8 * k & 255] * e->scales[b];
}

static void pack_unit(void *ctx, int64_t unit, int thread)
{
    const eight *e = ctx;
    (void)thread;
    for (int64_t b = unit * BLOCKS; b < (unit + 1) * BLOCKS && b * BLOCK < e->n; b++) pack_block(e, b);
}

static void unpack_unit(void *ctx, int64_t unit, int thread)
{
    const eight *e = ctx;
    (void)thread;
    for (int64_t b = unit * BLOCKS; b < (unit + 1) * BLOCKS && b * BLOCK < e->n; b++) unpack_block(e, b);
}

static graft_status dynamic8_pack(cpu_call *c)
{
    eight e = {.x = c->in[0].data, .words = c->out[0].on ? c->out[0].data : NULL, .scales = c->out[1].on ? c->out[1].data : NULL, .n = c->in[0].n};
    graft_dynamic8_make(&e.t, c->attr[0].i != 0);
    cpu_pool_run(c->pool, chunks(e.n), pack_unit, &e);
    return GRAFT_OK;
}

static graft_status dynamic8_unpack(cpu_call *c)
{
    eight e = {.x = c->out[0].data, .words = c->in[0].data, .scales = c->in[1].data, .n = c->out[0].n};
    graft_dynamic8_make(&e.t, c->attr[5].i != 0);
    cpu_pool_run(c->pool, chunks(e.n), unpack_unit, &e);
    return GRAFT_OK;
}

const cpu_op K(ops_optim)[] = {
    {"sum_squares/1", F32, {{NULL, 0}}, sum_squares, squares_room},
    {"adamw/1", F32, {{"decay", 1}}, adamw, NULL},
    {"dynamic8_pack/1", F32, {{"signed", 0}}, dynamic8_pack, NULL},
    {"dynamic8_unpack/1", F32, {{"rank", 0}, {"d0", 0}, {"d1", 0}, {"d2", 0}, {"d3", 0}, {"signed", 0}}, dynamic8_unpack, NULL},
    END_OF_OPS,
};
