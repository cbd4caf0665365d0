/* core/model/tokenizer/vocab.c - token text <-> id. Limits: GRAFT_TOKENS_MAX ids. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"

#include <string.h>

uint64_t graft_hash_bytes(const void *s, size_t n)
{
    const uint8_t *p = s;
    uint64_t h = 0x9E3779B97F4A7C15ull ^ n;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        h = (h ^ w) * 0xD6E8FEB86659FD93ull;
        h ^= h >> 32;
    }
    uint64_t w = 0;
    memcpy(&w, p, n);
    h = (h ^ w) * 0xD6E8FEB86659FD93ull;
    return h ^ h >> 32;
}

static void slot_put(graft_vocab *v, uint32_t id)
{
    size_t i = graft_hash_bytes(v->text[id].s, v->text[id].n) & v->mask;
    while (v->slots[i]) i = (i + 1) & v->mask;
    v->slots[i] = id + 1;
}

static int grow_slots(graft_vocab *v)
{
    const size_t room = v->mask ? (v->mask + 1) * 2 : 1024;
    uint32_t *slots = graft_calloc(room, sizeof *slots);
    if (!slots) return -1;
    uint32_t *old = v->slots;
    const size_t old_room = old ? v->mask + 1 : 0;
    v->slots = slots, v->mask = room - 1;
    for (size_t i = 0; i < old_room; i++)
        if (old[i]) slot_put(v, old[i] - 1);
    graft_free(old);
    return 0;
}

/* Room for id, none of a token yet. */
static graft_status id_room(graft_vocab *v, int64_t id, const char *text, size_t n, graft_error *err)
{
    if (id < 0 || id >= GRAFT_TOKENS_MAX)
        return graft_fail(err, GRAFT_BAD_INPUT, NULL, "token \"%.*s\" has id %lld; ids go from 0 to %d", (int)(n < 60 ? n : 60), text, (long long)id, GRAFT_TOKENS_MAX - 1);
    const size_t old = v->room;
    if (graft_grow((void **)&v->text, &v->room, (size_t)id + 1, sizeof *v->text)) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for the vocabulary");
    if (v->room > old) memset(v->text + old, 0, (v->room - old) * sizeof *v->text);
    if (!v->text[id].s) return GRAFT_OK;
    return graft_fail(err, GRAFT_BAD_INPUT, NULL, "id %lld belongs to two tokens, \"%.*s\" and \"%.*s\"", (long long)id, (int)(v->text[id].n < 60 ? v->text[id].n : 60), v->text[id].s,
                      (int)(n < 60 ? n : 60), text);
}

graft_status graft_vocab_put(graft_vocab *v, int64_t id, const char *text, size_t n, graft_error *err)
{
    const int32_t there = graft_vocab_find(v, text, n);
    if (there >= 0 && there == id) return GRAFT_OK;
    if (there >= 0)
        return graft_fail(err, GRAFT_BAD_INPUT, NULL, "token \"%.*s\" has two ids, %d and %lld", (int)(n < 60 ? n : 60), text, there, (long long)id);
    if (id_room(v, id, text, n, err)) return err->code;
    if ((v->used + 1) * 2 > v->mask && grow_slots(v)) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for the vocabulary");
    v->text[id] = (graft_span){text, n};
    if ((size_t)id >= v->size) v->size = (size_t)id + 1;
    v->used++;
    slot_put(v, (uint32_t)id);
    return GRAFT_OK;
}

graft_status graft_vocab_again(graft_vocab *v, int64_t id, const char *text, size_t n, graft_error *err)
{
    const int32_t there = graft_vocab_find(v, text, n);
    if (there < 0) return graft_vocab_put(v, id, text, n, err);
    if (id_room(v, id, text, n, err)) return err->code;
    size_t i = graft_hash_bytes(text, n) & v->mask;
    while (v->slots[i] != (uint32_t)there + 1) i = (i + 1) & v->mask;
    v->slots[i] = (uint32_t)id + 1;
    v->text[id] = (graft_span){text, n};
    if ((size_t)id >= v->size) v->size = (size_t)id + 1;
    return GRAFT_OK;
}

int32_t graft_vocab_find(const graft_vocab *v, const char *text, size_t n)
{
    if (!v->slots) return -1;
    for (size_t i = graft_hash_bytes(text, n) & v->mask; v->slots[i]; i = (i + 1) & v->mask) {
        const graft_span have = v->text[v->slots[i] - 1];
        if (have.n == n && !memcmp(have.s, text, n)) return (int32_t)(v->slots[i] - 1);
    }
    return -1;
}

void graft_vocab_free(graft_vocab *v)
{
    graft_free(v->text);
    graft_free(v->slots);
    *v = (graft_vocab){0};
}
