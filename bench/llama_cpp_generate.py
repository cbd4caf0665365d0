"""The peer of `graft bench generate`: one request of llama.cpp on random tokens. llama_cpp_generate.py MODEL.gguf PROMPT NEW ROUNDS THREADS
With --convert IN OUT TYPE: writes IN again as f32 or bf16 with llama.cpp's own quantiser.

The prompt is one batch; tokens are decoded one by one, without sampling, as llama-bench does. Prints one JSON line with the keys of `graft bench generate`, and the bytes of all weights."""
import ctypes, json, statistics, sys, time

import llama_cpp as L


def convert(source, to, kind):
    params = L.llama_model_quantize_default_params()
    params.ftype = {"f32": 0, "bf16": 32}[kind]
    params.allow_requantize = True
    if L.llama_model_quantize(source.encode(), to.encode(), ctypes.byref(params)):
        sys.exit(f"llama.cpp could not write {to}")


def decode(ctx, ids):
    tokens = (L.llama_token * len(ids))(*ids)  # the batch only points at it
    if L.llama_decode(ctx, L.llama_batch_get_one(tokens, len(ids))):
        sys.exit("llama_decode failed")
    L.llama_synchronize(ctx)


def main(path, prompt, fresh, rounds, threads):
    model = L.Llama(path, n_ctx=prompt + fresh, n_batch=prompt, n_ubatch=prompt, n_threads=threads, n_threads_batch=threads, verbose=False)
    ctx, vocab = model.ctx, model.n_vocab()
    ids = [(i * 7919 + 17) % vocab for i in range(prompt + fresh)]
    prefill, answer = [], []
    for i in range(rounds + 1):
        L.llama_memory_clear(L.llama_get_memory(ctx), True)
        begin = time.perf_counter()
        decode(ctx, ids[:prompt])
        middle = time.perf_counter()
        for token in ids[prompt : prompt + fresh - 1]:
            decode(ctx, [token])
        end = time.perf_counter()
        if i:  # the first round warms up
            prefill.append(middle - begin)
            answer.append((end - middle) / (fresh - 1))
    print(json.dumps({"prefill_tokens_per_s": prompt / statistics.median(prefill), "decode_tokens_per_s": 1 / statistics.median(answer),
                      "best_prefill_tokens_per_s": prompt / min(prefill), "best_decode_tokens_per_s": 1 / min(answer), "bytes": L.llama_model_size(model.model)}))


if sys.argv[1] == "--convert":
    convert(*sys.argv[2:5])
else:
    main(sys.argv[1], *map(int, sys.argv[2:6]))
