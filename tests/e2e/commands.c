/* tests/e2e/commands.c - every command on a small model: what it prints, its exit status, its sentences when something is wrong. */
#include "tests/e2e/world.h"

#include <math.h>

static const graft_json *parse_out(graft_arena *a)
{
    const graft_json *v = NULL;
    ck_assert_ok(graft_json_parse(a, "out", said_out, strlen(said_out), 0, &v, &err));
    return v;
}

static void refuses(const char *sentence)
{
    ck_assert_msg(!strcmp(said_err, sentence), "expected: %s\nfound:    %s", sentence, said_err);
}

START_TEST(help)
{
    static const char *const names[] = {"train", "chat", "export", "score", "plan", "graph", "tokenize", "data", "pull", "plugin", "doctor", "help"};
    make_world("e2e-help");
    expect_status(0, graft("help"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) ck_assert_ptr_nonnull(strstr(said_out, names[i]));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int lines = 0;
        expect_status(0, graft("help", names[i]));
        for (char *c = said_out; *c; c++) lines += *c == '\n';
        ck_assert_msg(lines <= 30, "graft help %s has %d lines", names[i], lines);
        char example[64];
        snprintf(example, sizeof example, "\n  %s", strcmp(names[i], "tokenize") ? "graft " : "echo ");
        ck_assert_msg(strstr(said_out, example) != NULL, "graft help %s has no example", names[i]);
        expect_status(0, graft(names[i], "--help"));
        ck_assert_ptr_nonnull(strstr(said_out, " - "));
    }
    expect_status(0, graft("help", "warmup_ratio"));
    expect_said(said_out, "warmup_ratio: ");
    expect_status(0, graft("--version"));
    ck_assert_int_eq(strncmp(said_out, "graft ", 6), 0);
    expect_status(1, graft("trian"));
    refuses("graft: unknown command 'trian', did you mean 'train'?\n");
    expect_status(1, graft("help", "lora_rnk"));
    expect_said(said_err, "did you mean 'lora_rank'?");
}
END_TEST

START_TEST(documents)
{
    make_world("e2e-documents");
    expect_status(0, graft("help", "--man"));
    char *page = get_text(GRAFT_SOURCE_DIR "/docs/man/graft.1");
    ck_assert_msg(!strcmp(page, said_out), "docs/man/graft.1 is not what `graft help --man` prints");
    graft_free(page);
    expect_status(0, graft("help", "--compat"));
    page = get_text(GRAFT_SOURCE_DIR "/docs/compat.md");
    ck_assert_msg(!strcmp(page, said_out), "docs/compat.md is not what `graft help --compat` prints");
    graft_free(page);
}
END_TEST

START_TEST(sentences)
{
    make_world("e2e-sentences");
    expect_status(1, graft("train"));
    refuses("graft train: model_name_or_path: no model was named: give model_name_or_path=... or --model_name_or_path ...\n");
    expect_status(1, graft("train", "--model_name_or_path", "/absent/model", "--dataset", "x"));
    refuses("graft train: model_name_or_path: there is no folder or file '/absent/model'; name a Hugging Face folder, a .gguf file, or a model of the hub as ORG/NAME\n");
    expect_status(1, graft("train", in_world("run.yaml"), "lerning_rate=1"));
    refuses("graft train: command line: unknown key 'lerning_rate', did you mean 'learning_rate'?\n");
    expect_status(1, graft("train", in_world("run.yaml"), "finetuning_type=lorra"));
    expect_said(said_err, "lora");
    expect_status(1, graft("train", in_world("run.yaml"), "template=smolm2"));
    expect_said(said_err, "smollm2");
    expect_status(1, graft("train", in_world("run.yaml"), "dataset=smal"));
    expect_said(said_err, "small");
    expect_status(1, graft("train", in_world("run.yaml"), "stage=dpo"));
    refuses("graft train: stage: the stage 'dpo' is not supported: use sft, or pt for texts without questions\n");
    expect_status(1, graft("train", in_world("run.yaml"), "optim=adafactr", "output_dir=x"));
    expect_said(said_err, "optim: the optimizer 'adafactr' is not supported: use adafactor");
    expect_status(1, graft("train", in_world("run.yaml"), "optim=sgd", "optim_args=momentm=0.9", "output_dir=x"));
    expect_said(said_err, "optim_args: the optimizer sgd has no option 'momentm', did you mean 'momentum'?");
    expect_status(1, graft("train", in_world("run.yaml"), "lr_scheduler_type=cosin", "output_dir=x"));
    expect_said(said_err, "lr_scheduler_type: unknown schedule 'cosin', did you mean 'cosine'?");
    expect_status(1, graft("train", in_world("run.yaml")));
    expect_said(said_err, "output_dir: expected a folder for the results: give output_dir");
    expect_status(1, graft("chat", in_world("run.yaml"), "--prompt", "x", "--temperature", "-1"));
    expect_said(said_err, "temperature: expected a number from 0 (greedy) to 100, found -1");
    expect_status(1, graft("data", "lst"));
    refuses("graft data: unknown word 'lst', did you mean 'list'?\n");
    expect_status(1, graft("score", in_world("run.yaml")));
    refuses("graft score: input: no file was named: give --input FILE.jsonl, or - for standard input\n");
    expect_status(1, graft("export", in_world("run.yaml")));
    refuses("graft export: export_dir: no folder was named for the model: give export_dir=... or --export_dir ...\n");
}
END_TEST

START_TEST(tokenize)
{
    static const char texts[] = "\"Hello, world!\"\n\"<|im_start|>user\\n\\u4f60\\u597d\\ud83d\\ude00\"\n\n\"\"\n";
    make_world("e2e-tokenize");
    put_text(in_world("texts.jsonl"), texts);
    expect_status(0, graft("tokenize", "--model_name_or_path", in_world("model"), "--input", in_world("texts.jsonl")));
    ck_assert_int_eq(said_out[0], '[');
    put_text(in_world("ids.jsonl"), said_out);
    expect_status(0, graft("tokenize", "--model_name_or_path", in_world("model/tokenizer.json"), "--input", in_world("ids.jsonl"), "--decode"));
    ck_assert_str_eq(said_out, "\"Hello, world!\"\n\"<|im_start|>user\\n\xe4\xbd\xa0\xe5\xa5\xbd\xf0\x9f\x98\x80\"\n\"\"\n");
    put_text(in_world("in.txt"), "\"Hello, world!\"\n");
    expect_status(0, graft("tokenize", "--model_name_or_path", in_world("model")));
    ck_assert_int_eq(said_out[0], '[');
    put_text(in_world("bad.jsonl"), "\"fine\"\n{\"text\": 1}\n");
    expect_status(1, graft("tokenize", "--model_name_or_path", in_world("model"), "--input", in_world("bad.jsonl")));
    expect_said(said_err, "bad.jsonl:2: expected a JSON string on each line");
    put_text(in_world("bad.jsonl"), "[1, 99999999]\n");
    expect_status(1, graft("tokenize", "--model_name_or_path", in_world("model"), "--input", in_world("bad.jsonl"), "--decode"));
    expect_said(said_err, "bad.jsonl:1: expected ids from 0 to ");
}
END_TEST

START_TEST(data)
{
    make_world("e2e-data");
    expect_status(0, graft("data", "list", "--dataset_dir", in_world("data")));
    expect_said(said_out, "small");
    expect_status(0, graft("data", "list", "--dataset_dir", in_world("data"), "--json"));
    expect_said(said_out, "\"name\": \"small\"");
    expect_status(0, graft("data", "show", in_world("run.yaml"), "--max_samples", "2"));
    expect_said(said_out, "--- sample 1: ");
    expect_said(said_out, "Who are you?");
    expect_said(said_out, "«I am Graft.<|im_end|>");
    ck_assert_ptr_null(strstr(said_out, "--- sample 3"));
    expect_status(0, graft("data", "show", in_world("run.yaml"), "--color", "always", "--max_samples", "1"));
    expect_said(said_out, "\033[32mI am Graft.");
    expect_status(0, graft("data", "show", in_world("run.yaml"), "--file", in_world("data/small.json"), "--json", "--max_samples", "1"));
    expect_status(0, graft("data", "template", "chatml"));
    expect_said(said_out, "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n«Hi, what is it?<|im_end|>\n»");
    expect_status(1, graft("data", "template", "chatm"));
    expect_said(said_err, "chatml");
    expect_status(0, graft("data", "show", in_world("run.yaml"), "--file", in_world("data/small.json"), "--json", "--max_samples", "1"));
    graft_arena *a = graft_arena_new();
    const graft_json *v = parse_out(a);
    ck_assert_int_eq(graft_json_get(v, "input_ids")->count, graft_json_get(v, "labels")->count);
    ck_assert_int_eq(graft_json_get(v, "labels")->child->integer, -100);
    graft_arena_free(a);
}
END_TEST

/* What a set amounts to, and what is worth a warning. */
START_TEST(data_report)
{
    make_world("e2e-report");
    put_text(in_world("data/twice.jsonl"), "{\"instruction\": \"Who are you?\", \"output\": \"A.\"}\n{\"instruction\": \"Who are you?\", \"output\": \"A.\"}\n{\"instruction\": \"And I?\", \"output\": \"\"}\n");
    put_text(in_world("data/wrong.jsonl"), "{\"instruction\": \"Who are you?\", \"output\": \"A.\"}\n{\"instruction\": \n{\"instruction\": \"And I?\", \"output\": \"B.\"}\n");
    put_text(in_world("data/dataset_info.json"), "{\"twice\": {\"file_name\": \"twice.jsonl\"}, \"wrong\": {\"file_name\": \"wrong.jsonl\"}}\n");
    expect_status(0, graft("data", "report", in_world("run.yaml"), "dataset=twice", "--plot", in_world("lengths.png")));
    expect_said(said_out, "records      3 read");
    expect_said(said_out, "1 samples come more than once");
    char *png = get_text(in_world("lengths.png"));
    ck_assert_mem_eq(png, "\x89PNG", 4);
    graft_free(png);
    expect_said(said_err, "the template smollm2 writes \" trained by Hugging Face.<|im_end|>"); /* a full stop more */
    expect_status(0, graft("data", "report", in_world("run.yaml"), "dataset=twice", "template=", "--json"));
    ck_assert_ptr_null(strstr(said_err, " writes "));
    expect_status(0, graft("data", "report", in_world("run.yaml"), "dataset=twice", "template=chatml", "train_on_prompt=true"));
    expect_said(said_err, "warning: the template chatml writes ");
    expect_said(said_err, "of 100 learned tokens are prompts");
    expect_status(0, graft("train", in_world("run.yaml"), "dataset=twice", "eval_dataset=twice", "max_steps=1", "--output_dir", in_world("out")));
    expect_said(said_err, "warning: 1 of 3 samples come more than once");
    expect_said(said_err, "warning: 3 of 3 samples to evaluate on are trained on too");
    expect_status(1, graft("data", "show", in_world("run.yaml"), "dataset=wrong"));
    expect_said(said_err, "wrong.jsonl");
    expect_status(0, graft("data", "report", in_world("run.yaml"), "dataset=wrong", "bad_records=skip", "--json"));
    graft_arena *a = graft_arena_new();
    const graft_json *v = parse_out(a);
    ck_assert_int_eq(graft_json_get(v, "bad")->integer, 1);
    ck_assert_int_eq(graft_json_get(v, "kept")->integer, 2);
    graft_arena_free(a);
}
END_TEST

/* The mean loss of line i of the last output. */
static double loss_of(int line)
{
    const char *at = said_out;
    while (line-- && at) at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL;
    ck_assert_ptr_nonnull(at);
    const char *loss = strstr(at, "\"loss\": ");
    ck_assert_ptr_nonnull(loss);
    return strtod(loss + 8, NULL);
}

START_TEST(score_chat_export)
{
    make_world("e2e-export");
    put_text(in_world("lines.jsonl"), "{\"text\": \"The sky is blue.\"}\n{\"input_ids\": [1, 4093, 198, 2683], \"labels\": [-100, -100, 198, 2683]}\n{\"input_ids\": [5]}\n");
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out")));
    char model[4096], lines[4096];
    snprintf(model, sizeof model, "%s", in_world("model"));
    snprintf(lines, sizeof lines, "%s", in_world("lines.jsonl"));
    expect_status(0, graft("score", "--model_name_or_path", model, "--input", lines, "--json"));
    const double base = loss_of(0);
    expect_said(said_out, "{\"loss\": null, \"tokens\": 0, \"input_tokens\": 1}");
    ck_assert_double_gt(base, 9.0); /* a random model: about ln 49152 */
    expect_status(0, graft("score", "--model_name_or_path", model, "--adapter_name_or_path", in_world("out"), "--input", lines, "--json"));
    const double adapted = loss_of(0), second = loss_of(1);
    ck_assert_double_gt(fabs(base - adapted), 1e-3);
    expect_status(0, graft("export", "--model_name_or_path", model, "--adapter_name_or_path", in_world("out"), "--export_dir", in_world("merged")));
    expect_said(said_out, "merged with");
    expect_status(0, graft("score", "--model_name_or_path", in_world("merged"), "--input", lines, "--json"));
    ck_assert_double_eq_tol(loss_of(0), adapted, 1e-4);
    ck_assert_double_eq_tol(loss_of(1), second, 1e-4);
    expect_status(0, graft("export", "--model_name_or_path", model, "--export_dir", in_world("bf16"), "--export_dtype", "bf16", "--json"));
    expect_said(said_out, "\"dtype\": \"bf16\"");
    expect_status(0, graft("score", "--model_name_or_path", in_world("bf16"), "--input", lines));
    expect_said(said_out, "perplexity");
    put_text(in_world("wrong.jsonl"), "{\"text\": \"x\"}\n{\"input_ids\": [1, 70000]}\n");
    expect_status(1, graft("score", "--model_name_or_path", model, "--input", in_world("wrong.jsonl")));
    expect_said(said_err, "wrong.jsonl:2: input_ids must be token ids below 49152, found another value at position 1");
}
END_TEST

START_TEST(chat)
{
    graft_arena *a = graft_arena_new();
    make_world("e2e-chat");
    expect_status(0, graft("chat", in_world("run.yaml"), "--prompt", "Who are you?", "--temperature", "0", "--max_new_tokens", "12", "--json"));
    const graft_json *v = parse_out(a);
    ck_assert_int_eq(graft_json_get(v, "tokens")->integer, 12);
    char *first = graft_arena_copy(a, graft_json_get(v, "answer")->text, graft_json_get(v, "answer")->bytes);
    expect_status(0, graft("chat", in_world("run.yaml"), "--prompt", "Who are you?", "--temperature", "0", "--max_new_tokens", "12"));
    ck_assert_int_eq(strncmp(said_out, first, strlen(first)), 0); /* the stream shows the same text */
    put_text(in_world("in.txt"), "Who are you?\nclear\nexit\n");
    expect_status(0, graft("chat", in_world("run.yaml"), "--do_sample", "false", "--max_new_tokens", "12"));
    expect_said(said_out, "User: Assistant: ");
    expect_said(said_out, first);
    expect_status(0, graft("chat", in_world("run.yaml"), "--prompt", "Hi", "--max_new_tokens", "8", "--seed", "1"));
    char *one = graft_arena_copy(a, said_out, strlen(said_out));
    expect_status(0, graft("chat", in_world("run.yaml"), "--prompt", "Hi", "--max_new_tokens", "8", "--seed", "1"));
    ck_assert_str_eq(said_out, one); /* draws come from the seed */
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "finetuning_type=full", "max_steps=200", "learning_rate=0.01", "save_strategy=no"));
    expect_status(0, graft("chat", in_world("run.yaml"), "--model_name_or_path", in_world("out"), "--prompt", "Who are you?", "--temperature", "0", "--max_new_tokens", "12"));
    ck_assert_str_eq(said_out, "I am Graft.\n"); /* it has learned who it is */
    graft_arena_free(a);
}
END_TEST

START_TEST(graph_and_plan)
{
    make_world("e2e-graph");
    expect_status(0, graft("graph", in_world("run.yaml")));
    expect_said(said_out, "lora_A");
    char *text = strdup(said_out);
    expect_status(0, graft("graph", in_world("run.yaml")));
    ck_assert_str_eq(said_out, text);
    free(text);
    expect_status(0, graft("graph", in_world("run.yaml"), "--purpose", "generate"));
    expect_status(0, graft("plan", in_world("run.yaml")));
    expect_said(said_out, "trained ");
    expect_said(said_out, "together");
    expect_status(0, graft("plan", "--model_name_or_path", in_world("model"), "--finetuning_type", "full", "--cutoff_len", "100", "--json"));
    graft_arena *a = graft_arena_new();
    const graft_json *v = parse_out(a);
    ck_assert_int_eq(graft_json_get(v, "tokens")->integer, 500); /* of the micro-batch of 800, as many whole samples as a run takes */
    ck_assert_int_eq(graft_json_get(v, "parameters")->integer, graft_json_get(v, "trainable")->integer);
    ck_assert_int_ge(graft_json_get(v, "optimiser")->integer, 8 * graft_json_get(v, "trainable")->integer);
    graft_arena_free(a);
}
END_TEST

START_TEST(keys_of_other_commands)
{
    make_world("e2e-keys");
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "max_steps=1", "bf16=true", "--ddp_timeout", "180000000", "--trust_remote_code", "True", "--packing", "False", "export_dir=x", "preprocessing_num_workers=16", "temperature=0.5", "flash_attn=auto", "overwrite_cache=true", "report_to=wandb"));
    expect_said(said_err, "warning: not acted on: report_to (the log is trainer_log.jsonl)");
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "use_badam=true"));
    expect_said(said_err, "command line: use_badam is not supported: ");
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out2"), "max_steps=1", "finetuning_type=full"));
    expect_said(said_err, "warning: not read by the tuning method full: lora_rank");
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, help);
    tcase_add_test(tc, documents);
    tcase_add_test(tc, sentences);
    tcase_add_test(tc, tokenize);
    tcase_add_test(tc, data);
    tcase_add_test(tc, data_report);
    tcase_add_test(tc, score_chat_export);
    tcase_add_test(tc, chat);
    tcase_add_test(tc, graph_and_plan);
    tcase_add_test(tc, keys_of_other_commands);
}

int main(void) { return graft_test_main("commands", cases); }
