/* adalora.h - one run of AdaLoRA: its sites (adalora.c) and the schedule of their ranks (allocate.c). */
#ifndef ADALORA_H
#define ADALORA_H

#include "graft/method.h"
#include "graft/plugin.h"

#include <string.h>

/* A site that got AdaLoRA, in the graph's order. */
typedef struct adalora_site {
    char *path;
    int64_t rank, in, out;
    uint8_t *mask; /* [rank] ranks that are left; of a run whose ranks were chosen at least once */
} adalora_site;

typedef struct adalora {
    const graft_host *host;
    const graft_config *select;
    const char *key;
    const graft_json *saved_targets, *ranks; /* ranks: {"PATH.lora_E": [true, false ...]} or NULL */
    int64_t rank, target;                    /* init_r, target_r; equal: ranks stay */
    int64_t tinit, tfinal, every, updates;   /* updates: of the whole run, once known */
    double alpha, dropout, penalty, beta1, beta2;
    int chosen; /* ranks were chosen: the masks count */
    adalora_site *sites;
    size_t n_sites, room;
} adalora;

void adalora_remember(adalora *m, graft_builder *b, const graft_site *s, int64_t rank);
const adalora_site *adalora_find(const adalora *m, const char *path, size_t bytes);
/* allocate.c */
int adalora_watches(void *run);
graft_status adalora_after_update(void *run, graft_tensors *t, int64_t step, graft_error *err);
int adalora_file_rows(void *run, const char *weight, int *axis, const uint8_t **kept);

#endif
