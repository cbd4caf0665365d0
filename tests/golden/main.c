/* tests/golden/main.c - see golden.h. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "tests/support/support.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

int golden_spawn(const char *const argv[])
{
    char *copy[32] = {0};
    pid_t pid = 0;
    int status = 0, n = 0;
    for (; argv[n] && n < 31; n++) copy[n] = strdup(argv[n]);
    if (posix_spawnp(&pid, copy[0], NULL, NULL, copy, environ) || waitpid(pid, &status, 0) < 0) status = -1;
    for (int i = 0; i < n; i++) free(copy[i]);
    return status;
}

/* The folder made from a GGUF file, exported into the work folder by the command itself. The stored runs used the tokenizer of the fixtures,
 * which does not split digits as the one in the GGUF does. */
static const char *exported(const golden_session *s, const char *gguf)
{
    static char dir[4200];
    char program[4096], to[4300], file[4300], model[4300];
    snprintf(dir, sizeof dir, "%s/exported", s->work);
    snprintf(file, sizeof file, "%s/config.json", dir);
    if (graft_path_exists(file)) return dir;
    snprintf(program, sizeof program, "%s/bin/graft", GRAFT_BINARY_DIR);
    snprintf(model, sizeof model, "--model_name_or_path=%s", gguf);
    snprintf(to, sizeof to, "--export_dir=%s", dir);
    const char *const argv[] = {program, "export", model, to, NULL};
    if (golden_spawn(argv)) return NULL;
    const char *const tokenizer[] = {"tokenizer.json", "tokenizer_config.json"};
    graft_error err = GRAFT_ERROR_INIT;
    for (size_t i = 0; i < 2; i++) {
        char *data = NULL;
        size_t bytes = 0;
        snprintf(file, sizeof file, "%s/tests/fixtures/tokenizers/smollm2/%s", GRAFT_SOURCE_DIR, tokenizer[i]);
        snprintf(to, sizeof to, "%s/%s", dir, tokenizer[i]);
        const graft_status status = graft_file_read(file, 1 << 26, &data, &bytes, &err);
        if (status || graft_file_replace(to, data, bytes, &err)) fprintf(stderr, "golden: %s: %s\n", err.where, err.message);
        graft_free(data);
    }
    return dir;
}

const char *golden_model_path(const golden_session *s, const char *name)
{
    const char *gguf = getenv("GRAFT_SMOLLM2");
    if (!gguf) gguf = GRAFT_SOURCE_DIR "/demo/SmolLM2-135M-Instruct.Q4_1.gguf"; /* where examples/fetch.sh puts it */
    for (int i = 0; i < s->n_models; i++) {
        if (!strcmp(s->model_name[i], name)) return s->model_path[i];
        if (!strcmp(s->model_name[i], "smollm2.gguf")) gguf = s->model_path[i];
    }
    if (strncmp(name, "smollm2", 7) || !gguf || !graft_path_exists(gguf)) return NULL;
    return strcmp(name, "smollm2.gguf") ? exported(s, gguf) : gguf;
}

static void say(void *ctx, graft_log_level level, const char *sentence)
{
    (void)ctx;
    if (level >= GRAFT_LOG_WARNING) fprintf(stderr, "%s\n", sentence);
}

static int visit(golden_session *s, const char *path)
{
    if (golden_method(s, path) || golden_arch(s, path) || golden_compute(s, path) || golden_smollm2(s, path) || golden_trajectory(s, path) || golden_gguf(s, path) || golden_functions(s, path) || golden_args(s, path) || golden_data(s, path)) return 1;
    graft_error err = GRAFT_ERROR_INIT;
    char **names = NULL;
    size_t n = 0;
    int found = 0;
    if (!graft_path_is_dir(path) || graft_dir_list(path, &names, &n, &err)) return 0;
    for (size_t i = 0; i < n; i++) {
        char *inner = graft_path_join(path, names[i]);
        if (inner && graft_path_is_dir(inner)) found |= visit(s, inner);
        graft_free(inner);
    }
    graft_dir_list_free(names, n);
    return found;
}

static graft_status start(golden_session *s, const char *backend, graft_error *err)
{
    static char shipped[4096], work[4096];
    snprintf(shipped, sizeof shipped, "%s/lib/graft/registry.json", GRAFT_BINARY_DIR);
    snprintf(work, sizeof work, "%s/tests/work/golden/%s", GRAFT_BINARY_DIR, backend ? backend : "auto");
    s->work = work;
    const graft_registry_options o = {.shipped = shipped};
    graft_plugin_link_static(graft_test_static_plugins);
    graft_log_to(say, NULL, GRAFT_LOG_WARNING);
    graft_status status = graft_dir_make(work, err);
    if (!status) status = graft_registry_open(&o, &s->registry, err);
    return status ? status : graft_device_open(s->registry, backend, NULL, &s->device, err);
}

int main(int argc, char **argv)
{
    golden_session s = {0};
    graft_error err = GRAFT_ERROR_INIT;
    const char *backend = NULL, *paths[256];
    int n = 0;
    for (int i = 1; i < argc; i++) {
        char *equals;
        if (!strcmp(argv[i], "--backend") && i + 1 < argc) backend = argv[++i];
        else if (!strcmp(argv[i], "--data") && i + 1 < argc) s.data = argv[++i];
        else if (!strcmp(argv[i], "--model") && i + 1 < argc && s.n_models < 16 && (equals = strchr(argv[i + 1], '='))) {
            *equals = 0;
            s.model_name[s.n_models] = argv[++i], s.model_path[s.n_models++] = equals + 1;
        } else if (argv[i][0] != '-' && n < 256) paths[n++] = argv[i];
        else n = 257;
    }
    if (!n || n > 256) {
        fprintf(stderr, "usage: golden [--backend NAME] [--data FOLDER] [--model NAME=PATH] PATH...\n  golden tests/fixtures/golden/arch\n");
        return 1;
    }
    if (start(&s, backend, &err)) {
        fprintf(stderr, "golden: %s: %s\n", err.where, err.message);
        return 1;
    }
    int unknown = 0;
    for (int i = 0; i < n; i++)
        if (!visit(&s, paths[i])) unknown = 1, fprintf(stderr, "golden: %s: nothing of a known layout; see the head of tests/golden/golden.h\n", paths[i]);
    const int failed = golden_summary();
    graft_device_close(&s.device);
    graft_registry_close(s.registry);
    graft_plugin_unload_all();
    return failed || unknown;
}
