/* Rows of Parquet files. */
#include "tests/fuzz/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return rows_check(data, size, ".parquet", 1); }
