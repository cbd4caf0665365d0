/* Streaming: the order of records is `datasets`' IterableDataset's (fixtures/orders/stream.jsonl: three passes each), samples are those of a load. */
#include "core/base/json.h"
#include "core/base/str.h"
#include "tests/unit/data/ground.h"

#include <stdlib.h>

/* Records whose answer is a number: first, first + 1 ... */
static void numbers_file(const char *dir, const char *name, int n, int first)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_str text;
    char path[4300];
    graft_str_init(&text, 0);
    for (int i = 0; i < n; i++) graft_str_printf(&text, "{\"instruction\":\"\",\"output\":\"%d\"}\n", first + i);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ok(graft_file_replace(path, text.data, text.bytes, &err));
    graft_str_free(&text);
}

static long number_of(const ground *g, const graft_dataset *d, int64_t i)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_sample s;
    graft_str text;
    graft_str_init(&text, 0);
    ck_assert_ok(graft_dataset_get(d, i, &s, &err));
    ck_assert_ok(graft_tokenizer_decode(g->tok, s.ids, (size_t)s.n, 1, &text, &err));
    const long v = strtol(text.data, NULL, 10);
    graft_str_free(&text);
    return v;
}

typedef struct kind {
    const char *name, *mix, *probabilities;
    int n, second; /* records of the sets; second 0: one set */
    int64_t buffer, val;
    uint64_t seed;
} kind;
static const kind kinds[] = {{"one", NULL, NULL, 25, 0, 10, 0, 42}, {"big_buffer", NULL, NULL, 25, 0, 100, 0, 7}, {"skip", NULL, NULL, 25, 0, 10, 5, 42}, {"concat", "concat", NULL, 12, 9, 10, 0, 42}, {"under", "interleave_under", NULL, 12, 9, 6, 0, 42}, {"over", "interleave_over", NULL, 12, 9, 6, 0, 42}, {"under_p", "interleave_under", "0.3,0.7", 12, 9, 6, 0, 42}, {"over_p", "interleave_over", "0.3,0.7", 12, 9, 6, 0, 42}, {"buffer_1", NULL, NULL, 5, 0, 1, 0, 42}};

static const graft_json *passes_of(const graft_json *const *rows, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (graft_json_is(graft_json_get(rows[i], "name"), name)) return graft_json_get(rows[i], "epochs");
    ck_abort_msg("no row %s", name);
    return NULL;
}

START_TEST(orders)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    char *text;
    size_t bytes;
    const graft_json *rows[20];
    int n_rows = 0;
    ck_assert_ok(graft_file_read(graft_test_fixture("orders/stream.jsonl"), 1 << 20, &text, &bytes, &err));
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) ck_assert_ok(graft_json_parse(a, "row", line, strlen(line), 0, &rows[n_rows++], &err));
    ground g = ground_open_with("stream", "empty");
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const kind *x = &kinds[k];
        char names[9000], first[4300], second[4300];
        numbers_file(g.dir, "a.jsonl", x->n, 0);
        numbers_file(g.dir, "b.jsonl", x->second ? x->second : 1, 1000);
        snprintf(first, sizeof first, "%s/a.jsonl", g.dir);
        snprintf(second, sizeof second, "%s/b.jsonl", g.dir);
        snprintf(names, sizeof names, x->second ? "%s,%s" : "%s", first, second);
        g.o = (graft_dataset_options){.cutoff_len = 100, .seed = x->seed, .streaming = 1, .buffer_size = x->buffer, .preprocessing_batch_size = 4, .stream_samples = 10000, .stream_window = 8, .val_size = (double)x->val, .mix_strategy = x->mix, .interleave_probs = x->probabilities};
        ck_assert_msg(ground_load(&g, names) == GRAFT_OK, "%s: %s: %s", x->name, g.err.where, g.err.message);
        ck_assert_int_eq(graft_dataset_count(g.train), 10000);
        int64_t i = 0;
        for (const graft_json *pass = passes_of(rows, n_rows, x->name)->child; pass; pass = pass->next)
            for (const graft_json *v = pass->child; v; v = v->next, i++) ck_assert_msg(number_of(&g, g.train, i) == v->integer, "%s: sample %lld", x->name, (long long)i);
        ck_assert_int_eq(number_of(&g, g.train, i - 8), number_of(&g, g.train, i - 8)); /* an update's samples may be asked for twice */
        if (!x->val) continue;
        i = 0;
        for (const graft_json *v = passes_of(rows, n_rows, "take")->child->child; v; v = v->next, i++) ck_assert_int_eq(number_of(&g, g.eval, i), v->integer);
        ck_assert_int_eq(graft_dataset_count(g.eval), i);
    }
    ground_close(&g);
    graft_free(text);
    graft_arena_free(a);
}
END_TEST

/* Going on at a sample gives what was there the first time; packed samples too. */
START_TEST(goes_on)
{
    for (int packing = 0; packing < 3; packing++) {
        ground g = ground_open("stream");
        char name[4300];
        numbers_file(g.dir, "a.jsonl", 700, 0);
        snprintf(name, sizeof name, "%s/a.jsonl", g.dir);
        g.o = (graft_dataset_options){.cutoff_len = 100, .seed = 1, .streaming = 1, .buffer_size = 100, .preprocessing_batch_size = 50, .stream_samples = 10000, .stream_window = 4, .packing = packing == 2 ? GRAFT_PACKING_NEAT : packing ? GRAFT_PACKING_ON
                                                                                                                                                                                                                                            : GRAFT_PACKING_OFF};
        ck_assert_int_eq(ground_load(&g, name), GRAFT_OK);
        graft_error err = GRAFT_ERROR_INIT;
        graft_sample s;
        int32_t want[100], n_want = 0;
        for (int64_t i = 0; i <= 900; i++) ck_assert_ok(graft_dataset_get(g.train, i, &s, &err));
        for (; n_want < s.n; n_want++) want[n_want] = s.ids[n_want];
        const graft_sample_size most = graft_dataset_measure(g.train, 0);
        ck_assert(s.n <= most.n && graft_sample_rows(&s) <= most.rows && graft_sample_sequences(&s) <= most.sequences);
        ck_assert_int_eq(graft_dataset_get(g.train, 1, &s, &err), GRAFT_INTERNAL); /* long gone */
        ck_assert_int_eq(ground_load(&g, name), GRAFT_OK);
        ck_assert_ok(graft_dataset_get(g.train, 900, &s, &err));
        ck_assert_int_eq(s.n, n_want);
        ck_assert(!memcmp(s.ids, want, (size_t)n_want * sizeof *want));
        ground_close(&g);
    }
}
END_TEST

START_TEST(refusals)
{
    ground g = ground_open("stream");
    char name[4300];
    numbers_file(g.dir, "a.jsonl", 7, 0);
    snprintf(name, sizeof name, "%s/a.jsonl", g.dir);
    g.o.streaming = 1;
    ck_assert_int_eq(ground_load(&g, name), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(g.err.message, "max_steps") != NULL, "%s", g.err.message);
    g.o.stream_samples = 8, g.o.max_samples = 3;
    ck_assert_int_eq(ground_load(&g, name), GRAFT_BAD_INPUT);
    g.o.max_samples = 0, g.o.val_size = 0.5;
    ck_assert_int_eq(ground_load(&g, name), GRAFT_BAD_INPUT);
    g.o.val_size = 0, g.o.mix_strategy = "interleave_once";
    ck_assert_int_eq(ground_load(&g, name), GRAFT_BAD_INPUT);
    g.o.mix_strategy = NULL;
    ck_assert_int_eq(ground_load(&g, ""), GRAFT_BAD_INPUT);
    ck_assert_int_eq(ground_load(&g, ground_file("nulls.jsonl", "{\"instruction\":\"q\",\"output\":null}\n")), GRAFT_OK); /* a window may be empty ... */
    graft_sample s;
    ck_assert_int_eq(graft_dataset_get(g.train, 0, &s, &g.err), GRAFT_BAD_INPUT); /* ... a whole pass may not */
    ck_assert_msg(strstr(g.err.message, "can be learned from") != NULL, "%s", g.err.message);
    ck_assert_int_eq(ground_load(&g, ground_file("broken.jsonl", "{\"instruction\":\"q\",\"output\":\"a\"}\n{\"instruction\":\n")), GRAFT_BAD_INPUT);
    ground_close(&g);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, orders);
    tcase_add_test(tc, goes_on);
    tcase_add_test(tc, refusals);
}

int main(void) { return graft_test_main("stream", cases); }
