/* tests/unit/data/ground.h - what tests of datasets stand on: the shipped registry, SmolLM2's tokenizer and a template. */
#ifndef TESTS_UNIT_DATA_GROUND_H
#define TESTS_UNIT_DATA_GROUND_H

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/data/dataset.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

typedef struct ground {
    graft_registry *registry;
    graft_tokenizer *tok;
    graft_template *t;
    graft_dataset *train, *eval;
    graft_dataset_report report;
    graft_error err;
    graft_dataset_options o;
    char dir[4096]; /* empty, of this test */
} ground;

static inline ground ground_open_with(const char *name, const char *template)
{
    ground g = {.err = GRAFT_ERROR_INIT, .o = {.cutoff_len = 2048, .seed = 42}};
    graft_error err = GRAFT_ERROR_INIT;
    char path[4200];
    snprintf(g.dir, sizeof g.dir, "%s", graft_test_dir(name));
    snprintf(path, sizeof path, "%s/lib/graft/registry.json", GRAFT_BINARY_DIR);
    const graft_registry_options ro = {.shipped = path};
    ck_assert_ok(graft_registry_open(&ro, &g.registry, &err));
    ck_assert_ok(graft_tokenizer_open(graft_test_fixture("tokenizers/smollm2"), &g.tok, &err));
    snprintf(path, sizeof path, "%s/formats/templates", GRAFT_SOURCE_DIR);
    ck_assert_ok(graft_template_open(path, template, &g.t, &err));
    ck_assert_ok(graft_template_fit(g.t, g.tok, &err));
    return g;
}

static inline ground ground_open(const char *name) { return ground_open_with(name, "smollm2"); }

static inline graft_status ground_load(ground *g, const char *names)
{
    graft_dataset_free(g->train);
    graft_dataset_free(g->eval);
    g->o.names = names;
    g->err = (graft_error)GRAFT_ERROR_INIT;
    return graft_dataset_load(g->registry, &g->o, g->t, g->tok, &g->train, &g->eval, &g->report, &g->err);
}

static inline void ground_close(ground *g)
{
    graft_dataset_free(g->train);
    graft_dataset_free(g->eval);
    graft_template_close(g->t);
    graft_tokenizer_close(g->tok);
    graft_registry_close(g->registry);
}

/* A file in the build tree; static storage, one at a time. */
static inline const char *ground_file(const char *name, const char *text)
{
    static char path[4200], dir[4096];
    graft_error err = GRAFT_ERROR_INIT;
    snprintf(dir, sizeof dir, "%s/tests/work/ground", GRAFT_BINARY_DIR);
    ck_assert_ok(graft_dir_make(dir, &err));
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
    return path;
}

/* A number of all ids and labels in their order. */
static inline uint64_t ground_sum(const graft_dataset *d)
{
    uint64_t h = 1469598103934665603u;
    for (int64_t i = 0; i < graft_dataset_count(d); i++) {
        graft_error err = GRAFT_ERROR_INIT;
        graft_sample s;
        ck_assert_ok(graft_dataset_get(d, i, &s, &err));
        for (int64_t k = 0; k < s.n; k++) h = (h ^ (uint32_t)s.ids[k]) * 1099511628211u, h = (h ^ (uint32_t)s.labels[k]) * 1099511628211u;
        h = (h ^ (uint64_t)s.n) * 1099511628211u;
    }
    return h;
}

#endif
