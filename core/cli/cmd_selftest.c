/* core/cli/cmd_selftest.c - graft selftest: does a backend compute what the plainest other one does on this machine? Every op, a training run, repetition, memory
 * that is not there, and rates. The report is what a user with a device that we do not have can send. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/sha256.h"
#include "core/base/str.h"
#include "core/cli/cli.h"
#include "core/graph/check.h"
#include "core/graph/rates.h"
#include "core/plugin/machine.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

enum { MAX_CANDIDATES = 64 };
static const double loss_tolerance = 1e-5, weight_tolerance = 1e-4; /* after ten steps: AdamW turns the sign of a gradient near 0 into a whole step */

typedef struct selftest {
    graft_cli *c;
    graft_json *top, *ops;
    graft_candidate chosen, plain;
    graft_device device, against;
    const graft_config *options; /* of the tested one */
    int failed, lowered, agreed;
    double worst;
} selftest;

static void put_text(const selftest *t, graft_json *o, const char *key, const char *v) { graft_json_put(t->c->arena, o, key, graft_json_text(t->c->arena, v, strlen(v))); }
static void put_real(const selftest *t, graft_json *o, const char *key, double v) { graft_json_put(t->c->arena, o, key, graft_json_real(t->c->arena, v)); }
static void put_flag(const selftest *t, graft_json *o, const char *key, int v) { graft_json_put(t->c->arena, o, key, graft_json_flag(t->c->arena, v)); }
static void put_int(const selftest *t, graft_json *o, const char *key, int64_t v) { graft_json_put(t->c->arena, o, key, graft_json_int(t->c->arena, v)); }

/* One line of the report for people. */
static void line(selftest *t, int good, const char *what, const char *fmt, ...) GRAFT_PRINTF(4, 5);
static void line(selftest *t, int good, const char *what, const char *fmt, ...)
{
    va_list args;
    t->failed += !good;
    if (t->c->json) return;
    fprintf(t->c->out, "%-8s %-30s ", good ? "good" : "FAILED", what);
    va_start(args, fmt);
    vfprintf(t->c->out, fmt, args);
    va_end(args);
    fputc('\n', t->c->out);
}

/* ---- the parts ------------------------------------------------------------------------------------------------------------------------------ */
static void one_op(void *ctx, const graft_check_row *row)
{
    selftest *t = ctx;
    const int good = !row->trouble[0] && row->worst <= graft_check_tolerance && row->repeats;
    graft_json *o = graft_json_new(t->c->arena, GRAFT_JSON_OBJECT);
    put_text(t, o, "op", row->op);
    put_flag(t, o, "claimed", row->claimed);
    graft_json_push(t->c->arena, t->ops, o);
    if (!row->claimed && !row->trouble[0]) {
        t->lowered++;
        return;
    }
    if (!row->claimed) { /* an op that is newer than the cases */
        put_text(t, o, "trouble", row->trouble);
        return;
    }
    put_int(t, o, "cases", row->cases);
    put_real(t, o, "worst", isfinite(row->worst) ? row->worst : 1e300);
    put_flag(t, o, "repeats", row->repeats);
    put_flag(t, o, "good", good);
    if (row->trouble[0]) put_text(t, o, "trouble", row->trouble);
    t->worst = fmax(t->worst, row->worst);
    t->agreed += good;
    if (row->trouble[0]) line(t, good, row->op, "%s", row->trouble);
    else line(t, good, row->op, "%.1e of at most %.0e, %d cases%s", row->worst, graft_check_tolerance, row->cases, row->repeats ? "" : ", OTHER BITS THE SECOND TIME");
}

static graft_status training(selftest *t, graft_error *err)
{
    graft_check_training r;
    graft_error trouble = GRAFT_ERROR_INIT;
    graft_json *o = graft_json_new(t->c->arena, GRAFT_JSON_OBJECT), *losses = graft_json_new(t->c->arena, GRAFT_JSON_ARRAY);
    double worst = 0.0;
    graft_json_put(t->c->arena, t->top, "training", o);
    if (graft_check_train(&t->device, &t->against, &r, &trouble)) {
        if (trouble.code == GRAFT_NO_MEMORY && !trouble.where[0]) return *err = trouble, trouble.code;
        put_text(t, o, "trouble", trouble.message);
        line(t, 0, "training", "%s", trouble.message);
        return GRAFT_OK;
    }
    for (int i = 0; i < GRAFT_CHECK_STEPS; i++) {
        worst = fmax(worst, fabs(r.loss[i] - r.want[i]));
        graft_json_push(t->c->arena, losses, graft_json_real(t->c->arena, r.loss[i]));
    }
    const int good = worst <= loss_tolerance && r.weights <= weight_tolerance && r.repeats && r.loss[GRAFT_CHECK_STEPS - 1] < 0.5 * r.loss[0];
    graft_json_put(t->c->arena, o, "loss", losses);
    put_real(t, o, "loss_difference", worst);
    put_real(t, o, "weight_difference", r.weights);
    put_flag(t, o, "repeats", r.repeats);
    put_flag(t, o, "good", good);
    line(t, good, "training", "loss %.4f to %.4f in %d steps, differs by %.1e, weights by %.1e%s", r.loss[0], r.loss[GRAFT_CHECK_STEPS - 1], GRAFT_CHECK_STEPS, worst, r.weights,
         r.repeats ? ", same bits twice" : ", OTHER BITS THE SECOND TIME");
    return GRAFT_OK;
}

/* More memory than any device has is refused in words, and the device works on. */
static void memory(selftest *t)
{
    graft_error asked = GRAFT_ERROR_INIT, after = GRAFT_ERROR_INIT;
    void *buffer = NULL, *small = NULL;
    const int64_t bytes = INT64_C(1) << 60;
    char sent[64] = "what is written is read", back[64] = "";
    const graft_backend_table *b = t->device.table;
    const graft_status status = b->alloc(t->device.dev, bytes, &buffer, &asked);
    int works = b->alloc(t->device.dev, 4096, &small, &after) == GRAFT_OK && b->upload(t->device.dev, small, 64, sent, sizeof sent, &after) == GRAFT_OK &&
                b->download(t->device.dev, small, 64, back, sizeof back, &after) == GRAFT_OK && !memcmp(sent, back, sizeof sent);
    if (small) b->release(t->device.dev, small);
    if (!status) b->release(t->device.dev, buffer);
    const int good = status == GRAFT_NO_MEMORY && asked.message[0] && works;
    graft_json *o = graft_json_new(t->c->arena, GRAFT_JSON_OBJECT);
    put_flag(t, o, "refused", status == GRAFT_NO_MEMORY);
    put_text(t, o, "sentence", asked.message);
    put_flag(t, o, "works_afterwards", works);
    put_flag(t, o, "good", good);
    graft_json_put(t->c->arena, t->top, "out_of_memory", o);
    line(t, good, "out of memory", "%s", status ? asked.message : "1 EiB was given");
}

static void rates(selftest *t)
{
    graft_backend_rates r;
    graft_error err = GRAFT_ERROR_INIT;
    graft_json *o = graft_json_new(t->c->arena, GRAFT_JSON_OBJECT);
    const graft_status status = graft_rates_measure(&t->chosen, &t->device, &r, &err);
    graft_json_put(t->c->arena, t->top, "per_second", o);
    if (status) {
        put_text(t, o, "trouble", err.message);
        line(t, 0, "rates", "%s", err.message);
        return;
    }
    put_text(t, o, "driver", r.driver);
    put_real(t, o, "flops", r.flops);
    put_real(t, o, "matmul_flops", r.matmul);
    put_real(t, o, "memory_bytes", r.memory);
    put_real(t, o, "upload_bytes", r.upload);
    put_real(t, o, "download_bytes", r.download);
    line(t, 1, "rates", "matmul %.1f GF/s, memory %.1f GB/s, upload %.1f, download %.1f GB/s", r.matmul * 1e-9, r.memory * 1e-9, r.upload * 1e-9, r.download * 1e-9);
    if (r.flops > 0.0) line(t, 1, "matmul of the peak", "%.0f %% of %.1f GF/s", 100.0 * r.matmul / r.flops, r.flops * 1e-9);
}

/* ---- who against whom ------------------------------------------------------------------------------------------------------------------------- */
static graft_json *describe(const selftest *t, const graft_candidate *b)
{
    graft_json *o = graft_json_new(t->c->arena, GRAFT_JSON_OBJECT);
    graft_error ignored = GRAFT_ERROR_INIT;
    char sum[65] = "", *path = graft_entry_path(b->plugin->entry);
    put_text(t, o, "backend", b->backend);
    put_text(t, o, "version", b->plugin->door->version);
    put_int(t, o, "device", b->device);
    put_text(t, o, "name", b->info.name);
    put_text(t, o, "reason", b->info.reason);
    put_int(t, o, "score", b->info.score);
    put_int(t, o, "memory_total", b->info.memory_total);
    if (path && !graft_sha256_file(path, sum, &ignored)) put_text(t, o, "sha256", sum);
    graft_free(path);
    return o;
}

/* The lowest score of the other backends is the plainest: it is compared with. */
static graft_status choose(selftest *t, graft_registry *r, graft_error *err)
{
    int32_t n = 0;
    graft_candidate *all = graft_calloc(MAX_CANDIDATES, sizeof *all);
    if (!all) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    const graft_candidate *plain = NULL;
    const char *wanted = NULL;
    graft_status status = graft_backend_said(t->c->arena, graft_config_name(graft_args_config(t->c->args)), graft_args_value(t->c->args, "backend"), NULL, &wanted, &t->options, err);
    if (!status) status = graft_backend_choose(r, wanted, &t->chosen, err);
    if (!status) status = graft_backend_candidates(r, all, MAX_CANDIDATES, &n, err);
    for (int32_t i = 0; !status && i < n; i++) {
        const graft_candidate *b = &all[i];
        if (b->info.score < 100 || !strcmp(b->backend, t->chosen.backend)) continue; /* below 100: devices that stand in for others */
        if (!plain || b->info.score < plain->info.score) plain = b;
    }
    if (!status && !plain) status = graft_fail(err, GRAFT_UNSUPPORTED, NULL, "there is no other backend here to compare %s with; 'graft doctor' lists all", t->chosen.backend);
    if (!status) t->plain = *plain;
    graft_free(all);
    return status;
}

static graft_status open_one(const graft_candidate *b, const graft_config *options, graft_device *d, graft_error *err)
{
    *d = graft_device_of(b);
    const graft_status status = d->table->open(b->plugin->self, b->device, options, &d->dev, err);
    return status || !options ? status : graft_backend_said_check(b->backend, options, err);
}

static graft_status write_report(selftest *t, const char *path, graft_error *err)
{
    graft_str text;
    graft_str_init(&text, 0);
    graft_json_write(&text, t->top, 2, 0);
    graft_str_text(&text, "\n");
    const graft_status status = text.failed ? graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory") : graft_file_replace(path, text.data, text.bytes, err);
    graft_str_free(&text);
    if (!status && !t->c->json) fprintf(t->c->out, "\nreport   %s\n", path);
    return status;
}

static graft_status test_all(selftest *t, graft_error *err)
{
    graft_machine m;
    graft_machine_read(&m);
    put_text(t, t->top, "graft", GRAFT_VERSION);
    put_text(t, t->top, "processor", m.model);
    graft_json_put(t->c->arena, t->top, "tested", describe(t, &t->chosen));
    graft_json_put(t->c->arena, t->top, "against", describe(t, &t->plain));
    graft_json_put(t->c->arena, t->top, "ops", t->ops);
    if (!t->c->json) fprintf(t->c->out, "%s:%d, %s, against %s\n\n", t->chosen.backend, (int)t->chosen.device, t->chosen.info.name, t->plain.backend);
    graft_status status = graft_check_ops(&t->device, &t->against, one_op, t, err);
    if (!status) status = training(t, err);
    if (status) return status;
    memory(t);
    rates(t);
    put_int(t, t->top, "failed", t->failed);
    if (!t->c->json) fprintf(t->c->out, "\n%d ops agree (at most %.1e), %d are lowered, %d checks failed\n", t->agreed, t->worst, t->lowered, t->failed);
    return GRAFT_OK;
}

static graft_status run(graft_cli *c, graft_error *err)
{
    graft_registry *r = NULL;
    const char *report = graft_args_text(c->args, "report");
    selftest t = {.c = c, .top = graft_json_new(c->arena, GRAFT_JSON_OBJECT), .ops = graft_json_new(c->arena, GRAFT_JSON_ARRAY)};
    graft_status status = graft_cli_registry(c, &r, err);
    if (!status) status = choose(&t, r, err);
    if (!status) status = open_one(&t.chosen, t.options, &t.device, err);
    if (!status) status = open_one(&t.plain, NULL, &t.against, err);
    if (!status) status = test_all(&t, err);
    if (!status && c->json) graft_cli_print_json(c, t.top, 2);
    if (!status && report && *report) status = write_report(&t, report, err);
    if (!status && t.failed) status = graft_fail(err, GRAFT_DEVICE, NULL, "%d checks of backend %s failed; the report says which", t.failed, t.chosen.backend);
    graft_device_close(&t.device);
    graft_device_close(&t.against);
    return status;
}

const graft_command graft_command_selftest = {
    .name = "selftest",
    .summary = "compare a backend with the plainest other one: ops, training, memory, rates",
    .usage = "Usage: graft selftest [--backend NAME[:DEVICE]] [--report FILE.json] [--json]\n\n"
             "Every op on made-up data, ten steps of a small model, the same again for the same bits, more memory than there is, and what the device does in a\n"
             "second. Without --backend it is the one that would be chosen. The report names driver, device and the hashes of the plugins: send it with a fault.\n"
             "Exit status 1 when a check failed.\n\n"
             "  graft selftest --backend NAME:1 --report out.json\n",
    .positional = 1,
    .run = run,
};
