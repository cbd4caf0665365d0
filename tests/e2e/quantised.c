/* tests/e2e/quantised.c - QLoRA through the program: LoRA on a base held in nf4 trains, its plan is smaller, it goes on bit for bit, answers on the base in either
 * form; merging wants the full weights and says so. */
#include "tests/e2e/world.h"

#include <math.h>

static const graft_json *said(graft_arena *a)
{
    const graft_json *v = NULL;
    ck_assert_ok(graft_json_parse(a, "out", said_out, strlen(said_out), 0, &v, &err));
    return v;
}

static double score(graft_arena *a, const char *bits, const char *adapter)
{
    char model[4200];
    snprintf(model, sizeof model, "%s", in_world("model"));
    put_text(in_world("lines.jsonl"), "{\"text\": \"What is the capital of France? Paris. Say hello. Hello!\"}\n");
    expect_status(0, graft("score", "--model_name_or_path", model, "--input", in_world("lines.jsonl"), "--json", bits, adapter));
    return graft_json_get(said(a), "loss")->number;
}

static double first_and_last(const char *name, int last)
{
    char *log = get_text(in_world("%s/trainer_log.jsonl", name)), *at = log;
    for (int i = 0; i < last && at; i++) at = strchr(at, '\n') + 1;
    const char *loss = at ? strstr(at, "\"loss\": ") : NULL;
    const double v = loss ? strtod(loss + 8, NULL) : -1.0;
    graft_free(log);
    return v;
}

static void train(const char *name, const char *bits, const char *from)
{
    char resume[4200];
    snprintf(resume, sizeof resume, "resume_from_checkpoint=%s", from ? from : "false");
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("%s", name), bits, resume, "max_samples=4", "max_steps=6", "save_steps=3", "save_total_limit=3", "logging_steps=1", "learning_rate=3e-3"));
}

START_TEST(qlora)
{
    graft_arena *a = graft_arena_new();
    char adapter[4200];
    make_world("quantised");
    int64_t weights[2];
    for (int i = 0; i < 2; i++) {
        expect_status(0, graft("plan", in_world("run.yaml"), "--json", i ? "quantization_bit=4" : "base_dtype=f32"));
        weights[i] = graft_json_get(said(a), "weights")->integer;
    }
    ck_assert_msg(weights[1] < weights[0], "weights take %lld bytes in nf4, %lld in f32", (long long)weights[1], (long long)weights[0]);
    train("whole", "quantization_bit=4", NULL);
    ck_assert_msg(first_and_last("whole", 5) < first_and_last("whole", 0), "the loss went from %g to %g", first_and_last("whole", 0), first_and_last("whole", 5));
    train("rest", "quantization_bit=4", in_world("whole/checkpoint-3"));
    ck_assert_str_eq(sha_of(in_world("whole/adapter_model.safetensors")), sha_of(in_world("rest/adapter_model.safetensors")));
    ck_assert_str_eq(sha_of(in_world("whole/checkpoint-6/optimiser.safetensors")), sha_of(in_world("rest/checkpoint-6/optimiser.safetensors")));
    train("plain", "base_dtype=f32", NULL);
    ck_assert_str_ne(sha_of(in_world("whole/adapter_model.safetensors")), sha_of(in_world("plain/adapter_model.safetensors"))); /* the base was another */
    snprintf(adapter, sizeof adapter, "adapter_name_or_path=%s", in_world("whole"));
    const double packed = score(a, "quantization_bit=4", "seed=42"), tuned = score(a, "quantization_bit=4", adapter), full = score(a, "base_dtype=f32", adapter);
    ck_assert_msg(fabs(tuned - packed) > 1e-4 && fabs(full - tuned) > 1e-9 && fabs(full - tuned) < 0.5, "loss %g, tuned %g, on the full base %g", packed, tuned, full);
    /* merged into the full weights, on which the adapter scores as the merged model does */
    expect_status(1, graft("export", in_world("run.yaml"), adapter, "quantization_bit=4", "--export_dir", in_world("merged")));
    expect_said(said_err, "adapters are merged into the full weights");
    char model[4200], merged[4200], lines[4200];
    snprintf(model, sizeof model, "--model_name_or_path=%s", in_world("model"));
    snprintf(merged, sizeof merged, "%s", in_world("merged"));
    snprintf(lines, sizeof lines, "%s", in_world("lines.jsonl"));
    expect_status(0, graft("export", model, adapter, "--export_dir", merged, "--export_dtype", "f32"));
    expect_status(0, graft("score", "--model_name_or_path", merged, "--input", lines, "--json", "base_dtype=f32"));
    ck_assert_double_eq_tol(graft_json_get(said(a), "loss")->number, full, 2e-5);
    /* what cannot be on such a base */
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("no"), "quantization_bit=4", "finetuning_type=full"));
    expect_said(said_err, "a quantised base stays as it is");
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("no"), "quantization_bit=4", "pissa_init=true"));
    expect_said(said_err, "principal components are taken from whole weights");
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("no"), "quantization_bit=3"));
    expect_said(said_err, "expected 4 or 8, found 3");
    graft_arena_free(a);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, qlora);
}

int main(void) { return graft_test_main("e2e/quantised", cases); }
