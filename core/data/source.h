/* core/data/source.h - the file that a format plugin reads through: graft_source (SDK) over one JSON, JSON Lines, text, table or Parquet file. */
#ifndef CORE_DATA_SOURCE_H
#define CORE_DATA_SOURCE_H

#include "core/base/arena.h"
#include "graft/format.h"

/* The file is mapped; a row lives until the next one is asked for, so memory does not grow with the file. */
graft_status graft_source_open(const char *path, graft_source **out, graft_error *err);
void graft_source_close(graft_source *s);
/* The first bytes, for sniffing. */
const char *graft_source_head(const graft_source *s, size_t *bytes);
/* Rows read so far. */
int64_t graft_source_record(const graft_source *s);
/* After a seek, which knows bytes alone: so many rows lie before. */
void graft_source_recount(graft_source *s, int64_t records);

#endif
