/* core/model/hfconfig.c - one spelling for the configurations of transformers 4, transformers 5 and GGUF files.
 *
 *   transformers 5: "rope_parameters": {"rope_theta": .., "rope_type": .., ..}, "dtype"      (per kind of layer: {"full_attention": {..}, ..})
 *   transformers 4: "rope_theta", "rope_scaling": {"rope_type" or "type": .., ..}, "torch_dtype"
 *   here:           "rope_theta", "rope_scaling" {rope_type ..} unless default, "partial_rotary_factor", "torch_dtype", "head_dim" */
#include "core/model/hfconfig.h"

#include "core/base/error.h"
#include "core/base/json.h"

#include <string.h>

/* ---- config.json ---------------------------------------------------------------------------------------------------------------------- */

static const graft_json *given(const graft_json *object, const char *key)
{
    const graft_json *v = graft_json_get(object, key);
    return v && v->type != GRAFT_JSON_NULL ? v : NULL;
}

static void put_copy(graft_arena *a, graft_json *object, const char *key, const graft_json *v) { graft_json_put(a, object, key, graft_json_copy(a, v)); }
static void put_text(graft_arena *a, graft_json *object, const char *key, const char *v) { graft_json_put(a, object, key, graft_json_text(a, v, strlen(v))); }

/* A member under its own key, without the search for an equal one that makes graft_json_put slow on long objects. */
static void append_copy(graft_arena *a, graft_json *object, const graft_json *member)
{
    graft_json *v = graft_json_copy(a, member);
    if (v) v->key = member->key, v->key_bytes = member->key_bytes;
    graft_json_push(a, object, v);
}

static int any_of(const char *key, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(key, *list)) return 1;
    return 0;
}

/* The host's word for a key of config.json. A setting under both words: the host's own stays. */
static const char *word_for(const graft_json *original, const graft_model_table *table, const char *key)
{
    const graft_config_word *n = GRAFT_HAS(graft_model_table, table, config_words) ? table->config_words : NULL;
    for (; n && n->file; n++)
        if (!strcmp(n->file, key) && !given(original, n->config)) return n->config;
    return key;
}

graft_status graft_hfconfig_complete(graft_arena *a, const char *name, const graft_json *original, const graft_model_table *table, const graft_json **out, graft_error *err)
{
    const char *text = GRAFT_HAS(graft_model_table, table, defaults) ? table->defaults : NULL;
    const graft_json *defaults = NULL;
    if (!original || original->type != GRAFT_JSON_OBJECT) return graft_fail(err, GRAFT_BAD_INPUT, name, "a model's configuration must be a JSON object");
    const graft_status status = text ? graft_json_parse(a, "the model plugin's defaults", text, strlen(text), 0, &defaults, err) : GRAFT_OK;
    if (status) return status;
    graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
    for (const graft_json *m = original->child; m; m = m->next) {
        const char *word = word_for(original, table, m->key);
        graft_json *v = m->type == GRAFT_JSON_NULL ? NULL : graft_json_copy(a, m);
        if (!v) continue;
        v->key = word, v->key_bytes = word == m->key ? m->key_bytes : strlen(word);
        graft_json_push(a, o, v);
    }
    for (const graft_json *m = defaults && defaults->type == GRAFT_JSON_OBJECT ? defaults->child : NULL; m; m = m->next)
        if (!graft_json_get(original, m->key) && !graft_json_get(o, m->key)) append_copy(a, o, m);
    if (!o || o->type != GRAFT_JSON_OBJECT) return graft_fail(err, GRAFT_NO_MEMORY, name, "no memory for the configuration");
    *out = o;
    return GRAFT_OK;
}

/* The rotary settings of full attention, wherever they stand; NULL: none but rope_theta at the top. */
static const graft_json *rope_settings(const graft_json *o)
{
    const graft_json *r = given(o, "rope_parameters");
    if (!r) r = given(o, "rope_scaling");
    if (!r || r->type != GRAFT_JSON_OBJECT) return NULL;
    const graft_json *full = given(r, "full_attention");
    return full && full->type == GRAFT_JSON_OBJECT ? full : r;
}

/* rope_scaling with rope_type first, without what belongs to the top. */
static void put_scaling(graft_arena *a, graft_json *out, const char *key, const graft_json *original, const graft_json *rope)
{
    static const char *const elsewhere[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor", NULL};
    const graft_json *type = given(rope, "rope_type");
    if (!type) type = given(rope, "type");
    if (!type || graft_json_is(type, "default")) return;
    graft_json *scaling = graft_json_new(a, GRAFT_JSON_OBJECT);
    if (scaling) scaling->line = rope->line, scaling->column = rope->column;
    if (graft_json_is(type, "su")) put_text(a, scaling, "rope_type", "longrope"); /* its first name, in early Phi-3 files */
    else put_copy(a, scaling, "rope_type", type);
    for (const graft_json *m = rope->child; m; m = m->next)
        if (!any_of(m->key, elsewhere)) put_copy(a, scaling, m->key, m);
    const graft_json *outside = given(original, "original_max_position_embeddings"); /* Phi-3 keeps it at the top, and there it wins */
    if (outside) put_copy(a, scaling, "original_max_position_embeddings", outside);
    graft_json_put(a, out, key, scaling);
}

/* The same for layers with a sliding window: rope_parameters.sliding_attention, or a base frequency at the top. */
static void put_local(graft_arena *a, graft_json *out, const graft_json *original)
{
    const graft_json *local = given(given(original, "rope_parameters"), "sliding_attention"), *theta = given(local, "rope_theta");
    if (!theta) theta = given(original, "rope_local_base_freq");
    if (!theta) return;
    put_copy(a, out, "local_rope_theta", theta);
    if (local && local->type == GRAFT_JSON_OBJECT) put_scaling(a, out, "local_rope_scaling", original, local);
}

graft_status graft_hfconfig_normalise(graft_arena *a, const char *name, const graft_json *original, const graft_json **out, graft_error *err)
{
    static const char *const respelled[] = {"rope_scaling", "rope_theta", "local_rope_scaling", "local_rope_theta", "dtype", "torch_dtype", "partial_rotary_factor", NULL};
    if (!original || original->type != GRAFT_JSON_OBJECT) return graft_fail(err, GRAFT_BAD_INPUT, name, "a model's configuration must be a JSON object");
    graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
    for (const graft_json *m = original->child; m; m = m->next)
        if (!any_of(m->key, respelled)) append_copy(a, o, m);
    const graft_json *rope = rope_settings(original), *theta = given(rope, "rope_theta"), *partial = given(rope, "partial_rotary_factor");
    if (!theta) theta = given(original, "rope_theta");
    if (!partial) partial = given(original, "partial_rotary_factor");
    if (theta) put_copy(a, o, "rope_theta", theta);
    if (partial) put_copy(a, o, "partial_rotary_factor", partial);
    if (rope) put_scaling(a, o, "rope_scaling", original, rope);
    put_local(a, o, original);
    const graft_json *dtype = given(original, "dtype");
    if (!dtype) dtype = given(original, "torch_dtype");
    if (dtype) put_copy(a, o, "torch_dtype", dtype);
    const graft_json *hidden = given(original, "hidden_size"), *heads = given(original, "num_attention_heads");
    if (!given(original, "head_dim") && hidden && heads && hidden->integral && heads->integral && heads->integer > 0 && hidden->integer >= heads->integer)
        graft_json_put(a, o, "head_dim", graft_json_int(a, hidden->integer / heads->integer));
    if (heads && !given(original, "num_key_value_heads")) put_copy(a, o, "num_key_value_heads", heads);
    if (!o || o->type != GRAFT_JSON_OBJECT) return graft_fail(err, GRAFT_NO_MEMORY, name, "no memory for the configuration");
    *out = o;
    return GRAFT_OK;
}

/* ---- GGUF ------------------------------------------------------------------------------------------------------------------------------- */

/* "<architecture>.<key>" of the metadata. */
static const graft_json *setting(graft_arena *a, const graft_json *metadata, const char *key)
{
    const graft_json *architecture = given(metadata, "general.architecture");
    const char *full = architecture && architecture->type == GRAFT_JSON_TEXT ? graft_arena_printf(a, "%s.%s", architecture->text, key) : NULL;
    return full ? given(metadata, full) : NULL;
}

/* llama.cpp stores the scaling of rotary frequencies as divisors; longrope with equal factors says just that to every reader of config.json. */
static graft_status put_divisors(graft_arena *a, graft_json *o, const graft_weight_info *t, const graft_json *positions, graft_error *err)
{
    const int64_t n = graft_weights_elements(t);
    if (n > 1 << 16) return graft_fail(err, GRAFT_BAD_INPUT, t->file, "rope_freqs.weight has more than 65536 elements; the file is damaged");
    float *f = graft_arena_alloc(a, (size_t)(n + 1) * sizeof *f);
    if (!f) return graft_fail(err, GRAFT_NO_MEMORY, t->file, "no memory for rotary frequencies");
    const graft_status status = graft_weights_read_f32(t, f, err);
    if (status) return status;
    graft_json *scaling = graft_json_new(a, GRAFT_JSON_OBJECT), *lists[2] = {graft_json_new(a, GRAFT_JSON_ARRAY), graft_json_new(a, GRAFT_JSON_ARRAY)};
    for (int64_t i = 0; i < 2 * n; i++) graft_json_push(a, lists[i % 2], graft_json_real(a, (double)f[i / 2]));
    put_text(a, scaling, "rope_type", "longrope");
    graft_json_put(a, scaling, "short_factor", lists[0]);
    graft_json_put(a, scaling, "long_factor", lists[1]);
    graft_json_put(a, scaling, "factor", graft_json_real(a, 1.0));
    graft_json_put(a, scaling, "attention_factor", graft_json_real(a, 1.0));
    if (positions) put_copy(a, scaling, "original_max_position_embeddings", positions);
    graft_json_put(a, o, "rope_scaling", scaling);
    return GRAFT_OK;
}

static graft_status put_rope(graft_arena *a, graft_json *o, const graft_weights *w, const graft_json *metadata, graft_error *err)
{
    const graft_json *theta = setting(a, metadata, "rope.freq_base"), *type = setting(a, metadata, "rope.scaling.type"), *factor = setting(a, metadata, "rope.scaling.factor");
    if (theta) put_copy(a, o, "rope_theta", theta);
    else graft_json_put(a, o, "rope_theta", graft_json_real(a, 10000.0));
    const graft_weight_info *divisors = graft_weights_find(w, "rope_freqs.weight");
    if (divisors) return put_divisors(a, o, divisors, setting(a, metadata, "context_length"), err);
    if (!type || graft_json_is(type, "none") || !factor) return GRAFT_OK;
    graft_json *scaling = graft_json_new(a, GRAFT_JSON_OBJECT);
    const graft_json *original = setting(a, metadata, "rope.scaling.original_context_length");
    put_copy(a, scaling, "rope_type", type);
    put_copy(a, scaling, "factor", factor);
    if (original) put_copy(a, scaling, "original_max_position_embeddings", original);
    graft_json_put(a, o, "rope_scaling", scaling);
    return GRAFT_OK;
}

/* The part of a head that rotates, when it is not all of it. */
static void put_partial(graft_arena *a, graft_json *o, const graft_json *metadata)
{
    const graft_json *rotary = setting(a, metadata, "rope.dimension_count"), *key = setting(a, metadata, "attention.key_length");
    const graft_json *hidden = setting(a, metadata, "embedding_length"), *heads = setting(a, metadata, "attention.head_count");
    int64_t head = key && key->integral ? key->integer : 0;
    if (!head && hidden && heads && hidden->integral && heads->integral && heads->integer > 0) head = hidden->integer / heads->integer;
    if (rotary && rotary->integral && rotary->integer > 0 && rotary->integer < head)
        graft_json_put(a, o, "partial_rotary_factor", graft_json_real(a, (double)rotary->integer / (double)head));
}

graft_status graft_hfconfig_from_gguf(graft_arena *a, const graft_weights *w, const graft_model_table *table, const char *model_type, const graft_json **out, graft_error *err)
{
    static const char *const ids[][2] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"}, {"tokenizer.ggml.eos_token_id", "eos_token_id"}, {"tokenizer.ggml.padding_token_id", "pad_token_id"}};
    const graft_json *metadata = graft_weights_metadata(w);
    const graft_weight_info *embedding = graft_weights_find(w, "token_embd.weight");
    const char *file = graft_weights_count(w) ? graft_weights_at(w, 0)->file : model_type;
    if (!embedding || embedding->rank != 2) return graft_fail(err, GRAFT_BAD_INPUT, file, "the file has no matrix token_embd.weight; is it a language model?");
    if (!table->gguf_names || !table->gguf_keys) return graft_fail(err, GRAFT_UNSUPPORTED, file, "the plugin of the model type \"%s\" reads no GGUF files; use the model's safetensors folder", model_type);
    graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
    if (table->class_name) {
        graft_json *classes = graft_json_new(a, GRAFT_JSON_ARRAY);
        graft_json_push(a, classes, graft_json_text(a, table->class_name, strlen(table->class_name)));
        graft_json_put(a, o, "architectures", classes);
    }
    put_text(a, o, "model_type", model_type);
    put_text(a, o, "torch_dtype", "bfloat16");
    graft_json_put(a, o, "vocab_size", graft_json_int(a, embedding->dims[0]));
    graft_json_put(a, o, "tie_word_embeddings", graft_json_flag(a, !graft_weights_find(w, "output.weight")));
    for (const graft_gguf_key *k = table->gguf_keys; k->file; k++) {
        const graft_json *v = setting(a, metadata, k->file);
        if (v) put_copy(a, o, k->config, v);
    }
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (given(metadata, ids[i][0])) put_copy(a, o, ids[i][1], given(metadata, ids[i][0]));
    put_partial(a, o, metadata);
    const graft_status status = put_rope(a, o, w, metadata, err);
    if (status) return status;
    if (!o || o->type != GRAFT_JSON_OBJECT) return graft_fail(err, GRAFT_NO_MEMORY, file, "no memory for the configuration");
    *out = o;
    return GRAFT_OK;
}
