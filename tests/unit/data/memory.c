/* Memory does not grow with the data: what a process takes at most for ten times the records, through the token cache and as a stream. */
#include "core/data/batch.h"
#include "tests/unit/data/ground.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static void big_file(const char *path, int records)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_file *f;
    ck_assert_ok(graft_file_create(&f, path, &err));
    for (int i = 0; i < records; i++) {
        char line[2000];
        size_t n = (size_t)snprintf(line, sizeof line, "{\"instruction\":\"What is said in part %d?\",\"output\":\"", i);
        for (int k = 0; k < 100; k++) n += (size_t)snprintf(line + n, sizeof line - n, "word %d ", (i * 7919 + k * 31) % 997);
        n += (size_t)snprintf(line + n, sizeof line - n, "\"}\n");
        ck_assert_ok(graft_file_write(f, line, n, &err));
    }
    ck_assert_ok(graft_file_finish(f, &err));
}

static long peak_kib(void)
{
    char *text, *at;
    size_t bytes;
    graft_error err = GRAFT_ERROR_INIT;
    if (graft_file_read("/proc/self/status", 1 << 16, &text, &bytes, &err) || !(at = strstr(text, "VmHWM:"))) return 0;
    const long kib = strtol(at + 6, NULL, 10);
    graft_free(text);
    return kib;
}

/* In a child: loads the file and reads every sample in shuffled order, twice. */
static long peak_of(const char *path, int streaming)
{
    int pipe_ends[2];
    long kib = 0;
    ck_assert(!pipe(pipe_ends));
    const pid_t child = fork();
    if (!child) {
        ground g = ground_open("memory");
        graft_error err = GRAFT_ERROR_INIT;
        graft_tokenizer_close(g.tok); /* a tokenizer of usual size: the system counts in steps of 2 MiB, which are to be small beside the whole */
        if (graft_tokenizer_open(graft_test_fixture("tokenizers/qwen2_5"), &g.tok, &err) || graft_template_fit(g.t, g.tok, &err)) _exit(4);
        FILE *peak = fopen("/proc/self/clear_refs", "w"); /* opening it took more for a moment; where that cannot be forgotten the test is weaker */
        if (peak) fputs("5", peak), fclose(peak);
        graft_order order = {0};
        const int64_t *samples;
        g.o.cache_dir = g.dir, g.o.cache_from = 1, g.o.cache_file_bytes = 1 << 20;
        g.o.streaming = streaming, g.o.buffer_size = 1000, g.o.stream_samples = streaming, g.o.stream_window = 8;
        if (ground_load(&g, path) || graft_order_new(&order, graft_dataset_count(g.train), 8, 42, !streaming, &err)) _exit(1);
        for (int64_t epoch = 0; epoch < 2; epoch++)
            for (int64_t b = graft_order_epoch(&order, streaming ? 0 : epoch, &err); b < graft_order_batches(&order) && !(streaming && epoch); b++)
                for (int64_t i = 0, n = graft_order_batch(&order, b, &samples); i < n; i++) {
                    graft_sample s;
                    if (graft_dataset_get(g.train, samples[i], &s, &err) || s.n < 100) _exit(2);
                }
        kib = peak_kib();
        _exit(write(pipe_ends[1], &kib, sizeof kib) == sizeof kib ? 0 : 3);
    }
    int status;
    ck_assert(child > 0 && waitpid(child, &status, 0) == child);
    ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "status %x", (unsigned)status);
    ck_assert(read(pipe_ends[0], &kib, sizeof kib) == sizeof kib);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return kib;
}

START_TEST(constant)
{
    char small[4300], large[4300];
    const int records = 4000, times = 10;
    if (SANITIZED) {
        printf("skipped: a sanitizer's memory grows by itself\n");
        return;
    }
    snprintf(small, sizeof small, "%s", ground_file("small.jsonl", ""));
    snprintf(large, sizeof large, "%s", ground_file("large.jsonl", ""));
    big_file(small, records);
    big_file(large, records * times);
    for (int streaming = 0; streaming < 2; streaming++) {
        const long one = peak_of(small, streaming * records), ten = peak_of(large, streaming * records * times);
        printf("%s: %ld KiB for %d records, %ld KiB for %d\n", streaming ? "streaming" : "token cache", one, records, ten, records * times);
        ck_assert_msg((double)ten < 1.05 * (double)one, "%ld KiB became %ld KiB", one, ten);
    }
    graft_error err = GRAFT_ERROR_INIT;
    ck_assert_ok(graft_path_remove(small, &err));
    ck_assert_ok(graft_path_remove(large, &err));
}
END_TEST

static void cases(TCase *tc) { tcase_add_test(tc, constant); }

int main(void) { return graft_test_main("memory", cases); }
