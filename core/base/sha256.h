/* core/base/sha256.h - SHA-256 (FIPS 180-4). */
#ifndef CORE_BASE_SHA256_H
#define CORE_BASE_SHA256_H

#include "graft/base.h"

typedef struct graft_sha256 { uint32_t h[8]; uint64_t bytes; uint8_t block[64]; } graft_sha256;
void graft_sha256_init(graft_sha256 *s);
void graft_sha256_add(graft_sha256 *s, const void *data, size_t bytes);
void graft_sha256_hex(graft_sha256 *s, char out[65]); /* ends the sum */
graft_status graft_sha256_file(const char *path, char out[65], graft_error *err);

#endif
