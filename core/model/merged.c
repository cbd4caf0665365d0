/* core/model/merged.c - adapters that become part of the base: training goes on with one adapter on top of others that stand.
 *
 *     base W --> store of its own --start, load, merge each adapter--> W' --> over W in the run's store
 *
 * The second copy of the base lives only while this runs, before the activations of training are laid out. */
#include "core/base/error.h"
#include "core/graph/store.h"
#include "core/model/method_start.h"

#include <string.h>

static graft_status copy_back(const graft_graph *g, const graft_store *from, graft_store *to, graft_error *err)
{
    graft_status status = GRAFT_OK;
    for (int32_t i = 1; i < g->n_values && !status; i++) {
        const graft_value_info *v = &g->values[i];
        if (v->place != GRAFT_PLACE_WEIGHT || v->node >= 0 || v->from_method >= 0) continue;
        const int a = graft_store_find(from, v->name), b = graft_store_find(to, v->name);
        if (a >= 0 && b < 0 && v->role == GRAFT_ROLE_HEAD)
            return graft_fail(err, GRAFT_UNSUPPORTED, v->name, "an adapter that becomes part of the base changes the head or the embedding, which are one weight here: merge it with `graft export` first, and train on the merged model");
        if (a < 0 || b < 0) continue;
        const int64_t bytes = graft_store_tensor_bytes(from, a);
        if (graft_store_tensor_bytes(to, b) != bytes)
            return graft_fail(err, GRAFT_UNSUPPORTED, v->name, "adapters cannot be merged into a weight that is held packed: merge them with `graft export` first, and train on the merged model");
        float *data = graft_calloc((size_t)bytes + 1, 1);
        status = data ? graft_store_read(from, a, data, bytes, err) : graft_fail(err, GRAFT_NO_MEMORY, v->name, "no memory to merge the adapters");
        if (!status) status = graft_store_write(to, b, data, bytes, err);
        graft_free(data);
    }
    return status;
}

graft_status graft_model_merge_first(const graft_model *m, graft_store *s, uint64_t seed, graft_error *err)
{
    const int64_t one[GRAFT_SYMBOLS] = {1, 1, 1, 1};
    graft_model plain = *m;
    plain.n_merged = 0;
    plain.base_dtype = GRAFT_F32;
    graft_graph *forward = NULL;
    graft_store *own = NULL;
    graft_status status = graft_model_graph(&plain, m->merged, m->n_merged, GRAFT_FOR_MERGE, &forward, err);
    if (!status) status = graft_graph_prepare(forward, graft_store_device(s), 0, 0, err);
    if (!status) status = graft_store_new(graft_store_device(s), &own, err);
    if (!status) status = graft_store_add_graph(own, forward, one, err);
    if (!status) status = graft_store_commit(own, err);
    if (!status) status = graft_model_load(&plain, forward, own, seed, err);
    for (int i = 0; i < m->n_merged && !status; i++) status = graft_adapter_load(m->merged_from[i], &m->merged[i], i, forward, own, err);
    if (!status) status = graft_model_merge(&plain, m->merged, m->n_merged, forward, own, err);
    if (!status) status = copy_back(forward, own, s, err);
    graft_store_free(own);
    graft_graph_free(forward);
    return status;
}
