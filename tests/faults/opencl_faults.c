/* tests/faults/opencl_faults.c - the OpenCL backend over a driver that computes nothing and fails on demand: every call in turn, no device, no memory,
 * kernels that do not build, a device that is lost, a spoilt cache. Each time one sentence, and nothing left behind. */
#include "tests/backends/device.h"
#include "tests/backends/overlap.h"
#include "tests/faults/opencl.h"

#include "core/base/file.h"

#include <dirent.h>
#include <unistd.h>

/* ---- a host that counts ------------------------------------------------------------------------------------------------------------------ */
static int64_t blocks;
static void *count_alloc(void *ctx, size_t bytes, size_t align)
{
    blocks++;
    return host_alloc(ctx, bytes, align);
}
static void count_release(void *ctx, void *p)
{
    if (p) blocks--;
    host_release(ctx, p);
}
static void no_log(void *ctx, int level, const char *sentence) { (void)ctx, (void)level, (void)sentence; }
static const graft_host counting = {(uint32_t)sizeof(graft_host), GRAFT_ABI_MAJOR << 16, NULL, count_alloc, count_release, no_log, host_fail};

static fake_cl *fake;
static char cache[256];

/* The fake driver becomes the library that is already open under the name libOpenCL.so.1. */
static void begin(void)
{
    void *library = dlopen(GRAFT_BINARY_DIR "/tests/faults/libOpenCL.so.1", RTLD_NOW | RTLD_GLOBAL);
    ck_assert_msg(library != NULL, "%s", dlerror());
    void *symbol = dlsym(library, "fake_cl_state");
    fake_cl *(*get)(void);
    memcpy(&get, &symbol, sizeof get);
    fake = get();
    snprintf(cache, sizeof cache, "/tmp/graft-faults-XXXXXX");
    ck_assert(mkdtemp(cache) != NULL);
    setenv("XDG_CACHE_HOME", cache, 1);
    blocks = 0;
}

static void end(void)
{
    graft_error err = {.size = (uint32_t)sizeof err};
    ck_assert_int_eq(fake->live, 0);
    ck_assert_int_eq(fake->used, 0);
    ck_assert_int_eq(blocks, 0);
    ck_assert_int_eq(graft_path_remove(cache, &err), GRAFT_OK);
}

/* ---- a program that touches every family --------------------------------------------------------------------------------------------------- */
enum { T = 5,
       D = 8,
       V = 11,
       MOST = 40 };
typedef struct work {
    graft_tensor tensors[MOST];
    graft_instr instrs[16];
    int32_t lists[256], n_tensors, n_instrs, n_lists;
    int64_t bytes;
} work;

static int32_t tensor(work *w, graft_dtype type, int rank, int64_t d0, int64_t d1)
{
    graft_tensor *t = &w->tensors[w->n_tensors];
    *t = (graft_tensor){.dtype = type, .place = GRAFT_PLACE_STATE, .rank = rank, .dims = {d0, d1}, .offset = w->bytes, .bytes = d0 * (rank > 1 ? d1 : 1) * 4, .name = "t"};
    w->bytes += (t->bytes + 63) / 64 * 64;
    return w->n_tensors++;
}

static void add(work *w, const char *op, int n_in, const int32_t *in, int n_out, const int32_t *out, int n_attr, const graft_attr *attr)
{
    int32_t *a = w->lists + w->n_lists, *b = a + n_in;
    memcpy(a, in, (size_t)n_in * sizeof *in);
    memcpy(b, out, (size_t)n_out * sizeof *out);
    w->n_lists += n_in + n_out;
    w->instrs[w->n_instrs++] = (graft_instr){graft_op_id(op), op, n_in, n_out, n_attr, a, b, attr};
}

#define LIST(...) ((const int32_t[]){__VA_ARGS__})
static void make(work *w)
{
    static const graft_attr heads[] = {GRAFT_INTA("heads", 2), GRAFT_INTA("kv_heads", 1), GRAFT_INTA("window", 0), GRAFT_REALA("scale", 1.0), GRAFT_REALA("softcap", 0.0)};
    static const graft_attr product[] = {GRAFT_INTA("trans_a", 0), GRAFT_INTA("trans_b", 1), GRAFT_REALA("alpha", 1.0)};
    static const graft_attr loss[] = {GRAFT_REALA("softcap", 0.0), GRAFT_REALA("scale", 1.0)}, eps[] = {GRAFT_REALA("plus", 0.0)}, axis[] = {GRAFT_INTA("axis", 1)}, decay[] = {GRAFT_INTA("decay", 1)};
    memset(w, 0, sizeof *w);
    const int32_t x = tensor(w, GRAFT_F32, 2, T, D), half = tensor(w, GRAFT_F32, 2, T, D / 2), y = tensor(w, GRAFT_F32, 2, T, D), row = tensor(w, GRAFT_F32, 2, T, 1);
    const int32_t head = tensor(w, GRAFT_F32, 2, V, D), ids = tensor(w, GRAFT_I32, 1, T, 0), seq = tensor(w, GRAFT_I32, 2, 1, 4), lse = tensor(w, GRAFT_F32, 2, T, 2);
    const int32_t weight = tensor(w, GRAFT_F32, 1, D, 0), logits = tensor(w, GRAFT_F32, 2, T, V), one = tensor(w, GRAFT_F32, 1, 1, 0), per = tensor(w, GRAFT_F32, 1, T, 0);
    const int32_t hyper = tensor(w, GRAFT_F32, 1, 8, 0);
    add(w, "gather/1", 2, LIST(head, ids), 1, LIST(x), 0, NULL);
    add(w, "matmul/1", 2, LIST(x, head), 1, LIST(logits), 3, product);
    add(w, "attention/1", 4, LIST(x, half, half, seq), 2, LIST(y, lse), 5, heads);
    add(w, "attention_grad/1", 9, LIST(x, half, half, seq, -1, -1, y, lse, x), 3, LIST(y, half, half), 5, heads);
    add(w, "rms_norm_grad/1", 4, LIST(x, weight, row, y), 2, LIST(y, weight), 1, eps);
    add(w, "sum/1", 1, LIST(x), 1, LIST(row), 1, axis);
    add(w, "linear_cross_entropy_train/1", 4, LIST(x, head, ids, per), 4, LIST(one, per, y, head), 2, loss);
    add(w, "sum_squares/1", 1, LIST(x), 1, LIST(one), 0, NULL);
    add(w, "scatter_add/1", 3, LIST(head, x, ids), 1, LIST(head), 0, NULL);
    add(w, "adamw/1", 5, LIST(x, y, y, y, hyper), 3, LIST(x, y, y), 1, decay);
}

typedef struct session {
    const graft_backend_table *table;
    const graft_backend_async_table *async;
    void *dev, *buffer, *plan, *pinned, *event;
} session;

/* Everything that a training run does with the driver. Stops at the first failure. */
static graft_status use(session *s, void *self, int32_t number, const work *w, graft_error *err)
{
    graft_device_info info[8] = {{.size = (uint32_t)sizeof info[0]}};
    char bytes[64] = {0};
    int32_t n = 0;
    graft_status status = s->table->devices(self, info, 8, &n, err);
    if (!status) status = s->table->open(self, number, NULL, &s->dev, err);
    if (!status) status = s->table->alloc(s->dev, w->bytes, &s->buffer, err);
    if (!status) status = s->table->upload(s->dev, s->buffer, 0, bytes, sizeof bytes, err);
    if (status) return status;
    graft_program p = {.size = (uint32_t)sizeof p, .n_tensors = w->n_tensors, .n_instrs = w->n_instrs, .tensors = w->tensors, .instrs = w->instrs, .compute = 1};
    p.place_bytes[GRAFT_PLACE_STATE] = w->bytes;
    status = s->table->compile(s->dev, &p, &s->plan, err);
    if (status) return status;
    void *places[GRAFT_PLACES] = {NULL};
    places[GRAFT_PLACE_STATE] = s->buffer;
    const graft_run r = {.size = (uint32_t)sizeof r, .places = places, .training = 1};
    status = s->table->run(s->plan, &r, err);
    if (!status) status = s->table->sync(s->dev, err);
    if (!status) status = s->table->download(s->dev, s->buffer, 0, bytes, sizeof bytes, err);
    if (!status) status = s->async->pin(s->dev, 64, &s->pinned, err);
    if (!status) status = s->async->send(s->dev, 1, s->buffer, 0, s->pinned, 64, err);
    if (!status) status = s->async->record(s->dev, 1, &s->event, err);
    if (!status) status = s->async->wait(s->dev, 0, s->event, err);
    if (!status) status = s->async->copy(s->dev, 0, s->buffer, 0, s->buffer, 64, 64, err);
    if (!status) status = s->async->fetch(s->dev, 1, s->buffer, 0, s->pinned, 64, err);
    if (!status) status = s->async->finish(s->dev, s->event, err);
    if (!status && s->async->done(s->dev, s->event) != 1) status = host_fail(err, GRAFT_DEVICE, "", "the event did not happen");
    return status;
}

static void leave(session *s)
{
    if (s->event) s->async->drop(s->dev, s->event);
    if (s->pinned) s->async->unpin(s->dev, s->pinned);
    if (s->plan) s->table->discard(s->plan);
    if (s->buffer) s->table->release(s->dev, s->buffer);
    if (s->dev) s->table->close(s->dev);
}

/* From init to fini. */
static graft_status whole_run(int32_t number, graft_error *err)
{
    work w;
    session s = {.table = NULL};
    void *self = NULL;
    const graft_plugin *door = door_of("opencl")();
    *err = (graft_error){.size = (uint32_t)sizeof *err};
    make(&w);
    ck_assert_int_eq(door->init(&counting, &self, err), GRAFT_OK);
    s.table = door->table(self, "graft.backend/1"), s.async = door->table(self, "graft.backend.async/1");
    const graft_status status = use(&s, self, number, &w, err);
    leave(&s);
    door->fini(self);
    return status;
}

static void is_sentence(const graft_error *err, const char *what)
{
    ck_assert_msg(strlen(err->message) > 20 && !strchr(err->message, '\n'), "%s: \"%s\" is no sentence", what, err->message);
}

/* ---- tests --------------------------------------------------------------------------------------------------------------------------------------- */
START_TEST(every_call_fails_in_turn)
{
    static const int32_t codes[] = {-4, -5, -6, -36};
    graft_error err;
    begin();
    ck_assert_msg(whole_run(0, &err) == GRAFT_OK, "%s", err.message);
    ck_assert_int_gt(fake->launches, 12);
    for (int c = 0; c < 4; c++) {
        int64_t n = 0, reported = 0, survived = 0;
        fake->fail_code = codes[c];
        do {
            fake->fail_at = ++n, fake->calls = 0, fake->failed = NULL;
            const graft_status status = whole_run(0, &err);
            const char *name = fake->failed;
            if (status) is_sentence(&err, name), reported++;
            else survived += name != NULL;
            ck_assert_msg(fake->live == 0 && fake->used == 0 && blocks == 0, "call %lld (%s) failed and left %lld objects, %lld bytes, %lld blocks", (long long)n, name ? name : "none",
                          (long long)fake->live, (long long)fake->used, (long long)blocks);
            /* releases and questions may fail in silence; work may not */
            const int must = name && (!strncmp(name, "clEnqueue", 9) || !strncmp(name, "clCreate", 8) || !strcmp(name, "clSetKernelArg")) && strcmp(name, "clCreateProgramWithBinary") != 0 &&
                             strcmp(name, "clEnqueueUnmapMemObject") != 0;
            ck_assert_msg(!must || status != GRAFT_OK, "%s failed and the run went on", name ? name : "");
        } while (fake->failed);
        printf("code %d: %lld calls failed in turn, %lld reported, %lld without harm\n", codes[c], (long long)n - 1, (long long)reported, (long long)survived);
        ck_assert_int_gt(reported, 100);
    }
    end();
}
END_TEST

/* The host's own use of the second queue: inputs sent ahead, answers fetched behind. 3 rounds, 2 under way. */
static graft_status whole_overlap(graft_error *err)
{
    static float answers[3 * OVERLAP_N];
    overlap_rig r = {NULL, NULL, NULL};
    graft_device d = {.name = "opencl"};
    void *self = NULL;
    const graft_plugin *door = door_of("opencl")();
    *err = (graft_error){.size = (uint32_t)sizeof *err};
    ck_assert_int_eq(door->init(&counting, &self, err), GRAFT_OK);
    d.table = door->table(self, "graft.backend/1"), d.async = door->table(self, "graft.backend.async/1");
    graft_status status = d.table->open(self, 0, NULL, &d.dev, err);
    if (!status) status = overlap_open(&r, &d, err);
    if (!status) status = overlap_use(&r, 3, answers, err);
    if (d.dev) ck_assert_int_eq(graft_device_lost(&d), status == GRAFT_DEVICE && fake->fail_code == -36);
    overlap_close(&r);
    graft_device_close(&d);
    door->fini(self);
    return status;
}

START_TEST(every_call_fails_in_turn_while_runs_overlap)
{
    static const int32_t codes[] = {-4, -5, -36};
    graft_error err;
    begin();
    ck_assert_msg(whole_overlap(&err) == GRAFT_OK, "%s", err.message);
    for (int c = 0; c < 3; c++) {
        int64_t n = 0, reported = 0;
        fake->fail_code = codes[c];
        do {
            fake->fail_at = ++n, fake->calls = 0, fake->failed = NULL;
            const graft_status status = whole_overlap(&err);
            const char *name = fake->failed;
            if (status) is_sentence(&err, name), reported++;
            ck_assert_msg(fake->live == 0 && fake->used == 0 && blocks == 0, "call %lld (%s) failed and left %lld objects, %lld bytes, %lld blocks", (long long)n, name ? name : "none",
                          (long long)fake->live, (long long)fake->used, (long long)blocks);
        } while (fake->failed);
        printf("overlap, code %d: %lld calls failed in turn, %lld reported\n", codes[c], (long long)n - 1, (long long)reported);
        ck_assert_int_gt(reported, 60);
    }
    end();
}
END_TEST

START_TEST(no_device_is_no_error)
{
    graft_error err = {.size = (uint32_t)sizeof err};
    graft_device_info info = {.size = (uint32_t)sizeof info};
    int32_t n = 7;
    void *self, *dev;
    begin();
    fake->n_devices = 0;
    const graft_plugin *door = door_of("opencl")();
    ck_assert_int_eq(door->init(&counting, &self, &err), GRAFT_OK);
    const graft_backend_table *table = door->table(self, "graft.backend/1");
    ck_assert_int_eq(table->devices(self, &info, 1, &n, &err), GRAFT_OK);
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(table->open(self, 0, NULL, &dev, &err), GRAFT_UNSUPPORTED);
    is_sentence(&err, "open");
    door->fini(self);
    end();
}
END_TEST

START_TEST(devices_are_chosen_by_number)
{
    graft_error err;
    begin();
    fake->n_devices = 3;
    ck_assert_msg(whole_run(2, &err) == GRAFT_OK, "%s", err.message);
    ck_assert_int_eq(whole_run(3, &err), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(err.message, "from 0 to 2") != NULL, "%s", err.message);
    fake->version = "OpenCL 1.1 old";
    ck_assert_int_eq(whole_run(0, &err), GRAFT_UNSUPPORTED);
    ck_assert_msg(strstr(err.message, "1.2 or newer") != NULL, "%s", err.message);
    fake->version = NULL;
    end();
}
END_TEST

START_TEST(no_memory_is_said_when_it_is_asked_for)
{
    graft_error err;
    begin();
    for (int64_t memory = 16; memory <= 2048; memory *= 4) {
        fake->memory = memory;
        ck_assert_int_eq(whole_run(0, &err), GRAFT_NO_MEMORY);
        is_sentence(&err, "memory");
    }
    end();
}
END_TEST

START_TEST(kernels_that_do_not_build_say_why)
{
    graft_error err;
    begin();
    fake->build_fails = 1;
    ck_assert_int_eq(whole_run(0, &err), GRAFT_DEVICE);
    ck_assert_msg(strstr(err.message, "line 7: expected a semicolon") != NULL && !strchr(err.message, '\n'), "%s", err.message);
    end();
}
END_TEST

/* What a device allows, what the compiler made of the kernels, and what they work best in, decide the groups. The fake driver refuses larger ones. */
START_TEST(groups_are_as_large_as_device_and_kernels_allow)
{
    static const struct {
        int64_t group, kernel_group, preferred, largest;
    } cases[] = {{256, 0, 0, 256}, {256, 256, 32, 256}, {64, 64, 1, 64}, {1, 1, 1, 1}, {200, 0, 0, 64}, {256, 100, 8, 64}, {256, 16, 8, 16}, {256, 1, 1, 1}, {1024, 1024, 128, 256}, {1024, 96, 128, 64}, {8, 8, 8, 8}};
    graft_error err;
    begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake->group = cases[i].group, fake->kernel_group = cases[i].kernel_group, fake->preferred = cases[i].preferred, fake->largest = 0;
        ck_assert_msg(whole_run(0, &err) == GRAFT_OK, "groups of %lld, kernels of %lld: %s", (long long)cases[i].group, (long long)cases[i].kernel_group, err.message);
        ck_assert_msg(fake->largest == cases[i].largest, "case %d: expected groups of %lld items, found %lld", (int)i, (long long)cases[i].largest, (long long)fake->largest);
    }
    fake->group = 256, fake->kernel_group = fake->preferred = 0;
    end();
}
END_TEST

START_TEST(a_lost_device_says_what_to_do)
{
    graft_error err;
    begin();
    fake->fail_code = -36;
    for (fake->fail_at = 1; fake->fail_at < 400; fake->fail_at++) {
        fake->calls = 0;
        if (whole_run(0, &err) == GRAFT_DEVICE && strstr(err.message, "is lost")) break;
    }
    ck_assert_msg(strstr(err.message, "is lost") != NULL, "%s", err.message);
    end();
}
END_TEST

/* Changes every kept binary: to nothing, to half, to other bytes. */
static int spoil(int how)
{
    char folder[300], path[600];
    int n = 0;
    snprintf(folder, sizeof folder, "%s/graft/opencl", cache);
    DIR *d = opendir(folder);
    ck_assert(d != NULL);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        FILE *f = fopen(path, how == 0 ? "wb" : "r+b");
        ck_assert(f != NULL);
        if (how == 1) ck_assert_int_eq(ftruncate(fileno(f), 30), 0);
        if (how == 2) fseek(f, -2, SEEK_END), fputc('x', f);
        fclose(f);
        n++;
    }
    closedir(d);
    return n;
}

START_TEST(a_spoilt_cache_is_built_anew)
{
    graft_error err;
    begin();
    ck_assert_int_eq(whole_run(0, &err), GRAFT_OK);
    const int64_t built = fake->compiled;
    ck_assert_int_gt(built, 5);
    ck_assert_int_eq(whole_run(0, &err), GRAFT_OK);
    ck_assert_int_eq(fake->compiled, built); /* from the cache */
    for (int how = 0; how < 3; how++) {
        fake->compiled = 0;
        ck_assert_int_eq(spoil(how), built);
        ck_assert_int_eq(whole_run(0, &err), GRAFT_OK);
        ck_assert_int_eq(fake->compiled, built);
        ck_assert_int_eq(whole_run(0, &err), GRAFT_OK);
        ck_assert_int_eq(fake->compiled, built);
    }
    end();
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, every_call_fails_in_turn);
    tcase_add_test(tc, every_call_fails_in_turn_while_runs_overlap);
    tcase_add_test(tc, no_device_is_no_error);
    tcase_add_test(tc, devices_are_chosen_by_number);
    tcase_add_test(tc, no_memory_is_said_when_it_is_asked_for);
    tcase_add_test(tc, kernels_that_do_not_build_say_why);
    tcase_add_test(tc, groups_are_as_large_as_device_and_kernels_allow);
    tcase_add_test(tc, a_lost_device_says_what_to_do);
    tcase_add_test(tc, a_spoilt_cache_is_built_anew);
}

int main(void) { return graft_test_main("opencl_faults", cases); }
