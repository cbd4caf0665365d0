/* core/plugin/library.c - see library.h. */
#include "core/plugin/library.h"

#include <dlfcn.h>
#include <string.h>

void *graft_library_open(const char *const *names)
{
    void *library = NULL;
    for (size_t i = 0; !library && names[i]; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

int graft_library_symbol(void *library, const char *name, void *to)
{
    void *symbol = dlsym(library, name);
    memcpy(to, &symbol, sizeof symbol); /* a pointer to a function has the same size (POSIX) */
    return symbol != NULL;
}
