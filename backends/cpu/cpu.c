/* cpu.c - the door of the cpu backend: its device, its buffers. Options: threads (default: processors of this process),
 * isa (scalar, avx2, avx512; default: the best that runs here), pin (1: each worker stays on one processor), profile. */
#include "cpu.h"

#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

/* From 1 MiB up memory is mapped at a 2 MiB border and offered for huge pages: first touch and address translation are several times cheaper. */
void *cpu_take(const graft_host *host, int64_t bytes, int *mapped)
{
    *mapped = bytes >= HUGE_PAGE / 2;
    if (bytes < 0 || (uint64_t)bytes > SIZE_MAX / 2) return NULL;
    if (!*mapped) {
        void *p = host->alloc(host->ctx, bytes ? (size_t)bytes : 1, 64);
        if (p) memset(p, 0, (size_t)bytes);
        return p;
    }
    const size_t length = ((size_t)bytes + HUGE_PAGE - 1) & ~(size_t)(HUGE_PAGE - 1);
    char *raw = mmap(NULL, length + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) return NULL;
    char *base = (char *)(((uintptr_t)raw + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    if (base > raw) munmap(raw, (size_t)(base - raw));
    if (base + length < raw + length + HUGE_PAGE) munmap(base + length, (size_t)(raw + HUGE_PAGE - base));
    madvise(base, length, MADV_HUGEPAGE);
    return base;
}

void cpu_give(const graft_host *host, void *data, int64_t bytes, int mapped)
{
    if (!data) return;
    if (mapped) munmap(data, ((size_t)bytes + HUGE_PAGE - 1) & ~(size_t)(HUGE_PAGE - 1));
    else host->release(host->ctx, data);
}

static graft_status devices(void *self, graft_device_info *out, int32_t room, int32_t *n, graft_error *err)
{
    (void)self, (void)err;
    *n = 0;
    if (room < 1) return GRAFT_OK;
#if defined(__aarch64__)
    static const int scores[] = {200};
    static const char *const reasons[] = {"NEON kernels"};
#else
    static const int scores[] = {110, 200, 250};
    static const char *const reasons[] = {"portable vector code: no AVX2 and FMA here", "AVX2 and FMA kernels", "AVX-512 kernels"};
#endif
    const cpu_isa isa = cpu_best_isa();
    const uint32_t size = out->size ? out->size : (uint32_t)sizeof *out;
    graft_device_info d = {.size = (uint32_t)sizeof d, .score = scores[isa]};
    cpu_model_name(d.name, sizeof d.name);
    cpu_memory(&d.memory_total, &d.memory_free);
    memcpy(d.reason, reasons[isa], strlen(reasons[isa]) + 1);
    memcpy(out, &d, size < sizeof d ? size : sizeof d);
    *n = 1;
    return GRAFT_OK;
}

static void close_device(void *dev)
{
    cpu_device *d = dev;
    if (!d) return;
    const graft_host *h = d->host;
    if (d->work) cpu_give(h, d->work, d->work_bytes, d->work_mapped);
    if (d->scratch) cpu_give(h, d->scratch, d->scratch_bytes * cpu_pool_threads(d->pool), d->scratch_mapped);
    cpu_pool_free(d->pool);
    for (int32_t i = 0; i < d->n_buffers; i++) cpu_give(h, d->buffers[i].data, d->buffers[i].bytes, d->buffers[i].mapped);
    h->release(h->ctx, d->buffers);
    h->release(h->ctx, d->claims);
    h->release(h->ctx, (void *)(uintptr_t)d->ops);
    h->release(h->ctx, d);
}

static graft_status choose_isa(const graft_host *h, const char *word, cpu_isa *isa, graft_error *err)
{
    *isa = cpu_best_isa();
    if (!word) return GRAFT_OK;
    for (int i = CPU_SCALAR; i < CPU_ISAS; i++) {
        if (strcmp(word, cpu_isa_name((cpu_isa)i))) continue;
        if (i > (int)*isa) return h->fail(err, GRAFT_UNSUPPORTED, "isa", "isa %s does not run here; the best is %s", word, cpu_isa_name(*isa));
        *isa = (cpu_isa)i;
        return GRAFT_OK;
    }
    return h->fail(err, GRAFT_BAD_INPUT, "isa", "expected isa scalar, avx2 or avx512, found \"%s\"", word);
}

/* What the processor has and this instruction set's kernels were built for. */
static uint32_t compute_bits(const cpu_kernels *k)
{
    uint32_t bits = 0;
    for (int i = 0; i < CPU_COMPUTES; i++)
        if (cpu_processor_compute() & 1u << i && k->spin((cpu_compute)i, 0, NULL) >= 0.0) bits |= 1u << i;
    return bits;
}

/* The claims: every op of every family but those that only fusion makes. */
static int list_ops(cpu_device *d)
{
    int32_t n = 0;
    for (const cpu_op *const *f = d->kernels->families; *f; f++)
        for (const cpu_op *op = *f; op->name; op++) n++;
    d->claims = d->host->alloc(d->host->ctx, (size_t)n * sizeof *d->claims, 16);
    d->ops = d->host->alloc(d->host->ctx, (size_t)n * sizeof *d->ops, 16);
    if (!d->claims || !d->ops) return -1;
    for (const cpu_op *const *f = d->kernels->families; *f; f++)
        for (const cpu_op *op = *f; op->name; op++) {
            if (op->name[0] == '.') continue;
            d->claims[d->n_claims] = (graft_op_claim){graft_op_id(op->name), op->dtypes, d->compute};
            d->ops[d->n_claims++] = op;
        }
    return 0;
}

static graft_status open_device(void *self, int32_t device, const graft_config *options, void **dev, graft_error *err)
{
    const graft_host *h = self;
    if (device != 0) return h->fail(err, GRAFT_BAD_INPUT, NULL, "expected cpu device 0, found %d", device);
    const int threads = options ? (int)options->api->integer(options, "threads", cpu_count(), 1, CPU_MAX_THREADS) : cpu_count();
    const int pin = options ? graft_flag(options, "pin", 1) : 1;
    cpu_isa isa;
    const graft_status status = choose_isa(h, options ? graft_text(options, "isa", NULL) : NULL, &isa, err);
    if (status != GRAFT_OK) return status;
    cpu_device *d = h->alloc(h->ctx, sizeof *d, 64);
    if (!d) return h->fail(err, GRAFT_NO_MEMORY, NULL, "the cpu backend found no memory for its device");
    memset(d, 0, sizeof *d);
    d->host = h;
    d->kernels = cpu_kernels_of(isa);
    d->compute = compute_bits(d->kernels);
    d->profile = options ? graft_flag(options, "profile", 0) : 0;
    d->pool = cpu_pool_new(h, threads, pin && threads <= cpu_count());
    if (!d->pool || list_ops(d)) {
        close_device(d);
        return h->fail(err, GRAFT_NO_MEMORY, NULL, "the cpu backend could not start %d threads; give a smaller number of threads", threads);
    }
    *dev = d;
    return GRAFT_OK;
}

static const graft_op_claim *ops(void *dev, int32_t *n)
{
    const cpu_device *d = dev;
    *n = d->n_claims;
    return d->claims;
}

static graft_status alloc_buffer(void *dev, int64_t bytes, void **buffer, graft_error *err)
{
    cpu_device *d = dev;
    const graft_host *h = d->host;
    if (d->n_buffers == d->room_buffers) {
        const int32_t room = d->room_buffers ? 2 * d->room_buffers : 16;
        cpu_buffer *more = h->alloc(h->ctx, (size_t)room * sizeof *more, 16);
        if (!more) return h->fail(err, GRAFT_NO_MEMORY, NULL, "the cpu backend found no memory for its list of buffers");
        if (d->n_buffers) memcpy(more, d->buffers, (size_t)d->n_buffers * sizeof *more);
        h->release(h->ctx, d->buffers);
        d->buffers = more;
        d->room_buffers = room;
    }
    cpu_buffer b = {.bytes = bytes};
    b.data = cpu_take(h, bytes, &b.mapped);
    if (!b.data) return h->fail(err, GRAFT_NO_MEMORY, NULL, "the cpu backend found no memory for %lld bytes", (long long)bytes);
    d->buffers[d->n_buffers++] = b;
    *buffer = b.data;
    return GRAFT_OK;
}

static void release_buffer(void *dev, void *buffer)
{
    cpu_device *d = dev;
    for (int32_t i = 0; i < d->n_buffers; i++) {
        if (d->buffers[i].data != buffer) continue;
        cpu_give(d->host, buffer, d->buffers[i].bytes, d->buffers[i].mapped);
        d->buffers[i] = d->buffers[--d->n_buffers];
        return;
    }
}

static graft_status upload(void *dev, void *buffer, int64_t offset, const void *from, int64_t bytes, graft_error *err)
{
    (void)dev, (void)err;
    if (bytes > 0) memcpy((char *)buffer + offset, from, (size_t)bytes);
    return GRAFT_OK;
}

static graft_status download(void *dev, const void *buffer, int64_t offset, void *to, int64_t bytes, graft_error *err)
{
    (void)dev, (void)err;
    if (bytes > 0) memcpy(to, (const char *)buffer + offset, (size_t)bytes);
    return GRAFT_OK;
}

static graft_status sync_device(void *dev, graft_error *err)
{
    (void)dev, (void)err;
    return GRAFT_OK;
}

static const graft_backend_table cpu_table = {
    .size = (uint32_t)sizeof(graft_backend_table),
    .devices = devices,
    .open = open_device,
    .close = close_device,
    .ops = ops,
    .alloc = alloc_buffer,
    .release = release_buffer,
    .upload = upload,
    .download = download,
    .compile = cpu_compile,
    .discard = cpu_discard,
    .run = cpu_run,
    .sync = sync_device,
    .workspace = cpu_workspace,
};

static graft_status init(const graft_host *host, void **self, graft_error *err)
{
    (void)err;
    *self = (void *)(uintptr_t)host;
    return GRAFT_OK;
}
static void fini(void *self) { (void)self; }
static const void *table(void *self, const char *id)
{
    (void)self;
    if (!strcmp(id, "graft.backend/1")) return &cpu_table;
    return strcmp(id, "graft.backend.probe/1") ? NULL : &cpu_probe_table;
}

GRAFT_PLUGIN("backend", "cpu", "1.1.0", init, fini, table)
