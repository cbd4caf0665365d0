/* features.c - what this processor, its operating system and this build can do. */
#include "cpu.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* Which registers the operating system saves: bits 1, 2 SSE and AVX, 5 to 7 AVX-512. */
static uint64_t saved_registers(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27))) return 0; /* OSXSAVE */
    uint32_t low, high;
    __asm__ volatile("xgetbv"
                     : "=a"(low), "=d"(high)
                     : "c"(0));
    return (uint64_t)high << 32 | low;
}

static cpu_isa processor_isa(void)
{
    unsigned a, b, c, d, b7, c7;
    const uint64_t saved = saved_registers();
    if (!__get_cpuid(1, &a, &b, &c, &d) || (saved & 6) != 6) return CPU_SCALAR;
    const unsigned fma_avx_f16c = (1u << 12) | (1u << 28) | (1u << 29);
    if ((c & fma_avx_f16c) != fma_avx_f16c) return CPU_SCALAR;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d) || !(b7 & (1u << 5))) return CPU_SCALAR;
    const unsigned f_dq_bw_vl = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);
    return (b7 & f_dq_bw_vl) == f_dq_bw_vl && (saved & 0xe6) == 0xe6 ? CPU_AVX512 : CPU_AVX2;
}

uint32_t cpu_processor_compute(void)
{
    unsigned a, b, c, d;
    uint32_t bits = 1u << CPU_F32;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return bits;
    const unsigned leaves = a;
    if (d & (1u << 23)) bits |= 1u << CPU_FP16;
#if defined(FP16_MODEL)
    bits |= 1u << CPU_FP16;
#endif
    if (leaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & (1u << 5)) bits |= 1u << CPU_BF16;
    return bits;
}

void cpu_model_name(char *out, size_t room)
{
    unsigned words[13] = {0}, a, b, c, d;
    if (__get_cpuid(0x80000000u, &a, &b, &c, &d) && a >= 0x80000004u)
        for (unsigned i = 0; i < 3; i++) __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    const char *text = (const char *)words;
    while (*text == ' ') text++;
    snprintf(out, room, "%s", *text ? text : "x86-64 processor");
    for (size_t n = strlen(out); n && out[n - 1] == ' '; n--) out[n - 1] = 0;
}

unsigned cpu_flush_denormals(void)
{
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040u);
    return before;
}
void cpu_restore_denormals(unsigned state) { __builtin_ia32_ldmxcsr(state); }

#else

static cpu_isa processor_isa(void) { return CPU_SCALAR; }
uint32_t cpu_processor_compute(void) { return 1u << CPU_F32; }
void cpu_model_name(char *out, size_t room) { snprintf(out, room, "processor"); }
#if defined(__aarch64__)
/* Bit 24 of FPCR flushes denormal operands and results. */
unsigned cpu_flush_denormals(void)
{
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr"
                     : "=r"(before));
    __asm__ volatile("msr fpcr, %0"
                     :
                     : "r"(before | 1u << 24));
    return (unsigned)before;
}
void cpu_restore_denormals(unsigned state)
{
    __asm__ volatile("msr fpcr, %0"
                     :
                     : "r"((uint64_t)state));
}
#else
unsigned cpu_flush_denormals(void)
{
    return 0;
}
void cpu_restore_denormals(unsigned state) { (void)state; }
#endif

#endif

const cpu_kernels *cpu_kernels_of(cpu_isa isa)
{
#ifdef CPU_HAVE_AVX512
    if (isa == CPU_AVX512) return &cpu_kernels_avx512;
#endif
#ifdef CPU_HAVE_AVX2
    if (isa == CPU_AVX2) return &cpu_kernels_avx2;
#endif
    return isa == CPU_SCALAR ? &cpu_kernels_scalar : NULL;
}

cpu_isa cpu_best_isa(void)
{
    cpu_isa isa = processor_isa();
    while (isa > CPU_SCALAR && !cpu_kernels_of(isa)) isa--;
    return isa;
}

const char *cpu_isa_name(cpu_isa isa)
{
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    return names[isa];
}

int cpu_count(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (!sched_getaffinity(0, sizeof set, &set)) {
        const int n = CPU_COUNT(&set);
        return n < CPU_MAX_THREADS ? n : CPU_MAX_THREADS;
    }
    return 1;
}

void cpu_memory(int64_t *total, int64_t *available)
{
    const int64_t page = sysconf(_SC_PAGESIZE);
    *total = page * sysconf(_SC_PHYS_PAGES);
    *available = page * sysconf(_SC_AVPHYS_PAGES);
}
