/* One sentence per failure, cut on a character's border; the nearest word. */
#include "core/base/error.h"
#include "core/base/str.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

START_TEST(sentence)
{
    graft_error err = GRAFT_ERROR_INIT;
    char text[64];
    ck_assert_int_eq(graft_fail(&err, GRAFT_IO, "x.json:3:5", "expected %d, found %s", 2, "three"), GRAFT_IO);
    ck_assert_int_eq(err.code, GRAFT_IO);
    ck_assert_uint_eq(err.size, sizeof err);
    ck_assert_str_eq(graft_error_text(&err, text, sizeof text), "x.json:3:5: expected 2, found three");
    /* An error may be wrapped into itself. */
    graft_fail(&err, GRAFT_BAD_INPUT, err.where, "while loading: %s", err.message);
    ck_assert_str_eq(err.message, "while loading: expected 2, found three");
    ck_assert_str_eq(err.where, "x.json:3:5");
    graft_fail(&err, GRAFT_BAD_INPUT, NULL, "alone");
    ck_assert_str_eq(graft_error_text(&err, text, sizeof text), "alone");
    ck_assert_str_eq(graft_error_text(&err, text, 4), "alo");
    ck_assert_int_eq(graft_fail(NULL, GRAFT_INTERNAL, NULL, "nobody listens"), GRAFT_INTERNAL);
}
END_TEST

START_TEST(cut_on_a_border)
{
    char large[2000];
    graft_error err = GRAFT_ERROR_INIT;
    for (size_t shift = 0; shift < 4; shift++) {
        memset(large, 'x', sizeof large);
        for (size_t i = shift; i + 3 < sizeof large; i += 3) memcpy(large + i, "\xE4\xBD\xA0", 3);
        large[shift + 1500] = '\0';
        graft_fail(&err, GRAFT_IO, large, "%s", large);
        const char *both[] = {err.where, err.message};
        for (int k = 0; k < 2; k++) {
            const size_t n = strlen(both[k]);
            size_t at = 0;
            while (at < n) {
                const int step = graft_utf8_length(both[k] + at, n - at);
                ck_assert_int_gt(step, 0);
                at += (size_t)step;
            }
            ck_assert_uint_ge(n, (k ? sizeof err.message : sizeof err.where) - 4);
        }
    }
}
END_TEST

static const struct {
    const char *word, *nearest;
} words[] = {
    {"lerning_rate", "learning_rate"},
    {"learning-rate", "learning_rate"},
    {"lorra", "lora"},
    {"lroa", "lora"},
    {"ful", "full"},
    {"x", NULL},
    {"", NULL},
    {"zzzzzzzz", NULL},
    {"datset", "dataset"},
    {"dataset_", "dataset"},
    {"num_train_epoch", "num_train_epochs"},
    {"epochs", NULL},
};

START_TEST(nearest)
{
    static const char *const options[] = {"learning_rate", "lora", "full", "dataset", "num_train_epochs", "", NULL, "never looked at"};
    const char *found = graft_nearest(words[_i].word, options, 8);
    if (words[_i].nearest) {
        ck_assert_msg(found && !strcmp(found, words[_i].nearest), "%s: found %s", words[_i].word, found ? found : "nothing");
    } else {
        ck_assert_msg(!found, "%s: found %s", words[_i].word, found ? found : "nothing");
    }
    char large[300];
    memset(large, 'a', sizeof large);
    large[299] = '\0';
    ck_assert_ptr_null(graft_nearest(large, options, 8));
    ck_assert_ptr_null(graft_nearest(NULL, options, 8));
    ck_assert_ptr_null(graft_nearest("lora", options, 0));
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, sentence);
    tcase_add_test(tc, cut_on_a_border);
    tcase_add_loop_test(tc, nearest, 0, sizeof words / sizeof *words);
}

int main(void) { return graft_test_main("error", cases); }
