/* core/data/pairs.c - preference records into samples: LLaMA-Factory's rules.
 *
 *   chosen and rejected   both answers end the same question, which is rendered with the chosen one; one cut for both, by the longer answer
 *   good or bad answers   the sample, and beside it the same question with the answer of the record before in its window (the first takes the last's), each cut
 *                         by itself; an answer without any text is a bad one
 *
 *   record | question | empty thought | good answer | bad answer |   whole; a section may be empty; labels say the section
 *   sample | question, answer | question, other answer |             cut; two parts, positions restart; labels are the answers
 *
 * Earlier answers are context only; with efficient_eos every answer ends with eos, which counts for the cut. */
#include "core/data/record.h"

#include "core/base/error.h"

#include <string.h>

typedef struct one {
    int32_t *prompt, *answer;
    int64_t n_prompt, n_answer, n_thought; /* n_thought: of the prompt's end, there only because this answer has no thought */
} one;

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for a preference sample"); }

/* The conversation up to its last answer, and that answer. */
static graft_status one_turn(const graft_talk *c, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out, one *x)
{
    const graft_template_options how = {.thinking = o->thinking, .preserve_thinking = o->preserve_thinking, .one_turn = 1, .split_special = o->split_special_tokens, .today = o->today};
    graft_turn *turns = NULL;
    size_t n_turns = 0;
    if (graft_template_render_with(t, &how, tok, out->arena, c->messages, c->n, c->system, c->system_bytes, c->tools, &turns, &n_turns, &out->err)) return out->err.code;
    size_t room = 0;
    for (size_t i = 0; i < n_turns; i++) room += turns[i].n_prompt + turns[i].n_answer + 1;
    *x = (one){.prompt = graft_arena_alloc(out->arena, room * sizeof(int32_t))};
    if (!x->prompt) return no_memory(&out->err);
    for (size_t i = 0; i < n_turns; i++) {
        const graft_turn *turn = &turns[i];
        if (turn->n_prompt) memcpy(x->prompt + x->n_prompt, turn->prompt, turn->n_prompt * sizeof(int32_t));
        x->n_prompt += (int64_t)turn->n_prompt;
        if (turn->n_answer) memcpy(x->prompt + x->n_prompt, turn->answer, turn->n_answer * sizeof(int32_t));
        if (i + 1 < n_turns) x->n_prompt += (int64_t)turn->n_answer;
        else x->answer = x->prompt + x->n_prompt, x->n_answer = (int64_t)turn->n_answer, x->n_thought = (int64_t)turn->n_thought;
    }
    if (graft_template_efficient_eos(t)) x->answer[x->n_answer++] = graft_tokenizer_eos(tok);
    return GRAFT_OK;
}

/* ---- a record, whole --------------------------------------------------------------------------------------------------------------------- */

static void section_put(graft_made *out, graft_section section, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++) out->ids[out->n] = ids[i], out->labels[out->n++] = -101 - (int32_t)section;
}

static graft_status sections_of(graft_talk *c, const graft_record_copy *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out)
{
    const int pair = o->preference == GRAFT_PREFERENCE_PAIRS;
    one x, rejected = {0};
    if (pair) {
        c->messages[c->n++] = (graft_message){r->rejected_calls ? GRAFT_MESSAGE_FUNCTION : GRAFT_MESSAGE_ASSISTANT, c->rejected->text, c->rejected->bytes};
        if (one_turn(c, o, t, tok, out, &rejected)) return out->err.code;
        c->messages[c->n - 1] = (graft_message){r->chosen_calls ? GRAFT_MESSAGE_FUNCTION : GRAFT_MESSAGE_ASSISTANT, c->chosen->text, c->chosen->bytes};
    }
    if (one_turn(c, o, t, tok, out, &x)) return out->err.code;
    const int64_t total = x.n_prompt + x.n_answer + rejected.n_answer;
    out->ids = graft_arena_alloc(out->arena, (2 * (size_t)total + 1) * sizeof *out->ids);
    if (!out->ids) return no_memory(&out->err);
    out->labels = out->ids + total;
    section_put(out, GRAFT_SECTION_QUESTION, x.prompt, x.n_prompt - x.n_thought);
    section_put(out, GRAFT_SECTION_THOUGHT, x.prompt + x.n_prompt - x.n_thought, x.n_thought);
    section_put(out, pair || (r->desirable && c->messages[c->n - 1].bytes) ? GRAFT_SECTION_GOOD : GRAFT_SECTION_BAD, x.answer, x.n_answer);
    section_put(out, GRAFT_SECTION_BAD, rejected.answer, rejected.n_answer);
    return GRAFT_OK;
}

/* The turns of a record that can be used, or nothing: out then says why. */
static graft_talk talk_of(const graft_record_copy *r, const graft_dataset_options *o, graft_made *out)
{
    *out = (graft_made){.err = GRAFT_ERROR_INIT, .arena = graft_arena_new(), .dropped = r->dropped};
    if (r->dropped) return (graft_talk){0};
    const graft_talk c = out->arena ? graft_talk_of(r, o, out->arena) : (graft_talk){0};
    if (!c.messages || r->failed) out->status = graft_fail(&out->err, GRAFT_NO_MEMORY, r->place, "out of memory for a record");
    else out->dropped = c.wrong;
    return c;
}

void graft_preference_make(const graft_record_copy *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out)
{
    graft_talk c = talk_of(r, o, out);
    if (!out->status && !out->dropped) out->status = sections_of(&c, r, o, t, tok, out);
}

/* ---- questions to be answered ------------------------------------------------------------------------------------------------------------ */

static graft_status question_of(const graft_talk *c, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out)
{
    one x;
    int64_t source, target;
    if (one_turn(c, o, t, tok, out, &x)) return out->err.code;
    graft_infer_seqlen(x.n_prompt, x.n_answer, o->cutoff_len, &source, &target);
    out->ids = graft_arena_alloc(out->arena, (2 * (size_t)(source + target) + 1) * sizeof *out->ids);
    if (!out->ids) return no_memory(&out->err);
    out->n = source + target, out->labels = out->ids + out->n, out->cut = x.n_prompt + x.n_answer - out->n;
    for (int64_t i = 0; i < out->n; i++) {
        out->ids[i] = i < source ? x.prompt[i] : x.answer[i - source];
        out->labels[i] = i < source ? -100 : out->ids[i];
    }
    return GRAFT_OK;
}

void graft_question_make(const graft_record_copy *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out)
{
    graft_talk c = talk_of(r, o, out);
    if (out->status || out->dropped) return;
    if (c.n % 2) c.messages[c.n++] = (graft_message){GRAFT_MESSAGE_ASSISTANT, "", 0};
    out->status = question_of(&c, o, t, tok, out);
}

/* ---- samples of a window ------------------------------------------------------------------------------------------------------------------- */

typedef struct pair {
    int32_t *ids, *labels, *positions, *ends;
    int64_t n, parts;
} pair;

static graft_status pair_new(pair *p, graft_arena *a, int64_t room, graft_error *err)
{
    *p = (pair){.ids = graft_arena_alloc(a, (3 * (size_t)room + 2) * sizeof(int32_t))};
    if (!p->ids) return no_memory(err);
    p->labels = p->ids + room, p->positions = p->labels + room, p->ends = p->positions + room;
    return GRAFT_OK;
}

static void pair_put(pair *p, const int32_t *from, int64_t n, int answer)
{
    for (int64_t i = 0; i < n; i++, p->n++) {
        p->ids[p->n] = from[i], p->labels[p->n] = answer ? from[i] : -100;
        p->positions[p->n] = (int32_t)(p->n - (p->parts ? p->ends[0] : 0));
    }
}

/* Where each section of a record begins: start[s] .. start[s + 1]. */
static void sections_find(const graft_sample *s, int64_t start[GRAFT_SECTIONS + 1])
{
    int64_t at = 0;
    for (int section = 0; section < GRAFT_SECTIONS; section++) {
        start[section] = at;
        while (at < s->n && s->labels[at] == -101 - section) at++;
    }
    start[GRAFT_SECTIONS] = at;
}

/* The first `source` tokens of question and thought, then an answer's first `target`. */
static void part_put(pair *p, const graft_sample *s, const int64_t *start, const graft_sample *other, const int64_t *other_start, int64_t source, int64_t answer, int64_t target)
{
    const int64_t question = start[GRAFT_SECTION_THOUGHT], head = source < question ? source : question;
    pair_put(p, s->ids, head, 0);
    pair_put(p, other->ids + other_start[GRAFT_SECTION_THOUGHT], source - head, 0);
    pair_put(p, other->ids + answer, target, 1);
    p->ends[p->parts++] = (int32_t)p->n;
}

static int64_t at_most(int64_t n, int64_t most) { return n < most ? n : most; }

static graft_status chosen_and_rejected(const graft_dataset_options *o, graft_arena *a, const graft_sample *s, pair *p, int64_t *cut, graft_error *err)
{
    int64_t start[GRAFT_SECTIONS + 1], source, target;
    sections_find(s, start);
    const int64_t prompt = start[GRAFT_SECTION_GOOD], good = start[GRAFT_SECTION_BAD] - prompt, bad = s->n - start[GRAFT_SECTION_BAD];
    graft_infer_seqlen(prompt, good > bad ? good : bad, o->cutoff_len, &source, &target);
    if (pair_new(p, a, 2 * source + at_most(good, target) + at_most(bad, target), err)) return err->code;
    part_put(p, s, start, s, start, source, prompt, at_most(good, target));
    part_put(p, s, start, s, start, source, start[GRAFT_SECTION_BAD], at_most(bad, target));
    *cut = 2 * prompt + good + bad - p->n;
    return GRAFT_OK;
}

static graft_status good_or_bad(const graft_dataset_options *o, graft_arena *a, const graft_sample *s, const graft_sample *before, pair *p, int64_t *cut, graft_error *err)
{
    const graft_sample *const answers[2] = {s, before};
    int64_t start[2][GRAFT_SECTIONS + 1], source, target;
    for (int k = 0; k < 2; k++) sections_find(answers[k], start[k]);
    if (pair_new(p, a, 2 * start[0][GRAFT_SECTION_THOUGHT] + s->n + before->n, err)) return err->code;
    for (int k = 0; k < 2; k++) {
        const int64_t prompt = start[0][GRAFT_SECTION_THOUGHT] + start[k][GRAFT_SECTION_GOOD] - start[k][GRAFT_SECTION_THOUGHT], answer = start[k][GRAFT_SECTION_GOOD];
        graft_infer_seqlen(prompt, answers[k]->n - answer, o->cutoff_len, &source, &target);
        part_put(p, s, start[0], answers[k], start[k], source, answer, target);
        if (!k) *cut = prompt + s->n - answer - source - target;
    }
    return GRAFT_OK;
}

graft_status graft_preference_window(const graft_dataset_options *o, graft_arena *a, const graft_sample *records, int64_t n, graft_pack_put put, void *ctx, int64_t *cut, graft_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        const graft_sample *s = &records[i];
        pair p;
        if (o->preference == GRAFT_PREFERENCE_PAIRS ? chosen_and_rejected(o, a, s, &p, &cut[i], err) : good_or_bad(o, a, s, &records[i ? i - 1 : n - 1], &p, &cut[i], err)) return err->code;
        const int good = s->n && s->labels[s->n - 1] == -101 - GRAFT_SECTION_GOOD;
        const graft_sample out = {.n = p.n, .ids = p.ids, .labels = p.labels, .positions = p.positions, .part_ends = p.ends, .parts = 2, .desirable = good};
        if (!(o->drop_overlong && cut[i]) && put(ctx, out, err)) return err->code;
    }
    return GRAFT_OK;
}
