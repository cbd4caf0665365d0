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
    tcase_add_test(tc, refused);
}

int main(void) { return graft_test_main("schedule", cases); }
