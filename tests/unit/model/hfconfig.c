/* One spelling for transformers 4, 5 and GGUF; rotary frequencies against transformers' own. */
#include "core/model/hfconfig.h"
#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static graft_error err = GRAFT_ERROR_INIT;

static const graft_json *normal(graft_arena *a, const char *text)
{
    const graft_json *o, *out;
    ck_assert_ok(graft_json_parse(a, "config.json", text, strlen(text), GRAFT_JSON_ALLOW_NAN, &o, &err));
    ck_assert_ok(graft_hfconfig_normalise(a, "config.json", o, &out, &err));
    return out;
}

static const graft_json *normal_file(graft_arena *a, const char *fixture)
{
    char *text;
    size_t bytes;
    ck_assert_ok(graft_file_read(graft_test_fixture(fixture), 1 << 20, &text, &bytes, &err));
    const graft_json *out = normal(a, text);
    graft_free(text);
    return out;
}

/* Members without what only version 5 writes. */
static void check_same(const graft_json *a, const graft_json *b)
{
    for (const graft_json *m = a->child; m; m = m->next) {
        if (!strcmp(m->key, "transformers_version") || !strcmp(m->key, "rope_parameters") || !strcmp(m->key, "layer_types") || m->type == GRAFT_JSON_NULL) continue;
        const graft_json *o = graft_json_get(b, m->key);
        graft_str x, y;
        graft_str_init(&x, 0);
        graft_str_init(&y, 0);
        graft_json_write(&x, m, 0, 1);
        if (o) graft_json_write(&y, o, 0, 1);
        ck_assert_msg(o && !strcmp(x.data, y.data), "%s is %s and %s", m->key, x.data, y.data);
        graft_str_free(&x);
        graft_str_free(&y);
    }
}

START_TEST(both_versions_mean_the_same)
{
    static const char *const models[] = {"llama_tied", "llama_untied_llama3rope_bias", "qwen2_tied", "qwen2_untied_sliding"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char five[256], four[256];
        graft_arena *a = graft_arena_new();
        snprintf(five, sizeof five, "arch/%s/config.json", models[i]);
        snprintf(four, sizeof four, "arch/%s/config.v4.json", models[i]);
        const graft_json *x = normal_file(a, five), *y = normal_file(a, four);
        check_same(x, y);
        check_same(y, x);
        ck_assert(graft_json_is(graft_json_get(x, "torch_dtype"), "float32"));
        ck_assert_ptr_null(graft_json_get(x, "dtype"));
        graft_arena_free(a);
    }
}
END_TEST

START_TEST(spellings)
{
    graft_arena *a = graft_arena_new();
    const graft_json *o = normal(a, "{\"hidden_size\": 96, \"num_attention_heads\": 4, \"head_dim\": null, \"rope_theta\": 5, \"rope_scaling\": {\"type\": \"su\", \"factor\": 2}, \"original_max_position_embeddings\": 9}");
    ck_assert_int_eq(graft_json_get(o, "head_dim")->integer, 24);
    ck_assert_int_eq(graft_json_get(o, "num_key_value_heads")->integer, 4);
    ck_assert_int_eq(graft_json_get(o, "rope_theta")->integer, 5);
    const graft_json *s = graft_json_get(o, "rope_scaling");
    ck_assert(graft_json_is(graft_json_get(s, "rope_type"), "longrope"));
    ck_assert_int_eq(graft_json_get(s, "original_max_position_embeddings")->integer, 9);
    o = normal(a, "{\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 7, \"rope_type\": \"linear\", \"factor\": 8}, \"sliding_attention\": {\"rope_theta\": 1, \"rope_type\": \"default\"}}, \"dtype\": \"bfloat16\"}");
    ck_assert_int_eq(graft_json_get(o, "rope_theta")->integer, 7);
    ck_assert(graft_json_is(graft_json_get(graft_json_get(o, "rope_scaling"), "rope_type"), "linear"));
    ck_assert(graft_json_is(graft_json_get(o, "torch_dtype"), "bfloat16"));
    o = normal(a, "{\"rope_parameters\": {\"rope_theta\": 7, \"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}}");
    ck_assert_ptr_null(graft_json_get(o, "rope_scaling"));
    ck_assert_double_eq(graft_json_get(o, "partial_rotary_factor")->number, 0.5);
    const graft_json list = {.type = GRAFT_JSON_ARRAY};
    ck_assert_int_eq(graft_hfconfig_normalise(a, "config.json", &list, &o, &err), GRAFT_BAD_INPUT);
    graft_arena_free(a);
}
END_TEST

/* Frequencies 0, 1, 5, 8, 12, 16, 20 and 31 of 32, and the factor of cos and sin: transformers 5.24 with torch. */
static const struct {
    const char *rope;
    double scale;
    float f[8];
} ropes[] = {
    {"{\"rope_type\": \"default\", \"rope_theta\": 10000.0}", 1.0, {1.0f, 0.7498942017555237f, 0.23713736236095428f, 0.10000000149011612f, 0.03162277862429619f, 0.009999999776482582f, 0.003162277862429619f, 0.0001333521504420787f}},
    {"{\"rope_type\": \"linear\", \"rope_theta\": 10000.0, \"factor\": 4.0}", 1.0, {0.25f, 0.18747355043888092f, 0.05928434059023857f, 0.02500000037252903f, 0.007905694656074047f, 0.0024999999441206455f, 0.0007905694656074047f, 3.333803761051968e-05f}},
    {"{\"rope_type\": \"dynamic\", \"rope_theta\": 10000.0, \"factor\": 4.0}", 1.0, {1.0f, 0.7498942017555237f, 0.23713736236095428f, 0.10000000149011612f, 0.03162277862429619f, 0.009999999776482582f, 0.003162277862429619f, 0.0001333521504420787f}},
    {"{\"rope_type\": \"llama3\", \"rope_theta\": 500000.0, \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}", 1.0, {1.0f, 0.663601279258728f, 0.12868738174438477f, 0.03760603070259094f, 0.00729266507551074f, 0.0005248460220173001f, 3.428102354519069e-05f, 3.76732259610435e-07f}},
    {"{\"rope_type\": \"yarn\", \"rope_theta\": 10000.0, \"factor\": 4.0, \"original_max_position_embeddings\": 1024}", 1.138629436111989, {1.0f, 0.7498942017555237f, 0.23713736236095428f, 0.08269231021404266f, 0.01885204017162323f, 0.003653846215456724f, 0.0007905694656074047f, 3.333803761051968e-05f}},
    {"{\"rope_type\": \"yarn\", \"rope_theta\": 10000.0, \"factor\": 40.0, \"original_max_position_embeddings\": 4096, \"mscale\": 1.0, \"mscale_all_dim\": 0.8, \"beta_fast\": 16, \"beta_slow\": 2, \"truncate\": false}", 1.0569662567531275, {1.0f, 0.7498942017555237f, 0.23713736236095428f, 0.10000000149011612f, 0.03162277862429619f, 0.005790104623883963f, 0.00012395245721563697f, 3.3338035336782923e-06f}},
    {"{\"rope_type\": \"longrope\", \"rope_theta\": 10000.0, \"short_factor\": [1.0,1.1,1.2,1.3,1.4,1.5,1.6,1.7,1.8,1.9,2.0,2.1,2.2,2.3,2.4,2.5,2.6,2.7,2.8,2.9,3.0,3.1,3.2,3.3,3.4,3.5,3.6,3.7,3.8,3.9,4.0,4.1], \"long_factor\": [2.0], \"original_max_position_embeddings\": 1024}", 1.0954451150103321, {1.0f, 0.6817219853401184f, 0.15809157490730286f, 0.0555555559694767f, 0.014373989775776863f, 0.003846153849735856f, 0.0010540926596149802f, 3.2524916605325416e-05f}},
};

static graft_status frequencies(graft_arena *a, const char *rope, float **f, int64_t *n, double *scale)
{
    char text[2048];
    snprintf(text, sizeof text, "{\"hidden_size\": 256, \"num_attention_heads\": 4, \"max_position_embeddings\": 4096, \"rope_parameters\": %s}", rope);
    return graft_rope_frequencies(a, graft_config_new(a, "config.json", normal(a, text)), f, n, scale, &err);
}

START_TEST(rotary_frequencies)
{
    static const int at[] = {0, 1, 5, 8, 12, 16, 20, 31};
    for (size_t i = 0; i < sizeof ropes / sizeof *ropes; i++) {
        graft_arena *a = graft_arena_new();
        float *f;
        int64_t n;
        double scale;
        ck_assert_ok(frequencies(a, ropes[i].rope, &f, &n, &scale));
        ck_assert_int_eq(n, 32);
        ck_assert_double_eq_tol(scale, ropes[i].scale, 1e-12);
        for (int k = 0; k < 8; k++) ck_assert_msg(fabsf(f[at[k]] / ropes[i].f[k] - 1) < 3e-7f, "%s: frequency %d is %.9g, expected %.9g", ropes[i].rope, at[k], (double)f[at[k]], (double)ropes[i].f[k]);
        graft_arena_free(a);
    }
}
END_TEST

START_TEST(bad_rotary_settings)
{
    static const struct {
        const char *rope, *says;
    } bad[] = {
        {"{\"rope_type\": \"spiral\", \"rope_theta\": 1e4}", "none of default"},
        {"{\"rope_type\": \"linear\", \"rope_theta\": 1e4}", "factor"},
        {"{\"rope_type\": \"linear\", \"rope_theta\": 1e4, \"factor\": 0}", "factor"},
        {"{\"rope_type\": \"default\", \"rope_theta\": 0}", "rope_theta"},
        {"{\"rope_type\": \"default\", \"rope_theta\": \"x\"}", "rope_theta"},
        {"{\"rope_type\": \"llama3\", \"rope_theta\": 1e4, \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 4}", "greater than low_freq_factor"},
        {"{\"rope_type\": \"longrope\", \"rope_theta\": 1e4, \"short_factor\": [1, 2]}", "one number for each pair"},
        {"{\"rope_type\": \"yarn\", \"rope_theta\": 1e4, \"factor\": 4, \"original_max_position_embeddings\": 0}", "original_max_position_embeddings"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        graft_arena *a = graft_arena_new();
        float *f;
        int64_t n;
        double scale;
        ck_assert_int_eq(frequencies(a, bad[i].rope, &f, &n, &scale), GRAFT_BAD_INPUT);
        ck_assert_msg(strstr(err.message, bad[i].says) != NULL, "\"%s\" does not say \"%s\"", err.message, bad[i].says);
        graft_arena_free(a);
    }
}
END_TEST

START_TEST(no_heads_no_frequencies)
{
    graft_arena *a = graft_arena_new();
    float *f;
    int64_t n;
    double scale;
    ck_assert_ok(graft_rope_frequencies(a, graft_config_new(a, "config.json", normal(a, "{}")), &f, &n, &scale, &err));
    ck_assert_int_eq(n, 0);
    const graft_json *o = normal(a, "{\"hidden_size\": 64, \"num_attention_heads\": 0}");
    ck_assert_int_eq(graft_rope_frequencies(a, graft_config_new(a, "config.json", o), &f, &n, &scale, &err), GRAFT_BAD_INPUT);
    graft_arena_free(a);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, both_versions_mean_the_same);
    tcase_add_test(tc, spellings);
    tcase_add_test(tc, rotary_frequencies);
    tcase_add_test(tc, bad_rotary_settings);
    tcase_add_test(tc, no_heads_no_frequencies);
}

int main(void) { return graft_test_main("hfconfig", cases); }
