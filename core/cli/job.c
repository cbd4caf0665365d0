/* core/cli/job.c - see job.h. */
#include "core/cli/job.h"

#include "core/base/error.h"
#include "core/base/log.h"

#include <math.h>
#include <string.h>

/* use_galore: LLaMA-Factory's keys, where they are given, over transformers' optim_args. */
static graft_status choose_galore(const graft_args *x, graft_optim_options *o, graft_error *err)
{
    char args[512];
    const char *name = graft_args_text(x, "optim"), *more = graft_args_text(x, "optim_args");
    if (strncmp(name, "adamw", 5) != 0 || strstr(name, "8bit")) return graft_fail(err, GRAFT_UNSUPPORTED, "use_galore", "GaLore is there for adamw in f32: leave out optim=%s", name);
    const int n = snprintf(args, sizeof args, "rank=%lld, update_proj_gap=%lld, scale=%.17g, proj_type=%s%s%s", (long long)graft_args_int(x, "galore_rank"), (long long)graft_args_int(x, "galore_update_interval"), graft_args_real(x, "galore_scale"), graft_args_text(x, "galore_proj_type"), more ? ", " : "", more ? more : "");
    if (n >= (int)sizeof args) return graft_fail(err, GRAFT_BAD_INPUT, "optim_args", "it is longer than %zu bytes", sizeof args - 128);
    o->galore_target = graft_args_text(x, "galore_target");
    return graft_optim_choose(o, "galore_adamw", args, err);
}

/* use_muon and use_galore are LLaMA-Factory's ways to name an optimiser. */
static graft_status choose_optim(const graft_args *x, graft_optim_options *o, graft_error *err)
{
    if (graft_args_flag(x, "use_galore")) return choose_galore(x, o, err);
    return graft_optim_choose(o, graft_args_flag(x, "use_muon") ? "muon" : graft_args_text(x, "optim"), graft_args_text(x, "optim_args"), err);
}

/* include_num_input_tokens_seen: a truth value or "all", "non_padding", "no". */
static int counts_tokens(const graft_args *x)
{
    const graft_json *v = graft_args_value(x, "include_num_input_tokens_seen");
    if (!v) return 0;
    if (v->type == GRAFT_JSON_TEXT) return strcmp(v->text, "no") && strcmp(v->text, "false") && strcmp(v->text, "False");
    return v->integer != 0;
}

static graft_status read_options(graft_job *j, graft_error *err)
{
    const graft_args *x = j->s.c->args;
    j->o = (graft_train_options){
        .output_dir = graft_args_text(x, "output_dir"),
        .learning_rate = graft_args_real(x, "learning_rate"),
        .optim = {.beta1 = graft_args_real(x, "adam_beta1"), .beta2 = graft_args_real(x, "adam_beta2"), .epsilon = graft_args_real(x, "adam_epsilon"), .weight_decay = graft_args_real(x, "weight_decay"), .max_grad_norm = graft_args_real(x, "max_grad_norm")},
        .neftune_noise_alpha = graft_args_real(x, "neftune_noise_alpha"),
        .num_train_epochs = graft_args_real(x, "num_train_epochs"),
        .max_steps = graft_args_int(x, "max_steps"),
        .per_device_train_batch_size = graft_args_int(x, "per_device_train_batch_size"),
        .per_device_eval_batch_size = graft_args_int(x, "per_device_eval_batch_size"),
        .gradient_accumulation_steps = graft_args_int(x, "gradient_accumulation_steps"),
        .lr_scheduler_type = graft_args_text(x, "lr_scheduler_type"),
        .lr_scheduler_kwargs = graft_args_value(x, "lr_scheduler_kwargs"),
        .warmup_ratio = graft_args_real(x, "warmup_ratio"),
        .warmup_steps = graft_args_real(x, "warmup_steps"),
        .logging_steps = graft_args_real(x, "logging_steps"),
        .save_steps = graft_args_real(x, "save_steps"),
        .eval_steps = graft_args_real(x, "eval_steps"),
        .save_strategy = graft_args_text(x, "save_strategy"),
        .eval_strategy = graft_args_text(x, "eval_strategy"),
        .save_total_limit = graft_args_int(x, "save_total_limit"),
        .seed = (uint64_t)graft_args_int(x, "seed"),
        .data_seed = graft_args_given(x, "data_seed") ? (uint64_t)graft_args_int(x, "data_seed") : UINT64_MAX,
        .disable_shuffling = graft_args_flag(x, "disable_shuffling") || graft_args_flag(x, "streaming"), /* a stream is shuffled by itself */
        .plot_loss = graft_args_flag(x, "plot_loss"),
        .overwrite_output_dir = graft_args_flag(x, "overwrite_output_dir"),
        .include_num_input_tokens_seen = counts_tokens(x),
        .logging_first_step = graft_args_flag(x, "logging_first_step"),
        .do_eval = graft_args_flag(x, "do_eval"),
        .eval_on_start = graft_args_flag(x, "eval_on_start"),
        .eval_delay = graft_args_real(x, "eval_delay"),
        .logging_strategy = graft_args_text(x, "logging_strategy"),
        .load_best_model_at_end = graft_args_flag(x, "load_best_model_at_end"),
        .metric_for_best_model = graft_args_text(x, "metric_for_best_model"),
        .greater_is_better = graft_args_given(x, "greater_is_better") ? graft_args_flag(x, "greater_is_better") : 0,
        .early_stopping_steps = graft_args_int(x, "early_stopping_steps"),
        .include_effective_tokens = graft_args_flag(x, "include_effective_tokens_per_second"),
        .save_only_model = graft_args_flag(x, "save_only_model"),
        .no_recompute = graft_args_flag(x, "disable_gradient_checkpointing"),
        .resume_from_checkpoint = graft_args_text(x, "resume_from_checkpoint"),
        .cutoff_len = graft_args_int(x, "cutoff_len"),
        .base_name = graft_args_text(x, "model_name_or_path"),
        .dataset_name = graft_args_text(x, "dataset"),
        .method_name = j->s.names,
    };
    const char *memory = graft_args_text(x, "memory");
    graft_status s = memory ? graft_parse_bytes(memory, &j->o.memory_bytes, err) : GRAFT_OK;
    if (!s) s = choose_optim(x, &j->o.optim, err);
    for (int i = 0; !s && i < j->s.n_methods && graft_args_flag(x, "use_galore"); i++)
        if (j->s.methods[i].table->files) s = graft_fail(err, GRAFT_UNSUPPORTED, "use_galore", "GaLore is for training the model's own weights, and %s trains few others: use finetuning_type full or freeze", j->s.methods[i].name);
    return s;
}

/* Builds the graph once and throws it away: wrong selectors are said before any data is read, and which of its keys the method reads is known. */
static graft_status try_graph(const graft_session *s, graft_error *err)
{
    graft_graph *g = NULL;
    const graft_status status = graft_model_graph(s->model, s->methods, s->n_methods, GRAFT_FOR_LOSS, &g, err);
    graft_graph_free(g);
    return status;
}

graft_status graft_job_open(graft_job *j, int without_data, graft_error *err)
{
    graft_session *s = &j->s;
    const graft_args *x = s->c->args;
    const int has_data = !without_data || graft_args_given(x, "dataset");
    graft_registry *registry = NULL;
    graft_status status = graft_cli_registry(s->c, &registry, err);
    if (!status) status = graft_args_check(x, registry, without_data, err);
    if (!status) status = graft_session_model(s, err);
    if (!status) s->model->balance = graft_args_real(x, "moe_aux_loss_coef");
    if (!status && !(s->model->balance >= 0 && s->model->balance < 1e6)) status = graft_fail(err, GRAFT_BAD_INPUT, "moe_aux_loss_coef", "expected a number from 0, found %g", s->model->balance);
    if (!status) status = graft_session_method(s, 1, err);
    if (!status) status = try_graph(s, err);
    if (!status) status = graft_args_finish(x, s->names, err);
    if (!status && has_data) status = graft_session_template(s, err);
    if (!status && has_data) status = graft_session_template_look(s, err);
    if (!status) status = graft_session_device(s, err);
    if (!status) status = read_options(j, err);
    if (!status && has_data) status = graft_session_data(s, &j->train, &j->eval, err);
    for (int i = 0; i < j->eval.n; i++) j->eval_sets[i] = j->eval.set[i];
    j->job = (graft_train_job){.model = s->model, .methods = s->methods, .n_methods = s->n_methods, .device = &s->device, .tokenizer = s->tokenizer, .train = j->train, .eval = j->eval.set[0], .eval_sets = j->eval_sets, .eval_names = j->eval.name, .n_eval_sets = j->eval.each ? j->eval.n : 0, .adapters = s->adapters, .options = &j->o, .arguments = graft_args_object(x)};
    return status;
}

void graft_job_close(graft_job *j)
{
    graft_dataset_free(j->train);
    graft_session_eval_free(&j->eval);
    graft_session_close(&j->s);
}
