/* core/graph/overlap.c - see overlap.h. */
#include "core/graph/overlap.h"

#include "core/base/error.h"

#include <string.h>

enum { SLOTS = 2,
       WORK = 0, /* the queue of run */
       COPIES = 1 };

/* Input i as it lies in a slot; bytes -1: not set in it. */
typedef struct piece {
    int64_t offset, bytes;
} piece;

typedef struct slot {
    void *input;         /* on the device */
    char *inputs;        /* pinned: what was sent there */
    char *outputs;       /* pinned: what came back      */
    piece *pieces;       /* by input */
    void *done;          /* event behind its run and the outputs; NULL: it is not under way */
    int owned, unsynced; /* input is ours to release; something was sent since the last run */
} slot;

struct graft_overlap {
    const graft_device *d;
    const graft_backend_async_table *q;
    void *output;
    int64_t input_bytes, output_bytes;
    int32_t n_inputs;
    slot slots[SLOTS];
    int at;     /* the slot that set fills                  */
    int oldest; /* of those under way                        */
    int running;
    int answered; /* slot of the run that was waited for last */
};

static const graft_backend_async_table *usable(const graft_device *d, int64_t output_bytes)
{
    const graft_backend_async_table *q = d->async;
    if (!q || !GRAFT_HAS(graft_backend_async_table, q, lost) || output_bytes > GRAFT_OVERLAP_OUTPUTS) return NULL;
    return q->pin && q->unpin && q->send && q->fetch && q->record && q->wait && q->finish && q->drop && q->queues && q->queues(d->dev) > COPIES ? q : NULL;
}

int64_t graft_overlap_bytes(const graft_device *d, int64_t input_bytes, int64_t output_bytes) { return usable(d, output_bytes) ? input_bytes : 0; }

static graft_status fill_slot(graft_overlap *o, slot *s, void *input, graft_error *err)
{
    graft_status status = GRAFT_OK;
    s->input = input;
    s->pieces = graft_calloc((size_t)o->n_inputs + 1, sizeof *s->pieces);
    if (!s->pieces) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for the inputs of a program");
    for (int32_t i = 0; i < o->n_inputs; i++) s->pieces[i].bytes = -1;
    if (o->input_bytes && !input) {
        status = o->d->table->alloc(o->d->dev, o->input_bytes, &s->input, err);
        s->owned = !status;
    }
    void *pinned = NULL;
    if (!status && o->input_bytes) status = o->q->pin(o->d->dev, o->input_bytes, &pinned, err);
    s->inputs = status ? NULL : pinned;
    pinned = NULL;
    if (!status && o->output_bytes) status = o->q->pin(o->d->dev, o->output_bytes, &pinned, err);
    s->outputs = status ? NULL : pinned;
    return status;
}

graft_status graft_overlap_new(const graft_device *d, void *input, int64_t input_bytes, void *output, int64_t output_bytes, int32_t n_inputs, graft_overlap **out, graft_error *err)
{
    const graft_backend_async_table *q = usable(d, output_bytes);
    *out = NULL;
    if (!q) return GRAFT_OK;
    graft_overlap *o = graft_calloc(1, sizeof *o);
    if (!o) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for a program");
    *o = (graft_overlap){.d = d, .q = q, .output = output, .input_bytes = input_bytes, .output_bytes = output_bytes, .n_inputs = n_inputs};
    graft_status status = fill_slot(o, &o->slots[0], input, err);
    for (int i = 1; i < SLOTS && !status; i++) status = fill_slot(o, &o->slots[i], NULL, err);
    if (status) graft_overlap_free(o);
    else *out = o;
    return status;
}

void graft_overlap_free(graft_overlap *o)
{
    graft_error unheard = GRAFT_ERROR_INIT;
    if (!o) return;
    (void)o->d->table->sync(o->d->dev, &unheard);
    for (int i = 0; i < SLOTS; i++) {
        slot *s = &o->slots[i];
        if (s->unsynced && s->inputs && !o->q->record(o->d->dev, COPIES, &s->done, &unheard)) (void)o->q->finish(o->d->dev, s->done, &unheard);
        if (s->done) o->q->drop(o->d->dev, s->done);
        if (s->inputs) o->q->unpin(o->d->dev, s->inputs);
        if (s->outputs) o->q->unpin(o->d->dev, s->outputs);
        if (s->owned) o->d->table->release(o->d->dev, s->input);
        graft_free(s->pieces);
    }
    graft_free(o);
}

int graft_overlap_running(const graft_overlap *o) { return o->running; }
const char *graft_overlap_outputs(const graft_overlap *o) { return o->slots[o->answered].outputs; }

static graft_status send_piece(graft_overlap *o, slot *s, int32_t i, int64_t offset, const void *data, int64_t bytes, graft_error *err)
{
    s->pieces[i] = (piece){offset, bytes};
    if (!bytes) return GRAFT_OK;
    memcpy(s->inputs + offset, data, (size_t)bytes);
    s->unsynced = 1;
    return o->q->send(o->d->dev, COPIES, s->input, offset, s->inputs + offset, bytes, err);
}

/* A slot whose run is under way must not be touched: the other one is next, as soon as it is free, and what is not set again is taken over. */
static graft_status turn(graft_overlap *o, graft_error *err)
{
    slot *from = &o->slots[o->at], *to = &o->slots[(o->at + 1) % SLOTS];
    if (!from->done) return GRAFT_OK;
    graft_status status = to->done ? graft_overlap_wait(o, err) : GRAFT_OK;
    for (int32_t i = 0; i < o->n_inputs; i++) to->pieces[i].bytes = -1;
    o->at = (o->at + 1) % SLOTS;
    return status;
}

graft_status graft_overlap_set(graft_overlap *o, int32_t i, int64_t offset, const void *data, int64_t bytes, graft_error *err)
{
    graft_status status = turn(o, err);
    slot *s = &o->slots[o->at];
    if (!status && s->unsynced && s->pieces[i].bytes >= 0) { /* set twice before a run: the first copy may still read its pinned memory */
        void *event = NULL;
        status = o->q->record(o->d->dev, COPIES, &event, err);
        if (!status) status = o->q->finish(o->d->dev, event, err);
        if (event) o->q->drop(o->d->dev, event);
    }
    return status ? status : send_piece(o, s, i, offset, data, bytes, err);
}

graft_status graft_overlap_begin(graft_overlap *o, void **input, graft_error *err)
{
    graft_status status = turn(o, err);
    slot *s = &o->slots[o->at];
    const slot *last = &o->slots[(o->at + 1) % SLOTS];
    for (int32_t i = 0; i < o->n_inputs && !status; i++)
        if (s->pieces[i].bytes < 0 && last->pieces[i].bytes >= 0) status = send_piece(o, s, i, last->pieces[i].offset, last->inputs + last->pieces[i].offset, last->pieces[i].bytes, err);
    void *sent = NULL;
    if (!status && s->unsynced) status = o->q->record(o->d->dev, COPIES, &sent, err);
    if (!status && sent) status = o->q->wait(o->d->dev, WORK, sent, err);
    if (sent) o->q->drop(o->d->dev, sent);
    *input = s->input;
    return status;
}

graft_status graft_overlap_begun(graft_overlap *o, graft_error *err)
{
    slot *s = &o->slots[o->at];
    graft_status status = o->output_bytes ? o->q->fetch(o->d->dev, WORK, o->output, 0, s->outputs, o->output_bytes, err) : GRAFT_OK;
    if (!status) status = o->q->record(o->d->dev, WORK, &s->done, err);
    if (status) return status;
    s->unsynced = 0;
    if (o->running++ == 0) o->oldest = o->at;
    return GRAFT_OK;
}

/* The last run under way is waited for by sync, which also says what the data made wrong. */
graft_status graft_overlap_wait(graft_overlap *o, graft_error *err)
{
    slot *s = &o->slots[o->oldest];
    if (!o->running) return GRAFT_OK;
    graft_status status = o->q->finish(o->d->dev, s->done, err);
    o->q->drop(o->d->dev, s->done);
    s->done = NULL;
    o->answered = o->oldest;
    o->oldest = (o->oldest + 1) % SLOTS;
    if (--o->running == 0 && !status) status = o->d->table->sync(o->d->dev, err);
    return status;
}
