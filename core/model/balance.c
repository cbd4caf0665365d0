/* core/model/balance.c - see balance.h. Fedus, Zoph & Shazeer 2021, arXiv 2101.03961, in transformers' form: over the tokens of all layers together,
 *
 *     loss = E sum_e f_e P_e      f_e: experts e chosen per token (no gradient), P_e: mean probability of e
 *
 * A router is a softmax over the experts [tokens, E] of which topk chooses k; both are found in the graph, so that no model needs to say more. With f and P
 * as sums, the number of tokens is sum f / k. */
#include "core/model/balance.h"

#include <string.h>

double graft_balance_weight(const graft_model *m)
{
    const graft_json *asked = graft_json_get(graft_config_object(m->config), "output_router_logits"), *weight = graft_json_get(graft_config_object(m->config), "router_aux_loss_coef");
    if (m->balance > 0.0) return m->balance;
    if (!asked || asked->type != GRAFT_JSON_BOOL || !asked->integer) return 0.0;
    return weight && weight->type == GRAFT_JSON_NUMBER ? weight->number : 0.001;
}

/* How often each expert is among the ids [tokens, k]: [1, experts] */
static graft_value count(graft_builder *b, graft_value ids, int64_t k, int64_t experts)
{
    const int64_t row[] = {1, experts};
    const graft_value known = graft_reshape(b, graft_iota(b, experts), 2, row);
    graft_value sum = graft_null_value();
    for (int64_t i = 0; i < k; i++) {
        const graft_value one = graft_sum(b, graft_equal(b, graft_slice(b, ids, 1, i, 1), known), 0);
        sum = sum.id ? graft_add(b, sum, one) : one;
    }
    return sum;
}

graft_value graft_balance_loss(graft_graph *g)
{
    graft_builder *b = g->builder;
    graft_value f = graft_null_value(), p = f;
    int64_t experts = 0, k = 0;
    const int32_t n = g->n_nodes;
    for (int32_t i = 0; i < n && !g->error.code; i++) {
        const graft_node *top = &g->nodes[i], *softmax = strcmp(top->op->name, "topk/1") ? NULL : graft_graph_node(g, top->in[0]);
        if (!softmax || strcmp(softmax->op->name, "softmax/1") != 0) continue;
        const graft_value probability = top->in[0], ids = top->out[1];
        experts = graft_graph_info(g, probability)->shape.dims[1], k = graft_graph_info(g, ids)->shape.dims[1];
        const graft_value counted = count(b, ids, k, experts), summed = graft_sum(b, probability, 0);
        f = f.id ? graft_add(b, f, counted) : counted;
        p = p.id ? graft_add(b, p, summed) : summed;
    }
    if (!f.id || g->error.code) return graft_null_value();
    const int64_t one[] = {1};
    f = b->api->detach(b, f);
    const graft_value chosen = graft_sum(b, f, 1), loss = graft_div(b, graft_sum(b, graft_mul(b, f, p), 1), graft_mul(b, chosen, chosen));
    return graft_reshape(b, graft_scale(b, loss, (double)(experts * k * k)), 1, one);
}
