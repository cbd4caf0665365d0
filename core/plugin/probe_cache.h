/* core/plugin/probe_cache.h - between probe.c and probe_cache.c. */
#ifndef CORE_PLUGIN_PROBE_CACHE_H
#define CORE_PLUGIN_PROBE_CACHE_H

#include "core/plugin/probe.h"

void graft_probe_keep(const char sha256[65], const graft_probe_report *r); /* failing to is said once, at debug level */

#endif
