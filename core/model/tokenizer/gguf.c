/* core/model/tokenizer/gguf.c - a tokenizer from GGUF metadata.
 *
 *   tokenizer.ggml.model       "gpt2": byte-level BPE with merges; "llama": sentencepiece BPE, merges follow from the scores
 *   tokenizer.ggml.pre         names the pre-tokenizer of gpt2 models
 *   tokenizer.ggml.tokens      text by id; token_type: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte; scores; merges "a b"
 *   tokenizer.ggml.{bos,eos,padding,unknown}_token_id; tokenizer.chat_template
 *
 * The pipeline is kept as the JSON text that a tokenizer.json would have, so reading it and saving it are the ways of json.c and save.c. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"
#include "core/base/json.h"

#include <string.h>

static const struct {
    const char *name, *pipeline;
    int ignore_merges;
} pres[] = {
    {"default", graft_pipeline_gpt2, 0}, {"gpt-2", graft_pipeline_gpt2, 0}, {"phi-2", graft_pipeline_gpt2, 0}, {"mpt", graft_pipeline_gpt2, 0}, {"olmo", graft_pipeline_gpt2, 0}, {"smollm", graft_pipeline_digits, 0}, {"starcoder", graft_pipeline_digits, 0}, {"refact", graft_pipeline_digits, 0}, {"command-r", graft_pipeline_digits, 0}, {"codeshell", graft_pipeline_digits, 0}, {"exaone", graft_pipeline_digits, 0}, {"llama-bpe", graft_pipeline_llama3, 1}, {"llama3", graft_pipeline_llama3, 1}, {"llama-v3", graft_pipeline_llama3, 1}, {"falcon3", graft_pipeline_llama3, 1}, {"smaug-bpe", graft_pipeline_llama3, 0}, {"dbrx", graft_pipeline_llama3, 0}, {"glm4", graft_pipeline_llama3, 0}, {"chatglm-bpe", graft_pipeline_llama3, 0}, {"qwen2", graft_pipeline_qwen2, 0}, {"deepseek-r1-qwen", graft_pipeline_qwen2, 0}, {"stablelm2", graft_pipeline_qwen2, 0}};

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for the tokenizer"); }

static const graft_json *list_of(const graft_json *metadata, const char *key)
{
    const graft_json *v = graft_json_get(metadata, key);
    return v && v->type == GRAFT_JSON_ARRAY ? v : NULL;
}

static int32_t id_of(const graft_tokenizer *t, const graft_json *metadata, const char *key)
{
    const graft_json *v = graft_json_get(metadata, key);
    return v && v->integral && v->integer >= 0 && (size_t)v->integer < t->vocab.size && t->vocab.text[v->integer].s ? (int32_t)v->integer : -1;
}

static graft_status tokens_of(graft_tokenizer *t, const graft_json *tokens, graft_error *err)
{
    int64_t id = 0;
    for (const graft_json *v = tokens->child; v; v = v->next, id++) {
        if (v->type != GRAFT_JSON_TEXT) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "tokenizer.ggml.tokens: token %lld is no text", (long long)id);
        if (graft_vocab_find(&t->vocab, v->text, v->bytes) >= 0) continue; /* some files pad their vocabulary with a text they have already */
        const char *text = graft_arena_copy(t->arena, v->text, v->bytes);
        if (!text) return no_memory(err);
        if (graft_vocab_put(&t->vocab, id, text, v->bytes, err)) return err->code;
    }
    t->model_size = t->vocab.size;
    return GRAFT_OK;
}

static graft_status merges_of(graft_tokenizer *t, const graft_json *merges, graft_error *err)
{
    uint32_t rank = 0;
    graft_str both;
    graft_str_init(&both, 1 << 20);
    graft_status status = GRAFT_OK;
    for (const graft_json *m = merges ? merges->child : NULL; m && !status; m = m->next, rank++) {
        const char *blank = m->type == GRAFT_JSON_TEXT && m->bytes > 1 ? memchr(m->text + 1, ' ', m->bytes - 1) : NULL;
        if (!blank) {
            status = graft_fail(err, GRAFT_BAD_INPUT, NULL, "tokenizer.ggml.merges: merge %u must be two texts with a blank between them", rank + 1);
            break;
        }
        const size_t a = (size_t)(blank - m->text), b = m->bytes - a - 1;
        graft_str_clear(&both);
        graft_str_add(&both, m->text, a);
        graft_str_add(&both, blank + 1, b);
        const int32_t left = graft_vocab_find(&t->vocab, m->text, a), right = graft_vocab_find(&t->vocab, blank + 1, b), id = graft_vocab_find(&t->vocab, both.data, both.bytes);
        if (left < 0 || right < 0 || id < 0) status = graft_fail(err, GRAFT_BAD_INPUT, NULL, "tokenizer.ggml.merges: merge %u, \"%.80s\", names or makes a token that is not in the vocabulary", rank + 1, m->text);
        else status = graft_bpe_merge_add(t, left, right, rank, id, err);
    }
    graft_str_free(&both);
    return status;
}

/* Every way to put a token together from two others is a merge; tokens of higher score come first. */
static graft_status merges_from_scores(graft_tokenizer *t, const graft_json *scores, graft_error *err)
{
    if (!scores) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "tokenizer.ggml.scores is missing; a tokenizer of model \"llama\" needs it");
    double *score = graft_calloc((size_t)scores->count + 1, sizeof *score);
    if (!score) return no_memory(err);
    size_t n = 0;
    for (const graft_json *v = scores->child; v; v = v->next) score[n++] = v->number;
    const graft_status status = graft_bpe_merges_from_scores(t, score, n, err);
    graft_free(score);
    return status;
}

static graft_status pre_of(graft_tokenizer *t, const graft_json *metadata, graft_error *err)
{
    const graft_json *pre = graft_json_get(metadata, "tokenizer.ggml.pre");
    const char *name = pre && pre->type == GRAFT_JSON_TEXT ? pre->text : "default";
    const char *names[sizeof pres / sizeof *pres];
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
        names[i] = pres[i].name;
        if (!strcmp(name, names[i])) return t->pipeline = pres[i].pipeline, t->bpe.ignore_merges = pres[i].ignore_merges, GRAFT_OK;
    }
    const char *near = graft_nearest(name, names, sizeof names / sizeof *names);
    return graft_fail(err, GRAFT_UNSUPPORTED, NULL, "tokenizer.ggml.pre \"%.60s\" is none that this version knows%s%s; put the model's tokenizer.json beside the file", name, near ? ", the nearest is " : "", near ? near : "");
}

/* Control tokens are special, user-defined ones are cut out of the text as well. */
static graft_status types_of(graft_tokenizer *t, const graft_json *types, graft_error *err)
{
    size_t id = 0;
    for (const graft_json *v = types ? types->child : NULL; v && id < t->model_size; v = v->next, id++) {
        if (!t->vocab.text[id].s || !v->integral || (v->integer != 3 && v->integer != 4 && v->integer != 2)) continue;
        const graft_added a = {.content = t->vocab.text[id], .id = (int32_t)id, .special = v->integer != 4};
        if (graft_added_put(t, a, err)) return err->code;
    }
    return GRAFT_OK;
}

static graft_status load(graft_tokenizer *t, const graft_json *metadata, graft_error *err)
{
    const graft_json *model = graft_json_get(metadata, "tokenizer.ggml.model"), *tokens = list_of(metadata, "tokenizer.ggml.tokens"), *bare = graft_json_get(metadata, "tokenizer.ggml.add_space_prefix");
    if (!model || model->type != GRAFT_JSON_TEXT || !tokens) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the GGUF file has no tokenizer (tokenizer.ggml.model and tokens); put the model's tokenizer.json beside it");
    const int sp = !strcmp(model->text, "llama");
    if (!sp && strcmp(model->text, "gpt2")) return graft_fail(err, GRAFT_UNSUPPORTED, NULL, "tokenizer.ggml.model \"%.60s\" is none that this version knows; put the model's tokenizer.json beside the file", model->text);
    if (sp) t->pipeline = bare && bare->type == GRAFT_JSON_BOOL && !bare->integer ? graft_pipeline_sentencepiece_bare : graft_pipeline_sentencepiece;
    else if (pre_of(t, metadata, err)) return err->code;
    t->bpe.bytes = !sp, t->bpe.byte_fallback = t->bpe.fuse_unk = sp;
    if (graft_tokenizer_pipeline_load(t, t->pipeline, err) || tokens_of(t, tokens, err)) return err->code;
    t->bos = id_of(t, metadata, "tokenizer.ggml.bos_token_id"), t->eos = id_of(t, metadata, "tokenizer.ggml.eos_token_id");
    t->pad = id_of(t, metadata, "tokenizer.ggml.padding_token_id"), t->unk = id_of(t, metadata, "tokenizer.ggml.unknown_token_id");
    t->bpe.unk = sp ? t->unk : -1;
    if (sp ? merges_from_scores(t, list_of(metadata, "tokenizer.ggml.scores"), err) : merges_of(t, list_of(metadata, "tokenizer.ggml.merges"), err)) return err->code;
    if (graft_bpe_finish(t, err) || types_of(t, list_of(metadata, "tokenizer.ggml.token_type"), err)) return err->code;
    const graft_json *chat = graft_json_get(metadata, "tokenizer.chat_template");
    if (chat && chat->type == GRAFT_JSON_TEXT) t->chat_template = (graft_span){graft_arena_copy(t->arena, chat->text, chat->bytes), chat->bytes};
    graft_tokenizer_plan(t);
    return graft_decode_prepare(t, 0, err);
}

graft_status graft_tokenizer_from_gguf(const graft_json *metadata, graft_tokenizer **out, graft_error *err)
{
    *out = NULL;
    graft_tokenizer *t = graft_tokenizer_new(err);
    if (!t) return err->code;
    const graft_status status = load(t, metadata, err);
    if (status) return graft_tokenizer_close(t), status;
    t->file_eos = t->eos, t->file_pad = t->pad;
    *out = t;
    return GRAFT_OK;
}
