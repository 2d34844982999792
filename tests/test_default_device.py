"""What is drawn on the CPU is so whatever torch.set_default_device says; meta stands for CUDA."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from nrpurify import attacks, defenses
from nrpurify.attacks import feature_losses
from nrpurify.attacks.starts import STARTS
from nrpurify.core import random as draw
from nrpurify.core.random import seeded
from nrpurify.data.masks import Sample
from nrpurify.models.features import FeatureExtractor
from nrpurify.models.segmenters import spectral
from nrpurify.purifiers import DynamicPurifier, load_purifier
from nrpurify.training import adversary_config as diet
from nrpurify.training import perturbation_augment as variation
from nrpurify.training.adversaries import Pair, _weighted
from nrpurify.training.segmenter_data import random_view


@contextmanager
def default_device(name):
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


def generator():
    return torch.Generator().manual_seed(3)


IMAGES = torch.rand(2, 3, 12, 10, generator=generator())
PAIR = Pair(IMAGES[:, :, :10], (IMAGES[:, :, :10] + 0.03).clamp(0, 1))
LABELS = torch.tensor([0, 4])
MASK = torch.zeros(12, 10, dtype=torch.long)
CHANGES = diet.PerturbationAugment(scale=0.5, swap=0.5, smooth=0.5, sign=0.5, grain=0.9, clean=0.2)
torch.manual_seed(0)
BODY = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
CLASSIFIER = nn.Sequential(BODY, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()
FEATURES = FeatureExtractor(BODY, "0")
TINY = load_purifier("tiny")


def attack(name, model=CLASSIFIER, **options):
    return attacks.get(name).function(model, IMAGES, LABELS, generator=generator(), **options)


DRAWS = {
    **{f"start {name}": lambda s=STARTS[name]: s(IMAGES, 0.1, generator()) for name in STARTS},
    **{f"attack {name}": lambda n=name: attack(n) for name in ("pgd", "r-fgsm", "noise", "tap")},
    "attack dim-ti": lambda: attack("dim-ti", diversity=1.0),
    "attack square": lambda: attack("square", steps=4, early_stop=False),
    "attack apgd-ce": lambda: attack("apgd-ce", steps=3, restarts=1),
    "attack fsa": lambda: attack("fsa"),
    "attack ssp": lambda: attack("ssp", FEATURES, steps=2, diversity=1.0, smoothing=3),
    "attack cda": lambda: attack("cda", None),
    "attack bf16": lambda: attack("pgd", amp=True),
    "along": lambda: feature_losses.random_direction(FEATURES, generator())(IMAGES).detach(),
    "targets": lambda: attacks.random_targets(LABELS, 5, generator()),
    "pattern": lambda: attacks.fff_perturbation(FEATURES, (4, 4), steps=2, generator=generator()),
    **{
        f"defense {name}": lambda n=name: defenses.make(f"{n}:seed=1")(IMAGES)
        for name in ("noise", "nips-r3", "rp")
    },
    "dynamic": lambda: DynamicPurifier(nn.Identity(), generator=generator())(IMAGES),
    "strength": lambda: load_purifier("tiny", coarse=2.0).strength,
    "seeded": lambda: torch.tensor(seeded(1, 2, 3).initial_seed(), device="cpu"),
    "weighted": lambda: torch.tensor(_weighted([1.0, 2.0, 3.0], generator()), device="cpu"),
    "integer": lambda: torch.tensor(draw.random_integer(0, 99, generator()), device="cpu"),
    "chance": lambda: torch.tensor(draw.chance(0.5, generator()), device="cpu"),
    "vary": lambda: variation.augment_perturbations(PAIR, CHANGES, 0.1, generator()).adversarial,
    "view": lambda: random_view(Sample("", IMAGES[0], MASK), (8, 8), (0.5, 1), 0.2, generator())[0],
    "spectral": lambda: spectral.spectral_conv2d(IMAGES, BODY[0].weight.detach()),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWS)
def test_draws_ignore_the_default_device(name):
    expected = DRAWS[name]()
    spectral._transforms.cache_clear()
    with default_device("meta"):
        found = DRAWS[name]()
    assert found.device.type == "cpu"
    assert torch.equal(found, expected)
