/* tests/faults/opencl.c - a libOpenCL.so.1 that computes nothing: memory is the host's, kernels do nothing, every object is counted. The n-th call fails
 * on demand. A test opens it first; the backend's own dlopen("libOpenCL.so.1") then finds it by its name. */
#include "tests/faults/opencl.h"
#include "backends/opencl/cl.h"

#include <stdlib.h>
#include <string.h>

struct ocl_platform_ {
    int unused;
};
struct ocl_device_ {
    int number;
};
struct ocl_mem_ {
    size_t bytes;
    char *data;
};
struct ocl_program_ {
    int from_binary;
};

static struct ocl_platform_ platform;
static struct ocl_device_ devices[8];
static fake_cl state = {.n_devices = 1, .memory = 1 << 30, .group = 256};
static const char binary_text[] = "a fake binary";

#define PUBLIC __attribute__((visibility("default")))
PUBLIC fake_cl *fake_cl_state(void);
PUBLIC fake_cl *fake_cl_state(void) { return &state; }

/* For programs of their own: switches from the environment, once. */
static void listen(void)
{
    const char *devices_wanted = getenv("FAKE_CL_DEVICES"), *memory = getenv("FAKE_CL_MEMORY"), *lost = getenv("FAKE_CL_LOST_AFTER");
    if (devices_wanted) state.n_devices = atoi(devices_wanted);
    if (memory) state.memory = atoll(memory);
    if (lost) state.lost_after = atoll(lost);
    state.broken |= getenv("FAKE_CL_BROKEN") != NULL;
}

/* Counts a call; the code that it has to fail with, or CL_SUCCESS. */
static cl_int fails(const char *name)
{
    if (state.calls++ == 0) listen();
    if (state.lost_after && state.launches >= state.lost_after) return CL_INVALID_COMMAND_QUEUE;
    if (state.fail_at == 0 || state.calls != state.fail_at) return CL_SUCCESS;
    state.failed = name;
    return state.fail_code;
}

static void *object(size_t bytes)
{
    state.live++;
    return calloc(1, bytes);
}
static cl_int gone(void *o)
{
    state.live--;
    free(o);
    return CL_SUCCESS;
}
static cl_int answer(const void *value, size_t bytes, size_t room, void *to, size_t *size)
{
    if (size) *size = bytes;
    if (to) memcpy(to, value, bytes < room ? bytes : room);
    return CL_SUCCESS;
}
static cl_int set(cl_int *out, cl_int code)
{
    if (out) *out = code;
    return code;
}

#define MAYBE_FAIL                             \
    do {                                       \
        const cl_int code_ = fails(__func__);  \
        if (code_ != CL_SUCCESS) return code_; \
    } while (0)
#define MAYBE_NULL(out)                                           \
    do {                                                          \
        if (set(out, fails(__func__)) != CL_SUCCESS) return NULL; \
    } while (0)

/* Declares each function as the header has it. */
#define DECLARE(result, name, args) PUBLIC result name args;
OCL_FUNCTIONS(DECLARE)

cl_int clGetPlatformIDs(cl_uint room, cl_platform_id *out, cl_uint *n)
{
    MAYBE_FAIL;
    if (room) out[0] = &platform;
    *n = 1;
    return CL_SUCCESS;
}
cl_int clGetPlatformInfo(cl_platform_id p, cl_uint what, size_t room, void *to, size_t *size)
{
    (void)p, (void)what;
    MAYBE_FAIL;
    return answer("fake", 5, room, to, size);
}
cl_int clGetDeviceIDs(cl_platform_id p, cl_bits type, cl_uint room, cl_device_id *out, cl_uint *n)
{
    (void)p, (void)type;
    MAYBE_FAIL;
    if (state.n_devices == 0) return CL_DEVICE_NOT_FOUND;
    for (int i = 0; i < state.n_devices && (cl_uint)i < room; i++) devices[i].number = i, out[i] = &devices[i];
    *n = (cl_uint)state.n_devices;
    return CL_SUCCESS;
}

cl_int clGetDeviceInfo(cl_device_id d, cl_uint what, size_t room, void *to, size_t *size)
{
    char name[] = "fake device 0";
    MAYBE_FAIL;
    name[12] = (char)('0' + d->number);
    if (what == CL_DEVICE_NAME) return answer(name, sizeof name, room, to, size);
    if (what == CL_DEVICE_VERSION) return answer(state.version ? state.version : "OpenCL 1.2 fake", strlen(state.version ? state.version : "OpenCL 1.2 fake") + 1, room, to, size);
    if (what == CL_DEVICE_EXTENSIONS) return answer("cl_khr_icd cl_khr_subgroups_ballot cl_khr_fp16", 48, room, to, size);
    if (what == CL_DRIVER_VERSION) return answer("7.5", 4, room, to, size);
    uint64_t v = 1;
    if (what == CL_DEVICE_TYPE) v = CL_DEVICE_TYPE_GPU;
    if (what == CL_DEVICE_MAX_COMPUTE_UNITS) v = 20;
    if (what == CL_DEVICE_MAX_WORK_GROUP_SIZE) v = (uint64_t)state.group;
    if (what == CL_DEVICE_LOCAL_MEM_SIZE) v = 32768;
    if (what == CL_DEVICE_MAX_MEM_ALLOC_SIZE || what == CL_DEVICE_GLOBAL_MEM_SIZE) v = (uint64_t)state.memory;
    if (what == CL_DEVICE_GLOBAL_FREE_MEMORY_AMD) return CL_INVALID_VALUE;
    return answer(&v, room < 8 ? 4 : 8, room, to, size);
}

cl_context clCreateContext(const intptr_t *p, cl_uint n, const cl_device_id *d, ocl_notice notice, void *user, cl_int *code)
{
    (void)p, (void)n, (void)d, (void)notice, (void)user;
    MAYBE_NULL(code);
    if (set(code, state.broken ? CL_OUT_OF_RESOURCES : CL_SUCCESS) != CL_SUCCESS) return NULL;
    return object(8);
}
cl_int clReleaseContext(cl_context c)
{
    fails(__func__); /* a release that fails still releases */
    return gone(c);
}
cl_command_queue clCreateCommandQueue(cl_context c, cl_device_id d, cl_bits flags, cl_int *code)
{
    (void)c, (void)d, (void)flags;
    MAYBE_NULL(code);
    return object(8);
}
cl_int clReleaseCommandQueue(cl_command_queue q)
{
    fails(__func__);
    return gone(q);
}

cl_mem clCreateBuffer(cl_context c, cl_bits flags, size_t bytes, void *host, cl_int *code)
{
    (void)c, (void)flags, (void)host;
    MAYBE_NULL(code);
    if (bytes == 0 || state.used + (int64_t)bytes > state.memory) {
        set(code, bytes ? CL_MEM_OBJECT_ALLOCATION_FAILURE : CL_INVALID_BUFFER_SIZE);
        return NULL;
    }
    cl_mem m = object(sizeof *m);
    m->bytes = bytes, m->data = calloc(1, bytes);
    state.used += (int64_t)bytes;
    return m;
}
cl_int clReleaseMemObject(cl_mem m)
{
    fails(__func__);
    state.used -= (int64_t)m->bytes;
    free(m->data);
    return gone(m);
}

cl_program clCreateProgramWithSource(cl_context c, cl_uint n, const char **text, const size_t *bytes, cl_int *code)
{
    (void)c, (void)n, (void)text, (void)bytes;
    MAYBE_NULL(code);
    state.compiled++;
    return object(sizeof(struct ocl_program_));
}
cl_program clCreateProgramWithBinary(cl_context c, cl_uint n, const cl_device_id *d, const size_t *bytes, const unsigned char **data, cl_int *status, cl_int *code)
{
    (void)c, (void)n, (void)d;
    MAYBE_NULL(code);
    const int good = *bytes == sizeof binary_text && !memcmp(*data, binary_text, sizeof binary_text);
    if (status) *status = good ? CL_SUCCESS : CL_INVALID_VALUE;
    if (set(code, good ? CL_SUCCESS : CL_INVALID_VALUE) != CL_SUCCESS) return NULL;
    return object(sizeof(struct ocl_program_));
}
cl_int clBuildProgram(cl_program p, cl_uint n, const cl_device_id *d, const char *options, ocl_built built, void *user)
{
    (void)p, (void)n, (void)d, (void)options, (void)built, (void)user;
    MAYBE_FAIL;
    return state.build_fails ? CL_BUILD_PROGRAM_FAILURE : CL_SUCCESS;
}
cl_int clGetProgramInfo(cl_program p, cl_uint what, size_t room, void *to, size_t *size)
{
    const size_t bytes = sizeof binary_text;
    (void)p;
    MAYBE_FAIL;
    if (what == CL_PROGRAM_BINARY_SIZES) return answer(&bytes, sizeof bytes, room, to, size);
    unsigned char *place;
    memcpy(&place, to, sizeof place);
    memcpy(place, binary_text, bytes);
    return CL_SUCCESS;
}
cl_int clGetProgramBuildInfo(cl_program p, cl_device_id d, cl_uint what, size_t room, void *to, size_t *size)
{
    static const char log[] = "\n  line 7: expected a semicolon\nand more";
    (void)p, (void)d, (void)what;
    MAYBE_FAIL;
    return answer(log, sizeof log, room, to, size);
}
cl_int clReleaseProgram(cl_program p)
{
    fails(__func__);
    return gone(p);
}
cl_kernel clCreateKernel(cl_program p, const char *name, cl_int *code)
{
    (void)p, (void)name;
    MAYBE_NULL(code);
    return object(8);
}
cl_int clSetKernelArg(cl_kernel k, cl_uint at, size_t bytes, const void *value)
{
    (void)k, (void)at, (void)bytes, (void)value;
    MAYBE_FAIL;
    return CL_SUCCESS;
}
cl_int clGetKernelWorkGroupInfo(cl_kernel k, cl_device_id d, cl_uint what, size_t room, void *to, size_t *size)
{
    (void)k, (void)d;
    MAYBE_FAIL;
    uint64_t v = 0;
    if (what == CL_KERNEL_WORK_GROUP_SIZE) v = (uint64_t)state.kernel_group;
    if (what == CL_KERNEL_PREFERRED_WORK_GROUP_SIZE_MULTIPLE) v = (uint64_t)state.preferred;
    return answer(&v, sizeof v, room, to, size);
}
cl_int clReleaseKernel(cl_kernel k)
{
    fails(__func__);
    return gone(k);
}

#define EVENTS        cl_uint n, const cl_event *list, cl_event *event
#define UNUSED_EVENTS (void)q, (void)n, (void)list, (void)event
cl_int clEnqueueNDRangeKernel(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *from, const size_t *global, const size_t *local, EVENTS)
{
    (void)k, (void)dims, (void)from, UNUSED_EVENTS;
    MAYBE_FAIL;
    const int64_t items = (int64_t)(local[0] * local[1] * local[2]);
    if (items > state.group || (state.kernel_group && items > state.kernel_group)) return CL_INVALID_WORK_GROUP_SIZE;
    if (global[0] % local[0] || global[1] % local[1] || global[2] % local[2]) return CL_INVALID_WORK_GROUP_SIZE;
    if (items > state.largest) state.largest = items;
    state.launches++;
    return CL_SUCCESS;
}
cl_int clEnqueueReadBuffer(cl_command_queue q, cl_mem m, cl_uint blocking, size_t offset, size_t bytes, void *to, EVENTS)
{
    (void)blocking, UNUSED_EVENTS;
    MAYBE_FAIL;
    if (offset > m->bytes || bytes > m->bytes - offset) return CL_INVALID_VALUE;
    memcpy(to, m->data + offset, bytes);
    return CL_SUCCESS;
}
cl_int clEnqueueWriteBuffer(cl_command_queue q, cl_mem m, cl_uint blocking, size_t offset, size_t bytes, const void *from, EVENTS)
{
    (void)blocking, UNUSED_EVENTS;
    MAYBE_FAIL;
    if (offset > m->bytes || bytes > m->bytes - offset) return CL_INVALID_VALUE;
    memcpy(m->data + offset, from, bytes);
    return CL_SUCCESS;
}
cl_int clEnqueueCopyBuffer(cl_command_queue q, cl_mem a, cl_mem b, size_t from, size_t to, size_t bytes, EVENTS)
{
    UNUSED_EVENTS;
    MAYBE_FAIL;
    if (from > a->bytes || bytes > a->bytes - from || to > b->bytes || bytes > b->bytes - to) return CL_INVALID_VALUE;
    memmove(b->data + to, a->data + from, bytes);
    return CL_SUCCESS;
}
cl_int clEnqueueFillBuffer(cl_command_queue q, cl_mem m, const void *pattern, size_t size, size_t offset, size_t bytes, EVENTS)
{
    UNUSED_EVENTS;
    MAYBE_FAIL;
    if (offset > m->bytes || bytes > m->bytes - offset || bytes % size || offset % size) return CL_INVALID_VALUE;
    for (size_t i = 0; i < bytes; i += size) memcpy(m->data + offset + i, pattern, size);
    return CL_SUCCESS;
}
void *clEnqueueMapBuffer(cl_command_queue q, cl_mem m, cl_uint blocking, cl_bits flags, size_t offset, size_t bytes, EVENTS, cl_int *code)
{
    (void)blocking, (void)flags, (void)bytes, UNUSED_EVENTS;
    MAYBE_NULL(code);
    return m->data + offset;
}
cl_int clEnqueueUnmapMemObject(cl_command_queue q, cl_mem m, void *memory, EVENTS)
{
    (void)m, (void)memory, UNUSED_EVENTS;
    MAYBE_FAIL;
    return CL_SUCCESS;
}
cl_int clEnqueueMarkerWithWaitList(cl_command_queue q, EVENTS)
{
    (void)q, (void)n, (void)list;
    MAYBE_FAIL;
    *event = object(8);
    return CL_SUCCESS;
}
cl_int clEnqueueBarrierWithWaitList(cl_command_queue q, EVENTS)
{
    UNUSED_EVENTS;
    MAYBE_FAIL;
    return CL_SUCCESS;
}
cl_int clWaitForEvents(cl_uint n, const cl_event *list)
{
    (void)n, (void)list;
    MAYBE_FAIL;
    return CL_SUCCESS;
}
cl_int clGetEventInfo(cl_event e, cl_uint what, size_t room, void *to, size_t *size)
{
    const cl_int complete = 0;
    (void)e, (void)what;
    MAYBE_FAIL;
    return answer(&complete, sizeof complete, room, to, size);
}
cl_int clGetEventProfilingInfo(cl_event e, cl_uint what, size_t room, void *to, size_t *size)
{
    const cl_ulong now = 1;
    (void)e, (void)what;
    MAYBE_FAIL;
    return answer(&now, sizeof now, room, to, size);
}
cl_int clReleaseEvent(cl_event e)
{
    fails(__func__);
    return gone(e);
}
cl_int clFlush(cl_command_queue q)
{
    (void)q;
    MAYBE_FAIL;
    return CL_SUCCESS;
}
cl_int clFinish(cl_command_queue q)
{
    (void)q;
    MAYBE_FAIL;
    return CL_SUCCESS;
}
