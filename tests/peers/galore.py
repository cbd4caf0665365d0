"""What galore_torch's GaLoreAdamW makes of given gradients, in the layout of tests/fixtures/optim_galore: python tests/peers/galore.py FOLDER.

A singular pair's sign is free; graft makes the right vector's largest entry positive, and so does the decomposition here. With both sides projected the first
gradient becomes a diagonal matrix, beside which Adam with a small eps would divide rounding errors by themselves: that case has a larger one."""
import json, os, sys

import torch
from galore_torch import GaLoreAdamW
from safetensors.torch import save_file

plain = torch.linalg.svd


def svd(matrix, full_matrices=False):
    u, s, vh = plain(matrix.double(), full_matrices=full_matrices)
    sign = torch.sign(vh.gather(1, vh.abs().argmax(1, keepdim=True)))
    return (u * sign.T).float(), s.float(), (vh * sign).float()


torch.linalg.svd = svd
out = sys.argv[1]
os.makedirs(out, exist_ok=True)
shapes = {"tall.weight": [10, 6], "wide.weight": [5, 9], "norm.weight": [7]}
cases = {}
for number, side in enumerate(["std", "reverse_std", "right", "left", "full"]):
    options = {"lr": 0.01, "betas": [0.9, 0.95], "eps": 1e-3 if side == "full" else 1e-8, "weight_decay": 0.1 * (number % 2), "rank": 3 if number < 4 else 2, "update_proj_gap": 5, "scale": 0.25 + number, "proj_type": side}
    torch.manual_seed(number)
    parameters = {k: torch.nn.Parameter(torch.randn(s)) for k, s in shapes.items()}
    grads = {k: torch.stack([torch.randn(s) * 0.1 + (torch.randn(s[0], 1) @ torch.randn(1, s[1]) if len(s) == 2 else 0) for _ in range(12)]) for k, s in shapes.items()}
    projected = {k: options[k] for k in ("rank", "update_proj_gap", "scale", "proj_type")}
    groups = [{"params": [p for p in parameters.values() if p.dim() == 2], **projected}, {"params": [p for p in parameters.values() if p.dim() == 1]}]
    optimiser = GaLoreAdamW(groups, lr=options["lr"], betas=tuple(options["betas"]), eps=options["eps"], weight_decay=options["weight_decay"], no_deprecation_warning=True)
    tensors = {f"start.{k}": p.detach().clone() for k, p in parameters.items()}
    tensors.update({f"grads.{k}": g for k, g in grads.items()})
    steps = {k: [] for k in shapes}
    for t in range(12):
        for k, p in parameters.items():
            p.grad = grads[k][t].clone()
        optimiser.step()
        for k, p in parameters.items():
            steps[k].append(p.detach().clone())
    tensors.update({f"params.{k}": torch.stack(v) for k, v in steps.items()})
    save_file(tensors, os.path.join(out, f"galore_{side}.safetensors"))
    cases[f"galore_{side}"] = {"optimizer": "GaLoreAdamW", "options": options, "shapes": shapes, "steps_without_gradient": {}, "lr_per_step": None}
json.dump(cases, open(os.path.join(out, "optimizers.json"), "w"), indent=1)
