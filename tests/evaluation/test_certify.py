import json
import math
import warnings
from dataclasses import replace

import numpy
import pytest
import torch
from torch import nn

from nrpurify import models
from nrpurify.core.errors import InputError
from nrpurify.core.images import write_png
from nrpurify.data.labels import LabeledImage
from nrpurify.evaluation import certify_run
from nrpurify.evaluation.certify import base_classifier, certify, lower_bound
from nrpurify.evaluation.certify_plan import CertifyPlan, noise_sigmas
from nrpurify.evaluation.certify_run import RESULTS, SUMMARY, Certified, certify_images
from nrpurify.purifiers import Card


@pytest.mark.parametrize("alpha", [0.001, 0.05])
@pytest.mark.parametrize(
    ("successes", "trials"),
    [(1, 1), (1, 10), (7, 10), (990, 1000), (1000, 1000), (60_000, 100_000)],
)
def test_clopper_pearson_is_the_quantile_of_a_beta_distribution(successes, trials, alpha):
    stats = pytest.importorskip("scipy.stats")
    want = stats.beta.ppf(alpha, successes, trials - successes + 1)
    assert lower_bound(successes, trials, alpha) == pytest.approx(want, rel=1e-7)


def test_bounds_at_the_ends():
    assert lower_bound(0, 10, 0.01) == 0
    assert lower_bound(10, 10, 0.01) == pytest.approx(0.01**0.1)
    for successes, trials, alpha in ((3, 2, 0.1), (1, 2, 0.0), (-1, 2, 0.1)):
        with pytest.raises(InputError, match="expected at most as many successes"):
            lower_bound(successes, trials, alpha)


class Halves(nn.Module):
    """Class 1 where the mean is above a threshold: its boundary is a plane."""

    def __init__(self, threshold=0.5):
        super().__init__()
        self.threshold = threshold
        self.sizes = set()

    def forward(self, images):
        self.sizes.add(len(images))
        margin = images.mean((1, 2, 3)) - self.threshold
        return torch.stack([-margin, margin], 1)


@pytest.mark.parametrize("shift", [0.04, -0.04])
def test_the_radius_of_a_linear_classifier_is_its_distance_from_the_plane(shift):
    image = torch.full((3, 4, 4), 0.5 + shift)
    distance = abs(shift) * math.sqrt(48)
    model = Halves()
    found = certify(
        model, image, sigma=0.25, n0=50, n=20_000, alpha=0.001, group=1000,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert found.prediction == int(shift > 0)
    assert 0.9 * distance < found.radius < distance
    assert model.sizes == {1000}


@pytest.mark.parametrize("shift", [0.04, -0.02])
def test_art_finds_the_same_class_and_radius(shift, monkeypatch):
    """ART draws other noise, so radii differ by what 10,000 samples leave open."""
    art = pytest.importorskip("art.estimators.certification.randomized_smoothing")
    stats = pytest.importorskip("scipy.stats")

    def bound(_, successes, trials):  # ART takes it from statsmodels, which no extra installs
        return stats.beta.ppf(0.001, successes, trials - successes + 1)

    monkeypatch.setattr(art.PyTorchRandomizedSmoothing, "_lower_confidence_bound", bound)
    image = torch.full((3, 4, 4), 0.5 + shift)
    numpy.random.seed(1)  # noqa: NPY002 — ART has no other source of noise
    theirs = art.PyTorchRandomizedSmoothing(
        model=Halves(), loss=nn.CrossEntropyLoss(), input_shape=(3, 4, 4), nb_classes=2,
        sample_size=100, scale=0.25, alpha=0.001,
    )  # fmt: skip
    (prediction,), (radius,) = theirs.certify(image[None].numpy(), n=10_000, batch_size=1000)
    mine = certify(
        Halves(), image, sigma=0.25, n0=100, n=10_000, alpha=0.001, group=1000,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert mine.prediction == prediction
    assert mine.radius == pytest.approx(radius, rel=0.06)


def test_no_certificate_near_the_plane():
    image = torch.full((3, 4, 4), 0.5005)
    found = certify(Halves(), image, sigma=0.25, n0=20, n=200,
                    generator=torch.Generator().manual_seed(0))  # fmt: skip
    assert found.prediction is None
    assert found.radius == 0
    assert 60 < found.votes < 140


def test_the_class_is_chosen_by_other_samples_than_those_that_certify():
    seen = []

    class Once(nn.Module):
        def forward(self, images):
            seen.append(images.flatten())
            return torch.tensor([[0.0, 1.0]]).expand(len(images), 2)

    found = certify(Once(), torch.zeros(3, 2, 2), sigma=1, n0=4, n=8, alpha=0.05, group=4)
    assert found.prediction == 1
    assert found.votes == 8
    assert len({tuple(part.tolist()) for part in seen}) == 3


def test_the_base_classifier_clips_and_purifies():
    class Double:
        def purify(self, images, *, amp):
            assert 0 <= images.min() <= images.max() <= 1
            return images / 2

    classify = base_classifier(Halves(0.3), Double())
    assert classify(torch.full((1, 3, 2, 2), 9.0)).argmax(1).tolist() == [1]
    assert classify(torch.full((1, 3, 2, 2), 0.5)).argmax(1).tolist() == [0]


@pytest.fixture
def items(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "load_classifier", lambda name: Halves())
    paths = []
    for index, value in enumerate((0.1, 0.5, 0.9)):
        write_png(tmp_path / f"{index}.png", torch.full((3, 16, 16), value))
        paths.append(LabeledImage(tmp_path / f"{index}.png", 0 if index < 2 else 1))
    return paths


PLAN = CertifyPlan(
    victim="x", purifier=None, sigma=0.25, n0=8, n=64, alpha=0.01, size=16, amp=False
)


def test_a_folder_is_certified_resumed_and_summed_up(items, tmp_path, monkeypatch):
    out = tmp_path / "run"
    whole = certify_images(items, PLAN, out)
    text = (out / RESULTS).read_text()
    summary = json.loads((out / SUMMARY).read_text())
    assert summary["images"] == 3
    assert summary["certified_accuracy"]["0.25"] == pytest.approx(2 / 3)
    assert summary["settings"]["sigma"] == 0.25
    assert [row["prediction"] for row in whole.rows][::2] == [0, 1]
    with pytest.raises(InputError, match="add --resume"):
        certify_images(items, PLAN, out)
    lines = text.split("\n")
    (out / RESULTS).write_text("\n".join(lines[:3]) + '\n{"cut')
    calls = []
    real = certify_run.certify
    monkeypatch.setattr(certify_run, "certify", lambda *a, **k: calls.append(1) or real(*a, **k))
    again = certify_images(items, PLAN, out, resume=True)
    assert again.rows == whole.rows
    assert len(calls) == 1
    assert (out / RESULTS).read_text() == text
    with pytest.raises(InputError, match="other settings"):
        certify_images(items, CertifyPlan(victim="x", purifier=None, n=3), out, resume=True)


def test_copies_of_an_image_keep_their_names(items, tmp_path):
    write_png(tmp_path / "copy.png", torch.full((3, 16, 16), 0.1))
    copied = [*items, LabeledImage(tmp_path / "copy.png", 0)]
    first = certify_images(copied, PLAN, tmp_path / "run")
    again = certify_images(copied, PLAN, tmp_path / "run", resume=True)
    assert again.rows == first.rows
    assert [row["name"] for row in again.rows] == ["0.png", "1.png", "2.png", "copy.png"]


def test_a_label_without_a_class_is_refused(items, tmp_path):
    items[2] = LabeledImage(items[2].path, 2)
    with pytest.raises(InputError, match=r"label 2 \(counted from 0\); x has classes 0 to 1"):
        certify_images(items, PLAN, tmp_path / "run")


def test_broken_images_are_counted(items, tmp_path):
    (tmp_path / "1.png").write_bytes(b"no image")
    found = certify_images(items, PLAN, tmp_path / "run")
    assert len(found.rows) == 2
    assert len(found.broken) == 1
    (tmp_path / "0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="no image of 1 can be read"):
        certify_images(items[:1], PLAN, tmp_path / "other")


def test_abstentions_count_as_wrong():
    rows = [
        {"label": 0, "prediction": None, "radius": 0.0},
        {"label": 0, "prediction": 0, "radius": 0.3},
        {"label": 1, "prediction": 0, "radius": 0.9},
        {"label": 1, "prediction": 1, "radius": 0.1},
    ]
    found = Certified(rows, {})
    assert [found.accuracy(r) for r in (0, 0.25, 0.5)] == [0.5, 0.25, 0]
    assert found.summary()["abstained"] == 1


@pytest.mark.parametrize("change", [{"n": 0}, {"alpha": 1.0}, {"sigma": 0.0}, {"sigma": math.nan}])
def test_plans_name_what_is_out_of_range(change):
    with pytest.raises(InputError, match=f"{next(iter(change))} is .*; expected"):
        CertifyPlan(**change)


def test_a_classifier_that_answers_nan_gets_no_certificate():
    with pytest.raises(InputError, match="answered NaN to a noisy image"):
        certify(
            lambda images: torch.full((len(images), 10), torch.nan),
            torch.rand(3, 8, 8),
            sigma=0.25,
            n0=10,
            n=20,
        )


@pytest.mark.parametrize(
    ("sigma", "warns"), [(0.25, False), (0.5, True)], ids=["as trained", "another"]
)
def test_a_purifier_of_another_sigma_is_named(items, tmp_path, sigma, warns):
    plan = replace(PLAN, purifier="denoise-025", sigma=sigma, n0=1, n=1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        certify_images(items[:1], plan, tmp_path / "run")
    said = [str(one.message) for one in seen]
    assert bool(said) == warns
    if warns:
        assert "denoise-025 was trained for noise of sigma 0.25; sigma is 0.5" in said[0]


def test_a_purifier_of_other_adversaries_has_no_sigma():
    adversaries = [{"kind": "noise", "std": 0.1}, {"kind": "features", "std": 0.05}]
    assert noise_sigmas(Card("x", "y", training={"recipe": {"adversaries": adversaries}})) == []
    assert noise_sigmas(Card("x", "y", training={"recipe": {"adversaries": adversaries[:1]}})) == [
        0.1
    ]
    assert noise_sigmas(Card("x", "y")) == []
