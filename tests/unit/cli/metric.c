/* tests/unit/cli/metric.c - BLEU-4 and ROUGE of pairs whose values nltk 3.10 (method3 over characters) and rouge-chinese 1.0.3 (words from jieba 0.42) gave. */
#include "core/cli/metric.c"
#include "core/base/error.h"
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

static graft_error err = GRAFT_ERROR_INIT;

START_TEST(as_the_libraries)
{
    static const struct {
        const char *text, *expected;
        graft_likeness want;
    } rows[] = {
        {"The car sped quickly.", "The car accelerated rapidly.", {34.2288, 60.0000, 25.0000, 60.0000}},
        {"a", "b", {0.0000, 0.0000, 0.0000, 0.0000}},
        {"", "x", {0.0000, 0.0000, 0.0000, 0.0000}},
        {"one two three four", "one two three four", {100.0000, 100.0000, 100.0000, 100.0000}},
        {"It costs 3.50%, no?\nYes...", "It costs 3.50%.\n\nYes, it does?", {56.0846, 73.6842, 35.2941, 52.6316}},
        {"abc", "abcd abcd", {11.3803, 0.0000, 0.0000, 0.0000}},
        {"naïve café <b>x_y</b>", "café naïve x-y", {41.0908, 70.0000, 30.0000, 43.4783}},
        {"\n\nList:\n1. a\n\n2. b", "List:\n1. a\n2. c", {70.3791, 80.0000, 62.5000, 77.7778}},
        {"a a a b", "a b b b", {27.7762, 100.0000, 50.0000, 50.0000}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        graft_likeness l;
        ck_assert_ok(graft_likeness_of(rows[i].text, strlen(rows[i].text), rows[i].expected, strlen(rows[i].expected), &l, &err));
        const graft_likeness *w = &rows[i].want;
        ck_assert_msg(fabs(l.bleu4 - w->bleu4) < 1e-4 && fabs(l.rouge1 - w->rouge1) < 1e-4 && fabs(l.rouge2 - w->rouge2) < 1e-4 && fabs(l.rougel - w->rougel) < 1e-4, "pair %d: %g %g %g %g", (int)i, l.bleu4, l.rouge1, l.rouge2, l.rougel);
    }
}
END_TEST

static void cases(TCase *tc) { tcase_add_test(tc, as_the_libraries); }

int main(void) { return graft_test_main("metric", cases); }
