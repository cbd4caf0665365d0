"""The peer of bench/data: LLaMA-Factory's own preprocessing. llamafactory_data.py FILE TOKENIZER TEMPLATE CUTOFF WORKERS

FILE: alpaca records. Everything from reading the file to tokenised samples, in an empty cache; not the seconds of imports. Prints one JSON line."""
import json, os, sys, tempfile, time

path, tokenizer, template, cutoff, workers = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
work = tempfile.TemporaryDirectory()
os.environ.update(HF_DATASETS_CACHE=os.path.join(work.name, "cache"), HF_HUB_OFFLINE="1", DISABLE_VERSION_CHECK="1", LLAMAFACTORY_VERBOSITY="ERROR", TOKENIZERS_PARALLELISM="false")
os.symlink(os.path.abspath(path), os.path.join(work.name, "data" + os.path.splitext(path)[1]))
with open(os.path.join(work.name, "dataset_info.json"), "w") as f:
    json.dump({"set": {"file_name": "data" + os.path.splitext(path)[1]}}, f)
import contextlib, io

from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from transformers import AutoTokenizer

model_args, data_args, training_args, _, _ = get_train_args(dict(model_name_or_path=tokenizer, stage="sft", do_train=True, finetuning_type="lora", template=template, dataset="set", dataset_dir=work.name,
                                                                 cutoff_len=cutoff, preprocessing_num_workers=workers, overwrite_cache=True, output_dir=os.path.join(work.name, "out"), report_to="none"))
tok = AutoTokenizer.from_pretrained(tokenizer)
fixed = get_template_and_fix_tokenizer(tok, data_args)
cpu = lambda: sum(os.times()[:4])  # with the processes it started
began, cpu_began = time.time(), cpu()
with contextlib.redirect_stdout(io.StringIO()):
    data = get_dataset(fixed, model_args, data_args, training_args, stage="sft", tokenizer=tok)["train_dataset"]
took, cpu_took = time.time() - began, cpu() - cpu_began
print(json.dumps({"samples": len(data), "load_s": round(took, 3), "load_cpu_s": round(cpu_took, 3), "samples_per_s": round(len(data) / took), "mb_per_s": round(os.path.getsize(path) / took / 1e6, 2), "first": data[0]["input_ids"][:8], "tokens": sum(len(x) for x in data.select(range(100))["input_ids"])}))
