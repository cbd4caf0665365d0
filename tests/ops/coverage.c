/* tests/ops/coverage.c - the table of ops and backends: printed, and compared with the one in docs/ops.md, which names the backends in its heading.
 * Also what every record must have. */
#include "tests/support/op_harness.h"

#include "core/base/file.h"

#include <stdio.h>
#include <string.h>

enum { MAX_DEVICES = 16 };

static graft_device devices[MAX_DEVICES];
static int n_devices;

static void open_devices(void)
{
    devices[0] = op_reference(1);
    n_devices = 1 + op_other_devices(devices + 1, MAX_DEVICES - 1);
}

static void close_devices(void)
{
    for (int i = 0; i < n_devices; i++) graft_device_close(&devices[i]);
}

static const graft_device *device_named(const char *name)
{
    for (int i = 0; i < n_devices; i++) {
        if (!strcmp(devices[i].name, name)) return &devices[i];
    }
    return NULL;
}

static const graft_op_claim *claim_of(const graft_device *d, const graft_op_record *op)
{
    int32_t n = 0;
    const graft_op_claim *claims = d->table->ops(d->dev, &n);
    for (int32_t i = 0; i < n; i++) {
        if (claims[i].op == graft_op_id(op->name)) return &claims[i];
    }
    return NULL;
}

/* "f32 bf16", "lowered", or "missing" for a primitive that the backend lacks. */
static void cell(const graft_device *d, const graft_op_record *op, char out[96])
{
    const graft_op_claim *c = claim_of(d, op);
    size_t at = 0;
    if (!c) {
        snprintf(out, 96, "%s", op->flags & GRAFT_OP_ALIAS ? "free" : op->decompose ? "lowered"
                                                                                    : "missing");
        return;
    }
    for (int t = GRAFT_F32; t <= GRAFT_INT8; t++) {
        if (c->dtypes >> t & 1u) at += (size_t)snprintf(out + at, 96 - at, "%s%s", at ? " " : "", graft_dtype_name((graft_dtype)t));
    }
}

static void line_start(const graft_op_record *op, char *out, size_t room)
{
    char inputs[24], inplace[40] = "";
    size_t at = 0;
    snprintf(inputs, sizeof inputs, op->min_in == op->max_in ? "%d" : "%d-%d", op->min_in, op->max_in);
    for (int i = 0; i < op->n_out; i++) {
        if (op->inplace[i]) at += (size_t)snprintf(inplace + at, sizeof inplace - at, "%s%d over %d", at ? ", " : "", i, op->inplace[i] - 1);
    }
    snprintf(out, room, "| `%s` | %d | %s | %d | %s | %s |", op->name, op->flags & GRAFT_OP_PRIMITIVE ? 0 : 1, inputs, op->n_out, op->backward ? "yes" : "no", inplace);
}

/* The line of text that begins with start, cut off into `out` without its newline. 0 when there is none. */
static int find_line(const char *text, const char *start, char out[800])
{
    for (const char *line = strstr(text, start); line; line = strstr(line + 1, start)) {
        if (line != text && line[-1] != '\n') continue;
        snprintf(out, 800, "%.*s", (int)strcspn(line, "\n"), line);
        return 1;
    }
    out[0] = '\0';
    return 0;
}

/* Cell k of a line "| a | b |", blanks removed; "" past the end. */
static void cell_at(const char *line, int k, char out[96])
{
    const char *from = line;
    for (int i = 0; i <= k && from; i++) from = strchr(i ? from + 1 : from, '|');
    if (from) from++, from += strspn(from, " ");
    size_t bytes = from ? strcspn(from, "|") : 0;
    while (bytes && from[bytes - 1] == ' ') bytes--;
    snprintf(out, 96, "%.*s", (int)bytes, from ? from : "");
}

/* The line as it should be: the backends of the heading that are here say their cells; those of others stand. */
static void line_of(const graft_op_record *op, const char *heading, const char *documented, char out[800])
{
    enum { FIRST_BACKEND = 6 };
    char name[96], text[96];
    line_start(op, out, 800);
    for (int k = FIRST_BACKEND; cell_at(heading, k, name), name[0]; k++) {
        const graft_device *d = device_named(name);
        if (d) cell(d, op, text);
        else cell_at(documented, k, text);
        const size_t at = strlen(out);
        snprintf(out + at, 800 - at, " %s |", text);
    }
}

START_TEST(the_documented_table_is_true)
{
    char *text = NULL, heading[800], documented[800], want[800], start[64];
    size_t bytes = 0, n_ops = 0;
    int wrong = 0;
    graft_error err = GRAFT_ERROR_INIT;
    open_devices();
    ck_assert_ok(graft_file_read(GRAFT_SOURCE_DIR "/docs/ops.md", 1 << 20, &text, &bytes, &err));
    ck_assert_msg(find_line(text, "| op | tier | inputs | outputs | gradient | in place |", heading), "docs/ops.md has no table of ops");
    printf("%s\n", heading);
    const graft_op_record *const *all = graft_op_all(&n_ops);
    for (size_t i = 0; i < n_ops; i++) {
        snprintf(start, sizeof start, "| `%s` |", all[i]->name);
        find_line(text, start, documented);
        line_of(all[i], heading, documented, want);
        printf("%s\n", want);
        if (!strcmp(want, documented)) continue;
        fprintf(stderr, "docs/ops.md has: %s\n", documented[0] ? documented : "(no line)");
        wrong++;
    }
    for (int i = 0; i < n_devices; i++) ck_assert_msg(strstr(heading, devices[i].name) != NULL, "docs/ops.md has no column for backend %s", devices[i].name);
    graft_free(text);
    close_devices();
    fflush(stdout);
    ck_assert_msg(wrong == 0, "%d lines of the table in docs/ops.md are not what the records and backends say; the right table is above", wrong);
}
END_TEST

START_TEST(every_record_is_whole)
{
    size_t n = 0;
    open_devices();
    const graft_op_record *const *all = graft_op_all(&n);
    int past_primitives = 0;
    ck_assert_uint_ge(n, 50);
    for (size_t i = 0; i < n; i++) {
        const graft_op_record *op = all[i];
        int made = 0, primitive = (op->flags & GRAFT_OP_PRIMITIVE) != 0;
        for (const op_maker *m = op_makers; m->op; m++) made |= !strcmp(m->op, op->name);
        past_primitives |= !primitive;
        ck_assert_msg(made, "%s has no test case", op->name);
        ck_assert_msg(!(primitive && past_primitives), "%s, a primitive, comes after a fused op", op->name);
        ck_assert_msg(op->shape && op->n_out >= 1 && op->n_out <= GRAFT_MAX_OUT && op->min_in <= op->max_in && op->max_in <= GRAFT_MAX_IN, "%s", op->name);
        ck_assert_msg(primitive != (op->decompose != NULL), "%s is a primitive or decomposes, not both and not neither", op->name);
        ck_assert_msg(!primitive || op->backward, "%s, a primitive, has no backward", op->name);
        ck_assert_msg(claim_of(&devices[0], op) != NULL, "%s is missing from the reference backend", op->name);
        for (int k = 0; k < op->n_out; k++) ck_assert_msg(op->inplace[k] <= op->max_in && (!op->accumulate[k] || op->accumulate[k] == op->inplace[k]), "%s", op->name);
        ck_assert_ptr_eq(graft_op_find(op->name), op);
        for (size_t k = 0; k < i; k++) ck_assert_msg(graft_op_id(all[k]->name) != graft_op_id(op->name), "%s and %s have one id", op->name, all[k]->name);
    }
    ck_assert_ptr_null(graft_op_find("no such op/1"));
    ck_assert_ptr_null(graft_op_find(""));
    int32_t claims = 0;
    devices[0].table->ops(devices[0].dev, &claims);
    ck_assert_int_eq(claims, (int)n);
    close_devices();
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, the_documented_table_is_true);
    tcase_add_test(tc, every_record_is_whole);
}

int main(void) { return graft_test_main("coverage", cases); }
