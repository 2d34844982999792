import pytest
import torch
from torch import nn

from nrpurify.evaluation import find_warnings
from nrpurify.evaluation.label_check import at_chance
from nrpurify.evaluation.provenance import networks_seen
from nrpurify.evaluation.threats import check_gradients, is_random
from nrpurify.purifiers import Card, Purifier


def kinds(*cells):
    return [warning["kind"] for warning in find_warnings(cells)]


@pytest.fixture
def white(cell):
    def make(name="w", **changes):
        given = {"attack": "pgd", "eps": 16 / 255, "threat": "full gradient", "value": 0.0}
        return cell(name, **given | changes)

    return make


@pytest.fixture
def black(white):
    def make(name="b", **changes):
        given = {"attack": "ssp", "threat": "oblivious transfer", "surrogate": "s", "value": 0.5}
        return white(name, **given | changes)

    return make


def test_a_sound_grid_has_no_warning(cell, white, black):
    assert kinds(cell("c"), white(), black()) == []
    assert kinds() == []


def test_random_defense_on_one_draw(black, white):
    random, voted = {"random": True, "passes": 1}, {"random": True, "passes": 30}
    assert kinds(black(settings=random)) == ["one draw"]
    assert kinds(black(settings=voted)) == []
    found = find_warnings([white("x", settings=voted), black("y", settings=voted)])
    assert [w["cells"] for w in found] == [["x"]]
    assert "use EOT" in found[0]["text"]
    assert kinds(white(threat="EOT", draws=10, settings=voted)) == []


@pytest.mark.parametrize(("zero", "broken"), [(0.25, 0.0), (0.0, 0.25)])
def test_gradients_of_zeros_or_nan(white, zero, broken):
    found = find_warnings([white(settings={"zero": zero, "broken": broken})])
    assert [w["kind"] for w in found] == ["no gradient"]
    assert "25%" in found[0]["text"]
    assert "0%" not in found[0]["text"]
    assert ("zeros" in found[0]["text"]) == bool(zero)
    assert ("NaN" in found[0]["text"]) == bool(broken)
    both = find_warnings([white(settings={"zero": 1.0, "broken": 0.5})])[0]["text"]
    assert "zeros at up to 100% and one of NaN or infinite values at up to 50% of the" in both
    assert kinds(white(settings={"zero": 0.0, "broken": 0.0})) == []


def test_gradients_met_on_the_way(black):
    for zero, broken, said in (
        (2, 0, "a gradient of zeros at up to 2 of 6 images:"),
        (0, 1, "a gradient with NaN or infinite entries at up to 1 of 6 images:"),
        (2, 1, "of zeros at up to 2 and one with NaN or infinite entries at up to 1 of 6 images:"),
    ):
        met = {"gradients": {"images": 6, "zero": zero, "not_finite": broken}}
        (found,) = find_warnings([black(settings=met)])
        assert said in found["text"]


def test_black_box_beats_white_box(white, black):
    weak = white(value=0.04)
    assert kinds(weak, black(value=0.02)) == ["black box beats white box"]
    assert kinds(weak, black(value=0.04)) == []
    assert kinds(weak, black(value=0.02, eps=8 / 255)) == []
    assert kinds(weak, black(value=0.02, victim="other")) == []
    assert kinds(weak, white("v", value=0.0), black(value=0.02)) == []
    assert kinds(weak, black(value=0.02, threat="score-based")) == ["black box beats white box"]
    weaker = white("v", value=0.05, threat="BPDA")
    (found,) = find_warnings([weak, weaker, black(value=0.02), black("c", value=0.5)])
    assert found["cells"] == ["w", "v", "b"]


def test_accuracy_that_survives_a_large_eps(white):
    assert kinds(white(value=0.2)) == ["survives large eps"]
    assert kinds(white(value=0.2, eps=8 / 255)) == []
    assert kinds(white("x", value=0.2), white("y", value=0.0)) == []
    assert kinds(white("x", value=0.2), white("y", value=0.0, eps=32 / 255)) == []
    assert kinds(white(value=0.05)) == []


def test_victim_that_is_the_surrogate(black):
    found = find_warnings([black(victim="s", settings={"in_mean": False}), black("other")])
    assert [(w["kind"], w["cells"]) for w in found] == [("victim is surrogate", ["b"])]


def test_clean_accuracy_at_chance(cell):
    assert kinds(cell("c", value=0.1)) == ["at chance"]
    assert kinds(cell("c", value=0.1, defense="fast")) == []
    assert kinds(cell("c", value=0.3)) == []


def test_network_seen_in_training(cell, black):
    seen = {"seen_in_training": ["vgg16"]}
    assert kinds(black(surrogate="vgg16", settings=seen)) == ["seen in training"]
    assert kinds(cell("c", victim="torchvision:vgg16", settings=seen)) == ["seen in training"]
    assert kinds(black(settings=seen)) == []
    assert kinds(black(surrogate="vgg16")) == []
    seen = {"seen_in_training": ["mobilenet_v2"]}
    assert kinds(cell("c", victim="mobilenet_v2_ridge", settings=seen)) == ["seen in training"]


def test_cards_tell_which_networks_trained_a_purifier():
    recipe = {
        "adversaries": [{"network": "vgg16"}, {"networks": ["a", "b"]}],
        "losses": {"features": ({"network": "alexnet", "weight": 1.0},)},
        "validation": {"victim": "shown"},
    }
    before = [{"recipe": {"adversaries": [{"network": "squeezenet1_1"}]}, "run": 1}]
    card = Card("p", "resg", training={"recipe": recipe, "before": before})
    defense = nn.Sequential(nn.Identity(), Purifier(nn.Identity(), card))
    assert networks_seen(defense) == ("a", "alexnet", "b", "squeezenet1_1", "vgg16")
    assert networks_seen(nn.Identity()) == ()


@pytest.mark.parametrize(
    ("correct", "total", "classes", "expected"),
    [(0, 20, 1000, True), (1, 20, 1000, False), (2, 20, 10, True), (8, 20, 10, False)],
)
def test_chance(correct, total, classes, expected):
    assert at_chance(correct, total, classes) is expected
    assert not at_chance(0, 4, classes)


def test_gradients_are_looked_at():
    images, labels = torch.rand(2, 3, 4, 4), torch.tensor([0, 1])
    linear = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    assert check_gradients(linear, images, labels) == (0.0, 0.0)
    assert check_gradients(lambda x: 0 * linear(x), images, labels) == (1.0, 0.0)
    assert check_gradients(lambda x: linear(x) * float("nan"), images, labels) == (0.0, 1.0)


def test_randomness_is_found_by_asking_twice():
    images = torch.rand(1, 3, 4, 4)
    assert is_random(nn.Dropout(0.5), images)
    assert not is_random(nn.Identity(), images)
