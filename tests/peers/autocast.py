#!/usr/bin/env python3
"""tests/peers/autocast.py FOLDER > autocast.json - what torch's own bf16 autocast costs: for each model of FOLDER (tests/fixtures/arch) the largest error of its
logits, and the error of its gradients (norm of the difference over the norm, all tensors together), against the stored f32 ones.
graft's products in bf16 and fp16 must not cost more (tests/golden/compute.c)."""
import json, pathlib, sys

import torch, transformers
from safetensors.torch import load_file

transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)


def run(folder, want, autocast):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for m in model.modules():
        if isinstance(m, torch.nn.Dropout):
            m.p = 0.0
    ids, mask, labels = (want["padded." + k].long() for k in ("input_ids", "attention_mask", "labels"))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = model(input_ids=ids, attention_mask=mask).logits
    logits = logits.float()
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    loss.backward()
    gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    flat = logits[mask.bool()].detach()
    far = near = 0.0
    for name, exact in want.items():
        if name.startswith("grad."):
            far += (gradients[name[5:]].double() - exact.double()).pow(2).sum().item()
            near += exact.double().pow(2).sum().item()
    return {"logits": (flat - want["logits"].view_as(flat)).abs().max().item(), "gradients": (far / near) ** 0.5}


found = {}
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    expected = folder / "expect.safetensors"
    want = load_file(expected) if expected.exists() else {}
    if not any(k.startswith("grad.") for k in want):
        continue
    try:
        exact = run(folder, want, False)
        assert exact["gradients"] < 1e-3, exact  # the same model and batch
        found[folder.name] = {k: float(f"{v:.3g}") for k, v in run(folder, want, True).items()}
    except Exception as why:
        print(f"{folder.name}: left out: {type(why).__name__} {str(why)[:150]}", file=sys.stderr)
print("{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in found.items()) + "\n}")
