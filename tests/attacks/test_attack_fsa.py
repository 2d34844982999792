"""Feature scattering: the transport it raises, its coupling, and its freedom from labels."""

import pytest
import torch
from torch import nn

from nrpurify.attacks import EOT, fsa
from nrpurify.attacks.fsa import cosine_cost, sinkhorn

EPS = 16 / 255


class Angle(nn.Module):
    """Logits (1, w·(x - ½)): around a gray image the cosine distance is even in w·δ."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(0.02 * torch.randn(3, 9, 8, generator=generator))

    def forward(self, images):
        score = ((images - 0.5) * self.weight).sum((1, 2, 3))
        return torch.stack([torch.ones_like(score), score], 1)


@pytest.fixture
def network():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def scattered(model, images, adversarial):
    cost = cosine_cost(model(images), model(adversarial)).detach()
    return float((sinkhorn(cost) * cost).sum())


def test_a_batch_of_one_reaches_the_greatest_cosine_distance():
    model = Angle()
    image = torch.full((1, 3, 9, 8), 0.5)
    found = fsa(model, image, eps=EPS, steps=30, step_size=EPS / 10, generator=seeded())
    furthest = image + EPS * model.weight.detach().sign()
    reached, best = (scattered(model, image, x) for x in (found, furthest))
    assert reached >= 0.99 * best
    assert best > 0.02


def test_the_transport_cost_grows_and_is_what_the_callback_sees(network, images):
    seen = []
    options = {"eps": EPS, "steps": 6}
    found = fsa(
        network, images, generator=seeded(), callback=lambda _, v: seen.append(v), **options
    )
    begun = float(seen[0].mean())
    assert scattered(network, images, found) > 5 * begun
    before = fsa(network, images, generator=seeded(), **{**options, "steps": 5}, step_size=EPS / 6)
    assert float(seen[5].mean()) == pytest.approx(scattered(network, images, before), rel=1e-4)


def test_an_image_s_result_depends_on_its_batch(network, images):
    """By definition: the batch is transported as a whole."""
    alike = (0.5 + 0.02 * (images - 0.5)).clamp(0, 1)
    together = fsa(network, alike, eps=EPS, generator=[seeded(k) for k in range(3)])
    alone = fsa(network, alike[:1], eps=EPS, generator=[seeded(0)])
    assert not torch.equal(together[:1], alone)


def test_labels_are_not_looked_at(network, images):
    plain = fsa(network, images, generator=seeded())
    assert torch.equal(fsa(network, images, torch.tensor([99, -1, 7]), generator=seeded()), plain)


def test_the_mean_of_the_draws_counts(network, images):
    plain = fsa(network, images, generator=seeded())
    torch.testing.assert_close(fsa(EOT(network, 3), images, generator=seeded()), plain)
