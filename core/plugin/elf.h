/* core/plugin/elf.h - what a shared object says about itself, read without running it: machine, needed libraries, exported names.
 * Every offset and count of the file is checked against its size, so a cut or hostile file is an error, never a bad read. */
#ifndef CORE_PLUGIN_ELF_H
#define CORE_PLUGIN_ELF_H

#include "core/base/arena.h"

enum { GRAFT_ELF_NAMES = 64 };

typedef struct graft_elf {
    const char *needed[GRAFT_ELF_NAMES];  /* DT_NEEDED, in order; names point into the bytes given */
    const char *exports[GRAFT_ELF_NAMES]; /* defined global symbols that others can see, without the toolchain's own */
    int n_needed, n_exports;              /* n_exports may exceed the array: more are there */
    int symbols_read, has_entry;          /* the file lists its symbols; graft_plugin_entry is among its exports */
    int has_runpath;                      /* libraries are searched in further folders */
    int asan, tsan;                       /* refers to the runtime of a sanitizer */
} graft_elf;

/* GRAFT_BAD_INPUT with a sentence without "file" or stage, such as "is cut short: its header speaks of 9000 bytes, the file has 4096". */
graft_status graft_elf_read(const uint8_t *data, int64_t bytes, graft_elf *out, graft_error *err);

#endif
