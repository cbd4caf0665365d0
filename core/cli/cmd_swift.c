/* core/cli/cmd_swift.c - ms-swift's commands: sft and pt train, infer talks, deploy says what to use. (export is one command for both.) */
#include "core/base/error.h"
#include "core/cli/predict.h"
#include "core/cli/swift.h"

static graft_status train(graft_cli *c, graft_error *err) { return graft_command_train.run(c, err); }
static graft_status infer(graft_cli *c, graft_error *err)
{
    const char *path = graft_args_text(c->args, "result_path");
    return path ? graft_infer(c, path, err) : graft_command_chat.run(c, err);
}

#define TRAIN_USAGE(name)                                                                                                            \
    "Usage: graft " name " [FILE.yaml] --model DIR --dataset FILE[#N] ... [--flag value ...]\n\n"                                    \
    "  graft " name " --model models/small --train_type lora --dataset data.json --torch_dtype bfloat16 --lora_rank 8 \\\n"          \
    "      --target_modules all-linear --max_length 2048 --output_dir output\n"                                                      \
    "  graft " name " --model models/small --train_type full --lisa_activated_layers 2 --lisa_step_interval 20 --dataset x.json\n\n" \
    "The flags and defaults are ms-swift's: --train_type (or --tuner_type) lora, full and every method of `graft plugin list`,\n"    \
    "learning_rate 1e-4 (full 1e-5), weight_decay 0.1, adam_beta2 0.95, lr_scheduler_type cosine, lora_alpha 32, lora_dropout\n"     \
    "0.05, a window of 16 samples. A dataset is a file (its format is recognised) or a name of dataset_info.json; samples longer\n"  \
    "than max_length are left out. FILE#500 draws 500 records. Results go to OUTPUT_DIR/v0-DATE-TIME: checkpoints, args.json,\n"     \
    "logging.jsonl, images/. Keys of `graft train` may be mixed in.\n"

const graft_command graft_command_sft = {.name = "sft", .summary = "fine-tune, with ms-swift's flags", .usage = TRAIN_USAGE("sft"), .prepare = graft_swift_train, .run = train};
const graft_command graft_command_pt = {.name = "pt", .summary = "go on with pretraining, with ms-swift's flags", .usage = TRAIN_USAGE("pt"), .prepare = graft_swift_train, .run = train};

const graft_command graft_command_infer = {
    .name = "infer",
    .summary = "talk to a model or a checkpoint, with ms-swift's flags",
    .usage = "Usage: graft infer (--model DIR | --adapters DIR | --ckpt_dir DIR) [--flag value ...]\n\n"
             "  graft infer --model output/v0-20261125-143000/checkpoint-100 --stream true\n"
             "  graft infer --adapters output/v0-20261125-143000/checkpoint-100 --max_new_tokens 256\n\n"
             "  graft infer --model models/small --val_dataset questions.jsonl --result_path answers.jsonl --metric rouge\n\n"
             "A checkpoint of an adapter names its model; template and system text are those of the run (args.json), temperature and\n"
             "the like those of generation_config.json. --prompt TEXT answers one question. `graft help chat` tells the rest.\n",
    .prepare = graft_swift_infer,
    .run = infer,
};

static graft_status deploy(graft_cli *c, graft_error *err)
{
    (void)c;
    return graft_fail(err, GRAFT_UNSUPPORTED, NULL, "there is no server yet: talk with `graft infer`, or `graft export --ckpt_dir DIR --merge_lora true` and serve the merged folder with vLLM");
}

static graft_status any_words(graft_cli *c, int *n, char *const **words, graft_error *err)
{
    (void)c, (void)words, (void)err;
    *n = 0;
    return GRAFT_OK;
}

const graft_command graft_command_deploy = {
    .name = "deploy",
    .summary = "ms-swift's server; comes later",
    .usage = "Usage: graft deploy\n\n  graft export --ckpt_dir DIR --merge_lora true\n\nA server comes later. Talk in the terminal with `graft infer`, or merge as above and serve the folder with another program.\n",
    .prepare = any_words,
    .run = deploy,
};
