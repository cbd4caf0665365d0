/* core/model/balance.h - the load-balancing loss of models with routed experts, as transformers adds it when config.json says output_router_logits. */
#ifndef CORE_MODEL_BALANCE_H
#define CORE_MODEL_BALANCE_H

#include "core/model/model.h"

/* Its weight in the loss: the run's (moe_aux_loss_coef), else the configuration's; 0: it is not part of the loss. */
double graft_balance_weight(const graft_model *m);
/* The loss [1], unweighted, over all routers of the graph so far; null after an error, or without routers by softmax. */
graft_value graft_balance_loss(graft_graph *g);

#endif
