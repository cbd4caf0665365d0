/* What the model plugins of the tree have in common: a folder that is read and written again holds the same bytes; files that leave out a prefix, hold
 * masks or whole stacks of experts are read as what they are; what is missing or of another shape is said by the file's name. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/str.h"
#include "core/model/layout.h"
#include "core/model/model.h"
#include "tests/support/device.h"

#include <stdio.h>
#include <string.h>

typedef struct rig {
    graft_model *model;
    graft_graph *graph;
    graft_store *store;
} rig;

static graft_status open_rig(rig *r, const char *path)
{
    static const int64_t capacity[GRAFT_SYMBOLS] = {8, 8, 8, 8};
    memset(r, 0, sizeof *r);
    graft_status status = graft_model_open(registry, path, &r->model, &err);
    if (!status) status = graft_model_graph(r->model, NULL, 0, GRAFT_FOR_FORWARD, &r->graph, &err);
    if (!status) status = graft_store_new(&device, &r->store, &err);
    if (!status) status = graft_store_add_graph(r->store, r->graph, capacity, &err);
    if (!status) status = graft_store_commit(r->store, &err);
    return status ? status : graft_model_load(r->model, r->graph, r->store, 1, &err);
}

static void close_rig(rig *r)
{
    graft_store_free(r->store);
    if (r->graph) graft_graph_free(r->graph);
    graft_model_close(r->model);
}

static char *bytes_of(const char *dir, size_t *n)
{
    char path[4096], *text = NULL;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    ck_assert_ok(graft_file_read(path, 1 << 24, &text, n, &err));
    return text;
}

static void check_same_file(const char *a, const char *b)
{
    size_t n, m;
    char *x = bytes_of(a, &n), *y = bytes_of(b, &m);
    ck_assert_msg(n == m && !memcmp(x, y, n), "%s and %s hold different weights", a, b);
    graft_free(x);
    graft_free(y);
}

/* Every folder of fixtures/arch with its weights in one float32 file. */
START_TEST(folders_are_written_as_they_were_read)
{
    char **names, path[4096], single[4200];
    size_t n, read = 0;
    const char *dir = graft_test_fixture("arch");
    ck_assert_ok(graft_dir_list(dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++) {
        rig r;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        snprintf(single, sizeof single, "%s/config.v4.json", path); /* the containers in other types have none */
        if (!graft_path_exists(single)) continue;
        const char *to = graft_test_dir("families_again");
        ck_assert_ok(open_rig(&r, path));
        ck_assert_ok(graft_model_save(r.model, r.graph, r.store, NULL, to, GRAFT_F32, 0, &err));
        close_rig(&r);
        check_same_file(path, to);
        read++;
    }
    graft_dir_list_free(names, n);
    ck_assert_uint_ge(read, 8);
}
END_TEST

/* ---- other forms of the same weights ----------------------------------------------------------------------------------------------------------- */
typedef struct copy {
    graft_arena *arena;
    graft_tensor_out out[256];
    int64_t n;
} copy;

typedef struct piece {
    const uint8_t *data;
} piece;

static graft_status read_piece(void *ctx, int64_t offset, void *to, int64_t bytes, graft_error *e)
{
    (void)e;
    memcpy(to, ((const piece *)ctx)->data + offset, (size_t)bytes);
    return GRAFT_OK;
}

static graft_tensor_out *add(copy *c, const char *name, int rank, const int64_t *dims, const void *data)
{
    piece *p = graft_arena_alloc(c->arena, sizeof *p);
    graft_tensor_out *t = &c->out[c->n++];
    p->data = data;
    *t = (graft_tensor_out){.name = graft_arena_copy(c->arena, name, strlen(name)), .dtype = GRAFT_F32, .rank = rank, .read = read_piece, .ctx = p};
    for (int i = 0; i < rank; i++) t->dims[i] = dims[i];
    return t;
}

/* A folder with the configuration of `from` and the tensors of c. */
static const char *write_folder(const copy *c, const char *from)
{
    static char to[4000];
    char path[4096], *text;
    size_t n;
    snprintf(to, sizeof to, "%s", graft_test_dir("families_made"));
    snprintf(path, sizeof path, "%s/config.json", from);
    ck_assert_ok(graft_file_read(path, 1 << 20, &text, &n, &err));
    snprintf(path, sizeof path, "%s/config.json", to);
    ck_assert_ok(graft_file_replace(path, text, n, &err));
    graft_free(text);
    snprintf(path, sizeof path, "%s/model.safetensors", to);
    ck_assert_ok(graft_safetensors_write(path, c->out, c->n, &err));
    return to;
}

static void check_reads_as(const char *folder, const char *original)
{
    rig r;
    const char *to = graft_test_dir("families_saved");
    const graft_status status = open_rig(&r, folder);
    ck_assert_msg(status == GRAFT_OK, "%s", err.message);
    ck_assert_ok(graft_model_save(r.model, r.graph, r.store, NULL, to, GRAFT_F32, 0, &err));
    close_rig(&r);
    check_same_file(to, original);
}

START_TEST(names_without_their_prefix_and_masks)
{
    static const float mask[1024];
    const char *from = graft_test_fixture("arch/gpt2");
    const int64_t square[] = {1, 1, 32, 32};
    copy c = {.arena = graft_arena_new()};
    graft_weights *w;
    ck_assert_ok(graft_weights_open(from, &w, &err));
    for (int64_t i = 0; i < graft_weights_count(w); i++) {
        const graft_weight_info *t = graft_weights_at(w, i);
        ck_assert_int_eq(strncmp(t->name, "transformer.", 12), 0);
        add(&c, t->name + 12, t->rank, t->dims, t->data);
    }
    add(&c, "h.0.attn.bias", 4, square, mask);
    const char *folder = write_folder(&c, from);
    check_reads_as(folder, from);
    graft_weights_close(w);
    ck_assert_ok(graft_weights_open(folder, &w, &err));
    const graft_model_table *table = NULL;
    rig r;
    ck_assert_ok(open_rig(&r, folder));
    table = r.model->table;
    ck_assert_int_eq(graft_layout_ignores(table, "h.0.attn.bias"), 1);
    ck_assert_int_eq(graft_layout_ignores(table, "transformer.h.11.attn.bias"), 1);
    ck_assert_int_eq(graft_layout_ignores(table, "transformer.h.0.attn.c_attn.bias"), 0);
    ck_assert_int_eq(graft_layout_ignores(table, "transformer.h.x.attn.bias"), 0);
    close_rig(&r);
    graft_weights_close(w);
    graft_arena_free(c.arena);
}
END_TEST

/* The experts of a layer in one tensor [experts, out, in], as transformers 5 keeps them in memory. */
START_TEST(whole_stacks_of_experts)
{
    const char *from = graft_test_fixture("arch/mixtral");
    static const char *const parts[] = {"w1", "w2", "w3"};
    copy c = {.arena = graft_arena_new()};
    graft_weights *w;
    ck_assert_ok(graft_weights_open(from, &w, &err));
    for (int64_t i = 0; i < graft_weights_count(w); i++) {
        const graft_weight_info *t = graft_weights_at(w, i);
        if (!strstr(t->name, ".experts.")) add(&c, t->name, t->rank, t->dims, t->data);
    }
    for (int layer = 0; layer < 2; layer++) {
        for (int k = 0; k < 3; k++) {
            char name[128];
            uint8_t *all = NULL;
            int64_t dims[3] = {4, 0, 0};
            for (int e = 0; e < 4; e++) {
                snprintf(name, sizeof name, "model.layers.%d.block_sparse_moe.experts.%d.%s.weight", layer, e, parts[k]);
                const graft_weight_info *t = graft_weights_find(w, name);
                ck_assert_ptr_nonnull(t);
                if (!all) all = graft_arena_alloc(c.arena, (size_t)(4 * t->bytes));
                memcpy(all + e * t->bytes, t->data, (size_t)t->bytes);
                dims[1] = t->dims[0], dims[2] = t->dims[1];
            }
            snprintf(name, sizeof name, "model.layers.%d.block_sparse_moe.experts.%s.weight", layer, parts[k]);
            add(&c, name, 3, dims, all);
        }
    }
    check_reads_as(write_folder(&c, from), from);
    graft_weights_close(w);
    graft_arena_free(c.arena);
}
END_TEST

START_TEST(a_missing_expert_and_a_turned_weight_are_said)
{
    const char *from = graft_test_fixture("arch/mixtral");
    copy c = {.arena = graft_arena_new()};
    graft_weights *w;
    rig r;
    ck_assert_ok(graft_weights_open(from, &w, &err));
    for (int64_t i = 0; i < graft_weights_count(w); i++) {
        const graft_weight_info *t = graft_weights_at(w, i);
        if (strcmp(t->name, "model.layers.1.block_sparse_moe.experts.2.w3.weight") != 0) add(&c, t->name, t->rank, t->dims, t->data);
    }
    ck_assert_int_eq(open_rig(&r, write_folder(&c, from)), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(err.message, "experts.2.w3.weight") != NULL, "%s", err.message);
    close_rig(&r);
    graft_weights_close(w);
    c.n = 0;
    from = graft_test_fixture("arch/gpt2");
    ck_assert_ok(graft_weights_open(from, &w, &err));
    for (int64_t i = 0; i < graft_weights_count(w); i++) {
        const graft_weight_info *t = graft_weights_at(w, i);
        const int64_t turned[] = {t->dims[1], t->dims[0]};
        const int turn = t->rank == 2 && strstr(t->name, "c_attn") != NULL;
        add(&c, t->name, t->rank, turn ? turned : t->dims, t->data);
    }
    ck_assert_int_eq(open_rig(&r, write_folder(&c, from)), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(err.message, "[96, 32], config.json asks for [32, 96]") != NULL, "%s", err.message);
    close_rig(&r);
    graft_weights_close(w);
    graft_arena_free(c.arena);
}
END_TEST

/* The same weights under llama.cpp's names and settings, written by its own library: each file has a folder of the same name in arch. */
START_TEST(gguf_files_hold_the_same_models)
{
    char **names, path[4096], folder[4096], name[128];
    size_t n;
    const char *dir = graft_test_fixture("gguf_models");
    ck_assert_ok(graft_dir_list(dir, &names, &n, &err));
    ck_assert_uint_ge(n, 2);
    for (size_t i = 0; i < n; i++) {
        rig r, other;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        snprintf(name, sizeof name, "arch/%.*s", (int)strcspn(names[i], "."), names[i]);
        snprintf(folder, sizeof folder, "%s", graft_test_fixture(name));
        check_reads_as(path, folder);
        ck_assert_ok(open_rig(&r, path));
        ck_assert_ok(open_rig(&other, folder));
        graft_str a, b;
        graft_str_init(&a, 0);
        graft_str_init(&b, 0);
        graft_graph_text(r.graph, &a);
        graft_graph_text(other.graph, &b);
        ck_assert_msg(a.bytes == b.bytes && !memcmp(a.data, b.data, a.bytes), "%s and %s give different graphs", path, folder);
        graft_str_free(&a);
        graft_str_free(&b);
        close_rig(&r);
        close_rig(&other);
    }
    graft_dir_list_free(names, n);
}
END_TEST

/* ---- hostile configurations -------------------------------------------------------------------------------------------------------------------- */
/* The text of a configuration with member `at` replaced. */
static void write_config(const char *to, const graft_json *config, int64_t at, const graft_json *instead)
{
    char path[4200];
    graft_arena *a = graft_arena_new();
    graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
    int64_t i = 0;
    for (const graft_json *m = config->child; m; m = m->next, i++) graft_json_put(a, o, m->key, graft_json_copy(a, i == at ? instead : m));
    graft_str text;
    graft_str_init(&text, 0);
    graft_json_write(&text, o, 2, 0);
    snprintf(path, sizeof path, "%s/config.json", to);
    FILE *f = fopen(path, "wb"); /* thousands of files: without waiting for the disk */
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text.data, 1, text.bytes, f), text.bytes);
    ck_assert_int_eq(fclose(f), 0);
    graft_str_free(&text);
    graft_arena_free(a);
}

/* Opening and building end in a sentence or in a graph, soon. Number of refusals. */
static int try_config(const char *dir)
{
    graft_model *m = NULL;
    graft_graph *g = NULL;
    memset(&err, 0, sizeof err);
    err.size = sizeof err;
    graft_status status = graft_model_open(registry, dir, &m, &err);
    if (!status) status = graft_model_graph(m, NULL, 0, GRAFT_FOR_LOSS, &g, &err);
    ck_assert_msg(!status || (err.message[0] && status != GRAFT_INTERNAL), "%s: status %d: %s", dir, (int)status, err.message);
    if (g) graft_graph_free(g);
    if (m) graft_model_close(m);
    return status != GRAFT_OK;
}

static int try_every_member(const char *from, const char *to)
{
    static const char *const values[] = {"0", "1", "3", "-1", "2147483647", "1e300", "0.3", "null", "true", "\"silu\"", "[]", "{}"};
    char path[4200];
    int refused = 0;
    const graft_json *config, *instead;
    graft_arena *a = graft_arena_new();
    snprintf(path, sizeof path, "%s/config.json", from);
    ck_assert_ok(graft_json_parse_file(a, path, 1 << 20, 0, &config, &err));
    for (int64_t i = 0; i < config->count; i++) {
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
            ck_assert_ok(graft_json_parse(a, "value", values[k], strlen(values[k]), 0, &instead, &err));
            write_config(to, config, i, instead);
            refused += try_config(to);
        }
    }
    graft_arena_free(a);
    return refused;
}

START_TEST(any_setting_may_be_wrong)
{
    char **names, path[4096], file[4200], to[4000];
    size_t n;
    const char *dir = graft_test_fixture("arch");
    snprintf(to, sizeof to, "%s", graft_test_dir("families_hostile"));
    ck_assert_ok(graft_dir_list(dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++) {
        char *text;
        size_t bytes;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        snprintf(file, sizeof file, "%s/config.v4.json", path);
        if (!graft_path_exists(file)) continue;
        text = bytes_of(path, &bytes);
        snprintf(file, sizeof file, "%s/model.safetensors", to);
        ck_assert_ok(graft_file_replace(file, text, bytes, &err));
        graft_free(text);
        ck_assert_int_gt(try_every_member(path, to), 20);
    }
    graft_dir_list_free(names, n);
}
END_TEST

/* ---- methods ------------------------------------------------------------------------------------------------------------------------------------ */
/* The training graph of a model under one method with the given arguments. */
static graft_status train_graph(const char *path, const graft_loaded *method, const char *name, const char *args)
{
    graft_arena *a = graft_arena_new();
    graft_model *m = NULL;
    graft_graph *g = NULL;
    const graft_json *given = NULL;
    const graft_method_table *table = method->table;
    graft_active_method active = {.name = name, .table = table};
    memset(&err, 0, sizeof err);
    err.size = sizeof err;
    ck_assert_ok(graft_json_parse(a, "arguments", args, strlen(args), 0, &given, &err));
    graft_status status = table->open(method->self, graft_config_new(a, "arguments", given), NULL, &active.run, &err);
    if (!status) {
        ck_assert_ok(graft_model_open(registry, path, &m, &err));
        status = graft_model_graph(m, &active, 1, GRAFT_FOR_TRAIN, &g, &err);
        if (g) graft_graph_free(g);
        graft_model_close(m);
        if (table->close) table->close(active.run);
    }
    graft_arena_free(a);
    return status;
}

START_TEST(every_method_builds_on_every_family)
{
    char **names, path[4096], file[4200];
    size_t n;
    const char *dir = graft_test_fixture("arch");
    const graft_entry *const *methods;
    const size_t n_methods = graft_registry_list(registry, GRAFT_KIND_METHOD, &methods);
    ck_assert_ok(graft_dir_list(dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        snprintf(file, sizeof file, "%s/config.v4.json", path);
        if (!graft_path_exists(file)) continue;
        for (size_t k = 0; k < n_methods; k++) {
            const graft_loaded *method;
            ck_assert_ok(graft_plugin_load(methods[k], &method, &err));
            const graft_status status = train_graph(path, method, methods[k]->name, "{}");
            ck_assert_msg(status == GRAFT_OK || (status == GRAFT_BAD_INPUT && err.message[0]), "%s on %s: status %d: %s: %s", methods[k]->name, names[i], (int)status, err.where, err.message);
            if (status) printf("%s on %s: %s\n", methods[k]->name, names[i], err.message);
        }
    }
    graft_dir_list_free(names, n);
}
END_TEST

START_TEST(routed_experts_take_what_has_a_hook_for_them)
{
    const graft_loaded *method;
    ck_assert_ok(graft_plugin_load(graft_registry_find(registry, GRAFT_KIND_METHOD, "adalora"), &method, &err));
    ck_assert_int_eq(train_graph(graft_test_fixture("arch/mixtral"), method, "adalora", "{\"lora_target\": \"w1\"}"), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(err.message, "chooses the routed experts model.layers.0.block_sparse_moe.experts.w1") != NULL, "%s", err.message);
    ck_assert_int_eq(train_graph(graft_test_fixture("arch/mixtral"), method, "adalora", "{\"lora_target\": \"q_proj,gate\"}"), GRAFT_OK);
    ck_assert_ok(graft_plugin_load(graft_registry_find(registry, GRAFT_KIND_METHOD, "lora"), &method, &err));
    ck_assert_int_eq(train_graph(graft_test_fixture("arch/mixtral"), method, "lora", "{\"lora_target\": \"w1\"}"), GRAFT_OK);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_checked_fixture(tc, start, stop);
    tcase_add_test(tc, folders_are_written_as_they_were_read);
    tcase_add_test(tc, names_without_their_prefix_and_masks);
    tcase_add_test(tc, whole_stacks_of_experts);
    tcase_add_test(tc, a_missing_expert_and_a_turned_weight_are_said);
    tcase_add_test(tc, gguf_files_hold_the_same_models);
    tcase_add_test(tc, any_setting_may_be_wrong);
    tcase_add_test(tc, every_method_builds_on_every_family);
    tcase_add_test(tc, routed_experts_take_what_has_a_hook_for_them);
}

int main(void) { return graft_test_main("families", cases); }
