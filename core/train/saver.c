/* core/train/saver.c - checkpoints beside training: a thread writes one while the next update's gradients are computed.
 *
 *     update n | save n begins | gradients of n + 1 ......... | wait for the save | update n + 1
 *              '------------- thread: files, fsync, rename ------------'
 *
 * Weights and the optimiser's states change in the update alone, so the thread reads them where they are: no copy is made and training stands still only
 * if writing takes longer than the gradients of one update. The trainer's counters are copied; its journal and methods are touched after the wait.
 * Devices with queues and methods that compute what they save are written the plain way. Crash safety is the checkpoint's own: temporary folder, fsync, rename. */
#include "core/base/error.h"
#include "core/train/checkpoint.h"
#include "core/train/trainer.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct graft_saving {
    pthread_t thread;
    graft_trainer at; /* as it was when the save began */
    char dir[GRAFT_CHECKPOINT_PATH];
    double seconds; /* that it took */
    graft_status status;
    graft_error err;
};

static void *work(void *p)
{
    graft_saving *s = p;
    const double began = graft_trainer_clock();
    s->status = graft_trainer_write_checkpoint(&s->at, s->dir, &s->err);
    s->seconds = graft_trainer_clock() - began;
    return NULL;
}

static int can_overlap(const graft_trainer *t)
{
    const graft_train_job *job = t->job;
    int computed = 0;
    for (int i = 0; i < job->n_methods; i++) computed |= GRAFT_HAS(graft_method_table, job->methods[i].table, stored) && job->methods[i].table->stored;
    return !computed && !job->device->async;
}

/* Signals are the control thread's. */
static int start(graft_saving *s)
{
    sigset_t all, before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before)) return -1;
    const int failed = pthread_create(&s->thread, NULL, work, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed ? -1 : 0;
}

/* After the last update there is no training that could stand still. */
static void waited(const graft_trainer *t, double seconds)
{
    if (t->step < t->steps.total) t->result->save_waited += seconds;
}

graft_status graft_trainer_save(graft_trainer *t, graft_error *err)
{
    const graft_status before = graft_trainer_saved(t, err);
    if (before) return before;
    graft_saving *s = can_overlap(t) ? graft_calloc(1, sizeof *s) : NULL;
    if (s) {
        s->at = *t;
        s->err = (graft_error)GRAFT_ERROR_INIT;
        if (!start(s)) {
            t->saving = s;
            return GRAFT_OK;
        }
        graft_free(s);
    }
    char dir[GRAFT_CHECKPOINT_PATH];
    const double began = graft_trainer_clock();
    const graft_status status = graft_trainer_write_checkpoint(t, dir, err);
    t->result->save_seconds += graft_trainer_clock() - began;
    waited(t, graft_trainer_clock() - began);
    if (!status) snprintf(t->result->checkpoint, sizeof t->result->checkpoint, "%s", dir);
    return status;
}

graft_status graft_trainer_saved(graft_trainer *t, graft_error *err)
{
    graft_saving *s = t->saving;
    if (!s) return GRAFT_OK;
    const double began = graft_trainer_clock();
    pthread_join(s->thread, NULL);
    waited(t, graft_trainer_clock() - began);
    t->result->save_seconds += s->seconds;
    t->saving = NULL;
    const graft_status status = s->status;
    if (status) *err = s->err;
    else snprintf(t->result->checkpoint, sizeof t->result->checkpoint, "%s", s->dir);
    graft_free(s);
    return status;
}
