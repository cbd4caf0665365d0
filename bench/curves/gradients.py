#!/usr/bin/env python3
"""bench/curves/gradients.py FOLDER [TYPE ...] - gradients of graft's products in bf16 (fp16) beside torch's under autocast, against torch in float64.

One batch of text (pre-training), every weight of the model at FOLDER (float32 files). graft's gradients are what one step of SGD takes off the weights. A line a
group of tensors: relative error (norm of the difference over the norm) and 1 - cosine of each; "signs" is the cosine of what Adam's first update makes of them,
which is little more than their signs, and "loss after" the batch's loss in f32 after such an update at Adam's rate ADAM (1e-3: no warm-up).
Needs torch, transformers, safetensors. BUILD: the build folder; LENGTH 128, BATCH 4."""
import json, os, pathlib, re, subprocess, sys, tempfile

import torch, transformers
from safetensors.torch import load_file

here = pathlib.Path(__file__).resolve().parent.parent.parent
build = pathlib.Path(os.environ.get("BUILD", here / "build"))
length, batch, rate = int(os.environ.get("LENGTH", "128")), int(os.environ.get("BATCH", "4")), 1e3
folder, types = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:] or ["f32", "bf16"]
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(int(os.environ.get("THREADS", "1")))


def text(tokenizer):
    """So much that it makes `batch` pieces of `length` tokens, and a rest that is left out."""
    records = json.loads((here / "tests/fixtures/datasets/alpaca_en_demo.json").read_text())
    whole = tokenizer("\n\n".join(r["instruction"] + "\n" + r["output"] for r in records[: 4 * batch + 40]))["input_ids"]
    short = tokenizer.decode(whole[: batch * length + length // 2])
    return short, torch.tensor(tokenizer(short)["input_ids"][: batch * length]).view(batch, length)


def ours(kind, words):
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        (tmp / "d.json").write_text(json.dumps([{"text": words}]))
        (tmp / "dataset_info.json").write_text(json.dumps({"d": {"file_name": "d.json", "columns": {"prompt": "text"}}}))
        run = [build / "bin/graft", "train", f"model_name_or_path={folder}", "stage=pt", "do_train=true", "finetuning_type=full", f"dataset_dir={tmp}", "dataset=d", f"cutoff_len={length}", f"per_device_train_batch_size={batch}", "gradient_accumulation_steps=1", "max_steps=1", "optim=sgd", f"learning_rate={rate}", "lr_scheduler_type=constant", "max_grad_norm=0", "weight_decay=0", "logging_steps=1", "save_strategy=no", f"compute={kind}", f"output_dir={tmp / 'out'}"]
        done = subprocess.run(run, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        before, after = load_file(folder / "model.safetensors"), load_file(tmp / "out/model.safetensors")
        loss = json.loads((tmp / "out/trainer_log.jsonl").read_text().splitlines()[0])["loss"]
        return loss, {k: (before[k].double() - after[k].double()) / rate for k in before if k in after}


def theirs(dtype, ids, autocast=None):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model.train()
    for m in model.modules():
        if isinstance(m, torch.nn.Dropout):
            m.p = 0.0
    with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        logits = model(ids).logits
    logits = logits if dtype == torch.float64 else logits.float()
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="sum") / ids.numel()  # as transformers' trainer divides: by all labels, shifted out or not
    loss.backward()
    return loss.item(), {k: p.grad.double() for k, p in model.named_parameters() if p.grad is not None}


def adam(g):
    """direction of Adam's first update"""
    return g / (g.abs() + 1e-8)


def after(g, ids):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for k, p in model.named_parameters():
            p -= float(os.environ.get("ADAM", "1e-3")) * adam(named(g, k)).float()
        logits = model(ids).logits
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).item()


def named(got, name):
    return got[name] if name in got else got[name.removeprefix("transformer.")]


def signs(exact, got):
    both = [(adam(e).flatten(), adam(named(got, k)).flatten()) for k, e in exact.items()]
    return (sum((a @ b).item() for a, b in both)) / (sum((a @ a).item() for a, _ in both) * sum((b @ b).item() for _, b in both)) ** 0.5


def kind_of(name):
    return re.sub(r"\.\d+\.", ".N.", name)


def compare(exact, got):
    """relative error and cosine of each group of tensors of one kind, and of all"""
    sums = {}
    for name, e in exact.items():
        g = named(got, name)
        for key in (kind_of(name), "all"):
            s = sums.setdefault(key, [0.0, 0.0, 0.0, 0.0])
            for i, v in enumerate(((g - e).pow(2).sum(), e.pow(2).sum(), g.pow(2).sum(), (g * e).sum())):
                s[i] += v.item()
    return {k: ((s[0] / max(s[1], 1e-300)) ** 0.5, s[3] / max((s[1] * s[2]) ** 0.5, 1e-300)) for k, s in sums.items()}


tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
words, ids = text(tokenizer)
exact_loss, exact = theirs(torch.float64, ids)
found = {}
for kind in types:
    found["graft " + kind] = ours(kind, words)
found["torch f32"] = theirs(torch.float32, ids)
found["torch autocast bf16"] = theirs(torch.float32, ids, torch.bfloat16)
found["torch pure bf16"] = theirs(torch.bfloat16, ids)
print(f"loss in float64 {exact_loss:.6f}; " + ", ".join(f"{n} {l - exact_loss:+.2e}" for n, (l, _) in found.items()))
tables = {n: compare(exact, g) for n, (_, g) in found.items()}
print(f"{'relative error, 1 - cosine':44}" + "".join(f"{n:>24}" for n in found))
for key in next(iter(tables.values())):
    print(f"{key:44}" + "".join(f"{t[key][0]:14.2e} {1 - t[key][1]:9.2e}" for t in tables.values()))
print(f"{'signs':44}" + "".join(f"{signs(exact, g):24.4f}" for _, g in found.values()))
print(f"{'loss after, float64 ' + format(after(exact, ids), '.4f'):44}" + "".join(f"{after(g, ids):24.4f}" for _, g in found.values()))
