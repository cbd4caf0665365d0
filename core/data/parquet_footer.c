/* core/data/parquet_footer.c - a Parquet file's footer: the schema as a tree, and where each row group's column chunks lie.
 *
 * The schema is a list of nodes, parents before their children. How deep a value of a leaf is defined and repeated counts the optional and repeated nodes above
 * it. A list is a group marked so, in which one group repeats; older writers left that group out, or gave it the element's members (LogicalTypes.md of Parquet). */
#include "core/data/parquet_parts.h"

#include "core/base/error.h"
#include "core/data/thrift.h"

#include <stdio.h>
#include <string.h>

enum { DEEPEST = 40,
       LEAVES_MAX = 1 << 16 };

/* Numbers of the footer: converted types, members of the union of logical types. */
enum { CONVERTED_TEXT = 0,
       CONVERTED_MAP,
       CONVERTED_MAP_KEY,
       CONVERTED_LIST,
       CONVERTED_ENUM,
       CONVERTED_DECIMAL,
       CONVERTED_UINT_8 = 11,
       CONVERTED_UINT_64 = 14,
       CONVERTED_JSON = 19,
       CONVERTED_BSON = 20 };
enum { LOGICAL_STRING = 1,
       LOGICAL_MAP,
       LOGICAL_LIST,
       LOGICAL_ENUM,
       LOGICAL_DECIMAL,
       LOGICAL_INTEGER = 10,
       LOGICAL_NULL,
       LOGICAL_JSON,
       LOGICAL_BSON,
       LOGICAL_UUID,
       LOGICAL_HALF };

/* A node of the schema as it is written. */
typedef struct element {
    int type, converted, logical, is_unsigned, scale, width, repetition;
    int64_t children;
    const char *name;
    size_t name_bytes;
} element;

static graft_status damaged(const graft_parquet *p, graft_error *err, const char *what)
{
    return graft_fail(err, GRAFT_BAD_INPUT, p->path, "the Parquet footer is damaged (%s); copy or download the file again", what);
}

static graft_status no_memory(const graft_parquet *p, graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, p->path, "out of memory for the Parquet footer"); }

/* ---- schema ---------------------------------------------------------------------------------------------------------------------------------- */

/* Of the union of logical types one member is set; what counts inside it are a decimal's scale and an integer's sign. */
static void read_logical(graft_thrift *t, int type, element *e)
{
    int id = 0, kind, inner, inner_kind;
    if (!graft_thrift_struct(t, type)) return;
    while (graft_thrift_field(t, &id, &kind)) {
        e->logical = id;
        inner = 0;
        if (!graft_thrift_struct(t, kind)) return;
        while (graft_thrift_field(t, &inner, &inner_kind))
            if (id == LOGICAL_DECIMAL && inner == 1) e->scale = (int)graft_thrift_number(t, inner_kind);
            else if (id == LOGICAL_INTEGER && inner == 2) e->is_unsigned = !graft_thrift_number(t, inner_kind);
            else graft_thrift_skip(t, inner_kind);
    }
}

static element read_element(graft_thrift *t)
{
    element e = {.type = -1, .converted = -1, .name = ""};
    int id = 0, type;
    while (graft_thrift_field(t, &id, &type)) switch (id) {
        case 1: e.type = (int)graft_thrift_number(t, type); break;
        case 2: e.width = (int)graft_thrift_number(t, type); break;
        case 3: e.repetition = (int)graft_thrift_number(t, type); break;
        case 4: graft_thrift_text(t, type, &e.name, &e.name_bytes); break;
        case 5: e.children = graft_thrift_number(t, type); break;
        case 6: e.converted = (int)graft_thrift_number(t, type); break;
        case 7: e.scale = (int)graft_thrift_number(t, type); break;
        case 10: read_logical(t, type, &e); break;
        default: graft_thrift_skip(t, type);
        }
    return e;
}

static int kind_of(const element *e)
{
    if (e->logical == LOGICAL_NULL) return PARQUET_NULLS;
    if (e->logical == LOGICAL_STRING || e->logical == LOGICAL_ENUM || e->logical == LOGICAL_JSON) return PARQUET_TEXT;
    if (e->converted == CONVERTED_TEXT || e->converted == CONVERTED_ENUM || e->converted == CONVERTED_JSON) return PARQUET_TEXT;
    if (e->logical == LOGICAL_DECIMAL || e->converted == CONVERTED_DECIMAL) return PARQUET_DECIMAL;
    if (e->logical == LOGICAL_HALF && e->width == 2) return PARQUET_HALF;
    if (e->logical == LOGICAL_UUID || e->logical == LOGICAL_BSON || e->converted == CONVERTED_BSON || e->type == PARQUET_INT96) return PARQUET_BINARY;
    if ((e->logical == LOGICAL_INTEGER && e->is_unsigned) || (e->converted >= CONVERTED_UINT_8 && e->converted <= CONVERTED_UINT_64)) return PARQUET_UNSIGNED;
    return PARQUET_AS_STORED;
}

static size_t width_of(const element *e)
{
    static const size_t widths[] = {1, 4, 8, 12, 4, 8, 0};
    return e->type == PARQUET_FIXED ? (size_t)e->width : widths[e->type];
}

static graft_status add_leaf(graft_parquet *p, const element *e, const parquet_node *n, const char *path, graft_error *err)
{
    if (e->type < 0 || e->type > PARQUET_FIXED) return damaged(p, err, "a column has no type");
    if (e->type == PARQUET_FIXED && e->width <= 0) return damaged(p, err, "a column of fixed width has none");
    if (p->n_leaves == LEAVES_MAX) return graft_fail(err, GRAFT_UNSUPPORTED, p->path, "the file has more than %d columns", LEAVES_MAX);
    p->leaves[p->n_leaves++] = (parquet_leaf){.path = path, .type = e->type, .kind = kind_of(e), .scale = e->scale, .width = width_of(e), .max_def = n->max_def, .max_rep = n->max_rep};
    return GRAFT_OK;
}

/* Reads node after node in the file's order; a node's children are noted where they come. */
typedef struct tree {
    graft_thrift *t;
    size_t left; /* elements not read yet */
    int n_child; /* used of p->child */
} tree;

static graft_status read_node(graft_parquet *p, tree *x, const parquet_node *parent, const char *path, int depth, int *out, graft_error *err)
{
    if (!x->left || depth > DEEPEST) return damaged(p, err, x->left ? "its schema is too deep" : "its schema ends early");
    x->left--;
    const element e = read_element(x->t);
    if (x->t->bad || (parent && (e.repetition < PARQUET_REQUIRED || e.repetition > PARQUET_REPEATED))) return damaged(p, err, "an element of its schema cannot be read");
    if (e.children < 0 || (uint64_t)e.children > x->left) return damaged(p, err, "its schema ends early");
    parquet_node *n = &p->nodes[ *out = p->n_nodes++];
    n->repetition = parent ? e.repetition : PARQUET_REQUIRED;
    n->is_list = e.logical == LOGICAL_LIST || e.converted == CONVERTED_LIST;
    n->is_map = e.logical == LOGICAL_MAP || e.converted == CONVERTED_MAP || (e.converted == CONVERTED_MAP_KEY && e.repetition != PARQUET_REPEATED);
    n->max_def = parent ? parent->max_def + (n->repetition != PARQUET_REQUIRED) : 0;
    n->max_rep = parent ? parent->max_rep + (n->repetition == PARQUET_REPEATED) : 0;
    n->name = graft_arena_copy(p->arena, e.name, e.name_bytes);
    const char *own = parent && n->name ? graft_arena_printf(p->arena, "%s%s%s", path, *path ? "." : "", n->name) : "";
    if (!n->name || !own) return no_memory(p, err);
    if (strlen(n->name) != e.name_bytes) return damaged(p, err, "a column's name holds a zero byte");
    n->leaf = p->n_leaves, n->n_children = (int)e.children;
    if (!e.children && parent && e.type >= 0) n->n_leaves = 1;
    if (n->n_leaves) return add_leaf(p, &e, n, own, err);
    if (!e.children) return damaged(p, err, "a group of its schema is empty");
    n->first = x->n_child, x->n_child += n->n_children;
    for (int i = 0; i < n->n_children; i++)
        if (read_node(p, x, n, own, depth + 1, &p->child[n->first + i], err)) return err->code;
    n->n_leaves = p->n_leaves - n->leaf;
    return GRAFT_OK;
}

static graft_status read_schema(graft_parquet *p, graft_thrift *t, int type, graft_error *err)
{
    int root;
    tree x = {.t = t, .left = graft_thrift_list(t, type, GRAFT_THRIFT_STRUCT)};
    if (p->nodes || !x.left) return damaged(p, err, "it has no schema");
    p->nodes = graft_arena_alloc(p->arena, x.left * sizeof *p->nodes);
    p->child = graft_arena_alloc(p->arena, x.left * sizeof *p->child);
    p->leaves = graft_arena_alloc(p->arena, x.left * sizeof *p->leaves);
    if (!p->nodes || !p->child || !p->leaves) return no_memory(p, err);
    if (read_node(p, &x, NULL, "", 0, &root, err)) return err->code;
    return x.left ? damaged(p, err, "its schema has elements that belong to nothing") : GRAFT_OK;
}

/* ---- row groups ------------------------------------------------------------------------------------------------------------------------------- */

static void read_metadata(graft_thrift *t, int type, parquet_chunk *c)
{
    int64_t dictionary = 0;
    int id = 0, kind;
    if (!graft_thrift_struct(t, type)) return;
    while (graft_thrift_field(t, &id, &kind)) switch (id) {
        case 4: c->codec = (int)graft_thrift_number(t, kind); break;
        case 5: c->values = graft_thrift_number(t, kind); break;
        case 7: c->bytes = graft_thrift_number(t, kind); break;
        case 9: c->begin = graft_thrift_number(t, kind); break;
        case 11: dictionary = graft_thrift_number(t, kind); break;
        default: graft_thrift_skip(t, kind);
        }
    if (dictionary > 0 && dictionary < c->begin) c->begin = dictionary;
}

static graft_status read_chunk(graft_parquet *p, graft_thrift *t, int leaf, parquet_chunk *c, graft_error *err)
{
    const char *elsewhere = "";
    size_t elsewhere_bytes = 0;
    int id = 0, type, sealed = 0, has = 0;
    while (graft_thrift_field(t, &id, &type)) {
        if (id == 1) graft_thrift_text(t, type, &elsewhere, &elsewhere_bytes);
        else if (id == 3) read_metadata(t, type, c), has = 1;
        else sealed |= id == 8, graft_thrift_skip(t, type);
    }
    if (t->bad) return damaged(p, err, "a row group cannot be read");
    if (sealed || !has) return graft_fail(err, GRAFT_UNSUPPORTED, p->path, "column \"%s\" is encrypted; write the file without encryption", p->leaves[leaf].path);
    if (elsewhere_bytes) return graft_fail(err, GRAFT_UNSUPPORTED, p->path, "column \"%s\" lies in another file, \"%.*s\"; write one file with all columns", p->leaves[leaf].path, (int)(elsewhere_bytes < 200 ? elsewhere_bytes : 200), elsewhere);
    if (c->begin < 4 || c->bytes < 0 || c->values < 0 || c->begin > p->map->bytes - 8 || c->bytes > p->map->bytes - 8 - c->begin) return damaged(p, err, "a column lies outside of the file");
    return GRAFT_OK;
}

static graft_status read_group(graft_parquet *p, graft_thrift *t, int64_t group, graft_error *err)
{
    int id = 0, type, has = 0;
    while (graft_thrift_field(t, &id, &type)) {
        if (id == 3) p->group_rows[group] = graft_thrift_number(t, type);
        else if (id != 1) graft_thrift_skip(t, type);
        else {
            if (has++ || graft_thrift_list(t, type, GRAFT_THRIFT_STRUCT) != (size_t)p->n_leaves) return damaged(p, err, "a row group has not the schema's columns");
            for (int i = 0; i < p->n_leaves; i++)
                if (read_chunk(p, t, i, &p->chunks[group * p->n_leaves + i], err)) return err->code;
        }
    }
    if (t->bad || !has || p->group_rows[group] < 0) return damaged(p, err, "a row group cannot be read");
    return graft_add_overflows(p->rows, p->group_rows[group], &p->rows) ? damaged(p, err, "it counts too many rows") : GRAFT_OK;
}

static graft_status read_groups(graft_parquet *p, graft_thrift *t, int type, graft_error *err)
{
    int64_t n, bytes;
    if (!p->nodes || p->group_rows) return damaged(p, err, "its row groups stand before the schema");
    p->n_groups = (int64_t)graft_thrift_list(t, type, GRAFT_THRIFT_STRUCT);
    if (p->n_groups > (t->end - t->at) / p->n_leaves) return damaged(p, err, "it counts too many row groups");
    if (graft_mul_overflows(p->n_groups, p->n_leaves, &n) || graft_mul_overflows(n, sizeof *p->chunks, &bytes)) return no_memory(p, err);
    p->group_rows = graft_arena_alloc(p->arena, (size_t)(p->n_groups + 1) * sizeof *p->group_rows);
    p->chunks = graft_arena_alloc(p->arena, (size_t)bytes + 1);
    if (!p->group_rows || !p->chunks) return no_memory(p, err);
    for (int64_t g = 0; g < p->n_groups; g++)
        if (read_group(p, t, g, err)) return err->code;
    return GRAFT_OK;
}

graft_status parquet_footer_read(graft_parquet *p, graft_error *err)
{
    const uint8_t *data = p->map->data;
    const int64_t bytes = p->map->bytes;
    uint32_t size;
    if (bytes >= 4 && !memcmp(data, "PARE", 4)) return graft_fail(err, GRAFT_UNSUPPORTED, p->path, "the Parquet file is encrypted; write it without encryption");
    if (bytes < 12 || memcmp(data + bytes - 4, "PAR1", 4)) return graft_fail(err, GRAFT_BAD_INPUT, p->path, "a Parquet file ends with \"PAR1\" and this one does not; it is cut short: copy or download it again");
    memcpy(&size, data + bytes - 8, 4);
    if (size > bytes - 12) return damaged(p, err, "it is larger than the file");
    graft_thrift t = {.at = data + bytes - 8 - size, .end = data + bytes - 8};
    int id = 0, type;
    while (graft_thrift_field(&t, &id, &type)) {
        graft_status status = GRAFT_OK;
        if (id == 2) status = read_schema(p, &t, type, err);
        else if (id == 4) status = read_groups(p, &t, type, err);
        else graft_thrift_skip(&t, type);
        if (status) return status;
    }
    if (t.bad || !p->group_rows) return damaged(p, err, "it ends early");
    return GRAFT_OK;
}
