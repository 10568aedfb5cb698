#!/usr/bin/env bash
# The tests with the lowest versions that setup.cfg names, or with the newest there are. Takes some
# 8 GB, which it removes, and as long as the tests do.
#
#   bash scripts/check_versions.sh lowest [PYTHON [TEST...]]
#   bash scripts/check_versions.sh newest python3.13 tests/test_stylizer.py
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
    lowest) resolution=lowest-direct ;;
    newest) resolution=highest ;;
    *) sed -n '2,6s/^# \?//p' "$0" >&2; exit 2 ;;
esac
python=${2:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "check_versions: no $python of version 3.10 or newer here, skipped"
    exit 0
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$python" -m venv "$place/env"
"$place/env/bin/pip" install -q uv
"$place/env/bin/uv" pip install -q --python "$place/env/bin/python" --resolution "$resolution" \
    -e ".[test]"
"$place/env/bin/python" --version
"$place/env/bin/uv" pip list -q --python "$place/env/bin/python" |
    grep -E '^(torch|torchvision|pytorch-lightning|numpy|pillow|jsonargparse) '
OMP_NUM_THREADS=1 "$place/env/bin/python" -m pytest -q "${@:3}"
