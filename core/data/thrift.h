/* core/data/thrift.h - reads structs of Thrift's compact protocol, in which Parquet writes its headers.
 *
 *   struct   field* 0x00            field: (id's step << 4 | type), or 0 << 4 | type and the id; then the value
 *   integer  zigzag varint          text: varint bytes, then they      list: (n << 4 | type), or 15 << 4 | type and n
 *
 * Nothing is copied. A wrong byte sets `bad` and ends everything: loops over fields and lists stop, numbers are 0; ask `bad` once at the end. */
#ifndef CORE_DATA_THRIFT_H
#define CORE_DATA_THRIFT_H

#include <stddef.h>
#include <stdint.h>

enum { GRAFT_THRIFT_TRUE = 1, GRAFT_THRIFT_FALSE, GRAFT_THRIFT_I8, GRAFT_THRIFT_I16, GRAFT_THRIFT_I32, GRAFT_THRIFT_I64, GRAFT_THRIFT_DOUBLE,
       GRAFT_THRIFT_TEXT, GRAFT_THRIFT_LIST, GRAFT_THRIFT_SET, GRAFT_THRIFT_MAP, GRAFT_THRIFT_STRUCT };

typedef struct graft_thrift {
    const uint8_t *at, *end;
    int bad;
} graft_thrift;

/* A number of up to 64 bits, 7 a byte, lowest first. */
uint64_t graft_thrift_varint(graft_thrift *t);
/* The next field of a struct; 0 at its end. *id: 0 before the first. */
int graft_thrift_field(graft_thrift *t, int *id, int *type);
/* The value of a field of this type, which must be a number or a truth. */
int64_t graft_thrift_number(graft_thrift *t, int type);
void graft_thrift_text(graft_thrift *t, int type, const char **text, size_t *bytes);
/* The elements of a list, which must be of the type `of`; no more than there are bytes left. */
size_t graft_thrift_list(graft_thrift *t, int type, int of);
/* A struct begins: is the field one? */
int graft_thrift_struct(graft_thrift *t, int type);
void graft_thrift_skip(graft_thrift *t, int type);

#endif
