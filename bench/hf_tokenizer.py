"""The peer of bench/tokenizer: the `tokenizers` library on the same lines, one thread. hf_tokenizer.py TOKENIZER.json SECONDS FILE ..."""
import json, os, sys, time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer

path, seconds, files = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
began = time.process_time()
tokenizer = Tokenizer.from_file(path)
load = time.process_time() - began
lines = [line for f in files for line in open(f, encoding="utf-8", newline="\n").read().split("\n")]
size = sum(len(line.encode()) for line in lines)
passes = 0
began = time.process_time()
while not passes or time.process_time() - began < seconds:
    ids = sum(len(tokenizer.encode(line, add_special_tokens=False).ids) for line in lines)
    passes += 1
took = time.process_time() - began
print(json.dumps({"mb_per_s": round(size * passes / took / 1e6, 2), "ids": ids, "bytes": size, "passes": passes, "load_s": round(load, 3)}))
