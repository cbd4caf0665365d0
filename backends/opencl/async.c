/* backends/opencl/async.c - "graft.backend.async/1": a second queue for copies, events, pinned memory. OpenCL has no copy between contexts: no peer.
 * An event of ours is the driver's; pinned memory is a buffer that the driver allocated for the host, mapped as long as it lives. */
#include "opencl.h"

typedef struct pinned {
    struct pinned *next;
    cl_mem mem;
    void *memory;
} pinned;

/* Queue 1 is made when it is first asked for. */
static cl_command_queue queue_of(ocl_device *d, int32_t number, graft_error *err)
{
    cl_int code = CL_SUCCESS;
    if (number == 0) return d->queue;
    if (number != 1) {
        d->host->fail(err, GRAFT_BAD_INPUT, "opencl", "expected queue 0 or 1, found %d", (int)number);
        return NULL;
    }
    if (d->copies) return d->copies;
    d->copies = d->cl->clCreateCommandQueue(d->context, d->id, 0, &code);
    if (code != CL_SUCCESS) {
        d->copies = NULL;
        ocl_failed(d, code, "clCreateCommandQueue", err);
    }
    return d->copies;
}

static int32_t queues(void *dev)
{
    (void)dev;
    return 2;
}

static graft_status pin(void *dev, int64_t bytes, void **memory, graft_error *err)
{
    ocl_device *d = dev;
    const graft_host *h = d->host;
    cl_int code = CL_SUCCESS;
    if (bytes <= 0) return h->fail(err, GRAFT_BAD_INPUT, "opencl", "expected a number of bytes above 0 to pin, found %lld", (long long)bytes);
    pinned *p = h->alloc(h->ctx, sizeof *p, 16);
    if (!p) return h->fail(err, GRAFT_NO_MEMORY, "opencl", "no memory to pin %lld bytes", (long long)bytes);
    *p = (pinned){.next = d->pins};
    p->mem = d->cl->clCreateBuffer(d->context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, (size_t)bytes, NULL, &code);
    if (code == CL_SUCCESS) p->memory = d->cl->clEnqueueMapBuffer(d->queue, p->mem, 1, CL_MAP_READ | CL_MAP_WRITE, 0, (size_t)bytes, 0, NULL, NULL, &code);
    if (code != CL_SUCCESS) {
        if (p->mem) d->cl->clReleaseMemObject(p->mem);
        h->release(h->ctx, p);
        return ocl_failed(d, code, "pinning memory", err);
    }
    d->pins = p;
    *memory = p->memory;
    return GRAFT_OK;
}

static void unpin(void *dev, void *memory)
{
    ocl_device *d = dev;
    for (pinned **at = (pinned **)(void *)&d->pins; *at; at = &(*at)->next) {
        pinned *p = *at;
        if (p->memory != memory) continue;
        *at = p->next;
        d->cl->clEnqueueUnmapMemObject(d->queue, p->mem, p->memory, 0, NULL, NULL);
        d->cl->clFinish(d->queue);
        d->cl->clReleaseMemObject(p->mem);
        d->host->release(d->host->ctx, p);
        return;
    }
}

void ocl_async_drop(ocl_device *d)
{
    while (d->pins) unpin(d, ((pinned *)d->pins)->memory);
    if (d->copies) {
        d->cl->clFinish(d->copies);
        d->cl->clReleaseCommandQueue(d->copies);
    }
}

static graft_status send(void *dev, int32_t queue, void *buffer, int64_t offset, const void *from, int64_t bytes, graft_error *err)
{
    ocl_device *d = dev;
    const ocl_buffer *b = buffer;
    const cl_command_queue q = queue_of(d, queue, err);
    if (!q) return err->code;
    const graft_status status = ocl_inside(d, b, offset, bytes, err);
    if (status || bytes == 0) return status;
    return ocl_failed(d, d->cl->clEnqueueWriteBuffer(q, b->mem, 0, (size_t)offset, (size_t)bytes, from, 0, NULL, NULL), "an upload", err);
}

static graft_status fetch(void *dev, int32_t queue, const void *buffer, int64_t offset, void *to, int64_t bytes, graft_error *err)
{
    ocl_device *d = dev;
    const ocl_buffer *b = buffer;
    const cl_command_queue q = queue_of(d, queue, err);
    if (!q) return err->code;
    const graft_status status = ocl_inside(d, b, offset, bytes, err);
    if (status || bytes == 0) return status;
    return ocl_failed(d, d->cl->clEnqueueReadBuffer(q, b->mem, 0, (size_t)offset, (size_t)bytes, to, 0, NULL, NULL), "a download", err);
}

static graft_status copy(void *dev, int32_t queue, const void *from, int64_t from_offset, void *to, int64_t to_offset, int64_t bytes, graft_error *err)
{
    ocl_device *d = dev;
    const ocl_buffer *a = from, *b = to;
    const cl_command_queue q = queue_of(d, queue, err);
    if (!q) return err->code;
    graft_status status = ocl_inside(d, a, from_offset, bytes, err);
    if (!status) status = ocl_inside(d, b, to_offset, bytes, err);
    if (status || bytes == 0) return status;
    return ocl_failed(d, d->cl->clEnqueueCopyBuffer(q, a->mem, b->mem, (size_t)from_offset, (size_t)to_offset, (size_t)bytes, 0, NULL, NULL), "a copy", err);
}

static graft_status record(void *dev, int32_t queue, void **event, graft_error *err)
{
    ocl_device *d = dev;
    const cl_command_queue q = queue_of(d, queue, err);
    cl_event e = NULL;
    if (!q) return err->code;
    cl_int code = d->cl->clEnqueueMarkerWithWaitList(q, 0, NULL, &e);
    if (code == CL_SUCCESS) code = d->cl->clFlush(q);
    if (code != CL_SUCCESS) {
        if (e) d->cl->clReleaseEvent(e);
        return ocl_failed(d, code, "an event", err);
    }
    *event = e;
    return GRAFT_OK;
}

static graft_status wait(void *dev, int32_t queue, void *event, graft_error *err)
{
    ocl_device *d = dev;
    const cl_command_queue q = queue_of(d, queue, err);
    const cl_event e = event;
    return q ? ocl_failed(d, d->cl->clEnqueueBarrierWithWaitList(q, 1, &e, NULL), "waiting for an event", err) : err->code;
}

static graft_status finish(void *dev, void *event, graft_error *err)
{
    ocl_device *d = dev;
    const cl_event e = event;
    return ocl_failed(d, d->cl->clWaitForEvents(1, &e), "waiting for an event", err);
}

static int done(void *dev, void *event)
{
    const ocl_device *d = dev;
    cl_int state = 1; /* 0: complete, above: on its way, below: an error */
    if (d->cl->clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL) != CL_SUCCESS) return -1;
    return state == 0 ? 1 : state < 0 ? -1
                                      : 0;
}

static void drop(void *dev, void *event)
{
    if (event) ((const ocl_device *)dev)->cl->clReleaseEvent(event);
}

static int lost(void *dev) { return ((const ocl_device *)dev)->lost; }

const graft_backend_async_table ocl_async = {
    .size = sizeof ocl_async,
    .queues = queues,
    .pin = pin,
    .unpin = unpin,
    .send = send,
    .fetch = fetch,
    .copy = copy,
    .record = record,
    .wait = wait,
    .finish = finish,
    .done = done,
    .drop = drop,
    .lost = lost,
};
