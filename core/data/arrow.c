/* core/data/arrow.c - see arrow.h. When the file is opened its messages are gone through: the schema is kept as a tree, of each batch where it lies and how many
 * rows it has. A batch's buffers are checked against its lengths once, when it is begun; places inside them with each value. Numbers are little-endian. */
#include "core/data/arrow.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/data/flatbuffer.h"

#include <stdio.h>
#include <string.h>

enum { NONE,
       NULLS,
       INT,
       FLOAT,
       BINARY,
       UTF8,
       BOOL,
       DECIMAL,
       DATE,
       TIME,
       TIMESTAMP,
       INTERVAL,
       LIST,
       STRUCT,
       UNION,
       FIXED,
       FIXED_LIST,
       MAP,
       DURATION,
       LARGE_BINARY,
       LARGE_UTF8,
       LARGE_LIST,
       TYPES }; /* Schema.fbs */
enum { SCHEMA = 1,
       DICTIONARY = 2,
       BATCH = 3 }; /* Message.fbs */
enum { DEEPEST = 40,
       FIELDS_MAX = 1 << 14,
       ROW_MAX = 256 << 20 };

/* A column or a part of one, in the order of the schema: parents before children. */
typedef struct field {
    const char *name;
    int type, is_signed, scale, first, n_children, dictionary; /* dictionary: the field whose values the indices mean; 0: none */
    int64_t width, dictionary_id;                              /* bytes of a value; elements of a FIXED_LIST */
    int said, filled;                                          /* filled: a dictionary that was read */
    /* of the batch, or of the dictionary that was read last */
    int64_t length;
    const uint8_t *valid, *values, *data; /* values: also the offsets */
    int64_t value_bytes, data_bytes;
} field;

typedef struct batch {
    int64_t at, rows; /* of the message; row number of its first */
} batch;

typedef struct arrow {
    graft_columns base;
    const graft_map *map;
    const char *path;
    graft_arena *arena;
    field *fields;                       /* [0] is the root; behind those of the schema lie those of dictionaries */
    int *child, n_fields, n_child, most; /* most: no more fields are in a header of this size */
    batch *batches;
    size_t n_batches, room, begun; /* begun: batches whose buffers are set, +1 */
    int64_t rows, row;
} arrow;

/* A message: its header as a table, its body. */
typedef struct message {
    graft_flat header;
    int type;
    const uint8_t *body;
    int64_t body_bytes, next;
} message;

static graft_status damaged(const arrow *w, graft_error *err, const char *what)
{
    return graft_fail(err, GRAFT_BAD_INPUT, w->path, "the Arrow file is damaged (%s); copy or download it again", what);
}

static graft_status no_memory(const arrow *w, graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, w->path, "out of memory for a record"); }

/* ---- messages -------------------------------------------------------------------------------------------------------------------------------- */

/* The message at the place; m->next 0: the stream ends there. */
static graft_status read_message(const arrow *w, int64_t at, message *m, graft_error *err)
{
    const uint8_t *data = w->map->data;
    const int64_t bytes = w->map->bytes;
    int32_t size = 0, mark = 0;
    *m = (message){0};
    if (bytes - at < 8) return bytes == at ? GRAFT_OK : damaged(w, err, "it is cut short");
    memcpy(&mark, data + at, 4);
    memcpy(&size, data + at + 4, 4);
    if (mark != -1) return mark == 0 ? GRAFT_OK : graft_fail(err, GRAFT_UNSUPPORTED, w->path, "the Arrow file is older than version 0.15 or damaged; write it anew");
    if (!size) return GRAFT_OK;
    at += 8;
    if (size < 8 || size > bytes - at) return damaged(w, err, "it is cut short");
    graft_flat root = {.data = data + at, .bytes = (size_t)size};
    root.at = graft_flat_u32(&root, 0);
    m->type = (int)graft_flat_number(&root, 1, 1, 0);
    m->header = graft_flat_table(&root, 2);
    m->body_bytes = graft_flat_number(&root, 3, 8, 0);
    m->body = data + at + size;
    if (!m->header.at || m->body_bytes < 0 || m->body_bytes > bytes - at - size) return damaged(w, err, "a message is cut short");
    m->next = at + size + m->body_bytes;
    return GRAFT_OK;
}

/* ---- schema ---------------------------------------------------------------------------------------------------------------------------------- */

/* Bytes of a value and its meaning. Tables of Schema.fbs: Int {bitWidth, is_signed}, FloatingPoint {precision}, Decimal {precision, scale, bitWidth} ... */
static graft_status read_type(const arrow *w, const graft_flat *f, field *x, graft_error *err)
{
    static const int floats[] = {2, 4, 8};
    const graft_flat t = graft_flat_table(f, 3);
    const int64_t first = graft_flat_number(&t, 0, x->type == DATE || x->type == TIME || x->type == TIMESTAMP || x->type == DURATION || x->type == FLOAT ? 2 : 4, 0);
    x->width = 8;
    switch (x->type) {
    case INT: x->width = first / 8, x->is_signed = (int)graft_flat_number(&t, 1, 1, 0); break;
    case FLOAT: x->width = first >= 0 && first <= 2 ? floats[first] : 0; break;
    case DECIMAL: x->width = graft_flat_number(&t, 2, 4, 128) / 8, x->scale = (int)graft_flat_number(&t, 1, 4, 0); break;
    case DATE: x->width = graft_flat_number(&t, 0, 2, 1) == 0 ? 4 : 8, x->is_signed = 1; break;
    case TIME: x->width = graft_flat_number(&t, 1, 4, 32) / 8, x->is_signed = 1; break;
    case FIXED:
    case FIXED_LIST: x->width = first; break;
    case TIMESTAMP:
    case DURATION: x->is_signed = 1; break;
    default: break;
    }
    if (x->type <= NONE || x->type >= TYPES || x->type == UNION || x->type == INTERVAL)
        return graft_fail(err, GRAFT_UNSUPPORTED, w->path, "column \"%.120s\" is of a type (number %d of Arrow's) that is not read here; leave the column out, or write it as text", x->name, x->type);
    const int number = x->type == INT || x->type == DATE || x->type == TIME;
    if (number ? x->width != 1 && x->width != 2 && x->width != 4 && x->width != 8 : x->width < (x->type != FIXED_LIST) || x->width > INT32_MAX) return damaged(w, err, "a column's width is none");
    return GRAFT_OK;
}

static graft_status add_field(arrow *w, const graft_flat *f, int depth, int *out, graft_error *err)
{
    size_t n = 0;
    if (w->n_fields == w->most || depth > DEEPEST) return graft_fail(err, GRAFT_UNSUPPORTED, w->path, "the file has more than %d columns, or they are nested more than %d deep", w->most, DEEPEST);
    field *x = &w->fields[ *out = w->n_fields++];
    const graft_flat dictionary = graft_flat_table(f, 4), index = graft_flat_table(&dictionary, 1);
    const uint8_t *name = graft_flat_list(f, 0, 1, &n), *children;
    x->name = graft_arena_copy(w->arena, name ? (const char *)name : "", n);
    if (!x->name) return no_memory(w, err);
    if (strlen(x->name) != n) return damaged(w, err, "a column's name holds a zero byte");
    x->type = (int)graft_flat_number(f, 2, 1, 0);
    if (read_type(w, f, x, err)) return err->code;
    children = graft_flat_list(f, 5, 4, &n);
    const int is_list = x->type == LIST || x->type == LARGE_LIST || x->type == FIXED_LIST || x->type == MAP;
    if (is_list ? n != 1 : x->type != STRUCT && n) return damaged(w, err, "a column has not the children of its type");
    if (n > (size_t)(w->most - w->n_child)) return damaged(w, err, "it has too many columns");
    x->first = w->n_child, x->n_children = (int)n, w->n_child += (int)n;
    for (size_t i = 0; i < n; i++) {
        const graft_flat c = graft_flat_item(f, children, i);
        if (add_field(w, &c, depth + 1, &w->child[x->first + (int)i], err)) return err->code;
    }
    if (!dictionary.at) return GRAFT_OK;
    /* The indices take the column's place; what they mean becomes a field of its own, nested values included. */
    if (w->n_fields == w->most) return damaged(w, err, "it has too many columns");
    if (n) return graft_fail(err, GRAFT_UNSUPPORTED, w->path, "column \"%.120s\" is a dictionary of lists or structs, which is not read here; write the column without one", x->name);
    const int values = w->n_fields++;
    w->fields[values] = *x;
    w->fields[values].dictionary_id = graft_flat_number(&dictionary, 0, 8, 0);
    x->type = INT, x->dictionary = values;
    x->width = index.at ? graft_flat_number(&index, 0, 4, 32) / 8 : 4, x->is_signed = index.at ? (int)graft_flat_number(&index, 1, 1, 0) : 1;
    return x->width == 1 || x->width == 2 || x->width == 4 || x->width == 8 ? GRAFT_OK : damaged(w, err, "a dictionary's indices have no width");
}

static graft_status read_schema(arrow *w, const message *m, graft_error *err)
{
    size_t n = 0;
    const uint8_t *list = graft_flat_list(&m->header, 1, 4, &n);
    if (w->fields) return damaged(w, err, "it has two schemas");
    if (graft_flat_number(&m->header, 0, 2, 0)) return graft_fail(err, GRAFT_UNSUPPORTED, w->path, "the file is big-endian; write it on another machine");
    w->most = m->header.bytes / 8 < FIELDS_MAX ? (int)(m->header.bytes / 8) + 2 : FIELDS_MAX;
    w->fields = graft_arena_alloc(w->arena, (size_t)w->most * sizeof *w->fields);
    w->child = graft_arena_alloc(w->arena, (size_t)w->most * sizeof *w->child);
    if (!w->fields || !w->child) return no_memory(w, err);
    if (!n || n >= (size_t)w->most) return damaged(w, err, "it has no columns");
    w->n_fields = 1, w->n_child = (int)n;
    w->fields[0] = (field){.name = "", .type = STRUCT, .n_children = (int)n};
    for (size_t i = 0; i < n; i++) {
        const graft_flat f = graft_flat_item(&m->header, list, i);
        if (add_field(w, &f, 0, &w->child[i], err)) return err->code;
    }
    return GRAFT_OK;
}

/* ---- buffers --------------------------------------------------------------------------------------------------------------------------------- */

/* Nodes and buffers of a batch, taken one after the other. */
typedef struct taking {
    const uint8_t *nodes, *buffers, *body;
    size_t n_nodes, n_buffers;
    int64_t body_bytes;
} taking;

static graft_status take_buffer(const arrow *w, taking *t, const uint8_t **out, int64_t *bytes, graft_error *err)
{
    int64_t at, n;
    if (!t->n_buffers) return damaged(w, err, "a batch has fewer buffers than columns need");
    memcpy(&at, t->buffers, 8);
    memcpy(&n, t->buffers + 8, 8);
    t->buffers += 16, t->n_buffers--;
    if (at < 0 || n < 0 || at > t->body_bytes || n > t->body_bytes - at) return damaged(w, err, "a buffer lies outside of its batch");
    *out = t->body + at, *bytes = n;
    return GRAFT_OK;
}

static int offset_width(const field *x) { return x->type == LARGE_BINARY || x->type == LARGE_UTF8 || x->type == LARGE_LIST ? 8 : 4; }

static int has_offsets(const field *x) { return x->type == BINARY || x->type == UTF8 || x->type == LIST || x->type == MAP || offset_width(x) == 8; }

/* Are `bytes` enough for n values of this width? */
static int fits(int64_t n, int64_t width, int64_t bytes)
{
    int64_t need;
    return !graft_mul_overflows(n, width, &need) && need <= bytes;
}

/* The column's buffers, and those of its children, from the batch. */
static graft_status take_field(arrow *w, field *x, taking *t, graft_error *err)
{
    int64_t nulls, bytes = 0;
    if (!t->n_nodes) return damaged(w, err, "a batch has fewer columns than the schema");
    memcpy(&x->length, t->nodes, 8);
    memcpy(&nulls, t->nodes + 8, 8);
    t->nodes += 16, t->n_nodes--;
    if (x->length < 0 || nulls < 0) return damaged(w, err, "a column's length is negative");
    x->valid = x->values = x->data = NULL, x->value_bytes = x->data_bytes = 0;
    if (x->type == NULLS) return GRAFT_OK;
    if (take_buffer(w, t, &x->valid, &bytes, err)) return err->code;
    if (!nulls || !bytes) x->valid = NULL;
    else if (bytes < (x->length + 7) / 8) return damaged(w, err, "a column has fewer validity bits than values");
    if (has_offsets(x)) {
        if (take_buffer(w, t, &x->values, &x->value_bytes, err)) return err->code;
        if (x->length && (x->length == INT64_MAX || !fits(x->length + 1, offset_width(x), x->value_bytes))) return damaged(w, err, "a column has fewer offsets than values");
        if (!x->n_children && take_buffer(w, t, &x->data, &x->data_bytes, err)) return err->code;
    } else if (x->type != STRUCT && x->type != FIXED_LIST) {
        if (take_buffer(w, t, &x->values, &x->value_bytes, err)) return err->code;
        if (x->type == BOOL ? x->value_bytes < x->length / 8 + (x->length % 8 != 0) : !fits(x->length, x->width, x->value_bytes)) return damaged(w, err, "a column has fewer bytes than values");
    }
    for (int i = 0; i < x->n_children; i++) {
        field *c = &w->fields[w->child[x->first + i]];
        if (take_field(w, c, t, err)) return err->code;
        if (x->type == STRUCT && c->length < x->length) return damaged(w, err, "a struct is longer than its members");
        if (x->type == FIXED_LIST && !fits(x->length, x->width, c->length)) return damaged(w, err, "a list is longer than its elements");
    }
    return GRAFT_OK;
}

/* RecordBatch {length, nodes, buffers, compression} */
static graft_status open_batch(arrow *w, const graft_flat *b, const message *m, taking *t, graft_error *err)
{
    *t = (taking){.body = m->body, .body_bytes = m->body_bytes};
    t->nodes = graft_flat_list(b, 1, 16, &t->n_nodes), t->buffers = graft_flat_list(b, 2, 16, &t->n_buffers);
    if (graft_flat_target(b, 3)) return graft_fail(err, GRAFT_UNSUPPORTED, w->path, "the Arrow file is packed (Feather), which is not read here; write it with compression=None, or as Parquet");
    return GRAFT_OK;
}

/* DictionaryBatch {id, data, isDelta} */
static graft_status take_dictionary(arrow *w, const message *m, graft_error *err)
{
    taking t;
    const int64_t id = graft_flat_number(&m->header, 0, 8, 0);
    const graft_flat b = graft_flat_table(&m->header, 1);
    if (graft_flat_number(&m->header, 2, 1, 0)) return graft_fail(err, GRAFT_UNSUPPORTED, w->path, "the file adds to its dictionaries, which is not read here; write it without");
    for (int i = 1; i < w->n_fields; i++) {
        const int values = w->fields[i].dictionary;
        if (!values || w->fields[values].dictionary_id != id) continue;
        if (w->fields[values].filled++) return graft_fail(err, GRAFT_UNSUPPORTED, w->path, "the file changes its dictionaries on the way, which is not read here; write it without");
        if (open_batch(w, &b, m, &t, err) || take_field(w, &w->fields[values], &t, err)) return err->code;
    }
    return GRAFT_OK;
}

static graft_status begin_batch(arrow *w, size_t k, graft_error *err)
{
    message m;
    taking t;
    if (w->begun == k + 1) return GRAFT_OK;
    w->begun = 0;
    if (read_message(w, w->batches[k].at, &m, err) || open_batch(w, &m.header, &m, &t, err)) return err->code;
    w->fields[0].length = graft_flat_number(&m.header, 0, 8, 0);
    for (int i = 0; i < w->fields[0].n_children; i++) {
        field *c = &w->fields[w->child[i]];
        if (take_field(w, c, &t, err)) return err->code;
        if (c->length < w->fields[0].length) return damaged(w, err, "a column is shorter than its batch");
    }
    if (k) graft_map_forget(w->map->data + w->batches[k - 1].at, w->batches[k].at - w->batches[k - 1].at);
    w->begun = k + 1;
    return GRAFT_OK;
}

/* ---- values ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct reading {
    arrow *w;
    graft_arena *a;
    graft_error *err;
    graft_error bad; /* a text that is none: the row is refused, the next one can be read */
} reading;

static int64_t integer_at(const field *x, int64_t i)
{
    uint64_t v = 0;
    memcpy(&v, x->values + i * x->width, (size_t)x->width);
    const int shift = 64 - 8 * (int)x->width;
    return x->is_signed ? (int64_t)(v << shift) >> shift : (int64_t)v;
}

/* Begin and end of the i-th text or list. */
static graft_status span(reading *x, const field *f, int64_t i, int64_t most, int64_t *from, int64_t *to)
{
    int32_t four[2];
    if (offset_width(f) == 8) memcpy(from, f->values + i * 8, 8), memcpy(to, f->values + i * 8 + 8, 8);
    else memcpy(four, f->values + i * 4, 8), *from = four[0], *to = four[1];
    return *from < 0 || *to < *from || *to > most ? damaged(x->w, x->err, "an offset lies outside of its column") : GRAFT_OK;
}

static graft_json *bytes_of(reading *x, field *f, const uint8_t *p, size_t n)
{
    const int text = f->type == UTF8 || f->type == LARGE_UTF8;
    if (!graft_columns_is_text(p, n)) {
        if (text && !x->bad.code) graft_fail(&x->bad, GRAFT_BAD_INPUT, x->w->path, "record %lld: a text of column \"%.120s\" is not UTF-8; write it as UTF-8", (long long)x->w->row + 1, f->name);
        if (!text && !f->said++) graft_log(GRAFT_LOG_WARNING, "%s: column \"%s\" holds bytes that are no text; they read as null", x->w->path, f->name);
    }
    return graft_columns_text(x->a, p, n);
}

static graft_status read_value(reading *x, field *f, int64_t i, graft_json **out);

static graft_status read_elements(reading *x, field *f, int64_t from, int64_t to, graft_json **out)
{
    graft_json *value = NULL;
    if (!(*out = graft_json_new(x->a, GRAFT_JSON_ARRAY))) return no_memory(x->w, x->err);
    for (int64_t k = from; k < to; k++) {
        if (read_value(x, f, k, &value)) return x->err->code;
        graft_json_push(x->a, *out, value);
        if (graft_arena_bytes(x->a) > ROW_MAX) return graft_fail(x->err, GRAFT_BAD_INPUT, x->w->path, "a list of record %lld is larger than 256 MiB", (long long)x->w->row + 1);
    }
    return GRAFT_OK;
}

static graft_status read_members(reading *x, const field *f, int64_t i, graft_json **out)
{
    graft_json *value = NULL;
    if (!(*out = graft_json_new(x->a, GRAFT_JSON_OBJECT))) return no_memory(x->w, x->err);
    for (int k = 0; k < f->n_children; k++) {
        field *c = &x->w->fields[x->w->child[f->first + k]];
        if (read_value(x, c, i, &value)) return x->err->code;
        graft_json_put(x->a, *out, c->name, value);
        if ((*out)->type != GRAFT_JSON_OBJECT) return no_memory(x->w, x->err);
    }
    return GRAFT_OK;
}

static graft_json *number_of(reading *x, const field *f, int64_t i)
{
    const uint8_t *p = f->values + i * f->width;
    float four;
    double eight;
    if (f->type == BOOL) return graft_json_flag(x->a, f->values[i / 8] >> i % 8 & 1);
    if (f->type == DECIMAL) return graft_columns_real(x->a, graft_columns_decimal(p, (size_t)f->width, 0, f->scale));
    if (f->type == FLOAT && f->width == 2) return graft_columns_real(x->a, graft_columns_half(p));
    if (f->type == FLOAT && f->width == 4) return memcpy(&four, p, 4), graft_columns_real(x->a, (double)four);
    if (f->type == FLOAT) return memcpy(&eight, p, 8), graft_columns_real(x->a, eight);
    const int64_t v = integer_at(f, i);
    return v < 0 && !f->is_signed ? graft_json_real(x->a, (double)(uint64_t)v) : graft_json_int(x->a, v);
}

static graft_status read_value(reading *x, field *f, int64_t i, graft_json **out)
{
    int64_t from, to;
    if (f->type == NULLS || (f->valid && !(f->valid[i / 8] >> i % 8 & 1))) return (*out = graft_json_new(x->a, GRAFT_JSON_NULL)) ? GRAFT_OK : no_memory(x->w, x->err);
    if (f->dictionary) {
        field *values = &x->w->fields[f->dictionary];
        const int64_t k = integer_at(f, i);
        if (k < 0 || k >= values->length) return damaged(x->w, x->err, "an index lies outside of its dictionary");
        return read_value(x, values, k, out);
    }
    if (f->type == STRUCT) return read_members(x, f, i, out);
    field *c = f->n_children ? &x->w->fields[x->w->child[f->first]] : NULL;
    if (f->type == FIXED_LIST) return read_elements(x, c, i * f->width, (i + 1) * f->width, out);
    if (has_offsets(f)) {
        if (span(x, f, i, c ? c->length : f->data_bytes, &from, &to)) return x->err->code;
        if (c) return read_elements(x, c, from, to, out);
        *out = bytes_of(x, f, f->data + from, (size_t)(to - from));
    } else *out = f->type == FIXED ? bytes_of(x, f, f->values + i * f->width, (size_t)f->width) : number_of(x, f, i);
    return *out ? GRAFT_OK : no_memory(x->w, x->err);
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------------------------ */

/* The batch that holds the row. */
static size_t batch_of(const arrow *w, int64_t row)
{
    size_t low = 0, high = w->n_batches;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (w->batches[middle].rows <= row) low = middle;
        else high = middle;
    }
    return low;
}

static graft_status arrow_row(graft_columns *c, graft_arena *a, const graft_json **row, graft_error *err)
{
    arrow *w = (arrow *)c;
    reading x = {.w = w, .a = a, .err = err, .bad = GRAFT_ERROR_INIT};
    graft_json *all = NULL;
    *row = NULL;
    if (w->row >= w->rows) return GRAFT_OK;
    const size_t k = batch_of(w, w->row);
    if (begin_batch(w, k, err) || read_members(&x, &w->fields[0], w->row - w->batches[k].rows, &all)) return err->code;
    w->row++;
    if (x.bad.code) return *err = x.bad, err->code;
    *row = all;
    return GRAFT_OK;
}

static int64_t arrow_tell(const graft_columns *c) { return ((const arrow *)c)->row; }

static graft_status arrow_seek(graft_columns *c, int64_t row, graft_error *err)
{
    arrow *w = (arrow *)c;
    if (row < 0 || row > w->rows) return graft_fail(err, GRAFT_BAD_INPUT, w->path, "the file has no row %lld", (long long)row);
    w->row = row;
    return GRAFT_OK;
}

/* ---- opening --------------------------------------------------------------------------------------------------------------------------------- */

static void arrow_close(graft_columns *c)
{
    arrow *w = (arrow *)c;
    if (!w) return;
    graft_free(w->batches);
    graft_arena_free(w->arena);
    graft_free(w);
}

static const graft_columns_api api = {arrow_row, arrow_tell, arrow_seek, arrow_close};

int graft_arrow_is(const graft_map *m)
{
    static const uint8_t stream[] = {0xFF, 0xFF, 0xFF, 0xFF}, file[] = {'A', 'R', 'R', 'O', 'W', '1'};
    return (m->bytes >= 8 && !memcmp(m->data, stream, sizeof stream)) || (m->bytes >= 6 && !memcmp(m->data, file, sizeof file));
}

static graft_status read_messages(arrow *w, graft_error *err)
{
    message m;
    for (int64_t at = w->map->data[0] == 'A' ? 8 : 0;; at = m.next) {
        if (read_message(w, at, &m, err)) return err->code;
        if (!m.next) break;
        if (m.type != SCHEMA && !w->fields) return damaged(w, err, "it begins without a schema");
        graft_status status = GRAFT_OK;
        if (m.type == SCHEMA) status = read_schema(w, &m, err);
        if (m.type == DICTIONARY) status = take_dictionary(w, &m, err);
        if (m.type == BATCH) {
            const int64_t rows = graft_flat_number(&m.header, 0, 8, 0);
            if (rows < 0 || graft_grow((void **)&w->batches, &w->room, w->n_batches + 1, sizeof *w->batches)) return rows < 0 ? damaged(w, err, "a batch has a negative length") : no_memory(w, err);
            w->batches[w->n_batches++] = (batch){.at = at, .rows = w->rows};
            if (graft_add_overflows(w->rows, rows, &w->rows)) return damaged(w, err, "it counts too many rows");
        }
        if (status) return status;
    }
    return w->fields ? GRAFT_OK : damaged(w, err, "it has no schema");
}

graft_status graft_arrow_open(const graft_map *m, const char *path, graft_columns **out, graft_error *err)
{
    arrow *w = graft_calloc(1, sizeof *w);
    *out = NULL;
    if (!w || !(w->arena = graft_arena_new())) return graft_free(w), graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory");
    w->base.api = &api, w->map = m, w->path = path;
    if (read_messages(w, err)) return arrow_close(&w->base), err->code;
    *out = &w->base;
    return GRAFT_OK;
}
