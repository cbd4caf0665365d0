/* core/graph/run.c - a compiled program: its buffers, its inputs and outputs by name, and one run of it. */
#include "core/graph/run.h"

#include "core/base/error.h"
#include "core/graph/overlap.h"
#include "core/graph/plan.h"
#include "core/graph/store.h"

#include <string.h>

struct graft_exec {
    graft_store *store;
    const graft_device *device;
    graft_plan *plan;
    void *compiled;
    void *buffers[GRAFT_PLACES];      /* INPUT, OUTPUT, CONSTANT: this program's own */
    graft_overlap *overlap;           /* NULL: the device works while the host waits */
    char *answers;                    /* then: what the last two runs put out, in turn; NULL when that is much */
    int64_t extent[2][GRAFT_SYMBOLS]; /* of the last two runs, in turn */
    uint64_t started, ended;          /* runs                                        */
    int64_t *given;                   /* by input: bytes set since creation, -1 not yet */
};

/* ---- making ----------------------------------------------------------------------------------------------------------- */

static graft_status check_claims(const graft_exec *e, graft_error *err)
{
    int32_t n = 0;
    const graft_op_claim *claims = e->device->table->ops(e->device->dev, &n);
    const graft_program *p = &e->plan->program;
    for (int32_t i = 0; i < p->n_instrs; i++) {
        int32_t c = 0;
        while (c < n && claims[c].op != p->instrs[i].op) c++;
        if (c == n) return graft_fail(err, GRAFT_INTERNAL, NULL, "op %s reached backend %s, which does not have it; the graph was not prepared for this device", p->instrs[i].name, e->device->name);
    }
    return GRAFT_OK;
}

static graft_status own_buffers(graft_exec *e, graft_error *err)
{
    const graft_place own[] = {GRAFT_PLACE_INPUT, GRAFT_PLACE_OUTPUT, GRAFT_PLACE_CONSTANT};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        const int64_t bytes = e->plan->bytes[own[i]];
        const graft_status status = bytes ? e->device->table->alloc(e->device->dev, bytes, &e->buffers[own[i]], err) : GRAFT_OK;
        if (status) return status;
    }
    const graft_tensor *tensors = e->plan->program.tensors;
    for (int32_t i = 0; i < e->plan->n_constants; i++) {
        const graft_plan_name *c = &e->plan->constants[i];
        const graft_tensor *t = &tensors[c->tensor];
        const graft_status status = t->bytes ? e->device->table->upload(e->device->dev, e->buffers[GRAFT_PLACE_CONSTANT], t->offset, c->data, t->bytes, err) : GRAFT_OK;
        if (status) return status;
    }
    return GRAFT_OK;
}

static graft_status keep_answers(graft_exec *e, graft_error *err)
{
    const int64_t bytes = e->plan->bytes[GRAFT_PLACE_OUTPUT];
    if (!bytes || bytes > GRAFT_OVERLAP_OUTPUTS) return GRAFT_OK;
    e->answers = graft_calloc(2, (size_t)bytes);
    return e->answers ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for a program");
}

graft_status graft_exec_new(const graft_graph *g, graft_store *s, const int64_t capacity[GRAFT_SYMBOLS], uint64_t seed, graft_exec **out, graft_error *err)
{
    *out = NULL;
    graft_exec *e = graft_calloc(1, sizeof *e);
    if (!e) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for a program");
    e->store = s;
    e->device = graft_store_device(s);
    graft_status status = graft_plan_new(g, s, capacity, seed, &e->plan, err);
    if (status) goto out;
    e->given = graft_calloc((size_t)e->plan->n_inputs + 1, sizeof *e->given);
    if (!e->given) {
        status = graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for a program");
        goto out;
    }
    for (int32_t i = 0; i < e->plan->n_inputs; i++) e->given[i] = -1;
    status = check_claims(e, err);
    if (!status) status = own_buffers(e, err);
    if (!status) status = e->device->table->compile(e->device->dev, &e->plan->program, &e->compiled, err);
    if (!status)
        status = graft_overlap_new(e->device, e->buffers[GRAFT_PLACE_INPUT], e->plan->bytes[GRAFT_PLACE_INPUT], e->buffers[GRAFT_PLACE_OUTPUT], e->plan->bytes[GRAFT_PLACE_OUTPUT],
                                   e->plan->n_inputs, &e->overlap, err);
    if (!status && !e->overlap) status = keep_answers(e, err);
out:
    if (status) graft_exec_free(e);
    else *out = e;
    return status;
}

void graft_exec_free(graft_exec *e)
{
    if (!e) return;
    graft_overlap_free(e->overlap);
    if (e->compiled) e->device->table->discard(e->compiled);
    for (int i = 0; i < GRAFT_PLACES; i++)
        if (e->buffers[i]) e->device->table->release(e->device->dev, e->buffers[i]);
    graft_plan_free(e->plan);
    graft_free(e->given);
    graft_free(e->answers);
    graft_free(e);
}

int64_t graft_exec_bytes(const graft_exec *e, graft_place place) { return e->plan->bytes[place]; }

int64_t graft_exec_workspace(const graft_exec *e)
{
    const graft_backend_table *t = e->device->table;
    return GRAFT_HAS(graft_backend_table, t, workspace) && t->workspace ? t->workspace(e->compiled) : 0;
}

/* ---- running ------------------------------------------------------------------------------------------------------------ */

static int64_t bytes_at(const graft_tensor *t, const int64_t extent[GRAFT_SYMBOLS])
{
    graft_shape s = {.dtype = t->dtype, .rank = t->rank};
    memcpy(s.dims, t->dims, sizeof s.dims);
    return graft_shape_bytes(&s, extent);
}

graft_status graft_exec_set(graft_exec *e, const char *name, const void *data, int64_t bytes, graft_error *err)
{
    for (int32_t i = 0; i < e->plan->n_inputs; i++) {
        if (strcmp(e->plan->inputs[i].name, name)) continue;
        const int32_t at = e->plan->inputs[i].tensor;
        if (at < 0) return GRAFT_OK;
        const graft_tensor *t = &e->plan->program.tensors[at];
        if (bytes < 0 || bytes > t->bytes) return graft_fail(err, GRAFT_INTERNAL, name, "the input has %lld bytes, the program was planned for at most %lld", (long long)bytes, (long long)t->bytes);
        e->given[i] = bytes;
        if (e->overlap) return graft_overlap_set(e->overlap, i, t->offset, data, bytes, err);
        return bytes ? e->device->table->upload(e->device->dev, e->buffers[GRAFT_PLACE_INPUT], t->offset, data, bytes, err) : GRAFT_OK;
    }
    return graft_fail(err, GRAFT_INTERNAL, name, "the program has no input of this name");
}

static graft_status check_run(const graft_exec *e, const int64_t extent[GRAFT_SYMBOLS], graft_error *err)
{
    static const char *const symbol[GRAFT_SYMBOLS] = {"tokens", "sequences", "labelled", "cached"};
    for (int i = 0; i < GRAFT_SYMBOLS; i++)
        if (extent[i] < 0 || extent[i] > e->plan->program.capacity[i])
            return graft_fail(err, GRAFT_INTERNAL, NULL, "the program was planned for at most %lld %s, the run has %lld", (long long)e->plan->program.capacity[i], symbol[i], (long long)extent[i]);
    for (int32_t i = 0; i < e->plan->n_inputs; i++) {
        const graft_plan_name *in = &e->plan->inputs[i];
        const int64_t need = in->tensor < 0 ? e->given[i] : bytes_at(&e->plan->program.tensors[in->tensor], extent);
        if (e->given[i] != need) return graft_fail(err, GRAFT_INTERNAL, in->name, "the run needs %lld bytes of this input, %lld were set", (long long)need, (long long)e->given[i]);
    }
    return GRAFT_OK;
}

static char *answers_of(const graft_exec *e, uint64_t run) { return e->answers ? e->answers + (int64_t)(run % 2) * e->plan->bytes[GRAFT_PLACE_OUTPUT] : NULL; }

graft_status graft_exec_start(graft_exec *e, const int64_t extent[GRAFT_SYMBOLS], uint64_t step, int training, graft_error *err)
{
    graft_status status = check_run(e, extent, err);
    if (!status && e->overlap && graft_overlap_running(e->overlap) == 2) status = graft_exec_wait(e, err);
    if (!status && !e->started) status = e->device->table->sync(e->device->dev, err); /* an earlier program's arena may be given back now */
    if (!status) status = graft_store_reserve_arena(e->store, e->plan->bytes[GRAFT_PLACE_ARENA], err);
    if (status) return status;
    void *places[GRAFT_PLACES];
    memcpy(places, e->buffers, sizeof places);
    places[GRAFT_PLACE_WEIGHT] = graft_store_buffer(e->store, GRAFT_PLACE_WEIGHT);
    places[GRAFT_PLACE_STATE] = graft_store_buffer(e->store, GRAFT_PLACE_STATE);
    places[GRAFT_PLACE_ARENA] = graft_store_buffer(e->store, GRAFT_PLACE_ARENA);
    graft_run r = {.size = (uint32_t)sizeof r, .places = places, .step = step, .training = training};
    memcpy(r.extent, extent, sizeof r.extent);
    memcpy(e->extent[e->started % 2], extent, sizeof r.extent);
    if (e->overlap) status = graft_overlap_begin(e->overlap, &places[GRAFT_PLACE_INPUT], err);
    if (!status) status = e->device->table->run(e->compiled, &r, err);
    if (!status) status = e->overlap ? graft_overlap_begun(e->overlap, err) : e->device->table->sync(e->device->dev, err);
    if (!status && e->answers) status = e->device->table->download(e->device->dev, e->buffers[GRAFT_PLACE_OUTPUT], 0, answers_of(e, e->started), e->plan->bytes[GRAFT_PLACE_OUTPUT], err);
    graft_store_ran(e->store);
    e->started += !status;
    return status;
}

int graft_exec_running(const graft_exec *e) { return (int)(e->started - e->ended); }

graft_status graft_exec_wait(graft_exec *e, graft_error *err)
{
    if (e->ended == e->started) return GRAFT_OK;
    const graft_status status = e->overlap ? graft_overlap_wait(e->overlap, err) : GRAFT_OK;
    e->ended++;
    return status;
}

graft_status graft_exec_run(graft_exec *e, const int64_t extent[GRAFT_SYMBOLS], uint64_t step, int training, graft_error *err)
{
    graft_status status = graft_exec_start(e, extent, step, training, err);
    while (!status && e->ended < e->started) status = graft_exec_wait(e, err);
    return status;
}

static const char *kept_answers(const graft_exec *e) { return e->overlap ? graft_overlap_outputs(e->overlap) : answers_of(e, e->ended - 1); }

const void *graft_exec_answer(const graft_exec *e, const char *name)
{
    const char *answers = e->ended ? kept_answers(e) : NULL;
    for (int32_t i = 0; i < e->plan->n_outputs && answers; i++)
        if (!strcmp(e->plan->outputs[i].name, name)) return answers + e->plan->program.tensors[e->plan->outputs[i].tensor].offset;
    return NULL;
}

graft_status graft_exec_get(graft_exec *e, const char *name, void *to, int64_t bytes, graft_error *err)
{
    for (int32_t i = 0; i < e->plan->n_outputs; i++) {
        if (strcmp(e->plan->outputs[i].name, name)) continue;
        const graft_tensor *t = &e->plan->program.tensors[e->plan->outputs[i].tensor];
        if (!e->ended) return graft_fail(err, GRAFT_INTERNAL, name, "an output was asked for before the program ran");
        const int64_t have = bytes_at(t, e->extent[(e->ended - 1) % 2]);
        if (bytes != have) return graft_fail(err, GRAFT_INTERNAL, name, "the output has %lld bytes, %lld were asked for", (long long)have, (long long)bytes);
        const char *answers = kept_answers(e);
        if (answers && bytes) memcpy(to, answers + t->offset, (size_t)bytes);
        if (answers) return GRAFT_OK;
        return bytes ? e->device->table->download(e->device->dev, e->buffers[GRAFT_PLACE_OUTPUT], t->offset, to, bytes, err) : GRAFT_OK;
    }
    return graft_fail(err, GRAFT_INTERNAL, name, "the program has no output of this name");
}
