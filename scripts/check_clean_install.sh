#!/usr/bin/env bash
# What somebody does who has nothing but Python and the wheel: install, paint, train, far from the
# repository. Takes minutes and some 7 GB, which it removes.
#
#   bash scripts/check_clean_install.sh [PYTHON]
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

say() { printf '\n$ %s\n' "$*"; }
run() { say "$@"; env -i PATH="$place/env/bin:/usr/bin:/bin" HOME="$place" OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}" "$@"; }

"$python" -m venv tools
tools/bin/pip install -q build
say python -m build
tools/bin/python -m build -o dist "$repository" > build.log 2>&1 || { tail -n 20 build.log; exit 1; }
ls -l dist | awk 'NR > 1 {print $5, $9}'

"$python" -m venv env
say pip install dist/*.whl
env/bin/pip install -q dist/*.whl
mkdir elsewhere && cd elsewhere
run fst --version
run fst-infer --list-styles
run fst-infer --style wave -o wave.jpg
run python -m fst infer --style the_scream=0.5 signac=0.5 --size 256
run fst-styles extract gallery signac
run fst-train --styles wave.jpg --steps 2 --size 64 --batch-size 1
run fst-infer wave.jpg --size 128
run fst-gatys --texture --style wave.jpg --size 64 --steps 5 -o texture.png
run fst-gram wave.jpg --size 128 -o report
run python -c "import fst; print(fst.__version__, fst.__file__.split('site-packages')[1])"
say ls
find . -type f | sort
