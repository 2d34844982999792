import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nrpurify.attacks import cda, load_generator
from nrpurify.attacks.convert import convert_generator
from nrpurify.attacks.generator import BLOCKS, GeneratorNet
from nrpurify.attacks.trained import (
    GENERATOR,
    PATTERN,
    read_trained,
    save_generator,
    save_pattern,
    shipped,
)
from nrpurify.core.errors import InputError, WeightsError
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


def published(blocks, width):
    """A state dict with the names and shapes of the authors' generators, random values."""
    convolutions = {
        "block1.1": (width, 3, 7, 7),
        "block2.0": (2 * width, width, 3, 3),
        "block3.0": (4 * width, 2 * width, 3, 3),
        "upsampl1.0": (4 * width, 2 * width, 3, 3),
        "upsampl2.0": (2 * width, width, 3, 3),
        "blockf.1": (3, width, 7, 7),
    }
    norms = {"block1.2": 1, "block2.1": 2, "block3.1": 4, "upsampl1.1": 2, "upsampl2.1": 1}
    for k in range(1, blocks + 1):
        for part in (1, 6):
            convolutions[f"resblock{k}.block.{part}"] = (4 * width, 4 * width, 3, 3)
            norms[f"resblock{k}.block.{part + 1}"] = 4
    found = {f"{name}.weight": torch.randn(shape) / 9 for name, shape in convolutions.items()}
    for name, times in norms.items():
        for kind in ("weight", "bias", "running_mean"):
            found[f"{name}.{kind}"] = torch.randn(times * width)
        found[f"{name}.running_var"] = 1 + torch.rand(times * width)
        found[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return found | {"blockf.1.bias": torch.randn(3)}


def as_published(tensors, x, blocks):
    """The authors' network, written out for sides that are multiples of 4."""

    def norm(x, name):
        kinds = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(tensors[f"{name}.{kind}"] for kind in kinds))

    def conv(x, name, pad, **options):
        padded = F.pad(x, 4 * (pad,), mode="reflect") if pad else x
        return F.conv2d(padded, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"), **options)

    x = norm(conv(x, "block1.1", 3), "block1.2").relu()
    for block in ("block2", "block3"):
        x = norm(conv(x, f"{block}.0", 0, stride=2, padding=1), f"{block}.1").relu()
    for k in range(1, blocks + 1):
        name = f"resblock{k}.block"
        inner = norm(conv(x, f"{name}.1", 1), f"{name}.2").relu()
        x = x + norm(conv(inner, f"{name}.6", 1), f"{name}.7")
    for block in ("upsampl1", "upsampl2"):
        weight = tensors[f"{block}.0.weight"]
        x = F.conv_transpose2d(x, weight, stride=2, padding=1, output_padding=1)
        x = norm(x, f"{block}.1").relu()
    return (conv(x, "blockf.1", 3).tanh() + 1) / 2


@pytest.mark.parametrize(("blocks", "prefix"), [(2, ""), (6, "module.")])
def test_the_authors_generators_are_converted(tmp_path, blocks, prefix):
    torch.manual_seed(0)
    tensors = published(blocks, 4)
    torch.save({prefix + name: value for name, value in tensors.items()}, tmp_path / "netG.pth")
    card = convert_generator(tmp_path / "netG.pth", tmp_path / "cda.safetensors")
    assert card.arguments == {"blocks": blocks, "width": 4}
    images = torch.rand(2, 3, 16, 12)
    made = load_generator(tmp_path / "cda.safetensors")(images)
    torch.testing.assert_close(made, as_published(tensors, images, blocks))


def test_what_is_no_generator_is_not_converted(tmp_path):
    for change, message in (
        ({"block1.1.weight": torch.zeros(3)}, "no generator of CDA"),
        ({"more.weight": torch.zeros(3)}, "more.weight is missing, or one too many"),
        ({"blockf.1.bias": torch.zeros(4)}, r"blockf.1.bias is \(4,\); expected \(3,\)"),
        ({"state_dict": {}}, "no generator of CDA"),
    ):
        torch.save(published(2, 4) | change, tmp_path / "netG.pth")
        with pytest.raises(WeightsError, match=message):
            convert_generator(tmp_path / "netG.pth", tmp_path / "cda.safetensors")
    assert not (tmp_path / "cda.safetensors").exists()


def test_files_by_name(tmp_path):
    (tmp_path / "a").touch()
    assert read_trained([f"cda={tmp_path / 'a'}"]) == {"cda": tmp_path / "a"}
    for given, message in (
        (["cda"], "expected NAME=FILE with one of cda, fff"),
        (["ssp=x"], "expected NAME=FILE"),
        ([f"cda={tmp_path / 'a'}"] * 2, "names cda twice"),
        (["cda=nothere"], "no trained attack 'nothere'"),
    ):
        with pytest.raises(InputError, match=message):
            read_trained(given)


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


def test_a_plain_function_is_a_generator_as_well(images):
    brighter = cda(lambda batch: batch + 1, images, eps=0.1)
    torch.testing.assert_close(brighter, (images + 0.1).clamp(max=1))


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
