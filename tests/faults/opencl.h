/* tests/faults/opencl.h - the switches of the OpenCL driver that computes nothing (opencl.c). */
#ifndef TESTS_FAULTS_OPENCL_H
#define TESTS_FAULTS_OPENCL_H

#include <stdint.h>

typedef struct fake_cl {
    int n_devices;
    int64_t memory;                                /* of each device */
    int build_fails;                               /* every build of a text or a binary */
    int32_t fail_code;                             /* what the failing call answers */
    int64_t fail_at;                               /* number of the call that fails, from 1; 0: none */
    const char *failed;                            /* its name, once it did */
    const char *version;                           /* of the device, NULL: OpenCL 1.2 */
    int64_t calls, live, used, compiled, launches; /* counted: calls, objects alive, bytes, programs from text, kernels */
    int64_t group, kernel_group, preferred; /* work items of a group: the device's, what the kernels were compiled for (0: no word), their unit */
    int64_t lost_after;                     /* launches, then every call fails; 0: never */
    int broken;                             /* no context can be made */
    int64_t largest;                        /* group that was launched */
} fake_cl;

/* The library exports fake_cl *fake_cl_state(void). FAKE_CL_DEVICES, FAKE_CL_MEMORY, FAKE_CL_LOST_AFTER and FAKE_CL_BROKEN in the environment do the same. */
#endif
