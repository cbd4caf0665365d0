/* core/model/jinja_parse.c - Jinja text into statements and expressions (jinja_parts.h).
 *
 * Whitespace as transformers sets it: the newline behind a block tag or comment goes (trim_blocks), blanks before one that begins its line go
 * (lstrip_blocks); "-" takes all white space on its side, "+" leaves what would go; the template's last newline goes. */
#include "core/model/jinja_parts.h"

#include "core/base/error.h"

#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 64 };

static int is(const graft_jinja_parser *p, graft_jinja_token t, const char *word) { return p->token == t && p->word_bytes == strlen(word) && !memcmp(p->word, word, p->word_bytes); }
static int op(const graft_jinja_parser *p, const char *word) { return is(p, JINJA_OPERATOR, word); }
static int name_is(const graft_jinja_parser *p, const char *word) { return is(p, JINJA_WORD, word); }

static int take(graft_jinja_parser *p, graft_jinja_token t, const char *word)
{
    if (!is(p, t, word)) return 0;
    graft_jinja_next(p);
    return 1;
}

static void need(graft_jinja_parser *p, const char *word)
{
    char what[80];
    const int named = p->token == JINJA_WORD || p->token == JINJA_OPERATOR; /* the word is a piece of the text, without an end of its own */
    const char *found = p->token == JINJA_END ? "the tag's end" : named ? p->word
                                                                        : "a value";
    snprintf(what, sizeof what, "expected \"%s\", found \"%.*s\"", word, named && p->word_bytes < 30 ? (int)p->word_bytes : 30, found);
    if (!take(p, JINJA_OPERATOR, word)) graft_jinja_refuse(p, what);
}

static const char *name_take(graft_jinja_parser *p)
{
    const char *name = p->token == JINJA_WORD ? graft_arena_copy(p->a, p->word, p->word_bytes) : NULL;
    if (!name) graft_jinja_refuse(p, "expected a name");
    graft_jinja_next(p);
    return name ? name : "";
}

/* ---- expressions: the weakest binding first --------------------------------------------------------------------------------------------- */

static graft_jinja_node *expression(graft_jinja_parser *p);

static graft_jinja_node *binary(graft_jinja_parser *p, const char *operator, graft_jinja_node * x, graft_jinja_node *y)
{
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_BINARY);
    n->text = operator, n->a = x, n->b = y;
    return n;
}

/* Arguments up to the closing mark: x, name=x. */
static graft_jinja_node *arguments(graft_jinja_parser *p, const char *close)
{
    graft_jinja_node *first = NULL, **end = &first;
    while (!p->failed && !op(p, close)) {
        graft_jinja_node *n = graft_jinja_node_new(p, JINJA_ARGUMENT);
        n->a = expression(p);
        if (n->a->kind == JINJA_NAME && op(p, "=")) {
            graft_jinja_next(p);
            n->text = n->a->text;
            n->a = expression(p);
        }
        *end = n, end = &n->next;
        if (!take(p, JINJA_OPERATOR, ",")) break;
    }
    need(p, close);
    return first;
}

static graft_jinja_node *literal(graft_jinja_parser *p, const graft_json *v)
{
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_LITERAL);
    n->value = v;
    return n;
}

static graft_jinja_node *dictionary(graft_jinja_parser *p)
{
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_DICT), **end = &n->body;
    while (!p->failed && !op(p, "}")) {
        graft_jinja_node *item = graft_jinja_node_new(p, JINJA_ARGUMENT);
        item->a = expression(p);
        need(p, ":");
        item->b = expression(p);
        *end = item, end = &item->next;
        if (!take(p, JINJA_OPERATOR, ",")) break;
    }
    need(p, "}");
    return n;
}

static graft_jinja_node *parenthesis(graft_jinja_parser *p)
{
    if (take(p, JINJA_OPERATOR, ")")) {
        graft_jinja_node *none = graft_jinja_node_new(p, JINJA_LIST);
        return none->negated = 1, none;
    }
    graft_jinja_node *n = expression(p);
    if (!op(p, ",")) {
        need(p, ")");
        return n;
    }
    graft_jinja_node *list = graft_jinja_node_new(p, JINJA_LIST), *item = graft_jinja_node_new(p, JINJA_ARGUMENT);
    item->a = n;
    graft_jinja_next(p);
    item->next = arguments(p, ")");
    list->body = item, list->negated = 1;
    return list;
}

static graft_jinja_node *primary(graft_jinja_parser *p)
{
    graft_jinja_node *n;
    if (p->token == JINJA_NUMBER || p->token == JINJA_STRING) {
        graft_str all;
        const graft_json *v = p->value;
        const int text = p->token == JINJA_STRING;
        graft_jinja_next(p);
        if (!text || p->token != JINJA_STRING) return literal(p, v);
        graft_str_init(&all, 1 << 20);
        graft_str_add(&all, v->text, v->bytes);
        for (; p->token == JINJA_STRING; graft_jinja_next(p)) graft_str_add(&all, p->value->text, p->value->bytes); /* 'a' 'b' is 'ab' */
        v = graft_json_text(p->a, all.data, all.bytes);
        graft_str_free(&all);
        return literal(p, v);
    }
    if (take(p, JINJA_OPERATOR, "(")) return parenthesis(p);
    if (take(p, JINJA_OPERATOR, "[")) return n = graft_jinja_node_new(p, JINJA_LIST), n->body = arguments(p, "]"), n;
    if (take(p, JINJA_OPERATOR, "{")) return dictionary(p);
    if (p->token != JINJA_WORD) return graft_jinja_refuse(p, "expected a value"), graft_jinja_node_new(p, JINJA_LIST);
    if (name_is(p, "true") || name_is(p, "True")) return graft_jinja_next(p), literal(p, graft_json_flag(p->a, 1));
    if (name_is(p, "false") || name_is(p, "False")) return graft_jinja_next(p), literal(p, graft_json_flag(p->a, 0));
    if (name_is(p, "none") || name_is(p, "None")) return graft_jinja_next(p), literal(p, graft_json_new(p->a, GRAFT_JSON_NULL));
    n = graft_jinja_node_new(p, JINJA_NAME);
    n->text = name_take(p);
    return n;
}

static graft_jinja_node *subscript(graft_jinja_parser *p, graft_jinja_node *of)
{
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_ITEM);
    n->a = of;
    if (!op(p, ":")) n->b = expression(p);
    if (op(p, ":")) {
        n->kind = JINJA_SLICE;
        graft_jinja_next(p);
        if (!op(p, "]") && !op(p, ":")) n->c = expression(p);
        if (take(p, JINJA_OPERATOR, ":") && !op(p, "]")) n->d = expression(p);
    }
    need(p, "]");
    return n;
}

static graft_jinja_node *postfix(graft_jinja_parser *p);

static graft_jinja_node *test(graft_jinja_parser *p, graft_jinja_node *of)
{
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_TEST);
    n->negated = take(p, JINJA_WORD, "not");
    n->a = of;
    n->text = name_take(p);
    if (take(p, JINJA_OPERATOR, "(")) n->body = arguments(p, ")");
    else if (p->token == JINJA_STRING || p->token == JINJA_NUMBER || op(p, "[") || op(p, "{") || (p->token == JINJA_WORD && !name_is(p, "and") && !name_is(p, "or") && !name_is(p, "else") && !name_is(p, "if") && !name_is(p, "is") && !name_is(p, "in") && !name_is(p, "not"))) {
        n->body = graft_jinja_node_new(p, JINJA_ARGUMENT); /* is divisibleby 2 */
        n->body->a = postfix(p);
    }
    return n;
}

static graft_jinja_node *postfix(graft_jinja_parser *p)
{
    graft_jinja_node *n = primary(p);
    while (!p->failed) {
        graft_jinja_node *of = n;
        if (take(p, JINJA_OPERATOR, ".")) {
            n = graft_jinja_node_new(p, JINJA_MEMBER), n->a = of;
            if (p->token == JINJA_NUMBER) n->kind = JINJA_ITEM, n->b = literal(p, p->value), graft_jinja_next(p);
            else n->text = name_take(p);
        } else if (take(p, JINJA_OPERATOR, "[")) n = subscript(p, of);
        else if (take(p, JINJA_OPERATOR, "(")) n = graft_jinja_node_new(p, JINJA_CALL), n->a = of, n->body = arguments(p, ")");
        else return n;
    }
    return n;
}

static graft_jinja_node *filtered(graft_jinja_parser *p, graft_jinja_node *n)
{
    while (!p->failed) {
        graft_jinja_node *of = n;
        if (take(p, JINJA_OPERATOR, "|")) {
            n = graft_jinja_node_new(p, JINJA_FILTER), n->a = of;
            n->text = name_take(p);
            if (take(p, JINJA_OPERATOR, "(")) n->body = arguments(p, ")");
        } else if (take(p, JINJA_WORD, "is")) n = test(p, of);
        else return n;
    }
    return n;
}

static graft_jinja_node *unary(graft_jinja_parser *p, int with_filters)
{
    graft_jinja_node *n;
    if (++p->depth > DEPTH_MAX) graft_jinja_refuse(p, "it is nested too deeply");
    if (p->failed) n = graft_jinja_node_new(p, JINJA_LIST);
    else if (take(p, JINJA_OPERATOR, "-")) n = graft_jinja_node_new(p, JINJA_NEGATE), n->a = unary(p, 0);
    else if (take(p, JINJA_OPERATOR, "+")) n = unary(p, 0);
    else n = postfix(p);
    p->depth--;
    return with_filters ? filtered(p, n) : n;
}

/* ** binds weaker than a sign here, unlike in Python. */
static graft_jinja_node *power(graft_jinja_parser *p)
{
    graft_jinja_node *n = unary(p, 1);
    while (!p->failed && take(p, JINJA_OPERATOR, "**")) n = binary(p, "**", n, unary(p, 1));
    return n;
}

/* Left-associative operators of one level. */
static graft_jinja_node *level(graft_jinja_parser *p, int depth)
{
    static const char *const levels[3][5] = {{"+", "-"}, {"~"}, {"*", "//", "/", "%"}};
    if (depth == 3) return power(p);
    graft_jinja_node *n = level(p, depth + 1);
    for (int found = 1; found && !p->failed;) {
        found = 0;
        for (int i = 0; levels[depth][i] && !found; i++)
            if (take(p, JINJA_OPERATOR, levels[depth][i])) found = 1, n = binary(p, levels[depth][i], n, level(p, depth + 1));
    }
    return n;
}

static graft_jinja_node *comparison(graft_jinja_parser *p)
{
    static const char *const operators[] = {"==", "!=", "<=", ">=", "<", ">"};
    graft_jinja_node *left = level(p, 0), *all = NULL;
    while (!p->failed) {
        const char *found = NULL;
        int negated = 0;
        for (size_t i = 0; i < sizeof operators / sizeof *operators && !found; i++)
            if (take(p, JINJA_OPERATOR, operators[i])) found = operators[i];
        if (!found && take(p, JINJA_WORD, "in")) found = "in";
        if (!found && name_is(p, "not")) { /* only "not in" can stand here */
            graft_jinja_next(p);
            if (!take(p, JINJA_WORD, "in")) graft_jinja_refuse(p, "expected \"in\" after \"not\"");
            found = "in", negated = 1;
        }
        if (!found) break;
        graft_jinja_node *right = level(p, 0), *one = binary(p, found, left, right);
        if (negated) {
            graft_jinja_node *not = graft_jinja_node_new(p, JINJA_NOT);
            not ->a = one, one = not ;
        }
        if (all) { /* a < b < c */
            graft_jinja_node *both = graft_jinja_node_new(p, JINJA_AND);
            both->a = all, both->b = one, one = both;
        }
        all = one, left = right;
    }
    return all ? all : left;
}

static graft_jinja_node *negation(graft_jinja_parser *p)
{
    if (!take(p, JINJA_WORD, "not")) return comparison(p);
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_NOT);
    if (++p->depth > DEPTH_MAX) graft_jinja_refuse(p, "it is nested too deeply");
    n->a = p->failed ? n : negation(p);
    p->depth--;
    return n;
}

static graft_jinja_node *junction(graft_jinja_parser *p, int either)
{
    graft_jinja_node *n = either ? junction(p, 0) : negation(p);
    while (!p->failed && take(p, JINJA_WORD, either ? "or" : "and")) {
        graft_jinja_node *both = graft_jinja_node_new(p, either ? JINJA_OR : JINJA_AND);
        both->a = n, both->b = either ? junction(p, 0) : negation(p);
        n = both;
    }
    return n;
}

static graft_jinja_node *expression(graft_jinja_parser *p)
{
    if (++p->depth > DEPTH_MAX) graft_jinja_refuse(p, "it is nested too deeply");
    graft_jinja_node *n = p->failed ? graft_jinja_node_new(p, JINJA_LIST) : junction(p, 1);
    while (!p->failed && take(p, JINJA_WORD, "if")) {
        graft_jinja_node *choice = graft_jinja_node_new(p, JINJA_CHOICE);
        choice->a = n, choice->b = junction(p, 1);
        if (take(p, JINJA_WORD, "else")) choice->c = expression(p);
        n = choice;
    }
    p->depth--;
    return n;
}

/* ---- statements --------------------------------------------------------------------------------------------------------------------------- */

static graft_jinja_node *statements(graft_jinja_parser *p, const char *const *ends);

static void close_tag(graft_jinja_parser *p)
{
    if (p->token != JINJA_END) graft_jinja_refuse(p, "there is more in the tag than expected");
}

/* Statements up to one of the words; the parser then stands on that word. */
static graft_jinja_node *inside(graft_jinja_parser *p, const char *const *ends)
{
    close_tag(p);
    return statements(p, ends);
}

static graft_jinja_node *if_statement(graft_jinja_parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif", NULL};
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_IF);
    if (++p->depth > DEPTH_MAX) graft_jinja_refuse(p, "it is nested too deeply");
    n->a = expression(p);
    n->body = inside(p, ends);
    if (take(p, JINJA_WORD, "elif")) n->other = if_statement(p);
    else {
        if (take(p, JINJA_WORD, "else")) n->other = inside(p, last);
        if (!take(p, JINJA_WORD, "endif")) graft_jinja_refuse(p, "an if has no endif");
        close_tag(p);
    }
    p->depth--;
    return n;
}

/* One name or several, with commas or in parentheses. */
static graft_jinja_node *targets(graft_jinja_parser *p)
{
    graft_jinja_node *first = NULL, **end = &first;
    const int round = take(p, JINJA_OPERATOR, "(");
    do {
        graft_jinja_node *n = graft_jinja_node_new(p, JINJA_NAME);
        n->text = name_take(p);
        *end = n, end = &n->next;
    } while (!p->failed && take(p, JINJA_OPERATOR, ","));
    if (round) need(p, ")");
    return first;
}

static graft_jinja_node *for_statement(graft_jinja_parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL}, *const last[] = {"endfor", NULL};
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_FOR);
    n->a = targets(p);
    if (!take(p, JINJA_WORD, "in")) graft_jinja_refuse(p, "expected \"in\" in a for");
    n->b = junction(p, 1);
    if (take(p, JINJA_WORD, "if")) n->c = expression(p);
    (void)take(p, JINJA_WORD, "recursive");
    n->body = inside(p, ends);
    if (take(p, JINJA_WORD, "else")) n->other = inside(p, last);
    if (!take(p, JINJA_WORD, "endfor")) graft_jinja_refuse(p, "a for has no endfor");
    return n;
}

/* upper | replace("a", "b"): what is done to a block's text. */
static graft_jinja_node *block_filters(graft_jinja_parser *p)
{
    graft_jinja_node *first = NULL, **end = &first;
    do {
        graft_jinja_node *n = graft_jinja_node_new(p, JINJA_FILTER);
        n->text = name_take(p);
        if (take(p, JINJA_OPERATOR, "(")) n->body = arguments(p, ")");
        *end = n, end = &n->next;
    } while (!p->failed && take(p, JINJA_OPERATOR, "|"));
    return first;
}

static graft_jinja_node *set_statement(graft_jinja_parser *p)
{
    static const char *const ends[] = {"endset", NULL};
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_SET);
    n->a = targets(p);
    if (take(p, JINJA_OPERATOR, ".")) { /* of a namespace */
        graft_jinja_node *member = graft_jinja_node_new(p, JINJA_MEMBER);
        member->a = n->a, member->text = name_take(p);
        n->a = member;
    }
    if (take(p, JINJA_OPERATOR, "=")) {
        n->b = expression(p);
        if (op(p, ",")) { /* a tuple */
            graft_jinja_node *list = graft_jinja_node_new(p, JINJA_LIST), **end = &list->body;
            for (graft_jinja_node *item = n->b; item; item = take(p, JINJA_OPERATOR, ",") ? expression(p) : NULL) {
                *end = graft_jinja_node_new(p, JINJA_ARGUMENT);
                (*end)->a = item, end = &(*end)->next;
            }
            n->b = list, list->negated = 1;
        }
        return n;
    }
    if (take(p, JINJA_OPERATOR, "|")) n->other = block_filters(p);
    n->body = inside(p, ends);
    if (!take(p, JINJA_WORD, "endset")) graft_jinja_refuse(p, "a set has no endset");
    return n;
}

/* name, name=value up to the closing mark, which "" is the tag's end. */
static graft_jinja_node *parameters(graft_jinja_parser *p, const char *close)
{
    graft_jinja_node *first = NULL, **end = &first;
    while (!p->failed && (*close ? !op(p, close) : p->token != JINJA_END)) {
        graft_jinja_node *parameter = graft_jinja_node_new(p, JINJA_ARGUMENT);
        parameter->text = name_take(p);
        if (take(p, JINJA_OPERATOR, "=")) parameter->a = expression(p);
        *end = parameter, end = &parameter->next;
        if (!take(p, JINJA_OPERATOR, ",")) break;
    }
    if (*close) need(p, close);
    return first;
}

static graft_jinja_node *with_statement(graft_jinja_parser *p)
{
    static const char *const ends[] = {"endwith", NULL};
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_WITH);
    n->other = parameters(p, "");
    for (graft_jinja_node *m = n->other; m; m = m->next)
        if (!m->a) graft_jinja_refuse(p, "expected name = value in a with");
    n->body = inside(p, ends);
    if (!take(p, JINJA_WORD, "endwith")) graft_jinja_refuse(p, "a with has no endwith");
    return n;
}

static graft_jinja_node *filter_statement(graft_jinja_parser *p)
{
    static const char *const ends[] = {"endfilter", NULL};
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_FILTERED);
    n->other = block_filters(p);
    n->body = inside(p, ends);
    if (!take(p, JINJA_WORD, "endfilter")) graft_jinja_refuse(p, "a filter has no endfilter");
    return n;
}

static graft_jinja_node *call_statement(graft_jinja_parser *p)
{
    static const char *const ends[] = {"endcall", NULL};
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_CALLER);
    if (take(p, JINJA_OPERATOR, "(")) n->other = parameters(p, ")");
    n->a = expression(p);
    if (n->a->kind != JINJA_CALL) graft_jinja_refuse(p, "expected a macro's call");
    n->body = inside(p, ends);
    if (!take(p, JINJA_WORD, "endcall")) graft_jinja_refuse(p, "a call has no endcall");
    return n;
}

/* The parser stands on the word raw: all up to endraw is text. */
static graft_jinja_node *raw_statement(graft_jinja_parser *p)
{
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_TEXT);
    close_tag(p);
    n->text = p->text + p->at;
    for (size_t at = p->at; !p->failed && at + 1 < p->bytes; at++) {
        if (p->text[at] != '{' || p->text[at + 1] != '%') continue;
        graft_jinja_parser ahead = *p;
        ahead.at = at + 2, ahead.close = '%';
        if (ahead.at < p->bytes && (p->text[ahead.at] == '-' || p->text[ahead.at] == '+')) ahead.at++;
        graft_error unheard = GRAFT_ERROR_INIT;
        ahead.err = &unheard;
        graft_jinja_next(&ahead);
        if (!take(&ahead, JINJA_WORD, "endraw")) continue;
        n->bytes = at - p->at;
        if (p->trim_next && n->bytes && *n->text == '\n') n->text++, n->bytes--;
        ahead.err = p->err;
        for (; p->at < at; p->at++) p->line += p->text[p->at] == '\n';
        ahead.line = p->line;
        *p = ahead;
        return n;
    }
    graft_jinja_refuse(p, "a raw has no endraw");
    return n;
}

static graft_jinja_node *macro_statement(graft_jinja_parser *p)
{
    static const char *const ends[] = {"endmacro", NULL};
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_MACRO);
    n->text = name_take(p);
    need(p, "(");
    n->other = parameters(p, ")");
    n->body = inside(p, ends);
    if (!take(p, JINJA_WORD, "endmacro")) graft_jinja_refuse(p, "a macro has no endmacro");
    if (p->token == JINJA_WORD) graft_jinja_next(p);
    return n;
}

static graft_jinja_node *statement(graft_jinja_parser *p)
{
    static const char *const generation_end[] = {"endgeneration", NULL};
    graft_jinja_node *n;
    if (take(p, JINJA_WORD, "if")) return if_statement(p);
    if (take(p, JINJA_WORD, "for")) n = for_statement(p);
    else if (take(p, JINJA_WORD, "set")) n = set_statement(p);
    else if (take(p, JINJA_WORD, "macro")) n = macro_statement(p);
    else if (take(p, JINJA_WORD, "with")) n = with_statement(p);
    else if (take(p, JINJA_WORD, "filter")) n = filter_statement(p);
    else if (take(p, JINJA_WORD, "call")) n = call_statement(p);
    else if (take(p, JINJA_WORD, "raw")) n = raw_statement(p);
    else if (take(p, JINJA_WORD, "break")) n = graft_jinja_node_new(p, JINJA_BREAK);
    else if (take(p, JINJA_WORD, "continue")) n = graft_jinja_node_new(p, JINJA_CONTINUE);
    else if (take(p, JINJA_WORD, "generation")) {
        n = graft_jinja_node_new(p, JINJA_GROUP);
        n->body = inside(p, generation_end);
        if (!take(p, JINJA_WORD, "endgeneration")) graft_jinja_refuse(p, "a generation has no endgeneration");
    } else {
        n = graft_jinja_node_new(p, JINJA_GROUP);
        graft_jinja_refuse(p, "it has a statement that is not known here");
    }
    close_tag(p);
    return n;
}

/* The text up to the next tag, with what trimming takes. */
static graft_jinja_node *text_statement(graft_jinja_parser *p)
{
    graft_jinja_node *n = graft_jinja_node_new(p, JINJA_TEXT);
    size_t from = p->at, end = from;
    while (end < p->bytes && !(p->text[end] == '{' && end + 1 < p->bytes && strchr("{%#", p->text[end + 1]))) end++;
    p->at = end;
    if (p->trim_next == 2)
        while (from < end && graft_jinja_space(p->text[from])) p->line += p->text[from++] == '\n';
    else if (p->trim_next == 1 && from < end && p->text[from] == '\n') from++, p->line++;
    p->trim_next = 0;
    const char sign = end + 2 < p->bytes ? p->text[end + 2] : 0;
    size_t stop = end;
    if (end < p->bytes && sign == '-') {
        while (stop > from && graft_jinja_space(p->text[stop - 1])) stop--;
    } else if (end < p->bytes && sign != '+' && p->text[end + 1] != '{') {
        while (stop > from && (p->text[stop - 1] == ' ' || p->text[stop - 1] == '\t')) stop--;
        if (stop && p->text[stop - 1] != '\n') stop = end; /* the tag does not begin its line */
    }
    n->text = p->text + from, n->bytes = stop - from;
    for (size_t i = from; i < end; i++) p->line += p->text[i] == '\n';
    return n;
}

static void comment(graft_jinja_parser *p)
{
    const char *from = p->text + p->at, *end = memmem(from, p->bytes - p->at, "#}", 2);
    if (!end) {
        graft_jinja_refuse(p, "a comment is not closed");
        return;
    }
    for (const char *c = from; c < end; c++) p->line += *c == '\n';
    p->at = (size_t)(end - p->text) + 2;
    p->trim_next = end[-1] == '-' ? 2 : end[-1] == '+' ? 0
                                                       : 1;
}

static graft_jinja_node *statements(graft_jinja_parser *p, const char *const *ends)
{
    graft_jinja_node *first = NULL, **end = &first;
    while (!p->failed && p->at < p->bytes) {
        graft_jinja_node *n = text_statement(p);
        if (n->bytes) *end = n, end = &n->next;
        if (p->at >= p->bytes) break;
        const char kind = p->text[p->at + 1];
        p->at += 2;
        if (kind == '#') {
            comment(p);
            continue;
        }
        if (p->at < p->bytes && (p->text[p->at] == '-' || p->text[p->at] == '+')) p->at++;
        p->close = kind == '{' ? '}' : '%', p->braces = 0;
        graft_jinja_next(p);
        if (kind == '%')
            for (const char *const *e = ends; e && *e; e++)
                if (name_is(p, *e)) return first;
        if (kind == '%') n = statement(p);
        else {
            n = graft_jinja_node_new(p, JINJA_PRINT);
            n->a = expression(p);
            close_tag(p);
        }
        *end = n, end = &n->next;
    }
    if (ends && !p->failed) graft_jinja_refuse(p, "a block is not closed");
    return first;
}

graft_status graft_jinja_parse(graft_arena *a, const char *name, const char *text, size_t bytes, graft_jinja_node **out, graft_error *err)
{
    if (bytes > 1 << 20) return graft_fail(err, GRAFT_BAD_INPUT, name, "the chat template has %zu bytes; at most 1048576 are read", bytes);
    if (bytes && text[bytes - 1] == '\n') bytes--;
    graft_jinja_parser p = {.a = a, .name = name, .text = text, .bytes = bytes, .line = 1, .err = err};
    *out = statements(&p, NULL);
    return p.failed ? err->code : GRAFT_OK;
}
