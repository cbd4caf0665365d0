/* rope.c - rotary positions. The cosines and sines of all tokens are computed once a run and shared by every rope of the plan
 * with the same positions and frequencies: table [2][T][r / 2]. */
#include "map.h"

#include <math.h>

typedef struct rope {
    const cpu_call *call;
    int64_t rows, half, head, heads;
    float scale, turn; /* turn: -scale when inverse */
    int interleaved;
} rope;

enum { ROWS = 16 };

static void table_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const rope *r = ctx;
    const int32_t *pos = r->call->in[1].data;
    const float *freq = r->call->in[2].data;
    for (int64_t t = unit * ROWS; t < r->rows && t < (unit + 1) * ROWS; t++)
        for (int64_t i = 0; i < r->half; i++) {
            const float angle = (float)pos[t] * freq[i];
            r->call->table[t * r->half + i] = cosf(angle);
            r->call->table[(r->rows + t) * r->half + i] = sinf(angle);
        }
}

static void turn_halves(const rope *r, const float *x, float *y, const float *cosine, const float *sine)
{
    for (int64_t i = 0; i < r->half; i += VW) {
        const int64_t left = r->half - i;
        const vf u = map_load(x, i, left), v = map_load(x + r->half, i, left);
        const vf c = map_load(cosine, i, left) * r->scale, s = map_load(sine, i, left) * r->turn;
        map_store(y, i, u * c - v * s, left);
        map_store(y + r->half, i, v * c + u * s, left);
    }
}

static void turn_pairs(const rope *r, const float *x, float *y, const float *cosine, const float *sine)
{
    for (int64_t i = 0; i < r->half; i++) {
        const float u = x[2 * i], v = x[2 * i + 1], c = cosine[i] * r->scale, s = sine[i] * r->turn;
        y[2 * i] = u * c - v * s;
        y[2 * i + 1] = v * c + u * s;
    }
}

static void turn_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const rope *r = ctx;
    const float *x = r->call->in[0].data;
    float *y = r->call->out[0].data;
    for (int64_t t = unit * ROWS; t < r->rows && t < (unit + 1) * ROWS; t++) {
        const float *cosine = r->call->table + t * r->half, *sine = r->call->table + (r->rows + t) * r->half;
        for (int64_t h = 0; h < r->heads; h++) {
            const int64_t at = (t * r->heads + h) * r->head;
            if (r->interleaved) turn_pairs(r, x + at, y + at, cosine, sine);
            else turn_halves(r, x + at, y + at, cosine, sine);
            if (x != y && 2 * r->half < r->head) memcpy(y + at + 2 * r->half, x + at + 2 * r->half, (size_t)(r->head - 2 * r->half) * sizeof *y);
        }
    }
}

static graft_status run(cpu_call *c)
{
    rope r = {.call = c, .rows = c->in[0].dims[0], .half = c->in[2].n, .head = c->attr[0].i, .scale = (float)c->attr[1].r, .interleaved = c->attr[2].i != 0};
    r.heads = c->in[0].dims[1] / r.head;
    r.turn = c->attr[3].i ? -r.scale : r.scale;
    const int64_t units = (r.rows + ROWS - 1) / ROWS;
    if (!c->table_ready) cpu_pool_run(c->pool, units, table_unit, &r);
    cpu_pool_run(c->pool, units, turn_unit, &r);
    return GRAFT_OK;
}

static void room(const cpu_call *c, int threads, cpu_room *r)
{
    (void)threads;
    r->table = 2 * c->in[0].dims[0] * c->in[2].n * (int64_t)sizeof(float);
}

const cpu_op K(ops_rope)[] = {
    {"rope/1", F32, {{"head", 1}, {"scale", 1}, {"interleaved", 0}, {"inverse", 0}}, run, room},
    END_OF_OPS,
};
