/* core/model/model.c - opens a model's folder or GGUF file, finds its plugin, and builds the graph for each purpose.
 *
 *   config.json | GGUF metadata --> one spelling --> plugin by model_type --> build --> hidden, head --> objective or logits
 */
#include "core/model/model.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/model/balance.h"
#include "core/model/kvcache.h"
#include "core/model/method_start.h"

#include <string.h>

enum { MAX_CONFIG = 1 << 20 };

/* ---- opening -------------------------------------------------------------------------------------------------------------------------- */

static graft_status find_plugin(graft_model *m, const graft_registry *r, const char *where, graft_error *err)
{
    const graft_entry *entry;
    graft_status status = graft_registry_model_for(r, m->model_type, &entry, err);
    if (!status) status = graft_plugin_load(entry, &m->plugin, err);
    if (status && !err->where[0]) return graft_fail(err, status, where, "%s", err->message);
    if (!status) m->table = m->plugin->table;
    return status;
}

static graft_status open_folder(graft_model *m, const graft_registry *r, graft_error *err)
{
    char *path = graft_path_join(m->path, "config.json");
    if (!path) return graft_fail(err, GRAFT_NO_MEMORY, m->path, "no memory for a path");
    const char *name = graft_arena_copy(m->arena, path, strlen(path));
    graft_free(path);
    if (!name) return graft_fail(err, GRAFT_NO_MEMORY, m->path, "no memory for a path");
    graft_status status = graft_weights_open(m->path, &m->weights, err); /* first: it says best what a folder is instead of a model's */
    if (status) return status;
    if (!graft_path_exists(name)) return graft_fail(err, GRAFT_BAD_INPUT, name, "the model's folder has weights but no config.json; copy or download it");
    status = graft_json_parse_file(m->arena, name, MAX_CONFIG, GRAFT_JSON_ALLOW_NAN, &m->original, err);
    if (status) return status;
    const graft_json *type = graft_json_get(m->original, "model_type"), *complete, *normal;
    if (!type || type->type != GRAFT_JSON_TEXT || !type->bytes) return graft_fail(err, GRAFT_BAD_INPUT, name, "model_type must be a text that names the architecture; is this a language model's configuration?");
    m->model_type = type->text;
    status = find_plugin(m, r, name, err);
    if (!status) status = graft_hfconfig_complete(m->arena, name, m->original, m->table, &complete, err);
    if (!status) status = graft_hfconfig_normalise(m->arena, name, complete, &normal, err);
    if (!status && !(m->config = graft_config_new(m->arena, name, normal))) status = graft_fail(err, GRAFT_NO_MEMORY, name, "no memory for the configuration");
    return status;
}

static graft_status open_gguf(graft_model *m, const graft_registry *r, graft_error *err)
{
    const graft_json *architecture = graft_json_get(graft_weights_metadata(m->weights), "general.architecture"), *complete, *normal;
    if (!architecture || architecture->type != GRAFT_JSON_TEXT) return graft_fail(err, GRAFT_BAD_INPUT, m->path, "general.architecture is missing; is it a model?");
    m->model_type = architecture->text;
    graft_status status = find_plugin(m, r, m->path, err);
    if (!status) status = graft_hfconfig_from_gguf(m->arena, m->weights, m->table, m->model_type, &m->original, err);
    if (!status) status = graft_hfconfig_complete(m->arena, m->path, m->original, m->table, &complete, err);
    if (!status) status = graft_hfconfig_normalise(m->arena, m->path, complete, &normal, err);
    if (status) return status;
    m->config = graft_config_new(m->arena, m->path, normal);
    if (!m->config) return graft_fail(err, GRAFT_NO_MEMORY, m->path, "no memory for the configuration");
    return graft_weights_rename_gguf(m->weights, m->table->gguf_names, m->config, err);
}

static graft_status open_any(graft_model *m, const graft_registry *r, graft_error *err)
{
    if (!graft_path_exists(m->path)) return graft_fail(err, GRAFT_BAD_INPUT, m->path, "no such model: expected a folder with config.json and model.safetensors, or a .gguf file");
    if (graft_path_is_dir(m->path)) return open_folder(m, r, err);
    const graft_status status = graft_weights_open(m->path, &m->weights, err);
    if (status) return status;
    if (!graft_weights_is_gguf(m->weights)) return graft_fail(err, GRAFT_BAD_INPUT, m->path, "a model is a folder with config.json beside its weights, or a .gguf file; give the folder");
    return open_gguf(m, r, err);
}

/* A plugin's loops over layers and heads run to their end even after an error, so a hostile number is stopped here, under every name it has. */
static void check_counts(const graft_config *c)
{
    static const struct {
        const char *key;
        int64_t most;
    } counts[] = {{"num_hidden_layers", 4096}, {"num_layers", 4096}, {"n_layer", 4096}, {"n_layers", 4096}, {"num_attention_heads", 16384}, {"num_key_value_heads", 16384}, {"num_kv_heads", 16384}, {"n_head", 16384}, {"num_experts_per_tok", 1024}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (c->api->value(c, counts[i].key)) c->api->integer(c, counts[i].key, 1, 1, counts[i].most);
}

graft_status graft_model_open(const graft_registry *r, const char *path, graft_model **out, graft_error *err)
{
    *out = NULL;
    graft_arena *a = graft_arena_new();
    graft_model *m = a ? graft_arena_alloc(a, sizeof *m) : NULL;
    if (m) m->path = graft_arena_copy(a, path, strlen(path));
    if (!m || !m->path) {
        graft_arena_free(a);
        return graft_fail(err, GRAFT_NO_MEMORY, path, "no memory to open the model");
    }
    m->arena = a;
    graft_status status = open_any(m, r, err);
    if (!status) {
        m->vocab = graft_dim(m->config, "vocab_size", 0);
        m->hidden = m->config->api->value(m->config, "hidden_size") ? graft_dim(m->config, "hidden_size", 0) : 0;
        check_counts(m->config);
        status = graft_config_check(m->config, err);
    }
    if (status) graft_model_close(m);
    else *out = m;
    return status;
}

void graft_model_close(graft_model *m)
{
    if (!m) return;
    graft_weights_close(m->weights);
    graft_arena_free(m->arena);
}

graft_status graft_model_tokenizer(const graft_model *m, graft_tokenizer **out, graft_error *err)
{
    return graft_weights_is_gguf(m->weights) ? graft_tokenizer_from_gguf(graft_weights_metadata(m->weights), out, err) : graft_tokenizer_open(m->path, out, err);
}

/* ---- graphs ----------------------------------------------------------------------------------------------------------------------------- */

typedef struct inputs {
    graft_model_inputs model;
    graft_value label_rows;
    graft_value rows;   /* [labelled, d] of the hidden states */
    graft_value logits; /* [labelled, vocab] before scale and cap, where a method changes the head; else null: the head is a product fused with what follows */
} inputs;

static graft_status make_inputs(const graft_model *m, graft_graph *g, inputs *in, graft_error *err)
{
    const int64_t tokens[] = {GRAFT_DIM_TOKENS}, sequences[] = {GRAFT_DIM_SEQUENCES, 4}, labelled[] = {GRAFT_DIM_LABELLED};
    float *inv_freq;
    int64_t n;
    in->model = (graft_model_inputs){.size = sizeof in->model};
    in->model.tokens = graft_graph_input(g, "tokens", GRAFT_I32, 1, tokens);
    in->model.positions = graft_graph_positions(g, graft_graph_input(g, "positions", GRAFT_I32, 1, tokens));
    in->model.sequences = graft_graph_input(g, "sequences", GRAFT_I32, 2, sequences);
    in->label_rows = graft_graph_input(g, "label_rows", GRAFT_I32, 1, labelled);
    graft_status status = graft_rope_frequencies(g->arena, m->config, &inv_freq, &n, &in->model.rope_scale, err);
    if (status) return status;
    in->model.inv_freq = n ? g->builder->api->constant(g->builder, "inv_freq", 1, &n, inv_freq) : graft_null_value();
    status = graft_rope_local(g->arena, m->config, &inv_freq, &n, &in->model.local_rope_scale, err);
    if (status) return status;
    in->model.local_inv_freq = n ? g->builder->api->constant(g->builder, "local_inv_freq", 1, &n, inv_freq) : graft_null_value();
    return GRAFT_OK;
}

/* Rows of hidden that get a loss or logits, times the head. */
static graft_value make_logits(graft_graph *g, const inputs *in, const graft_model_outputs *out)
{
    graft_builder *b = g->builder;
    graft_value z = in->logits;
    if (!z.id) z = graft_gemm(b, in->rows, out->head, graft_null_value(), 0, 1, out->scale);
    else if (out->scale != 1.0) z = graft_scale(b, z, out->scale);
    if (out->softcap > 0) z = graft_scale(b, graft_tanh(b, graft_scale(b, z, 1 / out->softcap)), out->softcap);
    return z;
}

/* What linear_cross_entropy/1 gives, of logits z [labelled, vocab] that stand: the loss [1], and nll [labelled]. */
static graft_value loss_of_logits(graft_graph *g, graft_value z, graft_value labels, graft_value weight, graft_value *nll)
{
    graft_builder *b = g->builder;
    const int64_t vocab = graft_graph_info(g, z)->shape.dims[1], row[] = {1, vocab}, column[] = {GRAFT_DIM_LABELLED, 1}, flat[] = {GRAFT_DIM_LABELLED}, one[] = {1, 1};
    const graft_value label = graft_reshape(b, labels, 2, column), zero = graft_cast(b, graft_fill(b, 2, one, 0.0), GRAFT_I32);
    const graft_value mine = graft_equal(b, graft_reshape(b, graft_iota(b, vocab), 2, row), label), counted = graft_affine(b, graft_less(b, label, zero), -1.0, 1.0);
    const graft_value top = b->api->detach(b, graft_amax(b, z, 1)), total = graft_sum(b, graft_exp(b, graft_sub(b, z, top)), 1);
    const graft_value own = graft_sum(b, graft_mul(b, mine, z), 1);
    *nll = graft_reshape(b, graft_mul(b, counted, graft_sub(b, graft_add(b, top, graft_ln(b, total)), own)), 1, flat);
    return graft_sum(b, graft_mul(b, weight, *nll), 0);
}

/* What gradients start from. */
static graft_value make_loss(const graft_model *m, graft_graph *g, const inputs *in, const graft_model_outputs *out, graft_purpose purpose)
{
    const int64_t labelled[] = {GRAFT_DIM_LABELLED};
    graft_builder *b = g->builder;
    const graft_value labels = graft_graph_input(g, "labels", GRAFT_I32, 1, labelled), weight = graft_graph_input(g, "label_weight", GRAFT_F32, 1, labelled);
    graft_value nll = graft_null_value(), plain;
    if (in->logits.id) plain = loss_of_logits(g, make_logits(g, in, out), labels, weight, &nll);
    else plain = graft_linear_cross_entropy(b, in->rows, out->head, labels, weight, out->softcap, out->scale), nll = b->api->output(b, plain, 1);
    const graft_value penalty = purpose == GRAFT_FOR_TRAIN ? graft_graph_penalty(g) : graft_null_value();
    const double balance = graft_balance_weight(m);
    const graft_value experts = balance > 0.0 ? graft_balance_loss(g) : graft_null_value();
    if (balance > 0.0 && !experts.id) graft_graph_error(g, "moe_aux_loss_coef needs a model with experts that a router's softmax chooses; leave it out");
    graft_value loss = plain;
    if (penalty.id) loss = graft_add(b, loss, penalty);
    if (experts.id) loss = graft_add(b, loss, graft_scale(b, experts, balance));
    graft_graph_output(g, "loss", loss);
    if (purpose == GRAFT_FOR_LOSS) graft_graph_output(g, "nll", nll);
    return loss;
}

static int trains_something(const graft_graph *g)
{
    for (int32_t i = 1; i < g->n_values; i++)
        if (g->values[i].place == GRAFT_PLACE_WEIGHT && g->values[i].node < 0 && g->values[i].trainable) return 1;
    return 0;
}

static graft_status add_objective(const graft_model *m, graft_graph *g, const inputs *in, const graft_model_outputs *out, graft_purpose purpose, graft_error *err)
{
    if (purpose == GRAFT_FOR_FORWARD || purpose == GRAFT_FOR_MERGE || purpose == GRAFT_FOR_GENERATE) {
        graft_graph_output(g, "logits", make_logits(g, in, out));
        const graft_status status = graft_graph_narrow(g, in->label_rows, err);
        return !status && purpose == GRAFT_FOR_GENERATE ? graft_graph_cache_attention(g, err) : status;
    }
    const graft_value loss = make_loss(m, g, in, out, purpose);
    const graft_status status = graft_graph_narrow(g, in->label_rows, err);
    if (status || purpose == GRAFT_FOR_LOSS) return status;
    if (!trains_something(g)) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the tuning method trains no weight of this model; choose other modules or another method");
    return graft_graph_autodiff(g, loss, err);
}

/* ---- a head that is the embedding -------------------------------------------------------------------------------------------------------- */

static int claims_head(const graft_active_method *m, graft_graph *g, const graft_value_info *head)
{
    const graft_method_table *t = m->table;
    if (!GRAFT_HAS(graft_method_table, t, trains) || !t->trains || !GRAFT_HAS(graft_method_table, t, files) || !t->files || (m->strength && *m->strength == 0.0)) return 0;
    const char *dot = strrchr(head->name, '.');
    const char *module = dot ? graft_arena_copy(g->arena, head->name, (size_t)(dot - head->name)) : head->name;
    const graft_site apart = {.size = sizeof apart, .role = GRAFT_ROLE_HEAD, .layer = -1, .path = "lm_head", .in = head->shape.dims[1], .out = head->shape.dims[0]};
    graft_site shared = apart;
    shared.role = GRAFT_ROLE_EMBED, shared.path = module ? module : head->name;
    return t->trains(m->run, g->builder, &apart, "lm_head.weight") || t->trains(m->run, g->builder, &shared, head->name);
}

/* An adapter that trains the embedding or the head whole has a copy of its own, as in PEFT: then the two are no longer one weight. */
static int wants_apart(const graft_model *m, graft_graph *g, const graft_model_outputs *out)
{
    int n = 0, found = 0;
    const graft_active_method *methods = graft_graph_active(g, &n);
    const graft_value_info *head = graft_graph_info(g, out->head);
    if (head->role != GRAFT_ROLE_EMBED || head->node >= 0) return 0;
    for (int i = 0; i < n; i++) found |= claims_head(&methods[i], g, head);
    for (int i = 0; i < m->n_merged; i++) found |= claims_head(&m->merged[i], g, head);
    return found;
}

/* Does a method change the head or the embedding, which are one weight? Merged, each needs its own. */
static int changes_tied(graft_graph *g, const graft_model_outputs *out)
{
    int32_t n_sites, n_paths;
    int n = 0, found = 0;
    const graft_site *sites = graft_graph_sites(g, &n_sites);
    graft_graph_active(g, &n);
    for (int i = 0; i < n; i++) {
        const char *const *paths = graft_graph_changed_sites(g, i, &n_paths);
        for (int32_t k = 0; k < n_paths; k++)
            for (int32_t j = 0; j < n_sites; j++) found |= sites[j].weight.id == out->head.id && sites[j].role != GRAFT_ROLE_OTHER && !strcmp(sites[j].path, paths[k]);
    }
    return found && graft_graph_info(g, out->head)->role == GRAFT_ROLE_EMBED;
}

/* The configuration with a head of its own; NULL without memory. */
static const graft_config *apart_config(const graft_model *m)
{
    graft_json *o = graft_json_copy(m->arena, graft_config_object(m->config));
    if (o) graft_json_put(m->arena, o, "tie_word_embeddings", graft_json_flag(m->arena, 0));
    return o ? graft_config_new(m->arena, graft_config_name(m->config), o) : NULL;
}

/* *apart: set when the graph has to be built anew with a head of its own; NULL: it is, where the architecture has one. */
static graft_status build(const graft_model *m, const graft_config *config, graft_graph *g, graft_purpose purpose, int *apart, graft_error *err)
{
    inputs in;
    graft_model_outputs out = {.size = sizeof out, .scale = 1.0};
    graft_status status = make_inputs(m, g, &in, err);
    if (!status) status = m->table->build(m->plugin->self, config, g->builder, &in.model, &out, err);
    if (!status) status = graft_config_check(config, err); /* before the graph's: a wrong number of heads is why a shape is wrong */
    if (!status) status = graft_graph_check(g, err);
    if (!status && (!out.hidden.id || !out.head.id)) status = graft_fail(err, GRAFT_INTERNAL, m->plugin->entry->name, "the model plugin gave no hidden states or no head");
    if (!status && wants_apart(m, g, &out)) {
        if (apart) return *apart = 1, GRAFT_OK;
        return graft_fail(err, GRAFT_UNSUPPORTED, m->path, "this model's head is its embedding, and its architecture has no other: an adapter cannot train one of them whole");
    }
    if (!status) {
        in.rows = graft_gather(g->builder, out.hidden, in.label_rows);
        in.logits = graft_graph_head(g, in.rows, out.head);
        status = graft_graph_check_selectors(g, err);
    }
    if (!status && apart && purpose == GRAFT_FOR_MERGE && changes_tied(g, &out)) return *apart = 1, GRAFT_OK;
    if (!status) status = add_objective(m, g, &in, &out, purpose, err);
    if (status) return status;
    graft_graph_prune(g);
    return graft_graph_check(g, err);
}

static graft_status try_graph(const graft_model *m, const graft_config *config, const graft_active_method *methods, int n_methods, graft_purpose purpose, int *apart, graft_graph **out, graft_error *err)
{
    graft_graph *g = graft_graph_new();
    if (!g) return graft_fail(err, GRAFT_NO_MEMORY, m->path, "no memory for the model's graph");
    graft_graph_methods(g, methods, n_methods);
    graft_graph_blocks(g, graft_model_blocks(m));
    const graft_status status = build(m, config, g, purpose, apart, err);
    if (status) graft_graph_free(g);
    else *out = g;
    return status;
}

graft_status graft_model_graph(const graft_model *m, const graft_active_method *methods, int n_methods, graft_purpose purpose, graft_graph **out, graft_error *err)
{
    *out = NULL;
    int apart = 0;
    graft_status status = try_graph(m, m->config, methods, n_methods, purpose, &apart, out, err);
    if (status || !apart) return status;
    graft_graph_free(*out);
    *out = NULL;
    const graft_config *config = apart_config(m);
    return config ? try_graph(m, config, methods, n_methods, purpose, NULL, out, err) : graft_fail(err, GRAFT_NO_MEMORY, m->path, "no memory for the model's graph");
}
