/* core/cli/cmd_export.c - graft export: a model as a Hugging Face folder, with an adapter merged into its weights if one is given. */
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/cli/session.h"
#include "core/cli/swift.h"

#include <string.h>

/* export_dtype, else LLaMA-Factory's infer_dtype, else what config.json names. */
static graft_status choose_dtype(const graft_session *s, graft_dtype *out, graft_error *err)
{
    static const struct {
        const char *word;
        graft_dtype dtype;
    } words[] = {{"f32", GRAFT_F32}, {"float32", GRAFT_F32}, {"bf16", GRAFT_BF16}, {"bfloat16", GRAFT_BF16}, {"f16", GRAFT_F16}, {"float16", GRAFT_F16}};
    const char *word = graft_args_text(s->c->args, "export_dtype"), *infer = graft_args_text(s->c->args, "infer_dtype");
    if (!word && infer && strcmp(infer, "auto")) word = infer;
    if (!word) {
        const graft_json *own = graft_json_get(graft_config_object(s->model->config), "torch_dtype");
        word = own && own->type == GRAFT_JSON_TEXT ? own->text : "float32";
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(word, words[i].word)) return *out = words[i].dtype, GRAFT_OK;
    return graft_fail(err, GRAFT_UNSUPPORTED, "torch_dtype", "the model's number type is '%s': give export_dtype=f32, bf16 or f16", word);
}

static graft_status export_model(graft_session *s, const char *dir, graft_dtype dtype, graft_error *err)
{
    const int64_t capacity[GRAFT_SYMBOLS] = {1, 1, 1, 0}, shard = graft_args_int(s->c->args, "export_size") * INT64_C(1000000000);
    graft_graph *g = NULL;
    graft_store *store = NULL;
    if (graft_args_given(s->c->args, "quantization_bit")) return graft_fail(err, GRAFT_UNSUPPORTED, "quantization_bit", "adapters are merged into the full weights, and a model is exported in f32, bf16 or f16: leave the key out");
    s->model->base_dtype = GRAFT_F32; /* merging writes into it */
    graft_status status = graft_session_load(s, GRAFT_FOR_MERGE, capacity, &g, &store, err);
    if (!status && s->n_methods) status = graft_model_merge(s->model, s->methods, s->n_methods, g, store, err);
    if (!status) status = graft_model_save(s->model, g, store, s->tokenizer, dir, dtype, shard, err);
    graft_store_free(store);
    graft_graph_free(g);
    return status;
}

static graft_status run(graft_cli *c, graft_error *err)
{
    graft_session s = {.c = c};
    graft_dtype dtype = GRAFT_F32;
    const char *dir = graft_args_text(c->args, "export_dir");
    const int64_t size = graft_args_int(c->args, "export_size");
    if (!dir || !*dir) return graft_fail(err, GRAFT_BAD_INPUT, "export_dir", "no folder was named for the model: give export_dir=... or --export_dir ...");
    if (size < 1 || size > 1000000) return graft_fail(err, GRAFT_BAD_INPUT, "export_size", "expected gigabytes from 1, found %lld", (long long)size);
    graft_status status = graft_session_model(&s, err);
    if (!status) status = graft_session_method(&s, 0, err);
    if (!status) status = graft_args_finish(c->args, NULL, err);
    if (!status && graft_args_given(c->args, "template")) status = graft_session_template(&s, err);
    if (!status) status = graft_session_device(&s, err);
    if (!status) status = choose_dtype(&s, &dtype, err);
    if (!status) status = export_model(&s, dir, dtype, err);
    if (!status && s.chat) status = graft_template_save(s.chat, s.tokenizer, dir, err);
    if (!status && c->json) {
        graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
        graft_json_put(c->arena, o, "export_dir", graft_json_text(c->arena, dir, strlen(dir)));
        graft_json_put(c->arena, o, "dtype", graft_json_text(c->arena, graft_dtype_name(dtype), strlen(graft_dtype_name(dtype))));
        graft_json_put(c->arena, o, "merged", graft_json_flag(c->arena, s.n_methods));
        graft_cli_print_json(c, o, 2);
    } else if (!status) {
        fprintf(c->out, "exported to %s as %s%s%s\n", dir, graft_dtype_name(dtype), s.n_methods ? ", merged with " : "", s.n_methods ? graft_args_text(c->args, "adapter_name_or_path") : "");
    }
    graft_session_close(&s);
    return status;
}

const graft_command graft_command_export = {
    .name = "export",
    .summary = "write a model folder, with the adapter merged",
    .usage = "Usage: graft export [FILE.yaml] [key=value ...] [--key value ...]\n\n"
             "  graft export --model_name_or_path models/small --adapter_name_or_path out --export_dir merged\n"
             "  graft export --model_name_or_path model.gguf --export_dir folder --export_dtype bf16\n\n"
             "export_dir     where the Hugging Face folder goes\n"
             "export_size    largest shard in gigabytes (5)\n"
             "export_dtype   f32, bf16 or f16; default: the model's own type, bf16 from a GGUF file\n"
             "template       the tokenizer is saved as this chat template needs it\n\n"
             "With ms-swift's flags: graft export --ckpt_dir DIR --merge_lora true writes DIR-merged.\n",
    .prepare = graft_swift_export,
    .run = run,
};
