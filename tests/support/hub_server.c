/* tests/support/hub_server.c - see hub_server.h. */
#include "tests/support/hub_server.h"

#include "tests/support/support.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROUTES_MAX = 64 };

static const hub_route *table;
static size_t n_table;
static int was_cut[ROUTES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char entries[1 << 16], copy[1 << 16];

const char *hub_server_log(void)
{
    pthread_mutex_lock(&lock);
    memcpy(copy, entries, sizeof copy);
    pthread_mutex_unlock(&lock);
    return copy;
}

void hub_server_forget(void)
{
    pthread_mutex_lock(&lock);
    entries[0] = '\0';
    pthread_mutex_unlock(&lock);
}

/* The value of a header in the request. */
static void header_of(const char *request, const char *name, char *out, size_t room)
{
    const char *at = strcasestr(request, name);
    out[0] = '\0';
    if (!at) return;
    at += strlen(name);
    snprintf(out, room, "%.*s", (int)strcspn(at, "\r\n"), at);
}

static void note(const char *target, const char *request)
{
    char range[100], token[200], host[100];
    header_of(request, "\r\nRange: ", range, sizeof range);
    header_of(request, "\r\nAuthorization: Bearer ", token, sizeof token);
    header_of(request, "\r\nHost: ", host, sizeof host);
    host[strcspn(host, ":")] = '\0';
    pthread_mutex_lock(&lock);
    const size_t used = strlen(entries);
    snprintf(entries + used, sizeof entries - used, "GET %s%s%s%s%s host=%s\n", target, *range ? " range=" : "", range, *token ? " token=" : "", token, host);
    pthread_mutex_unlock(&lock);
}

static void send_all(int fd, const void *data, size_t bytes)
{
    const char *p = data;
    while (bytes) {
        const ssize_t n = send(fd, p, bytes, MSG_NOSIGNAL);
        if (n <= 0) return;
        p += n, bytes -= (size_t)n;
    }
}

static void answer(int fd, const char *target, const char *request)
{
    char head[2000], range[100];
    size_t i = 0, from = 0;
    while (i < n_table && strcmp(table[i].target, target)) i++;
    const hub_route none = {.status = 404, .body = "no", .bytes = 2}, *r = i < n_table ? &table[i] : &none;
    int status = r->status ? r->status : 200;
    header_of(request, "\r\nRange: bytes=", range, sizeof range);
    if (*range && status == 200 && !r->no_ranges) status = 206, from = (size_t)strtoull(range, NULL, 10);
    if (from > r->bytes) from = r->bytes;
    int n = snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %zu\r\n%s", status, r->bytes - from, r->headers ? r->headers : "");
    if (status == 206) n += snprintf(head + n, sizeof head - (size_t)n, "Content-Range: bytes %zu-%zu/%zu\r\n", from, r->bytes - 1, r->bytes);
    n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
    send_all(fd, head, (size_t)n);
    size_t bytes = r->bytes - from;
    if (r->cut && i < n_table && !was_cut[i]) was_cut[i] = 1, bytes = r->cut < bytes ? r->cut : bytes;
    if (bytes) send_all(fd, (const char *)r->body + from, bytes);
}

static void *serve(void *ctx)
{
    const int *listener = ctx;
    for (;;) {
        char request[8192] = "", target[2000] = "";
        size_t used = 0;
        const int fd = accept(*listener, NULL, NULL);
        if (fd < 0) continue;
        while (used < sizeof request - 1 && !strstr(request, "\r\n\r\n")) {
            const ssize_t n = recv(fd, request + used, sizeof request - 1 - used, 0);
            if (n <= 0) break;
            used += (size_t)n;
            request[used] = '\0';
        }
        if (sscanf(request, "GET %1999s", target) == 1) {
            note(target, request);
            answer(fd, target, request);
        }
        shutdown(fd, SHUT_WR);
        close(fd);
    }
    return NULL;
}

int hub_server_start(const hub_route *routes, size_t n)
{
    static int listener;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    pthread_t thread;
    table = routes, n_table = n;
    memset(was_cut, 0, sizeof was_cut);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert(n <= ROUTES_MAX && listener >= 0 && !bind(listener, (struct sockaddr *)&at, sizeof at) && !listen(listener, 16));
    ck_assert(!getsockname(listener, (struct sockaddr *)&at, &bytes));
    ck_assert(!pthread_create(&thread, NULL, serve, &listener));
    return ntohs(at.sin_port);
}
