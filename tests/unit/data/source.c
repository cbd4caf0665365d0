/* Rows of files: layouts, tables, packed files, places in errors, going back to a place. */
#include "core/data/source.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

static const char *file_named(const char *name, const void *data, size_t bytes)
{
    static char path[4200];
    graft_error err = GRAFT_ERROR_INIT;
    snprintf(path, sizeof path, "%s/%s", graft_test_dir("source"), name);
    ck_assert_ok(graft_file_replace(path, data, bytes, &err));
    return path;
}

static const char *file_of(const char *text) { return file_named("rows.json", text, strlen(text)); }

/* The members "n" of all rows as "1 2 3", or the sentence of the refusal. */
static const char *read_all(const char *text)
{
    static char out[1600];
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL;
    const graft_json *row = NULL;
    size_t n = 0;
    ck_assert_ok(graft_source_open(file_of(text), &s, &err));
    out[0] = '\0';
    for (;;) {
        if (s->api->row(s, &row, &err)) {
            snprintf(out, sizeof out, "%s: %s", graft_path_base(err.where), err.message);
            break;
        }
        if (!row) break;
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%lld", n ? " " : "", (long long)graft_json_get(row, "n")->integer);
    }
    graft_source_close(s);
    return out;
}

static void says(const char *text, const char *part)
{
    const char *have = read_all(text);
    ck_assert_msg(strstr(have, part) != NULL, "\"%s\" does not say \"%s\"", have, part);
}

START_TEST(layouts)
{
    ck_assert_str_eq(read_all("[{\"n\":1},{\"n\":2}]"), "1 2");
    ck_assert_str_eq(read_all("\xEF\xBB\xBF [ {\"n\":1} ,\r\n {\"n\":2}\r\n]\r\n"), "1 2");
    ck_assert_str_eq(read_all("{\"n\":1}\r\n\r\n{\"n\":2}"), "1 2");
    ck_assert_str_eq(read_all("{\"n\":1}{\"n\":\n2}\n"), "1 2");
    ck_assert_str_eq(read_all("[]"), "");
}
END_TEST

START_TEST(refusals)
{
    says("", "rows.json:1: the file is empty");
    says(" \n ", "rows.json:2: the file is empty");
    says("\"x\"", "expected a JSON list of records or one JSON object a line");
    says("[1]", "expected a record as a JSON object");
    says("[{\"n\":1}", "the file ends inside the list of records");
    says("[{\"n\":1} {\"n\":2}]", "expected a comma");
    says("[{\"n\":1}] x", "more text after the end");
    says("{\"n\":1}\n{oops\n", "rows.json:2:");
    says("{\"n\":1}\n{oops\n", "record 2: ");
    says("[{\"n\":1},\n{\"n\":NaN}]", "rows.json:2:");
    says("[{\"n\":1},{\"n\":\"\xE9\"}]", "rows.json:1:16");
}
END_TEST

START_TEST(missing_file)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL;
    ck_assert_int_ne(graft_source_open("/nowhere/at/all.json", &s, &err), GRAFT_OK);
    ck_assert_msg(strstr(err.where, "/nowhere/at/all.json") || strstr(err.message, "/nowhere/at/all.json"), "%s: %s", err.where, err.message);
    ck_assert_ptr_null(s);
}
END_TEST

/* tell after k rows, seek back there: the rest comes again, for every k. */
static void resume(const char *text, int rows)
{
    graft_error err = GRAFT_ERROR_INIT;
    for (int k = 0; k <= rows; k++) {
        graft_source *s = NULL, *again = NULL;
        const graft_json *a, *b;
        ck_assert_ok(graft_source_open(file_of(text), &s, &err));
        ck_assert_ok(graft_source_open(file_of(text), &again, &err));
        for (int i = 0; i < k; i++) ck_assert_ok(s->api->row(s, &a, &err));
        ck_assert_int_eq(again->api->seek(again, s->api->tell(s)), 0);
        do {
            ck_assert_ok(s->api->row(s, &a, &err));
            ck_assert_ok(again->api->row(again, &b, &err));
            ck_assert_int_eq(a == NULL, b == NULL);
            if (a) ck_assert_int_eq(graft_json_get(a, "n")->integer, graft_json_get(b, "n")->integer);
        } while (a);
        graft_source_close(s);
        graft_source_close(again);
    }
}

START_TEST(resuming)
{
    resume("[{\"n\":1},{\"n\":2} , {\"n\":3}\n]", 3);
    resume("{\"n\":1}\n{\"n\":2}\n\n{\"n\":3}", 3);
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL;
    ck_assert_ok(graft_source_open(file_of("[]"), &s, &err));
    ck_assert_int_ne(s->api->seek(s, 3), 0);
    ck_assert_int_ne(s->api->seek(s, -1), 0);
    graft_source_close(s);
}
END_TEST

START_TEST(places)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL;
    const graft_json *row;
    ck_assert_ok(graft_source_open(file_of("{\"n\":1}\n{\"n\":2}\n"), &s, &err));
    ck_assert_ok(s->api->row(s, &row, &err));
    ck_assert_ok(s->api->row(s, &row, &err));
    ck_assert_str_eq(s->api->place(s), "rows.json: record 2 (byte 8)");
    ck_assert_int_eq(graft_source_record(s), 2);
    char bytes[8];
    ck_assert_int_eq(s->api->seek(s, 0), 0);
    ck_assert_int_eq(s->api->read(s, bytes, 7), 7);
    ck_assert_int_eq(memcmp(bytes, "{\"n\":1}", 7), 0);
    graft_source_close(s);
}
END_TEST

/* ---- tables and texts ------------------------------------------------------------------------------------------------------------------ */

/* All rows as JSON, one a line, or the sentence of the refusal. */
static const char *rows_of(const char *name, const char *text, size_t bytes)
{
    static graft_str out;
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL;
    const graft_json *row = NULL;
    graft_str_free(&out);
    graft_str_init(&out, 0);
    if (graft_source_open(file_named(name, text, bytes), &s, &err)) {
        graft_str_printf(&out, "%s: %s", graft_path_base(err.where), err.message);
        return out.data;
    }
    for (;;) {
        if (s->api->row(s, &row, &err)) {
            graft_str_printf(&out, "%s: %s", graft_path_base(err.where), err.message);
            break;
        }
        if (!row) break;
        graft_json_write(&out, row, 0, 0);
        graft_str_text(&out, "\n");
    }
    graft_source_close(s);
    return out.data;
}

static void table_is(const char *text, const char *rows) { ck_assert_str_eq(rows_of("t.csv", text, strlen(text)), rows); }

/* Each of these was asked of the reader that LLaMA-Factory uses. */
START_TEST(tables)
{
    table_is("a,b\nx,y\n", "{\"a\": \"x\", \"b\": \"y\"}\n");
    table_is("\xEF\xBB\xBF"
             "a,b\r\n\"x\r\ny\",\"he said \"\"hi\"\"\"\r\n\r\n",
             "{\"a\": \"x\\r\\ny\", \"b\": \"he said \\\"hi\\\"\"}\n");
    table_is("a,b\nx\"q\"y,z\n\"x\"y\"z,w", "{\"a\": \"x\\\"q\\\"y\", \"b\": \"z\"}\n{\"a\": \"xy\\\"z\", \"b\": \"w\"}\n");
    table_is("a,b\nx,NA\n NA ,\"null\"\nz\n", "{\"a\": \"x\", \"b\": null}\n{\"a\": \" NA \", \"b\": null}\n{\"a\": \"z\", \"b\": null}\n");
    table_is("a,b,c,d\n01,True,1e5,1_0\n 2 ,false,,2\n", "{\"a\": 1.0, \"b\": true, \"c\": 100000.0, \"d\": \"1_0\"}\n{\"a\": 2.0, \"b\": false, \"c\": null, \"d\": \"2\"}\n");
    table_is("a,b\n12,x\nfoo,y\n", "{\"a\": \"12\", \"b\": \"x\"}\n{\"a\": \"foo\", \"b\": \"y\"}\n"); /* one cell that is no number makes all of them texts */
    table_is("a,a,\nx,y,z\n", "{\"a\": \"x\", \"a.1\": \"y\", \"Unnamed: 2\": \"z\"}\n");
    table_is("a\n123456789012345678901234567890\n", "{\"a\": \"123456789012345678901234567890\"}\n");
    ck_assert_str_eq(rows_of("t.tsv", "a\tb\nx,1\ty\n", 10), "{\"a\": \"x,1\", \"b\": \"y\"}\n");
    table_is("", "t.csv:1: the file is empty; expected a first line that names the columns");
    table_is("a,b\nx,y\nx,y,z\n", "{\"a\": \"x\", \"b\": \"y\"}\n"
                                  "t.csv:3: record 2 has 3 cells, the first line names 2 columns; a cell that holds a comma must stand in quotes");
    table_is("a,b\n\nx,\"open\n", "t.csv:3: a quote opens a cell and none closes it; close it, or write the cell as \"\"\"...\"");
    table_is("a\ncaf\xE9\n", "t.csv:2: record 1: byte 0xE9 is not UTF-8; save the file as UTF-8");
}
END_TEST

START_TEST(texts)
{
    const char text[] = "one\n\ntwo\r\nthree\rfour";
    ck_assert_str_eq(rows_of("t.txt", text, sizeof text - 1), "{\"text\": \"one\"}\n{\"text\": \"\"}\n{\"text\": \"two\"}\n{\"text\": \"three\"}\n{\"text\": \"four\"}\n");
    ck_assert_str_eq(rows_of("t.txt", "caf\xE9", 4), "t.txt:1: record 1: byte 0xE9 is not UTF-8; save the file as UTF-8");
}
END_TEST

/* ---- packed files ------------------------------------------------------------------------------------------------------------------------ */

/* A text packed by the library that gzip and zstd use. */
static size_t pack(int zstd, const char *text, size_t bytes, uint8_t *out, size_t room)
{
    if (zstd) return ZSTD_compress(out, room, text, bytes, 3);
    z_stream z = {0};
    ck_assert_int_eq(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)text, z.avail_in = (unsigned)bytes, z.next_out = out, z.avail_out = (unsigned)room;
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

/* Many rows, so that rows lie across the ends of windows, one of them larger than a window. */
START_TEST(packed)
{
    enum { ROWS = 40000,
           LARGE = 3 << 20 };
    static uint8_t file[16 << 20];
    graft_error err = GRAFT_ERROR_INIT;
    graft_str text;
    for (int kind = 0; kind < 4; kind++) { /* gzip, zstd; lines, a list */
        const int list = kind / 2;
        graft_str_init(&text, 0);
        graft_str_text(&text, list ? "[" : "");
        for (int i = 0; i < ROWS; i++) {
            graft_str_printf(&text, "%s{\"n\": %d, \"text\": \"", i && list ? ",\n" : "", i);
            for (int k = 0; k < (i == ROWS / 2 ? LARGE : 100); k += 10) graft_str_text(&text, "0123456789");
            graft_str_text(&text, list ? "\"}" : "\"}\n");
        }
        graft_str_text(&text, list ? "]" : "");
        ck_assert(!text.failed);
        const size_t bytes = pack(kind % 2, text.data, text.bytes, file, sizeof file);
        const char *path = file_named(kind % 2 ? "rows.jsonl.zst" : "rows.jsonl.gz", file, bytes);
        graft_source *s = NULL;
        const graft_json *row;
        int64_t place = 0;
        ck_assert_ok(graft_source_open(path, &s, &err));
        for (int i = 0; i < ROWS; i++) {
            ck_assert_ok(s->api->row(s, &row, &err));
            ck_assert_ptr_nonnull(row);
            ck_assert_int_eq(graft_json_get(row, "n")->integer, i);
            if (i == ROWS / 2) ck_assert_uint_eq(graft_json_get(row, "text")->bytes, (LARGE + 9) / 10 * 10);
            if (i == ROWS - 100) place = s->api->tell(s);
        }
        ck_assert_ok(s->api->row(s, &row, &err));
        ck_assert_ptr_null(row);
        ck_assert_int_eq(s->api->seek(s, place), 0);
        ck_assert_ok(s->api->row(s, &row, &err));
        ck_assert_int_eq(graft_json_get(row, "n")->integer, ROWS - 99);
        graft_source_close(s);
        path = file_named("cut.jsonl.gz", file, bytes / 2);
        ck_assert_ok(graft_source_open(path, &s, &err));
        graft_status status = GRAFT_OK;
        while (!(status = s->api->row(s, &row, &err)) && row) continue;
        ck_assert_int_eq(status, GRAFT_BAD_INPUT);
        ck_assert_msg(strstr(err.message, "the packed file is damaged") && strstr(err.message, "cut short"), "%s", err.message);
        graft_source_close(s);
        graft_str_free(&text);
    }
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, tables);
    tcase_add_test(tc, texts);
    tcase_add_test(tc, packed);
    tcase_add_test(tc, layouts);
    tcase_add_test(tc, refusals);
    tcase_add_test(tc, missing_file);
    tcase_add_test(tc, resuming);
    tcase_add_test(tc, places);
}

int main(void) { return graft_test_main("source", cases); }
