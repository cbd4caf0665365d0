/* core/cli/cmd_pull.c - graft pull: fetches models, adapters and datasets of the hub; and how the other commands find what lies there. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/cli/pull.h"
#include "core/data/parts.h"

#include <string.h>

static int offline(void) { return graft_hub_env_on("HF_HUB_OFFLINE") || graft_hub_env_on("TRANSFORMERS_OFFLINE") || graft_hub_env_on("HF_DATASETS_OFFLINE"); }

static const char *text_at(const graft_json *entry, const char *key)
{
    const graft_json *v = graft_json_get(entry, key);
    return v && v->type == GRAFT_JSON_TEXT && v->bytes ? v->text : NULL;
}

/* ---- for the other commands -------------------------------------------------------------------------------------------------------------------- */

graft_status graft_pull_path(graft_cli *c, const char *key, const char *name, const char *revision, const char **path, graft_error *err)
{
    *path = name;
    if (graft_path_exists(name)) return GRAFT_OK;
    if (!graft_hub_is_name(name)) return graft_fail(err, GRAFT_BAD_INPUT, key, "there is no folder or file '%s'; name a Hugging Face folder, a .gguf file, or a model of the hub as ORG/NAME", name);
    char *here = graft_hub_find(graft_hub_usual(), GRAFT_HUB_MODEL, name, revision);
    const int whole = here && graft_hub_whole(here);
    if (here && (whole || offline())) *path = graft_arena_copy(c->arena, here, strlen(here));
    graft_free(here);
    if (here && (whole || offline())) return *path ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (offline() || !strchr(name, '/')) /* one word is more often a folder's name than one of the hub's old models */
        return graft_fail(err, GRAFT_BAD_INPUT, key, "there is no folder or file '%s', and no model of that name among those of the hub on this machine; fetch it with `graft pull %s`%s", name, name, offline() ? " where there is a network (here HF_HUB_OFFLINE is set)" : "");
    graft_log(GRAFT_LOG_INFO, "'%s' is not on this machine: it is fetched from the hub (HF_HUB_OFFLINE=1 forbids that)", name);
    const graft_pull how = {.site = graft_hub_usual(), .kind = GRAFT_HUB_MODEL, .name = name, .revision = revision};
    return graft_pull_repository(c, &how, path, err);
}

/* Its files of that split are all here. */
static int has_files(const graft_json *entry, graft_hub_site site, const char *name)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    char **files = NULL, *dir = graft_hub_find(site, GRAFT_HUB_DATASET, name, NULL);
    size_t n = 0;
    const int all = dir && !graft_hub_files(dir, text_at(entry, "subset"), text_at(entry, "split"), text_at(entry, "folder"), &files, &n, &ignored);
    graft_dir_list_free(files, n);
    graft_free(dir);
    return all;
}

graft_status graft_pull_datasets(graft_cli *c, const char *names, graft_error *err)
{
    graft_registry *r = NULL;
    const char *folder;
    char name[4096];
    graft_hub_site site = GRAFT_HUB_HUGGINGFACE;
    if (graft_cli_registry(c, &r, err)) return err->code;
    while (!offline() && graft_load_name(&names, name)) {
        const graft_entry *e = graft_registry_find(r, GRAFT_KIND_DATASET, name);
        const char *hub = e ? graft_hub_of_entry(e->json, &site) : NULL;
        if (!hub || has_files(e->json, site, hub)) continue;
        graft_log(GRAFT_LOG_INFO, "dataset '%s' is not on this machine: %s is fetched from the hub (HF_HUB_OFFLINE=1 forbids that)", name, hub);
        const graft_pull how = {.site = site, .kind = GRAFT_HUB_DATASET, .name = hub, .entry = e->json};
        if (graft_pull_repository(c, &how, &folder, err)) return err->code;
    }
    return GRAFT_OK;
}

/* ---- the command -------------------------------------------------------------------------------------------------------------------------------- */

static void say_folder(graft_cli *c, const char *name, const char *folder)
{
    if (!c->json) {
        fprintf(c->out, "%s\n", folder);
        return;
    }
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    graft_json_put(c->arena, o, "name", graft_json_text(c->arena, name, strlen(name)));
    graft_json_put(c->arena, o, "folder", graft_json_text(c->arena, folder, strlen(folder)));
    graft_cli_print_json(c, o, 0);
}

static graft_status pull_one(graft_cli *c, const graft_pull *how, graft_error *err)
{
    const char *folder = NULL;
    const graft_status status = graft_pull_repository(c, how, &folder, err);
    if (!status) say_folder(c, how->name, folder);
    return status;
}

/* All that a training file (or its keys) names: model, adapters, datasets. */
static graft_status pull_named(graft_cli *c, graft_error *err)
{
    static const char *const models[] = {"model_name_or_path", "adapter_name_or_path"}, *const sets[] = {"dataset", "eval_dataset"};
    char name[4096];
    graft_registry *r = NULL;
    if (graft_cli_registry(c, &r, err)) return err->code;
    for (size_t i = 0; i < 2; i++) {
        const char *list = graft_args_text(c->args, models[i]);
        while (graft_load_name(&list, name)) {
            const graft_pull how = {.site = graft_hub_usual(), .kind = GRAFT_HUB_MODEL, .name = name, .revision = i ? NULL : graft_args_text(c->args, "model_revision")};
            if (!graft_path_exists(name) && pull_one(c, &how, err)) return err->code;
        }
    }
    for (size_t i = 0; i < 2; i++) {
        const char *list = graft_args_text(c->args, sets[i]);
        while (graft_load_name(&list, name)) {
            const graft_entry *e = graft_registry_find(r, GRAFT_KIND_DATASET, name);
            graft_pull how = {.kind = GRAFT_HUB_DATASET, .entry = e ? e->json : NULL};
            how.name = e ? graft_hub_of_entry(e->json, &how.site) : NULL;
            if (how.name && pull_one(c, &how, err)) return err->code;
        }
    }
    return GRAFT_OK;
}

static graft_status run(graft_cli *c, graft_error *err)
{
    graft_registry *r = NULL;
    const int named = graft_args_given(c->args, "model_name_or_path") || graft_args_given(c->args, "adapter_name_or_path") || graft_args_given(c->args, "dataset");
    if (!c->n_words && !named) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "nothing was named: give ORG/NAME of a model, datasets/ORG/NAME, a registered dataset's name, or a training file; see `graft help pull`");
    const char *word = c->n_words ? c->words[0] : "it";
    if (offline()) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "HF_HUB_OFFLINE is set, so nothing is fetched; unset it to fetch %s", word);
    if (!c->n_words) return pull_named(c, err);
    graft_pull how = {.site = graft_hub_usual(), .kind = GRAFT_HUB_MODEL, .name = word, .revision = graft_args_text(c->args, "model_revision"), .patterns = c->words + 1, .n_patterns = c->n_words - 1};
    if (!strncmp(word, "datasets/", 9) && strchr(word + 9, '/')) how.kind = GRAFT_HUB_DATASET, how.name = word + 9;
    else if (!strchr(word, '/')) {
        if (graft_cli_registry(c, &r, err)) return err->code;
        const graft_entry *e = graft_registry_find(r, GRAFT_KIND_DATASET, word);
        if (e && !graft_hub_of_entry(e->json, &how.site)) return graft_fail(err, GRAFT_BAD_INPUT, e->layer, "dataset \"%s\" names nothing on the hub: its entry has no hf_hub_url, or a file of its own", word);
        if (e) how.kind = GRAFT_HUB_DATASET, how.name = graft_hub_of_entry(e->json, &how.site), how.entry = e->json, how.revision = NULL;
    }
    return pull_one(c, &how, err);
}

const graft_command graft_command_pull = {
    .name = "pull",
    .summary = "fetches models, adapters and datasets of the Hugging Face hub or ModelScope",
    .usage = "Usage: graft pull ORG/NAME [FILE ...] [--model_revision REV]     a model or adapter\n"
             "       graft pull datasets/ORG/NAME [FILE ...]                  a dataset's repository\n"
             "       graft pull NAME --dataset_dir DIR                        what the entry NAME of dataset_info.json needs\n"
             "       graft pull train.yaml                                    all that the file names\n\n"
             "  graft pull HuggingFaceTB/SmolLM2-135M-Instruct\n"
             "  graft pull bartowski/SmolLM2-135M-Instruct-GGUF '*Q4_K_M.gguf'\n"
             "  HF_ENDPOINT=https://hf-mirror.com graft pull datasets/tatsu-lab/alpaca\n\n"
             "Files go where Python's tools keep them (HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub) and are shared with them;\n"
             "the folder is printed. What is there is not fetched again, and a download that was cut short goes on. Size and, where the hub\n"
             "knows it, SHA-256 are checked. Only data is fetched: no pickle, no programs. HF_TOKEN or --hf_hub_token opens private and\n"
             "gated repositories. train, chat and others fetch a model or dataset by themselves when it is named and not here;\n"
             "HF_HUB_OFFLINE=1 forbids that. With USE_MODELSCOPE_HUB=1 names are ModelScope's (MODELSCOPE_CACHE, MODELSCOPE_API_TOKEN).\n",
    .positional = 1,
    .run = run,
};
