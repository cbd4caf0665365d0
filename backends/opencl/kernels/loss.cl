/* loss.cl - cross-entropy on rows of logits: z = softcap(t), nll = logsumexp(z) - z[label], and in training the row becomes
 * scale weight (softmax(z) - onehot) (1 - (z / softcap)^2). A group a row; t already holds scale hidden . head. */
kernel GROUP void loss_rows(TENSOR(t), TENSOR(labels), TENSOR(weight), TENSOR(nll), long row0, long V, float scale, float softcap, int train, COMPLAINT)
{
    local wide room[LANES];
    local float rooms[LANES];
    const int me = get_local_id(0);
    const long r = get_group_id(0), base = r * V;
    const int label = I(labels)[row0 + r], good = label >= 0 && label < V;
    const long width = good ? V : 0; /* a row without a label computes nothing, but meets the others at every barrier */
    if (label >= V && me == 0) complain(complaint, step, BAD_LABEL, label, (int)(row0 + r), (int)V, 0, 0);
    float top = -INFINITY;
    wide sum = 0;
    for (long v = me; v < width; v += LANES) {
        const float z = softcap > 0.0f ? softcap * tanh(F(t)[base + v] / softcap) : F(t)[base + v];
        F(t)[base + v] = z;
        top = fmax(top, z);
    }
    top = max_group(top, rooms);
    for (long v = me; v < width; v += LANES) sum += exp(F(t)[base + v] - top);
    const float lse = top + (float)log(sum_group(sum, room));
    barrier(CLK_GLOBAL_MEM_FENCE);
    if (me == 0) F(nll)[row0 + r] = good ? lse - F(t)[base + (good ? label : 0)] : 0.0f;
    barrier(CLK_GLOBAL_MEM_FENCE);
    const float by = train ? scale * F(weight)[row0 + r] : 0.0f;
    for (long v = me; v < V && train; v += LANES) {
        if (!good) {
            F(t)[base + v] = 0.0f;
            continue;
        }
        const float z = F(t)[base + v], part = softcap > 0.0f ? z / softcap : 0.0f;
        F(t)[base + v] = by * (exp(z - lse) - (v == label ? 1.0f : 0.0f)) * (1.0f - part * part);
    }
}

kernel GROUP void loss_sum(TENSOR(nll), TENSOR(weight), TENSOR(loss), long L)
{
    local wide room[LANES];
    const int me = get_local_id(0);
    wide sum = 0;
    for (long i = me; i < L; i += LANES) sum += (wide)F(nll)[i] * (wide)F(weight)[i];
    sum = sum_group(sum, room);
    if (me == 0) F(loss)[0] = (float)sum;
}
