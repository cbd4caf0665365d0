/* bench/tokenizer - how fast texts become ids, on one thread.
 *
 *   bench/tokenizer TOKENIZER SECONDS FILE ...     the lines of the files, each by itself, again and again for so many seconds of processor time
 *   bench/tokenizer TOKENIZER --adversarial        runs of one letter, blanks, digits, CJK, mixed, of 2^14 to 2^20 bytes: the time a byte must stay as it is
 *
 * TOKENIZER: a tokenizer.json, or a folder, whose other files then count too. Prints one JSON line: MB a second of processor time, ids of one pass (to compare with), seconds to load. */
#include "core/model/tokenizer.h"
#include "core/base/error.h"
#include "core/base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double processor(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int fail(const graft_error *err)
{
    char text[2000];
    fprintf(stderr, "%s\n", graft_error_text(err, text, sizeof text));
    return 1;
}

typedef struct line {
    const char *s;
    size_t n;
} line;

static graft_status lines_of(const char *path, line **lines, size_t *n, size_t *room, size_t *bytes, graft_error *err)
{
    char *text;
    size_t size;
    if (graft_file_read(path, 1 << 30, &text, &size, err)) return err->code;
    for (const char *p = text, *end = text + size, *stop; p < end; p = stop + 1) {
        stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop) stop = end;
        if (graft_grow((void **)lines, room, *n + 1, sizeof **lines)) return graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory");
        (*lines)[(*n)++] = (line){p, (size_t)(stop - p)};
        *bytes += (size_t)(stop - p);
    }
    return GRAFT_OK;
}

static int adversarial(const graft_tokenizer *t, graft_error *err)
{
    static const struct {
        const char *name, *unit;
    } kinds[] = {{"letters", "a"}, {"blanks", " "}, {"digits", "7"}, {"cjk", "\xE4\xB8\xAD"}, {"newlines", "\n"}, {"mixed", "ab1 \xE4\xB8\xAD\n.,"}, {"zwj", "\xE2\x80\x8D"}, {"words", "qzxv"}};
    graft_ids ids = {0};
    int quadratic = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        double first = 0, last = 0;
        for (int shift = 14; shift <= 20; shift += 2) {
            const size_t unit = strlen(kinds[k].unit), n = ((size_t)1 << shift) / unit * unit;
            char *text = graft_calloc(n + 1, 1);
            for (size_t i = 0; i < n; i += unit) memcpy(text + i, kinds[k].unit, unit);
            double best = 1e9;
            for (int run = 0; run < (shift < 18 ? 20 : 3); run++) {
                ids.n = 0;
                const double began = processor();
                if (graft_tokenizer_encode(t, text, n, 0, &ids, err)) return fail(err);
                if (processor() - began < best) best = processor() - began;
            }
            graft_free(text);
            last = best / (double)n * 1e9;
            if (shift == 14) first = last;
            printf("%-9s %8zu bytes %8zu ids %8.2f ns a byte\n", kinds[k].name, n, ids.n, last);
        }
        quadratic += last > 4 * first && last > 100;
    }
    graft_ids_free(&ids);
    printf("%s\n", quadratic ? "NOT linear" : "linear");
    return quadratic ? 1 : 0;
}

int main(int argc, char **argv)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *t;
    line *lines = NULL;
    size_t n = 0, room = 0, bytes = 0, ids_of_a_pass = 0;
    graft_ids ids = {0};
    if (argc < 3) return fprintf(stderr, "usage: bench/tokenizer TOKENIZER SECONDS FILE ... | TOKENIZER --adversarial\n"), 2;
    double began = processor();
    if (graft_tokenizer_open(argv[1], &t, &err)) return fail(&err);
    const double load = processor() - began, seconds = strtod(argv[2], NULL);
    if (!strcmp(argv[2], "--adversarial")) return adversarial(t, &err);
    for (int i = 3; i < argc; i++)
        if (lines_of(argv[i], &lines, &n, &room, &bytes, &err)) return fail(&err);
    int passes = 0;
    for (began = processor(); !passes || processor() - began < seconds; passes++) {
        ids_of_a_pass = 0;
        for (size_t i = 0; i < n; i++) {
            ids.n = 0;
            if (graft_tokenizer_encode(t, lines[i].s, lines[i].n, 0, &ids, &err)) return fail(&err);
            ids_of_a_pass += ids.n;
        }
    }
    printf("{\"mb_per_s\": %.2f, \"ids\": %zu, \"bytes\": %zu, \"passes\": %d, \"load_s\": %.3f}\n", (double)bytes * passes / (processor() - began) / 1e6, ids_of_a_pass, bytes, passes, load);
    graft_tokenizer_close(t);
    return 0;
}
