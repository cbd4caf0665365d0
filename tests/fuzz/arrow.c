/* Rows of Arrow files. */
#include "tests/fuzz/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return rows_check(data, size, ".arrow", 1); }
