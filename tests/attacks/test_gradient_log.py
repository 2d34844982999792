"""Gradients of zeros, and NaN or infinite entries: counted, told, and kept from the others."""

import warnings

import pytest
import torch
from torch import nn

from nrpurify import attacks
from nrpurify.attacks.gradient import sign_gradient_ascent
from nrpurify.attacks.gradient_log import GradientCount, gradient_notes, log_gradients, usable
from nrpurify.attacks.momentum import MomentumAttack
from nrpurify.core.errors import GradientWarning

GRADIENT = [
    name
    for name in attacks.names()
    if attacks.get(name).surrogate == "classifier"
    and attacks.get(name).info.needs == "classifier"
    and name not in ("apgd-t", "fab-t", "autoattack", "deepfool", "ddn", "fmn", "cw")
    and name not in ("sgm", "ghost")  # they need residual blocks: test_transfer_attacks.py
]


class Gamma(nn.Module):
    """A classifier behind x^(1/2.2), whose gradient is infinite (or NaN) at black values."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images.pow(1 / 2.2))


class Scaled(nn.Module):
    def __init__(self, model, factor):
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, images):
        return self.factor * self.model(images)


def run(name, model, images, labels=None):
    entry = attacks.get(name)
    own = {"steps": 3, "restarts": 1, "early_stop": False, "eps": 8 / 255}
    own |= {"generator": torch.Generator().manual_seed(0)}
    given = {key: value for key, value in own.items() if key in entry.settings}
    return entry.function(model, images, labels, **given)


@pytest.mark.parametrize("name", GRADIENT)
def test_one_infinite_entry_does_not_silence_the_others(name, classifier, images, labels):
    model, spoiled = Gamma(classifier.eval()), (0.1 + 0.8 * images).clone()
    spoiled[1, 0, 2, 3] = 0
    with log_gradients() as log:
        found = run(name, model, spoiled, labels)
    moved = (found != spoiled).flatten(1).float().mean(1)
    # pi-fgsm spreads what was cut off over neighbors, which may bring a value back
    assert (moved > (0.5 if name == "pi-fgsm" else 0.9)).all()
    assert found.isfinite().all()
    if getattr(attacks.create(name), "start", "clean") == "clean":
        counts = [one.not_finite for one in log.images]
        # the others also ask at other points, of which some are black
        if not name.startswith("apgd") and not isinstance(attacks.create(name), MomentumAttack):
            assert counts[0] == counts[2] == 0
            assert counts[1] >= 1


@pytest.mark.parametrize("name", [*GRADIENT, "ssp"])
def test_every_attack_reports_gradients_of_zeros(name, classifier, extractor, images):
    labels = torch.zeros(3, dtype=torch.int64)  # what a model of equal logits says
    model = extractor if name == "ssp" else Scaled(classifier, 0.0)
    if name == "ssp":
        for weight in extractor.parameters():
            weight.data.zero_()
    with pytest.warns(GradientWarning, match="of 3 images was zero everywhere"):
        run(name, model, images, labels)


def test_usable_gradients_are_not_mentioned(classifier, images, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run("mi-fgsm", classifier, images, labels)


def test_the_warning_names_the_line_of_the_caller(classifier, extractor, images):
    with pytest.warns(GradientWarning) as plain:
        attacks.fgsm(Scaled(classifier, 0.0), images)
    with pytest.warns(GradientWarning) as wrapped:
        attacks.ssp(extractor, images, start="clean", steps=1)
    assert [one.filename for one in (*plain, *wrapped)] == [__file__, __file__]


def test_a_log_takes_the_images_of_all_attacks_in_order(classifier, images, labels):
    with log_gradients() as log, warnings.catch_warnings():
        warnings.simplefilter("error")
        run("mi-fgsm", Scaled(classifier, 0.0), images[:2], labels[:2])
        run("fgsm", classifier, images, labels)
    assert log.images == [GradientCount(3, 0)] * 2 + [GradientCount()] * 3
    assert len(log.notes()) == 1
    assert "2 of 5 images was zero everywhere, at 6 steps" in log.notes()[0]


def test_counts_survive_a_manifest():
    count = GradientCount(0, 12)
    assert count.to_dict() == {"not_finite": 12}
    assert GradientCount.from_dict(count.to_dict()) == count
    assert GradientCount.from_dict(None) == GradientCount()
    assert gradient_notes([GradientCount()]) == []


def test_infinite_entries_keep_their_sign_and_get_the_largest_size():
    gradient = torch.tensor([[float("inf"), -2.0, float("nan"), -float("inf")], [0, 0, 0, 1.0]])
    found = usable(gradient.view(2, 1, 2, 2)).view(2, 4)
    assert found.tolist() == [[2, -2, 0, -2], [0, 0, 0, 1]]


def test_the_largest_numbers_do_not_overflow_in_the_mean(images):
    steep = torch.full_like(images, 1e37)

    def objective(point):
        return (point * steep).flatten(1).sum(1)

    found = sign_gradient_ascent(
        images * 0.5, objective, eps=0.1, steps=3, step_size=0.05, momentum=1.0
    )
    assert (found > images * 0.5).all()
