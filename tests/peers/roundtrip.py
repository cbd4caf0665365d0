"""graft writes, transformers and PEFT read: see README.md beside this file. Exit status 0 when every logit agrees.

The peers compute in float64, and once more in float32. How far their own float32 logits lie from float64 is printed and stored ("logits_noise"): of this model, whose
largest logit is 40, about 5e-5 to 1e-4, the largest of 1.5 million. Ours, which are float32 too, may lie twice as far, and at least 1e-4."""
import json, os, shutil, subprocess, sys

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

root = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
build = os.environ.get("BUILD", os.path.join(root, "build"))
gguf = os.environ.get("GRAFT_SMOLLM2", os.path.join(root, "demo", "SmolLM2-135M-Instruct.Q4_1.gguf"))
out = os.path.join(build, "tests", "work", "peers")
texts = ["Who are you?", "The old lighthouse stood at the end of the pier.", "int main(void) { return 0; }"]


def graft(*words):
    subprocess.run([os.path.join(build, "bin", "graft"), *words], check=True)


def logits_of(model, ids):
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([x])).logits[0, -len(x) :].double() for x in ids])


def expect(folder, make, tokenizer, with_loss=True, exact=torch.float64):
    """Logits of the texts, in the flat layout that the golden program reads. The loss is that of the logits: of methods that add a penalty it is left out."""
    ids = [tokenizer(t, add_special_tokens=False).input_ids for t in texts]
    logits = logits_of(make(exact), ids)
    noise = (logits - logits_of(make(torch.float32), ids)).abs().max() if exact == torch.float64 else torch.zeros(())
    print(f"{os.path.basename(folder)}: the peer's float32 logits lie up to {float(noise):.1e} from its float64")
    logits = logits.float()
    flat = torch.tensor(sum(ids, []), dtype=torch.int32)
    labels = flat.clone()
    borders = torch.tensor([0] + list(torch.tensor([len(x) for x in ids]).cumsum(0)), dtype=torch.int32)
    labels[borders[:-1].long()] = -100
    wanted, rows = [], []
    for a, b in zip(borders[:-1].tolist(), borders[1:].tolist()):
        rows += range(a, b - 1)
        wanted += flat[a + 1 : b].tolist()
    loss = torch.nn.functional.cross_entropy(logits[rows].double(), torch.tensor(wanted)).reshape(())
    save_file({"flat.input_ids": flat, "flat.labels": labels, "flat.cu_seqlens": borders, "logits": logits.contiguous(), "logits_noise": noise.float().reshape(1), **({"loss": loss} if with_loss else {})},
              os.path.join(folder, "expect.safetensors"))


# every method whose files are PEFT's: after a few updates, PEFT's logits with its adapter and ours
methods = {
    "rslora": "finetuning_type=lora lora_rank=4 use_rslora=true learning_rate=1e-3",
    "dora": "finetuning_type=lora lora_rank=4 use_dora=true learning_rate=1e-3",
    "pissa": "finetuning_type=lora lora_rank=4 pissa_init=true pissa_iter=-1 learning_rate=1e-4",
    "olora": "finetuning_type=lora lora_rank=4 init_lora_weights=olora learning_rate=1e-4",
    "patterns": "finetuning_type=lora lora_rank=4 rank_pattern={q_proj: 8} alpha_pattern={v_proj: 3} lora_target=q_proj,v_proj learning_rate=1e-3",
    "whole_modules": "finetuning_type=lora lora_rank=4 lora_target=q_proj additional_target=lm_head learning_rate=1e-3",
    "ends": "finetuning_type=lora lora_rank=4 lora_target=embed_tokens,lm_head,q_proj learning_rate=1e-3",
    "adalora": "finetuning_type=adalora init_r=4 learning_rate=1e-2",
    "adalora_ranks": "finetuning_type=adalora init_r=4 target_r=2 learning_rate=1e-2",
    "ia3": "finetuning_type=ia3 learning_rate=1e-2",
    "llama_adapter": "finetuning_type=llama_adapter learning_rate=3e-2",
    "prefix": "finetuning_type=prefix num_virtual_tokens=4 learning_rate=1e-2",
    "prefix_projection": "finetuning_type=prefix num_virtual_tokens=4 prefix_projection=true encoder_hidden_size=32 learning_rate=1e-2",
    "prompt": "finetuning_type=prompt num_virtual_tokens=4 learning_rate=1e-2",
    "ptuning": "finetuning_type=ptuning num_virtual_tokens=4 encoder_hidden_size=32 learning_rate=1e-3",
}


def load(folder, dtype=torch.float64, adapter=None):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    return PeftModel.from_pretrained(model, adapter).eval() if adapter else model


shutil.rmtree(out, ignore_errors=True)
os.makedirs(out)
base, adapter, merged = (os.path.join(out, name) for name in ("base", "adapter", "merged"))
graft("export", f"--model_name_or_path={gguf}", f"--export_dir={base}")
graft("train", os.path.join(root, "examples", "demo.yaml"), f"model_name_or_path={base}", f"registry={root}/demo/registry.json", "max_steps=4", f"output_dir={adapter}")
graft("export", f"--model_name_or_path={base}", f"--adapter_name_or_path={adapter}", "--template=smollm2", f"--export_dir={merged}", "--export_dtype=f32")
tokenizer = AutoTokenizer.from_pretrained(base)
expect(base, lambda dtype: load(base, dtype), tokenizer)
expect(adapter, lambda dtype: load(base, dtype, adapter), tokenizer)
json.dump({"base": "../base"}, open(os.path.join(adapter, "expect.json"), "w"))
expect(merged, lambda dtype: load(merged, dtype), tokenizer)
folders = []
for name in sys.argv[1:] or methods:
    words, rest = [], methods[name]
    while rest:  # key=value, where a value in braces may hold blanks
        end = rest.find("}") + 1 if rest.split("=", 1)[1].startswith("{") else (rest + " ").find(" ")
        words.append(rest[:end])
        rest = rest[end:].strip()
    folder = os.path.join(out, name)
    graft("train", os.path.join(root, "examples", "demo.yaml"), f"model_name_or_path={base}", f"registry={root}/demo/registry.json", "max_steps=3", "per_device_train_batch_size=1", f"output_dir={folder}", *words)
    expect(folder, lambda dtype: load(base, dtype, folder), tokenizer, not name.startswith("adalora"), torch.float32 if name in ("pissa", "olora") else torch.float64)  # PEFT decomposes weights in float32 only
    json.dump({"base": "../base"}, open(os.path.join(folder, "expect.json"), "w"))
    folders.append(folder)
sys.exit(subprocess.run([os.path.join(build, "tests", "golden"), base, adapter, merged, *folders]).returncode)
