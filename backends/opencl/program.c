/* backends/opencl/program.c - kernels: one program a family, built when a plan first needs it, and kept as the driver's binary in
 * $XDG_CACHE_HOME/graft/opencl/FAMILY-KEY.bin (~/.cache/...). KEY hashes the text, the options, the device's name and the versions of device and driver.
 *
 *   file: [8 bytes "graftcl1"][u64 hash of the rest][u64 bytes of the binary][binary]
 *
 * A file that is cut, changed or refused by the driver is as good as none: the text is built and the file written anew, by rename. */
#include "opencl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_ROOM = 1024,
       HEAD = 24,
       MOST_BINARY = 256 << 20 };

static const ocl_family family_of[OCL_KERNEL_COUNT] = {
#define OCL_KERNEL_FAMILY_(name, family) OCL_##family,
    OCL_KERNELS(OCL_KERNEL_FAMILY_)};
static const char *const name_of[OCL_KERNEL_COUNT] = {
#define OCL_KERNEL_NAME_(name, family) #name,
    OCL_KERNELS(OCL_KERNEL_NAME_)};

/* FNV-1a, 64 bits. */
static uint64_t hash(uint64_t h, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 1099511628211ull;
    return h;
}

/* ---- the kept binary ---------------------------------------------------------------------------------------------------------------------- */
/* Makes the folders of path, which is absolute. */
static void make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(path, 0700);
        *slash = '/';
    }
}

/* 0: there is no place to keep it. */
static int cache_path(const ocl_device *d, ocl_family f, const char *options, char *out)
{
    const char *base = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
    const int own = base && base[0] == '/';
    if (!own && (!home || home[0] != '/')) return 0;
    uint64_t key[2] = {14695981039346656037ull, 0x243F6A8885A308D3ull};
    const char *parts[] = {ocl_source_common, ocl_sources[f], options, d->name, d->version};
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) key[k] = hash(key[k], parts[i], strlen(parts[i]) + 1);
    }
    const int n = snprintf(out, PATH_ROOM, "%s%s/graft/opencl/%s-%016llx%016llx.bin", own ? base : home, own ? "" : "/.cache", ocl_family_names[f], (unsigned long long)key[0],
                           (unsigned long long)key[1]);
    return n > 0 && n < PATH_ROOM;
}

static int read_all(int file, unsigned char *to, size_t bytes)
{
    while (bytes > 0) {
        const ssize_t n = read(file, to, bytes);
        if (n <= 0) return -1;
        to += n, bytes -= (size_t)n;
    }
    return 0;
}

static int write_all(int file, const unsigned char *from, size_t bytes)
{
    while (bytes > 0) {
        const ssize_t n = write(file, from, bytes);
        if (n <= 0) return -1;
        from += n, bytes -= (size_t)n;
    }
    return 0;
}

/* The whole file, checked; NULL when there is none that is good. Released by the caller. */
static unsigned char *recall(const ocl_device *d, const char *path, size_t *bytes)
{
    struct stat about;
    unsigned char *data = NULL;
    uint64_t sum, size;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return NULL;
    if (fstat(file, &about) || !S_ISREG(about.st_mode) || about.st_size <= HEAD || about.st_size > MOST_BINARY) goto out;
    *bytes = (size_t)about.st_size;
    data = d->host->alloc(d->host->ctx, *bytes, 16);
    if (!data) goto out;
    int good = read_all(file, data, *bytes) == 0 && !memcmp(data, "graftcl1", 8);
    memcpy(&sum, data + 8, 8);
    memcpy(&size, data + 16, 8);
    good = good && size == *bytes - HEAD && sum == hash(14695981039346656037ull, data + 16, *bytes - 16);
    if (!good) {
        d->host->release(d->host->ctx, data);
        data = NULL;
    }
out:
    close(file);
    return data;
}

/* Keeps the binary of a program; what goes wrong here costs only the next start its time. */
static void keep(const ocl_device *d, cl_program program, char *path)
{
    size_t size = 0;
    char other[PATH_ROOM + 32];
    if (d->cl->clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) != CL_SUCCESS || size == 0 || size > MOST_BINARY - HEAD) return;
    unsigned char *data = d->host->alloc(d->host->ctx, HEAD + size, 16), *binary = data ? data + HEAD : NULL;
    if (!data) return;
    if (d->cl->clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS) {
        const uint64_t wide = size;
        memcpy(data, "graftcl1", 8);
        memcpy(data + 16, &wide, 8);
        const uint64_t sum = hash(14695981039346656037ull, data + 16, size + 8);
        memcpy(data + 8, &sum, 8);
        make_folders(path);
        snprintf(other, sizeof other, "%s.%ld", path, (long)getpid());
        const int file = open(other, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (file >= 0) {
            const int bad = write_all(file, data, HEAD + size) || fsync(file);
            if (close(file) || bad || rename(other, path)) (void)unlink(other);
        }
    }
    d->host->release(d->host->ctx, data);
}

/* ---- building ----------------------------------------------------------------------------------------------------------------------------------- */
/* NULL: no kept binary that the driver takes. */
static cl_program from_binary(const ocl_device *d, const char *path, const char *options)
{
    size_t bytes = 0;
    unsigned char *data = recall(d, path, &bytes);
    if (!data) return NULL;
    const size_t size = bytes - HEAD;
    const unsigned char *binary = data + HEAD;
    cl_int status = CL_SUCCESS, code = CL_SUCCESS;
    cl_program p = d->cl->clCreateProgramWithBinary(d->context, 1, &d->id, &size, &binary, &status, &code);
    if (p && (code != CL_SUCCESS || status != CL_SUCCESS || d->cl->clBuildProgram(p, 1, &d->id, options, NULL, NULL) != CL_SUCCESS)) {
        d->cl->clReleaseProgram(p);
        p = NULL;
    }
    d->host->release(d->host->ctx, data);
    return p;
}

/* The first line of the compiler's log that says something. */
static graft_status build_failed(const ocl_device *d, cl_program p, ocl_family f, cl_int code, graft_error *err)
{
    char log[400] = "", *from = log;
    if (p && d->cl->clGetProgramBuildInfo(p, d->id, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, NULL) != CL_SUCCESS) log[0] = 0;
    log[sizeof log - 1] = 0;
    while (*from == '\n' || *from == ' ') from++;
    from[strcspn(from, "\n")] = 0;
    return d->host->fail(err, GRAFT_DEVICE, "opencl", "the kernels of family %s do not build on %s (%s, %d%s%s); choose another backend or a newer driver", ocl_family_names[f],
                         d->name, ocl_error_name(code), (int)code, *from ? "): " : "", *from ? from : ")");
}

static graft_status make_kernels(ocl_device *d, ocl_family f, graft_error *err)
{
    for (int k = 0; k < OCL_KERNEL_COUNT; k++) {
        cl_int code = CL_SUCCESS;
        if (family_of[k] != f || d->kernels[k]) continue;
        d->kernels[k] = d->cl->clCreateKernel(d->programs[f], name_of[k], &code);
        if (code != CL_SUCCESS) {
            d->kernels[k] = NULL;
            return ocl_failed(d, code, name_of[k], err);
        }
    }
    return GRAFT_OK;
}

/* The program of a family as its lanes and matmul's side are now. */
static graft_status make_program(ocl_device *d, ocl_family f, graft_error *err)
{
    char options[128], path[PATH_ROOM];
    cl_int code = CL_SUCCESS;
    snprintf(options, sizeof options, "-cl-std=CL1.2 -DF64=%d -DLANES=%d -DSIDE=%d -DCPU=%d", d->wide, d->lanes[f], f == OCL_MATMUL ? d->side : 1, d->processor);
    const int place = cache_path(d, f, options, path);
    cl_program p = place ? from_binary(d, path, options) : NULL;
    if (!p) {
        const char *texts[] = {ocl_source_common, ocl_sources[f]};
        p = d->cl->clCreateProgramWithSource(d->context, 2, texts, NULL, &code);
        if (!p || code != CL_SUCCESS) return ocl_failed(d, code ? code : CL_OUT_OF_HOST_MEMORY, "clCreateProgramWithSource", err);
        code = d->cl->clBuildProgram(p, 1, &d->id, options, NULL, NULL);
        if (code != CL_SUCCESS) {
            const graft_status status = build_failed(d, p, f, code, err);
            d->cl->clReleaseProgram(p);
            return status;
        }
        if (place) keep(d, p, path);
    }
    d->programs[f] = p;
    return make_kernels(d, f, err);
}

static void drop_family(ocl_device *d, ocl_family f)
{
    for (int k = 0; k < OCL_KERNEL_COUNT; k++) {
        if (family_of[k] != f || !d->kernels[k]) continue;
        d->cl->clReleaseKernel(d->kernels[k]);
        d->kernels[k] = NULL;
    }
    if (d->programs[f]) d->cl->clReleaseProgram(d->programs[f]);
    d->programs[f] = NULL;
}

/* 0 when the driver does not say. */
static int64_t kernel_int(const ocl_device *d, int k, cl_uint what)
{
    uint64_t v = 0; /* size_t or cl_ulong: 8 bytes */
    return d->cl->clGetKernelWorkGroupInfo(d->kernels[k], d->id, what, sizeof v, &v, NULL) == CL_SUCCESS && v < INT64_MAX ? (int64_t)v : 0;
}

/* What the compiler made of a kernel may need more registers or local memory than a group of this size has: *half. Or it works in larger units: *larger. */
static void ask_kernels(const ocl_device *d, ocl_family f, int *half, int *larger)
{
    int64_t limit = d->most, unit = 0;
    for (int k = 0; k < OCL_KERNEL_COUNT; k++) {
        if (family_of[k] != f) continue;
        const int64_t items = k == OCL_K_gemm ? (int64_t)d->side * d->side : d->lanes[f];
        const int64_t most = kernel_int(d, k, CL_KERNEL_WORK_GROUP_SIZE), local = kernel_int(d, k, CL_KERNEL_LOCAL_MEM_SIZE), each = kernel_int(d, k, CL_KERNEL_PREFERRED_WORK_GROUP_SIZE_MULTIPLE);
        *half |= items > 1 && ((most && most < items) || local > d->local_bytes);
        if (most && most < limit) limit = most;
        if (each > unit) unit = each;
    }
    *larger = unit > d->lanes[f] && unit <= limit && unit <= 256 && (unit & (unit - 1)) == 0 ? (int)unit : 0;
}

/* Builds until the groups suit the kernels: a few times at most, and each result is kept on disk. */
graft_status ocl_family_need(ocl_device *d, ocl_family f, graft_error *err)
{
    graft_status status = d->programs[f] ? make_kernels(d, f, err) : GRAFT_OK;
    for (int changed = 0; !status && !d->programs[f];) {
        int half = 0, larger = 0;
        status = make_program(d, f, err);
        if (status) break;
        ask_kernels(d, f, &half, &larger);
        if (half) {
            if (d->lanes[f] > 1) d->lanes[f] /= 2;
            if (f == OCL_MATMUL && d->side > 1) d->side /= 2;
        } else if (larger && !changed) d->lanes[f] = larger;
        else break;
        changed = 1;
        drop_family(d, f);
    }
    d->tile_rows = d->processor ? 64 : 4 * d->side, d->tile_cols = d->processor ? 32 : 4 * d->side; /* as in matmul.cl */
    return status;
}

void ocl_families_drop(ocl_device *d)
{
    for (int f = 0; f < OCL_FAMILIES; f++) drop_family(d, (ocl_family)f);
}

ocl_family ocl_family_of(ocl_kernel k) { return family_of[k]; }
