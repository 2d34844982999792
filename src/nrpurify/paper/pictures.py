"""The figures of attacked and purified pictures: 6, 7, and 2, 7, 8, 9 of the appendix."""

from __future__ import annotations

from dataclasses import dataclass

from nrpurify.paper.bench import Bench
from nrpurify.paper.experiment import Experiment, Finding, Outcome
from nrpurify.paper.grids import Grid, Line, Spot, measure
from nrpurify.paper.strips import add_strips

ENSEMBLE = ("Inc-v3", "Inc-v4", "IncRes-v2", "Res-152")
CAST = {"Inc-v4": "squeezenet1_1", "IncRes-v2-ens": "efficientnet_lite2"}
DIM = Line("DIM", "dim", ENSEMBLE)
DIM_TI = Line("DIM-TI", "dim-ti", ENSEMBLE)
MI_FGSM = Line("MI-FGSM", "mi-fgsm", ("Inc-v3",))
CDA = Line("CDA", "cda")


def _ssp_in(network: str, layer: str) -> Line:
    return Line(f"SSP in {network}", "ssp", (), {"surrogate": [network], "layer": [layer]})


SPACES = (
    _ssp_in("vgg16", "conv3_3"),
    _ssp_in("hed_vgg16", "conv3_3"),
    _ssp_in("alexnet", "conv3"),
    _ssp_in("squeezenet1_1", "fire5"),
)
ADVERSARIAL = _ssp_in("timm:inception_v3.tf_adv_in1k", "network.Mixed_5d")
"""SSP in an adversarially trained network, which only hubs have: for the scale full."""


@dataclass(frozen=True)
class Gallery:
    """One figure of pictures.

    Attributes:
        name: Of the experiment.
        where: As the paper calls it.
        title: What it shows.
        measured: What the paper shows.
        lines: Attacks.
        claim: What the paper says of it.
        note: What differs at the scale small, beyond the victim.
        full: Lines of the scale full, where they are others.
        full_note: What differs there.
    """

    name: str
    where: str
    title: str
    measured: str
    lines: tuple[Line, ...]
    claim: str
    note: str
    full: tuple[Line, ...] = ()
    full_note: str = ""


_CLEANED = "NRP removes the perturbation and the victim is right again"
_GALLERIES = (
    Gallery(
        "figure6",
        "Figure 6",
        "Attacked and purified pictures of different attacks",
        "Pictures under several attacks at ε 16/255, SSP on an adversarially trained network "
        "among them, and purified; answers of IncRes-v2-ens.",
        (*SPACES[:2], MI_FGSM, DIM_TI),
        _CLEANED,
        "SSP in VGG16 and in a VGG16 trained on edges; no adversarially trained network",
        (SPACES[0], ADVERSARIAL, MI_FGSM, DIM_TI),
        "SSP in VGG16 and in the adversarially trained Inc-v3",
    ),
    Gallery(
        "figure7",
        "Figure 7",
        "Pictures under DIM and DIM-TI, purified",
        "A picture of a Pomeranian under DIM and DIM-TI of the ensemble at ε 16/255; DIM: Welsh "
        "Springer (0.52), purified Pomeranian (0.88); DIM-TI: Cocker (0.71), purified Pomeranian "
        "(0.86).",
        (DIM, DIM_TI),
        _CLEANED,
        "an ensemble of four",
    ),
    Gallery(
        "appendix-figure2",
        "Appendix figure 2",
        "SSP's pictures in the feature spaces of different networks",
        "Pictures of SSP at ε 16/255 in naturally and adversarially trained networks.",
        SPACES,
        "an adversarially trained network's patterns are structured, others look like noise",
        "four naturally trained networks",
        (*SPACES, ADVERSARIAL),
        "four naturally trained networks and the adversarially trained Inc-v3",
    ),
    Gallery(
        "appendix-figure7",
        "Appendix figure 7",
        "SSP in a robust network, purified",
        "Pictures under SSP in an adversarially trained ResNet50 at ε 16/255, and purified.",
        SPACES[1:2],
        _CLEANED,
        "a VGG16 trained on edges in place of the adversarially trained ResNet50",
        (ADVERSARIAL,),
        "the adversarially trained Inc-v3 in place of ResNet50",
    ),
    Gallery(
        "appendix-figure8",
        "Appendix figure 8",
        "DIM and DIM-TI of an ensemble, purified",
        "Pictures under DIM and DIM-TI of Inc-v3, Inc-v4, IncRes-v2, Res-152 at ε 16/255, and "
        "purified.",
        (DIM, DIM_TI),
        _CLEANED,
        "an ensemble of four",
    ),
    Gallery(
        "appendix-figure9",
        "Appendix figure 9",
        "CDA, purified",
        "Pictures under CDA trained on ImageNet and on paintings against Inc-v3 at ε 16/255, and "
        "purified.",
        (CDA,),
        _CLEANED,
        "the one generator of this package, trained on photographs",
    ),
)


def _place(spot: Spot) -> tuple[str, str] | None:
    return spot.line, spot.defense


def _work(bench: Bench, gallery: Gallery) -> Outcome:
    grid = Grid(
        lines=(gallery.full if bench.scale == "full" else ()) or gallery.lines,
        victims=("IncRes-v2-ens",),
        defenses={"no defense": "none", "NRP": "nrp"},
        place=_place,
        small=CAST,
    )
    outcome = measure(bench, gallery.name, f"{gallery.where}: {gallery.title}", grid)
    add_strips(bench, outcome, bench.pick(2, 5, 10))
    cells = {cell["id"]: cell for cell in outcome.run["cells"]}
    shares = "; ".join(
        f"{row}, {column}: {cells[name]['value']:.0%} right"
        for name, (row, column) in outcome.places.items()
    )
    count = len(outcome.run["strips"])
    outcome.findings.append(Finding(gallery.claim, f"{count} strips in strips/. {shares}"))
    return outcome


def _experiment(gallery: Gallery) -> Experiment:
    return Experiment(
        name=gallery.name,
        where=gallery.where,
        title=gallery.title,
        measured=gallery.measured,
        instead={
            "smoke": "tiny random networks, generated pictures",
            "small": f"{gallery.note}; EfficientNet-Lite2 asked; 20 photographs or --images",
            "full": f"{gallery.full_note or gallery.note}; the paper's networks otherwise",
        },
        cost={"smoke": "20 seconds", "small": "5 minutes", "full": "10 minutes on a GPU"},
        work=lambda bench: _work(bench, gallery),
        claims=(gallery.claim,),
        extras=("train",),
    )


EXPERIMENTS = tuple(_experiment(gallery) for gallery in _GALLERIES)
