/* core/model/layout.c - see layout.h. A pattern's '#' is the number in the weight's name, its '@' the number of the part:
 *
 *     weight  model.layers.#.mlp.experts.up_proj.weight  [experts, out, in]
 *     file    model.layers.#.mlp.experts.@.up_proj.weight        [out, in]   for each expert
 */
#include "core/model/layout.h"

#include <inttypes.h>
#include <string.h>

enum { TILE = 32 }; /* of a transposition: both sides stay in the first cache */

#define HAS(table_, field_) ((table_) && GRAFT_HAS(graft_model_table, table_, field_) && (table_)->field_)

/* Does name fit the pattern with at most one '#'? Gives that number's digits. */
static int fits(const char *pattern, const char *name, const char **digits, int *n_digits)
{
    const char *hash = strchr(pattern, '#');
    *digits = "", *n_digits = 0;
    if (!hash) return !strcmp(pattern, name);
    const size_t before = (size_t)(hash - pattern);
    if (strncmp(pattern, name, before) != 0) return 0;
    *digits = name + before;
    *n_digits = (int)strspn(*digits, "0123456789");
    return *n_digits > 0 && *n_digits < 10 && !strcmp(hash + 1, *digits + *n_digits);
}

static const graft_weight_layout *rule_of(const graft_model_table *table, const char *leaf, const char **digits, int *n_digits)
{
    const graft_weight_layout *rule = HAS(table, layouts) ? table->layouts : NULL;
    for (; rule && rule->file; rule++)
        if (rule->weight && fits(rule->weight, leaf, digits, n_digits)) return rule;
    return NULL;
}

int64_t graft_layout_parts(const graft_model_table *table, const char *leaf, const graft_shape *shape)
{
    const char *digits;
    int n;
    const graft_weight_layout *rule = rule_of(table, leaf, &digits, &n);
    return rule && (rule->flags & GRAFT_STORED_STACKED) && shape->rank > 1 ? shape->dims[0] : 1;
}

/* The pattern with its '#' and '@' filled in. */
static const char *filled(graft_arena *a, const char *pattern, const char *digits, int n_digits, int64_t part)
{
    const char *hash = strchr(pattern, '#'), *name = hash ? graft_arena_printf(a, "%.*s%.*s%s", (int)(hash - pattern), pattern, n_digits, digits, hash + 1) : pattern;
    const char *at = name ? strchr(name, '@') : NULL;
    return at ? graft_arena_printf(a, "%.*s%" PRId64 "%s", (int)(at - name), name, part, at + 1) : name;
}

int graft_layout_part(graft_arena *a, const graft_model_table *table, const char *leaf, const graft_shape *shape, int64_t i, graft_stored_part *out)
{
    const char *digits;
    int n;
    const graft_weight_layout *rule = rule_of(table, leaf, &digits, &n);
    const int stacked = rule && (rule->flags & GRAFT_STORED_STACKED) && shape->rank > 1;
    *out = (graft_stored_part){.name = rule ? filled(a, rule->file, digits, n, i) : leaf, .rank = shape->rank - stacked, .elements = 1};
    for (int32_t k = 0; k < out->rank; k++) out->elements *= out->dims[k] = shape->dims[k + stacked]; /* a leaf's size was checked */
    out->first = stacked ? i * out->elements : 0;
    out->transposed = rule && (rule->flags & GRAFT_STORED_TRANSPOSED) && out->rank == 2;
    if (out->transposed) out->dims[0] = shape->dims[1 + stacked], out->dims[1] = shape->dims[stacked];
    return out->name ? 0 : -1;
}

const graft_weight_info *graft_layout_find(const graft_weights *w, const graft_model_table *table, const char *name)
{
    const graft_weight_info *t = graft_weights_find(w, name);
    const size_t n = HAS(table, prefix) ? strlen(table->prefix) : 0;
    return t || !n || strncmp(name, table->prefix, n) != 0 ? t : graft_weights_find(w, name + n);
}

int graft_layout_ignores(const graft_model_table *table, const char *stored)
{
    const graft_weight_layout *rule = HAS(table, layouts) ? table->layouts : NULL;
    const size_t prefix = HAS(table, prefix) ? strlen(table->prefix) : 0;
    for (; rule && rule->file; rule++) {
        const char *digits;
        int n;
        if (!(rule->flags & GRAFT_STORED_IGNORED)) continue;
        if (fits(rule->file, stored, &digits, &n)) return 1;
        if (prefix && !strncmp(rule->file, table->prefix, prefix) && fits(rule->file + prefix, stored, &digits, &n)) return 1;
    }
    return 0;
}

void graft_layout_transpose(float *to, const float *from, int64_t rows, int64_t columns)
{
    for (int64_t i0 = 0; i0 < rows; i0 += TILE)
        for (int64_t j0 = 0; j0 < columns; j0 += TILE)
            for (int64_t i = i0; i < rows && i < i0 + TILE; i++)
                for (int64_t j = j0; j < columns && j < j0 + TILE; j++) to[j * rows + i] = from[i * columns + j];
}
