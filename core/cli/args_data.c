/* core/cli/args_data.c - arguments of data, generation and (historic) evaluation: LLaMA-Factory's names, types and defaults, and what becomes of each here. Columns: args.h. */
#include "core/cli/args_table.h"

/* clang-format off */
static const graft_arg data_args[] = {
    {"template", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "chat template name", NULL},
    {"dataset", GRAFT_ARG_LIST, NULL, NULL, GRAFT_ARG_ACTS, "training sets, comma separated", NULL},
    {"eval_dataset", GRAFT_ARG_LIST, NULL, NULL, GRAFT_ARG_ACTS, "evaluation sets, comma separated", NULL},
    {"dataset_dir", GRAFT_ARG_TEXT, "data", NULL, GRAFT_ARG_ACTS, "folder with dataset_info.json", NULL},
    {"media_dir", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_SAME, "root of image, video, audio files", "text models only"},
    {"cutoff_len", GRAFT_ARG_INT, "2048", NULL, GRAFT_ARG_ACTS, "longest sample in tokens", NULL},
    {"train_on_prompt", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "also learn the prompt tokens", NULL},
    {"mask_history", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "learn only the last answer", NULL},
    {"streaming", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "begin at once: nothing is tokenised before it is asked for; needs max_steps", NULL},
    {"buffer_size", GRAFT_ARG_INT, "16384", NULL, GRAFT_ARG_ACTS, "records of the shuffle buffer when streaming", NULL},
    {"mix_strategy", GRAFT_ARG_TEXT, "concat", "concat|interleave_under|interleave_over|interleave_once", GRAFT_ARG_ACTS, "how several sets are combined", NULL},
    {"interleave_probs", GRAFT_ARG_LIST, NULL, NULL, GRAFT_ARG_ACTS, "sampling probability per set", NULL},
    {"overwrite_cache", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "ignore cached preprocessing", NULL},
    {"preprocessing_batch_size", GRAFT_ARG_INT, "1000", NULL, GRAFT_ARG_ACTS, "records whose samples may share a block when packing", NULL},
    {"preprocessing_num_workers", GRAFT_ARG_INT, NULL, NULL, GRAFT_ARG_ACTS, "into how many runs the records fall when packing; all processors are used in any case", NULL},
    {"max_samples", GRAFT_ARG_INT, NULL, NULL, GRAFT_ARG_ACTS, "keep the first N of each set", NULL},
    {"eval_num_beams", GRAFT_ARG_INT, NULL, NULL, GRAFT_ARG_SAME, "beams when predicting", "num_beams says how many"},
    {"ignore_pad_token_for_loss", GRAFT_ARG_FLAG, "true", NULL, GRAFT_ARG_REFUSED, "no loss on label padding", "there is no padding to learn; leave it out"},
    {"val_size", GRAFT_ARG_REAL, "0.0", NULL, GRAFT_ARG_ACTS, "share or number held out for evaluation", NULL},
    {"eval_on_each_dataset", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "evaluate each set by itself: eval_NAME_loss", NULL},
    {"packing", GRAFT_ARG_FLAG, NULL, NULL, GRAFT_ARG_ACTS, "fill blocks with several samples, which see each other", NULL},
    {"neat_packing", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "packed samples cannot see each other", NULL},
    {"tool_format", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "override of the tool-call style", NULL},
    {"default_system", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "override of the template's system prompt", NULL},
    {"enable_thinking", GRAFT_ARG_FLAG, "true", NULL, GRAFT_ARG_ACTS, "thought handling of reasoning templates: true, false or null", NULL},
    {"preserve_thinking", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "keep thoughts of earlier turns", NULL},
    {"tokenized_path", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "folder for tokenised samples instead of the user's cache; samples that LLaMA-Factory saved there are taken as they are", NULL},
    {"data_shared_file_system", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_SAME, "nodes share one disk", "one machine"},
};
/* clang-format on */
const graft_arg_group graft_args_data = {"data", data_args, sizeof data_args / sizeof *data_args};

/* clang-format off */
static const graft_arg generation_args[] = {
    {"do_sample", GRAFT_ARG_FLAG, "true", NULL, GRAFT_ARG_ACTS, "sample instead of greedy", NULL},
    {"temperature", GRAFT_ARG_REAL, "0.95", NULL, GRAFT_ARG_ACTS, "sampling temperature", NULL},
    {"top_p", GRAFT_ARG_REAL, "0.7", NULL, GRAFT_ARG_ACTS, "nucleus probability", NULL},
    {"top_k", GRAFT_ARG_INT, "50", NULL, GRAFT_ARG_ACTS, "candidates per step", NULL},
    {"num_beams", GRAFT_ARG_INT, "1", NULL, GRAFT_ARG_REFUSED, "beams, 1 is none", "use sampling or temperature 0"},
    {"max_length", GRAFT_ARG_INT, "1024", NULL, GRAFT_ARG_SAME, "total length, used when max_new_tokens is 0", "only used when max_new_tokens is 0"},
    {"max_new_tokens", GRAFT_ARG_INT, "1024", NULL, GRAFT_ARG_ACTS, "most new tokens", NULL},
    {"repetition_penalty", GRAFT_ARG_REAL, "1.0", NULL, GRAFT_ARG_ACTS, "penalty on repeated tokens", NULL},
    {"length_penalty", GRAFT_ARG_REAL, "1.0", NULL, GRAFT_ARG_SAME, "length exponent in beam search", "only used with beams"},
    {"skip_special_tokens", GRAFT_ARG_FLAG, "true", NULL, GRAFT_ARG_ACTS, "drop special tokens from text", NULL},
};
/* clang-format on */
const graft_arg_group graft_args_generation = {"generation", generation_args, sizeof generation_args / sizeof *generation_args};

/* clang-format off */
static const graft_arg evaluation_args[] = {
    {"task", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_REFUSED, "benchmark and split", "`eval` is no command here, use `graft score`"},
    {"task_dir", GRAFT_ARG_TEXT, "evaluation", NULL, GRAFT_ARG_SAME, "benchmark folder", "only used with task"},
    {"batch_size", GRAFT_ARG_INT, "4", NULL, GRAFT_ARG_SAME, "evaluation batch size", "only used with task"},
    {"lang", GRAFT_ARG_TEXT, "en", "en|zh", GRAFT_ARG_SAME, "prompt language", "only used with task"},
    {"n_shot", GRAFT_ARG_INT, "5", NULL, GRAFT_ARG_SAME, "examples in the prompt", "only used with task"},
    {"save_dir", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_SAME, "new folder for results", "only used with task"},
    {"download_mode", GRAFT_ARG_TEXT, "reuse_dataset_if_exists", "reuse_dataset_if_exists|reuse_cache_if_exists|force_redownload", GRAFT_ARG_SAME, "reuse or reload the benchmark", "only used with task"},
};
/* clang-format on */
const graft_arg_group graft_args_evaluation = {"evaluation", evaluation_args, sizeof evaluation_args / sizeof *evaluation_args};
