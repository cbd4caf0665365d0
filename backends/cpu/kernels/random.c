/* random.c - random/1 and dropout/1: element i's bits are those of graft_random_u32(seed, stream, step, i), LANES Philox blocks at a time. */
#include "ops.h"

enum { LANES = 16,
       PER = 4 * LANES };

/* out[4 * l + w]: word w of block first + l. The loops over l have no dependence between lanes: compilers turn them into vector code. */
static void philox_lanes(uint64_t first, uint64_t mixed, uint64_t seed, uint32_t out[PER])
{
    uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES], k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (uint32_t l = 0; l < LANES; l++) {
        const uint64_t block = first + l;
        c0[l] = (uint32_t)block;
        c1[l] = (uint32_t)(block >> 32);
        c2[l] = (uint32_t)mixed;
        c3[l] = (uint32_t)(mixed >> 32);
    }
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        for (int l = 0; l < LANES; l++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * c0[l], p1 = (uint64_t)0xCD9E8D57u * c2[l];
            c0[l] = (uint32_t)(p1 >> 32) ^ c1[l] ^ k0;
            c2[l] = (uint32_t)(p0 >> 32) ^ c3[l] ^ k1;
            c1[l] = (uint32_t)p1;
            c3[l] = (uint32_t)p0;
        }
    }
    for (int l = 0; l < LANES; l++) out[4 * l] = c0[l], out[4 * l + 1] = c1[l], out[4 * l + 2] = c2[l], out[4 * l + 3] = c3[l];
}

typedef struct draw {
    const float *x; /* dropout's input; NULL: the numbers themselves */
    float *y;
    int64_t n;
    uint64_t seed, mixed;
    float p, scale;
} draw;

static void draw_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const draw *d = ctx;
    const int64_t first = unit * CHUNK, last = first + CHUNK < d->n ? first + CHUNK : d->n;
    for (int64_t i = first; i < last; i += PER) {
        uint32_t bits[PER];
        philox_lanes((uint64_t)i / 4, d->mixed, d->seed, bits);
        const int64_t n = last - i < PER ? last - i : PER;
        if (d->x) {
            for (int64_t j = 0; j < n; j++) d->y[i + j] = (float)(bits[j] >> 8) * 0x1p-24f >= d->p ? d->x[i + j] * d->scale : 0.0f;
        } else {
            for (int64_t j = 0; j < n; j++) d->y[i + j] = (float)(bits[j] >> 8) * 0x1p-24f;
        }
    }
}

static graft_status run(cpu_call *c, const float *x, int64_t stream, double p)
{
    draw d = {.x = x, .y = c->out[0].data, .n = c->out[0].n, .seed = c->seed, .p = (float)p, .scale = (float)(1.0 / (1.0 - p))};
    d.mixed = (uint64_t)stream * 0x9E3779B97F4A7C15ull + c->step;
    cpu_pool_run(c->pool, chunks(d.n), draw_unit, &d);
    return GRAFT_OK;
}

static graft_status uniform(cpu_call *c) { return run(c, NULL, c->attr[5].i, 0.0); }

static graft_status dropout(cpu_call *c)
{
    if (c->training) return run(c, c->in[0].data, c->attr[1].i, c->attr[0].r);
    if (c->in[0].data != c->out[0].data) memcpy(c->out[0].data, c->in[0].data, (size_t)c->out[0].n * sizeof(float));
    return GRAFT_OK;
}

const cpu_op K(ops_random)[] = {
    {"random/1", F32, {{"rank", 0}, {"d0", 0}, {"d1", 0}, {"d2", 0}, {"d3", 0}, {"stream", 0}}, uniform, NULL},
    {"dropout/1", F32, {{"p", 0}, {"stream", 0}}, dropout, NULL},
    END_OF_OPS,
};
