/* backends/reference/reference.c - the door, the one device, its memory. See reference.h.
 * Options: "threads" is taken and ignored (one thread); "tier" 0 claims the primitives alone, so that the host lowers everything else: for tests. */
#include "reference.h"

#include <stdio.h>
#include <string.h>

static graft_status ref_devices(void *self, graft_device_info *out, int32_t room, int32_t *n, graft_error *err)
{
    (void)self, (void)err;
    *n = room > 0;
    if (!*n) return GRAFT_OK;
    graft_device_info info = {.size = (uint32_t)sizeof info, .score = 100, .reason = "plain C, one thread, double accumulation"};
    snprintf(info.name, sizeof info.name, "reference");
    memcpy(out, &info, out->size && out->size < sizeof info ? out->size : sizeof info);
    return GRAFT_OK;
}

/* The element types of the floating inputs. */
static uint32_t claimed_types(const ref_op *op)
{
    const uint32_t few = 1u << GRAFT_F32 | 1u << GRAFT_BF16 | 1u << GRAFT_F16, stored = few | 1u << GRAFT_Q4_0 | 1u << GRAFT_Q4_1 | 1u << GRAFT_Q8_0 | 1u << GRAFT_NF4 | 1u << GRAFT_NF4_DOUBLE | 1u << GRAFT_INT8;
    uint32_t types = 1u << GRAFT_F32;
    for (const char *c = op->in; *c; c++) types |= *c == 'w' || *c == 'W' || *c == 'x' ? stored : *c == 'v' || *c == 'V' || *c == 'a' ? few
                                                                                                                                      : 0;
    return types;
}

static graft_status ref_open(void *self, int32_t device, const graft_config *options, void **dev, graft_error *err)
{
    const graft_host *host = self;
    int64_t top = 1;
    int tier;
    int32_t n = 0;
    if (device != 0) return host->fail(err, GRAFT_BAD_INPUT, "reference", "the only device is number 0, found %d", (int)device);
    if (options) {
        (void)options->api->integer(options, "threads", 0, 0, INT32_MAX);
        top = options->api->integer(options, "tier", 1, 0, 1);
    }
    while (ref_op_at(n, &tier) && tier <= top) n++;
    ref_device *d = host->alloc(host->ctx, sizeof *d, _Alignof(ref_device));
    graft_op_claim *claims = host->alloc(host->ctx, (size_t)n * sizeof *claims, _Alignof(graft_op_claim));
    if (!d || !claims) {
        host->release(host->ctx, d);
        host->release(host->ctx, claims);
        return host->fail(err, GRAFT_NO_MEMORY, "reference", "no memory to open the device");
    }
    for (int32_t i = 0; i < n; i++) {
        const ref_op *op = ref_op_at(i, &tier);
        claims[i] = (graft_op_claim){graft_op_id(op->name), claimed_types(op), 1};
    }
    *d = (ref_device){host, claims, n};
    *dev = d;
    return GRAFT_OK;
}

static void ref_close(void *dev)
{
    ref_device *d = dev;
    const graft_host *host = d->host;
    host->release(host->ctx, d->claims);
    host->release(host->ctx, d);
}

static const graft_op_claim *ref_ops(void *dev, int32_t *n)
{
    const ref_device *d = dev;
    *n = d->n_claims;
    return d->claims;
}

static graft_status ref_alloc(void *dev, int64_t bytes, void **buffer, graft_error *err)
{
    const graft_host *host = ((ref_device *)dev)->host;
    if (bytes < 0) return host->fail(err, GRAFT_INTERNAL, "reference", "a buffer of %lld bytes was asked for", (long long)bytes);
    ref_buffer *b = host->alloc(host->ctx, sizeof *b, _Alignof(ref_buffer));
    void *data = host->alloc(host->ctx, bytes ? (size_t)bytes : 1, 64);
    if (!b || !data) {
        host->release(host->ctx, b);
        host->release(host->ctx, data);
        return host->fail(err, GRAFT_NO_MEMORY, "reference", "no memory for a buffer of %lld bytes", (long long)bytes);
    }
    memset(data, 0, (size_t)bytes);
    *b = (ref_buffer){bytes, data};
    *buffer = b;
    return GRAFT_OK;
}

static void ref_release(void *dev, void *buffer)
{
    const graft_host *host = ((ref_device *)dev)->host;
    ref_buffer *b = buffer;
    if (!b) return;
    host->release(host->ctx, b->data);
    host->release(host->ctx, b);
}

static graft_status inside(const graft_host *host, const ref_buffer *b, int64_t offset, int64_t bytes, graft_error *err)
{
    if (offset >= 0 && bytes >= 0 && offset <= b->bytes && bytes <= b->bytes - offset) return GRAFT_OK;
    return host->fail(err, GRAFT_INTERNAL, "reference", "%lld bytes at %lld are outside a buffer of %lld bytes", (long long)bytes, (long long)offset, (long long)b->bytes);
}

static graft_status ref_upload(void *dev, void *buffer, int64_t offset, const void *from, int64_t bytes, graft_error *err)
{
    const ref_buffer *b = buffer;
    const graft_status s = inside(((ref_device *)dev)->host, b, offset, bytes, err);
    if (s == GRAFT_OK && bytes) memcpy((char *)b->data + offset, from, (size_t)bytes);
    return s;
}

static graft_status ref_download(void *dev, const void *buffer, int64_t offset, void *to, int64_t bytes, graft_error *err)
{
    const ref_buffer *b = buffer;
    const graft_status s = inside(((ref_device *)dev)->host, b, offset, bytes, err);
    if (s == GRAFT_OK && bytes) memcpy(to, (const char *)b->data + offset, (size_t)bytes);
    return s;
}

static graft_status ref_sync(void *dev, graft_error *err)
{
    (void)dev, (void)err; /* run has done everything when it returns */
    return GRAFT_OK;
}

static const graft_backend_table table = {
    .size = sizeof table,
    .devices = ref_devices,
    .open = ref_open,
    .close = ref_close,
    .ops = ref_ops,
    .alloc = ref_alloc,
    .release = ref_release,
    .upload = ref_upload,
    .download = ref_download,
    .compile = ref_compile,
    .discard = ref_discard,
    .run = ref_run,
    .sync = ref_sync,
    .workspace = ref_workspace,
};

GRAFT_ONE_TABLE("backend", "graft.backend/1", "reference", "1.0.0", &table)
