/* Containers: the zoo of damaged files with the reason each message must state, the values of every storage type, shards and folders. */
#include "core/model/weights.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

static graft_error err = GRAFT_ERROR_INIT;

/* What the message must say; NULL: the file must be taken. */
static const struct {
    const char *file, *says;
} zoo[] = {
    {"safetensors/empty.safetensors", "8 bytes of its header's length"},
    {"safetensors/seven_bytes.safetensors", "8 bytes of its header's length"},
    {"safetensors/header_length_zero.safetensors", "JSON object"},
    {"safetensors/header_length_past_end.safetensors", "ends beyond the file"},
    {"safetensors/header_length_100MB.safetensors", "100000000"},
    {"safetensors/header_length_max_u64.safetensors", "100000000"},
    {"safetensors/header_length_sign_bit.safetensors", "100000000"},
    {"safetensors/header_truncated_json.safetensors", "expected"},
    {"safetensors/header_not_utf8.safetensors", "UTF-8"},
    {"safetensors/header_array.safetensors", "JSON object"},
    {"safetensors/header_trailing_comma.safetensors", "expected"},
    {"safetensors/header_bom.safetensors", "begins with {"},
    {"safetensors/header_deep_nesting.safetensors", "brackets inside each other"},
    {"safetensors/duplicate_key.safetensors", "\"a\""},
    {"safetensors/dtype_unknown.safetensors", "\"F33\""},
    {"safetensors/dtype_lower_case.safetensors", "unknown dtype"},
    {"safetensors/dtype_number.safetensors", "dtype is not text"},
    {"safetensors/dtype_missing.safetensors", "dtype is missing"},
    {"safetensors/shape_missing.safetensors", "shape is missing"},
    {"safetensors/offsets_missing.safetensors", "data_offsets is missing"},
    {"safetensors/shape_negative.safetensors", "integers from 0 up"},
    {"safetensors/shape_fraction.safetensors", "integers from 0 up"},
    {"safetensors/shape_product_overflows.safetensors", "overflows"},
    {"safetensors/shape_bytes_overflow.safetensors", "overflows"},
    {"safetensors/shape_and_offsets_disagree.safetensors", "takes 12 bytes but data_offsets give it 8"},
    {"safetensors/offsets_reversed.safetensors", "end before they begin"},
    {"safetensors/offsets_negative.safetensors", "pair of integers"},
    {"safetensors/offsets_three.safetensors", "pair of integers"},
    {"safetensors/offsets_strings.safetensors", "pair of integers"},
    {"safetensors/offsets_past_end.safetensors", "cut short"},
    {"safetensors/offsets_past_u64.safetensors", "pair of integers"},
    {"safetensors/data_truncated.safetensors", "cut short"},
    {"safetensors/data_trailing.safetensors", "after the last tensor"},
    {"safetensors/overlap.safetensors", "overlaps"},
    {"safetensors/hole.safetensors", "belong to no tensor"},
    {"safetensors/hole_at_start.safetensors", "belong to no tensor"},
    {"safetensors/metadata_number.safetensors", "must be text"},
    {"safetensors/name_lone_surrogate.safetensors", "surrogate"},
    {"safetensors/name_with_nul.safetensors", "NUL byte"},
    {"safetensors/no_tensors.safetensors", NULL},
    {"safetensors/no_metadata.safetensors", NULL},
    {"safetensors/padded_header.safetensors", NULL},
    {"safetensors/odd_header_length.safetensors", NULL},
    {"safetensors/scalar.safetensors", NULL},
    {"safetensors/zero_size.safetensors", NULL},
    {"safetensors/out_of_order.safetensors", NULL},
    {"safetensors/escaped_name.safetensors", NULL},
    {"safetensors/surrogate_pair_name.safetensors", NULL},
    {"gguf/empty.gguf", "24 bytes"},
    {"gguf/magic.gguf", "not a GGUF file"},
    {"gguf/version_0.gguf", "version 0 is unknown"},
    {"gguf/version_1.gguf", "32-bit lengths"},
    {"gguf/version_99.gguf", "version 99 is unknown"},
    {"gguf/byte_swapped.gguf", "big-endian"},
    {"gguf/truncated_key.gguf", "ends inside a metadata key"},
    {"gguf/kv_count_huge.gguf", "metadata it claims"},
    {"gguf/tensor_count_huge.gguf", "tensors it claims"},
    {"gguf/string_length_huge.gguf", "ends inside a metadata key"},
    {"gguf/array_length_huge.gguf", "ends inside a metadata array"},
    {"gguf/array_nested.gguf", "arrays of arrays"},
    {"gguf/value_type_unknown.gguf", "unknown type"},
    {"gguf/key_twice.gguf", "\"general.architecture\" occurs twice"},
    {"gguf/key_empty.gguf", "empty"},
    {"gguf/tensor_twice.gguf", "\"a\" occurs twice"},
    {"gguf/dims_5.gguf", "1 to 4 dimensions"},
    {"gguf/dim_zero.gguf", NULL},
    {"gguf/elements_overflow.gguf", "overflows"},
    {"gguf/row_not_whole_blocks.gguf", "whole number of blocks"},
    {"gguf/type_unknown.gguf", "unknown type 200"},
    {"gguf/offset_misaligned.gguf", "multiple of the alignment"},
    {"gguf/offset_past_end.gguf", "tensors' data"},
    {"gguf/data_truncated.gguf", "tensors' data"},
    {"gguf/alignment_zero.gguf", "power of two"},
    {"gguf/alignment_24.gguf", "power of two"},
    {"gguf/version_2.gguf", NULL},
    {"gguf/alignment_64.gguf", NULL},
};
enum { ZOO = sizeof zoo / sizeof *zoo };

static const char *zoo_path(size_t i)
{
    char name[256];
    snprintf(name, sizeof name, "bad/%s", zoo[i].file);
    return graft_test_fixture(name);
}

START_TEST(zoo_verdicts)
{
    for (size_t i = 0; i < ZOO; i++) {
        graft_weights *w = NULL;
        const graft_status status = graft_weights_open(zoo_path(i), &w, &err);
        if (!zoo[i].says) {
            ck_assert_msg(status == GRAFT_OK, "%s must be taken: %s", zoo[i].file, err.message);
            graft_weights_close(w);
            continue;
        }
        ck_assert_msg(status == GRAFT_BAD_INPUT, "%s was taken or gave status %d", zoo[i].file, (int)status);
        ck_assert_msg(strstr(err.message, zoo[i].says) != NULL, "%s: \"%s\" does not say \"%s\"", zoo[i].file, err.message, zoo[i].says);
        ck_assert_msg(strstr(err.where, "bad/") != NULL, "%s: the error names no file: \"%s\"", zoo[i].file, err.where);
        ck_assert_ptr_null(w);
    }
}
END_TEST

/* The list above and the zoo's own expectations are about the same files, with the same verdicts. */
START_TEST(zoo_is_complete)
{
    graft_arena *a = graft_arena_new();
    const graft_json *expect;
    ck_assert_ok(graft_json_parse_file(a, graft_test_fixture("bad/EXPECT.json"), 1 << 20, 0, &expect, &err));
    size_t seen = 0;
    for (const graft_json *m = expect->child; m; m = m->next) {
        if (strncmp(m->key, "safetensors/", 12) && strncmp(m->key, "gguf/", 5)) continue;
        size_t i = 0;
        while (i < ZOO && strcmp(zoo[i].file, m->key)) i++;
        ck_assert_msg(i < ZOO, "%s is not tested", m->key);
        const graft_json *verdict = graft_json_get(m, "verdict");
        if (!graft_json_is(verdict, "either")) ck_assert_msg(graft_json_is(verdict, zoo[i].says ? "reject" : "accept"), "%s", m->key);
        seen++;
    }
    ck_assert_uint_eq(seen, ZOO);
    graft_arena_free(a);
}
END_TEST

static void check_values(const char *file, const char *tensor, int32_t rank, const int64_t *dims, const float *values, int64_t n)
{
    graft_weights *w;
    float got[16];
    ck_assert_ok(graft_weights_open(graft_test_fixture(file), &w, &err));
    const graft_weight_info *t = graft_weights_find(w, tensor);
    ck_assert_msg(t != NULL, "%s has no %s", file, tensor);
    ck_assert_int_eq(t->rank, rank);
    for (int32_t i = 0; i < rank; i++) ck_assert_int_eq(t->dims[i], dims[i]);
    ck_assert_int_eq(graft_weights_elements(t), n);
    ck_assert_ok(graft_weights_read_f32(t, got, &err));
    for (int64_t i = 0; i < n; i++) ck_assert_float_eq(got[i], values[i]);
    graft_weights_close(w);
}

START_TEST(zoo_values)
{
    const int64_t two[] = {2}, none[] = {0, 5}, eight[] = {8};
    const float v[] = {1, 2}, one[] = {1}, count[] = {0, 1, 2, 3, 4, 5, 6, 7};
    check_values("bad/safetensors/no_metadata.safetensors", "a", 1, two, v, 2);
    check_values("bad/safetensors/padded_header.safetensors", "a", 1, two, v, 2);
    check_values("bad/safetensors/odd_header_length.safetensors", "a", 1, two, v, 2);
    check_values("bad/safetensors/scalar.safetensors", "a", 0, NULL, one, 1);
    check_values("bad/safetensors/zero_size.safetensors", "a", 2, none, v, 0);
    check_values("bad/safetensors/zero_size.safetensors", "b", 1, two, v, 2);
    check_values("bad/safetensors/out_of_order.safetensors", "a", 1, two, v, 2);
    check_values("bad/safetensors/out_of_order.safetensors", "b", 1, two, v, 2);
    check_values("bad/gguf/alignment_64.gguf", "a", 1, eight, count, 8);
    graft_weights *w;
    ck_assert_ok(graft_weights_open(graft_test_fixture("bad/safetensors/escaped_name.safetensors"), &w, &err));
    ck_assert_ptr_nonnull(graft_weights_find(w, "a\xc3\xa9"));
    graft_weights_close(w);
    ck_assert_ok(graft_weights_open(graft_test_fixture("bad/safetensors/surrogate_pair_name.safetensors"), &w, &err));
    ck_assert_ptr_nonnull(graft_weights_find(w, "\xf0\x9f\x98\x80"));
    graft_weights_close(w);
}
END_TEST

/* Every storage type of GGUF against gguf-py's values: equal bits. */
START_TEST(gguf_values)
{
    static const char *const types[] = {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"};
    graft_weights *expect, *w;
    size_t compared = 0;
    ck_assert_ok(graft_weights_open(graft_test_fixture("gguf/expect.safetensors"), &expect, &err));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char name[256];
        snprintf(name, sizeof name, "gguf/%s.gguf", types[i]);
        ck_assert_ok(graft_weights_open(graft_test_fixture(name), &w, &err));
        for (int64_t k = 0; k < graft_weights_count(w); k++) {
            const graft_weight_info *t = graft_weights_at(w, k);
            static float got[4096];
            snprintf(name, sizeof name, "%s.%s", types[i], t->name);
            const graft_weight_info *e = graft_weights_find(expect, name);
            ck_assert_msg(e != NULL, "%s", name);
            ck_assert_int_eq(t->rank, e->rank);
            ck_assert(!memcmp(t->dims, e->dims, sizeof t->dims));
            ck_assert_str_eq(t->dtype_name, types[i]);
            ck_assert_ok(graft_weights_read_f32(t, got, &err));
            ck_assert_msg(!memcmp(got, e->data, (size_t)e->bytes), "%s differs", name);
            compared++;
        }
        graft_weights_close(w);
    }
    ck_assert_uint_ge(compared, 13 * 2);
    graft_weights_close(expect);
}
END_TEST

START_TEST(gguf_metadata)
{
    graft_weights *w;
    ck_assert_ok(graft_weights_open(graft_test_fixture("gguf/llama/model.gguf"), &w, &err));
    ck_assert(graft_weights_is_gguf(w));
    const graft_json *m = graft_weights_metadata(w);
    ck_assert(graft_json_is(graft_json_get(m, "general.architecture"), "llama"));
    ck_assert_int_eq(graft_json_get(m, "llama.block_count")->integer, 2);
    const graft_json *tokens = graft_json_get(m, "tokenizer.ggml.tokens");
    ck_assert_int_eq(tokens->type, GRAFT_JSON_ARRAY);
    ck_assert_int_gt(tokens->count, 16);
    ck_assert_int_eq(tokens->child->type, GRAFT_JSON_TEXT);
    graft_weights_close(w);
}
END_TEST

START_TEST(shards_are_one_model)
{
    graft_weights *w;
    ck_assert_ok(graft_weights_open(graft_test_fixture("arch/llama_sharded"), &w, &err));
    const graft_weight_info *t = graft_weights_find(w, "model.embed_tokens.weight"), *h = graft_weights_find(w, "lm_head.weight");
    ck_assert_ptr_nonnull(t);
    ck_assert_ptr_nonnull(h);
    ck_assert_str_ne(t->file, h->file);
    ck_assert_ptr_null(graft_weights_find(w, "model.embed_tokens"));
    graft_weights_close(w);
}
END_TEST

static void write_text(const char *dir, const char *name, const char *text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
}

static void copy_file(const char *dir, const char *name, const char *fixture)
{
    char path[4096], *data;
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ok(graft_file_read(graft_test_fixture(fixture), 1 << 20, &data, &bytes, &err));
    ck_assert_ok(graft_file_replace(path, data, bytes, &err));
    graft_free(data);
}

static void refused(const char *path, graft_status status, const char *says)
{
    graft_weights *w = NULL;
    ck_assert_int_eq(graft_weights_open(path, &w, &err), status);
    ck_assert_msg(strstr(err.message, says) != NULL, "\"%s: %s\" does not say \"%s\"", err.where, err.message, says);
}

START_TEST(indexes_are_not_trusted)
{
    const char *dir = graft_test_dir("index");
    copy_file(dir, "one.safetensors", "bad/safetensors/no_metadata.safetensors");
    copy_file(dir, "two.safetensors", "bad/safetensors/no_metadata.safetensors");
    static const struct {
        const char *index, *says;
    } bad[] = {
        {"{\"weight_map\": {\"a\": \"../one.safetensors\"}}", "without slashes"},
        {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}", "without slashes"},
        {"{\"weight_map\": {\"a\": \"..\"}}", "without slashes"},
        {"{\"weight_map\": {\"a\": 3}}", "without slashes"},
        {"{\"weight_map\": []}", "weight_map"},
        {"{}", "weight_map"},
        {"{\"weight_map\": {\"b\": \"one.safetensors\"}}", "does not hold it"},
        {"{\"weight_map\": {\"a\": \"three.safetensors\"}}", "shard of the model is missing"},
        {"{\"weight_map\": {\"a\": \"one.safetensors\", \"b\": \"two.safetensors\"}}", "occurs twice"},
        {"{\"weight_map\": {\"a\": \"one.safetensors\"", "expected"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text(dir, "model.safetensors.index.json", bad[i].index);
        refused(dir, GRAFT_BAD_INPUT, bad[i].says);
    }
    graft_weights *w;
    write_text(dir, "model.safetensors.index.json", "{\"weight_map\": {\"a\": \"one.safetensors\"}}");
    ck_assert_ok(graft_weights_open(dir, &w, &err));
    ck_assert_int_eq(graft_weights_count(w), 1);
    graft_weights_close(w);
}
END_TEST

START_TEST(folders_say_what_they_are)
{
    const char *dir = graft_test_dir("folder");
    refused(dir, GRAFT_BAD_INPUT, "neither model.safetensors nor");
    write_text(dir, "adapter_config.json", "{}");
    refused(dir, GRAFT_BAD_INPUT, "adapter_name_or_path");
    write_text(dir, "pytorch_model.bin", "x");
    refused(dir, GRAFT_UNSUPPORTED, "convert it to safetensors");
    write_text(dir, "small.gguf", "x");
    refused(dir, GRAFT_BAD_INPUT, "small.gguf");
    char path[4096];
    snprintf(path, sizeof path, "%s/pytorch_model.bin", dir);
    refused(path, GRAFT_UNSUPPORTED, "pickle");
    snprintf(path, sizeof path, "%s/nothing", dir);
    refused(path, GRAFT_BAD_INPUT, "no such file");
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, zoo_verdicts);
    tcase_add_test(tc, zoo_is_complete);
    tcase_add_test(tc, zoo_values);
    tcase_add_test(tc, gguf_values);
    tcase_add_test(tc, gguf_metadata);
    tcase_add_test(tc, shards_are_one_model);
    tcase_add_test(tc, indexes_are_not_trusted);
    tcase_add_test(tc, folders_say_what_they_are);
}

int main(void) { return graft_test_main("weights", cases); }
