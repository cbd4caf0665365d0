/* movement.c - the same elements in other places (reshape, broadcast, permute, slice, pad, concat), between types (cast), and from nothing
 * (fill, iota, training). Elements of 4 bytes (f32, i32) or 2 (bf16, f16). */
#include "box.h"

INLINE int64_t size_of(graft_dtype t) { return t == GRAFT_BF16 || t == GRAFT_F16 ? 2 : 4; }

static void span_copy(const box_work *w, const int64_t at[BOX_PARTS], int64_t n)
{
    const int64_t to = w->b.step[0][3], from = w->b.step[1][3];
    char *out = (char *)w->data[0] + at[0] * w->size;
    const char *in = (const char *)w->data[1] + at[1] * w->size;
    if (to == 1 && from == 1) {
        memmove(out, in, (size_t)(n * w->size));
    } else if (w->size == 4) {
        for (int64_t i = 0; i < n; i++) ((uint32_t *)(void *)out)[i * to] = ((const uint32_t *)(const void *)in)[i * from];
    } else {
        for (int64_t i = 0; i < n; i++) ((uint16_t *)(void *)out)[i * to] = ((const uint16_t *)(const void *)in)[i * from];
    }
}

/* Copies a box of dims[4]; offsets and steps in elements. */
static void copy_box(cpu_call *c, const int64_t dims[4], void *out, int64_t out_at, const int64_t out_step[4], const void *in, int64_t in_at, const int64_t in_step[4], int64_t size)
{
    box_work w = {.span = span_copy, .size = size};
    w.b.parts = 2;
    for (int i = 0; i < 4; i++) {
        w.b.dims[i] = dims[i];
        w.b.step[0][i] = out_step[i];
        w.b.step[1][i] = in_step[i];
    }
    w.data[0] = (char *)out + out_at * size;
    w.data[1] = (char *)(uintptr_t)in + in_at * size;
    box_run(c->pool, &w);
}

/* dims and dense steps of an argument as rank 4, and where its axis i went. */
static int spread(const cpu_arg *a, int64_t dims[4], int64_t step[4])
{
    int64_t s = 1;
    for (int i = 3; i >= 0; i--) {
        const int axis = i - (4 - a->rank);
        dims[i] = axis >= 0 ? a->dims[axis] : 1;
        step[i] = s;
        s *= dims[i];
    }
    return 4 - a->rank;
}

static graft_status reshape(cpu_call *c)
{
    const cpu_arg *x = &c->in[0], *y = &c->out[0];
    const int64_t dims[4] = {1, 1, 1, x->n}, step[4] = {0, 0, 0, 1};
    if (x->data != y->data) copy_box(c, dims, y->data, 0, step, x->data, 0, step, size_of(x->dtype));
    return GRAFT_OK;
}

static graft_status broadcast(cpu_call *c)
{
    box_work w = {.b = box_of(&c->out[0]), .span = span_copy, .size = size_of(c->in[0].dtype)};
    w.b.parts = 2;
    box_part(&w.b, 1, &c->in[0]);
    w.data[0] = c->out[0].data;
    w.data[1] = c->in[0].data;
    box_run(c->pool, &w);
    return GRAFT_OK;
}

static graft_status permute(cpu_call *c)
{
    const cpu_arg *x = &c->in[0], *y = &c->out[0];
    int64_t dims[4], to[4], from_dims[4], from[4], turned[4] = {0, 0, 0, 0};
    const int first = spread(y, dims, to);
    spread(x, from_dims, from);
    for (int i = 0; i < y->rank; i++) turned[first + i] = from[first + c->attr[1 + i].i];
    copy_box(c, dims, y->data, 0, to, x->data, 0, turned, size_of(x->dtype));
    return GRAFT_OK;
}

static graft_status slice(cpu_call *c)
{
    const cpu_arg *x = &c->in[0], *y = &c->out[0];
    int64_t dims[4], to[4], from_dims[4], from[4];
    const int first = spread(y, dims, to);
    spread(x, from_dims, from);
    copy_box(c, dims, y->data, 0, to, x->data, c->attr[1].i * from[first + c->attr[0].i], from, size_of(x->dtype));
    return GRAFT_OK;
}

/* x into y at `begin` of an axis. */
static void place(cpu_call *c, const cpu_arg *x, int64_t axis, int64_t begin)
{
    const cpu_arg *y = &c->out[0];
    int64_t dims[4], from[4], to_dims[4], to[4];
    const int first = spread(x, dims, from);
    spread(y, to_dims, to);
    copy_box(c, dims, y->data, begin * to[first + axis], to, x->data, 0, from, size_of(x->dtype));
}

static void zero_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const cpu_arg *y = ctx;
    const int64_t size = size_of(y->dtype), first = unit * CHUNK, n = y->n - first < CHUNK ? y->n - first : CHUNK;
    memset((char *)y->data + first * size, 0, (size_t)(n * size));
}

static graft_status pad(cpu_call *c)
{
    cpu_pool_run(c->pool, chunks(c->out[0].n), zero_unit, &c->out[0]);
    if (c->in[0].n) place(c, &c->in[0], c->attr[0].i, c->attr[1].i);
    return GRAFT_OK;
}

static graft_status concat(cpu_call *c)
{
    const int64_t axis = c->attr[0].i;
    if (c->in[0].n) place(c, &c->in[0], axis, 0);
    if (c->in[1].n) place(c, &c->in[1], axis, c->in[0].dims[axis]);
    return GRAFT_OK;
}

/* ---- cast: through f32, but i32 to i32 as it is. Rounds to nearest even; to i32 towards zero. --------------------------------------------- */
static uint16_t to_bf16(float f)
{
    union {
        float f;
        uint32_t u;
    } x = {f};
    if ((x.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(x.u >> 16 | 64); /* nan stays nan */
    return (uint16_t)((x.u + 0x7fffu + (x.u >> 16 & 1)) >> 16);
}

static uint16_t to_f16(float f)
{
    union {
        float f;
        uint32_t u;
    } x = {f}, scaled;
    const uint32_t sign = x.u >> 16 & 0x8000u, bits = x.u & 0x7fffffffu;
    if (bits > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (bits >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds to 65,536 or more */
    if (bits < 0x38800000u) {                                   /* below 2^-14: the grid has step 2^-24, which 0.5 + x has too */
        scaled.u = bits;
        scaled.f += 0.5f;
        return (uint16_t)(sign | (scaled.u - 0x3f000000u));
    }
    return (uint16_t)(sign | ((bits - 0x38000000u + 0xfffu + (bits >> 13 & 1)) >> 13));
}

static int32_t to_i32(float f)
{
    if (!(f > -2147483648.0f)) return f != f ? 0 : INT32_MIN;
    return f >= 2147483648.0f ? INT32_MAX : (int32_t)f;
}

static void cast_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const cpu_call *c = ctx;
    const cpu_arg *x = &c->in[0], *y = &c->out[0];
    const int64_t first = unit * CHUNK, last = first + CHUNK < y->n ? first + CHUNK : y->n;
    int64_t i = first;
    if (y->dtype == GRAFT_F32 && x->dtype != GRAFT_I32)
        for (; i + VW <= last; i += VW) v_store((float *)y->data + i, vector_of(x->data, i, x->dtype));
    for (; i < last; i++) {
        if (x->dtype == GRAFT_I32 && y->dtype == GRAFT_I32) {
            ((int32_t *)y->data)[i] = ((const int32_t *)x->data)[i];
            continue;
        }
        const float f = x->dtype == GRAFT_I32 ? (float)((const int32_t *)x->data)[i] : scalar_of(x->data, i, x->dtype);
        if (y->dtype == GRAFT_F32) ((float *)y->data)[i] = f;
        else if (y->dtype == GRAFT_I32) ((int32_t *)y->data)[i] = to_i32(f);
        else ((uint16_t *)y->data)[i] = y->dtype == GRAFT_BF16 ? to_bf16(f) : to_f16(f);
    }
}

static graft_status cast(cpu_call *c)
{
    cpu_pool_run(c->pool, chunks(c->out[0].n), cast_unit, c);
    return GRAFT_OK;
}

/* ---- from nothing --------------------------------------------------------------------------------------------------------------------------- */
static void fill_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const cpu_call *c = ctx;
    float *y = c->out[0].data;
    const float value = (float)c->attr[5].r;
    const int64_t first = unit * CHUNK, last = first + CHUNK < c->out[0].n ? first + CHUNK : c->out[0].n;
    for (int64_t i = first; i < last; i++) y[i] = value;
}

static graft_status fill(cpu_call *c)
{
    cpu_pool_run(c->pool, chunks(c->out[0].n), fill_unit, c);
    return GRAFT_OK;
}

static graft_status iota(cpu_call *c)
{
    for (int64_t i = 0; i < c->out[0].n; i++) ((int32_t *)c->out[0].data)[i] = (int32_t)i;
    return GRAFT_OK;
}

static graft_status training(cpu_call *c)
{
    *(float *)c->out[0].data = c->training ? 1.0f : 0.0f;
    return GRAFT_OK;
}

#define DIMS \
    {"rank", 0}, {"d0", 0}, {"d1", 0}, {"d2", 0}, { "d3", 0 }
const cpu_op K(ops_movement)[] = {
    {"reshape/1", FLOATS, {DIMS}, reshape, NULL},
    {"broadcast/1", FLOATS, {DIMS}, broadcast, NULL},
    {"permute/1", FLOATS, {DIMS}, permute, NULL},
    {"slice/1", FLOATS, {{"axis", 0}, {"begin", 0}, {"length", 0}}, slice, NULL},
    {"pad/1", FLOATS, {{"axis", 0}, {"before", 0}, {"after", 0}}, pad, NULL},
    {"concat/1", FLOATS, {{"axis", 0}}, concat, NULL},
    {"cast/1", STORED, {{"dtype", 0}}, cast, NULL},
    {"fill/1", FLOATS, {DIMS, {"value", 0}}, fill, NULL},
    {"iota/1", FLOATS, {{"d0", 0}}, iota, NULL},
    {"training/1", FLOATS, {{NULL, 0}}, training, NULL},
    END_OF_OPS,
};
