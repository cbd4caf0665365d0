/* core/data/saved.c - see saved.h. Samples are taken as they are: cut, labelled and, without borders inside, packed already. Those that neat_packing made have
 * borders, and preference samples have columns of their own: these are refused, and made anew from the data. */
#include "core/data/saved.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/data/source.h"

#include <stdio.h>
#include <string.h>

typedef struct rows {
    graft_source *source;
    graft_dataset *to;
    int32_t *ids, *labels;
    size_t ids_room, labels_room;
    int64_t tokens;
    graft_error *err;
} rows;

int graft_saved_is(const char *dir)
{
    char *path = graft_path_join(dir, "dataset_dict.json");
    const int is = path && graft_path_exists(path);
    graft_free(path);
    return is;
}

static graft_status refuse(rows *r, const char *sentence) { return graft_fail(r->err, GRAFT_BAD_INPUT, r->source->api->place(r->source), "%s", sentence); }

/* A list of tokens, or of `least`. */
static graft_status numbers(rows *r, const graft_json *list, int32_t least, int32_t **out, size_t *room)
{
    size_t n = 0;
    if (graft_grow((void **)out, room, (size_t)list->count + 1, sizeof **out)) return graft_fail(r->err, GRAFT_NO_MEMORY, NULL, "out of memory for a sample");
    for (const graft_json *v = list->child; v; v = v->next) {
        if (!v->integral || ((v->integer < 0 || v->integer >= r->tokens) && v->integer != least)) return refuse(r, "a saved token is none of this model's tokenizer; remove the folder that tokenized_path names, so that the data is tokenised anew");
        (*out)[n++] = (int32_t)v->integer;
    }
    return GRAFT_OK;
}

static graft_status take_row(rows *r, const graft_json *row)
{
    const graft_json *ids = graft_json_get(row, "input_ids"), *labels = graft_json_get(row, "labels"), *attention = graft_json_get(row, "attention_mask");
    if (!ids || ids->type != GRAFT_JSON_ARRAY || !labels || labels->type != GRAFT_JSON_ARRAY || labels->count != ids->count)
        return refuse(r, "expected input_ids and labels of one length, as of stage sft; for another stage leave tokenized_path out, so that the data is tokenised anew");
    for (const graft_json *v = attention && attention->type == GRAFT_JSON_ARRAY ? attention->child : NULL; v; v = v->next)
        if (v->integer != 1) return refuse(r, "the saved sample has borders inside (neat_packing), which are not read here; leave tokenized_path out, so that the data is tokenised anew");
    if (numbers(r, ids, 0, &r->ids, &r->ids_room) || numbers(r, labels, -100, &r->labels, &r->labels_room)) return r->err->code;
    return ids->count ? graft_dataset_add(r->to, r->ids, r->labels, ids->count, r->err) : GRAFT_OK;
}

static graft_status take_file(rows *r, const char *path)
{
    const graft_json *row = NULL;
    graft_status status = graft_source_open(path, &r->source, r->err);
    while (!status && !(status = r->source->api->row(r->source, &row, r->err)) && row) status = take_row(r, row);
    graft_source_close(r->source);
    return status;
}

graft_status graft_saved_load(const char *dir, const char *split, int64_t tokens, graft_dataset **out, graft_error *err)
{
    rows r = {.tokens = tokens, .err = err};
    char **names = NULL;
    size_t n = 0;
    char *folder = graft_path_join(dir, split);
    *out = NULL;
    if (!folder) return graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    if (!graft_path_is_dir(folder)) return graft_free(folder), GRAFT_OK;
    graft_status status = graft_dir_list(folder, &names, &n, err);
    if (!status && !(r.to = graft_dataset_empty())) status = graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    for (size_t i = 0; !status && i < n; i++) {
        const size_t bytes = strlen(names[i]);
        char *path = bytes > 6 && !strcmp(names[i] + bytes - 6, ".arrow") && strncmp(names[i], "cache-", 6) ? graft_path_join(folder, names[i]) : NULL;
        if (path) status = take_file(&r, path);
        graft_free(path);
    }
    if (!status && !graft_dataset_count(r.to)) status = graft_fail(err, GRAFT_BAD_INPUT, folder, "no samples are saved there; remove the folder, so that the data is tokenised anew");
    graft_dir_list_free(names, n);
    graft_free(folder);
    graft_free(r.ids);
    graft_free(r.labels);
    if (status) return graft_dataset_free(r.to), status;
    *out = r.to;
    return GRAFT_OK;
}
