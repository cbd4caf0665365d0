/* A model of Qwen2-7B's shape with random weights in 4 bits, written straight to disk: for measuring what such a model takes (bench/seven_billion).
 *
 *     build/bench/big_model FILE.gguf [LAYERS]
 *
 * Linear layers are Q4_0, the embedding and the head Q8_0, norms and biases f32; 4.8 GB with 28 layers. Its tokenizer knows single bytes. */
#include "core/base/error.h"
#include "core/base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 3584,
       MLP = 18944,
       HEADS = 28,
       KV = 4,
       HEAD = 128,
       VOCAB = 152064,
       F32 = 0,
       Q4_0 = 2,
       Q8_0 = 8,
       UINT32 = 4,
       FLOAT32 = 6,
       TEXT = 8,
       LIST = 9,
       ALIGN = 32 };

typedef struct tensor {
    char name[64];
    int type;
    uint64_t rows, columns; /* rows 0: a vector */
} tensor;

static graft_file *file;
static graft_error err = GRAFT_ERROR_INIT;
static uint64_t at, state = 88172645463325252u;

static void put(const void *data, size_t bytes)
{
    if (graft_file_write(file, data, bytes, &err)) {
        fprintf(stderr, "%s: %s\n", err.where, err.message);
        exit(1);
    }
    at += bytes;
}

static void u32(uint32_t v) { put(&v, sizeof v); }
static void u64(uint64_t v) { put(&v, sizeof v); }
static void text(const char *s)
{
    u64(strlen(s));
    put(s, strlen(s));
}
static void key(const char *name, uint32_t type) { text(name), u32(type); }
static void number(const char *name, uint32_t v) { key(name, UINT32), u32(v); }
static void real(const char *name, float v) { key(name, FLOAT32), put(&v, sizeof v); }

static uint64_t next(void) /* xorshift64, Marsaglia 2003 */
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

static uint64_t bytes_of(const tensor *t)
{
    const uint64_t n = (t->rows ? t->rows : 1) * t->columns;
    return t->type == F32 ? 4 * n : n / 32 * (t->type == Q4_0 ? 18 : 34);
}

static int list(tensor *t, int layers)
{
    static const struct {
        const char *name;
        int type;
        uint64_t rows, columns;
    } block[] = {{"attn_norm.weight", F32, 0, HIDDEN}, {"attn_q.weight", Q4_0, HEADS * HEAD, HIDDEN}, {"attn_k.weight", Q4_0, KV * HEAD, HIDDEN}, {"attn_v.weight", Q4_0, KV * HEAD, HIDDEN}, {"attn_q.bias", F32, 0, HEADS * HEAD}, {"attn_k.bias", F32, 0, KV * HEAD}, {"attn_v.bias", F32, 0, KV * HEAD}, {"attn_output.weight", Q4_0, HIDDEN, HEADS * HEAD}, {"ffn_norm.weight", F32, 0, HIDDEN}, {"ffn_gate.weight", Q4_0, MLP, HIDDEN}, {"ffn_up.weight", Q4_0, MLP, HIDDEN}, {"ffn_down.weight", Q4_0, HIDDEN, MLP}};
    int n = 0;
    t[n++] = (tensor){"token_embd.weight", Q8_0, VOCAB, HIDDEN};
    for (int i = 0; i < layers; i++)
        for (size_t k = 0; k < sizeof block / sizeof *block; k++) {
            t[n] = (tensor){.type = block[k].type, .rows = block[k].rows, .columns = block[k].columns};
            snprintf(t[n++].name, sizeof t->name, "blk.%d.%s", i, block[k].name);
        }
    t[n++] = (tensor){"output_norm.weight", F32, 0, HIDDEN};
    t[n++] = (tensor){"output.weight", Q8_0, VOCAB, HIDDEN};
    return n;
}

/* One token a byte, in the spelling of byte-level BPE; two turns' marks; one merge. */
static void tokenizer(void)
{
    int other = 0;
    key("tokenizer.ggml.tokens", LIST), u32(TEXT), u64(VOCAB);
    for (int i = 0; i < VOCAB; i++) {
        char word[32];
        const int plain = (i >= '!' && i <= '~') || (i >= 0xa1 && i <= 0xac) || (i >= 0xae && i <= 0xff);
        const int c = i > 255 ? 0 : plain ? i
                                          : 256 + other++;
        if (i == 256) snprintf(word, sizeof word, "th");
        else if (i > 256) snprintf(word, sizeof word, i == 257 ? "<|im_start|>" : i == 258 ? "<|im_end|>"
                                                                              : i == 259   ? "<|endoftext|>"
                                                                                           : "[PAD%d]",
                                   i);
        else if (c < 128) snprintf(word, sizeof word, "%c", c);
        else snprintf(word, sizeof word, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 63));
        text(word);
    }
    key("tokenizer.ggml.token_type", LIST), u32(5), u64(VOCAB); /* i32: 1 normal, 3 control, 5 unused */
    for (int i = 0; i < VOCAB; i++) u32(i < 257 ? 1 : i < 260 ? 3
                                                              : 5);
    key("tokenizer.ggml.merges", LIST), u32(TEXT), u64(1), text("t h");
}

static void header(const tensor *t, int n, int layers)
{
    put("GGUF", 4), u32(3), u64((uint64_t)n), u64(17);
    key("general.architecture", TEXT), text("qwen2");
    number("general.alignment", ALIGN), number("qwen2.block_count", (uint32_t)layers), number("qwen2.context_length", 32768), number("qwen2.embedding_length", HIDDEN);
    number("qwen2.feed_forward_length", MLP), number("qwen2.attention.head_count", HEADS), number("qwen2.attention.head_count_kv", KV);
    real("qwen2.rope.freq_base", 1e6f), real("qwen2.attention.layer_norm_rms_epsilon", 1e-6f);
    key("tokenizer.ggml.model", TEXT), text("gpt2");
    key("tokenizer.ggml.pre", TEXT), text("qwen2");
    tokenizer();
    number("tokenizer.ggml.eos_token_id", 258), number("tokenizer.ggml.padding_token_id", 259);
    uint64_t offset = 0;
    for (int i = 0; i < n; i++) {
        text(t[i].name), u32(t[i].rows ? 2 : 1), u64(t[i].columns);
        if (t[i].rows) u64(t[i].rows);
        u32((uint32_t)t[i].type), u64(offset);
        offset += (bytes_of(&t[i]) + ALIGN - 1) / ALIGN * ALIGN;
    }
}

/* Scales such that weights have a deviation of about 0.02. */
static void weights(const tensor *t)
{
    static union {
        uint64_t words[34 * 1024 / 8 * 9];
        uint8_t bytes[34 * 1024 * 9]; /* whole blocks of both types */
        float numbers[34 * 1024 * 9 / 4];
    } piece;
    const size_t block = t->type == Q4_0 ? 18 : 34;
    const uint16_t scale = t->type == Q4_0 ? 0x1c66 : 0x0923;
    for (uint64_t left = bytes_of(t); left;) {
        const size_t some = left < sizeof piece ? (size_t)left : sizeof piece;
        if (t->type == F32) {
            for (size_t i = 0; i < some / 4; i++) piece.numbers[i] = strstr(t->name, "norm") ? 1.0f : 0.0f;
        } else {
            for (size_t i = 0; i < sizeof piece.words / 8; i++) piece.words[i] = next();
            for (size_t i = 0; i < some; i += block) memcpy(piece.bytes + i, &scale, 2);
        }
        put(&piece, some);
        left -= some;
    }
    static const uint8_t zeros[ALIGN];
    put(zeros, (ALIGN - bytes_of(t) % ALIGN) % ALIGN);
}

int main(int argc, char **argv)
{
    const int layers = argc > 2 ? atoi(argv[2]) : 28;
    if (argc < 2 || layers < 1 || layers > 256) {
        fprintf(stderr, "usage: big_model FILE.gguf [LAYERS]\n");
        return 1;
    }
    tensor *t = calloc((size_t)layers * 12 + 3, sizeof *t);
    if (!t || graft_file_create(&file, argv[1], &err)) {
        fprintf(stderr, "%s\n", t ? err.message : "no memory");
        return 1;
    }
    const int n = list(t, layers);
    header(t, n, layers);
    static const uint8_t zeros[ALIGN];
    put(zeros, (ALIGN - at % ALIGN) % ALIGN);
    for (int i = 0; i < n; i++) weights(&t[i]);
    free(t);
    if (graft_file_finish(file, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}
