/* tests/golden/gguf.c - values of quantised tensors: equal bits. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <stdio.h>
#include <string.h>

static void check_file(const char *dir, const char *name, const graft_weights *expect)
{
    char file[8192], type[64];
    graft_error err = GRAFT_ERROR_INIT;
    graft_weights *w = NULL;
    snprintf(type, sizeof type, "%.*s", (int)(strlen(name) - 5), name);
    snprintf(file, sizeof file, "%s/%s", dir, name);
    golden_case(file);
    if (graft_weights_open(file, &w, &err)) {
        golden_error("open", &err);
        return;
    }
    for (int64_t i = 0; i < graft_weights_count(w); i++) {
        const graft_weight_info *t = graft_weights_at(w, i), *want = golden_tensor(expect, "%s.%s", type, t->stored);
        float *v = graft_calloc((size_t)golden_count(t) + 1, 4);
        if (!want) golden_fail("values", "no stored %s.%s", type, t->stored);
        else if (!v || graft_weights_read_f32(t, v, &err)) golden_error("values", &err);
        else golden_equal("values", golden_count(t) * 4 == want->bytes && !memcmp(v, want->data, (size_t)want->bytes));
        graft_free(v);
    }
    graft_weights_close(w);
}

int golden_gguf(golden_session *s, const char *path)
{
    (void)s;
    char file[4096];
    graft_error err = GRAFT_ERROR_INIT;
    graft_weights *expect = NULL;
    char **names = NULL;
    size_t n = 0;
    snprintf(file, sizeof file, "%s/F32.gguf", path);
    if (!graft_path_exists(file)) return 0;
    snprintf(file, sizeof file, "%s/expect.safetensors", path);
    golden_case(path);
    if (graft_weights_open(file, &expect, &err) || graft_dir_list(path, &names, &n, &err)) golden_error("expect.safetensors", &err);
    for (size_t i = 0; i < n; i++) {
        const size_t length = strlen(names[i]);
        if (length > 5 && !strcmp(names[i] + length - 5, ".gguf")) check_file(path, names[i], expect);
    }
    graft_dir_list_free(names, n);
    graft_weights_close(expect);
    return 1;
}
