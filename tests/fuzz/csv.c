/* Rows of tables: quotes, line ends, columns of numbers. */
#include "tests/fuzz/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return rows_check(data, size, ".csv", 1); }
