import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nrpurify.core.errors import InputError
from nrpurify.data.masks import IGNORED
from nrpurify.evaluation.segmentation_metrics import (
    bootstrap_interval,
    confusion,
    mean_iou,
    pixel_accuracy,
)


def test_by_hand():
    truth = torch.tensor([[[0, 0, 1], [1, IGNORED, IGNORED]]])
    guess = torch.tensor([[[0, 1, 1], [1, 2, 0]]])
    counts = confusion(guess, truth, 4)
    assert counts.shape == (1, 4, 4)
    assert counts[0].sum() == 4
    assert float(pixel_accuracy(counts.sum(0))) == 3 / 4
    # class 0: 1 of 2 pixels; class 1: 2 of 3; classes 2 and 3 are nowhere that counts
    assert float(mean_iou(counts.sum(0))) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_a_class_that_is_only_predicted_counts_as_zero():
    counts = confusion(torch.tensor([[[0, 2]]]), torch.tensor([[[0, 0]]]), 3)
    assert float(mean_iou(counts.sum(0))) == pytest.approx((1 / 2 + 0) / 2)


def test_nothing_but_void_gives_zero():
    counts = confusion(torch.zeros(1, 2, 2, dtype=torch.long), torch.full((1, 2, 2), IGNORED), 3)
    assert float(pixel_accuracy(counts.sum(0))) == 0
    assert float(mean_iou(counts.sum(0))) == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 6), images=st.integers(1, 4))
def test_torchmetrics_agrees(seed, classes, images):
    functional = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(seed)
    guess = torch.randint(0, classes, (images, 7, 5), generator=generator)
    truth = torch.randint(IGNORED, classes, (images, 7, 5), generator=generator)
    counts = confusion(guess, truth, classes).sum(0)
    options = {"num_classes": classes, "ignore_index": IGNORED}
    accuracy = functional.multiclass_accuracy(guess, truth, average="micro", **options)
    assert float(pixel_accuracy(counts)) == pytest.approx(float(accuracy), abs=1e-6)
    matrix = functional.multiclass_confusion_matrix(guess, truth, **options)
    assert torch.equal(counts, matrix)
    if bool((counts.sum(0) + counts.sum(1) > 0).all()):
        iou = functional.multiclass_jaccard_index(guess, truth, average="macro", **options)
        assert float(mean_iou(counts)) == pytest.approx(float(iou), abs=1e-6)


@pytest.mark.parametrize(
    ("guess", "truth", "message"),
    [
        (torch.zeros(1, 2, 3), torch.zeros(1, 3, 2), r"\(1, 2, 3\); its mask \(1, 3, 2\)"),
        (torch.full((1, 1, 2), 3), torch.zeros(1, 1, 2), "from 0 to 3 given; expected 0 to 2"),
        (torch.zeros(1, 1, 2), torch.full((1, 1, 2), -2), "from -2 to 0 given"),
    ],
)
def test_what_cannot_be_counted_is_refused(guess, truth, message):
    with pytest.raises(InputError, match=message):
        confusion(guess.long(), truth.long(), 3)


def test_the_interval_is_seeded_and_holds_the_value():
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 50, (40, 3, 3), generator=generator) + 40 * torch.eye(3).long()
    low, high = bootstrap_interval(counts, pixel_accuracy, seed=1)
    assert (low, high) == bootstrap_interval(counts, pixel_accuracy, seed=1)
    assert (low, high) != bootstrap_interval(counts, pixel_accuracy, seed=2)
    assert low < float(pixel_accuracy(counts.sum(0))) < high


def test_the_interval_has_the_width_of_theory():
    right = (torch.arange(400) % 2).long()  # one pixel an image, half of them right
    counts = torch.zeros(400, 2, 2, dtype=torch.long)
    counts[:, 0, 0], counts[:, 0, 1] = right, 1 - right
    low, high = bootstrap_interval(counts, pixel_accuracy, resamples=4000)
    assert (high - low) / 2 == pytest.approx(1.96 * (0.25 / 400) ** 0.5, rel=0.1)


def test_one_image_has_no_spread():
    counts = torch.tensor([[[3, 1], [0, 4]]])
    low, high = bootstrap_interval(counts, pixel_accuracy, resamples=20)
    assert low == high == 7 / 8
