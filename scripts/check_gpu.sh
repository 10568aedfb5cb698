#!/usr/bin/env bash
# Checks fst on a machine with a GPU: what is right, what is equal to the bit, where the time goes.
#
#   bash scripts/check_gpu.sh [--wheels DIR] [--vgg FILE] [--only machine,infer] [--budget 480]
#   bash scripts/check_gpu.sh --device cpu --tiny          # tries the script itself without a GPU
#
# No network is needed. A machine that has torch, torchvision, pytorch-lightning, torchmetrics,
# tensorboard, safetensors, pillow, numpy, matplotlib and jinja2 may lack the rest: put these as
# wheels in DIR, for the Python of that machine, and they are installed beside the check, nowhere
# else. On the machine with a network:
#
#   python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 \
#     --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 -d DIR jsonargparse \
#     docstring-parser typeshed-client importlib-resources argcomplete pyvips-binary cffi pycparser
#   python3 -m pip wheel --no-deps -w DIR pyvips           # which comes as source
#
# Prints a row as soon as it is measured; all of them go to $OUT/check_gpu.json (OUT: a folder,
# build/check_gpu by default) after each section.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
wheels=
for ((i = 1; i <= $#; i++)); do
    if [ "${!i}" = --wheels ]; then next=$((i + 1)); wheels=${!next-}; fi
done
export OUT=${OUT:-build/check_gpu} PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$OUT" || exit 1
if [ -n "$wheels" ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir \
        --disable-pip-version-check --root-user-action ignore --target "$site" "$wheels"/*.whl ||
        { echo "check_gpu: the wheels in $wheels cannot be installed" >&2; exit 1; }
    PYTHONPATH=$PYTHONPATH:$site
fi
needed="pytorch_lightning, jsonargparse, docstring_parser, typeshed_client, pyvips"
why=$("$python" -c "import $needed" 2>&1) ||
    { echo "check_gpu: ${why##*$'\n'}: give what is missing with --wheels DIR" >&2; exit 1; }
"$python" scripts/check_gpu.py "$@"
