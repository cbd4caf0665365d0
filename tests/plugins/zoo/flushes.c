/* init turns on flush-to-zero, as linking with -ffast-math does; where the processor has it. */
#include "tests/plugins/zoo/zoo.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

static graft_status init(const graft_host *host, void **self, graft_error *err)
{
#if defined(__SSE__)
    _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
    return zoo_init(host, self, err);
}
GRAFT_PLUGIN("format", "flushes", "1.0.0", init, zoo_fini, zoo_table)
