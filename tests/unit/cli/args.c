/* tests/unit/cli/args.c - the arguments: every case that LLaMA-Factory's own parser was asked, the completeness of the table, types, errors word for word.
 * The room is a program and no library, so its sources are part of this test. */
#include "core/cli/args.c"
#include "core/cli/args_data.c"
#include "core/cli/args_model.c"
#include "core/cli/args_own.c"
#include "core/cli/args_read.c"
#include "core/cli/args_rules.c"
#include "core/cli/args_training.c"
#include "core/cli/args_tuning.c"

#include "core/base/log.h"
#include "core/plugin/registry.h"
#include "tests/support/support.h"

static graft_error err = GRAFT_ERROR_INIT;
static graft_registry *registry;

/* Calls parse with the words of a line; words are separated by '|'. */
static graft_status parse(graft_arena *a, const char *line, graft_args **out)
{
    char *copy = graft_arena_copy(a, line, strlen(line)), *words[64];
    int n = 0;
    for (char *w = *line ? copy : NULL; w && n < 64;) {
        char *bar = strchr(w, '|');
        words[n++] = w;
        if (bar) *bar++ = 0;
        w = bar;
    }
    err = (graft_error)GRAFT_ERROR_INIT;
    return graft_args_parse(a, n, words, 0, out, &err);
}

static void refuses(const char *line, const char *where, const char *message)
{
    graft_arena *a = graft_arena_new();
    graft_args *x = NULL;
    graft_status s = parse(a, line, &x);
    if (!s) s = graft_args_finish(x, "some", &err);
    ck_assert_msg(s != GRAFT_OK, "%s was accepted", line);
    ck_assert_str_eq(err.where, where);
    ck_assert_str_eq(err.message, message);
    graft_arena_free(a);
}

/* ---- LLaMA-Factory's cases ------------------------------------------------------------------------------------------------- */

static int same(const graft_json *x, const graft_json *y)
{
    if (x->type == GRAFT_JSON_NUMBER && isinf(x->number) && y->type == GRAFT_JSON_TEXT) return !strcmp(y->text, x->number > 0 ? "inf" : "-inf"); /* the fixture's spelling */
    if (x->type == GRAFT_JSON_NUMBER && isnan(x->number) && y->type == GRAFT_JSON_TEXT) return !strcmp(y->text, "nan");
    if (x->type != y->type || x->count != y->count) return 0;
    switch (x->type) {
    case GRAFT_JSON_BOOL: return x->integer == y->integer;
    case GRAFT_JSON_NUMBER: return x->number == y->number && x->integral == y->integral;
    case GRAFT_JSON_TEXT: return x->bytes == y->bytes && !memcmp(x->text, y->text, x->bytes);
    case GRAFT_JSON_OBJECT:
        for (const graft_json *m = y->child; m; m = m->next)
            if (!graft_json_get(x, m->key) || !same(graft_json_get(x, m->key), m)) return 0;
        return 1;
    case GRAFT_JSON_ARRAY:
        for (const graft_json *p = x->child, *q = y->child; p; p = p->next, q = q->next)
            if (!same(p, q)) return 0;
        return 1;
    default: return 1;
    }
}

/* A file and words, as a mapping. Where the fixture says "--b 2 after a file gives the keys --b and 2", flags and words are one here: see `mixed`. */
static void check_mapping(graft_arena *a, const graft_json *c)
{
    const graft_json *yaml = graft_json_get(c, "yaml"), *want = graft_json_get(c, "result");
    const char *words[16];
    int n = 0;
    graft_json *found = NULL;
    graft_str text;
    graft_str_init(&text, 0);
    for (const graft_json *w = graft_json_get(c, "cli")->child; w; w = w->next) words[n++] = w->text;
    const graft_status s = graft_args_mapping(a, "case", yaml->text, yaml->bytes, n, words, &found, &err);
    if (!want) ck_assert_msg(s == GRAFT_BAD_INPUT, "%s was accepted", yaml->text);
    else {
        ck_assert_msg(!s, "%s: %s", yaml->text, err.message);
        graft_json_write(&text, found, 0, 0);
        ck_assert_msg(same(found, want), "%s: found %s", yaml->text, text.data);
    }
    graft_str_free(&text);
}

/* Flags alone. Deliberate differences: several words after --report_to, and LLaMA-Factory's own later checks (ValueError), are not the parser's here. */
static void check_flags(graft_arena *a, const graft_json *c, int *checked)
{
    char *words[16];
    int n = 0;
    graft_args *x = NULL;
    const graft_json *error = graft_json_get(c, "error"), *left = graft_json_get(c, "left_over"), *changed = graft_json_get(c, "changed");
    if (error && !strcmp(error->text, "ValueError")) return;
    if (left && left->count) return;
    for (const graft_json *w = graft_json_get(c, "flags")->child; w; w = w->next) words[n++] = (char *)(uintptr_t)w->text;
    graft_status s = graft_args_parse(a, n, words, 0, &x, &err);
    if (!s) s = graft_args_finish(x, NULL, &err);
    (*checked)++;
    if (error && strstr(words[0], "packing")) return; /* a bare --packing is true here */
    if (error) ck_assert_msg(s == GRAFT_BAD_INPUT, "%s was accepted", words[0]);
    else ck_assert_msg(!s, "%s: %s", n ? words[0] : "", err.message);
    for (const graft_json *m = changed ? changed->child : NULL; m; m = m->next) {
        const graft_json *found = graft_args_value(x, m->key);
        if (!strcmp(m->key, "dataloader_pin_memory") || !strcmp(m->key, "cutoff_len")) continue; /* follow from other keys */
        ck_assert_ptr_nonnull(found);
        if (m->type == GRAFT_JSON_ARRAY) ck_assert_int_eq(strncmp(found->text, m->child->text, strlen(m->child->text)), 0); /* lists are "a,b" here */
        else ck_assert_msg(same(found, m), "%s", m->key);
    }
}

START_TEST(golden)
{
    char *data = NULL;
    size_t bytes = 0;
    int mappings = 0, flags = 0;
    ck_assert_ok(graft_file_read(graft_test_fixture("cli/parse.jsonl"), 1 << 20, &data, &bytes, &err));
    for (char *line = data, *next; line && *line; line = next) {
        graft_arena *a = graft_arena_new();
        const graft_json *c = NULL;
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        ck_assert_ok(graft_json_parse(a, "case", line, strlen(line), 0, &c, &err));
        if (graft_json_get(c, "yaml")) check_mapping(a, c), mappings++;
        if (graft_json_get(c, "flags")) check_flags(a, c, &flags);
        graft_arena_free(a);
    }
    graft_free(data);
    ck_assert_int_gt(mappings, 40);
    ck_assert_int_gt(flags, 20);
}
END_TEST

/* ---- the table ---------------------------------------------------------------------------------------------------------------- */

/* Does our default say what the fixture's does? */
static int same_default(const graft_arg *arg, const graft_json *want)
{
    const char *f = arg->fallback;
    if (!want || want->type == GRAFT_JSON_NULL) return !f;
    if (want->type == GRAFT_JSON_BOOL) return f && !strcmp(f, want->integer ? "true" : "false");
    if (want->type == GRAFT_JSON_NUMBER) return f && strtod(f, NULL) == want->number;
    if (want->type == GRAFT_JSON_TEXT) return want->bytes ? f && !strcmp(f, want->text) : !f;
    return f && !strcmp(f, "[]");
}

START_TEST(complete)
{
    graft_arena *a = graft_arena_new();
    const graft_json *doc = NULL;
    int n = 0;
    ck_assert_ok(graft_json_parse_file(a, graft_test_fixture("cli/arguments.json"), 1 << 20, 0, &doc, &err));
    for (const graft_json *class = graft_json_get(doc, "arguments")->child; class; class = class->next)
        for (const graft_json *arg = class->child; arg; arg = arg->next, n++) {
            const char *name = graft_json_get(arg, "name")->text;
            const graft_arg *mine = graft_arg_find(name);
            ck_assert_msg(mine != NULL, "%s is missing", name);
            ck_assert_msg(mine->status == GRAFT_ARG_ACTS || mine->status == GRAFT_ARG_METHOD || mine->note, "%s has no reason", name);
            ck_assert_msg(same_default(mine, graft_json_get(arg, "default")), "%s has the default %s", name, mine->fallback ? mine->fallback : "none");
        }
    ck_assert_int_gt(n, 350);
    size_t groups, named = 0;
    const graft_arg_group *g = graft_arg_groups(&groups);
    for (size_t i = 0; i < groups; i++)
        for (size_t k = 0; k < g[i].n; k++, named++) {
            const graft_arg *arg = &g[i].args[k];
            ck_assert_msg(graft_arg_find(arg->name) == arg, "%s is in the table twice", arg->name);
            if (arg->status == GRAFT_ARG_ALIAS) ck_assert_msg(graft_arg_find(arg->note) != NULL, "%s is an alias of nothing", arg->name);
        }
    ck_assert_uint_lt(named, 512);
    graft_arena_free(a);
}
END_TEST

START_TEST(document)
{
    graft_str text;
    char *data = NULL;
    size_t bytes = 0;
    graft_str_init(&text, 0);
    graft_args_compat(&text);
    ck_assert_ok(graft_file_read(GRAFT_SOURCE_DIR "/docs/compat.md", 1 << 20, &data, &bytes, &err));
    ck_assert_msg(bytes == text.bytes && !memcmp(data, text.data, bytes), "docs/compat.md is not what `graft help --compat` prints");
    graft_free(data);
    graft_str_free(&text);
}
END_TEST

/* ---- values ------------------------------------------------------------------------------------------------------------------ */

static const char *file_with(const char *text)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/x.yaml", graft_test_dir("args"));
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
    return path;
}

START_TEST(mixed)
{
    graft_arena *a = graft_arena_new();
    graft_args *x = NULL;
    const char *file = file_with("learning_rate: 1e-4\nlora_target: [q_proj, v_proj]\nmax_steps: '12'\neval_strategy: no\ndataset: a, b\nbf16: yes\nreport_to: none\nevaluation_strategy: steps\n");
    ck_assert_ok(parse(a, graft_arena_printf(a, "--lora_rank|16|%s|learning_rate=5.0e-5|--plot-loss|--no_low_cpu_mem_usage|lora_alpha=|--prompt|yes|name=1e3|lr_scheduler_kwargs.num_cycles=2|--seed=7", file), &x));
    ck_assert_double_eq(graft_args_real(x, "learning_rate"), 5e-5);
    ck_assert_int_eq(graft_args_int(x, "lora_rank"), 16);
    ck_assert_int_eq(graft_args_int(x, "max_steps"), 12);
    ck_assert_int_eq(graft_args_int(x, "seed"), 7);
    ck_assert_str_eq(graft_args_text(x, "lora_target"), "q_proj,v_proj");
    ck_assert_str_eq(graft_args_text(x, "dataset"), "a,b");
    ck_assert_str_eq(graft_args_text(x, "prompt"), "yes");
    ck_assert_str_eq(graft_args_text(x, "name"), "1e3");
    ck_assert_str_eq(graft_args_text(x, "eval_strategy"), "steps");
    ck_assert_int_eq(graft_args_flag(x, "plot_loss"), 1);
    ck_assert_int_eq(graft_args_flag(x, "low_cpu_mem_usage"), 0);
    ck_assert_int_eq(graft_args_given(x, "lora_alpha"), 0);
    ck_assert_int_eq(graft_args_int(x, "cutoff_len"), 2048);
    ck_assert_double_eq(graft_args_real(x, "adam_epsilon"), 1e-8);
    ck_assert_str_eq(graft_args_text(x, "stage"), "sft");
    ck_assert_ptr_null(graft_args_text(x, "template"));
    ck_assert_double_eq(graft_json_get(graft_args_value(x, "lr_scheduler_kwargs"), "num_cycles")->number, 2);
    graft_arena_free(a);
}
END_TEST

START_TEST(no_is_a_choice)
{
    graft_arena *a = graft_arena_new();
    graft_args *x = NULL;
    ck_assert_ok(parse(a, file_with("save_strategy: no\neval_strategy: \"no\"\nflash_attn: true\n"), &x));
    ck_assert_str_eq(graft_args_text(x, "save_strategy"), "no");
    ck_assert_str_eq(graft_args_text(x, "eval_strategy"), "no");
    graft_arena_free(a);
}
END_TEST

START_TEST(sentences)
{
    const char *file = file_with("model_name_or_path: m\nlora_rnk: 8\n");
    char where[4300];
    snprintf(where, sizeof where, "%s:2:11", file);
    refuses(file, where, "unknown key 'lora_rnk', did you mean 'lora_rank'?");
    refuses("--lerning_rate|1", "command line", "unknown key 'lerning_rate', did you mean 'learning_rate'?");
    refuses("completely_other=1", "command line", "unknown key 'completely_other', expected a key of LLaMA-Factory, of graft or of a plugin in use");
    refuses("word", "command line", "'word' is neither a .yaml or .json file nor key=value nor a --flag");
    refuses("--learning_rate", "command line", "--learning_rate needs a value after it");
    refuses("--learning_rate|--plot_loss", "command line", "--learning_rate needs a value after it");
    refuses("learning_rate=fast", "command line", "learning_rate must be a number, found \"fast\"");
    refuses("lora_rank=8.5", "command line", "lora_rank must be a whole number, found 8.5");
    refuses("lora_rank=[8]", "command line", "lora_rank must be a whole number, found [8]");
    refuses("--max_samples|1e3", "command line", "max_samples must be a whole number, found \"1e3\"");
    refuses("--bf16=maybe", "command line", "bf16 must be true or false, found \"maybe\"");
    refuses("flash_attn=FA2", "command line", "flash_attn must be one of auto, disabled, sdpa, fa2, fa3, true, false, found \"FA2\"");
    refuses("dataset={a: 1}", "command line", "dataset must be text or a list, found {\"a\": 1}");
    refuses("use_badam=true", "command line", "use_badam is not supported: use the full method with adamw");
    refuses("export_quantization_bit=4", "command line", "export_quantization_bit is not supported: export in f32, bf16 or f16 and quantise with another tool");
    const char *second = file_with("seed: 1\n");
    char two[9000], both[9000];
    snprintf(two, sizeof two, "%s|%s", second, second);
    snprintf(both, sizeof both, "two files, %.300s and %.300s: expected one; give single settings as key=value", second, second);
    refuses(two, "command line", both);
    const char *wrong = file_with("learning_rate: 1e-4\nseed: [1]\n");
    snprintf(where, sizeof where, "%s:2:7", wrong);
    refuses(wrong, where, "seed must be a whole number, found [1]");
    refuses(file_with("- a\n- b\n"), file_with("- a\n- b\n"), "expected lines of the form key: value, found a list");
}
END_TEST

/* ---- rules ---------------------------------------------------------------------------------------------------------------------- */

/* where NULL: accepted. */
static void rule_says(const char *line, const char *where, const char *message)
{
    graft_arena *a = graft_arena_new();
    graft_args *x = NULL;
    ck_assert_ok(parse(a, graft_arena_printf(a, "model_name_or_path=m|dataset=a,b%s%s", *line ? "|" : "", line), &x));
    const graft_status s = graft_args_check(x, registry, 0, &err);
    if (!where) ck_assert_msg(!s, "%s: %s", line, err.message);
    else {
        ck_assert_msg(s != GRAFT_OK, "%s was accepted", line);
        ck_assert_str_eq(err.where, where);
        ck_assert_str_eq(err.message, message);
    }
    graft_arena_free(a);
}

START_TEST(rules_hold)
{
    const graft_registry_options o = {.shipped = GRAFT_BINARY_DIR "/lib/graft/registry.json"};
    ck_assert_ok(graft_registry_open(&o, &registry, &err));
    rule_says("", NULL, NULL);
    rule_says("val_size=0.1|mask_history=true|packing=true", NULL, NULL);
    rule_says("stage=pt|packing=false", NULL, NULL);
    rule_says("finetuning_type=lora,adapter|use_dora=true|loraplus_lr_ratio=16", NULL, NULL);
    rule_says("mix_strategy=interleave_over|interleave_probs=0.3,0.7", NULL, NULL);
    rule_says("adapter_name_or_path=x|finetuning_type=full|create_new_adapter=true", NULL, NULL);
    rule_says("quantization_bit=4", NULL, NULL);
    rule_says("val_size=-1", "val_size", "expected 0, a share below 1 or a number of samples");
    rule_says("val_size=0.1|eval_dataset=c", "val_size", "val_size and eval_dataset are both given: choose one");
    rule_says("mix_strategy=interleave_over|interleave_probs=0.3", "interleave_probs", "expected one number for each set, found 1 for 2 sets");
    rule_says("interleave_probs=0.3,0.7", "interleave_probs", "these are for mix_strategy interleave_under or interleave_over: give one of them, or leave the numbers out");
    rule_says("image_max_pixels=10", "image_max_pixels", "it is below image_min_pixels");
    rule_says("quantization_bit=4|adapter_name_or_path=a,b", "quantization_bit", "adapters cannot become part of a quantised base: merge them with `graft export` first");
    rule_says("adapter_name_or_path=x|finetuning_type=full", "adapter_name_or_path", "finetuning_type full keeps no adapter: merge it with `graft export` first, or set create_new_adapter");
    rule_says("finetuning_type=adapter|use_dora=true", "use_dora", "only finetuning_type lora has it: leave it out");
    rule_says("finetuning_type=adapter,freeze|quantization_bit=4", "quantization_bit", "a quantised base stays as it is: choose lora or another method that adds weights as finetuning_type");
    rule_says("finetuning_type=lora|use_galore=true", "use_galore", "gradients are projected where whole weights are trained: set finetuning_type to full");
    rule_says("stage=ppo", "stage", "the stage 'ppo' is not supported: use sft, or pt for texts without questions");
    graft_registry_close(registry);
}
END_TEST

/* Every term of every rule is about keys of the table. */
START_TEST(rules_name_keys)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        for (const char *t = rules[i].terms; *t; t += strcspn(t, " "), t += strspn(t, " ")) {
            char key[80];
            snprintf(key, sizeof key, "%.*s", (int)strcspn(t + (*t == '!'), " =!<>~"), t + (*t == '!'));
            ck_assert_msg(graft_arg_find(key) != NULL, "%s in \"%s\"", key, rules[i].terms);
        }
}
END_TEST

/* ---- what is said ---------------------------------------------------------------------------------------------------------------- */

static char said[2000];
static void listen(void *ctx, graft_log_level level, const char *sentence)
{
    (void)ctx;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%d %s\n", (int)level, sentence);
}

START_TEST(warnings)
{
    graft_arena *a = graft_arena_new();
    graft_args *x = NULL;
    graft_log_to(listen, NULL, GRAFT_LOG_INFO);
    ck_assert_ok(parse(a, "bf16=true|fp16=false|lora_rank=4|use_dora=true|packing=false|overwrite_cache=true|report_to=wandb|plugin_key=3|neat_packing=null", &x));
    graft_dim(graft_args_config(x), "lora_rank", 8); /* as the method's plugin does */
    graft_dim(graft_args_config(x), "plugin_key", 1);
    ck_assert_ok(graft_args_finish(x, "mine", &err));
    ck_assert_str_eq(said, "2 not acted on: report_to (the log is trainer_log.jsonl)\n2 not read by the tuning method mine: use_dora\n");
    *said = 0;
    ck_assert_ok(parse(a, "bf16=true|packing=true|learning_rate=1|lora_rank=4|deepspeed=x.json", &x)); /* keys of training do not trouble a chat */
    ck_assert_ok(graft_args_finish(x, NULL, &err));
    ck_assert_str_eq(said, "");
    graft_log_to(NULL, NULL, GRAFT_LOG_ERROR);
    graft_arena_free(a);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, golden);
    tcase_add_test(tc, complete);
    tcase_add_test(tc, document);
    tcase_add_test(tc, mixed);
    tcase_add_test(tc, no_is_a_choice);
    tcase_add_test(tc, sentences);
    tcase_add_test(tc, rules_hold);
    tcase_add_test(tc, rules_name_keys);
    tcase_add_test(tc, warnings);
}

int main(void) { return graft_test_main("args", cases); }
