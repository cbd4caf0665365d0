/* core/train/optim.c - the list of optimisers, their names in transformers, and their arguments. */
#include "core/train/optim.h"

#include "core/base/error.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const graft_optim *const optimisers[] = {&graft_optim_adamw, &graft_optim_adamw_8bit, &graft_optim_sgd, &graft_optim_lion, &graft_optim_adafactor, &graft_optim_muon, &graft_optim_galore};
enum { OPTIMISERS = sizeof optimisers / sizeof *optimisers };

/* transformers' names. Those of one line differ in who computes or where the states lie, not in what is computed. */
static const struct {
    const char *name;
    const graft_optim *kind;
} names[] = {
    {"adamw_torch", &graft_optim_adamw},
    {"adamw_torch_fused", &graft_optim_adamw},
    {"adamw_torch_xla", &graft_optim_adamw},
    {"adamw_torch_npu_fused", &graft_optim_adamw},
    {"adamw_apex_fused", &graft_optim_adamw},
    {"adamw_anyprecision", &graft_optim_adamw},
    {"adamw_hf", &graft_optim_adamw},
    {"adamw", &graft_optim_adamw},
    {"paged_adamw", &graft_optim_adamw},
    {"paged_adamw_32bit", &graft_optim_adamw},
    {"adamw_8bit", &graft_optim_adamw_8bit},
    {"adamw_bnb_8bit", &graft_optim_adamw_8bit},
    {"paged_adamw_8bit", &graft_optim_adamw_8bit},
    {"sgd", &graft_optim_sgd},
    {"adafactor", &graft_optim_adafactor},
    {"lion_32bit", &graft_optim_lion},
    {"paged_lion_32bit", &graft_optim_lion},
    {"lion", &graft_optim_lion},
    {"muon", &graft_optim_muon},
    {"galore_adamw", &graft_optim_galore},
    {"galore_adamw_layerwise", &graft_optim_galore}, /* there each gradient is dropped after its own step, and not clipped */
};
enum { NAMES = sizeof names / sizeof *names };

const graft_optim *graft_optim_of(const graft_optim_options *o) { return o->kind ? o->kind : &graft_optim_adamw; }

int graft_optim_is_state(const char *name)
{
    for (size_t i = 0; i < OPTIMISERS; i++)
        for (int k = 0; k < GRAFT_OPTIM_STATES && optimisers[i]->states[k]; k++)
            if (!strncmp(name, optimisers[i]->states[k], strlen(optimisers[i]->states[k]))) return 1;
    return 0;
}

/* ---- arguments ------------------------------------------------------------------------------------------------------------- */

enum { REAL,
       FLAG,
       COUNT,
       SIDE };

typedef struct argument {
    const char *key;
    const graft_optim *of;
    int type;
    size_t offset;
    double low, high; /* open above: high itself is refused */
} argument;

#define AT(field) offsetof(graft_optim_options, field)
static const argument arguments[] = {
    {"momentum", &graft_optim_sgd, REAL, AT(momentum), 0, 1},
    {"dampening", &graft_optim_sgd, REAL, AT(dampening), 0, INFINITY},
    {"nesterov", &graft_optim_sgd, FLAG, AT(nesterov), 0, 0},
    {"momentum", &graft_optim_muon, REAL, AT(momentum), 0, 1},
    {"nesterov", &graft_optim_muon, FLAG, AT(nesterov), 0, 0},
    {"ns_steps", &graft_optim_muon, COUNT, AT(ns_steps), 1, 65},
    {"beta1", &graft_optim_adafactor, REAL, AT(beta1), 0, 1},
    {"eps1", &graft_optim_adafactor, REAL, AT(eps1), 0, INFINITY},
    {"eps2", &graft_optim_adafactor, REAL, AT(eps2), 0, INFINITY},
    {"clip_threshold", &graft_optim_adafactor, REAL, AT(clip_threshold), 1e-30, INFINITY},
    {"decay_rate", &graft_optim_adafactor, REAL, AT(decay_rate), -INFINITY, 0},
    {"scale_parameter", &graft_optim_adafactor, FLAG, AT(scale_parameter), 0, 0},
    {"relative_step", &graft_optim_adafactor, FLAG, AT(relative_step), 0, 0},
    {"warmup_init", &graft_optim_adafactor, FLAG, AT(warmup_init), 0, 0},
    {"rank", &graft_optim_galore, COUNT, AT(galore_rank), 1, 1 << 20},
    {"update_proj_gap", &graft_optim_galore, COUNT, AT(galore_interval), 1, 1 << 30},
    {"scale", &graft_optim_galore, REAL, AT(galore_scale), 0, INFINITY},
    {"proj_type", &graft_optim_galore, SIDE, AT(galore_side), 0, 0},
};
enum { ARGUMENTS = sizeof arguments / sizeof *arguments };

static int truth(const char *text, int *out)
{
    *out = !strcmp(text, "true") || !strcmp(text, "True") || !strcmp(text, "1");
    return *out || !strcmp(text, "false") || !strcmp(text, "False") || !strcmp(text, "0");
}

static graft_status refuse(const char *key, const char *value, const char *expected, graft_error *err)
{
    return graft_fail(err, GRAFT_BAD_INPUT, "optim_args", "%s expects %s, found '%s'", key, expected, value);
}

static graft_status take_side(graft_galore_side *to, const char *value, graft_error *err)
{
    const char *word = "std reverse_std right left full"; /* in the order of graft_galore_side */
    for (int i = 0; *word; i++) {
        const size_t n = strcspn(word, " ");
        if (strlen(value) == n && !strncmp(value, word, n)) return *to = (graft_galore_side)i, GRAFT_OK;
        word += n + strspn(word + n, " ");
    }
    return refuse("proj_type", value, "std, reverse_std, right, left or full", err);
}

static graft_status take_value(graft_optim_options *o, const argument *a, const char *value, graft_error *err)
{
    void *to = (char *)o + a->offset;
    char expected[96], *end = NULL;
    int flag = 0;
    if (a->type == FLAG) {
        if (!truth(value, &flag)) return refuse(a->key, value, "true or false", err);
        memcpy(to, &flag, sizeof flag);
        return GRAFT_OK;
    }
    if (a->type == SIDE) return take_side(to, value, err);
    const double v = strtod(value, &end);
    snprintf(expected, sizeof expected, "a %s from %g and below %g", a->type == COUNT ? "whole number" : "number", a->low, a->high);
    if (end == value || *end || !(v >= a->low && v < a->high) || (a->type == COUNT && v != floor(v))) return refuse(a->key, value, expected, err);
    if (a->offset == AT(beta1)) o->first_moment = 1;
    const int whole = (int)v;
    if (a->type == REAL) memcpy(to, &v, sizeof v);
    else memcpy(to, &whole, sizeof whole);
    return GRAFT_OK;
}

static graft_status take_argument(graft_optim_options *o, const char *key, const char *value, graft_error *err)
{
    const char *known[ARGUMENTS];
    size_t n = 0;
    for (size_t i = 0; i < ARGUMENTS; i++) {
        if (arguments[i].of != graft_optim_of(o)) continue;
        if (!strcmp(arguments[i].key, key)) return take_value(o, &arguments[i], value, err);
        known[n++] = arguments[i].key;
    }
    if (!n) return graft_fail(err, GRAFT_BAD_INPUT, "optim_args", "the optimizer %s has no further options, found '%s'", graft_optim_of(o)->name, key);
    const char *near = graft_nearest(key, known, n);
    return graft_fail(err, GRAFT_BAD_INPUT, "optim_args", "the optimizer %s has no option '%s'%s%s%s", graft_optim_of(o)->name, key, near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* "key=value, key=value": blanks around either side are ignored. */
static graft_status take_arguments(graft_optim_options *o, const char *args, graft_error *err)
{
    while (*(args += strspn(args, " ,"))) {
        char item[128];
        size_t n = strcspn(args, ",");
        snprintf(item, sizeof item, "%.*s", (int)n, args);
        args += n;
        while (n && n < sizeof item && item[n - 1] == ' ') item[--n] = 0;
        char *equals = strchr(item, '=');
        if (!equals || n >= sizeof item) return graft_fail(err, GRAFT_BAD_INPUT, "optim_args", "expected key=value, key=value, found '%s'", item);
        char *key_end = equals, *value = equals + 1;
        while (key_end > item && key_end[-1] == ' ') key_end--;
        *key_end = 0;
        value += strspn(value, " ");
        const graft_status s = take_argument(o, item, value, err);
        if (s) return s;
    }
    return GRAFT_OK;
}

graft_status graft_optim_choose(graft_optim_options *o, const char *name, const char *args, graft_error *err)
{
    const char *known[NAMES];
    o->kind = NULL;
    for (size_t i = 0; i < NAMES; i++) {
        known[i] = names[i].name;
        if (!strcmp(name, names[i].name)) o->kind = names[i].kind;
    }
    if (!o->kind) {
        const char *near = graft_nearest(name, known, NAMES);
        return graft_fail(err, GRAFT_UNSUPPORTED, "optim", "the optimizer '%s' is not supported: use %s", name, near ? near : "adamw_torch");
    }
    /* The trainer's settings where they differ from the optimiser's own: adafactor without relative steps, momentum only when asked for. */
    o->momentum = o->kind == &graft_optim_muon ? 0.95 : 0.0;
    o->nesterov = o->kind == &graft_optim_muon;
    o->dampening = 0.0;
    o->ns_steps = 5;
    o->eps1 = 1e-30, o->eps2 = 1e-3, o->clip_threshold = 1.0, o->decay_rate = -0.8;
    o->galore_rank = 128, o->galore_interval = 200, o->galore_scale = 0.25, o->galore_side = GRAFT_GALORE_STD;
    o->first_moment = o->scale_parameter = o->relative_step = o->warmup_init = 0;
    const graft_status s = args ? take_arguments(o, args, err) : GRAFT_OK;
    if (s) return s;
    if (o->kind == &graft_optim_sgd && o->nesterov && (o->momentum <= 0 || o->dampening != 0)) return graft_fail(err, GRAFT_BAD_INPUT, "optim_args", "nesterov needs a momentum and no dampening");
    if (o->warmup_init && !o->relative_step) return graft_fail(err, GRAFT_BAD_INPUT, "optim_args", "warmup_init needs relative_step=true");
    return GRAFT_OK;
}

/* ---- for the files of optimisers ------------------------------------------------------------------------------------------- */

graft_value graft_optim_state(const graft_optim_leaf *x, const char *prefix, graft_dtype dtype, int rank, const int64_t *dims)
{
    char name[1024];
    const int n = snprintf(name, sizeof name, "%s%s", prefix, x->info->name);
    if (n < 0 || (size_t)n >= sizeof name) {
        graft_graph_error(x->g, "the name of a weight is longer than %zu bytes", sizeof name - 16);
        return graft_null_value();
    }
    return graft_graph_state(x->g, name, dtype, rank < 0 ? x->info->shape.rank : rank, rank < 0 ? x->info->shape.dims : dims);
}

graft_value graft_optim_number(const graft_optim_leaf *x, int i) { return graft_reshape(x->b, graft_slice(x->b, x->row, 1, i, 1), 0, NULL); }

graft_value graft_optim_row(const graft_optim_leaf *x)
{
    const int64_t dims[] = {GRAFT_OPTIM_NUMBERS};
    return graft_reshape(x->b, x->row, 1, dims);
}

graft_value graft_optim_mix(graft_builder *b, graft_value x, graft_value a, graft_value y, graft_value c) { return graft_add(b, graft_mul(b, x, a), graft_mul(b, y, c)); }
