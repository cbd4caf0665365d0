/* core/graph/names.c - text to int32: names of leaves, counts of paths. Open addressing in an arena, at most half full. Keys are borrowed. */
#include "core/graph/build.h"

#include <string.h>

static graft_names_slot *place(graft_names_slot *slots, size_t room, const char *key)
{
    size_t i = (size_t)graft_op_id(key) & (room - 1);
    while (slots[i].key && strcmp(slots[i].key, key)) i = (i + 1) & (room - 1);
    return &slots[i];
}

int32_t *graft_names_find(const graft_names *m, const char *key)
{
    if (!m->room) return NULL;
    graft_names_slot *s = place(m->slots, m->room, key);
    return s->key ? &s->value : NULL;
}

int graft_names_put(graft_names *m, graft_arena *a, const char *key, int32_t value)
{
    if (2 * (m->n + 1) > m->room) {
        const size_t room = m->room ? 2 * m->room : 64;
        graft_names_slot *slots = graft_arena_alloc(a, room * sizeof *slots);
        if (!slots) return -1;
        for (size_t i = 0; i < m->room; i++)
            if (m->slots[i].key) *place(slots, room, m->slots[i].key) = m->slots[i];
        m->slots = slots, m->room = room;
    }
    graft_names_slot *s = place(m->slots, m->room, key);
    if (!s->key) m->n++;
    *s = (graft_names_slot){key, value};
    return 0;
}
