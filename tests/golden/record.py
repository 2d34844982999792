"""Golden results: what tiny attacks and runs gave before the code was reshaped.

``python tests/golden/record.py FOLDER`` measures them again and overwrites the files in ``attacks``
and ``runs.json``; the runs go to FOLDER. With names of attacks behind it, only these are measured:
``python tests/golden/record.py FOLDER pgd``. A commit says which number changed and why.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nrpurify import attacks
from nrpurify.models.features import FeatureExtractor
from nrpurify.paper import Bench, run_experiment

HERE = Path(__file__).parent
ATTACKS, RUNS = HERE / "attacks", HERE / "runs.json"
SEEDS = (0, 1)
SHORT = {
    "square": {"steps": 20, "restarts": 1},
    "apgd-ce": {"steps": 6, "restarts": 2},
    "apgd-dlr": {"steps": 6, "restarts": 2},
    "apgd-t": {"steps": 5},
    "fab-t": {"steps": 5},
    "autoattack": {"steps": 3, "queries": 15},
    "deepfool": {"steps": 3},
    "ddn": {"steps": 5, "norm": "l2", "eps": 3.0},
    "fmn": {"steps": 5},
    "cw": {"steps": 5, "searches": 2, "norm": "l2", "eps": 3.0},
    "hopskipjump": {"steps": 2, "queries": 5},
    "simba": {"steps": 30, "early_stop": False},
    "nes": {"steps": 4, "samples": 10, "early_stop": False},
    "fia": {"samples": 4, "steps": 4},
    "naa": {"samples": 4, "steps": 4},
    "ssp": {"steps": 6},
    "tap": {"steps": 4, "features": ("0", "3")},
    "fsa": {"steps": 4},
    **{name: {"steps": 4, "samples": 3} for name in ("vmi-fgsm", "vni-fgsm", "gra", "pgn")},
    **{name: {"steps": 4, "copies": 3} for name in ("si-ni-fgsm", "admix", "ssa", "sia", "bsr")},
    **{name: {"steps": 4} for name in ("ni-fgsm", "pi-fgsm", "sgm", "ghost", "logit")},
}
RESIDUAL = ("sgm", "ghost")
"""They need residual blocks."""
EXPERIMENTS = ("table3", "table5", "appendix-table1", "appendix-table6")
KEPT = ("task", "attack", "surrogate", "eps", "threat", "defense", "victim", "metric", "draws", "n")


class Block(nn.Module):
    """A residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.shortcut, self.conv = nn.Identity(), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """N×3×H×W to the same."""
        return self.shortcut(images) + self.conv(images)


def network() -> nn.Sequential:
    """A random classifier of five classes with named layers."""
    torch.manual_seed(11)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    ).eval()


def attacked(name: str, seed: int) -> torch.Tensor:
    """Three attacked images 3×16×16 of one attack and seed."""
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(100 + seed))
    model = network()
    needs = attacks.get(name).surrogate
    target = {"classifier": model, "features": FeatureExtractor(model, "3"), "none": None}[needs]
    target = nn.Sequential(Block(), model).eval() if name in RESIDUAL else target
    function = getattr(attacks, name.replace("-", "_"))
    labels = torch.tensor([0, 3, 4])
    generator = torch.Generator().manual_seed(seed)
    settings = SHORT.get(name, {})
    return function(target, images, labels, **{"eps": 8 / 255, "generator": generator, **settings})


def record_attack(name: str) -> None:
    """Overwrite the golden images of one attack."""
    save_file(
        {f"{name}/{seed}": attacked(name, seed).contiguous() for seed in SEEDS},
        ATTACKS / f"{name}.safetensors",
    )


def cells(experiment: str, folder: Path) -> list[list[object]]:
    """What decides each cell of a smoke run, and its value, sorted."""
    run = run_experiment(experiment, Bench("smoke", folder / experiment)).run
    rows = [[*(cell[key] for key in KEPT), cell["value"]] for cell in run["cells"]]
    return sorted(rows, key=json.dumps)


def main(folder: Path) -> None:
    """Overwrite the golden files."""
    for name in attacks.names():
        record_attack(name)
    found = {name: cells(name, folder) for name in EXPERIMENTS}
    lines = {
        name: "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]"
        for name, rows in found.items()
    }
    text = ",\n".join(f"{json.dumps(name)}: {rows}" for name, rows in lines.items())
    RUNS.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


def golden_attacks() -> dict[str, torch.Tensor]:
    """The recorded images by ``ATTACK/SEED``."""
    files = sorted(ATTACKS.glob("*.safetensors"))
    return {key: image for file in files for key, image in load_file(file).items()}


if __name__ == "__main__":
    chosen = sys.argv[2:]
    for one in chosen:
        record_attack(one)
    if not chosen:
        main(Path(sys.argv[1]))
