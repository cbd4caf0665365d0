#!/usr/bin/env python3
"""Writes tests/fixtures/columns: the same rows as Parquet and Arrow files of many writers' settings, and as JSON lines. Needs pyarrow.

usage: make_columns.py FOLDER [ROWS] [SEED]    (ROWS 24 and SEED 1 give the fixtures; larger ones are for trying by hand)"""
import datetime, decimal, json, random, sys
import pyarrow as pa, pyarrow.feather, pyarrow.parquet as pq

folder, rows, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 24, int(sys.argv[3]) if len(sys.argv) > 3 else 1
draw = random.Random(seed)
words = ["a", "tree", "stands", "häuser", "雪", "in", "the", "🙂", "field", "\n", "\"quoted\"", ""]


def text():
    return " ".join(draw.choice(words) for _ in range(draw.randrange(9)))


def maybe(v):
    return None if draw.random() < 0.2 else v


def turn():
    return {"role": draw.choice(["user", "assistant"]), "content": maybe(text()), "calls": maybe([maybe({"name": text(), "args": maybe([draw.randrange(9) for _ in range(draw.randrange(3))])}) for _ in range(draw.randrange(3))])}


def row(i):
    return {"id": i, "messages": maybe([turn() for _ in range(draw.randrange(5))]), "text": maybe(text()), "tags": [maybe(text()) for _ in range(draw.randrange(4))],
            "grid": maybe([maybe([draw.randrange(100) - 50 for _ in range(draw.randrange(3))]) for _ in range(draw.randrange(3))]),
            "ok": maybe(draw.random() < 0.5), "small": maybe(draw.randrange(200) - 100), "big": draw.randrange(2**62) - 2**61, "steps": 1000 * i + draw.randrange(3),
            "real": maybe(draw.randrange(4000) / 16), "half": draw.randrange(64) / 8, "info": maybe({"a": maybe(text()), "b": {"c": maybe(i)}}), "same": "constant", "none": None}


turns = pa.struct([("role", pa.string()), ("content", pa.string()), ("calls", pa.list_(pa.struct([("name", pa.string()), ("args", pa.list_(pa.int32()))])))])
schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("messages", pa.list_(turns)), ("text", pa.large_string()), pa.field("tags", pa.list_(pa.string()), nullable=False), ("grid", pa.list_(pa.list_(pa.int64()))),
                    ("ok", pa.bool_()), ("small", pa.int8()), ("big", pa.int64()), ("steps", pa.int32()), ("real", pa.float64()), ("half", pa.float32()),
                    ("info", pa.struct([("a", pa.string()), ("b", pa.struct([("c", pa.int64())]))])), ("same", pa.string()), ("none", pa.null())])
data = [row(i) for i in range(rows)]
table = pa.Table.from_pylist(data, schema=schema)
with open(f"{folder}/rows.jsonl", "w", encoding="utf-8") as f:
    for r in data:
        f.write(json.dumps(r, ensure_ascii=False) + "\n")


def write(name, **how):
    pq.write_table(table, f"{folder}/rows_{name}.parquet", store_schema=False, write_statistics=False, **how)


flat = {"steps": "DELTA_BINARY_PACKED", "big": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY", "tags.list.element": "DELTA_LENGTH_BYTE_ARRAY", "real": "BYTE_STREAM_SPLIT", "half": "BYTE_STREAM_SPLIT", "small": "BYTE_STREAM_SPLIT", "ok": "RLE", "messages.list.element.content": "DELTA_BYTE_ARRAY"}
write("snappy", row_group_size=25)
write("plain", compression="none", use_dictionary=False, use_compliant_nested_type=False)
write("gzip_2", compression="gzip", data_page_version="2.0", row_group_size=1000, write_page_checksum=True)
write("zstd_pages", compression="zstd", data_page_size=64, dictionary_pagesize_limit=128, write_batch_size=7, write_page_checksum=True)
write("encodings", compression="zstd", use_dictionary=False, column_encoding=flat)
write("encodings_2", compression="none", use_dictionary=False, column_encoding=flat, data_page_version="2.0", data_page_size=100, write_batch_size=5, row_group_size=17)
for codec in ("lz4", "brotli"):
    pq.write_table(pa.table({"text": ["x"]}), f"{folder}/{codec}.parquet", compression=codec, store_schema=False, write_statistics=False)

# Types that are not those of JSON. The second line of each is what becomes of it.
when = datetime.datetime(2024, 2, 3, 4, 5, 6)
types = [("u8", pa.uint8(), 255, 255), ("u32", pa.uint32(), 4294967295, 4294967295), ("u64", pa.uint64(), 2**63 + 2048, float(2**63 + 2048)), ("f16", pa.float16(), -1.5, -1.5),
         ("dec4", pa.decimal128(7, 2), decimal.Decimal("-12345.67"), -12345.67), ("dec16", pa.decimal128(30, 3), decimal.Decimal("123.456"), 123.456), ("nan", pa.float64(), float("nan"), None),
         ("day", pa.date32(), when.date(), 19756), ("ms", pa.timestamp("ms"), when, 1706933106000), ("us", pa.timestamp("us"), when, 1706933106000000),
         ("bytes", pa.binary(), b"\xff\xfe", None), ("ascii", pa.binary(), b"plain", "plain"), ("four", pa.binary(4), b"abcd", "abcd"),
         ("map", pa.map_(pa.string(), pa.int32()), [("k", 1), ("l", 2)], [{"key": "k", "value": 1}, {"key": "l", "value": 2}]), ("cat", pa.dictionary(pa.int32(), pa.string()), "c", "c")]
all_types = pa.table({n: pa.array([v], t) for n, t, v, _ in types})
pq.write_table(all_types, f"{folder}/types.parquet", store_schema=False, write_statistics=False)
pq.write_table(pa.table({"when": pa.array([when], pa.timestamp("ns")), "n": [1]}), f"{folder}/int96.parquet", use_deprecated_int96_timestamps=True, store_schema=False, write_statistics=False)
with open(f"{folder}/types.jsonl", "w", encoding="utf-8") as f:
    f.write(json.dumps({n: w for n, _, _, w in types}) + "\n")

# Arrow: a stream, as `datasets` writes it, and a file.
wide = pa.schema([pa.field("tags", pa.large_list(pa.large_string()), nullable=False) if f.name == "tags" else pa.field("same", pa.dictionary(pa.int8(), pa.string())) if f.name == "same" else f for f in schema])
with pa.ipc.new_stream(f"{folder}/rows_stream.arrow", schema) as out:
    for batch in table.to_batches(max_chunksize=10):
        out.write_batch(batch)
with pa.ipc.new_file(f"{folder}/rows_file.arrow", wide) as out:
    out.write_table(pa.Table.from_pylist(data, schema=wide), max_chunksize=1000)
with pa.ipc.new_stream(f"{folder}/types.arrow", all_types.schema) as out:
    out.write_table(all_types)
pyarrow.feather.write_feather(pa.table({"text": ["x" * 100]}), f"{folder}/packed.arrow", compression="lz4")


# Lists as writers had them before the rules of today, which no library writes any more: the file is put together by hand. Thrift's compact protocol.
def varint(v):
    return bytes([v & 0x7F | 0x80]) + varint(v >> 7) if v > 0x7F else bytes([v])


def value(v):
    if isinstance(v, int): return varint(v << 1 if v >= 0 else (-v << 1) - 1)
    if isinstance(v, str): return varint(len(v)) + v.encode()
    if isinstance(v, list): return bytes([len(v) << 4 | kind(v[0])]) + b"".join(map(value, v))
    last, out = 0, b""
    for k in sorted(v):
        out += bytes([(k - last) << 4 | kind(v[k])]) + value(v[k])
        last = k
    return out + b"\0"


class Long(int):
    pass


def kind(v):
    return 6 if isinstance(v, Long) else 5 if isinstance(v, int) else 8 if isinstance(v, str) else 9 if isinstance(v, list) else 12


def node(name, repetition, children=0, is_list=False):
    return {**({} if children else {1: 1}), 3: repetition, 4: name, **({5: children} if children else {}), **({6: 3} if is_list else {})}


old = [{4: "schema", 5: 5}, node("plain", 2), node("two", 1, 1, True), node("array", 2), node("named", 1, 1, True), node("array", 2, 1), node("x", 0),
       node("tuple", 1, 1, True), node("tuple_tuple", 2, 1), node("y", 0), node("pair", 1, 1, True), node("bag", 2, 2), node("p", 0), node("q", 0)]
columns = [(["plain"], [1, 2], 1), (["two", "array"], [3, 4], 2), (["named", "array", "x"], [5], 2), (["tuple", "tuple_tuple", "y"], [6, 7], 2), (["pair", "bag", "p"], [8], 2), (["pair", "bag", "q"], [9], 2)]
out, chunks = b"PAR1", []
for path, numbers, deepest in columns:
    n = len(numbers) + 1 # and an empty list: one level less
    reps, defs = [0] + [1] * (len(numbers) - 1) + [0], [deepest] * len(numbers) + [deepest - 1]
    runs = lambda levels, bits: b"".join(varint(2) + bytes([level]) for level in levels)
    body = b"".join(len(r).to_bytes(4, "little") + r for r in (runs(reps, 1), runs(defs, 2))) + b"".join(v.to_bytes(4, "little") for v in numbers)
    page = value({1: 0, 2: len(body), 3: len(body), 5: {1: n, 2: 0, 3: 3, 4: 3}}) + body
    chunks.append({2: Long(len(out)), 3: {1: 1, 2: [0], 3: path, 4: 0, 5: Long(n), 6: Long(len(page)), 7: Long(len(page)), 9: Long(len(out))}})
    out += page
footer = value({1: 1, 2: old, 3: Long(2), 4: [{1: chunks, 2: Long(len(out)), 3: Long(2)}]})
with open(f"{folder}/old_lists.parquet", "wb") as f:
    f.write(out + footer + len(footer).to_bytes(4, "little") + b"PAR1")
