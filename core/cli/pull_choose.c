/* core/cli/pull_choose.c - which files of a repository are fetched: those that graft reads, and nothing that could do anything by being read. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/cli/pull_parts.h"

#include <fnmatch.h>
#include <string.h>

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory"); }

static int ends_with(const char *text, const char *ending)
{
    const size_t n = strlen(text), k = strlen(ending);
    return n >= k && !strcmp(text + n - k, ending);
}

static int ends_in(const char *text, const char *const *endings)
{
    for (; *endings; endings++)
        if (ends_with(text, *endings)) return 1;
    return 0;
}

/* Files that cannot do anything by being read. */
static int is_harmless(const char *path)
{
    static const char *const endings[] = {".safetensors", ".gguf", ".json", ".txt", ".model", ".tiktoken", ".jinja", ".md", ".yaml", ".jsonl", ".parquet", ".csv", ".tsv", ".gz", ".zst", ".arrow", "LICENSE", NULL};
    return ends_in(path, endings);
}

/* What a model is read from: in its folder, not in others beside (onnx, original). */
static int is_of_model(const graft_puller *p, const char *path)
{
    static const char *const endings[] = {".safetensors", ".json", ".txt", ".model", ".tiktoken", ".jinja", NULL};
    int named = 0;
    for (size_t i = 0; i < p->n; i++) named |= !strncmp(p->items[i].path, "model", 5) && ends_with(p->items[i].path, ".safetensors");
    if (named && !strncmp(path, "consolidated", 12)) return 0; /* the same weights again */
    return (!strchr(path, '/') || !strncmp(path, "additional_chat_templates/", 26)) && ends_in(path, endings);
}

static int is_named(const graft_puller *p, const char *path)
{
    for (size_t i = 0; i < p->how->n_patterns; i++)
        if (!fnmatch(p->how->patterns[i], path, FNM_PERIOD)) return 1;
    return 0;
}

/* Weights that are there, but not as safetensors. */
static graft_status check_model(const graft_puller *p)
{
    char ggufs[300] = "";
    const char *pickle = NULL;
    for (size_t i = 0; i < p->n; i++) {
        const char *path = p->items[i].path;
        const size_t used = strlen(ggufs);
        if (p->items[i].wanted && ends_with(path, ".safetensors")) return GRAFT_OK;
        if (ends_with(path, ".bin") || ends_with(path, ".pt") || ends_with(path, ".pth")) pickle = path;
        if (ends_with(path, ".gguf") && used + strlen(path) + 3 < sizeof ggufs) snprintf(ggufs + used, sizeof ggufs - used, "%s%s", used ? ", " : "", path);
    }
    if (ggufs[0]) return graft_fail(p->err, GRAFT_BAD_INPUT, p->endpoint, "%s holds GGUF files: name one of them, as in `graft pull %s FILE`, of %s", p->how->name, p->how->name, ggufs);
    if (pickle) return graft_fail(p->err, GRAFT_UNSUPPORTED, p->endpoint, "%s has its weights as pickle alone (%.100s), which can run code when it is read; ask for a version with safetensors, or convert it once", p->how->name, pickle);
    return GRAFT_OK; /* a tokenizer alone */
}

/* The dataset's files of the entry's split; its README tells, and is fetched first. */
static graft_status choose_data(graft_puller *p)
{
    const graft_json *entry = p->how->entry, *words[3] = {graft_json_get(entry, "subset"), graft_json_get(entry, "split"), graft_json_get(entry, "folder")};
    const char *said[3] = {NULL, NULL, NULL};
    char **names = graft_arena_alloc(p->c->arena, (p->n + 1) * sizeof *names), *keep = graft_arena_alloc(p->c->arena, p->n + 1), *readme = NULL;
    size_t bytes = 0;
    graft_status status = names && keep ? GRAFT_OK : no_memory(p->err);
    for (size_t i = 0; !status && i < p->n; i++) {
        names[i] = (char *)(uintptr_t)p->items[i].path;
        if (strcmp(p->items[i].path, "README.md") != 0) continue;
        p->items[i].wanted = 1;
        status = p->site->get(p, &p->items[i]);
        const char *path = status ? NULL : p->site->path(p, &p->items[i]);
        if (!status) status = path ? graft_file_read(path, 1 << 24, &readme, &bytes, p->err) : no_memory(p->err);
        p->items[i].done = 1;
    }
    for (int i = 0; i < 3; i++) said[i] = words[i] && words[i]->type == GRAFT_JSON_TEXT ? words[i]->text : NULL;
    if (!status) status = graft_hub_choose(p->how->name, readme, bytes, names, p->n, said[0], said[1], said[2], keep, p->err);
    for (size_t i = 0; !status && i < p->n; i++) p->items[i].wanted |= keep[i];
    graft_free(readme);
    return status;
}

graft_status graft_pull_choose(graft_puller *p)
{
    size_t left_out = 0, wanted = 0;
    const char *example = NULL;
    const int model = p->how->kind == GRAFT_HUB_MODEL;
    for (size_t i = 0; i < p->n; i++) {
        graft_pull_item *f = &p->items[i];
        const int asked = p->how->n_patterns ? is_named(p, f->path) : model ? is_of_model(p, f->path)
                                                                            : !p->how->entry && (graft_hub_is_data(f->path) || !strcmp(f->path, "README.md"));
        f->wanted = asked && is_harmless(f->path);
        if (f->path[0] != '.' && !is_harmless(f->path)) left_out++, example = f->path;
    }
    if (!model && !p->how->n_patterns && p->how->entry && choose_data(p)) return p->err->code;
    for (size_t i = 0; i < p->n; i++) wanted += p->items[i].wanted != 0;
    if (model && !p->how->n_patterns && check_model(p)) return p->err->code;
    if (left_out) graft_log(GRAFT_LOG_INFO, "%zu files that are not data are left out (pickle, programs and others, as %s)", left_out, example);
    if (wanted) return GRAFT_OK;
    return graft_fail(p->err, GRAFT_BAD_INPUT, p->endpoint, p->how->n_patterns ? "no file of the %s %s is named like \"%.100s\"" : "the %s %s has no file that graft reads%.0s", graft_pull_kind(p), p->how->name, p->how->n_patterns ? p->how->patterns[0] : "");
}
