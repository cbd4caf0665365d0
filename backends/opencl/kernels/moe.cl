/* moe.cl - routed experts: the largest k of a row; each assignment's row times the matrix of its expert; the gradient of the matrices. */

/* One item a row. Equals in the order of their index; what cannot be ordered (nan) is a complaint. */
kernel GROUP void topk(TENSOR(x), TENSOR(values), TENSOR(indices), long rows, int n, int k, COMPLAINT)
{
    const long t = get_global_id(0);
    if (t >= rows) return;
    global const float *row = F(x) + t * n;
    float last = INFINITY;
    int before = -1;
    for (int j = 0; j < k; j++) {
        int best = -1;
        for (int e = 0; e < n; e++) {
            const int open = before < 0 || row[e] < last || (row[e] == last && e > before);
            if (open && row[e] == row[e] && (best < 0 || row[e] > row[best])) best = e;
        }
        if (best < 0) {
            complain(complaint, step, BAD_ORDER, (int)t, 0, 0, 0, 0);
            return;
        }
        last = row[best], before = best;
        if (THERE(values)) F(values)[t * k + j] = last;
        if (THERE(indices)) I(indices)[t * k + j] = best;
    }
}

/* Assignments sorted by expert, each expert's in their order: order [n]; start [experts + 1]. One item an expert. */
kernel GROUP void expert_order(TENSOR(ids), TENSOR(order), TENSOR(start), long n, int experts, COMPLAINT)
{
    const int e = get_global_id(0);
    int below = 0;
    if (e > experts) return;
    for (long i = 0; i < n; i++) {
        const int id = I(ids)[i];
        below += id >= 0 && id < e;
        if (e == experts && id >= experts) complain(complaint, step, BAD_EXPERT, id, experts, 0, 0, 0);
    }
    I(start)[e] = below;
    for (long i = 0; i < n; i++) {
        if (e < experts && I(ids)[i] == e) I(order)[below++] = (int)i;
    }
}

/* x_wide: x has a row for each assignment, else one a token. A row of y for each assignment. */
kernel GROUP void expert_rows(TENSOR(x), TENSOR(w), TENSOR(ids), TENSOR(y), int k, int x_wide, int experts, long p, long q, int transposed, int w_type, COMPLAINT)
{
    const long o = get_global_id(0), i = get_group_id(1);
    const int e = I(ids)[i];
    if (e >= experts && o == 0) complain(complaint, step, BAD_EXPERT, e, experts, 0, 0, 0);
    if (o >= q) return;
    float sum = 0.0f;
    if (e >= 0 && e < experts) {
        global const float *row = F(x) + (x_wide ? i : i / k) * p;
        const long base = (long)e * p * q + (transposed ? o : o * p), stride = transposed ? q : 1;
        for (long a = 0; a < p; a++) sum += row[a] * get(RAW(w), w_type, base + a * stride);
    }
    F(y)[i * q + o] = sum;
}

/* Element (e, o, a) of dw: over the assignments of e. base may be dw. */
kernel GROUP void expert_outer(TENSOR(dy), TENSOR(x), TENSOR(order), TENSOR(start), TENSOR(base), TENSOR(dw), int k, int dy_wide, int x_wide, long p, long q)
{
    const long a = get_global_id(0), o = get_group_id(1), e = get_group_id(2);
    if (a >= p) return;
    const int end = I(start)[e + 1];
    const long at = (e * q + o) * p + a;
    float sum = THERE(base) ? F(base)[at] : 0.0f;
    for (int s = I(start)[e]; s < end; s++) {
        const long i = I(order)[s];
        sum += F(dy)[(dy_wide ? i : i / k) * q + o] * F(x)[(x_wide ? i : i / k) * p + a];
    }
    F(dw)[at] = sum;
}
