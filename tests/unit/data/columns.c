/* Rows of Parquet and Arrow files: the same rows in many writers' settings, types that JSON has not, places to go on from, refusals. The files are made by
 * tests/peers/make_columns.py; the environment GRAFT_COLUMNS names a folder of others made by it. */
#include "core/data/source.h"

#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/data/snappy.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *folder(void) { return getenv("GRAFT_COLUMNS") ? getenv("GRAFT_COLUMNS") : graft_test_fixture("columns"); }

static const char *file_of(const char *name)
{
    static char path[4][4300];
    static int k;
    char *p = path[k++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder(), name);
    return p;
}

static graft_source *open_named(const char *path)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL;
    ck_assert_ok(graft_source_open(path, &s, &err));
    return s;
}

/* The next row as JSON; NULL at the end. */
static const char *row_of(graft_source *s, graft_str *text)
{
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *row;
    ck_assert_ok(s->api->row(s, &row, &err));
    graft_str_clear(text);
    if (row) graft_json_write(text, row, 0, 0);
    ck_assert(!text->failed);
    return row ? text->data : NULL;
}

/* Both files give the same rows from here on. */
static int64_t same(graft_source *a, graft_source *b, const char *name)
{
    graft_str x, y;
    int64_t n = 0;
    graft_str_init(&x, 0);
    graft_str_init(&y, 0);
    for (;; n++) {
        const char *p = row_of(a, &x), *q = row_of(b, &y);
        if (!p || !q) ck_assert_msg(!p && !q, "%s: the number of rows differs", name);
        if (!p) break;
        ck_assert_msg(!strcmp(p, q), "%s, row %lld:\n%s\n%s", name, (long long)n + 1, p, q);
    }
    graft_str_free(&x);
    graft_str_free(&y);
    return n;
}

START_TEST(settings)
{
    graft_error err = GRAFT_ERROR_INIT;
    char **names;
    size_t n = 0;
    int files = 0;
    ck_assert_ok(graft_dir_list(folder(), &names, &n, &err));
    for (size_t i = 0; i < n; i++) {
        if (strncmp(names[i], "rows_", 5)) continue;
        graft_source *a = open_named(file_of("rows.jsonl")), *b = open_named(file_of(names[i]));
        size_t bytes;
        const char *head = graft_source_head(b, &bytes);
        ck_assert_int_eq(graft_head_has_key(head, bytes, "messages"), 1);
        ck_assert_int_gt(same(a, b, names[i]), 20);
        ck_assert_int_eq(graft_source_record(b), graft_source_record(a));
        graft_source_close(a);
        graft_source_close(b);
        files++;
    }
    graft_dir_list_free(names, n);
    ck_assert_int_ge(files, 8);
}
END_TEST

START_TEST(resuming)
{
    static const char *const names[] = {"rows_snappy.parquet", "rows_encodings_2.parquet", "rows_zstd_pages.parquet", "rows_gzip_2.parquet", "rows_stream.arrow"};
    for (size_t f = 0; f < sizeof names / sizeof *names; f++) {
        graft_source *a = open_named(file_of(names[f])), *b = open_named(file_of(names[f]));
        graft_str text;
        graft_str_init(&text, 0);
        for (int k = 0; k < 40; k++) {
            const int64_t at = a->api->tell(a);
            ck_assert_int_eq(b->api->seek(b, at), 0);
            ck_assert_int_eq(b->api->tell(b), at);
            same(a, b, names[f]);
            ck_assert_int_eq(a->api->seek(a, at), 0);
            if (!row_of(a, &text)) break;
        }
        ck_assert_int_ne(a->api->seek(a, -1), 0);
        ck_assert_int_ne(a->api->seek(a, 1 << 30), 0);
        graft_str_free(&text);
        graft_source_close(a);
        graft_source_close(b);
    }
}
END_TEST

START_TEST(types)
{
    graft_source *a = open_named(file_of("types.jsonl")), *b = open_named(file_of("types.parquet"));
    ck_assert_int_eq(same(a, b, "types.parquet"), 1);
    ck_assert_str_eq(b->api->place(b), "types.parquet: record 1");
    graft_source_close(a);
    graft_source_close(b);
    a = open_named(file_of("types.jsonl")), b = open_named(file_of("types.arrow"));
    ck_assert_int_eq(same(a, b, "types.arrow"), 1);
    graft_source_close(a);
    graft_source_close(b);
    graft_str text;
    graft_str_init(&text, 0);
    b = open_named(file_of("int96.parquet"));
    ck_assert_str_eq(row_of(b, &text), "{\"when\": null, \"n\": 1}");
    graft_source_close(b);
    b = open_named(file_of("old_lists.parquet"));
    ck_assert_str_eq(row_of(b, &text), "{\"plain\": [1, 2], \"two\": [3, 4], \"named\": [{\"x\": 5}], \"tuple\": [{\"y\": 6}, {\"y\": 7}], \"pair\": [{\"p\": 8, \"q\": 9}]}");
    ck_assert_str_eq(row_of(b, &text), "{\"plain\": [], \"two\": [], \"named\": [], \"tuple\": [], \"pair\": []}");
    ck_assert_ptr_null(row_of(b, &text));
    graft_source_close(b);
    graft_str_free(&text);
}
END_TEST

/* What is said about a file of these bytes, when it is opened or read. */
static void says(const void *data, size_t bytes, const char *part)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL;
    const graft_json *row = NULL;
    char path[4300];
    snprintf(path, sizeof path, "%s/x.parquet", graft_test_dir("columns"));
    ck_assert_ok(graft_file_replace(path, data, bytes, &err));
    graft_status status = graft_source_open(path, &s, &err);
    while (!status && !(status = s->api->row(s, &row, &err)) && row) continue;
    graft_source_close(s);
    ck_assert_msg(status && strstr(err.message, part) && strstr(err.where, "x.parquet"), "%s: \"%s\" does not say \"%s\"", err.where, status ? err.message : "no error", part);
}

START_TEST(refusals)
{
    graft_error err = GRAFT_ERROR_INIT;
    char *data;
    size_t bytes;
    ck_assert_ok(graft_file_read(file_of("lz4.parquet"), 1 << 20, &data, &bytes, &err));
    says(data, bytes, "column \"text\", row group 1: its pages are packed with LZ4, which is not read here; write the file with compression \"zstd\" or \"snappy\"");
    says(data, bytes - 1, "it is cut short");
    says(data, 4, "it is cut short");
    data[bytes - 8] = data[bytes - 7] = (char)0xFF;
    says(data, bytes, "the Parquet footer is damaged (it is larger than the file)");
    data[bytes - 8] = 30, data[bytes - 7] = 0;
    says(data, bytes, "the Parquet footer is damaged");
    memcpy(data, "PARE", 4);
    says(data, bytes, "the Parquet file is encrypted");
    graft_free(data);
    ck_assert_ok(graft_file_read(file_of("brotli.parquet"), 1 << 20, &data, &bytes, &err));
    says(data, bytes, "packed with Brotli");
    graft_free(data);
    ck_assert_ok(graft_file_read(file_of("rows_zstd_pages.parquet"), 1 << 24, &data, &bytes, &err));
    data[60] ^= 1;
    says(data, bytes, "row group 1: ");
    graft_free(data);
    ck_assert_ok(graft_file_read(file_of("rows_plain.parquet"), 1 << 24, &data, &bytes, &err));
    char *at = memmem(data, bytes, "constant", 8);
    ck_assert_ptr_nonnull(at);
    *at = (char)0xE9;
    says(data, bytes, "record 1: a text of column \"same\" is not UTF-8");
    graft_free(data);
}
END_TEST

START_TEST(arrow_refusals)
{
    graft_error err = GRAFT_ERROR_INIT;
    char *data;
    size_t bytes;
    ck_assert_ok(graft_file_read(file_of("packed.arrow"), 1 << 20, &data, &bytes, &err));
    says(data, bytes, "the Arrow file is packed (Feather), which is not read here; write it with compression=None, or as Parquet");
    says(data, 6, "the Arrow file is damaged");
    graft_free(data);
    ck_assert_ok(graft_file_read(file_of("rows_stream.arrow"), 1 << 20, &data, &bytes, &err));
    says(data, bytes / 2, "the Arrow file is damaged");
    char *at = memmem(data, bytes, "constantconstant", 16);
    ck_assert_ptr_nonnull(at);
    *at = (char)0xE9;
    says(data, bytes, "record 1: a text of column \"same\" is not UTF-8");
    graft_free(data);
}
END_TEST

START_TEST(snappy)
{
    uint8_t out[80];
    const uint8_t repeated[] = {12, 2 << 2, 'a', 'b', 'c', 5 << 2 | 1, 3}; /* abc, then 9 bytes from 3 back */
    ck_assert_int_eq(graft_snappy_unpack(repeated, sizeof repeated, out, 12), 0);
    ck_assert_mem_eq(out, "abcabcabcabc", 12);
    ck_assert_int_ne(graft_snappy_unpack(repeated, sizeof repeated, out, 11), 0);
    for (size_t n = 0; n < sizeof repeated; n++) ck_assert_int_ne(graft_snappy_unpack(repeated, n, out, 12), 0);
    const uint8_t far[] = {4, 0, 'a', 63 << 2 | 2, 2, 0};
    ck_assert_int_ne(graft_snappy_unpack(far, sizeof far, out, 4), 0);
    uint8_t literal[66] = {62, 60 << 2, 61}; /* a length of 62 in a byte of its own */
    for (size_t i = 0; i < 62; i++) literal[3 + i] = (uint8_t)i;
    ck_assert_int_eq(graft_snappy_unpack(literal, 65, out, 62), 0);
    ck_assert_mem_eq(out, literal + 3, 62);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, settings);
    tcase_add_test(tc, resuming);
    tcase_add_test(tc, types);
    tcase_add_test(tc, refusals);
    tcase_add_test(tc, arrow_refusals);
    tcase_add_test(tc, snappy);
}

int main(void) { return graft_test_main("columns", cases); }
