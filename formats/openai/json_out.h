/* formats/openai/json_out.h - a parsed JSON value back into text, spelled as Python's json.dumps(ensure_ascii=False): ", " and ": " between members. */
#ifndef OPENAI_JSON_OUT_H
#define OPENAI_JSON_OUT_H

#include "graft/plugin.h"

typedef struct text_out {
    const graft_host *host;
    char *data;
    size_t bytes, room;
    int failed;
} text_out;
void text_add(text_out *o, const char *s, size_t bytes);
void text_json(text_out *o, const graft_json *v);
void text_free(text_out *o);

#endif
