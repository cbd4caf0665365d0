#!/usr/bin/env python3
"""bench/plan.py [METHOD ...] | --model FAMILY FOLDER - what `graft plan` predicts against the peak memory of the training process (VmHWM).

Every method x 3 models (the shapes of SmolLM2-135M and Qwen2.5-0.5B and a small Phi-3, random weights, made here) x 3 budgets: all that is wanted, and that less 40 % and 70 % of the
activations. One line a run, the worst last. BUILD: the build folder. MODELS: some of them, by family. LENGTH: tokens of a sample. --model only writes one of
the models to FOLDER/FAMILY, for bench/train_vs_peft. TABLE: a file for the rows as Markdown, PLOT: one for an SVG of the errors."""
import json, math, os, pathlib, shutil, subprocess, sys, tempfile

here = pathlib.Path(__file__).resolve().parent.parent
graft = pathlib.Path(os.environ.get("BUILD", here / "build")) / "bin" / "graft"
SHAPES = {"llama": (576, 1536, 9, 3, 30, 49152), "qwen2": (896, 4864, 14, 2, 24, 151936), "phi3": (384, 1024, 6, 6, 12, 49152)}
NAMES = {"llama": "SmolLM2-135M", "qwen2": "Qwen2.5-0.5B", "phi3": "Phi-3, small"}
LENGTH = os.environ.get("LENGTH", "512")
BUDGETS = (None, 0.4, 0.7)


def tensors(family, d, f, kv, layers, vocab):
    q = d
    yield "model.embed_tokens.weight", (vocab, d)
    for i in range(layers):
        at = f"model.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield at + norm + ".weight", (d,)
        if family == "phi3":
            yield at + "self_attn.qkv_proj.weight", (q + 2 * kv, d)
            yield at + "mlp.gate_up_proj.weight", (2 * f, d)
        else:
            for name, out in (("q", q), ("k", kv), ("v", kv)):
                yield at + f"self_attn.{name}_proj.weight", (out, d)
                if family == "qwen2":
                    yield at + f"self_attn.{name}_proj.bias", (out,)
            yield at + "mlp.gate_proj.weight", (f, d)
            yield at + "mlp.up_proj.weight", (f, d)
        yield at + "self_attn.o_proj.weight", (d, q)
        yield at + "mlp.down_proj.weight", (d, f)
    yield "model.norm.weight", (d,)
    if family == "phi3":
        yield "lm_head.weight", (vocab, d)


def content(name, n):
    """bf16: norms are 1, the rest has magnitudes from 2^-7 to 2^-5 of both signs."""
    if "norm" in name:
        return b"\x80\x3f" * n
    high = bytes(0x3C if i < 128 else 0xBC for i in range(256))
    out = bytearray(2 * n)
    out[0::2], out[1::2] = os.urandom(n), os.urandom(n).translate(high)
    return bytes(out)


def model(root, family, d, f, heads, kv_heads, layers, vocab):
    folder = root / family
    folder.mkdir()
    kv, header, at, parts = d // heads * kv_heads, {}, 0, []
    for name, dims in tensors(family, d, f, kv, layers, vocab):
        n = 1
        for x in dims:
            n *= x
        header[name] = {"dtype": "BF16", "shape": list(dims), "data_offsets": [at, at + 2 * n]}
        parts.append((name, n))
        at += 2 * n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, n in parts:
            out.write(content(name, n))
    config = {"model_type": family, "architectures": ["X"], "hidden_size": d, "intermediate_size": f, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
              "vocab_size": vocab, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": family != "phi3",
              "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((here / "tests/fixtures/tokenizers/smollm2" / name).read_bytes())
    return folder


def data(root):
    words = " ".join((here / "CONTRIBUTING.md").read_text().split())
    rows = [{"instruction": words[i * 200:i * 200 + 1200], "input": "", "output": words[i * 100:i * 100 + 2000]} for i in range(8)]
    (root / "long.json").write_text(json.dumps(rows))
    (root / "dataset_info.json").write_text(json.dumps({"long": {"file_name": "long.json"}}))


def call(verb, words):
    done = subprocess.run([str(graft), verb, "--json", *words], capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def peak(words):
    """ru_maxrss of a child of its own, in bytes."""
    run = "import json,resource,subprocess,sys;p=subprocess.run(sys.argv[1:],capture_output=True);print(p.returncode,resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss*1024)"
    code, bytes_ = subprocess.run([sys.executable, "-c", run, str(graft), "train", "--json", *words], capture_output=True, text=True).stdout.split()
    return int(bytes_) if code == "0" else None


def main():
    if sys.argv[1:2] == ["--model"]:
        model(pathlib.Path(sys.argv[3]), sys.argv[2], *SHAPES[sys.argv[2]])
        return
    methods = sys.argv[1:] or list(json.loads((here / "registry.json").read_text())["methods"])
    worst, rows = ("", 0.0), []
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        data(root)
        for family in os.environ.get("MODELS", " ".join(SHAPES)).split():
            folder = model(root, family, *SHAPES[family])
            for method in methods:
                words = ["--model_name_or_path", str(folder), "--finetuning_type", method, "--dataset", "long", "--dataset_dir", str(root), "--template", "chatml", "--cutoff_len", LENGTH, "--train_on_prompt", "true",
                         "--per_device_train_batch_size", "1", "--max_steps", "1", "--save_strategy", "no", "--output_dir", str(root / "out"), "--overwrite_output_dir", "true"]
                whole = activations = None
                for share in BUDGETS:
                    more = ["--memory", "1T"] if share is None else ["--memory", str(int(whole - activations * share))]
                    plan = call("plan", words + more)
                    if isinstance(plan, str):
                        print(f"{folder.name:6} {method:12} {share or 0:4} refused: {plan}", flush=True)
                        if share is None:
                            break
                        continue
                    if whole is None:
                        whole, activations = plan["total"], plan["activations"]
                    got = peak(words + more)
                    if not got:
                        print(f"{folder.name:6} {method:12} {share or 0:4} failed", flush=True)
                        continue
                    error = plan["total"] / got - 1
                    rows.append((NAMES[family], method, share, plan["total"], got, error))
                    worst = max(worst, (f"{folder.name} {method} {share or 0}", abs(error)), key=lambda w: w[1])
                    print(f"{folder.name:6} {method:12} {share or 0:4} predicted {plan['total'] / 2**20:7.1f} MiB, peak {got / 2**20:7.1f} MiB, {100 * error:+5.1f} %  level {plan['recompute_level']}, {plan['recompute_layers']} of {plan['layers']} blocks", flush=True)
            shutil.rmtree(folder)
    if "TABLE" in os.environ:
        pathlib.Path(os.environ["TABLE"]).write_text(table(rows))
    if "PLOT" in os.environ:
        pathlib.Path(os.environ["PLOT"]).write_text(plot(rows))
    print(f"worst: {worst[0]} {100 * worst[1]:.1f} %")


def table(rows):
    """A line a method, a column a model: planned/peak MiB of the three budgets."""
    models = list(dict.fromkeys(r[0] for r in rows))
    cells = {}
    for name, method, _, planned, got, error in rows:
        cells.setdefault(method, {}).setdefault(name, []).append(f"{planned / 2**20:.0f}/{got / 2**20:.0f}")
    head = "| method | " + " | ".join(models) + " |\n| --- |" + " --- |" * len(models) + "\n"
    return head + "".join(f"| {m} | " + " | ".join(", ".join(c.get(name, ["-"])) for name in models) + " |\n" for m, c in cells.items())


def plot(rows):
    """Planned against measured, both in MiB on logarithmic axes; the band is 5 %."""
    low, high, side = math.log10(min(r[4] for r in rows) / 2**20 * 0.9), math.log10(max(r[4] for r in rows) / 2**20 * 1.1), 420
    at = lambda v: (math.log10(v) - low) / (high - low) * side
    colours = dict(zip(dict.fromkeys(r[0] for r in rows), ("#1b6ca8", "#c0392b", "#2e8b57")))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side + 90} {side + 60}" font-family="sans-serif" font-size="12">']
    band = " ".join(f"{60 + at(10**x):.1f},{side + 10 - at(10**x * f):.1f}" for f, xs in ((1.05, (low, high)), (0.95, (high, low))) for x in xs)
    out.append(f'<polygon points="{band}" fill="#e8e8e8"/><rect x="60" y="10" width="{side}" height="{side}" fill="none" stroke="#888"/>')
    for tick in (200, 500, 1000, 2000, 5000, 10000):
        if low <= math.log10(tick) <= high:
            out.append(f'<text x="{60 + at(tick):.0f}" y="{side + 26}" text-anchor="middle">{tick}</text><text x="54" y="{side + 14 - at(tick):.0f}" text-anchor="end">{tick}</text>')
    out += [f'<circle cx="{60 + at(r[4] / 2**20):.1f}" cy="{side + 10 - at(r[3] / 2**20):.1f}" r="3" fill="{colours[r[0]]}" fill-opacity="0.7"/>' for r in rows]
    out += [f'<text x="74" y="{30 + 16 * i}" fill="{c}">{n}</text>' for i, (n, c) in enumerate(colours.items())]
    out.append(f'<text x="{60 + side // 2}" y="{side + 48}" text-anchor="middle">measured peak, MiB</text><text transform="translate(14 {10 + side // 2}) rotate(-90)" text-anchor="middle">planned, MiB</text></svg>')
    return "\n".join(out) + "\n"


main()
