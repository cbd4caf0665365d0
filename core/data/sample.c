/* core/data/sample.c - one record into one supervised sample: LLaMA-Factory's rules, step by step.
 *
 *   turns (prompt ids, answer ids), the newest first when history is masked
 *   while the budget (cutoff_len, less one for a final eos) lasts: keep the heads of both by graft_infer_seqlen, drop later turns whole
 *   prompt labels: -100, or the prompt itself (train_on_prompt); with efficient_eos the first label of a later turn is eos
 *   answer labels: the answer, or -100 for all but the newest (mask_history)
 *   efficient_eos: one eos at the very end, always */
#include "core/data/record.h"

#include "core/base/error.h"
#include "core/base/json.h"

#include <string.h>

/* ---- the host's side of a record ------------------------------------------------------------------------------------------------- */

static graft_record_copy *of(graft_record *r) { return (graft_record_copy *)r; }

static void record_turn(graft_record *base, graft_speaker who, const char *text, size_t bytes)
{
    graft_record_copy *r = of(base);
    if (r->n == r->room) { /* arena memory: the old list is left behind */
        const size_t room = r->room ? r->room * 2 : 8;
        graft_record_turn *turns = graft_arena_alloc(r->arena, room * sizeof *turns);
        if (!turns) {
            r->failed = 1;
            return;
        }
        if (r->n) memcpy(turns, r->turns, r->n * sizeof *turns);
        r->turns = turns, r->room = room;
    }
    const char *copy = graft_arena_copy(r->arena, text ? text : "", text ? bytes : 0);
    if (!copy) r->failed = 1;
    else r->turns[r->n++] = (graft_record_turn){who, copy, text ? bytes : 0};
}

static void record_flag(graft_record *base, const char *key, double value)
{
    graft_record_copy *r = of(base);
    if (!strcmp(key, "kto_label")) r->labelled = 1, r->desirable = value > 0;
    if (!strcmp(key, "chosen_calls")) r->chosen_calls = value > 0;
    if (!strcmp(key, "rejected_calls")) r->rejected_calls = value > 0;
}

static void record_drop(graft_record *base, const char *reason)
{
    graft_record_copy *r = of(base);
    if (!r->dropped && !(r->dropped = graft_arena_copy(r->arena, reason, strlen(reason)))) r->failed = 1;
}

void graft_record_init(graft_record_copy *r, graft_arena *a)
{
    static const graft_record_api api = {(uint32_t)sizeof(graft_record_api), record_turn, record_flag, record_drop};
    *r = (graft_record_copy){.base.api = &api, .arena = a};
}

/* ---- cutting ------------------------------------------------------------------------------------------------------------------------- */

void graft_infer_seqlen(int64_t source, int64_t target, int64_t cutoff, int64_t *keep_source, int64_t *keep_target)
{
    int64_t most;
    if (target * 2 < cutoff) most = cutoff;
    else if (source * 2 < cutoff) most = cutoff - source;
    else most = (int64_t)((double)cutoff * ((double)target / (double)(source + target)));
    *keep_target = most < target ? most : target;
    const int64_t rest = cutoff - *keep_target > 0 ? cutoff - *keep_target : 0;
    *keep_source = rest < source ? rest : source;
}

void graft_made_free(graft_made *m)
{
    graft_arena_free(m->arena);
    m->arena = NULL;
}

/* Ids and labels of the turns; kept[2 i], kept[2 i + 1]: tokens kept of prompt and answer of the i-th turn as they are taken. */
static graft_status lay_out(const graft_dataset_options *o, const graft_turn *turns, size_t n, int efficient, int32_t eos, const int64_t *kept, graft_made *out)
{
    int64_t total = efficient;
    for (size_t i = 0; i < 2 * n; i++) total += kept[i];
    out->ids = graft_arena_alloc(out->arena, sizeof(int32_t) * (size_t)(total + 1));
    out->labels = graft_arena_alloc(out->arena, sizeof(int32_t) * (size_t)(total + 1));
    if (!out->ids || !out->labels) return graft_fail(&out->err, GRAFT_NO_MEMORY, NULL, "out of memory for a sample");
    for (size_t place = 0; place < n; place++) {
        const size_t i = o->mask_history ? n - 1 - place : place; /* number of the turn as taken; turns stay in their order */
        const graft_turn *t = &turns[place];
        const int64_t s = kept[2 * i], g = kept[2 * i + 1];
        int32_t *ids = out->ids + out->n, *labels = out->labels + out->n;
        if (s) memcpy(ids, t->prompt, (size_t)s * sizeof *ids);
        if (g) memcpy(ids + s, t->answer, (size_t)g * sizeof *ids);
        for (int64_t k = 0; k < s + g; k++) labels[k] = (k < s ? o->train_on_prompt : !(o->mask_history && i)) ? ids[k] : -100;
        if (!o->train_on_prompt && efficient && i && s) labels[0] = eos;
        out->n += s + g;
    }
    if (efficient) out->ids[out->n] = out->labels[out->n] = eos, out->n++;
    return GRAFT_OK;
}

static graft_status cut_and_label(const graft_dataset_options *o, const graft_turn *turns, size_t n, int efficient, int32_t eos, graft_made *out)
{
    int64_t *kept = graft_arena_alloc(out->arena, (2 * n + 1) * sizeof *kept), total = efficient, all = efficient;
    if (!kept) return graft_fail(&out->err, GRAFT_NO_MEMORY, NULL, "out of memory for a sample");
    for (size_t i = 0; i < n; i++) {
        const graft_turn *t = &turns[o->mask_history ? n - 1 - i : i];
        all += (int64_t)(t->n_prompt + t->n_answer);
        if (total >= o->cutoff_len) continue; /* this turn and the ones behind it go whole */
        graft_infer_seqlen((int64_t)t->n_prompt, (int64_t)t->n_answer, o->cutoff_len - total, &kept[2 * i], &kept[2 * i + 1]);
        total += kept[2 * i] + kept[2 * i + 1];
    }
    out->cut = all - total;
    return lay_out(o, turns, n, efficient, eos, kept, out);
}

/* ---- from turns of a record to messages ------------------------------------------------------------------------------------------------ */

static const char *wrong_of(const graft_talk *c, const graft_record_copy *r, graft_preference kind, int predict)
{
    const int pair = c->chosen || c->rejected;
    if (kind == GRAFT_PREFERENCE_PAIRS) return !c->chosen || !c->rejected ? "it has no chosen and rejected answer" : c->n % 2 == 0 ? "its turns do not end with a question to answer"
                                                                                                                                   : NULL;
    if (pair || (r->labelled && kind == GRAFT_PREFERENCE_NONE)) return "it is a preference record, not a conversation to learn from";
    if (kind == GRAFT_PREFERENCE_LABELS && !r->labelled) return "nothing says whether its answer is good or bad";
    return !c->n ? "it has no turns" : c->n % 2 && !predict ? "its last turn has no answer"
                                                            : NULL;
}

graft_talk graft_talk_of(const graft_record_copy *r, const graft_dataset_options *o, graft_arena *a)
{
    graft_talk c = {.messages = graft_arena_alloc(a, (r->n + 1) * sizeof(graft_message))};
    if (!c.messages) return c;
    for (size_t i = 0; i < r->n; i++) {
        const graft_record_turn *t = &r->turns[i];
        graft_message_role role = GRAFT_MESSAGE_USER;
        switch (t->who) {
        case GRAFT_SYSTEM: c.system = t->text, c.system_bytes = t->bytes; continue;
        case GRAFT_TOOLS: c.tools = t->text; continue;
        case GRAFT_CHOSEN: c.chosen = t; continue;
        case GRAFT_REJECTED: c.rejected = t; continue;
        case GRAFT_USER: break;
        case GRAFT_OBSERVATION: role = GRAFT_MESSAGE_OBSERVATION; break;
        case GRAFT_ASSISTANT: role = GRAFT_MESSAGE_ASSISTANT; break;
        case GRAFT_FUNCTION: role = GRAFT_MESSAGE_FUNCTION; break;
        default: c.wrong = "it is a plain text, not a conversation to learn from"; continue;
        }
        const int answer = role == GRAFT_MESSAGE_ASSISTANT || role == GRAFT_MESSAGE_FUNCTION;
        if (answer != (int)(c.n % 2)) c.wrong = "its turns do not alternate between user (or observation) and assistant (or function)";
        c.messages[c.n++] = (graft_message){role, t->text, t->bytes};
    }
    if (!c.wrong) c.wrong = wrong_of(&c, r, o->preference, o->predict);
    if (!c.system_bytes) c.system = o->default_system, c.system_bytes = o->default_system ? strlen(o->default_system) : 0;
    return c;
}

void graft_sample_make(const graft_record_copy *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out)
{
    *out = (graft_made){.err = GRAFT_ERROR_INIT, .arena = graft_arena_new()};
    if (r->dropped) {
        out->dropped = r->dropped;
        return;
    }
    graft_talk c = out->arena ? graft_talk_of(r, o, out->arena) : (graft_talk){0};
    if (!c.messages || r->failed) {
        out->status = graft_fail(&out->err, GRAFT_NO_MEMORY, r->place, "out of memory for a record");
        return;
    }
    if ((out->dropped = c.wrong)) return;
    const graft_template_options how = {.thinking = o->thinking, .preserve_thinking = o->preserve_thinking, .mask_history = o->mask_history, .split_special = o->split_special_tokens, .today = o->today};
    graft_turn *turns = NULL;
    size_t n = 0;
    out->status = graft_template_render_with(t, &how, tok, out->arena, c.messages, c.n, c.system, c.system_bytes, c.tools, &turns, &n, &out->err);
    if (!out->status) out->status = cut_and_label(o, turns, n, graft_template_efficient_eos(t), graft_tokenizer_eos(tok), out);
}

/* ---- texts ---------------------------------------------------------------------------------------------------------------------------- */

static const graft_record_turn *first_message(const graft_record_copy *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->turns[i].who != GRAFT_SYSTEM && r->turns[i].who != GRAFT_TOOLS) return &r->turns[i];
    return NULL;
}

/* The text and eos, written out, so that they are tokenised as one. */
static graft_status text_ids(const graft_record_turn *text, const graft_tokenizer *tok, const char *end, size_t end_bytes, graft_ids *ids, graft_error *err)
{
    graft_str all;
    graft_str_init(&all, 0);
    graft_str_add(&all, text->text, text->bytes);
    graft_str_add(&all, end, end_bytes);
    const graft_status status = all.failed ? graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for a text") : graft_tokenizer_encode(tok, all.data, all.bytes, 0, ids, err);
    graft_str_free(&all);
    return status;
}

void graft_text_make(const graft_record_copy *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out)
{
    *out = (graft_made){.err = GRAFT_ERROR_INIT, .arena = graft_arena_new()};
    const graft_record_turn *text = first_message(r);
    graft_ids ids = {0};
    size_t end_bytes = 0;
    if (!out->arena || r->failed) {
        out->status = graft_fail(&out->err, GRAFT_NO_MEMORY, r->place, "out of memory for a record");
        return;
    }
    if (!text) {
        out->dropped = r->dropped ? r->dropped : "it has no text";
        return;
    }
    const char *end = graft_template_text_end(t);
    if (end) end_bytes = strlen(end);
    else if (graft_tokenizer_eos(tok) >= 0) end = graft_tokenizer_bytes(tok, graft_tokenizer_eos(tok), &end_bytes);
    out->status = text_ids(text, tok, end ? end : "", end_bytes, &ids, &out->err);
    const int whole = o->packing != GRAFT_PACKING_OFF;
    const int64_t all = (int64_t)ids.n;
    out->n = whole || all < o->cutoff_len ? all : o->cutoff_len;
    out->cut = all - out->n;
    out->ids = out->status ? NULL : graft_arena_alloc(out->arena, (2 * (size_t)out->n + 1) * sizeof *out->ids);
    if (out->ids) {
        out->labels = out->ids + out->n;
        for (int64_t i = 0; i < out->n; i++) out->ids[i] = ids.ids[i], out->labels[i] = !o->learn_pad && ids.ids[i] == graft_tokenizer_pad(tok) ? -100 : ids.ids[i];
    } else if (!out->status) {
        out->status = graft_fail(&out->err, GRAFT_NO_MEMORY, r->place, "out of memory for a text");
    }
    graft_ids_free(&ids);
}
