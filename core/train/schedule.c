/* core/train/schedule.c - learning-rate schedules. With s = step, w = warm-up steps, T = all steps, p = (s - w) / max(1, T - w):
 *
 *   before w                 s / max(1, w)
 *   linear                   max(0, (T - s) / max(1, T - w))
 *   cosine                   (1 + cos(2 pi c p)) / 2, c = 0.5
 *   cosine_with_restarts     (1 + cos(pi (c p mod 1))) / 2 while p < 1, then 0
 *   cosine_with_min_lr       cosine between 1 and r
 *   polynomial               from 1 to lr_end / base with (1 - p)^power
 *   inverse_sqrt             1 / sqrt((s + t - w) / t), t = timescale
 *   cosine_warmup_with_min_lr   the same one step ahead; before w from u up to 1, u = warmup_lr_rate or 1 / w
 *   warmup_stable_decay      1 for a while, then down to min_lr_ratio
 *   reduce_lr_on_plateau     base; times `factor` whenever more than `patience` evaluations brought nothing better (torch's ReduceLROnPlateau)
 *   greedy                   base; divided by `factor` after more than `patience` evaluations in a row that were better, times it after as many that were not,
 *                            between min_lr and max_lr; after reset_start reductions at min_lr it begins anew (GreedyLR)
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
       COSINE_WARMUP_WITH_MIN_LR,
       REDUCE_LR_ON_PLATEAU,
       GREEDY,
       KINDS };

static const char *const names[KINDS] = {"linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt", "cosine_with_min_lr", "warmup_stable_decay", "cosine_warmup_with_min_lr", "reduce_lr_on_plateau", "greedy"};

/* Which options each kind has: a bit a row of `options`. */
typedef struct option {
    const char *key;
    size_t offset;
    unsigned kinds;
} option;
#define OF(kind) (1u << (kind))
#define WATCHING (OF(REDUCE_LR_ON_PLATEAU) | OF(GREEDY)) /* follow what evaluations say */
static const option options[] = {
    {"num_cycles", offsetof(graft_schedule_options, num_cycles), OF(COSINE) | OF(COSINE_WITH_RESTARTS) | OF(COSINE_WITH_MIN_LR) | OF(COSINE_WARMUP_WITH_MIN_LR) | OF(WARMUP_STABLE_DECAY)},
    {"power", offsetof(graft_schedule_options, power), OF(POLYNOMIAL)},
    {"lr_end", offsetof(graft_schedule_options, lr_end), OF(POLYNOMIAL)},
    {"timescale", offsetof(graft_schedule_options, timescale), OF(INVERSE_SQRT)},
    {"min_lr", offsetof(graft_schedule_options, min_lr), OF(COSINE_WITH_MIN_LR) | OF(COSINE_WARMUP_WITH_MIN_LR) | WATCHING},
    {"min_lr_rate", offsetof(graft_schedule_options, min_lr_rate), OF(COSINE_WITH_MIN_LR) | OF(COSINE_WARMUP_WITH_MIN_LR)},
    {"num_stable_steps", offsetof(graft_schedule_options, num_stable_steps), OF(WARMUP_STABLE_DECAY)},
    {"num_decay_steps", offsetof(graft_schedule_options, num_decay_steps), OF(WARMUP_STABLE_DECAY)},
    {"warmup_lr_rate", offsetof(graft_schedule_options, warmup_lr_rate), OF(COSINE_WARMUP_WITH_MIN_LR)},
    {"factor", offsetof(graft_schedule_options, factor), WATCHING},
    {"patience", offsetof(graft_schedule_options, patience), WATCHING},
    {"threshold", offsetof(graft_schedule_options, threshold), WATCHING},
    {"cooldown", offsetof(graft_schedule_options, cooldown), WATCHING},
    {"eps", offsetof(graft_schedule_options, eps), WATCHING},
    {"warmup", offsetof(graft_schedule_options, rest_after_rise), OF(GREEDY)},
    {"max_lr", offsetof(graft_schedule_options, max_lr), OF(GREEDY)},
    {"reset_start", offsetof(graft_schedule_options, reset_start), OF(GREEDY)},
    {"min_lr_ratio", offsetof(graft_schedule_options, min_lr_ratio), OF(WARMUP_STABLE_DECAY)},
};
enum { OPTIONS = sizeof options / sizeof *options };

/* mode and threshold_mode of those that watch. 1: taken, -1: not one of its words, 0: another key. */
static int read_word(graft_schedule *s, const graft_json *m)
{
    const int mode = !strcmp(m->key, "mode"), threshold = !strcmp(m->key, "threshold_mode");
    if (!mode && !threshold) return 0;
    const char *low = mode ? "min" : "rel", *high = mode ? "max" : "abs";
    if (m->type != GRAFT_JSON_TEXT || (strcmp(m->text, low) && strcmp(m->text, high))) return -1;
    *(mode ? &s->o.highest : &s->o.absolute) = !strcmp(m->text, high);
    if (threshold) s->o.relative = !s->o.absolute;
    return 1;
}

static graft_status read_option(graft_schedule *s, const graft_json *m, graft_error *err)
{
    const char *known[OPTIONS + 2];
    size_t n = 0;
    for (size_t i = 0; i < OPTIONS; i++) {
        if (!(options[i].kinds & OF(s->kind))) continue;
        known[n++] = options[i].key;
        if (strcmp(options[i].key, m->key)) continue;
        if (m->type != GRAFT_JSON_NUMBER || !isfinite(m->number)) return graft_fail(err, GRAFT_BAD_INPUT, "lr_scheduler_kwargs", "%s must be a number", m->key);
        memcpy((char *)&s->o + options[i].offset, &m->number, sizeof m->number);
        return GRAFT_OK;
    }
    if (graft_schedule_watches(s)) {
        const int word = read_word(s, m);
        if (word < 0) return graft_fail(err, GRAFT_BAD_INPUT, "lr_scheduler_kwargs", "%s must be %s", m->key, !strcmp(m->key, "mode") ? "min or max" : "rel or abs");
        if (word) return GRAFT_OK;
        known[n++] = "mode";
        known[n++] = "threshold_mode";
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
    if ((s->kind == COSINE_WITH_MIN_LR || s->kind == COSINE_WARMUP_WITH_MIN_LR) && isnan(s->o.min_lr) && isnan(s->o.min_lr_rate))
        return graft_fail(err, GRAFT_BAD_INPUT, "lr_scheduler_kwargs", "the schedule %s needs min_lr or min_lr_rate", name);
    if (s->kind == WARMUP_STABLE_DECAY) fill_stable_decay(s);
    s->rate = base;
    if (s->kind == GREEDY && isnan(s->o.reset_start)) s->o.reset_start = 500.0;
    s->resets = isnan(s->o.reset_start) ? 0 : (int64_t)s->o.reset_start;
    s->best = s->o.highest ? -INFINITY : INFINITY;
    if (graft_schedule_watches(s) && s->o.factor >= 1.0) return graft_fail(err, GRAFT_BAD_INPUT, "lr_scheduler_kwargs", "factor must be below 1, found %g", s->o.factor);
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

static double min_rate(const graft_schedule *s) { return isnan(s->o.min_lr) ? s->o.min_lr_rate : s->o.min_lr / s->base; }

static double warmup_and_cosine(const graft_schedule *s, double step)
{
    const double w = (double)s->warmup, u = s->o.warmup_lr_rate, low = min_rate(s);
    if (step < w) return isnan(u) ? (step + 1.0) / fmax(1.0, w) : u + (1.0 - u) * step / fmax(1.0, w - 1.0);
    return fmax(0.0, half_cosine(or_else(s->o.num_cycles, 0.5) * 2.0 * (step - w + 1.0) / fmax(1.0, (double)s->total - w)) * (1.0 - low) + low);
}

static double factor(const graft_schedule *s, double step)
{
    const double w = (double)s->warmup, total = (double)s->total, p = (step - w) / fmax(1.0, total - w);
    if (s->kind == CONSTANT) return 1.0;
    if (s->kind == WARMUP_STABLE_DECAY) return stable_decay(s, step);
    if (s->kind == COSINE_WARMUP_WITH_MIN_LR) return warmup_and_cosine(s, step);
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
        const double r = min_rate(s);
        return fmax(0.0, half_cosine(or_else(s->o.num_cycles, 0.5) * 2.0 * p) * (1.0 - r) + r);
    }
    default: return 1.0;
    }
}

double graft_schedule_rate(const graft_schedule *s, int64_t step) { return graft_schedule_watches(s) ? s->rate : s->base * factor(s, (double)step); }

/* ---- reduce_lr_on_plateau, greedy ---------------------------------------------------------------------------------------------------- */

int graft_schedule_watches(const graft_schedule *s) { return (WATCHING >> s->kind & 1u) != 0; }

static int is_better(const graft_schedule *s, double value)
{
    const double by = or_else(s->o.threshold, s->kind == GREEDY ? 1e-6 : 1e-4), toward = s->o.highest ? 1.0 : -1.0;
    const int absolute = s->o.absolute || (s->kind == GREEDY && !s->o.relative);
    const double needed = absolute ? s->best + toward * by : s->best * (1.0 + toward * by);
    return s->o.highest ? value > needed : value < needed;
}

static void lower(graft_schedule *s)
{
    const double least = or_else(s->o.min_lr, 1e-3), now = fmax(s->rate * or_else(s->o.factor, 0.95), least);
    if (s->rate - now > or_else(s->o.eps, 1e-8)) s->rate = now;
    if (s->rate > least || --s->resets > 0) return;
    s->rate = s->base;
    s->best = s->o.highest ? -INFINITY : INFINITY;
    s->bad = s->good = s->resting = s->warming = 0;
    s->resets = (int64_t)s->o.reset_start;
}

static void greedy(graft_schedule *s, double value)
{
    const double patience = or_else(s->o.patience, 10.0);
    if (s->resting > 0 || s->warming > 0) {
        if (s->resting > 0) s->resting--;
        else s->warming--;
        s->bad = s->good = 0;
        return;
    }
    const int better = is_better(s, value);
    if (better) s->best = value;
    s->bad = better ? 0 : s->bad + 1;
    s->good = better ? s->good + 1 : 0;
    if ((double)s->good > patience) {
        const double now = fmin(s->rate / or_else(s->o.factor, 0.95), or_else(s->o.max_lr, 1.0));
        if (now - s->rate > or_else(s->o.eps, 1e-8)) s->rate = now;
        s->resets = (int64_t)s->o.reset_start;
        s->warming = (int64_t)or_else(s->o.rest_after_rise, 0.0);
        s->good = 0;
    } else if ((double)s->bad > patience) {
        lower(s);
        s->resting = (int64_t)or_else(s->o.cooldown, 0.0);
        s->bad = 0;
    }
}

void graft_schedule_metric(graft_schedule *s, double value)
{
    if (s->kind == GREEDY) greedy(s, value);
    if (s->kind != REDUCE_LR_ON_PLATEAU) return;
    const int better = is_better(s, value);
    if (better) s->best = value;
    s->bad = better ? 0 : s->bad + 1;
    if (s->resting > 0) s->resting--, s->bad = 0;
    if ((double)s->bad <= or_else(s->o.patience, 10.0)) return;
    const double now = fmax(s->rate * or_else(s->o.factor, 0.1), or_else(s->o.min_lr, 0.0));
    if (s->rate - now > or_else(s->o.eps, 1e-8)) s->rate = now;
    s->resting = (int64_t)or_else(s->o.cooldown, 0.0);
    s->bad = 0;
}

void graft_schedule_save(const graft_schedule *s, graft_arena *a, graft_json *to)
{
    if (!graft_schedule_watches(s)) return;
    graft_json_put(a, to, "plateau_rate", graft_json_real(a, s->rate));
    if (isfinite(s->best)) graft_json_put(a, to, "plateau_best", graft_json_real(a, s->best));
    graft_json_put(a, to, "plateau_bad", graft_json_int(a, s->bad));
    graft_json_put(a, to, "plateau_resting", graft_json_int(a, s->resting));
    if (s->kind != GREEDY) return;
    graft_json_put(a, to, "greedy_good", graft_json_int(a, s->good));
    graft_json_put(a, to, "greedy_warming", graft_json_int(a, s->warming));
    graft_json_put(a, to, "greedy_resets", graft_json_int(a, s->resets));
}

void graft_schedule_restore(graft_schedule *s, const graft_json *from)
{
    const graft_json *rate = graft_json_get(from, "plateau_rate"), *best = graft_json_get(from, "plateau_best"), *bad = graft_json_get(from, "plateau_bad"), *resting = graft_json_get(from, "plateau_resting");
    if (!graft_schedule_watches(s) || !rate || rate->type != GRAFT_JSON_NUMBER) return;
    s->rate = rate->number;
    if (best && best->type == GRAFT_JSON_NUMBER) s->best = best->number;
    s->bad = bad && bad->integral ? bad->integer : 0;
    s->resting = resting && resting->integral ? resting->integer : 0;
    const graft_json *good = graft_json_get(from, "greedy_good"), *warming = graft_json_get(from, "greedy_warming"), *resets = graft_json_get(from, "greedy_resets");
    if (good && good->integral) s->good = good->integer;
    if (warming && warming->integral) s->warming = warming->integer;
    if (resets && resets->integral) s->resets = resets->integer;
}
