"""FIA, NAA and ILA against torchattack and their formulas; which layer they take."""

import pytest
import torch
from torch import nn

from nrpurify.attacks import EOT, Ensemble, create, fia, i_fgsm, ila, naa
from nrpurify.attacks.fia import middle_layers
from nrpurify.attacks.losses import Criterion
from nrpurify.attacks.problem import AttackProblem
from nrpurify.core.errors import InputError

EPS = 8 / 255
LABELS = torch.tensor([1, 0, 4])
OPTIONS = {"eps": EPS, "steps": 4, "samples": 5, "features": "2"}


def network(seed=11):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.Softplus(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(8 * 9, 5),
    ).eval()


@pytest.fixture
def images():
    return torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def same(found, expected):
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "ours"), [("FIA", fia), ("NAA", naa)])
def test_they_are_those_of_torchattack(name, ours, images, monkeypatch):
    """With the masks of FIA handed over; it draws one for the whole batch."""
    package = pytest.importorskip("torchattack")
    model = network()
    masks = [torch.rand(images.shape) >= 0.3 for _ in range(5)]
    options = {"eps": EPS, "steps": 4, "num_ens": 5, "feature_layer_cfg": "2"}
    attack = getattr(package, name)(model, device=torch.device("cpu"), **options)
    given = iter(masks)
    monkeypatch.setattr(torch, "bernoulli", lambda x: next(given).to(x))
    expected = attack(images, LABELS)
    monkeypatch.undo()
    if name == "FIA":
        kind = type(create("fia"))
        monkeypatch.setattr(kind, "images", lambda self, p: (p.clean * mask for mask in masks))
    same(ours(model, images, LABELS, **OPTIONS), expected)


def test_fia_drops_a_share_of_the_values(images):
    problem = AttackProblem(
        network(), images, torch.full((3, 1, 1, 1), EPS), criterion=Criterion(LABELS),
        source=[torch.Generator().manual_seed(k) for k in range(3)],
    )  # fmt: skip
    copies = torch.stack(list(create("fia:samples=40,drop=0.3").images(problem)))
    assert abs(float((copies == 0).float().mean()) - 0.3) < 0.01
    kept = torch.where(copies == 0, images, copies)
    assert torch.equal(kept, images.expand_as(kept))
    assert not torch.equal(copies[0] == 0, copies[1] == 0)
    assert not torch.equal(copies[0, 0] == 0, copies[0, 1] == 0)


@pytest.mark.parametrize("ours", [fia, naa])
def test_the_label_s_probability_falls(ours, images):
    model = network()
    labels = model(images).argmax(1)
    found = ours(model, images, labels, eps=0.1, generator=torch.Generator().manual_seed(0))
    before, after = (model(x).softmax(1).gather(1, labels[:, None]) for x in (images, found))
    assert (after < before).all()


def test_ila_follows_its_formula(images):
    """Sign steps from the clean image up (F(x) - F(clean))·(F(guide) - F(clean))."""
    model = network()
    guide = i_fgsm(model, images, LABELS, eps=EPS)
    with torch.no_grad():
        direction = model[:3](guide) - model[:3](images)
    x = images.clone()
    for _ in range(4):
        x.requires_grad_(True)
        (gradient,) = torch.autograd.grad((model[:3](x) * direction).sum(), x)
        x = x.detach() + EPS / 4 * gradient.sign()
        x = (images + (x - images).clamp(-EPS, EPS)).clamp(0, 1)
    same(ila(model, images, LABELS, eps=EPS, steps=4, features="2"), x)


def test_ila_of_another_baseline_and_toward_targets(images):
    model = network()
    targets = (LABELS + 1) % 5
    before, after = (
        nn.functional.cross_entropy(model(x), targets, reduction="none")
        for x in (images, ila(model, images, targets=targets, baseline="mi-fgsm:steps=20"))
    )
    assert (after < before).all()
    for bad in ("ila", "noise", "square"):
        with pytest.raises(InputError, match="expected an attack on classifiers by gradients"):
            create("ila", baseline=bad)
    with pytest.raises(InputError, match="no such norm or no targets"):
        ila(model, images, targets=targets, baseline="fia")


# --- layers ----------------------------------------------------------------------------------


def deep():
    """Convolutions of 1/1, 1/4, 1/8 and 1/16 of the side."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(4, 4, 4, stride=4),
        nn.Sequential(nn.Conv2d(4, 4, 2, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 1)),
        nn.Conv2d(4, 4, 2, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    ).eval()


def test_the_default_layer_is_the_last_of_an_eighth():
    image = torch.rand(1, 3, 32, 32)
    assert middle_layers(deep(), image) == ["2.2"]
    both = Ensemble(deep(), deep())
    assert middle_layers(both, image) == ["models.0.2.2", "models.1.2.2"]
    assert middle_layers(EOT(both, 2), image) == ["model.models.0.2.2", "model.models.1.2.2"]
    with pytest.raises(InputError, match="no convolution to take features of; name layers"):
        middle_layers(nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)), image)


@pytest.mark.parametrize("name", ["fia", "naa", "ila"])
def test_ensembles_and_eot(name, images):
    both = Ensemble(network(), network(1))
    labels = both(images).argmax(1)
    few = {"samples": 3} if name != "ila" else {}
    attack = create(name, steps=3, **few)
    found, again = (
        attack(model, images, labels, eps=0.1, generator=torch.Generator().manual_seed(0))
        for model in (both, EOT(both, 2))
    )
    change = both(found) - both(images)
    assert (change.gather(1, labels[:, None]) < 0).all()
    assert ((found - again).abs() < 1e-5).float().mean() > 0.99
