/* Attention and its gradient with products in bf16 against the same in f32: no further away than the rounding of what is multiplied explains,
 * the same bits for any number of threads. Where the processor has no bf16 products both run in f32 and must agree to the bit. */
#include "tests/backends/device.h"

typedef struct shape {
    int64_t lengths[3]; /* of the sequences; 0: fewer */
    int64_t heads, kv, h, window, extra;
    double softcap;
} shape;
static const shape shapes[] = {
    {{300, 0, 0}, 6, 2, 64, 0, 0, 0},
    {{61, 200, 13}, 4, 4, 80, 0, 0, 0},
    {{130, 129, 0}, 5, 1, 32, 0, 5, 0},
    {{257, 40, 0}, 2, 1, 128, 70, 0, 0},
    {{150, 33, 0}, 3, 3, 33, 0, 0, 5.0},
    {{7, 1, 100}, 2, 2, 16, 9, 3, 0},
};
enum { SHAPES = sizeof shapes / sizeof *shapes,
       OUTS = 6 };
static const char *const names[OUTS] = {"o", "dq", "dk", "dv", "dk of extra keys", "dv of extra keys"};

static int offers_bf16(const device *d)
{
    int32_t n;
    const graft_op_claim *claims = d->table->ops(d->dev, &n);
    for (int32_t i = 0; i < n; i++)
        if (claims[i].op == graft_op_id("attention/1")) return (claims[i].compute & 2u) != 0;
    return 0;
}

/* Runs forward and gradient; out[i] of g: where o, dq, dk, dv, dk_extra, dv_extra lie, -1: absent. */
static int both(const shape *s, uint32_t compute, int threads, image *g, int32_t out[OUTS])
{
    device d;
    ck_assert_int_eq(device_open(&d, "cpu", NULL, threads), GRAFT_OK);
    const int here = offers_bf16(&d);
    int64_t tokens = 0, sequences = 0;
    while (sequences < 3 && s->lengths[sequences]) tokens += s->lengths[sequences++];
    *g = (image){.n = 0};
    const int32_t q = matrix(g, tokens, s->heads * s->h), k = matrix(g, tokens, s->kv * s->h), v = matrix(g, tokens, s->kv * s->h), seq = image_add(g, GRAFT_I32, 2, sequences, 4, 0, 0);
    const int32_t dy = matrix(g, tokens, s->heads * s->h), o = matrix(g, tokens, s->heads * s->h), lse = matrix(g, tokens, s->heads);
    const int32_t dq = matrix(g, tokens, s->heads * s->h), dk = matrix(g, tokens, s->kv * s->h), dv = matrix(g, tokens, s->kv * s->h);
    const int32_t ke = s->extra ? matrix(g, s->extra, s->kv * s->h) : -1, ve = s->extra ? matrix(g, s->extra, s->kv * s->h) : -1;
    const int32_t dke = s->extra ? matrix(g, s->extra, s->kv * s->h) : -1, dve = s->extra ? matrix(g, s->extra, s->kv * s->h) : -1;
    const int32_t inputs[] = {q, k, v, dy, ke, ve};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (inputs[i] >= 0) fill_noise(g, inputs[i], 1.0f);
    for (int64_t i = 0, at = 0; i < sequences; at += s->lengths[i++]) ints(g, seq)[4 * i] = ints(g, seq)[4 * i + 2] = (int32_t)at, ints(g, seq)[4 * i + 1] = (int32_t)s->lengths[i];
    const int32_t in[] = {q, k, v, seq, ke, ve, o, lse, dy}, made[] = {o, lse}, grads[] = {dq, dk, dv, dke, dve};
    const graft_attr at[] = {GRAFT_INTA("heads", s->heads), GRAFT_INTA("kv_heads", s->kv), GRAFT_INTA("window", s->window), GRAFT_REALA("scale", 1.0 / sqrt((double)s->h)), GRAFT_REALA("softcap", s->softcap)};
    const graft_instr instrs[] = {{graft_op_id("attention/1"), "attention/1", s->extra ? 6 : 4, 2, 5, in, made, at}, {graft_op_id("attention_grad/1"), "attention_grad/1", 9, 5, 5, in, grads, at}};
    ck_assert_int_eq(run_program_as(&d, g, 2, instrs, compute), GRAFT_OK);
    out[0] = o, out[1] = dq, out[2] = dk, out[3] = dv, out[4] = dke, out[5] = dve;
    d.table->close(d.dev);
    return here;
}

static double distance(const float *got, const float *want, int64_t n)
{
    double wrong = 0.0, right = 0.0;
    for (int64_t i = 0; i < n; i++) wrong += pow((double)got[i] - (double)want[i], 2), right += pow((double)want[i], 2);
    return sqrt(wrong / (right > 0.0 ? right : 1.0));
}

START_TEST(close_to_f32)
{
    double worst[OUTS] = {0};
    int here = 0;
    for (size_t i = 0; i < SHAPES; i++) {
        image exact, first;
        int32_t at[OUTS];
        both(&shapes[i], 1, 2, &exact, at);
        for (int threads = 1; threads <= 3; threads++) {
            image g;
            here = both(&shapes[i], 2, threads, &g, at);
            if (threads == 1) first = g;
            for (int o = 0; o < OUTS; o++) {
                if (at[o] < 0) continue;
                ck_assert_msg(!memcmp(floats(&g, at[o]), floats(&first, at[o]), (size_t)count(&g, at[o]) * sizeof(float)), "shape %zu, %s: not the same bits with %d threads", i, names[o], threads);
                const double off = distance(floats(&g, at[o]), floats(&exact, at[o]), count(&g, at[o]));
                if (off > worst[o]) worst[o] = off;
                ck_assert_msg(off <= (here ? 8e-3 : 0.0), "shape %zu, %s: relative error %.2e", i, names[o], off);
            }
            if (threads > 1) free(g.data);
        }
        free(first.data);
        free(exact.data);
    }
    for (int o = 0; o < OUTS && here; o++) printf("%-18s relative error of bf16 %.1e\n", names[o], worst[o]);
    if (!here) printf("skipped: this processor does not multiply in bf16; attention ran in f32\n");
}
END_TEST

static void cases(TCase *tc) { tcase_add_test(tc, close_to_f32); }

int main(void) { return graft_test_main("attention_bf16", cases); }
