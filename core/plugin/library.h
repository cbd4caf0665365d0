/* core/plugin/library.h - libraries of the system that graft uses when they are there, and starts without. */
#ifndef CORE_PLUGIN_LIBRARY_H
#define CORE_PLUGIN_LIBRARY_H

/* The first of these names (NULL ends them) that the system's loader finds, or NULL. It stays open until the process ends. */
void *graft_library_open(const char *const *names);
/* Puts the address of the library's symbol into the pointer at `to`, or NULL. 0: it has none. */
int graft_library_symbol(void *library, const char *name, void *to);

#endif
