/* core/model/jinja_texts.c - what a chat template may do with texts: Python's methods (x.strip()), and the filters that work on what is printed (x | trim). */
#include "core/model/jinja_parts.h"

#include "core/base/error.h"

#include <string.h>
#include <utf8proc.h>

static int is_text(const graft_json *v) { return v && v->type == GRAFT_JSON_TEXT; }
static int is_list(const graft_json *v) { return v && v->type == GRAFT_JSON_ARRAY; }
static int is_number(const graft_json *v) { return v && v->type == GRAFT_JSON_NUMBER; }

static const graft_json *finish(graft_jinja_run *r, int line, graft_str *text)
{
    const graft_json *v = text->failed ? graft_jinja_fail(r, line, "a text grows too large") : graft_jinja_text(r, text->data, text->bytes);
    graft_str_free(text);
    return v;
}

static const graft_json *printed(graft_jinja_run *r, int line, const graft_json *v)
{
    graft_str text;
    if (is_text(v)) return v;
    graft_str_init(&text, 0);
    graft_jinja_print(r, &text, v, 0);
    return finish(r, line, &text);
}

/* ---- pieces ------------------------------------------------------------------------------------------------------------------------------- */

/* Python's white space in UTF-8 at s (or ending at it, for backward): its length, or 0. */
static size_t white(const char *s, size_t n)
{
    static const char *const wide[] = {"\xC2\x85", "\xC2\xA0", "\xE1\x9A\x80", "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    if (!n) return 0;
    if (*s == ' ' || (*s >= '\t' && *s <= '\r') || (*s >= 0x1C && *s <= 0x1F)) return 1;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (n >= strlen(wide[i]) && !memcmp(s, wide[i], strlen(wide[i]))) return strlen(wide[i]);
    return n >= 3 && !memcmp(s, "\xE2\x80", 2) && (unsigned char)s[2] >= 0x80 && (unsigned char)s[2] <= 0x8A ? 3 : 0;
}

/* set: characters to take, NULL: white space. */
static size_t to_strip(const char *s, size_t n, const graft_json *set)
{
    const size_t k = n ? (size_t)graft_utf8_length(s, n) : 0;
    if (!set) return white(s, n);
    return k && set->bytes >= k && memmem(set->text, set->bytes, s, k) ? k : 0;
}

static const graft_json *strip(graft_jinja_run *r, const graft_json *v, const graft_json *set, int left, int right)
{
    size_t from = 0, end = v->bytes, k;
    if (!is_text(set)) set = NULL;
    while (left && (k = to_strip(v->text + from, end - from, set))) from += k;
    while (right && end > from) {
        size_t begin = end - 1;
        while (begin > from && ((unsigned char)v->text[begin] & 0xC0) == 0x80) begin--;
        if (to_strip(v->text + begin, end - begin, set) != end - begin) break;
        end = begin;
    }
    return graft_jinja_text(r, v->text + from, end - from);
}

static const graft_json *replaced(graft_jinja_run *r, int line, const graft_json *v, const graft_json *from, const graft_json *to, const graft_json *most)
{
    graft_str out;
    int64_t left = is_number(most) ? most->integer : -1;
    if (!is_text(v) || !is_text(from) || !is_text(to)) return graft_jinja_fail(r, line, "replace needs texts");
    graft_str_init(&out, 64 << 20);
    for (size_t i = 0; i < v->bytes;) {
        const int hit = left && from->bytes && v->bytes - i >= from->bytes && !memcmp(v->text + i, from->text, from->bytes);
        if (hit) graft_str_add(&out, to->text, to->bytes), i += from->bytes, left--;
        else graft_str_add(&out, v->text + i++, 1);
    }
    return finish(r, line, &out);
}

/* split(): by runs of white space, or by a text; most: how often at most, from the right when so asked. */
static const graft_json *split(graft_jinja_run *r, const graft_json *v, const graft_json *by, int64_t most, int from_right)
{
    graft_json *list = graft_jinja_list(r);
    if (!list) return NULL;
    if (!is_text(by) || !by->bytes) {
        for (size_t i = 0, k, start; i < v->bytes;) {
            while ((k = white(v->text + i, v->bytes - i))) i += k;
            start = i;
            if (most == 0) i = v->bytes;
            while (i < v->bytes && !white(v->text + i, v->bytes - i)) i++;
            if (i > start) graft_jinja_push(r, list, graft_jinja_text(r, v->text + start, i - start)), most--;
        }
        return list;
    }
    int64_t all = 0, skip = 0;
    for (size_t i = 0; i + by->bytes <= v->bytes;) {
        const int hit = !memcmp(v->text + i, by->text, by->bytes);
        all += hit, i += hit ? by->bytes : 1;
    }
    if (most >= 0 && from_right && all > most) skip = all - most;
    size_t start = 0;
    for (size_t i = 0; i + by->bytes <= v->bytes && most;) {
        if (memcmp(v->text + i, by->text, by->bytes)) {
            i++;
            continue;
        }
        i += by->bytes;
        if (skip-- > 0) continue;
        graft_jinja_push(r, list, graft_jinja_text(r, v->text + start, i - by->bytes - start));
        start = i, most -= most > 0;
    }
    graft_jinja_push(r, list, graft_jinja_text(r, v->text + start, v->bytes - start));
    return list;
}

/* One character in upper or lower case; a letter without a counterpart stays. */
static void put_cased(graft_str *out, const char *s, size_t n, int upper)
{
    utf8proc_int32_t code = 0;
    utf8proc_uint8_t bytes[4];
    if (upper && n == 2 && !memcmp(s, "\xC3\x9F", 2)) { /* sharp s */
        graft_str_text(out, "SS");
        return;
    }
    if (utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &code) != (utf8proc_ssize_t)n) {
        graft_str_add(out, s, n);
        return;
    }
    const utf8proc_ssize_t k = utf8proc_encode_char(upper ? utf8proc_toupper(code) : utf8proc_tolower(code), bytes);
    graft_str_add(out, (const char *)bytes, k > 0 ? (size_t)k : 0);
}

/* Is the character a letter; of a case: 'u', 'l', or 'd' a digit, 'n' none of these. */
static char kind_of(const char *s, size_t n)
{
    utf8proc_int32_t code = 0;
    if (utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &code) < 1) return 'n';
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU: return 'u';
    case UTF8PROC_CATEGORY_LL: return 'l';
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return 'o'; /* a letter without case */
    case UTF8PROC_CATEGORY_ND: return 'd';
    default: return 'n';
    }
}

static size_t step(const char *s, size_t n)
{
    const int k = graft_utf8_length(s, n);
    return k > 0 ? (size_t)k : 1;
}

/* how: 'u' upper, 'l' lower, 'c' capitalize, 's' swapcase, 't' str.title (a letter behind none is large), 'w' the filter title (words behind blanks and - ( { [ <). */
static const graft_json *cased(graft_jinja_run *r, int line, const graft_json *v, char how)
{
    graft_str out;
    int begins = 1;
    graft_str_init(&out, JINJA_OUTPUT_MAX);
    for (size_t i = 0, n; i < v->bytes; i += n) {
        n = step(v->text + i, v->bytes - i);
        const char kind = kind_of(v->text + i, n);
        put_cased(&out, v->text + i, n, how == 'u' || (how == 's' ? kind == 'l' : how != 'l' && begins));
        if (how == 't') begins = kind == 'n' || kind == 'd';
        else if (how == 'w') begins = white(v->text + i, n) || (n == 1 && strchr("-({[<", v->text[i]));
        else begins = 0;
    }
    return finish(r, line, &out);
}

int graft_jinja_cased(const graft_json *v, int upper)
{
    int any = 0;
    for (size_t i = 0, n; i < v->bytes; i += n) {
        n = step(v->text + i, v->bytes - i);
        const char kind = kind_of(v->text + i, n);
        if (kind == (upper ? 'l' : 'u')) return 0;
        any |= kind == (upper ? 'u' : 'l');
    }
    return any;
}

/* Are all characters of these kinds, and is there one? blank: white space counts and nothing else. */
static int all_of(const graft_json *v, const char *kinds, int blank)
{
    for (size_t i = 0, n; i < v->bytes; i += n) {
        n = step(v->text + i, v->bytes - i);
        if (blank ? !white(v->text + i, n) : !strchr(kinds, kind_of(v->text + i, n))) return 0;
    }
    return v->bytes > 0;
}

/* Filled up to a width: 'l' on the right, 'r' on the left, 'c' on both, 'z' with zeros behind a sign. */
static const graft_json *filled(graft_jinja_run *r, int line, const graft_json *v, const graft_json *width, const graft_json *with, char how)
{
    int64_t have = 0, want = graft_jinja_is_whole(width) ? width->integer : 0;
    const size_t sign = how == 'z' && v->bytes && (*v->text == '-' || *v->text == '+');
    graft_str out;
    for (size_t i = 0; i < v->bytes; i++) have += ((unsigned char)v->text[i] & 0xC0) != 0x80;
    if (want > 100000) return graft_jinja_fail(r, line, "a width is too large");
    const int64_t room = want > have ? want - have : 0, left = how == 'l' ? 0 : how == 'c' ? room / 2 + (room & want & 1)
                                                                                           : room;
    graft_str_init(&out, JINJA_OUTPUT_MAX);
    graft_str_add(&out, v->text, sign);
    for (int64_t i = 0; i < room; i++) {
        if (i == left) graft_str_add(&out, v->text + sign, v->bytes - sign);
        if (how == 'z') graft_str_text(&out, "0");
        else graft_str_add(&out, is_text(with) && with->bytes ? with->text : " ", is_text(with) && with->bytes ? with->bytes : 1);
    }
    if (left >= room) graft_str_add(&out, v->text + sign, v->bytes - sign);
    return finish(r, line, &out);
}

/* (before, the text, behind), at its first or last place. */
static const graft_json *parts(graft_jinja_run *r, const graft_json *v, const graft_json *by, int last)
{
    const char *at = NULL;
    graft_json *list = graft_jinja_list(r);
    for (size_t i = 0; is_text(by) && by->bytes && i + by->bytes <= v->bytes && (last || !at); i++)
        if (!memcmp(v->text + i, by->text, by->bytes)) at = v->text + i;
    if (!list) return NULL;
    const size_t before = at ? (size_t)(at - v->text) : last ? 0
                                                             : v->bytes;
    graft_jinja_push(r, list, graft_jinja_text(r, v->text, before));
    graft_jinja_push(r, list, graft_jinja_text(r, at ? by->text : "", at ? by->bytes : 0));
    const size_t behind = at ? before + by->bytes : before;
    graft_jinja_push(r, list, graft_jinja_text(r, v->text + behind, v->bytes - behind));
    list->integral = 1;
    return list;
}

static const graft_json *escaped(graft_jinja_run *r, int line, const graft_json *v)
{
    graft_str out;
    graft_str_init(&out, JINJA_OUTPUT_MAX);
    for (size_t i = 0; i < v->bytes; i++) {
        const char c = v->text[i];
        if (c == '&') graft_str_text(&out, "&amp;");
        else if (c == '<') graft_str_text(&out, "&lt;");
        else if (c == '>') graft_str_text(&out, "&gt;");
        else if (c == '"') graft_str_text(&out, "&#34;");
        else if (c == '\'') graft_str_text(&out, "&#39;");
        else graft_str_add(&out, &c, 1);
    }
    return finish(r, line, &out);
}

/* Characters before the first or last place of x, -1: there is none. */
static int64_t place_of(const graft_json *v, const graft_json *x, int last)
{
    int64_t n = 0, found = -1;
    for (size_t i = 0; is_text(x) && i + x->bytes <= v->bytes && (last || found < 0); i++) {
        if (((unsigned char)v->text[i] & 0xC0) == 0x80) continue;
        if (!memcmp(v->text + i, x->text, x->bytes)) found = n;
        n++;
    }
    return found < 0 && is_text(x) && !x->bytes ? 0 : found;
}

static int begins(const graft_json *v, const graft_json *with) { return is_text(with) && v->bytes >= with->bytes && !memcmp(v->text, with->text, with->bytes); }
static int ends(const graft_json *v, const graft_json *with) { return is_text(with) && v->bytes >= with->bytes && !memcmp(v->text + v->bytes - with->bytes, with->text, with->bytes); }

static int any_of(const graft_json *v, const graft_json *with, int (*has)(const graft_json *v, const graft_json *with))
{
    if (!is_list(with)) return has(v, with);
    for (const graft_json *m = with->child; m; m = m->next)
        if (has(v, m)) return 1;
    return 0;
}

const graft_json *graft_jinja_join(graft_jinja_run *r, int line, const graft_json *list, const graft_json *with, const char *attribute)
{
    graft_str out;
    const graft_json *items = graft_jinja_items(r, line, list);
    graft_str_init(&out, 64 << 20);
    for (const graft_json *m = items ? items->child : NULL; m; m = m->next) {
        if (m != items->child && is_text(with)) graft_str_add(&out, with->text, with->bytes);
        graft_jinja_print(r, &out, attribute ? graft_json_get(m, attribute) : m, 0);
    }
    return finish(r, line, &out);
}

/* ---- methods ----------------------------------------------------------------------------------------------------------------------------- */

const graft_json *graft_jinja_text_method(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *x = graft_jinja_argument(args, 0, NULL), *y = graft_jinja_argument(args, 1, NULL), *most = graft_jinja_argument(args, 1, "maxsplit");
    const int64_t times = is_number(most) ? most->integer : -1;
    if (!strcmp(name, "strip")) return strip(r, v, x, 1, 1);
    if (!strcmp(name, "lstrip")) return strip(r, v, x, 1, 0);
    if (!strcmp(name, "rstrip")) return strip(r, v, x, 0, 1);
    if (!strcmp(name, "split")) return split(r, v, x, times, 0);
    if (!strcmp(name, "rsplit")) return split(r, v, x, times, 1);
    if (!strcmp(name, "splitlines")) {
        const graft_json *lines = split(r, v, graft_jinja_text(r, "\n", 1), -1, 0);
        const int cut = v->bytes && v->text[v->bytes - 1] == '\n';
        graft_json *kept = graft_jinja_list(r);
        for (const graft_json *m = v->bytes && lines ? lines->child : NULL; m; m = m->next)
            if (m->next || !cut) graft_jinja_push(r, kept, m);
        return kept;
    }
    if (!strcmp(name, "startswith")) return graft_jinja_flag(r, any_of(v, x, begins));
    if (!strcmp(name, "endswith")) return graft_jinja_flag(r, any_of(v, x, ends));
    if (!strcmp(name, "removeprefix")) return begins(v, x) ? graft_jinja_text(r, v->text + x->bytes, v->bytes - x->bytes) : v;
    if (!strcmp(name, "removesuffix")) return ends(v, x) ? graft_jinja_text(r, v->text, v->bytes - x->bytes) : v;
    if (!strcmp(name, "replace")) return replaced(r, args->line, v, x, y, graft_jinja_argument(args, 2, "count"));
    if (!strcmp(name, "join")) return graft_jinja_join(r, args->line, x, v, NULL);
    if (!strcmp(name, "upper")) return cased(r, args->line, v, 'u');
    if (!strcmp(name, "lower")) return cased(r, args->line, v, 'l');
    if (!strcmp(name, "title")) return cased(r, args->line, v, 't');
    if (!strcmp(name, "capitalize")) return cased(r, args->line, v, 'c');
    if (!strcmp(name, "swapcase")) return cased(r, args->line, v, 's');
    if (!strcmp(name, "casefold")) return cased(r, args->line, v, 'l');
    if (!strcmp(name, "find") || !strcmp(name, "rfind")) return graft_jinja_int(r, place_of(v, x, name[0] == 'r'));
    if (!strcmp(name, "index") || !strcmp(name, "rindex")) return place_of(v, x, name[0] == 'r') < 0 ? graft_jinja_fail(r, args->line, "a text does not hold what is looked for") : graft_jinja_int(r, place_of(v, x, name[0] == 'r'));
    if (!strcmp(name, "partition") || !strcmp(name, "rpartition")) return parts(r, v, x, name[0] == 'r');
    if (!strcmp(name, "format")) return graft_jinja_format(r, v, args);
    if (!strcmp(name, "isalpha")) return graft_jinja_flag(r, all_of(v, "ulo", 0));
    if (!strcmp(name, "isdigit") || !strcmp(name, "isdecimal") || !strcmp(name, "isnumeric")) return graft_jinja_flag(r, all_of(v, "d", 0));
    if (!strcmp(name, "isalnum")) return graft_jinja_flag(r, all_of(v, "ulod", 0));
    if (!strcmp(name, "isspace")) return graft_jinja_flag(r, all_of(v, "", 1));
    if (!strcmp(name, "isupper") || !strcmp(name, "islower")) return graft_jinja_flag(r, graft_jinja_cased(v, name[2] == 'u'));
    if (!strcmp(name, "zfill")) return filled(r, args->line, v, x, NULL, 'z');
    if (!strcmp(name, "ljust") || !strcmp(name, "rjust") || !strcmp(name, "center")) return filled(r, args->line, v, x, y, name[0]);
    if (!strcmp(name, "count")) {
        const graft_json *parts = is_text(x) && x->bytes ? split(r, v, x, -1, 0) : NULL;
        return graft_jinja_int(r, parts ? parts->count - 1 : 0);
    }
    return graft_jinja_fail(r, args->line, "a text has no method \"%.60s\"", name);
}

/* ---- filters ----------------------------------------------------------------------------------------------------------------------------- */

static const graft_json *indented(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *width = graft_jinja_argument(args, 0, "width");
    const int64_t n = is_number(width) ? width->integer : 4;
    int due = graft_jinja_true(graft_jinja_argument(args, 1, "first"));
    graft_str out;
    graft_str_init(&out, 64 << 20);
    for (size_t i = 0; i < v->bytes; i++) {
        for (int64_t k = 0; due && v->text[i] != '\n' && k < n && !out.failed; k++) graft_str_text(&out, " ");
        graft_str_add(&out, v->text + i, 1);
        due = v->text[i] == '\n';
    }
    return finish(r, args->line, &out);
}

const graft_json *graft_jinja_text_filter(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args, int *known)
{
    *known = 1;
    if (!strcmp(name, "string") || !strcmp(name, "safe")) return printed(r, args->line, v);
    const graft_json *text = printed(r, args->line, v);
    if (!text) return NULL;
    if (!strcmp(name, "trim")) return strip(r, text, graft_jinja_argument(args, 0, "chars"), 1, 1);
    if (!strcmp(name, "upper")) return cased(r, args->line, text, 'u');
    if (!strcmp(name, "lower")) return cased(r, args->line, text, 'l');
    if (!strcmp(name, "title")) return cased(r, args->line, text, 'w');
    if (!strcmp(name, "capitalize")) return cased(r, args->line, text, 'c');
    if (!strcmp(name, "indent")) return indented(r, text, args);
    if (!strcmp(name, "replace")) return replaced(r, args->line, text, graft_jinja_argument(args, 0, "old"), graft_jinja_argument(args, 1, "new"), graft_jinja_argument(args, 2, "count"));
    if (!strcmp(name, "e") || !strcmp(name, "escape")) return escaped(r, args->line, text);
    if (!strcmp(name, "center")) return filled(r, args->line, text, graft_jinja_argument(args, 0, "width"), NULL, 'c');
    if (!strcmp(name, "wordcount")) {
        const graft_json *all = split(r, text, NULL, -1, 0);
        return graft_jinja_int(r, all ? all->count : 0);
    }
    *known = 0;
    return NULL;
}
