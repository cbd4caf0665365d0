/* core/base/log.h - what is said to the person at the terminal while work goes on. Core decides what is said; the command line installs where it goes. */
#ifndef CORE_BASE_LOG_H
#define CORE_BASE_LOG_H

#include "graft/base.h"

typedef enum graft_log_level { GRAFT_LOG_DEBUG, GRAFT_LOG_INFO, GRAFT_LOG_WARNING, GRAFT_LOG_ERROR } graft_log_level;

/* sink gets whole sentences without newline. NULL: silence (the default). [control] */
void graft_log_to(void (*sink)(void *ctx, graft_log_level level, const char *sentence), void *ctx, graft_log_level least);
void graft_log(graft_log_level level, const char *fmt, ...) GRAFT_PRINTF(2, 3);   /* [any] */

#endif
