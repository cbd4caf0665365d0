/* core/train/svd.c - Golub, Kahan and Lanczos' bidiagonalisation with full reorthogonalisation (Golub & Kahan 1965; Simon & Zha 2000).
 *
 *     W V = U B          U [rows, k], V [columns, k] orthonormal, B [k, k] upper bidiagonal
 *     W^T U = V B^T + beta v' e_k^T
 *
 * B's singular vectors, taken back through U and V, are W's. A pair is exact up to beta times the last entry of its left vector in B, so k grows until that is
 * small for all that are wanted; at k = columns it is zero (a wide matrix is turned first). Twice to four times as many steps as vectors suffice for gradients, whose singular
 * values fall fast: for 16 of a 576 x 1536 gradient that is some hundred products with W in place of a whole decomposition. All sums in double. */
#include "core/train/svd.h"

#include "core/base/arena.h"
#include "graft/random.h"

#include <math.h>
#include <string.h>

#define EXACT 1e-10 /* of the largest singular value */

typedef struct search {
    const float *w;
    int64_t rows, columns, k;
    double *u, *v;        /* [k, rows], [k + 1, columns]: one vector after the other */
    double *alpha, *beta; /* B's diagonal; what lies right of it */
    uint64_t seed, draws;
    double scale; /* largest number of B so far */
} search;

/* Sums side by side, so that each need not wait for the one before. */
enum { LANES = 8 };

static double total(const double sums[LANES]) { return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7])); }

static double dot(const double *a, const double *b, int64_t n)
{
    double sums[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) sums[k] += a[i + k] * b[i + k];
    for (; i < n; i++) sums[0] += a[i] * b[i];
    return total(sums);
}

static double dot_f32(const float *a, const double *b, int64_t n)
{
    double sums[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) sums[k] += (double)a[i + k] * b[i + k];
    for (; i < n; i++) sums[0] += (double)a[i] * b[i];
    return total(sums);
}

/* x without its part in the first k vectors, twice over so that it holds to the last digits; its length. */
static double without(double *x, const double *vectors, int64_t k, int64_t n)
{
    for (int64_t i = 0; i < 2 * k; i++) {
        const double *other = vectors + i % k * n, share = dot(x, other, n);
        for (int64_t j = 0; j < n; j++) x[j] -= share * other[j];
    }
    return sqrt(dot(x, x, n));
}

/* x of unit length; where nothing is left of it, some direction that the first k do not have. 0 then. */
static double settle(search *s, double *x, const double *vectors, int64_t k, int64_t n)
{
    double length = without(x, vectors, k, n);
    const int lost = length <= 1e-13 * s->scale || length < 1e-300;
    for (int tries = 0; lost && tries < 8; tries++) {
        for (int64_t j = 0; j < n; j++) x[j] = (double)graft_random_uniform(s->seed, 1, s->draws, (uint64_t)j) - 0.5;
        s->draws++;
        length = without(x, vectors, k, n);
        if (length > 1e-8) break;
    }
    for (int64_t j = 0; j < n; j++) x[j] /= length > 0 ? length : 1.0;
    return lost ? 0.0 : length;
}

/* One more column of B. */
static void step(search *s)
{
    const int64_t j = s->k, m = s->rows, n = s->columns;
    double *u = s->u + j * m, *next = s->v + (j + 1) * n;
    const double *v = s->v + j * n;
    for (int64_t i = 0; i < m; i++) u[i] = dot_f32(s->w + i * n, v, n);
    s->alpha[j] = settle(s, u, s->u, j, m);
    s->scale = fmax(s->scale, s->alpha[j]);
    memset(next, 0, (size_t)n * sizeof *next);
    for (int64_t i = 0; i < m; i++)
        for (int64_t p = 0; p < n; p++) next[p] += (double)s->w[i * n + p] * u[i];
    s->k = j + 1;
    s->beta[j] = s->k < n ? settle(s, next, s->v, s->k, n) : 0.0;
    s->scale = fmax(s->scale, s->beta[j]);
}

/* B = P S Q^T by Hestenes' rotations of its columns (1958): q [k, k] of columns, b becomes P S. */
static void small(const search *s, double *b, double *q)
{
    const int64_t k = s->k;
    memset(b, 0, (size_t)(k * k) * sizeof *b);
    for (int64_t i = 0; i < k; i++) {
        b[i * k + i] = s->alpha[i]; /* column i at b + i k */
        if (i) b[i * k + i - 1] = s->beta[i - 1];
        for (int64_t j = 0; j < k; j++) q[i * k + j] = i == j;
    }
    for (int sweep = 0, moved = 1; sweep < 60 && moved; sweep++) {
        moved = 0;
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = i + 1; j < k; j++) {
                double *x = b + i * k, *y = b + j * k, *qx = q + i * k, *qy = q + j * k;
                const double a = dot(x, x, k), c = dot(y, y, k), d = dot(x, y, k);
                if (fabs(d) <= 1e-15 * sqrt(a * c) || d == 0.0) continue;
                const double zeta = (c - a) / (2.0 * d), t = (zeta < 0 ? -1.0 : 1.0) / (fabs(zeta) + sqrt(1.0 + zeta * zeta)), cs = 1.0 / sqrt(1.0 + t * t), sn = cs * t;
                for (int64_t p = 0; p < k; p++) {
                    const double x0 = x[p], q0 = qx[p];
                    x[p] = cs * x0 - sn * y[p], y[p] = sn * x0 + cs * y[p];
                    qx[p] = cs * q0 - sn * qy[p], qy[p] = sn * q0 + cs * qy[p];
                }
                moved = 1;
            }
    }
}

/* The columns of b by length, longest first, into order; lengths into size. */
static void sort(const double *b, int64_t k, double *size, int64_t *order)
{
    for (int64_t i = 0; i < k; i++) {
        size[i] = sqrt(dot(b + i * k, b + i * k, k));
        int64_t at = i;
        for (; at && size[order[at - 1]] < size[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
}

static int is_exact(const search *s, const double *b, const double *size, const int64_t *order, int64_t r)
{
    const int64_t k = s->k;
    if (k >= s->columns) return 1;
    for (int64_t i = 0; i < r; i++) {
        const double last = size[order[i]] > 0 ? b[order[i] * k + k - 1] / size[order[i]] : 1.0;
        if (fabs(s->beta[k - 1] * last) > EXACT * size[order[0]]) return 0;
    }
    return 1;
}

/* The pair of column `from`, back through U and V: y [rows] and x [columns]. */
static void take(const search *s, const double *b, const double *q, double size, int64_t from, double *y, double *x)
{
    const int64_t k = s->k, m = s->rows, n = s->columns;
    memset(x, 0, (size_t)n * sizeof *x);
    memset(y, 0, (size_t)m * sizeof *y);
    for (int64_t j = 0; j < k; j++) {
        for (int64_t p = 0; p < n; p++) x[p] += q[from * k + j] * s->v[j * n + p];
        for (int64_t p = 0; p < m; p++) y[p] += b[from * k + j] * s->u[j * m + p];
    }
    for (int64_t p = 0; p < m; p++) y[p] = size > 0 ? y[p] / size : 0.0;
}

static double sign_of(const double *x, int64_t n)
{
    int64_t largest = 0;
    for (int64_t p = 1; p < n; p++)
        if (fabs(x[p]) > fabs(x[largest])) largest = p;
    return x[largest] < 0 ? -1.0 : 1.0;
}

/* All r pairs into left [.., r] and right [r, ..] of the matrix as it was given: turned, its rows are our columns. Vectors on U's side whose singular value is
 * zero are any that are orthogonal to the others. */
static void give(search *s, const double *b, const double *q, const double *size, const int64_t *order, int64_t r, int turned, double *ys, double *x, float *left, float *right)
{
    const int64_t m = s->rows, n = s->columns;
    for (int64_t i = 0; i < r; i++) {
        double *y = ys + i * m;
        take(s, b, q, size[order[i]], order[i], y, x);
        if (!(size[order[i]] > 1e-12 * size[order[0]])) {
            memset(y, 0, (size_t)m * sizeof *y);
            settle(s, y, ys, i, m);
        }
        const double sign = turned ? sign_of(y, m) : sign_of(x, n);
        float *const row = right ? right + i * (turned ? m : n) : NULL;
        for (int64_t p = 0; row && p < (turned ? m : n); p++) row[p] = (float)(sign * (turned ? y[p] : x[p]));
        for (int64_t p = 0; left && p < (turned ? n : m); p++) left[p * r + i] = (float)(sign * (turned ? x[p] : y[p]));
    }
}

/* Of a matrix with at least as many rows as columns. */
static int find(const float *w, int64_t rows, int64_t columns, int64_t r, uint64_t seed, int turned, float *left, float *right)
{
    const int64_t least = columns;
    search s = {.w = w, .rows = rows, .columns = columns, .seed = seed};
    int64_t next = 2 * r + 16;
    double *memory = NULL, *b = NULL;
    int64_t *order = NULL;
    int done = 0;
    while (!done) {
        const int64_t k = next < least ? next : least;
        double *more = graft_calloc((size_t)(k * rows + (k + 1) * columns + 2 * k), sizeof *more);
        graft_free(b);
        graft_free(order);
        b = graft_calloc((size_t)(2 * k * k + k + columns + r * rows), sizeof *b);
        order = graft_calloc((size_t)k, sizeof *order);
        if (!more || !b || !order) {
            graft_free(more);
            break;
        }
        double *u = more, *v = u + k * rows, *alpha = v + (k + 1) * columns, *beta = alpha + k;
        if (memory) {
            memcpy(u, s.u, (size_t)(s.k * rows) * sizeof *u);
            memcpy(v, s.v, (size_t)((s.k + 1) * columns) * sizeof *v);
            memcpy(alpha, s.alpha, (size_t)s.k * sizeof *alpha);
            memcpy(beta, s.beta, (size_t)s.k * sizeof *beta);
        }
        graft_free(memory);
        memory = more;
        s.u = u, s.v = v, s.alpha = alpha, s.beta = beta;
        if (!s.k) settle(&s, s.v, s.v, 0, columns);
        while (s.k < k) step(&s);
        double *q = b + k * k, *size = q + k * k, *x = size + k, *ys = x + columns;
        small(&s, b, q);
        sort(b, k, size, order);
        done = is_exact(&s, b, size, order, r);
        next = k + k / 2;
        if (done) give(&s, b, q, size, order, r, turned, ys, x, left, right);
    }
    graft_free(memory);
    graft_free(b);
    graft_free(order);
    return done ? 0 : -1;
}

int graft_svd_largest(const float *w, int64_t rows, int64_t columns, int64_t r, uint64_t seed, float *left, float *right)
{
    if (rows >= columns) return find(w, rows, columns, r, seed, 0, left, right);
    float *turned = graft_calloc((size_t)(rows * columns), sizeof *turned);
    for (int64_t i = 0; turned && i < rows; i++)
        for (int64_t j = 0; j < columns; j++) turned[j * rows + i] = w[i * columns + j];
    const int status = turned ? find(turned, columns, rows, r, seed, 1, left, right) : -1;
    graft_free(turned);
    return status;
}
