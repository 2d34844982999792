import torch

from nrpurify.training.views import GREATEST_SHIFT, ghost, random_view

SIDE = 48


def views(seeds=range(40)):
    crops = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for seed in seeds:
        yield crops, random_view(crops, 0.5 * crops, torch.Generator().manual_seed(seed))


def test_both_crops_are_seen_alike():
    for _, (purified, clean) in views():
        noise = 2 * (clean - 0.5 * purified)  # the same was added to both
        assert purified.shape == clean.shape
        assert noise.std() < 0.05
        assert noise.abs().max() < 0.3


def test_sides_are_within_their_bounds_and_differ():
    sides = [purified.shape[-1] for _, (purified, _) in views()]
    assert all(SIDE * 5 // 8 - GREATEST_SHIFT <= side <= SIDE * 4 // 3 for side in sides)
    assert len(set(sides)) > 10


def test_views_are_by_the_seed():
    first, again, other = (view[0] for _, view in views((3, 3, 4)))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_gradients_lead_to_the_crop():
    crops = torch.rand(1, 3, SIDE, SIDE, requires_grad=True)
    random_view(crops, crops.detach(), torch.Generator().manual_seed(1))[0].sum().backward()
    assert (crops.grad > 0).float().mean() > 0.3


def test_a_ghost_scales_filters_and_leaves_the_network(micro):
    torch.manual_seed(0)
    extractor = micro.tiny_extractor("x", ("conv1",))
    images = torch.rand(2, 3, 16, 16)
    (before,) = extractor(images)
    (found,) = ghost(extractor, 0.2, torch.Generator().manual_seed(0))(images)
    bias = extractor.network.get_submodule("conv1").bias.view(1, -1, 1, 1)
    factors = ((found - bias) / (before - bias)).flatten(2)
    middle = factors.nanmedian(2).values
    assert torch.allclose(middle[0], middle[1], atol=1e-4)  # one factor a filter
    assert 0.8 <= middle.min() < middle.max() <= 1.2
    assert torch.equal(extractor(images)[0], before)
