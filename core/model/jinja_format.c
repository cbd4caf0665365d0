/* core/model/jinja_format.c - Python's two ways to format: "%s has %d" % (a, b), and "{} has {n:>5}".format(a, n=b) (jinja_parts.h).
 *
 *   % flags width .precision letter      flags - + space 0 #; letters s r a d i u x X o e E f F g G c %; %(key)s from a mapping
 *   { field ! conversion : spec }        field: number or name, then .member or [item]; spec: [fill] < > ^ = sign # 0 width , _ .precision type */
#include "core/model/jinja_parts.h"

#include "core/base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH_MAX = 4096 };

typedef struct spec {
    char fill[5], align, sign, type, group;
    int width, precision, alternate; /* precision -1: not said */
} spec;

static int64_t characters(const char *s, size_t n)
{
    int64_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((unsigned char)s[i] & 0xC0) != 0x80;
    return count;
}

static int digits_at(const char *s, size_t n, size_t *i)
{
    int v = 0;
    for (; *i < n && s[*i] >= '0' && s[*i] <= '9'; ++*i) v = v < WIDTH_MAX ? v * 10 + (s[*i] - '0') : v;
    return v < WIDTH_MAX ? v : WIDTH_MAX;
}

/* ---- one value ---------------------------------------------------------------------------------------------------------------------- */

/* Digits of a number without its sign: as the type wants them, thousands parted by s->group. */
static void digits(graft_str *out, const spec *s, const graft_json *v)
{
    char text[512], how[16];
    const double d = fabs(graft_jinja_number_of(v));
    const uint64_t whole = (uint64_t)(v->integer < 0 ? -(v->integer + 1) : v->integer) + (v->integer < 0);
    if (s->type == 'x' || s->type == 'X') snprintf(text, sizeof text, s->type == 'x' ? (s->alternate ? "0x%llx" : "%llx") : (s->alternate ? "0X%llX" : "%llX"), (unsigned long long)whole);
    else if (s->type == 'o') snprintf(text, sizeof text, s->alternate ? "0o%llo" : "%llo", (unsigned long long)whole);
    else if (s->type == 'd') snprintf(text, sizeof text, "%llu", (unsigned long long)whole);
    else if (s->type == '%') snprintf(text, sizeof text, "%.*f%%", s->precision < 0 ? 6 : s->precision, d * 100);
    else if (s->type) {
        snprintf(how, sizeof how, "%%%s.*%c", s->alternate ? "#" : "", s->type);
        const int n = snprintf(text, sizeof text, how, s->precision < 0 ? 6 : s->precision, d);
        if (n < 0 || n >= (int)sizeof text) snprintf(text, sizeof text, "%g", d);
    } else {
        graft_str r;
        graft_str_init(&r, 0);
        if (graft_jinja_is_whole(v)) graft_str_printf(&r, "%llu", (unsigned long long)whole);
        else if (s->precision >= 0) graft_str_printf(&r, "%.*g", s->precision ? s->precision : 1, d);
        else graft_str_double(&r, d);
        snprintf(text, sizeof text, "%s", r.data ? r.data : "");
        graft_str_free(&r);
    }
    const size_t point = strspn(text, "0123456789");
    for (size_t i = 0; text[i]; i++) {
        if (s->group && i && i < point && (point - i) % 3 == 0) graft_str_add(out, &s->group, 1);
        graft_str_add(out, text + i, 1);
    }
}

static void padding(graft_str *out, const char *fill, int64_t n)
{
    for (; n > 0 && !out->failed; n--) graft_str_text(out, fill);
}

static void padded(graft_str *out, const spec *s, const char *sign, const graft_str *body, char usual)
{
    const char align = s->align ? s->align : usual;
    const int64_t room = s->width - characters(body->data ? body->data : "", body->bytes) - (int64_t)strlen(sign), left = align == '>' ? room : align == '^' ? room / 2
                                                                                                                                                             : 0;
    const char *fill = *s->fill ? s->fill : " ";
    padding(out, fill, left);
    graft_str_text(out, sign);
    if (align == '=') padding(out, fill, room);
    graft_str_add(out, body->data ? body->data : "", body->bytes);
    if (align != '=') padding(out, fill, room > 0 ? room - (left > 0 ? left : 0) : 0);
}

/* repr: 'r' or 0. */
static void text_value(graft_jinja_run *r, graft_str *out, const spec *s, const graft_json *v, char repr)
{
    graft_str body;
    graft_str_init(&body, JINJA_OUTPUT_MAX);
    graft_jinja_print(r, &body, v, repr != 0);
    if (s->precision >= 0 && body.data) { /* so many characters */
        size_t end = 0;
        for (int n = 0; end < body.bytes; end++)
            if (((unsigned char)body.data[end] & 0xC0) != 0x80 && n++ == s->precision) break;
        body.data[body.bytes = end] = 0;
    }
    padded(out, s, "", &body, '<');
    graft_str_free(&body);
}

static void number_value(graft_str *out, const spec *s, const graft_json *v)
{
    graft_str body;
    const int below = graft_jinja_number_of(v) < 0;
    const char sign[2] = {below ? '-' : s->sign == '-' ? 0
                                                       : s->sign,
                          0};
    graft_str_init(&body, 0);
    digits(&body, s, v);
    padded(out, s, sign, &body, '>');
    graft_str_free(&body);
}

/* ---- % ------------------------------------------------------------------------------------------------------------------------------- */

typedef struct source {
    const graft_json *values, *next; /* of a tuple: the next of them */
    int used;
} source;

static const graft_json *next_value(graft_jinja_run *r, int line, source *from)
{
    const graft_json *v = graft_jinja_is_tuple(from->values) ? from->next : from->used ? NULL
                                                                                       : from->values;
    if (!v) return graft_jinja_fail(r, line, "a text has more %% places than values");
    if (graft_jinja_is_tuple(from->values)) from->next = v->next;
    from->used++;
    return v;
}

/* One conversion behind its %; *i moves past it. */
static void conversion(graft_jinja_run *r, int line, const graft_json *t, size_t *i, source *from, graft_str *out)
{
    spec s = {.precision = -1};
    const graft_json *v = NULL;
    int left = 0;
    if (*i < t->bytes && t->text[*i] == '(') {
        const char *key = t->text + *i + 1, *end = memchr(key, ')', t->bytes - *i - 1);
        char name[200] = "";
        if (!end || (size_t)(end - key) >= sizeof name || !from->values || from->values->type != GRAFT_JSON_OBJECT) {
            graft_jinja_fail(r, line, "%%(name) needs a mapping that holds it");
            return;
        }
        memcpy(name, key, (size_t)(end - key));
        v = graft_json_get(from->values, name);
        if (!v) graft_jinja_fail(r, line, "%%(%.60s) is not in the mapping", name);
        from->used = 1;
        *i = (size_t)(end + 1 - t->text);
    }
    for (; *i < t->bytes && strchr("-+ 0#", t->text[*i]); ++*i) {
        if (t->text[*i] == '-') left = 1;
        else if (t->text[*i] == '0') memcpy(s.fill, "0", 2);
        else if (t->text[*i] == '#') s.alternate = 1;
        else s.sign = t->text[*i];
    }
    s.width = digits_at(t->text, t->bytes, i);
    if (*i < t->bytes && t->text[*i] == '.') ++*i, s.precision = digits_at(t->text, t->bytes, i);
    const char letter = *i < t->bytes ? t->text[(*i)++] : 0;
    if (letter == '%') {
        graft_str_text(out, "%");
        return;
    }
    if (!letter || !strchr("srdiuxXoeEfFgGca", letter)) {
        graft_jinja_fail(r, line, "a %% in a text is followed by no letter that formats");
        return;
    }
    if (!v && !r->failed) v = next_value(r, line, from);
    if (r->failed) return;
    if (strchr("sra", letter) || letter == 'c') {
        *s.fill = 0;
        s.align = left ? '<' : '>';
        text_value(r, out, &s, v, letter == 's' || letter == 'c' ? 0 : 'r');
        return;
    }
    if (!graft_jinja_is_number(v)) {
        graft_jinja_fail(r, line, "%%%c needs a number", letter);
        return;
    }
    s.type = strchr("diu", letter) ? 'd' : letter;
    s.align = left ? '<' : *s.fill ? '='
                                   : '>';
    if (left) *s.fill = 0;
    graft_json whole = *v;
    if (strchr("dxXo", s.type) && !graft_jinja_is_whole(v)) whole.integral = 1, whole.integer = (int64_t)v->number, whole.number = (double)whole.integer;
    number_value(out, &s, &whole);
}

static const graft_json *finished(graft_jinja_run *r, int line, graft_str *out)
{
    const graft_json *v = r->failed ? NULL : out->failed ? graft_jinja_fail(r, line, "a text grows too large")
                                                         : graft_jinja_text(r, out->data, out->bytes);
    graft_str_free(out);
    return v;
}

const graft_json *graft_jinja_percent(graft_jinja_run *r, int line, const graft_json *text, const graft_json *values)
{
    source from = {values, graft_jinja_is_tuple(values) ? values->child : NULL, 0};
    graft_str out;
    graft_str_init(&out, JINJA_OUTPUT_MAX);
    for (size_t i = 0; i < text->bytes && !r->failed;) {
        if (text->text[i] == '%') i++, conversion(r, line, text, &i, &from, &out);
        else graft_str_add(&out, text->text + i++, 1);
    }
    if (!r->failed && (graft_jinja_is_tuple(values) ? from.next != NULL : !from.used && values && values->type != GRAFT_JSON_OBJECT && values->type != GRAFT_JSON_ARRAY)) graft_jinja_fail(r, line, "a text has fewer %% places than values");
    return finished(r, line, &out);
}

/* ---- format -------------------------------------------------------------------------------------------------------------------------- */

/* The value that a field names: 0, name, 0.member, name[item]. */
static const graft_json *field_value(graft_jinja_run *r, const graft_jinja_args *args, const char *field, size_t n, int *automatic)
{
    char name[200];
    size_t i = strcspn(field, ".[") < n ? strcspn(field, ".[") : n;
    if (n >= sizeof name) return graft_jinja_fail(r, args->line, "a field's name is too long");
    memcpy(name, field, i), name[i] = 0;
    const int position = !i ? (*automatic)++ : name[strspn(name, "0123456789")] ? JINJA_ARGS_MAX
                                                                                : atoi(name);
    const graft_json *v = graft_jinja_argument(args, position, name);
    while (v && i < n) {
        const int bracket = field[i++] == '[';
        size_t end = i;
        while (end < n && (bracket ? field[end] != ']' : field[end] != '.' && field[end] != '[')) end++;
        memcpy(name, field + i, end - i), name[end - i] = 0;
        const graft_json *list = v->type == GRAFT_JSON_ARRAY ? v->child : NULL;
        if (v->type == GRAFT_JSON_OBJECT) v = graft_json_get(v, name);
        else
            for (v = list; v && atoi(name) > 0; v = v->next) snprintf(name, sizeof name, "%d", atoi(name) - 1);
        i = end + (size_t)bracket;
    }
    return v ? v : graft_jinja_fail(r, args->line, "a text has a {%.*s} for which there is no value", n < 60 ? (int)n : 60, field);
}

static spec read_spec(const char *s, size_t n)
{
    spec x = {.precision = -1};
    size_t i = 0;
    const size_t first = n ? (size_t)graft_utf8_length(s, n) : 0;
    if (first && first < n && strchr("<>^=", s[first])) memcpy(x.fill, s, first), x.align = s[first], i = first + 1;
    else if (n && strchr("<>^=", s[0])) x.align = s[i++];
    if (i < n && strchr("+- ", s[i])) x.sign = s[i++];
    if (i < n && s[i] == '#') x.alternate = 1, i++;
    if (i < n && s[i] == '0') {
        if (!x.align) memcpy(x.fill, "0", 2), x.align = '=';
        i++;
    }
    x.width = digits_at(s, n, &i);
    if (i < n && (s[i] == ',' || s[i] == '_')) x.group = s[i++];
    if (i < n && s[i] == '.') i++, x.precision = digits_at(s, n, &i);
    if (i < n) x.type = s[i];
    return x;
}

static void one_field(graft_jinja_run *r, const graft_jinja_args *args, const char *s, size_t n, int *automatic, graft_str *out)
{
    const char *colon = memchr(s, ':', n), *mark = memchr(s, '!', n);
    if (mark && colon && mark > colon) mark = NULL;
    const size_t name = mark ? (size_t)(mark - s) : colon ? (size_t)(colon - s)
                                                          : n;
    const graft_json *v = field_value(r, args, s, name, automatic);
    if (r->failed) return;
    spec x = read_spec(colon ? colon + 1 : "", colon ? n - (size_t)(colon + 1 - s) : 0);
    const char conversion_letter = mark && mark + 1 < s + n ? mark[1] : 0;
    const int number = graft_jinja_is_number(v) && v->type == GRAFT_JSON_NUMBER && !conversion_letter;
    if (number && !(x.type && strchr("s", x.type))) {
        if (x.type && !strchr("dxXoeEfFgG%", x.type)) {
            graft_jinja_fail(r, args->line, "a number cannot be written as '%c'", x.type);
            return;
        }
        if (x.type && strchr("dxXo", x.type) && !v->integral) {
            graft_jinja_fail(r, args->line, "only whole numbers are written as '%c'", x.type);
            return;
        }
        number_value(out, &x, v);
        return;
    }
    if (x.align == '=') x.align = 0, *x.fill = 0;
    text_value(r, out, &x, v, conversion_letter == 'r' ? 'r' : 0);
}

const graft_json *graft_jinja_format(graft_jinja_run *r, const graft_json *text, const graft_jinja_args *args)
{
    int automatic = 0;
    graft_str out;
    graft_str_init(&out, JINJA_OUTPUT_MAX);
    for (size_t i = 0; i < text->bytes && !r->failed; i++) {
        const char c = text->text[i];
        const int twice = i + 1 < text->bytes && text->text[i + 1] == c;
        if (c != '{' && c != '}') graft_str_add(&out, &c, 1);
        else if (twice) graft_str_add(&out, &c, 1), i++;
        else if (c == '}') graft_jinja_fail(r, args->line, "a text has a single '}'");
        else {
            const char *from = text->text + i + 1, *end = memchr(from, '}', text->bytes - i - 1);
            if (!end) graft_jinja_fail(r, args->line, "a text has a single '{'");
            else one_field(r, args, from, (size_t)(end - from), &automatic, &out), i = (size_t)(end - text->text);
        }
    }
    return finished(r, args->line, &out);
}
