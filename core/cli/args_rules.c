/* core/cli/args_rules.c - which arguments of a training run exclude or need each other (LLaMA-Factory's own rules), and what its environment variables mean here.
 * What only some tuning method has, or does not go with, stands in that method's entry of the registry ("own", "against").
 *
 * A rule is broken when all its terms hold:
 *   KEY  !KEY          given and neither false nor 0, or not so
 *   KEY=word KEY!=word the value (or default) is the word, or a list with it
 *   KEY>X KEY<X        numbers; X a number or another key
 *   KEY~text           the text holds this text
 * Its first word is the key that the sentence is about. */
#include "core/cli/args.h"

#include "core/base/error.h"
#include "core/base/log.h"

#include <stdlib.h>
#include <string.h>

typedef struct rule {
    const char *terms, *sentence;
} rule;

/* clang-format off */
static const rule rules[] = {
    {"val_size<0", "expected 0, a share below 1 or a number of samples"},
    {"val_size>0 eval_dataset", "val_size and eval_dataset are both given: choose one"},
    {"val_size>0 !dataset", "there is nothing to hold back a part of: give dataset"},
    {"do_eval !eval_dataset !val_size", "there is nothing to evaluate on: give val_size or eval_dataset"},
    {"do_predict !eval_dataset !val_size", "there is nothing to predict on: give val_size or eval_dataset"},
    {"predict_with_generate !eval_dataset !val_size", "there is nothing to predict on: give val_size or eval_dataset"},
    {"mask_history train_on_prompt", "mask_history and train_on_prompt exclude each other: choose one"},
    {"interleave_probs mix_strategy=concat", "these are for mix_strategy interleave_under or interleave_over: give one of them, or leave the numbers out"},
    {"streaming val_size>0 val_size<1", "a stream has no known length: give val_size as a number of samples"},
    {"streaming max_samples", "streaming and max_samples exclude each other: leave one out"},
    {"streaming max_steps<1", "a stream has no known length: give max_steps"},
    {"neat_packing stage!=sft", "only stage sft packs samples that must not see each other: leave it out"},
    {"predict_with_generate stage!=sft", "only stage sft has answers to generate: leave it out"},
    {"do_predict !predict_with_generate", "predictions are generated: give predict_with_generate=true too"},
    {"predict_with_generate compute_accuracy", "predict_with_generate and compute_accuracy exclude each other: choose one"},
    {"train_on_prompt stage!=sft", "only stage sft has prompts: leave it out"},
    {"mask_history stage!=sft", "only stage sft has a history: leave it out"},
    {"image_max_pixels<image_min_pixels", "it is below image_min_pixels"},
    {"video_max_pixels<video_min_pixels", "it is below video_min_pixels"},
    {"ref_model_quantization_bit ref_model_quantization_bit!=4 ref_model_quantization_bit!=8", "expected 4 or 8"},
    {"reward_model_quantization_bit reward_model_quantization_bit!=4 reward_model_quantization_bit!=8", "expected 4 or 8"},
    {"use_galore use_apollo", "use_galore, use_apollo and use_badam exclude each other: choose one"},
    {"use_galore use_badam", "use_galore, use_apollo and use_badam exclude each other: choose one"},
    {"use_apollo use_badam", "use_galore, use_apollo and use_badam exclude each other: choose one"},
    {"infer_backend!=huggingface", "this is for chat: leave it out when training"},
    {"quantization_device_map=auto", "this is for inference: leave it out when training"},
    {"fp8 quantization_bit", "fp8 and quantization_bit exclude each other: leave one out"},
    {"quantization_bit pissa_init", "principal components are taken from whole weights: leave one of the two out"},
    {"quantization_bit resize_vocab", "a quantised base cannot grow: leave one of the two out"},
    {"quantization_bit adapter_name_or_path create_new_adapter", "an adapter cannot become part of a quantised base: merge it with `graft export` first"},
    {"quantization_bit adapter_name_or_path~,", "adapters cannot become part of a quantised base: merge them with `graft export` first"},
};
/* clang-format on */

/* ---- terms ------------------------------------------------------------------------------------------------------------------- */

static int truthy(const graft_args *x, const char *key)
{
    const graft_json *v = graft_args_value(x, key);
    if (!v) return 0;
    if (v->type == GRAFT_JSON_BOOL) return v->integer != 0;
    if (v->type == GRAFT_JSON_NUMBER) return v->number != 0;
    return v->type != GRAFT_JSON_TEXT || v->bytes > 0;
}

/* Is the word the value, or one of a list's? A number is compared as it is spelled. */
static int has_word(const graft_args *x, const char *key, const char *word)
{
    const char *text = graft_args_text(x, key);
    const size_t n = strlen(word);
    for (const char *p = text; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (!strncmp(p, word, n) && (!p[n] || p[n] == ',')) return 1;
    return 0;
}

static int term_holds(const graft_args *x, const char *term)
{
    char key[80];
    const size_t n = strcspn(term, "!=<>~");
    const char *rest = term + n + 1;
    if (*term == '!') return !truthy(x, term + 1);
    if (!term[n]) return truthy(x, term);
    if (n >= sizeof key) return 0;
    memcpy(key, term, n);
    key[n] = 0;
    switch (term[n]) {
    case '!': return !has_word(x, key, term + n + 2);
    case '=': return has_word(x, key, rest);
    case '~': return graft_args_text(x, key) && strstr(graft_args_text(x, key), rest) != NULL;
    default: {
        const double limit = graft_arg_find(rest) ? graft_args_real(x, rest) : strtod(rest, NULL);
        return term[n] == '<' ? graft_args_real(x, key) < limit : graft_args_real(x, key) > limit;
    }
    }
}

static int broken(const graft_args *x, const rule *r, char key[80])
{
    char term[80];
    *key = 0;
    for (const char *t = r->terms; *t; t += strspn(t, " ")) {
        const size_t n = strcspn(t, " ");
        if (n >= sizeof term) return 0;
        memcpy(term, t, n);
        term[n] = 0;
        t += n;
        if (!term_holds(x, term)) return 0;
        if (!*key) memcpy(key, term, sizeof term), key[strcspn(key, "=!<>~")] = 0;
    }
    return 1;
}

static int64_t items(const char *list)
{
    int64_t n = list && *list;
    for (const char *p = list; p && *p; p++) n += *p == ',';
    return n;
}

/* ---- what the methods' entries say ------------------------------------------------------------------------------------------------- */

static int chosen(const graft_args *x, const graft_entry *method) { return has_word(x, "finetuning_type", method->name); }

/* Is the key among those that a chosen method has for itself? */
static int is_own(const graft_args *x, const graft_entry *const *methods, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++) {
        const graft_json *own = chosen(x, methods[i]) ? graft_json_get(methods[i]->json, "own") : NULL;
        for (const graft_json *k = own ? own->child : NULL; k; k = k->next)
            if (!strcmp(k->text, key)) return 1;
    }
    return 0;
}

static graft_status check_methods(const graft_args *x, const graft_registry *registry, graft_error *err)
{
    const graft_entry *const *methods = NULL;
    const size_t n = registry ? graft_registry_list(registry, GRAFT_KIND_METHOD, &methods) : 0;
    char key[80];
    for (size_t i = 0; i < n; i++) {
        const int mine = chosen(x, methods[i]);
        const graft_json *list = graft_json_get(methods[i]->json, mine ? "against" : "own");
        for (const graft_json *m = list ? list->child : NULL; m; m = m->next) {
            const rule against = {m->key, m->text};
            if (mine && broken(x, &against, key)) return graft_fail(err, GRAFT_BAD_INPUT, key, "%s", against.sentence);
            if (!mine && truthy(x, m->text) && !is_own(x, methods, n, m->text)) return graft_fail(err, GRAFT_BAD_INPUT, m->text, "only finetuning_type %s has it: leave it out", methods[i]->name);
        }
    }
    return GRAFT_OK;
}

/* ---- the check ----------------------------------------------------------------------------------------------------------------- */

graft_status graft_args_check(const graft_args *x, const graft_registry *registry, int without_data, graft_error *err)
{
    const char *stage = graft_args_text(x, "stage"), *model = graft_args_text(x, "model_name_or_path"), *probs = graft_args_text(x, "interleave_probs"), *eval = graft_args_text(x, "eval_dataset");
    char key[80];
    if (strcmp(stage, "sft") && strcmp(stage, "pt")) return graft_fail(err, GRAFT_UNSUPPORTED, "stage", "the stage '%s' is not supported: use sft, or pt for texts without questions", stage);
    if (!model || !*model) return graft_fail(err, GRAFT_BAD_INPUT, "model_name_or_path", "no model was named: give model_name_or_path=... or --model_name_or_path ...");
    if (!without_data && !graft_args_given(x, "dataset")) return graft_fail(err, GRAFT_BAD_INPUT, "dataset", "no data was named: give dataset=... or --dataset ...");
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (broken(x, &rules[i], key)) return graft_fail(err, GRAFT_BAD_INPUT, key, "%s", rules[i].sentence);
    if (probs && (items(probs) != items(graft_args_text(x, "dataset")) || (eval && items(probs) != items(eval))))
        return graft_fail(err, GRAFT_BAD_INPUT, "interleave_probs", "expected one number for each set, found %lld for %lld sets%s", (long long)items(probs), (long long)items(graft_args_text(x, "dataset")), eval ? " (and as many for eval_dataset)" : "");
    return check_methods(x, registry, err);
}

/* ---- environment ----------------------------------------------------------------------------------------------------------------- */

/* Variables that ask for more than one process or device, or for another program; all others that LLaMA-Factory and ms-swift read change nothing here. */
static const struct {
    const char *name, *note;
} variables[] = {
    {"NPROC_PER_NODE", "one process trains"},
    {"NNODES", "one machine trains"},
    {"FORCE_TORCHRUN", "one process trains"},
    {"USE_RAY", "one machine trains"},
    {"USE_MCA", "there is no Megatron backend"},
    {"USE_KT", "there is no KTransformers backend"},
    {"USE_V1", "the commands are those of version 0"},
};

void graft_env_say(void)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *v = getenv(variables[i].name);
        if (v && *v && strcmp(v, "0") && strcmp(v, "1") && strcmp(v, "false")) graft_log(GRAFT_LOG_INFO, "%s=%s changes nothing: %s", variables[i].name, v, variables[i].note);
    }
    if (visible && strchr(visible, ',')) graft_log(GRAFT_LOG_INFO, "CUDA_VISIBLE_DEVICES=%s: one device is used; name it with backend", visible);
}

/* LLaMA-Factory's names of levels. */
graft_log_level graft_env_verbosity(void)
{
    const char *v = getenv("LLAMAFACTORY_VERBOSITY");
    if (v && !strncmp(v, "WARN", 4)) return GRAFT_LOG_WARNING;
    if (v && (!strcmp(v, "ERROR") || !strcmp(v, "CRITICAL"))) return GRAFT_LOG_ERROR;
    return GRAFT_LOG_INFO;
}
