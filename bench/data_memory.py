"""Memory and start of a run on a large JSON Lines file: data_memory.py MODEL BYTES ALPACA.json WORK

MODEL: a model folder (a small one shows what the data takes). Makes a file of BYTES and one of a hundredth in WORK from the records of ALPACA.json, trains a few
updates on each and says the peak of memory and the seconds to the first update: of the small file, of the large one (killed once while it is tokenised, then
started again), of the large one again from its token cache, and as a stream. Both files and the cache are removed. Environment: BUILD (default build)."""
import json, os, shutil, signal, subprocess, sys, threading, time

model, size, alpaca, work = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
build = os.environ.get("BUILD", os.path.join(os.path.dirname(__file__), "..", "build"))
cache = os.path.join(work, "cache")


def make(name, n):
    path = os.path.join(work, name)
    subprocess.run([f"{build}/bench/data", "--generate", str(n), path, alpaca], check=True, stdout=subprocess.DEVNULL)
    return path


def run(what, path, *more, kill_after=None):
    command = [f"{build}/bin/graft", "train", "--model_name_or_path", model, "--template", "smollm2", "--finetuning_type", "lora", "--dataset", path, "--cutoff_len", "512",
               "--per_device_train_batch_size", "4", "--max_steps", "200", "--logging_steps", "1", "--save_strategy", "no", "--overwrite_output_dir", "--output_dir", os.path.join(work, "out"), *more]
    began, first = time.time(), None
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "XDG_CACHE_HOME": cache})
    if kill_after:
        threading.Timer(kill_after, lambda: child.send_signal(signal.SIGKILL)).start()
    lines = []
    for line in child.stdout:
        lines.append(line)
        if first is None and line.startswith("step 1/"):
            first = time.time() - began
    _, status, usage = os.wait4(child.pid, 0)
    if status and not kill_after:
        sys.exit("".join(lines[-5:]))
    row = {"run": what, "first_update_s": first and round(first, 1), "total_s": round(time.time() - began, 1), "peak_mib": round(usage.ru_maxrss / 1024, 1), "bytes": os.path.getsize(path)}
    print(json.dumps(row), flush=True)
    return row


os.makedirs(work, exist_ok=True)
small, large = make("small.jsonl", size // 100), make("large.jsonl", size)
try:
    base = run("a hundredth", small)
    if "--kill" in sys.argv:
        run("large, killed", large, kill_after=float(sys.argv[sys.argv.index("--kill") + 1]))
    cold = run("large, tokenised", large)
    warm = run("large, from the token cache", large)
    stream = run("large, streaming", large, "--streaming", "true")
    print(f"{size / 1e9:.1f} GB against {size / 1e11:.2f} GB: peak +{cold['peak_mib'] - base['peak_mib']:.1f} MiB tokenising, +{warm['peak_mib'] - base['peak_mib']:.1f} MiB from the cache, "
          f"{stream['peak_mib'] - base['peak_mib']:+.1f} MiB streaming; first update after {warm['first_update_s']} s from the cache, {stream['first_update_s']} s streaming")
finally:
    for path in (small, large):
        os.path.exists(path) and os.remove(path)
    shutil.rmtree(cache, ignore_errors=True)
