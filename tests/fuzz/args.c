/* Arguments: a YAML text and words become a mapping, words alone become typed arguments with every rule checked; no crash, and a refusal is a sentence.
 * The input is the YAML, a line "--", then one word a line. */
#include "core/cli/args.c"
#include "core/cli/args_data.c"
#include "core/cli/args_model.c"
#include "core/cli/args_own.c"
#include "core/cli/args_read.c"
#include "core/cli/args_rules.c"
#include "core/cli/args_training.c"
#include "core/cli/args_tuning.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS = 64 };

static void must_say(graft_status status, const graft_error *e)
{
    if (status && !e->message[0]) abort();
}

static void use(const graft_args *x)
{
    static const char *const texts[] = {"dataset", "template", "lora_target", "report_to", "optim_args", "backend"};
    graft_error e = GRAFT_ERROR_INIT;
    double sum = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) sum += graft_args_text(x, texts[i]) ? (double)strlen(graft_args_text(x, texts[i])) : 0;
    sum += (double)graft_args_int(x, "max_steps") + graft_args_real(x, "learning_rate") + graft_args_flag(x, "do_train");
    if (sum > 1e300) return;
    must_say(graft_args_check(x, NULL, 0, &e), &e);
    e = (graft_error)GRAFT_ERROR_INIT;
    must_say(graft_args_finish(x, "lora", &e), &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    graft_error e = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    char *text = a ? graft_arena_copy(a, (const char *)data, size) : NULL, *words[WORDS];
    int n = 0;
    if (!text) abort();
    char *border = memmem(text, size, "\n--\n", 4), *line = border ? border + 4 : text + size;
    while (*line && n < WORDS) {
        const size_t bytes = strcspn(line, "\n");
        words[n++] = line;
        line += bytes + (line[bytes] != 0);
        if (bytes < strlen(words[n - 1])) words[n - 1][bytes] = 0;
    }
    graft_json *mapping = NULL;
    must_say(graft_args_mapping(a, "fuzz", text, border ? (size_t)(border - text) : size, n, (const char *const *)words, &mapping, &e), &e);
    for (int positional = 0; positional < 2; positional++) {
        graft_args *x = NULL;
        e = (graft_error)GRAFT_ERROR_INIT;
        const graft_status s = graft_args_parse(a, n, words, positional, &x, &e);
        must_say(s, &e);
        if (!s) use(x);
    }
    graft_arena_free(a);
    return 0;
}
