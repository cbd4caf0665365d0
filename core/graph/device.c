/* core/graph/device.c - opening the device that a program runs on, and fitting a graph to it. */
#include "core/graph/run.h"

#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/log.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CANDIDATES = 64,
       MAX_LOWERED = 32 };

graft_device graft_device_of(const graft_candidate *c)
{
    return (graft_device){.name = c->backend, .table = c->plugin->table, .info = c->info, .async = c->plugin->door->table(c->plugin->self, "graft.backend.async/1")};
}

int graft_device_lost(const graft_device *d) { return d->dev && d->async && GRAFT_HAS(graft_backend_async_table, d->async, lost) && d->async->lost && d->async->lost(d->dev); }

static graft_status open_candidate(const graft_candidate *c, const graft_config *options, graft_device *out, graft_error *err)
{
    *out = graft_device_of(c);
    graft_backend_use(c);
    return out->table->open(c->plugin->self, c->device, options, &out->dev, err);
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

/* ---- what a person wrote ------------------------------------------------------------------------------------------------------------------ */
static graft_status bad_said(const char *place, graft_error *err)
{
    return graft_fail(err, GRAFT_BAD_INPUT, place, "backend must be a name, NAME:DEVICE or {NAME: {device: NUMBER, OPTION: VALUE ...}}; 'graft doctor' lists names and devices");
}

/* {NAME: {...}}: the number of the device out of it, the rest into object. */
static graft_status read_mapping(graft_arena *a, const char *place, const graft_json *said, graft_json *object, int64_t *device, graft_error *err)
{
    const graft_json *inner = said->child;
    if (said->count != 1 || (inner->type != GRAFT_JSON_OBJECT && inner->type != GRAFT_JSON_NULL)) return bad_said(place, err);
    if (!strcmp(inner->key, "auto")) return graft_fail(err, GRAFT_BAD_INPUT, place, "backend: auto takes no options, since each backend has its own: name the one that they are for");
    for (const graft_json *m = inner->child; m; m = m->next) {
        if (strcmp(m->key, "device") != 0) {
            graft_json *copy = graft_json_copy(a, m);
            if (!copy) return graft_fail(err, GRAFT_NO_MEMORY, place, "out of memory");
            copy->line = m->line, copy->column = m->column;
            graft_json_put(a, object, m->key, copy);
        } else if (m->type == GRAFT_JSON_NUMBER && m->integral && m->integer >= 0 && m->integer < 1000) *device = m->integer;
        else return graft_fail(err, GRAFT_BAD_INPUT, place, "device of backend %s must be a number from 0, as 'graft doctor' lists them", inner->key);
    }
    return GRAFT_OK;
}

graft_status graft_backend_said(graft_arena *a, const char *place, const graft_json *said, const graft_json *common, const char **wanted, const graft_config **options, graft_error *err)
{
    graft_json *object = graft_json_new(a, GRAFT_JSON_OBJECT);
    const graft_json *threads = graft_json_get(common, "threads");
    int64_t device = -1;
    graft_status status = GRAFT_OK;
    *wanted = "auto";
    if (!object) return graft_fail(err, GRAFT_NO_MEMORY, place, "out of memory");
    if (said && said->type == GRAFT_JSON_OBJECT) {
        status = read_mapping(a, place, said, object, &device, err);
        if (status) return status;
        *wanted = device >= 0 ? graft_arena_printf(a, "%s:%d", said->child->key, (int)device) : said->child->key;
    } else if (said && said->type == GRAFT_JSON_TEXT && said->bytes) *wanted = said->text;
    else if (said && said->type != GRAFT_JSON_NULL) return bad_said(place, err);
    if (threads && threads->type == GRAFT_JSON_NUMBER && threads->integer > 0 && !graft_json_get(object, "threads")) graft_json_put(a, object, "threads", graft_json_int(a, threads->integer));
    *options = graft_config_new(a, place, object);
    return *wanted && *options ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, place, "out of memory");
}

graft_status graft_backend_said_check(const char *backend, const graft_config *options, graft_error *err)
{
    const char *asked[64];
    char all[256] = "", where[256];
    const graft_status status = graft_config_check(options, err);
    const size_t n = graft_config_asked(options, asked, sizeof asked / sizeof *asked);
    if (status) return status;
    for (const graft_json *m = graft_config_object(options)->child; m; m = m->next) {
        if (graft_config_was_read(options, m->key) || !strcmp(m->key, "threads")) continue;
        for (size_t i = n; i-- > 0;) snprintf(all + strlen(all), sizeof all - strlen(all), ", %s", asked[i]);
        const char *near = graft_nearest(m->key, asked, n);
        if (m->line > 0) snprintf(where, sizeof where, "%.200s:%d:%d", graft_config_name(options), (int)m->line, (int)m->column);
        else snprintf(where, sizeof where, "%.200s", graft_config_name(options));
        return graft_fail(err, GRAFT_BAD_INPUT, where, "backend %s has no option '%.80s'%s%s%s It has device%s", backend, m->key, near ? ", did you mean '" : ".", near ? near : "", near ? "'?" : "", all);
    }
    return GRAFT_OK;
}

graft_status graft_device_open_said(const graft_registry *r, graft_arena *a, const char *place, const graft_json *said, const graft_json *common, graft_device *out, graft_error *err)
{
    const char *wanted = NULL;
    const graft_config *options = NULL;
    memset(out, 0, sizeof *out);
    graft_status status = graft_backend_said(a, place, said, common, &wanted, &options, err);
    if (!status) status = graft_device_open(r, wanted, options, out, err);
    if (status) return status;
    status = graft_backend_said_check(out->name, options, err);
    if (status) graft_device_close(out);
    return status;
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
    g->compute = d->compute;
    return graft_graph_check(g, err);
}
