/* core/model/jinja.c - runs a parsed Jinja template (jinja_parts.h).
 *
 * Scopes: a for's body has one of its own each time round, a macro one on top of the template's; a set is seen in its own scope and those inside. */
#include "core/model/jinja_parts.h"

#include "core/base/error.h"

#include <math.h>
#include <string.h>

enum { STEPS_MAX = 4000000 };

/* ---- names -------------------------------------------------------------------------------------------------------------------------------- */

static graft_jinja_var *var_of(const graft_jinja_run *r, const char *name)
{
    for (graft_jinja_scope *s = r->scope; s; s = s->parent)
        for (graft_jinja_var *v = s->vars; v; v = v->next)
            if (!strcmp(v->name, name)) return v;
    return NULL;
}

static graft_jinja_var *var_set(graft_jinja_run *r, const char *name, const graft_json *value)
{
    graft_jinja_var *v = r->scope->vars;
    while (v && strcmp(v->name, name)) v = v->next;
    if (!v) {
        v = graft_arena_alloc(r->a, sizeof *v);
        if (!v) return graft_jinja_made(r, NULL), NULL;
        v->name = name, v->next = r->scope->vars, r->scope->vars = v;
    }
    v->value = value, v->macro = NULL, v->around = NULL;
    return v;
}

/* ---- expressions ---------------------------------------------------------------------------------------------------------------------------- */

static const graft_json *eval(graft_jinja_run *r, const graft_jinja_node *n);
static void run(graft_jinja_run *r, const graft_jinja_node *n);

static graft_jinja_args args_of(graft_jinja_run *r, const graft_jinja_node *list)
{
    graft_jinja_args args = {.line = list ? list->line : 0};
    for (const graft_jinja_node *n = list; n && !r->failed; n = n->next) {
        if (args.n == JINJA_ARGS_MAX) graft_jinja_fail(r, n->line, "a call has more than %d arguments", JINJA_ARGS_MAX);
        else args.name[args.n] = n->text, args.value[args.n++] = eval(r, n->a);
    }
    return args;
}

static const graft_json *member(graft_jinja_run *r, int line, const graft_json *of, const char *name)
{
    if (!of) return graft_jinja_fail(r, line, "a member \"%.60s\" is asked of something undefined", name);
    return graft_json_get(of, name);
}

static int64_t characters(const graft_json *text)
{
    int64_t n = 0;
    for (size_t i = 0; i < text->bytes; i++) n += ((unsigned char)text->text[i] & 0xC0) != 0x80;
    return n;
}

static const graft_json *item(graft_jinja_run *r, int line, const graft_json *of, const graft_json *at)
{
    if (!of) return graft_jinja_fail(r, line, "an item is asked of something undefined");
    if (of->type == GRAFT_JSON_OBJECT) return graft_jinja_is_text(at) ? graft_json_get(of, at->text) : NULL;
    if (!graft_jinja_is_whole(at)) return NULL;
    const graft_json *list = graft_jinja_items(r, line, of), *m = list ? list->child : NULL;
    int64_t i = at->integer < 0 && list ? at->integer + list->count : at->integer;
    if (i < 0) return NULL;
    for (; m && i; m = m->next) i--;
    return m;
}

/* Python's a[start:stop:step]. */
static const graft_json *slice(graft_jinja_run *r, const graft_jinja_node *n)
{
    const graft_json *of = eval(r, n->a), *start = n->b ? eval(r, n->b) : NULL, *stop = n->c ? eval(r, n->c) : NULL, *step = n->d ? eval(r, n->d) : NULL;
    const int64_t by = graft_jinja_is_whole(step) && step->integer ? step->integer : 1;
    if (!of) return graft_jinja_fail(r, n->line, "a part is asked of something undefined");
    const int64_t count = graft_jinja_is_text(of) ? characters(of) : of->count;
    int64_t from = graft_jinja_is_whole(start) ? start->integer : by > 0 ? 0
                                                                         : count - 1,
            to = graft_jinja_is_whole(stop) ? stop->integer : by > 0 ? count
                                                                     : -count - 1;
    if (from < 0) from += count;
    if (to < 0) to += count;
    if (from < 0) from = by > 0 ? 0 : -1;
    if (from >= count) from = by > 0 ? count : count - 1;
    if (to < 0) to = by > 0 ? 0 : -1;
    if (to > count) to = count;
    const graft_json *list = graft_jinja_items(r, n->line, of);
    if (!list) return NULL;
    const graft_json **all = graft_arena_alloc(r->a, ((size_t)count + 1) * sizeof *all);
    graft_json *out = graft_jinja_list(r);
    graft_str text;
    int64_t i = 0;
    if (!all || !out) return graft_jinja_made(r, NULL);
    for (const graft_json *m = list->child; m && i < count; m = m->next) all[i++] = m;
    graft_str_init(&text, JINJA_OUTPUT_MAX);
    for (int64_t k = from; by > 0 ? k < to : k > to; k += by) {
        if (k < 0 || k >= i) break;
        if (graft_jinja_is_text(of)) graft_str_add(&text, all[k]->text, all[k]->bytes);
        else graft_jinja_push(r, out, all[k]);
    }
    const graft_json *result = graft_jinja_is_text(of) ? graft_jinja_text(r, text.data, text.bytes) : out;
    graft_str_free(&text);
    return result;
}

static const graft_json *arithmetic(graft_jinja_run *r, const graft_jinja_node *n, const graft_json *x, const graft_json *y)
{
    const char o = n->text[0];
    const int twice = n->text[1] == o;
    if (!graft_jinja_is_number(x) || !graft_jinja_is_number(y)) return graft_jinja_fail(r, n->line, "\"%s\" cannot join these values", n->text);
    const double a = graft_jinja_number_of(x), b = graft_jinja_number_of(y);
    if ((o == '/' || o == '%') && !(b > 0 || b < 0)) return graft_jinja_fail(r, n->line, "a division by zero");
    int64_t v = 0;
    if (graft_jinja_is_whole(x) && graft_jinja_is_whole(y) && (o != '/' || twice) && !(o == '*' && twice)) {
        const int64_t i = x->integer, k = y->integer;
        int over = 0;
        if (o == '+') over = __builtin_add_overflow(i, k, &v);
        else if (o == '-') over = __builtin_sub_overflow(i, k, &v);
        else if (o == '*') over = __builtin_mul_overflow(i, k, &v);
        else if (k == -1) over = o == '/' && __builtin_sub_overflow((int64_t)0, i, &v);
        else v = o == '/' ? i / k - (i % k != 0 && (i < 0) != (k < 0)) : i % k + (i % k != 0 && (i < 0) != (k < 0) ? k : 0);
        return over ? graft_jinja_fail(r, n->line, "a number is too large") : graft_jinja_int(r, v);
    }
    if (o == '*' && twice && graft_jinja_is_whole(x) && graft_jinja_is_whole(y) && b >= 0 && fabs(pow(a, b)) < 9e15) return graft_jinja_int(r, (int64_t)pow(a, b));
    return graft_jinja_real(r, o == '+' ? a + b : o == '-' ? a - b
                                              : o == '*'   ? (twice ? pow(a, b) : a * b)
                                              : o == '/'   ? (twice ? floor(a / b) : a / b)
                                                           : a - b * floor(a / b));
}

/* Texts and lists: + joins, * repeats; ~ joins what is printed. */
static const graft_json *joined(graft_jinja_run *r, const graft_jinja_node *n, const graft_json *x, const graft_json *y)
{
    const char o = n->text[0];
    graft_str text;
    graft_str_init(&text, JINJA_OUTPUT_MAX);
    const graft_json *result = NULL;
    if (o == '~' || (o == '+' && graft_jinja_is_text(x) && graft_jinja_is_text(y))) {
        graft_jinja_print(r, &text, x, 0);
        graft_jinja_print(r, &text, y, 0);
        result = text.failed ? graft_jinja_fail(r, n->line, "a text grows too large") : graft_jinja_text(r, text.data, text.bytes);
    } else if (o == '*' && graft_jinja_is_text(x) && graft_jinja_is_whole(y)) {
        for (int64_t i = 0; i < y->integer && !text.failed; i++) graft_str_add(&text, x->text, x->bytes);
        result = text.failed ? graft_jinja_fail(r, n->line, "a text grows too large") : graft_jinja_text(r, text.data, text.bytes);
    } else if (o == '%' && graft_jinja_is_text(x)) {
        result = graft_jinja_percent(r, n->line, x, y);
    } else if (o == '*' && x && x->type == GRAFT_JSON_ARRAY && graft_jinja_is_whole(y)) {
        graft_json *list = graft_jinja_list(r);
        for (int64_t i = 0; i < y->integer && !r->failed; i++) {
            r->steps += x->count + 1;
            if (r->steps > STEPS_MAX) return graft_jinja_fail(r, n->line, "it does not come to an end");
            for (const graft_json *m = x->child; m; m = m->next) graft_jinja_push(r, list, m);
        }
        result = list;
    } else if (o == '+' && x && y && x->type == GRAFT_JSON_ARRAY && y->type == GRAFT_JSON_ARRAY) {
        graft_json *list = graft_jinja_list(r);
        for (const graft_json *m = x->child; m; m = m->next) graft_jinja_push(r, list, m);
        for (const graft_json *m = y->child; m; m = m->next) graft_jinja_push(r, list, m);
        result = list;
    } else result = arithmetic(r, n, x, y);
    graft_str_free(&text);
    return result;
}

static const graft_json *operation(graft_jinja_run *r, const graft_jinja_node *n)
{
    const graft_json *x = eval(r, n->a), *y = eval(r, n->b);
    if (r->failed) return NULL;
    if (!strcmp(n->text, "==")) return graft_jinja_flag(r, graft_jinja_same(x, y));
    if (!strcmp(n->text, "!=")) return graft_jinja_flag(r, !graft_jinja_same(x, y));
    if (!strcmp(n->text, "in")) return graft_jinja_flag(r, graft_jinja_holds(r, n->line, y, x));
    if (n->text[0] == '<' || n->text[0] == '>') {
        const int c = graft_jinja_order(r, n->line, x, y), or_same = n->text[1] == '=';
        return graft_jinja_flag(r, n->text[0] == '<' ? c < 0 || (or_same && !c) : c > 0 || (or_same && !c));
    }
    return joined(r, n, x, y);
}

/* around: the scope that it sees; of a call block's body the one it stands in. */
static const graft_json *macro_call(graft_jinja_run *r, const graft_jinja_node *macro, graft_jinja_scope *around, const graft_jinja_args *args)
{
    graft_jinja_scope inside = {.parent = around ? around : r->global}, *before = r->scope;
    const graft_jinja_node *caller = r->caller;
    graft_str text, *out = r->out;
    int position = 0;
    graft_str_init(&text, JINJA_OUTPUT_MAX);
    r->scope = &inside;
    for (const graft_jinja_node *p = macro->other; p; p = p->next, position++) {
        const graft_json *v = graft_jinja_argument(args, position, p->text);
        var_set(r, p->text, v || !p->a ? v : eval(r, p->a));
    }
    if (caller) { /* {% call f() %}: its body is caller() inside */
        graft_jinja_var *v = var_set(r, "caller", graft_jinja_flag(r, 1));
        if (v) v->macro = caller, v->around = before;
        r->caller = NULL;
    }
    r->out = &text;
    run(r, macro->body);
    r->out = out, r->scope = before;
    const graft_json *result = text.failed ? graft_jinja_fail(r, macro->line, "a text grows too large") : graft_jinja_text(r, text.data, text.bytes);
    graft_str_free(&text);
    return result;
}

static const graft_json *call(graft_jinja_run *r, const graft_jinja_node *n)
{
    const graft_jinja_node *callee = n->a;
    if (callee->kind == JINJA_MEMBER) {
        const graft_json *of = eval(r, callee->a);
        graft_jinja_args args = args_of(r, n->body);
        args.line = n->line;
        if (!of) return graft_jinja_fail(r, n->line, "\"%.60s\" is called of something undefined", callee->text);
        return r->failed ? NULL : graft_jinja_method(r, callee->text, of, &args);
    }
    if (callee->kind != JINJA_NAME) return graft_jinja_fail(r, n->line, "only names can be called");
    graft_jinja_args args = args_of(r, n->body);
    args.line = n->line;
    const graft_jinja_var *v = var_of(r, callee->text);
    int known = 0;
    if (r->failed) return NULL;
    if (v && v->macro) return macro_call(r, v->macro, v->around, &args);
    const graft_json *result = graft_jinja_function(r, callee->text, &args, &known);
    return known || r->failed ? result : graft_jinja_fail(r, n->line, "there is no function \"%.60s\"", callee->text);
}

static const graft_json *collection(graft_jinja_run *r, const graft_jinja_node *n)
{
    graft_json *out = n->kind == JINJA_LIST ? graft_jinja_list(r) : graft_json_new(r->a, GRAFT_JSON_OBJECT);
    if (!graft_jinja_made(r, out)) return NULL;
    out->integral = n->negated; /* a tuple */
    for (const graft_jinja_node *m = n->body; m && !r->failed; m = m->next) {
        if (n->kind == JINJA_LIST) {
            graft_jinja_push(r, out, eval(r, m->a));
            continue;
        }
        const graft_json *key = eval(r, m->a);
        graft_json *value = graft_jinja_node_of(r, eval(r, m->b));
        if (!graft_jinja_is_text(key)) return graft_jinja_fail(r, m->line, "the keys of a mapping must be texts");
        if (value) graft_json_put(r->a, out, key->text, value);
    }
    return out;
}

static const graft_json *eval_node(graft_jinja_run *r, const graft_jinja_node *n)
{
    const graft_json *v;
    const graft_jinja_var *var;
    graft_jinja_args args;
    switch (n->kind) {
    case JINJA_LITERAL: return n->value;
    case JINJA_NAME: var = var_of(r, n->text); return var ? var->value : NULL;
    case JINJA_LIST:
    case JINJA_DICT: return collection(r, n);
    case JINJA_MEMBER: v = eval(r, n->a); return r->failed ? NULL : member(r, n->line, v, n->text);
    case JINJA_ITEM: v = eval(r, n->a); return r->failed ? NULL : item(r, n->line, v, eval(r, n->b));
    case JINJA_SLICE: return slice(r, n);
    case JINJA_CALL: return call(r, n);
    case JINJA_FILTER:
        v = eval(r, n->a);
        args = args_of(r, n->body), args.line = n->line;
        return r->failed ? NULL : graft_jinja_filter(r, n->text, v, &args);
    case JINJA_TEST:
        v = n->a->kind == JINJA_MEMBER && !eval(r, n->a->a) ? NULL : eval(r, n->a);
        args = args_of(r, n->body), args.line = n->line;
        return r->failed ? NULL : graft_jinja_flag(r, graft_jinja_test(r, n->text, v, &args) != n->negated);
    case JINJA_NOT: return graft_jinja_flag(r, !graft_jinja_true(eval(r, n->a)));
    case JINJA_NEGATE:
        v = eval(r, n->a);
        if (r->failed) return NULL;
        if (!graft_jinja_is_number(v)) return graft_jinja_fail(r, n->line, "only a number can be negated");
        return graft_jinja_is_whole(v) ? graft_jinja_int(r, -v->integer) : graft_jinja_real(r, -v->number);
    case JINJA_AND: return v = eval(r, n->a), graft_jinja_true(v) ? eval(r, n->b) : v;
    case JINJA_OR: return v = eval(r, n->a), graft_jinja_true(v) ? v : eval(r, n->b);
    case JINJA_CHOICE: return graft_jinja_true(eval(r, n->b)) ? eval(r, n->a) : n->c ? eval(r, n->c)
                                                                                     : NULL;
    case JINJA_BINARY: return operation(r, n);
    default: return graft_jinja_fail(r, n->line, "an expression is not understood");
    }
}

static const graft_json *eval(graft_jinja_run *r, const graft_jinja_node *n)
{
    if (r->failed) return NULL;
    if (++r->steps > STEPS_MAX) return graft_jinja_fail(r, n->line, "it does not come to an end");
    if (++r->depth > 8 * JINJA_DEPTH_MAX) return graft_jinja_fail(r, n->line, "it is nested too deeply");
    const graft_json *v = eval_node(r, n);
    r->depth--;
    return v;
}

/* ---- statements -------------------------------------------------------------------------------------------------------------------------------- */

static void loop_put(graft_jinja_run *r, graft_json *loop, const char *key, const graft_json *v)
{
    graft_json *n = graft_jinja_node_of(r, v);
    if (n && loop) graft_json_put(r->a, loop, key, n);
}

static void loop_vars(graft_jinja_run *r, const graft_json *before, const graft_json *m, int64_t i, int64_t count)
{
    graft_json *loop = graft_json_new(r->a, GRAFT_JSON_OBJECT);
    if (!graft_jinja_made(r, loop)) return;
    loop_put(r, loop, "index", graft_jinja_int(r, i + 1));
    loop_put(r, loop, "index0", graft_jinja_int(r, i));
    loop_put(r, loop, "revindex", graft_jinja_int(r, count - i));
    loop_put(r, loop, "revindex0", graft_jinja_int(r, count - i - 1));
    loop_put(r, loop, "first", graft_jinja_flag(r, !i));
    loop_put(r, loop, "last", graft_jinja_flag(r, i + 1 == count));
    loop_put(r, loop, "length", graft_jinja_int(r, count));
    loop_put(r, loop, "depth", graft_jinja_int(r, 1)); /* counts recursion, not nesting */
    loop_put(r, loop, "depth0", graft_jinja_int(r, 0));
    if (before) loop_put(r, loop, "previtem", before);
    if (m->next) loop_put(r, loop, "nextitem", m->next);
    var_set(r, "loop", loop);
}

static void targets_set(graft_jinja_run *r, const graft_jinja_node *targets, const graft_json *v)
{
    if (!targets->next) {
        var_set(r, targets->text, v);
        return;
    }
    const graft_json *m = v && v->type == GRAFT_JSON_ARRAY ? v->child : NULL;
    for (const graft_jinja_node *t = targets; t; t = t->next) {
        if (!m) {
            graft_jinja_fail(r, t->line, "there are fewer values than names");
            return;
        }
        var_set(r, t->text, m);
        m = m->next;
    }
}

static void run_for(graft_jinja_run *r, const graft_jinja_node *n)
{
    const graft_json *list = graft_jinja_items(r, n->line, eval(r, n->b)), *before = NULL;
    graft_jinja_scope *outside = r->scope;
    int64_t i = 0;
    if (r->failed || !list) return;
    if (n->c) { /* for .. if: the loop's numbers count what is left */
        graft_json *kept = graft_jinja_list(r);
        for (const graft_json *m = list->child; m && !r->failed; m = m->next) {
            graft_jinja_scope inside = {.parent = outside};
            r->scope = &inside;
            targets_set(r, n->a, m);
            if (graft_jinja_true(eval(r, n->c))) graft_jinja_push(r, kept, m);
            r->scope = outside;
        }
        list = kept;
    }
    for (const graft_json *m = list ? list->child : NULL; m && !r->failed && r->flow != JINJA_BROKEN; before = m, m = m->next, i++) {
        graft_jinja_scope inside = {.parent = outside};
        r->scope = &inside;
        targets_set(r, n->a, m);
        loop_vars(r, before, m, i, list->count);
        run(r, n->body);
        r->scope = outside;
        if (r->flow == JINJA_CONTINUED) r->flow = JINJA_ON;
    }
    r->flow = JINJA_ON;
    if (!i && n->other) run(r, n->other);
}

/* The filters of a block, one after the other. */
static const graft_json *filters_on(graft_jinja_run *r, const graft_jinja_node *filters, const graft_json *v)
{
    for (const graft_jinja_node *f = filters; f && !r->failed; f = f->next) {
        graft_jinja_args args = args_of(r, f->body);
        args.line = f->line;
        if (!r->failed) v = graft_jinja_filter(r, f->text, v, &args);
    }
    return v;
}

static void run_filtered(graft_jinja_run *r, const graft_jinja_node *n)
{
    graft_str text, *out = r->out;
    graft_str_init(&text, JINJA_OUTPUT_MAX);
    r->out = &text;
    run(r, n->body);
    r->out = out;
    const graft_json *v = r->failed ? NULL : filters_on(r, n->other, graft_jinja_text(r, text.data, text.bytes));
    graft_str_free(&text);
    if (!r->failed) graft_jinja_print(r, r->out, v, 0);
}

static void run_with(graft_jinja_run *r, const graft_jinja_node *n)
{
    graft_jinja_scope inside = {.parent = r->scope};
    r->scope = &inside;
    for (const graft_jinja_node *m = n->other; m && !r->failed; m = m->next) var_set(r, m->text, eval(r, m->a));
    run(r, n->body);
    r->scope = inside.parent;
}

static void run_set(graft_jinja_run *r, const graft_jinja_node *n)
{
    const graft_json *v = NULL;
    if (n->b) v = eval(r, n->b);
    else {
        graft_str text, *out = r->out;
        graft_str_init(&text, JINJA_OUTPUT_MAX);
        r->out = &text;
        run(r, n->body);
        r->out = out;
        v = graft_jinja_text(r, text.data, text.bytes);
        graft_str_free(&text);
        v = filters_on(r, n->other, v);
    }
    if (r->failed) return;
    if (n->a->kind == JINJA_NAME) {
        targets_set(r, n->a, v);
        return;
    }
    graft_jinja_var *space = var_of(r, n->a->a->text);
    graft_json *copy = space && space->value && space->value->type == GRAFT_JSON_OBJECT ? graft_json_new(r->a, GRAFT_JSON_OBJECT) : NULL;
    if (!copy) {
        graft_jinja_fail(r, n->line, "\"%.60s\" is no namespace", n->a->a->text);
        return;
    }
    for (const graft_json *m = space->value->child; m; m = m->next) loop_put(r, copy, m->key, m);
    loop_put(r, copy, n->a->text, v);
    space->value = copy;
}

static void run_one(graft_jinja_run *r, const graft_jinja_node *n)
{
    graft_jinja_var *v;
    switch (n->kind) {
    case JINJA_TEXT: graft_str_add(r->out, n->text, n->bytes); break;
    case JINJA_PRINT: graft_jinja_print(r, r->out, eval(r, n->a), 0); break;
    case JINJA_IF: run(r, graft_jinja_true(eval(r, n->a)) ? n->body : n->other); break;
    case JINJA_FOR: run_for(r, n); break;
    case JINJA_SET: run_set(r, n); break;
    case JINJA_MACRO:
        if ((v = var_set(r, n->text, NULL))) v->macro = n;
        break;
    case JINJA_BREAK: r->flow = JINJA_BROKEN; break;
    case JINJA_CONTINUE: r->flow = JINJA_CONTINUED; break;
    case JINJA_GROUP: run(r, n->body); break;
    case JINJA_FILTERED: run_filtered(r, n); break;
    case JINJA_WITH: run_with(r, n); break;
    case JINJA_CALLER:
        r->caller = n;
        graft_jinja_print(r, r->out, eval(r, n->a), 0);
        r->caller = NULL;
        break;
    default: graft_jinja_fail(r, n->line, "a statement is not understood");
    }
}

static void run(graft_jinja_run *r, const graft_jinja_node *n)
{
    if (++r->depth > 8 * JINJA_DEPTH_MAX && n) graft_jinja_fail(r, n->line, "it is nested too deeply");
    for (; n && !r->failed && r->flow == JINJA_ON; n = n->next) {
        if (++r->steps > STEPS_MAX) graft_jinja_fail(r, n->line, "it does not come to an end");
        else run_one(r, n);
        if (r->out->failed) graft_jinja_fail(r, n->line, "its text grows too large");
    }
    r->depth--;
}

graft_status graft_jinja_render(const char *name, const char *text, size_t bytes, const graft_json *variables, const char *today, graft_str *out, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    graft_jinja_node *template = NULL;
    graft_jinja_scope global = {0};
    graft_jinja_run r = {.a = a, .name = name, .today = today, .out = out, .scope = &global, .global = &global, .err = err};
    graft_status status = a ? graft_jinja_parse(a, name, text, bytes, &template, err) : graft_fail(err, GRAFT_NO_MEMORY, name, "out of memory for the chat template");
    for (const graft_json *v = status || !variables ? NULL : variables->child; v; v = v->next) var_set(&r, v->key, v);
    if (!status) run(&r, template);
    if (!status && r.failed) status = err->code;
    graft_arena_free(a);
    return status;
}
