/* Any bytes as a shared object's headers: every name it finds lies inside the file and ends there. */
#include "core/plugin/elf.h"
#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void inside(const char *name, const uint8_t *data, size_t bytes)
{
    const uint8_t *at = (const uint8_t *)name;
    if (at < data || at >= data + bytes || !memchr(at, 0, (size_t)(data + bytes - at))) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_elf elf;
    if (graft_elf_read(data, (int64_t)bytes, &elf, &err)) {
        if (!err.message[0]) abort();
        return 0;
    }
    for (int i = 0; i < elf.n_needed; i++) inside(elf.needed[i], data, bytes);
    for (int i = 0; i < elf.n_exports && i < GRAFT_ELF_NAMES; i++) inside(elf.exports[i], data, bytes);
    return 0;
}
