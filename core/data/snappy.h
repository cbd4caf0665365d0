/* core/data/snappy.h - unpacks Snappy's blocks, in which most Parquet files keep their pages. */
#ifndef CORE_DATA_SNAPPY_H
#define CORE_DATA_SNAPPY_H

#include <stddef.h>
#include <stdint.h>

/* All of `from` into to[room], which it must fill exactly. 0: done, -1: damaged. */
int graft_snappy_unpack(const uint8_t *from, size_t bytes, uint8_t *to, size_t room);

#endif
