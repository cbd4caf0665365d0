/* Batches without padding, and the order of samples (golden/samples/rng.json holds torch's). */
#include "core/data/batch.h"

#include "core/base/error.h"
#include "tests/support/support.h"

START_TEST(rows)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_batch *b = NULL;
    ck_assert_ok(graft_batch_new(&b, 8, 2, &err));
    const int32_t ids1[] = {10, 11, 12, 13}, labels1[] = {10, -100, 12, 13};
    const int32_t ids2[] = {20, 21, 22}, labels2[] = {-100, -100, 22};
    const graft_sample one = {.n = 4, .ids = ids1, .labels = labels1}, two = {.n = 3, .ids = ids2, .labels = labels2}, more = {.n = 1, .ids = ids2, .labels = labels2};
    ck_assert_int_eq(graft_batch_add(b, &one), 1);
    ck_assert_int_eq(graft_batch_add(b, &two), 1);
    ck_assert_int_eq(graft_batch_add(b, &more), 0); /* no third sequence */
    ck_assert_int_eq(b->tokens, 7);
    ck_assert_int_eq(b->sequences, 2);
    ck_assert_int_eq(b->labelled, 3); /* the first label of a sequence has no row that predicts it ... */
    ck_assert_int_eq(b->counted, 4);  /* ... and counts in the denominator all the same */
    const int32_t rows_want[] = {1, 2, 5}, labels_want[] = {12, 13, 22}, borders_want[] = {0, 4, 0, 0, 4, 3, 0, 0}, positions_want[] = {0, 1, 2, 3, 0, 1, 2};
    for (int i = 0; i < 3; i++) ck_assert(b->label_rows[i] == rows_want[i] && b->labels[i] == labels_want[i]);
    for (int i = 0; i < 8; i++) ck_assert_int_eq(b->borders[i], borders_want[i]);
    for (int i = 0; i < 7; i++) ck_assert_int_eq(b->positions[i], positions_want[i]);
    graft_batch_clear(b);
    ck_assert_int_eq(b->tokens + b->sequences + b->labelled + b->counted, 0);
    ck_assert_int_eq(graft_batch_add(b, &one), 1);
    ck_assert_int_eq(b->borders[0], 0);
    const int32_t many[9] = {0};
    const graft_sample long_one = {.n = 9, .ids = many, .labels = many}, none = {.n = 0, .ids = many, .labels = many};
    ck_assert_int_eq(graft_batch_add(b, &long_one), 0);
    ck_assert_int_eq(graft_batch_add(b, &none), 0);
    graft_batch_free(b);
    ck_assert_int_eq(graft_batch_new(&b, 0, 1, &err), GRAFT_BAD_INPUT);
    ck_assert_ptr_null(b);
}
END_TEST

START_TEST(orders)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_order o;
    const int64_t *samples;
    ck_assert_ok(graft_order_new(&o, 100, 3, 42, 1, &err));
    ck_assert_int_eq(graft_order_batches(&o), 34);
    ck_assert_int_eq(graft_order_batch(&o, 0, &samples), 3);
    ck_assert_int_eq(samples[0], 42); /* 42, 96, 62, 98: what torch draws */
    ck_assert_int_eq(samples[1], 96);
    ck_assert_int_eq(samples[2], 62);
    ck_assert_int_eq(graft_order_batch(&o, 33, &samples), 1); /* the last one is short */
    ck_assert_int_eq(graft_order_batch(&o, 34, &samples), 0);
    char seen[100] = {0};
    for (int i = 0; i < 100; i++) seen[o.index[i]]++;
    for (int i = 0; i < 100; i++) ck_assert_int_eq(seen[i], 1);
    const int64_t first = o.index[0];
    ck_assert_ok(graft_order_epoch(&o, 1, &err)); /* seed 43 */
    graft_order next;
    ck_assert_ok(graft_order_new(&next, 100, 3, 43, 1, &err));
    for (int i = 0; i < 100; i++) ck_assert_int_eq(o.index[i], next.index[i]);
    ck_assert_ok(graft_order_epoch(&o, 0, &err));
    ck_assert_int_eq(o.index[0], first);
    graft_order_free(&o);
    graft_order_free(&next);
    ck_assert_ok(graft_order_new(&o, 5, 2, 1, 0, &err));
    for (int i = 0; i < 5; i++) ck_assert_int_eq(o.index[i], i);
    graft_order_free(&o);
    ck_assert_int_eq(graft_order_new(&o, 5, 0, 1, 0, &err), GRAFT_BAD_INPUT);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, rows);
    tcase_add_test(tc, orders);
}

int main(void) { return graft_test_main("batch", cases); }
