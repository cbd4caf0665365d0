/* tests/support/support.h - what every test program shares. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include "core/plugin/load.h"

#include <check.h>

/* Sanitizer builds link the plugins; ends with NULL. */
extern const graft_static_entry graft_test_static_plugins[];

/* Runs one suite with Check; the exit status of the program. Use as: int main(void) { return graft_test_main("json", cases); } */
int graft_test_main(const char *name, void (*add)(TCase *tc));

/* A fresh folder under the build tree for this test, emptied first; static storage, one per name. */
const char *graft_test_dir(const char *name);
/* GRAFT_SOURCE_DIR/tests/fixtures/NAME; rotating static storage. */
const char *graft_test_fixture(const char *name);
/* ../shared/NAME when it is there, else NULL (the caller says aloud that it skips). */
const char *graft_test_shared(const char *name);

/* The call must give GRAFT_OK; a `graft_error err` must be in scope and be the one the call fills. */
#define ck_assert_ok(call)                                                                                          \
    do {                                                                                                            \
        const graft_status status_ = (call);                                                                        \
        ck_assert_msg(status_ == GRAFT_OK, "%s: status %d: %s: %s", #call, (int)status_, err.where, err.message);   \
    } while (0)

#endif
