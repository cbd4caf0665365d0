/* core/train/neftune.c - see neftune.h. Random numbers are counted: the same seed, micro-batch and element give the same noise on every backend, and a
 * resumed run goes on with the noise that would have come. */
#include "core/train/neftune.h"

#include "core/base/error.h"
#include "core/graph/build.h"

#include <string.h>

static int is_token_embedding(const graft_graph *g, const graft_node *n)
{
    if (strcmp(n->op->name, "gather/1") != 0) return 0;
    const graft_value_info *table = graft_graph_info(g, n->in[0]), *ids = graft_graph_info(g, n->in[1]);
    return table->place == GRAFT_PLACE_WEIGHT && table->role == GRAFT_ROLE_EMBED && ids->place == GRAFT_PLACE_INPUT && !strcmp(ids->name, "tokens");
}

/* [1, 1]: 8 ceil(longest / 8) */
static graft_value padded_length(graft_builder *b, graft_value sequences)
{
    const graft_value longest = graft_amax(b, graft_cast(b, graft_slice(b, sequences, 1, 1, 1), GRAFT_F32), 0);
    const graft_value eighths = graft_cast(b, graft_affine(b, longest, 0.125, 0.875), GRAFT_I32);
    return graft_scale(b, graft_cast(b, eighths, GRAFT_F32), 8.0);
}

/* y + noise, rows of negative ids as they are. */
static graft_value noisy(graft_graph *g, const graft_node *n, graft_value sequences, double alpha)
{
    graft_builder *b = g->builder;
    const graft_shape shape = graft_graph_info(g, n->out[0])->shape;
    const int64_t column[] = {GRAFT_DIM_TOKENS, 1}, one[] = {1};
    const int64_t stream = (int64_t)(graft_op_id("neftune") >> 1) | 1;
    const graft_value size = graft_scale(b, graft_rsqrt(b, graft_scale(b, padded_length(b, sequences), (double)shape.dims[1])), alpha);
    const graft_value none = graft_cast(b, graft_fill(b, 1, one, -1.0), GRAFT_I32);
    const graft_value real = graft_reshape(b, graft_less(b, none, n->in[1]), 2, column);
    const graft_value noise = graft_affine(b, graft_random(b, 2, shape.dims, stream), 2.0, -1.0);
    return graft_add(b, n->out[0], graft_mul(b, noise, graft_mul(b, real, size)));
}

graft_status graft_neftune(graft_graph *g, double alpha, graft_error *err)
{
    const graft_value sequences = graft_graph_find(g, "sequences");
    graft_value was = graft_null_value(), is = graft_null_value();
    int32_t n = 0;
    graft_node *old = graft_pass_take(g, &n);
    for (int32_t i = 0; i < n && !g->error.code; i++) {
        for (int32_t k = 0; k < old[i].n_in; k++)
            if (was.id && old[i].in[k].id == was.id) old[i].in[k] = is;
        graft_pass_keep(g, &old[i]);
        if (was.id || !sequences.id || !is_token_embedding(g, &old[i])) continue;
        was = old[i].out[0];
        graft_pass_begin(g, &old[i], 0);
        is = noisy(g, &old[i], sequences, alpha);
        graft_pass_end(g);
    }
    const graft_status status = graft_graph_check(g, err);
    if (status) return status;
    return was.id ? GRAFT_OK : graft_fail(err, GRAFT_UNSUPPORTED, "neftune_noise_alpha", "this model has no embedding of tokens to put noise on; train without noise");
}
