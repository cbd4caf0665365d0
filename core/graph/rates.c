/* core/graph/rates.c - see rates.h. */
#include "core/graph/rates.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/str.h"
#include "core/graph/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double long_enough = 0.05; /* seconds of one measurement */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const graft_backend_probe_table *probe_of(const graft_candidate *c)
{
    const graft_backend_probe_table *t = c->plugin->door->table(c->plugin->self, "graft.backend.probe/1");
    return t && GRAFT_HAS(graft_backend_probe_table, t, rates) && t->driver && t->rates ? t : NULL;
}

/* ---- measured by the host ----------------------------------------------------------------------------------------------------------------- */
/* Seconds of one run of op on two tensors [n, n], after one to warm up. */
static graft_status time_op(const graft_device *d, const char *op, int64_t n, double *seconds, graft_error *err)
{
    static const int64_t sizes[GRAFT_SYMBOLS] = {1, 1, 1, 1};
    const int64_t dims[] = {n, n};
    graft_store *store = NULL;
    graft_exec *exec = NULL;
    graft_graph *g = graft_graph_new();
    if (!g) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    const graft_value in[] = {graft_graph_state(g, "a", GRAFT_F32, 2, dims), graft_graph_state(g, "b", GRAFT_F32, 2, dims)};
    graft_graph_output(g, "y", g->builder->api->op(g->builder, op, 2, in, 0, NULL));
    graft_status status = graft_graph_check(g, err);
    if (!status) status = graft_graph_prepare(g, d, 0, 0, err);
    if (!status) status = graft_store_new(d, &store, err);
    if (!status) status = graft_store_add_graph(store, g, sizes, err);
    if (!status) status = graft_store_commit(store, err);
    if (!status) status = graft_exec_new(g, store, sizes, 1, &exec, err);
    if (!status) status = graft_exec_run(exec, sizes, 1, 0, err);
    const double begin = now();
    if (!status) status = graft_exec_run(exec, sizes, 2, 0, err);
    *seconds = now() - begin;
    graft_exec_free(exec);
    graft_store_free(store);
    graft_graph_free(g);
    return status;
}

/* Doubles n until one run lasts. */
static graft_status rate_of(const graft_device *d, const char *op, int64_t n, int64_t most, double unit, int power, double *rate, graft_error *err)
{
    graft_status status = GRAFT_OK;
    double seconds = 0.0;
    for (; !status && n <= most && seconds < long_enough; n *= 2) {
        double work = unit;
        for (int i = 0; i < power; i++) work *= (double)n;
        status = time_op(d, op, n, &seconds, err);
        if (!status && seconds > 0.0) *rate = work / seconds;
    }
    return status;
}

static graft_status copy_rates(const graft_device *d, graft_backend_rates *r, graft_error *err)
{
    const int64_t bytes = 16 << 20;
    void *buffer = NULL, *memory = graft_calloc((size_t)bytes, 1);
    if (!memory) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    graft_status status = d->table->alloc(d->dev, bytes, &buffer, err);
    double seconds[2] = {0.0, 0.0};
    for (int k = 0; k < 4 && !status; k++) { /* up and down, twice; the first time to warm up */
        const double begin = now();
        status = k % 2 ? d->table->download(d->dev, buffer, 0, memory, bytes, err) : d->table->upload(d->dev, buffer, 0, memory, bytes, err);
        seconds[k % 2] = now() - begin;
    }
    if (!status) r->upload = (double)bytes / (seconds[0] > 0.0 ? seconds[0] : 1e-9), r->download = (double)bytes / (seconds[1] > 0.0 ? seconds[1] : 1e-9);
    if (buffer) d->table->release(d->dev, buffer);
    graft_free(memory);
    return status;
}

graft_status graft_rates_measure(const graft_candidate *c, const graft_device *d, graft_backend_rates *out, graft_error *err)
{
    const graft_backend_probe_table *probe = probe_of(c);
    *out = (graft_backend_rates){.size = (uint32_t)sizeof *out};
    if (probe) return probe->rates(d->dev, out, err);
    snprintf(out->driver, sizeof out->driver, "%.100s %.40s", c->info.reason, c->plugin->door->version);
    graft_status status = rate_of(d, "matmul/1", 128, 1024, 2.0, 3, &out->matmul, err);
    if (!status) status = rate_of(d, "add/1", 512, 4096, 12.0, 2, &out->memory, err);
    return status ? status : copy_rates(d, out, err);
}

/* ---- kept ------------------------------------------------------------------------------------------------------------------------------------- */
/* graft_free; NULL when there is no place. */
static char *file_of(const graft_candidate *c, const char *driver)
{
    const char *cache = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
    const int own = cache && cache[0] == '/';
    char key[700], name[64];
    if (!own && (!home || home[0] != '/')) return NULL;
    snprintf(key, sizeof key, "%s|%s|%d|%s|%s|%s", c->backend, c->plugin->door->version, (int)c->device, c->info.name, driver, GRAFT_VERSION);
    snprintf(name, sizeof name, "%s%016llx.json", own ? "graft/rates/" : ".cache/graft/rates/", (unsigned long long)graft_op_id(key));
    return graft_path_join(own ? cache : home, name);
}

static const struct {
    const char *key;
    size_t offset;
} members[] = {{"flops", offsetof(graft_backend_rates, flops)}, {"matmul", offsetof(graft_backend_rates, matmul)}, {"memory", offsetof(graft_backend_rates, memory)}, {"upload", offsetof(graft_backend_rates, upload)}, {"download", offsetof(graft_backend_rates, download)}, {"bf16", offsetof(graft_backend_rates, bf16)}, {"fp16", offsetof(graft_backend_rates, fp16)}};
enum { N_MEMBERS = sizeof members / sizeof *members };

static int recall(const char *file, graft_backend_rates *out)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    const graft_json *top = NULL;
    graft_arena *a = graft_arena_new();
    int good = a && file && graft_path_exists(file) && !graft_json_parse_file(a, file, 1 << 16, 0, &top, &ignored);
    for (int i = 0; good && i < N_MEMBERS; i++) {
        const graft_json *v = graft_json_get(top, members[i].key);
        good = v && v->type == GRAFT_JSON_NUMBER && v->number >= 0.0;
        if (good) memcpy((char *)out + members[i].offset, &v->number, sizeof v->number);
    }
    const graft_json *driver = good ? graft_json_get(top, "driver") : NULL;
    if (driver && driver->type == GRAFT_JSON_TEXT) snprintf(out->driver, sizeof out->driver, "%s", driver->text);
    graft_arena_free(a);
    return good && driver;
}

static void keep(const char *file, const graft_backend_rates *r)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    graft_str text;
    graft_str_init(&text, 1 << 16);
    graft_str_text(&text, "{\"driver\": ");
    graft_str_json(&text, r->driver, strlen(r->driver));
    for (int i = 0; i < N_MEMBERS; i++) {
        double v;
        memcpy(&v, (const char *)r + members[i].offset, sizeof v);
        graft_str_printf(&text, ", \"%s\": ", members[i].key);
        graft_str_double(&text, v);
    }
    graft_str_text(&text, "}\n");
    char folder[4096];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(file, '/') - file), file);
    if (!text.failed && !graft_dir_make(folder, &ignored)) (void)graft_file_replace(file, text.data, text.bytes, &ignored);
    graft_str_free(&text);
}

graft_status graft_rates_of(const graft_candidate *c, int again, graft_backend_rates *out, int *kept, graft_error *err)
{
    char driver[160] = "";
    graft_device d = graft_device_of(c);
    const graft_backend_probe_table *probe = probe_of(c);
    if (probe && probe->driver(c->plugin->self, c->device, driver, (int32_t)sizeof driver, err)) return err->code;
    *out = (graft_backend_rates){.size = (uint32_t)sizeof *out};
    char *file = file_of(c, driver);
    *kept = !again && recall(file, out);
    graft_status status = GRAFT_OK;
    if (!*kept) {
        status = d.table->open(c->plugin->self, c->device, NULL, &d.dev, err);
        if (!status) status = graft_rates_measure(c, &d, out, err);
        if (!status && file) keep(file, out);
        graft_device_close(&d);
    }
    graft_free(file);
    return status;
}
