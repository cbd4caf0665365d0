/* backends/opencl/cl.h - what this backend uses of the OpenCL 1.2 interface, declared here so that nothing of OpenCL is needed to build: types, numbers and
 * functions as the Khronos registry gives them. driver.c finds the functions in the system's libOpenCL at run time. */
#ifndef BACKENDS_OPENCL_CL_H
#define BACKENDS_OPENCL_CL_H

#include <stddef.h>
#include <stdint.h>

typedef int32_t cl_int;
typedef uint32_t cl_uint;
typedef uint64_t cl_ulong;
typedef cl_ulong cl_bits;
typedef struct ocl_platform_ *cl_platform_id;
typedef struct ocl_device_ *cl_device_id;
typedef struct ocl_context_ *cl_context;
typedef struct ocl_queue_ *cl_command_queue;
typedef struct ocl_mem_ *cl_mem;
typedef struct ocl_program_ *cl_program;
typedef struct ocl_kernel_ *cl_kernel;
typedef struct ocl_event_ *cl_event;
typedef void (*ocl_notice)(const char *text, const void *data, size_t bytes, void *user);
typedef void (*ocl_built)(cl_program program, void *user);

enum { CL_SUCCESS = 0,
       CL_DEVICE_NOT_FOUND = -1,
       CL_DEVICE_NOT_AVAILABLE = -2,
       CL_COMPILER_NOT_AVAILABLE = -3,
       CL_MEM_OBJECT_ALLOCATION_FAILURE = -4,
       CL_OUT_OF_RESOURCES = -5,
       CL_OUT_OF_HOST_MEMORY = -6,
       CL_BUILD_PROGRAM_FAILURE = -11,
       CL_FAILED_EVENT = -14, /* CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST */
       CL_INVALID_VALUE = -30,
       CL_INVALID_CONTEXT = -34,
       CL_INVALID_COMMAND_QUEUE = -36,
       CL_INVALID_WORK_GROUP_SIZE = -54,
       CL_INVALID_BUFFER_SIZE = -61,
       CL_PLATFORM_NOT_FOUND_KHR = -1001 };

enum { CL_DEVICE_TYPE_CPU = 1 << 1,
       CL_DEVICE_TYPE_GPU = 1 << 2,
       CL_DEVICE_TYPE_ACCELERATOR = 1 << 3 };
#define CL_DEVICE_TYPE_ALL 0xFFFFFFFFu

enum { CL_PLATFORM_NAME = 0x0902,
       CL_DEVICE_TYPE = 0x1000,
       CL_DEVICE_MAX_COMPUTE_UNITS = 0x1002,
       CL_DEVICE_MAX_WORK_GROUP_SIZE = 0x1004,
       CL_DEVICE_MAX_MEM_ALLOC_SIZE = 0x1010,
       CL_DEVICE_GLOBAL_MEM_SIZE = 0x101F,
       CL_DEVICE_LOCAL_MEM_SIZE = 0x1023,
       CL_DEVICE_ENDIAN_LITTLE = 0x1026,
       CL_DEVICE_AVAILABLE = 0x1027,
       CL_DEVICE_COMPILER_AVAILABLE = 0x1028,
       CL_DEVICE_NAME = 0x102B,
       CL_DRIVER_VERSION = 0x102D,
       CL_DEVICE_VERSION = 0x102F,
       CL_DEVICE_EXTENSIONS = 0x1030,
       CL_DEVICE_DOUBLE_FP_CONFIG = 0x1032,
       CL_DEVICE_GLOBAL_FREE_MEMORY_AMD = 0x4039,
       CL_MEM_READ_WRITE = 1,
       CL_MEM_ALLOC_HOST_PTR = 1 << 4,
       CL_MAP_READ = 1,
       CL_MAP_WRITE = 2,
       CL_PROGRAM_BINARY_SIZES = 0x1165,
       CL_PROGRAM_BINARIES = 0x1166,
       CL_PROGRAM_BUILD_LOG = 0x1183,
       CL_KERNEL_WORK_GROUP_SIZE = 0x11B0,
       CL_KERNEL_LOCAL_MEM_SIZE = 0x11B2,
       CL_KERNEL_PREFERRED_WORK_GROUP_SIZE_MULTIPLE = 0x11B3,
       CL_EVENT_COMMAND_EXECUTION_STATUS = 0x11D3,
       CL_QUEUE_PROFILING_ENABLE = 1 << 1,
       CL_PROFILING_COMMAND_START = 0x1282,
       CL_PROFILING_COMMAND_END = 0x1283 };

#define OCL_WAIT_ cl_uint, const cl_event *, cl_event *
#define OCL_FUNCTIONS(X)                                                                                                                              \
    X(cl_int, clGetPlatformIDs, (cl_uint, cl_platform_id *, cl_uint *))                                                                               \
    X(cl_int, clGetPlatformInfo, (cl_platform_id, cl_uint, size_t, void *, size_t *))                                                                 \
    X(cl_int, clGetDeviceIDs, (cl_platform_id, cl_bits, cl_uint, cl_device_id *, cl_uint *))                                                          \
    X(cl_int, clGetDeviceInfo, (cl_device_id, cl_uint, size_t, void *, size_t *))                                                                     \
    X(cl_context, clCreateContext, (const intptr_t *, cl_uint, const cl_device_id *, ocl_notice, void *, cl_int *))                                   \
    X(cl_int, clReleaseContext, (cl_context))                                                                                                         \
    X(cl_command_queue, clCreateCommandQueue, (cl_context, cl_device_id, cl_bits, cl_int *))                                                          \
    X(cl_int, clReleaseCommandQueue, (cl_command_queue))                                                                                              \
    X(cl_mem, clCreateBuffer, (cl_context, cl_bits, size_t, void *, cl_int *))                                                                        \
    X(cl_int, clReleaseMemObject, (cl_mem))                                                                                                           \
    X(cl_program, clCreateProgramWithSource, (cl_context, cl_uint, const char **, const size_t *, cl_int *))                                          \
    X(cl_program, clCreateProgramWithBinary, (cl_context, cl_uint, const cl_device_id *, const size_t *, const unsigned char **, cl_int *, cl_int *)) \
    X(cl_int, clBuildProgram, (cl_program, cl_uint, const cl_device_id *, const char *, ocl_built, void *))                                           \
    X(cl_int, clGetProgramInfo, (cl_program, cl_uint, size_t, void *, size_t *))                                                                      \
    X(cl_int, clGetProgramBuildInfo, (cl_program, cl_device_id, cl_uint, size_t, void *, size_t *))                                                   \
    X(cl_int, clReleaseProgram, (cl_program))                                                                                                         \
    X(cl_kernel, clCreateKernel, (cl_program, const char *, cl_int *))                                                                                \
    X(cl_int, clSetKernelArg, (cl_kernel, cl_uint, size_t, const void *))                                                                             \
    X(cl_int, clGetKernelWorkGroupInfo, (cl_kernel, cl_device_id, cl_uint, size_t, void *, size_t *))                                                 \
    X(cl_int, clReleaseKernel, (cl_kernel))                                                                                                           \
    X(cl_int, clEnqueueNDRangeKernel, (cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *, OCL_WAIT_))              \
    X(cl_int, clEnqueueReadBuffer, (cl_command_queue, cl_mem, cl_uint, size_t, size_t, void *, OCL_WAIT_))                                            \
    X(cl_int, clEnqueueWriteBuffer, (cl_command_queue, cl_mem, cl_uint, size_t, size_t, const void *, OCL_WAIT_))                                     \
    X(cl_int, clEnqueueCopyBuffer, (cl_command_queue, cl_mem, cl_mem, size_t, size_t, size_t, OCL_WAIT_))                                             \
    X(cl_int, clEnqueueFillBuffer, (cl_command_queue, cl_mem, const void *, size_t, size_t, size_t, OCL_WAIT_))                                       \
    X(void *, clEnqueueMapBuffer, (cl_command_queue, cl_mem, cl_uint, cl_bits, size_t, size_t, OCL_WAIT_, cl_int *))                                  \
    X(cl_int, clEnqueueUnmapMemObject, (cl_command_queue, cl_mem, void *, OCL_WAIT_))                                                                 \
    X(cl_int, clEnqueueMarkerWithWaitList, (cl_command_queue, OCL_WAIT_))                                                                             \
    X(cl_int, clEnqueueBarrierWithWaitList, (cl_command_queue, OCL_WAIT_))                                                                            \
    X(cl_int, clWaitForEvents, (cl_uint, const cl_event *))                                                                                           \
    X(cl_int, clGetEventInfo, (cl_event, cl_uint, size_t, void *, size_t *))                                                                          \
    X(cl_int, clGetEventProfilingInfo, (cl_event, cl_uint, size_t, void *, size_t *))                                                                 \
    X(cl_int, clReleaseEvent, (cl_event))                                                                                                             \
    X(cl_int, clFlush, (cl_command_queue))                                                                                                            \
    X(cl_int, clFinish, (cl_command_queue))

/* The functions of the driver, under their own names. */
#define OCL_FIELD_(result, name, args) result(*name) args;
typedef struct ocl_api {
    OCL_FUNCTIONS(OCL_FIELD_)
} ocl_api;

#endif
