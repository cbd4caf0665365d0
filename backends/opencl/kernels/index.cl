/* index.cl - rows by number. A negative number means no row; one past the end is a complaint. */

kernel GROUP void gather(TENSOR(table), TENSOR(ids), TENSOR(y), long m, long rows, long d, int type, int out_type, COMPLAINT)
{
    const long i = get_group_id(0);
    const int id = I(ids)[i], me = get_local_id(0);
    const int good = id >= 0 && id < rows;
    if (id >= rows && me == 0) complain(complaint, step, BAD_ROW, id, (int)rows, 0, 0, 0);
    for (long j = me; j < d; j += LANES) {
        if (out_type == I32) I(y)[i * d + j] = good ? I(table)[(long)id * d + j] : 0;
        else F(y)[i * d + j] = good ? get(RAW(table), type, (long)id * d + j) : 0.0f;
    }
}

/* One group a source row. The group of the first row with a number adds all rows of that number, in their order; the others do nothing. */
kernel GROUP void scatter(TENSOR(src), TENSOR(ids), TENSOR(out), long m, long rows, long d, COMPLAINT)
{
    local int before;
    const long i = get_group_id(0);
    const int id = I(ids)[i], me = get_local_id(0);
    if (id >= rows && me == 0) complain(complaint, step, BAD_ROW, id, (int)rows, 0, 0, 0);
    if (me == 0) before = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (long k = me; k < i; k += LANES)
        if (I(ids)[k] == id) before = 1;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (before || id < 0 || id >= rows) return;
    for (long k = i; k < m; k++) {
        if (I(ids)[k] != id) continue;
        for (long j = me; j < d; j += LANES) F(out)[(long)id * d + j] += F(src)[k * d + j];
    }
}
