"""What PEFT makes of AdaLoRA's rank schedule on a tiny model, as tests/fixtures/methods/llama_adalora_schedule holds it: see README.md beside this file.

    adalora.py BASE FOLDER      BASE: tests/fixtures/methods/base/llama

FOLDER/trajectory.safetensors: ids [3, 24] i32, one sequence an update in turn; start.NAME the factors before the first update; loss [updates + 1] with the
penalty, before each update and after the last; masks [updates, ranks of all sites] u8 after each update (all 1 before the first choice); after.NAME the factors
in the end, whole. FOLDER/adapter_config.json and adapter_model.safetensors: PEFT's own files of the end. Printed: how far float64 lies from float32."""
import json, os, sys

import torch
from peft import AdaLoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

base, out = sys.argv[1:3]
UPDATES, RATE = 36, 2e-2
torch.manual_seed(5)
ids = torch.randint(3, 128, (3, 24), generator=torch.Generator().manual_seed(9))


def make(dtype):
    config = AdaLoraConfig(task_type="CAUSAL_LM", init_r=4, target_r=2, tinit=4, tfinal=7, deltaT=3, beta1=0.85, beta2=0.85, orth_reg_weight=0.1, total_step=UPDATES, lora_alpha=16,
                           target_modules=["q_proj", "v_proj", "down_proj"])
    return get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), config)


def plain(name):
    return name.replace(".default", "")


def run(model):
    trained = {n: p for n, p in model.named_parameters() if "lora_" in n}
    optimizer = torch.optim.AdamW(trained.values(), lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    loss_of = lambda step: model(input_ids=ids[step % 3][None], labels=ids[step % 3][None]).loss
    losses, masks = [], []
    for step in range(UPDATES):
        loss = loss_of(step)
        losses.append(float(loss))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step()
        model.base_model.update_and_allocate(step)
        pattern = model.peft_config["default"].rank_pattern
        masks.append(sum((pattern[k] for k in sorted(pattern)), []) if pattern else [True] * (4 * 6))
    losses.append(float(loss_of(UPDATES)))
    return losses, masks, {plain(n): p.detach().clone() for n, p in trained.items()}


model = make(torch.float32)
start = {plain(n): p.detach().clone() for n, p in model.named_parameters() if "lora_" in n}
twin = make(torch.float64)
for n, p in twin.named_parameters():
    if "lora_" in n:
        p.data = start[plain(n)].double()
losses, masks, after = run(model)
losses64, masks64, after64 = run(twin)
print("losses differ by", max(abs(a - b) for a, b in zip(losses, losses64)), "factors by", max(float((after[k].double() - after64[k]).abs().max()) for k in after), "masks", "equal" if masks == masks64 else "DIFFER")
print(losses[::6], [sum(m) for m in masks])
os.makedirs(out, exist_ok=True)
model.save_pretrained(out)
os.remove(os.path.join(out, "README.md"))
config = json.load(open(os.path.join(out, "adapter_config.json")))
config["base_model_name_or_path"] = "../base/llama"
json.dump(config, open(os.path.join(out, "adapter_config.json"), "w"), indent=1, sort_keys=True)
save_file({"ids": ids.to(torch.int32), "loss": torch.tensor(losses), "masks": torch.tensor(masks, dtype=torch.uint8), **{f"start.{k}": v for k, v in start.items()},
           **{f"after.{k}": v for k, v in after.items()}}, os.path.join(out, "trajectory.safetensors"), metadata={"format": "pt"})
