/* norm.cl - RMSNorm and LayerNorm, a group a row, and their gradients.
 *   xhat = (x - mean) rstd    y = xhat w' + b    t = dy w'    dx = rstd (t - mean(t) - xhat mean(t xhat))    (RMSNorm: mean = 0 and no mean(t)) */

#define WEIGHT(j) (THERE(w) ? get(RAW(w), w_type, j) + plus : 1.0f)

kernel GROUP void norm(TENSOR(x), TENSOR(w), TENSOR(b), TENSOR(y), TENSOR(mean), TENSOR(rstd), long d, float eps, float plus, int centred, int w_type, int b_type)
{
    local wide room[LANES];
    const int me = get_local_id(0);
    const long row = get_group_id(0), base = row * d;
    float centre = 0.0f;
    wide sum = 0;
    if (centred) {
        for (long j = me; j < d; j += LANES) sum += F(x)[base + j];
        centre = (float)(sum_group(sum, room) / (wide)d);
    }
    sum = 0;
    for (long j = me; j < d; j += LANES) {
        const float v = F(x)[base + j] - centre;
        sum += (wide)v * (wide)v;
    }
    const float over = (float)(1 / sqrt(sum_group(sum, room) / (wide)d + (wide)eps));
    if (me == 0 && THERE(mean)) F(mean)[row] = centre;
    if (me == 0 && THERE(rstd)) F(rstd)[row] = over;
    if (!THERE(y)) return;
    for (long j = me; j < d; j += LANES) F(y)[base + j] = (F(x)[base + j] - centre) * over * WEIGHT(j) + (THERE(b) ? get(RAW(b), b_type, j) : 0.0f);
}

kernel GROUP void norm_grad(TENSOR(x), TENSOR(w), TENSOR(mean), TENSOR(rstd), TENSOR(dy), TENSOR(dx), long d, float plus, int w_type)
{
    local wide room[LANES];
    const int me = get_local_id(0);
    const long row = get_group_id(0), base = row * d;
    const float centre = THERE(mean) ? F(mean)[row] : 0.0f, over = F(rstd)[row];
    wide t_sum = 0, tx_sum = 0;
    for (long j = me; j < d; j += LANES) {
        const float t = F(dy)[base + j] * WEIGHT(j);
        t_sum += t;
        tx_sum += (wide)t * (wide)((F(x)[base + j] - centre) * over);
    }
    const float mean_t = THERE(mean) ? (float)(sum_group(t_sum, room) / (wide)d) : 0.0f, mean_tx = (float)(sum_group(tx_sum, room) / (wide)d);
    for (long j = me; j < d; j += LANES) F(dx)[base + j] = over * (F(dy)[base + j] * WEIGHT(j) - mean_t - (F(x)[base + j] - centre) * over * mean_tx);
}

/* Partial dw and db of the rows of block get_global_id(1): [blocks, d]; summed over blocks afterwards. */
kernel GROUP void norm_columns(TENSOR(x), TENSOR(mean), TENSOR(rstd), TENSOR(dy), TENSOR(dw), TENSOR(db), long rows, long d, long per_block)
{
    const long j = get_global_id(0), block = get_global_id(1);
    if (j >= d) return;
    const long end = min(rows, (block + 1) * per_block);
    wide w_sum = 0, b_sum = 0;
    for (long i = block * per_block; i < end; i++) {
        const float g = F(dy)[i * d + j], centre = THERE(mean) ? F(mean)[i] : 0.0f;
        w_sum += (wide)g * (wide)((F(x)[i * d + j] - centre) * F(rstd)[i]);
        b_sum += g;
    }
    if (THERE(dw)) F(dw)[block * d + j] = (float)w_sum;
    if (THERE(db)) F(db)[block * d + j] = (float)b_sum;
}
