/* Processing of logits against transformers, and picking: greedy, reproducible, in proportion. */
#include "core/model/sample.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/model/weights.h"
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static graft_error err = GRAFT_ERROR_INIT;

static double option(const graft_json *c, const char *key, double off)
{
    const graft_json *v = graft_json_get(c, key);
    return v ? v->number : off;
}

static graft_sampling sampling_of(const graft_json *c)
{
    return (graft_sampling){.temperature = option(c, "temperature", 1), .top_p = option(c, "top_p", 1), .top_k = (int64_t)option(c, "top_k", 0), .repetition_penalty = option(c, "repetition_penalty", 1), .no_repeat_ngram_size = (int64_t)option(c, "no_repeat_ngram_size", 0), .presence_penalty = option(c, "presence_penalty", 0), .frequency_penalty = option(c, "frequency_penalty", 0), .min_p = option(c, "min_p", 0), .typical_p = option(c, "typical_p", 0)};
}

static const graft_weight_info *tensor(const graft_weights *w, const char *name)
{
    const graft_weight_info *t = graft_weights_find(w, name);
    ck_assert_msg(t != NULL, "%s is missing", name);
    return t;
}

static void check_row(int index, int64_t row, const float *got, const float *expect, int64_t vocab)
{
    for (int64_t t = 0; t < vocab; t++) {
        const int gone = isinf(got[t]) && got[t] < 0, should = isinf(expect[t]) && expect[t] < 0;
        ck_assert_msg(gone == should, "case %d row %d token %d: %g, expected %g", index, (int)row, (int)t, (double)got[t], (double)expect[t]);
        if (!gone) ck_assert_msg(fabsf(got[t] - expect[t]) <= 1e-5f * fmaxf(1.0f, fabsf(expect[t])), "case %d row %d token %d: %g, expected %g", index, (int)row, (int)t, (double)got[t], (double)expect[t]);
    }
}

START_TEST(processed_as_transformers_does)
{
    graft_arena *a = graft_arena_new();
    const graft_json *root;
    graft_weights *w;
    ck_assert_ok(graft_json_parse_file(a, graft_test_fixture("sampling/cases.json"), 1 << 20, 0, &root, &err));
    ck_assert_ok(graft_weights_open(graft_test_fixture("sampling/expect.safetensors"), &w, &err));
    const graft_weight_info *logits = tensor(w, "logits"), *history = tensor(w, "history");
    const int64_t rows = logits->dims[0], vocab = logits->dims[1], n = history->dims[1];
    float *z = graft_calloc((size_t)vocab, sizeof *z);
    int32_t *scratch = graft_calloc((size_t)vocab, sizeof *scratch);
    int index = 0;
    for (const graft_json *c = graft_json_get(root, "cases")->child; c; c = c->next, index++) {
        char name[32];
        snprintf(name, sizeof name, "out.%d", index);
        const graft_weight_info *out = tensor(w, name);
        const graft_sampling s = sampling_of(c);
        for (int64_t r = 0; r < rows; r++) {
            memcpy(z, (const float *)(const void *)logits->data + r * vocab, (size_t)vocab * sizeof *z);
            graft_sample_process(&s, z, vocab, (const int32_t *)(const void *)history->data + r * n, n, scratch);
            check_row(index, r, z, (const float *)(const void *)out->data + r * vocab, vocab);
        }
    }
    ck_assert_int_ge(index, 20);
    graft_free(z);
    graft_free(scratch);
    graft_weights_close(w);
    graft_arena_free(a);
}
END_TEST

START_TEST(greedy_takes_the_first_of_equals)
{
    const float z[] = {1, 3, 2, 3, -INFINITY};
    const graft_sampling greedy = {.temperature = 0, .top_p = 1, .repetition_penalty = 1};
    for (uint64_t draw = 0; draw < 8; draw++) ck_assert_int_eq(graft_sample_pick(&greedy, z, 5, draw), 1);
}
END_TEST

START_TEST(draws_follow_the_probabilities)
{
    const float z[] = {logf(0.5f), logf(0.2f), -INFINITY, logf(0.3f)};
    const graft_sampling s = {.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 7};
    int count[4] = {0};
    for (uint64_t draw = 0; draw < 20000; draw++) {
        const int32_t id = graft_sample_pick(&s, z, 4, draw);
        ck_assert_int_eq(id, graft_sample_pick(&s, z, 4, draw));
        count[id]++;
    }
    ck_assert_int_eq(count[2], 0);
    ck_assert_double_eq_tol(count[0], 10000, 300); /* four standard deviations */
    ck_assert_double_eq_tol(count[1], 4000, 230);
    ck_assert_double_eq_tol(count[3], 6000, 260);
}
END_TEST

START_TEST(strange_histories_do_no_harm)
{
    float z[] = {1, 2, 3};
    int32_t scratch[3];
    const int32_t history[] = {-5, 3, 1 << 30, 2};
    const graft_sampling s = {.temperature = 0.5, .top_p = 0.9, .top_k = 99, .repetition_penalty = 2, .no_repeat_ngram_size = 2, .presence_penalty = 1, .frequency_penalty = 1, .min_p = 0.1, .typical_p = 0.5};
    graft_sample_process(&s, z, 3, history, 4, scratch);
    ck_assert_int_ge(graft_sample_pick(&s, z, 3, 0), 0);
    float none[] = {-INFINITY, -INFINITY};
    graft_sample_process(&s, none, 2, history, 0, scratch);
    ck_assert_int_eq(graft_sample_pick(&s, none, 2, 0), 0);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, processed_as_transformers_does);
    tcase_add_test(tc, greedy_takes_the_first_of_equals);
    tcase_add_test(tc, draws_follow_the_probabilities);
    tcase_add_test(tc, strange_histories_do_no_harm);
}

int main(void) { return graft_test_main("sample", cases); }
