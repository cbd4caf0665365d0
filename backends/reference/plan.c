/* backends/reference/plan.c - compile checks every instruction once and keeps it as a step; run resolves the sizes and calls the kernels in order.
 * After compile a run can fail only on its data: a row number out of range, borders of a sequence outside the batch. */
#include "reference.h"

#include "graft/packed.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct step {
    const ref_op *op;
    int32_t in[REF_IN], out[REF_OUT]; /* indices of tensors, -1: absent */
    graft_attr attr[REF_ATTR];
    int32_t n_attr;
    char site[64];
} step;

typedef struct plan {
    const graft_host *host;
    graft_tensor *tensors;
    step *steps;
    double *scratch;
    int32_t n_tensors, n_steps;
    int64_t capacity[GRAFT_SYMBOLS], place_bytes[GRAFT_PLACES], scratch_bytes;
    uint64_t seed;
} plan;

/* ---- the table ---------------------------------------------------------------------------------------------------------------------- */
const ref_op *ref_op_at(int32_t i, int *tier)
{
    static const ref_op *const families[] = {ref_elementwise, ref_binary, ref_reduce, ref_matmul, ref_index, ref_movement, ref_create, ref_norm,
                                             ref_softmax, ref_rope, ref_attention, ref_mlp, ref_dropout, ref_moe, ref_loss, ref_optim};
    enum { PRIMITIVE = 7 };
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        *tier = f >= PRIMITIVE;
        for (const ref_op *op = families[f]; op->name; op++) {
            if (i-- == 0) return op;
        }
    }
    return NULL;
}

static const ref_op *find(const char *name)
{
    int tier;
    const ref_op *op;
    for (int32_t i = 0; (op = ref_op_at(i, &tier)) != NULL; i++) {
        if (!strcmp(op->name, name)) return op;
    }
    return NULL;
}

/* ---- views ------------------------------------------------------------------------------------------------------------------------------ */
static int view_of(const plan *p, int32_t index, const int64_t extent[GRAFT_SYMBOLS], ref_view *v)
{
    *v = (ref_view){0};
    if (index < 0) return 0;
    const graft_tensor *t = &p->tensors[index];
    v->there = 1, v->dtype = t->dtype, v->rank = t->rank, v->n = 1;
    for (int i = 0; i < t->rank; i++) {
        const int64_t d = t->dims[i];
        v->dims[i] = d >= 0 ? d : extent[-1 - d];
        if (__builtin_mul_overflow(v->n, v->dims[i], &v->n)) return -1;
    }
    return 0;
}

static int call_of(const plan *p, const step *s, const int64_t extent[GRAFT_SYMBOLS], ref_call *c)
{
    *c = (ref_call){.host = p->host, .op = s->op->name, .site = s->site, .attr = s->attr, .n_attr = s->n_attr, .seed = p->seed, .scratch = p->scratch};
    for (int i = 0; i < REF_IN; i++) {
        if (view_of(p, s->in[i], extent, &c->in[i])) return -1;
    }
    for (int i = 0; i < REF_OUT; i++) {
        if (view_of(p, s->out[i], extent, &c->out[i])) return -1;
    }
    return 0;
}

/* ---- compile ---------------------------------------------------------------------------------------------------------------------------- */
static int takes(char letter, graft_dtype t)
{
    const int few = t == GRAFT_F32 || t == GRAFT_BF16 || t == GRAFT_F16;
    const int blocks = t == GRAFT_Q4_0 || t == GRAFT_Q4_1 || t == GRAFT_Q8_0 || graft_is_packed(t);
    switch (letter) {
    case 'f': return t == GRAFT_F32;
    case 'v': return few;
    case 'w': return few || blocks;
    case 'x': return few || blocks || t == GRAFT_I32;
    case 'i': return t == GRAFT_I32;
    case 'n': return t == GRAFT_F32 || t == GRAFT_I32;
    default: return few || t == GRAFT_I32; /* a */
    }
}

static graft_status bad(const plan *p, const graft_instr *n, graft_error *err, const char *what)
{
    return p->host->fail(err, GRAFT_INTERNAL, "reference", "%s: %s", n->name, what);
}

static graft_status take_attrs(const plan *p, const graft_instr *n, step *s, graft_error *err)
{
    while (s->n_attr < REF_ATTR && s->op->attrs[s->n_attr]) {
        const char *key = s->op->attrs[s->n_attr];
        graft_attr *to = &s->attr[s->n_attr++];
        for (int32_t i = 0; i < n->n_attr; i++) {
            if (!strcmp(n->attr[i].key, key)) *to = n->attr[i];
        }
        if (!to->key) return bad(p, n, err, "an attribute is missing");
        to->key = key; /* the program's text is gone after compile */
    }
    return GRAFT_OK;
}

static graft_status take_instr(plan *p, const graft_instr *n, step *s, graft_error *err)
{
    ref_call c;
    const int32_t most = (int32_t)(s->op ? strlen(s->op->in) : 0);
    if (!s->op) return bad(p, n, err, "this backend does not have the op");
    if (n->n_in > most || n->n_out > s->op->n_out) return bad(p, n, err, "more inputs or outputs than the op has");
    for (int32_t i = 0; i < REF_IN; i++) s->in[i] = i < n->n_in ? n->in[i] : -1;
    for (int32_t i = 0; i < REF_OUT; i++) s->out[i] = i < n->n_out ? n->out[i] : -1;
    for (int32_t i = 0; i < most; i++) {
        const int may = s->op->in[i] < 'a';
        if (s->in[i] >= p->n_tensors || (s->in[i] < 0 && !may)) return bad(p, n, err, "an input is missing");
        if (s->in[i] >= 0 && !takes((char)(may ? s->op->in[i] + 32 : s->op->in[i]), p->tensors[s->in[i]].dtype)) return bad(p, n, err, "an input's type is not claimed");
    }
    for (int32_t i = 0; i < s->op->n_out; i++) {
        if (s->out[i] >= p->n_tensors) return bad(p, n, err, "an output is missing");
        if (s->out[i] >= 0) snprintf(s->site, sizeof s->site, "%.63s", p->tensors[s->out[i]].name ? p->tensors[s->out[i]].name : "");
    }
    if (take_attrs(p, n, s, err)) return err->code;
    if (call_of(p, s, p->capacity, &c) || (s->op->fits && !s->op->fits(&c))) return bad(p, n, err, "the shapes or attributes do not go together");
    return GRAFT_OK;
}

/* Bytes of a tensor at these sizes; -1: too many, or a type that is not stored here. */
static int64_t tensor_bytes(const graft_tensor *t, const int64_t extent[GRAFT_SYMBOLS])
{
    static const struct {
        int64_t elements, bytes;
    } block[] = {[GRAFT_F32] = {1, 4}, [GRAFT_BF16] = {1, 2}, [GRAFT_F16] = {1, 2}, [GRAFT_I32] = {1, 4}, [GRAFT_I8] = {1, 1}, [GRAFT_NF4] = {64, 36}, [GRAFT_NF4_DOUBLE] = {64, 33}, [GRAFT_INT8] = {64, 68}, [GRAFT_Q4_0] = {32, 18}, [GRAFT_Q4_1] = {32, 20}, [GRAFT_Q8_0] = {32, 34}};
    int64_t n = 1;
    if (t->dtype < GRAFT_F32 || t->dtype > GRAFT_INT8) return -1;
    for (int i = 0; i < t->rank; i++) {
        if (__builtin_mul_overflow(n, t->dims[i] >= 0 ? t->dims[i] : extent[-1 - t->dims[i]], &n)) return -1;
    }
    if (t->dtype == GRAFT_NF4_DOUBLE) return n % GRAFT_PACKED_BLOCK ? -1 : graft_packed_bytes(t->dtype, n);
    return n % block[t->dtype].elements || __builtin_mul_overflow(n / block[t->dtype].elements, block[t->dtype].bytes, &n) ? -1 : n;
}

static graft_status take_tensors(plan *p, const graft_program *from, graft_error *err)
{
    for (int32_t i = 0; i < from->n_tensors; i++) {
        const graft_tensor *t = &from->tensors[i];
        int good = t->rank >= 0 && t->rank <= GRAFT_MAX_RANK && t->place >= 0 && t->place < GRAFT_PLACES && t->offset >= 0 && t->bytes >= 0 &&
                   t->offset <= p->place_bytes[t->place] && t->bytes <= p->place_bytes[t->place] - t->offset;
        for (int k = 0; good && k < t->rank; k++) good = t->dims[k] >= -GRAFT_SYMBOLS;
        if (good) {
            const int64_t need = tensor_bytes(t, p->capacity);
            good = need >= 0 && need <= t->bytes;
        }
        if (!good) return p->host->fail(err, GRAFT_INTERNAL, "reference", "tensor %d (%s) lies outside its place", (int)i, t->name ? t->name : "");
        p->tensors[i] = *t;
    }
    return GRAFT_OK;
}

/* The longest axis of the steps that need scratch; REF_SCRATCH rows of it. */
static int64_t scratch_bytes(const plan *p)
{
    int64_t longest = 0;
    for (int32_t i = 0; i < p->n_steps; i++) {
        ref_call c;
        if (!p->steps[i].op->scratch || call_of(p, &p->steps[i], p->capacity, &c)) continue;
        for (int k = 0; k < REF_IN + REF_OUT; k++) {
            const ref_view *v = k < REF_IN ? &c.in[k] : &c.out[k - REF_IN];
            for (int d = 0; d < v->rank; d++) longest = v->dims[d] > longest ? v->dims[d] : longest;
        }
    }
    return longest * REF_SCRATCH * (int64_t)sizeof(double);
}

static void *take_memory(const graft_host *host, int64_t n, size_t size, size_t align)
{
    void *m = host->alloc(host->ctx, n ? (size_t)n * size : size, align);
    if (m) memset(m, 0, n ? (size_t)n * size : size);
    return m;
}

graft_status ref_compile(void *dev, const graft_program *from, void **out, graft_error *err)
{
    const graft_host *host = ((ref_device *)dev)->host;
    graft_status status = GRAFT_OK;
    plan *p = take_memory(host, 1, sizeof *p, _Alignof(plan));
    if (!p) return host->fail(err, GRAFT_NO_MEMORY, "reference", "no memory to compile a program");
    p->host = host, p->seed = from->seed, p->n_tensors = from->n_tensors;
    memcpy(p->capacity, from->capacity, sizeof p->capacity);
    memcpy(p->place_bytes, from->place_bytes, sizeof p->place_bytes);
    p->tensors = take_memory(host, from->n_tensors, sizeof *p->tensors, _Alignof(graft_tensor));
    p->steps = take_memory(host, from->n_instrs, sizeof *p->steps, _Alignof(step));
    if (!p->tensors || !p->steps) {
        status = host->fail(err, GRAFT_NO_MEMORY, "reference", "no memory to compile a program of %d instructions", (int)from->n_instrs);
        goto out;
    }
    if ((status = take_tensors(p, from, err))) goto out;
    for (int32_t i = 0; i < from->n_instrs; i++) {
        p->steps[i].op = find(from->instrs[i].name);
        if ((status = take_instr(p, &from->instrs[i], &p->steps[i], err))) goto out;
        p->n_steps++;
    }
    p->scratch_bytes = scratch_bytes(p);
    p->scratch = take_memory(host, p->scratch_bytes, 1, 64);
    if (!p->scratch) status = host->fail(err, GRAFT_NO_MEMORY, "reference", "no memory for %lld bytes of workspace", (long long)p->scratch_bytes);
out:
    if (status) ref_discard(p);
    else *out = p;
    return status;
}

void ref_discard(void *which)
{
    plan *p = which;
    if (!p) return;
    const graft_host *host = p->host;
    host->release(host->ctx, p->tensors);
    host->release(host->ctx, p->steps);
    host->release(host->ctx, p->scratch);
    host->release(host->ctx, p);
}

int64_t ref_workspace(void *which) { return ((plan *)which)->scratch_bytes; }

/* ---- run ------------------------------------------------------------------------------------------------------------------------------------- */
static void bind(const plan *p, int32_t index, const graft_run *r, ref_view *v)
{
    if (index < 0) return;
    const ref_buffer *b = r->places[p->tensors[index].place];
    v->data = b ? (char *)b->data + p->tensors[index].offset : NULL;
}

graft_status ref_run(void *which, const graft_run *r, graft_error *err)
{
    plan *p = which;
    for (int i = 0; i < GRAFT_SYMBOLS; i++) {
        if (r->extent[i] < 0 || r->extent[i] > p->capacity[i])
            return p->host->fail(err, GRAFT_INTERNAL, "reference", "a size of %lld is outside the plan's capacity of %lld", (long long)r->extent[i], (long long)p->capacity[i]);
    }
    for (int i = 0; i < GRAFT_PLACES; i++) {
        const ref_buffer *b = r->places[i];
        if (p->place_bytes[i] > (b ? b->bytes : 0)) return p->host->fail(err, GRAFT_INTERNAL, "reference", "the buffer of place %d is too small", i);
    }
    for (int32_t i = 0; i < p->n_steps; i++) {
        const step *s = &p->steps[i];
        ref_call c;
        if (call_of(p, s, r->extent, &c)) return p->host->fail(err, GRAFT_INTERNAL, "reference", "%s: a tensor is too large", s->op->name);
        c.step = r->step, c.training = r->training, c.err = err;
        for (int k = 0; k < REF_IN; k++) bind(p, s->in[k], r, &c.in[k]);
        for (int k = 0; k < REF_OUT; k++) bind(p, s->out[k], r, &c.out[k]);
        const graft_status status = s->op->run(&c);
        if (status) return status;
    }
    return GRAFT_OK;
}

/* ---- for kernels --------------------------------------------------------------------------------------------------------------------------------- */
static const graft_attr *attr_of(const ref_call *c, const char *key)
{
    static const graft_attr none = {"", GRAFT_ATTR_INT, 0, 0.0};
    for (int32_t i = 0; i < c->n_attr; i++) {
        if (!strcmp(c->attr[i].key, key)) return &c->attr[i];
    }
    return &none;
}

int64_t ref_int(const ref_call *c, const char *key) { return attr_of(c, key)->i; }
double ref_real(const ref_call *c, const char *key) { return attr_of(c, key)->r; }

graft_status ref_fail(const ref_call *c, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return c->host->fail(c->err, GRAFT_BAD_INPUT, c->site, "%s: %s", c->op, text);
}

int ref_same(const ref_view *x, const ref_view *y)
{
    if (!x->there || !y->there) return 1;
    return x->rank == y->rank && memcmp(x->dims, y->dims, sizeof x->dims) == 0;
}

int ref_broadcasts(const ref_view *x, const ref_view *to)
{
    if (x->rank > to->rank) return 0;
    for (int i = 0; i < x->rank; i++) {
        if (x->dims[i] != 1 && x->dims[i] != to->dims[to->rank - x->rank + i]) return 0;
    }
    return 1;
}

int64_t ref_offset(const ref_view *x, const ref_view *out, int64_t i)
{
    int64_t at = 0, stride = 1;
    if (x->n == out->n) return i;
    for (int k = out->rank - 1; k >= 0; k--) {
        const int64_t place = i % out->dims[k];
        const int kx = k - (out->rank - x->rank);
        i /= out->dims[k];
        if (kx < 0) break;
        if (x->dims[kx] != 1) at += place * stride;
        stride *= x->dims[kx];
    }
    return at;
}

int64_t ref_last(const ref_view *x) { return x->rank ? x->dims[x->rank - 1] : 1; }

int64_t ref_rows(const ref_view *x)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < x->rank; i++) n *= x->dims[i];
    return n;
}
