/* core/cli/data_look.c - what is worth a warning before anything is learned: a template that the model was not made for, prompts as most of what is
 * learned, samples that come twice, samples to evaluate on that are trained on too. */
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/cli/session.h"

#include <stdlib.h>
#include <string.h>

/* ---- template ------------------------------------------------------------------------------------------------------------------- */

/* The ids as text, without a bos in front and white space at the end. */
static graft_status text_of(const graft_session *s, const int32_t *ids, size_t n, graft_str *out, graft_error *err)
{
    size_t bytes = 0;
    const int32_t bos = graft_tokenizer_bos(s->tokenizer);
    if (n && ids[0] == bos) ids++, n--;
    graft_str_clear(out);
    const graft_status status = graft_tokenizer_decode(s->tokenizer, ids, n, 0, out, err);
    for (bytes = out->bytes; bytes && (out->data[bytes - 1] == '\n' || out->data[bytes - 1] == ' '); bytes--) {}
    if (bytes < out->bytes) out->data[out->bytes = bytes] = 0;
    return status;
}

/* Some words of the text around byte `at`, on one line. */
static const char *words_at(graft_arena *a, const graft_str *text, size_t at)
{
    enum { BEFORE = 24,
           BEHIND = 24 };
    size_t from = at > BEFORE ? at - BEFORE : 0, to = text->bytes < at + BEHIND ? text->bytes : at + BEHIND;
    while (from < at && ((uint8_t)text->data[from] & 0xc0) == 0x80) from++;
    while (to < text->bytes && ((uint8_t)text->data[to] & 0xc0) == 0x80) to++;
    graft_json *v = from < to ? graft_json_text(a, text->data + from, to - from) : graft_json_text(a, "", 0);
    graft_str s;
    graft_str_init(&s, 0);
    if (v) graft_json_write(&s, v, 0, 0);
    const char *copy = s.failed ? NULL : graft_arena_copy(a, s.data, s.bytes);
    graft_str_free(&s);
    return copy ? copy : "?";
}

graft_status graft_session_template_look(graft_session *s, graft_error *err)
{
    static const graft_message talk[] = {{GRAFT_MESSAGE_USER, "Hello", 5}, {GRAFT_MESSAGE_ASSISTANT, "Hi", 2}, {GRAFT_MESSAGE_USER, "How?", 4}, {GRAFT_MESSAGE_ASSISTANT, "Fine", 4}};
    const graft_template_options o = {.thinking = GRAFT_THINKING_NULL};
    const char *dir = NULL, *said = graft_args_text(s->c->args, "template");
    graft_error ignored = GRAFT_ERROR_INIT;
    graft_template *own = NULL;
    graft_arena *a = graft_arena_new();
    graft_str mine, other;
    graft_str_init(&mine, 0);
    graft_str_init(&other, 0);
    graft_turn *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    graft_status status = a ? graft_session_template_dir(s->c, &dir, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    /* A chat template that cannot be read is no reason to stop: it is not what is trained with. */
    if (status || !said || !*said || graft_template_of_tokenizer(dir, s->tokenizer, &own, &ignored) || !strcmp(graft_template_name(own), "empty")) goto out;
    if (graft_template_render_with(own, &o, s->tokenizer, a, talk, 4, NULL, 0, NULL, &y, &m, &ignored)) goto out;
    status = graft_template_render_with(s->chat, &o, s->tokenizer, a, talk, 4, NULL, 0, NULL, &x, &n, err);
    for (size_t i = 0; !status && i < n && i < m; i++) {
        for (int answer = 0; answer < 2 && !status; answer++) {
            status = text_of(s, answer ? x[i].answer : x[i].prompt, answer ? x[i].n_answer : x[i].n_prompt, &mine, err);
            if (!status) status = text_of(s, answer ? y[i].answer : y[i].prompt, answer ? y[i].n_answer : y[i].n_prompt, &other, err);
            if (status || (mine.bytes == other.bytes && !memcmp(mine.data, other.data, mine.bytes))) continue;
            size_t at = 0;
            while (at < mine.bytes && at < other.bytes && mine.data[at] == other.data[at]) at++;
            graft_log(GRAFT_LOG_WARNING, "the template %s writes %s where the model's own chat template writes %s; leave template out to take the model's own", said, words_at(a, &mine, at), words_at(a, &other, at));
            goto out;
        }
    }
out:
    graft_template_close(own);
    graft_str_free(&mine);
    graft_str_free(&other);
    graft_arena_free(a);
    return status;
}

/* ---- samples ---------------------------------------------------------------------------------------------------------------------- */

static uint64_t hash_of(const graft_sample *s)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a over the ids */
    for (int64_t i = 0; i < s->n; i++)
        for (int k = 0; k < 4; k++) h = (h ^ ((uint32_t)s->ids[i] >> (8 * k) & 255)) * 0x100000001b3u;
    return h;
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sorted hashes of all samples; graft_free. */
static graft_status hashes_of(const graft_dataset *d, uint64_t **out, graft_error *err)
{
    const int64_t n = graft_dataset_count(d);
    *out = graft_calloc((size_t)n + 1, sizeof **out);
    if (!*out) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for %lld samples", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        graft_sample s;
        const graft_status status = graft_dataset_get(d, i, &s, err);
        if (status) return status;
        (*out)[i] = hash_of(&s);
    }
    qsort(*out, (size_t)n, sizeof **out, compare);
    return GRAFT_OK;
}

graft_status graft_session_repeats(const graft_dataset *train, const graft_dataset *eval, int64_t *twice, int64_t *leaks, graft_error *err)
{
    uint64_t *x = NULL, *y = NULL;
    const int64_t n = graft_dataset_count(train), m = eval ? graft_dataset_count(eval) : 0;
    *twice = *leaks = 0;
    graft_status status = hashes_of(train, &x, err);
    if (!status && eval) status = hashes_of(eval, &y, err);
    for (int64_t i = 1; !status && i < n; i++) *twice += x[i] == x[i - 1];
    for (int64_t i = 0; !status && i < m; i++) *leaks += bsearch(&y[i], x, (size_t)n, sizeof *x, compare) != NULL;
    graft_free(x);
    graft_free(y);
    return status;
}

/* Of the first records: how many of 100 tokens are answers. */
graft_status graft_session_answer_share(graft_session *s, const graft_dataset_options *o, double *percent, graft_error *err)
{
    graft_dataset_options few = *o;
    graft_dataset *train = NULL, *eval = NULL;
    graft_dataset_report r = {0};
    few.train_on_prompt = 0;
    few.packing = GRAFT_PACKING_OFF;
    few.val_size = 0;
    few.draws = NULL;
    few.cache_dir = NULL;
    few.streaming = 0;
    if (!few.max_samples || few.max_samples > 200) few.max_samples = 200;
    const graft_status status = graft_dataset_load(s->registry, &few, s->chat, s->tokenizer, &train, &eval, &r, err);
    *percent = r.tokens ? 100.0 * (double)r.labelled / (double)r.tokens : 0;
    graft_dataset_free(train);
    graft_dataset_free(eval);
    return status;
}

graft_status graft_session_data_look(graft_session *s, const graft_dataset_options *o, const graft_dataset *train, const graft_dataset *eval, graft_error *err)
{
    enum { MANY = 100000 }; /* larger sets are looked at by `graft data report` alone */
    double percent = 100;
    int64_t twice = 0, leaks = 0;
    graft_status status = GRAFT_OK;
    if (o->train_on_prompt && !o->pretrain) status = graft_session_answer_share(s, o, &percent, err);
    if (!status && percent < 50) graft_log(GRAFT_LOG_WARNING, "train_on_prompt: %.0f of 100 learned tokens are prompts, so the loss is mostly theirs; leave it out to learn the answers", 100 - percent);
    if (status || o->streaming || o->pretrain || o->packing > GRAFT_PACKING_OFF || graft_dataset_count(train) > MANY) return status;
    status = graft_session_repeats(train, eval, &twice, &leaks, err);
    if (twice) graft_log(GRAFT_LOG_WARNING, "%lld of %lld samples come more than once", (long long)twice, (long long)graft_dataset_count(train));
    if (leaks) graft_log(GRAFT_LOG_WARNING, "%lld of %lld samples to evaluate on are trained on too: eval_loss will look better than it is", (long long)leaks, (long long)graft_dataset_count(eval));
    return status;
}
