/* core/graph/device.c - opening the device that a program runs on, and fitting a graph to it. */
#include "core/graph/run.h"

#include "core/base/error.h"
#include "core/base/log.h"

#include <string.h>

enum { MAX_CANDIDATES = 64,
       MAX_LOWERED = 32 };

static graft_status open_candidate(const graft_candidate *c, const graft_config *options, graft_device *out, graft_error *err)
{
    const graft_backend_table *table = c->plugin->table;
    *out = (graft_device){.name = c->backend, .table = table, .info = c->info};
    return table->open(c->plugin->self, c->device, options, &out->dev, err);
}

/* Best first; a candidate that declines at the last moment gives way to the next. */
static graft_status open_best(const graft_registry *r, const graft_config *options, graft_device *out, graft_error *err)
{
    graft_candidate *list = graft_calloc(MAX_CANDIDATES, sizeof *list);
    int32_t n = 0, usable = 0;
    if (!list) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory to choose a backend");
    graft_status status = graft_backend_candidates(r, list, MAX_CANDIDATES, &n, err);
    int opened = 0;
    for (int32_t i = 0; !status && !opened && i < n; i++) {
        if (!list[i].plugin || list[i].info.score <= 0) continue;
        graft_error cause = GRAFT_ERROR_INIT;
        usable++;
        opened = !open_candidate(&list[i], options, out, &cause);
        if (!opened) graft_log(GRAFT_LOG_WARNING, "backend %s declined: %s", list[i].backend, cause.message);
    }
    if (!status && !opened)
        status = graft_fail(err, GRAFT_DEVICE, NULL, "none of the %d backends that could run here opened; 'graft doctor' says why for each", usable);
    graft_free(list);
    return status;
}

graft_status graft_device_open(const graft_registry *r, const char *wanted, const graft_config *options, graft_device *out, graft_error *err)
{
    memset(out, 0, sizeof *out);
    if (!wanted || !strcmp(wanted, "auto")) return open_best(r, options, out, err);
    graft_candidate chosen;
    const graft_status status = graft_backend_choose(r, wanted, &chosen, err);
    return status ? status : open_candidate(&chosen, options, out, err);
}

void graft_device_close(graft_device *d)
{
    if (d->dev) d->table->close(d->dev);
    memset(d, 0, sizeof *d);
}

graft_status graft_graph_prepare(graft_graph *g, const graft_device *d, int recompute_level, int32_t recompute_layers, graft_error *err)
{
    int32_t n_claims = 0, n_lowered = 0;
    const char *lowered[MAX_LOWERED] = {0};
    const graft_op_claim *claims = d->table->ops(d->dev, &n_claims);
    graft_status status = graft_graph_lower(g, claims, n_claims, lowered, MAX_LOWERED, &n_lowered, err);
    if (status) return status;
    if (n_lowered) {
        char names[512] = "";
        for (int32_t i = 0; i < n_lowered && i < MAX_LOWERED; i++) {
            const size_t used = strlen(names), more = strlen(lowered[i]) + 3;
            if (used + more < sizeof names) {
                memcpy(names + used, i ? ", " : "", i ? 3 : 1);
                memcpy(names + strlen(names), lowered[i], more - 2);
            }
        }
        graft_log(GRAFT_LOG_INFO, "backend %s lacks %s; lowered to simpler ops (slower, same result)", d->name, names);
    }
    graft_graph_fuse(g);
    if (recompute_level > 0 && recompute_layers > 0) status = graft_graph_recompute(g, recompute_level, recompute_layers, err);
    if (status) return status;
    graft_graph_prune(g);
    return graft_graph_check(g, err);
}
