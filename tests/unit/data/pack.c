/* Packing and mixing: the bins of LLaMA-Factory's knapsack, positions and parts of packed samples, sets that are never drawn from. */
#include "core/data/pack.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/unit/data/ground.h"

static int64_t numbers(const graft_json *list, int64_t *out)
{
    int64_t n = 0;
    for (const graft_json *v = list->child; v; v = v->next) out[n++] = v->integer;
    return n;
}

START_TEST(knapsack)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    const graft_json *root;
    int64_t rows = 0;
    ck_assert_ok(graft_json_parse_file(a, graft_test_fixture("orders/knapsack.json"), 1 << 20, 0, &root, &err));
    for (const graft_json *row = graft_json_get(root, "rows")->child; row; row = row->next, rows++) {
        static int64_t lengths[4096], order[4096], ends[4096];
        const int64_t n = numbers(graft_json_get(row, "lengths"), lengths), bins = graft_pack_bins(lengths, n, graft_json_get(row, "capacity")->integer, order, ends);
        char seen[4096] = {0};
        int64_t b = 0, at = 0;
        for (const graft_json *bin = graft_json_get(row, "bins")->child; bin; bin = bin->next, b++) {
            for (const graft_json *length = bin->child; length; length = length->next, at++) {
                ck_assert_msg(at < ends[b] && lengths[order[at]] == length->integer, "row %lld, bin %lld", (long long)rows, (long long)b);
                ck_assert_int_eq(seen[order[at]]++, 0);
            }
            ck_assert_int_eq(at, ends[b]);
        }
        ck_assert_int_eq(b, bins);
        ck_assert_int_eq(at, n);
    }
    ck_assert_int_gt(rows, 5);
    graft_arena_free(a);
}
END_TEST

START_TEST(too_long_is_left_out)
{
    const int64_t lengths[] = {5, 30, 5};
    int64_t order[3], ends[3];
    ck_assert_int_eq(graft_pack_bins(lengths, 3, 12, order, ends), 1);
    ck_assert(ends[0] == 2 && order[0] == 2 && order[1] == 0); /* of equal ones the last first */
    ck_assert_int_eq(graft_pack_bins(lengths, 0, 12, order, ends), 0);
}
END_TEST

/* Positions restart with each sample and parts end there; padding stands alone. */
START_TEST(neat)
{
    ground g = ground_open("neat");
    g.o.packing = GRAFT_PACKING_NEAT, g.o.cutoff_len = 128;
    const char *path = ground_file("neat.jsonl", "{\"instruction\":\"one\",\"output\":\"two\"}\n{\"instruction\":\"three\",\"output\":\"four five six\"}\n");
    ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
    ck_assert_int_eq(graft_dataset_count(g.train), 1);
    const graft_sample s = graft_dataset_at(g.train, 0);
    ck_assert_int_eq(s.n, 128);
    ck_assert_int_eq(s.parts, 2);
    ck_assert_int_gt(s.part_ends[0], s.part_ends[1] - s.part_ends[0]); /* the longer one first */
    int64_t labelled = 0;
    for (int64_t p = 0, from = 0; p < 2; from = s.part_ends[p++])
        for (int64_t i = from; i < s.part_ends[p]; i++) ck_assert_int_eq(s.positions[i], i - from);
    for (int64_t i = s.part_ends[1]; i < s.n; i++) ck_assert(s.positions[i] == 0 && s.labels[i] == -100 && s.ids[i] == graft_tokenizer_pad(g.tok));
    for (int64_t i = 1; i < s.n; i++) labelled += s.labels[i] != -100;
    const graft_sample_size size = graft_dataset_measure(g.train, 0);
    ck_assert(size.n == 128 && size.rows == s.part_ends[1] && size.sequences == 2 && size.labelled == labelled);
    ground_close(&g);
}
END_TEST

START_TEST(never_drawn_from)
{
    graft_error err = GRAFT_ERROR_INIT;
    const int64_t sizes[] = {3, 4, 5};
    const double some[] = {0.5, 0, 0.5}, wrong[] = {1.5, -0.5, 0}, less[] = {0.5, 0.2, 0.2};
    int64_t *order = NULL, n = 0, seen[12] = {0};
    ck_assert_ok(graft_mix("interleave_under", sizes, 3, some, 42, &order, &n, &err));
    ck_assert_int_ge(n, 3);
    for (int64_t i = 0; i < n; i++) seen[order[i]]++;
    for (int i = 3; i < 7; i++) ck_assert_int_eq(seen[i], 0);
    graft_free(order);
    ck_assert_int_eq(graft_mix("interleave_over", sizes, 3, some, 42, &order, &n, &err), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(err.message, "set 2") != NULL, "%s", err.message);
    ck_assert_int_eq(graft_mix("interleave_under", sizes, 3, wrong, 42, &order, &n, &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(graft_mix("interleave_under", sizes, 3, less, 42, &order, &n, &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(graft_mix("sideways", sizes, 3, NULL, 42, &order, &n, &err), GRAFT_BAD_INPUT);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, knapsack);
    tcase_add_test(tc, too_long_is_left_out);
    tcase_add_test(tc, neat);
    tcase_add_test(tc, never_drawn_from);
}

int main(void) { return graft_test_main("pack", cases); }
