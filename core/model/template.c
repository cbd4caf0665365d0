/* core/model/template.c - reads formats/templates/NAME.json, fits a tokenizer to it and turns rendered units into ids.
 *
 *   { "name": "qwen",
 *     "prefix": SLOTS, "system": SLOTS, "user": SLOTS, "assistant": SLOTS, "function": SLOTS, "observation": SLOTS,
 *     "tools": "qwen",                    how tools and calls are written (template_tools.c)
 *     "tools_text": "<|tool|>{{content}}", tools are told by their JSON as it came, inside this text
 *     "default_system": "...",            when the data has none
 *     "stop_words": ["<|im_end|>"],       become special tokens and end an answer; "replace_eos": the first of them is the tokenizer's eos
 *     "text_end": "<|end_of_text|>",      ends a pretraining text in place of the tokenizer's eos
 *     "efficient_eos": true,              one eos at the end of the sample instead of one an answer
 *     "system_in_user": true,             the system text goes into the first user text
 *     "reasoning": true, "thought_words": ["<think>\n", "\n</think>\n\n"], "empty_thought": "...", "tool_call_words": ["<tool_call>", "</tool_call>"],
 *     "replace_jinja_template": true }    exports write this template over the model's own
 *   SLOTS: a list of texts ({{content}} is the message, {{idx}} the number of the user's turn), {"special": "bos"|"eos"} and {"token": "<|user|>"}.
 *
 * Every text of a slot is tokenised by itself: that is what the reference does, and ids differ otherwise. Limits: 1 MiB a file, 16 units a slot. */
#include "core/model/template_parts.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

#include <stdio.h>
#include <string.h>

typedef struct reader {
    graft_template *t;
    const char *path;
    graft_error *err;
    char where[256];
} reader;

static const char *place(reader *r, const graft_json *v)
{
    snprintf(r->where, sizeof r->where, "%s:%d:%d", r->path, v->line, v->column);
    return r->where;
}

#define REFUSE(r_, v_, ...) graft_fail((r_)->err, GRAFT_BAD_INPUT, place(r_, v_), __VA_ARGS__)

static graft_slice copy(reader *r, const graft_json *v)
{
    return (graft_slice){graft_arena_copy(r->t->arena, v->text, v->bytes), v->bytes};
}

static graft_status unit_of(reader *r, const graft_json *v, graft_unit *u)
{
    const graft_json *special = graft_json_get(v, "special"), *token = graft_json_get(v, "token");
    if (v->type == GRAFT_JSON_TEXT) *u = (graft_unit){GRAFT_UNIT_TEXT, copy(r, v).s, v->bytes};
    else if (graft_json_is(special, "bos")) *u = (graft_unit){GRAFT_UNIT_BOS, "", 0};
    else if (graft_json_is(special, "eos")) *u = (graft_unit){GRAFT_UNIT_EOS, "", 0};
    else if (token && token->type == GRAFT_JSON_TEXT) *u = (graft_unit){GRAFT_UNIT_TOKEN, copy(r, token).s, token->bytes};
    else return REFUSE(r, v, "a slot holds texts, {\"special\": \"bos\"}, {\"special\": \"eos\"} and {\"token\": text}; found something else");
    return u->text ? GRAFT_OK : graft_fail(r->err, GRAFT_NO_MEMORY, r->path, "out of memory");
}

static graft_status slots_of(reader *r, const graft_json *v, graft_slots *s)
{
    if (v->type != GRAFT_JSON_ARRAY || v->count > GRAFT_SLOTS_MAX) return REFUSE(r, v, "\"%s\" must be a list of at most %d texts and tokens", v->key, GRAFT_SLOTS_MAX);
    for (const graft_json *e = v->child; e; e = e->next)
        if (unit_of(r, e, &s->unit[s->n++])) return r->err->code;
    return GRAFT_OK;
}

static graft_status words_of(reader *r, const graft_json *v, graft_slice words[2])
{
    if (v->type != GRAFT_JSON_ARRAY || v->count != 2 || v->child->type != GRAFT_JSON_TEXT || v->child->next->type != GRAFT_JSON_TEXT) return REFUSE(r, v, "\"%s\" must be a list of two texts", v->key);
    words[0] = copy(r, v->child), words[1] = copy(r, v->child->next);
    return words[0].s && words[1].s ? GRAFT_OK : graft_fail(r->err, GRAFT_NO_MEMORY, r->path, "out of memory");
}

static graft_status stops_of(reader *r, const graft_json *v)
{
    if (v->type != GRAFT_JSON_ARRAY) return REFUSE(r, v, "\"stop_words\" must be a list of texts");
    r->t->stop_words = graft_arena_alloc(r->t->arena, sizeof(char *) * (size_t)(v->count + 1));
    if (!r->t->stop_words) return graft_fail(r->err, GRAFT_NO_MEMORY, r->path, "out of memory");
    for (const graft_json *e = v->child; e; e = e->next) {
        if (e->type != GRAFT_JSON_TEXT || !e->bytes) return REFUSE(r, e, "\"stop_words\" must be a list of texts");
        r->t->stop_words[r->t->n_stop_words++] = copy(r, e).s;
    }
    return GRAFT_OK;
}

enum { SLOTS,
       TEXT,
       FORMAT,
       FLAG,
       WORDS,
       STOPS,
       NAME };

static graft_status member_of(reader *r, const graft_json *v)
{
    graft_template *t = r->t;
    const struct {
        const char *key;
        int kind;
        void *to;
    } members[] = {
        {"name", NAME, NULL}, {"prefix", SLOTS, &t->prefix}, {"system", SLOTS, &t->system}, {"user", SLOTS, &t->user}, {"assistant", SLOTS, &t->assistant}, {"function", SLOTS, &t->function}, {"observation", SLOTS, &t->observation}, {"tools", FORMAT, &t->tools}, {"tools_text", TEXT, &t->tools_text}, {"text_end", TEXT, &t->text_end}, {"default_system", TEXT, &t->default_system}, {"empty_thought", TEXT, &t->empty_thought}, {"stop_words", STOPS, NULL}, {"thought_words", WORDS, t->thought}, {"tool_call_words", WORDS, t->call}, {"reasoning", FLAG, &t->reasoning}, {"system_in_user", FLAG, &t->system_in_user}, {"efficient_eos", FLAG, &t->efficient_eos}, {"replace_eos", FLAG, &t->replace_eos}, {"replace_jinja_template", FLAG, &t->replace_jinja}};
    const char *keys[sizeof members / sizeof *members];
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        keys[i] = members[i].key;
        if (strcmp(v->key, keys[i])) continue;
        switch (members[i].kind) {
        case SLOTS: return slots_of(r, v, members[i].to);
        case WORDS: return words_of(r, v, members[i].to);
        case STOPS: return stops_of(r, v);
        case FLAG:
            if (v->type != GRAFT_JSON_BOOL) return REFUSE(r, v, "\"%s\" must be true or false", v->key);
            *(int *)members[i].to = (int)v->integer;
            return GRAFT_OK;
        default:
            if (v->type != GRAFT_JSON_TEXT) return REFUSE(r, v, "\"%s\" must be a text", v->key);
            if (members[i].kind == TEXT) *(graft_slice *)members[i].to = copy(r, v);
            if (members[i].kind == FORMAT) *(const char **)members[i].to = copy(r, v).s;
            return GRAFT_OK;
        }
    }
    const char *near = graft_nearest(v->key, keys, sizeof keys / sizeof *keys);
    return REFUSE(r, v, "a template has no key \"%s\"%s%s%s", v->key, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static void empty_thought(graft_template *t)
{
    const char *both = graft_arena_printf(t->arena, "%s%s", t->thought[0].s, t->thought[1].s);
    t->empty_thought = (graft_slice){both, both ? strlen(both) : 0};
}

graft_template *graft_template_blank(const char *name, graft_error *err)
{
    graft_template *t = graft_calloc(1, sizeof *t);
    if (!t || !(t->arena = graft_arena_new()) || !(t->name = graft_arena_copy(t->arena, name, strlen(name)))) return graft_template_close(t), graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory"), NULL;
    t->tools = "default";
    t->thought[0] = (graft_slice){"<think>\n", 8}, t->thought[1] = (graft_slice){"\n</think>\n\n", 11};
    t->call[0] = (graft_slice){"<tool_call>", 11}, t->call[1] = (graft_slice){"</tool_call>", 12};
    empty_thought(t);
    return t;
}

static graft_status load(graft_template *t, const char *path, graft_error *err)
{
    reader r = {.t = t, .path = path, .err = err};
    graft_arena *a = graft_arena_new();
    const graft_json *root = NULL;
    graft_status status = a ? graft_json_parse_file(a, path, 1 << 20, GRAFT_JSON_STRICT_KEYS, &root, err) : graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory");
    if (!status && root->type != GRAFT_JSON_OBJECT) status = REFUSE(&r, root, "a template file holds one object");
    t->empty_thought = (graft_slice){0};
    for (const graft_json *v = status ? NULL : root->child; v && !status; v = v->next) status = member_of(&r, v);
    if (!status && (!t->user.n || !t->assistant.n)) status = REFUSE(&r, root, "a template needs \"user\" and \"assistant\"");
    if (!status && t->replace_eos && !t->n_stop_words) status = REFUSE(&r, root, "\"replace_eos\" needs a stop word to replace it by");
    if (!status && !t->empty_thought.s) empty_thought(t);
    if (!status && !t->function.n) t->function = t->assistant;
    if (!status && !t->observation.n) t->observation = t->user;
    graft_arena_free(a);
    return status;
}

static graft_status unknown_name(const char *dir, const char *name, graft_error *err)
{
    char **names = NULL;
    size_t n = 0, m = 0;
    if (graft_dir_list(dir, &names, &n, err)) return err->code;
    for (size_t i = 0; i < n; i++) {
        const size_t k = strlen(names[i]);
        if (k > 5 && !strcmp(names[i] + k - 5, ".json")) names[i][k - 5] = '\0', m++;
    }
    const char *near = graft_nearest(name, (const char *const *)names, n);
    const graft_status status = near ? graft_fail(err, GRAFT_BAD_INPUT, NULL, "no template is named \"%.80s\"; did you mean \"%s\"?", name, near)
                                     : graft_fail(err, GRAFT_BAD_INPUT, NULL, "no template is named \"%.80s\"; the %zu that there are lie in %s", name, m, dir);
    graft_dir_list_free(names, n);
    return status;
}

graft_status graft_template_open(const char *dir, const char *name, graft_template **out, graft_error *err)
{
    *out = NULL;
    graft_template *t = graft_template_blank(name, err);
    if (!t) return err->code;
    const char *file = graft_arena_printf(t->arena, "%s/%s.json", dir, name);
    graft_status status = GRAFT_OK;
    if (!file) status = graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    else if (!*name || strchr(name, '/') || name[0] == '.' || !graft_path_exists(file)) status = unknown_name(dir, name, err);
    else status = load(t, file, err);
    if (status) return graft_template_close(t), status;
    *out = t;
    return GRAFT_OK;
}

void graft_template_close(graft_template *t)
{
    if (!t) return;
    graft_arena_free(t->arena);
    graft_free(t);
}

graft_status graft_template_use_tools(graft_template *t, const char *tool_format, graft_error *err)
{
    const graft_tool_format *f = graft_tool_format_find(tool_format, err);
    if (!f) return err->code;
    t->tools = f->name, t->tools_text = (graft_slice){0};
    t->function = (graft_slots){.unit = {{GRAFT_UNIT_TEXT, "{{content}}", 11}, {GRAFT_UNIT_EOS, "", 0}}, .n = 2};
    return GRAFT_OK;
}

const char *graft_template_name(const graft_template *t) { return t->name; }
const char *graft_template_text_end(const graft_template *t) { return t->text_end.s; }
int graft_template_efficient_eos(const graft_template *t) { return t->efficient_eos; }

const char *graft_template_empty_thought(const graft_template *t, size_t *bytes)
{
    *bytes = t->reasoning ? t->empty_thought.n : 0;
    return t->reasoning ? t->empty_thought.s : NULL;
}

graft_status graft_template_fit(const graft_template *t, graft_tokenizer *tok, graft_error *err)
{
    int32_t id;
    size_t first = 0;
    if (t->replace_eos) {
        if (graft_tokenizer_add_special(tok, t->stop_words[0], &id, err)) return err->code;
        graft_tokenizer_set_eos(tok, id);
        first = 1;
    }
    if (graft_tokenizer_eos(tok) < 0) {
        if (graft_tokenizer_add_special(tok, "<|endoftext|>", &id, err)) return err->code;
        graft_tokenizer_set_eos(tok, id);
    }
    if (graft_tokenizer_pad(tok) < 0) graft_tokenizer_set_pad(tok, graft_tokenizer_eos(tok));
    for (size_t i = first; i < t->n_stop_words; i++)
        if (graft_tokenizer_add_special(tok, t->stop_words[i], &id, err)) return err->code;
    return GRAFT_OK;
}

const int32_t *graft_template_stops(const graft_template *t, const graft_tokenizer *tok, graft_arena *a, size_t *n)
{
    int32_t *ids = graft_arena_alloc(a, (t->n_stop_words + 1) * sizeof *ids);
    *n = 0;
    if (!ids) return NULL;
    if (graft_tokenizer_eos(tok) >= 0) ids[(*n)++] = graft_tokenizer_eos(tok);
    for (size_t i = 0; i < t->n_stop_words; i++) {
        const int32_t id = graft_tokenizer_id(tok, t->stop_words[i]);
        int seen = id < 0;
        for (size_t j = 0; j < *n; j++) seen |= ids[j] == id;
        if (!seen) ids[(*n)++] = id;
    }
    return ids;
}

static graft_status ids_of(const graft_template *t, const graft_tokenizer *tok, int split_special, const graft_units *units, graft_arena *a, int32_t **ids, size_t *n, graft_error *err)
{
    graft_ids v = {0};
    graft_status status = GRAFT_OK;
    for (size_t i = 0; i < units->n && !status; i++) {
        const graft_unit *u = &units->item[i];
        if (u->kind == GRAFT_UNIT_TEXT) {
            status = graft_tokenizer_encode(tok, u->text, u->bytes, split_special, &v, err);
            continue;
        }
        const int32_t id = u->kind == GRAFT_UNIT_BOS ? graft_tokenizer_bos(tok) : u->kind == GRAFT_UNIT_EOS ? graft_tokenizer_eos(tok)
                                                                                                            : graft_tokenizer_id(tok, u->text);
        if (id >= 0) status = graft_ids_add(&v, &id, 1, err);
        else if (u->kind == GRAFT_UNIT_TOKEN)
            status = graft_fail(err, GRAFT_BAD_INPUT, NULL, "template \"%s\" needs the token \"%s\", which the tokenizer does not have; choose the template of this model, or leave template out to take its own", t->name, u->text);
    }
    *n = v.n;
    *ids = graft_arena_alloc(a, (v.n + 1) * sizeof **ids);
    if (!status && !*ids) status = graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (!status && v.n) memcpy(*ids, v.ids, v.n * sizeof *v.ids);
    graft_ids_free(&v);
    return status;
}

graft_status graft_template_render_with(const graft_template *t, const graft_template_options *o, const graft_tokenizer *tok, graft_arena *a, const graft_message *messages, size_t n, const char *system,
                                        size_t system_bytes, const char *tools, graft_turn **turns, size_t *n_turns, graft_error *err)
{
    graft_unit_turn *units;
    if (graft_template_units(t, o, a, messages, n, system, system_bytes, tools, &units, n_turns, err)) return err->code;
    *turns = graft_arena_alloc(a, (*n_turns + 1) * sizeof **turns);
    if (!*turns) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    for (size_t i = 0; i < *n_turns; i++) {
        graft_turn *turn = &(*turns)[i];
        const graft_units *prompt = &units[i].prompt, thought = {prompt->n ? prompt->item + prompt->n - 1 : NULL, prompt->n > 0, 1};
        int32_t *ignored;
        if (ids_of(t, tok, o->split_special, &units[i].prompt, a, &turn->prompt, &turn->n_prompt, err) || ids_of(t, tok, o->split_special, &units[i].answer, a, &turn->answer, &turn->n_answer, err)) return err->code;
        turn->n_thought = 0;
        if (units[i].thought_in_prompt && ids_of(t, tok, o->split_special, &thought, a, &ignored, &turn->n_thought, err)) return err->code;
    }
    return GRAFT_OK;
}

graft_status graft_template_render(const graft_template *t, const graft_tokenizer *tok, graft_arena *a, const graft_message *messages, size_t n, const char *system, size_t system_bytes, const char *tools,
                                   graft_turn **turns, size_t *n_turns, graft_error *err)
{
    const graft_template_options o = {.one_turn = n % 2 == 1};
    return graft_template_render_with(t, &o, tok, a, messages, n, system, system_bytes, tools, turns, n_turns, err);
}
