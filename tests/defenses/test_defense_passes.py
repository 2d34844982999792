"""Several passes over the victim, and specs in ``protect``."""

import pytest
import torch
from torch import nn

from nrpurify import defenses
from nrpurify.core.callables import Function
from nrpurify.core.errors import InputError
from nrpurify.defenses import MajorityVote, Protected, protect, reseed

MANY = "noise:std=0.3,passes=9,seed=5"


class Victim(nn.Module):
    """Scores that prefer bright red, green or blue; sharp, so that noise changes its mind."""

    def forward(self, images, scale=1.0):
        return torch.tanh(40 * (images.mean((2, 3)) - 0.5)) * scale


def by_hand(images):
    noise = defenses.make(MANY)
    return [torch.cat([Victim()(noise(image[None])) for _ in range(9)]) for image in images]


@pytest.fixture
def greys():
    return torch.full((3, 3, 4, 4), 0.5)


def test_mean_of_the_logits(greys):
    found = protect(Victim(), MANY)(greys, scale=1.0)
    expected = torch.stack([answers.mean(0) for answers in by_hand(greys)])
    torch.testing.assert_close(found, expected)


def test_shares_of_the_votes(greys):
    found = protect(Victim(), f"{MANY},combine=vote")(greys)
    votes = [torch.bincount(answers.argmax(1), minlength=3) / 9 for answers in by_hand(greys)]
    torch.testing.assert_close(found, torch.stack(votes))
    assert (found.max(1).values < 1).any()


def test_images_alone_and_together_see_the_same_passes(greys):
    together, defended = protect(Victim(), MANY)(greys), protect(Victim(), MANY)
    alone = torch.cat([defended(image[None]) for image in greys])
    torch.testing.assert_close(alone, together)


def test_the_mean_has_a_gradient(greys):
    greys.requires_grad_(True)
    protect(Victim(), MANY)(greys).sum().backward()
    assert greys.grad.abs().sum() > 0


def test_protected_itself_asks_once(greys):
    once = Protected(Victim(), defenses.make(MANY))
    torch.testing.assert_close(once(greys), Victim()(defenses.make(MANY)(greys)))


def test_modules_may_ask_for_passes_too(greys):
    assert protect(Victim(), defenses.make("rp")).passes == 30
    assert protect(Victim(), nn.Identity()).passes == 1


def test_a_generator_takes_over(greys):
    def answer(seed):
        return protect(Victim(), MANY, generator=torch.Generator().manual_seed(seed))(greys)

    torch.testing.assert_close(answer(5), protect(Victim(), MANY)(greys))
    assert not torch.equal(answer(6), answer(5))


def test_reseed_reaches_all_links(greys):
    chain = defenses.make("noise+jpeg+noise")
    reseed(chain, torch.Generator().manual_seed(1))
    first = chain(greys)
    reseed(chain, torch.Generator().manual_seed(1))
    assert torch.equal(chain(greys), first)


def test_reseed_leaves_a_network_of_that_name_alone(greys):
    class Generated(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator = nn.Conv2d(3, 3, 1)
            self.noise = defenses.make("noise")

        def forward(self, images):
            return self.noise(self.generator(images))

    defense = Generated()
    network, generator = defense.generator, torch.Generator().manual_seed(1)
    reseed(defense, generator)
    assert defense.generator is network
    assert defense.noise.generator is generator
    assert defense(greys).shape == greys.shape


def test_what_several_passes_cannot_do(greys):
    detector = protect(lambda images: [{} for _ in images], "noise:passes=2")
    with pytest.raises(InputError, match=r"2 passes of a model that returns list .* or passes=1"):
        detector(greys)
    with pytest.raises(InputError, match="passes is 0"):
        Protected(Victim(), nn.Identity(), passes=0)
    with pytest.raises(InputError, match="no defense 'fats'; did you mean fast"):
        protect(Victim(), "fats")


@pytest.mark.parametrize("combine", ["mean", "vote"])
def test_nan_is_no_vote_for_class_0(greys, combine):
    def broken(images):
        return torch.tensor([[0.0, 1.0, torch.nan]]).expand(len(images), 3)

    assert protect(broken, f"{MANY},combine={combine}")(greys).isnan().any(1).all()
    assert MajorityVote(Function(broken), 2)(greys).isnan().all()


SPECS = (MANY, f"{MANY},combine=vote", "rp:passes=3", "nips-r3:passes=3", "jpeg+noise:passes=2")


@pytest.mark.parametrize("spec", [*SPECS, "tiny:mode=dynamic,passes=3", "median", "none"])
def test_no_images_have_no_answers(spec):
    assert protect(Victim(), spec)(torch.zeros(0, 3, 8, 6)).shape == (0, 3)
    assert protect(Victim(), spec, mode="dynamic")(torch.zeros(0, 3, 8, 6)).shape == (0, 3)
