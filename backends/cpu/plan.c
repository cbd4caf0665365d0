/* plan.c - a program becomes a list of steps: kernel, places of its tensors, attributes. run resolves sizes and addresses and calls.
 * Everything a run needs is allocated here: workspace and scratch belong to the device (its plans run one after another),
 * tables of rotary angles to the plan. */
#include "plan.h"

#include <stdio.h>
#include <time.h>

typedef struct table { /* shared by the steps of one op with the same inputs 1 and 2 */
    const cpu_op *op;
    int32_t key[2];
    int64_t bytes;
    float *data;
    int ready, mapped;
} table;

typedef struct plan {
    cpu_device *d;
    step *steps;
    int32_t n_steps, n_tables;
    table *tables;
    int64_t capacity[GRAFT_SYMBOLS], bytes; /* bytes: workspace, scratch of all threads, tables */
    uint64_t seed;
    cpu_compute compute;
} plan;

static const cpu_op *find_op(const cpu_device *d, uint64_t id)
{
    for (int32_t i = 0; i < d->n_claims; i++)
        if (d->claims[i].op == id) return d->ops[i];
    return NULL;
}

static void resolve(cpu_arg *a, const slot *s, const int64_t *extent, void *const *places)
{
    a->on = s->on;
    if (!s->on) return;
    a->dtype = s->dtype;
    a->rank = s->rank;
    a->n = 1;
    for (int i = 0; i < s->rank; i++) {
        a->dims[i] = s->dims[i] < 0 ? extent[-s->dims[i] - 1] : s->dims[i];
        a->n *= a->dims[i];
    }
    a->data = places && places[s->place] ? (char *)places[s->place] + s->offset : NULL;
}

static void fill_call(cpu_call *c, const step *s, const int64_t *extent, void *const *places)
{
    for (int i = 0; i < s->n_in; i++) resolve(&c->in[i], &s->in[i], extent, places);
    for (int i = s->n_in; i < CPU_MAX_IN; i++) c->in[i].on = 0;
    for (int i = 0; i < s->n_out; i++) resolve(&c->out[i], &s->out[i], extent, places);
    for (int i = s->n_out; i < CPU_MAX_OUT; i++) c->out[i].on = 0;
    c->attr = s->attr;
}

static graft_status take_slots(const cpu_device *d, const graft_program *p, const graft_instr *in, const int32_t *ids, int32_t n, int32_t room, slot *out, graft_error *err)
{
    if (n > room) return d->host->fail(err, GRAFT_INTERNAL, in->name, "expected at most %d tensors, found %d", room, n);
    for (int32_t i = 0; i < n; i++) {
        if (ids[i] < 0) continue;
        if (ids[i] >= p->n_tensors) return d->host->fail(err, GRAFT_INTERNAL, in->name, "expected a tensor below %d, found %d", p->n_tensors, ids[i]);
        const graft_tensor *t = &p->tensors[ids[i]];
        out[i] = (slot){t->dtype, t->place, t->rank, 1, ids[i], {t->dims[0], t->dims[1], t->dims[2], t->dims[3]}, t->offset, t->bytes};
    }
    return GRAFT_OK;
}

static void take_attrs(const cpu_op *op, const graft_instr *in, cpu_attr *out)
{
    for (int i = 0; i < CPU_MAX_ATTR && op->attrs[i].key; i++) {
        out[i] = (cpu_attr){(int64_t)op->attrs[i].fallback, op->attrs[i].fallback};
        for (int32_t j = 0; j < in->n_attr; j++) {
            const graft_attr *a = &in->attr[j];
            if (strcmp(a->key, op->attrs[i].key)) continue;
            out[i] = a->type == GRAFT_ATTR_INT ? (cpu_attr){a->i, (double)a->i} : (cpu_attr){(int64_t)a->r, a->r};
        }
    }
}

/* Steps whose tables would hold the same numbers share one. */
static void take_table(plan *l, step *s, int64_t bytes)
{
    const int32_t key[2] = {s->n_in > 1 && s->in[1].on ? s->in[1].id : -1, s->n_in > 2 && s->in[2].on ? s->in[2].id : -1};
    for (s->table = 0; s->table < l->n_tables; s->table++)
        if (l->tables[s->table].op == s->op && !memcmp(l->tables[s->table].key, key, sizeof key) && l->tables[s->table].bytes == bytes) return;
    table *t = &l->tables[l->n_tables++];
    t->op = s->op;
    memcpy(t->key, key, sizeof key);
    t->bytes = bytes;
}

static graft_status take_step(plan *l, const graft_program *p, int32_t index, graft_error *err)
{
    const cpu_device *d = l->d;
    const graft_instr *in = &p->instrs[index];
    step *s = &l->steps[index];
    s->op = find_op(d, in->op);
    s->table = -1;
    if (!s->op) return d->host->fail(err, GRAFT_UNSUPPORTED, in->name, "expected an op that the cpu backend claims; lower %s first", in->name);
    s->name = s->op->name;
    s->n_in = in->n_in;
    s->n_out = in->n_out;
    graft_status status = take_slots(d, p, in, in->in, in->n_in, CPU_MAX_IN, s->in, err);
    if (status == GRAFT_OK) status = take_slots(d, p, in, in->out, in->n_out, CPU_MAX_OUT, s->out, err);
    if (status != GRAFT_OK) return status;
    take_attrs(s->op, in, s->attr);
    return GRAFT_OK;
}

/* Raises `most` to what the step needs at capacity. */
static void measure(plan *l, step *s, cpu_room *most, graft_error *err)
{
    if (!s->op || !s->op->room) return;
    cpu_call c = {.host = l->d->host, .pool = l->d->pool, .err = err, .compute = l->compute};
    fill_call(&c, s, l->capacity, NULL);
    cpu_room r = {0, 0, 0};
    s->op->room(&c, cpu_pool_threads(l->d->pool), &r);
    if (r.work > most->work) most->work = r.work;
    if (r.scratch > most->scratch) most->scratch = r.scratch;
    if (r.table) take_table(l, s, r.table);
}

static graft_status grow(const cpu_device *d, char **data, int64_t *have, int *mapped, int64_t want, int64_t copies, graft_error *err)
{
    if (want <= *have) return GRAFT_OK;
    want = (want + 4095) & ~(int64_t)4095;
    int how = 0;
    char *fresh = cpu_take(d->host, want * copies, &how);
    if (!fresh) return d->host->fail(err, GRAFT_NO_MEMORY, NULL, "the cpu backend found no memory for %lld bytes of workspace", (long long)(want * copies));
    if (*data) cpu_give(d->host, *data, *have * copies, *mapped);
    *data = fresh;
    *mapped = how;
    *have = want;
    return GRAFT_OK;
}

graft_status cpu_compile(void *dev, const graft_program *p, void **out, graft_error *err)
{
    cpu_device *d = dev;
    const size_t n = p->n_instrs ? (size_t)p->n_instrs : 1;
    plan *l = d->host->alloc(d->host->ctx, sizeof *l, 16);
    if (!l) return d->host->fail(err, GRAFT_NO_MEMORY, NULL, "the cpu backend found no memory for a plan");
    memset(l, 0, sizeof *l);
    l->d = d;
    l->seed = p->seed;
    l->compute = cpu_choose(d, p->compute);
    memcpy(l->capacity, p->capacity, sizeof l->capacity);
    l->steps = d->host->alloc(d->host->ctx, n * sizeof *l->steps, 16);
    l->tables = d->host->alloc(d->host->ctx, n * sizeof *l->tables, 16);
    graft_status status = GRAFT_OK;
    if (!l->steps || !l->tables) {
        status = d->host->fail(err, GRAFT_NO_MEMORY, NULL, "the cpu backend found no memory for a plan of %d steps", p->n_instrs);
        goto out;
    }
    memset(l->steps, 0, n * sizeof *l->steps);
    memset(l->tables, 0, n * sizeof *l->tables);
    l->n_steps = p->n_instrs;
    cpu_room most = {0, 0, 0};
    for (int32_t i = 0; i < l->n_steps && status == GRAFT_OK; i++) status = take_step(l, p, i, err);
    if (status == GRAFT_OK) status = cpu_fuse(d, l->steps, l->n_steps, p->n_tensors, err);
    if (status == GRAFT_OK) cpu_group(d, l->steps, l->n_steps);
    for (int32_t i = 0; i < l->n_steps && status == GRAFT_OK; i++) measure(l, &l->steps[i], &most, err);
    for (int32_t i = 0; i < l->n_tables && status == GRAFT_OK; i++) {
        l->tables[i].data = cpu_take(d->host, l->tables[i].bytes, &l->tables[i].mapped);
        if (!l->tables[i].data) status = d->host->fail(err, GRAFT_NO_MEMORY, NULL, "the cpu backend found no memory for a table of rotary angles");
    }
    l->bytes = most.work + most.scratch * cpu_pool_threads(d->pool) + (int64_t)(n * (sizeof *l->steps + sizeof *l->tables));
    for (int32_t i = 0; i < l->n_tables; i++) l->bytes += l->tables[i].bytes;
    if (status == GRAFT_OK) status = grow(d, &d->work, &d->work_bytes, &d->work_mapped, most.work, 1, err);
    if (status == GRAFT_OK) status = grow(d, &d->scratch, &d->scratch_bytes, &d->scratch_mapped, most.scratch, cpu_pool_threads(d->pool), err);
out:
    if (status == GRAFT_OK) *out = l;
    else cpu_discard(l);
    return status;
}

/* "matmul/1 2048x576 1536x576" at the plan's capacities. */
static void describe(const plan *l, const step *s, char *out, size_t room)
{
    size_t at = (size_t)snprintf(out, room, "%s", s->name);
    for (int i = 0; i < s->n_in && i < 2 && at < room; i++)
        for (int j = 0; j < s->in[i].rank && s->in[i].on && at < room; j++) {
            const int64_t dim = s->in[i].dims[j];
            at += (size_t)snprintf(out + at, room - at, "%c%lld", j ? 'x' : ' ', (long long)(dim < 0 ? l->capacity[-dim - 1] : dim));
        }
    for (int i = 0; i < 2 && s->op->attrs[0].key && !strcmp(s->op->attrs[0].key, "trans_a") && at < room; i++)
        at += (size_t)snprintf(out + at, room - at, "%c", s->attr[i].i ? 'T' : 'N');
}

/* One line for all steps of one op and shape with the time they took, when the device was opened with the option profile. */
static void report(const plan *l)
{
    enum { TEXT = 96 };
    char mine[TEXT], other[TEXT];
    int64_t total = 0;
    for (int32_t i = 0; i < l->n_steps; i++) total += l->steps[i].nanoseconds;
    for (int32_t i = 0; i < l->n_steps; i++) {
        int64_t sum = 0, calls = 0;
        int32_t first = i;
        if (!l->steps[i].op) continue;
        describe(l, &l->steps[i], mine, sizeof mine);
        for (int32_t j = l->n_steps - 1; j >= 0; j--) {
            if (l->steps[j].op != l->steps[i].op) continue;
            describe(l, &l->steps[j], other, sizeof other);
            if (!strcmp(mine, other)) sum += l->steps[j].nanoseconds, calls++, first = j;
        }
        if (first != i) continue;
        graft_error line = {.size = (uint32_t)sizeof line};
        l->d->host->fail(&line, GRAFT_OK, NULL, "profile: %-44s %6lld steps %10.3f ms %5.1f %%", mine, (long long)calls, (double)sum * 1e-6,
                         100.0 * (double)sum / (double)(total ? total : 1));
        l->d->host->log(l->d->host->ctx, 1, line.message);
    }
}

int64_t cpu_workspace(void *plan_) { return ((const plan *)plan_)->bytes; }

void cpu_discard(void *plan_)
{
    plan *l = plan_;
    if (!l) return;
    const graft_host *h = l->d->host;
    if (l->d->profile && l->steps) report(l);
    for (int32_t i = 0; i < l->n_tables; i++)
        if (l->tables[i].data) cpu_give(h, l->tables[i].data, l->tables[i].bytes, l->tables[i].mapped);
    h->release(h->ctx, l->tables);
    h->release(h->ctx, l->steps);
    h->release(h->ctx, l);
}

/* For the profile. A single thread is timed by its processor's clock, so that other processes do not count. */
static int64_t now(const cpu_device *d)
{
    struct timespec t;
    clock_gettime(cpu_pool_threads(d->pool) == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Does any output have elements to compute? */
static int has_work(const cpu_call *c, const step *s)
{
    for (int i = 0; i < s->n_out; i++)
        if (c->out[i].on && c->out[i].n) return 1;
    return 0;
}

static graft_status check_run(const plan *l, const graft_run *r, graft_error *err)
{
    static const char *const symbols[] = {"tokens", "sequences", "labelled", "cached"};
    for (int i = 0; i < GRAFT_SYMBOLS; i++)
        if (r->extent[i] < 0 || r->extent[i] > l->capacity[i])
            return l->d->host->fail(err, GRAFT_INTERNAL, symbols[i], "expected at most the %lld %s of the plan, found %lld", (long long)l->capacity[i], symbols[i],
                                    (long long)r->extent[i]);
    return GRAFT_OK;
}

/* Steps lie far apart and a pass over the weights drives them out of the caches: the next one is asked for while this one works. */
static void ask_for(const step *s)
{
    __builtin_prefetch(s);
    for (int i = 0; i < 4; i++) __builtin_prefetch(&s->in[i]);
    for (int i = 0; i < 2; i++) __builtin_prefetch(&s->out[i]);
    __builtin_prefetch(s->attr);
}

graft_status cpu_run(void *plan_, const graft_run *r, graft_error *err)
{
    plan *l = plan_;
    cpu_device *d = l->d;
    graft_status status = check_run(l, r, err);
    if (status != GRAFT_OK) return status;
    const unsigned state = cpu_flush_denormals();
    cpu_pool_enter(d->pool);
    cpu_call c = {.host = d->host, .pool = d->pool, .err = err, .work = d->work, .scratch = d->scratch, .scratch_bytes = d->scratch_bytes, .seed = l->seed, .step = r->step, .training = r->training, .compute = l->compute};
    for (int32_t i = 0; i < l->n_tables; i++) l->tables[i].ready = 0;
    for (int32_t i = 0; i < l->n_steps && status == GRAFT_OK; i++) {
        step *s = &l->steps[i];
        if (!s->op) continue;
        fill_call(&c, s, r->extent, r->places);
        if (i + 1 < l->n_steps) ask_for(s + 1);
        if (!has_work(&c, s)) continue;
        c.table = s->table >= 0 ? l->tables[s->table].data : NULL;
        c.table_ready = s->table >= 0 && l->tables[s->table].ready;
        const int64_t begin = d->profile ? now(d) : 0;
        status = s->op->run(&c);
        if (d->profile) s->nanoseconds += now(d) - begin;
        if (s->table >= 0) l->tables[s->table].ready = 1;
    }
    cpu_pool_leave(d->pool);
    cpu_restore_denormals(state);
    return status;
}
