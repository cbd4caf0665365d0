/* Plugins linked into the program: found before any file, checked by the same door, given the same tables; and choosing among backends made of them. */
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/plugin/host.h"
#include "core/plugin/machine.h"
#include "core/plugin/select.h"
#include "graft/method.h"
#include "tests/support/support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static graft_error err = GRAFT_ERROR_INIT;
static int inits, finis;
static char order[64];

static graft_status init(const graft_host *host, void **self, graft_error *e)
{
    (void)e;
    inits++;
    *self = (void *)(uintptr_t)host;
    return GRAFT_OK;
}

static void fini_first(void *self)
{
    (void)self, finis++;
    strncat(order, "1", sizeof order - strlen(order) - 1);
}

static void fini_second(void *self)
{
    (void)self, finis++;
    strncat(order, "2", sizeof order - strlen(order) - 1);
}

/* ---- a method whose table is of an older SDK: only the first two fields ---- */
static const struct {
    uint32_t size;
    void *open, *close;
} old_table = {sizeof old_table, NULL, NULL};

static const void *method_table(void *self, const char *id)
{
    (void)self;
    return strcmp(id, "graft.method/1") ? NULL : &old_table;
}

#define DOOR(kind_, name_, fini_, table_)                                                                                                  \
    {                                                                                                                                      \
        (uint32_t)sizeof(graft_plugin), GRAFT_ABI_MAJOR, GRAFT_ABI_MINOR, GRAFT_BUILD_FLAGS, 0, kind_, name_, "1.0.0", init, fini_, table_ \
    }

static const graft_plugin *old_method(void)
{
    static const graft_plugin door = DOOR("method", "old", fini_first, method_table);
    return &door;
}

/* ---- backends that only count devices ---- */
static graft_status two_devices(void *self, graft_device_info *out, int32_t room, int32_t *n, graft_error *e)
{
    (void)self, (void)e;
    *n = room < 2 ? room : 2;
    for (int32_t i = 0; i < *n; i++) {
        snprintf(out[i].name, sizeof out[i].name, "device %d", (int)i);
        out[i].score = i ? 300 : 0;
        snprintf(out[i].reason, sizeof out[i].reason, "%s", i ? "" : "too old");
    }
    return GRAFT_OK;
}

static graft_status one_device(void *self, graft_device_info *out, int32_t room, int32_t *n, graft_error *e)
{
    (void)self, (void)e, (void)room;
    *n = 1;
    out[0].score = 100;
    return GRAFT_OK;
}

static graft_status no_device(void *self, graft_device_info *out, int32_t room, int32_t *n, graft_error *e)
{
    (void)self, (void)e, (void)room, (void)out;
    *n = 0;
    return GRAFT_OK;
}

static graft_status never_open(void *self, int32_t device, const graft_config *options, void **dev, graft_error *e)
{
    (void)self, (void)device, (void)options, (void)dev;
    return graft_fail(e, GRAFT_UNSUPPORTED, NULL, "never");
}
static const graft_op_claim *no_ops(void *dev, int32_t *n) { return (void)dev, *n = 0, NULL; }
static graft_status no_alloc(void *dev, int64_t bytes, void **buffer, graft_error *e) { return (void)dev, (void)bytes, (void)buffer, (void)e, GRAFT_NO_MEMORY; }
static void no_release(void *dev, void *buffer) { (void)dev, (void)buffer; }
static graft_status no_upload(void *dev, void *b, int64_t o, const void *f, int64_t n, graft_error *e) { return (void)dev, (void)b, (void)o, (void)f, (void)n, (void)e, GRAFT_IO; }
static graft_status no_download(void *dev, const void *b, int64_t o, void *t, int64_t n, graft_error *e) { return (void)dev, (void)b, (void)o, (void)t, (void)n, (void)e, GRAFT_IO; }
static graft_status no_compile(void *dev, const graft_program *p, void **plan, graft_error *e) { return (void)dev, (void)p, (void)plan, (void)e, GRAFT_IO; }
static graft_status no_run(void *plan, const graft_run *r, graft_error *e) { return (void)plan, (void)r, (void)e, GRAFT_IO; }
static graft_status no_sync(void *dev, graft_error *e) { return (void)dev, (void)e, GRAFT_OK; }

#define BACKEND(devices_)                                                                                                                                                                                                                                    \
    {                                                                                                                                                                                                                                                        \
        .size = (uint32_t)sizeof(graft_backend_table), .devices = devices_, .open = never_open, .ops = no_ops, .alloc = no_alloc, .release = no_release, .upload = no_upload, .download = no_download, .compile = no_compile, .run = no_run, .sync = no_sync \
    }
static const graft_backend_table two_table = BACKEND(two_devices), one_table = BACKEND(one_device), none_table = BACKEND(no_device), broken_table = BACKEND(NULL);

static const void *two(void *self, const char *id) { return (void)self, strcmp(id, "graft.backend/1") ? NULL : &two_table; }
static const void *one(void *self, const char *id) { return (void)self, strcmp(id, "graft.backend/1") ? NULL : &one_table; }
static const void *none(void *self, const char *id) { return (void)self, strcmp(id, "graft.backend/1") ? NULL : &none_table; }
static const void *broken(void *self, const char *id) { return (void)self, strcmp(id, "graft.backend/1") ? NULL : &broken_table; }

#define ENTRY(function_, name_, fini_, table_)                                  \
    static const graft_plugin *function_(void)                                  \
    {                                                                           \
        static const graft_plugin door = DOOR("backend", name_, fini_, table_); \
        return &door;                                                           \
    }
ENTRY(entry_two, "two", fini_second, two)
ENTRY(entry_one, "one", fini_first, one)
ENTRY(entry_none, "none", fini_first, none)
ENTRY(entry_broken, "broken", fini_first, broken)

static const graft_static_entry statics[] = {old_method, entry_two, entry_one, entry_none, entry_broken, NULL};

static graft_registry *registry(const char *text)
{
    graft_registry *r = graft_registry_new();
    graft_plugin_link_static(statics);
    ck_assert_ok(graft_registry_add(r, "/nonexistent/registry.json", text, strlen(text), 0, &err));
    return r;
}

START_TEST(linked_plugins)
{
    graft_registry *r = registry("{\"methods\": {\"old\": {\"file_name\": \"old.so\"}, \"absent\": {\"file_name\": \"absent.so\"}}, \"backends\": {\"two\": {\"file_name\": \"two.so\"}}}");
    const graft_loaded *p, *q;
    ck_assert_ok(graft_plugin_load(graft_registry_find(r, GRAFT_KIND_METHOD, "old"), &p, &err));
    ck_assert_ok(graft_plugin_load(graft_registry_find(r, GRAFT_KIND_METHOD, "old"), &q, &err));
    ck_assert_ptr_eq(p, q);
    ck_assert_int_eq(inits, 1);
    const graft_method_table *t = p->table;
    ck_assert_uint_eq(t->size, sizeof *t);
    ck_assert_ptr_null(t->linear); /* optional by the SDK: stays NULL */
    void *run = NULL;
    ck_assert_ok(t->open(p->self, NULL, NULL, &run, &err));
    ck_assert_ptr_eq(run, p->self);
    t->close(run);
    ck_assert_int_ne(graft_plugin_load(graft_registry_find(r, GRAFT_KIND_METHOD, "absent"), &q, &err), GRAFT_OK);
    ck_assert_str_eq(err.message, "found: absent: there is no file /nonexistent/absent.so. Build or install the plugin, or correct \"file_name\" in /nonexistent/registry.json.");
    ck_assert_ok(graft_plugin_load(graft_registry_find(r, GRAFT_KIND_BACKEND, "two"), &q, &err));
    graft_registry_close(r);
    graft_plugin_unload_all();
    ck_assert_int_eq(finis, 2);
    ck_assert_str_eq(order, "21");
    graft_plugin_unload_all();
    ck_assert_int_eq(finis, 2);
}
END_TEST

START_TEST(dataset_has_no_library)
{
    graft_registry *r = registry("{\"d\": {\"file_name\": \"d.json\"}}");
    const graft_loaded *p;
    ck_assert_int_eq(graft_plugin_load(graft_registry_find(r, GRAFT_KIND_DATASET, "d"), &p, &err), GRAFT_INTERNAL);
    ck_assert_str_eq(err.message, "found: d: is a dataset, which has no library to load.");
    graft_registry_close(r);
}
END_TEST

#define ALL "{\"backends\": {\"two\": {\"file_name\": \"t.so\"}, \"one\": {\"file_name\": \"o.so\"%s}, \"none\": {\"file_name\": \"n.so\"}, \"broken\": {\"file_name\": \"b.so\"}, \"gone\": {\"file_name\": \"gone.so\"}}}"

static graft_registry *backends(const char *more)
{
    char text[1024];
    snprintf(text, sizeof text, ALL, more);
    return registry(text);
}

START_TEST(candidates_with_reasons)
{
    graft_registry *r = backends("");
    graft_candidate c[16];
    int32_t n = 0;
    ck_assert_ok(graft_backend_candidates(r, c, 16, &n, &err));
    static const struct {
        const char *name;
        int device, score;
        const char *verdict;
    } expected[] = {
        {"two", 1, 300, "chosen"},
        {"one", 0, 100, "lower score than two (300)"},
        {"broken", -1, 0, "queried: broken: its table \"graft.backend/1\" has no function \"devices\", which every backend must give. Add it."},
        {"gone", -1, 0, "found: gone: there is no file /nonexistent/gone.so. Build or install the plugin, or correct \"file_name\" in /nonexistent/registry.json."},
        {"none", -1, 0, "none: found no device on this machine. Choose another backend."},
        {"two", 0, 0, "cannot run: too old"}};
    ck_assert_int_eq(n, 6);
    for (int i = 0; i < n; i++) {
        ck_assert_str_eq(c[i].backend, expected[i].name);
        ck_assert_int_eq(c[i].device, expected[i].device);
        ck_assert_int_eq(c[i].info.score, expected[i].score);
        ck_assert_str_eq(c[i].verdict, expected[i].verdict);
    }
    ck_assert_ok(graft_backend_candidates(r, c, 2, &n, &err));
    ck_assert_int_eq(n, 2);
    graft_registry_close(r);
}
END_TEST

START_TEST(best_or_named)
{
    graft_registry *r = backends("");
    graft_candidate c;
    ck_assert_ok(graft_backend_choose(r, NULL, &c, &err));
    ck_assert_str_eq(c.backend, "two");
    ck_assert_str_eq(c.verdict, "chosen");
    ck_assert_ok(graft_backend_choose(r, "auto", &c, &err));
    ck_assert_str_eq(c.backend, "two");
    ck_assert_ok(graft_backend_choose(r, "one", &c, &err));
    ck_assert_str_eq(c.backend, "one");
    ck_assert_str_eq(c.verdict, "chosen by name");
    ck_assert_ok(graft_backend_choose(r, "two:1", &c, &err));
    ck_assert_int_eq(c.device, 1);
    static const struct {
        const char *wanted, *message;
    } wrong[] = {
        {"two:0", "Backend two cannot run: too old. Choose another one."},
        {"two:7", "Backend two has no device 7, it has 0 (device 0), 1 (device 1). Choose one of them."},
        {"two:x", "Backend \"two:x\": expected NAME or NAME:NUMBER of a device, as 'graft doctor' lists them."},
        {"none", "none: found no device on this machine. Choose another backend."},
        {"broken", "queried: broken: its table \"graft.backend/1\" has no function \"devices\", which every backend must give. Add it."},
        {"tow", "No backend is named \"tow\"; did you mean \"two\"?"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_int_ne(graft_backend_choose(r, wrong[i].wanted, &c, &err), GRAFT_OK);
        ck_assert_str_eq(err.message, wrong[i].message);
    }
    graft_registry_close(r);
    r = backends(", \"prefer\": 250");
    ck_assert_ok(graft_backend_choose(r, "auto", &c, &err));
    ck_assert_str_eq(c.backend, "one");
    ck_assert_int_eq(c.info.score, 350);
    graft_registry_close(r);
    r = registry("{\"backends\": {\"none\": {\"file_name\": \"n.so\"}}}");
    ck_assert_int_eq(graft_backend_choose(r, "auto", &c, &err), GRAFT_UNSUPPORTED);
    ck_assert_str_eq(err.message, "No backend can run here; the first one said: none: found no device on this machine. Choose another backend. 'graft doctor' lists all.");
    graft_registry_close(r);
    r = registry("{\"models\": {}}");
    ck_assert_int_eq(graft_backend_choose(r, "auto", &c, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "The registry names no backend. Install graft again, or add one with 'graft plugin add FILE.so'.");
    graft_registry_close(r);
}
END_TEST

static void *borrow(void *context)
{
    const graft_lent *l = context;
    for (int i = 0; i < 2000; i++) {
        void *p = l->host.alloc(l->host.ctx, (size_t)i, 64);
        l->host.release(l->host.ctx, p);
    }
    return NULL;
}

START_TEST(lent_memory)
{
    graft_lent l;
    pthread_t threads[4];
    graft_lent_init(&l, "x", 0);
    for (size_t align = 1; align <= 4096; align *= 2) {
        char *p = l.host.alloc(l.host.ctx, 1000, align);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % (align < 16 ? 16 : align), 0);
        for (int i = 0; i < 1000; i++) ck_assert_int_eq(p[i], 0);
        memset(p, 1, 1000);
        ck_assert_int_eq(l.blocks, 1);
        ck_assert_int_eq(l.bytes, 1000);
        l.host.release(l.host.ctx, p);
    }
    ck_assert_ptr_null(l.host.alloc(l.host.ctx, SIZE_MAX - 8, 16));
    ck_assert_ptr_null(l.host.alloc(l.host.ctx, 8, 48));
    l.host.release(l.host.ctx, NULL);
    for (int i = 0; i < 4; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, borrow, &l), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    ck_assert_int_eq(l.blocks, 0);
    ck_assert_int_eq(l.bytes, 0);
    ck_assert_int_eq((l.host.fail)(&err, GRAFT_DEVICE, "here", "%d of %s", 3, "x"), GRAFT_DEVICE);
    ck_assert_str_eq(err.message, "3 of x");
    ck_assert_str_eq(err.where, "here");
}
END_TEST

static char heard[256];
static void hear(void *ctx, graft_log_level level, const char *sentence)
{
    (void)ctx;
    snprintf(heard, sizeof heard, "%d %s", (int)level, sentence);
}

START_TEST(lent_log)
{
    graft_lent l;
    graft_log_to(hear, NULL, GRAFT_LOG_DEBUG);
    graft_lent_init(&l, "x", 0);
    l.host.log(l.host.ctx, 2, "careful.");
    ck_assert_str_eq(heard, "2 x: careful.");
    l.host.log(l.host.ctx, 99, "more.");
    ck_assert_str_eq(heard, "3 x: more.");
    graft_lent_init(&l, "x", 1);
    l.host.log(l.host.ctx, 3, "unheard.");
    ck_assert_str_eq(heard, "3 x: more.");
}
END_TEST

START_TEST(machine)
{
    graft_machine m;
    graft_machine_read(&m);
    ck_assert_int_gt(m.processors, 0);
    ck_assert_int_gt(m.memory_total, 1 << 20);
    ck_assert_int_le(m.memory_free, m.memory_total);
    ck_assert_str_ne(m.model, "");
    snprintf(m.features, sizeof m.features, "fpu avx avx2 sse4_2");
    ck_assert_int_eq(graft_machine_has(&m, "avx"), 1);
    ck_assert_int_eq(graft_machine_has(&m, "avx2"), 1);
    ck_assert_int_eq(graft_machine_has(&m, "sse4_2"), 1);
    ck_assert_int_eq(graft_machine_has(&m, "sse4"), 0);
    ck_assert_int_eq(graft_machine_has(&m, "vx"), 0);
    ck_assert_int_eq(graft_machine_has(&m, ""), 0);
    graft_registry *r = registry("{\"models\": {\"m\": {\"file_name\": \"m.so\", \"requires\": {\"memory\": \"4000000 GiB\"}}}}");
    ck_assert_int_eq(graft_machine_meets(graft_registry_find(r, GRAFT_KIND_MODEL, "m"), "/m.so", &err), GRAFT_UNSUPPORTED);
    ck_assert_int_eq(strncmp(err.message, "probed: m: needs 4000000.0 GiB of memory, this machine has ", 58), 0);
    graft_registry_close(r);
}
END_TEST

static void cases(TCase *tc)
{
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
    tcase_add_test(tc, linked_plugins);
    tcase_add_test(tc, dataset_has_no_library);
    tcase_add_test(tc, candidates_with_reasons);
    tcase_add_test(tc, best_or_named);
    tcase_add_test(tc, lent_memory);
    tcase_add_test(tc, lent_log);
    tcase_add_test(tc, machine);
}

int main(void) { return graft_test_main("linked", cases); }
