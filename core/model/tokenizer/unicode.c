/* core/model/tokenizer/unicode.c - see unicode.h. Categories come from utf8proc; the table is flat (1.1 MB, of which a text touches a few pages). */
#include "core/model/tokenizer/unicode.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

uint8_t graft_unicode[0x110000];

/* Is this character, alone, in form NFC? Only those with a canonical decomposition have to be asked. */
static int alone_in_nfc(int32_t c)
{
    const utf8proc_property_t *p = utf8proc_get_property(c);
    if (p->decomp_type != 0 || p->decomp_seqindex == UINT16_MAX) return 1;
    utf8proc_int32_t out[32];
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(c, out, 32, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
    if (n < 1 || n > 32) return 0;
    n = utf8proc_normalize_utf32(out, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    return n == 1 && out[0] == c;
}

static uint8_t bits_of(int32_t c)
{
    uint8_t bits = 0;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: bits = UNI_LETTER | UNI_WORD; break;
    case UTF8PROC_CATEGORY_ND: bits = UNI_NUMBER | UNI_WORD; break;
    case UTF8PROC_CATEGORY_NL: bits = UNI_NUMBER | UNI_WORD; break;
    case UTF8PROC_CATEGORY_NO: bits = UNI_NUMBER; break;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: bits = UNI_MARK | UNI_WORD; break;
    case UTF8PROC_CATEGORY_PC: bits = UNI_PUNCT | UNI_WORD; break;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: bits = UNI_PUNCT; break;
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CO:
        bits = UNI_OTHER;
        break;
    case UTF8PROC_CATEGORY_CF: /* the younger format characters are not in the table that BERT normalizers go by */
        if (c != 0x890 && c != 0x891 && c != 0x8E2 && c != 0x110CD && (c < 0x13430 || c > 0x1343F)) bits = UNI_OTHER;
        break;
    default: break;
    }
    if ((c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000)
        bits |= UNI_SPACE;
    /* letters by property only: circled and squared ones, and the joiners, belong to \w too */
    if (c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189)) bits |= UNI_WORD;
    const int jamo = c >= 0x1160 && c <= 0x11FF; /* vowels and finals compose with what is before them */
    if (!(bits & UNI_MARK) && !jamo && alone_in_nfc(c)) bits |= UNI_NFC;
    return bits;
}

static void fill(void)
{
    for (int32_t c = 0; c < 0x110000; c++) graft_unicode[c] = bits_of(c);
}

void graft_unicode_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill);
}

size_t graft_utf8_put(char out[4], uint32_t c)
{
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xC0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000) return out[0] = (char)(0xE0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)), out[2] = (char)(0x80 | (c & 63)), 3;
    return out[0] = (char)(0xF0 | c >> 18), out[1] = (char)(0x80 | (c >> 12 & 63)), out[2] = (char)(0x80 | (c >> 6 & 63)), out[3] = (char)(0x80 | (c & 63)), 4;
}

int graft_utf8_valid(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        while (i + 8 <= n && (memcpy(&eight, s + i, 8), !(eight & 0x8080808080808080ull))) i += 8;
        if (i >= n) break;
        const int k = graft_utf8_length(s + i, n - i);
        if (!k) return 0;
        i += (size_t)k;
    }
    return 1;
}

/* Length of the longest start of a valid character at s (at least 1): Unicode's "maximal subpart". */
static size_t bad_part(const uint8_t *s, size_t n)
{
    uint8_t low = 0x80, high = 0xBF;
    size_t want = 0;
    if (s[0] >= 0xC2 && s[0] <= 0xDF) want = 2;
    else if ((s[0] & 0xF0) == 0xE0) want = 3, low = s[0] == 0xE0 ? 0xA0 : 0x80, high = s[0] == 0xED ? 0x9F : 0xBF;
    else if (s[0] >= 0xF0 && s[0] <= 0xF4) want = 4, low = s[0] == 0xF0 ? 0x90 : 0x80, high = s[0] == 0xF4 ? 0x8F : 0xBF;
    size_t k = 1;
    while (k < want && k < n && s[k] >= low && s[k] <= high) k++, low = 0x80, high = 0xBF;
    return k;
}

void graft_utf8_lossy(graft_str *out, const char *s, size_t n)
{
    size_t from = 0, i = 0;
    while (i < n) {
        const int k = (uint8_t)s[i] < 0x80 ? 1 : graft_utf8_length(s + i, n - i);
        if (k) {
            i += (size_t)k;
            continue;
        }
        graft_str_add(out, s + from, i - from);
        graft_str_add(out, "\xEF\xBF\xBD", 3);
        i += bad_part((const uint8_t *)s + i, n - i);
        from = i;
    }
    graft_str_add(out, s + from, n - from);
}

/* Printable Latin-1 stands for itself, the other 68 bytes are U+0100 and on, in order. */
static int printable(uint32_t b) { return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE; }

uint32_t graft_byte_char(uint8_t byte)
{
    if (printable(byte)) return byte;
    uint32_t c = 0x100;
    for (uint32_t b = 0; b < byte; b++) c += !printable(b);
    return c;
}

int graft_char_byte(uint32_t c)
{
    static const uint8_t rest[68] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 127, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 138, 139, 140, 141, 142, 143, 144, 145, 146, 147, 148, 149, 150, 151, 152, 153, 154, 155, 156, 157, 158, 159, 160, 173};
    if (c < 0x100) return printable(c) ? (int)c : -1;
    return c < 0x100 + 68 ? rest[c - 0x100] : -1;
}
