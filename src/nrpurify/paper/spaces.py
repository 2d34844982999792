"""SSP in the feature spaces of different networks and layers: figure 4 and appendix figure 1."""

from __future__ import annotations

from dataclasses import dataclass

from nrpurify.paper import plots
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Finding, Outcome
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.substitutes import Scale

_VGG = tuple(
    ("vgg16", layer)
    for layer in ("conv1_2", "conv2_2", "conv3_1", "conv3_3", "conv4_1", "conv4_3", "conv5_3")
)
_OTHERS = (
    *(("alexnet", layer) for layer in ("conv1", "conv2", "conv3", "conv4", "conv5")),
    *(("squeezenet1_1", layer) for layer in ("fire2", "fire3", "fire5", "fire7", "fire9")),
)
_ADVERSARIAL = (
    ("timm:inception_v3.tf_in1k", "network.Mixed_5d"),
    ("timm:inception_v3.tf_adv_in1k", "network.Mixed_5d"),
)


@dataclass(frozen=True)
class Spaces:
    """Feature spaces, network and layer, by scale; and who is asked."""

    victim: str
    by_scale: dict[Scale, tuple[tuple[str, str], ...]]


FOUR = Spaces(
    "Inc-v3",
    {"smoke": _VGG[3:4] + _OTHERS[2:3], "small": _VGG + _OTHERS, "full": _VGG + _OTHERS},
)
APPENDIX_ONE = Spaces(
    "IncRes-v2",
    {
        "smoke": (("vgg16", "conv3_3"), ("efficientnet_lite0", "network.blocks.2")),
        "small": (
            ("vgg16", "conv3_3"),
            ("hed_vgg16", "conv3_3"),
            ("alexnet", "conv3"),
            ("squeezenet1_1", "fire5"),
            ("efficientnet_lite0", "network.blocks.1"),
            ("efficientnet_lite0", "network.blocks.2"),
        ),
        "full": (
            ("vgg16", "conv3_3"),
            ("torchvision:resnet50.IMAGENET1K_V1", "network.layer2"),
            *_ADVERSARIAL,
        ),
    },
)

_SPACES = {"figure4": FOUR, "appendix-figure1": APPENDIX_ONE}


def _grid(bench: Bench, spaces: Spaces) -> Grid:
    steps = bench.pick(2, 30, 100)
    return Grid(
        lines=tuple(
            Line(
                f"{network} {layer}",
                "ssp",
                (),
                {"surrogate": [network], "layer": [layer], "steps": steps},
            )
            for network, layer in spaces.by_scale[bench.scale]
        ),
        victims=(spaces.victim,),
        place=_place,
    )


def _place(spot: Spot) -> tuple[str, str] | None:
    return (spot.line, f"fooling rate of {spot.victim}") if spot.eps else ("no attack", "accuracy")


def work(bench: Bench, experiment: Experiment) -> Outcome:
    """Attack in each space, and draw the fooling rates as bars."""
    spaces = _SPACES[experiment.name]
    outcome = measure(bench, experiment, _grid(bench, spaces))
    cells = {cell.id: cell for cell in outcome.run.cells}
    clean = [100 * c.value for c in cells.values() if c.threat == "none"]
    fooled = {
        row: 100 * (1 - cells[name].value)
        for name, (row, _) in outcome.places.items()
        if cells[name]["threat"] != "none"
    }
    plots.bars(bench.out / "fooling.svg", fooled, title=experiment.heading, up="fooling rate, %")
    outcome.files.append("fooling.svg")
    ranked = sorted(fooled.items(), key=lambda item: -item[1])
    here = "fooling rates: " + ", ".join(f"{name} {rate:.1f} %" for name, rate in ranked)
    here += "".join(f"; accuracy without attack {value:.1f} %" for value in clean)
    outcome.findings.append(Finding(experiment.claims[0], here))
    return outcome
