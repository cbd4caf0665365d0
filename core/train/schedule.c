/* core/train/schedule.c - learning-rate schedules. With s = step, w = warm-up steps, T = all steps, p = (s - w) / max(1, T - w):
 *
 *   before w                 s / max(1, w)
 *   linear                   max(0, (T - s) / max(1, T - w))
 *   cosine                   (1 + cos(2 pi c p)) / 2, c = 0.5
 *   cosine_with_restarts     (1 + cos(pi (c p mod 1))) / 2 while p < 1, then 0
 *   cosine_with_min_lr       cosine between 1 and r
 *   polynomial               from 1 to lr_end / base with (1 - p)^power
 *   inverse_sqrt             1 / sqrt((s + t - w) / t), t = timescale
 *   warmup_stable_decay      1 for a while, then down to min_lr_ratio
 *
 * The formulas are those of transformers' optimization.py, so that curves of both lie on each other. */
#include "core/train/schedule.h"

#include "core/base/error.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { LINEAR,
       COSINE,
       COSINE_WITH_RESTARTS,
       POLYNOMIAL,
       CONSTANT,
       CONSTANT_WITH_WARMUP,
       INVERSE_SQRT,
       COSINE_WITH_MIN_LR,
       WARMUP_STABLE_DECAY,
       KINDS };

static const char *const names[KINDS] = {"linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt", "cosine_with_min_lr", "warmup_stable_decay"};

/* Which options each kind has: a bit a row of `options`. */
typedef struct option {
    const char *key;
    size_t offset;
    unsigned kinds;
} option;
#define OF(kind) (1u << (kind))
static const option options[] = {
    {"num_cycles", offsetof(graft_schedule_options, num_cycles), OF(COSINE) | OF(COSINE_WITH_RESTARTS) | OF(COSINE_WITH_MIN_LR) | OF(WARMUP_STABLE_DECAY)},
    {"power", offsetof(graft_schedule_options, power), OF(POLYNOMIAL)},
    {"lr_end", offsetof(graft_schedule_options, lr_end), OF(POLYNOMIAL)},
    {"timescale", offsetof(graft_schedule_options, timescale), OF(INVERSE_SQRT)},
    {"min_lr", offsetof(graft_schedule_options, min_lr), OF(COSINE_WITH_MIN_LR)},
    {"min_lr_rate", offsetof(graft_schedule_options, min_lr_rate), OF(COSINE_WITH_MIN_LR)},
    {"num_stable_steps", offsetof(graft_schedule_options, num_stable_steps), OF(WARMUP_STABLE_DECAY)},
    {"num_decay_steps", offsetof(graft_schedule_options, num_decay_steps), OF(WARMUP_STABLE_DECAY)},
    {"min_lr_ratio", offsetof(graft_schedule_options, min_lr_ratio), OF(WARMUP_STABLE_DECAY)},
};
enum { OPTIONS = sizeof options / sizeof *options };

static graft_status read_option(graft_schedule *s, const graft_json *m, graft_error *err)
{
    const char *known[OPTIONS + 1];
    size_t n = 0;
    for (size_t i = 0; i < OPTIONS; i++) {
        if (!(options[i].kinds & OF(s->kind))) continue;
        known[n++] = options[i].key;
        if (strcmp(options[i].key, m->key)) continue;
        if (m->type != GRAFT_JSON_NUMBER || !isfinite(m->number)) return graft_fail(err, GRAFT_BAD_INPUT, "lr_scheduler_kwargs", "%s must be a number", m->key);
        memcpy((char *)&s->o + options[i].offset, &m->number, sizeof m->number);
        return GRAFT_OK;
    }
    if (s->kind == WARMUP_STABLE_DECAY) {
        known[n++] = "decay_type";
        if (!strcmp(m->key, "decay_type")) {
            if (m->type != GRAFT_JSON_TEXT || (strcmp(m->text, "linear") && strcmp(m->text, "cosine") && strcmp(m->text, "1-sqrt")))
                return graft_fail(err, GRAFT_BAD_INPUT, "lr_scheduler_kwargs", "decay_type must be one of linear, cosine, 1-sqrt");
            memcpy(s->o.decay_type, m->text, strlen(m->text) + 1);
            return GRAFT_OK;
        }
    }
    const char *near = graft_nearest(m->key, known, n);
    return graft_fail(err, GRAFT_BAD_INPUT, "lr_scheduler_kwargs", "the schedule %s has no option '%s'%s%s%s", names[s->kind], m->key, near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* LLaMA-Factory's shares where num_decay_steps is not given: a third of what follows the warm-up is stable, the rest decays. */
static void fill_stable_decay(graft_schedule *s)
{
    const double after = (double)(s->total - s->warmup);
    if (isnan(s->o.num_decay_steps)) {
        if (isnan(s->o.num_stable_steps)) s->o.num_stable_steps = floor(after / 3);
        s->o.num_decay_steps = after - s->o.num_stable_steps;
    }
    if (isnan(s->o.num_stable_steps)) s->o.num_stable_steps = after - s->o.num_decay_steps;
    if (isnan(s->o.min_lr_ratio)) s->o.min_lr_ratio = 0;
    if (!*s->o.decay_type) memcpy(s->o.decay_type, "cosine", sizeof "cosine");
}

graft_status graft_schedule_new(graft_schedule *s, const char *name, double base, int64_t warmup, int64_t total, const graft_json *kwargs, graft_error *err)
{
    memset(s, 0, sizeof *s);
    s->kind = KINDS;
    for (int i = 0; i < KINDS; i++)
        if (!strcmp(name, names[i])) s->kind = i;
    if (s->kind == KINDS) {
        const char *near = graft_nearest(name, names, KINDS);
        if (near) return graft_fail(err, GRAFT_BAD_INPUT, "lr_scheduler_type", "unknown schedule '%s', did you mean '%s'?", name, near);
        return graft_fail(err, GRAFT_BAD_INPUT, "lr_scheduler_type", "unknown schedule '%s', expected for example linear, cosine, constant or constant_with_warmup", name);
    }
    s->base = base;
    s->warmup = warmup;
    s->total = total;
    for (size_t i = 0; i < OPTIONS; i++) {
        const double absent = NAN;
        memcpy((char *)&s->o + options[i].offset, &absent, sizeof absent);
    }
    if (kwargs && kwargs->type != GRAFT_JSON_OBJECT) return graft_fail(err, GRAFT_BAD_INPUT, "lr_scheduler_kwargs", "expected an object like {num_cycles: 2}");
    for (const graft_json *m = kwargs ? kwargs->child : NULL; m; m = m->next) {
        const graft_status status = read_option(s, m, err);
        if (status) return status;
    }
    if (s->kind == COSINE_WITH_MIN_LR && isnan(s->o.min_lr) && isnan(s->o.min_lr_rate))
        return graft_fail(err, GRAFT_BAD_INPUT, "lr_scheduler_kwargs", "the schedule cosine_with_min_lr needs min_lr or min_lr_rate");
    if (s->kind == WARMUP_STABLE_DECAY) fill_stable_decay(s);
    return GRAFT_OK;
}

static double or_else(double v, double fallback) { return isnan(v) ? fallback : v; }
static double half_cosine(double turns) { return 0.5 * (1.0 + cos(M_PI * turns)); }

static double polynomial(const graft_schedule *s, double step)
{
    const double end = or_else(s->o.lr_end, 1e-7), left = 1.0 - (step - (double)s->warmup) / (double)(s->total - s->warmup);
    if (step > (double)s->total) return end / s->base;
    return ((s->base - end) * pow(left, or_else(s->o.power, 1.0)) + end) / s->base;
}

static double stable_decay(const graft_schedule *s, double step)
{
    const double w = (double)s->warmup, low = s->o.min_lr_ratio, p = (step - w - s->o.num_stable_steps) / fmax(1.0, s->o.num_decay_steps);
    double f;
    if (step < w) f = step / fmax(1.0, w);
    else if (step < w + s->o.num_stable_steps) return 1.0;
    else if (p >= 1.0) return low;
    else if (!strcmp(s->o.decay_type, "linear")) f = 1.0 - p;
    else if (!strcmp(s->o.decay_type, "1-sqrt")) f = 1.0 - sqrt(p);
    else f = half_cosine(or_else(s->o.num_cycles, 0.5) * 2.0 * p);
    return fmax(0.0, f * (1.0 - low) + low);
}

static double factor(const graft_schedule *s, double step)
{
    const double w = (double)s->warmup, total = (double)s->total, p = (step - w) / fmax(1.0, total - w);
    if (s->kind == CONSTANT) return 1.0;
    if (s->kind == WARMUP_STABLE_DECAY) return stable_decay(s, step);
    if (step < w) return step / fmax(1.0, w);
    switch (s->kind) {
    case LINEAR: return fmax(0.0, (total - step) / fmax(1.0, total - w));
    case COSINE: return fmax(0.0, half_cosine(or_else(s->o.num_cycles, 0.5) * 2.0 * p));
    case COSINE_WITH_RESTARTS: return p >= 1.0 ? 0.0 : fmax(0.0, half_cosine(fmod(or_else(s->o.num_cycles, 1.0) * p, 1.0)));
    case POLYNOMIAL: return polynomial(s, step);
    case INVERSE_SQRT: {
        const double t = or_else(s->o.timescale, s->warmup ? w : 10000.0);
        return 1.0 / sqrt((step + t - w) / t);
    }
    case COSINE_WITH_MIN_LR: {
        const double r = isnan(s->o.min_lr) ? s->o.min_lr_rate : s->o.min_lr / s->base;
        return fmax(0.0, half_cosine(or_else(s->o.num_cycles, 0.5) * 2.0 * p) * (1.0 - r) + r);
    }
    default: return 1.0;
    }
}

double graft_schedule_rate(const graft_schedule *s, int64_t step) { return s->base * factor(s, (double)step); }
