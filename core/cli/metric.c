/* core/cli/metric.c - see metric.h. Words and characters become hashes of 64 bits, n-grams hashes of those. */
#include "core/cli/metric.h"

#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct items {
    uint64_t *at;
    int64_t n;
} items;

static const uint64_t seed = 0xcbf29ce484222325u;

static uint64_t mix(uint64_t h, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)bytes[i]) * 0x100000001b3u;
    return h;
}

/* ---- cutting ----------------------------------------------------------------------------------------------------------------- */

static size_t char_bytes(const char *p, size_t left)
{
    const int n = graft_utf8_length(p, left);
    return n > 0 ? (size_t)n : 1;
}

static graft_status characters(const char *text, size_t bytes, items *out, graft_error *err)
{
    out->n = 0;
    out->at = graft_calloc(bytes + 1, sizeof *out->at);
    if (!out->at) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    for (size_t i = 0, n; i < bytes; i += n) {
        n = char_bytes(text + i, bytes - i);
        out->at[out->n++] = mix(seed, text + i, n);
    }
    return GRAFT_OK;
}

static int is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }
static int is_digit(char c) { return c >= '0' && c <= '9'; }
static int is_mark(char c) { return c == '+' || c == '#' || c == '&' || c == '.' || c == '_' || c == '%' || c == '-'; }
static int is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f); }

/* Bytes of the word at p: letters and digits with a fraction and a per cent sign, a run of +#&._%-, or one character. */
static size_t word_bytes(const char *p, size_t left)
{
    size_t n = 0;
    if (is_letter(*p)) {
        while (n < left && is_letter(p[n])) n++;
        if (n + 1 < left && p[n] == '.' && is_digit(p[n + 1]))
            for (n++; n < left && is_digit(p[n]); n++) {}
        return n < left && p[n] == '%' ? n + 1 : n;
    }
    while (n < left && is_mark(p[n])) n++;
    return n ? n : char_bytes(p, left);
}

static size_t space_bytes(const char *p, size_t left)
{
    if (is_space(*p)) return 1;
    if (left > 1 && !memcmp(p, "\xc2\xa0", 2)) return 2;
    if (left > 2 && !memcmp(p, "\xe3\x80\x80", 3)) return 3;
    return left > 2 && (!memcmp(p, "\xe2\x80\xa8", 3) || !memcmp(p, "\xe2\x80\xa9", 3)) ? 3 : 0;
}

static int ends_sentence(const char *p, size_t n)
{
    static const char *const marks[] = {"?", "\xef\xbc\x9f", "\xef\xbc\x81", "\xe3\x80\x82"};
    for (size_t i = 0; i < 4; i++)
        if (strlen(marks[i]) == n && !memcmp(p, marks[i], n)) return 1;
    return n >= 6 && !memcmp(p + n - 6, "......", 6);
}

/* An empty line, and a line's end behind a sentence's, count as a word without characters there: both sides have them alike. */
static graft_status words(const char *text, size_t bytes, items *out, graft_error *err)
{
    int broken = 1, written = 0;
    out->n = 0;
    out->at = graft_calloc(2 * bytes + 1, sizeof *out->at);
    if (!out->at) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    while (bytes && is_space(text[bytes - 1])) bytes--;
    for (size_t i = 0, n; i < bytes; i += n) {
        if ((n = space_bytes(text + i, bytes - i))) {
            if (text[i] == '\n' && broken && (written || i)) out->at[out->n++] = seed;
            if (text[i] == '\n') broken = 1;
            continue;
        }
        n = word_bytes(text + i, bytes - i);
        out->at[out->n++] = mix(seed, text + i, n);
        written = 1;
        broken = ends_sentence(text + i, n);
    }
    return GRAFT_OK;
}

/* ---- counting ----------------------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sorted hashes of all runs of n; graft_free. */
static uint64_t *grams(const items *x, int64_t n, int64_t *count)
{
    *count = x->n >= n ? x->n - n + 1 : 0;
    uint64_t *all = graft_calloc((size_t)*count + 1, sizeof *all);
    for (int64_t i = 0; all && i < *count; i++) {
        all[i] = seed;
        for (int64_t k = 0; k < n; k++) all[i] = mix(all[i], (const char *)&x->at[i + k], sizeof x->at[0]);
    }
    if (all) qsort(all, (size_t)*count, sizeof *all, by_value);
    return all;
}

static int64_t unique(uint64_t *all, int64_t n)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (!i || all[i] != all[i - 1]) all[kept++] = all[i];
    return kept;
}

/* How many of two sorted lists are in both, each as often as in both. */
static int64_t common(const uint64_t *a, int64_t n, const uint64_t *b, int64_t m)
{
    int64_t found = 0;
    for (int64_t i = 0, k = 0; i < n && k < m;) {
        if (a[i] == b[k]) found++, i++, k++;
        else if (a[i] < b[k]) i++;
        else k++;
    }
    return found;
}

static double f1(int64_t same, int64_t n, int64_t m)
{
    const double p = n ? (double)same / (double)n : 0, r = m ? (double)same / (double)m : 0;
    return 2.0 * (p * r / (p + r + 1e-8));
}

static double rounded(double share) { return round(share * 100 * 1e4) / 1e4; }

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory while comparing texts"); }

static graft_status rouge_n(const items *x, const items *y, int64_t n, double *out, graft_error *err)
{
    int64_t a = 0, b = 0;
    uint64_t *p = grams(x, n, &a), *q = grams(y, n, &b);
    if (p && q) {
        a = unique(p, a), b = unique(q, b);
        *out = rounded(f1(common(p, a, q, b), a, b));
    }
    const graft_status s = p && q ? GRAFT_OK : no_memory(err);
    graft_free(p);
    graft_free(q);
    return s;
}

static graft_status rouge_l(const items *x, const items *y, double *out, graft_error *err)
{
    int64_t *row = graft_calloc((size_t)y->n + 1, sizeof *row);
    if (!row) return no_memory(err);
    for (int64_t i = 0; i < x->n; i++) {
        int64_t before = 0; /* of the row above, one to the left */
        for (int64_t k = 0; k < y->n; k++) {
            const int64_t above = row[k + 1];
            row[k + 1] = x->at[i] == y->at[k] ? before + 1 : above > row[k] ? above
                                                                            : row[k];
            before = above;
        }
    }
    *out = rounded(f1(row[y->n], x->n, y->n));
    graft_free(row);
    return GRAFT_OK;
}

static graft_status bleu4(const items *x, const items *y, double *out, graft_error *err)
{
    double sum = 0, smooth = 1;
    *out = 0;
    for (int64_t n = 1; n <= 4; n++) {
        int64_t a = 0, b = 0;
        uint64_t *p = grams(x, n, &a), *q = grams(y, n, &b);
        const int64_t same = p && q ? common(p, a, q, b) : 0;
        const int failed = !p || !q;
        graft_free(p);
        graft_free(q);
        if (failed) return no_memory(err);
        if (n == 1 && !same) return GRAFT_OK;
        const double of = a > 0 ? (double)a : 1;
        sum += 0.25 * log(same ? (double)same / of : 1 / ((smooth *= 2) * of));
    }
    *out = rounded(exp(sum) * (x->n > y->n ? 1 : exp(1 - (double)y->n / (double)x->n)));
    return GRAFT_OK;
}

graft_status graft_likeness_of(const char *text, size_t bytes, const char *expected, size_t expected_bytes, graft_likeness *out, graft_error *err)
{
    items a = {0}, b = {0}, c = {0}, d = {0};
    *out = (graft_likeness){0};
    graft_status s = characters(text, bytes, &a, err);
    if (!s) s = characters(expected, expected_bytes, &b, err);
    if (!s) s = words(text, bytes, &c, err);
    if (!s) s = words(expected, expected_bytes, &d, err);
    if (!s) s = bleu4(&a, &b, &out->bleu4, err);
    if (!s && c.n && d.n) s = rouge_n(&c, &d, 1, &out->rouge1, err);
    if (!s && c.n && d.n) s = rouge_n(&c, &d, 2, &out->rouge2, err);
    if (!s && c.n && d.n) s = rouge_l(&c, &d, &out->rougel, err);
    graft_free(a.at);
    graft_free(b.at);
    graft_free(c.at);
    graft_free(d.at);
    return s;
}
