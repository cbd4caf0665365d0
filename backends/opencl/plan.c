/* backends/opencl/plan.c - compile checks every instruction once, builds the kernels it needs and keeps it as a step; run resolves sizes and enqueues.
 * After compile a run can fail only on its data (sync says so) or in the driver. */
#include "opencl.h"

#include <stdio.h>

typedef struct step {
    const ocl_op *op;
    int32_t in[OCL_IN], out[OCL_OUT]; /* indices of tensors, -1: absent */
    graft_attr attr[OCL_ATTR];
    int32_t n_attr;
    char site[64];
} step;

typedef struct plan {
    ocl_device *d;
    graft_tensor *tensors;
    step *steps;
    int32_t n_tensors, n_steps;
    int64_t capacity[GRAFT_SYMBOLS], place_bytes[GRAFT_PLACES], scratch_bytes;
    uint64_t seed;
} plan;

const ocl_op *ocl_op_at(int32_t i)
{
    static const ocl_op *const families[] = {ocl_elements, ocl_moves, ocl_matmuls, ocl_reductions, ocl_indices, ocl_norms, ocl_attentions, ocl_losses, ocl_optims, ocl_experts};
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        for (const ocl_op *op = families[f]; op->name; op++) {
            if (i-- == 0) return op;
        }
    }
    return NULL;
}

/* ---- views -------------------------------------------------------------------------------------------------------------------------------- */
static int view_of(const plan *p, int32_t index, const int64_t extent[GRAFT_SYMBOLS], void *const *places, ocl_view *v)
{
    *v = (ocl_view){0};
    if (index < 0) return 0;
    const graft_tensor *t = &p->tensors[index];
    v->there = 1, v->dtype = t->dtype, v->rank = t->rank, v->n = 1, v->offset = t->offset;
    for (int i = 0; i < t->rank; i++) {
        const int64_t d = t->dims[i];
        v->dims[i] = d >= 0 ? d : extent[-1 - d];
        if (__builtin_mul_overflow(v->n, v->dims[i], &v->n)) return -1;
    }
    if (places && places[t->place]) v->mem = ((const ocl_buffer *)places[t->place])->mem;
    return 0;
}

static int call_of(const plan *p, int32_t i, const int64_t extent[GRAFT_SYMBOLS], void *const *places, ocl_call *c)
{
    const step *s = &p->steps[i];
    *c = (ocl_call){.d = p->d, .op = s->op->name, .site = s->site, .step = i, .attr = s->attr, .n_attr = s->n_attr, .seed = p->seed};
    for (int k = 0; k < OCL_IN; k++) {
        if (view_of(p, s->in[k], extent, places, &c->in[k])) return -1;
    }
    for (int k = 0; k < OCL_OUT; k++) {
        if (view_of(p, s->out[k], extent, places, &c->out[k])) return -1;
    }
    return 0;
}

/* ---- compile ------------------------------------------------------------------------------------------------------------------------------ */
static int takes(char letter, graft_dtype t)
{
    const int few = t == GRAFT_F32 || t == GRAFT_BF16 || t == GRAFT_F16;
    switch (letter) {
    case 'f': return t == GRAFT_F32;
    case 'v': return few;
    case 'w': return few || t == GRAFT_Q4_0 || t == GRAFT_Q4_1 || t == GRAFT_Q8_0 || graft_is_packed(t);
    case 'i': return t == GRAFT_I32;
    case 'n': return t == GRAFT_F32 || t == GRAFT_I32;
    default: return few || t == GRAFT_I32; /* a */
    }
}

static graft_status bad(const plan *p, const graft_instr *n, graft_error *err, const char *what) { return p->d->host->fail(err, GRAFT_INTERNAL, "opencl", "%s: %s", n->name, what); }

static graft_status take_attrs(const plan *p, const graft_instr *n, step *s, graft_error *err)
{
    while (s->n_attr < OCL_ATTR && s->op->attrs[s->n_attr]) {
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

static graft_status take_tensors_of(const plan *p, const graft_instr *n, step *s, graft_error *err)
{
    const int32_t most = (int32_t)strlen(s->op->in);
    if (n->n_in > most || n->n_out > s->op->n_out) return bad(p, n, err, "more inputs or outputs than the op has");
    for (int32_t i = 0; i < n->n_in; i++) s->in[i] = n->in[i];
    for (int32_t i = 0; i < n->n_out; i++) s->out[i] = n->out[i];
    for (int32_t i = 0; i < most; i++) {
        const int may = s->op->in[i] < 'a';
        if (s->in[i] >= p->n_tensors || (s->in[i] < 0 && !may)) return bad(p, n, err, "an input is missing");
        if (s->in[i] >= 0 && !takes((char)(may ? s->op->in[i] + 32 : s->op->in[i]), p->tensors[s->in[i]].dtype)) return bad(p, n, err, "an input's type is not claimed");
    }
    for (int32_t i = 0; i < s->op->n_out; i++) {
        if (s->out[i] >= p->n_tensors) return bad(p, n, err, "an output is missing");
        if (s->out[i] >= 0) snprintf(s->site, sizeof s->site, "%.63s", p->tensors[s->out[i]].name ? p->tensors[s->out[i]].name : "");
    }
    return GRAFT_OK;
}

/* One instruction becomes step n_steps, unless nobody reads what it makes. */
static graft_status take_instr(plan *p, const graft_instr *n, graft_error *err)
{
    step *s = &p->steps[p->n_steps];
    ocl_call c;
    int32_t at = 0, wanted = 0;
    while ((s->op = ocl_op_at(at)) != NULL && strcmp(s->op->name, n->name) != 0) at++;
    if (!s->op) return bad(p, n, err, "this backend does not have the op");
    for (int i = 0; i < OCL_IN; i++) s->in[i] = -1;
    for (int i = 0; i < OCL_OUT; i++) s->out[i] = -1;
    graft_status status = take_tensors_of(p, n, s, err);
    if (!status) status = take_attrs(p, n, s, err);
    if (status) return status;
    for (int i = 0; i < s->op->n_out; i++) wanted += s->out[i] >= 0;
    if (!wanted) {
        *s = (step){0};
        return GRAFT_OK;
    }
    for (int f = 0; f < OCL_FAMILIES && !status; f++) {
        if (s->op->families & OCL_BIT(f)) status = ocl_family_need(p->d, (ocl_family)f, err);
    }
    if (status) return status;
    if (call_of(p, p->n_steps, p->capacity, NULL, &c) || (s->op->fits && !s->op->fits(&c))) return bad(p, n, err, "the shapes or attributes do not go together, or are too large for this device");
    const int64_t scratch = s->op->scratch ? s->op->scratch(&c) : 0;
    if (scratch > p->scratch_bytes) p->scratch_bytes = scratch;
    p->n_steps++;
    return GRAFT_OK;
}

static graft_status take_tensors(plan *p, const graft_program *from, graft_error *err)
{
    for (int32_t i = 0; i < from->n_tensors; i++) {
        const graft_tensor *t = &from->tensors[i];
        int good = t->rank >= 0 && t->rank <= GRAFT_MAX_RANK && t->place >= 0 && t->place < GRAFT_PLACES && t->offset >= 0 && t->bytes >= 0 &&
                   t->offset <= p->place_bytes[t->place] && t->bytes <= p->place_bytes[t->place] - t->offset;
        for (int k = 0; good && k < t->rank; k++) good = t->dims[k] >= -GRAFT_SYMBOLS;
        if (!good) return p->d->host->fail(err, GRAFT_INTERNAL, "opencl", "tensor %d (%s) lies outside its place", (int)i, t->name ? t->name : "");
        p->tensors[i] = *t;
    }
    return GRAFT_OK;
}

static graft_status grow_scratch(ocl_device *d, int64_t bytes, graft_error *err)
{
    if (bytes <= d->scratch_bytes) return GRAFT_OK;
    const cl_mem fresh = ocl_take(d, bytes, err);
    if (!fresh) return err->code;
    if (d->scratch) d->cl->clReleaseMemObject(d->scratch); /* the driver keeps it until running kernels are done */
    d->scratch = fresh, d->scratch_bytes = bytes;
    return GRAFT_OK;
}

static void *take_memory(const graft_host *host, int64_t n, size_t size)
{
    const size_t bytes = n > 0 ? (size_t)n * size : size;
    void *m = host->alloc(host->ctx, bytes, 16);
    if (m) memset(m, 0, bytes);
    return m;
}

graft_status ocl_compile(void *dev, const graft_program *from, void **out, graft_error *err)
{
    ocl_device *d = dev;
    graft_status status = GRAFT_OK;
    plan *p = take_memory(d->host, 1, sizeof *p);
    if (!p) return d->host->fail(err, GRAFT_NO_MEMORY, "opencl", "no memory to compile a program");
    p->d = d, p->seed = from->seed, p->n_tensors = from->n_tensors;
    memcpy(p->capacity, from->capacity, sizeof p->capacity);
    memcpy(p->place_bytes, from->place_bytes, sizeof p->place_bytes);
    p->tensors = take_memory(d->host, from->n_tensors, sizeof *p->tensors);
    p->steps = take_memory(d->host, from->n_instrs, sizeof *p->steps);
    if (!p->tensors || !p->steps) {
        status = d->host->fail(err, GRAFT_NO_MEMORY, "opencl", "no memory to compile a program of %d instructions", (int)from->n_instrs);
        goto out;
    }
    if ((status = take_tensors(p, from, err))) goto out;
    for (int32_t i = 0; i < from->n_instrs; i++) {
        if ((status = take_instr(p, &from->instrs[i], err))) goto out;
    }
    status = grow_scratch(d, p->scratch_bytes, err);
out:
    if (status) ocl_discard(p);
    else *out = p;
    return status;
}

void ocl_discard(void *which)
{
    plan *p = which;
    if (!p) return;
    const graft_host *host = p->d->host;
    if (p->d->ran == p) p->d->ran = NULL;
    host->release(host->ctx, p->tensors);
    host->release(host->ctx, p->steps);
    host->release(host->ctx, p);
}

int64_t ocl_workspace(void *which) { return ((plan *)which)->scratch_bytes; }

/* ---- run --------------------------------------------------------------------------------------------------------------------------------------- */
static graft_status check_run(const plan *p, const graft_run *r, graft_error *err)
{
    const graft_host *host = p->d->host;
    for (int i = 0; i < GRAFT_SYMBOLS; i++) {
        if (r->extent[i] < 0 || r->extent[i] > p->capacity[i])
            return host->fail(err, GRAFT_INTERNAL, "opencl", "a size of %lld is outside the plan's capacity of %lld", (long long)r->extent[i], (long long)p->capacity[i]);
    }
    for (int i = 0; i < GRAFT_PLACES; i++) {
        const ocl_buffer *b = r->places[i];
        if (p->place_bytes[i] > (b ? b->bytes : 0)) return host->fail(err, GRAFT_INTERNAL, "opencl", "the buffer of place %d is too small", i);
    }
    return GRAFT_OK;
}

graft_status ocl_run(void *which, const graft_run *r, graft_error *err)
{
    plan *p = which;
    ocl_device *d = p->d;
    graft_status status = check_run(p, r, err);
    if (!status && d->ran && d->ran != p) status = ocl_sync(d, err); /* its complaints are worded by its own steps */
    if (status) return status;
    d->ran = p;
    for (int32_t i = 0; i < p->n_steps && !status; i++) {
        ocl_call c;
        if (call_of(p, i, r->extent, r->places, &c)) return d->host->fail(err, GRAFT_INTERNAL, "opencl", "%s: a tensor is too large", p->steps[i].op->name);
        c.number = r->step, c.training = r->training, c.err = err;
        status = p->steps[i].op->run(&c);
    }
    if (status) return status;
    const cl_int code = d->cl->clFlush(d->queue);
    return code == CL_SUCCESS ? GRAFT_OK : ocl_failed(d, code, "clFlush", err);
}

graft_status ocl_complaint(ocl_device *d, const cl_int n[OCL_COMPLAINT], graft_error *err)
{
    const plan *p = d->ran;
    const step *s = p && n[1] >= 0 && n[1] < p->n_steps ? &p->steps[n[1]] : NULL;
    const char *op = s ? s->op->name : "an op", *site = s ? s->site : "opencl";
    const graft_host *h = d->host;
    if (n[0] == OCL_BAD_ROW) return h->fail(err, GRAFT_BAD_INPUT, site, "%s: row %d of a table with %d rows was asked for", op, (int)n[2], (int)n[3]);
    if (n[0] == OCL_BAD_LABEL) return h->fail(err, GRAFT_BAD_INPUT, site, "%s: label %d of row %d is outside a vocabulary of %d", op, (int)n[2], (int)n[3], (int)n[4]);
    if (n[0] == OCL_BAD_BORDER)
        return h->fail(err, GRAFT_BAD_INPUT, site, "%s: sequence %d has rows %d to %lld of a batch of %d", op, (int)n[2], (int)n[3], (long long)n[3] + n[4], (int)n[5]);
    if (n[0] == OCL_BAD_ORDER) return h->fail(err, GRAFT_BAD_INPUT, site, "%s: row %d has numbers that cannot be ordered", op, (int)n[2]);
    if (n[0] == OCL_BAD_EXPERT) return h->fail(err, GRAFT_BAD_INPUT, site, "%s: expert %d of %d was asked for", op, (int)n[2], (int)n[3]);
    return h->fail(err, GRAFT_BAD_INPUT, site, "%s: sequence %d has cache rows %d to %lld of %d", op, (int)n[2], (int)n[3], (long long)n[3] + n[4] + n[5], (int)n[6]);
}
