/* core/model/template_units.c - a conversation as units of text by a template: LLaMA-Factory's rules for prefix, system, turns and thoughts.
 *
 * Message 0 opens with prefix, then the system slots when there is a system text or tools, then the user's; the others by their role. Replacing is
 * literal and once: the first {{content}} of a slot's text, then (user turns only) the first {{idx}} of the result, be it the user's own. */
#include "core/model/template_parts.h"

#include "core/base/error.h"

#include <stdio.h>
#include <string.h>

typedef struct build {
    const graft_template *t;
    const graft_template_options *o;
    graft_arena *a;
    graft_error *err;
} build;

static graft_status no_memory(build *b) { return graft_fail(b->err, GRAFT_NO_MEMORY, NULL, "out of memory while rendering a conversation"); }

static graft_status unit_add(build *b, graft_units *u, graft_unit unit)
{
    if (unit.kind == GRAFT_UNIT_TEXT && !unit.bytes) return GRAFT_OK;
    if (u->n == u->room) { /* arena memory: the old list is left behind */
        const size_t room = u->room ? u->room * 2 : 8;
        graft_unit *item = graft_arena_alloc(b->a, room * sizeof *item);
        if (!item) return no_memory(b);
        if (u->n) memcpy(item, u->item, u->n * sizeof *item);
        u->item = item, u->room = room;
    }
    u->item[u->n++] = unit;
    return GRAFT_OK;
}

/* text with the first `what` replaced by `with`; text itself when there is none. */
static graft_status replace_once(build *b, graft_slice *text, const char *what, graft_slice with)
{
    const size_t k = strlen(what);
    const char *at = text->n >= k ? memmem(text->s, text->n, what, k) : NULL;
    if (!at) return GRAFT_OK;
    const size_t before = (size_t)(at - text->s), n = text->n - k + with.n;
    char *out = graft_arena_alloc(b->a, n + 1);
    if (!out) return no_memory(b);
    memcpy(out, text->s, before);
    if (with.n) memcpy(out + before, with.s, with.n);
    memcpy(out + before + with.n, at + k, text->n - before - k);
    *text = (graft_slice){out, n};
    return GRAFT_OK;
}

/* idx < 0: {{idx}} stays. */
static graft_status slots_add(build *b, graft_units *u, const graft_slots *slots, graft_slice content, int idx)
{
    for (size_t i = 0; i < slots->n; i++) {
        graft_unit unit = slots->unit[i];
        if (unit.kind == GRAFT_UNIT_TEXT) {
            graft_slice text = {unit.text, unit.bytes};
            char number[16];
            snprintf(number, sizeof number, "%d", idx);
            if (replace_once(b, &text, "{{content}}", content) || (idx >= 0 && replace_once(b, &text, "{{idx}}", (graft_slice){number, strlen(number)}))) return b->err->code;
            unit.text = text.s, unit.bytes = text.n;
        }
        if (unit_add(b, u, unit)) return b->err->code;
    }
    return GRAFT_OK;
}

static graft_slice joined(build *b, graft_slice x, graft_slice y)
{
    char *out = graft_arena_alloc(b->a, x.n + y.n + 1);
    if (!out) return (graft_slice){0};
    if (x.n) memcpy(out, x.s, x.n);
    if (y.n) memcpy(out + x.n, y.s, y.n);
    return (graft_slice){out, x.n + y.n};
}

/* ---- thoughts ------------------------------------------------------------------------------------------------------------------------ */

static graft_slice stripped(graft_slice w)
{
    while (w.n && strchr(" \t\r\n\v\f", w.s[0])) w.s++, w.n--;
    while (w.n && strchr(" \t\r\n\v\f", w.s[w.n - 1])) w.n--;
    return w;
}

static int holds(graft_slice text, graft_slice word)
{
    word = stripped(word);
    return !word.n || (text.n >= word.n && memmem(text.s, text.n, word.s, word.n) != NULL);
}

static int has_thought(const graft_template *t, graft_slice answer) { return holds(answer, t->thought[0]) || holds(answer, t->thought[1]); }

/* Every exact opening .. closing goes, then leading newlines. */
static graft_slice without_thought(build *b, graft_slice text)
{
    const graft_slice open = b->t->thought[0], close = b->t->thought[1];
    char *out = graft_arena_alloc(b->a, text.n + 1);
    if (!out) return (graft_slice){0};
    size_t n = 0;
    for (size_t i = 0; i < text.n;) {
        const char *start = open.n && text.n - i >= open.n ? memmem(text.s + i, text.n - i, open.s, open.n) : NULL;
        const size_t from = start ? (size_t)(start - text.s) + open.n : text.n;
        const char *end = start && text.n - from >= close.n ? memmem(text.s + from, text.n - from, close.s, close.n) : NULL;
        const size_t keep = end ? (size_t)(start - text.s) : text.n;
        memcpy(out + n, text.s + i, keep - i);
        n += keep - i;
        i = end ? (size_t)(end - text.s) + close.n : text.n;
    }
    size_t skip = 0;
    while (skip < n && out[skip] == '\n') skip++;
    return (graft_slice){out + skip, n - skip};
}

/* ---- turns ----------------------------------------------------------------------------------------------------------------------------- */

static graft_status opening(build *b, graft_units *u, graft_slice system, const char *tools, graft_slice *in_user)
{
    const graft_template *t = b->t;
    if (slots_add(b, u, &t->prefix, (graft_slice){"", 0}, -1)) return b->err->code;
    if (!system.n && !(tools && *tools)) return GRAFT_OK;
    graft_slice text = {"", 0};
    if (tools && *tools && graft_tools_prompt(t, b->o, b->a, tools, &text, b->err)) return b->err->code;
    const graft_slice both = joined(b, system, text);
    if (!both.s) return no_memory(b);
    if (!t->system_in_user) return slots_add(b, u, &t->system, both, -1);
    *in_user = t->system.n ? (graft_slice){t->system.unit[0].text, t->system.unit[0].bytes} : both; /* only the first slot counts there */
    return t->system.n ? replace_once(b, in_user, "{{content}}", both) : GRAFT_OK;
}

static graft_status message_add(build *b, graft_units *u, const graft_message *m, graft_slice content, size_t index, graft_slice in_user)
{
    const graft_template *t = b->t;
    graft_slice call;
    switch (m->role) {
    case GRAFT_MESSAGE_USER:
        if (t->system_in_user) {
            const graft_slice both = joined(b, in_user, content);
            return both.s ? slots_add(b, u, &t->user, both, -1) : no_memory(b);
        }
        return slots_add(b, u, &t->user, content, (int)(index / 2));
    case GRAFT_MESSAGE_ASSISTANT: return slots_add(b, u, &t->assistant, content, -1);
    case GRAFT_MESSAGE_OBSERVATION: return slots_add(b, u, &t->observation, content, -1);
    case GRAFT_MESSAGE_FUNCTION: return graft_tools_call(t, b->a, content.s, content.n, &call, b->err) ? b->err->code : slots_add(b, u, &t->function, call, -1);
    }
    return graft_fail(b->err, GRAFT_INTERNAL, NULL, "a message has no role");
}

/* What thinking does to the answer of turn i of n, before and after rendering. history: this answer is context only. */
static graft_status turn_add(build *b, graft_unit_turn *turn, const graft_message *m, size_t i, size_t n, graft_slice system, const char *tools)
{
    const graft_template *t = b->t;
    const int answered = 2 * i + 1 < n, last = i + 1 == (n + 1) / 2;
    const int history = !last && (b->o->mask_history || b->o->one_turn);
    graft_slice in_user = {"", 0}, answer = answered ? (graft_slice){m[1].text, m[1].bytes} : (graft_slice){"", 0};
    if (!i && opening(b, &turn->prompt, system, tools, &in_user)) return b->err->code;
    if (message_add(b, &turn->prompt, &m[0], (graft_slice){m[0].text, m[0].bytes}, 2 * i, in_user)) return b->err->code;
    const int drop = t->reasoning && answered && ((b->o->thinking == GRAFT_THINKING_FALSE && (last || !b->o->one_turn)) || (history && !b->o->preserve_thinking));
    if (drop) answer = without_thought(b, answer);
    if (drop && !answer.s) return no_memory(b);
    const graft_unit empty = {GRAFT_UNIT_TEXT, t->empty_thought.s, t->empty_thought.n};
    const int context = !last && (b->o->one_turn || (b->o->mask_history && !b->o->preserve_thinking)); /* no empty thought there */
    const int wanted = t->reasoning && !context && !has_thought(t, answer);
    turn->thought_in_prompt = wanted && b->o->thinking != GRAFT_THINKING_TRUE && empty.bytes > 0;
    if (turn->thought_in_prompt && unit_add(b, &turn->prompt, empty)) return b->err->code;
    if (wanted && b->o->thinking == GRAFT_THINKING_TRUE && answered && unit_add(b, &turn->answer, empty)) return b->err->code;
    return answered ? message_add(b, &turn->answer, &m[1], answer, 2 * i + 1, in_user) : GRAFT_OK;
}

graft_status graft_template_units(const graft_template *t, const graft_template_options *o, graft_arena *a, const graft_message *messages, size_t n, const char *system, size_t system_bytes, const char *tools,
                                  graft_unit_turn **turns, size_t *n_turns, graft_error *err)
{
    build b = {t, o, a, err};
    *n_turns = (n + 1) / 2;
    *turns = graft_arena_alloc(a, (*n_turns + 1) * sizeof **turns);
    if (!*turns) return no_memory(&b);
    const graft_slice text = system ? (graft_slice){system, system_bytes} : t->default_system;
    for (size_t i = 0; i < *n_turns; i++)
        if (turn_add(&b, &(*turns)[i], messages + 2 * i, i, n, text, tools)) return err->code;
    return GRAFT_OK;
}
