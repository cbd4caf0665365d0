/* core/plugin/elf.c - see elf.h. Layout (ELF gABI): header -> program headers (LOAD, DYNAMIC) and section headers (DYNSYM -> its string table).
 * Only this machine's class and byte order are read: another's is refused by name. */
#include "core/plugin/elf.h"

#include "core/base/error.h"

#include <elf.h>
#include <string.h>

#if UINTPTR_MAX > 0xffffffffu
#define CLASS ELFCLASS64
typedef Elf64_Ehdr head;
typedef Elf64_Phdr segment;
typedef Elf64_Shdr section;
typedef Elf64_Dyn dynamic;
typedef Elf64_Sym symbol;
#else
#define CLASS ELFCLASS32
typedef Elf32_Ehdr head;
typedef Elf32_Phdr segment;
typedef Elf32_Shdr section;
typedef Elf32_Dyn dynamic;
typedef Elf32_Sym symbol;
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ORDER ELFDATA2LSB
#else
#define ORDER ELFDATA2MSB
#endif

static const struct {
    int id;
    const char *name;
} machines[] = {
    {EM_X86_64, "x86-64"}, {EM_386, "x86 (32 bits)"}, {EM_AARCH64, "arm64"}, {EM_ARM, "arm (32 bits)"}, {EM_RISCV, "risc-v"}, {EM_PPC64, "powerpc64"}, {EM_S390, "s390"}};

#if defined(__x86_64__)
enum { OWN_MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { OWN_MACHINE = EM_AARCH64 };
#elif defined(__riscv)
enum { OWN_MACHINE = EM_RISCV };
#elif defined(__powerpc64__)
enum { OWN_MACHINE = EM_PPC64 };
#elif defined(__i386__)
enum { OWN_MACHINE = EM_386 };
#elif defined(__arm__)
enum { OWN_MACHINE = EM_ARM };
#else
enum { OWN_MACHINE = EM_S390 };
#endif

static const char *machine_name(int id)
{
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++)
        if (machines[i].id == id) return machines[i].name;
    return "an unknown machine";
}

/* Is [at, at + n * size) inside the file? */
static int inside(int64_t bytes, uint64_t at, uint64_t n, uint64_t size)
{
    uint64_t span, end;
    return !__builtin_mul_overflow(n, size, &span) && !__builtin_add_overflow(at, span, &end) && end <= (uint64_t)bytes;
}

static graft_status cut(graft_error *err, uint64_t said, int64_t bytes)
{
    return graft_fail(err, GRAFT_BAD_INPUT, NULL, "is cut short or damaged: its headers reach to byte %llu, the file has %lld; copy or build it again", (unsigned long long)said, (long long)bytes);
}

static graft_status check_head(const uint8_t *data, int64_t bytes, head *h, graft_error *err)
{
    if (bytes == 0) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "is empty; copy or build it again");
    if (bytes < 4 || memcmp(data, ELFMAG, 4)) {
        char start[9] = "";
        for (int i = 0; i < 8 && i < bytes && data[i] >= 32 && data[i] < 127; i++) start[i] = (char)data[i];
        return graft_fail(err, GRAFT_BAD_INPUT, NULL, "is no shared object (it begins with \"%s\"); give the .so that the compiler made", start);
    }
    if (bytes < (int64_t)sizeof *h) return cut(err, sizeof *h, bytes);
    memcpy(h, data, sizeof *h);
    if (h->e_ident[EI_DATA] == ORDER && h->e_machine != OWN_MACHINE)
        return graft_fail(err, GRAFT_BAD_INPUT, NULL, "is built for %s, this machine is %s; build it for this machine", machine_name(h->e_machine), machine_name(OWN_MACHINE));
    if (h->e_ident[EI_CLASS] != CLASS || h->e_ident[EI_DATA] != ORDER)
        return graft_fail(err, GRAFT_BAD_INPUT, NULL, "is built for another word size or byte order, this machine is %s; build it for this machine", machine_name(OWN_MACHINE));
    if (h->e_type != ET_DYN) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "is %s, not a shared object; link it with -shared", h->e_type == ET_REL ? "an object file" : "a program");
    return GRAFT_OK;
}

/* A name of a string table, or NULL when it does not end inside the file. */
static const char *name_at(const uint8_t *data, int64_t bytes, uint64_t table, uint64_t size, uint64_t at)
{
    if (at >= size || !inside(bytes, table, size, 1)) return NULL;
    const char *name = (const char *)data + table + at;
    const uint64_t longest = size - at < 4096 ? size - at : 4096;
    return memchr(name, 0, longest) ? name : NULL;
}

/* File offset of a virtual address, or -1. */
static int64_t offset_of(const uint8_t *data, const head *h, uint64_t address)
{
    for (unsigned i = 0; i < h->e_phnum; i++) {
        segment s;
        memcpy(&s, data + h->e_phoff + (uint64_t)i * sizeof s, sizeof s);
        if (s.p_type == PT_LOAD && address >= s.p_vaddr && address - s.p_vaddr < s.p_filesz) return (int64_t)(s.p_offset + (address - s.p_vaddr));
    }
    return -1;
}

static graft_status read_dynamic(const uint8_t *data, int64_t bytes, const head *h, const segment *where, graft_elf *out, graft_error *err)
{
    uint64_t table = 0, size = 0, needed[GRAFT_ELF_NAMES];
    int n = 0;
    for (uint64_t i = 0; i < where->p_filesz / sizeof(dynamic); i++) {
        dynamic d;
        memcpy(&d, data + where->p_offset + i * sizeof d, sizeof d);
        if (d.d_tag == DT_NULL) break;
        if (d.d_tag == DT_STRTAB) table = d.d_un.d_ptr;
        if (d.d_tag == DT_STRSZ) size = d.d_un.d_val;
        if (d.d_tag == DT_RUNPATH || d.d_tag == DT_RPATH) out->has_runpath = 1;
        if (d.d_tag == DT_NEEDED && n < GRAFT_ELF_NAMES) needed[n++] = d.d_un.d_val;
    }
    const int64_t at = offset_of(data, h, table);
    if (at < 0 || !inside(bytes, (uint64_t)at, size, 1)) return cut(err, table, bytes);
    for (int i = 0; i < n; i++) {
        const char *name = name_at(data, bytes, (uint64_t)at, size, needed[i]);
        if (!name) return cut(err, (uint64_t)at + needed[i], bytes);
        out->needed[out->n_needed++] = name;
        if (strstr(name, "libasan")) out->asan = 1;
        if (strstr(name, "libtsan")) out->tsan = 1;
    }
    return GRAFT_OK;
}

static int toolchain_name(const char *name)
{
    static const char *const own[] = {"_init", "_fini", "_edata", "_end", "__bss_start", "_start"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!strcmp(name, own[i])) return 1;
    return !strncmp(name, "__odr_asan", 10) || !strncmp(name, "__asan_", 7);
}

/* Exports and sanitizer references of one dynamic symbol table. */
static void read_symbols(const uint8_t *data, int64_t bytes, const section *symbols, const section *strings, graft_elf *out)
{
    if (!inside(bytes, symbols->sh_offset, symbols->sh_size, 1)) return;
    out->symbols_read = 1;
    for (uint64_t i = 1; i < symbols->sh_size / sizeof(symbol); i++) {
        symbol s;
        memcpy(&s, data + symbols->sh_offset + i * sizeof s, sizeof s);
        const char *name = name_at(data, bytes, strings->sh_offset, strings->sh_size, s.st_name);
        if (!name || !*name) continue;
        if (!strcmp(name, "__asan_init")) out->asan = 1;
        if (!strcmp(name, "__tsan_init")) out->tsan = 1;
        const int bind = s.st_info >> 4, hidden = (s.st_other & 3) == STV_HIDDEN || (s.st_other & 3) == STV_INTERNAL;
        if (s.st_shndx == SHN_UNDEF || bind == STB_LOCAL || hidden || toolchain_name(name)) continue;
        if (!strcmp(name, "graft_plugin_entry")) out->has_entry = 1;
        if (out->n_exports < GRAFT_ELF_NAMES) out->exports[out->n_exports] = name;
        out->n_exports++;
    }
}

static graft_status read_sections(const uint8_t *data, int64_t bytes, const head *h, graft_elf *out, graft_error *err)
{
    if (!h->e_shnum) return GRAFT_OK; /* stripped of sections: loadable all the same */
    if (h->e_shentsize != sizeof(section) || !inside(bytes, h->e_shoff, h->e_shnum, sizeof(section))) return cut(err, h->e_shoff + (uint64_t)h->e_shnum * sizeof(section), bytes);
    for (unsigned i = 0; i < h->e_shnum; i++) {
        section s, strings;
        memcpy(&s, data + h->e_shoff + (uint64_t)i * sizeof s, sizeof s);
        if (s.sh_type != SHT_DYNSYM || s.sh_link >= h->e_shnum) continue;
        memcpy(&strings, data + h->e_shoff + (uint64_t)s.sh_link * sizeof s, sizeof strings);
        read_symbols(data, bytes, &s, &strings, out);
    }
    return GRAFT_OK;
}

graft_status graft_elf_read(const uint8_t *data, int64_t bytes, graft_elf *out, graft_error *err)
{
    head h;
    segment found = {0};
    memset(out, 0, sizeof *out);
    graft_status status = check_head(data, bytes, &h, err);
    if (status) return status;
    if (h.e_phentsize != sizeof(segment) || !inside(bytes, h.e_phoff, h.e_phnum, sizeof(segment))) return cut(err, h.e_phoff + (uint64_t)h.e_phnum * sizeof(segment), bytes);
    for (unsigned i = 0; i < h.e_phnum; i++) {
        segment s;
        memcpy(&s, data + h.e_phoff + (uint64_t)i * sizeof s, sizeof s);
        if (s.p_type == PT_LOAD && !inside(bytes, s.p_offset, s.p_filesz, 1)) return cut(err, s.p_offset + s.p_filesz, bytes);
        if (s.p_type == PT_DYNAMIC) found = s;
    }
    if (!found.p_filesz || !inside(bytes, found.p_offset, found.p_filesz, 1)) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "has no dynamic section, so it cannot be opened; link it with -shared");
    status = read_dynamic(data, bytes, &h, &found, out, err);
    return status ? status : read_sections(data, bytes, &h, out, err);
}
