/* core/cli/args.c - see args.h: the words of the command line and a YAML file become one mapping, its values get the table's types.
 *
 *   train.yaml            -> mapping (YAML 1.1)        \
 *   key=value a.b=value   -> YAML scalars, dots nest    > one object, later wins -> typed object -> getters, graft_config for plugins
 *   --key value --no_key  -> text as it stands         /
 */
#include "core/cli/args.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/yaml.h"
#include "core/cli/args_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct graft_args {
    graft_arena *arena;
    const char *file; /* the YAML file, or NULL */
    graft_json *raw;  /* keys as given; values of the command line have line 0 */
    graft_json *typed;
    const graft_config *config;
    const char **words;
    size_t n_words;
};

const graft_arg_group *graft_arg_groups(size_t *n)
{
    static graft_arg_group all[8];
    if (!all[0].n) {
        const graft_arg_group *const from[] = {&graft_args_model, &graft_args_data, &graft_args_training, &graft_args_tuning, &graft_args_generation, &graft_args_own, &graft_args_evaluation, &graft_args_older};
        for (size_t i = 0; i < 8; i++) all[i] = *from[i];
    }
    *n = 8;
    return all;
}

const graft_arg *graft_arg_find(const char *name)
{
    size_t n;
    const graft_arg_group *g = graft_arg_groups(&n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < g[i].n; k++)
            if (!strcmp(g[i].args[k].name, name)) return &g[i].args[k];
    return NULL;
}

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory while reading the arguments"); }

/* Where a value was given, for errors. */
static const char *place_of(const graft_args *x, const graft_json *v)
{
    if (!v->line || !x->file) return "command line";
    const char *place = graft_arena_printf(x->arena, "%s:%d:%d", x->file, (int)v->line, (int)v->column);
    return place ? place : x->file;
}

/* ---- mapping ------------------------------------------------------------------------------------------------------------ */

/* Puts v under key into object; a key that is no name of the table and holds dots goes into objects: a.b=3 is {a: {b: 3}}. */
static graft_status put_path(graft_arena *a, graft_json *object, const char *key, graft_json *v, graft_error *err)
{
    const char *dot = strchr(key, '.');
    if (!dot || dot == key || !dot[1] || graft_arg_find(key)) {
        graft_json_put(a, object, key, v);
        return GRAFT_OK;
    }
    char *head = graft_arena_copy(a, key, (size_t)(dot - key));
    if (!head) return no_memory(err);
    const graft_json *old = graft_json_get(object, head);
    graft_json *inner = old && old->type == GRAFT_JSON_OBJECT ? graft_json_copy(a, old) : graft_json_new(a, GRAFT_JSON_OBJECT);
    if (!inner) return no_memory(err);
    const graft_status s = put_path(a, inner, dot + 1, v, err);
    if (!s) graft_json_put(a, object, head, inner);
    return s;
}

static void clear_place(graft_json *v) { v->line = v->column = 0; }

/* key=value: the value in YAML's spelling. A number or truth value for a key that is text keeps the spelling. */
static graft_status put_word(graft_arena *a, graft_json *object, const char *word, graft_error *err)
{
    const char *equals = strchr(word, '=');
    char *key = graft_arena_copy(a, word, equals ? (size_t)(equals - word) : strlen(word));
    if (!key) return no_memory(err);
    const graft_json *v = NULL;
    graft_status s = equals ? graft_yaml_scalar(a, "command line", equals + 1, &v, err) : GRAFT_OK;
    if (s) return s;
    const graft_arg *arg = graft_arg_find(key);
    const int textual = arg && (arg->type == GRAFT_ARG_TEXT || arg->type == GRAFT_ARG_LIST);
    graft_json *mine;
    if (!v) mine = graft_json_new(a, GRAFT_JSON_NULL);
    else if (textual && (v->type == GRAFT_JSON_BOOL || v->type == GRAFT_JSON_NUMBER)) mine = graft_json_text(a, equals + 1, strlen(equals + 1));
    else mine = graft_json_copy(a, v);
    if (!mine) return no_memory(err);
    clear_place(mine);
    return put_path(a, object, key, mine, err);
}

static graft_status put_yaml(graft_arena *a, const char *name, const char *yaml, size_t bytes, graft_json *object, graft_error *err)
{
    const graft_json *doc = NULL;
    const graft_status s = graft_yaml_parse(a, name, yaml, bytes, &doc, err);
    if (s) return s;
    if (!doc || doc->type == GRAFT_JSON_NULL) return GRAFT_OK; /* an empty file */
    if (doc->type != GRAFT_JSON_OBJECT) return graft_fail(err, GRAFT_BAD_INPUT, name, "expected lines of the form key: value, found a %s", doc->type == GRAFT_JSON_ARRAY ? "list" : "single value");
    for (const graft_json *m = doc->child; m; m = m->next) {
        graft_json *v = graft_json_copy(a, m);
        if (!v) return no_memory(err);
        v->line = m->line;
        v->column = m->column;
        graft_json_put(a, object, m->key, v);
    }
    return GRAFT_OK;
}

graft_status graft_args_mapping(graft_arena *a, const char *name, const char *yaml, size_t bytes, int n, const char *const *words, graft_json **out, graft_error *err)
{
    *out = graft_json_new(a, GRAFT_JSON_OBJECT);
    if (!*out) return no_memory(err);
    graft_status s = put_yaml(a, name, yaml, bytes, *out, err);
    for (int i = 0; !s && i < n; i++) s = put_word(a, *out, words[i], err);
    return s;
}

/* ---- words ------------------------------------------------------------------------------------------------------------------ */

static int ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), k = strlen(end);
    return n > k && !strcmp(text + n - k, end);
}

static int is_config_file(const char *word) { return ends_with(word, ".yaml") || ends_with(word, ".yml") || ends_with(word, ".json"); }

/* 1 or 0 for what argparse takes as a truth value, else -1. */
static int truth_of(const char *t)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "y", "t", "1", "on"}, *const no[] = {"false", "False", "FALSE", "no", "No", "n", "f", "0", "off"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (!strcmp(t, yes[i])) return 1;
        if (!strcmp(t, no[i])) return 0;
    }
    return -1;
}

/* --name value, --name=value, --name (a flag), --no_name. *i moves past what was used. */
static graft_status put_flag(graft_args *x, int n, char *const *words, int positional, int *i, graft_error *err)
{
    const char *equals = strchr(words[*i], '=');
    char *name = graft_arena_copy(x->arena, words[*i] + 2, equals ? (size_t)(equals - words[*i] - 2) : strlen(words[*i] + 2));
    if (!name) return no_memory(err);
    for (char *c = name; *c; c++) *c = *c == '-' ? '_' : *c;
    const graft_arg *arg = graft_arg_find(name);
    const char *value = equals ? equals + 1 : NULL, *next = *i + 1 < n ? words[*i + 1] : NULL;
    if (!arg && !value && !strncmp(name, "no_", 3) && graft_arg_find(name + 3) && graft_arg_find(name + 3)->type == GRAFT_ARG_FLAG) {
        name += 3;
        value = "false";
    } else if (!arg && positional) {
        return graft_args_unknown("command line", name, err);
    } else if (!value && arg && arg->type == GRAFT_ARG_FLAG) {
        value = next && (truth_of(next) >= 0 || !strcmp(next, "null")) ? words[++*i] : "true";
    } else if (!value && next && strncmp(next, "--", 2)) {
        value = words[++*i];
    } else if (!value && arg) {
        return graft_fail(err, GRAFT_BAD_INPUT, "command line", "--%s needs a value after it", name);
    } else if (!value) {
        value = "true";
    }
    const graft_json *v = NULL;
    graft_json *mine = NULL;
    if (!arg || arg->type == GRAFT_ARG_ANY) {
        const graft_status s = graft_yaml_scalar(x->arena, "command line", value, &v, err);
        if (s) return s;
        mine = graft_json_copy(x->arena, v);
    } else mine = graft_json_text(x->arena, value, strlen(value));
    if (!mine) return no_memory(err);
    clear_place(mine);
    return put_path(x->arena, x->raw, name, mine, err);
}

static graft_status read_file(graft_args *x, const char *path, graft_error *err)
{
    if (x->file) return graft_fail(err, GRAFT_BAD_INPUT, "command line", "two files, %s and %s: expected one; give single settings as key=value", x->file, path);
    char *text = NULL;
    size_t bytes = 0;
    graft_status s = graft_file_read(path, 1 << 22, &text, &bytes, err);
    if (s) return s;
    x->file = path;
    /* The command line wins wherever the file stands: what was said so far is put again on top. */
    graft_json *said = x->raw;
    x->raw = graft_json_new(x->arena, GRAFT_JSON_OBJECT);
    s = x->raw ? put_yaml(x->arena, path, text, bytes, x->raw, err) : no_memory(err);
    for (const graft_json *m = said->child; !s && m; m = m->next) {
        graft_json *v = graft_json_copy(x->arena, m);
        if (v) clear_place(v), graft_json_put(x->arena, x->raw, m->key, v);
        else s = no_memory(err);
    }
    graft_free(text);
    return s;
}

static graft_status read_words(graft_args *x, int n, char *const *words, int positional, graft_error *err)
{
    graft_status s = GRAFT_OK;
    for (int i = 0; !s && i < n; i++) {
        const char *w = words[i], *equals = strchr(w, '=');
        const size_t key_bytes = strspn(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.");
        const int assigns = equals && equals > w && (size_t)(equals - w) == key_bytes;
        if (!strncmp(w, "--", 2) && w[2]) s = put_flag(x, n, words, positional, &i, err);
        else if (assigns) s = put_word(x->arena, x->raw, w, err);
        else if (is_config_file(w)) s = read_file(x, w, err);
        else if (positional) x->words[x->n_words++] = w;
        else s = graft_fail(err, GRAFT_BAD_INPUT, "command line", "'%s' is neither a .yaml or .json file nor key=value nor a --flag", w);
    }
    return s;
}

/* ---- types ---------------------------------------------------------------------------------------------------------------- */

static const char *const type_names[] = {"text", "text or a list", "a whole number", "a number", "true or false", "a value"};

/* The value as the person wrote it, short. */
static const char *spelling(graft_arena *a, const graft_json *v)
{
    graft_str s;
    graft_str_init(&s, 0);
    graft_json_write(&s, v, 0, 0);
    const char *copy = graft_arena_printf(a, "%.60s%s", s.failed ? "?" : s.data, s.bytes > 60 ? "..." : "");
    graft_str_free(&s);
    return copy ? copy : "?";
}

static graft_status wrong_type(const graft_args *x, const graft_arg *arg, const graft_json *v, graft_error *err)
{
    return graft_fail(err, GRAFT_BAD_INPUT, place_of(x, v), "%s must be %s, found %s", arg->name, type_names[arg->type], spelling(x->arena, v));
}

/* Numbers: as numbers, or as text that spells one (LLaMA-Factory's users quote them). Whole numbers may be written 2.0 or 1e3 only when they are whole. */
static graft_json *to_number(graft_arena *a, const graft_arg *arg, const graft_json *v)
{
    double r;
    int64_t i = 0;
    int whole = 0;
    if (v->type == GRAFT_JSON_NUMBER) {
        r = v->number;
        whole = v->integral;
        i = v->integer;
    } else if (v->type == GRAFT_JSON_TEXT && v->bytes && v->bytes < 64) {
        const char *text = v->text + strspn(v->text, " ");
        char *end = NULL;
        if (!strchr("+-.0123456789", *text)) return NULL;
        r = strtod(text, &end);
        end += strspn(end, " ");
        if (end == text || *end) return NULL;
        char *stop = NULL;
        i = strtoll(text, &stop, 10);
        whole = stop != text && !*stop && fabs(r) < 0x1p63;
    } else return NULL;
    if (arg->type == GRAFT_ARG_REAL) return graft_json_real(a, r);
    if (!whole && v->type == GRAFT_JSON_NUMBER && r == floor(r) && fabs(r) < 0x1p53) i = (int64_t)r, whole = 1;
    return whole ? graft_json_int(a, i) : NULL;
}

static graft_json *to_flag(graft_arena *a, const graft_json *v)
{
    if (v->type == GRAFT_JSON_BOOL) return graft_json_flag(a, v->integer != 0);
    if (v->type == GRAFT_JSON_NUMBER && v->integral && (v->integer == 0 || v->integer == 1)) return graft_json_flag(a, (int)v->integer);
    if (v->type == GRAFT_JSON_TEXT && truth_of(v->text) >= 0) return graft_json_flag(a, truth_of(v->text));
    return NULL;
}

/* The text of a scalar; YAML's `no` for a key whose choices have "no" is that choice. */
static const char *scalar_text(const graft_arg *arg, const graft_json *v)
{
    if (v->type == GRAFT_JSON_BOOL) return !v->integer && arg->choices && strstr(arg->choices, "no|") == arg->choices ? "no" : v->integer ? "true"
                                                                                                                                          : "false";
    return v->type == GRAFT_JSON_TEXT || v->type == GRAFT_JSON_NUMBER ? v->text : NULL;
}

/* Text, or for a LIST the parts "a, b" or [a, b] joined by single commas. */
static graft_json *to_text(graft_arena *a, const graft_arg *arg, const graft_json *v)
{
    if (arg->type == GRAFT_ARG_TEXT) {
        const char *text = scalar_text(arg, v);
        return text ? graft_json_text(a, text, strlen(text)) : NULL;
    }
    graft_str s;
    graft_json *out = NULL;
    graft_str_init(&s, 1 << 20);
    const graft_json *item = v->type == GRAFT_JSON_ARRAY ? v->child : v;
    for (int first = 1; item; item = v->type == GRAFT_JSON_ARRAY ? item->next : NULL, first = 0) {
        const char *text = scalar_text(arg, item);
        if (!text) goto out;
        if (!first) graft_str_add(&s, ",", 1);
        while (*text) {
            const size_t part = strcspn(text, ",");
            size_t from = strspn(text, " "), to = part;
            if (from > part) from = part;
            while (to > from && text[to - 1] == ' ') to--;
            graft_str_add(&s, text + from, to - from);
            text += part;
            if (*text) graft_str_add(&s, ",", 1), text++;
        }
    }
    if (!s.failed) out = graft_json_text(a, s.data, s.bytes);
out:
    graft_str_free(&s);
    return out;
}

static int among(const char *choices, const char *word)
{
    const size_t n = strlen(word);
    for (const char *c = choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL)
        if (!strncmp(c, word, n) && (c[n] == '|' || !c[n])) return 1;
    return 0;
}

static graft_status check_choice(const graft_args *x, const graft_arg *arg, const graft_json *given, const graft_json *v, graft_error *err)
{
    if (!arg->choices || v->type != GRAFT_JSON_TEXT || among(arg->choices, v->text)) return GRAFT_OK;
    graft_str list;
    graft_str_init(&list, 0);
    for (const char *c = arg->choices; *c; c++) *c == '|' ? graft_str_text(&list, ", ") : graft_str_add(&list, c, 1);
    const graft_status s = graft_fail(err, GRAFT_BAD_INPUT, place_of(x, given), "%s must be one of %s, found %s", arg->name, list.data, spelling(x->arena, given));
    graft_str_free(&list);
    return s;
}

static graft_status convert(graft_args *x, const graft_arg *arg, const graft_json *v, graft_error *err)
{
    graft_json *typed = NULL;
    const int null_word = v->type == GRAFT_JSON_TEXT && !strcmp(v->text, "null") && (arg->type == GRAFT_ARG_INT || arg->type == GRAFT_ARG_REAL || arg->type == GRAFT_ARG_FLAG);
    if (v->type == GRAFT_JSON_NULL || null_word) typed = graft_json_new(x->arena, GRAFT_JSON_NULL);
    else switch (arg->type) {
        case GRAFT_ARG_INT:
        case GRAFT_ARG_REAL: typed = to_number(x->arena, arg, v); break;
        case GRAFT_ARG_FLAG: typed = to_flag(x->arena, v); break;
        case GRAFT_ARG_ANY: typed = graft_json_copy(x->arena, v); break;
        default: typed = to_text(x->arena, arg, v); break;
        }
    if (!typed) return wrong_type(x, arg, v, err);
    const graft_status s = check_choice(x, arg, v, typed, err);
    if (s) return s;
    typed->line = v->line;
    typed->column = v->column;
    graft_json_put(x->arena, x->typed, arg->name, typed);
    return GRAFT_OK;
}

static graft_status convert_all(graft_args *x, graft_error *err)
{
    graft_status s = GRAFT_OK;
    for (const graft_json *m = x->raw->child; !s && m; m = m->next) {
        const graft_arg *arg = graft_arg_find(m->key);
        if (arg && arg->status == GRAFT_ARG_ALIAS) arg = graft_arg_find(arg->note);
        if (arg) s = convert(x, arg, m, err);
        else {
            graft_json *v = graft_json_copy(x->arena, m);
            if (!v) return no_memory(err);
            v->line = m->line;
            v->column = m->column;
            graft_json_put(x->arena, x->typed, m->key, v);
        }
    }
    return s;
}

graft_status graft_args_parse(graft_arena *a, int n, char *const *words, int positional, graft_args **out, graft_error *err)
{
    *out = NULL;
    graft_args *x = graft_arena_alloc(a, sizeof *x);
    if (!x) return no_memory(err);
    x->arena = a;
    x->raw = graft_json_new(a, GRAFT_JSON_OBJECT);
    x->typed = graft_json_new(a, GRAFT_JSON_OBJECT);
    x->words = graft_arena_alloc(a, ((size_t)n + 1) * sizeof *x->words);
    if (!x->raw || !x->typed || !x->words) return no_memory(err);
    graft_status s = read_words(x, n, words, positional, err);
    if (!s) s = convert_all(x, err);
    if (s) return s;
    x->config = graft_config_new(a, x->file ? x->file : "command line", x->typed);
    if (!x->config) return no_memory(err);
    *out = x;
    return GRAFT_OK;
}

const char *const *graft_args_words(const graft_args *x, size_t *n)
{
    *n = x->n_words;
    return x->words;
}

const graft_json *graft_args_object(const graft_args *x) { return x->typed; }
const graft_config *graft_args_config(const graft_args *x) { return x->config; }
