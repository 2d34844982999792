import math

import pytest
import torch

from nrpurify.training import losses
from nrpurify.training.purifier_recipe import FeatureTerm, Losses


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def column(*values):
    return torch.tensor(values).view(-1, 1)


FAKE, REAL = (0.5, -1.0), (2.0, 0.2)


def relativistic_by_hand(winner, loser):
    mean_winner, mean_loser = sum(winner) / 2, sum(loser) / 2
    above = -sum(math.log(sigmoid(w - mean_loser)) for w in winner) / 2
    below = -sum(math.log(1 - sigmoid(v - mean_winner)) for v in loser) / 2
    return (above + below) / 2


def test_relativistic_average_losses_by_hand():
    critic = losses.discriminator_loss("relativistic", column(*FAKE), column(*REAL))
    assert critic.item() == pytest.approx(relativistic_by_hand(REAL, FAKE), rel=1e-5)
    purifier = losses.purifier_loss("relativistic", column(*FAKE), column(*REAL))
    assert purifier.item() == pytest.approx(relativistic_by_hand(FAKE, REAL), rel=1e-5)
    assert purifier > critic


def test_vanilla_losses_by_hand():
    critic = losses.discriminator_loss("vanilla", column(*FAKE), column(*REAL))
    real = -sum(math.log(sigmoid(r)) for r in REAL) / 2
    fake = -sum(math.log(1 - sigmoid(f)) for f in FAKE) / 2
    assert critic.item() == pytest.approx((real + fake) / 2, rel=1e-5)
    purifier = losses.purifier_loss("vanilla", column(*FAKE), column(*REAL))
    expected = -sum(math.log(sigmoid(f)) for f in FAKE) / 2
    assert purifier.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gan", ["relativistic", "vanilla"])
def test_gradients_pull_scores_the_right_way(gan):
    fake, real = column(*FAKE).requires_grad_(), column(*REAL).requires_grad_()
    fake_grad, real_grad = torch.autograd.grad(
        losses.discriminator_loss(gan, fake, real), (fake, real)
    )
    assert (fake_grad > 0).all()
    assert (real_grad < 0).all()
    (fake_grad,) = torch.autograd.grad(losses.purifier_loss(gan, fake, real), fake)
    assert (fake_grad < 0).all()


def test_no_difference_is_log_two():
    same = column(1.0, 1.0)
    for loss in (losses.discriminator_loss, losses.purifier_loss):
        assert loss("relativistic", same, same).item() == pytest.approx(math.log(2), rel=1e-6)


def test_pixel_losses_by_hand():
    clean = torch.zeros(2, 3, 1, 1)
    purified = torch.tensor([[0.3, 0.0, 0.4], [0.0, 0.0, -1.0]]).view(2, 3, 1, 1)
    by_hand = {
        "l1": [0.7 / 3, 1 / 3],
        "mse": [0.25 / 3, 1 / 3],
        "l2": [0.5, 1.0],
        "rmse": [(0.25 / 3) ** 0.5, (1 / 3) ** 0.5],
    }
    assert set(losses.PIXEL_LOSSES) == set(by_hand)
    for name, values in by_hand.items():
        found = losses.PIXEL_LOSSES[name](purified, clean)
        torch.testing.assert_close(found, torch.tensor(values))


def test_the_pixel_loss_has_another_weight_late():
    plan = Losses(pixel=16, pixel_late=0.5, pixel_late_from=10)
    assert [plan.pixel_at(step) for step in (0, 9, 10, 99)] == [16, 16, 0.5, 0.5]
    assert Losses(pixel=16, pixel_late_from=10).pixel_at(10) == 16


def test_crop_weights_by_hand():
    delta = torch.tensor([0.0, 0.04, -0.1]).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    raw = torch.tensor([1 / 0.1, 1 / 0.5, 1 / 1.1])
    found = losses.crop_weights(delta, eps=0.1, balance=1.0)
    torch.testing.assert_close(found, raw / raw.mean())
    root = losses.crop_weights(delta, eps=0.1, balance=0.5)
    torch.testing.assert_close(root, raw.sqrt() / raw.sqrt().mean())
    torch.testing.assert_close(losses.crop_weights(delta, eps=0.1, balance=0.0), torch.ones(3))


def test_pixel_l2_has_a_gradient_at_zero():
    purified = torch.zeros(1, 3, 2, 2, requires_grad=True)
    losses.pixel_l2(purified, torch.zeros(1, 3, 2, 2)).backward()
    assert purified.grad.isfinite().all()


def test_feature_loss_sums_its_terms_from_their_first_steps(micro, images):
    terms = (
        FeatureTerm(weight=2.0, layers=("conv1",)),
        FeatureTerm(weight=0.5, layers=("conv1", "conv2"), distance="mse", first_step=10),
    )
    other = images.flip(3)
    loss = losses.FeatureLoss(terms)
    both = micro.tiny_extractor("x", ("conv1", "conv2"))
    (a1, a2), (b1, b2) = both(images), both(other)
    first = 2 * (a1 - b1).abs().mean((1, 2, 3))
    second = 0.5 * ((a1 - b1).square().mean((1, 2, 3)) + (a2 - b2).square().mean((1, 2, 3)))
    torch.testing.assert_close(loss(images, other, step=9), first)
    torch.testing.assert_close(loss(images, other, step=10), first + second)


def test_feature_loss_drops_a_term_when_its_steps_are_over(micro, images):
    loss = losses.FeatureLoss((FeatureTerm(layers=("conv1",), until=5),))
    assert loss(images, images.flip(3), step=4).min() > 0
    assert loss(images, images.flip(3), step=5).max() == 0


def test_feature_loss_takes_a_term_at_each_nth_step(micro, images):
    loss = losses.FeatureLoss((FeatureTerm(weight=3.0, layers=("conv1",), every=3),))
    extractor = micro.tiny_extractor("x", ("conv1",))
    distance = 3 * (extractor(images)[0] - extractor(images.flip(3))[0]).abs().mean()
    found = torch.stack([loss(images, images.flip(3), step=step).mean() for step in range(7)])
    torch.testing.assert_close(found, distance * torch.tensor([1.0, 0, 0, 1, 0, 0, 1]))


def test_diverse_views_are_of_both_crops_and_by_the_generator(micro, images):
    plain = losses.FeatureLoss((FeatureTerm(layers=("conv1",)),))
    loss = losses.FeatureLoss((FeatureTerm(layers=("conv1",)),), diversity=1.0)
    sides = []
    loss.extractors[0].register_forward_pre_hook(lambda module, args: sides.append(args[0].shape))
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2, 3, 4, 5, 6)]
    other = images.flip(3)
    found = [loss(images, other, 0, seed).tolist() for seed in seeds]
    assert found[0] == found[1] != plain(images, other).tolist()
    assert sides[::2] == sides[1::2]
    side = images.shape[-1]
    widths = {shape[-1] for shape in sides}
    assert len(widths) > 1
    assert all(side * 3 // 4 <= width <= side * 4 // 3 for width in widths)
    assert loss(images, images).max() == 0


def test_feature_loss_sends_no_gradient_into_clean_or_weights(micro, images):
    loss = losses.FeatureLoss((FeatureTerm(),))
    clean = images.flip(3).requires_grad_()
    purified = images.clone().requires_grad_()
    loss(purified, clean).sum().backward()
    assert clean.grad is None
    assert purified.grad.abs().sum() > 0
    assert all(p.grad is None for p in loss.parameters())


def test_guide_loss_is_the_mean_l1_of_the_logits(monkeypatch, images):
    torch.manual_seed(0)
    guide = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 12), torch.nn.Flatten())
    guide = guide.requires_grad_(False)
    monkeypatch.setattr("nrpurify.models.load_classifier", lambda name: guide)
    purified = images[..., :12, :].flip(2).requires_grad_()
    images = torch.nn.functional.pad(images, (0, 2))
    purified = torch.nn.functional.pad(purified, (0, 2))
    loss = losses.GuideLoss("any")(purified, images.requires_grad_())
    torch.testing.assert_close(loss, (guide(purified) - guide(images)).abs().mean(1))
    on_clean, on_purified = torch.autograd.grad(loss.sum(), (images, purified), allow_unused=True)
    assert on_clean is None
    assert on_purified.abs().sum() > 0


def test_no_terms_cost_nothing(images):
    assert losses.FeatureLoss(())(images, images).tolist() == [0] * len(images)


def test_eq7_compares_each_crop_with_its_own_original():
    purified, clean = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [0.0]])
    above = purified - clean
    expected = -above.sigmoid().log().mean()
    torch.testing.assert_close(losses.purifier_loss("eq7", purified, clean), expected)
    torch.testing.assert_close(
        losses.discriminator_loss("eq7", purified, clean), -(-above).sigmoid().log().mean()
    )
    swapped = clean.flip(0)
    assert losses.purifier_loss("eq7", purified, swapped) != expected
