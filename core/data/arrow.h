/* core/data/arrow.h - rows of an Arrow file or stream, as `datasets` keeps what it has read or saved (save_to_disk). See columns.h.
 *
 *   stream   message*, end            message: FF FF FF FF, size of the header (4 bytes), header (FlatBuffers), body
 *   file     "ARROW1\0\0", stream, index, "ARROW1"        the index is not needed
 *   body     buffers of a record batch: of each column validity bits, offsets, values
 *
 * The file is mapped and nothing is unpacked, so memory does not grow with it. Text, numbers, truths, lists, structs, maps and dictionaries are read, with the
 * meanings of parquet.h. Packed bodies (Feather) are refused. */
#ifndef CORE_DATA_ARROW_H
#define CORE_DATA_ARROW_H

#include "core/data/columns.h"

int graft_arrow_is(const graft_map *m);
graft_status graft_arrow_open(const graft_map *m, const char *path, graft_columns **out, graft_error *err);

#endif
