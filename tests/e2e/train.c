/* tests/e2e/train.c - whole training runs: what they leave behind, being killed at any moment, signals, a full disk, too little memory. */
#include "tests/e2e/world.h"

#include <time.h>

static void train_to(const char *out, const char *more) { expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("%s", out), more ? more : "seed=42")); }

static const graft_json *json_file(graft_arena *a, const char *path)
{
    const graft_json *v = NULL;
    ck_assert_ok(graft_json_parse_file(a, path, 1 << 24, 0, &v, &err));
    return v;
}

START_TEST(leaves_what_llamafactory_leaves)
{
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json", "trainer_log.jsonl", "trainer_state.json", "train_results.json", "all_results.json", "eval_results.json", "training_loss.png", "training_eval_loss.png", "training_args.json", "README.md", "checkpoint-10/adapter_model.safetensors", "checkpoint-10/manifest.json", "checkpoint-9/manifest.json"};
    graft_arena *a = graft_arena_new();
    make_world("e2e-train");
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "val_size=0.2", "eval_strategy=steps", "eval_steps=4"));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) ck_assert_msg(graft_path_exists(in_world("out/%s", files[i])), "%s is missing", files[i]);
    ck_assert(!graft_path_exists(in_world("out/checkpoint-8"))); /* save_total_limit 2 */
    const graft_json *state = json_file(a, in_world("out/trainer_state.json"));
    ck_assert_int_eq(graft_json_get(state, "global_step")->integer, 10);
    ck_assert_int_eq(graft_json_get(state, "max_steps")->integer, 10);
    const graft_json *first = graft_json_get(state, "log_history")->child, *last = first;
    ck_assert_int_eq(graft_json_get(first, "step")->integer, 2);
    double final_loss = 0;
    for (; last; last = last->next)
        if (graft_json_get(last, "loss")) final_loss = graft_json_get(last, "loss")->number;
    ck_assert_double_lt(final_loss, graft_json_get(first, "loss")->number); /* it learns */
    expect_said(said_out, "loss curve: ");
    expect_said(said_err, "step 10/10");
    graft_arena_free(a);
}
END_TEST

START_TEST(json_report)
{
    graft_arena *a = graft_arena_new();
    const graft_json *v = NULL;
    make_world("e2e-train-json");
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "--json", "max_steps=3", "finetuning_type=full"));
    ck_assert_ok(graft_json_parse(a, "out", said_out, strlen(said_out), 0, &v, &err));
    ck_assert_int_eq(graft_json_get(v, "steps")->integer, 3);
    ck_assert_int_eq(graft_json_get(v, "interrupted")->integer, 0);
    ck_assert(graft_path_exists(in_world("out/model.safetensors")) && graft_path_exists(in_world("out/config.json")));
    graft_arena_free(a);
}
END_TEST

/* ---- killed and gone on with ----------------------------------------------------------------------------------------------------- */

/* Weights, optimiser, and the log without its clock. */
static void same_end(const char *x, const char *y, const char *weights)
{
    ck_assert_str_eq(sha_of(in_world("%s/%s", x, weights)), sha_of(in_world("%s/%s", y, weights)));
    ck_assert_str_eq(sha_of(in_world("%s/checkpoint-10/%s", x, weights)), sha_of(in_world("%s/checkpoint-10/%s", y, weights)));
    ck_assert_str_eq(sha_of(in_world("%s/checkpoint-10/optimiser.safetensors", x)), sha_of(in_world("%s/checkpoint-10/optimiser.safetensors", y)));
    graft_arena *a = graft_arena_new();
    graft_str text[2];
    for (int i = 0; i < 2; i++) {
        const graft_json *history = graft_json_get(json_file(a, in_world("%s/trainer_state.json", i ? y : x)), "log_history");
        graft_str_init(&text[i], 0);
        for (const graft_json *e = history->child; e; e = e->next)
            for (const graft_json *m = e->child; m; m = m->next)
                if (!strstr(m->key, "runtime") && !strstr(m->key, "per_second")) graft_str_printf(&text[i], "%s ", m->key), graft_json_write(&text[i], m, 0, 0);
    }
    ck_assert_str_eq(text[0].data, text[1].data);
    int lines[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        char *log = get_text(in_world("%s/trainer_log.jsonl", i ? y : x));
        for (char *c = log; *c; c++) lines[i] += *c == '\n';
        graft_free(log);
        graft_str_free(&text[i]);
    }
    ck_assert_int_eq(lines[0], lines[1]);
    graft_arena_free(a);
}

static void pause_ms(long ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Until the running program has said this, half a minute at most. */
static void wait_for(const char *text)
{
    for (int i = 0; i < 3000; i++) {
        char *now = graft_path_exists(in_world("err.txt")) ? get_text(in_world("err.txt")) : NULL;
        const int found = now && strstr(now, text);
        graft_free(now);
        if (found) return;
        pause_ms(10);
    }
    ck_abort_msg("the program never said '%s'", text);
}

/* kill -9 at moments from before the first update to after the last, each time going on, until it ends by itself. */
static void killed(const char *world, const char *method, const char *weights)
{
    char finetuning[64];
    unsigned dice = 20261125;
    int kills = 0, status = -1;
    make_world(world);
    snprintf(finetuning, sizeof finetuning, "finetuning_type=%s", method);
    train_to("whole", finetuning);
    for (int round = 0; round < 12 && status; round++) {
        const pid_t child = start_graft(NULL, (const char *const[]){"train", in_world("run.yaml"), "--output_dir", in_world("killed"), finetuning, NULL});
        dice = dice * 1103515245u + 12345u;
        if (round < 11) {
            pause_ms(40 + (long)(dice >> 16) % 400);
            kill(child, SIGKILL);
        }
        status = wait_graft(child);
        kills += status == -1;
        ck_assert_msg(status == -1 || status == 0, "%s", said_err);
    }
    ck_assert_int_eq(status, 0);
    printf("%s: killed %d times\n", method, kills);
    same_end("whole", "killed", weights);
}

START_TEST(killed_lora) { killed("e2e-killed-adapter", "lora", "adapter_model.safetensors"); }
END_TEST
START_TEST(killed_full) { killed("e2e-killed-full", "full", "model.safetensors"); }
END_TEST

/* Stopped by a signal soon after its first update, again and again: together the runs are the run that was not stopped. */
START_TEST(stopped_by_signals)
{
    make_world("e2e-stopped");
    train_to("whole", "logging_steps=1");
    int stops = 0, status = 130;
    for (int i = 0; i < 12 && status == 130; i++) {
        const pid_t child = start_graft(NULL, (const char *const[]){"train", in_world("run.yaml"), "--output_dir", in_world("stopped"), "logging_steps=1", NULL});
        wait_for("step ");
        kill(child, i % 2 ? SIGINT : SIGTERM);
        status = wait_graft(child);
        stops += status == 130;
        if (status == 130) {
            expect_said(said_err, "interrupted after update ");
            expect_said(said_err, "; the same command goes on from there");
        } else ck_assert_msg(status == 0, "%s", said_err);
    }
    ck_assert_int_eq(status, 0);
    ck_assert_int_gt(stops, 1);
    printf("stopped %d times\n", stops);
    same_end("whole", "stopped", "adapter_model.safetensors");
}
END_TEST

START_TEST(begins_anew_and_goes_on)
{
    make_world("e2e-resume");
    train_to("out", "max_steps=4");
    train_to("out", "max_steps=10"); /* raising the steps goes on */
    expect_said(said_err, "going on from ");
    expect_said(said_err, "checkpoint-4");
    train_to("out", "overwrite_output_dir=true");
    ck_assert_ptr_null(strstr(said_err, "going on from"));
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("none"), "resume_from_checkpoint=true"));
    expect_said(said_err, "graft train: resume_from_checkpoint: there is no complete checkpoint in ");
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "finetuning_type=full", "max_steps=12")); /* other weights */
    expect_said(said_err, "this is an adapter, not a model");
}
END_TEST

/* ---- a full disk ------------------------------------------------------------------------------------------------------------------- */

START_TEST(full_disk)
{
    int refused = 0;
    make_world("e2e-disk");
    train_to("whole", NULL);
    for (int n = 1; n < 90; n += 4) {
        char fault[64];
        ck_assert_ok(graft_path_remove(in_world("out"), &err));
        expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "max_steps=2"));
        snprintf(fault, sizeof fault, "write:%d:ENOSPC", n);
        const int status = graft_with(fault, "train", in_world("run.yaml"), "--output_dir", in_world("out"), "max_steps=10");
        if (!status) break; /* it wrote less often than that */
        refused++;
        ck_assert_int_eq(status, 1);
        expect_said(said_err, "graft train: ");
        expect_said(said_err, "No space left on device");
        ck_assert(graft_path_exists(in_world("out/checkpoint-2/manifest.json")) || graft_path_exists(in_world("out/checkpoint-3/manifest.json")) || graft_path_exists(in_world("out/checkpoint-4/manifest.json")) || n > 30);
        expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"))); /* once there is room, it goes on */
        ck_assert_str_eq(sha_of(in_world("out/adapter_model.safetensors")), sha_of(in_world("whole/adapter_model.safetensors")));
    }
    ck_assert_int_gt(refused, 5);
}
END_TEST

/* ---- a batch in parts ------------------------------------------------------------------------------------------------------------------- */

/* Losses and norms of the updates, and the weights' sum of squares. */
static int updates_of(const char *out, double loss[16], double norm[16])
{
    graft_arena *a = graft_arena_new();
    int n = 0;
    for (const graft_json *e = graft_json_get(json_file(a, in_world("%s/trainer_state.json", out)), "log_history")->child; e && n < 16; e = e->next)
        if (graft_json_get(e, "loss")) loss[n] = graft_json_get(e, "loss")->number, norm[n++] = graft_json_get(e, "grad_norm")->number;
    graft_arena_free(a);
    return n;
}

/* 14 samples have more tokens than one run takes: the batch is computed in two, and nobody can tell. */
START_TEST(batch_in_parts)
{
    double loss[2][16] = {{0}}, norm[2][16] = {{0}};
    make_world("e2e-parts");
    const char *const how[] = {"per_device_train_batch_size=14", "per_device_train_batch_size=7"}, *const sums[] = {"gradient_accumulation_steps=1", "gradient_accumulation_steps=2"};
    for (int i = 0; i < 2; i++) expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out%d", i), "disable_shuffling=true", "max_steps=6", "logging_steps=1", how[i], sums[i]));
    ck_assert_int_eq(updates_of("out0", loss[0], norm[0]), 6);
    ck_assert_int_eq(updates_of("out1", loss[1], norm[1]), 6);
    for (int k = 0; k < 6; k++) {
        ck_assert_double_eq_tol(loss[0][k], loss[1][k], 2e-5);
        ck_assert_double_eq_tol(norm[0][k], norm[1][k], 1e-4 * norm[1][k]);
    }
}
END_TEST

/* One run by several backends in turn, each going on from the other's checkpoint, and by one of them alone: the same losses but for rounding. */
START_TEST(moves_between_backends)
{
    static const char *const others[] = {"backend=reference", "backend=opencl"};
    static const char *const methods[] = {"finetuning_type=lora", "finetuning_type=full"};
    const char *other = others[_i / 2], *method = methods[_i % 2];
    double loss[2][16] = {{0}}, norm[2][16] = {{0}};
    make_world("e2e-moves");
    if (graft("plan", in_world("run.yaml"), other) && _i / 2) { /* a backend that needs a driver */
        printf("skipped: %s is not to be had here\n", other);
        return;
    }
    static const char *const steps[] = {"max_steps=3", "max_steps=6", "max_steps=9"};
    const char *const turns[] = {"backend=cpu", other, "backend=cpu"};
    for (int k = 0; k < 3; k++) {
        expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("moved"), turns[k], steps[k], method, "lr_scheduler_type=constant", "warmup_ratio=0", "logging_steps=1"));
        if (k) expect_said(said_err, "going on from ");
    }
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("alone"), "backend=cpu", "max_steps=9", method, "lr_scheduler_type=constant", "warmup_ratio=0", "logging_steps=1"));
    ck_assert_int_eq(updates_of("moved", loss[0], norm[0]), 9);
    ck_assert_int_eq(updates_of("alone", loss[1], norm[1]), 9);
    for (int k = 0; k < 9; k++) {
        ck_assert_double_eq_tol(loss[0][k], loss[1][k], 2e-5);
        ck_assert_double_eq_tol(norm[0][k], norm[1][k], 1e-4 * norm[1][k]);
    }
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------------------------------------------------- */

static int64_t planned(const char *memory, const char *key)
{
    graft_arena *a = graft_arena_new();
    const graft_json *v = NULL;
    expect_status(0, graft("plan", in_world("run.yaml"), "--json", "--backend", "reference", memory));
    ck_assert_ok(graft_json_parse(a, "out", said_out, strlen(said_out), 0, &v, &err));
    const int64_t n = graft_json_get(v, key)->integer;
    graft_arena_free(a);
    return n;
}

START_TEST(memory)
{
    char limit[64];
    make_world("e2e-memory");
    const int64_t least_parts = planned("memory=8G", "weights") + planned("memory=8G", "gradients") + planned("memory=8G", "optimiser");
    int64_t all = 0, level = 0;
    ck_assert_int_eq(planned("memory=8G", "recompute_level"), 0);
    for (int i = 0; i < 8 && !level; i++) { /* the host's part is counted in steps: from time to time two calls fall on two of them */
        all = planned("memory=8G", "total");
        snprintf(limit, sizeof limit, "memory=%lld", (long long)all - 1);
        level = planned(limit, "recompute_level");
    }
    ck_assert_int_gt(level, 0);
    ck_assert_int_lt(planned(limit, "total"), all);
    train_to("kept", "backend=reference");
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("recomputed"), "backend=reference", limit));
    ck_assert_str_eq(sha_of(in_world("kept/adapter_model.safetensors")), sha_of(in_world("recomputed/adapter_model.safetensors")));
    snprintf(limit, sizeof limit, "memory=%lld", (long long)least_parts);
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("none"), "backend=reference", limit));
    expect_said(said_err, "graft train: this run needs ");
    expect_said(said_err, "even one sample at a time takes ");
    ck_assert(!graft_path_exists(in_world("none"))); /* refused before anything is made */
    expect_status(1, graft("plan", in_world("run.yaml"), "memory=lots"));
    expect_said(said_err, "graft plan: memory: expected a size like 6G or 800M, found 'lots'");
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, leaves_what_llamafactory_leaves);
    tcase_add_test(tc, json_report);
    tcase_add_test(tc, killed_lora);
    tcase_add_test(tc, killed_full);
    tcase_add_test(tc, stopped_by_signals);
    tcase_add_test(tc, begins_anew_and_goes_on);
    tcase_add_test(tc, full_disk);
    tcase_add_test(tc, batch_in_parts);
    tcase_add_loop_test(tc, moves_between_backends, 0, 4);
    tcase_add_test(tc, memory);
}

int main(void) { return graft_test_main("train", cases); }
