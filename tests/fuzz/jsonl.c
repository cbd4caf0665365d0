/* Rows of JSON and JSON Lines files. */
#include "core/data/columns.h"
#include "tests/fuzz/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const graft_map m = {data, (int64_t)size};
    const int packed = size > 1 && (data[0] == 0x1F || data[0] == 0x28); /* these and columns have targets of their own */
    return packed || graft_columns_is(&m) ? 0 : rows_check(data, size, "", 0);
}
