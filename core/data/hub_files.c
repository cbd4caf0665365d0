/* core/data/hub_files.c - which files of a dataset's repository make a split; see hub.h.
 *
 *   README.md begins with YAML between lines of "---":   configs: [{config_name: en, data_files: [{split: train, path: "data/train-*"}]}]
 *   without configs:   data/train-00000-of-00002.parquet, test.jsonl ...: a split's word in the name; no file has one: all are "train" */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/yaml.h"
#include "core/data/hub.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { DEEPEST = 8,
       FILES_MAX = 1 << 17 };

typedef struct choice {
    const char *where, *subset, *split, *folder;
    char *const *names;
    size_t n;
    char *keep;
    graft_arena *a;
    graft_error *err;
} choice;

static int ends_with(const char *text, size_t n, const char *ending)
{
    const size_t k = strlen(ending);
    return n > k && !strncasecmp(text + n - k, ending, k);
}

int graft_hub_is_data(const char *name)
{
    static const char *const endings[] = {".json", ".jsonl", ".parquet", ".csv", ".tsv", ".txt"}, *const infos[] = {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "requirements.txt", "LICENSE.txt", "license.txt"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof infos / sizeof *infos; i++)
        if (!strcmp(graft_path_base(name), infos[i])) return 0;
    if (ends_with(name, n, ".gz")) n -= 3;
    else if (ends_with(name, n, ".zst")) n -= 4;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends_with(name, n, endings[i])) return name[0] != '.' && !strstr(name, "/.");
    return 0;
}

/* ---- by the README -------------------------------------------------------------------------------------------------------------------------- */

/* "data/train-*", "**" in front also standing for nothing. */
static int matches(const char *pattern, const char *name)
{
    if (!strncmp(pattern, "./", 2)) pattern += 2;
    return !fnmatch(pattern, name, FNM_PERIOD) || (!strncmp(pattern, "**/", 3) && !fnmatch(pattern + 3, name, FNM_PERIOD));
}

/* A pattern, or a list of them. */
static void keep_matching(choice *c, const graft_json *patterns, const char *dir)
{
    char whole[1200];
    if (!patterns) return;
    for (const graft_json *p = patterns->type == GRAFT_JSON_ARRAY ? patterns->child : patterns; p; p = patterns->type == GRAFT_JSON_ARRAY ? p->next : NULL) {
        if (p->type != GRAFT_JSON_TEXT) continue;
        snprintf(whole, sizeof whole, "%s%s%s", dir, *dir ? "/" : "", p->text);
        for (size_t i = 0; i < c->n; i++) c->keep[i] |= graft_hub_is_data(c->names[i]) && matches(whole, c->names[i]);
    }
}

/* data_files: patterns of the split "train", or {split, path} each, or {split: patterns}. */
static void keep_config(choice *c, const graft_json *data_files, const char *dir)
{
    const graft_json *first = data_files->type == GRAFT_JSON_ARRAY ? data_files->child : NULL;
    if (data_files->type == GRAFT_JSON_OBJECT) keep_matching(c, graft_json_get(data_files, c->split), dir);
    else if (first && first->type == GRAFT_JSON_OBJECT) {
        for (const graft_json *f = first; f; f = f->next)
            if (graft_json_is(graft_json_get(f, "split"), c->split)) keep_matching(c, graft_json_get(f, "path"), dir);
    } else if (!strcmp(c->split, "train")) keep_matching(c, data_files, dir);
}

/* The configs of the README's YAML; *out NULL: it has none. */
static graft_status read_configs(choice *c, const char *readme, size_t bytes, const graft_json **out)
{
    const graft_json *head = NULL;
    *out = NULL;
    if (!readme || bytes < 8 || strncmp(readme, "---", 3)) return GRAFT_OK;
    const char *from = memchr(readme, '\n', bytes), *end = from ? memmem(from, bytes - (size_t)(from - readme), "\n---", 4) : NULL;
    if (!end) return GRAFT_OK;
    graft_error why = GRAFT_ERROR_INIT;
    if (graft_yaml_parse(c->a, "README.md", from + 1, (size_t)(end - from), &head, &why)) return GRAFT_OK; /* a README for people */
    const graft_json *configs = graft_json_get(head, "configs");
    if (configs && configs->type == GRAFT_JSON_ARRAY && configs->child) *out = configs;
    return GRAFT_OK;
}

static graft_status config_named(choice *c, const graft_json *configs, const graft_json **out)
{
    char names[400] = "";
    *out = NULL;
    for (const graft_json *f = configs->child; f; f = f->next) {
        const graft_json *name = graft_json_get(f, "config_name"), *usual = graft_json_get(f, "default");
        const char *text = name && name->type == GRAFT_JSON_TEXT ? name->text : "default";
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", text);
        if (c->subset ? !strcmp(text, c->subset) : (usual && usual->integer) || !strcmp(text, "default")) *out = f;
    }
    if (!*out && !c->subset && configs->count == 1) *out = configs->child;
    if (*out) return GRAFT_OK;
    return graft_fail(c->err, GRAFT_BAD_INPUT, c->where, c->subset ? "the dataset has no subset \"%.100s\"; it has %.300s" : "the dataset has several subsets%.0s: name one with \"subset\" in its entry, of %.300s", c->subset ? c->subset : "", names);
}

/* ---- by names ------------------------------------------------------------------------------------------------------------------------------- */

static int letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static int has_word(const char *name, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = name; (p = strstr(p, word)); p++)
        if ((p == name || !letter(p[-1])) && !letter(p[n])) return 1;
    return 0;
}

/* The split that a word of the name says; NULL: none. */
static const char *split_of(const char *name)
{
    static const char *const words[][2] = {{"train", "train"}, {"training", "train"}, {"validation", "validation"}, {"valid", "validation"}, {"dev", "validation"}, {"val", "validation"}, {"test", "test"}, {"testing", "test"}, {"eval", "test"}, {"evaluation", "test"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (has_word(name, words[i][0])) return words[i][1];
    return NULL;
}

static int in_folder(const char *name, const char *folder)
{
    const size_t n = folder ? strlen(folder) : 0;
    return !n || (!strncmp(name, folder, n) && (folder[n - 1] == '/' || name[n] == '/'));
}

static void keep_by_words(choice *c, const char *dir)
{
    int any = 0;
    for (size_t i = 0; i < c->n; i++) any |= graft_hub_is_data(c->names[i]) && in_folder(c->names[i], dir) && split_of(c->names[i]);
    for (size_t i = 0; i < c->n; i++) {
        const char *split = any ? split_of(c->names[i]) : "train";
        c->keep[i] = graft_hub_is_data(c->names[i]) && in_folder(c->names[i], dir) && split && !strcmp(split, c->split);
    }
}

static graft_status choose(choice *c, const char *readme, size_t readme_bytes)
{
    const graft_json *configs = NULL, *config = NULL, *data_files, *data_dir;
    if (read_configs(c, readme, readme_bytes, &configs)) return c->err->code;
    if (configs && !c->folder && config_named(c, configs, &config)) return c->err->code;
    data_files = graft_json_get(config, "data_files"), data_dir = graft_json_get(config, "data_dir");
    const char *dir = data_dir && data_dir->type == GRAFT_JSON_TEXT ? data_dir->text : c->folder ? c->folder
                                                                                                 : "";
    if (!strncmp(dir, "./", 2)) dir += 2;
    if (!config && c->subset) {
        int any = 0; /* without configs a subset is at most a folder's name */
        for (size_t i = 0; i < c->n; i++) any |= in_folder(c->names[i], c->subset);
        if (!any) return graft_fail(c->err, GRAFT_BAD_INPUT, c->where, "the dataset has no subset \"%.100s\"; leave subset out of its entry, or name a folder of it with \"folder\"", c->subset);
        dir = c->subset;
    }
    if (data_files) keep_config(c, data_files, data_dir ? dir : "");
    else keep_by_words(c, dir);
    for (size_t i = 0; i < c->n; i++)
        if (c->keep[i]) return GRAFT_OK;
    return graft_fail(c->err, GRAFT_BAD_INPUT, c->where, "no file of the dataset is of its split \"%.60s\"%s%.100s; expected .json, .jsonl, .parquet, .csv or .txt files", c->split, c->subset ? " in subset " : "", c->subset ? c->subset : "");
}

graft_status graft_hub_choose(const char *where, const char *readme, size_t readme_bytes, char *const *names, size_t n, const char *subset, const char *split, const char *folder, char *keep, graft_error *err)
{
    choice c = {.where = where, .subset = subset && *subset ? subset : NULL, .split = split && *split ? split : "train", .folder = folder && *folder ? folder : NULL, .names = names, .n = n, .keep = keep, .a = graft_arena_new(), .err = err};
    if (!c.a) return graft_fail(err, GRAFT_NO_MEMORY, where, "out of memory");
    memset(keep, 0, n);
    const graft_status status = choose(&c, readme, readme_bytes);
    graft_arena_free(c.a);
    return status;
}

/* ---- on this machine ------------------------------------------------------------------------------------------------------------------------ */

typedef struct found {
    char **names;
    size_t n, room;
} found;

static graft_status walk(const char *dir, const char *inside, int depth, found *f, graft_error *err)
{
    char **names;
    size_t n = 0;
    graft_status status = graft_dir_list(dir, &names, &n, err);
    for (size_t i = 0; !status && i < n; i++) {
        char *path = graft_path_join(dir, names[i]), *name = *inside ? graft_path_join(inside, names[i]) : graft_path_join("", names[i]);
        if (!path || !name || graft_grow((void **)&f->names, &f->room, f->n + 1, sizeof *f->names)) status = graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
        else if (graft_path_is_dir(path)) status = depth < DEEPEST ? walk(path, name, depth + 1, f, err) : GRAFT_OK;
        else if (f->n == FILES_MAX) status = graft_fail(err, GRAFT_UNSUPPORTED, dir, "the dataset has more than %d files", FILES_MAX);
        else f->names[f->n++] = name, name = NULL;
        graft_free(path);
        graft_free(name);
    }
    graft_dir_list_free(names, n);
    return status;
}

/* NAME-00001-of-00003.parquet: are all of them here? */
static graft_status check_parts(const char *dir, const found *f, const char *keep, graft_error *err)
{
    for (size_t i = 0; i < f->n; i++) {
        const char *of = keep[i] ? strstr(f->names[i], "-of-") : NULL;
        const char *number = of && of - f->names[i] > 5 ? of - 5 : NULL;
        const long parts = number && strspn(number, "0123456789") == 5 ? strtol(of + 4, NULL, 10) : 0;
        long here = 0;
        if (parts < 2) continue;
        for (size_t k = 0; k < f->n; k++) here += keep[k] && !strncmp(f->names[k], f->names[i], (size_t)(number - f->names[i])) && strlen(f->names[k]) == strlen(f->names[i]);
        if (here < parts) return graft_fail(err, GRAFT_BAD_INPUT, dir, "%ld of the %ld parts of %.200s are here; fetch the others with `graft pull`", here, parts, f->names[i]);
    }
    return GRAFT_OK;
}

graft_status graft_hub_files(const char *dir, const char *subset, const char *split, const char *folder, char ***files, size_t *n, graft_error *err)
{
    found f = {0};
    char *readme = NULL, *path = graft_path_join(dir, "README.md"), *keep = NULL;
    size_t readme_bytes = 0;
    *files = NULL, *n = 0;
    graft_status status = path ? walk(dir, "", 0, &f, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    if (!status && graft_path_exists(path)) status = graft_file_read(path, 1 << 24, &readme, &readme_bytes, err);
    if (!status && !(keep = graft_calloc(f.n + 1, 1))) status = graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    if (!status) status = graft_hub_choose(dir, readme, readme_bytes, f.names, f.n, subset, split, folder, keep, err);
    if (!status) status = check_parts(dir, &f, keep, err);
    size_t kept = 0;
    for (size_t i = 0; i < f.n; i++) {
        char *whole = !status && keep[i] ? graft_path_join(dir, f.names[i]) : NULL;
        if (!status && keep[i] && !whole) status = graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
        graft_free(f.names[i]);
        f.names[i] = NULL;
        if (whole) f.names[kept++] = whole;
    }
    graft_free(readme);
    graft_free(path);
    graft_free(keep);
    if (status) return graft_dir_list_free(f.names, kept), status;
    *files = f.names, *n = kept;
    return GRAFT_OK;
}
