/* core/model/weights.c - opens a model's weights whatever their container, finds tensors by name and reads them as f32.
 *
 * A folder holds model.safetensors, or model.safetensors.index.json: {"weight_map": {TENSOR: SHARD}} with its shards beside it.
 * Shard names come from a file and are not trusted: no slash, no "..". Pickles (pytorch_model.bin) are not read: they are programs. */
#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/threads.h"
#include "core/model/containers.h"
#include "core/model/dequant.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INDEX = 256 << 20,
       MAX_SHARDS = 4096,
       CHUNK = 1 << 18 };

struct graft_weights {
    graft_arena *arena;
    graft_map *maps;
    size_t n_maps, room_maps;
    graft_weight_list list;
    graft_weight_info **index; /* sorted by name */
    const graft_json *metadata;
    int gguf;
};

void graft_weights_close(graft_weights *w)
{
    if (!w) return;
    for (size_t i = 0; i < w->n_maps; i++) graft_map_close(&w->maps[i]);
    graft_free(w->maps);
    graft_free(w->list.at);
    graft_free(w->index);
    graft_arena_free(w->arena);
    graft_free(w);
}

void graft_weights_forget(const graft_weights *w)
{
    for (size_t i = 0; i < w->n_maps; i++) graft_map_forget(w->maps[i].data, w->maps[i].bytes);
}

static int by_name(const void *x, const void *y)
{
    return strcmp((*(graft_weight_info *const *)x)->name, (*(graft_weight_info *const *)y)->name);
}

static graft_status build_index(graft_weights *w, const char *path, graft_error *err)
{
    graft_free(w->index);
    w->index = graft_calloc(w->list.n + 1, sizeof *w->index);
    if (!w->index) return graft_fail(err, GRAFT_NO_MEMORY, path, "no memory for an index of %zu tensors", w->list.n);
    for (size_t i = 0; i < w->list.n; i++) w->index[i] = &w->list.at[i];
    qsort(w->index, w->list.n, sizeof *w->index, by_name);
    for (size_t i = 1; i < w->list.n; i++)
        if (!by_name(&w->index[i - 1], &w->index[i]))
            return graft_fail(err, GRAFT_BAD_INPUT, w->index[i]->file, "the tensor \"%.200s\" occurs twice (here and in %s); the model is damaged",
                              w->index[i]->name, graft_path_base(w->index[i - 1]->file));
    return GRAFT_OK;
}

static int ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

/* Maps one file and adds its tensors. */
static graft_status add_file(graft_weights *w, const char *path, graft_error *err)
{
    if (ends_with(path, ".bin") || ends_with(path, ".pt") || ends_with(path, ".pth"))
        return graft_fail(err, GRAFT_UNSUPPORTED, path, "this is a PyTorch pickle, which is a program and is not run; convert it to safetensors first (transformers: save_pretrained)");
    const char *name = graft_arena_copy(w->arena, path, strlen(path));
    if (!name || graft_grow((void **)&w->maps, &w->room_maps, w->n_maps + 1, sizeof *w->maps))
        return graft_fail(err, GRAFT_NO_MEMORY, path, "no memory to open the file");
    graft_map map = {0};
    graft_status status = graft_map_open(&map, path, err);
    if (status) return status;
    w->maps[w->n_maps++] = map;
    w->gguf = ends_with(path, ".gguf") || (map.bytes >= 4 && !memcmp(map.data, "GGUF", 4));
    return w->gguf ? graft_gguf_parse(w->arena, name, map.data, map.bytes, &w->list, &w->metadata, err)
                   : graft_safetensors_parse(w->arena, name, map.data, map.bytes, &w->list, &w->metadata, err);
}

static int safe_shard_name(const graft_json *v)
{
    return v->type == GRAFT_JSON_TEXT && v->bytes && strlen(v->text) == v->bytes && v->text[0] != '.' && !strpbrk(v->text, "/\\") && ends_with(v->text, ".safetensors");
}

static int by_text(const void *x, const void *y) { return strcmp(*(const char *const *)x, *(const char *const *)y); }

/* Every tensor of the map must be in the shard it is said to be in. */
static graft_status check_map(const graft_weights *w, const char *path, const graft_json *map, graft_error *err)
{
    for (const graft_json *m = map->child; m; m = m->next) {
        const graft_weight_info *t = graft_weights_find(w, m->key);
        if (!t || strcmp(graft_path_base(t->file), m->text))
            return graft_fail(err, GRAFT_BAD_INPUT, path, "the index places the tensor \"%.200s\" in %.200s, which does not hold it; copy or download the model again", m->key, m->text);
    }
    return GRAFT_OK;
}

static graft_status add_shards(graft_weights *w, const char *dir, const char *index, graft_error *err)
{
    const graft_json *root;
    graft_status status = graft_json_parse_file(w->arena, index, MAX_INDEX, GRAFT_JSON_STRICT_KEYS, &root, err);
    if (status) return status;
    const graft_json *map = graft_json_get(root, "weight_map");
    if (!map || map->type != GRAFT_JSON_OBJECT || !map->count) return graft_fail(err, GRAFT_BAD_INPUT, index, "weight_map must be an object {tensor: file}; the index is damaged");
    const char **shards = graft_calloc((size_t)map->count, sizeof *shards);
    if (!shards) return graft_fail(err, GRAFT_NO_MEMORY, index, "no memory for %" PRId64 " tensors", map->count);
    size_t n = 0;
    for (const graft_json *m = map->child; m && !status; m = m->next) {
        if (safe_shard_name(m)) shards[n++] = m->text;
        else status = graft_fail(err, GRAFT_BAD_INPUT, index, "weight_map: \"%.200s\" must name a .safetensors file of this folder, without slashes", m->key);
    }
    qsort(shards, n, sizeof *shards, by_text);
    size_t opened = 0;
    for (size_t i = 0; i < n && !status; i++) {
        if (i && !strcmp(shards[i], shards[i - 1])) continue;
        char *path = graft_path_join(dir, shards[i]);
        if (!path) status = graft_fail(err, GRAFT_NO_MEMORY, index, "no memory for a path");
        else if (++opened > MAX_SHARDS) status = graft_fail(err, GRAFT_BAD_INPUT, index, "more than 4096 shards; the index is damaged");
        else if (!graft_path_exists(path)) status = graft_fail(err, GRAFT_BAD_INPUT, path, "this shard of the model is missing; copy or download it");
        else status = add_file(w, path, err);
        graft_free(path);
    }
    graft_free(shards);
    if (!status) status = build_index(w, index, err);
    return status ? status : check_map(w, index, map, err);
}

/* Neither safetensors nor index: says what the folder is instead. */
static graft_status no_weights(const char *dir, graft_error *err)
{
    char **names;
    size_t n;
    const graft_status status = graft_dir_list(dir, &names, &n, err);
    if (status) return status;
    const char *gguf = NULL, *pickle = NULL, *adapter = NULL;
    for (size_t i = 0; i < n; i++) {
        if (ends_with(names[i], ".gguf")) gguf = names[i];
        if (!strncmp(names[i], "pytorch_model", 13)) pickle = names[i];
        if (!strcmp(names[i], "adapter_config.json")) adapter = names[i];
    }
    if (gguf) graft_fail(err, GRAFT_BAD_INPUT, dir, "the folder holds no model.safetensors but %.100s: give the path of that file", gguf);
    else if (pickle) graft_fail(err, GRAFT_UNSUPPORTED, dir, "the folder holds only %.100s, a PyTorch pickle, which is a program and is not run; convert it to safetensors first (transformers: save_pretrained)", pickle);
    else if (adapter) graft_fail(err, GRAFT_BAD_INPUT, dir, "this is an adapter, not a model: give its base model here and this folder as adapter_name_or_path");
    else graft_fail(err, GRAFT_BAD_INPUT, dir, "the folder holds neither model.safetensors nor model.safetensors.index.json; is it a model's folder?");
    graft_dir_list_free(names, n);
    return err->code;
}

static graft_status open_folder(graft_weights *w, const char *dir, graft_error *err)
{
    char *single = graft_path_join(dir, "model.safetensors"), *index = graft_path_join(dir, "model.safetensors.index.json");
    graft_status status;
    if (!single || !index) status = graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory for a path");
    else if (graft_path_exists(single)) status = add_file(w, single, err);
    else if (graft_path_exists(index)) status = add_shards(w, dir, index, err);
    else status = no_weights(dir, err);
    graft_free(single);
    graft_free(index);
    return status;
}

graft_status graft_weights_open(const char *path, graft_weights **out, graft_error *err)
{
    *out = NULL;
    graft_weights *w = graft_calloc(1, sizeof *w);
    if (w) w->arena = graft_arena_new();
    graft_status status;
    if (!w || !w->arena) status = graft_fail(err, GRAFT_NO_MEMORY, path, "no memory to open the weights");
    else if (!graft_path_exists(path)) status = graft_fail(err, GRAFT_BAD_INPUT, path, "no such file or folder");
    else status = graft_path_is_dir(path) ? open_folder(w, path, err) : add_file(w, path, err);
    if (!status && !w->index) status = build_index(w, path, err);
    if (status) graft_weights_close(w);
    else *out = w;
    return status;
}

int64_t graft_weights_count(const graft_weights *w) { return (int64_t)w->list.n; }
const graft_weight_info *graft_weights_at(const graft_weights *w, int64_t i) { return i >= 0 && (size_t)i < w->list.n ? &w->list.at[i] : NULL; }
const graft_json *graft_weights_metadata(const graft_weights *w) { return w->metadata; }
int graft_weights_is_gguf(const graft_weights *w) { return w->gguf; }

const graft_weight_info *graft_weights_find(const graft_weights *w, const char *name)
{
    size_t low = 0, high = w->list.n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(name, w->index[middle]->name);
        if (!order) return w->index[middle];
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

/* Does name fit the pattern with one '#' for a number? Gives that number's digits. */
static int fits(const char *pattern, const char *name, const char **digits, int *n_digits)
{
    const char *hash = strchr(pattern, '#');
    *digits = "", *n_digits = 0;
    if (!hash) return !strcmp(pattern, name);
    const size_t before = (size_t)(hash - pattern);
    if (strncmp(pattern, name, before)) return 0;
    *digits = name + before;
    *n_digits = (int)strspn(*digits, "0123456789");
    return *n_digits > 0 && *n_digits < 10 && !strcmp(hash + 1, *digits + *n_digits);
}

static graft_status rename_one(graft_weights *w, graft_weight_info *t, const graft_gguf_name *rule, const char *digits, int n_digits, const graft_config *config, graft_error *err)
{
    const char *hash = strchr(rule->weight, '#');
    t->name = hash ? graft_arena_printf(w->arena, "%.*s%.*s%s", (int)(hash - rule->weight), rule->weight, n_digits, digits, hash + 1) : rule->weight;
    if (!t->name) return graft_fail(err, GRAFT_NO_MEMORY, t->file, "no memory for a tensor's name");
    if (!rule->unpermute) return GRAFT_OK;
    t->unpermute = graft_dim(config, rule->unpermute, 0);
    const graft_status status = graft_config_check(config, err);
    if (status) return status;
    if (t->rank < 1 || t->dims[0] % (2 * t->unpermute) || (t->rank == 1 && t->storage->block != 1))
        return graft_fail(err, GRAFT_BAD_INPUT, t->file, "tensor \"%.100s\" must have whole heads of even size (%s = %" PRId64 "); the file is damaged", t->stored, rule->unpermute, t->unpermute);
    return GRAFT_OK;
}

graft_status graft_weights_rename_gguf(graft_weights *w, const graft_gguf_name *names, const graft_config *config, graft_error *err)
{
    for (size_t i = 0; i < w->list.n; i++) {
        graft_weight_info *t = &w->list.at[i];
        for (const graft_gguf_name *rule = names; rule && rule->file; rule++) {
            const char *digits;
            int n_digits;
            if (!fits(rule->file, t->stored, &digits, &n_digits)) continue;
            const graft_status status = rename_one(w, t, rule, digits, n_digits, config, err);
            if (status) return status;
            break;
        }
    }
    return build_index(w, w->list.n ? w->list.at[0].file : NULL, err);
}

int64_t graft_weights_elements(const graft_weight_info *t)
{
    int64_t n = 1;
    for (int32_t i = 0; i < t->rank; i++) n *= t->dims[i]; /* checked when the file was opened */
    return n;
}

typedef struct reading {
    const graft_weight_info *t;
    float *out;
    uint8_t *raw;       /* not NULL: bytes as they are stored go here */
    int64_t begin, end; /* rows that are read; the first of them goes to out */
    int64_t rows, columns, rows_per_task, row_bytes;
} reading;

/* n rows of the file from row `from` on become rows `to` .. of the result. */
static void copy_rows(const reading *r, int64_t from, int64_t to, int64_t n)
{
    const uint8_t *data = r->t->data + from * r->row_bytes;
    to -= r->begin;
    if (r->raw) memcpy(r->raw + to * r->row_bytes, data, (size_t)(n * r->row_bytes));
    else r->t->storage->to_f32(data, r->out + to * r->columns, n * r->columns / r->t->storage->block);
}

/* A task's rows of the result. An unpermuted tensor has its heads' rows interleaved in the file: row (head, half, pair) of the result
 * is row (head, pair, half) of the file. */
static void read_rows(void *ctx, int64_t task)
{
    const reading *r = ctx;
    const int64_t first = r->begin + task * r->rows_per_task, end = first + r->rows_per_task, last = end < r->end ? end : r->end;
    if (!r->t->unpermute) {
        copy_rows(r, first, first, last - first);
        return;
    }
    const int64_t rows_per_unit = r->rows / r->t->dims[0]; /* 1, or the rows below one entry of the first dimension */
    const int64_t head = r->t->dims[0] / r->t->unpermute;
    for (int64_t row = first; row < last; row++) {
        const int64_t unit = row / rows_per_unit, in_head = unit % head, half = in_head / (head / 2), pair = in_head % (head / 2);
        const int64_t from = (unit - in_head + 2 * pair + half) * rows_per_unit + row % rows_per_unit;
        copy_rows(r, from, row, 1);
    }
}

int64_t graft_weights_columns(const graft_weight_info *t)
{
    return !t->rank || (t->rank == 1 && t->storage->block == 1) ? 1 : t->dims[t->rank - 1]; /* a bias: each element is a row of its own */
}

static void read_some(reading r, int64_t first, int64_t n)
{
    const graft_storage *s = r.t->storage;
    const int64_t elements = graft_weights_elements(r.t);
    if (!elements || n <= 0) return;
    r.columns = graft_weights_columns(r.t);
    r.rows = elements / r.columns;
    r.begin = first, r.end = first + n;
    r.row_bytes = r.columns / s->block * s->bytes;
    r.rows_per_task = (CHUNK + r.columns - 1) / r.columns;
    graft_parallel((n + r.rows_per_task - 1) / r.rows_per_task, read_rows, &r);
    /* it is in the caller's hands now: not twice in memory */
    if (!r.t->unpermute) graft_map_forget(r.t->data + first * r.row_bytes, n * r.row_bytes);
    else if (r.end == r.rows) graft_map_forget(r.t->data, r.t->bytes);
}

graft_status graft_weights_read_rows(const graft_weight_info *t, int64_t first, int64_t n, float *out, graft_error *err)
{
    const graft_storage *s = t->storage;
    if (!s->to_f32) return graft_fail(err, GRAFT_UNSUPPORTED, t->file, "tensor \"%.200s\" has the type %s, which this version cannot read; convert the model to BF16 or Q8_0", t->stored, s->name);
    read_some((reading){.t = t, .out = out}, first, n);
    return GRAFT_OK;
}

graft_status graft_weights_read_f32(const graft_weight_info *t, float *out, graft_error *err)
{
    return graft_weights_read_rows(t, 0, graft_weights_elements(t) / (graft_weights_columns(t) > 0 ? graft_weights_columns(t) : 1), out, err);
}

void graft_weights_read_stored(const graft_weight_info *t, int64_t first, int64_t n, uint8_t *out) { read_some((reading){.t = t, .raw = out}, first, n); }
