"""Write the pages that are made from code and measurements: weights, model cards, performance.

``python tools/pages.py`` writes them; a test compares them with what is committed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

import nrpurify
from nrpurify import weights

DOCS = Path(__file__).parent.parent / "docs"
ABOUT = {
    "cda": ("attack", "the generator of the attack CDA, 2 residual blocks"),
    "fff": ("attack", "the universal pattern of the attack FFF"),
    "fast": ("purifier", "the default purifier"),
    "tiny": ("purifier", "a purifier of a quarter of the cost of `fast`"),
    "segnet-basic-camvid": ("segmenter", "SegNet-Basic for CamVid's 11 classes"),
}
LIMITS = {
    "attack": "Research on robustness. Use it on models that you are allowed to attack.",
    "purifier": "Attacks by those who do not know of it. An attacker who differentiates through it "
    "wins. It was trained on few photographs ([data](data.md)); measure on your own images first.",
    "segmenter": "A victim for experiments, too inaccurate for driving.",
}


WEIGHTS_INTRO = """# Weights and licenses

Networks that are fetched on first use. Each comes from a package in an ordinary registry, is pinned
by sha256 and read without running the package's code. `nrpurify weights list` prints the same. A
license that a package does not state counts as non-commercial: ask its author before you use the
network in a product.

| name | source | license | origin | input |
| --- | --- | --- | --- | --- |
"""


def weights_page() -> str:
    """The table of fetched weights."""
    lines = [*WEIGHTS_INTRO.splitlines()]
    for name in weights.names():
        one = weights.get(name)
        cells = [f"`{name}`", one.source, one.license, one.origin, one.preprocessing]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def cards_page() -> str:
    """One section for each checkpoint in the package."""
    lines = ["# Model cards", "", "The checkpoints in the package. Each file holds its whole card."]
    for file in sorted(Path(nrpurify.__file__).parent.rglob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            text = (tensors.metadata() or {}).get("card")
        if text:
            lines += _card(file, json.loads(text))
    return "\n".join(lines) + "\n"


def _card(file: Path, card: dict[str, Any]) -> list[str]:
    kind, what = ABOUT.get(card["name"], ("purifier", "a purifier"))
    training = card["training"]
    runs = [*training.get("before", []), training]
    hours = sum(s for run in runs if isinstance(s := run.get("seconds"), int | float)) / 3600
    photos = f"{training.get('photos')} photographs without labels"
    rows = {
        "what": what,
        "use": LIMITS[kind],
        "design": f"`{card['architecture']}` {_settings(card['arguments'])}".strip(),
        "size": f"{file.stat().st_size / 1e6:.1f} MB, float16",
        "training": f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}, {hours:.1f} hours in all",
        "data": training.get("data", photos if "photos" in training else "none"),
        "measured": _settings(card["metrics"]),
        "license": card["license"],
        "sha256 of the tensors": f"`{card['sha256']}`",
    }
    table = [f"| {name} | {value} |" for name, value in rows.items() if value]
    return ["", f"## `{card['name']}`", "", "| | |", "| --- | --- |", *table]


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in values.items())


def _short(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


PERFORMANCE_INTRO = """# Performance

Medians of runs in turn, with quartiles; smaller is better. `make bench` measures, on an idle
machine. The JSON of these tables is in `benchmarks/results/`, the method in `benchmarks/README.md`.
"""
TITLES = {
    "speed": "Purifiers and other defenses",
    "attacks": "Gradient attacks",
    "ssp": "SSP",
    "training": "Training",
    "startup": "Start-up",
}


def performance_page() -> str:
    """One section for each benchmark, from its committed JSON."""
    parts = [PERFORMANCE_INTRO]
    for name, title in TITLES.items():
        file = DOCS.parent / "benchmarks" / "results" / f"{name}.json"
        if file.exists():
            parts.append(_timings(title, json.loads(file.read_text(encoding="utf-8"))))
    return "\n".join(parts)


def _timings(title: str, found: dict[str, Any]) -> str:
    about = found["environment"]
    lines = [
        f"## {title}",
        "",
        f"nrpurify {about['nrpurify']}, torch {about['torch']}, {about['processor']}, "
        f"{about['threads']} threads of {about['cores']} cores, {about['date']}.",
    ]
    for row in found["rows"]:
        ours = next(iter(row["sides"].values()))["median"]
        lines += ["", f"**{row['case']}**", "", "| | ms | quartiles | beside the first |"]
        lines.append("| --- | --- | --- | --- |")
        for name, side in row["sides"].items():
            low, median, high = (_ms(side[key]) for key in ("low", "median", "high"))
            ratio = f"{side['median'] / ours:.2f} ×"
            lines.append(f"| {name} | {median} | {low} to {high} | {ratio} |")
    return "\n".join(lines) + "\n"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.1f}" if seconds < 0.1 else f"{1000 * seconds:,.0f}"


PAGES = {
    "weights.md": weights_page,
    "model-cards.md": cards_page,
    "performance.md": performance_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
