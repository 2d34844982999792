"""SSP in the feature spaces of different networks and layers: figure 4 and appendix figure 1."""

from __future__ import annotations

from dataclasses import dataclass

from nrpurify.paper import plots
from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Finding, Outcome, Scale
from nrpurify.paper.grids import Grid, Line, Spot, measure

CLAIM4 = "SSP in VGG16 transfers best, at conv3_3; AlexNet's and SqueezeNet's transfer less"
CLAIM_A1 = (
    "VGG16's features transfer better than a naturally trained ResNet50's; those of an "
    "adversarially trained ResNet50 transfer better than the latter"
)
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

    name: str
    title: str
    victim: str
    claim: str
    by_scale: dict[Scale, tuple[tuple[str, str], ...]]


FOUR = Spaces(
    "figure4",
    "Figure 4: SSP at the layers of three networks",
    "Inc-v3",
    CLAIM4,
    {"smoke": _VGG[3:4] + _OTHERS[2:3], "small": _VGG + _OTHERS, "full": _VGG + _OTHERS},
)
APPENDIX_ONE = Spaces(
    "appendix-figure1",
    "Appendix figure 1: SSP in the feature spaces of different networks",
    "IncRes-v2",
    CLAIM_A1,
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


def _work(bench: Bench, spaces: Spaces) -> Outcome:
    outcome = measure(bench, spaces.name, spaces.title, _grid(bench, spaces))
    cells = {cell["id"]: cell for cell in outcome.run["cells"]}
    clean = [100 * c["value"] for c in cells.values() if c["threat"] == "none"]
    fooled = {
        row: 100 * (1 - cells[name]["value"])
        for name, (row, _) in outcome.places.items()
        if cells[name]["threat"] != "none"
    }
    plots.bars(bench.out / "fooling.svg", fooled, title=spaces.title, up="fooling rate, %")
    outcome.files.append("fooling.svg")
    ranked = sorted(fooled.items(), key=lambda item: -item[1])
    here = "fooling rates: " + ", ".join(f"{name} {rate:.1f} %" for name, rate in ranked)
    here += "".join(f"; accuracy without attack {value:.1f} %" for value in clean)
    outcome.findings.append(Finding(spaces.claim, here))
    return outcome


FIGURE4 = Experiment(
    name="figure4",
    where="Figure 4",
    title="SSP at the layers of VGG16, AlexNet and SqueezeNet",
    measured="Fooling rate of Inc-v3 under SSP at ε 16/255 in each layer, as bars; NeurIPS 2017.",
    instead={
        "smoke": "tiny random networks, generated pictures",
        "small": (
            "the same three networks with their ImageNet weights; SSP of 30 steps; "
            "EfficientNet-Lite1 asked"
        ),
        "full": "the same three networks; Inc-v3 asked",
    },
    cost={"smoke": "20 seconds", "small": "40 minutes", "full": "an hour on a GPU"},
    work=lambda bench: _work(bench, FOUR),
    claims=(CLAIM4,),
    success=True,
    extras=("train", "paper"),
)

APPENDIX_FIGURE1 = Experiment(
    name="appendix-figure1",
    where="Appendix figure 1",
    title="SSP in naturally and adversarially trained feature spaces",
    measured=(
        "Fooling rate of IncRes-v2 under SSP in VGG16, ResNet50 and an adversarially trained "
        "ResNet50, as bars."
    ),
    instead={
        "smoke": "tiny random networks, generated pictures",
        "small": (
            "VGG16, a VGG16 trained on edges (HED), AlexNet, SqueezeNet, EfficientNet-Lite0; none "
            "adversarially trained; SSP of 30 steps; MobileNetV1 0.25 asked"
        ),
        "full": (
            "VGG16 and ResNet50; Inc-v3 with and without adversarial training in place of the two "
            "ResNet50; IncRes-v2 asked"
        ),
    },
    cost={"smoke": "20 seconds", "small": "20 minutes", "full": "30 minutes on a GPU"},
    work=lambda bench: _work(bench, APPENDIX_ONE),
    claims=(CLAIM_A1,),
    success=True,
    extras=("train", "paper"),
)
