/* probe.c - what this machine really does, measured: arithmetic of each kind, matrix products, memory. ("graft.backend.probe/1")
 *
 * Which arithmetic is fast cannot be read off a processor's list of instructions: bf16 dot products run at twice the rate of f32 on some, at half on others. */
#include "cpu.h"

#include <stdio.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- arithmetic -------------------------------------------------------------------------------------------------------------------------------- */
enum { TRIES = 6 };
static const double one_try = 1e-3; /* seconds */

typedef struct spinning {
    const cpu_device *d;
    cpu_compute how;
    int64_t times, stride;
    char *room;
    double flops[CPU_MAX_THREADS];
} spinning;

static void spin_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    spinning *s = ctx;
    s->flops[unit] = s->d->kernels->spin(s->how, s->times, s->room + unit * s->stride);
}

/* Operations a second of `threads` units together: the best of a few tries of about a millisecond. */
static double arithmetic_rate(const cpu_device *d, cpu_compute how, int units, char *room)
{
    spinning s = {.d = d, .how = how, .times = 1, .stride = d->kernels->spin_bytes, .room = room};
    double best = 0.0;
    for (int tries = 0; tries < TRIES;) {
        const double begin = now();
        cpu_pool_run(d->pool, units, spin_unit, &s);
        const double seconds = now() - begin;
        double flops = 0.0;
        for (int i = 0; i < units; i++) flops += s.flops[i];
        if (seconds < one_try && s.times < 1 << 24) {
            s.times *= 2;
            continue;
        }
        if (flops / seconds > best) best = flops / seconds;
        tries++;
    }
    return best;
}

void cpu_measure(cpu_device *d)
{
    if (d->rate[CPU_F32] > 0.0) return;
    const int threads = cpu_pool_threads(d->pool);
    const int64_t bytes = d->kernels->spin_bytes * threads;
    int mapped;
    char *room = cpu_take(d->host, bytes, &mapped);
    if (!room) return;
    const unsigned state = cpu_flush_denormals();
    cpu_pool_enter(d->pool);
    for (int i = 0; i < CPU_COMPUTES; i++)
        if (d->compute & 1u << i) d->rate[i] = arithmetic_rate(d, (cpu_compute)i, threads, room);
    cpu_pool_leave(d->pool);
    cpu_restore_denormals(state);
    cpu_give(d->host, room, bytes, mapped);
}

/* Another arithmetic than f32 has to gain a fifth: below that f32's exactness is worth more, and a choice near the border would change from run to run. */
static const double worth = 1.2;
static const char *const words[] = {"f32", "bf16", "fp16"};

static void say(cpu_device *d, cpu_compute chosen)
{
    graft_error line = {.size = (uint32_t)sizeof line};
    if (d->said == 1 + (int)chosen) return;
    d->said = 1 + (int)chosen;
    if (d->rate[CPU_F32] > 0.0 && chosen != CPU_F32)
        d->host->fail(&line, GRAFT_OK, NULL, "matrix products in %s, summed in f32: %.0f GF/s measured here, f32 %.0f", words[chosen], d->rate[chosen] * 1e-9, d->rate[CPU_F32] * 1e-9);
    else if (d->rate[CPU_F32] > 0.0) d->host->fail(&line, GRAFT_OK, NULL, "matrix products in f32, %.0f GF/s measured here: bf16 or fp16 gain nothing", d->rate[CPU_F32] * 1e-9);
    else d->host->fail(&line, GRAFT_OK, NULL, "matrix products in %s, summed in f32", words[chosen]);
    d->host->log(d->host->ctx, 1, line.message);
}

cpu_compute cpu_choose(cpu_device *d, uint32_t allowed)
{
    const uint32_t here = allowed & d->compute;
    cpu_compute best = CPU_F32;
    if (!here || here == 1u << CPU_F32) return best;
    if (here & (here - 1)) cpu_measure(d); /* more than one */
    double most = here & 1u ? worth * d->rate[CPU_F32] : -1.0;
    for (int i = CPU_BF16; i < CPU_COMPUTES; i++)
        if (here & 1u << i && d->rate[i] > most) best = (cpu_compute)i, most = d->rate[i];
    say(d, best);
    return best;
}

/* ---- memory --------------------------------------------------------------------------------------------------------------------------------------- */
enum { STREAM = 64 << 20, /* bytes: beyond most caches */
       PIECE = 1 << 20 };

typedef struct stream {
    char *to;
    const char *from;
} stream;

static void copy_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const stream *s = ctx;
    memcpy(s->to + unit * PIECE, s->from + unit * PIECE, PIECE);
}

static graft_status memory_rates(const cpu_device *d, graft_backend_rates *r, graft_error *err)
{
    int mapped;
    char *room = cpu_take(d->host, 2 * (int64_t)STREAM, &mapped);
    if (!room) return d->host->fail(err, GRAFT_NO_MEMORY, NULL, "the cpu backend found no memory to measure with");
    stream s = {room, room + STREAM};
    memset(room, 1, 2 * (size_t)STREAM);
    for (int tries = 0; tries < 3; tries++) {
        double begin = now();
        cpu_pool_run(d->pool, STREAM / PIECE, copy_unit, &s);
        const double both = 2.0 * STREAM / (now() - begin);
        begin = now();
        memcpy(s.to, s.from, STREAM);
        const double alone = STREAM / (now() - begin);
        if (both > r->memory) r->memory = both;
        if (alone > r->upload) r->upload = r->download = alone;
    }
    cpu_give(d->host, room, 2 * (int64_t)STREAM, mapped);
    return GRAFT_OK;
}

/* ---- the door ---------------------------------------------------------------------------------------------------------------------------------- */
static graft_status driver(void *self, int32_t device, char *text, int32_t room, graft_error *err)
{
    char model[96];
    (void)self, (void)device, (void)err;
    cpu_model_name(model, sizeof model);
    snprintf(text, (size_t)room, "%s, %s, arithmetic %x, %d processors", model, cpu_isa_name(cpu_best_isa()), (unsigned)cpu_processor_compute(), cpu_count());
    return GRAFT_OK;
}

static graft_status rates(void *dev, graft_backend_rates *out, graft_error *err)
{
    cpu_device *d = dev;
    const uint32_t size = out->size;
    graft_backend_rates r = {.size = size};
    cpu_measure(d);
    r.flops = r.matmul = d->rate[CPU_F32];
    r.bf16 = d->rate[CPU_BF16];
    r.fp16 = d->rate[CPU_FP16];
    graft_status status = driver(NULL, 0, r.driver, (int32_t)sizeof r.driver, err);
    if (status == GRAFT_OK) status = memory_rates(d, &r, err);
    if (status == GRAFT_OK) memcpy(out, &r, size < sizeof r ? size : sizeof r);
    return status;
}

const graft_backend_probe_table cpu_probe_table = {.size = (uint32_t)sizeof cpu_probe_table, .driver = driver, .rates = rates};
