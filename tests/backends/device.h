/* tests/backends/device.h - a backend plugin without the host: opens its table, runs single instructions on tensors in plain arrays. */
#ifndef TESTS_BACKENDS_DEVICE_H
#define TESTS_BACKENDS_DEVICE_H

#include "tests/support/support.h"

/* Programs without Check define this as they like. */
#ifndef DEVICE_CHECK
#define DEVICE_CHECK(truth, text) ck_assert_msg(truth, "%s", text)
#endif
#define DEVICE_OK(call) DEVICE_CHECK((call) == GRAFT_OK, err.message)

#include "graft/backend.h"
#include "graft/ops.h"
#include "graft/packed.h"
#include "graft/random.h"

#include <dlfcn.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a host, and options as a configuration ------------------------------------------------------------------------------------------------ */
static void *host_alloc(void *ctx, size_t bytes, size_t align)
{
    (void)ctx;
    const size_t a = align < 16 ? 16 : align;
    return aligned_alloc(a, (bytes + a - 1) / a * a);
}
static void host_release(void *ctx, void *p)
{
    (void)ctx;
    free(p);
}
static void host_log(void *ctx, int level, const char *sentence)
{
    (void)ctx, (void)level;
    fprintf(stderr, "%s\n", sentence);
}
static graft_status host_fail(graft_error *err, graft_status code, const char *where, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    snprintf(err->where, sizeof err->where, "%s", where ? where : "");
    err->code = code;
    return code;
}
static const graft_host test_host = {(uint32_t)sizeof(graft_host), GRAFT_ABI_MAJOR << 16, NULL, host_alloc, host_release, host_log, host_fail};

typedef struct options {
    graft_config c;
    const char *isa;
    int threads, profile;
} options;
static int64_t option_integer(const graft_config *c, const char *key, int64_t fallback, int64_t low, int64_t high)
{
    const options *o = (const options *)(const void *)c;
    (void)low, (void)high;
    if (!strcmp(key, "threads") && o->threads) return o->threads;
    return !strcmp(key, "profile") ? o->profile : fallback;
}
static const char *option_text(const graft_config *c, const char *key, const char *fallback)
{
    const options *o = (const options *)(const void *)c;
    return !strcmp(key, "isa") && o->isa ? o->isa : fallback;
}
static const graft_config_api option_api = {.size = (uint32_t)sizeof(graft_config_api), .integer = option_integer, .text = option_text};

/* ---- a device -------------------------------------------------------------------------------------------------------------------------------- */
typedef struct device {
    const graft_backend_table *table;
    void *self, *dev;
} device;

static graft_static_entry door_of(const char *name)
{
    char path[1024];
    for (const graft_static_entry *e = graft_test_static_plugins; *e; e++)
        if (!strcmp((*e)()->name, name)) return *e;
    snprintf(path, sizeof path, "%s/lib/graft/%s.so", GRAFT_BINARY_DIR, name);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    DEVICE_CHECK(library != NULL, dlerror());
    void *symbol = dlsym(library, "graft_plugin_entry");
    DEVICE_CHECK(symbol != NULL, path);
    graft_static_entry entry;
    memcpy(&entry, &symbol, sizeof entry);
    return entry;
}

/* GRAFT_UNSUPPORTED when that instruction set does not run here. */
static inline graft_status device_open(device *d, const char *name, const char *isa, int threads)
{
    graft_error err = {.size = (uint32_t)sizeof err};
    const graft_plugin *door = door_of(name)();
    DEVICE_OK(door->init(&test_host, &d->self, &err));
    d->table = door->table(d->self, "graft.backend/1");
    DEVICE_CHECK(d->table != NULL, name);
    const options o = {{&option_api}, isa, threads, getenv("CPU_PROFILE") != NULL};
    const graft_status status = d->table->open(d->self, 0, &o.c, &d->dev, &err);
    DEVICE_CHECK(status == GRAFT_OK || status == GRAFT_UNSUPPORTED, err.message);
    return status;
}

/* ---- tensors in one image: each a plain array here, uploaded whole before a run and downloaded whole after it --------------------------------- */
enum { IMAGE_TENSORS = 24 };
typedef struct image {
    graft_tensor tensors[IMAGE_TENSORS];
    int32_t n;
    int64_t bytes;
    char *data;
    uint64_t seed, step;
    int training;
} image;

static inline int32_t image_add(image *m, graft_dtype t, int rank, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    graft_tensor *x = &m->tensors[m->n];
    *x = (graft_tensor){.dtype = t, .place = GRAFT_PLACE_INPUT, .rank = rank, .dims = {d0, d1, d2, d3}, .offset = m->bytes, .name = "test"};
    int64_t elements = 1;
    for (int i = 0; i < rank; i++) elements *= x->dims[i];
    const int64_t block = t == GRAFT_Q4_0 ? 18 : t == GRAFT_Q4_1 ? 20
                                             : t == GRAFT_Q8_0   ? 34
                                                                 : 0; /* bytes of 32 elements */
    x->bytes = graft_is_packed(t) ? graft_packed_bytes(t, elements) : block ? elements / 32 * block : elements * (t == GRAFT_BF16 || t == GRAFT_F16 ? 2 : 4);
    const int64_t more = (x->bytes + 127) / 64 * 64;
    m->data = realloc(m->data, (size_t)(m->bytes + more));
    memset(m->data + m->bytes, 0, (size_t)more);
    m->bytes += more;
    return m->n++;
}
static inline int32_t vector(image *m, int64_t n) { return image_add(m, GRAFT_F32, 1, n, 0, 0, 0); }
static inline int32_t matrix(image *m, int64_t r, int64_t c) { return image_add(m, GRAFT_F32, 2, r, c, 0, 0); }
static inline float *floats(const image *m, int32_t t) { return (float *)(void *)(m->data + m->tensors[t].offset); }
static inline int32_t *ints(const image *m, int32_t t) { return (int32_t *)(void *)(m->data + m->tensors[t].offset); }
static inline int64_t count(const image *m, int32_t t) { return m->tensors[t].bytes / (m->tensors[t].dtype == GRAFT_BF16 || m->tensors[t].dtype == GRAFT_F16 ? 2 : 4); }

/* Roughly normal numbers of the given width, the same in every run. */
static inline float noise(uint64_t stream, uint64_t i)
{
    float sum = 0.0f;
    for (uint64_t j = 0; j < 4; j++) sum += graft_random_uniform(7, stream, 0, 4 * i + j);
    return (sum - 2.0f) * 1.7f;
}
static inline void fill_noise(const image *m, int32_t t, float width)
{
    for (int64_t i = 0; i < count(m, t); i++) floats(m, t)[i] = width * noise((uint64_t)t + 1, (uint64_t)i);
}

static inline graft_status run_program_as(const device *d, image *m, int n_instrs, const graft_instr *instrs, uint32_t compute)
{
    graft_error err = {.size = (uint32_t)sizeof err};
    graft_program p = {.size = (uint32_t)sizeof p, .n_tensors = m->n, .n_instrs = n_instrs, .tensors = m->tensors, .instrs = instrs, .compute = compute, .seed = m->seed};
    p.place_bytes[m->tensors[0].place] = m->bytes;
    void *plan, *buffer;
    DEVICE_OK(d->table->alloc(d->dev, m->bytes, &buffer, &err));
    DEVICE_OK(d->table->upload(d->dev, buffer, 0, m->data, m->bytes, &err));
    DEVICE_OK(d->table->compile(d->dev, &p, &plan, &err));
    void *places[GRAFT_PLACES] = {NULL};
    places[m->tensors[0].place] = buffer;
    const graft_run r = {.size = (uint32_t)sizeof r, .places = places, .step = m->step, .training = m->training};
    const graft_status status = d->table->run(plan, &r, &err);
    DEVICE_OK(d->table->sync(d->dev, &err));
    DEVICE_OK(d->table->download(d->dev, buffer, 0, m->data, m->bytes, &err));
    d->table->discard(plan);
    d->table->release(d->dev, buffer);
    return status;
}

static inline graft_status run_program(const device *d, image *m, int n_instrs, const graft_instr *instrs) { return run_program_as(d, m, n_instrs, instrs, 1); }

static inline graft_status run_op(const device *d, image *m, const char *op, int n_in, const int32_t *in, int n_out, const int32_t *out, int n_attr, const graft_attr *attr)
{
    const graft_instr instr = {graft_op_id(op), op, n_in, n_out, n_attr, in, out, attr};
    return run_program(d, m, 1, &instr);
}

/* |got - want| <= tolerance * (scale + |want|), everywhere. */
static inline void near(const char *what, const float *got, const double *want, int64_t n, double tolerance, double scale)
{
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)got[i] - want[i]) <= tolerance * (scale + fabs(want[i])), "%s: element %lld: expected %.9g, found %.9g", what, (long long)i, want[i], (double)got[i]);
}

#endif
