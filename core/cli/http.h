/* core/cli/http.h - GET over HTTP and HTTPS with libcurl, which is opened when it is first needed: graft starts without it. */
#ifndef CORE_CLI_HTTP_H
#define CORE_CLI_HTTP_H

#include "graft/base.h"

typedef struct graft_http graft_http;

typedef struct graft_http_reply {
    long status;   /* 200, 206, 404 ...; 0: no answer came */
    int64_t total; /* bytes of the whole file, as far as the answer says; -1 */
    char code[64]; /* X-Error-Code: why the hub refuses */
} graft_http_reply;

/* A piece of the body of an answer 200 or 206. from_start: the server does not go on where it was asked to. Not GRAFT_OK ends the transfer. */
typedef graft_status (*graft_http_sink)(void *ctx, const void *data, size_t bytes, int from_start, graft_error *err);

graft_status graft_http_open(graft_http **out, graft_error *err);
void graft_http_close(graft_http *h);
/* from: the first byte wanted. token: for the host of the url alone, NULL: none. GRAFT_OK when an answer came, of any status; redirects are followed.
 * GRAFT_IO: the server cannot be reached, or the transfer broke off. */
graft_status graft_http_get(graft_http *h, const char *url, const char *token, int64_t from, graft_http_sink sink, void *ctx, graft_http_reply *reply, graft_error *err);

#endif
