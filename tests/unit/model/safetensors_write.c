/* Writing safetensors: byte for byte what the safetensors library wrote, shards with their index, and full disks. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/model/weights.h"
#include "tests/support/support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static graft_error err = GRAFT_ERROR_INIT;

static graft_status from_map(void *ctx, int64_t offset, void *to, int64_t bytes, graft_error *e)
{
    (void)e;
    memcpy(to, (const uint8_t *)ctx + offset, (size_t)bytes);
    return GRAFT_OK;
}

static int64_t take(const graft_weights *w, graft_tensor_out *out)
{
    const int64_t n = graft_weights_count(w);
    for (int64_t i = 0; i < n; i++) {
        const graft_weight_info *t = graft_weights_at(w, n - 1 - i); /* any order */
        out[i] = (graft_tensor_out){.name = t->name, .dtype = (graft_dtype)t->dtype, .rank = t->rank, .read = from_map, .ctx = (void *)(uintptr_t)t->data};
        memcpy(out[i].dims, t->dims, sizeof out[i].dims);
    }
    return n;
}

static void check_same_bytes(const char *fixture)
{
    static graft_tensor_out out[256];
    graft_weights *w;
    char path[4096], *a, *b;
    size_t na, nb;
    snprintf(path, sizeof path, "%s/same.safetensors", graft_test_dir("write"));
    ck_assert_ok(graft_weights_open(graft_test_fixture(fixture), &w, &err));
    ck_assert_ok(graft_safetensors_write(path, out, take(w, out), &err));
    ck_assert_ok(graft_file_read(graft_test_fixture(fixture), 1 << 24, &a, &na, &err));
    ck_assert_ok(graft_file_read(path, 1 << 24, &b, &nb, &err));
    ck_assert_msg(na == nb && !memcmp(a, b, na), "%s is written differently", fixture);
    graft_free(a);
    graft_free(b);
    graft_weights_close(w);
}

START_TEST(same_bytes_as_the_library)
{
    check_same_bytes("arch/llama_tied/model.safetensors");
    check_same_bytes("arch/llama_bf16/model.safetensors");
    check_same_bytes("arch/qwen2_fp16/model.safetensors");
    check_same_bytes("methods/llama_lora_all/adapter_model.safetensors");
}
END_TEST

static void check_equal(const graft_weights *a, const graft_weights *b)
{
    ck_assert_int_eq(graft_weights_count(a), graft_weights_count(b));
    for (int64_t i = 0; i < graft_weights_count(a); i++) {
        const graft_weight_info *x = graft_weights_at(a, i), *y = graft_weights_find(b, x->name);
        ck_assert(y && x->bytes == y->bytes && !memcmp(x->data, y->data, (size_t)x->bytes));
    }
}

static int has(const char *dir, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return graft_path_exists(path);
}

/* One file, then shards, then other shards, then one file again: each save removes what the former left. */
START_TEST(shards_come_back)
{
    static graft_tensor_out out[256];
    graft_weights *w, *again;
    const char *dir = graft_test_dir("shards");
    ck_assert_ok(graft_weights_open(graft_test_fixture("arch/llama_tied/model.safetensors"), &w, &err));
    const int64_t n = take(w, out), limits[] = {0, 20000, 50000, 1, 0};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        ck_assert_ok(graft_safetensors_write_model(dir, out, n, limits[i], &err));
        ck_assert_ok(graft_weights_open(dir, &again, &err));
        check_equal(w, again);
        graft_weights_close(again);
        ck_assert_int_eq(has(dir, "model.safetensors"), !limits[i]);
        ck_assert_int_eq(has(dir, "model.safetensors.index.json"), limits[i] != 0);
        char **names;
        size_t count;
        ck_assert_ok(graft_dir_list(dir, &names, &count, &err));
        if (limits[i] == 1) ck_assert_uint_eq(count, (size_t)n + 1); /* every tensor for itself, and the index */
        if (!limits[i]) ck_assert_uint_eq(count, 1);
        graft_dir_list_free(names, count);
    }
    graft_weights_close(w);
}
END_TEST

/* A disk that fills up at any moment leaves the old file and no other. */
START_TEST(the_old_file_survives)
{
    static graft_tensor_out out[256];
    graft_weights *w;
    const char *dir = graft_test_dir("full");
    char path[4096], *before, *after, **names;
    size_t nb, na, count;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    ck_assert_ok(graft_file_replace(path, "the old one", 11, &err));
    ck_assert_ok(graft_file_read(path, 1 << 20, &before, &nb, &err));
    ck_assert_ok(graft_weights_open(graft_test_fixture("arch/llama_tied/model.safetensors"), &w, &err));
    const int64_t n = take(w, out);
    static const char *const calls[] = {"write", "fsync", "rename"};
    for (size_t i = 0; i < 3; i++) {
        graft_file_fault(calls[i], 1, ENOSPC);
        const graft_status status = graft_safetensors_write(path, out, n, &err);
        graft_file_fault(calls[i], 1, 0);
        ck_assert_msg(status == GRAFT_IO, "a failing %s gave status %d", calls[i], (int)status);
        ck_assert_msg(strstr(err.where, "model.safetensors") != NULL, "%s", err.where);
        ck_assert_ok(graft_file_read(path, 1 << 20, &after, &na, &err));
        ck_assert(na == nb && !memcmp(after, before, na));
        graft_free(after);
        ck_assert_ok(graft_dir_list(dir, &names, &count, &err));
        ck_assert_uint_eq(count, 1);
        graft_dir_list_free(names, count);
    }
    ck_assert_ok(graft_safetensors_write(path, out, n, &err));
    graft_free(before);
    graft_weights_close(w);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, same_bytes_as_the_library);
    tcase_add_test(tc, shards_come_back);
    tcase_add_test(tc, the_old_file_survives);
}

int main(void) { return graft_test_main("safetensors_write", cases); }
