"""graft writes, transformers and PEFT read: see README.md beside this file. Exit status 0 when every logit agrees within 1e-4.

The peers compute in float64: their own float32 logits of this model lie up to 1e-4 from it, as ours may."""
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


def expect(folder, model, tokenizer):
    """Logits of the texts, in the flat layout that the golden program reads."""
    ids = [tokenizer(t, add_special_tokens=False).input_ids for t in texts]
    with torch.no_grad():
        logits = torch.cat([model(input_ids=torch.tensor([x])).logits[0].float() for x in ids])
    flat = torch.tensor(sum(ids, []), dtype=torch.int32)
    labels = flat.clone()
    borders = torch.tensor([0] + list(torch.tensor([len(x) for x in ids]).cumsum(0)), dtype=torch.int32)
    labels[borders[:-1].long()] = -100
    wanted, rows = [], []
    for a, b in zip(borders[:-1].tolist(), borders[1:].tolist()):
        rows += range(a, b - 1)
        wanted += flat[a + 1 : b].tolist()
    loss = torch.nn.functional.cross_entropy(logits[rows].double(), torch.tensor(wanted)).reshape(())
    save_file({"flat.input_ids": flat, "flat.labels": labels, "flat.cu_seqlens": borders, "logits": logits.contiguous(), "loss": loss},
              os.path.join(folder, "expect.safetensors"))


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()


shutil.rmtree(out, ignore_errors=True)
os.makedirs(out)
base, adapter, merged = (os.path.join(out, name) for name in ("base", "adapter", "merged"))
graft("export", f"--model_name_or_path={gguf}", f"--export_dir={base}")
graft("train", os.path.join(root, "examples", "demo.yaml"), f"model_name_or_path={base}", f"registry={root}/demo/registry.json", "max_steps=4", f"output_dir={adapter}")
graft("export", f"--model_name_or_path={base}", f"--adapter_name_or_path={adapter}", "--template=smollm2", f"--export_dir={merged}", "--export_dtype=f32")
tokenizer = AutoTokenizer.from_pretrained(base)
expect(base, load(base), tokenizer)
expect(adapter, PeftModel.from_pretrained(load(base), adapter).eval(), tokenizer)
json.dump({"base": "../base"}, open(os.path.join(adapter, "expect.json"), "w"))
expect(merged, load(merged), tokenizer)
sys.exit(subprocess.run([os.path.join(build, "tests", "golden"), base, adapter, merged]).returncode)
