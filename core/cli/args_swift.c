/* core/cli/args_swift.c - ms-swift's flags as graft's: names, values, defaults, its version folders and args.json.
 *
 *   --flag v1 v2 .. | --flag=v | FILE.yaml       -> pairs (name, text; several values joined by commas)
 *   pairs, by the table below                    -> pairs of graft's keys; a name that both have stays
 *   what was not said                            -> ms-swift's default, where it is another than graft's
 *   output_dir DIR                               -> DIR/v0-20261125-143000, or the next number
 */
#include "core/cli/swift.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/yaml.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef enum treatment { RENAMED,  /* note: graft's key                                       */
                         OPPOSITE, /* the same of the opposite truth value                    */
                         SAME,     /* accepted: it cannot change the result here             */
                         WITHOUT,  /* accepted in its first way of these: "a|b"; others are refused with the reason behind a colon */
                         SPECIAL   /* read by the code below                                  */
} treatment;

typedef struct flag {
    const char *name;
    treatment how;
    const char *note;
} flag;

/* clang-format off */
static const flag flags[] = {
    {"model", RENAMED, "model_name_or_path"}, {"model_id_or_path", RENAMED, "model_name_or_path"}, {"adapters", RENAMED, "adapter_name_or_path"},
    {"train_type", RENAMED, "finetuning_type"}, {"tuner_type", RENAMED, "finetuning_type"}, {"sft_type", RENAMED, "finetuning_type"},
    {"max_length", RENAMED, "cutoff_len"}, {"system", RENAMED, "default_system"}, {"val_dataset", RENAMED, "eval_dataset"},
    {"split_dataset_ratio", RENAMED, "val_size"}, {"lorap_lr_ratio", RENAMED, "loraplus_lr_ratio"}, {"init_weights", RENAMED, "init_lora_weights"},
    {"quant_bits", RENAMED, "quantization_bit"}, {"quant_method", RENAMED, "quantization_method"}, {"bnb_4bit_quant_type", RENAMED, "quantization_type"},
    {"bnb_4bit_use_double_quant", RENAMED, "double_quantization"}, {"adapter_act", RENAMED, "non_linearity"}, {"packing", RENAMED, "neat_packing"},
    {"adalora_target_r", RENAMED, "target_r"}, {"adalora_init_r", RENAMED, "init_r"}, {"adalora_orth_reg_weight", RENAMED, "orth_reg_weight"},
    {"adalora_tinit", RENAMED, "tinit"}, {"adalora_tfinal", RENAMED, "tfinal"}, {"adalora_deltaT", RENAMED, "deltaT"}, {"adalora_beta1", RENAMED, "beta1"}, {"adalora_beta2", RENAMED, "beta2"},
    {"template_type", RENAMED, "template"}, {"agent_template", RENAMED, "tool_format"}, {"attn_impl", SAME, NULL}, {"max_shard_size", SPECIAL, NULL},
    {"gradient_checkpointing", OPPOSITE, "disable_gradient_checkpointing"}, {"train_dataloader_shuffle", OPPOSITE, "disable_shuffling"},
    {"torch_dtype", SPECIAL, NULL}, {"target_modules", SPECIAL, NULL}, {"truncation_strategy", SPECIAL, NULL}, {"loss_scale", SPECIAL, NULL},
    {"ckpt_dir", SPECIAL, NULL}, {"merge_lora", SPECIAL, NULL}, {"add_version", SPECIAL, NULL}, {"lisa_activated_layers", SPECIAL, NULL}, {"output_dir", SPECIAL, NULL},
    {"stream", SAME, NULL}, {"dataset_num_proc", SAME, NULL}, {"dataset_shuffle", SAME, NULL}, {"use_hf", SAME, NULL}, {"model_type", SAME, NULL}, {"task_type", SAME, NULL},
    {"model_author", SAME, NULL}, {"model_name", SAME, NULL}, {"create_checkpoint_symlink", SAME, NULL}, {"padding_free", SAME, NULL}, {"lazy_tokenize", SAME, NULL},
    {"bnb_4bit_compute_dtype", SAME, NULL}, {"check_model", SAME, NULL}, {"load_args", SAME, NULL}, {"load_data_args", SPECIAL, NULL}, {"exist_ok", SAME, NULL}, {"max_batch_size", SAME, NULL},
    {"lora_dtype", SAME, NULL}, {"infer_backend", SAME, NULL}, {"device_map", SAME, NULL}, {"strict", SAME, NULL}, {"ddp_find_unused_parameters", SAME, NULL}, {"custom_dataset_info", WITHOUT, ":register the set in dataset_info.json and give --dataset_dir"},
    {"freeze_parameters", WITHOUT, ":use --train_type freeze with --freeze_trainable_layers"}, {"trainable_parameters", WITHOUT, ":use --train_type freeze with --freeze_trainable_layers and --freeze_extra_modules"},
    {"freeze_parameters_ratio", WITHOUT, "0|0.|0.0:use --train_type freeze with --freeze_trainable_layers"}, {"target_regex", WITHOUT, ":name the modules with --target_modules"},
    {"adapter_length", WITHOUT, ":give --reduction_factor, the model's width over the adapter's"}, {"columns", WITHOUT, ":name the columns in dataset_info.json and give --dataset_dir"},
    {"external_plugins", WITHOUT, ":plugins here are shared objects: `graft plugin add FILE`"}, {"custom_register_path", WITHOUT, ":plugins here are shared objects: `graft plugin add FILE`"},
    {"to_ollama", WITHOUT, "false|False|0:merge with --merge_lora true; the folder holds a Modelfile where the template is known"}, {"val_dataset_sample", RENAMED, "max_samples"}, {"write_batch_size", SAME, NULL}, {"val_dataset_shuffle", WITHOUT, "false|False|0:answers come in the order of the file"},
    {"rlhf_type", WITHOUT, ":preference stages come later: use sft"}, {"use_ray", WITHOUT, "false|False|0:one machine is used"},
};
/* clang-format on */

typedef struct pair {
    const char *key, *value;
} pair;

typedef struct pairs {
    graft_arena *a;
    pair at[256];
    int n;
    graft_error *err;
} pairs;

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory while reading the arguments"); }

static const char *said(const pairs *p, const char *key)
{
    for (int i = p->n - 1; i >= 0; i--)
        if (!strcmp(p->at[i].key, key)) return p->at[i].value;
    return NULL;
}

static graft_status put(pairs *p, const char *key, const char *value)
{
    if (!value || !key) return no_memory(p->err);
    for (int i = 0; i < p->n; i++)
        if (!strcmp(p->at[i].key, key)) return p->at[i].value = value, GRAFT_OK;
    if (p->n == (int)(sizeof p->at / sizeof *p->at)) return graft_fail(p->err, GRAFT_BAD_INPUT, "command line", "more flags than there are keys");
    p->at[p->n++] = (pair){key, value};
    return GRAFT_OK;
}

static graft_status put_default(pairs *p, const char *key, const char *value) { return said(p, key) ? GRAFT_OK : put(p, key, value); }

static void drop(pairs *p, const char *key)
{
    int n = 0;
    for (int i = 0; i < p->n; i++)
        if (strcmp(p->at[i].key, key) != 0) p->at[n++] = p->at[i];
    p->n = n;
}

static int is_true(const char *v) { return v && (!strcmp(v, "true") || !strcmp(v, "True") || !strcmp(v, "1") || !strcmp(v, "yes")); }

/* ---- words to pairs ---------------------------------------------------------------------------------------------------------- */

/* A value of a YAML file as text: lists joined by commas, objects as JSON. */
static const char *text_of(pairs *p, const graft_json *v)
{
    if (v->type == GRAFT_JSON_TEXT || v->type == GRAFT_JSON_NUMBER) return v->text;
    if (v->type == GRAFT_JSON_BOOL) return v->integer ? "true" : "false";
    if (v->type == GRAFT_JSON_ARRAY) {
        const char *all = "";
        for (const graft_json *m = v->child; m && all; m = m->next) {
            const char *one = text_of(p, m);
            all = one ? graft_arena_printf(p->a, "%s%s%s", all, m == v->child ? "" : ",", one) : NULL;
        }
        return all;
    }
    graft_str s;
    graft_str_init(&s, 0);
    graft_json_write(&s, v, 0, 0);
    const char *copy = s.failed ? NULL : graft_arena_copy(p->a, s.data, s.bytes);
    graft_str_free(&s);
    return copy;
}

static graft_status read_file(pairs *p, const char *path)
{
    const graft_json *doc = NULL;
    graft_status s = graft_yaml_parse_file(p->a, path, &doc, p->err);
    if (!s && (!doc || doc->type != GRAFT_JSON_OBJECT)) s = graft_fail(p->err, GRAFT_BAD_INPUT, path, "expected lines of the form flag: value");
    for (const graft_json *m = s ? NULL : doc->child; m && !s; m = m->next) {
        if (!strcmp(m->key, "ENV") || m->type == GRAFT_JSON_NULL) continue; /* ENV: variables of the launcher; none of them acts here */
        s = put(p, m->key, text_of(p, m));
    }
    return s;
}

static int is_file(const char *w)
{
    const size_t n = strlen(w);
    return (n > 5 && (!strcmp(w + n - 5, ".yaml") || !strcmp(w + n - 5, ".json"))) || (n > 4 && !strcmp(w + n - 4, ".yml"));
}

static graft_status read_words(pairs *p, int n, char *const *words)
{
    graft_status s = GRAFT_OK;
    int i = 0;
    if (n && strncmp(words[0], "--", 2) != 0 && is_file(words[0])) s = read_file(p, words[i++]);
    while (i < n && !s) {
        const char *w = words[i++], *equals = strchr(w, '=');
        if (strncmp(w, "--", 2) != 0 || !w[2]) return graft_fail(p->err, GRAFT_BAD_INPUT, "command line", "expected a --flag, found '%s'", w);
        char *key = graft_arena_copy(p->a, w + 2, equals ? (size_t)(equals - w - 2) : strlen(w + 2));
        const char *value = equals ? equals + 1 : NULL;
        for (char *k = key; k && *k; k++) *k = *k == '-' ? '_' : *k;
        while (i < n && strncmp(words[i], "--", 2) != 0) { /* several values */
            value = value ? graft_arena_printf(p->a, "%s,%s", value, words[i]) : words[i];
            i++;
        }
        s = key && (value || key) ? put(p, key, value ? value : "true") : no_memory(p->err);
    }
    return s;
}

/* ---- names --------------------------------------------------------------------------------------------------------------------- */

static const flag *find_flag(const char *name)
{
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (!strcmp(flags[i].name, name)) return &flags[i];
    return NULL;
}

static graft_status unknown(const char *name, graft_error *err)
{
    const char *names[sizeof flags / sizeof *flags];
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) names[i] = flags[i].name;
    const char *near = graft_nearest(name, names, sizeof names / sizeof *names);
    return near ? graft_fail(err, GRAFT_BAD_INPUT, "command line", "unknown flag '--%s', did you mean '--%s'?", name, near) : graft_args_unknown("command line", name, err);
}

/* "a|b:reason": is the value one of the ways? */
static graft_status without(const flag *f, const char *value, graft_error *err)
{
    const char *colon = strchr(f->note, ':');
    for (const char *w = f->note; w < colon; w += strcspn(w, "|:") + 1) {
        const size_t bytes = strcspn(w, "|:");
        if (bytes == strlen(value) && !strncmp(w, value, bytes)) return GRAFT_OK;
    }
    return graft_fail(err, GRAFT_UNSUPPORTED, "command line", "--%s %s is not supported: %s", f->name, value, colon + 1);
}

static graft_status rename_all(const pairs *from, pairs *to)
{
    graft_status s = GRAFT_OK;
    for (int i = 0; i < from->n && !s; i++) {
        const char *key = from->at[i].key, *value = from->at[i].value;
        const flag *f = find_flag(key);
        if (!strcmp(value, "None") || !strcmp(value, "null")) continue; /* what was not said */
        if (!f && !graft_arg_find(key)) s = unknown(key, to->err);
        else if (!f || f->how == SPECIAL) s = put(to, key, value);
        else if (f->how == RENAMED) s = put(to, f->note, value);
        else if (f->how == OPPOSITE) s = put(to, f->note, is_true(value) ? "false" : "true");
        else if (f->how == WITHOUT) s = without(f, value, to->err);
    }
    return s;
}

/* ---- values ---------------------------------------------------------------------------------------------------------------------- */

/* bfloat16: what products are made in while training, what is written on export. */
static graft_status torch_dtype(pairs *p, int train)
{
    const char *v = said(p, "torch_dtype");
    if (!v) return GRAFT_OK;
    drop(p, "torch_dtype");
    const int bf16 = !strcmp(v, "bfloat16"), fp16 = !strcmp(v, "float16");
    if (!bf16 && !fp16 && strcmp(v, "float32") && strcmp(v, "auto")) return graft_fail(p->err, GRAFT_BAD_INPUT, "command line", "torch_dtype must be one of bfloat16, float16, float32, found %s", v);
    if (!train) return put(p, "infer_dtype", v);
    return bf16 || fp16 ? put_default(p, bf16 ? "bf16" : "fp16", "true") : GRAFT_OK;
}

static graft_status values(pairs *p, int train)
{
    const char *modules = said(p, "target_modules"), *cut = said(p, "truncation_strategy"), *scale = said(p, "loss_scale"), *size = said(p, "max_shard_size");
    graft_status s = torch_dtype(p, train);
    if (!s && modules) drop(p, "target_modules"), s = put(p, "lora_target", !strcmp(modules, "all-linear") || !strcmp(modules, "ALL") ? "all" : modules);
    if (!s && cut) {
        drop(p, "truncation_strategy");
        if (!strcmp(cut, "delete") || !strcmp(cut, "raise")) s = put(p, "overlong", "drop");
        else if (!strcmp(cut, "right") || !strcmp(cut, "left")) s = put(p, "overlong", "cut"), graft_log(GRAFT_LOG_WARNING, "truncation_strategy %s: question and answer are cut in proportion, as LLaMA-Factory does", cut);
        else s = graft_fail(p->err, GRAFT_UNSUPPORTED, "command line", "--truncation_strategy %s is not supported: use delete or right", cut);
    }
    if (!s && scale) {
        drop(p, "loss_scale");
        if (!strcmp(scale, "last_round")) s = put(p, "mask_history", "true");
        else if (!strcmp(scale, "all")) s = put(p, "train_on_prompt", "true");
        else if (strcmp(scale, "default") != 0) s = graft_fail(p->err, GRAFT_UNSUPPORTED, "command line", "--loss_scale %s is not supported: use default, last_round or all", scale);
    }
    if (!s && size) drop(p, "max_shard_size"), s = put(p, "export_size", graft_arena_printf(p->a, "%d", atoi(size) > 0 ? atoi(size) : 5));
    return s;
}

/* ---- folders --------------------------------------------------------------------------------------------------------------------- */

/* DIR/v2-20261125-143000: one more than the highest number there. */
static const char *version_of(graft_arena *a, const char *dir)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    char **names = NULL;
    size_t n = 0;
    long next = 0;
    const time_t now = time(NULL);
    struct tm t;
    if (graft_path_is_dir(dir) && !graft_dir_list(dir, &names, &n, &ignored)) {
        for (size_t i = 0; i < n; i++) {
            char *end = NULL;
            const long v = *names[i] == 'v' ? strtol(names[i] + 1, &end, 10) : -1;
            if (v >= next && end > names[i] + 1 && *end == '-') next = v + 1;
        }
        graft_dir_list_free(names, n);
    }
    if (!localtime_r(&now, &t)) return NULL;
    return graft_arena_printf(a, "%s/v%ld-%04d%02d%02d-%02d%02d%02d", dir, next, t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
}

/* A value as JSON: lists of names, numbers and truth values are that. */
static graft_json *typed(graft_arena *a, const char *key, const char *value)
{
    static const char *const lists[] = {"dataset", "val_dataset", "adapters", "target_modules", "modules_to_save", "model_name", "model_author"};
    graft_error ignored = GRAFT_ERROR_INIT;
    const graft_json *v = NULL;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (strcmp(lists[i], key) != 0) continue;
        graft_json *list = graft_json_new(a, GRAFT_JSON_ARRAY);
        for (const char *p = value; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] != 0)) graft_json_push(a, list, graft_json_text(a, p, strcspn(p, ",")));
        return list;
    }
    if (!graft_yaml_scalar(a, key, value, &v, &ignored) && v && (v->type == GRAFT_JSON_NUMBER || v->type == GRAFT_JSON_BOOL)) return graft_json_copy(a, v);
    return graft_json_text(a, value, strlen(value));
}

/* What ms-swift calls one of graft's keys. */
static const char *swift_name(const char *key)
{
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (flags[i].how == RENAMED && !strcmp(flags[i].note, key)) return flags[i].name;
    return key;
}

/* All that the run was told and what it took where nothing was said, beside its results: read again by infer and export. */
static graft_status write_args(const pairs *given, const pairs *all, const char *dir)
{
    graft_arena *a = given->a;
    graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
    graft_str text;
    graft_str_init(&text, 0);
    for (int i = 0; o && i < all->n; i++) graft_json_put(a, o, swift_name(all->at[i].key), typed(a, swift_name(all->at[i].key), all->at[i].value));
    for (int i = 0; o && i < given->n; i++) graft_json_put(a, o, given->at[i].key, typed(a, given->at[i].key, given->at[i].value));
    if (o) graft_json_put(a, o, "output_dir", graft_json_text(a, dir, strlen(dir)));
    if (o) graft_json_write(&text, o, 2, 0);
    graft_str_text(&text, "\n");
    graft_status s = o && !text.failed ? graft_dir_make(dir, given->err) : no_memory(given->err);
    const char *path = graft_arena_printf(a, "%s/args.json", dir);
    if (!s) s = path ? graft_file_replace(path, text.data, text.bytes, given->err) : no_memory(given->err);
    graft_str_free(&text);
    return s;
}

static const graft_json *json_in(const pairs *p, const char *dir, const char *name)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    const graft_json *v = NULL;
    const char *path = graft_arena_printf(p->a, "%s/%s", dir, name);
    return path && graft_path_exists(path) && !graft_json_parse_file(p->a, path, 1 << 24, 0, &v, &ignored) ? v : NULL;
}

/* A checkpoint is a model of its own or an adapter; what the run was told about model, template and system counts again. */
static graft_status checkpoint(pairs *p)
{
    const char *dir = said(p, "ckpt_dir") ? said(p, "ckpt_dir") : said(p, "adapter_name_or_path");
    graft_status s = GRAFT_OK;
    drop(p, "ckpt_dir");
    if (!dir) dir = said(p, "model_name_or_path");
    if (!dir) return graft_fail(p->err, GRAFT_BAD_INPUT, "command line", "no model was named: give --model DIR, --adapters DIR or --ckpt_dir DIR");
    if (strchr(dir, ',') || strchr(dir, '=')) return put_default(p, "model_name_or_path", "");
    if (!graft_path_is_dir(dir)) return graft_fail(p->err, GRAFT_BAD_INPUT, "command line", "there is no folder '%s'", dir);
    const graft_json *adapter = json_in(p, dir, "adapter_config.json"), *base = graft_json_get(adapter, "base_model_name_or_path");
    const char *above = graft_arena_printf(p->a, "%s/..", dir);
    const graft_json *run = json_in(p, dir, "args.json");
    if (!run && above) run = json_in(p, above, "args.json");
    if (adapter) s = put(p, "adapter_name_or_path", dir);
    else drop(p, "adapter_name_or_path"), s = put(p, "model_name_or_path", dir);
    if (!s && base && base->type == GRAFT_JSON_TEXT) s = put_default(p, "model_name_or_path", base->text);
    static const char *const kept[][2] = {{"model", "model_name_or_path"}, {"template", "template"}, {"system", "default_system"}, {"val_dataset", "eval_dataset"}, {"dataset", "dataset"}, {"split_dataset_ratio", "val_size"}, {"dataset_dir", "dataset_dir"}};
    const size_t n = is_true(said(p, "load_data_args")) ? 7 : 3;
    for (size_t i = 0; i < n && !s; i++) {
        const graft_json *v = graft_json_get(run, kept[i][0]);
        if (v && v->type != GRAFT_JSON_NULL) s = put_default(p, kept[i][1], text_of(p, v));
    }
    drop(p, "load_data_args");
    if (n > 3 && !s && !said(p, "eval_dataset") && !said(p, "val_size")) s = graft_fail(p->err, GRAFT_BAD_INPUT, "command line", "load_data_args: %s/args.json names no evaluation data; give --val_dataset FILE", dir);
    if (n > 3 && !s && said(p, "eval_dataset")) drop(p, "dataset"), drop(p, "val_size");
    return s;
}

/* Where the answers go: --result_path, or CHECKPOINT/infer_result/TIME.jsonl, result/MODEL/infer_result/TIME.jsonl of a model. */
static graft_status result_path(pairs *p)
{
    char when[32] = "";
    const time_t now = time(NULL);
    struct tm t;
    const char *adapter = said(p, "adapter_name_or_path"), *model = said(p, "model_name_or_path");
    if (said(p, "result_path")) return GRAFT_OK;
    if (localtime_r(&now, &t)) strftime(when, sizeof when, "%Y%m%d-%H%M%S", &t);
    const char *base = graft_path_base(model);
    const char *dir = adapter ? adapter : !strncmp(base, "checkpoint-", 11) ? model
                                                                            : graft_arena_printf(p->a, "result/%s", base);
    return put(p, "result_path", graft_arena_printf(p->a, "%s/infer_result/%s.jsonl", dir, when));
}

/* ---- commands ---------------------------------------------------------------------------------------------------------------------- */

static graft_status hand_over(graft_cli *c, pairs *p, int *n, char *const **words, graft_error *err)
{
    char **out = graft_arena_alloc(c->arena, ((size_t)p->n * 2 + 1) * sizeof *out);
    if (!out) return no_memory(err);
    for (int i = 0; i < p->n; i++) {
        out[2 * i] = graft_arena_printf(c->arena, "--%s=%s", p->at[i].key, p->at[i].value);
        if (!out[2 * i]) return no_memory(err);
        out[i] = out[2 * i];
    }
    *n = p->n;
    *words = out;
    return GRAFT_OK;
}

/* ms-swift's defaults where they are others than graft's. */
static graft_status train_defaults(pairs *p)
{
    const char *type = said(p, "finetuning_type"), *layers = said(p, "lisa_activated_layers"), *batch = said(p, "per_device_train_batch_size");
    const int full = type && !strcmp(type, "full"), lora = !type || !strcmp(type, "lora");
    const long rows = batch ? strtol(batch, NULL, 10) : 1;
    graft_status s = GRAFT_OK;
    if (layers && !strtol(layers, NULL, 10)) drop(p, "lisa_activated_layers"), layers = NULL;
    if (layers && type && full) s = put(p, "finetuning_type", "lisa");
    else if (layers) return graft_fail(p->err, GRAFT_BAD_INPUT, "command line", "lisa_activated_layers needs --train_type full, found %s", type ? type : "lora");
    const char *window = graft_arena_printf(p->a, "%ld", rows > 0 && rows < 16 ? (16 + rows - 1) / rows : 1);
    const char *saves = said(p, "save_steps") ? said(p, "save_steps") : "500";
    const int evaluates = said(p, "eval_dataset") || (said(p, "val_size") && strtod(said(p, "val_size"), NULL) > 0);
    const pair defaults[] = {{"do_train", "true"}, {"finetuning_type", "lora"}, {"learning_rate", full || layers ? "1e-5" : "1e-4"}, {"weight_decay", "0.1"}, {"adam_beta2", "0.95"}, {"lr_scheduler_type", "cosine"}, {"per_device_train_batch_size", "1"}, {"per_device_eval_batch_size", "1"}, {"gradient_accumulation_steps", window ? window : "1"}, {"num_train_epochs", "3"}, {"logging_steps", "5"}, {"logging_first_step", "true"}, {"save_steps", "500"}, {"overlong", "drop"}};
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults && !s; i++) s = put_default(p, defaults[i].key, defaults[i].value);
    if (!s && lora) s = put_default(p, "lora_alpha", "32");
    if (!s && lora) s = put_default(p, "lora_dropout", "0.05");
    if (!s && (full || layers)) drop(p, "lora_target"), drop(p, "lora_rank"), drop(p, "lora_alpha"), drop(p, "lora_dropout"); /* ms-swift has them in every line */
    if (!s && evaluates) s = put_default(p, "eval_strategy", "steps");
    if (!s && evaluates) s = put_default(p, "eval_steps", saves);
    if (!s && !evaluates) drop(p, "eval_steps"), drop(p, "eval_strategy");
    return s;
}

/* The longest sample that the model takes. */
static graft_status train_length(pairs *p)
{
    const char *model = said(p, "model_name_or_path");
    const graft_json *config = model ? json_in(p, model, "config.json") : NULL, *most = graft_json_get(config, "max_position_embeddings");
    if (!most || most->type != GRAFT_JSON_NUMBER || !most->integral) return GRAFT_OK;
    return put_default(p, "cutoff_len", graft_arena_printf(p->a, "%lld", (long long)most->integer));
}

graft_status graft_swift_train(graft_cli *c, int *n, char *const **words, graft_error *err)
{
    pairs given = {.a = c->arena, .err = err}, p = {.a = c->arena, .err = err};
    graft_status s = read_words(&given, *n, *words);
    if (!s) s = rename_all(&given, &p);
    if (!s) s = values(&p, 1);
    if (!s && said(&p, "ckpt_dir")) s = graft_fail(err, GRAFT_BAD_INPUT, "command line", "ckpt_dir is of infer and export: give --resume_from_checkpoint or --adapters to go on");
    if (!s && !said(&p, "model_name_or_path")) s = graft_fail(err, GRAFT_BAD_INPUT, "command line", "no model was named: give --model DIR");
    if (!s && !said(&p, "dataset")) s = graft_fail(err, GRAFT_BAD_INPUT, "command line", "no data was named: give --dataset FILE or a name of dataset_info.json");
    if (!s) s = train_defaults(&p);
    if (!s) s = train_length(&p);
    if (!s && !strcmp(c->command->name, "pt")) s = put(&p, "stage", "pt");
    if (s) return s;
    const char *dir = said(&p, "output_dir"), *model = said(&p, "model_name_or_path"), *version = said(&p, "add_version");
    if (!dir) dir = graft_arena_printf(c->arena, "output/%s", graft_path_base(model));
    if (dir && (!version || is_true(version))) dir = version_of(c->arena, dir);
    drop(&p, "add_version");
    drop(&p, "merge_lora");
    s = put(&p, "output_dir", dir);
    if (!s && graft_path_is_dir(model)) s = write_args(&given, &p, dir);
    c->run_dir = dir;
    if (!s) graft_log(GRAFT_LOG_INFO, "output folder: %s", dir);
    return s ? s : hand_over(c, &p, n, words, err);
}

/* How answers are drawn: generation_config.json says, where the command line does not. */
static graft_status sampling(pairs *p)
{
    static const char *const keys[] = {"do_sample", "temperature", "top_p", "top_k", "repetition_penalty"};
    const char *model = said(p, "model_name_or_path");
    const graft_json *config = model ? json_in(p, model, "generation_config.json") : NULL;
    graft_status s = GRAFT_OK;
    for (size_t i = 0; i < 5 && !s; i++) {
        const graft_json *v = graft_json_get(config, keys[i]);
        if (v && v->type != GRAFT_JSON_NULL) s = put_default(p, keys[i], text_of(p, v));
    }
    return s;
}

graft_status graft_swift_infer(graft_cli *c, int *n, char *const **words, graft_error *err)
{
    pairs given = {.a = c->arena, .err = err}, p = {.a = c->arena, .err = err};
    graft_status s = read_words(&given, *n, *words);
    if (!s) s = rename_all(&given, &p);
    if (!s) s = values(&p, 0);
    if (!s) s = checkpoint(&p);
    if (!s && (said(&p, "eval_dataset") || said(&p, "val_size"))) s = result_path(&p);
    if (!s) s = sampling(&p);
    drop(&p, "merge_lora");
    drop(&p, "output_dir");
    drop(&p, "add_version");
    return s ? s : hand_over(c, &p, n, words, err);
}

graft_status graft_swift_export(graft_cli *c, int *n, char *const **words, graft_error *err)
{
    static const char *const mine[] = {"--ckpt_dir", "--merge_lora", "--adapters", "--quant_method", "--quant_bits", "--to_ollama"};
    int swift = 0;
    for (int i = 0; i < *n; i++)
        for (size_t k = 0; k < sizeof mine / sizeof *mine; k++) swift |= !strncmp((*words)[i], mine[k], strlen(mine[k]));
    if (!swift) return GRAFT_OK;
    pairs given = {.a = c->arena, .err = err}, p = {.a = c->arena, .err = err};
    graft_status s = read_words(&given, *n, *words);
    if (!s) s = rename_all(&given, &p);
    if (!s) s = values(&p, 0);
    if (!s) s = checkpoint(&p);
    if (s) return s;
    const char *adapter = said(&p, "adapter_name_or_path"), *dir = said(&p, "output_dir"), *merge = said(&p, "merge_lora"), *from = adapter ? adapter : said(&p, "model_name_or_path");
    if (adapter && !is_true(merge)) return graft_fail(err, GRAFT_BAD_INPUT, "command line", "an adapter is exported by merging it: give --merge_lora true");
    size_t bytes = strlen(from);
    while (bytes > 1 && from[bytes - 1] == '/') bytes--;
    if (!dir) dir = graft_arena_printf(c->arena, "%.*s-%s", (int)bytes, from, adapter ? "merged" : "exported");
    drop(&p, "merge_lora");
    drop(&p, "output_dir");
    drop(&p, "add_version");
    s = put(&p, "export_dir", dir);
    return s ? s : hand_over(c, &p, n, words, err);
}
