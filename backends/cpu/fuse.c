/* fuse.c - joins steps at compile time. One kind so far: sums of matrix products.
 *
 *   y = a1 b1 (+ c)                                  becomes, at the place of the last,
 *   z = a2 b2 + y                                    z = [a1 | a2] [b1 ; b2] (+ c)
 *
 * LoRA's x W^T + s (x A^T) B^T is one product with 8 more columns of k, and the gradient of an input that several weights share is one sum.
 * y must have no other reader, and since its inputs are now read later, nothing in between may have overwritten them. */
#include "plan.h"

enum { PRODUCTS_MOST = 5,
       INPUTS_MOST = 1 + 2 * PRODUCTS_MOST };
_Static_assert((int)INPUTS_MOST <= (int)CPU_MAX_IN && 3 * PRODUCTS_MOST <= (int)CPU_MAX_ATTR, "a step has room for a chain");

static int overlap(const slot *a, const slot *b)
{
    return a->on && b->on && a->place == b->place && a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

typedef struct fuser {
    step *steps;
    int32_t n;
    int32_t *maker, *readers; /* of each tensor: the step that makes it, -1; how many inputs it is */
    const cpu_op *chain;
} fuser;

static int is_matmul(const step *s) { return s->op && !strcmp(s->name, "matmul/1") && s->out[0].rank == 2 && s->out[0].on; }
static int is_chain(const fuser *f, const step *s) { return s->op == f->chain; }

/* matmul a, b, c in the form of a chain: c, a, b. */
static void as_chain(const fuser *f, step *s)
{
    const slot c = s->n_in > 2 ? s->in[2] : (slot){.on = 0};
    s->in[2] = s->in[1];
    s->in[1] = s->in[0];
    s->in[0] = c;
    s->n_in = 3;
    s->op = f->chain;
    s->name = f->chain->name;
}

/* Does anything but input 2 of step j read what step i makes? Memory is looked at, not ids: a tensor may have several names (reshape). It holds i's result until
 * a step from j on writes over it. */
static int others_read(const fuser *f, int32_t i, int32_t j)
{
    const slot *y = &f->steps[i].out[0];
    for (int32_t t = i + 1; t < f->n; t++) {
        const step *s = &f->steps[t];
        for (int32_t k = 0; k < s->n_in; k++)
            if (s->op && !(t == j && k == 2) && overlap(&s->in[k], y)) return 1;
        for (int32_t o = 0; o < s->n_out && t >= j; o++)
            if (s->op && overlap(&s->out[o], y)) return 0;
    }
    return 0;
}

/* May step i's reading wait until step j? */
static int may_wait(const fuser *f, int32_t i, int32_t j)
{
    const step *s = &f->steps[i], *last = &f->steps[j];
    for (int32_t t = i + 1; t < j; t++) {
        if (!f->steps[t].op) continue;
        for (int32_t o = 0; o < f->steps[t].n_out; o++)
            for (int32_t k = 0; k < s->n_in; k++)
                if (overlap(&f->steps[t].out[o], &s->in[k])) return 0;
    }
    const slot *c = &s->in[0], *out = &last->out[0];
    for (int32_t k = 1; k < s->n_in; k++)
        if (overlap(out, &s->in[k])) return 0;
    return !overlap(out, c) || (out->offset == c->offset && out->bytes == c->bytes); /* in place, element by element */
}

/* Step j adds to what step i makes: i's products go in front of j's. */
static void join(const fuser *f, int32_t i, int32_t j)
{
    step *first = &f->steps[i], *last = &f->steps[j];
    const int32_t products = (first->n_in - 1) / 2;
    memmove(&last->in[1 + 2 * products], &last->in[1], sizeof(slot) * 2);
    memmove(&last->attr[3 * products], &last->attr[0], sizeof(cpu_attr) * 3);
    memcpy(last->in, first->in, sizeof(slot) * (size_t)first->n_in);
    memcpy(last->attr, first->attr, sizeof(cpu_attr) * 3 * (size_t)products);
    last->n_in = first->n_in + 2;
    first->op = NULL;
}

static void try_join(const fuser *f, int32_t j)
{
    step *last = &f->steps[j];
    if (!is_matmul(last) || last->n_in < 3 || !last->in[2].on || last->in[2].place != GRAFT_PLACE_ARENA) return;
    const int32_t y = last->in[2].id, i = f->maker[y];
    if (i < 0 || i >= j || f->readers[y] != 1 || others_read(f, i, j)) return;
    step *first = &f->steps[i];
    const int plain = is_matmul(first);
    if (!plain && !(is_chain(f, first) && first->n_in + 2 <= INPUTS_MOST)) return;
    if (plain) as_chain(f, first);
    if (!may_wait(f, i, j)) return; /* a chain of one product is a matmul all the same */
    as_chain(f, last);
    join(f, i, j);
}

graft_status cpu_fuse(const cpu_device *d, step *steps, int32_t n, int32_t n_tensors, graft_error *err)
{
    const graft_host *h = d->host;
    fuser f = {.steps = steps, .n = n};
    for (const cpu_op *const *family = d->kernels->families; *family; family++)
        for (const cpu_op *op = *family; op->name; op++)
            if (!strcmp(op->name, CPU_MATMUL_CHAIN)) f.chain = op;
    const size_t bytes = (size_t)(n_tensors > 0 ? n_tensors : 1) * sizeof(int32_t);
    f.maker = h->alloc(h->ctx, bytes, 16);
    f.readers = h->alloc(h->ctx, bytes, 16);
    graft_status status = GRAFT_OK;
    if (!f.maker || !f.readers) {
        status = h->fail(err, GRAFT_NO_MEMORY, NULL, "the cpu backend found no memory to join steps");
        goto out;
    }
    for (int32_t t = 0; t < n_tensors; t++) f.maker[t] = -1, f.readers[t] = 0;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t k = 0; k < steps[i].n_in; k++)
            if (steps[i].in[k].on) f.readers[steps[i].in[k].id]++;
        for (int32_t k = 0; k < steps[i].n_out; k++)
            if (steps[i].out[k].on) f.maker[steps[i].out[k].id] = i;
    }
    for (int32_t j = 0; j < n && f.chain; j++) try_join(&f, j);
out:
    h->release(h->ctx, f.maker);
    h->release(h->ctx, f.readers);
    return status;
}
