/* reduce.cl - sums and maxima over an axis, softmax over the last. x is seen as [outer, n, inner]. */

/* One item a result: for axes that are short or not contiguous. */
kernel GROUP void reduce_serial(TENSOR(x), TENSOR(y), long results, long n, long inner, int largest)
{
    const long o = get_global_id(0);
    if (o >= results) return;
    global const float *first = F(x) + (o / inner * n) * inner + o % inner;
    float top = -INFINITY;
    wide sum = 0;
    for (long i = 0; i < n; i++) {
        const float v = first[i * inner];
        if (largest) top = v > top || v != v ? v : top;
        else sum += v;
    }
    F(y)[o] = largest ? top : (float)sum;
}

/* One group a result, inner 1. */
kernel GROUP void reduce_group(TENSOR(x), TENSOR(y), long n, int largest)
{
    local wide room[LANES];
    local float rooms[LANES];
    const long o = get_group_id(0);
    const int me = get_local_id(0);
    global const float *first = F(x) + o * n;
    float top = -INFINITY;
    wide sum = 0;
    for (long i = me; i < n; i += LANES) {
        const float v = first[i];
        if (largest) top = v > top || v != v ? v : top;
        else sum += v;
    }
    sum = sum_group(sum, room);
    rooms[me] = top;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (me != 0) return;
    for (int i = 1; i < LANES; i++) top = rooms[i] > top || rooms[i] != rooms[i] ? rooms[i] : top;
    F(y)[o] = largest ? top : (float)sum;
}

kernel GROUP void softmax(TENSOR(x), TENSOR(y), long d)
{
    local wide room[LANES];
    local float rooms[LANES];
    const int me = get_local_id(0);
    const long base = (long)get_group_id(0) * d;
    float top = -INFINITY;
    wide sum = 0;
    for (long j = me; j < d; j += LANES) top = fmax(top, F(x)[base + j]);
    top = max_group(top, rooms);
    for (long j = me; j < d; j += LANES) sum += exp(F(x)[base + j] - top);
    const float over = 1.0f / (float)sum_group(sum, room);
    for (long j = me; j < d; j += LANES) F(y)[base + j] = exp(F(x)[base + j] - top) * over;
}

kernel GROUP void softmax_grad(TENSOR(y), TENSOR(dy), TENSOR(dx), long d)
{
    local wide room[LANES];
    const int me = get_local_id(0);
    const long base = (long)get_group_id(0) * d;
    wide dot = 0;
    for (long j = me; j < d; j += LANES) dot += (wide)F(y)[base + j] * (wide)F(dy)[base + j];
    const float mean = (float)sum_group(dot, room);
    for (long j = me; j < d; j += LANES) F(dx)[base + j] = F(y)[base + j] * (F(dy)[base + j] - mean);
}
