/* Full fine-tuning: every weight of the model trains; nothing is added, so there is no adapter file. */
#include "graft/method.h"
#include "graft/plugin.h"

static graft_status full_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    (void)args, (void)saved, (void)err;
    *run = self; /* nothing to remember */
    return GRAFT_OK;
}

static void full_close(void *run) { (void)run; }

static int full_trains(void *run, graft_builder *b, const graft_site *s, const char *weight)
{
    (void)run, (void)b, (void)s, (void)weight;
    return 1;
}

static const graft_method_table full_table = {.size = sizeof full_table, .open = full_open, .close = full_close, .trains = full_trains};

GRAFT_ONE_TABLE("method", "graft.method/1", "full", "1.0.0", &full_table)
