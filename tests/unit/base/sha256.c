/* SHA-256 against FIPS 180-4's own examples, in pieces of every size. */
#include "core/base/sha256.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *text, *sum;
} known[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu", "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
};

START_TEST(known_sums)
{
    char out[65];
    for (size_t step = 1; step < 130; step++) {
        graft_sha256 s;
        const char *text = known[_i].text;
        const size_t n = strlen(text);
        graft_sha256_init(&s);
        for (size_t at = 0; at < n; at += step) graft_sha256_add(&s, text + at, n - at < step ? n - at : step);
        graft_sha256_hex(&s, out);
        ck_assert_str_eq(out, known[_i].sum);
    }
}
END_TEST

START_TEST(a_million)
{
    char block[1000], out[65], path[4096];
    graft_sha256 s;
    graft_error err = GRAFT_ERROR_INIT;
    graft_file *f;
    snprintf(path, sizeof path, "%s/a", graft_test_dir("base_sha256"));
    memset(block, 'a', sizeof block);
    graft_sha256_init(&s);
    ck_assert_ok(graft_file_create(&f, path, &err));
    for (int i = 0; i < 1000; i++) {
        graft_sha256_add(&s, block, sizeof block);
        ck_assert_ok(graft_file_write(f, block, sizeof block, &err));
    }
    ck_assert_ok(graft_file_finish(f, &err));
    graft_sha256_hex(&s, out);
    ck_assert_str_eq(out, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    ck_assert_ok(graft_sha256_file(path, out, &err));
    ck_assert_str_eq(out, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    ck_assert_int_eq(graft_sha256_file("no/such/file", out, &err), GRAFT_BAD_INPUT);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_loop_test(tc, known_sums, 0, sizeof known / sizeof *known);
    tcase_add_test(tc, a_million);
}

int main(void) { return graft_test_main("sha256", cases); }
