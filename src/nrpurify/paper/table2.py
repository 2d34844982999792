"""Table 2: CDA against input transformations and NRP, on three tasks."""

from __future__ import annotations

from nrpurify.paper.bench import Bench
from nrpurify.paper.cross_task import Part
from nrpurify.paper.experiment import Cell, Experiment, Outcome, quote
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.provenance import Measured
from nrpurify.paper.runfolder import add_measured

COLUMNS = (
    "No Attack",
    "ImageNet ε 8",
    "ImageNet ε 16",
    "Comics ε 8",
    "Comics ε 16",
    "Paintings ε 8",
    "Paintings ε 16",
)
DOMAINS = ("ImageNet", "Comics", "Paintings")
DEFENSES = {
    "No Defense": "none",
    "JPEG (q=75)": "jpeg:quality=75",
    "JPEG (q=50)": "jpeg:quality=50",
    "JPEG (q=20)": "jpeg:quality=20",
    "TVM (w=10)": "tvm:weight=10",
    "TVM (w=30)": "tvm:weight=30",
    "MF (win=3)": "median:size=3",
    "NRP": "nrp",
}
CLASSIFICATION = {
    "No Defense": (97.8, 83.0, 30.9, 94.0, 56.6, 71.6, 23.7),
    "JPEG (q=75)": (97.6, 74.9, 18.6, 90.1, 42.6, 68.0, 18.0),
    "JPEG (q=50)": (96.2, 74.2, 19.0, 90.1, 43.4, 66.0, 19.2),
    "JPEG (q=20)": (94.1, 73.4, 21.7, 87.0, 51.3, 62.7, 18.8),
    "TVM (w=10)": (93.1, 82.3, 30.2, 91.0, 77.2, 72.7, 27.4),
    "TVM (w=30)": (96.0, 81.1, 27.3, 93.4, 66.4, 70.6, 24.1),
    "MF (win=3)": (95.4, 77.3, 27.7, 92.4, 66.8, 65.0, 22.1),
    "NRP": (95.6, 95.7, 96.0, 95.4, 94.2, 95.3, 94.1),
}
DETECTION = {
    "No Defense": (59.9, 35.2, 8.1, 40.5, 16.8, 41.7, 14.8),
    "JPEG (q=75)": (57.6, 41.3, 11.9, 41.6, 19.4, 44.5, 18.3),
    "JPEG (q=50)": (54.6, 41.7, 14.5, 39.5, 18.5, 47.7, 19.9),
    "JPEG (q=20)": (39.7, 30.7, 15.1, 28.2, 14.7, 30.5, 15.3),
    "TVM (w=10)": (54.1, 32.1, 14.3, 40.5, 28.9, 37.6, 21.5),
    "TVM (w=30)": (58.0, 39.9, 10.1, 46.8, 21.0, 45.4, 17.2),
    "MF (win=3)": (54.7, 32.1, 9.0, 41.1, 20.4, 37.6, 15.2),
    "NRP": (54.4, 51.5, 50.3, 53.5, 53.7, 53.2, 54.3),
}
SEGMENTATION = {
    "No Defense": (56.8, 32.4, 7.3, 37.6, 15.5, 39.1, 13.8),
    "JPEG (q=75)": (54.4, 38.5, 11, 38.5, 17.8, 41.7, 16.9),
    "JPEG (q=50)": (51.5, 38.9, 13.4, 36.6, 17.3, 40, 18.2),
    "JPEG (q=20)": (37.1, 28.8, 14.0, 26.3, 13.8, 28.3, 14.3),
    "TVM (w=10)": (50.8, 29.8, 13.2, 37.6, 26.6, 34.9, 19.8),
    "TVM (w=30)": (54.4, 37.1, 9.3, 43.7, 19.3, 42.3, 15.9),
    "MF (win=3)": (51.5, 29.8, 8.3, 36.0, 18.8, 34.9, 13.9),
    "NRP": (51.3, 48.4, 47.3, 50.3, 50.8, 50.2, 51.4),
}


def _column(domain: str, eps: int) -> str:
    return f"{domain} ε {eps}" if eps else "No Attack"


def _place(spot: Spot) -> tuple[str, str] | None:
    return f"Classification · {spot.defense}", _column(spot.line, spot.eps)


def _label(task: str, cell: Cell, defense: str) -> tuple[str, str]:
    eps = round(255 * (cell["eps"] or 0))
    return f"{task} · {defense}", _column(cell["settings"].get("domain", ""), eps)


GRID = Grid(
    lines=tuple(Line(domain, "cda", domain=domain) for domain in DOMAINS),
    victims=("IncRes-v2-ens",),
    defenses=DEFENSES,
    eps=(8, 16),
    place=_place,
    small={"IncRes-v2-ens": "efficientnet_lite2"},
)
PARTS = tuple(
    Part(
        task,
        "Mask-RCNN",
        {"cda": (8, 16)},
        DEFENSES,
        lambda cell, defense, heading=heading: _label(heading, cell, defense),  # type: ignore[misc]
    )
    for task, heading in (("detect", "Detection"), ("instances", "Segmentation"))
)


def _work(bench: Bench) -> Outcome:
    outcome = measure(bench, "table2", "Table 2: CDA across tasks", GRID)
    found: list[Measured] = []
    for part in PARTS:
        reason = part.lacking(bench)
        if not reason and not bench.generators():
            reason = "there is no trained generator"
        if reason:
            text = f"{part.victim}, {part.task}: {reason}"
            outcome.run["warnings"].append({"kind": "left out", "text": text, "cells": []})
            continue
        found.append(part.measure(bench))
        outcome.places |= part.places(bench, found[-1].cells)
    if found:
        add_measured(outcome.run, found)
    return outcome


EXPERIMENT = Experiment(
    name="table2",
    where="Table 2",
    title="CDA across three tasks, behind transformations and NRP",
    measured=(
        "Top-1 accuracy of IncRes-v2-ens (NeurIPS 2017), mAP50 of Mask-RCNN's boxes and masks "
        "(MS-COCO validation set) under CDA trained on ImageNet, comics and paintings, ε 8 and "
        "16/255 (higher is better)."
    ),
    instead={
        "smoke": "tiny random networks, generated pictures",
        "small": (
            "CDA of this package's one generator, trained on photographs, in the ImageNet columns; "
            "EfficientNet-Lite2; coco-ssd's boxes when --scenes and --annotations are given; no "
            "masks, for which the package source has no detector"
        ),
        "full": "the same generator; IncRes-v2-ens, torchvision's Mask-RCNN",
    },
    cost={"smoke": "1 minute", "small": "15 minutes, an hour with 100 scenes", "full": "hours"},
    work=_work,
    quoted=tuple(
        number
        for heading, rows, metric in (
            ("Classification", CLASSIFICATION, "top-1 accuracy"),
            ("Detection", DETECTION, "mAP50"),
            ("Segmentation", SEGMENTATION, "mAP50 of masks"),
        )
        for number in quote(
            metric, COLUMNS, {f"{heading} · {row}": values for row, values in rows.items()}
        )
    ),
    extras=("train", "defenses", "tasks"),
)
