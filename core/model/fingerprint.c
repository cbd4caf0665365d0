/* core/model/fingerprint.c - see fingerprint.h. Of a tokenizer: its file (or, from GGUF, the pipeline as text), and what loading and the template made of
 * it: vocabulary, merges, scores, added and special tokens, eos and pad. Of a template: every field of it. */
#include "core/model/fingerprint.h"

#include "core/base/json.h"
#include "core/model/template_parts.h"
#include "core/model/tokenizer/parts.h"

#include <string.h>

void graft_fingerprint_number(graft_sha256 *sum, int64_t v) { graft_sha256_add(sum, &v, sizeof v); }

void graft_fingerprint_text(graft_sha256 *sum, const char *text, size_t bytes)
{
    graft_fingerprint_number(sum, text ? (int64_t)bytes : -1);
    if (text && bytes) graft_sha256_add(sum, text, bytes);
}

graft_status graft_tokenizer_fingerprint(const graft_tokenizer *t, graft_sha256 *sum, graft_error *err)
{
    char file[65] = "";
    if (t->json_path && graft_sha256_file(t->json_path, file, err)) return err->code;
    graft_fingerprint_text(sum, file, strlen(file));
    graft_fingerprint_text(sum, t->pipeline, t->pipeline ? strlen(t->pipeline) : 0);
    for (size_t i = 0; i < t->vocab.size; i++) graft_fingerprint_text(sum, t->vocab.text[i].s, t->vocab.text[i].n);
    for (size_t i = 0; t->bpe.merges && i <= t->bpe.mask; i++) {
        const graft_merge *m = &t->bpe.merges[i];
        if (m->pair == UINT64_MAX) continue;
        const uint64_t merge[2] = {m->pair, (uint64_t)m->rank << 32 | (uint32_t)m->id};
        graft_sha256_add(sum, merge, sizeof merge);
    }
    if (t->unigram.score) graft_sha256_add(sum, t->unigram.score, t->model_size * sizeof *t->unigram.score);
    for (size_t i = 0; i < t->added.n; i++) {
        const graft_added *a = &t->added.item[i];
        graft_fingerprint_text(sum, a->content.s, a->content.n);
        graft_fingerprint_number(sum, (int64_t)a->id << 5 | a->special << 4 | a->single_word << 3 | a->lstrip << 2 | a->rstrip << 1 | a->normalized);
    }
    const int64_t facts[] = {t->kind, t->bos, t->eos, t->pad, t->unk, t->bpe.ignore_merges, t->bpe.byte_fallback, t->bpe.fuse_unk, t->fast, t->fast_digits, (int64_t)t->n_norm, (int64_t)t->n_pretok};
    graft_sha256_add(sum, facts, sizeof facts);
    return GRAFT_OK;
}

static void slots(graft_sha256 *sum, const graft_slots *s)
{
    graft_fingerprint_number(sum, (int64_t)s->n);
    for (size_t i = 0; i < s->n; i++) {
        graft_fingerprint_number(sum, s->unit[i].kind);
        graft_fingerprint_text(sum, s->unit[i].text, s->unit[i].bytes);
    }
}

static void text(graft_sha256 *sum, const char *s) { graft_fingerprint_text(sum, s, s ? strlen(s) : 0); }
static void slice(graft_sha256 *sum, graft_slice s) { graft_fingerprint_text(sum, s.s, s.n); }

void graft_template_fingerprint(const graft_template *t, graft_sha256 *sum)
{
    const graft_slots *const all[] = {&t->prefix, &t->system, &t->user, &t->assistant, &t->function, &t->observation};
    const graft_slice slices[] = {t->tools_text, t->default_system, t->text_end, t->thought[0], t->thought[1], t->call[0], t->call[1], t->empty_thought};
    text(sum, t->name);
    text(sum, t->tools);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) slots(sum, all[i]);
    for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) slice(sum, slices[i]);
    for (size_t i = 0; i < t->n_stop_words; i++) text(sum, t->stop_words[i]);
    const int64_t facts[] = {t->reasoning, t->system_in_user, t->efficient_eos, t->replace_eos};
    graft_sha256_add(sum, facts, sizeof facts);
}
