"""Figures over iterations: figure 3 and appendix figure 6."""

from __future__ import annotations

import torch

from nrpurify.models import features
from nrpurify.paper import plots
from nrpurify.paper.attacked import attacked_images
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Finding, Outcome
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.provenance import hashes

Curves = dict[str, dict[float, float]]
CLAIM3 = (
    "with more iterations the fooling rate and the feature distortion of I-FGSM fall; "
    "those of MI-FGSM hold"
)
CLAIM6 = (
    "SSP grows stronger with more iterations, while MI-FGSM and DIM reach their full strength "
    "within ten and I-FGSM weakens"
)


def _grid(bench: Bench, attacks: dict[str, str], source: str, victim: str) -> Grid:
    counts = {"smoke": (1, 2), "small": (2, 5, 10, 20, 40), "full": (2, 5, 10, 20, 40, 100)}
    return Grid(
        lines=tuple(
            Line(
                f"{heading} · {steps}",
                attack,
                () if attack == "ssp" else (source,),
                {"steps": steps},
            )
            for heading, attack in attacks.items()
            for steps in counts[bench.scale]
        ),
        victims=(victim,),
        place=_place,
    )


def _place(spot: Spot) -> tuple[str, str] | None:
    if not spot.eps:
        return "no attack", "accuracy"
    heading, steps = spot.line.split(" · ")
    return heading, f"{steps} iterations"


def _curves(outcome: Outcome) -> Curves:
    """Accuracy in percent by attack and iterations."""
    cells = {cell["id"]: cell for cell in outcome.run["cells"]}
    found: Curves = {}
    for name, (heading, column) in outcome.places.items():
        if column.endswith("iterations"):
            found.setdefault(heading, {})[float(column.split()[0])] = 100 * cells[name]["value"]
    return {heading: dict(sorted(points.items())) for heading, points in found.items()}


@torch.no_grad()
def _distortion(bench: Bench, outcome: Outcome) -> Curves:
    """Mean absolute change of VGG16's conv3_3, by attack and iterations."""
    extractor = features.feature_extractor("vgg16").to(bench.device)
    outcome.run["weights_sha256"] |= hashes(bench, {"features of vgg16": extractor})
    images, _, names = bench.load()
    clean = [extractor(image)[0] for image in torch.split(images, 1)]
    found: Curves = {}
    for cell in outcome.run["cells"]:
        if cell["attack"] != "clean":
            attacked = attacked_images(bench.out, cell, names).to(images)
            pairs = zip(clean, torch.split(attacked, 1), strict=True)
            changes = [float((extractor(x)[0] - kept).abs().mean()) for kept, x in pairs]
            heading, column = outcome.places[cell["id"]]
            steps = float(column.split()[0])
            found.setdefault(heading, {})[steps] = sum(changes) / len(changes)
    return {heading: dict(sorted(points.items())) for heading, points in found.items()}


def _told(curves: Curves, unit: str) -> str:
    return "; ".join(
        f"{heading}: "
        + ", ".join(f"{value:.3g}{unit} at {steps:g}" for steps, value in points.items())
        for heading, points in curves.items()
    )


def _figure3(bench: Bench) -> Outcome:
    grid = _grid(bench, {"I-FGSM": "i-fgsm", "MI-FGSM": "mi-fgsm"}, "Inc-v3", "Inc-v4")
    outcome = measure(bench, "figure3", "Figure 3: fooling rate and distortion", grid)
    fooled = {
        heading: {steps: 100 - value for steps, value in points.items()}
        for heading, points in _curves(outcome).items()
    }
    moved = _distortion(bench, outcome)
    across = "iterations"
    for file, curves, up in (
        ("fooling.svg", fooled, "fooling rate, %"),
        ("distortion.svg", moved, "mean |change| of VGG16 conv3_3"),
    ):
        plots.lines(bench.out / file, curves, title="Figure 3", across=across, up=up)
        outcome.files.append(file)
    here = f"fooling rate {_told(fooled, ' %')}. Distortion {_told(moved, '')}"
    outcome.findings.append(Finding(CLAIM3, here))
    return outcome


def _figure6(bench: Bench) -> Outcome:
    attacks = {"I-FGSM": "i-fgsm", "MI-FGSM": "mi-fgsm", "DIM": "dim", "SSP": "ssp"}
    grid = _grid(bench, attacks, "VGG16", "Inc-v3")
    outcome = measure(bench, "appendix-figure6", "Appendix figure 6: iterations", grid)
    curves = _curves(outcome)
    plots.lines(
        bench.out / "iterations.svg",
        curves,
        title="Appendix figure 6",
        across="iterations",
        up="accuracy, %",
    )
    outcome.files.append("iterations.svg")
    outcome.findings.append(Finding(CLAIM6, _told(curves, " %")))
    return outcome


_SMOKE = "tiny random networks, generated pictures, 1 and 2 iterations"

FIGURE3 = Experiment(
    name="figure3",
    where="Figure 3",
    title="Fooling rate and feature distortion of I-FGSM and MI-FGSM over iterations",
    measured="Fooling rate of Inc-v4 and feature distortion for attacks made on Inc-v3, as curves.",
    instead={
        "smoke": _SMOKE,
        "small": (
            "EfficientNet-Lite1 attacked, EfficientNet-Lite2 asked; steps of ε/n; distortion in "
            "VGG16's conv3_3 (the paper does not tell its layer)"
        ),
        "full": "Inc-v3 attacked, Inc-v4 asked; distortion in VGG16's conv3_3",
    },
    cost={"smoke": "20 seconds", "small": "10 minutes", "full": "30 minutes on a GPU"},
    work=_figure3,
    claims=(CLAIM3,),
    success=True,
    extras=("train", "paper"),
)

APPENDIX_FIGURE6 = Experiment(
    name="appendix-figure6",
    where="Appendix figure 6",
    title="Transfer from VGG16 over iterations",
    measured="Accuracy of Inc-v3 under I-FGSM, MI-FGSM, DIM and SSP made on VGG16, as curves.",
    instead={
        "smoke": _SMOKE,
        "small": (
            "EfficientNet-Lite1 asked; SSP on VGG16, the others on SqueezeNet 1.1, since the "
            "package source has no classifier on VGG16"
        ),
        "full": "the paper's networks",
    },
    cost={"smoke": "20 seconds", "small": "15 minutes", "full": "30 minutes on a GPU"},
    work=_figure6,
    claims=(CLAIM6,),
    extras=("train", "paper"),
)
