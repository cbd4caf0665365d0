/* tests/unit/train/schedule.c - learning rates against transformers' own values, and what is refused. */
#include "core/train/schedule.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "tests/support/support.h"

#include <math.h>

static graft_error err = GRAFT_ERROR_INIT;

/* Every key of a case that is no key of the fixture itself is an option of the schedule. */
static graft_json *options_of(graft_arena *a, const graft_json *c)
{
    graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
    for (const graft_json *m = c->child; m; m = m->next)
        if (strcmp(m->key, "name") && strcmp(m->key, "lr") && strcmp(m->key, "warmup") && strcmp(m->key, "total") && strcmp(m->key, "lr_per_step")) graft_json_put(a, o, m->key, graft_json_copy(a, m));
    return o;
}

START_TEST(golden)
{
    graft_arena *a = graft_arena_new();
    const graft_json *all = NULL;
    int cases = 0;
    ck_assert_ok(graft_json_parse_file(a, graft_test_fixture("optim/schedules.json"), 1 << 24, 0, &all, &err));
    for (const graft_json *c = all->child; c; c = c->next, cases++) {
        graft_schedule s;
        int64_t step = 0;
        ck_assert_ok(graft_schedule_new(&s, graft_json_get(c, "name")->text, graft_json_get(c, "lr")->number, graft_json_get(c, "warmup")->integer, graft_json_get(c, "total")->integer, options_of(a, c), &err));
        for (const graft_json *r = graft_json_get(c, "lr_per_step")->child; r; r = r->next, step++)
            ck_assert_msg(fabs(graft_schedule_rate(&s, step) - r->number) <= 1e-9 * fabs(r->number) + 1e-18, "%s, warmup %s: step %d is %.17g, expected %.17g", graft_json_get(c, "name")->text, graft_json_get(c, "warmup")->text, (int)step, graft_schedule_rate(&s, step), r->number);
    }
    ck_assert_int_gt(cases, 30);
    graft_arena_free(a);
}
END_TEST

enum { METRICS = 14 };

/* The rates of a schedule that watches, after each metric; saved and restored in between. */
static void follow(const char *name, const char *kwargs, const double metric[METRICS], const double rate[METRICS])
{
    graft_arena *a = graft_arena_new();
    const graft_json *o = NULL;
    graft_schedule s, resumed;
    ck_assert_ok(graft_json_parse(a, "kwargs", kwargs, strlen(kwargs), 0, &o, &err));
    ck_assert_ok(graft_schedule_new(&s, name, 0.1, 5, 100, o, &err));
    ck_assert(graft_schedule_watches(&s));
    for (int i = 0; i < METRICS; i++) {
        graft_json *kept = graft_json_new(a, GRAFT_JSON_OBJECT);
        graft_schedule_metric(&s, metric[i]);
        ck_assert_msg(fabs(graft_schedule_rate(&s, i) - rate[i]) < 1e-15, "%s: metric %d: %.17g, expected %.17g", kwargs, i, graft_schedule_rate(&s, i), rate[i]);
        graft_schedule_save(&s, a, kept); /* a checkpoint after each */
        ck_assert_ok(graft_schedule_new(&resumed, name, 0.1, 5, 100, o, &err));
        graft_schedule_restore(&resumed, kept);
        s = resumed;
    }
    graft_arena_free(a);
}

/* torch's ReduceLROnPlateau on the same metrics: rate after each. */
START_TEST(plateau)
{
    static const double metric[METRICS] = {3.0, 2.5, 2.6, 2.49999, 2.4, 2.41, 2.42, 2.43, 2.44, 2.45, 2.0, 2.2, 2.2, 2.3};
    static const struct {
        const char *kwargs;
        double rate[METRICS];
    } runs[] = {{"{\"patience\": 1, \"factor\": 0.5}", {0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125, 0.0125, 0.0125, 0.00625, 0.00625}}, {"{\"patience\": 0, \"factor\": 0.1, \"min_lr\": 0.002, \"cooldown\": 2}", {0.1, 0.1, 0.010000000000000002, 0.010000000000000002, 0.010000000000000002, 0.002, 0.002, 0.002, 0.002, 0.002, 0.002, 0.002, 0.002, 0.002}}, {"{\"patience\": 2, \"factor\": 0.3, \"threshold\": 0.05, \"threshold_mode\": \"abs\"}", {0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.009}}, {"{\"mode\": \"max\", \"patience\": 1, \"factor\": 0.5}", {0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125, 0.00625, 0.00625, 0.003125, 0.003125, 0.0015625, 0.0015625}}};
    for (size_t k = 0; k < sizeof runs / sizeof *runs; k++) follow("reduce_lr_on_plateau", runs[k].kwargs, metric, runs[k].rate);
}
END_TEST

/* transformers' GreedyLR on the same metrics. */
START_TEST(greedy)
{
    static const double metric[METRICS] = {3.0, 2.5, 2.6, 2.49999, 2.4, 2.41, 2.42, 2.43, 2.44, 2.45, 2.0, 1.9, 1.8, 1.7};
    static const struct {
        const char *kwargs;
        double rate[METRICS];
    } runs[] = {
        {"{\"patience\": 1, \"factor\": 0.5, \"min_lr\": 0.001}", {0.1, 0.2, 0.2, 0.2, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1, 0.1, 0.2, 0.2, 0.4}},
        {"{\"patience\": 0, \"factor\": 0.5, \"min_lr\": 0.04, \"max_lr\": 0.15, \"warmup\": 1, \"cooldown\": 2}", {0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.075, 0.075, 0.075, 0.04, 0.04, 0.04, 0.08, 0.08}},
        {"{\"patience\": 0, \"factor\": 0.3, \"min_lr\": 0.05, \"reset_start\": 2}", {0.33333333333333337, 1.0, 0.3, 1.0, 1.0, 0.3, 0.09, 0.05, 0.1, 0.33333333333333337, 1.0, 1.0, 1.0, 1.0}},
        {"{\"mode\": \"max\", \"patience\": 1, \"factor\": 0.5, \"threshold\": 0.01, \"threshold_mode\": \"rel\", \"min_lr\": 0.0001}", {0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125, 0.00625, 0.00625, 0.003125, 0.003125, 0.0015625, 0.0015625}},
        {"{}", {0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1}},
    };
    for (size_t k = 0; k < sizeof runs / sizeof *runs; k++) follow("greedy", runs[k].kwargs, metric, runs[k].rate);
}
END_TEST

START_TEST(cosine_one_step_ahead)
{
    static const char *const kwargs[] = {"{\"min_lr_rate\": 0.1}", "{\"min_lr\": 0.001, \"warmup_lr_rate\": 0.2}"};
    static const double rates[][13] = {{0.0025, 0.005, 0.0075, 0.01, 0.00965745789630079, 0.008681980515339464, 0.007222075445642904, 0.0055000000000000005, 0.003777924554357096, 0.0023180194846605367, 0.0013425421036992098, 0.001, 0.0013425421036992091}, {0.002, 0.004666666666666667, 0.007333333333333334, 0.010000000000000002, 0.00965745789630079, 0.008681980515339464, 0.007222075445642904, 0.0055000000000000005, 0.003777924554357096, 0.0023180194846605367, 0.0013425421036992098, 0.001, 0.0013425421036992091}};
    graft_arena *a = graft_arena_new();
    for (int k = 0; k < 2; k++) {
        const graft_json *o = NULL;
        graft_schedule s;
        ck_assert_ok(graft_json_parse(a, "kwargs", kwargs[k], strlen(kwargs[k]), 0, &o, &err));
        ck_assert_ok(graft_schedule_new(&s, "cosine_warmup_with_min_lr", 0.01, 4, 12, o, &err));
        for (int i = 0; i < 13; i++) ck_assert_double_lt(fabs(graft_schedule_rate(&s, i) - rates[k][i]), 1e-12);
    }
    graft_arena_free(a);
}
END_TEST

START_TEST(refused)
{
    graft_arena *a = graft_arena_new();
    graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
    graft_schedule s;
    ck_assert_int_eq(graft_schedule_new(&s, "cosin", 1, 0, 10, NULL, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "unknown schedule 'cosin', did you mean 'cosine'?");
    graft_json_put(a, o, "num_cycle", graft_json_int(a, 2));
    ck_assert_int_eq(graft_schedule_new(&s, "cosine", 1, 0, 10, o, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "the schedule cosine has no option 'num_cycle', did you mean 'num_cycles'?");
    ck_assert_int_eq(graft_schedule_new(&s, "cosine_with_min_lr", 1, 0, 10, NULL, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "the schedule cosine_with_min_lr needs min_lr or min_lr_rate");
    graft_arena_free(a);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, golden);
    tcase_add_test(tc, plateau);
    tcase_add_test(tc, greedy);
    tcase_add_test(tc, cosine_one_step_ahead);
    tcase_add_test(tc, refused);
}

int main(void) { return graft_test_main("schedule", cases); }
