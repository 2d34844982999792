#!/usr/bin/env bash
# Build wheel and sdist, check them, and run the demo from the wheel in an empty environment. Nothing is uploaded.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3.11}
bin=.venv-release/bin
[ -x $bin/pip ] || "$python" -m venv .venv-release
$bin/pip install --quiet --upgrade pip build twine check-wheel-contents

rm -rf dist
$bin/python -m build
$bin/twine check --strict dist/*
$bin/check-wheel-contents dist/*.whl
limit=80000000
for file in dist/*; do
  size=$(stat -c %s "$file")
  echo "$file: $size bytes"
  [ "$size" -lt $limit ] || { echo "$file is larger than $limit bytes"; exit 1; }
done

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/nrpurify/__init__.py)
grep -q "^## $version" CHANGELOG.md || { echo "CHANGELOG.md has no section for $version"; exit 1; }

wheel=$(realpath dist/nrpurify-*.whl)
empty=$(mktemp -d)
trap 'rm -rf "$empty"' EXIT
"$python" -m venv "$empty/venv"
"$empty/venv/bin/pip" install --quiet "$wheel[demo]"
cd "$empty"
venv/bin/nrpurify --version
venv/bin/nrpurify demo --out demo
test -s demo/report.html
echo "dist/ is ready. To publish it: $bin/twine upload dist/*"
