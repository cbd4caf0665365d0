/* tests/ops/refusals.c - what an op refuses while the graph is built, in words; that whatever it accepts compiles and runs; and the failures that only the
 * data of a run can cause. */
#include "tests/support/op_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- words ------------------------------------------------------------------------------------------------------------------------------------ */
static const char *refusal(op_case *c)
{
    static graft_error err;
    op_program p;
    graft_device d = op_reference(1);
    memset(&err, 0, sizeof err);
    err.size = (uint32_t)sizeof err;
    const graft_status status = op_program_open(&p, &d, c, 0, &err);
    ck_assert_msg(status != GRAFT_OK, "%s accepted what it should refuse", c->op);
    graft_device_close(&d);
    return err.message;
}

START_TEST(shapes_are_refused_in_one_sentence)
{
    op_case c;
    op_case_begin(&c, "matmul/1", 1);
    op_case_in(&c, OP_NORMAL, 2, GRAFT_DIM_TOKENS, 2048, 0, 0);
    op_case_in(&c, OP_NORMAL, 2, 4096, 64, 0, 0);
    ck_assert_str_eq(refusal(&c), "matmul/1 expects inner sizes that are equal, found f32 [tokens, 2048] and f32 [4096, 64]");
    op_case_begin(&c, "add/1", 1);
    op_case_in(&c, OP_NORMAL, 2, 3, 4, 0, 0);
    op_case_in(&c, OP_NORMAL, 1, 5, 0, 0, 0);
    ck_assert_str_eq(refusal(&c), "add/1 expects shapes that broadcast (equal or 1, from the right), found f32 [3, 4] and f32 [5]");
    op_case_begin(&c, "add/1", 1);
    op_case_in(&c, OP_NORMAL, 1, 3, 0, 0, 0);
    op_case_in(&c, OP_SMALL, 1, 3, 0, 0, 0);
    ck_assert_str_eq(refusal(&c), "add/1 expects f32 for y, found i32 [3]");
    op_case_begin(&c, "sum/1", 1);
    op_case_in(&c, OP_NORMAL, 2, 3, 4, 0, 0);
    op_case_int(&c, "axis", 2);
    ck_assert_str_eq(refusal(&c), "sum/1 expects an axis below 2, found 2 for f32 [3, 4]");
    op_case_begin(&c, "slice/1", 1);
    op_case_in(&c, OP_NORMAL, 2, GRAFT_DIM_TOKENS, 4, 0, 0);
    op_case_int(&c, "axis", 0);
    op_case_int(&c, "begin", 0);
    op_case_int(&c, "length", 1);
    ck_assert_str_eq(refusal(&c), "slice/1 expects a constant size on axis 0, found f32 [tokens, 4]");
    op_case_begin(&c, "reshape/1", 1);
    op_case_in(&c, OP_NORMAL, 2, GRAFT_DIM_TOKENS, 4, 0, 0);
    op_case_int(&c, "rank", 2);
    op_case_int(&c, "d0", GRAFT_DIM_LABELLED);
    op_case_int(&c, "d1", 4);
    ck_assert_str_eq(refusal(&c), "reshape/1 expects the same number of elements, found f32 [tokens, 4] for f32 [labelled, 4]");
    op_case_begin(&c, "rope/1", 1);
    op_case_in(&c, OP_NORMAL, 2, GRAFT_DIM_TOKENS, 12, 0, 0);
    op_case_in(&c, OP_POSITIONS, 1, GRAFT_DIM_LABELLED, 0, 0, 0);
    op_case_in(&c, OP_FREQ, 1, 2, 0, 0, 0);
    op_case_int(&c, "head", 4);
    ck_assert_str_eq(refusal(&c), "rope/1 expects a position for each row of x f32 [tokens, 12], found i32 [labelled]");
}
END_TEST

/* ---- what is accepted, works ---------------------------------------------------------------------------------------------------------------------- */
static void mutate(op_case *c, op_rng *r)
{
    static const graft_dtype types[] = {GRAFT_F32, GRAFT_I32, GRAFT_BF16, GRAFT_F16};
    static const int64_t dims[] = {0, 1, 2, 3, 4, 5, 8, GRAFT_DIM_TOKENS, GRAFT_DIM_SEQUENCES, GRAFT_DIM_LABELLED, GRAFT_DIM_CACHED};
    op_input *in = c->n_in ? &c->in[op_draw(r, (uint32_t)c->n_in)] : NULL;
    graft_attr *at = c->n_attr ? &c->attr[op_draw(r, (uint32_t)c->n_attr)] : NULL;
    const uint32_t what = op_draw(r, 6);
    if (what == 0 && in && in->shape.rank > 0) in->shape.dims[op_draw(r, (uint32_t)in->shape.rank)] = dims[op_draw(r, 11)];
    if (what == 1 && in && in->shape.rank >= 0) {
        in->shape.dtype = types[op_draw(r, 4)];
        in->fill = in->shape.dtype == GRAFT_I32 ? OP_SMALL : OP_NORMAL;
    }
    if (what == 2 && in) {
        const int old = in->shape.rank;
        in->shape.rank = (int)op_draw(r, 6) - 1;
        for (int i = 0; i < GRAFT_MAX_RANK; i++) in->shape.dims[i] = i >= in->shape.rank ? 0 : i < old ? in->shape.dims[i]
                                                                                                       : dims[op_draw(r, 11)];
        if (in->fill == OP_SEQ || in->fill == OP_CACHE_SEQ) in->fill = OP_SMALL;
    }
    if (what == 3 && at && at->type == GRAFT_ATTR_INT) at->i = (int64_t)op_draw(r, 12) - 6;
    if (what == 4 && at && at->type == GRAFT_ATTR_REAL) at->r = op_uniform(r, -2.0, 2.0);
    if (what == 5 && in) *in = c->in[op_draw(r, (uint32_t)c->n_in)];
    for (int i = 0; i < c->n_in; i++) { /* tables may have become small */
        if (c->in[i].fill == OP_INDEX && c->in[i].limit > 2) c->in[i].limit = 2;
    }
}

/* Errors of the graph are refusals, errors of the run are about data; compile never fails, nothing crashes. */
static int try_one(const graft_device *d, const op_case *c, int *ran)
{
    char text[600];
    op_program p;
    op_data data;
    op_result r;
    graft_error err = GRAFT_ERROR_INIT;
    memset(&r, 0, sizeof r);
    op_case_text(c, text, sizeof text);
    if (op_program_open(&p, d, c, 1, &err)) {
        ck_assert_msg(err.code != GRAFT_INTERNAL, "%s: %s", text, err.message);
        ck_assert_msg(err.message[0], "%s was refused without a word", text);
        return 0;
    }
    op_data_new(c, &data);
    const graft_status status = op_program_run(&p, &data, &r, &err);
    ck_assert_msg(status == GRAFT_OK || status == GRAFT_BAD_INPUT, "%s: the run failed: %s", text, err.message);
    *ran += status == GRAFT_OK;
    op_program_close(&p);
    op_result_free(&r);
    op_data_free(&data);
    return 1;
}

START_TEST(what_a_record_accepts_a_backend_can_run)
{
    enum { TRIES = 250 };
    graft_device devices[] = {op_reference(1), op_reference(0)};
    int accepted = 0, refused = 0, ran = 0;
    for (const op_maker *m = op_makers; m->op; m++) {
        for (uint64_t seed = 1; seed <= TRIES; seed++) {
            op_case c;
            op_rng r = {seed * 991};
            if (m->variant) continue; /* quantised blocks need whole sizes */
            op_make(m, seed, 0, &c);
            for (uint32_t i = 0; i <= op_draw(&r, 3); i++) mutate(&c, &r);
            const int good = try_one(&devices[seed % 2], &c, &ran);
            accepted += good, refused += !good;
        }
    }
    for (int i = 0; i < 2; i++) graft_device_close(&devices[i]);
    printf("%d mutated cases: %d accepted, of which %d ran to the end; %d refused\n", accepted + refused, accepted, ran, refused);
    ck_assert_int_gt(accepted, 2000);
    ck_assert_int_gt(refused, 2000);
    ck_assert_int_gt(ran * 10, accepted * 8);
}
END_TEST

/* ---- the data of a run -------------------------------------------------------------------------------------------------------------------------------- */
/* Runs c with input `at` replaced by `x`; the error's text on every device that has the op. */
static void fails(op_case *c, int at, const int32_t *x, const char *want)
{
    graft_device devices[18] = {op_reference(1)};
    const int n = 1 + op_other_devices(devices + 1, 17);
    for (int i = 0; i < GRAFT_SYMBOLS; i++) c->capacity[i] = c->extent[i];
    for (int i = 0; i < n; i++) {
        op_program p;
        op_data data;
        op_result r;
        graft_error err = GRAFT_ERROR_INIT;
        memset(&r, 0, sizeof r);
        if (op_claims(&devices[i], c)) {
            op_data_new(c, &data);
            memcpy(data.in[at], x, (size_t)data.in_bytes[at]);
            ck_assert_ok(op_program_open(&p, &devices[i], c, 0, &err));
            ck_assert_msg(op_program_run(&p, &data, &r, &err) != GRAFT_OK, "%s on %s ran with wrong data", c->op, devices[i].name);
            ck_assert_msg(strstr(err.message, want) != NULL, "%s on %s says: %s", c->op, devices[i].name, err.message);
            op_program_close(&p);
            op_result_free(&r);
            op_data_free(&data);
        }
        graft_device_close(&devices[i]);
    }
}

START_TEST(rows_and_labels_out_of_range_fail_the_run)
{
    op_case c;
    op_case_begin(&c, "gather/1", 1);
    c.extent[0] = 3;
    op_case_in(&c, OP_NORMAL, 2, 5, 4, 0, 0);
    op_case_in(&c, OP_INDEX, 1, GRAFT_DIM_TOKENS, 0, 0, 0)->limit = 5;
    fails(&c, 1, (const int32_t[]){4, -7, 5}, "5");
    op_case_begin(&c, "scatter_add/1", 1);
    c.extent[0] = 3;
    op_case_in(&c, OP_NORMAL, 2, 5, 4, 0, 0);
    op_case_in(&c, OP_NORMAL, 2, GRAFT_DIM_TOKENS, 4, 0, 0);
    op_case_in(&c, OP_INDEX, 1, GRAFT_DIM_TOKENS, 0, 0, 0)->limit = 5;
    fails(&c, 2, (const int32_t[]){0, 2147483647, 1}, "2147483647");
    op_case_begin(&c, "expert_matmul/1", 1);
    c.extent[0] = 2;
    op_case_in(&c, OP_NORMAL, 3, GRAFT_DIM_TOKENS, 1, 4, 0);
    op_case_in(&c, OP_NORMAL, 3, 3, 2, 4, 0);
    op_case_in(&c, OP_INDEX, 2, GRAFT_DIM_TOKENS, 2, 0, 0)->limit = 3;
    fails(&c, 2, (const int32_t[]){0, -1, 2, 3}, "3");
    op_case_begin(&c, "expert_outer/1", 1);
    c.extent[0] = 2;
    op_case_in(&c, OP_NORMAL, 3, GRAFT_DIM_TOKENS, 1, 4, 0);
    op_case_in(&c, OP_NORMAL, 3, GRAFT_DIM_TOKENS, 2, 4, 0);
    op_case_in(&c, OP_INDEX, 2, GRAFT_DIM_TOKENS, 2, 0, 0)->limit = 3;
    op_case_int(&c, "experts", 3);
    fails(&c, 2, (const int32_t[]){0, 7, 2, 1}, "7");
    op_case_begin(&c, "linear_cross_entropy/1", 1);
    c.extent[2] = 2;
    op_case_in(&c, OP_NORMAL, 2, GRAFT_DIM_LABELLED, 4, 0, 0);
    op_case_in(&c, OP_NORMAL, 2, 9, 4, 0, 0);
    op_case_in(&c, OP_INDEX, 1, GRAFT_DIM_LABELLED, 0, 0, 0)->limit = 9;
    op_case_in(&c, OP_NORMAL, 1, GRAFT_DIM_LABELLED, 0, 0, 0);
    fails(&c, 2, (const int32_t[]){8, 9}, "9");
}
END_TEST

START_TEST(borders_outside_the_batch_fail_the_run)
{
    static const int32_t wrong[][4] = {{0, 6, 0, 0}, {-1, 3, 0, 0}, {5, 1, 0, 0}, {0, -2, 0, 0}, {2147483647, 2147483647, 0, 0}};
    op_case c;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        op_case_begin(&c, "attention/1", 1);
        c.extent[0] = 5, c.extent[1] = 1;
        for (int k = 0; k < 3; k++) op_case_in(&c, OP_NORMAL, 2, GRAFT_DIM_TOKENS, 4, 0, 0);
        op_case_in(&c, OP_SEQ, 2, GRAFT_DIM_SEQUENCES, 4, 0, 0);
        op_case_int(&c, "heads", 2);
        op_case_int(&c, "kv_heads", 2);
        op_case_real(&c, "scale", 1.0);
        fails(&c, 3, wrong[i], "sequence");
    }
    static const int32_t outside[][4] = {{0, 5, 4, 0}, {0, 5, 0, 4}, {0, 5, -1, 0}, {0, 5, 0, 2147483647}};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        op_case_begin(&c, "attention_cached/1", 1);
        c.extent[0] = 5, c.extent[1] = 1, c.extent[3] = 8;
        for (int k = 0; k < 3; k++) op_case_in(&c, OP_NORMAL, 2, GRAFT_DIM_TOKENS, 4, 0, 0);
        op_case_in(&c, OP_CACHE_SEQ, 2, GRAFT_DIM_SEQUENCES, 4, 0, 0);
        op_case_absent(&c);
        op_case_absent(&c);
        for (int k = 0; k < 2; k++) op_case_in(&c, OP_NORMAL, 2, GRAFT_DIM_CACHED, 4, 0, 0);
        op_case_int(&c, "heads", 2);
        op_case_int(&c, "kv_heads", 2);
        op_case_real(&c, "scale", 1.0);
        fails(&c, 3, outside[i], "sequence");
    }
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, shapes_are_refused_in_one_sentence);
    tcase_add_test(tc, what_a_record_accepts_a_backend_can_run);
    tcase_add_test(tc, rows_and_labels_out_of_range_fail_the_run);
    tcase_add_test(tc, borders_outside_the_batch_fail_the_run);
}

int main(void) { return graft_test_main("refusals", cases); }
