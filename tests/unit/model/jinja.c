/* tests/unit/model/jinja.c - what Jinja2 3.1 made of templates as the hub's chat templates are written (tests/fixtures/template/jinja.jsonl), and refusals.
 *
 * First line: {"variables": {...}}; then {"template": "...", "want": "..."}. Jinja2 ran as transformers sets it up: trim_blocks, lstrip_blocks, loop controls. */
#include "core/model/jinja.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/support/support.h"

#include <string.h>

static graft_error err = GRAFT_ERROR_INIT;

START_TEST(as_jinja2)
{
    graft_arena *a = graft_arena_new();
    const graft_json *variables = NULL;
    char *text = NULL;
    size_t bytes = 0, at = 0, n = 0;
    ck_assert_ok(graft_file_read(graft_test_fixture("template/jinja.jsonl"), 1 << 22, &text, &bytes, &err));
    while (at < bytes) {
        const graft_json *row = NULL;
        size_t used = 0;
        ck_assert_ok(graft_json_parse_prefix(a, "jinja.jsonl", text + at, bytes - at, 1, 0, &row, &used, &err));
        at += used;
        while (at < bytes && text[at] == '\n') at++;
        if (graft_json_get(row, "variables")) {
            variables = graft_json_get(row, "variables");
            continue;
        }
        const graft_json *t = graft_json_get(row, "template"), *want = graft_json_get(row, "want");
        graft_str out;
        graft_str_init(&out, 0);
        ck_assert_msg(graft_jinja_render("t", t->text, t->bytes, variables, "26 Jul 2024", &out, &err) == GRAFT_OK, "%s: %s", t->text, err.message);
        ck_assert_msg(out.bytes == want->bytes && !memcmp(out.data, want->text, want->bytes), "%s\nwant %s\ngot  %s", t->text, want->text, out.data);
        graft_str_free(&out);
        n++;
    }
    ck_assert_uint_ge(n, 70);
    graft_free(text);
    graft_arena_free(a);
}
END_TEST

START_TEST(refusals)
{
    static const char *const rows[][2] = {{"{{ '%d' % 'x' }}", "needs a number"}, {"{{ '%s %s' % 'x' }}", "more % places than values"}, {"{{ '%s' % (1, 2) }}", "fewer % places than values"}, {"{{ '%y' % 1 }}", "no letter that formats"}, {"{{ '{} {}'.format(1) }}", "for which there is no value"}, {"{{ '{'.format(1) }}", "single '{'"}, {"{% with a %}{% endwith %}", "name = value"}, {"{% raw %}", "a raw has no endraw"}, {"{% call 1 %}{% endcall %}", "a macro's call"}, {"{% filter upper %}x", "is not closed"}, {"{{ [1] * 9999999 * 9 }}", "does not come to an end"}, {"{{ 'x'.center(999999999) }}", "a width is too large"}, {"{{ '%9999999s' % 1 }}", ""}, {"{{ raise_exception('not so') }}", "not so"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        graft_str out;
        graft_str_init(&out, 0);
        const graft_status s = graft_jinja_render("t", rows[i][0], strlen(rows[i][0]), NULL, NULL, &out, &err);
        if (*rows[i][1]) ck_assert_msg(s == GRAFT_BAD_INPUT && strstr(err.message, rows[i][1]) != NULL, "%s: %d %s", rows[i][0], (int)s, err.message);
        graft_str_free(&out);
    }
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, as_jinja2);
    tcase_add_test(tc, refusals);
}

int main(void) { return graft_test_main("jinja", cases); }
