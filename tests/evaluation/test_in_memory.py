import numpy as np
import pytest
import torch
from torch import nn

from nrpurify.attacks import create, pgd
from nrpurify.core.errors import InputError
from nrpurify.evaluation import Tally, check_budget, evaluate
from nrpurify.evaluation.batches import Batch


class Brightness(nn.Module):
    """Class 1 for bright images, class 0 for dark ones."""

    def forward(self, images):
        bright = images.mean((1, 2, 3))
        return torch.stack([0.5 - bright, bright - 0.5], 1)


CLEAN = torch.tensor([0.45, 0.55, 0.9, 0.1]).view(-1, 1, 1, 1).expand(4, 3, 2, 2)
LABELS = torch.tensor([0, 1, 1, 1])
BATCH = Batch(CLEAN, LABELS, list("abcd"))


def darken(batch):
    return (batch.images - 0.1).clamp(0, 1)


def brighten(images):
    return (images + 0.1).clamp(0, 1)


def run(**changes):
    given = {"attack": darken, "purifier": brighten, "eps": 0.1, **changes}
    return evaluate([BATCH, BATCH], {"b": Brightness()}, **given)["b"]


def test_counts_by_condition():
    tally = run()
    assert tally.total == 8
    # Clean: dark 0.45, bright 0.55 and 0.9 are right. Darkened, 0.55 falls below one half.
    # Brightened again, all is as before. Clean images brightened: 0.45 rises above one half.
    assert tally.correct == {"clean": 6, "attacked": 4, "purified": 6, "purified_clean": 4}


def test_conditional_success_counts_only_what_was_right():
    assert run().conditional_success() == {
        "attacked": pytest.approx(1 / 3),
        "purified": 0.0,
        "purified_clean": pytest.approx(1 / 3),
    }


def test_no_share_of_nothing():
    wrong = Batch(CLEAN, 1 - (CLEAN[:, 0, 0, 0] > 0.5).long(), list("abcd"))
    found = evaluate([wrong], {"b": Brightness()}, attack=darken, purifier=brighten, eps=0.1)
    assert all(np.isnan(share) for share in found["b"].conditional_success().values())


def test_accuracies_have_intervals():
    tally = run()
    assert tally.accuracy()["attacked"] == 0.5
    low, high = tally.intervals()["attacked"]
    assert low < 0.5 < high


def test_several_victims_are_counted_apart():
    both = evaluate(
        [BATCH], {"b": Brightness(), "n": Never()}, attack=darken, purifier=brighten, eps=0.1
    )
    assert [both[name].accuracy()["clean"] for name in "bn"] == [0.75, 0.25]


class Never(nn.Module):
    """Always class 0."""

    def forward(self, images):
        return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)


def test_an_attack_beyond_its_budget_is_caught():
    with pytest.raises(AssertionError, match=r"change 0\.100000 of 0\.050000"):
        run(eps=0.05)


def test_budget_check_sees_the_range():
    with pytest.raises(AssertionError, match="range"):
        check_budget(torch.ones(1, 3, 2, 2), torch.full((1, 3, 2, 2), 1.01), 0.1)


def test_labels_beyond_the_classes_are_refused():
    batch = Batch(CLEAN, torch.tensor([0, 1, 2, 1]), list("abcd"))
    with pytest.raises(InputError, match="label 2 given; b has classes 0 to 1"):
        evaluate([batch], {"b": Brightness()}, attack=darken, purifier=brighten, eps=0.1)
    batch = Batch(CLEAN, torch.tensor([0, 1, -1, 1]), list("abcd"))
    with pytest.raises(InputError, match="label -1 given; b has classes 0 to 1"):
        evaluate([batch], {"b": Brightness()}, attack=darken, purifier=brighten, eps=0.1)


def test_a_budget_may_be_a_number_of_numpy():
    given = {"attack": darken, "purifier": brighten, "eps": np.float32(0.1)}
    assert evaluate([BATCH], {"b": Brightness()}, **given)["b"].total == 4
    with pytest.raises(InputError, match="eps is True; expected a number"):
        evaluate([BATCH], {"b": Brightness()}, **{**given, "eps": True})


def test_observer_sees_views_and_logits():
    seen = []
    run(observe=lambda views, logits: seen.append((views.names, set(logits["b"]))))
    assert seen[0] == (list("abcd"), {"clean", "attacked", "purified", "purified_clean"})


def test_an_empty_tally_does_not_divide_by_zero():
    assert Tally().accuracy()["clean"] == 0.0


@pytest.mark.parametrize("broken", ["attacked", "clean"])
def test_budget_check_refuses_nan(broken):
    images = {"clean": torch.ones(1, 3, 2, 2), "attacked": torch.ones(1, 3, 2, 2)}
    images[broken][0, 1, 0, 1] = torch.nan
    with pytest.raises(AssertionError, match=f"the {broken} images hold NaN"):
        check_budget(images["clean"], images["attacked"], 0.1)


def spoil(images):
    images = images.clone()
    images[2, 1, 0, 0] = torch.nan
    return images


def test_purified_images_that_are_not_finite_end_the_work():
    with pytest.raises(InputError, match=r"images behind the defense 'fast' hold NaN .* for c;"):
        run(purifier=spoil, defense="fast")


class Undecided(nn.Module):
    """NaN for bright images: an argmax would say class 0."""

    def forward(self, images):
        scores = torch.zeros(len(images), 2)
        scores[images.mean((1, 2, 3)) > 0.5] = torch.nan
        return scores


@pytest.mark.parametrize(
    ("purifier", "said"),
    [
        (brighten, r"logits of u behind the defense 'none' hold NaN .* for b and 1 more images"),
        (torch.ones_like, "behind the defense 'purifier' hold NaN .* for a and 3 more images"),
    ],
)
def test_logits_that_are_not_finite_are_no_class(purifier, said):
    batch = BATCH if purifier is brighten else Batch(CLEAN / 2, LABELS, list("abcd"))
    with pytest.raises(InputError, match=said):
        evaluate([batch], {"u": Undecided()}, attack=darken, purifier=purifier, eps=0.1)


def test_victims_and_purifier_run_in_eval_mode_and_get_their_modes_back():
    victim = nn.Sequential(
        nn.BatchNorm2d(3), nn.Dropout(0.9), nn.Flatten(), nn.Linear(CLEAN[0].numel(), 2)
    )
    purifier = nn.Dropout(0.9)
    before = {name: value.clone() for name, value in victim.state_dict().items()}
    counts = evaluate(
        [BATCH], {"u": victim}, attack=lambda batch: batch.images, purifier=purifier, eps=0.1
    )
    assert len(set(counts["u"].correct.values())) == 1
    assert victim.training
    assert victim[1].training
    assert purifier.training
    assert all(torch.equal(before[name], value) for name, value in victim.state_dict().items())


def test_an_attack_may_follow_gradients():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))

    def step(batch):
        images = batch.images.clone().requires_grad_()
        loss = nn.functional.cross_entropy(linear(images), batch.labels)
        (gradient,) = torch.autograd.grad(loss, images)
        return (images + 0.1 * gradient.sign()).clamp(0, 1)

    seen = []
    given = {"attack": step, "purifier": brighten, "eps": 0.1 + 1e-6}
    given["observe"] = lambda views, logits: seen.append(views.images["attacked"].requires_grad)
    for mode in (torch.enable_grad, torch.no_grad):
        with mode():
            evaluate([BATCH], {"mine": linear}, **given)
    with torch.inference_mode():
        inside = BATCH._replace(images=CLEAN.clone(), labels=LABELS.clone())
        evaluate([inside], {"mine": linear}, **given)
    assert seen == [False] * 3


def test_pairs_of_images_and_labels_are_batches():
    loader = torch.utils.data.DataLoader(list(zip(CLEAN, LABELS, strict=True)), batch_size=3)
    seen = []
    given = {"attack": darken, "purifier": brighten, "eps": 0.1}
    given["observe"] = lambda views, logits: seen.append(views.names)
    assert evaluate(loader, {"b": Brightness()}, **given)["b"].correct["clean"] == 3
    assert seen == [["image 1", "image 2", "image 3"], ["image 4"]]
    assert evaluate([(CLEAN, LABELS)], {"b": Brightness()}, **given)["b"].total == 4


def test_a_purifier_may_be_a_name():
    named = run(purifier="median:size=3")
    assert named.correct == run(purifier=nn.Identity()).correct | {
        "purified": named.correct["purified"]
    }
    with pytest.raises(InputError, match="no defense 'fats'; did you mean fast"):
        run(purifier="fats")


def test_a_purifier_of_several_passes_gets_them():
    class Passes(nn.Module):
        passes, combine = 3, "mean"

        def __init__(self):
            super().__init__()
            self.sizes = []

        def forward(self, images):
            self.sizes.append(len(images))
            return images

    several, seen = Passes(), []
    tally = run(purifier=several, observe=lambda views, _: seen.append(views.images["purified"]))
    assert 3 in several.sizes
    assert tally.correct["purified"] == tally.correct["attacked"]
    assert seen[0].shape == CLEAN.shape


FULL = {"attack": darken, "purifier": brighten, "eps": 0.1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"eps": None}, r"evaluate\(\) of images in memory: missing .*'eps'.*; expected evaluate"),
        ({"epss": 1}, r"evaluate\(\) of images in memory: .*unexpected keyword argument 'epss'"),
        ({"eps": 8}, r"eps is 8; expected a number from 0 to 1; write 8 of 255 as 8/255"),
        ({"eps": "8/255"}, "eps is '8/255'; expected a number"),
        ({"victims": Brightness()}, r"victims is a Brightness; expected .*\{'mine': model\}"),
        ({"victims": {"b": "resnet50"}}, "the victim b is a str; expected a module or function"),
        ({"attack": create("pgd")}, r"attack .*expected .*lambda batch: attack\(model, batch"),
        ({"attack": pgd}, r"attack .*expected .*lambda batch: attack\(model, batch"),
        ({"attack": "pgd"}, r"attack is a str; expected .*lambda batch"),
        ({"attack": lambda batch: None}, r"attack returned a NoneType; expected .*\(4, 3, 2, 2\)"),
        ({"attack": lambda batch: batch.images[:2]}, r"returned \(2, 3, 2, 2\); expected"),
        ({"data": [CLEAN]}, r"the batches hold a Tensor; expected Batch\(images, labels, names\)"),
        ({"data": BATCH}, "the batches hold a Tensor; expected Batch"),
        ({"data": [(CLEAN, [0, 1, 1, 1])]}, "the batches hold a tuple of Tensor, list; expected"),
        ({"data": [(CLEAN, LABELS[:2])]}, r"labels of shape \(2,\) .* 4 images"),
        ({"data": [(CLEAN, LABELS.float())]}, r"labels of shape \(4,\) and torch.float32"),
        ({"data": [(CLEAN * 255, LABELS)]}, "divide uint8 values by 255"),
        ({"data": 3}, "3 given; expected a plan"),
    ],
)
def test_calls_that_cannot_be(changes, said):
    given = {"data": [BATCH], "victims": {"b": Brightness()}, **FULL, **changes}
    if given["eps"] is None:
        del given["eps"]
    with pytest.raises(InputError, match=said):
        evaluate(given.pop("data"), given.pop("victims"), **given)


def test_no_image_has_no_accuracy():
    used_up = iter([])
    with pytest.raises(InputError, match="batches holds no image"):
        evaluate(used_up, {"b": Brightness()}, attack=darken, purifier=brighten, eps=0.1)
