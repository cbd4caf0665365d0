/* tests/support/device.h - the shipped registry and the reference backend of one test program; start and stop are for tcase_add_checked_fixture. */
#ifndef TESTS_SUPPORT_DEVICE_H
#define TESTS_SUPPORT_DEVICE_H

#include "core/base/error.h"
#include "core/graph/run.h"
#include "tests/support/support.h"

static graft_error err = GRAFT_ERROR_INIT;
static graft_registry *registry;
static graft_device device;

static void start(void)
{
    const graft_registry_options o = {.shipped = GRAFT_BINARY_DIR "/lib/graft/registry.json"};
    ck_assert_ok(graft_registry_open(&o, &registry, &err));
    ck_assert_ok(graft_device_open(registry, "reference", NULL, &device, &err));
}

static void stop(void)
{
    graft_device_close(&device);
    graft_registry_close(registry);
}

#endif
