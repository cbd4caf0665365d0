/* tests/e2e/stories.c - what LLaMA-Factory's users type today, with the program's name changed and the model scaled down. */
#include "tests/e2e/world.h"

/* Flags alone: the line of a LoRA run as the web page prints it; then the adapter is merged, and asked. */
START_TEST(flags)
{
    static const char *const line[] = {"train", "--stage", "sft", "--do_train", "True", "--preprocessing_num_workers", "16", "--finetuning_type", "lora", "--template", "qwen", "--flash_attn", "auto", "--dataset", "small", "--cutoff_len", "2048", "--learning_rate", "5e-05",
                                       "--num_train_epochs", "2.0", "--max_samples", "50000", "--per_device_train_batch_size", "5", "--gradient_accumulation_steps", "1", "--lr_scheduler_type", "linear", "--max_grad_norm", "1.0", "--logging_steps", "1", "--save_steps", "10",
                                       "--warmup_steps", "5", "--packing", "False", "--enable_thinking", "True", "--report_to", "none", "--freeze_vision_tower", "True", "--image_max_pixels", "589824", "--bf16", "True", "--plot_loss", "True", "--trust_remote_code", "True",
                                       "--ddp_timeout", "180000000", "--include_num_input_tokens_seen", "True", "--optim", "adamw_torch", "--lora_rank", "16", "--lora_alpha", "16", "--lora_dropout", "0.01", "--lora_target", "all"};
    const char *words[100];
    const size_t n = sizeof line / sizeof *line;
    make_world("e2e-story-flags");
    char model[4096], data[4096], out[4096];
    snprintf(model, sizeof model, "%s", in_world("model"));
    snprintf(data, sizeof data, "%s", in_world("data"));
    snprintf(out, sizeof out, "%s", in_world("saves/lora/train_1"));
    memcpy(words, line, sizeof line);
    const char *const rest[] = {"--model_name_or_path", model, "--dataset_dir", data, "--output_dir", out, NULL};
    memcpy(words + n, rest, sizeof rest);
    expect_status(0, wait_graft(start_graft(NULL, words)));
    expect_said(said_err, "bf16"); /* what it multiplies in: bf16, or f32 where that is all there is */
    expect_said(said_err, "step 6/6"); /* 14 samples by 5, twice */
    ck_assert(graft_path_exists(in_world("saves/lora/train_1/training_loss.png")));
    ck_assert(graft_path_exists(in_world("saves/lora/train_1/checkpoint-6/adapter_model.safetensors")));
    expect_status(0, graft("export", "--model_name_or_path", model, "--adapter_name_or_path", out, "--template", "qwen", "--finetuning_type", "lora", "--export_dir", in_world("merged"), "--export_size", "2", "--export_device", "cpu", "--export_legacy_format", "False"));
    expect_status(0, graft("chat", "--model_name_or_path", in_world("merged"), "--template", "qwen", "--prompt", "Who are you?", "--max_new_tokens", "4"));
}
END_TEST

/* Three YAML files and a jsonl registered by hand with renamed columns. */
START_TEST(three_files)
{
    make_world("e2e-story-files");
    char text[12000];
    put_text(in_world("data/x.jsonl"), "{\"prompt\": \"Who are you?\", \"response\": \"I am Graft.\"}\n{\"prompt\": \"Say hello.\", \"response\": \"Hello!\"}\n{\"prompt\": \"Count.\", \"response\": \"One, two.\"}\n{\"prompt\": \"Name a colour.\", \"response\": \"Green.\"}\n"
                                       "{\"prompt\": \"What is it?\", \"response\": \"A test.\"}\n{\"prompt\": \"Why?\", \"response\": \"To be sure.\"}\n{\"prompt\": \"How?\", \"response\": \"By doing.\"}\n{\"prompt\": \"When?\", \"response\": \"Now.\"}\n{\"prompt\": \"Where?\", \"response\": \"Here.\"}\n{\"prompt\": \"Who?\", \"response\": \"You.\"}\n");
    put_text(in_world("data/dataset_info.json"), "{\"align_anything\": {\"file_name\": \"x.jsonl\", \"columns\": {\"prompt\": \"prompt\", \"response\": \"response\"}}}\n");
    snprintf(text, sizeof text, "### model\nmodel_name_or_path: %s/model\n\n### method\nstage: sft\ndo_train: true\nfinetuning_type: lora\nlora_target: all\n\n### dataset\ndataset: align_anything\ndataset_dir: %s/data\ntemplate: qwen\ncutoff_len: 1024\nmax_samples: 103505\n"
                                "overwrite_cache: true\npreprocessing_num_workers: 16\n\n### output\noutput_dir: %s/saves/sft\nlogging_steps: 1\nsave_steps: 500\nplot_loss: true\noverwrite_output_dir: true\n\n### train\nper_device_train_batch_size: 1\ngradient_accumulation_steps: 4\n"
                                "learning_rate: 1.0e-4\nnum_train_epochs: 3.0\nlr_scheduler_type: cosine\nwarmup_ratio: 0.1\nbf16: true\nddp_timeout: 180000000\n\n### eval\nval_size: 0.1\nper_device_eval_batch_size: 1\neval_strategy: steps\neval_steps: 3\n",
             root, root, root);
    put_text(in_world("train.yaml"), text);
    snprintf(text, sizeof text, "model_name_or_path: %s/model\nadapter_name_or_path: %s/saves/sft\ntemplate: qwen\nfinetuning_type: lora\n\nexport_dir: %s/merged\nexport_size: 2\nexport_device: cpu\nexport_legacy_format: false\n", root, root, root);
    put_text(in_world("export.yaml"), text);
    snprintf(text, sizeof text, "model_name_or_path: %s/merged\ntemplate: qwen\n", root);
    put_text(in_world("chat.yaml"), text);
    expect_status(0, graft("train", in_world("train.yaml")));
    expect_said(said_err, "9 samples to train on, 1 to evaluate on");
    expect_said(said_err, "eval_loss");
    expect_status(0, graft("export", in_world("export.yaml")));
    put_text(in_world("in.txt"), "Who are you?\nexit\n");
    expect_status(0, graft("chat", in_world("chat.yaml"), "max_new_tokens=4"));
    expect_said(said_out, "User: Assistant: ");
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, flags);
    tcase_add_test(tc, three_files);
}

int main(void) { return graft_test_main("stories", cases); }
