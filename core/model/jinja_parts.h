/* core/model/jinja_parts.h - a parsed Jinja template, as jinja_parse.c makes and jinja.c runs it; jinja_words.c holds filters, tests, methods and functions.
 *
 * Values are graft_json nodes, never changed once made (but a namespace's members); NULL is Jinja's undefined. */
#ifndef CORE_MODEL_JINJA_PARTS_H
#define CORE_MODEL_JINJA_PARTS_H

#include "core/model/jinja.h"

typedef enum graft_jinja_kind {
    JINJA_TEXT, JINJA_PRINT, JINJA_IF, JINJA_FOR, JINJA_SET, JINJA_MACRO, JINJA_BREAK, JINJA_CONTINUE, JINJA_GROUP,
    JINJA_FILTERED, JINJA_WITH, JINJA_CALLER,                                                                               /* statements  */
    JINJA_LITERAL, JINJA_NAME, JINJA_LIST, JINJA_DICT, JINJA_MEMBER, JINJA_ITEM, JINJA_SLICE, JINJA_CALL, JINJA_FILTER, JINJA_TEST, /* expressions */
    JINJA_NOT, JINJA_NEGATE, JINJA_AND, JINJA_OR, JINJA_CHOICE, JINJA_BINARY, JINJA_ARGUMENT
} graft_jinja_kind;

typedef struct graft_jinja_node graft_jinja_node;
struct graft_jinja_node {
    graft_jinja_kind kind;
    int line;
    int negated;              /* TEST: is not; LIST: a tuple                                  */
    const char *text;         /* TEXT; the name of NAME, MEMBER, FILTER, TEST, MACRO, ARGUMENT; the operator of BINARY */
    size_t bytes;
    const graft_json *value;  /* LITERAL                                                     */
    graft_jinja_node *a, *b, *c, *d; /* operands: IF a; FOR a targets, b list, c condition; SET a target, b value; CHOICE a if b else c; SLICE a[b:c:d] */
    graft_jinja_node *body, *other; /* statements inside; of else. CALL, FILTER, TEST, LIST, DICT: their ARGUMENTs are body; MACRO, CALLER: parameters are other; WITH: what it sets; FILTERED and SET of a block: its filters */
    graft_jinja_node *next;
};

/* jinja_tokens.c: a template as it is read. */
typedef enum graft_jinja_token { JINJA_END, /* of the tag */
                                  JINJA_WORD,
                                  JINJA_NUMBER,
                                  JINJA_STRING,
                                  JINJA_OPERATOR } graft_jinja_token;

typedef struct graft_jinja_parser {
    graft_arena *a;
    const char *name, *text;
    size_t bytes, at;
    int line, depth, failed;
    graft_error *err;
    graft_jinja_token token; /* the current one */
    const char *word;
    size_t word_bytes;
    const graft_json *value;
    char close;             /* of the tag that is open: '%', '}' */
    int braces;             /* mappings that are open in it: }} closes two of them, not the tag */
    graft_jinja_node spare; /* stands in when memory is out */
    int trim_next;          /* the text that follows loses white space: 1 one newline, 2 all */
} graft_jinja_parser;
void graft_jinja_refuse(graft_jinja_parser *p, const char *what); /* remembers the first error; failed is set */
graft_jinja_node *graft_jinja_node_new(graft_jinja_parser *p, graft_jinja_kind kind);
void graft_jinja_next(graft_jinja_parser *p); /* the next token of the open tag; at its end the tag's closing is read too */
int graft_jinja_space(char c);

/* The statements of a template; memory from a. */
graft_status graft_jinja_parse(graft_arena *a, const char *name, const char *text, size_t bytes, graft_jinja_node **out, graft_error *err);

typedef struct graft_jinja_var {
    const char *name;
    const graft_json *value;
    const graft_jinja_node *macro;
    struct graft_jinja_scope *around; /* of a call block's body: where it stands */
    struct graft_jinja_var *next;
} graft_jinja_var;
typedef struct graft_jinja_scope {
    graft_jinja_var *vars;
    struct graft_jinja_scope *parent;
} graft_jinja_scope;

typedef struct graft_jinja_run {
    graft_arena *a;
    const char *name, *today;
    graft_str *out;
    graft_jinja_scope *scope, *global;
    graft_error *err;
    int failed, depth;
    const graft_jinja_node *caller; /* the call block whose macro is called next */
    int64_t steps;
    enum { JINJA_ON, JINJA_BROKEN, JINJA_CONTINUED } flow;
} graft_jinja_run;

/* The arguments of a filter, test, method or function, evaluated. */
enum { JINJA_ARGS_MAX = 16 };
typedef struct graft_jinja_args {
    const graft_json *value[JINJA_ARGS_MAX];
    const char *name[JINJA_ARGS_MAX]; /* NULL: by position */
    int n;
    int line;
} graft_jinja_args;

enum { JINJA_DEPTH_MAX = 64,
       JINJA_OUTPUT_MAX = 64 << 20 };

/* Values: a tuple is a list that says so. */
static inline int graft_jinja_is_number(const graft_json *v) { return v && (v->type == GRAFT_JSON_NUMBER || v->type == GRAFT_JSON_BOOL); }
static inline int graft_jinja_is_whole(const graft_json *v) { return v && (v->type == GRAFT_JSON_BOOL || (v->type == GRAFT_JSON_NUMBER && v->integral)); }
static inline int graft_jinja_is_text(const graft_json *v) { return v && v->type == GRAFT_JSON_TEXT; }
static inline int graft_jinja_is_tuple(const graft_json *v) { return v && v->type == GRAFT_JSON_ARRAY && v->integral; }
static inline double graft_jinja_number_of(const graft_json *v) { return v->type == GRAFT_JSON_BOOL ? (double)v->integer : v->number; }

/* jinja_values.c. Remembers the first failure; NULL. */
const graft_json *graft_jinja_fail(graft_jinja_run *r, int line, const char *fmt, ...) GRAFT_PRINTF(3, 4);
const graft_json *graft_jinja_text(graft_jinja_run *r, const char *s, size_t n);
const graft_json *graft_jinja_flag(graft_jinja_run *r, int v);
const graft_json *graft_jinja_int(graft_jinja_run *r, int64_t v);
const graft_json *graft_jinja_real(graft_jinja_run *r, double v);
graft_json *graft_jinja_list(graft_jinja_run *r);
const graft_json *graft_jinja_made(graft_jinja_run *r, const graft_json *v); /* v; NULL is a failure for want of memory */
graft_json *graft_jinja_node_of(graft_jinja_run *r, const graft_json *v);     /* a node of its own for a list or mapping; what is inside is shared */
void graft_jinja_push(graft_jinja_run *r, graft_json *list, const graft_json *v); /* undefined becomes none */
int graft_jinja_true(const graft_json *v);
int graft_jinja_same(const graft_json *x, const graft_json *y);
int graft_jinja_order(graft_jinja_run *r, int line, const graft_json *x, const graft_json *y); /* < 0, 0, > 0 */
int graft_jinja_holds(graft_jinja_run *r, int line, const graft_json *container, const graft_json *v);
void graft_jinja_print(graft_jinja_run *r, graft_str *out, const graft_json *v, int quoted); /* as Python's str, or repr */
const graft_json *graft_jinja_argument(const graft_jinja_args *args, int position, const char *name);
/* The items of a value as a list: of a list itself, of a mapping its keys, of a text its characters. */
const graft_json *graft_jinja_items(graft_jinja_run *r, int line, const graft_json *v);

/* jinja_format.c: Python's "text" % values, and "text".format(...). */
const graft_json *graft_jinja_percent(graft_jinja_run *r, int line, const graft_json *text, const graft_json *values);
const graft_json *graft_jinja_format(graft_jinja_run *r, const graft_json *text, const graft_jinja_args *args);

/* jinja_texts.c: methods of texts, and filters that work on what is printed; *known 0: there is none of that name. */
const graft_json *graft_jinja_text_method(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args);
const graft_json *graft_jinja_text_filter(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args, int *known);
int graft_jinja_cased(const graft_json *v, int upper); /* are its letters all of this case, and is there one? */
/* Printed items, with a text between. */
const graft_json *graft_jinja_join(graft_jinja_run *r, int line, const graft_json *list, const graft_json *with, const char *attribute);

/* jinja_words.c */
const graft_json *graft_jinja_filter(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args);
int graft_jinja_test(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args);
const graft_json *graft_jinja_method(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args);
const graft_json *graft_jinja_function(graft_jinja_run *r, const char *name, const graft_jinja_args *args, int *known);

#endif
