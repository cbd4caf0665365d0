/* The token cache: what goes in comes out; files that are damaged, cut, half written, written by two at once; a run that was killed; other data, other keys. */
#include "core/data/cache.h"

#include "core/base/log.h"
#include "core/base/rng.h"
#include "tests/unit/data/ground.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const char key[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static char said[2000];

static void hear(void *ctx, graft_log_level level, const char *sentence)
{
    (void)ctx;
    if (level == GRAFT_LOG_WARNING) snprintf(said, sizeof said, "%s", sentence);
}

/* Record i: its length, ids and labels follow from i. Every seventh is dropped. */
static int64_t record_of(int64_t i, int32_t *ids, int32_t *labels)
{
    const int64_t n = i * 37 % 90;
    for (int64_t k = 0; k < n; k++) {
        ids[k] = (int32_t)((i * 131 + k * 17) % 60000);
        labels[k] = k < n / 3 ? -100 : k == n / 2 ? 5
                                                  : ids[k];
    }
    return n;
}

static void add_records(graft_cache *c, int64_t from, int64_t end, int mark_every)
{
    graft_error err = GRAFT_ERROR_INIT;
    int32_t ids[100], labels[100];
    for (int64_t i = from; i < end; i++) {
        char why[40];
        snprintf(why, sizeof why, "record %lld", (long long)i);
        if (i % 7 == 3) ck_assert_ok(graft_cache_drop(c, why, i % 2 ? 9 : 0, &err));
        else ck_assert_ok(graft_cache_add(c, ids, labels, record_of(i, ids, labels), i % 5, &err));
        graft_cache_place at = {.record = i + 1};
        memcpy(at.cursor.bytes, &i, sizeof i);
        if (mark_every && (i + 1) % mark_every == 0) ck_assert_ok(graft_cache_mark(c, &at, 1, &err));
    }
}

static void end_it(graft_cache *c)
{
    graft_error err = GRAFT_ERROR_INIT;
    const graft_cache_place at = {.file = 1, .ended = 1};
    ck_assert_ok(graft_cache_mark(c, &at, 0, &err));
}

static void check_records(const graft_cache *c, int64_t n)
{
    graft_error err = GRAFT_ERROR_INIT;
    int32_t ids[100], labels[100], got_ids[100], got_labels[100];
    ck_assert_int_eq(graft_cache_records(c), n);
    for (int64_t i = n - 1; i >= 0; i--) {
        const graft_cache_size x = graft_cache_measure(c, i);
        ck_assert_int_eq(x.dropped, i % 7 == 3);
        if (x.dropped) {
            ck_assert_int_eq(x.cut, i % 2 ? 9 : 0);
            continue;
        }
        const int64_t tokens = record_of(i, ids, labels), third = tokens / 3;
        int64_t labelled = 0;
        for (int64_t k = 0; k < tokens; k++) labelled += labels[k] != -100;
        ck_assert(x.n == tokens && x.cut == i % 5 && x.labelled == labelled && x.first_labelled == (tokens && labels[0] != -100));
        ck_assert_ok(graft_cache_read(c, i, 0, tokens, got_ids, got_labels, &err));
        for (int64_t k = 0; k < tokens; k++) ck_assert(got_ids[k] == ids[k] && got_labels[k] == labels[k]);
        ck_assert_ok(graft_cache_read(c, i, third, tokens - third, got_ids, got_labels, &err));
        for (int64_t k = third; k < tokens; k++) ck_assert(got_ids[k - third] == ids[k] && got_labels[k - third] == labels[k]);
    }
}

START_TEST(round_trip)
{
    graft_error err = GRAFT_ERROR_INIT;
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", graft_test_dir("cache"));
    for (int narrow = 0; narrow < 2; narrow++)
        for (int disk = 0; disk < 2; disk++) {
            graft_cache *c;
            ck_assert_ok(graft_cache_open(disk ? dir : NULL, key, narrow, 1, 0, &c, &err));
            add_records(c, 0, 500, 100);
            check_records(c, 500);
            graft_cache_bad(c, "line 9 is none");
            add_records(c, 500, 550, 0); /* readable before it is written */
            check_records(c, 550);
            end_it(c);
            graft_cache_forget(c);
            check_records(c, 550);
            ck_assert_str_eq(graft_cache_first_drop(c), "record 3");
            graft_cache_free(c);
            if (!disk) continue;
            ck_assert_ok(graft_cache_open(dir, key, narrow, 0, 0, &c, &err));
            check_records(c, 550);
            ck_assert(graft_cache_end(c)->ended && graft_cache_end(c)->bad == 1);
            ck_assert_str_eq(graft_cache_first_drop(c), "record 3");
            ck_assert_str_eq(graft_cache_first_bad(c), "line 9 is none");
            graft_cache_free(c);
        }
}
END_TEST

static const char *file_at(const char *dir, int number)
{
    static char path[4300];
    snprintf(path, sizeof path, "%s/%s/%06d.tokens", dir, key, number);
    return path;
}

static void make(const char *dir)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_cache *c;
    ck_assert_ok(graft_cache_open(dir, key, 1, 1, 0, &c, &err));
    add_records(c, 0, 300, 100);
    end_it(c);
    graft_cache_free(c);
}

/* Every file with one byte changed at many places, or cut, or grown: never taken for whole. */
START_TEST(damage)
{
    graft_error err = GRAFT_ERROR_INIT;
    char dir[4096];
    int noticed = 0;
    graft_log_to(hear, NULL, GRAFT_LOG_INFO);
    snprintf(dir, sizeof dir, "%s", graft_test_dir("cache"));
    for (size_t step = 0; step < 60; step++) {
        char *data;
        size_t bytes;
        graft_cache *c;
        make(dir);
        ck_assert_ok(graft_file_read(file_at(dir, 1), 1 << 24, &data, &bytes, &err));
        size_t length = bytes;
        if (step == 57) length = bytes / 2;
        else if (step == 58) length = 0;
        else if (step == 59) length = 30;
        else data[step < 20 ? step * 4 : bytes - 1 - (step - 20) * (bytes / 40)] ^= 0x20;
        ck_assert_ok(graft_file_replace(file_at(dir, 1), data, length, &err));
        graft_free(data);
        *said = 0;
        ck_assert_ok(graft_cache_open(dir, key, 1, 0, 0, &c, &err));
        if (graft_cache_records(c) == 100) {
            noticed++;
            ck_assert_msg(strstr(said, "000001.tokens") && strstr(said, "made again"), "%s", said);
            ck_assert(!graft_path_exists(file_at(dir, 1)) && !graft_path_exists(file_at(dir, 2))); /* what lies behind it goes too */
            add_records(c, 100, 300, 100);
            end_it(c);
        }
        check_records(c, 300); /* what was not noticed did not matter (padding of a structure) */
        graft_cache_free(c);
    }
    graft_log_to(NULL, NULL, GRAFT_LOG_INFO);
    ck_assert_int_gt(noticed, 50);
}
END_TEST

/* Damage that appears under a running program: an error that names the file, which is gone then. */
START_TEST(damage_later)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_cache *c;
    char dir[4096];
    int32_t ids[100], labels[100];
    snprintf(dir, sizeof dir, "%s", graft_test_dir("cache"));
    make(dir);
    ck_assert_ok(graft_cache_open(dir, key, 1, 0, 0, &c, &err));
    FILE *f = fopen(file_at(dir, 0), "r+");
    ck_assert(f && !fseek(f, 400, SEEK_SET));
    for (int i = 0; i < 4000; i++) fputc(0x5A, f);
    fclose(f);
    graft_status status = GRAFT_OK;
    for (int64_t i = 0; i < 100 && !status; i++)
        if (i % 7 != 3) status = graft_cache_read(c, i, 0, graft_cache_measure(c, i).n, ids, labels, &err);
    ck_assert_int_eq(status, GRAFT_IO);
    ck_assert_msg(strstr(err.where, "000000.tokens") && strstr(err.message, "same command again"), "%s: %s", err.where, err.message);
    ck_assert(!graft_path_exists(file_at(dir, 0)));
    graft_cache_free(c);
}
END_TEST

/* A process dies between two files: the next goes on behind the last whole one. */
START_TEST(killed)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_cache *c;
    char dir[4096], part[4400];
    int status;
    snprintf(dir, sizeof dir, "%s", graft_test_dir("cache"));
    const pid_t child = fork();
    if (!child) {
        if (graft_cache_open(dir, key, 1, 0, 0, &c, &err)) _exit(1);
        add_records(c, 0, 230, 50);
        snprintf(part, sizeof part, "%s/%s/000004.%ld.part", dir, key, (long)getpid());
        FILE *f = fopen(part, "w"); /* as if it were in the middle of writing */
        if (f) fputs("half of", f), fclose(f);
        raise(SIGKILL);
    }
    ck_assert(child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    snprintf(part, sizeof part, "%s/%s/000004.%ld.part", dir, key, (long)child);
    ck_assert(graft_path_exists(part));
    ck_assert_ok(graft_cache_open(dir, key, 1, 0, 0, &c, &err));
    ck_assert(!graft_path_exists(part));
    int64_t cursor;
    memcpy(&cursor, graft_cache_end(c)->cursor.bytes, sizeof cursor);
    ck_assert(graft_cache_records(c) == 200 && graft_cache_end(c)->record == 200 && cursor == 199 && !graft_cache_end(c)->ended);
    add_records(c, 200, 400, 50);
    end_it(c);
    check_records(c, 400);
    graft_cache_free(c);
}
END_TEST

START_TEST(two_at_once)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_cache *c;
    char dir[4096];
    pid_t child[2];
    snprintf(dir, sizeof dir, "%s", graft_test_dir("cache"));
    for (int k = 0; k < 2; k++) {
        if (!(child[k] = fork())) {
            if (graft_cache_open(dir, key, 1, 0, 0, &c, &err)) _exit(1);
            for (int64_t i = graft_cache_records(c); i < 600; i += 20) add_records(c, i, i + 20, 20);
            if (!graft_cache_end(c)->ended) end_it(c);
            check_records(c, 600);
            graft_cache_free(c);
            _exit(0);
        }
    }
    for (int k = 0, status; k < 2; k++) ck_assert(waitpid(child[k], &status, 0) == child[k] && WIFEXITED(status) && !WEXITSTATUS(status));
    ck_assert_ok(graft_cache_open(dir, key, 1, 0, 0, &c, &err));
    check_records(c, 600);
    ck_assert(graft_cache_end(c)->ended);
    graft_cache_free(c);
}
END_TEST

START_TEST(full_disk)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_cache *c;
    char dir[4096];
    static const char *const calls[] = {"write", "fsync", "rename"};
    graft_log_to(hear, NULL, GRAFT_LOG_INFO);
    for (int k = 0; k < 3; k++) {
        snprintf(dir, sizeof dir, "%s", graft_test_dir("cache"));
        ck_assert_ok(graft_cache_open(dir, key, 1, 0, 0, &c, &err));
        add_records(c, 0, 100, 50);
        *said = 0;
        graft_file_fault(calls[k], 1, ENOSPC);
        add_records(c, 100, 300, 50);
        graft_file_fault(calls[k], 0, 0);
        end_it(c);
        ck_assert_msg(strstr(said, "stay in memory") != NULL, "%s", said);
        check_records(c, 300);
        graft_cache_free(c);
        ck_assert_ok(graft_cache_open(dir, key, 1, 0, 0, &c, &err)); /* what was written before is whole */
        check_records(c, 100);
        graft_cache_free(c);
    }
    graft_log_to(NULL, NULL, GRAFT_LOG_INFO);
}
END_TEST

/* ---- of a dataset ---------------------------------------------------------------------------------------------------------------------- */

static const char *records_file(const char *name, int n, const char *word)
{
    static char text[1 << 20];
    size_t at = 0;
    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, i % 9 == 4 ? "{\"instruction\":\"%s %d\",\"output\":null}\n" : "{\"instruction\":\"%s %d\",\"output\":\"the answer to that is %d and no other\"}\n", word, i, i * 7);
    return ground_file(name, text);
}

static size_t folders(const char *dir)
{
    graft_error err = GRAFT_ERROR_INIT;
    char **names;
    size_t n;
    if (!graft_path_is_dir(dir)) return 0;
    ck_assert_ok(graft_dir_list(dir, &names, &n, &err));
    graft_dir_list_free(names, n);
    return n;
}

START_TEST(dataset)
{
    ground g = ground_open("cached");
    char path[4200];
    snprintf(path, sizeof path, "%s", records_file("cached.jsonl", 2000, "question"));
    ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
    const uint64_t want = ground_sum(g.train);
    const graft_dataset_report plain = g.report;
    ck_assert_int_eq(plain.dropped, 222);
    g.o.cache_dir = g.dir;
    ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
    ck_assert_uint_eq(folders(g.dir), 0); /* too small to be worth it */
    g.o.cache_from = 1;
    for (int k = 0; k < 3; k++) { /* made, taken, made anew */
        g.o.overwrite_cache = k == 2;
        ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
        ck_assert(ground_sum(g.train) == want && folders(g.dir) == 1);
        ck_assert(g.report.records == plain.records && g.report.dropped == plain.dropped && g.report.tokens == plain.tokens && g.report.labelled == plain.labelled);
        ck_assert_str_eq(g.report.first_drop, "cached.jsonl: record 5 (byte 310): output is null");
    }
    g.o.overwrite_cache = 0;
    g.o.cutoff_len = 30; /* other samples: another key */
    ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
    ck_assert(ground_sum(g.train) != want && folders(g.dir) == 2);
    g.o.cutoff_len = 2048;
    records_file("cached.jsonl", 2000, "Question"); /* other data under the same name */
    ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
    ck_assert(ground_sum(g.train) != want && folders(g.dir) == 3);
    records_file("cached.jsonl", 2000, "question");
    ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
    ck_assert(ground_sum(g.train) == want && folders(g.dir) == 3);
    ground_close(&g);
}
END_TEST

/* A set is kept as far as it was asked for; asking for more goes on behind that, at the exact record. */
START_TEST(goes_on)
{
    ground g = ground_open("cached");
    char path[4200];
    snprintf(path, sizeof path, "%s", records_file("goes_on.jsonl", 2000, "question"));
    ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
    const uint64_t want = ground_sum(g.train);
    g.o.cache_dir = g.dir, g.o.cache_from = 1;
    static const int64_t steps[] = {10, 700, 300, 1999, 2000, 0};
    for (size_t k = 0; k < 6; k++) {
        g.o.max_samples = steps[k];
        ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
        ck_assert_int_eq(g.report.records, steps[k] ? steps[k] : 2000);
        ck_assert_uint_eq(folders(g.dir), 1);
    }
    ck_assert(ground_sum(g.train) == want);
    ground_close(&g);
}
END_TEST

/* A set of several files: the place to go on from names the file too. */
START_TEST(folder)
{
    ground g = ground_open("cached"), plain;
    graft_error err = GRAFT_ERROR_INIT;
    char dir[4200], path[4300];
    snprintf(dir, sizeof dir, "%s/tests/work/cache_folder", GRAFT_BINARY_DIR);
    ck_assert_ok(graft_path_remove(dir, &err));
    ck_assert_ok(graft_dir_make(dir, &err));
    for (int k = 0; k < 3; k++) {
        char *data, word[20];
        size_t bytes;
        snprintf(word, sizeof word, "of file %d", k);
        ck_assert_ok(graft_file_read(records_file("one.jsonl", 300, word), 1 << 20, &data, &bytes, &err));
        snprintf(path, sizeof path, "%s/%d.jsonl", dir, k);
        ck_assert_ok(graft_file_replace(path, data, bytes, &err));
        graft_free(data);
    }
    plain = g;
    ck_assert_int_eq(ground_load(&plain, dir), GRAFT_OK);
    const uint64_t want = ground_sum(plain.train);
    ck_assert_int_eq(plain.report.records, 900);
    graft_dataset_free(plain.train);
    g.o.cache_dir = g.dir, g.o.cache_from = 1;
    static const int64_t steps[] = {10, 300, 301, 640, 0, 0};
    for (size_t k = 0; k < 6; k++) {
        g.o.max_samples = steps[k];
        ck_assert_int_eq(ground_load(&g, dir), GRAFT_OK);
        ck_assert_int_eq(g.report.records, steps[k] ? steps[k] : 900);
    }
    ck_assert(ground_sum(g.train) == want && folders(g.dir) == 1);
    ground_close(&g);
}
END_TEST

/* num_samples draws from one generator through a whole run: the evaluation set's draws come behind the training set's. */
START_TEST(draws_go_on)
{
    ground g = ground_open("draws");
    graft_error err = GRAFT_ERROR_INIT;
    char dir[4096], info[4200];
    snprintf(dir, sizeof dir, "%s", g.dir);
    snprintf(info, sizeof info, "%s/dataset_info.json", dir);
    static const char text[] = "{\"set\": {\"file_name\": \"set.jsonl\", \"num_samples\": 5}}";
    ck_assert_ok(graft_file_replace(info, text, strlen(text), &err));
    char *data;
    size_t bytes;
    ck_assert_ok(graft_file_read(records_file("draws.jsonl", 60, "question"), 1 << 20, &data, &bytes, &err));
    snprintf(info, sizeof info, "%s/set.jsonl", dir);
    ck_assert_ok(graft_file_replace(info, data, bytes, &err));
    graft_free(data);
    graft_registry_close(g.registry);
    char shipped[4200];
    snprintf(shipped, sizeof shipped, "%s/lib/graft/registry.json", GRAFT_BINARY_DIR);
    const graft_registry_options ro = {.shipped = shipped, .dataset_dir = dir};
    ck_assert_ok(graft_registry_open(&ro, &g.registry, &err));
    ck_assert_int_eq(ground_load(&g, "set"), GRAFT_OK);
    const uint64_t first = ground_sum(g.train);
    ck_assert_int_eq(ground_load(&g, "set"), GRAFT_OK);
    ck_assert(ground_sum(g.train) == first); /* a load of its own begins anew */
    graft_mt19937 draws;
    graft_mt19937_seed(&draws, 42);
    g.o.draws = &draws;
    ck_assert_int_eq(ground_load(&g, "set"), GRAFT_OK);
    ck_assert(ground_sum(g.train) == first);
    ck_assert_int_eq(ground_load(&g, "set"), GRAFT_OK);
    ck_assert(ground_sum(g.train) != first);
    ground_close(&g);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, round_trip);
    tcase_add_test(tc, damage);
    tcase_add_test(tc, damage_later);
    tcase_add_test(tc, killed);
    tcase_add_test(tc, two_at_once);
    tcase_add_test(tc, full_disk);
    tcase_add_test(tc, dataset);
    tcase_add_test(tc, goes_on);
    tcase_add_test(tc, folder);
    tcase_add_test(tc, draws_go_on);
}

int main(void) { return graft_test_main("cache", cases); }
