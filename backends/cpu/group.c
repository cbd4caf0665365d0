/* group.c - joins steps at compile time: products of one input with several weights that follow each other become one step.
 *
 *   q = x wq    k = x wk    v = x wv          becomes          q, k, v = x [wq | wk | wv]
 *
 * The numbers stay what they were. A few rows of x, as decoding has them, are then multiplied in one go of the threads instead of three; many rows are multiplied
 * one product after another. A product moves up to the first of its group, so nothing in between may touch what it reads or writes. */
#include "plan.h"

enum { GROUP_MOST = 5,
       APART_MOST = 12 }; /* steps between the first and the last of a group */
_Static_assert(1 + (int)GROUP_MOST <= (int)CPU_MAX_IN && (int)GROUP_MOST <= (int)CPU_MAX_OUT && 3 * (int)GROUP_MOST <= (int)CPU_MAX_ATTR, "a step has room for a group");

static int overlap(const slot *a, const slot *b)
{
    return a->on && b->on && a->place == b->place && a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

static int touches(const step *s, const slot *x)
{
    for (int32_t i = 0; i < s->n_in; i++)
        if (overlap(&s->in[i], x)) return 1;
    for (int32_t i = 0; i < s->n_out; i++)
        if (overlap(&s->out[i], x)) return 1;
    return 0;
}

static int writes(const step *s, const slot *x)
{
    for (int32_t i = 0; i < s->n_out; i++)
        if (overlap(&s->out[i], x)) return 1;
    return 0;
}

/* x w^T and nothing added: what the rows of x share. Attributes: trans_a, trans_b, alpha. */
static int is_plain(const step *s)
{
    return s->op && !strcmp(s->name, "matmul/1") && s->out[0].on && s->out[0].rank == 2 && s->in[0].rank == 2 && s->in[1].rank == 2 && (s->n_in < 3 || !s->in[2].on) && !s->attr[0].i && s->attr[1].i;
}

static int same_input(const step *a, const step *b)
{
    const slot *x = &a->in[0], *y = &b->in[0];
    return x->place == y->place && x->offset == y->offset && x->bytes == y->bytes && x->dtype == y->dtype;
}

/* May step j run where step i does, beside it? */
static int may_join(const step *steps, int32_t i, int32_t j)
{
    const step *s = &steps[j];
    if (touches(&steps[i], &s->out[0]) || writes(&steps[i], &s->in[0]) || writes(&steps[i], &s->in[1])) return 0;
    for (int32_t t = i + 1; t < j; t++)
        if (steps[t].op && (touches(&steps[t], &s->out[0]) || writes(&steps[t], &s->in[0]) || writes(&steps[t], &s->in[1]))) return 0;
    return 1;
}

static void join(step *group, step *s, const cpu_op *op)
{
    const int32_t n = group->op == op ? group->n_out : 1;
    group->op = op;
    group->name = op->name;
    group->in[1 + n] = s->in[1];
    group->out[n] = s->out[0];
    memcpy(&group->attr[3 * n], s->attr, 3 * sizeof *s->attr);
    group->n_out = n + 1;
    group->n_in = n + 2;
    s->op = NULL;
}

void cpu_group(const cpu_device *d, step *steps, int32_t n)
{
    const cpu_op *op = NULL;
    for (const cpu_op *const *family = d->kernels->families; *family; family++)
        for (const cpu_op *o = *family; o->name; o++)
            if (!strcmp(o->name, CPU_MATMUL_GROUP)) op = o;
    for (int32_t i = 0; i < n && op; i++) {
        if (!is_plain(&steps[i])) continue;
        for (int32_t j = i + 1; j < n && j <= i + APART_MOST && steps[i].n_out < GROUP_MOST; j++)
            if (is_plain(&steps[j]) && same_input(&steps[i], &steps[j]) && may_join(steps, i, j)) join(&steps[i], &steps[j], op);
    }
}
