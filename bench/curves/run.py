#!/usr/bin/env python3
"""bench/curves/run.py WORK [MODEL] - do products in bf16 and fp16 train as f32's do? Loss curves of each type, several seeds, on two models or three.

lora     MODEL (a folder of SmolLM2-135M) with LoRA on all linear layers, instructions of up to 128 tokens
scratch  a GPT-2 of 17 M parameters (LayerNorm, GELU, learned positions, biases), random weights made here, pre-trained: nothing is yet learned, updates are large
full     MODEL, every weight trained

Types: f32, bf16, fp16, and split: f32 with each batch in two parts, which are the same sums in another order (scratch alone has batches of two): what it differs
from f32 is rounding to f32, made large by training itself. A seed decides the order of the samples and what LoRA starts from, so runs of one seed differ in
arithmetic alone. Each finished run is a file WORK/CASE/TYPE-SEED.jsonl, so a call that was stopped goes on where it was, and a type that one machine lacks can be
added on another. Results depend neither on the machine's load nor on the number of threads. Writes WORK/curves.md and WORK/CASE.svg from the files there.
Environment: BUILD the build folder; BUILD_FP16 one whose cpu backend has fp16, where BUILD's has not (cmake -DGRAFT_FP16_MODEL=ON); CASES, TYPES, SEEDS lists with
commas; STEPS 500."""
import array, json, os, pathlib, random, shutil, subprocess, sys

here = pathlib.Path(__file__).resolve().parent.parent.parent
fixtures = here / "tests" / "fixtures"
STEPS, SMOOTH, HELD_OUT = int(os.environ.get("STEPS", "500")), 50, 50
TYPES = os.environ.get("TYPES", "f32,bf16,fp16,split").split(",")
SEEDS = [int(s) for s in os.environ.get("SEEDS", "1,2,3").split(",")]
CASES = {
    "lora": ("SmolLM2-135M, LoRA", "stage: sft\ntemplate: smollm2\nfinetuning_type: lora\nlora_rank: 8\nlora_target: all\nlearning_rate: 3.0e-4\nper_device_train_batch_size: 1\n"),
    "scratch": ("GPT-2 of 17 M parameters, from random weights", "stage: pt\nfinetuning_type: full\nlearning_rate: 1.0e-3\nper_device_train_batch_size: 2\n"),
    "full": ("SmolLM2-135M, all weights", "stage: sft\ntemplate: smollm2\nfinetuning_type: full\nlearning_rate: 2.0e-5\nper_device_train_batch_size: 1\n"),
}
COMMON = """do_train: true
cutoff_len: 128
gradient_accumulation_steps: 1
lr_scheduler_type: cosine
warmup_ratio: 0.1
logging_steps: 1
save_strategy: "no"
eval_strategy: steps
per_device_eval_batch_size: 4
overwrite_output_dir: true
backend: {cpu: {threads: 1}}
"""


# ---- what is trained on ---------------------------------------------------------------------------------------------------------------------------
def data(work):
    """Instructions, and the same as plain text; and HELD_OUT records from all over are held out."""
    folder = work / "data"
    folder.mkdir(exist_ok=True)
    records = [r for name in ("identity", "alpaca_en_demo") for r in json.loads((fixtures / "datasets" / f"{name}.json").read_text())]
    info, every = {}, len(records) // HELD_OUT
    for part, chosen in (("train", [r for i, r in enumerate(records) if i % every]), ("held", records[::every])):
        texts = [{"text": "\n".join(r[k] for k in ("instruction", "input", "output") if r.get(k))} for r in chosen]
        for kind, rows in (("sft", chosen), ("pt", texts)):
            (folder / f"{kind}_{part}.json").write_text(json.dumps(rows))
            info[f"{kind}_{part}"] = {"file_name": f"{kind}_{part}.json", **({"columns": {"prompt": "text"}} if kind == "pt" else {})}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def scratch_model(work, d=256, layers=6, heads=4, positions=128, vocab=49152):
    """transformers' way of starting a GPT-2: normal of sd 0.02, what adds to the stream divided by sqrt(2 layers), biases 0, norms 1."""
    folder = work / "gpt2"
    if (folder / "model.safetensors").exists():
        return folder
    folder.mkdir(exist_ok=True)
    shapes = {"wte.weight": [vocab, d], "wpe.weight": [positions, d], "ln_f.weight": [d], "ln_f.bias": [d]}
    for i in range(layers):
        for name, dims in (("ln_1", [d]), ("attn.c_attn", [d, 3 * d]), ("attn.c_proj", [d, d]), ("ln_2", [d]), ("mlp.c_fc", [d, 4 * d]), ("mlp.c_proj", [4 * d, d])):
            shapes[f"h.{i}.{name}.weight"], shapes[f"h.{i}.{name}.bias"] = dims, dims[-1:]
    header, parts, at, rng = {}, [], 0, random.Random(1)
    for name, dims in shapes.items():
        n = dims[0] * (dims[1] if len(dims) > 1 else 1)
        sd = 0.02 / (2 * layers) ** 0.5 if "c_proj" in name else 0.02
        values = (rng.gauss(0, sd) for _ in range(n)) if len(dims) > 1 else [1.0 if name.endswith("weight") else 0.0] * n
        parts.append(array.array("f", values).tobytes())
        header["transformer." + name] = {"dtype": "F32", "shape": dims, "data_offsets": [at, at + 4 * n]}
        at += 4 * n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "config.json").write_text(json.dumps({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new", "n_embd": d, "n_head": heads, "n_inner": 4 * d, "n_layer": layers, "n_positions": positions, "vocab_size": vocab, "layer_norm_epsilon": 1e-5, "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": True, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(fixtures / "tokenizers" / "smollm2" / name, folder)
    (folder / "model.part").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))
    (folder / "model.part").rename(folder / "model.safetensors")
    return folder


# ---- running ----------------------------------------------------------------------------------------------------------------------------------------
def run(work, case, model, kind, seed):
    """One run, unless its file is there. False: the type is not to be had here."""
    if kind == "split" and "train_batch_size: 2" not in CASES[case][1]:
        return False
    to = work / case / f"{kind}-{seed}.jsonl"
    if to.exists():
        return True
    out = work / case / f"{kind}-{seed}.out"
    stage = "pt" if case == "scratch" else "sft"
    config = work / case / f"{kind}-{seed}.yaml"
    rules = CASES[case][1] + COMMON
    if kind == "split":
        rules = rules.replace("train_batch_size: 2", "train_batch_size: 1").replace("accumulation_steps: 1", "accumulation_steps: 2")
    config.write_text(rules + f"model_name_or_path: {model}\ndataset_dir: {work / 'data'}\ndataset: {stage}_train\neval_dataset: {stage}_held\nmax_steps: {STEPS}\neval_steps: {STEPS // 2}\ncompute: {'f32' if kind == 'split' else kind}\nseed: {seed}\noutput_dir: {out}\n")
    build = pathlib.Path(os.environ.get("BUILD", here / "build"))
    if kind == "fp16" and os.environ.get("BUILD_FP16"):
        build = pathlib.Path(os.environ["BUILD_FP16"])
    done = subprocess.run([build / "bin" / "graft", "train", config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing was said"]
        print(f"{case} {kind} seed {seed}: {said[0]}", file=sys.stderr)
        if "not offered" in said[0]:
            return False
        sys.exit(1)
    shutil.copy(out / "trainer_log.jsonl", str(to) + ".part")
    os.rename(str(to) + ".part", to)
    shutil.rmtree(out)
    print(f"{case} {kind} seed {seed}: done", file=sys.stderr)
    return True


# ---- reading and comparing ------------------------------------------------------------------------------------------------------------------------
def read(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    losses = [r["loss"] for r in rows if "loss" in r]
    held = [(r["current_steps"], r["eval_loss"]) for r in rows if "eval_loss" in r]
    return losses, held


def smoothed(losses):
    """Mean of the SMOOTH updates up to each."""
    return [sum(losses[max(0, i + 1 - SMOOTH) : i + 1]) / min(i + 1, SMOOTH) for i in range(len(losses))]


def mean(v):
    return sum(v) / len(v)


def sd(v):
    """nan of one value, and of equal ones: no measure of anything"""
    return (sum((x - mean(v)) ** 2 for x in v) / (len(v) - 1)) ** 0.5 or float("nan") if len(v) > 1 else float("nan")


def columns(curves):
    return list(zip(*curves))


def compare(runs):
    """A row a type: final training loss and held-out loss, mean and sd over seeds; how far its mean curve leaves f32's, in units of the sd of f32's seeds
    (pooled over the steps); the same for the held-out loss at the end; and the difference of each seed's run from f32's."""
    rows, base = [], runs.get("f32")
    for kind, of in runs.items():
        curves = {s: smoothed(losses) for s, (losses, _) in of.items()}
        held = {s: h[-1][1] for s, (_, h) in of.items()}
        row = {"type": kind, "seeds": len(of), "train": mean([c[-1] for c in curves.values()]), "train_sd": sd([c[-1] for c in curves.values()]), "held": mean(list(held.values())), "held_sd": sd(list(held.values()))}
        if base and kind != "f32":
            both = [s for s in of if s in base]
            theirs = {s: smoothed(base[s][0]) for s in both}
            spread = mean([sd(list(c)) ** 2 for c in columns([smoothed(losses) for losses, _ in base.values()])[SMOOTH:]]) ** 0.5
            apart = [abs(mean(a) - mean(b)) for a, b in zip(columns([curves[s] for s in both]), columns([theirs[s] for s in both]))]
            row["apart"] = max(apart[SMOOTH:]) / spread
            row["held_apart"] = abs(mean([held[s] - base[s][1][-1][1] for s in both])) / sd([h[-1][1] for _, h in base.values()])
            row["paired"] = [curves[s][-1] - theirs[s][-1] for s in both]
            row["held_paired"] = [held[s] - base[s][1][-1][1] for s in both]
        rows.append(row)
    return rows


def table(results):
    out = ["| case | type | seeds | training loss, last %d of %d updates | held-out loss | type against f32, same seeds: mean curve leaves f32's by at most | held-out loss by | each seed at the end, training; held out |" % (SMOOTH, STEPS), "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    for case, rows in results.items():
        for r in rows:
            apart = ["%.2f sd of seeds" % r["apart"], "%.2f sd" % r["held_apart"], "; ".join(" ".join("%+.4f" % d for d in r[k]) for k in ("paired", "held_paired"))] if "apart" in r else ["", "", ""]
            of = ["%.4f" % r[k] + (" ± %.4f" % r[k + "_sd"] if r["seeds"] > 1 else "") for k in ("train", "held")]
            out.append("| %s | %s | %d | %s |" % (CASES[case][0], NAMES.get(r["type"], r["type"]), r["seeds"], " | ".join(of + apart)))
    return "\n".join(out) + "\n"


NAMES = {"split": "f32 by halves"}
COLOURS = {"f32": "#333333", "bf16": "#d1495b", "fp16": "#2563a8", "split": "#8a8a2a"}


def plot(case, runs, rows):
    """Above, each seed's smoothed curve thin and the mean thick; below, ten times as large, the means' distance from f32's over the band of f32's seeds."""
    curves = {k: [smoothed(losses) for losses, _ in of.values()] for k, of in runs.items()}
    means = {k: [mean(c) for c in columns(v)] for k, v in curves.items()}
    n = min(len(m) for m in means.values())
    every = [v for c in curves.values() for one in c for v in one[10:n]]
    low, high = min(every), max(every)
    pad = 0.04 * (high - low)
    low, high = low - pad, high + pad
    x = lambda i: 62 + 620 * i / n
    y = lambda v: 300 - 262 * (v - low) / (high - low)
    shown = range(10, n, 5)
    svg = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 500" font-family="sans-serif" font-size="11">', '<rect width="720" height="500" fill="white"/>', f'<text x="372" y="20" text-anchor="middle" font-size="13">{CASES[case][0]}: mean loss of the last {SMOOTH} updates</text>']
    for i in range(5):
        v = low + (high - low) * i / 4
        svg.append(f'<path d="M62 {y(v):.1f}H682" stroke="#ddd"/><text x="56" y="{y(v) + 4:.1f}" text-anchor="end">{v:.2f}</text>')
    path = lambda f, values: "M" + "L".join(f"{x(i):.0f} {f(values[i]):.1f}" for i in shown)
    for k in runs:
        for one in curves[k]:
            svg.append(f'<path d="{path(y, one)}" fill="none" stroke="{COLOURS[k]}" stroke-width=".6" opacity=".55"/>')
    for k in runs:
        svg.append(f'<path d="{path(y, means[k])}" fill="none" stroke="{COLOURS[k]}" stroke-width="2"{" stroke-dasharray=%s" % chr(34) + "6 4" + chr(34) if k != "f32" else ""}/>')
    spread = [sd(list(c)) if len(c) > 1 else 0.0 for c in columns(curves["f32"])]
    away = {}
    for k in runs:
        both = [s for s in runs[k] if s in runs["f32"]]
        if k != "f32" and both:
            of = [columns([smoothed(runs[t][s][0]) for s in both]) for t in (k, "f32")]
            away[k] = [mean(a) - mean(b) for a, b in zip(*of)]
    top = 1.1 * max([spread[i] for i in shown] + [abs(d[i]) for d in away.values() for i in shown] + [1e-6])
    z = lambda v: 395 - 60 * v / top
    band = [f"{x(i):.0f} {z(spread[i]):.1f}" for i in shown] + [f"{x(i):.0f} {z(-spread[i]):.1f}" for i in reversed(shown)]
    svg.append(f'<path d="M{"L".join(band)}Z" fill="#ccc"/><path d="M62 {z(0):.1f}H682" stroke="#999"/>')
    for v in (-top / 1.1, 0, top / 1.1):
        svg.append(f'<text x="56" y="{z(v) + 4:.1f}" text-anchor="end">{v:+.3f}</text>')
    for k, d in away.items():
        svg.append(f'<path d="{path(z, d)}" fill="none" stroke="{COLOURS[k]}" stroke-width="1.5"/>')
    svg.append('<text x="372" y="328" text-anchor="middle">difference from f32, mean over the same seeds; grey: one standard deviation of f32\'s seeds</text>')
    for i in range(0, n + 1, 100):
        svg.append(f'<text x="{x(i):.0f}" y="474" text-anchor="middle">{i}</text>')
    for i, k in enumerate(runs):
        r = next(r for r in rows if r["type"] == k)
        svg.append(f'<path d="M{440} {44 + 16 * i}h22" stroke="{COLOURS[k]}" stroke-width="2"/><text x="468" y="{48 + 16 * i}">{NAMES.get(k, k)}: {r["train"]:.3f} at the end, {r["seeds"]} seed{"s" if r["seeds"] > 1 else ""}</text>')
    return "\n".join(svg + ['<text x="372" y="490" text-anchor="middle">updates</text>', "</svg>"]) + "\n"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    work = pathlib.Path(sys.argv[1]).resolve()
    model = pathlib.Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else None
    cases = os.environ.get("CASES", "lora,scratch" if model else "scratch").split(",")
    work.mkdir(parents=True, exist_ok=True)
    data(work)
    for case in cases:
        (work / case).mkdir(exist_ok=True)
        of = scratch_model(work) if case == "scratch" else model
        missing = set()
        for seed in SEEDS:
            for kind in TYPES:
                if kind not in missing and not run(work, case, of, kind, seed):
                    missing.add(kind)
    results = {}
    for case in CASES:
        runs = {}
        for kind in COLOURS:
            found = {int(p.stem.split("-")[1]): read(p) for p in sorted((work / case).glob(f"{kind}-*.jsonl"))}
            if found:
                runs[kind] = found
        if "f32" in runs:
            results[case] = compare(runs)
            (work / f"{case}.svg").write_text(plot(case, runs, results[case]))
    (work / "curves.md").write_text(table(results))
    print(table(results), end="")


main()
