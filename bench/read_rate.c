/* bench/read_rate.c - how fast all threads together read memory: the roof of decoding, which reads every weight once a token.
 *
 *   read_rate [THREADS] [TRIES]
 *
 * Each thread adds up its own 256 MiB, more than any cache holds; the figure is the best of the tries. Prints one JSON line. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MOST = 64,
       SUMS = 8 };
static const size_t SIZE = (size_t)256 << 20;

typedef int numbers __attribute__((vector_size(64)));

typedef struct reader {
    const numbers *data;
    pthread_barrier_t *start, *end;
    int tries, total;
} reader;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *read_all(void *arg)
{
    reader *r = arg;
    for (int t = 0; t < r->tries; t++) {
        numbers sums[SUMS] = {{0}};
        pthread_barrier_wait(r->start);
        for (size_t i = 0; i < SIZE / sizeof(numbers); i += SUMS)
            for (int j = 0; j < SUMS; j++) sums[j] += r->data[i + (size_t)j];
        for (int j = 0; j < SUMS; j++) r->total += sums[j][t % 16];
        pthread_barrier_wait(r->end);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const int wanted = argc > 1 ? atoi(argv[1]) : (int)sysconf(_SC_NPROCESSORS_ONLN), tries = argc > 2 ? atoi(argv[2]) : 20;
    const int threads = wanted < 1 ? 1 : wanted > THREADS_MOST ? THREADS_MOST
                                                               : wanted;
    reader job[THREADS_MOST];
    pthread_t handle[THREADS_MOST];
    pthread_barrier_t start, end;
    pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&end, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        void *data = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data == MAP_FAILED) return 1;
        madvise(data, SIZE, MADV_HUGEPAGE);
        memset(data, 1, SIZE);
        job[i] = (reader){data, &start, &end, tries, 0};
        if (pthread_create(&handle[i], NULL, read_all, &job[i])) return 1;
    }
    double best = 0.0;
    for (int t = 0; t < tries; t++) {
        pthread_barrier_wait(&start);
        const double begin = now();
        pthread_barrier_wait(&end);
        const double rate = (double)threads * (double)SIZE / (now() - begin);
        best = rate > best ? rate : best;
    }
    int total = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(handle[i], NULL);
        total += job[i].total;
    }
    printf("{\"threads\": %d, \"bytes_per_s\": %.0f, \"check\": %d}\n", threads, best, total);
    return 0;
}
