/* core/model/template.h - chat templates as data (formats/templates/NAME.json), rendered to (prompt ids, answer ids) pairs as LLaMA-Factory does. */
#ifndef CORE_MODEL_TEMPLATE_H
#define CORE_MODEL_TEMPLATE_H

#include "core/model/tokenizer.h"

typedef struct graft_template graft_template;

/* dir: the folder of template files. An unknown name is an error that names the nearest. */
graft_status graft_template_open(const char *dir, const char *name, graft_template **out, graft_error *err);
void graft_template_close(graft_template *t);
const char *graft_template_name(const graft_template *t);

/* Stop words become special tokens, eos is replaced, pad is set: what LLaMA-Factory's fix does to the tokenizer. Once, before rendering. */
graft_status graft_template_fit(const graft_template *t, graft_tokenizer *tok, graft_error *err);

typedef enum graft_message_role { GRAFT_MESSAGE_USER,
                                  GRAFT_MESSAGE_ASSISTANT,
                                  GRAFT_MESSAGE_OBSERVATION,
                                  GRAFT_MESSAGE_FUNCTION } graft_message_role;
typedef struct graft_message {
    graft_message_role role;
    const char *text;
    size_t bytes;
} graft_message;

typedef struct graft_turn {
    int32_t *prompt;
    size_t n_prompt;
    int32_t *answer;
    size_t n_answer;
    size_t n_thought; /* of the prompt's last ids: the empty thought of a reasoning template, there because the answer has none */
} graft_turn; /* arena memory */

/* system NULL: the template's default; of 0 bytes: none. messages: prompt, answer, prompt, answer ... (an odd count renders an open last turn with an empty answer, for chat). system, tools may be NULL. */
graft_status graft_template_render(const graft_template *t, const graft_tokenizer *tok, graft_arena *a, const graft_message *messages, size_t n,
                                   const char *system, size_t system_bytes, const char *tools, graft_turn **turns, size_t *n_turns, graft_error *err);
/* Reasoning templates (the file says "reasoning"): what happens to thoughts. Zero is the usual: answers without a thought get an empty one, trained. */
typedef enum graft_thinking { GRAFT_THINKING_TRUE,
                              GRAFT_THINKING_FALSE,
                              GRAFT_THINKING_NULL } graft_thinking;
typedef struct graft_template_options {
    graft_thinking thinking; /* LLaMA-Factory's enable_thinking */
    int preserve_thinking;   /* thoughts of earlier turns stay */
    int mask_history;        /* only the last answer is trained: thoughts of earlier ones go unless preserved */
    int one_turn;            /* earlier turns are context only (chat, preference pairs): the same */
    int split_special;       /* special tokens spelled in texts (the template's own too) are ordinary text */
    const char *today;       /* the date in some tool prompts; NULL: "26 Jul 2024", the one that their models' own templates fall back to */
} graft_template_options;
graft_status graft_template_render_with(const graft_template *t, const graft_template_options *o, const graft_tokenizer *tok, graft_arena *a, const graft_message *messages, size_t n,
                                        const char *system, size_t system_bytes, const char *tools, graft_turn **turns, size_t *n_turns, graft_error *err);

/* The same before tokenising: units of text, each tokenised by itself. Arena memory. */
typedef enum graft_unit_kind { GRAFT_UNIT_TEXT,
                               GRAFT_UNIT_BOS,
                               GRAFT_UNIT_EOS,
                               GRAFT_UNIT_TOKEN } graft_unit_kind;
typedef struct graft_unit {
    graft_unit_kind kind;
    const char *text;
    size_t bytes;
} graft_unit;
typedef struct graft_units {
    graft_unit *item;
    size_t n, room;
} graft_units;
typedef struct graft_unit_turn {
    graft_units prompt, answer;
    int thought_in_prompt; /* its last unit is an empty thought */
} graft_unit_turn;
graft_status graft_template_units(const graft_template *t, const graft_template_options *o, graft_arena *a, const graft_message *messages, size_t n,
                                  const char *system, size_t system_bytes, const char *tools, graft_unit_turn **turns, size_t *n_turns, graft_error *err);

/* Tools and calls are written another way from now on (LLaMA-Factory's tool_format): a call's own slots become its text and eos. Once, before rendering. */
graft_status graft_template_use_tools(graft_template *t, const char *tool_format, graft_error *err);
/* Ids that end an answer: eos and the stop words. */
const int32_t *graft_template_stops(const graft_template *t, const graft_tokenizer *tok, graft_arena *a, size_t *n);
/* What ends a pretraining text, NULL: the tokenizer's eos. */
const char *graft_template_text_end(const graft_template *t);
int graft_template_efficient_eos(const graft_template *t);
/* The thought that stands in for a missing one, NULL: the template is none that reasons. */
const char *graft_template_empty_thought(const graft_template *t, size_t *bytes);
/* The template as transformers' chat_template and as an ollama Modelfile's TEMPLATE: system, user and assistant texts. bos, eos: their spellings, or NULL. */
struct graft_str;
void graft_template_jinja(const graft_template *t, const char *bos, const char *eos, struct graft_str *out);
void graft_template_ollama(const graft_template *t, const char *bos, const char *eos, struct graft_str *out);
/* Beside a saved model and tokenizer: a Modelfile, and the chat template where the tokenizer has none of its own or this one is to replace it. */
graft_status graft_template_save(const graft_template *t, const graft_tokenizer *tok, const char *dir, graft_error *err);
/* No template is named: the one that the tokenizer's chat template amounts to, found by rendering conversations with it; "empty" when it has none. */
graft_status graft_template_of_tokenizer(const char *dir, const graft_tokenizer *tok, graft_template **out, graft_error *err);

#endif
