import pytest
import torch
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.core.image_files import find_images
from nrpurify.core.images import write_png
from nrpurify.core.progress import NO_VALUES, Progress
from nrpurify.evaluation.detect import area_under, detect, roc_curve, threshold_at
from nrpurify.purifiers import Card, Gate, Purifier, Strength


class Darken(nn.Module):
    """Corrects by a tenth of the image; no padding is needed."""

    multiple, radius = 1, 0

    def forward(self, images):
        return 0.9 * images


@pytest.fixture
def purifier():
    return Purifier(Darken(), Card("darken", "x"))


@pytest.fixture
def folders(tmp_path):
    for name, levels in (("clean", (0.1, 0.2, 0.3)), ("attacked", (0.25, 0.6))):
        (tmp_path / name).mkdir()
        for index, level in enumerate(levels):
            write_png(tmp_path / name / f"{index}.png", torch.full((3, 8, 8), level))
    return tmp_path


def test_the_score_is_the_correction_or_the_gates_logit(purifier):
    images = torch.stack([torch.full((3, 12, 12), level) for level in (0.2, 0.8)])
    torch.testing.assert_close(purifier.score(images), 25.5 * torch.tensor([0.2, 0.8]))
    tiled = purifier.score(images, tile=4, halo=2)
    torch.testing.assert_close(tiled, purifier.score(images))
    torch.manual_seed(0)
    gated = Purifier(Darken(), Card("darken", "x"), Strength(2, 2), Gate(4).eval())
    want = gated.gate.logits(images, 0.9 * images)
    torch.testing.assert_close(gated.score(images), want)
    torch.testing.assert_close(gated.score(images, tile=4, halo=2), want)
    assert (purifier.score_unit, gated.score_unit) == ("correction, of 255", "gate logit")
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        purifier.score(images + 1)


def test_no_score_of_a_network_that_enlarges():
    network = Darken()
    network.scale = 2
    with pytest.raises(InputError, match="enlarges"):
        Purifier(network, Card("sr", "x")).score(torch.rand(1, 3, 8, 8))


def test_roc_and_threshold(purifier, folders):
    clean, attacked = (find_images(folders / n, recursive=True) for n in ("clean", "attacked"))
    found = detect(clean, purifier, attacked=attacked, false_alarms=0.4, amp=False)
    result = found.to_dict()
    assert list(result["images"]) == ["0.png", "1.png", "2.png"]
    assert (result["detected"], result["attacked_detected"]) == (1, 2)
    assert result["auc"] == pytest.approx(5 / 6)
    assert result["roc"][0] == (0, 0)
    assert result["roc"][-1] == (1, 1)
    strict = detect(clean, purifier, attacked=attacked, false_alarms=0, amp=False).to_dict()
    assert (strict["detected"], strict["attacked_detected"]) == (0, 1)


class Counted(Progress):
    def __init__(self):
        self.seen = []

    def update(self, what, done, total, values=NO_VALUES):
        self.seen.append((done, total))


def test_without_a_gate_nothing_decides_the_threshold(purifier, folders):
    files = find_images(folders / "clean", recursive=True)
    counted = Counted()
    plain = detect(files, purifier, amp=False, progress=counted).to_dict()
    assert (plain["threshold"], plain["detected"]) == (None, None)
    assert counted.seen == [(1, 3), (2, 3), (3, 3)]
    assert detect(files, purifier, threshold=5, amp=False).to_dict()["detected"] == 2
    gated = Purifier(Darken(), Card("darken", "x"), Strength(2, 2), Gate(4).eval())
    assert detect(files, gated, amp=False).threshold == 0


def test_broken_images_are_counted(purifier, folders):
    (folders / "clean" / "1.png").write_bytes(b"no image")
    files = find_images(folders / "clean", recursive=True)
    found = detect(files, purifier, amp=False)
    assert (len(found.scores), len(found.broken)) == (2, 1)
    with pytest.raises(InputError, match="no image of 1 can be read"):
        detect(files[1:2], purifier)
    with pytest.raises(InputError, match="false_alarms is 1"):
        detect(files, purifier, false_alarms=1)


def test_curves_count_ties_together():
    assert roc_curve([1, 1], [1, 2]) == [(0, 0), (0, 0.5), (1, 1)]
    assert area_under(roc_curve([1, 1], [1, 1])) == 0.5
    assert area_under(roc_curve([1], [2])) == 1


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.3, 0), (0.34, 1), (0.99, 2)])
def test_threshold_keeps_false_alarms_below_the_share(share, count):
    clean = [1.0, 3.0, 2.0]
    limit = threshold_at(clean, share)
    assert sum(score >= limit for score in clean) == count


def test_a_share_of_whole_images_is_used_up():
    clean = [float(number) for number in range(100)]
    assert sum(score >= threshold_at(clean, 0.29) for score in clean) == 29
