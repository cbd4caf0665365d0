/* allocate.c - AdaLoRA's budget: ranks go where they matter. PEFT's RankAllocator, step for step, after each update s (from 0) of T:
 *
 *     s < T - tfinal      I = |p g| of every number of A, E, B;  M = b1 M + (1 - b1) I;  U = b2 U + (1 - b2) |I - M|      sensitivity, uncertainty
 *     tinit < s, s divisible by deltaT, up to T - tfinal      of rank i: score = (M U)_E[i] + mean (M U)_A[i, :] + mean (M U)_B[:, i];
 *                         the k = ranks at first - budget(s) lowest of all sites get E[i] = 0
 *     s > T - tfinal      the ranks that were chosen last stay: E[i] = 0 of the others after every update
 *
 *     budget(s) = target + (first - target) (1 - (s - tinit) / (T - tfinal - tinit))^3, rounded down; first = n init_r, target = n target_r, of n sites
 *
 * p is the number after the update, g the gradient that the update used. M and U last in the host's memory and in checkpoints, and so do the masks. */
#include "adalora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { A,
       E,
       B,
       FACTORS };

/* One factor of one site at this update. */
typedef struct factor {
    float *value, *gradient, *m, *u; /* value, gradient: scratch, [n]; m, u: kept */
    int64_t n;
} factor;

static const char *const names[FACTORS] = {"lora_A", "lora_E", "lora_B"};

static int64_t size_of(const adalora_site *s, int f) { return f == A ? s->rank * s->in : f == E ? s->rank
                                                                                                : s->out * s->rank; }

int adalora_watches(void *run)
{
    const adalora *m = run;
    return !m->ranks && m->target < m->rank;
}

/* ---- sensitivity and uncertainty ---------------------------------------------------------------------------------------------------------- */

static graft_status moments(const adalora *m, const adalora_site *s, int f, graft_tensors *t, factor *x, graft_error *err)
{
    char name[1200], what[1300];
    x->n = size_of(s, f);
    snprintf(name, sizeof name, "%s.%s", s->path, names[f]);
    snprintf(what, sizeof what, "sensitivity:%s", name);
    x->m = t->api->kept(t, what, x->n);
    snprintf(what, sizeof what, "uncertainty:%s", name);
    x->u = t->api->kept(t, what, x->n);
    return x->m && x->u ? GRAFT_OK : m->host->fail(err, GRAFT_NO_MEMORY, name, "no memory for what this parameter is worth");
}

static graft_status look(const adalora *m, const adalora_site *s, int f, graft_tensors *t, float *scratch, graft_error *err)
{
    char name[1200];
    factor x;
    const float b1 = (float)m->beta1, b2 = (float)m->beta2, r1 = (float)(1.0 - m->beta1), r2 = (float)(1.0 - m->beta2);
    graft_status status = moments(m, s, f, t, &x, err);
    x.value = scratch, x.gradient = scratch + x.n;
    snprintf(name, sizeof name, "%s.%s", s->path, names[f]);
    if (!status) status = t->api->read(t, name, x.n, x.value, err);
    if (!status) status = t->api->gradient(t, name, x.n, x.gradient, err);
    for (int64_t i = 0; !status && i < x.n; i++) {
        const float now = fabsf(x.value[i] * x.gradient[i]);
        x.m[i] = b1 * x.m[i] + r1 * now;
        x.u[i] = b2 * x.u[i] + r2 * fabsf(now - x.m[i]);
    }
    return status;
}

static graft_status look_at_all(const adalora *m, graft_tensors *t, graft_error *err)
{
    int64_t most = 0;
    for (size_t i = 0; i < m->n_sites; i++)
        for (int f = 0; f < FACTORS; f++)
            if (size_of(&m->sites[i], f) > most) most = size_of(&m->sites[i], f);
    float *scratch = m->host->alloc(m->host->ctx, (size_t)most * 2 * sizeof *scratch, sizeof *scratch);
    graft_status status = scratch ? GRAFT_OK : m->host->fail(err, GRAFT_NO_MEMORY, "adalora", "no memory to look at an update");
    for (size_t i = 0; i < m->n_sites && !status; i++)
        for (int f = 0; f < FACTORS && !status; f++) status = look(m, &m->sites[i], f, t, scratch, err);
    m->host->release(m->host->ctx, scratch);
    return status;
}

/* ---- the choice ------------------------------------------------------------------------------------------------------------------------------ */

static graft_status score(const adalora *m, const adalora_site *s, graft_tensors *t, float *scores, graft_error *err)
{
    factor x[FACTORS];
    graft_status status = GRAFT_OK;
    for (int f = 0; f < FACTORS && !status; f++) status = moments(m, s, f, t, &x[f], err);
    for (int64_t i = 0; i < s->rank && !status; i++) {
        double a = 0.0, b = 0.0;
        for (int64_t k = 0; k < s->in; k++) a += (double)(x[A].m[i * s->in + k] * x[A].u[i * s->in + k]);
        for (int64_t k = 0; k < s->out; k++) b += (double)(x[B].m[k * s->rank + i] * x[B].u[k * s->rank + i]);
        scores[i] = x[E].m[i] * x[E].u[i] + ((float)(a / (double)s->in) + (float)(b / (double)s->out));
    }
    return status;
}

static int rising(const void *p, const void *q)
{
    const float a = *(const float *)p, b = *(const float *)q;
    return (a > b) - (a < b);
}

/* The masks: all ranks but the k lowest, and those that equal the highest of these. */
static graft_status choose(adalora *m, graft_tensors *t, int64_t k, graft_error *err)
{
    int64_t all = 0;
    for (size_t i = 0; i < m->n_sites; i++) all += m->sites[i].rank;
    float *scores = m->host->alloc(m->host->ctx, (size_t)all * 2 * sizeof *scores, sizeof *scores);
    graft_status status = scores ? GRAFT_OK : m->host->fail(err, GRAFT_NO_MEMORY, "adalora", "no memory to choose ranks");
    float *at = scores;
    for (size_t i = 0; i < m->n_sites && !status; i++) {
        status = score(m, &m->sites[i], t, at, err);
        at += m->sites[i].rank;
    }
    if (!status) {
        memcpy(scores + all, scores, (size_t)all * sizeof *scores);
        qsort(scores + all, (size_t)all, sizeof *scores, rising);
        const float threshold = k > 0 ? scores[all + (k < all ? k : all) - 1] : -INFINITY;
        at = scores;
        for (size_t i = 0; i < m->n_sites; i++)
            for (int64_t r = 0; r < m->sites[i].rank; r++) m->sites[i].mask[r] = *at++ > threshold;
    }
    m->host->release(m->host->ctx, scores);
    return status;
}

/* ---- masks ------------------------------------------------------------------------------------------------------------------------------------ */

/* With `chosen` they are written to what lasts, else read from there, as after a resumption. */
static graft_status keep(adalora *m, graft_tensors *t, graft_error *err)
{
    char what[1200];
    int any = m->chosen;
    for (size_t i = 0; i < m->n_sites; i++) {
        adalora_site *s = &m->sites[i];
        snprintf(what, sizeof what, "ranks:%s", s->path);
        float *kept = t->api->kept(t, what, s->rank); /* 0: not chosen yet, 1: stays, 2: went */
        if (!kept) return m->host->fail(err, GRAFT_NO_MEMORY, s->path, "no memory for the ranks that are left");
        for (int64_t r = 0; r < s->rank; r++) {
            if (m->chosen) kept[r] = s->mask[r] ? 1.0f : 2.0f;
            else if (kept[r] > 0.0f) s->mask[r] = kept[r] < 1.5f, any = 1;
        }
    }
    m->chosen = any;
    return GRAFT_OK;
}

static graft_status silence(const adalora *m, graft_tensors *t, graft_error *err)
{
    char name[1200];
    graft_status status = GRAFT_OK;
    for (size_t i = 0; i < m->n_sites && !status; i++) {
        const adalora_site *s = &m->sites[i];
        float *e = m->host->alloc(m->host->ctx, (size_t)s->rank * sizeof *e, sizeof *e);
        snprintf(name, sizeof name, "%s.lora_E", s->path);
        status = e ? t->api->read(t, name, s->rank, e, err) : m->host->fail(err, GRAFT_NO_MEMORY, name, "no memory to take ranks away");
        for (int64_t r = 0; r < s->rank && !status; r++)
            if (!s->mask[r]) e[r] = 0.0f;
        if (!status) status = t->api->write(t, name, s->rank, e, err);
        m->host->release(m->host->ctx, e);
    }
    return status;
}

static int64_t budget(const adalora *m, int64_t step)
{
    const int64_t n = (int64_t)m->n_sites, last = m->updates - m->tfinal;
    const double left = 1.0 - (double)(step - m->tinit) / (double)(last - m->tinit);
    return (int64_t)((double)(n * (m->rank - m->target)) * pow(left, 3.0) + (double)(n * m->target));
}

graft_status adalora_after_update(void *run, graft_tensors *t, int64_t step, graft_error *err)
{
    adalora *m = run;
    m->updates = t->updates;
    const int64_t last = m->updates - m->tfinal;
    if (m->tinit >= last)
        return m->host->fail(err, GRAFT_BAD_INPUT, "tinit", "with tinit %lld and tfinal %lld no update is left of %lld in which ranks could be taken away: lower them, or train longer", (long long)m->tinit, (long long)m->tfinal, (long long)m->updates);
    graft_status status = m->chosen ? GRAFT_OK : keep(m, t, err);
    if (!status && step < last) status = look_at_all(m, t, err);
    const int now = step > m->tinit && step <= last && (step % m->every == 0 || step == last);
    if (!status && now) status = choose(m, t, (int64_t)m->n_sites * m->rank - budget(m, step), err);
    if (!status && now) m->chosen = 1, status = keep(m, t, err);
    return !status && m->chosen && (now || step > last) ? silence(m, t, err) : status;
}

int adalora_file_rows(void *run, const char *weight, int *axis, const uint8_t **kept)
{
    const adalora *m = run;
    const char *dot = strrchr(weight, '.');
    const adalora_site *s = dot && m->chosen ? adalora_find(m, weight, (size_t)(dot - weight)) : NULL;
    if (!s) return 0;
    *axis = !strcmp(dot + 1, names[B]);
    *kept = s->mask;
    return *axis || !strcmp(dot + 1, names[A]) || !strcmp(dot + 1, names[E]);
}
