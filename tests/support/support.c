/* tests/support/support.c - see support.h. */
#include "tests/support/support.h"

#include "core/base/file.h"

#include <stdio.h>
#include <stdlib.h>

int graft_test_main(const char *name, void (*add)(TCase *tc))
{
    graft_plugin_link_static(graft_test_static_plugins);
    setenv("HF_HUB_OFFLINE", "1", 1); /* no test uses the network; that of downloads has a server of its own */
    Suite *suite = suite_create(name);
    TCase *tc = tcase_create(name);
    tcase_set_timeout(tc, 300);
    add(tc);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

const char *graft_test_dir(const char *name)
{
    static char path[4096];
    graft_error err = {.size = (uint32_t)sizeof err};
    snprintf(path, sizeof path, "%s/tests/work/%s", GRAFT_BINARY_DIR, name);
    if (graft_path_remove(path, &err) || graft_dir_make(path, &err)) ck_abort_msg("%s: %s", path, err.message);
    return path;
}

const char *graft_test_fixture(const char *name)
{
    static char path[8][4096];
    static int at;
    at = (at + 1) % 8;
    snprintf(path[at], sizeof path[at], "%s/tests/fixtures/%s", GRAFT_SOURCE_DIR, name);
    return path[at];
}

const char *graft_test_shared(const char *name)
{
    static char path[8][4096];
    static int at;
    at = (at + 1) % 8;
    snprintf(path[at], sizeof path[at], "%s/../shared/%s", GRAFT_SOURCE_DIR, name);
    return graft_path_exists(path[at]) ? path[at] : NULL;
}
