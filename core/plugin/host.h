/* core/plugin/host.h - what the host lends a plugin (graft_host), one for each, so that a block or a message is known by its plugin. */
#ifndef CORE_PLUGIN_HOST_H
#define CORE_PLUGIN_HOST_H

#include "graft/plugin.h"

typedef struct graft_lent {
    graft_host host; /* ctx points back here: do not move the struct after graft_lent_init */
    char name[64];
    int silent;            /* log nothing: in the probe's child                            */
    int64_t blocks, bytes; /* alive now; changed atomically                                */
} graft_lent;

void graft_lent_init(graft_lent *l, const char *name, int silent);

#endif
