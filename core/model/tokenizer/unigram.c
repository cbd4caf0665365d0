/* core/model/tokenizer/unigram.c - Unigram: the segmentation of highest total score (Viterbi over the characters of a word).
 *
 * A character that no token begins or is gets the least score of the vocabulary less 10. Unknown characters in a row are one piece; a piece that is no
 * token becomes its bytes' tokens (byte_fallback, when all are there) or unk. Of equal scores the path found first stays, as in `tokenizers`. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"

#include <string.h>

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory while tokenising"); }

graft_status graft_unigram_finish(graft_tokenizer *t, graft_error *err)
{
    graft_unigram *u = &t->unigram;
    double least = 0;
    for (size_t id = 0; id < t->model_size; id++) {
        const graft_span text = t->vocab.text[id];
        if (!id || u->score[id] < least) least = u->score[id];
        if (text.n && graft_trie_add(&u->trie, text.s, text.n, graft_vocab_find(&t->vocab, text.s, text.n), err)) return err->code;
    }
    u->unk_score = least - 10.0;
    for (int i = 0; i < 256; i++) {
        const char name[6] = {'<', '0', 'x', "0123456789ABCDEF"[i >> 4], "0123456789ABCDEF"[i & 15], '>'};
        u->byte_id[i] = graft_vocab_find(&t->vocab, name, 6);
    }
    return GRAFT_OK;
}

void graft_unigram_free(graft_unigram *u)
{
    graft_free(u->score);
    graft_trie_free(&u->trie);
}

static graft_status missing_unk(graft_error *err) { return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the text has a character that the tokenizer does not know, and tokenizer.json names no unk_id"); }

static void offer(graft_scratch *x, size_t from, size_t to, double score, int32_t id)
{
    if (x->best_id[to] != -2 && score <= x->best[to]) return;
    x->best[to] = score, x->best_id[to] = id, x->best_from[to] = from;
}

/* The best path: for every place the last piece that ends there. */
static graft_status paths(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_error *err)
{
    const graft_unigram *u = &t->unigram;
    if (graft_grow((void **)&x->best, &x->best_room, n + 1, sizeof *x->best) || graft_grow((void **)&x->best_id, &x->best_id_room, n + 1, sizeof *x->best_id) ||
        graft_grow((void **)&x->best_from, &x->best_from_room, n + 1, sizeof *x->best_from))
        return no_memory(err);
    for (size_t i = 0; i <= n; i++) x->best_id[i] = -2; /* not reached */
    x->best[0] = 0;
    for (size_t i = 0, k; i < n; i += k) {
        graft_utf8_get(s + i, &k);
        uint32_t node = 0;
        int single = 0;
        for (size_t j = i; j < n && (node = graft_trie_step(&u->trie, node, (uint8_t)s[j])); j++) {
            if (u->trie.value[node] < 0) continue;
            offer(x, i, j + 1, x->best[i] + u->score[u->trie.value[node]], u->trie.value[node]);
            single |= j + 1 == i + k;
        }
        if (single) continue;
        if (u->unk < 0) return missing_unk(err);
        offer(x, i, i + k, x->best[i] + u->unk_score, u->unk);
    }
    return GRAFT_OK;
}

static graft_status piece(const graft_tokenizer *t, const char *s, size_t n, graft_ids *out, graft_error *err)
{
    const graft_unigram *u = &t->unigram;
    const int32_t id = graft_vocab_find(&t->vocab, s, n);
    if (id >= 0 && (size_t)id < t->model_size) return graft_ids_one(out, id, err);
    int all = u->byte_fallback;
    for (size_t i = 0; i < n; i++) all &= u->byte_id[(uint8_t)s[i]] >= 0;
    for (size_t i = 0; all && i < n; i++)
        if (graft_ids_one(out, u->byte_id[(uint8_t)s[i]], err)) return err->code;
    if (all) return GRAFT_OK;
    return u->unk < 0 ? missing_unk(err) : graft_ids_one(out, u->unk, err);
}

graft_status graft_unigram_word(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_ids *out, graft_error *err)
{
    if (!n) return GRAFT_OK;
    if (paths(t, x, s, n, err)) return err->code;
    size_t m = 0; /* places where pieces end, from the back, unknown ones in a row joined; kept where the walk has been */
    for (size_t end = n; end > 0;) {
        size_t from = x->best_from[end];
        const int32_t id = x->best_id[end];
        while (id == t->unigram.unk && from > 0 && x->best_id[from] == id) from = x->best_from[from];
        const size_t next = from;
        x->best_from[n - m] = end; /* end <= n - m: never one that is still to be read */
        m++;
        end = next;
    }
    size_t from = 0;
    for (size_t i = m; i-- > 0;) {
        const size_t end = x->best_from[n - i];
        if (piece(t, s + from, end - from, out, err)) return err->code;
        from = end;
    }
    return GRAFT_OK;
}
