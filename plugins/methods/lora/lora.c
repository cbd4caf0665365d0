/* LoRA: y = x W^T + (alpha/r) * dropout(x) A^T B^T, with W frozen. A [r,in] Kaiming-uniform, B [out,r] zero,
 * so step zero equals the base model. Hu et al. 2021, arXiv 2106.09685. Weight names are PEFT's. */
#include "lora.h"

#include "graft/ops.h"

#include <math.h>

static graft_status lora_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    const graft_host *host = self;
    lora *m = host->alloc(host->ctx, sizeof *m, _Alignof(lora));
    if (!m) return host->fail(err, GRAFT_NO_MEMORY, "lora", "no memory for %zu bytes", sizeof *m);
    *m = (lora){.host = host, .select = args, .key = "lora_target", .rank = graft_dim(args, "lora_rank", 8)};
    m->alpha = graft_real(args, "lora_alpha", 0.0, 0.0, 1e6);
    if (m->alpha == 0.0) m->alpha = 2.0 * (double)m->rank;
    m->dropout = graft_real(args, "lora_dropout", 0.0, 0.0, 0.99);
    m->rslora = graft_flag(args, "use_rslora", 0); /* Kalajdzievski 2023, arXiv 2312.03732 */
    const graft_status status = saved ? lora_read_saved(m, saved, err) : GRAFT_OK;
    m->scale = m->alpha / (m->rslora ? sqrt((double)m->rank) : (double)m->rank);
    if (status) host->release(host->ctx, m);
    else *run = m;
    return status;
}

static void lora_close(void *run)
{
    const graft_host *host = ((lora *)run)->host;
    host->release(host->ctx, run);
}

static int chosen(const lora *m, graft_builder *b, const graft_site *s)
{
    int here = !m->layers;
    for (const graft_json *l = m->layers ? m->layers->child : NULL; l; l = l->next) here |= l->integral && l->integer == s->layer;
    return b->api->matches(b, m->select, m->key, s) && here;
}

static graft_value lora_A(const lora *m, graft_builder *b, const graft_site *s)
{
    return graft_new_param(b, "lora_A.weight", GRAFT_START_KAIMING_UNIFORM, sqrt(5.0), m->rank, s->in);
}

static graft_value lora_B(const lora *m, graft_builder *b, const graft_site *s)
{
    return graft_new_param(b, "lora_B.weight", GRAFT_START_ZERO, 0.0, s->out, m->rank);
}

static graft_value lora_linear(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y)
{
    const lora *m = run;
    if (!chosen(m, b, s)) return y;
    graft_value z = graft_matmul_nt(b, graft_dropout(b, x, m->dropout), lora_A(m, b, s)); /* [T, r] */
    return graft_add(b, y, graft_scale(b, graft_matmul_nt(b, z, lora_B(m, b, s)), m->scale));
}

/* W + scale * B A */
static graft_value lora_merge(void *run, graft_builder *b, const graft_site *s, graft_value w)
{
    const lora *m = run;
    if (!chosen(m, b, s)) return w;
    return graft_add(b, w, graft_scale(b, graft_matmul(b, lora_B(m, b, s), lora_A(m, b, s)), m->scale));
}

static const graft_adapter_files lora_files = {.size = sizeof lora_files, .config = "adapter_config.json", .weights = "adapter_model.safetensors", .prefix = "base_model.model."};

static const graft_method_table lora_table = {
    .size = sizeof lora_table,
    .open = lora_open,
    .close = lora_close,
    .linear = lora_linear,
    .merge = lora_merge,
    .files = &lora_files,
    .save = lora_save,
    .owns = lora_owns,
};

GRAFT_ONE_TABLE("method", "graft.method/1", "lora", "1.0.0", &lora_table)
