"""One page for each table and figure of the paper, from its YAML file and committed results.

``benchmarks/results/paper-NAME.json`` is a run of ``nrpurify paper run NAME``, kept by
``python tools/pages.py add paper-NAME RUN``; ``paper-0.1.0.json`` holds what older runs found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import kept_results
import tables

from nrpurify.paper import catalogue
from nrpurify.paper.compare import shown
from nrpurify.paper.experiment import Experiment, Quoted
from nrpurify.paper.substitutes import FULL, SCALES, SMALL
from nrpurify.results import read_result

OLD = "paper-0.1.0"
Ours = Mapping[tuple[str, str], str]


def page(name: str) -> str:
    """What the paper measured and found, the command, what stands in for what, and our numbers."""
    one = catalogue.get(name)
    run = kept(name)
    scale = run["plan"].get("paper", {}).get("scale", "small") if run else "small"
    extras = [f"`{extra}`" for extra in ("models", *one.extras)]
    needs = "extra " if len(extras) == 1 else "extras "
    needs += " and ".join(part for part in (", ".join(extras[:-1]), extras[-1]) if part)
    parts = [
        f"# {one.heading}",
        f"**The paper measured:** {one.measured}",
        f"```sh\nnrpurify paper run {name} --scale {scale} --out out/{name}\n```",
        f"This needs the {needs}. [All commands and their options](../paper.md).",
        "## What is measured here, by scale",
        tables.markdown(
            ["scale", "in place of the paper's networks and data", "cost"],
            [[f"`{scale}`", _code(one.instead[scale]), one.cost[scale]] for scale in SCALES],
        ).rstrip(),
    ]
    if one.claims:
        parts += ["## What the paper finds", "\n".join(f"- {claim}" for claim in one.claims)]
    ours = _ours(one, run) if run else {}
    if one.quoted:
        parts.append("## The paper's numbers" + (" and ours" if run else ""))
        parts += [_matrix(one, metric, ours) for metric in _metrics(one)]
    parts += _measured(name, run)
    return "\n\n".join(parts) + "\n"


def kept(name: str) -> dict[str, Any] | None:
    """The committed run of a table or figure, if there is one."""
    file = kept_results.RESULTS / f"paper-{name}.json"
    return kept_results.load(f"paper-{name}") if file.exists() else None


def _metrics(one: Experiment) -> list[tuple[str, str]]:
    return list(dict.fromkeys((quoted.metric, quoted.unit) for quoted in one.quoted))


def _ours(one: Experiment, run: Mapping[str, Any]) -> Ours:
    cells = {cell["id"]: cell for cell in run["cells"]}
    found = {}
    for entry in run.get("paper", ()):
        place = (entry["row"], entry["column"])
        if entry.get("here"):
            found[place] = entry["here"]
        elif entry["cells"]:
            text = shown(read_result(cells[entry["cells"][0]]), one.success)
            found[place] = text.partition(" n=")[0].replace("[", "(").replace(", ", " to ")
            found[place] = found[place].replace("]", ")")
    return found


def _matrix(one: Experiment, metric: tuple[str, str], ours: Ours) -> str:
    """The paper's numbers of one metric; below each row ours, where there are some."""
    numbers = [quoted for quoted in one.quoted if (quoted.metric, quoted.unit) == metric]
    rows = list(dict.fromkeys(quoted.row for quoted in numbers))
    columns = list(dict.fromkeys(quoted.column for quoted in numbers))
    by: dict[tuple[str, str], Quoted] = {(q.row, q.column): q for q in numbers}
    lines = []
    for row in rows:
        texts = [by[row, c].text if (row, c) in by else "" for c in columns]
        lines.append([row, *texts])
        here = [ours.get((row, column), "–") for column in columns]
        if set(here) != {"–"}:
            lines.append(["*here*", *(f"*{text}*" for text in here)])
    name, unit = metric
    title = (
        f"{name if name[1].isupper() else name.capitalize()}, percent:\n\n" if unit == "%" else ""
    )
    return title + tables.markdown(["", *columns], lines).rstrip()


def _measured(name: str, run: Mapping[str, Any] | None) -> list[str]:
    parts = ["## Measured here"]
    if run:
        note = " Values in brackets are 95 % intervals." if run["images"]["n"] else ""
        parts.append(f"*{tables.caption(run)}*{note}")
        findings = run["plan"].get("paper", {}).get("findings", ())
        said = [f"- The paper: {f['claim']}. Here: {f['here']}" for f in findings if f.get("here")]
        if said:
            parts.append("\n".join(said))
    old = [] if run else [row for row in kept_results.load(OLD)["rows"] if name in row[0]]
    for _, setting, paper, here in old:
        parts.append(
            "At the scale `small`, by version 0.1.0; the run was not kept "
            f"([on what](../paper.md#measured-at-the-scale-small)){', ' * bool(setting)}{setting}:"
        )
        parts.append(f"- The paper: {_links(paper)}\n- Here: {_links(here)}")
    if not run and not old:
        parts.append("No result is kept yet.")
    return parts


def _code(text: str) -> str:
    """Options of the command line as code."""
    return re.sub(r"(?<!`)(--[a-z]+)", r"`\1`", text)


def _links(text: str) -> str:
    return re.sub(r"\]\((?!\.\.|https?:)", "](../", text)


def index() -> str:
    """All tables and figures: what each command measures, what it costs, what was measured."""
    old = {name for row in kept_results.load(OLD)["rows"] for name in row[0]}
    lines = []
    for name in catalogue.names():
        one = catalogue.get(name)
        run = kept(name)
        version = run["versions"]["nrpurify"] if run else "0.1.0" if name in old else "not yet"
        lines.append([f"[`{name}`](paper/{name}.md)", one.title, one.cost["small"], version])
    heading = ["command", "measures", "cost at the scale `small`", "measured here by"]
    return tables.markdown(heading, lines)


def networks() -> str:
    """Which network stands in for which."""
    rows = [
        [
            name,
            f"`{small}`" if (small := SMALL[name]) else "left out",
            f"`{full}`" if full else "left out",
        ]
        for name, full in FULL.items()
    ]
    return tables.markdown(["the paper's", "`small`", "`full`"], rows)
