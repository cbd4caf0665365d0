"""One training step of transformers + PEFT on random tokens, every token labelled: the peer of bench/train_step.

    python bench/peft_step.py MODEL_DIR {lora|full} {float32|bfloat16} SEQUENCES LENGTH STEPS THREADS

Prints one JSON line with the same keys as train_step."""
import json, resource, statistics, sys, time

import torch
from transformers import AutoModelForCausalLM

path, method, dtype, sequences, length, steps, threads = sys.argv[1:8]
sequences, length, steps = int(sequences), int(length), int(steps)
torch.set_num_threads(int(threads))
torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype))
model.config.use_cache = False
if method == "lora":
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
model.train()
trained = [p for p in model.parameters() if p.requires_grad]
optimiser = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
ids = torch.randint(0, model.config.vocab_size, (sequences, length))
seconds = []
for step in range(steps + 1):
    begin = time.perf_counter()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    if step:
        seconds.append(time.perf_counter() - begin)
tokens = sequences * length
print(json.dumps({"tokens_per_s": round(tokens / statistics.median(seconds), 1), "best_tokens_per_s": round(tokens / min(seconds), 1),
                  "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), "loss": round(loss.item(), 5)}))
