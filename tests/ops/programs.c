/* tests/ops/programs.c - programs that no host should hand over, given to the reference backend: each is refused by compile, or by run, in words. */
#include "tests/support/op_harness.h"

#include <stdio.h>
#include <string.h>

enum { T = GRAFT_DIM_TOKENS };

typedef struct image {
    graft_tensor t[4];
    graft_instr i[1];
    int32_t in[4], out[4];
    graft_attr at[4];
    graft_program p;
} image;

/* y [tokens, 4] = x [tokens, 6] w [4, 6]^T */
static void good(image *m)
{
    memset(m, 0, sizeof *m);
    m->t[0] = (graft_tensor){.dtype = GRAFT_F32, .place = GRAFT_PLACE_INPUT, .rank = 2, .dims = {T, 6}, .offset = 0, .bytes = 8 * 6 * 4, .name = "x"};
    m->t[1] = (graft_tensor){.dtype = GRAFT_F32, .place = GRAFT_PLACE_WEIGHT, .rank = 2, .dims = {4, 6}, .offset = 0, .bytes = 4 * 6 * 4, .name = "w"};
    m->t[2] = (graft_tensor){.dtype = GRAFT_F32, .place = GRAFT_PLACE_OUTPUT, .rank = 2, .dims = {T, 4}, .offset = 64, .bytes = 8 * 4 * 4, .name = "y"};
    m->in[0] = 0, m->in[1] = 1, m->in[2] = -1, m->out[0] = 2;
    m->at[0] = (graft_attr)GRAFT_INTA("trans_a", 0), m->at[1] = (graft_attr)GRAFT_INTA("trans_b", 1), m->at[2] = (graft_attr)GRAFT_REALA("alpha", 1.0);
    m->i[0] = (graft_instr){graft_op_id("matmul/1"), "matmul/1", 3, 1, 3, m->in, m->out, m->at};
    m->p = (graft_program){.size = (uint32_t)sizeof m->p, .n_tensors = 3, .n_instrs = 1, .tensors = m->t, .instrs = m->i, .capacity = {8, 1, 1, 1}, .compute = 1};
    m->p.place_bytes[GRAFT_PLACE_INPUT] = 192, m->p.place_bytes[GRAFT_PLACE_WEIGHT] = 96, m->p.place_bytes[GRAFT_PLACE_OUTPUT] = 192;
}

static void refused(const graft_device *d, const image *m, const char *want)
{
    void *plan = NULL;
    graft_error err = GRAFT_ERROR_INIT;
    ck_assert_msg(d->table->compile(d->dev, &m->p, &plan, &err) != GRAFT_OK, "compiled, but should say: %s", want);
    ck_assert_msg(strstr(err.message, want) != NULL, "\"%s\" should hold \"%s\"", err.message, want);
}

START_TEST(compile_refuses)
{
    graft_device d = op_reference(1);
    image m;
    good(&m), m.i[0].name = "no_such_op/1", refused(&d, &m, "no_such_op/1: this backend does not have the op");
    good(&m), m.i[0].n_in = 4, refused(&d, &m, "more inputs or outputs");
    good(&m), m.i[0].n_out = 2, refused(&d, &m, "more inputs or outputs");
    good(&m), m.in[1] = -1, refused(&d, &m, "an input is missing");
    good(&m), m.in[1] = 3, refused(&d, &m, "an input is missing");
    good(&m), m.out[0] = 3, refused(&d, &m, "an output is missing");
    good(&m), m.i[0].n_attr = 2, refused(&d, &m, "an attribute is missing");
    good(&m), m.t[0].dtype = GRAFT_I32, refused(&d, &m, "an input's type is not claimed");
    good(&m), m.t[0].dtype = GRAFT_NF4, refused(&d, &m, "tensor 0 (x) lies outside its place"); /* 48 elements are no whole block */
    good(&m), m.t[0].dtype = 99, refused(&d, &m, "tensor 0 (x) lies outside its place");
    good(&m), m.t[1].dims[1] = 5, refused(&d, &m, "do not go together");
    good(&m), m.at[0].i = 1, refused(&d, &m, "do not go together");
    good(&m), m.t[2].dims[1] = 3, refused(&d, &m, "do not go together");
    good(&m), m.in[2] = 0, refused(&d, &m, "do not go together");
    good(&m), m.t[0].rank = 5, refused(&d, &m, "tensor 0 (x) lies outside its place");
    good(&m), m.t[0].place = GRAFT_PLACES, refused(&d, &m, "tensor 0 (x) lies outside its place");
    good(&m), m.t[2].offset = 128, refused(&d, &m, "tensor 2 (y) lies outside its place");
    good(&m), m.t[2].offset = -64, refused(&d, &m, "tensor 2 (y) lies outside its place");
    good(&m), m.t[0].dims[0] = -5, refused(&d, &m, "tensor 0 (x) lies outside its place");
    good(&m), m.t[0].dims[0] = INT64_MAX, refused(&d, &m, "tensor 0 (x) lies outside its place");
    good(&m), m.t[0].dims[0] = 9, refused(&d, &m, "tensor 0 (x) lies outside its place");
    graft_device_close(&d);
}
END_TEST

START_TEST(run_refuses_sizes_and_buffers_beyond_the_plan)
{
    graft_device d = op_reference(1);
    image m;
    void *plan = NULL, *in, *w, *out, *small;
    graft_error err = GRAFT_ERROR_INIT;
    float y[8 * 4], x[8 * 6];
    good(&m);
    ck_assert_ok(d.table->compile(d.dev, &m.p, &plan, &err));
    ck_assert_ok(d.table->alloc(d.dev, 192, &in, &err));
    ck_assert_ok(d.table->alloc(d.dev, 96, &w, &err));
    ck_assert_ok(d.table->alloc(d.dev, 192, &out, &err));
    ck_assert_ok(d.table->alloc(d.dev, 0, &small, &err));
    for (int i = 0; i < 48; i++) x[i] = (float)i;
    ck_assert_ok(d.table->upload(d.dev, in, 0, x, (int64_t)sizeof x, &err));
    for (int i = 0; i < 24; i++) x[i] = i / 6 == i % 6 ? 1.0f : 0.0f; /* the first four columns */
    ck_assert_ok(d.table->upload(d.dev, w, 0, x, 96, &err));
    void *places[GRAFT_PLACES] = {[GRAFT_PLACE_INPUT] = in, [GRAFT_PLACE_WEIGHT] = w, [GRAFT_PLACE_OUTPUT] = out};
    graft_run r = {.size = (uint32_t)sizeof r, .extent = {3, 0, 0, 0}, .places = places};
    ck_assert_ok(d.table->run(plan, &r, &err));
    ck_assert_ok(d.table->download(d.dev, out, 64, y, (int64_t)sizeof y, &err));
    for (int i = 0; i < 32; i++) ck_assert(y[i] == (i < 12 ? (float)(i / 4 * 6 + i % 4) : 0.0f));
    r.extent[0] = 9;
    ck_assert(d.table->run(plan, &r, &err) != GRAFT_OK);
    ck_assert_str_eq(err.message, "a size of 9 is outside the plan's capacity of 8");
    r.extent[0] = -1;
    ck_assert(d.table->run(plan, &r, &err) != GRAFT_OK);
    r.extent[0] = 3, places[GRAFT_PLACE_OUTPUT] = small;
    ck_assert(d.table->run(plan, &r, &err) != GRAFT_OK);
    ck_assert_msg(strstr(err.message, "too small") != NULL, "%s", err.message);
    places[GRAFT_PLACE_OUTPUT] = NULL;
    ck_assert(d.table->run(plan, &r, &err) != GRAFT_OK);
    ck_assert(d.table->upload(d.dev, out, 190, y, 4, &err) != GRAFT_OK);
    ck_assert(d.table->download(d.dev, out, -4, y, 4, &err) != GRAFT_OK);
    ck_assert(d.table->alloc(d.dev, -1, &small, &err) != GRAFT_OK);
    d.table->release(d.dev, in);
    d.table->release(d.dev, w);
    d.table->release(d.dev, out);
    d.table->release(d.dev, small);
    d.table->discard(plan);
    graft_device_close(&d);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, compile_refuses);
    tcase_add_test(tc, run_refuses_sizes_and_buffers_beyond_the_plan);
}

int main(void) { return graft_test_main("programs", cases); }
