/* Template files: whatever opens renders a conversation, and refusals say why. */
#include "core/model/template.h"
#include "core/base/error.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[4096];
    static int fd = -1; /* a file in memory, under a name in the folder */
    if (fd < 0) {
        char path[4200], target[64];
        snprintf(dir, sizeof dir, "%s", graft_test_dir("fuzz_template"));
        snprintf(path, sizeof path, "%s/x.json", dir);
        snprintf(target, sizeof target, "/proc/self/fd/%d", fd = memfd_create("template", 0));
        if (symlink(target, path)) abort();
    }
    if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size) return 0;
    graft_error err = GRAFT_ERROR_INIT;
    graft_template *t = NULL;
    if (graft_template_open(dir, "x", &t, &err)) {
        if (t || !err.message[0]) abort();
        return 0;
    }
    static const graft_message messages[] = {{GRAFT_MESSAGE_USER, "{{content}} {{idx}}", 19}, {GRAFT_MESSAGE_ASSISTANT, "<think>\nx\n</think>\n\ny", 22}, {GRAFT_MESSAGE_OBSERVATION, "o", 1}, {GRAFT_MESSAGE_FUNCTION, "{\"name\":\"f\",\"arguments\":{\"a\":1e5}}", 34}, {GRAFT_MESSAGE_USER, "", 0}};
    static const char tools[] = "[{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"number\"}},\"required\":[\"a\"]}}]";
    for (int i = 0; i < 12; i++) {
        graft_arena *a = graft_arena_new();
        graft_unit_turn *turns;
        size_t n;
        const graft_template_options o = {.thinking = (graft_thinking)(i % 3), .preserve_thinking = i & 1, .mask_history = i > 5, .one_turn = i == 4, .today = "26 Jul 2024"};
        if (graft_template_units(t, &o, a, messages, (size_t)(1 + i % 5), i & 1 ? "s" : NULL, 1, i & 2 ? tools : NULL, &turns, &n, &err) && !err.message[0]) abort();
        graft_arena_free(a);
    }
    graft_template_close(t);
    return 0;
}
