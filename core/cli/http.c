/* core/cli/http.c - see http.h. Only http and https, also behind redirects; certificates are checked; proxies come from the environment, as curl reads it.
 * A token goes into a header of its own, which libcurl leaves out when a redirect leads to another host. */
#include "core/cli/http.h"

#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/plugin/library.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#undef curl_easy_setopt
#undef curl_easy_getinfo

/* What is used of libcurl. */
typedef struct calls {
    CURLcode (*global_init)(long flags);
    CURL *(*init)(void);
    CURLcode (*setopt)(CURL *h, CURLoption option, ...);
    CURLcode (*perform)(CURL *h);
    CURLcode (*getinfo)(CURL *h, CURLINFO info, ...);
    void (*reset)(CURL *h);
    void (*cleanup)(CURL *h);
    const char *(*text)(CURLcode code);
    struct curl_slist *(*append)(struct curl_slist *list, const char *line);
    void (*free_all)(struct curl_slist *list);
} calls;

struct graft_http {
    calls curl;
    CURL *easy;
    /* of the transfer under way */
    graft_http_sink sink;
    void *ctx;
    graft_http_reply *reply;
    graft_error *err;
    int64_t from;
    int stopped;
};

static graft_status missing(graft_error *err)
{
    return graft_fail(err, GRAFT_UNSUPPORTED, NULL, "libcurl is needed to download and is not on this machine; install it (Debian: apt-get install libcurl4), or copy the files here by other means");
}

graft_status graft_http_open(graft_http **out, graft_error *err)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", NULL};
    *out = NULL;
    void *library = graft_library_open(names);
    if (!library) return missing(err);
    graft_http *h = graft_calloc(1, sizeof *h);
    if (!h) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    const struct {
        const char *name;
        void *to;
    } symbols[] = {{"curl_global_init", &h->curl.global_init}, {"curl_easy_init", &h->curl.init}, {"curl_easy_setopt", &h->curl.setopt}, {"curl_easy_perform", &h->curl.perform}, {"curl_easy_getinfo", &h->curl.getinfo}, {"curl_easy_reset", &h->curl.reset}, {"curl_easy_cleanup", &h->curl.cleanup}, {"curl_easy_strerror", &h->curl.text}, {"curl_slist_append", &h->curl.append}, {"curl_slist_free_all", &h->curl.free_all}};
    int all = 1;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) all &= graft_library_symbol(library, symbols[i].name, symbols[i].to);
    if (!all || h->curl.global_init(CURL_GLOBAL_DEFAULT) || !(h->easy = h->curl.init())) return graft_free(h), missing(err);
    *out = h;
    return GRAFT_OK;
}

void graft_http_close(graft_http *h)
{
    if (!h) return;
    h->curl.cleanup(h->easy);
    graft_free(h);
}

/* ---- a transfer ------------------------------------------------------------------------------------------------------------------------------ */

/* A header of any answer on the way: the last one's counts. */
static size_t on_header(char *line, size_t one, size_t n, void *ctx)
{
    graft_http *h = ctx;
    static const char code[] = "x-error-code:", range[] = "content-range:";
    n *= one;
    if (n > 5 && !strncmp(line, "HTTP/", 5)) h->reply->code[0] = '\0', h->reply->total = -1;
    if (n > sizeof code && !strncasecmp(line, code, sizeof code - 1)) {
        const char *from = line + sizeof code - 1 + (line[sizeof code - 1] == ' ');
        const size_t left = n - (size_t)(from - line), length = strcspn(from, "\r\n");
        snprintf(h->reply->code, sizeof h->reply->code, "%.*s", (int)(length < left ? length : left), from);
    }
    if (n > sizeof range && !strncasecmp(line, range, sizeof range - 1)) {
        const char *slash = memchr(line, '/', n);
        long long total = -1;
        if (slash && sscanf(slash + 1, "%lld", &total) == 1) h->reply->total = total;
    }
    return n;
}

static size_t on_body(char *data, size_t one, size_t n, void *ctx)
{
    graft_http *h = ctx;
    n *= one;
    h->curl.getinfo(h->easy, CURLINFO_RESPONSE_CODE, &h->reply->status);
    if (h->reply->status != 200 && h->reply->status != 206) return n; /* a page for people */
    if (h->reply->status == 200 && h->reply->total < 0) {
        curl_off_t bytes = -1;
        h->curl.getinfo(h->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &bytes);
        h->reply->total = bytes;
    }
    if (!h->sink(h->ctx, data, n, h->from > 0 && h->reply->status == 200, h->err)) return n;
    h->stopped = 1;
    return 0;
}

static int set_options(graft_http *h, const char *url, const char *range, struct curl_slist *headers)
{
    const calls *c = &h->curl;
    int bad = 0;
    c->reset(h->easy);
    bad |= c->setopt(h->easy, CURLOPT_URL, url) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_USERAGENT, "graft/" GRAFT_VERSION) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https") != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_FOLLOWLOCATION, 1L) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_MAXREDIRS, 10L) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_CONNECTTIMEOUT, 20L) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_LOW_SPEED_LIMIT, 1L) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_LOW_SPEED_TIME, 60L) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_NOSIGNAL, 1L) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_HTTPHEADER, headers) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_RANGE, range) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_HEADERFUNCTION, on_header) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_HEADERDATA, h) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK;
    bad |= c->setopt(h->easy, CURLOPT_WRITEDATA, h) != CURLE_OK;
    return bad;
}

graft_status graft_http_get(graft_http *h, const char *url, const char *token, int64_t from, graft_http_sink sink, void *ctx, graft_http_reply *reply, graft_error *err)
{
    char range[32], line[4200];
    struct curl_slist *headers = NULL;
    *reply = (graft_http_reply){.total = -1};
    h->sink = sink, h->ctx = ctx, h->reply = reply, h->err = err, h->from = from, h->stopped = 0;
    snprintf(range, sizeof range, "%lld-", (long long)from);
    if (token && snprintf(line, sizeof line, "Authorization: Bearer %s", token) >= (int)sizeof line) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the hub's token is longer than 4 KiB; check HF_TOKEN");
    if (token && !(headers = h->curl.append(NULL, line))) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    const int bad = set_options(h, url, from > 0 ? range : NULL, headers);
    const CURLcode code = bad ? CURLE_FAILED_INIT : h->curl.perform(h->easy);
    h->curl.getinfo(h->easy, CURLINFO_RESPONSE_CODE, &reply->status);
    h->curl.setopt(h->easy, CURLOPT_HTTPHEADER, NULL);
    h->curl.free_all(headers);
    if (h->stopped) return err->code;
    return code == CURLE_OK ? GRAFT_OK : graft_fail(err, GRAFT_IO, url, "%s", h->curl.text(code));
}
