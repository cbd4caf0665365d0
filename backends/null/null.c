/* backends/null/null.c - the smallest whole backend: claims every op, computes nothing, answers with zeros. A skeleton to start a backend from, and a device
 * for tests of what the host does around one (planning, memory, programs). It is not in the shipped registry, so that it is never chosen by itself:
 *   { "backends": { "null": { "file_name": "null.so" } } }   in a registry file of your own, then --backend null
 *
 * What a real backend adds: devices() asks its driver; alloc takes memory of the device; compile turns instructions into its own steps and takes all memory
 * that they need; run starts them; sync waits, and says what the data of the run got wrong. */
#include "graft/graft.h"

typedef struct device {
    const graft_host *host;
    graft_op_claim *claims;
    int32_t n_claims;
} device;
typedef struct buffer {
    int64_t bytes;
    char *data;
} buffer;
typedef struct plan {
    const graft_host *host;
    int64_t output_bytes; /* of the place whose values the host reads */
} plan;

static const char *const names[] = {
    "neg/1", "exp/1", "log/1", "sqrt/1", "rsqrt/1", "tanh/1", "sigmoid/1", "sin/1", "cos/1", "abs/1", "erf/1", "affine/1", "add/1", "sub/1", "mul/1", "div/1", "maximum/1", "less/1",
    "equal/1", "select/1", "sum/1", "amax/1", "matmul/1", "gather/1", "scatter_add/1", "reshape/1", "broadcast/1", "permute/1", "slice/1", "pad/1", "concat/1", "cast/1", "fill/1",
    "iota/1", "random/1", "training/1", "rms_norm/1", "rms_norm_grad/1", "layer_norm/1", "layer_norm_grad/1", "softmax/1", "softmax_grad/1", "rope/1", "attention/1",
    "attention_grad/1", "attention_cached/1", "swiglu/1", "swiglu_grad/1", "silu/1", "silu_grad/1", "gelu/1", "gelu_grad/1", "dropout/1", "linear_cross_entropy/1",
    "linear_cross_entropy_train/1", "sum_squares/1", "adamw/1"};
enum { N_NAMES = sizeof names / sizeof *names };

static graft_status no_memory(const graft_host *host, graft_error *err) { return host->fail(err, GRAFT_NO_MEMORY, "null", "no memory; use smaller batches"); }

static graft_status devices(void *self, graft_device_info *out, int32_t room, int32_t *n, graft_error *err)
{
    (void)self, (void)err;
    const graft_device_info info = {.size = (uint32_t)sizeof info, .name = "null", .score = 1, .reason = "computes nothing"};
    *n = room > 0;
    if (*n) memcpy(out, &info, out->size && out->size < sizeof info ? out->size : sizeof info); /* the caller may be older */
    return GRAFT_OK;
}

static void close_device(void *dev)
{
    device *d = dev;
    const graft_host *host = d->host;
    host->release(host->ctx, d->claims);
    host->release(host->ctx, d);
}

static graft_status open_device(void *self, int32_t number, const graft_config *options, void **dev, graft_error *err)
{
    const graft_host *host = self;
    if (number != 0) return host->fail(err, GRAFT_BAD_INPUT, "null", "the only device is number 0, found %d", (int)number);
    if (options) (void)options->api->integer(options, "threads", 0, 0, INT32_MAX); /* a key that is read is a known key */
    device *d = host->alloc(host->ctx, sizeof *d, _Alignof(device));
    if (!d) return no_memory(host, err);
    *d = (device){host, host->alloc(host->ctx, N_NAMES * sizeof *d->claims, _Alignof(graft_op_claim)), 0};
    if (!d->claims) {
        close_device(d);
        return no_memory(host, err);
    }
    for (int32_t i = 0; i < N_NAMES; i++) d->claims[d->n_claims++] = (graft_op_claim){graft_op_id(names[i]), ~0u, 1}; /* every element type */
    *dev = d;
    return GRAFT_OK;
}

static const graft_op_claim *ops(void *dev, int32_t *n)
{
    *n = ((const device *)dev)->n_claims;
    return ((const device *)dev)->claims;
}

/* ---- memory: the host never looks into a buffer; it fills and reads it by upload and download ------------------------------------------------ */
static graft_status alloc_buffer(void *dev, int64_t bytes, void **out, graft_error *err)
{
    const graft_host *host = ((const device *)dev)->host;
    buffer *b = host->alloc(host->ctx, sizeof *b, _Alignof(buffer));
    if (!b) return no_memory(host, err);
    *b = (buffer){bytes, host->alloc(host->ctx, bytes > 0 ? (size_t)bytes : 1, 64)};
    if (!b->data) {
        host->release(host->ctx, b);
        return no_memory(host, err);
    }
    memset(b->data, 0, bytes > 0 ? (size_t)bytes : 1);
    *out = b;
    return GRAFT_OK;
}

static void release_buffer(void *dev, void *which)
{
    const graft_host *host = ((const device *)dev)->host;
    buffer *b = which;
    if (!b) return;
    host->release(host->ctx, b->data);
    host->release(host->ctx, b);
}

static graft_status inside(const graft_host *host, const buffer *b, int64_t offset, int64_t bytes, graft_error *err)
{
    if (offset >= 0 && bytes >= 0 && offset <= b->bytes && bytes <= b->bytes - offset) return GRAFT_OK;
    return host->fail(err, GRAFT_INTERNAL, "null", "%lld bytes at %lld are outside a buffer of %lld", (long long)bytes, (long long)offset, (long long)b->bytes);
}

static graft_status upload(void *dev, void *to, int64_t offset, const void *from, int64_t bytes, graft_error *err)
{
    const graft_status status = inside(((const device *)dev)->host, to, offset, bytes, err);
    if (!status && bytes) memcpy(((buffer *)to)->data + offset, from, (size_t)bytes);
    return status;
}

static graft_status download(void *dev, const void *from, int64_t offset, void *to, int64_t bytes, graft_error *err)
{
    const graft_status status = inside(((const device *)dev)->host, from, offset, bytes, err);
    if (!status && bytes) memcpy(to, ((const buffer *)from)->data + offset, (size_t)bytes);
    return status;
}

/* ---- programs ------------------------------------------------------------------------------------------------------------------------------------- */
static graft_status compile(void *dev, const graft_program *p, void **out, graft_error *err)
{
    const graft_host *host = ((const device *)dev)->host;
    for (int32_t i = 0; i < p->n_instrs; i++) {
        int known = 0;
        for (int32_t k = 0; k < N_NAMES; k++) known |= p->instrs[i].op == graft_op_id(names[k]);
        if (!known) return host->fail(err, GRAFT_INTERNAL, "null", "%s was not claimed", p->instrs[i].name);
    }
    plan *l = host->alloc(host->ctx, sizeof *l, _Alignof(plan));
    if (!l) return no_memory(host, err);
    *l = (plan){host, p->place_bytes[GRAFT_PLACE_OUTPUT]};
    *out = l;
    return GRAFT_OK;
}

static void discard(void *which)
{
    plan *l = which;
    if (l) l->host->release(l->host->ctx, l);
}

static graft_status run(void *which, const graft_run *r, graft_error *err)
{
    const plan *l = which;
    const buffer *b = r->places[GRAFT_PLACE_OUTPUT];
    if (l->output_bytes > (b ? b->bytes : 0)) return l->host->fail(err, GRAFT_INTERNAL, "null", "the buffer of outputs is too small");
    if (b) memset(b->data, 0, (size_t)b->bytes);
    return GRAFT_OK;
}

static graft_status sync_device(void *dev, graft_error *err)
{
    (void)dev, (void)err;
    return GRAFT_OK;
}

static const graft_backend_table table = {
    .size = sizeof table,
    .devices = devices,
    .open = open_device,
    .close = close_device,
    .ops = ops,
    .alloc = alloc_buffer,
    .release = release_buffer,
    .upload = upload,
    .download = download,
    .compile = compile,
    .discard = discard,
    .run = run,
    .sync = sync_device,
};

GRAFT_ONE_TABLE("backend", "graft.backend/1", "null", "1.0.0", &table)
