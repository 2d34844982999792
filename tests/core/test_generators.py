"""What a caller gives as ``generator``: None or a generator on the CPU, everywhere."""

import pytest
import torch
from torch import nn

import nrpurify
from nrpurify import attacks
from nrpurify.attacks.fff import fff_perturbation
from nrpurify.core.errors import InputError
from nrpurify.core.random import check_generator
from nrpurify.defenses.rp import RandomPad
from nrpurify.evaluation.certify import certify
from nrpurify.purifiers import DynamicPurifier

IMAGES = torch.full((2, 3, 8, 8), 0.5)


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))


TAKERS = {
    "an attack": lambda g: attacks.pgd(linear(), IMAGES, generator=g),
    "an attack that draws nothing": lambda g: attacks.fgsm(linear(), IMAGES, generator=g),
    "an attack, one for each image": lambda g: attacks.pgd(linear(), IMAGES, generator=[g, g]),
    "random targets": lambda g: attacks.random_targets(torch.tensor([0]), 3, g),
    "FFF": lambda g: fff_perturbation(None, (8, 8), generator=g),
    "a random defense": lambda g: RandomPad(generator=g),
    "a random step": lambda g: DynamicPurifier(nn.Identity(), generator=g),
    "protect": lambda g: nrpurify.protect(linear(), nn.Identity(), generator=g),
    "certify": lambda g: certify(linear(), IMAGES[0], sigma=0.1, generator=g),
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_a_seed_is_no_generator(take):
    with pytest.raises(InputError, match=r"generator is 7, of type int; .*\.manual_seed\(7\)"):
        take(7)


def test_a_generator_must_be_on_the_cpu():
    class Elsewhere(torch.Generator):
        device = torch.device("meta")

    with pytest.raises(InputError, match="generator is on meta; expected a generator on the CPU"):
        check_generator(Elsewhere())


def test_none_and_cpu_generators_are_taken():
    check_generator(None)
    check_generator(torch.Generator())
