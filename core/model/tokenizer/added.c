/* core/model/tokenizer/added.c - added tokens: found in the text before anything else happens to it (or after normalising, for `normalized` ones).
 *
 * Of the tokens that begin at the leftmost place the longest wins. single_word, lstrip and rstrip are `tokenizers`' rules. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"

#include <string.h>

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for added tokens"); }

static graft_status flag_special(graft_tokenizer *t, int32_t id, int special, graft_error *err)
{
    const size_t old = t->special_room;
    if (graft_grow((void **)&t->special, &t->special_room, (size_t)id + 1, 1)) return no_memory(err);
    if (t->special_room > old) memset(t->special + old, 0, t->special_room - old);
    t->special[id] = (uint8_t)special;
    return GRAFT_OK;
}

static size_t end_of(const graft_tokenizer *t)
{
    size_t id = t->model_size;
    while (id < t->vocab.size && t->vocab.text[id].s) id++;
    return id;
}

static graft_status match_put(graft_tokenizer *t, graft_added *a, size_t index, graft_error *err)
{
    a->matched = a->content;
    if (!a->normalized || !t->n_norm) return graft_trie_add(a->normalized ? &t->added.normal : &t->added.raw, a->content.s, a->content.n, (int32_t)index, err);
    graft_scratch *x = graft_scratch_take(t);
    if (!x) return no_memory(err);
    graft_span normal = {0};
    graft_status status = graft_normalise(t, x, a->content.s, a->content.n, &normal, err);
    if (!status) {
        a->matched = (graft_span){graft_arena_copy(t->arena, normal.s, normal.n), normal.n};
        status = a->matched.s ? graft_trie_add(&t->added.normal, a->matched.s, a->matched.n, (int32_t)index, err) : no_memory(err);
    }
    graft_scratch_give(t, x);
    return status;
}

graft_status graft_added_put(graft_tokenizer *t, graft_added token, graft_error *err)
{
    if (!token.content.n) return GRAFT_OK;
    graft_added_set *set = &t->added;
    size_t index = set->n;
    for (size_t i = 0; i < set->n; i++)
        if (set->item[i].content.n == token.content.n && !memcmp(set->item[i].content.s, token.content.s, token.content.n)) index = i;
    if (index < set->n && set->item[index].normalized == token.normalized) { /* known: only its nature may change */
        token.id = set->item[index].id, token.content = set->item[index].content, token.matched = set->item[index].matched;
        set->item[index] = token;
        return flag_special(t, token.id, token.special, err);
    }
    const int32_t there = graft_vocab_find(&t->vocab, token.content.s, token.content.n);
    if (there < 0) {
        if (token.id < 0 || ((size_t)token.id < t->vocab.size && t->vocab.text[token.id].s)) token.id = (int32_t)end_of(t);
        const char *copy = graft_arena_copy(t->arena, token.content.s, token.content.n);
        if (!copy) return no_memory(err);
        token.content.s = copy;
        if (graft_vocab_put(&t->vocab, token.id, copy, token.content.n, err)) return err->code;
    } else {
        token.id = there, token.content = t->vocab.text[there];
    }
    if (index == set->n) {
        if (graft_grow((void **)&set->item, &set->room, set->n + 1, sizeof *set->item)) return no_memory(err);
        set->n++;
    }
    set->item[index] = token;
    if (match_put(t, &set->item[index], index, err)) return err->code;
    return flag_special(t, token.id, token.special, err);
}

void graft_added_free(graft_added_set *a)
{
    graft_free(a->item);
    graft_trie_free(&a->raw);
    graft_trie_free(&a->normal);
}

static int word_ends(const char *s, size_t n)
{
    size_t k;
    return n && graft_class_at(s + n - graft_utf8_back(s, n), &k) & UNI_WORD;
}

static int word_begins(const char *s, size_t n)
{
    size_t k;
    return n && graft_class_at(s, &k) & UNI_WORD;
}

/* The longest token at s + at: its end, or 0. */
static size_t longest(const graft_trie *trie, const char *s, size_t n, size_t at, int32_t *value)
{
    size_t end = 0;
    uint32_t node = 0;
    for (size_t i = at; i < n && (node = graft_trie_step(trie, node, (uint8_t)s[i])); i++)
        if (trie->value[node] >= 0) end = i + 1, *value = trie->value[node];
    return end;
}

int graft_added_next(const graft_tokenizer *t, const graft_trie *trie, const char *s, size_t n, size_t from, size_t *start, size_t *end, const graft_added **which, int split_special)
{
    if (!trie->firsts) return 0;
    for (size_t i = from; i < n;) {
        if (trie->firsts == 1) {
            const char *at = memchr(s + i, trie->only, n - i);
            if (!at) return 0;
            i = (size_t)(at - s);
        } else if (!trie->first[(uint8_t)s[i]]) {
            i++;
            continue;
        }
        int32_t value = -1;
        const size_t stop = longest(trie, s, n, i, &value);
        if (!stop) {
            i++;
            continue;
        }
        const graft_added *a = &t->added.item[value];
        const int part = a->single_word && (word_ends(s, i) || word_begins(s + stop, n - stop));
        if (part || (split_special && a->special) || a->normalized != (trie == &t->added.normal)) {
            i = stop;
            continue;
        }
        *start = i, *end = stop, *which = a;
        size_t k;
        while (a->lstrip && *start > from && graft_class_at(s + *start - graft_utf8_back(s, *start), &k) & UNI_SPACE) *start -= graft_utf8_back(s, *start);
        while (a->rstrip && *end < n && graft_class_at(s + *end, &k) & UNI_SPACE) *end += k;
        return 1;
    }
    return 0;
}
