/* start.c - starting values that depend on the base model's weights.
 *     DoRA   m = length of each row of W. (PiSSA, OLoRA with DoRA: of W as it was, which W + scale B A still is.)
 *     PiSSA  the r largest singular triples of W: A = sqrt(S) V^T, B = U sqrt(S) with S divided by the scale; W loses scale B A. Meng et al. 2024, arXiv 2404.02948
 *     OLoRA  the first r columns of W = Q R: B = Q[:, :r], A = R[:r]; W loses scale B A. Buyukakyuz 2024, arXiv 2406.01775
 * For a saved adapter the same is done again: its A and B belong to the same remainder of W. All sums in double. */
#include "lora.h"

#include "graft/random.h"

#include <math.h>
#include <stdio.h>

enum { SPARE = 8, /* more vectors than asked for, so that the last ones converge as the first */
       MOST = 400 /* rounds, when nobody said how many */ };

typedef struct work {
    const lora *m;
    graft_tensors *t;
    const graft_site *s;
    int64_t rows, columns, r;
    double scale;
    float *w;      /* [rows, columns]; all of this from the host's alloc */
    double *a, *b; /* [r, columns], [rows, r] */
} work;

/* ---- small dense algebra ---------------------------------------------------------------------------------------------------------------- */

/* out [rows, k] = W x, x [columns, k] */
static void times(const work *j, const double *x, int64_t k, double *out)
{
    for (int64_t i = 0; i < j->rows; i++) {
        double *o = out + i * k;
        for (int64_t c = 0; c < k; c++) o[c] = 0.0;
        for (int64_t p = 0; p < j->columns; p++) {
            const double w = (double)j->w[i * j->columns + p];
            for (int64_t c = 0; c < k; c++) o[c] += w * x[p * k + c];
        }
    }
}

/* out [columns, k] = W^T x, x [rows, k] */
static void times_transposed(const work *j, const double *x, int64_t k, double *out)
{
    for (int64_t i = 0; i < j->columns * k; i++) out[i] = 0.0;
    for (int64_t i = 0; i < j->rows; i++)
        for (int64_t p = 0; p < j->columns; p++) {
            const double w = (double)j->w[i * j->columns + p];
            for (int64_t c = 0; c < k; c++) out[p * k + c] += w * x[i * k + c];
        }
}

/* Columns of x [n, k] made orthonormal, twice over so that it holds to the last digits (Gram and Schmidt). */
static void orthonormal(double *x, int64_t n, int64_t k)
{
    for (int64_t c = 0; c < k; c++) {
        for (int64_t d = 0; d < 2 * c; d++) {
            double dot = 0.0;
            for (int64_t i = 0; i < n; i++) dot += x[i * k + c] * x[i * k + d % c];
            for (int64_t i = 0; i < n; i++) x[i * k + c] -= dot * x[i * k + d % c];
        }
        double length = 0.0;
        for (int64_t i = 0; i < n; i++) length += x[i * k + c] * x[i * k + c];
        length = sqrt(length);
        for (int64_t i = 0; i < n; i++) x[i * k + c] = length > 1e-300 ? x[i * k + c] / length : 0.0;
    }
}

/* Eigenvectors of the symmetric g [k, k] into the columns of v, eigenvalues onto g's diagonal (Jacobi). */
static void eigen(double *g, double *v, int64_t k)
{
    for (int64_t i = 0; i < k * k; i++) v[i] = i % (k + 1) == 0;
    for (int sweep = 0; sweep < 60; sweep++) {
        double outside = 0.0, all = 0.0;
        for (int64_t i = 0; i < k * k; i++) all += g[i] * g[i], outside += i % (k + 1) ? g[i] * g[i] : 0.0;
        if (outside <= 1e-30 * all) return;
        for (int64_t p = 0; p < k; p++)
            for (int64_t q = p + 1; q < k; q++) {
                if (g[p * k + q] == 0.0) continue;
                const double theta = (g[q * k + q] - g[p * k + p]) / (2.0 * g[p * k + q]);
                const double t = (theta < 0 ? -1.0 : 1.0) / (fabs(theta) + sqrt(theta * theta + 1.0)), c = 1.0 / sqrt(t * t + 1.0), s = t * c;
                for (int64_t i = 0; i < k; i++) {
                    const double x = g[i * k + p], y = g[i * k + q];
                    g[i * k + p] = c * x - s * y, g[i * k + q] = s * x + c * y;
                }
                for (int64_t i = 0; i < k; i++) {
                    const double x = g[p * k + i], y = g[q * k + i];
                    g[p * k + i] = c * x - s * y, g[q * k + i] = s * x + c * y;
                }
                for (int64_t i = 0; i < k; i++) {
                    const double x = v[i * k + p], y = v[i * k + q];
                    v[i * k + p] = c * x - s * y, v[i * k + q] = s * x + c * y;
                }
            }
    }
}

/* ---- PiSSA -------------------------------------------------------------------------------------------------------------------------------- */

/* The k largest directions: y [columns, k] on the right, W y into z [rows, k]. Halko, Martinsson & Tropp 2011. */
static void iterate(const work *j, int64_t k, double *y, double *z)
{
    const uint64_t stream = lora_hash(j->s->path);
    const int64_t rounds = j->m->iterations ? j->m->iterations : MOST;
    double before = 0.0;
    for (int64_t i = 0; i < j->columns * k; i++) {
        const double u = 1.0 - (double)graft_random_uniform(j->t->seed, stream, 2, (uint64_t)i), angle = (double)graft_random_uniform(j->t->seed, stream, 3, (uint64_t)i);
        y[i] = sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * angle);
    }
    for (int64_t round = 0; round < rounds; round++) {
        times(j, y, k, z);
        orthonormal(z, j->rows, k);
        times_transposed(j, z, k, y);
        double sum = 0.0;
        for (int64_t i = 0; i < j->columns * k; i++) sum += y[i] * y[i];
        orthonormal(y, j->columns, k);
        if (!j->m->iterations && fabs(sum - before) <= 1e-14 * sum) break;
        before = sum;
    }
    times(j, y, k, z);
}

static void largest(const double *values, int64_t k, int64_t r, int64_t *order)
{
    for (int64_t i = 0; i < r; i++) {
        order[i] = -1;
        for (int64_t c = 0; c < k; c++) {
            int taken = 0;
            for (int64_t d = 0; d < i; d++) taken |= order[d] == c;
            if (!taken && (order[i] < 0 || values[c * (k + 1)] > values[order[i] * (k + 1)])) order[i] = c;
        }
    }
}

static graft_status pissa(work *j, graft_error *err)
{
    const int64_t least = j->rows < j->columns ? j->rows : j->columns, k = j->r + SPARE < least ? j->r + SPARE : least;
    const graft_host *h = j->m->host;
    const size_t n = (size_t)((j->rows + j->columns) * k + 2 * k * k);
    if (j->r > least) return h->fail(err, GRAFT_BAD_INPUT, j->s->path, "PiSSA with rank %lld needs a weight with at least as many rows and columns; this one is %lld x %lld", (long long)j->r, (long long)j->rows, (long long)j->columns);
    double *y = h->alloc(h->ctx, n * sizeof *y, sizeof *y);
    int64_t *order = h->alloc(h->ctx, (size_t)j->r * sizeof *order, sizeof *order);
    if (y && order) {
        double *z = y + j->columns * k, *g = z + j->rows * k, *q = g + k * k;
        iterate(j, k, y, z);
        for (int64_t a = 0; a < k; a++)
            for (int64_t b = 0; b < k; b++) {
                g[a * k + b] = 0.0;
                for (int64_t i = 0; i < j->rows; i++) g[a * k + b] += z[i * k + a] * z[i * k + b];
            }
        eigen(g, q, k); /* z = U S q^T, so W's right vectors are y q */
        largest(g, k, j->r, order);
        for (int64_t c = 0; c < j->r; c++) {
            const double s = sqrt(fmax(g[order[c] * (k + 1)], 1e-300)), root = sqrt(s / j->scale);
            for (int64_t p = 0; p < j->columns; p++) {
                double sum = 0.0;
                for (int64_t d = 0; d < k; d++) sum += y[p * k + d] * q[d * k + order[c]];
                j->a[c * j->columns + p] = root * sum;
            }
            for (int64_t i = 0; i < j->rows; i++) {
                double sum = 0.0;
                for (int64_t d = 0; d < k; d++) sum += z[i * k + d] * q[d * k + order[c]];
                j->b[i * j->r + c] = root * sum / s;
            }
        }
    }
    h->release(h->ctx, y);
    h->release(h->ctx, order);
    return y && order ? GRAFT_OK : h->fail(err, GRAFT_NO_MEMORY, j->s->path, "no memory to decompose the weight");
}

/* ---- OLoRA: Householder's reflections of the first r columns, with LAPACK's signs ------------------------------------------------------------ */

static graft_status olora(work *j, graft_error *err)
{
    const graft_host *h = j->m->host;
    const int64_t n = j->rows, r = j->r;
    if (r > n || r > j->columns) return h->fail(err, GRAFT_BAD_INPUT, j->s->path, "OLoRA with rank %lld needs a weight with at least as many rows and columns; this one is %lld x %lld", (long long)r, (long long)n, (long long)j->columns);
    double *v = h->alloc(h->ctx, (size_t)(n * r) * sizeof *v, sizeof *v);
    if (!v) return h->fail(err, GRAFT_NO_MEMORY, j->s->path, "no memory to decompose the weight");
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < r; c++) v[i * r + c] = (double)j->w[i * j->columns + c], j->b[i * r + c] = i == c;
    for (int64_t c = 0; c < r; c++) { /* column c becomes its reflection's vector; the later columns are reflected */
        double length = 0.0, square = 0.0;
        for (int64_t i = c; i < n; i++) length += v[i * r + c] * v[i * r + c];
        v[c * r + c] += v[c * r + c] < 0 ? -sqrt(length) : sqrt(length);
        for (int64_t i = c; i < n; i++) square += v[i * r + c] * v[i * r + c];
        for (int64_t d = c + 1; d < r && square > 0; d++) {
            double dot = 0.0;
            for (int64_t i = c; i < n; i++) dot += v[i * r + c] * v[i * r + d];
            for (int64_t i = c; i < n; i++) v[i * r + d] -= 2.0 * dot / square * v[i * r + c];
        }
    }
    for (int64_t c = r - 1; c >= 0; c--) { /* Q = H1 .. Hr */
        double square = 0.0;
        for (int64_t i = c; i < n; i++) square += v[i * r + c] * v[i * r + c];
        for (int64_t d = 0; d < r && square > 0; d++) {
            double dot = 0.0;
            for (int64_t i = c; i < n; i++) dot += v[i * r + c] * j->b[i * r + d];
            for (int64_t i = c; i < n; i++) j->b[i * r + d] -= 2.0 * dot / square * v[i * r + c];
        }
    }
    for (int64_t c = 0; c < r; c++)
        for (int64_t p = 0; p < j->columns; p++) {
            double sum = 0.0;
            for (int64_t i = 0; i < n; i++) sum += j->b[i * r + c] * (double)j->w[i * j->columns + p];
            j->a[c * j->columns + p] = sum;
        }
    h->release(h->ctx, v);
    return GRAFT_OK;
}

/* ---- one site ------------------------------------------------------------------------------------------------------------------------------------ */

static graft_status write_named(const work *j, const char *name, const double *from, int64_t n, graft_error *err)
{
    char full[1100];
    const graft_host *h = j->m->host;
    snprintf(full, sizeof full, "%s.%s", j->s->path, name);
    float *out = h->alloc(h->ctx, (size_t)n * sizeof *out, sizeof *out);
    for (int64_t i = 0; out && i < n; i++) out[i] = (float)from[i];
    const graft_status status = out ? j->t->api->write(j->t, full, n, out, err) : h->fail(err, GRAFT_NO_MEMORY, full, "no memory for starting values");
    h->release(h->ctx, out);
    return status;
}

/* m = row lengths of the base weight; of the token table, column lengths */
static graft_status lengths(work *j, graft_error *err)
{
    if (j->s->role == GRAFT_ROLE_EMBED) {
        for (int64_t p = 0; p < j->columns; p++) j->a[p] = 0.0;
        for (int64_t i = 0; i < j->rows * j->columns; i++) j->a[i % j->columns] += (double)j->w[i] * (double)j->w[i];
        for (int64_t p = 0; p < j->columns; p++) j->a[p] = sqrt(j->a[p]);
        return write_named(j, "lora_magnitude_vector", j->a, j->columns, err);
    }
    for (int64_t i = 0; i < j->rows; i++) {
        double sum = 0.0;
        for (int64_t p = 0; p < j->columns; p++) sum += (double)j->w[i * j->columns + p] * (double)j->w[i * j->columns + p];
        j->b[i] = sqrt(sum);
    }
    return write_named(j, "lora_magnitude_vector", j->b, j->rows, err);
}

/* A = [a; a], B = [b, -b]: nothing at first, and with the second half frozen the same as PiSSA on the rest of W. */
static graft_status twice(work *j, graft_error *err)
{
    const graft_host *h = j->m->host;
    const int64_t n = j->r * j->columns;
    double *wide = h->alloc(h->ctx, (size_t)(2 * (n + j->rows * j->r)) * sizeof *wide, sizeof *wide);
    if (!wide) return h->fail(err, GRAFT_NO_MEMORY, j->s->path, "no memory for starting values");
    double *b = wide + 2 * n;
    for (int64_t i = 0; i < n; i++) wide[i] = wide[n + i] = j->a[i];
    for (int64_t i = 0; i < j->rows; i++)
        for (int64_t c = 0; c < j->r; c++) b[i * 2 * j->r + c] = j->b[i * j->r + c], b[i * 2 * j->r + j->r + c] = -j->b[i * j->r + c];
    graft_status status = write_named(j, "lora_A.weight", wide, 2 * n, err);
    if (!status) status = write_named(j, "lora_B.weight", b, 2 * j->rows * j->r, err);
    h->release(h->ctx, wide);
    return status;
}

static graft_status decompose(work *j, graft_error *err)
{
    char name[1100];
    graft_status status = j->m->init == LORA_INIT_PISSA ? pissa(j, err) : olora(j, err);
    if (!status && j->m->convert) return twice(j, err);
    if (!status) status = write_named(j, "lora_A.weight", j->a, j->r * j->columns, err);
    if (!status) status = write_named(j, "lora_B.weight", j->b, j->rows * j->r, err);
    for (int64_t i = 0; !status && i < j->rows; i++)
        for (int64_t p = 0; p < j->columns; p++) {
            double sum = 0.0;
            for (int64_t c = 0; c < j->r; c++) sum += j->b[i * j->r + c] * j->a[c * j->columns + p];
            j->w[i * j->columns + p] = (float)((double)j->w[i * j->columns + p] - j->scale * sum);
        }
    snprintf(name, sizeof name, "%s.weight", j->s->path);
    return status ? status : j->t->api->write(j->t, name, j->rows * j->columns, j->w, err);
}

static graft_status start_site(work *j, graft_error *err)
{
    char name[1100];
    const graft_host *h = j->m->host;
    const size_t n = (size_t)(j->rows * j->columns);
    j->w = h->alloc(h->ctx, n * sizeof *j->w, sizeof *j->w);
    j->a = h->alloc(h->ctx, (size_t)(j->r * j->columns) * sizeof *j->a, sizeof *j->a);
    j->b = h->alloc(h->ctx, (size_t)(j->rows * j->r) * sizeof *j->b, sizeof *j->b);
    snprintf(name, sizeof name, "%s.weight", j->s->path);
    graft_status status = j->w && j->a && j->b ? j->t->api->read(j->t, name, (int64_t)n, j->w, err) : h->fail(err, GRAFT_NO_MEMORY, name, "no memory for starting values");
    if (!status && j->m->dora) status = lengths(j, err);
    if (!status && j->m->init >= LORA_INIT_PISSA && j->s->role != GRAFT_ROLE_EMBED) status = decompose(j, err); /* a table starts as ever, as in PEFT */
    h->release(h->ctx, j->w);
    h->release(h->ctx, j->a);
    h->release(h->ctx, j->b);
    return status;
}

graft_status lora_start(void *run, graft_tensors *t, graft_error *err)
{
    const lora *m = run;
    graft_status status = GRAFT_OK;
    if (!m->dora && m->init < LORA_INIT_PISSA) return GRAFT_OK;
    for (int32_t i = 0; i < t->n_sites && !status; i++) {
        const graft_site *s = t->sites[i];
        const lora_site *known = lora_site_at(m, s->path);
        if (!known) return m->host->fail(err, GRAFT_INTERNAL, s->path, "this site got no LoRA while the graph was built");
        const int table = s->role == GRAFT_ROLE_EMBED;
        work j = {.m = m, .t = t, .s = s, .rows = table ? s->in : s->out, .columns = table ? s->out : s->in, .r = known->rank, .scale = known->scale};
        status = start_site(&j, err);
    }
    return status;
}
