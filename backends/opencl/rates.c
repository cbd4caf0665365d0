/* backends/opencl/rates.c - "graft.backend.probe/1": what the device does in multiply-adds, matmul and copies, by the wall clock over work that is repeated
 * until it lasts long enough. */
#include "opencl.h"

#include <stdio.h>
#include <time.h>

enum { SIDE = 1024,
       PEAK_ROUNDS = 256,
       PEAK_ITEMS = 1 << 16 };
static const double least_seconds = 0.2;
static const int64_t copy_bytes = 32 << 20;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct bench {
    ocl_device *d;
    ocl_call call; /* for launches */
    ocl_view a, b, c;
    void *host;
} bench;

typedef graft_status (*bench_work)(bench *b);

static graft_status do_peak(bench *b) { return ocl_launch_1d(&b->call, OCL_K_peak, PEAK_ITEMS, "ti", &b->a, PEAK_ROUNDS); }
static graft_status do_matmul(bench *b) { return ocl_gemm(&b->call, &b->a, &b->b, &(ocl_view){0}, &b->c, 0, 1, 1.0); }
static graft_status do_copy(bench *b) { return ocl_copy(&b->call, &b->a, &b->b, copy_bytes); }
static graft_status do_upload(bench *b)
{
    return ocl_failed(b->d, b->d->cl->clEnqueueWriteBuffer(b->d->queue, b->a.mem, 0, 0, (size_t)copy_bytes, b->host, 0, NULL, NULL), "an upload", b->call.err);
}
static graft_status do_download(bench *b)
{
    return ocl_failed(b->d, b->d->cl->clEnqueueReadBuffer(b->d->queue, b->a.mem, 0, 0, (size_t)copy_bytes, b->host, 0, NULL, NULL), "a download", b->call.err);
}

/* Units of work a second, the best of all tries: once to warm up, then twice as often each time until it lasts. */
static graft_status rate_of(bench *b, bench_work work, double unit, double *rate)
{
    graft_status status = work(b);
    if (!status) status = ocl_failed(b->d, b->d->cl->clFinish(b->d->queue), "clFinish", b->call.err);
    for (int times = 1; !status && times <= 4096; times *= 2) {
        const double begin = now();
        for (int i = 0; i < times && !status; i++) status = work(b);
        if (!status) status = ocl_failed(b->d, b->d->cl->clFinish(b->d->queue), "clFinish", b->call.err);
        const double seconds = now() - begin;
        if (seconds > 0.0 && unit * times / seconds > *rate) *rate = unit * times / seconds;
        if (seconds >= least_seconds) break;
    }
    return status;
}

static ocl_view square(cl_mem mem)
{
    const ocl_view v = {.there = 1, .dtype = GRAFT_F32, .rank = 2, .dims = {SIDE, SIDE}, .n = SIDE * SIDE, .mem = mem};
    return v;
}

static graft_status measure(bench *b, graft_backend_rates *r, graft_error *err)
{
    graft_status status = ocl_family_need(b->d, OCL_OPTIM, err);
    if (!status) status = ocl_family_need(b->d, OCL_MATMUL, err);
    if (!status) status = rate_of(b, do_peak, 2.0 * (b->d->processor ? 16.0 : 4.0) * 32.0 * PEAK_ROUNDS * PEAK_ITEMS, &r->flops);
    if (!status) status = rate_of(b, do_matmul, 2.0 * SIDE * SIDE * SIDE, &r->matmul);
    if (!status) status = rate_of(b, do_copy, 2.0 * (double)copy_bytes, &r->memory);
    if (!status) status = rate_of(b, do_upload, (double)copy_bytes, &r->upload);
    if (!status) status = rate_of(b, do_download, (double)copy_bytes, &r->download);
    return status;
}

static graft_status rates(void *dev, graft_backend_rates *out, graft_error *err)
{
    ocl_device *d = dev;
    const graft_host *h = d->host;
    const uint32_t size = out->size ? out->size : (uint32_t)sizeof *out;
    graft_backend_rates r = {.size = (uint32_t)sizeof r};
    graft_status status = GRAFT_OK;
    bench b = {.d = d, .call = {.d = d, .op = "probe", .site = "", .err = err}};
    cl_mem mem[3] = {NULL};
    b.host = h->alloc(h->ctx, (size_t)copy_bytes, 64);
    if (!b.host) return h->fail(err, GRAFT_NO_MEMORY, "opencl", "no memory to measure the device");
    memset(b.host, 0, (size_t)copy_bytes);
    for (int i = 0; i < 3 && !status; i++) {
        mem[i] = ocl_take(d, copy_bytes, err);
        status = mem[i] ? GRAFT_OK : err->code;
    }
    if (status) goto out;
    b.a = square(mem[0]), b.b = square(mem[1]), b.c = square(mem[2]);
    status = measure(&b, &r, err);
    snprintf(r.driver, sizeof r.driver, "%s", d->version);
    if (!status) memcpy(out, &r, size < sizeof r ? size : sizeof r);
out:
    for (int i = 0; i < 3; i++) {
        if (mem[i]) d->cl->clReleaseMemObject(mem[i]);
    }
    h->release(h->ctx, b.host);
    return status;
}

void ocl_version(const ocl_api *cl, cl_device_id id, char *out, size_t room)
{
    char version[80], driver[64];
    ocl_device_text(cl, id, CL_DEVICE_VERSION, version, sizeof version);
    ocl_device_text(cl, id, CL_DRIVER_VERSION, driver, sizeof driver);
    snprintf(out, room, "%s, driver %s", version, driver);
}

static graft_status driver(void *self, int32_t device, char *text, int32_t room, graft_error *err)
{
    ocl_driver *v = self;
    ocl_driver_load(v);
    if (device < 0 || device >= v->n_devices || room < 1) return v->host->fail(err, GRAFT_BAD_INPUT, "opencl", "there is no device %d", (int)device);
    ocl_version(&v->cl, v->devices[device], text, (size_t)room);
    return GRAFT_OK;
}

const graft_backend_probe_table ocl_probe = {
    .size = sizeof ocl_probe,
    .driver = driver,
    .rates = rates,
};
