/* core/base/log.c - see log.h. One sink; a sentence is handed over whole, one at a time. */
#include "core/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static struct {
    pthread_mutex_t lock;
    void (*sink)(void *ctx, graft_log_level level, const char *sentence);
    void *ctx;
    graft_log_level least;
} target = {.lock = PTHREAD_MUTEX_INITIALIZER};

void graft_log_to(void (*sink)(void *ctx, graft_log_level level, const char *sentence), void *ctx, graft_log_level least)
{
    pthread_mutex_lock(&target.lock);
    target.sink = sink;
    target.ctx = ctx;
    target.least = least;
    pthread_mutex_unlock(&target.lock);
}

void graft_log(graft_log_level level, const char *fmt, ...)
{
    char sentence[2048];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(sentence, sizeof sentence, fmt, ap) < 0) sentence[0] = '\0';
    va_end(ap);
    pthread_mutex_lock(&target.lock);
    if (target.sink && level >= target.least) target.sink(target.ctx, level, sentence);
    pthread_mutex_unlock(&target.lock);
}
