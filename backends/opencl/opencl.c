/* backends/opencl/opencl.c - the door, the devices, their memory. See opencl.h. Options: "threads" is taken and ignored (the driver
 * decides); "group": most work items of a group, and no kernel made for processors, as on a device with that limit; 0: what the device allows. */
#include "opencl.h"

static graft_status devices(void *self, graft_device_info *out, int32_t room, int32_t *n, graft_error *err)
{
    ocl_driver *v = self;
    (void)err;
    ocl_driver_load(v);
    *n = v->n_devices < room ? v->n_devices : room;
    if (v->n_devices == 0) v->host->log(v->host->ctx, 0, v->why);
    if (*n <= 0) return GRAFT_OK;
    const uint32_t stride = out->size ? out->size : (uint32_t)sizeof *out;
    for (int32_t i = 0; i < *n; i++) {
        graft_device_info info;
        ocl_describe(v, i, &info);
        memcpy((char *)out + (size_t)i * stride, &info, stride < sizeof info ? stride : sizeof info);
    }
    return GRAFT_OK;
}

/* A device that is gone answers every call with one of these. */
static int is_gone(cl_int code) { return code == CL_DEVICE_NOT_AVAILABLE || code == CL_INVALID_CONTEXT || code == CL_INVALID_COMMAND_QUEUE; }

graft_status ocl_failed(ocl_device *d, cl_int code, const char *doing, graft_error *err)
{
    if (code == CL_SUCCESS) return GRAFT_OK;
    const int memory = code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY || code == CL_INVALID_BUFFER_SIZE;
    d->lost |= is_gone(code);
    const char *advice = memory ? "use smaller batches or another device" : d->lost ? "the device is lost"
                                                                                    : "look at the driver, or choose another backend";
    return d->host->fail(err, memory ? GRAFT_NO_MEMORY : GRAFT_DEVICE, "opencl", "%s failed in %s (%s, OpenCL error %d); %s", d->name, doing, ocl_error_name(code), (int)code, advice);
}

/* ---- open and close --------------------------------------------------------------------------------------------------------------------- */
static void close_device(void *dev)
{
    ocl_device *d = dev;
    if (!d) return;
    const graft_host *h = d->host;
    if (d->queue) d->cl->clFinish(d->queue);
    ocl_async_drop(d);
    ocl_families_drop(d);
    if (d->scratch) d->cl->clReleaseMemObject(d->scratch);
    if (d->complaint) d->cl->clReleaseMemObject(d->complaint);
    if (d->dummy) d->cl->clReleaseMemObject(d->dummy);
    if (d->queue) d->cl->clReleaseCommandQueue(d->queue);
    if (d->context) d->cl->clReleaseContext(d->context);
    h->release(h->ctx, d->claims);
    h->release(h->ctx, d);
}

/* The element types of the floating inputs. */
static uint32_t claimed_types(const ocl_op *op)
{
    const uint32_t few = 1u << GRAFT_F32 | 1u << GRAFT_BF16 | 1u << GRAFT_F16, stored = few | 1u << GRAFT_Q4_0 | 1u << GRAFT_Q4_1 | 1u << GRAFT_Q8_0 | 1u << GRAFT_NF4 | 1u << GRAFT_NF4_DOUBLE | 1u << GRAFT_INT8;
    uint32_t types = 1u << GRAFT_F32;
    for (const char *c = op->in; *c; c++) {
        if (*c == 'w' || *c == 'W') types |= stored;
        if (*c == 'v' || *c == 'V' || *c == 'a') types |= few;
    }
    return types;
}

static int list_ops(ocl_device *d)
{
    int32_t n = 0;
    while (ocl_op_at(n)) n++;
    d->claims = d->host->alloc(d->host->ctx, (size_t)n * sizeof *d->claims, 16);
    if (!d->claims) return -1;
    for (int32_t i = 0; i < n; i++) d->claims[i] = (graft_op_claim){graft_op_id(ocl_op_at(i)->name), claimed_types(ocl_op_at(i)), 1};
    d->n_claims = n;
    return 0;
}

/* The largest power of two up to n, at most `most`. */
static int power_below(int64_t n, int most)
{
    int p = 1;
    while (2 * p <= n && 2 * p <= most) p *= 2;
    return p;
}

static void read_limits(ocl_device *d, int64_t group)
{
    ocl_device_text(d->cl, d->id, CL_DEVICE_NAME, d->name, sizeof d->name);
    ocl_version(d->cl, d->id, d->version, sizeof d->version);
    d->max_alloc = ocl_device_int(d->cl, d->id, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    d->local_bytes = ocl_device_int(d->cl, d->id, CL_DEVICE_LOCAL_MEM_SIZE);
    d->units = ocl_device_int(d->cl, d->id, CL_DEVICE_MAX_COMPUTE_UNITS);
    d->wide = ocl_device_int(d->cl, d->id, CL_DEVICE_DOUBLE_FP_CONFIG) != 0;
    d->most = ocl_device_int(d->cl, d->id, CL_DEVICE_MAX_WORK_GROUP_SIZE);
    d->processor = !group && (ocl_device_int(d->cl, d->id, CL_DEVICE_TYPE) & CL_DEVICE_TYPE_CPU) && d->local_bytes >= 128 << 10;
    if (group && group < d->most) d->most = group;
    for (int f = 0; f < OCL_FAMILIES; f++) d->lanes[f] = power_below(d->most, 64);
    d->side = 16;
    while (d->side > 1 && (int64_t)d->side * d->side > d->most) d->side /= 2;
    if (d->processor) d->side = 1;
}

static graft_status connect_device(ocl_device *d, graft_error *err)
{
    cl_int code = CL_SUCCESS;
    d->context = d->cl->clCreateContext(NULL, 1, &d->id, NULL, NULL, &code);
    if (code != CL_SUCCESS) return ocl_failed(d, code, "clCreateContext", err);
    d->queue = d->cl->clCreateCommandQueue(d->context, d->id, 0, &code);
    if (code != CL_SUCCESS) return ocl_failed(d, code, "clCreateCommandQueue", err);
    d->complaint = ocl_take(d, OCL_COMPLAINT * (int64_t)sizeof(cl_int), err);
    d->dummy = d->complaint ? ocl_take(d, 64, err) : NULL;
    return d->dummy ? GRAFT_OK : err->code;
}

static graft_status open_device(void *self, int32_t device, const graft_config *options, void **dev, graft_error *err)
{
    ocl_driver *v = self;
    const graft_host *h = v->host;
    graft_device_info info;
    if (options) (void)options->api->integer(options, "threads", 0, 0, INT32_MAX);
    const int64_t group = options ? options->api->integer(options, "group", 0, 0, 1 << 20) : 0;
    ocl_driver_load(v);
    if (v->n_devices == 0) return h->fail(err, GRAFT_UNSUPPORTED, "opencl", "no OpenCL device here: %s; install a driver or choose another backend", v->why);
    if (device < 0 || device >= v->n_devices) return h->fail(err, GRAFT_BAD_INPUT, "opencl", "expected an OpenCL device from 0 to %d, found %d", (int)v->n_devices - 1, (int)device);
    ocl_describe(v, device, &info);
    if (info.score <= 0) return h->fail(err, GRAFT_UNSUPPORTED, "opencl", "device %d (%s) cannot be used: %s", (int)device, info.name, info.reason);
    ocl_device *d = h->alloc(h->ctx, sizeof *d, 16);
    if (!d) return h->fail(err, GRAFT_NO_MEMORY, "opencl", "no memory to open the device");
    memset(d, 0, sizeof *d);
    d->host = h, d->cl = &v->cl, d->id = v->devices[device];
    read_limits(d, group);
    graft_status status = list_ops(d) ? h->fail(err, GRAFT_NO_MEMORY, "opencl", "no memory to open the device") : connect_device(d, err);
    if (status) close_device(d);
    else *dev = d;
    return status;
}

static const graft_op_claim *ops(void *dev, int32_t *n)
{
    const ocl_device *d = dev;
    *n = d->n_claims;
    return d->claims;
}

/* ---- memory ------------------------------------------------------------------------------------------------------------------------------- */
/* Waits for the zeros, so that memory that is not there is missed now and not in the middle of a run. */
cl_mem ocl_take(ocl_device *d, int64_t bytes, graft_error *err)
{
    static const unsigned char zero = 0;
    cl_int code = CL_SUCCESS;
    if (bytes > d->max_alloc) {
        d->host->fail(err, GRAFT_NO_MEMORY, "opencl", "%s allows at most %lld bytes in one piece, and %lld are needed; use smaller batches or another device", d->name,
                      (long long)d->max_alloc, (long long)bytes);
        return NULL;
    }
    const cl_mem mem = d->cl->clCreateBuffer(d->context, CL_MEM_READ_WRITE, (size_t)bytes, NULL, &code);
    if (code == CL_SUCCESS) code = d->cl->clEnqueueFillBuffer(d->queue, mem, &zero, 1, 0, (size_t)bytes, 0, NULL, NULL);
    if (code == CL_SUCCESS) code = d->cl->clFinish(d->queue);
    if (code == CL_SUCCESS) return mem;
    if (mem) d->cl->clReleaseMemObject(mem);
    const graft_status status = code == CL_OUT_OF_RESOURCES ? GRAFT_NO_MEMORY : GRAFT_OK;
    if (status) d->host->fail(err, status, "opencl", "%s has no memory for %lld bytes (%s); use smaller batches or another device", d->name, (long long)bytes, ocl_error_name(code));
    else ocl_failed(d, code, "an allocation", err);
    return NULL;
}

static graft_status alloc_buffer(void *dev, int64_t bytes, void **buffer, graft_error *err)
{
    ocl_device *d = dev;
    const graft_host *h = d->host;
    if (bytes < 0) return h->fail(err, GRAFT_INTERNAL, "opencl", "a buffer of %lld bytes was asked for", (long long)bytes);
    ocl_buffer *b = h->alloc(h->ctx, sizeof *b, 16);
    if (!b) return h->fail(err, GRAFT_NO_MEMORY, "opencl", "no memory for a buffer");
    *b = (ocl_buffer){bytes ? ocl_take(d, bytes, err) : NULL, bytes};
    if (bytes && !b->mem) {
        h->release(h->ctx, b);
        return err->code;
    }
    *buffer = b;
    return GRAFT_OK;
}

static void release_buffer(void *dev, void *buffer)
{
    const ocl_device *d = dev;
    ocl_buffer *b = buffer;
    if (!b) return;
    if (b->mem) d->cl->clReleaseMemObject(b->mem);
    d->host->release(d->host->ctx, b);
}

graft_status ocl_inside(const ocl_device *d, const ocl_buffer *b, int64_t offset, int64_t bytes, graft_error *err)
{
    if (offset >= 0 && bytes >= 0 && offset <= b->bytes && bytes <= b->bytes - offset) return GRAFT_OK;
    return d->host->fail(err, GRAFT_INTERNAL, "opencl", "%lld bytes at %lld are outside a buffer of %lld bytes", (long long)bytes, (long long)offset, (long long)b->bytes);
}

static graft_status upload(void *dev, void *buffer, int64_t offset, const void *from, int64_t bytes, graft_error *err)
{
    ocl_device *d = dev;
    const ocl_buffer *b = buffer;
    const graft_status status = ocl_inside(d, b, offset, bytes, err);
    if (status || bytes == 0) return status;
    return ocl_failed(d, d->cl->clEnqueueWriteBuffer(d->queue, b->mem, 1, (size_t)offset, (size_t)bytes, from, 0, NULL, NULL), "an upload", err);
}

static graft_status download(void *dev, const void *buffer, int64_t offset, void *to, int64_t bytes, graft_error *err)
{
    ocl_device *d = dev;
    const ocl_buffer *b = buffer;
    const graft_status status = ocl_inside(d, b, offset, bytes, err);
    if (status || bytes == 0) return status;
    return ocl_failed(d, d->cl->clEnqueueReadBuffer(d->queue, b->mem, 1, (size_t)offset, (size_t)bytes, to, 0, NULL, NULL), "a download", err);
}

/* Waits for the queue by reading the complaint, which is cleared for the next run. */
graft_status ocl_sync(void *dev, graft_error *err)
{
    ocl_device *d = dev;
    static const cl_int none[OCL_COMPLAINT] = {0};
    cl_int note[OCL_COMPLAINT] = {0};
    cl_int code = d->cl->clEnqueueReadBuffer(d->queue, d->complaint, 1, 0, sizeof note, note, 0, NULL, NULL);
    if (code == CL_SUCCESS && note[0]) code = d->cl->clEnqueueWriteBuffer(d->queue, d->complaint, 1, 0, sizeof none, none, 0, NULL, NULL);
    if (code != CL_SUCCESS) return ocl_failed(d, code, "waiting for the device", err);
    const graft_status status = note[0] ? ocl_complaint(d, note, err) : GRAFT_OK;
    d->ran = NULL;
    return status;
}

static const graft_backend_table backend_table = {
    .size = sizeof backend_table,
    .devices = devices,
    .open = open_device,
    .close = close_device,
    .ops = ops,
    .alloc = alloc_buffer,
    .release = release_buffer,
    .upload = upload,
    .download = download,
    .compile = ocl_compile,
    .discard = ocl_discard,
    .run = ocl_run,
    .sync = ocl_sync,
    .workspace = ocl_workspace,
};

static graft_status init(const graft_host *host, void **self, graft_error *err)
{
    ocl_driver *v = host->alloc(host->ctx, sizeof *v, 16);
    if (!v) return host->fail(err, GRAFT_NO_MEMORY, "opencl", "no memory to start");
    memset(v, 0, sizeof *v);
    v->host = host, v->n_devices = -1;
    *self = v;
    return GRAFT_OK;
}

static void fini(void *self)
{
    ocl_driver *v = self;
    ocl_driver_drop(v);
    v->host->release(v->host->ctx, v);
}

static const void *table(void *self, const char *id)
{
    (void)self;
    if (!strcmp(id, "graft.backend.async/1")) return &ocl_async;
    if (!strcmp(id, "graft.backend.probe/1")) return &ocl_probe;
    return strcmp(id, "graft.backend/1") ? NULL : &backend_table;
}

GRAFT_PLUGIN("backend", "opencl", "1.0.0", init, fini, table)
