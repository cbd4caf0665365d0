/* LISA: full tuning with few awake layers. Pan et al. 2024, arXiv 2403.17919. Embedding, final norm and head always train; of the blocks,
 * lisa_activated_layers train, drawn anew every lisa_step_interval updates, uniformly and without replacement. A block that goes to sleep loses its
 * gradients and its optimiser's state, so memory is that of the awake ones. The draw is counter-based: a resumed run draws the same.
 * lisa_schedule, a list of lists of layers, replaces the draw, period by period, over and over. */
#include "graft/method.h"
#include "graft/plugin.h"
#include "graft/random.h"

enum { MOST = 4096 };

typedef struct lisa {
    const graft_host *host;
    const graft_json *schedule; /* NULL: drawn */
    int64_t count, interval;
    int32_t layers; /* of the model last built; 0: none yet */
    uint8_t awake[MOST];
} lisa;

static graft_status lisa_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    const graft_host *host = self;
    (void)saved;
    lisa *m = host->alloc(host->ctx, sizeof *m, _Alignof(lisa));
    if (!m) return host->fail(err, GRAFT_NO_MEMORY, "lisa", "no memory for %zu bytes", sizeof *m);
    *m = (lisa){.host = host, .count = args->api->integer(args, "lisa_activated_layers", 2, 0, MOST), .interval = graft_dim(args, "lisa_step_interval", 20)};
    m->schedule = args->api->value(args, "lisa_schedule");
    if (m->schedule && (m->schedule->type != GRAFT_JSON_ARRAY || !m->schedule->count || m->schedule->child->type != GRAFT_JSON_ARRAY)) args->api->error(args, "lisa_schedule", "must be a list of lists of layer numbers");
    for (int64_t i = 0; i < m->count; i++) m->awake[i] = 1; /* until the first draw: as many as there will be */
    *run = m;
    return GRAFT_OK;
}

static void lisa_close(void *run)
{
    const graft_host *host = ((lisa *)run)->host;
    host->release(host->ctx, run);
}

static int lisa_trains(void *run, graft_builder *b, const graft_site *s, const char *weight)
{
    lisa *m = run;
    (void)weight;
    m->layers = s->layers;
    if (m->layers < 1 || m->layers > MOST || m->count > m->layers) b->api->error(b, "lisa_activated_layers is %lld, but the model has %d layers", (long long)m->count, (int)m->layers);
    return s->layer < 0 || (s->layer < MOST && m->awake[s->layer]);
}

/* The first `count` of a random order (Fisher and Yates), a new one each period. */
static void draw(lisa *m, int64_t period, uint64_t random)
{
    int32_t order[MOST];
    const uint64_t stream = graft_op_id("lisa");
    for (int32_t i = 0; i < m->layers; i++) order[i] = i;
    for (int32_t i = 0; i < m->layers && i < m->count; i++) {
        const int32_t k = i + (int32_t)(graft_random_u32(random, stream, (uint64_t)period, (uint64_t)i) % (uint32_t)(m->layers - i)), keep = order[i];
        order[i] = order[k];
        order[k] = keep;
        m->awake[order[i]] = 1;
    }
}

static graft_status follow_schedule(lisa *m, int64_t period, graft_error *err)
{
    const graft_json *list = m->schedule->child;
    for (int64_t i = period % m->schedule->count; i > 0; i--) list = list->next;
    for (const graft_json *v = list->child; v; v = v->next) {
        if (!v->integral || v->integer < 0 || v->integer >= MOST || (m->layers && v->integer >= m->layers)) return m->host->fail(err, GRAFT_BAD_INPUT, "lisa_schedule", "expected layer numbers from 0 to %d", (int)m->layers - 1);
        m->awake[v->integer] = 1;
    }
    return GRAFT_OK;
}

static graft_status lisa_step(void *run, int64_t step, uint64_t random, uint32_t *flags, graft_error *err)
{
    lisa *m = run;
    uint8_t before[MOST];
    if (step % m->interval) return GRAFT_OK;
    memcpy(before, m->awake, sizeof before);
    memset(m->awake, 0, sizeof m->awake);
    graft_status status = GRAFT_OK;
    if (m->schedule) status = follow_schedule(m, step / m->interval, err);
    else draw(m, step / m->interval, random);
    if (memcmp(before, m->awake, sizeof before) != 0) *flags |= GRAFT_STEP_REPLAN;
    return status;
}

static const graft_method_table lisa_table = {.size = sizeof lisa_table, .open = lisa_open, .close = lisa_close, .trains = lisa_trains, .on_step = lisa_step};

GRAFT_ONE_TABLE("method", "graft.method/1", "lisa", "1.0.0", &lisa_table)
