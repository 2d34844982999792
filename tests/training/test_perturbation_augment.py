import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nrpurify.training.adversaries import Pair
from nrpurify.training.adversary_config import PerturbationAugment
from nrpurify.training.perturbation_augment import (
    augment_perturbations,
    crop_pair,
    flip_pair,
    random_grain,
)

EPS = 16 / 255


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gray_pair(count=6, side=9):
    """Gray crops, each with a ±eps perturbation of its own."""
    clean = torch.full((count, 3, side, side), 0.5)
    signs = torch.randn(clean.shape, generator=seeded(1)).sign()
    return Pair(clean, clean + EPS * signs)


def change(seed=0, **shares):
    pair = gray_pair()
    varied = augment_perturbations(pair, PerturbationAugment(**shares), EPS, seeded(seed))
    assert torch.equal(varied.clean, pair.clean)
    return pair.adversarial - pair.clean, varied.adversarial - varied.clean


def test_no_shares_change_nothing():
    before, after = change()
    torch.testing.assert_close(after, before)


def test_clean_takes_all_perturbations_away():
    assert change(clean=1.0)[1].abs().max() == 0


def test_swap_gives_each_crop_its_neighbors_perturbation():
    before, after = change(swap=1.0)
    torch.testing.assert_close(after, before.roll(1, 0))


def test_factors_scale_the_crops_that_are_not_scaled_down():
    ratios, shrunk = [], []
    for seed in range(40):
        before, after = change(seed, factors=(0.5, 1.2))
        ratios.append((after / before)[:, 0, 0, 0])
        before, after = change(seed, scale=1.0, factors=(1.1, 1.2))
        shrunk.append((after / before)[:, 0, 0, 0])
    ratios = torch.cat(ratios)
    assert 0.5 - 1e-3 <= ratios.min() < 0.55
    assert 1.15 < ratios.max() <= 1.2 + 1e-3
    assert torch.cat(shrunk).max() <= 1 + 1e-3


def test_scale_shrinks_crop_by_crop_down_to_the_least_eps():
    ratios = []
    for seed in range(40):
        before, after = change(seed, scale=1.0, least_eps=4 / 255)
        ratio = after / before
        torch.testing.assert_close(ratio, ratio.amax((1, 2, 3), keepdim=True).expand_as(ratio))
        ratios.append(ratio[:, 0, 0, 0])
    ratios = torch.cat(ratios)
    assert 0.25 - 1e-3 <= ratios.min() < 0.3
    assert 0.95 < ratios.max() <= 1 + 1e-3


def test_sign_brings_every_value_to_eps():
    clean = torch.full((4, 3, 5, 5), 0.5)
    uneven = clean + EPS * torch.rand(clean.shape, generator=seeded(2)) - EPS / 3
    varied = augment_perturbations(
        Pair(clean, uneven), PerturbationAugment(sign=1.0), EPS, seeded()
    )
    torch.testing.assert_close(varied.adversarial - clean, EPS * (uneven - clean).sign())


def test_grain_replaces_perturbations_and_knows_nothing_of_the_image():
    before, after = change(grain=1.0)
    torch.testing.assert_close(after.abs(), torch.full_like(after, EPS))
    assert ((after > 0) == (before > 0)).float().mean() < 0.7
    images = torch.rand(6, 3, 9, 9) * 0.5 + 0.25
    unlike = Pair(images, torch.full((6, 3, 9, 9), 0.5))
    other = augment_perturbations(unlike, PerturbationAugment(grain=1.0), EPS, seeded())
    torch.testing.assert_close(other.adversarial - other.clean, after)


@pytest.mark.parametrize("side", [1, 9, 64])
def test_grain_is_of_any_coarseness(side):
    grains = [random_grain(side, seeded(seed)) for seed in range(60)]
    assert all(g.shape == (3, side, side) and set(g.unique().tolist()) <= {-1, 1} for g in grains)
    assert torch.equal(random_grain(side, seeded(3)), grains[3])
    if side == 64:
        turns = [(g[..., 1:] != g[..., :-1]).float().mean().item() for g in grains]
        assert min(turns) < 0.1
        assert max(turns) > 0.45
        assert any(torch.equal(g[0], g[1]) for g in grains)


def test_smooth_leaves_signs_of_the_filtered_perturbation():
    before, after = change(smooth=1.0)
    torch.testing.assert_close(after.abs(), torch.full_like(after, EPS))
    turns = (after[..., 1:] * after[..., :-1] < 0).float().mean()
    assert turns < 0.5 * (before[..., 1:] * before[..., :-1] < 0).float().mean()


def test_shares_are_drawn_crop_by_crop():
    drawn = torch.cat(
        [change(seed, clean=0.25)[1].abs().amax((1, 2, 3)) == 0 for seed in range(100)]
    )
    assert 0.18 < drawn.float().mean() < 0.32


share = st.floats(0, 1)


@given(
    clean=share, scale=share, smooth=share, swap=share,
    eps=st.floats(0.5 / 255, 0.5), least=st.floats(0.1 / 255, 0.5), most=st.floats(0.5, 1.5),
    seed=st.integers(0, 2**32),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_budget_is_kept(clean, scale, smooth, swap, eps, least, most, seed):
    generator = seeded(seed)
    crops = torch.rand(3, 3, 6, 6, generator=generator)
    noise = torch.rand(crops.shape, generator=generator) * 2 - 1
    pair = Pair(crops, (crops + eps * noise).clamp(0, 1))
    variation = PerturbationAugment(
        clean=clean, scale=scale, factors=(0.5, most), smooth=smooth, swap=swap, least_eps=least
    )
    varied = augment_perturbations(pair, variation, eps, generator)
    assert (varied.adversarial - crops).abs().max() <= eps * max(most, 1) + 1e-6
    assert varied.adversarial.min() >= 0
    assert varied.adversarial.max() <= 1


def marked_pair():
    clean = torch.arange(3.0 * 64).view(1, 3, 8, 8).expand(2, -1, -1, -1) / 1000
    return Pair(clean, clean + 0.25)


@pytest.mark.parametrize("seed", range(12))
def test_flip_and_crop_treat_clean_and_adversarial_alike(seed):
    for changed in (
        flip_pair(marked_pair(), seeded(seed)),
        crop_pair(marked_pair(), 5, seeded(seed)),
    ):
        torch.testing.assert_close(changed.adversarial, changed.clean + 0.25)
    assert changed.clean.shape == (2, 3, 5, 5)


def test_all_eight_symmetries_and_all_windows_are_drawn():
    generator = seeded()
    flips = {
        tuple(flip_pair(marked_pair(), generator).clean.flatten().tolist()) for _ in range(150)
    }
    assert len(flips) == 8
    corners = {
        round(crop_pair(marked_pair(), 6, generator).clean[0, 0, 0, 0].item() * 1000)
        for _ in range(150)
    }
    assert corners == {row * 8 + column for row in range(3) for column in range(3)}


def test_whole_crop_is_kept_as_it_is():
    assert torch.equal(crop_pair(marked_pair(), 8, seeded()).clean, marked_pair().clean)
