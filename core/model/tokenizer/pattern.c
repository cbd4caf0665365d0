/* core/model/tokenizer/pattern.c - patterns of tokenizer.json: literals, or regular expressions run by PCRE2 with its JIT.
 *
 * They are written for Oniguruma. Where PCRE2 means something else by the same words the expression is rewritten first: \s and \S are
 * spelled as the White_Space property (PCRE2's also has U+180E). */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#define WHITE "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

static const struct {
    const char *regex;
    graft_known known;
} well_known[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", GRAFT_KNOWN_GPT2},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", GRAFT_KNOWN_LLAMA3},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", GRAFT_KNOWN_QWEN2},
};

/* \s and \S spelled out; a \S inside a class stays, there is no way to write it. */
static void rewrite(graft_str *out, const char *regex, size_t n)
{
    int in_class = 0;
    for (size_t i = 0; i < n; i++) {
        if (regex[i] == '\\' && i + 1 < n) {
            const char c = regex[++i];
            if (c == 's') graft_str_text(out, in_class ? WHITE : "[" WHITE "]");
            else if (c == 'S' && !in_class) graft_str_text(out, "[^" WHITE "]");
            else graft_str_add(out, regex + i - 1, 2);
            continue;
        }
        if (regex[i] == '[' && !in_class) in_class = 1;
        else if (regex[i] == ']' && in_class && i && regex[i - 1] != '[') in_class = 0;
        graft_str_add(out, regex + i, 1);
    }
}

graft_status graft_pattern_regex(graft_pattern *p, const char *regex, size_t n, const char *where, graft_error *err)
{
    for (size_t i = 0; i < sizeof well_known / sizeof *well_known; i++)
        if (strlen(well_known[i].regex) == n && !memcmp(well_known[i].regex, regex, n)) p->known = well_known[i].known;
    graft_str text;
    graft_str_init(&text, 1 << 20);
    rewrite(&text, regex, n);
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *compiled = text.failed ? NULL : pcre2_compile((PCRE2_SPTR)text.data, text.bytes, PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (!compiled) {
        PCRE2_UCHAR why[160] = "out of memory";
        if (code) pcre2_get_error_message(code, why, sizeof why);
        graft_str_free(&text);
        return graft_fail(err, GRAFT_BAD_INPUT, where, "the pattern \"%.*s\" does not compile: %s", (int)(n < 200 ? n : 200), regex, (const char *)why);
    }
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* without a JIT the interpreter does it */
    graft_str_free(&text);
    p->code = compiled;
    return GRAFT_OK;
}

void graft_pattern_free(graft_pattern *p)
{
    pcre2_code_free(p->code);
    p->code = NULL;
}

int graft_pattern_next(const graft_pattern *p, graft_matcher *m, const char *s, size_t n, size_t from, size_t *start, size_t *end)
{
    if (p->literal.s) {
        const char *at = p->literal.n ? memmem(s + from, n - from, p->literal.s, p->literal.n) : NULL;
        if (!at) return 0;
        *start = (size_t)(at - s), *end = *start + p->literal.n;
        return 1;
    }
    if (!m->data) {
        m->data = pcre2_match_data_create(4, NULL);
        m->context = pcre2_match_context_create(NULL);
        m->stack = pcre2_jit_stack_create(64 << 10, 8 << 20, NULL);
        if (!m->data || !m->context) return -1;
        if (m->stack) pcre2_jit_stack_assign(m->context, NULL, m->stack);
    }
    for (;;) {
        int rc = pcre2_match(p->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK, m->data, m->context);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = pcre2_match(p->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->data, m->context);
        if (rc == PCRE2_ERROR_NOMATCH) return 0;
        if (rc < 0) return -1;
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m->data);
        if (v[1] > v[0]) return *start = v[0], *end = v[1], 1;
        if (v[1] >= n) return 0;
        size_t k;
        graft_utf8_get(s + v[1], &k);
        from = v[1] + k;
    }
}

void graft_matcher_free(graft_matcher *m)
{
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    *m = (graft_matcher){0};
}
