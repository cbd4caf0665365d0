/* Several methods in one run, and several adapters of earlier runs, through the program: what is saved, resumed bit for bit, loaded, chosen, merged and refused. */
#include "tests/e2e/world.h"

#include <math.h>

/* The text with the world's folder for each @; the last sixteen stay. */
static const char *at(const char *text)
{
    static char rooms[16][9000];
    static int next;
    char *out = rooms[next++ % 16];
    size_t used = 0;
    for (; *text && used + sizeof root < sizeof rooms[0]; text++) {
        if (*text == '@') used += (size_t)snprintf(out + used, sizeof rooms[0] - used, "%s", root);
        else out[used++] = *text;
    }
    out[used] = 0;
    return out;
}

static void train_to(const char *out, const char *a, const char *b, const char *c) { expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", in_world("%s", out), "max_steps=6", a, b, c)); }

static void same(const char *x, const char *y, const char *file) { ck_assert_msg(!strcmp(sha_of(in_world("%s/%s", x, file)), sha_of(in_world("%s/%s", y, file))), "%s", file); }

/* The loss of one text with these words. */
static double loss_of(const char *model, const char *adapter, const char *choice)
{
    graft_arena *a = graft_arena_new();
    const graft_json *v = NULL;
    put_text(at("@/lines.jsonl"), "{\"text\": \"What is the capital of France? Paris. Say hello. Hello!\"}\n");
    expect_status(0, graft("score", "--model_name_or_path", model, "--input", at("@/lines.jsonl"), "--json", "backend=cpu", adapter ? adapter : "seed=42", choice ? choice : "seed=42"));
    ck_assert_ok(graft_json_parse(a, "out", said_out, strlen(said_out), 0, &v, &err));
    const double loss = graft_json_get(v, "loss")->number;
    graft_arena_free(a);
    return loss;
}

START_TEST(two_methods_in_one_run)
{
    static const char *const files[] = {"adapters.json", "lora/adapter_model.safetensors", "lora/adapter_config.json", "adapter/adapter.safetensors", "adapter/adapter_config.json"};
    make_world("methods-together");
    train_to("whole", "finetuning_type=lora,adapter", "lora_target=q_proj,v_proj", "adapter_type=pfeiffer");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) ck_assert_msg(graft_path_exists(in_world("whole/%s", files[i])) && graft_path_exists(in_world("whole/checkpoint-6/%s", files[i])), "%s is missing", files[i]);
    ck_assert(!graft_path_exists(at("@/whole/adapter_config.json")) && !graft_path_exists(at("@/whole/model.safetensors")));
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/again"), "max_steps=6", "finetuning_type=lora,adapter", "lora_target=q_proj,v_proj", "adapter_type=pfeiffer", at("resume_from_checkpoint=@/whole/checkpoint-5")));
    expect_said(said_err, "going on from");
    for (size_t i = 1; i < sizeof files / sizeof *files; i += 2) same("whole", "again", files[i]);
    same("whole", "again", "checkpoint-6/optimiser.safetensors");
    /* Both act when the folder is loaded, and each alone is something else. */
    char model[4096], merged[4096];
    snprintf(model, sizeof model, "%s", at("@/model"));
    snprintf(merged, sizeof merged, "%s", at("@/merged"));
    const double none = loss_of(model, NULL, NULL), both = loss_of(model, at("adapter_name_or_path=@/whole"), NULL), lora = loss_of(model, at("adapter_name_or_path=@/whole/lora"), NULL), adapter = loss_of(model, at("adapter_name_or_path=@/whole/adapter"), NULL);
    ck_assert(fabs(both - none) > 1e-3 && fabs(both - lora) > 1e-4 && fabs(both - adapter) > 1e-4);
    const double part = loss_of(model, at("adapter_name_or_path=@/whole"), "adapter=whole.lora");
    ck_assert_double_eq(part, lora);
    expect_status(1, graft("export", "--model_name_or_path", model, "--adapter_name_or_path", at("@/whole"), "--export_dir", at("@/merged")));
    expect_said(said_err, "the method adapter cannot be merged");
}
END_TEST

START_TEST(an_adapter_and_the_base)
{
    make_world("methods-mixed");
    train_to("whole", "finetuning_type=lora,lisa", "lora_target=q_proj", "lisa_activated_layers=1");
    ck_assert(graft_path_exists(at("@/whole/model.safetensors")) && graft_path_exists(at("@/whole/lora/adapter_model.safetensors")));
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/again"), "max_steps=6", "finetuning_type=lora,lisa", "lora_target=q_proj", "lisa_activated_layers=1", at("resume_from_checkpoint=@/whole/checkpoint-5")));
    same("whole", "again", "model.safetensors");
    same("whole", "again", "lora/adapter_model.safetensors");
    char whole[4096];
    snprintf(whole, sizeof whole, "%s", at("@/whole"));
    ck_assert_double_gt(fabs(loss_of(whole, at("adapter_name_or_path=@/whole"), NULL) - loss_of(whole, NULL, NULL)), 1e-5);
}
END_TEST

START_TEST(refused_together)
{
    static const struct {
        const char *types, *says;
    } pairs[] = {{"prompt,ptuning", "both prompt and ptuning put virtual tokens at site model.embed_tokens"}, {"full,lisa", "both full and lisa claim the weight model.embed_tokens.weight"}, {"lora,lora", "the method lora is named twice"}, {"lora,lorra", "lorra"}};
    make_world("methods-refused");
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char types[64];
        snprintf(types, sizeof types, "finetuning_type=%s", pairs[i].types);
        expect_status(1, graft("train", at("@/run.yaml"), "--output_dir", at("@/out"), types, "num_virtual_tokens=2"));
        expect_said(said_err, pairs[i].says);
    }
    expect_status(1, graft("train", at("@/run.yaml"), "--output_dir", at("@/out"), "finetuning_type=lora,full", "init_lora_weights=olora"));
    expect_said(said_err, "cannot run beside full");
}
END_TEST

/* Training with `a,b`: a stands, b goes on; with create_new_adapter both stand and a third begins. */
START_TEST(on_top_of_others)
{
    make_world("methods-ontop");
    train_to("a", "seed=1", "lora_target=all", "lora_rank=4");
    train_to("b", "seed=2", "lora_target=q_proj,v_proj", "lora_rank=2");
    expect_status(0, graft("export", "--model_name_or_path", at("@/model"), "--adapter_name_or_path", at("@/a"), "--export_dir", at("@/model_a"), "--export_dtype", "f32", "--template", "smollm2"));
    /* The same run on the model that was merged and written. */
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/ab"), "max_steps=4", at("adapter_name_or_path=@/a,@/b")));
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/b_on_a"), "max_steps=4", at("adapter_name_or_path=@/b"), at("model_name_or_path=@/model_a")));
    same("ab", "b_on_a", "adapter_model.safetensors");
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/new"), "max_steps=4", "create_new_adapter=true", "lora_rank=3", at("adapter_name_or_path=@/a"), "init_lora_weights=olora"));
    expect_said(said_err, "become");
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/new_on_a"), "max_steps=4", "lora_rank=3", at("model_name_or_path=@/model_a"), "init_lora_weights=olora"));
    same("new", "new_on_a", "adapter_model.safetensors");
    /* resumed: the base is merged again */
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/new2"), "max_steps=4", "create_new_adapter=true", "lora_rank=3", at("adapter_name_or_path=@/a"), "init_lora_weights=olora", at("resume_from_checkpoint=@/new/checkpoint-3")));
    same("new", "new2", "adapter_model.safetensors");
}
END_TEST

START_TEST(chosen_by_name)
{
    make_world("methods-chosen");
    train_to("a", "seed=1", "lora_target=all", "lora_rank=4");
    train_to("b", "seed=2", "lora_target=q_proj,v_proj", "lora_rank=2");
    char model[4096], merged[4096];
    snprintf(model, sizeof model, "%s", at("@/model"));
    snprintf(merged, sizeof merged, "%s", at("@/merged"));
    char both[9100];
    snprintf(both, sizeof both, "%s", at("adapter_name_or_path=first=@/a, @/b"));
    const double none = loss_of(model, NULL, NULL), a = loss_of(model, at("adapter_name_or_path=@/a"), NULL), b = loss_of(model, at("adapter_name_or_path=@/b"), NULL), ab = loss_of(model, both, NULL);
    ck_assert_double_eq(loss_of(model, both, "adapter=first"), a);
    ck_assert_double_eq(loss_of(model, both, "adapter=b"), b);
    ck_assert_double_eq(loss_of(model, both, "adapter=none"), none);
    ck_assert_double_eq(loss_of(model, both, "adapter=b=1,first=1"), ab);
    ck_assert(fabs(a - none) > 1e-3 && fabs(b - none) > 1e-4 && fabs(ab - a) > 1e-5);
    const double half = loss_of(model, both, "adapter=first=0.5,b=-2");
    ck_assert(fabs(half - ab) > 1e-5 && isfinite(half));
    expect_status(0, graft("export", "--model_name_or_path", model, at(both), "adapter=first=0.5,b=-2", "--export_dir", at("@/merged"), "--export_dtype", "f32"));
    ck_assert_double_lt(fabs(loss_of(merged, NULL, NULL) - half), 1e-4);
    expect_status(1, graft("score", "--model_name_or_path", model, "--input", at("@/lines.jsonl"), at(both), "adapter=frist"));
    expect_said(said_err, "no loaded adapter is called 'frist', did you mean 'first'?");
    expect_status(1, graft("score", "--model_name_or_path", model, "--input", at("@/lines.jsonl"), at(both), "adapter=b=x"));
    expect_said(said_err, "expected NAME or NAME=STRENGTH");
    /* Two that would both put virtual tokens: one at a time. */
    train_to("p", "finetuning_type=prompt", "num_virtual_tokens=2", "seed=3");
    train_to("q", "finetuning_type=prompt", "num_virtual_tokens=3", "seed=4");
    const double p = loss_of(model, at("adapter_name_or_path=@/p"), NULL);
    ck_assert_double_eq(loss_of(model, at("adapter_name_or_path=@/p,@/q"), "adapter=p"), p);
    expect_status(1, graft("score", "--model_name_or_path", model, "--input", at("@/lines.jsonl"), at("adapter_name_or_path=@/p,@/q")));
    expect_said(said_err, "only one can");
    expect_status(1, graft("score", "--model_name_or_path", model, "--input", at("@/lines.jsonl"), at("adapter_name_or_path=@/p"), "adapter=p=0.5"));
    expect_said(said_err, "can be on or off but not at strength 0.5");
    /* In a conversation, from one question to the next. */
    put_text(at("@/in.txt"), "hello\n/adapter b=2\nhello\n/adapter nobody\n/adapter\n/adapter first\nexit\n");
    expect_status(0, graft("chat", "--model_name_or_path", model, at(both), "--template", "smollm2", "--max_new_tokens", "2", "do_sample=false", "backend=cpu"));
    expect_said(said_err, "first=0, b=2");
    expect_said(said_err, "no loaded adapter is called 'nobody'");
    expect_said(said_err, "first=1, b=0");
}
END_TEST

/* Changes of one site follow each other in the order named: linear ones add up, bottleneck adapters stand one behind the other. */
START_TEST(stacked)
{
    make_world("methods-stacked");
    train_to("x", "finetuning_type=adapter", "adapter_type=pfeiffer", "seed=1");
    train_to("y", "finetuning_type=adapter", "adapter_type=pfeiffer", "seed=2");
    train_to("a", "seed=1", "lora_target=all", "learning_rate=1e-2");
    train_to("b", "seed=2", "lora_target=all", "learning_rate=1e-2");
    char model[4096];
    snprintf(model, sizeof model, "%s", at("@/model"));
    const double x = loss_of(model, at("adapter_name_or_path=@/x"), NULL);
    const double xy = loss_of(model, at("adapter_name_or_path=@/x,@/y"), NULL), yx = loss_of(model, at("adapter_name_or_path=@/y,@/x"), NULL);
    const double ab = loss_of(model, at("adapter_name_or_path=@/a,@/b"), NULL), ba = loss_of(model, at("adapter_name_or_path=@/b,@/a"), NULL);
    ck_assert_msg(fabs(xy - x) > 1e-6 && fabs(xy - yx) > 1e-6, "x %.9f xy %.9f yx %.9f", x, xy, yx);
    ck_assert_msg(fabs(ab - ba) < 1e-6, "ab %.9f ba %.9f", ab, ba);
}
END_TEST

/* Embedding and head trained whole on a model whose head is its embedding: two weights from then on, as PEFT has it. */
START_TEST(tied_heads)
{
    static const char *const whole[] = {"modules_to_save=lm_head", "modules_to_save=embed_tokens", "additional_target=embed_tokens,lm_head"};
    make_world("methods-tied");
    for (int i = 0; i < 3; i++) {
        graft_weights *w = NULL;
        train_to("out", whole[i], "overwrite_output_dir=true", "lora_target=q_proj");
        ck_assert_ok(graft_weights_open(at("@/out/adapter_model.safetensors"), &w, &err));
        ck_assert_int_eq(graft_weights_find(w, "base_model.model.lm_head.weight") != NULL, i != 1);
        ck_assert_int_eq(graft_weights_find(w, "base_model.model.model.embed_tokens.weight") != NULL, i != 0);
        graft_weights_close(w);
        const double beside = loss_of(at("@/model"), at("adapter_name_or_path=@/out"), NULL);
        expect_status(0, graft("export", "--model_name_or_path", at("@/model"), "--adapter_name_or_path", at("@/out"), "--export_dir", at("@/merged"), "--export_dtype", "f32"));
        ck_assert_double_lt(fabs(loss_of(at("@/merged"), NULL, NULL) - beside), 1e-5);
        char *config = get_text(at("@/merged/config.json"));
        expect_said(config, "\"tie_word_embeddings\": false");
        graft_free(config);
        /* on top of it: the head that stands apart stays apart */
        expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/top"), "max_steps=2", "overwrite_output_dir=true", "create_new_adapter=true", at("adapter_name_or_path=@/out")));
        expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/top_of_merged"), "max_steps=2", "overwrite_output_dir=true", at("model_name_or_path=@/merged")));
        same("top", "top_of_merged", "adapter_model.safetensors");
    }
}
END_TEST

/* A run with moments in eight bits goes on bit for bit: these matrices have the 4096 elements from which on they are packed. */
START_TEST(eight_bits_resumed)
{
    make_world("methods-eight");
    graft_weights *w = NULL;
    train_to("whole", "optim=adamw_8bit", "lora_rank=256", "lora_target=q_proj");
    ck_assert_ok(graft_weights_open(at("@/whole/checkpoint-6/optimiser.safetensors"), &w, &err));
    ck_assert_ptr_nonnull(graft_weights_find(w, "adam8_m:model.layers.0.self_attn.q_proj.lora_A.weight"));
    graft_weights_close(w);
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/again"), "max_steps=6", "optim=adamw_8bit", "lora_rank=256", "lora_target=q_proj", at("resume_from_checkpoint=@/whole/checkpoint-5")));
    same("whole", "again", "adapter_model.safetensors");
    same("whole", "again", "checkpoint-6/optimiser.safetensors");
}
END_TEST

/* AdaLoRA's ranks, and what it knows of their worth, go on bit for bit; the files hold the ranks that are left, and are read. */
START_TEST(ranks_resumed)
{
    make_world("methods-ranks");
    graft_weights *w = NULL;
    static const char schedule[] = "init_r=4", ends[] = "target_r=2", waits[] = "tinit=1";
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/whole"), "max_steps=6", "finetuning_type=adalora", schedule, ends, waits, "tfinal=1", "lora_target=q_proj,v_proj"));
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/again"), "max_steps=6", "finetuning_type=adalora", schedule, ends, waits, "tfinal=1", "lora_target=q_proj,v_proj", at("resume_from_checkpoint=@/whole/checkpoint-5")));
    same("whole", "again", "adapter_model.safetensors");
    same("whole", "again", "adapter_config.json");
    same("whole", "again", "checkpoint-6/optimiser.safetensors");
    ck_assert_ok(graft_weights_open(at("@/whole/adapter_model.safetensors"), &w, &err));
    int64_t ranks = 0, sites = 0;
    for (int64_t i = 0; i < graft_weights_count(w); i++) {
        const graft_weight_info *t = graft_weights_at(w, i);
        if (strstr(t->name, "lora_E")) ranks += t->dims[0], sites++;
    }
    graft_weights_close(w);
    ck_assert_msg(sites > 0 && ranks <= 2 * sites, "%lld ranks are left at %lld sites", (long long)ranks, (long long)sites);
    char model[4096];
    snprintf(model, sizeof model, "%s", at("@/model"));
    loss_of(model, at("adapter_name_or_path=@/whole"), NULL);
    expect_status(0, graft("export", at("--model_name_or_path=@/model"), at("--adapter_name_or_path=@/whole"), at("--export_dir=@/merged")));
    expect_status(1, graft("train", at("@/run.yaml"), "--output_dir", at("@/no"), "max_steps=6", "finetuning_type=adalora", schedule, ends, "tinit=5", "tfinal=1"));
    expect_said(said_err, "leaves no update of max_steps in which ranks could be taken away");
}
END_TEST

/* PiSSA converted: the same run, kept as an ordinary LoRA of twice the rank on the base as it is; it goes on bit for bit. */
START_TEST(pissa_converted)
{
    make_world("methods-pissa");
    char model[4096];
    snprintf(model, sizeof model, "%s", at("@/model"));
    train_to("plain", "lora_rank=4", "pissa_init=true", "pissa_iter=-1");
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/whole"), "max_steps=6", "lora_rank=4", "pissa_init=true", "pissa_iter=-1", "pissa_convert=true"));
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/again"), "max_steps=6", "lora_rank=4", "pissa_init=true", "pissa_iter=-1", "pissa_convert=true", at("resume_from_checkpoint=@/whole/checkpoint-5")));
    same("whole", "again", "adapter_model.safetensors");
    graft_arena *a = graft_arena_new();
    const graft_json *c = NULL;
    ck_assert_ok(graft_json_parse_file(a, at("@/whole/adapter_config.json"), 1 << 20, 0, &c, &err));
    ck_assert_int_eq(graft_json_get(c, "r")->integer, 8);
    ck_assert_int_eq(graft_json_get(c, "lora_alpha")->integer, 16);
    ck_assert(graft_json_get(c, "init_lora_weights")->type == GRAFT_JSON_BOOL && graft_json_get(c, "init_lora_weights")->integer);
    graft_arena_free(a);
    const double none = loss_of(model, NULL, NULL), plain = loss_of(model, at("adapter_name_or_path=@/plain"), NULL), converted = loss_of(model, at("adapter_name_or_path=@/whole"), NULL);
    ck_assert_msg(fabs(plain - none) > 1e-3 && fabs(plain - converted) < 1e-4, "the base has loss %g, with PiSSA %g, converted %g", none, plain, converted);
    expect_status(1, graft("train", at("@/run.yaml"), "--output_dir", at("@/no"), "pissa_init=true", "pissa_convert=true", "weight_decay=0.1"));
    expect_said(said_err, "keeps half of the adapter as it began");
}
END_TEST

/* LISA's plan says what the blocks that rest spare, and that is what full tuning takes more. */
START_TEST(what_rests)
{
    make_world("methods-rests");
    graft_arena *a = graft_arena_new();
    double held[2], spared = 0;
    for (int i = 0; i < 2; i++) {
        const graft_json *v = NULL;
        expect_status(0, graft("plan", at("@/run.yaml"), "--json", i ? "finetuning_type=lisa" : "finetuning_type=full", i ? "lisa_activated_layers=1" : "seed=42"));
        ck_assert_ok(graft_json_parse(a, "out", said_out, strlen(said_out), 0, &v, &err));
        held[i] = graft_json_get(v, "gradients")->number + graft_json_get(v, "optimiser")->number;
        ck_assert(!graft_json_get(v, "resting") == !i);
        if (i) spared = graft_json_get(v, "resting")->number;
    }
    ck_assert_msg(held[1] < held[0] && fabs(held[0] - held[1] - spared) < 0.05 * held[0], "full tuning holds %g bytes, LISA %g, the plan says %g less", held[0], held[1], spared);
    expect_status(0, graft("plan", at("@/run.yaml"), "finetuning_type=lisa", "lisa_activated_layers=1"));
    expect_said(said_out, "less in gradients and optimiser than if all weights trained at once");
    graft_arena_free(a);
}
END_TEST

/* GaLore by LLaMA-Factory's keys: fewer bytes of optimiser in the plan, a run that goes on bit for bit across a change of directions. */
START_TEST(galore)
{
    make_world("methods-galore");
    graft_arena *a = graft_arena_new();
    int64_t bytes[2];
    for (int i = 0; i < 2; i++) {
        const graft_json *v = NULL;
        expect_status(0, graft("plan", at("@/run.yaml"), "--json", "finetuning_type=freeze", "freeze_trainable_layers=2", i ? "use_galore=true" : "seed=42", i ? "galore_rank=2" : "seed=42"));
        ck_assert_ok(graft_json_parse(a, "out", said_out, strlen(said_out), 0, &v, &err));
        bytes[i] = graft_json_get(v, "optimiser")->integer;
    }
    ck_assert_msg(bytes[1] * 3 < bytes[0], "%lld bytes, without %lld", (long long)bytes[1], (long long)bytes[0]);
    graft_arena_free(a);
    train_to("whole", "finetuning_type=full", "use_galore=true", "galore_update_interval=4");
    expect_status(0, graft("train", at("@/run.yaml"), "--output_dir", at("@/again"), "max_steps=6", "finetuning_type=full", "use_galore=true", "galore_update_interval=4", at("resume_from_checkpoint=@/whole/checkpoint-5")));
    same("whole", "again", "model.safetensors");
    same("whole", "again", "checkpoint-6/optimiser.safetensors");
    expect_status(1, graft("train", at("@/run.yaml"), "--output_dir", at("@/no"), "use_galore=true", "finetuning_type=ia3"));
    expect_said(said_err, "GaLore is for training the model's own weights, and ia3 trains few others");
}
END_TEST

static void cases(TCase *tc)
{
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, two_methods_in_one_run);
    tcase_add_test(tc, an_adapter_and_the_base);
    tcase_add_test(tc, refused_together);
    tcase_add_test(tc, tied_heads);
    tcase_add_test(tc, eight_bits_resumed);
    tcase_add_test(tc, ranks_resumed);
    tcase_add_test(tc, pissa_converted);
    tcase_add_test(tc, what_rests);
    tcase_add_test(tc, galore);
    tcase_add_test(tc, on_top_of_others);
    tcase_add_test(tc, chosen_by_name);
    tcase_add_test(tc, stacked);
}

int main(void) { return graft_test_main("methods/together", cases); }
