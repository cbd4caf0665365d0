/* Freeze tuning: the weights of some blocks train, the rest rests. LLaMA-Factory's rule, by substrings of a weight's name:
 *     freeze_trainable_layers   N: the last N blocks; -N: the first N
 *     freeze_trainable_modules  all: ".LAYER." must be part of the name; else ".LAYER.MODULE" for one of the modules
 *     freeze_extra_modules      further parts of names, anywhere ("norm" is part of "input_layernorm") */
#include "graft/method.h"
#include "graft/plugin.h"

#include <stdio.h>

enum { MAX_NAMES = 64 };

typedef struct names {
    const char *text[MAX_NAMES];
    int bytes[MAX_NAMES], used[MAX_NAMES], n;
} names;

typedef struct freeze {
    const graft_host *host;
    int64_t layers;
    names modules, extra;
} freeze;

static void add_texts(names *out, const graft_json *v)
{
    if (!v || v->type != GRAFT_JSON_TEXT) return;
    for (const char *at = v->text + strspn(v->text, ", "); *at && out->n < MAX_NAMES; at += strspn(at, ", ")) {
        out->text[out->n] = at;
        out->bytes[out->n] = (int)strcspn(at, ", ");
        at += out->bytes[out->n++];
    }
}

/* "mlp,self_attn" or a list of such. */
static void read_names(names *out, const graft_json *v)
{
    if (v && v->type == GRAFT_JSON_ARRAY)
        for (const graft_json *e = v->child; e; e = e->next) add_texts(out, e);
    else add_texts(out, v);
}

static graft_status freeze_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    const graft_host *host = self;
    (void)saved;
    freeze *m = host->alloc(host->ctx, sizeof *m, _Alignof(freeze));
    if (!m) return host->fail(err, GRAFT_NO_MEMORY, "freeze", "no memory for %zu bytes", sizeof *m);
    *m = (freeze){.host = host, .layers = args->api->integer(args, "freeze_trainable_layers", 2, -100000, 100000)};
    read_names(&m->modules, args->api->value(args, "freeze_trainable_modules"));
    read_names(&m->extra, args->api->value(args, "freeze_extra_modules"));
    if (!m->modules.n) m->modules = (names){.text = {"all"}, .bytes = {3}, .n = 1};
    *run = m;
    return GRAFT_OK;
}

static void freeze_close(void *run)
{
    const graft_host *host = ((freeze *)run)->host;
    host->release(host->ctx, run);
}

static int part_of(const char *weight, const char *part, names *who, int i)
{
    const int found = strstr(weight, part) != NULL;
    if (found) who->used[i] = 1;
    return found;
}

static int freeze_trains(void *run, graft_builder *b, const graft_site *s, const char *weight)
{
    freeze *m = run;
    char part[256];
    int trains = 0;
    const int64_t count = m->layers > 0 ? m->layers : -m->layers, first = m->layers > 0 ? s->layers - m->layers : 0;
    if (count > s->layers) b->api->error(b, "freeze_trainable_layers is %lld, but the model has %d layers", (long long)m->layers, (int)s->layers);
    for (int64_t layer = first; layer < first + count && layer < s->layers; layer++)
        for (int i = 0; i < m->modules.n; i++) {
            const int all = m->modules.bytes[i] == 3 && !strncmp(m->modules.text[i], "all", 3);
            snprintf(part, sizeof part, ".%lld.%.*s", (long long)layer, all ? 0 : m->modules.bytes[i], m->modules.text[i]);
            trains |= part_of(weight, part, &m->modules, i);
        }
    for (int i = 0; i < m->extra.n; i++) {
        snprintf(part, sizeof part, "%.*s", m->extra.bytes[i], m->extra.text[i]);
        trains |= part_of(weight, part, &m->extra, i);
    }
    return trains;
}

/* A name that chose nothing is a spelling error and not a wish. */
static graft_status freeze_start(void *run, graft_tensors *t, graft_error *err)
{
    const freeze *m = run;
    const names *const lists[] = {&m->modules, &m->extra};
    static const char *const keys[] = {"freeze_trainable_modules", "freeze_extra_modules"};
    (void)t;
    for (size_t k = 0; k < 2; k++)
        for (int i = 0; i < lists[k]->n && (k || m->layers); i++)
            if (!lists[k]->used[i]) return m->host->fail(err, GRAFT_BAD_INPUT, keys[k], "\"%.*s\" is part of no weight's name; use names such as mlp, self_attn or input_layernorm", lists[k]->bytes[i], lists[k]->text[i]);
    return GRAFT_OK;
}

static const graft_method_table freeze_table = {.size = sizeof freeze_table, .open = freeze_open, .close = freeze_close, .trains = freeze_trains, .start = freeze_start};

GRAFT_ONE_TABLE("method", "graft.method/1", "freeze", "1.0.0", &freeze_table)
