/* core/base/error.c - see error.h. */
#include "core/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Copies text into out[room]; a text that is too long ends before the character that does not fit. */
static void copy_cut(char *out, size_t room, const char *text)
{
    size_t n = strlen(text);
    if (n >= room) {
        n = room - 1;
        while (n && ((unsigned char)text[n] & 0xC0) == 0x80) n--;
    }
    memcpy(out, text, n);
    out[n] = '\0';
}

graft_status graft_fail(graft_error *err, graft_status code, const char *where, const char *fmt, ...)
{
    if (!err) return code;
    /* Formatted aside first: the arguments may be fields of the same err, when one error wraps another. One byte more than fits shows where the cut falls. */
    char message[sizeof err->message + 4], place[sizeof err->where + 4];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(message, sizeof message, fmt, ap) < 0) message[0] = '\0';
    va_end(ap);
    snprintf(place, sizeof place, "%s", where ? where : "");
    err->size = (uint32_t)sizeof *err;
    err->code = code;
    copy_cut(err->where, sizeof err->where, place);
    copy_cut(err->message, sizeof err->message, message);
    return code;
}

const char *graft_error_text(const graft_error *err, char *out, size_t room)
{
    if (!room) return out;
    char both[sizeof err->where + sizeof err->message + 4];
    snprintf(both, sizeof both, "%s%s%s", err->where, err->where[0] ? ": " : "", err->message);
    copy_cut(out, room, both);
    return out;
}

enum { LONGEST_WORD = 64 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b; words of at most LONGEST_WORD bytes. */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t rows[3][LONGEST_WORD + 1], *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= nb; j++) last[j] = j;
    memcpy(before, last, sizeof rows[0]);
    for (size_t i = 1; i <= na; i++) {
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = least(now[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = last, last = now, now = spare;
    }
    return last[nb];
}

const char *graft_nearest(const char *word, const char *const *options, size_t n)
{
    const size_t length = word ? strlen(word) : 0;
    if (!length || length > LONGEST_WORD) return NULL;
    size_t best = length / 3 > 1 ? length / 3 : 1; /* a third of the word may be wrong, one letter of a short one */
    const char *found = NULL;
    for (size_t i = 0; i < n && options[i]; i++) {
        const size_t m = strlen(options[i]);
        if (!m || m > LONGEST_WORD) continue;
        const size_t d = distance(word, length, options[i], m);
        if (d <= best && d < length && d < m && (!found || d < best)) best = d, found = options[i];
    }
    return found;
}
