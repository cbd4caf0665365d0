/* core/graph/rates.h - what a backend's device really does in arithmetic and copies, measured once per device and driver.
 * A backend with "graft.backend.probe/1" measures itself; for others the host times a matmul, a sum of two tensors, uploads and downloads (flops is then 0).
 * Kept in $XDG_CACHE_HOME/graft/rates/KEY.json (~/.cache/...); KEY hashes backend, plugin version, device, driver and graft's version. */
#ifndef CORE_GRAPH_RATES_H
#define CORE_GRAPH_RATES_H

#include "core/graph/run.h"

/* kept: 1 when the numbers come from the cache. A file that cannot be read or written costs only the time to measure. [control] */
graft_status graft_rates_of(const graft_candidate *c, int again, graft_backend_rates *out, int *kept, graft_error *err);
/* The rates of an open device, measured now. */
graft_status graft_rates_measure(const graft_candidate *c, const graft_device *d, graft_backend_rates *out, graft_error *err);

#endif
