/* tests/e2e/optimisers.c - every optimiser through the program: it trains, what it keeps is in the checkpoint, and a run that goes on from there ends with
 * the same bits as one that was never stopped. */
#include "tests/e2e/world.h"

static const struct {
    const char *optim, *args, *state, *rate, *noise;
} all[] = {
    {"adamw_torch", "", "adam_v:", "learning_rate=3e-3", "0"},
    {"adamw_torch_fused", "", "adam_m:", "learning_rate=3e-3", "5"},
    {"sgd", "momentum=0.9, nesterov=true", "sgd_u:", "learning_rate=0.1", "0"},
    {"lion_32bit", "", "lion_m:", "learning_rate=3e-3", "0"},
    {"adafactor", "beta1=0.9, scale_parameter=true", "ada_col:", "learning_rate=3e-2", "0"},
    {"muon", "", "muon_u:", "learning_rate=3e-3", "0"},
};

/* Every update sees the same four samples, so the loss must fall. */
static void run(const char *name, const char *from, const char *method, int k)
{
    char optim[64], args[128], resume[4200], rank[32], noise[64];
    snprintf(optim, sizeof optim, "optim=%s", all[k].optim);
    snprintf(args, sizeof args, "optim_args=%s", all[k].args);
    snprintf(resume, sizeof resume, "resume_from_checkpoint=%s", from ? from : "false");
    snprintf(rank, sizeof rank, "finetuning_type=%s", method);
    snprintf(noise, sizeof noise, "neftune_noise_alpha=%s", all[k].noise);
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("%s", name), optim, args, resume, rank, noise, "max_samples=4", "max_steps=6", "save_steps=3", "logging_steps=1", all[k].rate, "weight_decay=0.1"));
}

static double loss_at(const char *name, int line)
{
    char *log = get_text(in_world("%s/trainer_log.jsonl", name)), *at = log;
    for (int i = 0; i < line && at; i++) at = strchr(at, '\n') + 1;
    const char *loss = at ? strstr(at, "\"loss\": ") : NULL;
    const double v = loss ? strtod(loss + 8, NULL) : -1.0;
    graft_free(log);
    return v;
}

static void goes_on(const char *world, const char *method, const char *weights)
{
    make_world(world);
    for (int k = 0; k < (int)(sizeof all / sizeof *all); k++) {
        char whole[64], rest[64];
        graft_weights *w = NULL;
        int found = 0;
        snprintf(whole, sizeof whole, "whole-%s", all[k].optim);
        snprintf(rest, sizeof rest, "rest-%s", all[k].optim);
        run(whole, NULL, method, k);
        ck_assert_msg(loss_at(whole, 5) < loss_at(whole, 0), "%s with %s: the loss went from %g to %g", all[k].optim, method, loss_at(whole, 0), loss_at(whole, 5));
        run(rest, in_world("%s/checkpoint-3", whole), method, k);
        ck_assert_str_eq(sha_of(in_world("%s/%s", whole, weights)), sha_of(in_world("%s/%s", rest, weights)));
        ck_assert_str_eq(sha_of(in_world("%s/checkpoint-6/optimiser.safetensors", whole)), sha_of(in_world("%s/checkpoint-6/optimiser.safetensors", rest)));
        ck_assert_str_ne(sha_of(in_world("%s/checkpoint-3/optimiser.safetensors", whole)), sha_of(in_world("%s/checkpoint-6/optimiser.safetensors", whole)));
        ck_assert_ok(graft_weights_open(in_world("%s/checkpoint-3/optimiser.safetensors", whole), &w, &err));
        for (int64_t i = 0; i < graft_weights_count(w); i++) found |= !strncmp(graft_weights_at(w, i)->name, all[k].state, strlen(all[k].state));
        ck_assert_msg(found, "%s keeps no %s", all[k].optim, all[k].state);
        graft_weights_close(w);
    }
    ck_assert_str_ne(sha_of(in_world("whole-adamw_torch/%s", weights)), sha_of(in_world("whole-adamw_torch_fused/%s", weights))); /* noise changes a run */
    char finetuning[64], from[4200];
    snprintf(from, sizeof from, "%s", in_world("whole-adamw_torch/checkpoint-3"));
    snprintf(finetuning, sizeof finetuning, "finetuning_type=%s", method);
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("other"), "optim=lion_32bit", "max_steps=6", finetuning, "--resume_from_checkpoint", from));
    expect_said(said_err, "it was made with other trained weights or another optim");
}

START_TEST(full) { goes_on("e2e-optim-full", "full", "model.safetensors"); }
END_TEST
START_TEST(adapter) { goes_on("e2e-optim-adapter", "lora", "adapter_model.safetensors"); }
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, full);
    tcase_add_test(tc, adapter);
}

int main(void) { return graft_test_main("optimisers", cases); }
