import pytest
import torch
from torch import nn

from nrpurify.attacks import cda, load_generator
from nrpurify.attacks.generator import BLOCKS, GeneratorNet
from nrpurify.attacks.trained import GENERATOR, PATTERN, save_generator, save_pattern, shipped
from nrpurify.errors import InputError, WeightsError
from nrpurify.purifiers import Card


@pytest.fixture
def network():
    torch.manual_seed(0)
    return GeneratorNet(1, 4)


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, images):
        return torch.full_like(images, self.value)


@pytest.mark.parametrize(("size", "count"), [("large", 7_841_411), ("small", 3_118_723)])
def test_parameters(size, count):
    with torch.device("meta"):
        network = GeneratorNet(BLOCKS[size])
    assert sum(weight.numel() for weight in network.parameters()) == count


@pytest.mark.parametrize("shape", [(3, 5), (8, 8), (13, 18), (32, 3)])
def test_any_size_and_range(network, shape):
    made = network(torch.rand(2, 3, *shape))
    assert made.shape == (2, 3, *shape)
    assert made.min() >= 0
    assert made.max() <= 1


def test_a_network_of_nothing():
    with pytest.raises(InputError, match="blocks is 0 and width 64; expected at least 1"):
        GeneratorNet(0)


def test_a_constant_generator_leads_to_the_nearest_face_of_the_box(images):
    budget = torch.tensor([0.1, 0.2, 0.3])
    found = cda(Constant(1.0), images, eps=budget)
    torch.testing.assert_close(found, (images + budget.view(-1, 1, 1, 1)).clamp(0, 1))
    near = torch.full_like(images, 0.5)
    torch.testing.assert_close(cda(Constant(0.52), near), torch.full_like(near, 0.52))


def test_smoothing_is_a_3x3_gaussian_of_sigma_1():
    spot = torch.zeros(1, 3, 7, 7)
    spot[..., 3, 3] = 1
    found = cda(nn.Identity(), spot, eps=1.0, smooth=True)[0, 0]
    side = torch.exp(torch.tensor(-0.5))
    assert torch.equal(found[0], torch.zeros(7))
    torch.testing.assert_close(found[3, 4] / found[3, 3], side)
    torch.testing.assert_close(found[4, 4] / found[3, 3], side**2)
    torch.testing.assert_close(found.sum(), torch.tensor(1.0))
    flat = torch.full((1, 3, 5, 5), 0.3)
    torch.testing.assert_close(cda(nn.Identity(), flat, smooth=True), flat)


@pytest.mark.parametrize("amp", [False, True])
def test_the_generator_is_given_back_as_it_was(network, images, amp):
    network.train()
    network.encode[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cda(network, images, amp=amp)
    assert network.training
    assert not network.encode[1].training
    assert all(weight.requires_grad for weight in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_no_image_depends_on_the_others(network, images):
    together = cda(network, images)
    apart = torch.cat([cda(network, image[None]) for image in images])
    assert torch.equal(together, apart)


def test_a_network_of_another_kind(classifier, images):
    with pytest.raises(InputError, match=r"answered \(1, 5\) .*expected the same shape"):
        cda(classifier, images)


def test_files(network, images, tmp_path):
    path = tmp_path / "g.safetensors"
    network(images)  # moves the running statistics
    card = save_generator(network, path, Card("mine", GENERATOR, {"blocks": 1, "width": 4}))
    loaded = load_generator(path)
    assert not loaded.training
    assert len(card.sha256) == 64
    torch.testing.assert_close(cda(loaded, images), cda(network, images), atol=1e-3, rtol=0)
    save_generator(network, path, Card("mine", GENERATOR, {"blocks": 2, "width": 4}))
    with pytest.raises(WeightsError, match="does not fit its own card"):
        load_generator(path)
    save_pattern(torch.zeros(3, 4, 4), path, Card("mine", PATTERN))
    with pytest.raises(WeightsError, match=r"is a fff-pattern; expected a generator of CDA"):
        load_generator(path)


def test_what_is_shipped_is_small_and_tells_its_origin():
    for path in shipped().values():
        assert path.stat().st_size < 8e6
    load_generator("cda")
