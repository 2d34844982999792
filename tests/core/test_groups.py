"""Groups of one size, and a generator for each image."""

from pathlib import Path

import pytest
import torch
from torch import nn

from nrpurify.attacks import pgd
from nrpurify.attacks.gradient_log import log_gradients
from nrpurify.attacks.runner import AttackRunner
from nrpurify.batch import image_generator
from nrpurify.core.groups import GroupSize, in_fixed_groups, span
from nrpurify.core.random import derive_generator, derive_seed
from nrpurify.defenses.randomness import reseed


def test_seeds_depend_on_seed_purpose_and_image():
    known = {
        derive_seed(seed, purpose, image)
        for seed in (0, 1)
        for purpose in ("attack", "defense")
        for image in ("", "a", "b")
    }
    assert len(known) == 12
    assert derive_seed(0, "attack", "a") == 0x784F570FA03835  # as ever
    again = [torch.rand(3, generator=derive_generator(0, "attack", "a")) for _ in range(2)]
    assert torch.equal(*again)


def test_files_have_generators_by_the_same_function():
    found = image_generator(3, Path("a/b.png")).initial_seed()
    assert found == derive_seed(3, "file", "a/b.png")


@pytest.mark.parametrize(("batch", "group", "expected"), [(1, 4, 4), (4, 4, 4), (10, 4, 12)])
def test_batches_are_whole_groups(batch, group, expected):
    assert span(batch, group) == expected


def test_every_group_is_full_and_what_fills_it_is_left_out():
    seen = []

    def function(part, names):
        seen.append((part.flatten().tolist(), list(names)))
        return part * 2

    found = in_fixed_groups(function, 3, torch.arange(4.0).view(4, 1), list("abcd"))
    assert seen == [([0, 1, 2], ["a", "b", "c"]), ([3, 3, 3], ["d", "d", "d"])]
    assert found.flatten().tolist() == [0, 2, 4, 6]


class Place(nn.Module):
    """Its first row comes out a little different."""

    def forward(self, images):
        scores = images.flatten(1)[:, :5]
        return scores + 1e-3 * (torch.arange(len(images)) == 0).float()[:, None] * scores.square()


def test_groups_of_one_where_the_place_matters(images):
    assert GroupSize(4, lambda x: [Place()(x)]).of(images) == 1
    assert GroupSize(4, lambda x: [x.flatten(1)]).of(images) == 4
    sizes = []

    def perturb(part, labels, generators):
        sizes.append(len(part))
        return part

    AttackRunner(perturb, Place(), group=2)(images)
    AttackRunner(perturb, nn.Flatten(), group=2)(images)
    assert sizes == [1, 1, 1, 2, 2]


def test_rows_that_fill_a_group_are_in_no_count(images):
    network = nn.Sequential(nn.Flatten(), nn.Linear(360, 5)).requires_grad_(False)
    network[1].weight.zero_()
    labels = torch.zeros(3, dtype=torch.int64)
    attack = AttackRunner(
        lambda x, y, g: pgd(network, x, y, steps=2, generator=g), network, group=2
    )
    with log_gradients() as log:
        attack(images, labels)
    assert len(log.images) == 3


def test_random_defenses_draw_by_the_first_image_of_a_group(images):
    class Noise(nn.Module):
        generator = None

        def forward(self, x):
            return x.flatten(1)[:, :5] * torch.rand(1, generator=self.generator)

    network, drawn = Noise(), []

    def perturb(part, labels, generators):
        drawn.append(float(torch.rand(1, generator=network.generator)))
        return part

    def before(first):
        reseed(network, derive_generator(0, "defense", first))

    attack = AttackRunner(perturb, network, group=2, before=before)
    attack(images)
    attack(images[2:])
    assert len(set(drawn)) == 2
    assert drawn[-1] == drawn[-2]
