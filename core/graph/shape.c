/* core/graph/shape.c - sizes: element types, symbols, numbers of elements, and their text. */
#include "core/base/str.h"
#include "core/graph/build.h"
#include "graft/packed.h"

/* Elements and bytes of one block. NF4, NF4_DOUBLE, INT8: packed.h; Q4_0, Q4_1, Q8_0 as in GGUF: 32 elements with f16 scale (and minimum). */
static const struct {
    const char *name;
    int32_t elements, bytes;
} types[] = {
    {"none", 1, 0},
    {"f32", 1, 4},
    {"bf16", 1, 2},
    {"f16", 1, 2},
    {"i32", 1, 4},
    {"i8", 1, 1},
    {"nf4", 64, 36},
    {"q4_0", 32, 18},
    {"q4_1", 32, 20},
    {"q8_0", 32, 34},
    {"nf4_double", 64, 0}, /* its groups are no whole number of bytes a block */
    {"int8", 64, 68},
};

static int known(graft_dtype t) { return t >= GRAFT_F32 && t <= GRAFT_INT8; }

int64_t graft_dtype_bytes(graft_dtype t, int64_t n)
{
    int64_t bytes = 0;
    if (!known(t) || n < 0 || n % types[t].elements) return -1;
    if (t == GRAFT_NF4_DOUBLE) return graft_packed_bytes(t, n); /* less than n */
    return graft_mul_overflows(n / types[t].elements, types[t].bytes, &bytes) ? -1 : bytes;
}

const char *graft_dtype_name(graft_dtype t) { return known(t) ? types[t].name : types[0].name; }

const char *graft_symbol_name(int64_t dim)
{
    static const char *const names[] = {"tokens", "sequences", "labelled", "cached"};
    return dim < 0 && dim >= -GRAFT_SYMBOLS ? names[-dim - 1] : NULL;
}

int64_t graft_shape_elements(const graft_shape *s, const int64_t extent[GRAFT_SYMBOLS])
{
    int64_t n = 1;
    for (int32_t i = 0; i < s->rank; i++) {
        const int64_t d = s->dims[i];
        const int64_t size = d >= 0 ? d : d >= -GRAFT_SYMBOLS ? extent[-d - 1]
                                                              : 0;
        if (graft_mul_overflows(n, size, &n)) return INT64_MAX;
    }
    return n;
}

const char *graft_shape_text(graft_graph *g, const graft_shape *s)
{
    graft_str t;
    graft_str_init(&t, 256);
    graft_str_text(&t, "[");
    for (int32_t i = 0; i < s->rank; i++) {
        const char *symbol = graft_symbol_name(s->dims[i]);
        if (i) graft_str_text(&t, ", ");
        if (symbol) graft_str_text(&t, symbol);
        else graft_str_printf(&t, "%lld", (long long)s->dims[i]);
    }
    graft_str_text(&t, "]");
    const char *copy = graft_arena_copy(g->arena, t.data, t.bytes);
    graft_str_free(&t);
    return copy ? copy : "[]";
}
