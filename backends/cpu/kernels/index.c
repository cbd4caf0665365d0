/* index.c - gather: rows of a table by number; scatter_add: rows added at their numbers, in order, each column by one thread. */
#include "box.h"
#include "map.h"

static graft_status check_ids(const cpu_call *c, const cpu_arg *ids, int64_t rows, const char *what)
{
    const int32_t *id = ids->data;
    for (int64_t i = 0; i < ids->n; i++)
        if (id[i] >= rows)
            return c->host->fail(c->err, GRAFT_BAD_INPUT, what, "expected row numbers below %lld, found %d at place %lld", (long long)rows, id[i], (long long)i);
    return GRAFT_OK;
}

enum { ROWS = 16 }; /* a unit of gather */

static void gather_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const cpu_call *c = ctx;
    const cpu_arg *table = &c->in[0];
    const int32_t *id = c->in[1].data;
    const int64_t d = table->dims[1], m = c->in[1].n;
    for (int64_t i = unit * ROWS; i < m && i < (unit + 1) * ROWS; i++) {
        float *y = (float *)c->out[0].data + i * d;
        for (int64_t j = 0; j < d; j += VW) {
            const int64_t left = d - j;
            if (id[i] < 0) map_store(y, j, (vf){0}, left);
            else map_store(y, j, left >= VW ? vector_of(table->data, id[i] * d + j, table->dtype) : vector_of_n(table->data, id[i] * d + j, left, table->dtype), left);
        }
    }
}

static graft_status gather(cpu_call *c)
{
    const graft_status status = check_ids(c, &c->in[1], c->in[0].dims[0], "gather/1");
    if (status == GRAFT_OK) cpu_pool_run(c->pool, (c->in[1].n + ROWS - 1) / ROWS, gather_unit, c);
    return status;
}

enum { COLUMNS = 64 }; /* a unit of scatter_add */

static void scatter_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const cpu_call *c = ctx;
    const int32_t *id = c->in[2].data;
    const int64_t d = c->out[0].dims[1], first = unit * COLUMNS, n = d - first < COLUMNS ? d - first : COLUMNS;
    for (int64_t i = 0; i < c->in[2].n; i++) {
        if (id[i] < 0) continue;
        float *y = (float *)c->out[0].data + id[i] * d + first;
        const float *x = (const float *)c->in[1].data + i * d + first;
        for (int64_t j = 0; j < n; j += VW) map_store(y, j, map_load(y, j, n - j) + map_load(x, j, n - j), n - j);
    }
}

MAP1(span_copy, x)

static graft_status scatter_add(cpu_call *c)
{
    const graft_status status = check_ids(c, &c->in[2], c->out[0].dims[0], "scatter_add/1");
    if (status != GRAFT_OK) return status;
    if (c->in[0].data != c->out[0].data) map_call(c, span_copy, 0, 0);
    cpu_pool_run(c->pool, (c->out[0].dims[1] + COLUMNS - 1) / COLUMNS, scatter_unit, c);
    return GRAFT_OK;
}

const cpu_op K(ops_index)[] = {
    {"gather/1", STORED, {{NULL, 0}}, gather, NULL},
    {"scatter_add/1", F32, {{NULL, 0}}, scatter_add, NULL},
    END_OF_OPS,
};
