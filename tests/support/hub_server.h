/* tests/support/hub_server.h - a server for tests of downloads: answers GET on 127.0.0.1 from a table, one request after the other, and notes what was asked. */
#ifndef TESTS_HUB_SERVER_H
#define TESTS_HUB_SERVER_H

#include <stddef.h>

/* What is answered to one path with its query. */
typedef struct hub_route {
    const char *target;  /* "/api/models/a/b/revision/main?blobs=true" */
    int status;          /* 0: 200 */
    const char *headers; /* further lines, each with \r\n, or NULL */
    const void *body;
    size_t bytes;
    size_t cut;          /* the connection ends after so many bytes, the first time; 0: never */
    int no_ranges;       /* Range is passed over */
} hub_route;

/* Serves until the process ends; the routes must stay. Returns the port. */
int hub_server_start(const hub_route *routes, size_t n);
/* Requests so far, a line each: "GET /target range=bytes=5- token=abc host=127.0.0.1\n"; the parts that were not sent are left out. */
const char *hub_server_log(void);
void hub_server_forget(void);

#endif
