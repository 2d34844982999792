import copy

import pytest
import torch
from torch import nn

from nrpurify import attacks
from nrpurify.defenses import MajorityVote, Protected, protect
from nrpurify.errors import InputError
from nrpurify.purifiers import DynamicPurifier, Purifier, build_purifier, save_purifier
from nrpurify.purifiers import checkpoint as checkpoint_module


class Victim(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, images, scale=1.0, *, bias=0.0):
        return self.conv(images).mean((2, 3)) * scale + bias


class Halve(nn.Module):
    def forward(self, images):
        return images / 2


@pytest.fixture
def victim():
    torch.manual_seed(0)
    return Victim().eval()


@pytest.fixture
def purifier():
    torch.manual_seed(1)
    return build_purifier("micro").eval()


def test_defense_comes_first_and_the_signature_stays(victim, images):
    protected = protect(victim, Halve())
    assert isinstance(protected, Protected)
    torch.testing.assert_close(protected(images), victim(images / 2))
    torch.testing.assert_close(protected(images, 3.0, bias=1.0), victim(images / 2, 3.0, bias=1.0))
    torch.testing.assert_close(protected(images=images, scale=2.0), victim(images / 2, 2.0))


def test_lists_of_images_of_different_sizes(purifier):
    class Detector(nn.Module):
        def forward(self, images, targets=None):
            return [(tuple(image.shape), image) for image in images], targets

    images = [torch.rand(3, 7, 9), torch.rand(3, 20, 4)]
    found, targets = protect(Detector(), purifier)(images, targets="t")
    assert targets == "t"
    assert [shape for shape, _ in found] == [(3, 7, 9), (3, 20, 4)]
    for image, (_, defended) in zip(images, found, strict=True):
        torch.testing.assert_close(defended, purifier(image[None])[0])


def test_a_victim_in_half_precision_is_attacked_as_it_is(victim, purifier, images):
    protected = protect(victim.to(torch.bfloat16), purifier)
    assert attacks.pgd(protected, images, eps=8 / 255, steps=1).shape == images.shape
    assert protected(images).dtype == torch.bfloat16


def test_a_vote_has_no_gradient_and_says_so(victim, images):
    voting = protect(victim, "noise:passes=3,combine=vote")
    with pytest.raises(InputError, match=r"a vote has none; .* or use square"):
        attacks.pgd(voting, images, eps=8 / 255, steps=1)


def test_any_callable_is_a_model(images):
    protected = protect(lambda x: x.mean((2, 3)), Halve())
    torch.testing.assert_close(protected(images), images.mean((2, 3)) / 2)


def test_gradient_reaches_the_input_through_everything(victim, purifier, images):
    images.requires_grad_(True)
    protect(victim, purifier)(images).sum().backward()
    through = images.grad.clone()
    images.grad = None
    victim(images).sum().backward()
    assert through.abs().sum() > 0
    assert not torch.allclose(through, images.grad)


def test_model_is_not_changed(victim, purifier, images):
    state = copy.deepcopy(victim.state_dict())
    victim.train()
    protect(victim, purifier)(images)
    assert victim.training
    assert all(p.requires_grad for p in victim.parameters())
    assert all(torch.equal(v, state[k]) for k, v in victim.state_dict().items())


def test_names_and_files(monkeypatch, tmp_path, victim, purifier, images):
    file = tmp_path / "p.safetensors"
    save_purifier(purifier, file)
    expected = victim(purifier(images))
    monkeypatch.setattr(checkpoint_module, "shipped", lambda: {"fast": file})
    for arguments in ((), ("fast",), (file,), (str(file),)):
        protected = protect(victim, *arguments)
        assert isinstance(protected.defense, Purifier)
        torch.testing.assert_close(protected(images), expected)


def test_dynamic_mode(victim, purifier, images):
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return protect(victim, purifier, mode="dynamic", generator=generator)(images)

    assert isinstance(protect(victim, purifier, mode="dynamic").defense, DynamicPurifier)
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    with pytest.raises(InputError, match="mode is 'random'; expected 'static' or 'dynamic'"):
        protect(victim, purifier, mode="random")


def test_defense_follows_the_model_to_its_device(purifier):
    on_meta = nn.BatchNorm2d(3, affine=False, device="meta")
    protected = protect(on_meta, copy.deepcopy(purifier))
    assert {p.device.type for p in protected.parameters()} == {"meta"}
    assert {p.device.type for p in protect(nn.ReLU(), purifier).parameters()} == {"cpu"}


def test_data_parallel(victim, purifier, images):
    protected = protect(victim, purifier)
    parallel = nn.DataParallel(protected)
    torch.testing.assert_close(parallel(images, bias=2.0), protected(images, bias=2.0))


@pytest.mark.parametrize("size", [(16, 16), (13, 21)])
def test_export(victim, purifier, size):
    protected = protect(victim, purifier).eval()
    images = torch.rand(2, 3, *size)
    program = torch.export.export(protected, (images,))
    fresh = torch.rand(2, 3, *size)
    torch.testing.assert_close(program.module()(fresh), protected(fresh))


def test_compile(victim, purifier):
    protected = protect(victim, purifier).eval()
    compiled = torch.compile(protected, backend="eager", fullgraph=True)
    for size in ((16, 16), (13, 21)):
        images = torch.rand(2, 3, *size, requires_grad=True)
        found = compiled(images, bias=1.0)
        torch.testing.assert_close(found, protected(images, bias=1.0))
        (gradient,) = torch.autograd.grad(found.sum(), images)
        assert gradient.abs().sum() > 0


class Scripted(nn.Module):
    """Votes for the listed classes in turn."""

    def __init__(self, votes):
        super().__init__()
        self.votes = iter(votes)

    def forward(self, images):
        return nn.functional.one_hot(torch.tensor(next(self.votes)), 3).float()


def test_majority_vote():
    shares = MajorityVote(Scripted([[0, 2], [1, 2], [0, 2], [0, 1]]), 4)(torch.zeros(2, 3, 1, 1))
    torch.testing.assert_close(shares, torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.25, 0.75]]))
    assert shares.argmax(1).tolist() == [0, 2]


def test_majority_vote_over_a_random_defense(victim, purifier, images):
    def votes():
        generator = torch.Generator().manual_seed(0)
        dynamic = protect(victim, purifier, mode="dynamic", generator=generator)
        return MajorityVote(dynamic, 5)(images)

    assert torch.equal(votes(), votes())
    torch.testing.assert_close(votes().sum(1), torch.ones(3))
    with pytest.raises(InputError, match="passes is 0; expected at least 1"):
        MajorityVote(victim, 0)
