/* backends/opencl/driver.c - the vendor's library, opened when it is first needed. No library, no platform or no device is never an error: the list of
 * devices is empty and `why` says what was missing. The library stays open until the program ends: drivers keep threads of their own. */
#include "opencl.h"

#include <dlfcn.h>
#include <stdio.h>

const char *ocl_error_name(cl_int code)
{
    switch (code) {
    case CL_DEVICE_NOT_FOUND: return "no device";
    case CL_DEVICE_NOT_AVAILABLE: return "the device is not available";
    case CL_COMPILER_NOT_AVAILABLE: return "the driver has no compiler";
    case CL_MEM_OBJECT_ALLOCATION_FAILURE: return "out of device memory";
    case CL_OUT_OF_RESOURCES: return "out of resources of the device";
    case CL_OUT_OF_HOST_MEMORY: return "the driver is out of memory";
    case CL_BUILD_PROGRAM_FAILURE: return "the kernels do not compile";
    case CL_INVALID_CONTEXT:
    case CL_INVALID_COMMAND_QUEUE: return "the device no longer answers";
    case CL_INVALID_WORK_GROUP_SIZE: return "the work group is larger than the device allows";
    case CL_FAILED_EVENT: return "work that it waited for has failed";
    case CL_INVALID_BUFFER_SIZE: return "the buffer is larger than the device allows";
    case CL_PLATFORM_NOT_FOUND_KHR: return "no platform is installed";
    default: return "error of the driver";
    }
}

int64_t ocl_device_int(const ocl_api *cl, cl_device_id id, cl_uint what)
{
    union { /* the answer is 4 or 8 bytes; little-endian machines alone are used */
        uint64_t wide;
        unsigned char bytes[8];
    } v = {0};
    size_t size = 0;
    if (cl->clGetDeviceInfo(id, what, sizeof v, &v, &size) != CL_SUCCESS) return 0;
    return v.wide > INT64_MAX ? INT64_MAX : (int64_t)v.wide;
}

void ocl_device_text(const ocl_api *cl, cl_device_id id, cl_uint what, char *out, size_t room)
{
    char text[512] = "";
    if (cl->clGetDeviceInfo(id, what, sizeof text - 1, text, NULL) != CL_SUCCESS) text[0] = 0;
    snprintf(out, room, "%.*s", (int)(room - 1), text);
}

static int take_functions(ocl_driver *v)
{
    void *f;
#define TAKE(result, name, args)                                                \
    f = dlsym(v->library, #name);                                               \
    if (!f) {                                                                   \
        snprintf(v->why, sizeof v->why, "libOpenCL has no function %s", #name); \
        return -1;                                                              \
    }                                                                           \
    memcpy(&v->cl.name, &f, sizeof f);
    OCL_FUNCTIONS(TAKE)
    return 0;
}

static void list_devices(ocl_driver *v)
{
    enum { PLATFORMS = 16 };
    cl_platform_id platforms[PLATFORMS];
    cl_uint n = 0;
    const cl_int code = v->cl.clGetPlatformIDs(PLATFORMS, platforms, &n);
    if (code != CL_SUCCESS || n == 0) {
        snprintf(v->why, sizeof v->why, "libOpenCL found no platform (%s, %d)", code ? ocl_error_name(code) : "none installed", (int)code);
        return;
    }
    for (cl_uint p = 0; p < n && p < PLATFORMS; p++) {
        const cl_uint room = (cl_uint)(OCL_MAX_DEVICES - v->n_devices);
        cl_uint found = 0;
        if (room == 0 || v->cl.clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, room, v->devices + v->n_devices, &found) != CL_SUCCESS) continue;
        v->n_devices += (int32_t)(found < room ? found : room);
    }
    if (v->n_devices == 0) snprintf(v->why, sizeof v->why, "the OpenCL drivers here found no device");
}

void ocl_driver_load(ocl_driver *v)
{
    static const char *const names[] = {"libOpenCL.so.1", "libOpenCL.so"};
    if (v->n_devices >= 0) return;
    v->n_devices = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && !v->library; i++) v->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!v->library) snprintf(v->why, sizeof v->why, "there is no libOpenCL.so.1 on this machine");
    else if (take_functions(v) == 0) list_devices(v);
}

void ocl_driver_drop(ocl_driver *v)
{
    if (v->library) dlclose(v->library);
    v->library = NULL;
}

/* "OpenCL 3.0 ..." as 300, "OpenCL 1.2" as 102. */
static int version_of(const char *text)
{
    int major = 0, minor = 0;
    const char *at = strncmp(text, "OpenCL ", 7) ? "" : text + 7;
    while (*at >= '0' && *at <= '9' && major < 100) major = 10 * major + (*at++ - '0');
    if (*at == '.') at++;
    while (*at >= '0' && *at <= '9' && minor < 100) minor = 10 * minor + (*at++ - '0');
    return 100 * major + minor;
}

/* Is this among the device's extensions? */
static int has(const ocl_api *cl, cl_device_id id, const char *extension)
{
    char all[8192] = "";
    const size_t n = strlen(extension);
    if (cl->clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, sizeof all - 1, all, NULL) != CL_SUCCESS) return 0;
    for (const char *at = strstr(all, extension); at; at = strstr(at + n, extension))
        if ((at == all || at[-1] == ' ') && (at[n] == ' ' || !at[n])) return 1;
    return 0;
}

/* A processor through OpenCL is always slower than plain code for it: it scores below every backend of processors. */
void ocl_describe(const ocl_driver *v, int32_t i, graft_device_info *info)
{
    const ocl_api *cl = &v->cl;
    const cl_device_id id = v->devices[i];
    char version[128], driver[64];
    *info = (graft_device_info){.size = (uint32_t)sizeof *info};
    ocl_device_text(cl, id, CL_DEVICE_NAME, info->name, sizeof info->name);
    ocl_device_text(cl, id, CL_DEVICE_VERSION, version, sizeof version);
    ocl_device_text(cl, id, CL_DRIVER_VERSION, driver, sizeof driver);
    const int64_t type = ocl_device_int(cl, id, CL_DEVICE_TYPE), units = ocl_device_int(cl, id, CL_DEVICE_MAX_COMPUTE_UNITS);
    info->memory_total = ocl_device_int(cl, id, CL_DEVICE_GLOBAL_MEM_SIZE);
    const int64_t free_kib = ocl_device_int(cl, id, CL_DEVICE_GLOBAL_FREE_MEMORY_AMD);
    info->memory_free = free_kib > 0 && free_kib <= info->memory_total / 1024 ? free_kib * 1024 : info->memory_total;
    const char *no = NULL;
    if (!ocl_device_int(cl, id, CL_DEVICE_AVAILABLE)) no = "the driver says that the device is not available";
    else if (!ocl_device_int(cl, id, CL_DEVICE_COMPILER_AVAILABLE)) no = "the driver has no compiler for kernels";
    else if (!ocl_device_int(cl, id, CL_DEVICE_ENDIAN_LITTLE)) no = "the device is big-endian";
    else if (version_of(version) < 102) no = "OpenCL 1.2 or newer is needed";
    else if (ocl_device_int(cl, id, CL_DEVICE_LOCAL_MEM_SIZE) < 16384) no = "its work groups have too little memory of their own";
    if (no) {
        snprintf(info->reason, sizeof info->reason, "%s (%.60s)", no, version);
        return;
    }
    info->score = type & CL_DEVICE_TYPE_GPU ? 500 + (int)(units < 400 ? units : 400) : type & CL_DEVICE_TYPE_ACCELERATOR ? 400
                                                                                                                         : 50;
    snprintf(info->reason, sizeof info->reason, "%.60s, driver %.30s, %d compute units%s%s", version, driver, (int)units, has(cl, id, "cl_khr_subgroups") ? ", subgroups" : "", has(cl, id, "cl_khr_fp16") ? ", fp16" : "");
}
