/* Any bytes as a registry file, in both roles: whole, and of a data folder. What is accepted must answer every question about itself. */
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/plugin/entry.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(int holds)
{
    if (!holds) abort();
}

static void use(const graft_registry *r, int datasets_only)
{
    graft_error err = GRAFT_ERROR_INIT;
    for (int k = 0; k < GRAFT_KINDS; k++) {
        const graft_entry *const *list, *found;
        const size_t n = graft_registry_list(r, (graft_kind)k, &list);
        check(!datasets_only || k == GRAFT_KIND_DATASET || n == 0);
        for (size_t i = 0; i < n; i++) {
            check(i == 0 || strcmp(list[i - 1]->name, list[i]->name) < 0);
            check(graft_registry_find(r, (graft_kind)k, list[i]->name) == list[i]);
            char *path = graft_entry_path(list[i]);
            check(k == GRAFT_KIND_DATASET || path != NULL);
            graft_free(path);
        }
        check(graft_registry_need(r, (graft_kind)k, "\001absent", &found, &err) == GRAFT_BAD_INPUT && err.message[0]);
    }
    const graft_entry *model;
    if (graft_registry_model_for(r, "llm", &model, &err) == GRAFT_OK) check(model != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    for (int datasets_only = 0; datasets_only < 2; datasets_only++) {
        graft_error err = GRAFT_ERROR_INIT;
        graft_registry *r = graft_registry_new();
        if (!r) return 0;
        const graft_status status = graft_registry_add(r, "/d/registry.json", (const char *)data, bytes, datasets_only, &err);
        check(status == GRAFT_OK || (status == err.code && err.message[0]));
        if (!status) use(r, datasets_only);
        graft_registry_close(r);
    }
    return 0;
}
