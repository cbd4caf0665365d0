/* core/graph/select.c - which sites does a selector choose?
 *
 * The value at a key is one text or a list of texts:
 *     all | all-linear        every linear but the head; not the token table, nor routed experts
 *     attn_q                  a role's name
 *     q_proj, self_attn.q_proj   the last parts of a path (PEFT: equal, or ends with "." + name)
 *     attn_*, layers.?.mlp    a glob over roles and last parts; * also matches dots
 *     .*\.[02]\.self_attn\.(q|v)_proj   one text with regular-expression signs: Python's re.fullmatch on the whole path
 *     q_proj,v_proj           one text may hold several of the first four
 * Each item counts its matches, so that one which chose nothing is an error and not a silent loss. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/graph/build.h"

#include "core/base/error.h"
#include "core/base/str.h"

#include <pcre2.h>
#include <string.h>

enum { MAX_ITEMS = 4096,
       MAX_LISTED = 24 };

typedef enum item_kind { ITEM_ALL,
                         ITEM_NAME,
                         ITEM_GLOB,
                         ITEM_REGEX } item_kind;
typedef struct item {
    const char *text;
    item_kind kind;
    int64_t matches;
    pcre2_code *regex;
    pcre2_match_data *match;
} item;

struct graft_selector {
    graft_selector *next;
    const char *key;
    const graft_json *value; /* identity: the same key of the same arguments is one selector */
    item *items;
    int32_t n_items;
};

const char *graft_role_name(graft_role r)
{
    static const char *const names[] = {"other", "embed", "norm", "head", "attn_q", "attn_k", "attn_v", "attn_qkv", "attn_o", "attn",
                                        "mlp_gate", "mlp_up", "mlp_gate_up", "mlp_down", "mlp", "router", "expert", "block", "buffer"};
    return r >= GRAFT_ROLE_OTHER && r <= GRAFT_ROLE_BUFFER ? names[r] : "other";
}

/* ---- one item -------------------------------------------------------------------------------------------------------------------------------------------- */
/* * any run of characters, ? one character. */
static int glob(const char *p, const char *s)
{
    const char *star = NULL, *back = NULL;
    while (*s) {
        if (*p == '*') star = ++p, back = s;
        else if (*p == '?' || *p == *s) p++, s++;
        else if (star) p = star, s = ++back;
        else return 0;
    }
    while (*p == '*') p++;
    return !*p;
}

/* Matches the whole text or what follows one of its dots. */
static int tail(const char *pattern, const char *path, int (*same)(const char *, const char *))
{
    for (const char *s = path; s; s = strchr(s, '.') ? strchr(s, '.') + 1 : NULL)
        if (same(pattern, s)) return 1;
    return 0;
}

static int equal(const char *a, const char *b) { return !strcmp(a, b); }

static int item_matches(graft_graph *g, const item *it, const graft_site *s)
{
    if (it->kind == ITEM_ALL) return s->role != GRAFT_ROLE_HEAD && s->role != GRAFT_ROLE_EMBED && s->role != GRAFT_ROLE_EXPERT;
    if (it->kind == ITEM_NAME) return equal(it->text, graft_role_name(s->role)) || tail(it->text, s->path, equal);
    if (it->kind == ITEM_GLOB) return glob(it->text, graft_role_name(s->role)) || tail(it->text, s->path, glob);
    const int rc = pcre2_match(it->regex, (PCRE2_SPTR)s->path, strlen(s->path), 0, 0, it->match, NULL);
    if (rc < PCRE2_ERROR_NOMATCH) graft_graph_error(g, "the regular expression \"%s\" is too hard for the path \"%s\"; use a simpler one", it->text, s->path);
    return rc >= 0;
}

static int has_regex_signs(const char *t)
{
    if (strpbrk(t, "\\()|^$+{}[]")) return 1;
    return strstr(t, ".*") || strstr(t, ".?");
}

static void compile_regex(graft_graph *g, const char *key, item *it)
{
    int code = 0;
    size_t at = 0;
    char why[160] = "";
    it->regex = pcre2_compile((PCRE2_SPTR)it->text, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    if (it->regex) it->match = pcre2_match_data_create_from_pattern(it->regex, NULL);
    if (it->match) return;
    pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
    graft_graph_error(g, "%s: \"%s\" is no regular expression: %s at character %zu", key, it->text, why, at + 1);
}

int graft_selector_fits(graft_graph *g, const char *pattern, const char *path)
{
    item it = {0};
    if (g->error.code || !(it.text = graft_build_text(g, "(?:.*\\.)?(?:%s)", pattern))) return 0;
    compile_regex(g, "pattern", &it);
    const int fits = it.match && pcre2_match(it.regex, (PCRE2_SPTR)path, strlen(path), 0, 0, it.match, NULL) >= 0;
    pcre2_match_data_free(it.match);
    pcre2_code_free(it.regex);
    return fits;
}

static void add_item(graft_graph *g, graft_selector *s, const char *text, size_t bytes, int regex)
{
    while (bytes && (*text == ' ' || *text == '\t')) text++, bytes--;
    while (bytes && (text[bytes - 1] == ' ' || text[bytes - 1] == '\t')) bytes--;
    char *copy = graft_arena_copy(g->arena, text, bytes);
    if (!copy || s->n_items == MAX_ITEMS) {
        graft_graph_error(g, "%s: no room for more than %d names", s->key, (int)MAX_ITEMS);
        return;
    }
    if (!*copy) {
        graft_graph_error(g, "%s: there is an empty name in the list; remove it or say \"all\"", s->key);
        return;
    }
    item *it = &s->items[s->n_items++];
    it->text = copy;
    if (regex) it->kind = ITEM_REGEX;
    else if (!strcmp(copy, "all") || !strcmp(copy, "all-linear")) it->kind = ITEM_ALL;
    else it->kind = strpbrk(copy, "*?") ? ITEM_GLOB : ITEM_NAME;
    if (regex) compile_regex(g, s->key, it);
}

/* ---- a selector ---------------------------------------------------------------------------------------------------------------------------------------------- */
static void parse(graft_graph *g, graft_selector *s, const graft_json *v)
{
    int64_t room = v->type == GRAFT_JSON_ARRAY ? v->count : 1;
    if (v->type == GRAFT_JSON_TEXT)
        for (const char *t = v->text; *t; t++) room += *t == ',';
    s->items = graft_build_alloc(g, (size_t)room, sizeof *s->items);
    if (!s->items) return;
    if (v->type == GRAFT_JSON_TEXT && has_regex_signs(v->text)) {
        add_item(g, s, v->text, v->bytes, 1);
    } else if (v->type == GRAFT_JSON_TEXT) {
        for (const char *t = v->text; t && !g->error.code;) {
            const char *comma = strchr(t, ',');
            add_item(g, s, t, comma ? (size_t)(comma - t) : strlen(t), 0);
            t = comma ? comma + 1 : NULL;
        }
    } else if (v->type == GRAFT_JSON_ARRAY) {
        for (const graft_json *e = v->child; e && !g->error.code; e = e->next) {
            if (e->type == GRAFT_JSON_TEXT) add_item(g, s, e->text, e->bytes, 0);
            else graft_graph_error(g, "%s: expected a list of names, found something else at item %d", s->key, s->n_items + 1);
        }
        if (!s->n_items) graft_graph_error(g, "%s: the list is empty; name some sites or say \"all\"", s->key);
    } else {
        graft_graph_error(g, "%s: expected a text or a list of texts that name sites", s->key);
    }
}

static graft_selector *selector_of(graft_graph *g, const char *key, const graft_json *v)
{
    static const graft_json all = {.type = GRAFT_JSON_TEXT, .text = "all", .bytes = 3};
    if (!v) v = &all;
    for (graft_selector *s = g->state->selectors; s; s = s->next)
        if (s->value == v && !strcmp(s->key, key)) return s;
    graft_selector *s = graft_build_alloc(g, 1, sizeof *s);
    char *copy = graft_build_text(g, "%s", key);
    if (!s || !copy) return NULL;
    s->key = copy, s->value = v;
    graft_selector **last = &g->state->selectors;
    while (*last) last = &(*last)->next;
    *last = s; /* before parse: a compiled expression is freed with the graph in any case */
    parse(g, s, v);
    return s;
}

int graft_selector_matches(graft_graph *g, const graft_config *c, const char *key, const graft_site *site)
{
    if (g->error.code) return 0;
    graft_selector *s = selector_of(g, key, c->api->value(c, key));
    int chosen = 0;
    for (int32_t i = 0; s && i < s->n_items && !g->error.code; i++) {
        const int hit = item_matches(g, &s->items[i], site);
        s->items[i].matches += hit;
        chosen |= hit;
    }
    return chosen && !g->error.code;
}

void graft_selectors_free(graft_selector *first)
{
    for (graft_selector *s = first; s; s = s->next)
        for (int32_t i = 0; i < s->n_items; i++) {
            pcre2_match_data_free(s->items[i].match);
            pcre2_code_free(s->items[i].regex);
        }
}

/* ---- what matched nothing ---------------------------------------------------------------------------------------------------------------------------------- */
static void add_name(const char **names, size_t *n, const char *name)
{
    for (size_t i = 0; i < *n; i++)
        if (!strcmp(names[i], name)) return;
    if (*n < MAX_LISTED) names[(*n)++] = name;
}

static void list(graft_str *out, const char *title, const char **names, size_t n)
{
    for (size_t i = 0; i < n; i++) graft_str_printf(out, "%s%s", i ? ", " : title, names[i]);
}

static graft_status refuse(graft_graph *g, const graft_selector *s, const item *it, graft_error *err)
{
    const char *names[2 * MAX_LISTED];
    size_t n_names = 0, n_roles = 0;
    const char *roles[MAX_LISTED];
    graft_str text;
    for (int32_t i = 0; i < g->state->n_sites; i++) {
        const graft_site *site = &g->state->sites[i];
        const char *dot = strrchr(site->path, '.');
        if (site->role == GRAFT_ROLE_EXPERT || site->role == GRAFT_ROLE_EMBED) { /* the hooks of linears are not called there */
            if (item_matches(g, it, site)) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "%s: \"%s\" chooses the %s %s, where this method can do nothing; choose other modules or another method", s->key, it->text, site->role == GRAFT_ROLE_EXPERT ? "routed experts" : "token table", site->path);
            continue;
        }
        add_name(names, &n_names, dot ? dot + 1 : site->path);
        add_name(roles, &n_roles, graft_role_name(site->role));
    }
    graft_str_init(&text, 2048);
    list(&text, " Sites: ", names, n_names);
    list(&text, "; roles: ", roles, n_roles);
    if (n_names) graft_str_text(&text, ".");
    memcpy(names + n_names, roles, n_roles * sizeof *names);
    const char *near = graft_nearest(it->text, names, n_names + n_roles);
    if (near) graft_str_printf(&text, " Nearest: %s.", near);
    const graft_status code = graft_fail(err, GRAFT_BAD_INPUT, NULL, "%s: \"%s\" matched no site.%s", s->key, it->text, text.data);
    graft_str_free(&text);
    return code;
}

graft_status graft_graph_check_selectors(graft_graph *g, graft_error *err)
{
    if (g->error.code) return graft_graph_check(g, err);
    for (const graft_selector *s = g->state->selectors; s; s = s->next)
        for (int32_t i = 0; i < s->n_items; i++)
            if (!s->items[i].matches) return refuse(g, s, &s->items[i], err);
    return GRAFT_OK;
}
