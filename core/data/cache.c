/* core/data/cache.c - see cache.h.
 *
 *   FOLDER/KEY/000000.tokens, 000001.tokens ...   (written beside as 000000.PID.part, then renamed; numbers in the machine's byte order)
 *
 *   head    "graft.tk", byte order, version, key, bytes of an id, number of the file
 *   samples check | runs | (value, count) ... | ids, 2 or 4 bytes each, padded to 4      value COPY: the label is the id itself, else this label
 *   index   a record: place / 4 of its sample (0: dropped), tokens, labels (top bit: the first token has one), tokens cut
 *   texts   why the first record of the file was dropped, NUL, what its first bad record is, NUL
 *   tail    where all that is, the place in the data where the file ends, a sum over index, texts and tail
 *
 * Each sample is checked when it is read; small caches also when they are opened. Limits: 2^32 tokens a record, 16 GiB a file. */
#include "core/data/cache.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VERSION = 1,
       FILE_BYTES = 8 << 20,  /* of samples in a file */
       CHECK_ALL = 128 << 20, /* caches up to this size are read through when opened */
       COPY = INT32_MIN };
enum { DROPPED,
       BAD };

typedef struct head {
    char magic[8];
    uint32_t order, version;
    char key[64];
    uint32_t width, number;
} head;

enum { FIXED = 8 }; /* bytes of a sample before its runs */

typedef struct entry {
    uint32_t place, n, labelled, cut;
} entry;
#define FIRST_LABELLED 0x80000000u

typedef struct tail {
    int64_t index_at, records, first, text_bytes;
    graft_cache_place place;
    uint64_t sum;
} tail;

/* A file's content, mapped or still being made. */
typedef struct segment {
    graft_map map;
    uint8_t *bytes; /* being made, or in memory: head and samples */
    size_t n_bytes, room;
    entry *made;
    size_t made_room;
    const uint8_t *data;
    const entry *index;
    int64_t first, records;
    size_t size; /* of the samples and the head */
} segment;

struct graft_cache {
    char *folder; /* NULL: memory */
    char key[65];
    uint32_t width;
    int64_t file_bytes;
    segment *segment;
    size_t n, room;
    int open; /* the last one is being made */
    size_t passed;
    graft_cache_place end;
    char *first[2], *noted[2]; /* sentences of the set, of the segment being made */
};

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for tokenised samples"); }

static uint64_t sum_of(uint64_t h, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    uint64_t w = 0;
    for (; bytes >= 8; p += 8, bytes -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x9E3779B97F4A7C15ull;
        h ^= h >> 32;
    }
    w = 0;
    memcpy(&w, p, bytes);
    h = (h ^ w ^ bytes) * 0x9E3779B97F4A7C15ull;
    return h ^ h >> 29;
}

static char *copy_of(const char *text, size_t n)
{
    char *copy = graft_calloc(n + 1, 1);
    if (copy && n) memcpy(copy, text, n);
    return copy;
}

/* ---- a sample's bytes ------------------------------------------------------------------------------------------------------------------ */

/* Its numbers, and its bytes by them; bytes -1 when it does not fit. */
typedef struct shape {
    uint32_t runs;
    int64_t bytes;
    const uint8_t *run, *id;
} shape;

static shape shape_of(const graft_cache *c, const segment *s, const entry *e)
{
    const uint64_t at = (uint64_t)e->place * 4;
    shape f = {.bytes = -1};
    if (at < sizeof(head) || at + FIXED > s->size) return f;
    memcpy(&f.runs, s->data + at + 4, 4);
    const uint64_t bytes = FIXED + (uint64_t)f.runs * 8 + ((uint64_t)e->n * c->width + 3) / 4 * 4;
    if (at + bytes > s->size) return f;
    f.run = s->data + at + FIXED, f.id = f.run + (uint64_t)f.runs * 8;
    f.bytes = (int64_t)bytes;
    return f;
}

static int whole(const segment *s, const entry *e, const shape *f)
{
    uint32_t check;
    if (f->bytes < 0) return 0;
    const uint8_t *p = s->data + (uint64_t)e->place * 4;
    memcpy(&check, p, 4);
    return check == (uint32_t)sum_of(e->n, p + 4, (size_t)f->bytes - 4);
}

const char *graft_cache_key(const graft_cache *c) { return c->folder ? c->key : NULL; }

/* ---- opening --------------------------------------------------------------------------------------------------------------------------------- */

static int path_of(const graft_cache *c, size_t number, const char *ending, char *out, size_t room)
{
    return (size_t)snprintf(out, room, "%s/%06zu%s", c->folder, number, ending) < room;
}

/* Why a mapped file is none of this cache, or NULL. */
static const char *look(const graft_cache *c, segment *s, size_t number, tail *t)
{
    const head *h = (const head *)(const void *)s->map.data;
    const int64_t first = c->n ? c->segment[c->n - 1].first + c->segment[c->n - 1].records : 0, bytes = s->map.bytes;
    if (bytes < (int64_t)(sizeof *h + sizeof *t)) return "it is cut short";
    if (memcmp(h->magic, "graft.tk", 8) || h->order != 0x01020304u || h->version != VERSION || memcmp(h->key, c->key, 64) || h->width != c->width || h->number != number) return "its head is another one's";
    memcpy(t, s->map.data + bytes - (int64_t)sizeof *t, sizeof *t);
    if (t->index_at < (int64_t)sizeof *h || t->index_at > bytes || t->records < 0 || t->records > bytes / (int64_t)sizeof(entry) || t->text_bytes < 0 || t->text_bytes > bytes || t->index_at % 4) return "its tail makes no sense";
    if (t->index_at + t->records * (int64_t)sizeof(entry) + t->text_bytes + (int64_t)sizeof *t != bytes) return "its length is wrong";
    if (t->first != first) return "it does not follow the one before it";
    if (sum_of(0, s->map.data + t->index_at, (size_t)(bytes - t->index_at) - sizeof t->sum) != t->sum) return "its index is damaged";
    s->data = s->map.data, s->size = (size_t)t->index_at;
    s->index = (const entry *)(const void *)(s->map.data + t->index_at);
    s->first = t->first, s->records = t->records;
    return NULL;
}

static const char *read_through(const graft_cache *c, const segment *s)
{
    for (int64_t i = 0; i < s->records; i++) {
        const shape f = shape_of(c, s, &s->index[i]);
        if (s->index[i].place && !whole(s, &s->index[i], &f)) return "a sample is damaged";
    }
    return NULL;
}

static void take_texts(graft_cache *c, const char *text, size_t bytes)
{
    for (int kind = 0; kind < 2 && bytes; kind++) {
        const size_t n = strnlen(text, bytes);
        if (n && !c->first[kind]) c->first[kind] = copy_of(text, n);
        text += n + (n < bytes), bytes -= n + (n < bytes);
    }
}

/* Takes the file into the cache; 0: there is none or it is damaged (removed). */
static int take_segment(graft_cache *c, size_t number, int64_t *total)
{
    char path[4200];
    graft_error err = GRAFT_ERROR_INIT;
    segment s = {0};
    tail t;
    if (!path_of(c, number, ".tokens", path, sizeof path) || !graft_path_exists(path)) return 0;
    const char *wrong = graft_map_open(&s.map, path, &err) ? err.message : s.map.bytes ? look(c, &s, number, &t)
                                                                                       : "it is empty";
    if (!wrong && (*total += s.map.bytes) <= CHECK_ALL) wrong = read_through(c, &s);
    if (!wrong && graft_grow((void **)&c->segment, &c->room, c->n + 1, sizeof *c->segment)) wrong = "out of memory";
    if (wrong) {
        graft_log(GRAFT_LOG_WARNING, "%s: %s; this part of the token cache is made again", path, wrong);
        graft_map_close(&s.map);
        return 0;
    }
    take_texts(c, (const char *)s.data + t.index_at + t.records * (int64_t)sizeof(entry), (size_t)t.text_bytes);
    graft_map_forget(s.map.data, s.map.bytes);
    c->segment[c->n++] = s;
    c->end = t.place;
    return 1;
}

/* Removes the files from number on, and parts whose writer is gone. */
static void sweep(const graft_cache *c, size_t number)
{
    char **names, path[4200];
    size_t n;
    graft_error err = GRAFT_ERROR_INIT;
    if (graft_dir_list(c->folder, &names, &n, &err)) return;
    for (size_t i = 0; i < n; i++) {
        char *end;
        const unsigned long k = strtoul(names[i], &end, 10);
        int old = !strcmp(end, ".tokens") && k >= number;
        if (*end == '.' && end[1] >= '0' && end[1] <= '9') {
            const unsigned long writer = strtoul(end + 1, &end, 10);
            snprintf(path, sizeof path, "/proc/%lu", writer);
            old = !strcmp(end, ".part") && graft_path_exists("/proc/self") && !graft_path_exists(path);
        }
        if (old && (size_t)snprintf(path, sizeof path, "%s/%s", c->folder, names[i]) < sizeof path) (void)graft_path_remove(path, &err);
    }
    graft_dir_list_free(names, n);
}

graft_status graft_cache_open(const char *folder, const char *key, int narrow, int anew, int64_t file_bytes, graft_cache **out, graft_error *err)
{
    int64_t total = 0;
    graft_cache *c = *out = graft_calloc(1, sizeof *c);
    if (!c) return no_memory(err);
    snprintf(c->key, sizeof c->key, "%s", key ? key : "");
    c->width = narrow ? 2 : 4, c->file_bytes = file_bytes ? file_bytes : FILE_BYTES;
    if (!folder) return GRAFT_OK;
    if (!(c->folder = graft_path_join(folder, c->key))) return graft_cache_free(c), *out = NULL, no_memory(err);
    if (!anew)
        while (take_segment(c, c->n, &total)) continue;
    if (!c->end.ended && graft_path_is_dir(c->folder)) sweep(c, c->n);
    return GRAFT_OK;
}

static void segment_free(segment *s)
{
    graft_map_close(&s->map);
    graft_free(s->bytes);
    graft_free(s->made);
}

void graft_cache_free(graft_cache *c)
{
    if (!c) return;
    for (size_t i = 0; i < c->n; i++) segment_free(&c->segment[i]);
    graft_free(c->segment);
    graft_free(c->folder);
    for (int kind = 0; kind < 2; kind++) graft_free(c->first[kind]), graft_free(c->noted[kind]);
    graft_free(c);
}

const graft_cache_place *graft_cache_end(const graft_cache *c) { return &c->end; }
int64_t graft_cache_records(const graft_cache *c) { return c->n ? c->segment[c->n - 1].first + c->segment[c->n - 1].records : 0; }
const char *graft_cache_first_drop(const graft_cache *c) { return c->first[DROPPED]; }
const char *graft_cache_first_bad(const graft_cache *c) { return c->first[BAD]; }

/* ---- adding -------------------------------------------------------------------------------------------------------------------------------------- */

/* The segment being made, with room for one more record of so many bytes. */
static graft_status room_for(graft_cache *c, size_t bytes, segment **out, graft_error *err)
{
    if (!c->open) {
        const int64_t first = graft_cache_records(c);
        if (graft_grow((void **)&c->segment, &c->room, c->n + 1, sizeof *c->segment)) return no_memory(err);
        segment *s = &c->segment[c->n];
        *s = (segment){.first = first};
        if (graft_grow((void **)&s->bytes, &s->room, sizeof(head), 1)) return no_memory(err);
        head h = {.magic = {'g', 'r', 'a', 'f', 't', '.', 't', 'k'}, .order = 0x01020304u, .version = VERSION, .width = c->width, .number = (uint32_t)c->n};
        memcpy(h.key, c->key, sizeof h.key);
        memcpy(s->bytes, &h, sizeof h);
        s->n_bytes = sizeof h;
        c->n++, c->open = 1;
    }
    segment *s = *out = &c->segment[c->n - 1];
    if (graft_grow((void **)&s->bytes, &s->room, s->n_bytes + bytes, 1) || graft_grow((void **)&s->made, &s->made_room, (size_t)s->records + 1, sizeof *s->made)) return no_memory(err);
    s->data = s->bytes, s->index = s->made;
    return GRAFT_OK;
}

static int32_t value_of(int32_t id, int32_t label) { return label == -100 ? -100 : label == id ? COPY
                                                                                               : label; }

/* Runs of equal value, written when `to` is there. Returns how many. */
static uint32_t runs_of(const int32_t *ids, const int32_t *labels, int64_t n, uint8_t *to)
{
    uint32_t runs = 0;
    for (int64_t i = 0, from = 0; i < n; i++) {
        const int32_t v = value_of(ids[i], labels[i]);
        if (i + 1 < n && v == value_of(ids[i + 1], labels[i + 1])) continue;
        const uint32_t count = (uint32_t)(i + 1 - from);
        if (to) memcpy(to + 8 * (size_t)runs, &v, 4), memcpy(to + 8 * (size_t)runs + 4, &count, 4);
        runs++, from = i + 1;
    }
    return runs;
}

graft_status graft_cache_add(graft_cache *c, const int32_t *ids, const int32_t *labels, int64_t n, int64_t cut, graft_error *err)
{
    uint32_t labelled = 0;
    segment *s;
    if (n < 0 || n >= INT32_MAX) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "a record of %" PRId64 " tokens is too long; split it", n);
    for (int64_t i = 0; i < n; i++) {
        labelled += labels[i] != -100;
        if (c->width == 2 && (ids[i] < 0 || ids[i] > UINT16_MAX)) return graft_fail(err, GRAFT_INTERNAL, NULL, "the id %d is not below 65536 as was said", ids[i]);
    }
    const uint32_t runs = runs_of(ids, labels, n, NULL);
    const size_t padded = ((size_t)n * c->width + 3) / 4 * 4, bytes = FIXED + (size_t)runs * 8 + padded;
    if (room_for(c, bytes, &s, err)) return err->code;
    if (s->n_bytes / 4 > UINT32_MAX - 1) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "too many tokens without a place to go on from in this format");
    uint8_t *p = s->bytes + s->n_bytes, *id = p + FIXED + (size_t)runs * 8;
    memcpy(p + 4, &runs, 4);
    runs_of(ids, labels, n, p + FIXED);
    if (padded) memset(id + padded - 4, 0, 4);
    if (c->width == 4 && n) memcpy(id, ids, (size_t)n * 4);
    for (int64_t i = 0; c->width == 2 && i < n; i++) memcpy(id + 2 * i, &(uint16_t){(uint16_t)ids[i]}, 2);
    const uint32_t check = (uint32_t)sum_of((uint64_t)n, p + 4, bytes - 4);
    memcpy(p, &check, 4);
    s->made[s->records++] = (entry){(uint32_t)(s->n_bytes / 4), (uint32_t)n, labelled | (n && labels[0] != -100 ? FIRST_LABELLED : 0), cut < UINT32_MAX ? (uint32_t)cut : UINT32_MAX};
    s->n_bytes += bytes, s->size = s->n_bytes;
    return GRAFT_OK;
}

/* The first sentence of a kind: of the set and of the segment. */
static void note(char *of_set[2], char *of_segment[2], int kind, const char *why)
{
    if (!of_set[kind]) of_set[kind] = copy_of(why, strlen(why));
    if (!of_segment[kind]) of_segment[kind] = copy_of(why, strlen(why));
}

graft_status graft_cache_drop(graft_cache *c, const char *why, int64_t cut, graft_error *err)
{
    segment *s;
    if (room_for(c, 0, &s, err)) return err->code;
    note(c->first, c->noted, DROPPED, why);
    s->made[s->records++] = (entry){.cut = cut < UINT32_MAX ? (uint32_t)cut : UINT32_MAX};
    s->size = s->n_bytes;
    return GRAFT_OK;
}

void graft_cache_bad(graft_cache *c, const char *why)
{
    note(c->first, c->noted, BAD, why);
    c->end.bad++;
}

/* ---- writing ----------------------------------------------------------------------------------------------------------------------------------------- */

static graft_status write_segment(graft_cache *c, const segment *s, const char *part, const char *path, graft_error *err)
{
    graft_file *f = NULL;
    const size_t index_bytes = (size_t)s->records * sizeof(entry), length[2] = {c->noted[0] ? strlen(c->noted[0]) : 0, c->noted[1] ? strlen(c->noted[1]) : 0};
    const size_t text_bytes = length[0] + length[1] + 2;
    tail t;
    memset(&t, 0, sizeof t); /* what lies between its members too: it is written */
    t.index_at = (int64_t)s->n_bytes, t.records = s->records, t.first = s->first, t.text_bytes = (int64_t)text_bytes, t.place = c->end;
    graft_status status = graft_file_create(&f, part, err);
    if (status) return status;
    uint8_t *end = graft_calloc(index_bytes + text_bytes + sizeof t, 1);
    if (!end) {
        graft_file_abandon(f);
        return no_memory(err);
    }
    if (index_bytes) memcpy(end, s->made, index_bytes);
    if (length[0]) memcpy(end + index_bytes, c->noted[0], length[0]);
    if (length[1]) memcpy(end + index_bytes + length[0] + 1, c->noted[1], length[1]);
    memcpy(end + index_bytes + text_bytes, &t, sizeof t);
    const size_t all = index_bytes + text_bytes + sizeof t;
    t.sum = sum_of(0, end, all - sizeof t.sum);
    memcpy(end + all - sizeof t.sum, &t.sum, sizeof t.sum);
    status = graft_file_write(f, s->bytes, s->n_bytes, err);
    if (!status) status = graft_file_write(f, end, all, err);
    graft_free(end);
    if (status) {
        graft_file_abandon(f);
        return status;
    }
    if ((status = graft_file_finish(f, err))) return status;
    status = graft_path_rename(part, path, err);
    graft_error ignored = GRAFT_ERROR_INIT;
    if (status) (void)graft_path_remove(part, &ignored);
    return status ? status : graft_dir_sync(c->folder, err);
}

/* The segment that was made goes to its file, and is mapped from there. */
static graft_status keep_segment(graft_cache *c, segment *s, graft_error *err)
{
    char path[4200], part[4200], ending[40];
    graft_map map = {0};
    snprintf(ending, sizeof ending, ".%ld.part", (long)getpid());
    if (!path_of(c, c->n - 1, ".tokens", path, sizeof path) || !path_of(c, c->n - 1, ending, part, sizeof part)) return graft_fail(err, GRAFT_IO, c->folder, "the path is too long");
    graft_status status = graft_dir_make(c->folder, err);
    if (!status) status = write_segment(c, s, part, path, err);
    if (!status) status = graft_map_open(&map, path, err);
    if (!status && map.bytes < (int64_t)(s->n_bytes + (size_t)s->records * sizeof(entry))) {
        graft_map_close(&map);
        status = graft_fail(err, GRAFT_IO, path, "the file is not as long as what was written");
    }
    if (status) return status;
    graft_free(s->bytes);
    graft_free(s->made);
    s->bytes = NULL, s->made = NULL, s->room = s->made_room = 0;
    s->map = map, s->data = map.data, s->index = (const entry *)(const void *)(map.data + s->n_bytes);
    return GRAFT_OK;
}

graft_status graft_cache_mark(graft_cache *c, const graft_cache_place *at, int now, graft_error *err)
{
    segment *s;
    const int64_t bad = c->end.bad;
    memcpy(&c->end, at, sizeof *at);
    c->end.bad = bad;
    if (at->ended && !c->open && room_for(c, 0, &s, err)) return err->code; /* an empty last file says that it is the last */
    if (!c->open || !(now || at->ended || (int64_t)c->segment[c->n - 1].n_bytes >= c->file_bytes)) return GRAFT_OK;
    s = &c->segment[c->n - 1];
    graft_error why = GRAFT_ERROR_INIT;
    if (c->folder && keep_segment(c, s, &why)) {
        graft_log(GRAFT_LOG_WARNING, "the token cache cannot be written (%s: %s); the samples stay in memory", why.where, why.message);
        graft_free(c->folder);
        c->folder = NULL;
    }
    for (int kind = 0; kind < 2; kind++) graft_free(c->noted[kind]), c->noted[kind] = NULL;
    c->open = 0;
    return GRAFT_OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------------------------------------------- */

static const segment *segment_of(const graft_cache *c, int64_t record)
{
    size_t low = 0, high = c->n;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (c->segment[middle].first <= record) low = middle;
        else high = middle;
    }
    return &c->segment[low];
}

graft_cache_size graft_cache_measure(const graft_cache *c, int64_t record)
{
    const segment *s = segment_of(c, record);
    const entry *e = &s->index[record - s->first];
    return (graft_cache_size){.n = e->n, .labelled = e->labelled & ~FIRST_LABELLED, .cut = e->cut, .dropped = !e->place, .first_labelled = (e->labelled & FIRST_LABELLED) != 0};
}

static graft_status damaged(const graft_cache *c, const segment *s, int64_t record, graft_error *err)
{
    char path[4200] = "";
    graft_error ignored = GRAFT_ERROR_INIT;
    if (!s->map.data || !path_of(c, (size_t)(s - c->segment), ".tokens", path, sizeof path)) return graft_fail(err, GRAFT_INTERNAL, NULL, "the tokens of record %" PRId64 " are damaged in memory", record + 1);
    (void)graft_path_remove(path, &ignored);
    return graft_fail(err, GRAFT_IO, path, "the tokens of record %" PRId64 " are damaged; the file was removed and is made again at the next start, give the same command again", record + 1);
}

graft_status graft_cache_read(const graft_cache *c, int64_t record, int64_t from, int64_t n, int32_t *ids, int32_t *labels, graft_error *err)
{
    const segment *s = segment_of(c, record);
    const entry *e = &s->index[record - s->first];
    if (!n) return GRAFT_OK;
    const shape f = shape_of(c, s, e);
    if (from < 0 || n < 0 || from + n > (int64_t)e->n || !whole(s, e, &f)) return damaged(c, s, record, err);
    if (c->width == 4) memcpy(ids, f.id + 4 * from, (size_t)n * 4);
    for (int64_t i = 0; c->width == 2 && i < n; i++) {
        uint16_t v;
        memcpy(&v, f.id + 2 * (from + i), 2);
        ids[i] = v;
    }
    int64_t at = -from; /* of the run's first token in what is read */
    for (uint32_t r = 0; r < f.runs && at < n; r++) {
        int32_t value;
        uint32_t count;
        memcpy(&value, f.run + 8 * (size_t)r, 4), memcpy(&count, f.run + 8 * (size_t)r + 4, 4);
        for (int64_t i = at < 0 ? 0 : at, end = at + count < n ? at + count : n; i < end; i++) labels[i] = value == COPY ? ids[i] : value;
        at += count;
    }
    if (at < n) return damaged(c, s, record, err);
    if (s->map.data) graft_map_forget(s->map.data, s->map.bytes); /* the system may have mapped up to 2 MiB around it; the next sample is elsewhere */
    return GRAFT_OK;
}

void graft_cache_forget(const graft_cache *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->segment[i].map.data) graft_map_forget(c->segment[i].map.data, c->segment[i].map.bytes);
}

void graft_cache_pass(graft_cache *c, int64_t record)
{
    const size_t now = (size_t)(segment_of(c, record) - c->segment);
    for (; c->passed < now; c->passed++)
        if (c->segment[c->passed].map.data) graft_map_forget(c->segment[c->passed].map.data, c->segment[c->passed].map.bytes);
    c->passed = now;
}

char *graft_cache_folder(void)
{
    const char *cache = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
    if (cache && cache[0] == '/') return graft_path_join(cache, "graft/tokens");
    return home && home[0] == '/' ? graft_path_join(home, ".cache/graft/tokens") : NULL;
}
