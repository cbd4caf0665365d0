/* tests/e2e/stories.c - what users of LLaMA-Factory, ms-swift and PEFT type today, with the program's name changed and the model scaled down. */
#include "tests/e2e/world.h"

/* The newest version folder in DIR, of those that begin with PREFIX. */
static const char *version_in(const char *dir, const char *prefix)
{
    static char path[4][5000];
    static int at;
    char **names = NULL;
    size_t n = 0;
    at = (at + 1) % 4;
    *path[at] = 0;
    ck_assert_ok(graft_dir_list(dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++)
        if (!strncmp(names[i], prefix, strlen(prefix))) snprintf(path[at], sizeof path[at], "%s/%s", dir, names[i]);
    graft_dir_list_free(names, n);
    ck_assert_msg(*path[at], "no %s* in %s", prefix, dir);
    return path[at];
}

/* ms-swift: full, LISA and LoRA on a file whose format nobody names; then a checkpoint is asked and merged. */
START_TEST(swift)
{
    make_world("e2e-story-swift");
    char model[4096], file[4096], out[4096], checkpoint[6000];
    snprintf(model, sizeof model, "%s", in_world("model"));
    snprintf(file, sizeof file, "%s", in_world("data/small.json"));
    snprintf(out, sizeof out, "%s", in_world("output/sft_full"));
#define FULL(batch)                                                                                                                                                                                                                   \
    "sft", "--model", model, "--train_type", "full", "--dataset", file, "--torch_dtype", "bfloat16", "--num_train_epochs", "2", "--per_device_train_batch_size", "2", "--per_device_eval_batch_size", "2", "--learning_rate", "1e-5", \
        "--target_modules", "all-linear", "--gradient_accumulation_steps", batch, "--eval_steps", "100", "--save_steps", "100", "--weight_decay", "0.01", "--save_total_limit", "2", "--logging_steps", "5", "--max_length", "4096",  \
        "--output_dir", out, "--max_grad_norm", "0.5", "--warmup_ratio", "0.03", "--dataloader_num_workers", "4"
    setenv("CUDA_VISIBLE_DEVICES", "0,1", 1);
    expect_status(0, graft(FULL("16")));
    expect_said(said_err, "trainable parameters: 791120 of 791120");
    expect_status(0, graft(FULL("2"), "--lisa_activated_layers", "1", "--lisa_step_interval", "2"));
    unsetenv("CUDA_VISIBLE_DEVICES");
    ck_assert(graft_path_exists(version_in(version_in(out, "v0-"), "args.json")));
    snprintf(checkpoint, sizeof checkpoint, "%s", version_in(version_in(out, "v1-"), "checkpoint-"));
    expect_status(0, graft("infer", "--stream", "true", "--model", checkpoint, "--prompt", "Who are you?", "--max_new_tokens", "2"));
    snprintf(out, sizeof out, "%s", in_world("output/sft_lora"));
    expect_status(0, graft("sft", "--model", model, "--train_type", "lora", "--lora_rank", "8", "--lora_alpha", "32", "--dataset", file, "--learning_rate", "1e-4", "--warmup_ratio", "0.05", "--output_dir", out, "--split_dataset_ratio", "0.2"));
    expect_said(said_err, "11 samples to train on, 3 to evaluate on");
    snprintf(checkpoint, sizeof checkpoint, "%s", version_in(version_in(out, "v0-"), "checkpoint-"));
    char *config = get_text(version_in(checkpoint, "adapter_config.json"));
    expect_said(config, "\"lora_alpha\": 32");
    expect_said(config, "\"lora_dropout\": 0.05");
    graft_free(config);
    static const char *const beside[] = {"args.json", "logging.jsonl", "images/train_loss.png", "images/eval_loss.png"};
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        char path[6000];
        snprintf(path, sizeof path, "%s/%s", version_in(out, "v0-"), beside[i]);
        ck_assert_msg(graft_path_exists(path), "%s is missing", path);
    }
    ck_assert(graft_path_exists(version_in(checkpoint, "args.json")));
    /* Batch inference: over a file, and over what the run evaluated on. */
    char sample[4200];
    snprintf(sample, sizeof sample, "%s#3", file);
    expect_status(0, graft("infer", "--adapters", checkpoint, "--val_dataset", sample, "--result_path", in_world("answers.jsonl"), "--max_new_tokens", "2", "--metric", "rouge"));
    expect_said(said_out, "3 answers: ");
    expect_said(said_out, "'rouge-l'");
    expect_status(0, graft("infer", "--adapters", checkpoint, "--load_data_args", "true", "--max_new_tokens", "2"));
    ck_assert(graft_path_exists(version_in(version_in(checkpoint, "infer_result"), "2")));
    expect_status(0, graft("export", "--ckpt_dir", checkpoint, "--merge_lora", "true"));
    strcat(checkpoint, "-merged");
    ck_assert(graft_path_exists(version_in(checkpoint, "model.safetensors")));
    expect_status(1, graft("sft", "--model", model, "--dataset", file, "--lerning_rate", "1"));
    expect_said(said_err, "did you mean 'learning_rate'");
    expect_status(1, graft("sft", "--model", model, "--dataset", file, "--target_regex", ".*"));
    expect_said(said_err, "--target_regex .* is not supported: name the modules with --target_modules");
    expect_status(1, graft("deploy", "--adapters", "a=x"));
    expect_said(said_err, "graft deploy: there is no server yet");
}
END_TEST

/* A notebook's run as one file: its own prompt as a template of one JSON file, several methods, the same question before and after. */
START_TEST(notebook)
{
    static const char *const methods[] = {"lora", "freeze", "prompt", "ptuning", "prefix"};
    make_world("e2e-story-notebook");
    char text[12000];
    ck_assert_ok(graft_dir_make(in_world("templates"), &err));
    put_text(in_world("templates/medicine.json"), "{\"name\": \"medicine\", \"user\": [\"Instruction: {{content}}\\nAnswer: \"], \"assistant\": [\"{{content}}\", {\"special\": \"eos\"}]}\n");
    snprintf(text, sizeof text, "model_name_or_path: %s/model\ntemplate: medicine\ntemplate_dir: %s/templates\ndataset: small\ndataset_dir: %s/data\nlora_rank: 8\nlora_alpha: 32\nlora_dropout: 0.1\nlora_target: q_proj,v_proj\nfreeze_trainable_layers: 1\n"
                                "num_virtual_tokens: 4\nfp16: true\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 2\nnum_train_epochs: 3\nsave_strategy: epoch\nlogging_steps: 1\n",
             root, root, root);
    put_text(in_world("run.yaml"), text);
    expect_status(0, graft("data", "show", in_world("run.yaml"), "--color", "always", "--max_samples", "1"));
    expect_said(said_out, "Instruction: Who are you?\nAnswer: \033[32mI am Graft.");
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char method[64], out[4200];
        snprintf(method, sizeof method, "finetuning_type=%s", methods[i]);
        snprintf(out, sizeof out, "%s", in_world("out-%s", methods[i]));
        expect_status(0, graft("train", in_world("run.yaml"), method, "--output_dir", out));
        ck_assert(graft_path_is_dir(version_in(out, "checkpoint-2")));
        expect_status(0, graft("chat", in_world("run.yaml"), i == 1 ? "--model_name_or_path" : "--adapter_name_or_path", out, "--prompt", "Who are you?", "--max_new_tokens", "2", "--temperature", "0"));
        /* Before and after, side by side. */
        char run[4200], model[4200], asked[4200];
        snprintf(run, sizeof run, "%s", in_world("run.yaml"));
        snprintf(model, sizeof model, "%s", in_world("model"));
        snprintf(asked, sizeof asked, "%s", in_world("questions.txt"));
        put_text(asked, "Who are you?\nSay hello.\n");
        if (i == 1) expect_status(0, graft("chat", run, "--model_name_or_path", out, "--compare", model, "--input", asked, "--max_new_tokens", "3", "--no_repeat_ngram_size", "2"));
        else expect_status(0, graft("chat", run, "--adapter_name_or_path", out, "--compare", "base", "--input", asked, "--max_new_tokens", "3", "--no_repeat_ngram_size", "2"));
        expect_said(said_out, "--- Say hello.\nbefore");
        expect_said(said_out, " | after\n");
    }
    expect_status(1, graft("chat", in_world("run.yaml"), "--compare", "base", "--prompt", "x"));
    expect_said(said_err, "there is no adapter whose base could answer");
}
END_TEST

/* The web page's run by the command line: conversations with thoughts, full tuning, planned before it starts. */
START_TEST(reasoning)
{
    make_world("e2e-story-reasoning");
    char text[12000];
    put_text(in_world("data/medical.json"), "[{\"conversations\": [{\"from\": \"human\", \"value\": \"What helps?\"}, {\"from\": \"gpt\", \"value\": \"<think>\\nA cold.\\n</think>\\n\\nRest.\"}], \"system\": \"You are a doctor.\"},\n"
                                            "{\"conversations\": [{\"from\": \"human\", \"value\": \"And now?\"}, {\"from\": \"gpt\", \"value\": \"<think>\\nBetter.\\n</think>\\n\\nSleep.\"}], \"system\": \"You are a doctor.\"}]\n");
    put_text(in_world("data/dataset_info.json"), "{\"medical\": {\"file_name\": \"medical.json\", \"formatting\": \"sharegpt\", \"columns\": {\"messages\": \"conversations\", \"system\": \"system\"}}}\n");
    snprintf(text, sizeof text, "{\"model_name_or_path\": \"%s/model\", \"stage\": \"sft\", \"do_train\": true, \"finetuning_type\": \"full\", \"template\": \"deepseekr1\", \"dataset\": \"medical\", \"dataset_dir\": \"%s/data\", \"output_dir\": \"%s/out\", \"max_steps\": 2, \"logging_steps\": 1, \"per_device_train_batch_size\": 1}\n", root, root, root);
    put_text(in_world("run.json"), text);
    expect_status(0, graft("plan", in_world("run.json"), "memory=2G"));
    expect_said(said_out, "trained      791120 of 791120 parameters");
    expect_status(1, graft("plan", in_world("run.json"), "memory=1M"));
    expect_status(0, graft("train", in_world("run.json"), "plot_loss=true"));
    expect_said(said_err, "step 2/2");
    expect_status(0, graft("data", "show", in_world("run.json"), "--color", "never"));
    expect_said(said_out, "Rest.");
    expect_status(0, graft("chat", in_world("run.json"), "--model_name_or_path", in_world("out"), "--prompt", "What helps?", "--max_new_tokens", "2"));
}
END_TEST

/* Flags alone: the line of a LoRA run as the web page prints it; then the adapter is merged, and asked. */
START_TEST(flags)
{
    static const char *const line[] = {"train", "--stage", "sft", "--do_train", "True", "--preprocessing_num_workers", "16", "--finetuning_type", "lora", "--template", "qwen", "--flash_attn", "auto", "--dataset", "small", "--cutoff_len", "2048", "--learning_rate", "5e-05",
                                       "--num_train_epochs", "2.0", "--max_samples", "50000", "--per_device_train_batch_size", "5", "--gradient_accumulation_steps", "1", "--lr_scheduler_type", "linear", "--max_grad_norm", "1.0", "--logging_steps", "1", "--save_steps", "10",
                                       "--warmup_steps", "5", "--packing", "False", "--enable_thinking", "True", "--report_to", "none", "--freeze_vision_tower", "True", "--freeze_multi_modal_projector", "True", "--image_max_pixels", "589824", "--image_min_pixels", "1024", "--video_max_pixels", "65536", "--video_min_pixels", "256", "--bf16", "True", "--plot_loss", "True", "--trust_remote_code", "True",
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
    expect_said(said_err, "bf16");     /* what it multiplies in: bf16, or f32 where that is all there is */
    expect_said(said_err, "step 6/6"); /* 14 samples by 5, twice */
    ck_assert(graft_path_exists(in_world("saves/lora/train_1/training_loss.png")));
    ck_assert(graft_path_exists(in_world("saves/lora/train_1/checkpoint-6/adapter_model.safetensors")));
    expect_status(0, graft("export", "--model_name_or_path", model, "--adapter_name_or_path", out, "--template", "qwen", "--finetuning_type", "lora", "--export_dir", in_world("merged"), "--export_size", "2", "--export_device", "cpu", "--export_legacy_format", "False"));
    expect_status(0, graft("chat", "--model_name_or_path", in_world("merged"), "--template", "qwen", "--prompt", "Who are you?", "--max_new_tokens", "4"));
    /* The same with other settings, then base and adapters at once, chosen by name. */
    words[n + 5] = in_world("saves/lora/train_2");
    static const char *const more[] = {"--lr_scheduler_type", "cosine_with_restarts", "--weight_decay", "0.01", "--max_grad_norm", "0.5", "--save_steps", "1000", NULL};
    memcpy(words + n + 6, more, sizeof more);
    expect_status(0, wait_graft(start_graft(NULL, words)));
    char both[9000];
    snprintf(both, sizeof both, "a=%s,b=%s", out, in_world("saves/lora/train_2"));
    expect_status(0, graft("chat", "--model_name_or_path", model, "--template", "qwen", "--adapter_name_or_path", both, "--adapter", "b", "--prompt", "Who are you?", "--max_new_tokens", "2"));
    put_text(in_world("in.txt"), "Hi\n/adapter a\nHi\n/adapter none\nHi\nexit\n");
    expect_status(0, graft("chat", "--model_name_or_path", model, "--template", "qwen", "--adapter_name_or_path", both, "--max_new_tokens", "2"));
    expect_said(said_err, "a=1, b=0");
    expect_said(said_err, "a=0, b=0");
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
    tcase_add_test(tc, swift);
    tcase_add_test(tc, notebook);
    tcase_add_test(tc, reasoning);
    tcase_add_test(tc, flags);
    tcase_add_test(tc, three_files);
}

int main(void) { return graft_test_main("stories", cases); }
