#!/bin/sh
# Everything about the service that docs/operations.md shows: 31 minutes on two idle cores.
# The tables go to benchmarks/results/; `python tools/pages.py` puts them into the page.
# SCALE=30 runs each part for a thirtieth of its time, to try it.
set -eu
cd "$(dirname "$0")/.."
scale=${SCALE:-1}
out=${OUT:-benchmarks/results}
python benchmarks/serve_load.py --starts 5 --out "$out/serve-start.json"
for size in 224 1080p; do
    python benchmarks/serve_load.py --size $size --clients 1 8 64 \
        --seconds $((30 / scale + 5)) $((30 / scale + 5)) $((600 / scale)) --out "$out/serve-$size.json"
done
python benchmarks/serve_load.py --sigterm --clients 64 --seconds $((20 / scale + 5)) --out "$out/serve-sigterm.json"
python benchmarks/serve_abuse.py --count $((10000 / scale)) --together 64 --seed 1 --out "$out/serve-abuse.json"
