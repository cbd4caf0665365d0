/* tests/support/op_harness.c - see op_harness.h. */
#include "tests/support/op_harness.h"

#include "core/base/config.h"
#include "graft/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- random numbers -------------------------------------------------------------------------------------------------------------------- */
uint32_t op_draw(op_rng *r, uint32_t n) { return n ? graft_random_u32(77, 1, 0, r->state++) % n : 0; }
double op_uniform(op_rng *r, double low, double high) { return low + (high - low) * (double)graft_random_uniform(77, 2, 0, r->state++); }

static double normal(op_rng *r)
{
    const double u = op_uniform(r, 1e-6, 1.0), v = op_uniform(r, 0.0, 1.0);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

/* ---- cases -------------------------------------------------------------------------------------------------------------------------------- */
void op_case_begin(op_case *c, const char *op, uint64_t seed) { *c = (op_case){.op = op, .seed = seed, .seeded = 1, .outputs = 31, .training = 1}; }

op_input *op_case_in(op_case *c, op_fill fill, int rank, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    op_input *in = &c->in[c->n_in++];
    const int whole = fill == OP_INDEX || fill == OP_SMALL || fill == OP_POSITIONS || fill == OP_SEQ || fill == OP_CACHE_SEQ;
    *in = (op_input){{whole ? GRAFT_I32 : GRAFT_F32, rank, {d0, d1, d2, d3}}, fill, 0};
    for (int i = rank; i < GRAFT_MAX_RANK; i++) in->shape.dims[i] = 0;
    return in;
}

void op_case_absent(op_case *c) { c->in[c->n_in++].shape.rank = -1; }
void op_case_int(op_case *c, const char *key, int64_t v) { c->attr[c->n_attr++] = (graft_attr)GRAFT_INTA(key, v); }
void op_case_real(op_case *c, const char *key, double v) { c->attr[c->n_attr++] = (graft_attr)GRAFT_REALA(key, v); }

void op_case_text(const op_case *c, char *out, size_t room)
{
    size_t at = (size_t)snprintf(out, room, "%s seed %llu (", c->op, (unsigned long long)c->seed);
    for (int i = 0; i < c->n_in && at + 80 < room; i++) {
        at += (size_t)snprintf(out + at, room - at, "%s%s[", i ? ", " : "", c->in[i].shape.rank < 0 ? "absent" : graft_dtype_name(c->in[i].shape.dtype));
        for (int k = 0; k < c->in[i].shape.rank; k++) {
            const int64_t d = c->in[i].shape.dims[k];
            at += (size_t)snprintf(out + at, room - at, "%s%s%lld", k ? "," : "", d < 0 ? "~" : "", (long long)(d < 0 ? c->extent[-1 - d] : d));
        }
        at += (size_t)snprintf(out + at, room - at, "]");
    }
    for (int i = 0; i < c->n_attr && at + 80 < room; i++)
        at += (size_t)snprintf(out + at, room - at, " %s=%g", c->attr[i].key, c->attr[i].type == GRAFT_ATTR_INT ? (double)c->attr[i].i : c->attr[i].r);
    snprintf(out + at, room - at, ")");
}

/* ---- data ----------------------------------------------------------------------------------------------------------------------------------- */
/* S sequences one after another over T rows, sometimes with a row of nobody between; cached: with places in a cache of C rows. */
static void fill_seq(int32_t *seq, int64_t S, int64_t T, int64_t C, int cached, op_rng *r)
{
    int64_t row = 0, place = 0;
    for (int64_t s = 0; s < S; s++) {
        if (row < T && op_draw(r, 4) == 0) row++;
        const int64_t left = T - row, rows = s == S - 1 ? left - (left > 1 && op_draw(r, 3) == 0) : op_draw(r, (uint32_t)(2 * left / (S - s) + 2));
        seq[4 * s] = (int32_t)row;
        seq[4 * s + 1] = (int32_t)(rows < left ? rows : left);
        if (cached) {
            const int64_t spare = (C - T) / S, old = spare > 0 ? op_draw(r, (uint32_t)spare) : 0; /* the rows fit whatever the others take */
            seq[4 * s + 2] = (int32_t)place;
            seq[4 * s + 3] = (int32_t)old;
            place += old + seq[4 * s + 1];
        }
        row += seq[4 * s + 1];
    }
}

static void fill_whole(const op_case *c, const op_input *in, int32_t *x, int64_t n, op_rng *r)
{
    const int64_t rows = n / 4;
    if (in->fill == OP_SEQ || in->fill == OP_CACHE_SEQ) fill_seq(x, rows, c->extent[0], c->extent[3], in->fill == OP_CACHE_SEQ, r);
    for (int64_t i = 0; i < n && in->fill == OP_INDEX; i++) x[i] = op_draw(r, 6) == 0 ? -1 - (int32_t)op_draw(r, 3) : (int32_t)op_draw(r, (uint32_t)in->limit);
    for (int64_t i = 0; i < n && in->fill == OP_SMALL; i++) x[i] = (int32_t)op_draw(r, 4);
    for (int64_t i = 0; i < n && in->fill == OP_POSITIONS; i++) x[i] = (int32_t)op_draw(r, 40);
}

static void fill_floats(const op_input *in, int number, float *x, int64_t n, op_rng *r)
{
    static const float hyper[] = {0.01f, 0.9f, 0.999f, 1e-8f, 0.1f, 0.271f, 0.002997f, 0.7f};
    const uint32_t turn = op_draw(r, 1000);
    for (int64_t i = 0; i < n; i++) {
        switch (in->fill) {
        case OP_POSITIVE: x[i] = (float)op_uniform(r, 0.5, 2.0); break;
        case OP_BITS: x[i] = (float)op_draw(r, 2); break;
        case OP_FREQ: x[i] = (float)pow(100.0, -(double)i / (double)n); break;
        case OP_HYPER: x[i] = hyper[i % 8]; break;
        default: x[i] = (float)normal(r); break;
        }
    }
    for (int64_t i = 0; i < n && in->fill == OP_SPREAD; i++) { /* a permutation of a grid of step 0.3 around 0, moved by 0.1 an input */
        const int64_t place = (i * 7 + turn) % n;              /* n has no factor 7: see draw of shapes */
        x[i] = (float)(0.3 * (double)(place - n / 2) + 0.05 + 0.1 * number);
    }
}

/* The f32 scales among random bytes of graft/packed.h's blocks. */
static void fill_scales(graft_dtype t, uint8_t *x, int64_t bytes)
{
    const float of[] = {t == GRAFT_NF4_DOUBLE ? 0.3f : 0.7f, 0.6f};
    const int64_t step = t == GRAFT_NF4 ? GRAFT_NF4_BYTES : t == GRAFT_INT8 ? GRAFT_INT8_BYTES
                                                                            : GRAFT_NF4_GROUP_BYTES;
    for (int64_t i = 0; i < bytes; i += step) memcpy(x + i, of, t == GRAFT_NF4_DOUBLE ? 8 : 4);
}

/* Weights in storage types: finite, about the size of 1. */
static void fill_stored(graft_dtype t, uint8_t *x, int64_t bytes, op_rng *r)
{
    const int64_t block = t == GRAFT_Q4_0 ? 18 : t == GRAFT_Q4_1 ? 20
                                             : t == GRAFT_Q8_0   ? 34
                                                                 : 2;
    for (int64_t i = 0; i < bytes; i++) x[i] = (uint8_t)op_draw(r, 256);
    if (graft_is_packed(t)) return fill_scales(t, x, bytes);
    for (int64_t i = 0; i < bytes; i += block) { /* the f16 scale 2^-3 .. 2^-2 (q8_0: 2^-7 ..), bf16 and f16 values 2^-2 .. 2 with a sign */
        const uint16_t exponent = (uint16_t)(t == GRAFT_Q8_0 ? 8 : 12);
        uint16_t h = (uint16_t)(exponent << 10 | (x[i] | (x[i + 1] & 3) << 8));
        if (t == GRAFT_F16) h = (uint16_t)((x[i + 1] & 0x80) << 8 | (13 + x[i + 1] % 3) << 10 | x[i] << 2);
        if (t == GRAFT_BF16) h = (uint16_t)((x[i + 1] & 0x80) << 8 | (125 + x[i + 1] % 3) << 7 | (x[i] & 127));
        memcpy(x + i, &h, 2);
        if (t == GRAFT_Q4_1) memcpy(x + i + 2, &(uint16_t){0xbc00}, 2); /* minimum -1 */
    }
}

void op_data_new(const op_case *c, op_data *d)
{
    op_rng r = {c->seed * 100003};
    memset(d, 0, sizeof *d);
    for (int i = 0; i < c->n_in; i++) {
        const op_input *in = &c->in[i];
        if (in->shape.rank < 0) continue;
        const int64_t n = graft_shape_elements(&in->shape, c->extent);
        d->in_n[i] = n;
        d->in_bytes[i] = graft_dtype_bytes(in->shape.dtype, n);
        ck_assert_msg(d->in_bytes[i] >= 0, "%s: input %d has no whole number of blocks", c->op, i);
        d->in[i] = calloc((size_t)d->in_bytes[i] + 1, 1);
        if (in->shape.dtype == GRAFT_I32) fill_whole(c, in, d->in[i], n, &r);
        else if (in->shape.dtype == GRAFT_F32) fill_floats(in, i, d->in[i], n, &r);
        else fill_stored(in->shape.dtype, d->in[i], d->in_bytes[i], &r);
    }
}

void op_data_free(op_data *d)
{
    for (int i = 0; i < GRAFT_MAX_IN; i++) free(d->in[i]);
    for (int i = 0; i < GRAFT_MAX_OUT; i++) free(d->seed[i]);
    memset(d, 0, sizeof *d);
}

/* ---- results --------------------------------------------------------------------------------------------------------------------------------- */
void op_result_free(op_result *r)
{
    for (int i = 0; i < OP_RESULTS; i++) free(r->v[i]);
    memset(r, 0, sizeof *r);
}

double op_result_error(const op_result *a, const op_result *b, int i)
{
    double most = 0.0, size = i < GRAFT_MAX_OUT ? 0.01 : 1.0; /* inputs and seeds are about 1: a smaller gradient can be what is left of terms that cancel */
    if (!a->v[i] && !b->v[i]) return 0.0;
    if (!a->v[i] || !b->v[i] || a->n[i] != b->n[i]) return HUGE_VAL;
    for (int64_t k = 0; k < a->n[i]; k++) {
        const double x = a->v[i][k], y = b->v[i][k];
        if (isnan(x) != isnan(y) || (isinf(y) && x != y)) return HUGE_VAL;
        if (isnan(x) || isinf(y)) continue;
        most = fmax(most, fabs(x - y));
        size = fmax(size, fabs(y));
    }
    return most / size;
}

const char *op_result_name(int i)
{
    static char text[OP_RESULTS][24];
    snprintf(text[i], sizeof text[i], "%s %d", i < GRAFT_MAX_OUT ? "output" : "gradient", i < GRAFT_MAX_OUT ? i : i - GRAFT_MAX_OUT);
    return text[i];
}

/* ---- programs --------------------------------------------------------------------------------------------------------------------------------- */
int op_harness_recompute;

static const char *numbered(const char *what, int i)
{
    static char text[8][24];
    static int at;
    at = (at + 1) % 8;
    snprintf(text[at], sizeof text[at], "%s%d", what, i);
    return text[at];
}

static void add_gradients(op_program *p, const graft_value *in, const graft_value *out)
{
    const op_case *c = p->c;
    graft_value seeds[GRAFT_MAX_OUT] = {{0}}, outs[GRAFT_MAX_OUT], wrt[GRAFT_MAX_IN], dx[GRAFT_MAX_IN];
    int number[GRAFT_MAX_IN], n = 0;
    for (int i = 0; i < p->n_out; i++) {
        outs[i] = out[i];
        if (!(c->seeded >> i & 1u) || p->out[i].dtype != GRAFT_F32) continue;
        seeds[i] = c->unit_seed ? graft_fill(p->g->builder, p->out[i].rank, p->out[i].dims, 1.0) : graft_graph_input(p->g, numbered("seed", i), GRAFT_F32, p->out[i].rank, p->out[i].dims);
    }
    for (int i = 0; i < c->n_in; i++) {
        if (!in[i].id || c->in[i].shape.dtype != GRAFT_F32 || c->in[i].fill == OP_FREQ || c->in[i].fill == OP_BITS) continue;
        number[n] = i, wrt[n++] = in[i];
    }
    graft_graph_gradients(p->g, outs, seeds, p->n_out, wrt, n, dx);
    for (int i = 0; i < n; i++) {
        p->has_grad[number[i]] = dx[i].id != 0;
        if (dx[i].id) graft_graph_output(p->g, numbered("grad", number[i]), dx[i]);
    }
}

graft_status op_program_open(op_program *p, const graft_device *d, const op_case *c, int with_gradients, graft_error *err)
{
    graft_value in[GRAFT_MAX_IN] = {{0}}, out[GRAFT_MAX_OUT] = {{0}};
    *p = (op_program){.c = c, .g = graft_graph_new()};
    for (int i = 0; i < c->n_in; i++) {
        const graft_shape *s = &c->in[i].shape;
        if (s->rank >= 0) in[i] = graft_graph_input(p->g, numbered("in", i), s->dtype, s->rank, s->dims);
    }
    if (c->build) {
        p->n_out = c->build(p->g, c, in, out);
    } else {
        out[0] = p->g->builder->api->op(p->g->builder, c->op, c->n_in, in, c->n_attr, c->attr);
        p->n_out = graft_op_find(c->op) ? graft_op_find(c->op)->n_out : 0;
        for (int i = 1; i < p->n_out; i++) out[i] = p->g->builder->api->output(p->g->builder, out[0], i);
    }
    for (int i = 0; i < p->n_out; i++) {
        p->out[i] = graft_graph_info(p->g, out[i])->shape;
        if (c->outputs >> i & 1u) graft_graph_output(p->g, numbered("out", i), out[i]);
    }
    if (with_gradients && c->seeded) add_gradients(p, in, out);
    graft_status status = graft_graph_check(p->g, err);
    if (!status) status = graft_graph_prepare(p->g, d, op_harness_recompute, 1000, err);
    if (!status) status = graft_store_new(d, &p->store, err);
    if (!status) status = graft_store_add_graph(p->store, p->g, c->capacity, err);
    if (!status) status = graft_store_commit(p->store, err);
    if (!status) status = graft_exec_new(p->g, p->store, c->capacity, c->seed, &p->exec, err);
    if (status) op_program_close(p);
    return status;
}

void op_program_close(op_program *p)
{
    graft_exec_free(p->exec);
    graft_store_free(p->store);
    graft_graph_free(p->g);
    *p = (op_program){0};
}

static graft_status read_back(op_program *p, const char *name, const graft_shape *s, op_result *r, int at, graft_error *err)
{
    const int64_t n = graft_shape_elements(s, p->c->extent), bytes = graft_dtype_bytes(s->dtype, n);
    char *raw = calloc((size_t)bytes + 1, 1);
    const graft_status status = graft_exec_get(p->exec, name, raw, bytes, err);
    free(r->v[at]);
    r->v[at] = calloc((size_t)n + 1, sizeof(double)), r->n[at] = n, r->type[at] = s->dtype;
    for (int64_t i = 0; i < n && !status; i++) {
        const uint16_t *half = (const uint16_t *)(const void *)raw;
        if (s->dtype == GRAFT_F32) r->v[at][i] = (double)((const float *)(const void *)raw)[i];
        else if (s->dtype == GRAFT_I32) r->v[at][i] = (double)((const int32_t *)(const void *)raw)[i];
        else r->v[at][i] = (double)half[i]; /* bf16 and f16: their bits */
    }
    free(raw);
    return status;
}

graft_status op_program_run(op_program *p, const op_data *data, op_result *r, graft_error *err)
{
    const op_case *c = p->c;
    graft_status status = GRAFT_OK;
    for (int i = 0; i < c->n_in && !status; i++) {
        if (data->in[i] && graft_graph_find(p->g, numbered("in", i)).id) status = graft_exec_set(p->exec, numbered("in", i), data->in[i], data->in_bytes[i], err);
    }
    for (int i = 0; i < p->n_out && !status; i++) {
        const char *name = numbered("seed", i);
        if (!graft_graph_find(p->g, name).id) continue;
        op_data *d = (op_data *)(uintptr_t)data; /* seeds are drawn when their shape is first known */
        if (!d->seed[i]) {
            op_rng rng = {c->seed * 7919 + 17 * (uint64_t)i};
            d->seed_n[i] = graft_shape_elements(&p->out[i], c->extent);
            d->seed[i] = calloc((size_t)d->seed_n[i] + 1, sizeof(float));
            for (int64_t k = 0; k < d->seed_n[i]; k++) d->seed[i][k] = (float)normal(&rng);
        }
        status = graft_exec_set(p->exec, name, d->seed[i], d->seed_n[i] * (int64_t)sizeof(float), err);
    }
    if (!status) status = graft_exec_run(p->exec, c->extent, 3, c->training, err);
    for (int i = 0; i < p->n_out && !status; i++) {
        if (c->outputs >> i & 1u) status = read_back(p, numbered("out", i), &p->out[i], r, i, err);
    }
    for (int i = 0; i < c->n_in && !status; i++) {
        if (p->has_grad[i]) status = read_back(p, numbered("grad", i), &c->in[i].shape, r, GRAFT_MAX_OUT + i, err);
    }
    return status;
}

void op_case_run(const graft_device *d, const op_case *c, int with_gradients, const op_data *data, op_result *r)
{
    char text[600];
    op_program p;
    graft_error err = GRAFT_ERROR_INIT;
    op_case_text(c, text, sizeof text);
    memset(r, 0, sizeof *r);
    graft_status status = op_program_open(&p, d, c, with_gradients, &err);
    ck_assert_msg(status == GRAFT_OK, "%s on %s: %s: %s", text, d->name, err.where, err.message);
    status = op_program_run(&p, data, r, &err);
    ck_assert_msg(status == GRAFT_OK, "%s on %s: %s: %s", text, d->name, err.where, err.message);
    op_program_close(&p);
}

/* ---- devices ------------------------------------------------------------------------------------------------------------------------------------ */
static graft_registry *registry(void)
{
    static graft_registry *r;
    graft_error err = GRAFT_ERROR_INIT;
    const graft_registry_options o = {.shipped = GRAFT_BINARY_DIR "/lib/graft/registry.json"};
    if (!r) ck_assert_ok(graft_registry_open(&o, &r, &err));
    return r;
}

graft_device op_reference(int tier)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_device d;
    graft_arena *a = graft_arena_new();
    graft_json *options = graft_json_new(a, GRAFT_JSON_OBJECT);
    graft_json_put(a, options, "tier", graft_json_int(a, tier));
    ck_assert_ok(graft_device_open(registry(), "reference", graft_config_new(a, "options", options), &d, &err));
    graft_arena_free(a);
    return d;
}

int op_other_devices(graft_device *out, int room)
{
    graft_candidate list[32];
    graft_error err = GRAFT_ERROR_INIT;
    int32_t n = 0;
    int got = 0;
    ck_assert_ok(graft_backend_candidates(registry(), list, 32, &n, &err));
    for (int i = 0; i < n && got < room; i++) {
        int seen = !strcmp(list[i].backend, "reference") || !list[i].plugin || list[i].info.score <= 0;
        for (int k = 0; k < got; k++) seen |= !strcmp(out[k].name, list[i].backend);
        if (seen) continue;
        if (graft_device_open(registry(), list[i].backend, NULL, &out[got], &err) == GRAFT_OK) got++;
        else printf("skipped: backend %s: %s\n", list[i].backend, err.message);
    }
    return got;
}

int op_claims(const graft_device *d, const op_case *c)
{
    int32_t n = 0;
    const graft_op_claim *claims = d->table->ops(d->dev, &n);
    for (int32_t i = 0; i < n; i++) {
        int all = claims[i].op == graft_op_id(c->op);
        for (int k = 0; k < c->n_in && all; k++) {
            const graft_shape *s = &c->in[k].shape;
            all = s->rank < 0 || s->dtype == GRAFT_I32 || (claims[i].dtypes >> s->dtype & 1u);
        }
        if (all) return 1;
    }
    return 0;
}
