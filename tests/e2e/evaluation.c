/* tests/e2e/evaluation.c - when a run evaluates, logs and saves, which weights it ends with, and what it writes down about it. */
#include "tests/e2e/world.h"

static int64_t lines_with(const char *text, const char *word)
{
    int64_t n = 0;
    for (const char *p = text; (p = strstr(p, word)) != NULL; p += strlen(word)) n++;
    return n;
}

static char *text_in(const char *path) { return get_text(in_world("%s", path)); }

static void expect_in(const char *path, const char *word)
{
    char *text = text_in(path);
    ck_assert_msg(strstr(text, word) != NULL, "expected %s in %s:\n%s", word, path, text);
    graft_free(text);
}

/* A rate of 0 never gets better than the first evaluation, so patience runs out and the first checkpoint's weights are those of the end. */
START_TEST(best_checkpoint_and_early_stop)
{
    make_world("e2e-evaluation-best");
    char out[4096];
    snprintf(out, sizeof out, "%s", in_world("out"));
#define RUN(...) graft("train", in_world("run.yaml"), "--output_dir", out, "--val_size", "4", "--learning_rate", "0", "--eval_strategy", "steps", "--eval_steps", "2", "--save_steps", "2", "--load_best_model_at_end", "--early_stopping_steps", "3", "--save_total_limit", "1", ##__VA_ARGS__)
    expect_status(0, RUN("--max_steps", "30"));
    expect_said(said_err, "stopped after update 8 of 30: the last 3 evaluations were not better");
    expect_said(said_err, "the best evaluation was after update 2");
    ck_assert(graft_path_is_dir(in_world("out/checkpoint-2")));
    ck_assert(!graft_path_exists(in_world("out/checkpoint-8")));
    expect_in("out/trainer_state.json", "\"best_global_step\": 2");
    expect_in("out/trainer_state.json", "out/checkpoint-2\"");
    expect_in("out/eval_results.json", "\"eval_loss\"");
    expect_status(1, RUN("--save_steps", "3", "--overwrite_output_dir"));
    expect_said(said_err, "load_best_model_at_end: checkpoints must come with evaluations");
    expect_status(1, RUN("--metric_for_best_model", "accuracy", "--overwrite_output_dir"));
    expect_said(said_err, "metric_for_best_model: expected loss, found 'accuracy'");
    expect_status(0, RUN("--save_strategy", "best", "--max_steps", "6", "--overwrite_output_dir", "--include_effective_tokens_per_second"));
    ck_assert(graft_path_is_dir(in_world("out/checkpoint-2")));
    expect_in("out/train_results.json", "\"effective_tokens_per_sec\"");
#undef RUN
}
END_TEST

START_TEST(each_set_by_itself)
{
    make_world("e2e-evaluation-each");
    copy_file(in_world("data/small.json"), in_world("data/other.json"));
    put_text(in_world("data/dataset_info.json"), "{\"small\": {\"file_name\": \"small.json\"}, \"other\": {\"file_name\": \"other.json\"}}\n");
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "--eval_dataset", "small,other", "--eval_on_each_dataset", "--eval_strategy", "epoch", "--eval_delay", "1.5", "--eval_on_start", "--logging_strategy", "no", "--max_steps", "8"));
    char *log = text_in("out/trainer_state.json");
    ck_assert_int_eq(lines_with(log, "\"eval_small_loss\""), 2); /* before the first update and at the end of the second epoch */
    ck_assert_int_eq(lines_with(log, "\"eval_other_loss\""), 2);
    ck_assert_int_eq(lines_with(log, "\"loss\""), 0);
    graft_free(log);
    expect_in("out/eval_results.json", "\"eval_small_loss\"");
    expect_in("out/eval_results.json", "\"eval_other_loss\"");
    ck_assert(graft_path_exists(in_world("out/training_eval_other_loss.png")));
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("out2"), "--eval_on_start"));
    expect_said(said_err, "eval_on_start: there is nothing to evaluate on");
}
END_TEST

START_TEST(model_alone)
{
    make_world("e2e-evaluation-model");
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "--save_only_model", "--logging_strategy", "epoch", "--save_strategy", "epoch", "--max_steps", "8"));
    ck_assert(graft_path_exists(in_world("out/checkpoint-8/adapter_model.safetensors")));
    ck_assert(graft_path_exists(in_world("out/checkpoint-8/trainer_state.json")));
    ck_assert(!graft_path_exists(in_world("out/checkpoint-8/optimiser.safetensors")));
    char *log = text_in("out/trainer_log.jsonl");
    ck_assert_int_eq(lines_with(log, "\"loss\""), 2);
    graft_free(log);
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "--save_only_model", "--max_steps", "8"));
    expect_said(said_err, "this checkpoint holds the model alone");
}
END_TEST

/* A model as it is: its loss, and its answers beside those that were expected; then after training, by the adapter that was trained. */
START_TEST(evaluate_and_predict)
{
    make_world("e2e-evaluation-predict");
    char out[4096], yaml[14000];
    snprintf(out, sizeof out, "%s", in_world("out"));
    snprintf(yaml, sizeof yaml, "model_name_or_path: %s/model\nstage: sft\nfinetuning_type: lora\ntemplate: smollm2\neval_dataset: small\ndataset_dir: %s/data\ncutoff_len: 64\nmax_samples: 5\noutput_dir: %s\nper_device_eval_batch_size: 2\n"
                                "do_sample: false\nmax_new_tokens: 4\nreport_to: none\nbackend: cpu\n",
             root, root, out);
    put_text(in_world("rate.yaml"), yaml);
    expect_status(0, graft("train", in_world("rate.yaml"), "do_eval=true"));
    expect_said(said_out, "evaluation: eval_loss");
    expect_in("out/all_results.json", "\"eval_loss\"");
    expect_in("out/eval_results.json", "\"eval_samples_per_second\"");
    ck_assert(!graft_path_exists(in_world("out/trainer_state.json")));
    expect_status(1, graft("train", in_world("rate.yaml"), "do_predict=true"));
    expect_said(said_err, "do_predict: predictions are generated: give predict_with_generate=true too");
    expect_status(0, graft("train", in_world("rate.yaml"), "do_predict=true", "predict_with_generate=true"));
    char *lines = text_in("out/generated_predictions.jsonl");
    ck_assert_int_eq(lines_with(lines, "{\"prompt\": \"<|im_start|>"), 5);
    ck_assert_int_eq(lines_with(lines, "\"label\": \"I am Graft."), 1);
    expect_in("out/predict_results.json", "\"predict_rouge-l\"");
    expect_status(0, graft("train", in_world("rate.yaml"), "do_train=true", "do_predict=true", "predict_with_generate=true", "dataset=small", "--max_steps", "20", "--learning_rate", "0.1", "--overwrite_output_dir"));
    char *after = text_in("out/generated_predictions.jsonl");
    ck_assert_str_ne(lines, after);
    expect_in("out/all_results.json", "\"predict_bleu-4\"");
    expect_in("out/all_results.json", "\"train_loss\"");
    graft_free(lines);
    graft_free(after);
    expect_status(1, graft("train", "--model_name_or_pth", "x", "--dataset", "small"));
    expect_said(said_err, "unknown key 'model_name_or_pth', did you mean 'model_name_or_path'?");
    expect_status(1, graft("train", in_world("rate.yaml"), "do_train=false"));
    expect_said(said_err, "do_train: false leaves nothing to do");
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, evaluate_and_predict);
    tcase_add_test(tc, best_checkpoint_and_early_stop);
    tcase_add_test(tc, each_set_by_itself);
    tcase_add_test(tc, model_alone);
}

int main(void) { return graft_test_main("evaluation", cases); }
