/* core/model/tokenizer/pipelines.c - the pipelines of vocabularies that come without a tokenizer.json, as the text that one would hold:
 * what the common pre-tokenizers of GGUF's names, of tiktoken files and of vocab.json are. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"
#include "core/base/json.h"

#include <stdio.h>
#include <string.h>

#define BYTES_DECODER "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}"
#define BYTES_ONLY    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}"
#define GPT2          "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
#define REGEX(normalizer_, digits_)                                                                                                                                         \
    "{\"normalizer\":" normalizer_ ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)" \
    "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}" digits_ "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},"                  \
    "\"behavior\":\"Isolated\",\"invert\":false}," BYTES_ONLY "]}," BYTES_DECODER "}"

const char graft_pipeline_gpt2[] = "{\"normalizer\":null,\"pre_tokenizer\":" GPT2 "," BYTES_DECODER "}";
const char graft_pipeline_digits[] = "{\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true}," GPT2 "]}," BYTES_DECODER "}";
const char graft_pipeline_llama3[] = REGEX("null", "{1,3}");
const char graft_pipeline_qwen2[] = REGEX("{\"type\":\"NFC\"}", "");
const char graft_pipeline_sentencepiece[] = "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
                                            "\"content\":\"\xE2\x96\x81\"}]},\"pre_tokenizer\":null,\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xE2\x96\x81\"},"
                                            "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}}";
const char graft_pipeline_sentencepiece_bare[] = "{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"},\"pre_tokenizer\":null,\"decoder\":{\"type\":\"Sequence\","
                                                 "\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xE2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]}}";

/* ---- classes: what a tokenizer's own code has and no file of its folder ------------------------------------------------------------ */

static const graft_class classes[] = {
    {"QWenTokenizer", graft_pipeline_qwen2, {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}, 205},
    {"Qwen2Tokenizer", graft_pipeline_qwen2, {0}, 0},
    {"Qwen2TokenizerFast", graft_pipeline_qwen2, {0}, 0},
    {"ChatGLM4Tokenizer", graft_pipeline_llama3, {0}, 0},
    {"TikTokenTokenizer", graft_pipeline_llama3, {0}, 0},
    {"PreTrainedTokenizerFast", graft_pipeline_llama3, {0}, 0},
    {"GPT2Tokenizer", graft_pipeline_gpt2, {0}, 0},
    {"GPT2TokenizerFast", graft_pipeline_gpt2, {0}, 0},
    {"GPTNeoXTokenizer", graft_pipeline_gpt2, {0}, 0},
    {"GPTNeoXTokenizerFast", graft_pipeline_gpt2, {0}, 0},
    {"ChatGLMTokenizer", NULL, {"[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"}, 0}};
enum { CLASSES = sizeof classes / sizeof *classes };

graft_status graft_class_of(const char *path, const graft_json *config, const char *fallback, const graft_class **out, graft_error *err)
{
    const graft_json *v = graft_json_get(config, "tokenizer_class");
    const char *name = v && v->type == GRAFT_JSON_TEXT ? v->text : fallback;
    const char *names[CLASSES];
    *out = NULL;
    for (size_t i = 0; name && i < CLASSES; i++)
        if (!strcmp(names[i] = classes[i].name, name)) *out = &classes[i];
    if (!fallback || (*out && (*out)->pipeline)) return GRAFT_OK;
    const char *near = graft_nearest(name, names, CLASSES);
    return graft_fail(err, GRAFT_UNSUPPORTED, path, "the tokenizer_class \"%.80s\" cuts text by rules that are not in this file%s%s; put the model's tokenizer.json beside it", name, near ? "; the nearest known one is " : "", near ? near : "");
}

graft_status graft_class_specials(graft_tokenizer *t, const graft_class *c, graft_error *err)
{
    for (int i = 0; c && i < GRAFT_CLASS_SPECIALS && c->special[i]; i++) {
        const graft_added a = {.content = {c->special[i], strlen(c->special[i])}, .id = -1, .special = 1};
        if (graft_added_put(t, a, err)) return err->code;
    }
    for (int i = 0; c && i < c->extras; i++) {
        char text[32];
        const int n = snprintf(text, sizeof text, "<|extra_%d|>", i);
        const graft_added a = {.content = {text, (size_t)n}, .id = -1, .special = 1};
        if (graft_added_put(t, a, err)) return err->code;
    }
    return GRAFT_OK;
}
