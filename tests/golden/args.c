/* tests/golden/args.c - the arguments: what LLaMA-Factory's parser makes of YAML, words and flags, its table of arguments, its rules.
 *
 *     args/parse.jsonl      {"yaml", "cli": [words], "result" | "error"}   {"flags": [words], "changed" | "error", "left_over"}
 *     args/arguments.json   {"arguments": {class: [{"name", "type", "default", "choices"}]}}
 *     args/rules.json       {"rules": [{"condition", "example": {key: value}, "raises"}]}: those with an example were tried
 *
 * The command line is a program and no library, so its sources are part of this one. */
#include "core/cli/args.c"
#include "core/cli/args_data.c"
#include "core/cli/args_model.c"
#include "core/cli/args_own.c"
#include "core/cli/args_read.c"
#include "core/cli/args_rules.c"
#include "core/cli/args_training.c"
#include "core/cli/args_tuning.c"

#include "tests/golden/golden.h"

#include <stdio.h>

static int same(const graft_json *x, const graft_json *y)
{
    if (x->type == GRAFT_JSON_NUMBER && !isfinite(x->number) && y->type == GRAFT_JSON_TEXT) return !strcmp(y->text, isnan(x->number) ? "nan" : x->number > 0 ? "inf"
                                                                                                                                                             : "-inf"); /* the fixture's spelling */
    if (x->type != y->type || x->count != y->count) return 0;
    if (x->type == GRAFT_JSON_NUMBER) return x->number == y->number && x->integral == y->integral;
    if (x->type == GRAFT_JSON_BOOL) return x->integer == y->integer;
    if (x->type == GRAFT_JSON_TEXT) return x->bytes == y->bytes && !memcmp(x->text, y->text, x->bytes);
    for (const graft_json *p = x->child, *q = y->child; p; p = p->next, q = q->next) {
        const graft_json *other = x->type == GRAFT_JSON_OBJECT ? graft_json_get(y, p->key) : q;
        if (!other || !same(p, other)) return 0;
    }
    return 1;
}

/* ---- parse.jsonl ------------------------------------------------------------------------------------------------------------- */

static void mapping(graft_arena *a, const graft_json *c)
{
    const graft_json *yaml = graft_json_get(c, "yaml"), *want = graft_json_get(c, "result"), *cli = graft_json_get(c, "cli");
    graft_error err = GRAFT_ERROR_INIT;
    graft_json *found = NULL;
    const char *words[64];
    int n = 0;
    for (const graft_json *w = cli ? cli->child : NULL; w && n < 64; w = w->next) words[n++] = w->text;
    const graft_status s = graft_args_mapping(a, "case", yaml->text, yaml->bytes, n, words, &found, &err);
    if (!want) golden_equal("refused files", s == GRAFT_BAD_INPUT);
    else if (s) golden_fail("mappings", "%s: %s", yaml->text, err.message);
    else if (!same(found, want)) golden_fail("mappings", "%s: another mapping", yaml->text);
    else golden_equal("mappings", 1);
}

/* Keys that follow from others there; here what they stand for is done without them. */
static int follows(const char *key) { return !strcmp(key, "dataloader_pin_memory") || !strcmp(key, "cutoff_len"); }

/* Lists are "a,b" here; of several values behind one flag the first is looked at. */
static int same_value(const graft_json *found, const graft_json *want)
{
    if (want->type != GRAFT_JSON_ARRAY) return same(found, want);
    return found->type == GRAFT_JSON_TEXT && want->child && !strncmp(found->text, want->child->text, strlen(want->child->text));
}

static void flags(graft_arena *a, const graft_json *c)
{
    const graft_json *list = graft_json_get(c, "flags"), *error = graft_json_get(c, "error"), *left = graft_json_get(c, "left_over"), *changed = graft_json_get(c, "changed");
    graft_error err = GRAFT_ERROR_INIT;
    graft_args *x = NULL;
    char *words[64], line[400] = "";
    int n = 0;
    for (const graft_json *w = list->child; w && n < 64; w = w->next) {
        words[n++] = graft_arena_copy(a, w->text, w->bytes);
        snprintf(line + strlen(line), sizeof line - strlen(line), "%s ", w->text);
    }
    graft_status s = graft_args_parse(a, n, words, 0, &x, &err);
    if (!s) s = graft_args_finish(x, NULL, &err);
    if (error && !strcmp(error->text, "ValueError")) return; /* of the machine that it ran on, or of a rule: rules.json */
    if (error && n == 1 && graft_arg_find(words[0] + 2) && graft_arg_find(words[0] + 2)->type == GRAFT_ARG_FLAG) return golden_equal("a flag without a value is true", !s);
    if (error || (left && left->count)) return s ? golden_equal("refused flags", 1) : golden_fail("refused flags", "%swas accepted", line);
    if (s) return golden_fail("flags", "%s: %s", line, err.message);
    for (const graft_json *m = changed ? changed->child : NULL; m; m = m->next) {
        const graft_json *found = follows(m->key) ? NULL : graft_args_value(x, m->key);
        if (follows(m->key)) continue;
        if (found && same_value(found, m)) golden_equal("flags", 1);
        else golden_fail("flags", "%s: %s has another value", line, m->key);
    }
}

static void parse_file(const char *file)
{
    graft_error err = GRAFT_ERROR_INIT;
    char *data = NULL;
    size_t bytes = 0;
    if (graft_file_read(file, 1 << 26, &data, &bytes, &err)) return golden_error("file", &err);
    for (char *line = data, *next; line && *line; line = next) {
        graft_arena *a = graft_arena_new();
        const graft_json *c = NULL;
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        if (*line && graft_json_parse(a, "case", line, strlen(line), GRAFT_JSON_ALLOW_NAN, &c, &err)) golden_error("file", &err);
        else if (graft_json_get(c, "yaml")) mapping(a, c);
        else if (graft_json_get(c, "flags")) flags(a, c);
        graft_arena_free(a);
    }
    graft_free(data);
}

/* ---- arguments.json ------------------------------------------------------------------------------------------------------------ */

static int same_default(const graft_arg *arg, const graft_json *want)
{
    const char *f = arg->fallback;
    if (!want || want->type == GRAFT_JSON_NULL) return !f;
    if (want->type == GRAFT_JSON_BOOL) return f && !strcmp(f, want->integer ? "true" : "false");
    if (want->type == GRAFT_JSON_NUMBER) return f && strtod(f, NULL) == want->number;
    if (want->type == GRAFT_JSON_TEXT) return want->bytes ? f && !strcmp(f, want->text) : !f;
    return f && !strcmp(f, "[]");
}

/* The plain types; unions and names of classes hold anything that is written. */
static int same_type(const graft_arg *arg, const char *type)
{
    const size_t n = strcspn(type, " ");
    if (!strncmp(type, "bool", n)) return arg->type == GRAFT_ARG_FLAG;
    if (!strncmp(type, "int", n)) return arg->type == GRAFT_ARG_INT;
    if (!strncmp(type, "float", n)) return arg->type == GRAFT_ARG_REAL;
    if (!strcmp(type, "str") || !strcmp(type, "str | None")) return arg->type == GRAFT_ARG_TEXT || arg->type == GRAFT_ARG_LIST;
    return 1;
}

static void table_file(const char *file)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    const graft_json *doc = NULL, *classes;
    if (graft_json_parse_file(a, file, 1 << 26, GRAFT_JSON_ALLOW_NAN, &doc, &err)) golden_error("file", &err);
    classes = graft_json_get(doc, "arguments");
    for (const graft_json *class = classes ? classes->child : NULL; class; class = class->next)
        for (const graft_json *row = class->child; row; row = row->next) {
            const char *name = graft_json_get(row, "name")->text;
            const graft_json *type = graft_json_get(row, "type"), *choices = graft_json_get(row, "choices");
            const graft_arg *mine = graft_arg_find(name);
            if (!mine) {
                golden_fail("arguments", "%s is missing", name);
                continue;
            }
            if (!same_default(mine, graft_json_get(row, "default"))) golden_fail("defaults", "%s has the default %s", name, mine->fallback ? mine->fallback : "none");
            if (type && !same_type(mine, type->text)) golden_fail("types", "%s is %s there", name, type->text);
            for (const graft_json *w = choices && mine->choices ? choices->child : NULL; w; w = w->next)
                if (!among(mine->choices, w->text)) golden_fail("choices", "%s takes %s there", name, w->text);
            golden_equal("arguments", mine->status == GRAFT_ARG_ACTS || mine->status == GRAFT_ARG_METHOD || mine->note);
        }
    graft_arena_free(a);
}

/* ---- rules.json ---------------------------------------------------------------------------------------------------------------- */

static graft_status try_example(golden_session *s, graft_arena *a, const graft_json *example, graft_error *err)
{
    char file[4200];
    char *words[] = {file};
    graft_args *x = NULL;
    graft_str text;
    graft_str_init(&text, 0);
    graft_json_write(&text, example, 0, 0);
    snprintf(file, sizeof file, "%s/rule.json", s->work);
    graft_status status = text.failed ? GRAFT_NO_MEMORY : graft_file_replace(file, text.data, text.bytes, err);
    graft_str_free(&text);
    if (!status) status = graft_args_parse(a, 1, words, 0, &x, err);
    if (!status) status = graft_args_check(x, s->registry, 0, err);
    for (const char *p = status ? NULL : graft_args_text(x, "finetuning_type"); p && !status; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
        const graft_entry *e = NULL;
        status = graft_registry_need(s->registry, GRAFT_KIND_METHOD, graft_arena_copy(a, p, strcspn(p, ",")), &e, err);
    }
    return status ? status : graft_args_finish(x, "some", err);
}

static void rules_file(golden_session *s, const char *file)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    const graft_json *doc = NULL, *list;
    if (graft_json_parse_file(a, file, 1 << 26, GRAFT_JSON_ALLOW_NAN, &doc, &err)) golden_error("file", &err);
    list = graft_json_get(doc, "rules");
    for (const graft_json *r = list ? list->child : NULL; r; r = r->next) {
        const graft_json *example = graft_json_get(r, "example"), *raises = graft_json_get(r, "raises"), *condition = graft_json_get(r, "condition");
        graft_error why = GRAFT_ERROR_INIT;
        if (!example) continue;
        const graft_status status = try_example(s, a, example, &why);
        if (raises && !strcmp(raises->text, "PackageNotFoundError")) continue; /* a library that is no part of this program */
        if (raises && status) golden_equal("rules", 1);
        else if (raises) golden_fail("rules", "accepted: %s", condition ? condition->text : "?");
        else if (status) golden_fail("accepted", "%s: %s", condition ? condition->text : "?", why.message);
        else golden_equal("accepted", 1);
    }
    graft_arena_free(a);
}

int golden_args(golden_session *s, const char *path)
{
    static const char *const names[] = {"parse.jsonl", "arguments.json", "rules.json"};
    int found = 0;
    for (size_t i = 0; i < 3; i++) {
        char file[4200];
        snprintf(file, sizeof file, "%s/%s", path, names[i]);
        if (!graft_path_is_dir(path)) {
            if (strcmp(graft_path_base(path), names[i]) != 0) continue;
            snprintf(file, sizeof file, "%s", path);
        }
        if (!graft_path_exists(file)) continue;
        found = 1;
        golden_case(file);
        if (i == 0) parse_file(file);
        if (i == 1) table_file(file);
        if (i == 2) rules_file(s, file);
    }
    return found;
}
