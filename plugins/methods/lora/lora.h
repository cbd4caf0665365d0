/* lora.h - one run of LoRA: what lora.c computes with and peft.c reads and writes. */
#ifndef LORA_H
#define LORA_H

#include "graft/method.h"
#include "graft/plugin.h"

typedef struct lora {
    const graft_host *host;
    const graft_config *select; /* holds the selector of sites ...                                          */
    const char *key;            /* ... at this key: the user's lora_target, or a saved adapter's target_modules */
    const graft_json *layers;   /* layers_to_transform of a saved adapter, or NULL: all                      */
    int64_t rank;
    double alpha, scale, dropout;
    int rslora, saved;
} lora;

/* PEFT's adapter_config.json. */
graft_status lora_read_saved(lora *m, const graft_config *saved, graft_error *err);
graft_status lora_save(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err);
int lora_owns(void *self, const graft_json *saved);

#endif
