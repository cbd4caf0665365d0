/* core/cli/args_own.c - graft's own arguments, and older spellings of LLaMA-Factory's. Columns: args.h. */
#include "core/cli/args_table.h"

/* clang-format off */
static const graft_arg own_args[] = {
    {"backend", GRAFT_ARG_ANY, "auto", NULL, GRAFT_ARG_ACTS, "compute backend: NAME of the registry, NAME:DEVICE, or NAME: {device: 1, threads: 4 ...}", NULL},
    {"threads", GRAFT_ARG_INT, "0", NULL, GRAFT_ARG_ACTS, "threads of the backend, 0: all processors", NULL},
    {"compute", GRAFT_ARG_TEXT, "auto", "auto|f32|bf16|fp16", GRAFT_ARG_ACTS, "what matrix products multiply in; auto: f32, or what bf16 and fp16 allow", NULL},
    {"memory", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "most memory to use, e.g. 6G or 800M; recomputation is chosen to fit", NULL},
    {"base_dtype", GRAFT_ARG_TEXT, "auto", "auto|f32|bf16|f16|nf4|int8", GRAFT_ARG_ACTS, "number type that frozen weights of the base are held in, auto: as the files store them", NULL},
    {"registry", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "a further registry file", NULL},
    {"template_dir", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "folder of chat templates instead of the shipped one", NULL},
    {"overlong", GRAFT_ARG_TEXT, "cut", "cut|drop", GRAFT_ARG_ACTS, "what happens to samples longer than cutoff_len", NULL},
    {"bad_records", GRAFT_ARG_TEXT, "error", "error|skip", GRAFT_ARG_ACTS, "what happens at a record that is none", NULL},
    {"cache_limit", GRAFT_ARG_TEXT, "50G", NULL, GRAFT_ARG_ACTS, "most bytes of tokenised samples in the user's cache; sets unused for 30 days go in any case", NULL},
    {"separate_texts", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "stage pt: packed texts cannot see each other", NULL},
    {"learn_pad", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "stage pt: the pad token, often eos, is learned too", NULL},
    {"today", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "the date in tool prompts that hold one, as 26 Jul 2024; default today", NULL},
    {"json", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "the report as JSON", NULL},
    {"color", GRAFT_ARG_TEXT, "auto", "auto|always|never", GRAFT_ARG_ACTS, "colours in text for people", NULL},
    {"prompt", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "chat: one question, answered, and done", NULL},
    {"no_repeat_ngram_size", GRAFT_ARG_INT, "0", NULL, GRAFT_ARG_ACTS, "chat, predict: no run of so many tokens comes twice, 0 is off", NULL},
    {"adapter", GRAFT_ARG_LIST, NULL, NULL, GRAFT_ARG_ACTS, "chat, score, export: which loaded adapters act and how strongly, as math=0.7, chat", NULL},
    {"compare", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "chat: base, or a model's folder: its answers stand beside the others", NULL},
    {"result_path", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "infer: the JSONL file of answers to eval_dataset", NULL},
    {"metric", GRAFT_ARG_TEXT, NULL, "acc|rouge", GRAFT_ARG_ACTS, "infer: how answers to eval_dataset are rated", NULL},
    {"input", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "score, tokenize: the JSONL file to read, - for standard input; chat with compare: a question a line", NULL},
    {"decode", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "tokenize: ids to text", NULL},
    {"batch", GRAFT_ARG_INT, "4", NULL, GRAFT_ARG_ACTS, "bench train: sequences of a step", NULL},
    {"length", GRAFT_ARG_INT, "512", NULL, GRAFT_ARG_ACTS, "bench train: tokens of a sequence", NULL},
    {"prompt_tokens", GRAFT_ARG_INT, "512", NULL, GRAFT_ARG_ACTS, "bench generate: tokens of the prompt", NULL},
    {"new_tokens", GRAFT_ARG_INT, "64", NULL, GRAFT_ARG_ACTS, "bench generate: tokens of the answer", NULL},
    {"rounds", GRAFT_ARG_INT, "5", NULL, GRAFT_ARG_ACTS, "bench: how often to measure, after a first time", NULL},
    {"file", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "data show: a data file that no registry names", NULL},
    {"plot", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "data report: a PNG of the samples' lengths", NULL},
    {"export_dtype", GRAFT_ARG_TEXT, NULL, "f32|bf16|f16", GRAFT_ARG_ACTS, "export: number type of the weights, default the model's own", NULL},
    {"purpose", GRAFT_ARG_TEXT, "train", "train|loss|generate|forward", GRAFT_ARG_ACTS, "graph: what the graph is for", NULL},
    {"name", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "plugin add: name of the entry", NULL},
    {"force", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "plugin add: replace an entry of the same name", NULL},
    {"report", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ACTS, "selftest: the JSON file to write", NULL},
    {"man", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "help: the manual page", NULL},
    {"compat", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_ACTS, "help: every LLaMA-Factory key and what becomes of it, as Markdown", NULL},
};
const char *const graft_args_host_backend = "cpu"; /* use_cpu */

static const graft_arg older_args[] = {
    {"evaluation_strategy", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ALIAS, "older spelling", "eval_strategy"},
    {"new_special_tokens", GRAFT_ARG_LIST, NULL, NULL, GRAFT_ARG_ALIAS, "older spelling", "add_special_tokens"},
    {"image_dir", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ALIAS, "older spelling", "media_dir"},
    {"image_resolution", GRAFT_ARG_INT, NULL, NULL, GRAFT_ARG_ALIAS, "older spelling", "image_max_pixels"},
    {"video_resolution", GRAFT_ARG_INT, NULL, NULL, GRAFT_ARG_ALIAS, "older spelling", "video_max_pixels"},
    {"checkpoint_dir", GRAFT_ARG_LIST, NULL, NULL, GRAFT_ARG_ALIAS, "older spelling", "adapter_name_or_path"},
    {"prompt_template", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_ALIAS, "older spelling", "template"},
    {"no_cuda", GRAFT_ARG_FLAG, NULL, NULL, GRAFT_ARG_ALIAS, "older spelling", "use_cpu"},
    {"neft_alpha", GRAFT_ARG_REAL, NULL, NULL, GRAFT_ARG_ALIAS, "older spelling", "neftune_noise_alpha"},
    {"save_safetensors", GRAFT_ARG_FLAG, "true", NULL, GRAFT_ARG_SAME, "write safetensors", "safetensors is always written"},
    {"group_by_length", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_REFUSED, "batches of like lengths", "batches hold no padding, so it gains nothing; leave it out"},
    {"visual_inputs", GRAFT_ARG_FLAG, "false", NULL, GRAFT_ARG_REFUSED, "images in the data", "text models only"},
    {"ray_run_name", GRAFT_ARG_TEXT, NULL, NULL, GRAFT_ARG_SAME, "name of the Ray run", "one machine"},
};
/* clang-format on */
const graft_arg_group graft_args_own = {"graft", own_args, sizeof own_args / sizeof *own_args};
const graft_arg_group graft_args_older = {"older", older_args, sizeof older_args / sizeof *older_args};
