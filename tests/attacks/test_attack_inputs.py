"""Bad input and what is said of it; labels, targets and answers."""

import pytest
import torch
from torch import nn

from nrpurify.attacks import EOT, get, i_fgsm, mi_fgsm, names, noise, pgd, random_targets
from nrpurify.attacks.constraints import per_sample
from nrpurify.attacks.forward import forward_in_batches, groups, predict
from nrpurify.attacks.losses import Criterion
from nrpurify.core.errors import InputError
from nrpurify.defenses import MajorityVote

NAMES = [
    name for name in names() if get(name).surrogate != "features" and "linf" in get(name).info.norms
]
# sgm and ghost need residual blocks: test_transfer_attacks.py
GRADIENT = [name for name in NAMES if get(name).labels and name not in ("sgm", "ghost")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("eps", "message"),
    [
        (16, r"eps is 16; expected a value in \(0, 1\]; write 16 of 255 as 16/255"),
        (0.0, "eps is 0"),
        (-0.1, "eps is -0.1"),
        (float("nan"), "eps is nan"),
        (torch.ones(2), "eps has 2 values for 3 images"),
    ],
)
def test_eps(name, eps, message, classifier, images):
    with pytest.raises(InputError, match=message):
        get(name).function(classifier, images, eps=eps)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x * 2, r"expected \[0, 1\]"),
        (lambda x: x * float("nan"), "remove NaN"),
        (lambda x: (x * 255).to(torch.uint8), "divide uint8 by 255"),
        (lambda x: x[0], "add a batch dimension"),
    ],
)
def test_images(name, spoil, message, classifier, images):
    with pytest.raises(InputError, match=message):
        get(name).function(classifier, spoil(images))


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1]), r"labels has shape \(2,\) for 3 images; expected \(3,\)"),
        (torch.tensor([0.0, 1, 2]), "labels is torch.float32; expected integers"),
        (torch.tensor([True, False, True]), "labels is torch.bool; expected integers"),
        ([0, 1, 2], "labels is a list; expected a tensor"),
        (torch.tensor([0, 1, 5]), "class 5; the surrogate has classes 0 to 4; labels that count"),
        (torch.tensor([0, -1, 2]), "class -1; the surrogate has classes 0 to 4$"),
    ],
)
def test_labels(name, labels, message, classifier, images):
    with pytest.raises(InputError, match=message):
        get(name).function(classifier, images, labels)


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 5, 1)),
            r"answered \((\d), 5, \d+, \d+\) to \1 images; expected .* \(\1, classes\)",
        ),
        (nn.Sequential(nn.Conv2d(3, 5, 1), nn.Flatten(0, 2)), r"answered \(\d+, \d+\)"),
        (
            nn.Sequential(nn.Conv2d(3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            r"answered \((\d), 1\) to \1 images; .* two classes: .* torch.cat",
        ),
    ],
)
def test_models_that_are_no_classifiers(name, model, message, images, labels):
    with pytest.raises(InputError, match=message):
        get(name).function(model, images, labels)


# tap smooths the perturbation, too, which has a gradient: it warns of zeros
@pytest.mark.parametrize(
    "name",
    [n for n in GRADIENT if get(n).info.needs == "classifier" and n != "tap"] + ["ddn", "cw"],
)
@pytest.mark.filterwarnings("ignore:autoattack. the answers look like probabilities")
def test_a_vote_has_no_gradient(name, classifier, images, labels):
    norm = get(name).info.norms[0]
    labels = MajorityVote(classifier.eval(), 2)(images).argmax(1)
    with pytest.raises(InputError, match="the model's answer has no gradient, a vote has none"):
        get(name).function(MajorityVote(classifier, 2), images, labels, norm=norm)


@pytest.mark.parametrize("name", GRADIENT)
def test_no_model(name, images, labels):
    with pytest.raises(InputError, match=r"the model is a NoneType; .* expected a module"):
        get(name).function(None, images, labels)


def test_other_answers(images):
    with pytest.raises(InputError, match="answered dict to 3 images"):
        i_fgsm(lambda x: {"logits": x}, images)
    with pytest.raises(InputError, match=r"answered \(6, 3, 12, 10\)"):
        i_fgsm(EOT(nn.Identity(), 2), images)


@pytest.mark.parametrize("name", [n for n in GRADIENT if "steps" in get(n).settings])
@pytest.mark.parametrize("steps", [0, -3, 2.5, "3"])
def test_steps(name, steps, classifier, images):
    with pytest.raises(InputError, match=f"steps is {steps!r}; expected at least 1"):
        get(name).function(classifier, images, steps=steps)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("pgd", {"step_size": 2}, "step_size is 2; expected a value in"),
        ("pgd", {"preset": "papr"}, "no preset 'papr'"),
        ("pgd", {"start": "nose"}, "no start 'nose'"),
        ("dim", {"diversity": 1.5}, "diversity is 1.5; expected a probability"),
        ("dim-ti", {"smoothing": 4}, "smoothing is 4; expected 0 or an odd number"),
        ("mi-fgsm", {"momentum": -1.0}, "momentum is -1.0"),
        ("r-fgsm", {"start_share": 1.0}, "between 0 and 1"),
        ("r-fgsm", {"start_share": 0.0}, r"expected a value in \(0, 1\]"),
        ("fsa", {"regularization": 0.0}, "regularization is 0.0; expected more than 0"),
        ("apgd-ce", {"restarts": 0}, "restarts is 0; expected at least 1"),
        ("square", {"restarts": -1}, "restarts is -1; expected at least 1"),
        ("square", {"p_init": 1.5}, r"p_init is 1.5; expected a value in \(0, 1\]"),
        ("noise", {"kind": "pink"}, "no kind of noise 'pink'; expected one of sign, uniform"),
        ("mi-fgsm", {"momentum": float("inf")}, "momentum is inf; expected 0 or more, and finite"),
        ("apgd-ce", {"momentum": 1.5}, r"momentum is 1.5; expected a value in \(0, 1\]"),
        ("apgd-t", {"rho": -1.0}, r"rho is -1.0; expected a value in \[0, 1\]"),
        ("apgd-t", {"classes": 1.5}, "classes is 1.5; expected at least 1, a whole number"),
        ("fab-t", {"classes": 0}, "classes is 0; expected at least 1, a whole number"),
        ("autoattack", {"queries": 0}, "queries is 0; expected at least 1, a whole number"),
        ("pi-fgsm", {"amplification": -1.0}, "amplification is -1.0; expected more than 0"),
        ("tap", {"power": 0.0}, "power is 0.0; expected more than 0"),
        ("tap", {"feature_weight": float("nan")}, "feature_weight is nan; expected 0 or more"),
        ("deepfool", {"candidates": 1}, "candidates is 1; expected at least 2, a whole number"),
        ("deepfool", {"overshoot": -0.5}, "overshoot is -0.5; expected 0 or more"),
        ("ddn", {"gamma": 1.0}, r"gamma is 1.0; expected a value in \(0, 1\)"),
        ("fmn", {"gamma": -1.0}, r"gamma is -1.0; expected a value in \(0, 1\)"),
        ("fmn", {"max_stepsize": 0.0}, "max_stepsize is 0.0; expected more than 0"),
        ("cw", {"searches": 0}, "searches is 0; expected at least 1, a whole number"),
        ("cw", {"step_size": -1.0}, "step_size is -1.0; expected more than 0"),
        ("cw", {"confidence": -1.0}, "confidence is -1.0; expected 0 or more"),
        ("hopskipjump", {"queries": 1.5}, "queries is 1.5; expected at least 1, a whole number"),
        ("dim", {"generator": [torch.Generator()]}, "1 generators for 3 images"),
    ],
)
def test_settings(name, change, message, classifier, images):
    with pytest.raises(InputError, match=message):
        get(name).function(classifier, images, **change)


# --- targets ---------------------------------------------------------------------------------


def test_a_targeted_attack_needs_targets_and_no_other_takes_any(classifier, images, labels):
    with pytest.raises(InputError, match="targeted is True and no targets were given"):
        pgd(classifier, images, labels, targeted=True)
    with pytest.raises(InputError, match="targeted is False and targets were given"):
        pgd(classifier, images, labels, targeted=False, targets=labels)
    with pytest.raises(InputError, match="targets has class 7"):
        pgd(classifier, images, targets=labels + 3)
    both = [
        pgd(classifier, images, targets=labels, start="clean", **more)
        for more in ({}, {"targeted": True})
    ]
    assert torch.equal(*both)


def test_targets_are_approached(classifier, images, labels):
    found = pgd(classifier, images, targets=labels, eps=0.5, steps=30)
    classifier.eval()
    before, after = (torch.log_softmax(classifier(x), 1) for x in (images, found))
    rows = torch.arange(3)
    assert (after[rows, labels] > before[rows, labels]).all()


def test_random_targets_are_never_the_label_and_reach_all_others():
    labels = torch.arange(4).repeat(500)
    targets = random_targets(labels, 4, torch.Generator().manual_seed(0))
    assert (targets != labels).all()
    counts = torch.bincount(4 * labels + targets, minlength=16).view(4, 4)
    assert counts.fill_diagonal_(150).min() > 120
    again = random_targets(labels, 4, torch.Generator().manual_seed(0))
    assert torch.equal(targets, again)


# --- noise and answers -----------------------------------------------------------------------


def test_noise_of_both_kinds():
    images = torch.full((2, 3, 20, 20), 0.5)
    signs = (noise(None, images, eps=0.1) - images) / 0.1
    torch.testing.assert_close(signs.abs(), torch.ones_like(signs))
    assert abs(signs.mean()) < 0.1
    even = (noise(None, images, eps=0.1, kind="uniform") - images) / 0.1
    assert even.abs().max() > 0.95
    assert 0.45 < even.abs().mean() < 0.55


def test_images_of_one_shape_go_together_where_it_changes_nothing():
    inputs = [torch.zeros(1, 3, side, side) for side in (4, 5, 4, 5, 5)]
    assert groups(inputs) == [[0], [1], [2], [3], [4]]
    with torch.autocast("cpu", torch.bfloat16):
        assert groups(inputs) == [[0, 2], [1, 3, 4]]


@pytest.mark.parametrize("amp", [True, False])
def test_answers_come_in_the_order_of_the_images(amp):
    inputs = [torch.full((1, 3, side, side), float(k)) for k, side in enumerate((4, 5, 4, 5))]
    assert forward_in_batches(lambda x: x.mean((1, 2, 3)), inputs, amp).tolist() == [0, 1, 2, 3]


def test_diverse_inputs_give_the_same_one_by_one_and_in_groups(classifier, images, labels):
    options = {"steps": 3, "diversity": 0.5, "eps": 0.1}
    exact, grouped = (
        get("dim").function(
            classifier,
            images,
            labels,
            amp=amp,
            generator=torch.Generator().manual_seed(1),
            **options,
        )
        for amp in (False, True)
    )
    assert ((exact - grouped).abs() < 0.01).float().mean() > 0.8


def test_a_goal_averages_the_losses_of_the_draws():
    answers = torch.randn(2, 3, 4)
    goal = Criterion(torch.tensor([1, 3]), targeted=True)
    expected = torch.log_softmax(answers, 2)[torch.arange(2), :, goal.classes].mean(1)
    torch.testing.assert_close(goal.loss(answers), expected)


def test_plain_functions_are_models_as_well(classifier, images, labels):
    model = classifier.eval()
    assert torch.equal(mi_fgsm(lambda x: model(x), images, labels), mi_fgsm(model, images, labels))
    assert torch.equal(predict(lambda x: model(x), images), model(images).argmax(1))


@pytest.mark.parametrize("eps", ["8/255", None, object(), ["a"]])
def test_a_budget_that_is_no_number(eps):
    with pytest.raises(InputError, match=r"eps is .*; expected one number or one an image"):
        per_sample(eps, torch.zeros(2, 3, 4, 4))
