/* core/model/tokenizer/save.c - a tokenizer's files into a folder, as Hugging Face's libraries read them.
 *
 * From a folder: byte copies, except that tokenizer.json gets the tokens added since (in order of their ids, the rest untouched) and
 * tokenizer_config.json the changed eos and pad. From GGUF and from other files: a new tokenizer.json of the pipeline, the vocabulary and the merges by
 * rank or the scores. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

#include <stdlib.h>
#include <string.h>

#define FILE_MAX (512ll << 20)

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory while saving the tokenizer"); }

static graft_status write_text(const char *dir, const char *name, const graft_str *text, graft_error *err)
{
    char *path = graft_path_join(dir, name);
    const graft_status status = !path || text->failed ? no_memory(err) : graft_file_replace(path, text->data, text->bytes, err);
    graft_free(path);
    return status;
}

static graft_status write_json(const char *dir, const char *name, const graft_json *v, graft_error *err)
{
    graft_str text;
    graft_str_init(&text, 0);
    graft_json_write(&text, v, 2, 0);
    graft_str_add(&text, "\n", 1);
    const graft_status status = write_text(dir, name, &text, err);
    graft_str_free(&text);
    return status;
}

/* Copies from_dir/name into dir when it is there. */
static graft_status copy_file(const char *from_dir, const char *dir, const char *name, graft_error *err)
{
    char *from = graft_path_join(from_dir, name), *to = graft_path_join(dir, name), *data = NULL;
    size_t bytes = 0;
    graft_status status = from && to ? GRAFT_OK : no_memory(err);
    if (!status && graft_path_exists(from) && strcmp(from, to)) {
        status = graft_file_read(from, FILE_MAX, &data, &bytes, err);
        if (!status) status = graft_file_replace(to, data, bytes, err);
    }
    graft_free(data);
    graft_free(from);
    graft_free(to);
    return status;
}

/* ---- pieces of tokenizer.json ------------------------------------------------------------------------------------------------------ */

static int by_id(const void *a, const void *b)
{
    const graft_added *x = *(const graft_added *const *)a, *y = *(const graft_added *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

static graft_json *added_tokens(graft_arena *a, const graft_tokenizer *t)
{
    graft_json *list = graft_json_new(a, GRAFT_JSON_ARRAY);
    const graft_added **order = graft_arena_alloc(a, (t->added.n + 1) * sizeof(graft_added *));
    if (!list || !order) return NULL;
    for (size_t i = 0; i < t->added.n; i++) order[i] = &t->added.item[i];
    qsort(order, t->added.n, sizeof(graft_added *), by_id);
    for (size_t i = 0; i < t->added.n; i++) {
        const graft_added *x = order[i];
        graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
        if (!o) return NULL;
        graft_json_put(a, o, "id", graft_json_int(a, x->id));
        graft_json_put(a, o, "content", graft_json_text(a, x->content.s, x->content.n));
        graft_json_put(a, o, "single_word", graft_json_flag(a, x->single_word));
        graft_json_put(a, o, "lstrip", graft_json_flag(a, x->lstrip));
        graft_json_put(a, o, "rstrip", graft_json_flag(a, x->rstrip));
        graft_json_put(a, o, "normalized", graft_json_flag(a, x->normalized));
        graft_json_put(a, o, "special", graft_json_flag(a, x->special));
        graft_json_push(a, list, o);
    }
    return list;
}

/* An object with the members of `from` (their values are shared) and some to come. */
static graft_json *object_of(graft_arena *a, const graft_json *from)
{
    graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
    for (const graft_json *m = from ? from->child : NULL; o && m; m = m->next) {
        graft_json *v = graft_arena_alloc(a, sizeof *v);
        if (!v) return NULL;
        *v = *m;
        v->next = NULL;
        graft_json_put(a, o, m->key, v);
    }
    return o;
}

static int by_rank(const void *a, const void *b)
{
    const graft_merge *x = a, *y = b;
    return x->rank != y->rank ? (x->rank > y->rank) - (x->rank < y->rank) : (x->pair > y->pair) - (x->pair < y->pair);
}

/* The model object of a tokenizer that was made, as text: a vocabulary has too many members for nodes one by one. */
static void unigram_text(const graft_tokenizer *t, graft_str *out)
{
    const graft_unigram *u = &t->unigram;
    graft_str_text(out, "{\n    \"type\": \"Unigram\",\n    \"unk_id\": ");
    if (u->unk >= 0) graft_str_printf(out, "%d", u->unk);
    else graft_str_text(out, "null");
    graft_str_printf(out, ",\n    \"byte_fallback\": %s,\n    \"vocab\": [", u->byte_fallback ? "true" : "false");
    for (size_t id = 0; id < t->model_size; id++) {
        graft_str_text(out, id ? ",\n      [" : "\n      [");
        graft_str_json(out, t->vocab.text[id].s, t->vocab.text[id].n);
        graft_str_text(out, ", ");
        graft_str_double(out, u->score[id]);
        graft_str_text(out, "]");
    }
    graft_str_text(out, "\n    ]\n  }");
}

static graft_status bpe_text(const graft_tokenizer *t, graft_str *out, graft_error *err)
{
    const graft_bpe *b = &t->bpe;
    graft_merge *order = graft_calloc(b->count + 1, sizeof *order);
    if (!order) return no_memory(err);
    size_t n = 0;
    for (size_t i = 0; b->merges && i <= b->mask; i++)
        if (b->merges[i].pair != UINT64_MAX) order[n++] = b->merges[i];
    qsort(order, n, sizeof *order, by_rank);
    graft_str_printf(out, "{\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": ");
    if (b->unk >= 0) graft_str_json(out, t->vocab.text[b->unk].s, t->vocab.text[b->unk].n);
    else graft_str_text(out, "null");
    graft_str_printf(out, ",\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": %s,\n    \"byte_fallback\": %s,\n    \"ignore_merges\": %s,\n    \"vocab\": {",
                     b->fuse_unk ? "true" : "false", b->byte_fallback ? "true" : "false", b->ignore_merges ? "true" : "false");
    const char *comma = "\n      ";
    for (size_t id = 0; id < t->model_size; id++) {
        if (!t->vocab.text[id].s) continue;
        graft_str_text(out, comma);
        graft_str_json(out, t->vocab.text[id].s, t->vocab.text[id].n);
        graft_str_printf(out, ": %zu", id);
        comma = ",\n      ";
    }
    graft_str_text(out, "\n    },\n    \"merges\": [");
    for (size_t i = 0; i < n; i++) {
        const graft_span left = t->vocab.text[order[i].pair >> 32], right = t->vocab.text[(uint32_t)order[i].pair];
        graft_str_text(out, i ? ",\n      [" : "\n      [");
        graft_str_json(out, left.s, left.n);
        graft_str_text(out, ", ");
        graft_str_json(out, right.s, right.n);
        graft_str_text(out, "]");
    }
    graft_str_text(out, "\n    ]\n  }");
    graft_free(order);
    return GRAFT_OK;
}

static void member(graft_str *out, const char *key, const graft_json *v)
{
    graft_str_printf(out, "  \"%s\": ", key);
    if (v) graft_json_write(out, v, 0, 0);
    else graft_str_text(out, "null");
    graft_str_text(out, ",\n");
}

static graft_status save_made(const graft_tokenizer *t, const char *dir, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    const graft_json *pipeline = NULL;
    graft_str text;
    graft_str_init(&text, 0);
    graft_status status = a ? graft_json_parse(a, "tokenizer", t->pipeline, strlen(t->pipeline), 0, &pipeline, err) : no_memory(err);
    if (!status) {
        graft_str_text(&text, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
        member(&text, "added_tokens", added_tokens(a, t));
        member(&text, "normalizer", graft_json_get(pipeline, "normalizer"));
        member(&text, "pre_tokenizer", graft_json_get(pipeline, "pre_tokenizer"));
        member(&text, "post_processor", NULL);
        member(&text, "decoder", graft_json_get(pipeline, "decoder"));
        graft_str_text(&text, "  \"model\": ");
        if (t->kind == MODEL_UNIGRAM) unigram_text(t, &text);
        else status = bpe_text(t, &text, err);
        graft_str_text(&text, "\n}\n");
    }
    if (!status) status = write_text(dir, "tokenizer.json", &text, err);
    graft_str_free(&text);
    graft_arena_free(a);
    return status;
}

static graft_status save_changed(const graft_tokenizer *t, const char *dir, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    const graft_json *root = NULL;
    graft_status status = a ? graft_json_parse_file(a, t->json_path, FILE_MAX, 0, &root, err) : no_memory(err);
    if (!status) {
        graft_json *o = object_of(a, root), *added = o ? added_tokens(a, t) : NULL;
        if (added) graft_json_put(a, o, "added_tokens", added);
        status = added ? write_json(dir, "tokenizer.json", o, err) : no_memory(err);
    }
    graft_arena_free(a);
    return status;
}

/* ---- tokenizer_config.json and special_tokens_map.json ----------------------------------------------------------------------------- */

static void put_token(graft_arena *a, const graft_tokenizer *t, graft_json *o, const char *key, int32_t id)
{
    if (id >= 0) graft_json_put(a, o, key, graft_json_text(a, t->vocab.text[id].s, t->vocab.text[id].n));
}

/* name of the source folder with eos and pad as they are now; made when missing and `make`. */
static graft_status save_config(const graft_tokenizer *t, const char *dir, const char *name, int make, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    char *path = t->dir ? graft_path_join(t->dir, name) : NULL;
    const graft_json *root = NULL;
    graft_status status = !a || (t->dir && !path) ? no_memory(err) : GRAFT_OK;
    const int there = !status && path && graft_path_exists(path);
    if (there) status = graft_json_parse_file(a, path, FILE_MAX, 0, &root, err);
    if (!status && (there || make)) {
        graft_json *o = object_of(a, root);
        if (o && !there) {
            graft_json_put(a, o, "tokenizer_class", graft_json_text(a, "PreTrainedTokenizerFast", 23));
            graft_json_put(a, o, "clean_up_tokenization_spaces", graft_json_flag(a, 0));
            put_token(a, t, o, "bos_token", t->bos);
            put_token(a, t, o, "unk_token", t->unk);
            if (t->chat_template.s) graft_json_put(a, o, "chat_template", graft_json_text(a, t->chat_template.s, t->chat_template.n));
        }
        if (o && (!there || t->eos != t->file_eos)) put_token(a, t, o, "eos_token", t->eos);
        if (o && (!there || t->pad != t->file_pad)) put_token(a, t, o, "pad_token", t->pad);
        status = o ? write_json(dir, name, o, err) : no_memory(err);
    }
    graft_free(path);
    graft_arena_free(a);
    return status;
}

graft_status graft_tokenizer_save(const graft_tokenizer *t, const char *dir, graft_error *err)
{
    static const char *const others[] = {"chat_template.jinja", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt"};
    if (graft_dir_make(dir, err)) return err->code;
    if (!t->json_path) {
        if (save_made(t, dir, err)) return err->code;
    } else if (t->changed || strcmp(graft_path_base(t->json_path), "tokenizer.json")) {
        if (save_changed(t, dir, err)) return err->code;
    } else if (copy_file(t->dir, dir, "tokenizer.json", err)) {
        return err->code;
    }
    const int changed = t->eos != t->file_eos || t->pad != t->file_pad;
    if (!t->json_path || changed) {
        if (save_config(t, dir, "tokenizer_config.json", 1, err) || save_config(t, dir, "special_tokens_map.json", 0, err)) return err->code;
    } else if (copy_file(t->dir, dir, "tokenizer_config.json", err) || copy_file(t->dir, dir, "special_tokens_map.json", err)) {
        return err->code;
    }
    for (size_t i = 0; t->dir && i < sizeof others / sizeof *others; i++)
        if (copy_file(t->dir, dir, others[i], err)) return err->code;
    return GRAFT_OK;
}
