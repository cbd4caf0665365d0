/* Stands in for libFuzzer where the compiler has none: replays every file of the folders given, then for a few seconds (GRAFT_FUZZ_SECONDS, default 3)
 * mutations of them from a fixed seed: bytes set, bits turned, pieces removed, doubled, swapped in from another file, ends cut, numbers made extreme.
 * A crash leaves its input in crash-input. */
#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "graft/random.h"
#include "tests/support/support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_BYTES = 1 << 16,
       MOST_SEEDS = 4096 };

typedef struct seed {
    char *data;
    size_t bytes;
} seed;

static seed seeds[MOST_SEEDS];
static size_t n_seeds;
static const uint8_t *current;
static size_t current_bytes;
static uint64_t draws;

static uint32_t draw(uint32_t below) { return below ? graft_random_u32(1, 2, 3, draws++) % below : 0; }

static void on_crash(int signal_number)
{
    graft_error err = GRAFT_ERROR_INIT;
    static const char message[] = "the input that crashed is in crash-input\n";
    graft_file_replace("crash-input", current, current_bytes, &err);
    if (write(STDERR_FILENO, message, sizeof message - 1) < 0) _exit(2);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* The target sees exact-sized memory, so that a sanitizer notices one byte too many. */
static void try(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = graft_calloc(bytes, 1);
    if (!copy) return;
    if (bytes) memcpy(copy, data, bytes);
    current = copy;
    current_bytes = bytes;
    LLVMFuzzerTestOneInput(copy, bytes);
    graft_free(copy);
}

static int load(const char *dir)
{
    graft_error err = GRAFT_ERROR_INIT;
    char **names, text[1200];
    size_t n;
    if (graft_dir_list(dir, &names, &n, &err)) {
        fprintf(stderr, "%s\n", graft_error_text(&err, text, sizeof text));
        return -1;
    }
    for (size_t i = 0; i < n && n_seeds < MOST_SEEDS; i++) {
        char *path = graft_path_join(dir, names[i]);
        seed *s = &seeds[n_seeds];
        if (path && !graft_file_read(path, 64 << 20, &s->data, &s->bytes, &err)) n_seeds++;
        graft_free(path);
    }
    graft_dir_list_free(names, n);
    return 0;
}

static size_t mutate(uint8_t *b, size_t n)
{
    static const uint8_t odd[] = {0, 1, 0x7F, 0x80, 0xFF, '"', '\\', '{', '}', '[', ']', ',', ':', '-', '0', '9', '\n', ' ', '&', '*', '<', '>', '|', '%', '\''};
    const uint32_t at = draw((uint32_t)n), length = 1 + draw(n - at > 64 ? 64 : (uint32_t)(n - at));
    switch (n ? draw(8) : 7) {
    case 0: b[at] ^= (uint8_t)(1u << draw(8)); return n;
    case 1: b[at] = odd[draw(sizeof odd)]; return n;
    case 2: b[at] = (uint8_t)draw(256); return n;
    case 3: /* remove a piece */
        if (at + length > n) return n;
        memmove(b + at, b + at + length, n - at - length);
        return n - length;
    case 4: /* double a piece */
        if (at + length > n || n + length > MOST_BYTES) return n;
        memmove(b + at + length, b + at, n - at);
        return n + length;
    case 5: return draw(4) ? n : at; /* cut the end */
    case 6:                          /* an extreme little-endian number of 2, 4 or 8 bytes */
        for (size_t i = 0, width = (size_t)2 << draw(3), high = draw(2); i < width && at + i < n; i++) b[at + i] = i + 1 == width && high ? 0x7F : 0xFF;
        return n;
    default: { /* a piece of another seed */
        const seed *s = &seeds[draw((uint32_t)n_seeds)];
        if (!s->bytes) return n;
        const size_t from = draw((uint32_t)(s->bytes < MOST_BYTES ? s->bytes : MOST_BYTES)), rest = s->bytes - from, piece = 1 + draw(rest > 64 ? 64 : (uint32_t)rest);
        if (piece > rest || n + piece > MOST_BYTES) return n;
        memmove(b + at + piece, b + at, n - at);
        memcpy(b + at, s->data + from, piece);
        return n + piece;
    }
    }
}

int main(int argc, char **argv)
{
    const char *wanted = getenv("GRAFT_FUZZ_SECONDS");
    const double seconds = wanted ? strtod(wanted, NULL) : 3.0;
    static uint8_t buffer[MOST_BYTES];
    long tried = 0;
    graft_plugin_link_static(graft_test_static_plugins);
    for (int i = 1; i < argc; i++)
        if (load(argv[i])) return 1;
    if (!n_seeds) {
        fprintf(stderr, "expected at least one seed in the folders given, found none\n");
        return 1;
    }
    const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], on_crash);
    try((const uint8_t *)"", 0);
    for (size_t i = 0; i < n_seeds; i++, tried++) try((const uint8_t *)seeds[i].data, seeds[i].bytes);
    struct timespec from, now;
    clock_gettime(CLOCK_MONOTONIC, &from);
    do {
        const seed *s = &seeds[draw((uint32_t)n_seeds)];
        size_t n = s->bytes < MOST_BYTES ? s->bytes : MOST_BYTES;
        memcpy(buffer, s->data, n);
        for (uint32_t k = 1 + draw(6); k; k--) n = mutate(buffer, n);
        try(buffer, n);
        tried++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - from.tv_sec) + (double)(now.tv_nsec - from.tv_nsec) * 1e-9 < seconds);
    printf("%ld inputs, %zu of them stored\n", tried, n_seeds);
    for (size_t i = 0; i < n_seeds; i++) graft_free(seeds[i].data);
    return 0;
}
