/* core/data/parquet.c - see parquet.h: rows put together from the columns' entries, as Dremel's paper tells (Melnik et al., 2010).
 *
 *   messages (list) . list (repeated) . element . role     def 3: a role, 2: an element without, 1: an empty list ..., by which nodes are optional
 *                                                          rep 0: a new row, 1: the next element of the same list
 *
 * A node is asked in the presence of its parent; its first column tells whether it is there, and whether a list goes on. All columns under it are read along,
 * and each must agree. */
#include "core/data/parquet.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/data/parquet_parts.h"

#include <math.h>
#include <string.h>

enum { ROW_MAX = 256 << 20,
       PAST = 1 << 20 }; /* bytes of rows that are read past */

/* One row being read. */
typedef struct reading {
    graft_parquet *p;
    graft_arena *a;
    graft_error *err;
    graft_error bad; /* a value that is wrong by itself: the row is read to its end, then refused */
} reading;

static graft_status read_field(reading *x, const parquet_node *n, int rep, graft_json **out);

/* ---- values ---------------------------------------------------------------------------------------------------------------------------------- */

static int64_t integer_of(const parquet_leaf *l, parquet_value v)
{
    int32_t four;
    int64_t eight;
    if (l->type == PARQUET_INT64) return memcpy(&eight, v.p, 8), eight;
    memcpy(&four, v.p, 4);
    return l->kind == PARQUET_UNSIGNED ? (int64_t)(uint32_t)four : four;
}

static double decimal_of(const parquet_leaf *l, parquet_value v)
{
    const int is_integer = l->type == PARQUET_INT32 || l->type == PARQUET_INT64; /* others have their highest byte first */
    return graft_columns_decimal(v.p, v.n, !is_integer, l->scale);
}

/* Bytes that are a text, or no value at all. */
static graft_json *bytes_of(reading *x, parquet_leaf *l, parquet_value v)
{
    const int text = l->kind != PARQUET_BINARY && graft_columns_is_text(v.p, v.n);
    if (text) return graft_json_text(x->a, (const char *)v.p, v.n);
    if (l->kind == PARQUET_TEXT) {
        if (!x->bad.code) graft_fail(&x->bad, GRAFT_BAD_INPUT, x->p->path, "record %lld: a text of column \"%.120s\" is not UTF-8; write it as UTF-8", (long long)x->p->row + 1, l->path);
    } else if (!l->said++) graft_log(GRAFT_LOG_WARNING, "%s: column \"%s\" holds bytes that are no text; they read as null", x->p->path, l->path);
    return graft_json_new(x->a, GRAFT_JSON_NULL);
}

static graft_json *value_of(reading *x, parquet_leaf *l, parquet_value v)
{
    float f;
    double d;
    uint64_t u;
    if (l->kind == PARQUET_NULLS) return graft_json_new(x->a, GRAFT_JSON_NULL);
    if (l->kind == PARQUET_DECIMAL && l->type != PARQUET_BOOLEAN && l->type != PARQUET_FLOAT && l->type != PARQUET_DOUBLE) return graft_columns_real(x->a, decimal_of(l, v));
    switch (l->type) {
    case PARQUET_BOOLEAN: return graft_json_flag(x->a, v.p[0]);
    case PARQUET_FLOAT: return memcpy(&f, v.p, 4), graft_columns_real(x->a, (double)f);
    case PARQUET_DOUBLE: return memcpy(&d, v.p, 8), graft_columns_real(x->a, d);
    case PARQUET_INT64:
        memcpy(&u, v.p, 8);
        if (l->kind == PARQUET_UNSIGNED && u > INT64_MAX) return graft_json_real(x->a, (double)u);
        return graft_json_int(x->a, integer_of(l, v));
    case PARQUET_INT32: return graft_json_int(x->a, integer_of(l, v));
    default: return l->kind == PARQUET_HALF && v.n == 2 ? graft_columns_real(x->a, graft_columns_half(v.p)) : bytes_of(x, l, v);
    }
}

/* ---- nodes ----------------------------------------------------------------------------------------------------------------------------------- */

static graft_status no_memory(reading *x) { return graft_fail(x->err, GRAFT_NO_MEMORY, x->p->path, "out of memory for a record"); }

static graft_status disagree(reading *x, const parquet_leaf *l)
{
    return parquet_refuse(x->p, l, GRAFT_BAD_INPUT, x->err, "its levels do not fit those of the other columns; the file is damaged: copy or download it again");
}

/* The first column of a node tells about it. */
static graft_status peek_first(reading *x, const parquet_node *n, int rep, parquet_leaf **out)
{
    parquet_leaf *l = *out = &x->p->leaves[n->leaf];
    if (parquet_leaf_peek(x->p, l, x->err)) return x->err->code;
    return l->rep == rep ? GRAFT_OK : disagree(x, l);
}

/* Nothing is there at this level: an entry of every column under the node says so. */
static graft_status take_nothing(reading *x, const parquet_node *n, int rep)
{
    for (int i = n->leaf; i < n->leaf + n->n_leaves; i++) {
        parquet_leaf *l = &x->p->leaves[i];
        if (parquet_leaf_peek(x->p, l, x->err)) return x->err->code;
        if (l->rep != rep || l->def >= n->max_def) return disagree(x, l);
        if (parquet_leaf_take(x->p, l, 0, NULL, x->err)) return x->err->code;
    }
    return GRAFT_OK;
}

static const parquet_node *child_of(const graft_parquet *p, const parquet_node *n, int i) { return &p->nodes[p->child[n->first + i]]; }

/* The one repeated group of a list or map; NULL: it is a struct like others. */
static const parquet_node *repeated_in(const graft_parquet *p, const parquet_node *n)
{
    if (n->n_children != 1 || !(n->is_list || n->is_map)) return NULL;
    const parquet_node *r = child_of(p, n, 0);
    return r->repetition == PARQUET_REPEATED ? r : NULL;
}

/* Is the element the only child of the repeated group, or that group itself? */
static int element_is_child(const graft_parquet *p, const parquet_node *list, const parquet_node *r)
{
    const size_t n = strlen(list->name);
    if (!list->is_list || r->n_children != 1 || child_of(p, r, 0)->repetition == PARQUET_REPEATED) return 0;
    return strcmp(r->name, "array") && !(!strncmp(r->name, list->name, n) && !strcmp(r->name + n, "_tuple"));
}

/* A node that is known to be there. */
static graft_status read_present(reading *x, const parquet_node *n, int rep, graft_json **out)
{
    parquet_leaf *l;
    parquet_value v = {0};
    if (!n->n_children) {
        if (peek_first(x, n, rep, &l)) return x->err->code;
        if (l->def != n->max_def) return disagree(x, l);
        if (parquet_leaf_take(x->p, l, 1, &v, x->err)) return x->err->code;
        return (*out = value_of(x, l, v)) ? GRAFT_OK : no_memory(x);
    }
    graft_json *o = *out = graft_json_new(x->a, GRAFT_JSON_OBJECT), *value = NULL;
    if (!o) return no_memory(x);
    for (int i = 0; i < n->n_children; i++) {
        const parquet_node *c = child_of(x->p, n, i);
        if (read_field(x, c, rep, &value)) return x->err->code;
        graft_json_put(x->a, o, c->name, value);
        if (o->type != GRAFT_JSON_OBJECT) return no_memory(x);
    }
    return GRAFT_OK;
}

/* r: what repeats; element: it, or its only child. */
static graft_status read_list(reading *x, const parquet_node *r, const parquet_node *element, int rep, graft_json **out)
{
    parquet_leaf *l;
    graft_json *list = *out = graft_json_new(x->a, GRAFT_JSON_ARRAY), *value = NULL;
    if (!list) return no_memory(x);
    if (peek_first(x, r, rep, &l)) return x->err->code;
    if (l->def < r->max_def) return take_nothing(x, r, rep);
    for (;; rep = r->max_rep) {
        if (element == r ? read_present(x, r, rep, &value) : read_field(x, element, rep, &value)) return x->err->code;
        graft_json_push(x->a, list, value);
        if (graft_arena_bytes(x->a) > ROW_MAX) return parquet_refuse(x->p, l, GRAFT_BAD_INPUT, x->err, "a list of one record is larger than 256 MiB");
        if (!l->peeked && !l->entries && !l->left) return GRAFT_OK;
        if (parquet_leaf_peek(x->p, l, x->err)) return x->err->code;
        if (l->rep != r->max_rep) return GRAFT_OK;
    }
}

static graft_status read_field(reading *x, const parquet_node *n, int rep, graft_json **out)
{
    parquet_leaf *l;
    if (n->repetition == PARQUET_REPEATED) return read_list(x, n, n, rep, out);
    if (peek_first(x, n, rep, &l)) return x->err->code;
    if (n->repetition == PARQUET_OPTIONAL && l->def < n->max_def) {
        *out = graft_json_new(x->a, GRAFT_JSON_NULL);
        return *out ? take_nothing(x, n, rep) : no_memory(x);
    }
    const parquet_node *r = repeated_in(x->p, n);
    if (!r) return read_present(x, n, rep, out);
    return read_list(x, r, element_is_child(x->p, n, r) ? child_of(x->p, r, 0) : r, rep, out);
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------------------------ */

static void begin_group(graft_parquet *p, int64_t group)
{
    p->group = group, p->left = p->group_rows[group];
    for (int i = 0; i < p->n_leaves; i++) parquet_leaf_begin(p, &p->leaves[i], &p->chunks[group * p->n_leaves + i]);
}

static graft_status end_group(const graft_parquet *p, graft_error *err)
{
    for (int i = 0; i < p->n_leaves; i++) {
        const parquet_leaf *l = &p->leaves[i];
        if (l->peeked || l->entries || l->left) return parquet_refuse(p, l, GRAFT_BAD_INPUT, err, "it has more rows than its row group; the file is damaged: copy or download it again");
    }
    return GRAFT_OK;
}

static graft_status parquet_row(graft_columns *c, graft_arena *a, const graft_json **row, graft_error *err)
{
    graft_parquet *p = (graft_parquet *)c;
    reading x = {.p = p, .a = a, .err = err, .bad = GRAFT_ERROR_INIT};
    graft_json *all = NULL;
    *row = NULL;
    if (p->late.code) return *err = p->late, err->code;
    while (!p->left) {
        if (p->group + 1 >= p->n_groups) return GRAFT_OK;
        begin_group(p, p->group + 1);
    }
    if (read_present(&x, &p->nodes[0], 0, &all)) return err->code;
    if (p->left == 1 && end_group(p, err)) return err->code;
    p->left--, p->row++;
    if (x.bad.code) return *err = x.bad, err->code;
    *row = all;
    return GRAFT_OK;
}

static int64_t parquet_tell(const graft_columns *c) { return ((const graft_parquet *)c)->row; }

/* Reads rows for nobody until so many were read: what reading would refuse on the way is refused as well. */
static graft_status read_past(graft_parquet *p, int64_t row, graft_error *err)
{
    const graft_json *ignored;
    graft_arena *a = NULL;
    graft_status status = GRAFT_OK;
    while (!status && p->row < row) {
        const int64_t before = p->row;
        if (graft_arena_bytes(a) > PAST || !a) {
            graft_arena_free(a);
            if (!(a = graft_arena_new())) return graft_fail(err, GRAFT_NO_MEMORY, p->path, "out of memory for a record");
        }
        status = parquet_row(&p->base, a, &ignored, err);
        if (status && p->row > before) status = GRAFT_OK; /* one that was bad by itself */
    }
    graft_arena_free(a);
    return status;
}

static graft_status parquet_seek(graft_columns *c, int64_t row, graft_error *err)
{
    graft_parquet *p = (graft_parquet *)c;
    int64_t group = 0, from = 0;
    graft_error late = GRAFT_ERROR_INIT;
    if (row < 0 || row > p->rows) return graft_fail(err, GRAFT_BAD_INPUT, p->path, "the file has no row %lld", (long long)row);
    while (group < p->n_groups && from + p->group_rows[group] <= row) from += p->group_rows[group++];
    p->group = group - 1, p->left = 0, p->row = from; /* the next one is begun by the next row */
    p->late = late;
    read_past(p, row, &late);
    p->late = late, p->row = row;
    return GRAFT_OK;
}

/* ---- opening --------------------------------------------------------------------------------------------------------------------------------- */

static void parquet_close(graft_columns *c)
{
    graft_parquet *p = (graft_parquet *)c;
    if (!p) return;
    for (int i = 0; i < p->n_leaves; i++) {
        parquet_leaf *l = &p->leaves[i];
        graft_free(l->page);
        graft_free(l->dictionary_page);
        graft_free(l->dictionary);
        graft_free(l->values.text);
    }
    graft_arena_free(p->arena);
    graft_free(p);
}

static const graft_columns_api api = {parquet_row, parquet_tell, parquet_seek, parquet_close};

int graft_parquet_is(const graft_map *m) { return m->bytes >= 4 && (!memcmp(m->data, "PAR1", 4) || !memcmp(m->data, "PARE", 4)); }

graft_status graft_parquet_open(const graft_map *m, const char *path, graft_columns **out, graft_error *err)
{
    graft_parquet *p = graft_calloc(1, sizeof *p);
    *out = NULL;
    if (!p || !(p->arena = graft_arena_new())) return graft_free(p), graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory");
    p->base.api = &api, p->map = m, p->path = path, p->group = -1, p->late = (graft_error)GRAFT_ERROR_INIT;
    if (parquet_footer_read(p, err)) return parquet_close(&p->base), err->code;
    *out = &p->base;
    return GRAFT_OK;
}
