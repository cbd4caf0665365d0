/* attention.cl - causal attention inside each sequence without a matrix of scores: a group of LANES items takes a tile of B rows and walks over tiles of B
 * rows of the other side, both in local memory.
 *   s = softcap(scale q.k)    P = exp(s - lse)    o = sum P v    dv += P do    ds = P (do.v - do.o), through softcap (1 - (s / softcap)^2) ds
 * spans [T, 4] says for token t: the key rows low .. high that its query sees (high < low: none), and the last query that sees its key row.
 * Rows in local memory are h + 1 numbers apart. Extra keys are seen by every token of a sequence. */

/* An item for each sequence and each token. cache_rows < 0: keys are the batch's own rows, else rows of the cache. */
kernel GROUP void spans(TENSOR(seq), TENSOR(span), long S, long T, long cache_rows, long window, COMPLAINT)
{
    const long t = get_global_id(0);
    if (t < S) {
        const long first = I(seq)[4 * t], rows = I(seq)[4 * t + 1], at = I(seq)[4 * t + 2], cached = I(seq)[4 * t + 3];
        if (first < 0 || rows < 0 || first + rows > T) complain(complaint, step, BAD_BORDER, (int)t, (int)first, (int)rows, (int)T, 0);
        else if (cache_rows >= 0 && (at < 0 || cached < 0 || at + cached + rows > cache_rows))
            complain(complaint, step, BAD_CACHE, (int)t, (int)at, (int)cached, (int)rows, (int)cache_rows);
    }
    if (t >= T) return;
    int4 r = (int4)(0, -1, -1, 0);
    for (long s = 0; s < S; s++) {
        const long first = I(seq)[4 * s], rows = I(seq)[4 * s + 1];
        if (t < first || t >= first + rows) continue;
        const long cached = cache_rows >= 0 ? I(seq)[4 * s + 3] : 0, base = cache_rows >= 0 ? I(seq)[4 * s + 2] : first, place = t - first + cached;
        const long end = first + rows - 1;
        r.s0 = (int)(base + (window > 0 && place >= window ? place - window + 1 : 0));
        r.s1 = (int)(base + place);
        r.s2 = (int)(window > 0 ? min(end, t + window - 1) : end);
        r.s3 = (int)(base + place); /* where the token's key row goes in a cache */
    }
    ((global int4 *)RAW(span))[t] = r;
}

/* The batch's key and value rows to their places in the caches; a group a token. */
kernel GROUP void cache_rows(TENSOR(k), TENSOR(v), TENSOR(span), TENSOR(k_cache), TENSOR(v_cache), long width, COMPLAINT)
{
    const long t = get_group_id(0);
    const int4 r = ((global const int4 *)RAW(span))[t];
    if (complaint[0] || r.s1 < r.s0) return;
    for (long j = get_local_id(0); j < width; j += LANES) {
        F(k_cache)[(long)r.s3 * width + j] = F(k)[t * width + j];
        F(v_cache)[(long)r.s3 * width + j] = F(v)[t * width + j];
    }
}

/* Rows first .. of x [rows, heads, h], head `head`, into tile [B, h + 1]; zeros past the end. */
void load_rows(local float *tile, global const float *x, long first, long rows, int heads, int head, int h, int B)
{
    for (int r = 0; r < B; r++) {
        const int inside = first + r < rows;
        for (int j = get_local_id(0); j < h; j += LANES) tile[r * (h + 1) + j] = inside ? x[((first + r) * heads + head) * h + j] : 0.0f;
    }
}

float dot_rows(local const float *x, local const float *y, int h)
{
    float sum = 0.0f;
    for (int j = 0; j < h; j++) sum += x[j] * y[j];
    return sum;
}

float capped(float s, float softcap) { return softcap > 0.0f ? softcap * tanh(s / softcap) : s; }

kernel GROUP void attend(TENSOR(q), TENSOR(k), TENSOR(v), TENSOR(kx), TENSOR(vx), TENSOR(span), TENSOR(o), TENSOR(lse), long T, long rows, int n, int kv, int h, int m,
                   float scale, float softcap, int B, local float *room, COMPLAINT)
{
    const int me = get_local_id(0), head = get_group_id(1), g = head / (n / kv), pitch = h + 1;
    const long t0 = (long)get_group_id(0) * B;
    local float *lq = room, *lk = lq + B * pitch, *acc = lk + B * pitch, *s = acc + B * pitch, *top = s + B * B, *sum = top + B, *fade = sum + B;
    local int *low = (local int *)(fade + B), *high = low + B;
    const int wrong = complaint[0]; /* borders that cannot be trusted: nothing is seen */
    load_rows(lq, F(q), t0, T, n, head, h, B);
    for (int i = me; i < B * pitch; i += LANES) acc[i] = 0.0f;
    if (me < B) {
        const int4 r = t0 + me < T && !wrong ? ((global const int4 *)RAW(span))[t0 + me] : (int4)(0, -1, -1, 0);
        low[me] = r.s0, high[me] = r.s1, top[me] = -INFINITY, sum[me] = 0.0f;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    long first = rows, end = 0;
    for (int r = 0; r < B; r++) {
        if (high[r] < low[r]) continue;
        first = min(first, (long)low[r]);
        end = max(end, (long)high[r] + 1);
    }
    for (int own = 0; own < 2; own++) {
        const long from = own ? first : 0, to = own ? end : end > 0 ? m : 0;
        for (long k0 = from; k0 < to; k0 += B) {
            int seen = !own;
            for (int r = 0; r < B; r++) seen |= high[r] >= low[r] && low[r] < k0 + B && high[r] >= k0;
            if (!seen) continue;
            load_rows(lk, own ? F(k) : F(kx), k0, own ? rows : m, kv, g, h, B);
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = me; i < B * B; i += LANES) {
                const int r = i / B, u = i % B;
                const int visible = high[r] >= low[r] && (own ? k0 + u >= low[r] && k0 + u <= high[r] : k0 + u < m);
                s[i] = visible ? capped(scale * dot_rows(lq + r * pitch, lk + u * pitch, h), softcap) : -INFINITY;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            load_rows(lk, own ? F(v) : F(vx), k0, own ? rows : m, kv, g, h, B);
            if (me < B) {
                float most = top[me], total;
                for (int u = 0; u < B; u++) most = fmax(most, s[me * B + u]);
                fade[me] = top[me] == most ? 1.0f : exp(top[me] - most);
                total = sum[me] * fade[me];
                for (int u = 0; u < B; u++) {
                    const float e = s[me * B + u] == -INFINITY ? 0.0f : exp(s[me * B + u] - most);
                    s[me * B + u] = e;
                    total += e;
                }
                top[me] = most, sum[me] = total;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int r = 0; r < B; r++) {
                for (int j = me; j < h; j += LANES) {
                    float a = acc[r * pitch + j] * fade[r];
                    for (int u = 0; u < B; u++) a += s[r * B + u] * lk[u * pitch + j];
                    acc[r * pitch + j] = a;
                }
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
    }
    for (int r = 0; r < B && t0 + r < T; r++) {
        const float over = sum[r] > 0.0f ? 1.0f / sum[r] : 0.0f;
        for (int j = me; j < h && THERE(o); j += LANES) F(o)[((t0 + r) * n + head) * h + j] = acc[r * pitch + j] * over;
        if (me == 0 && THERE(lse)) F(lse)[(t0 + r) * n + head] = sum[r] > 0.0f ? top[r] + log(sum[r]) : 0.0f;
    }
}

/* do . o of each row and head: [T, n]. */
kernel GROUP void attend_delta(TENSOR(o), TENSOR(dy), TENSOR(delta), long count, int h)
{
    const long i = get_global_id(0);
    if (i >= count) return;
    wide sum = 0;
    for (int j = 0; j < h; j++) sum += (wide)F(o)[i * h + j] * (wide)F(dy)[i * h + j];
    F(delta)[i] = (float)sum;
}

/* P of a query and a key, and the slope of the loss in their product q.k. */
float pair(local const float *q, local const float *dy, local const float *k, local const float *v, int h, float lse, float delta, float scale, float softcap, float *slope)
{
    const float s = capped(scale * dot_rows(q, k, h), softcap), p = exp(s - lse), part = softcap > 0.0f ? s / softcap : 0.0f;
    *slope = scale * p * (dot_rows(dy, v, h) - delta) * (1.0f - part * part);
    return p;
}

kernel GROUP void attend_dq(TENSOR(q), TENSOR(k), TENSOR(v), TENSOR(kx), TENSOR(vx), TENSOR(span), TENSOR(lse), TENSOR(dy), TENSOR(delta), TENSOR(dq), long T, int n, int kv,
                      int h, int m, float scale, float softcap, int B, local float *room, COMPLAINT)
{
    const int me = get_local_id(0), head = get_group_id(1), g = head / (n / kv), pitch = h + 1;
    const long t0 = (long)get_group_id(0) * B;
    local float *lq = room, *ldo = lq + B * pitch, *lk = ldo + B * pitch, *lv = lk + B * pitch, *acc = lv + B * pitch, *s = acc + B * pitch, *row_lse = s + B * B, *row_delta = row_lse + B;
    local int *low = (local int *)(row_delta + B), *high = low + B;
    const int wrong = complaint[0]; /* borders that cannot be trusted: nothing is seen */
    load_rows(lq, F(q), t0, T, n, head, h, B);
    load_rows(ldo, F(dy), t0, T, n, head, h, B);
    for (int i = me; i < B * pitch; i += LANES) acc[i] = 0.0f;
    if (me < B) {
        const int inside = t0 + me < T && !wrong;
        const int4 r = inside ? ((global const int4 *)RAW(span))[t0 + me] : (int4)(0, -1, -1, 0);
        low[me] = r.s0, high[me] = r.s1;
        row_lse[me] = inside ? F(lse)[(t0 + me) * n + head] : 0.0f, row_delta[me] = inside ? F(delta)[(t0 + me) * n + head] : 0.0f;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    long first = T, end = 0;
    for (int r = 0; r < B; r++) {
        if (high[r] < low[r]) continue;
        first = min(first, (long)low[r]);
        end = max(end, (long)high[r] + 1);
    }
    for (int own = 0; own < 2; own++) {
        const long from = own ? first : 0, to = own ? end : end > 0 ? m : 0;
        for (long k0 = from; k0 < to; k0 += B) {
            load_rows(lk, own ? F(k) : F(kx), k0, own ? T : m, kv, g, h, B);
            load_rows(lv, own ? F(v) : F(vx), k0, own ? T : m, kv, g, h, B);
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = me; i < B * B; i += LANES) {
                const int r = i / B, u = i % B;
                const int visible = high[r] >= low[r] && (own ? k0 + u >= low[r] && k0 + u <= high[r] : k0 + u < m);
                float slope = 0.0f;
                if (visible) pair(lq + r * pitch, ldo + r * pitch, lk + u * pitch, lv + u * pitch, h, row_lse[r], row_delta[r], scale, softcap, &slope);
                s[i] = slope;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int r = 0; r < B; r++) {
                for (int j = me; j < h; j += LANES) {
                    float a = acc[r * pitch + j];
                    for (int u = 0; u < B; u++) a += s[r * B + u] * lk[u * pitch + j];
                    acc[r * pitch + j] = a;
                }
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
    }
    for (int r = 0; r < B && t0 + r < T; r++)
        for (int j = me; j < h; j += LANES) F(dq)[((t0 + r) * n + head) * h + j] = acc[r * pitch + j];
}

/* A tile of key rows of key head get_group_id(1): of the batch (own), or of the extra keys (rows = m). All query heads of the group, in order. */
kernel GROUP void attend_dkv(TENSOR(q), TENSOR(k), TENSOR(v), TENSOR(span), TENSOR(lse), TENSOR(dy), TENSOR(delta), TENSOR(dk), TENSOR(dv), long T, long rows, int own, int n,
                       int kv, int h, float scale, float softcap, int B, local float *room, COMPLAINT)
{
    const int me = get_local_id(0), g = get_group_id(1), group = n / kv, pitch = h + 1;
    const long k0 = (long)get_group_id(0) * B;
    local float *lk = room, *lv = lk + B * pitch, *lq = lv + B * pitch, *ldo = lq + B * pitch, *ak = ldo + B * pitch, *av = ak + B * pitch;
    local float *p = av + B * pitch, *s = p + B * B, *row_lse = s + B * B, *row_delta = row_lse + B;
    local int *low = (local int *)(row_delta + B), *high = low + B, *last = high + B;
    const int wrong = complaint[0]; /* borders that cannot be trusted: nothing is seen */
    load_rows(lk, F(k), k0, rows, kv, g, h, B);
    load_rows(lv, F(v), k0, rows, kv, g, h, B);
    for (int i = me; i < B * pitch; i += LANES) ak[i] = av[i] = 0.0f;
    if (me < B) last[me] = own && k0 + me < T && !wrong ? ((global const int4 *)RAW(span))[k0 + me].s2 : -1;
    barrier(CLK_LOCAL_MEM_FENCE);
    long end = own || wrong ? 0 : T;
    for (int u = 0; u < B; u++) end = max(end, (long)last[u] + 1);
    for (int head = g * group; head < (g + 1) * group; head++) {
        for (long t0 = own ? k0 : 0; t0 < end; t0 += B) {
            barrier(CLK_LOCAL_MEM_FENCE);
            load_rows(lq, F(q), t0, T, n, head, h, B);
            load_rows(ldo, F(dy), t0, T, n, head, h, B);
            if (me < B) {
                const int inside = t0 + me < T && !wrong;
                const int4 r = inside ? ((global const int4 *)RAW(span))[t0 + me] : (int4)(0, -1, -1, 0);
                low[me] = r.s0, high[me] = r.s1;
                row_lse[me] = inside ? F(lse)[(t0 + me) * n + head] : 0.0f, row_delta[me] = inside ? F(delta)[(t0 + me) * n + head] : 0.0f;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = me; i < B * B; i += LANES) {
                const int r = i / B, u = i % B;
                const int visible = high[r] >= low[r] && (own ? k0 + u >= low[r] && k0 + u <= high[r] : k0 + u < rows);
                float slope = 0.0f;
                p[i] = visible ? pair(lq + r * pitch, ldo + r * pitch, lk + u * pitch, lv + u * pitch, h, row_lse[r], row_delta[r], scale, softcap, &slope) : 0.0f;
                s[i] = slope;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int u = 0; u < B; u++) {
                for (int j = me; j < h; j += LANES) {
                    float dk_sum = ak[u * pitch + j], dv_sum = av[u * pitch + j];
                    for (int r = 0; r < B; r++) {
                        dk_sum += s[r * B + u] * lq[r * pitch + j];
                        dv_sum += p[r * B + u] * ldo[r * pitch + j];
                    }
                    ak[u * pitch + j] = dk_sum, av[u * pitch + j] = dv_sum;
                }
            }
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int u = 0; u < B && k0 + u < rows; u++) {
        for (int j = me; j < h; j += LANES) {
            const long at = ((k0 + u) * kv + g) * h + j;
            if (THERE(dk)) F(dk)[at] = ak[u * pitch + j];
            if (THERE(dv)) F(dv)[at] = av[u * pitch + j];
        }
    }
}
