/* core/model/tokenizer/trie.c - a byte trie whose edges live in one hash table: small for few words, quick for many. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"

#include <string.h>

static size_t place(uint64_t key, size_t mask) { return (size_t)((key * 0x9E3779B97F4A7C15ull) >> 24) & mask; }

uint32_t graft_trie_step(const graft_trie *t, uint32_t node, uint8_t byte)
{
    if (!node) return t->first[byte];
    if (!t->edges) return 0;
    const uint64_t key = ((uint64_t)node << 8 | byte) + 1;
    for (size_t i = place(key, t->mask); t->edges[i]; i = (i + 1) & t->mask)
        if (t->edges[i] == key) return t->targets[i];
    return 0;
}

static int grow(graft_trie *t)
{
    const size_t room = t->mask ? (t->mask + 1) * 2 : 256;
    uint64_t *edges = graft_calloc(room, sizeof *edges);
    uint32_t *targets = graft_calloc(room, sizeof *targets);
    if (!edges || !targets) return graft_free(edges), graft_free(targets), -1;
    for (size_t i = 0; t->edges && i <= t->mask; i++) {
        if (!t->edges[i]) continue;
        size_t at = place(t->edges[i], room - 1);
        while (edges[at]) at = (at + 1) & (room - 1);
        edges[at] = t->edges[i], targets[at] = t->targets[i];
    }
    graft_free(t->edges);
    graft_free(t->targets);
    t->edges = edges, t->targets = targets, t->mask = room - 1;
    return 0;
}

/* A new node; 0 when out of memory (node 0 is the root). */
static uint32_t node_new(graft_trie *t)
{
    if (graft_grow((void **)&t->value, &t->room, t->nodes + 2, sizeof *t->value)) return 0;
    if (!t->nodes) t->value[t->nodes++] = -1;
    t->value[t->nodes] = -1;
    return (uint32_t)t->nodes++;
}

static uint32_t edge_add(graft_trie *t, uint32_t node, uint8_t byte)
{
    const uint32_t child = node_new(t);
    if (!child) return 0;
    if (!node) return t->firsts++, t->only = byte, t->first[byte] = child;
    if ((t->used + 1) * 2 > t->mask && grow(t)) return 0;
    const uint64_t key = ((uint64_t)node << 8 | byte) + 1;
    size_t i = place(key, t->mask);
    while (t->edges[i]) i = (i + 1) & t->mask;
    t->edges[i] = key, t->targets[i] = child, t->used++;
    return child;
}

graft_status graft_trie_add(graft_trie *t, const char *s, size_t n, int32_t value, graft_error *err)
{
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t next = graft_trie_step(t, node, (uint8_t)s[i]);
        if (!next) next = edge_add(t, node, (uint8_t)s[i]);
        if (!next) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for the tokenizer's words");
        node = next;
    }
    if (node) t->value[node] = value;
    return GRAFT_OK;
}

void graft_trie_free(graft_trie *t)
{
    graft_free(t->edges);
    graft_free(t->targets);
    graft_free(t->value);
    *t = (graft_trie){0};
}
