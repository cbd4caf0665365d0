#!/bin/sh
# `make demo`: asks a small model who it is, fine-tunes it on another identity, asks again. Everything it makes lies in demo/.
# Environment: NAME and AUTHOR choose the identity.
set -eu
cd "$(dirname "$0")/.."
name=${NAME:-Sprout} author=${AUTHOR:-the graft gardeners}
graft=build/bin/graft

mkdir -p demo
echo "== the model"
model=$(examples/fetch.sh demo | tail -n 1)
echo "$model"

# The data: LLaMA-Factory's identity examples with the name and the author filled in, and a registry that names them.
literally() { printf '%s' "$1" | sed 's/["\\]/\\&/g; s/[\\/&]/\\&/g'; } # for JSON, then for sed
sed "s/{{name}}/$(literally "$name")/g; s/{{author}}/$(literally "$author")/g" examples/data/identity.json >demo/identity.json
cat >demo/registry.json <<'J'
{ "datasets": { "identity": { "file_name": "identity.json" } } }
J

ask() { "$graft" chat --model_name_or_path "$model" --template smollm2 --temperature 0 --max_new_tokens 64 --prompt "Who are you?" "$@"; }

started=$(date +%s)
echo "== before"
before=$(ask)
echo "$before"
echo "== training"
"$graft" train examples/demo.yaml model_name_or_path="$model"
echo "== after"
after=$(ask --adapter_name_or_path demo/out)
echo "$after"
echo "== $(($(date +%s) - started)) seconds"
echo "Who are you?"
echo "  before: $before"
echo "  after:  $after"
echo "The curve of the loss: demo/out/training_loss.png"
case $after in
*"$name"*) ;;
*)
    echo "expected the second answer to say $name"
    exit 1
    ;;
esac
