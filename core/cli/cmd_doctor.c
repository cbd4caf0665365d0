/* core/cli/cmd_doctor.c - graft doctor: the machine, the registry files read, every backend with its score and why it was or was not chosen, kept probes. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/cli/cli.h"
#include "core/graph/rates.h"
#include "core/plugin/machine.h"
#include "core/plugin/probe.h"
#include "core/plugin/select.h"

#include <string.h>

enum { MAX_CANDIDATES = 64 };

static const double gib = 1073741824.0;

static void put_text(graft_cli *c, graft_json *o, const char *key, const char *text)
{
    graft_json_put(c->arena, o, key, graft_json_text(c->arena, text, strlen(text)));
}

static void put_int(graft_cli *c, graft_json *o, const char *key, int64_t v) { graft_json_put(c->arena, o, key, graft_json_int(c->arena, v)); }

/* The words of a processor that speed in this field depends on; the whole list is in the JSON report. */
static void print_features(graft_cli *c, const graft_machine *m)
{
    static const char *const words[] = {"avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "asimd", "asimddp", "bf16", "i8mm", "sve", "sve2"};
    fputs("features     ", c->out);
    int any = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (graft_machine_has(m, words[i])) fprintf(c->out, "%s%s", any++ ? " " : "", words[i]);
    fprintf(c->out, "%s\n", any ? "" : "none that matter here");
}

static void machine(graft_cli *c, graft_json *top)
{
    graft_machine m;
    graft_machine_read(&m);
    if (!c->json) {
        fprintf(c->out, "graft        %s\nprocessor    %s, %d usable\n", GRAFT_VERSION, m.model, m.processors);
        print_features(c, &m);
        fprintf(c->out, "memory       %.1f GiB, %.1f free\nhuge pages   %s\n", (double)m.memory_total / gib, (double)m.memory_free / gib, m.huge_pages[0] ? m.huge_pages : "not offered by this system");
        return;
    }
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    put_text(c, o, "processor", m.model);
    put_int(c, o, "usable_processors", m.processors);
    put_text(c, o, "features", m.features);
    put_int(c, o, "memory_total", m.memory_total);
    put_int(c, o, "memory_free", m.memory_free);
    put_text(c, o, "huge_pages", m.huge_pages);
    put_text(c, top, "graft", GRAFT_VERSION);
    graft_json_put(c->arena, top, "machine", o);
}

static void registries(graft_cli *c, const graft_registry *r, graft_json *top)
{
    graft_json *all = graft_json_new(c->arena, GRAFT_JSON_ARRAY);
    if (!c->json) fputs("\nregistry files, later ones win\n", c->out);
    for (size_t i = 0; graft_registry_layers(r, i); i++) {
        graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
        put_text(c, o, "file", graft_registry_layers(r, i));
        graft_json_put(c->arena, o, "found", graft_json_flag(c->arena, graft_registry_layer_found(r, i)));
        graft_json_push(c->arena, all, o);
        if (!c->json) fprintf(c->out, "  %s  %s\n", graft_registry_layer_found(r, i) ? "read  " : "absent", graft_registry_layers(r, i));
    }
    graft_json_put(c->arena, top, "registries", all);
}

/* What the device was measured to do: the first time on a machine that takes a second or two. */
static void rates(graft_cli *c, const graft_candidate *b, graft_json *o)
{
    graft_backend_rates r;
    graft_error err = GRAFT_ERROR_INIT;
    int kept = 0;
    if (b->info.score <= 0 || !b->plugin) return;
    const graft_status status = graft_rates_of(b, 0, &r, &kept, &err);
    if (!c->json) {
        if (status) fprintf(c->out, "         could not be measured: %s\n", err.message);
        else if (r.flops > 0.0) fprintf(c->out, "         measured: %.1f GF/s in registers, ", r.flops * 1e-9);
        else fputs("         measured: ", c->out);
        if (!status)
            fprintf(c->out, "matmul %.1f GF/s, memory %.1f GB/s, upload %.1f, download %.1f GB/s%s\n", r.matmul * 1e-9, r.memory * 1e-9, r.upload * 1e-9, r.download * 1e-9,
                    kept ? " (kept)" : "");
        return;
    }
    graft_json *m = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    const struct {
        const char *key;
        double v;
    } members[] = {{"flops", r.flops}, {"matmul_flops", r.matmul}, {"memory_bytes", r.memory}, {"upload_bytes", r.upload}, {"download_bytes", r.download}};
    if (status) put_text(c, m, "error", err.message);
    else put_text(c, m, "driver", r.driver);
    for (size_t i = 0; !status && i < sizeof members / sizeof *members; i++) graft_json_put(c->arena, m, members[i].key, graft_json_real(c->arena, members[i].v));
    graft_json_put(c->arena, o, "per_second", m);
}

static void candidate(graft_cli *c, const graft_candidate *b, graft_json *all)
{
    char device[16] = "";
    if (b->device >= 0) snprintf(device, sizeof device, ":%d", (int)b->device);
    if (!c->json) {
        fprintf(c->out, "  %5d  %s%s%s%s", b->info.score, b->backend, device, b->info.name[0] ? "  " : "", b->info.name);
        if (b->info.memory_total > 0) fprintf(c->out, ", %.1f of %.1f GiB free", (double)b->info.memory_free / gib, (double)b->info.memory_total / gib);
        fprintf(c->out, "\n         %s\n", b->verdict);
        if (b->info.score > 0 && b->info.reason[0]) fprintf(c->out, "         %s\n", b->info.reason);
        rates(c, b, NULL);
        return;
    }
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    put_text(c, o, "backend", b->backend);
    put_int(c, o, "device", b->device);
    put_text(c, o, "name", b->info.name);
    put_int(c, o, "score", b->info.score);
    put_int(c, o, "memory_total", b->info.memory_total);
    put_int(c, o, "memory_free", b->info.memory_free);
    put_text(c, o, "verdict", b->verdict);
    put_text(c, o, "reason", b->info.reason);
    rates(c, b, o);
    graft_json_push(c->arena, all, o);
}

static graft_status backends(graft_cli *c, const graft_registry *r, graft_json *top, int *usable, graft_error *err)
{
    int32_t n = 0;
    graft_candidate *found = graft_calloc(MAX_CANDIDATES, sizeof *found);
    graft_json *all = graft_json_new(c->arena, GRAFT_JSON_ARRAY);
    if (!found) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (!c->json) fputs("\nbackends by score (--backend NAME or NAME:DEVICE chooses another)\n", c->out);
    const graft_status status = graft_backend_candidates(r, found, MAX_CANDIDATES, &n, err);
    for (int32_t i = 0; i < n; i++) candidate(c, &found[i], all);
    *usable = n > 0 && found[0].info.score > 0;
    graft_json_put(c->arena, top, "backends", all);
    graft_free(found);
    return status;
}

/* How many results are kept, and each quarantine. */
static void probes(graft_cli *c, graft_json *top)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    char *folder = graft_probe_folder(), **names = NULL;
    size_t n = 0, kept = 0;
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT), *bad = graft_json_new(c->arena, GRAFT_JSON_ARRAY);
    if (folder && graft_path_is_dir(folder) && graft_dir_list(folder, &names, &n, &ignored)) n = 0;
    if (!c->json) fprintf(c->out, "\nkept probes  %s\n", folder ? folder : "none: HOME is not set");
    for (size_t i = 0; i < n; i++) {
        graft_probe_report report;
        if (strlen(names[i]) != 64 || !graft_probe_recall(names[i], &report)) continue;
        kept++;
        if (!report.quarantined) continue;
        graft_json *q = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
        put_text(c, q, "file", report.file);
        put_text(c, q, "reason", report.reason);
        graft_json_push(c->arena, bad, q);
        if (!c->json) fprintf(c->out, "  quarantined  %s: %s; 'graft plugin retry %s' tries again\n", report.file, report.reason, report.file);
    }
    if (!c->json) fprintf(c->out, "  %zu kept, %lld quarantined\n", kept, (long long)bad->count);
    put_text(c, o, "folder", folder ? folder : "");
    put_int(c, o, "kept", (int64_t)kept);
    graft_json_put(c->arena, o, "quarantined", bad);
    graft_json_put(c->arena, top, "probes", o);
    graft_dir_list_free(names, n);
    graft_free(folder);
}

static graft_status run(graft_cli *c, graft_error *err)
{
    graft_registry *r = NULL;
    int usable = 0;
    graft_json *top = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    machine(c, top);
    graft_status status = graft_cli_registry(c, &r, err);
    if (status) return status;
    registries(c, r, top);
    status = backends(c, r, top, &usable, err);
    probes(c, top);
    if (c->json) graft_cli_print_json(c, top, 2);
    if (!status && !usable) status = graft_fail(err, GRAFT_UNSUPPORTED, NULL, "No backend can run here; the table above says why for each.");
    return status;
}

const graft_command graft_command_doctor = {
    .name = "doctor",
    .summary = "the machine, the registry, and which backend is chosen and why",
    .usage = "Usage: graft doctor [--json]\n\n"
             "Scores: 0 cannot run, 100 plain, 200 with vector instructions, 500 and more an accelerator; \"prefer\" of a registry entry is added.\n"
             "Rates are measured once per device and driver, which takes a second or two, and kept in ~/.cache/graft/rates.\n"
             "Exit status 1 when no backend can run.\n\n"
             "  graft doctor\n"
             "  graft doctor --json | jq .backends\n",
    .positional = 1,
    .run = run,
};
