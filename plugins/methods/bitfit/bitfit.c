/* BitFit: only the biases of the model train. Ben-Zaken, Ravfogel & Goldberg 2021, arXiv 2106.10199. They lie in an adapter's files under their own names. */
#include "graft/method.h"
#include "graft/plugin.h"

static graft_status bitfit_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    (void)args, (void)err;
    if (saved) saved->api->text(saved, "graft_method", "");
    *run = self; /* nothing to remember */
    return GRAFT_OK;
}

static void bitfit_close(void *run) { (void)run; }

static int bitfit_trains(void *run, graft_builder *b, const graft_site *s, const char *weight)
{
    const size_t n = strlen(weight);
    (void)run, (void)b, (void)s;
    return n > 5 && !strcmp(weight + n - 5, ".bias");
}

/* The trained biases are already the model's. */
static graft_value bitfit_merge(void *run, graft_builder *b, const graft_site *s, graft_value w)
{
    (void)run, (void)b, (void)s;
    return w;
}

static graft_status bitfit_save(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err)
{
    (void)run, (void)n_sites, (void)sites, (void)err;
    w->api->text(w, "graft_method", "bitfit");
    w->api->text(w, "task_type", "CAUSAL_LM");
    return GRAFT_OK;
}

static int bitfit_owns(void *self, const graft_json *saved)
{
    const graft_json *v = graft_json_get(saved, "graft_method");
    (void)self;
    return v && v->type == GRAFT_JSON_TEXT && !strcmp(v->text, "bitfit");
}

static const graft_adapter_files bitfit_files = {.size = sizeof bitfit_files, .config = "adapter_config.json", .weights = "adapter_model.safetensors", .prefix = ""};

static const graft_method_table bitfit_table = {.size = sizeof bitfit_table, .open = bitfit_open, .close = bitfit_close, .trains = bitfit_trains, .merge = bitfit_merge, .files = &bitfit_files, .save = bitfit_save, .owns = bitfit_owns};

GRAFT_ONE_TABLE("method", "graft.method/1", "bitfit", "1.0.0", &bitfit_table)
