/* backends/opencl/launch.c - one launch of one kernel, and what the families share. */
#include "opencl.h"

#include <stdarg.h>

static const char *const kernel_names[OCL_KERNEL_COUNT] = {
#define OCL_KERNEL_NAME_(name, family) #name,
    OCL_KERNELS(OCL_KERNEL_NAME_)};

typedef struct binder {
    const ocl_api *cl;
    cl_kernel kernel;
    cl_uint at;
    cl_int code;
} binder;

static void bind(binder *b, size_t bytes, const void *value)
{
    if (b->code == CL_SUCCESS) b->code = b->cl->clSetKernelArg(b->kernel, b->at, bytes, value);
    b->at++;
}

static void bind_tensor(binder *b, const ocl_device *d, const ocl_view *x)
{
    const int there = x && x->there;
    const cl_mem mem = there && x->mem ? x->mem : d->dummy; /* a buffer of no bytes is never read */
    const int64_t offset = there ? x->offset : -1;
    bind(b, sizeof mem, &mem);
    bind(b, sizeof offset, &offset);
}

static void bind_all(binder *b, const ocl_call *c, const char *args, va_list values)
{
    for (; *args; args++) {
        if (*args == 't') {
            bind_tensor(b, c->d, va_arg(values, const ocl_view *));
        } else if (*args == 'i') {
            const cl_int v = va_arg(values, int);
            bind(b, sizeof v, &v);
        } else if (*args == 'l') {
            const int64_t v = va_arg(values, int64_t);
            bind(b, sizeof v, &v);
        } else if (*args == 'u') {
            const uint64_t v = va_arg(values, uint64_t);
            bind(b, sizeof v, &v);
        } else if (*args == 'f') {
            const float v = (float)va_arg(values, double);
            bind(b, sizeof v, &v);
        } else if (*args == 'v') {
            bind(b, 4 * sizeof(int64_t), va_arg(values, const int64_t *));
        } else if (*args == 's') {
            bind(b, va_arg(values, size_t), NULL);
        } else { /* c */
            const cl_int step = c->step;
            bind(b, sizeof c->d->complaint, &c->d->complaint);
            bind(b, sizeof step, &step);
        }
    }
}

static graft_status enqueue(const ocl_call *c, ocl_kernel k, const int64_t global[3], const int64_t local[3], const char *args, va_list values)
{
    ocl_device *d = c->d;
    size_t whole[3], group[3];
    for (int i = 0; i < 3; i++) {
        if (global[i] <= 0) return GRAFT_OK;
        group[i] = (size_t)local[i];
        whole[i] = ((size_t)global[i] + group[i] - 1) / group[i] * group[i];
    }
    binder b = {d->cl, d->kernels[k], 0, CL_SUCCESS};
    bind_all(&b, c, args, values);
    if (b.code == CL_SUCCESS) b.code = d->cl->clEnqueueNDRangeKernel(d->queue, b.kernel, 3, NULL, whole, group, 0, NULL, NULL);
    return b.code == CL_SUCCESS ? GRAFT_OK : ocl_failed(d, b.code, kernel_names[k], c->err);
}

graft_status ocl_launch(const ocl_call *c, ocl_kernel k, const int64_t global[3], const int64_t local[3], const char *args, ...)
{
    va_list values;
    va_start(values, args);
    const graft_status status = enqueue(c, k, global, local, args, values);
    va_end(values);
    return status;
}

graft_status ocl_launch_1d(const ocl_call *c, ocl_kernel k, int64_t n, const char *args, ...)
{
    const int64_t global[3] = {n, 1, 1}, local[3] = {c->d->lanes[ocl_family_of(k)], 1, 1};
    va_list values;
    va_start(values, args);
    const graft_status status = enqueue(c, k, global, local, args, values);
    va_end(values);
    return status;
}

graft_status ocl_copy(const ocl_call *c, const ocl_view *from, const ocl_view *to, int64_t bytes)
{
    if (bytes == 0 || (from->mem == to->mem && from->offset == to->offset)) return GRAFT_OK;
    const cl_int code = c->d->cl->clEnqueueCopyBuffer(c->d->queue, from->mem, to->mem, (size_t)from->offset, (size_t)to->offset, (size_t)bytes, 0, NULL, NULL);
    return code == CL_SUCCESS ? GRAFT_OK : ocl_failed(c->d, code, "a copy", c->err);
}

graft_status ocl_zero(const ocl_call *c, const ocl_view *x)
{
    static const uint32_t zero = 0;
    if (!x->there || x->n == 0) return GRAFT_OK;
    const cl_int code = c->d->cl->clEnqueueFillBuffer(c->d->queue, x->mem, &zero, sizeof zero, (size_t)x->offset, (size_t)x->n * sizeof(float), 0, NULL, NULL);
    return code == CL_SUCCESS ? GRAFT_OK : ocl_failed(c->d, code, "a fill", c->err);
}

ocl_view ocl_room(const ocl_call *c, int64_t *at, int64_t bytes, int64_t n)
{
    const ocl_view v = {.there = 1, .dtype = GRAFT_F32, .rank = 1, .dims = {n}, .n = n, .mem = c->d->scratch, .offset = *at};
    *at += (bytes + 63) / 64 * 64;
    return v;
}

/* ---- attributes and shapes -------------------------------------------------------------------------------------------------------------- */
static const graft_attr *attr_of(const ocl_call *c, const char *key)
{
    static const graft_attr none = {"", GRAFT_ATTR_INT, 0, 0.0};
    for (int32_t i = 0; i < c->n_attr; i++) {
        if (!strcmp(c->attr[i].key, key)) return &c->attr[i];
    }
    return &none;
}

int64_t ocl_int(const ocl_call *c, const char *key) { return attr_of(c, key)->i; }
double ocl_real(const ocl_call *c, const char *key) { return attr_of(c, key)->r; }

int ocl_same(const ocl_view *x, const ocl_view *y)
{
    if (!x->there || !y->there) return 1;
    return x->rank == y->rank && memcmp(x->dims, y->dims, sizeof x->dims) == 0;
}

int ocl_broadcasts(const ocl_view *x, const ocl_view *to)
{
    if (x->rank > to->rank) return 0;
    for (int i = 0; i < x->rank; i++) {
        if (x->dims[i] != 1 && x->dims[i] != to->dims[to->rank - x->rank + i]) return 0;
    }
    return 1;
}

int64_t ocl_last(const ocl_view *x) { return x->rank ? x->dims[x->rank - 1] : 1; }

int64_t ocl_rows(const ocl_view *x)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < x->rank; i++) n *= x->dims[i];
    return n;
}

int64_t ocl_size(graft_dtype t) { return t == GRAFT_BF16 || t == GRAFT_F16 ? 2 : 4; }
