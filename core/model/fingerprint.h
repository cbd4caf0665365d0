/* core/model/fingerprint.h - what a tokenizer and a template make of a text, as a hash: what was tokenised before may be used again when it is the same. */
#ifndef CORE_MODEL_FINGERPRINT_H
#define CORE_MODEL_FINGERPRINT_H

#include "core/base/sha256.h"
#include "core/model/template.h"

graft_status graft_tokenizer_fingerprint(const graft_tokenizer *t, graft_sha256 *sum, graft_error *err);
void graft_template_fingerprint(const graft_template *t, graft_sha256 *sum);
/* A part of a hash that cannot run into the next one. text NULL is another one than "". */
void graft_fingerprint_text(graft_sha256 *sum, const char *text, size_t bytes);
void graft_fingerprint_number(graft_sha256 *sum, int64_t v);

#endif
