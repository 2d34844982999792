"""A training run that takes seconds: small random nets, 32-pixel crops, the micro design.

Called as a program it does such a run, for the tests that need processes of their own:
``micro.py FOLDER DATA [--resume] [--die-at STEP] [--set JSON] [--keep-all]``.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import skip_init

from nrpurify.core.progress import NO_VALUES, Progress
from nrpurify.models.features import FeatureExtractor
from nrpurify.training import (
    PurifierRun,
    Recipe,
    adversaries,
    losses,
    purifier_trainer,
    validation,
)
from nrpurify.training.discriminator import Discriminator

LAYERS = ("conv1", "relu1", "conv2", "relu2")


def tiny_extractor(name: str = "vgg16", layers=None, *, pretrained: bool = True):
    """The same small random network for every name; unknown layers mean conv2."""
    body = nn.Sequential()
    for index, (inputs, outputs) in enumerate(((3, 8), (8, 12)), 1):
        conv = skip_init(nn.Conv2d, inputs, outputs, 3, padding=1)
        generator = torch.Generator().manual_seed(index)
        conv.weight.data = torch.randn(conv.weight.shape, generator=generator) / inputs**0.5
        conv.bias.data.zero_()
        body.add_module(f"conv{index}", conv)
        body.add_module(f"relu{index}", nn.ReLU())
    wanted = (layers,) if isinstance(layers, str) else tuple(layers or ("conv2",))
    return FeatureExtractor(body, [name if name in LAYERS else "conv2" for name in wanted])


def patch(setattr=setattr) -> None:
    """Put the tiny extractor and a narrow critic wherever training asks for one."""
    for module in (adversaries, losses, validation):
        setattr(module, "feature_extractor", tiny_extractor)
    setattr(purifier_trainer, "Discriminator", lambda side: Discriminator(side, (8, 8, 16, 16, 16)))


def recipe(**changes) -> Recipe:
    """Six steps in fp32 with a cache that grows on the way."""
    values = {
        "purifier": "micro",
        "steps": 6,
        "batch": 2,
        "crop": 32,
        "resize": [36, 44],
        "holdout": 0.3,
        "checkpoint_every": 2,
        "adversaries": [{"steps": [2, 3], "starts": ["uniform", "gaussian"]}],
        "cache": {"shards": 1, "shard_size": 2, "grow_every": 3, "crop": 40},
        "variation": {"clean": 0.1, "scale": 0.4, "smooth": 0.3, "swap": 0.3},
        "losses": {"pixel": 10, "pixel_norm": "l1", "adversarial": 0},
        "optimization": {"lr": 1e-3, "warmup": 2, "clip": 1.0, "ema": 0.9, "amp": False},
        "validation": {"every": 3, "photos": 2, "side": 40, "steps": 2},
    }
    return Recipe.from_dict({**values, **changes})


class Dying(Progress):
    """Kills its own process as hard as can be, behind the given step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, what, done, total, values=NO_VALUES) -> None:
        if what == "train" and done == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--die-at", type=int, default=-1)
    parser.add_argument("--set", default="{}")
    parser.add_argument("--keep-all", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    patch()
    folder = given.folder / os.environ.get("RANK", "")
    progress = Dying(given.die_at)
    settings = recipe(**json.loads(given.set))
    run = PurifierRun(settings, given.data, folder, torch.device("cpu"), progress)
    run.execute(resume=given.resume)
    if given.keep_all:
        parts = {"network": run.trainer.purifier.network, "critic": run.trainer.discriminator}
        state = {f"{k}.{n}": v for k, part in parts.items() for n, v in part.state_dict().items()}
        save_file(
            {name: value.contiguous() for name, value in state.items()},
            folder / "final.safetensors",
        )


if __name__ == "__main__":
    sys.exit(main())
