/* formats/openai/json_out.c - see json_out.h. The host limits nesting, so recursion is bounded. */
#include "json_out.h"

#include <stdio.h>

void text_add(text_out *o, const char *s, size_t bytes)
{
    if (o->failed) return;
    if (bytes > o->room - o->bytes) {
        const size_t room = 2 * o->room + bytes + 256;
        char *data = o->host->alloc(o->host->ctx, room, 16);
        if (!data) {
            o->failed = 1;
            return;
        }
        if (o->bytes) memcpy(data, o->data, o->bytes);
        o->host->release(o->host->ctx, o->data);
        o->data = data, o->room = room;
    }
    memcpy(o->data + o->bytes, s, bytes);
    o->bytes += bytes;
}

void text_free(text_out *o)
{
    o->host->release(o->host->ctx, o->data);
    o->data = NULL;
}

static void quoted(text_out *o, const char *s, size_t n)
{
    text_add(o, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i];
        char code[8];
        if (c == '"' || c == '\\') text_add(o, c == '"' ? "\\\"" : "\\\\", 2);
        else if (c == '\n') text_add(o, "\\n", 2);
        else if (c == '\r') text_add(o, "\\r", 2);
        else if (c == '\t') text_add(o, "\\t", 2);
        else if (c == '\b') text_add(o, "\\b", 2);
        else if (c == '\f') text_add(o, "\\f", 2);
        else if (c < 0x20) text_add(o, code, (size_t)snprintf(code, sizeof code, "\\u%04x", c));
        else text_add(o, s + i, 1);
    }
    text_add(o, "\"", 1);
}

void text_json(text_out *o, const graft_json *v)
{
    switch (v->type) {
    case GRAFT_JSON_NULL: text_add(o, "null", 4); break;
    case GRAFT_JSON_BOOL: text_add(o, v->integer ? "true" : "false", v->integer ? 4 : 5); break;
    case GRAFT_JSON_NUMBER: text_add(o, v->text, v->bytes); break;
    case GRAFT_JSON_TEXT: quoted(o, v->text, v->bytes); break;
    default:
        text_add(o, v->type == GRAFT_JSON_ARRAY ? "[" : "{", 1);
        for (const graft_json *m = v->child; m; m = m->next) {
            if (m != v->child) text_add(o, ", ", 2);
            if (v->type == GRAFT_JSON_OBJECT) quoted(o, m->key, m->key_bytes), text_add(o, ": ", 2);
            text_json(o, m);
        }
        text_add(o, v->type == GRAFT_JSON_ARRAY ? "]" : "}", 1);
    }
}
