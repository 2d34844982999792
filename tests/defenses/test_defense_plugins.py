"""A defense that somebody else wrote is checked by the base, not by its author."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from nrpurify import defenses
from nrpurify.core.errors import InputError, PluginError
from nrpurify.defenses.registry import DEFENSES, register_defense


@pytest.fixture
def register():
    """Register a defense made of a function for one test."""

    def add(function, passes=1):
        @register_defense("mine", source="test")
        class Mine(nn.Module):
            def __init__(self, strength: float = 0.5) -> None:
                super().__init__()
                self.strength, self.passes, self.combine = strength, passes, "vote"

            def forward(self, images):
                return function(images)

        return Mine

    yield add
    for name in ("mine", "posterize"):
        DEFENSES.forget(name)


def test_a_decorated_class_is_a_defense_with_settings(register, images):
    register(lambda images: images.flip(3), passes=4)
    defense = defenses.make("mine:strength=1/4")
    assert torch.equal(defense(images), images.flip(3))
    assert (defense.passes, defense.combine, defense.strength) == (4, "vote", 0.25)
    assert defenses.settings("mine") == [{"name": "mine", "strength": 0.5}]
    assert torch.equal(defenses.make("mine+none")(images), images.flip(3))


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x * torch.nan, InputError, "the output of mine of the plug-in .*NaN"),
        (lambda x: x + 1, InputError, r"expected \[0, 1\]: clamp the defense's output"),
        (lambda x: x[:1], InputError, r"mine .* returned torch.float32 \(1, 3"),
        (lambda x: None, InputError, "returned NoneType"),
        (lambda x: (x * 255).byte(), InputError, "returned torch.uint8"),
        (lambda x: x @ "a", PluginError, "mine of the plug-in .* failed: TypeError"),
    ],
)
def test_the_base_refuses_what_a_defense_may_not_return(register, images, function, error, message):
    register(function)
    with pytest.raises(error, match=message):
        defenses.make("mine")(images)


def test_height_and_width_may_change(register, images):
    register(lambda x: nn.functional.interpolate(x, scale_factor=2))
    assert defenses.make("mine")(images).shape[2] == 2 * images.shape[2]


def test_a_function_of_nan_behind_protect_is_refused(images):
    protected = defenses.protect(lambda x: x.mean((2, 3)), lambda x: x / 0 * 0)
    with pytest.raises(InputError, match=r"the defense's output .*NaN"):
        protected(images)


def test_a_built_in_name_may_not_be_taken():
    with pytest.raises(InputError, match=r"the name of one of nrpurify\.defenses\.jpeg"):
        register_defense("jpeg")(nn.Identity)


def test_the_example_of_the_documentation_runs(register, images):
    page = Path(__file__).parents[2] / "docs" / "defenses.md"
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        if "register_defense" in block
    ]
    model = defenses.protect(lambda x: x.mean((2, 3)), "none")
    found = {"model": model}
    exec(code, found)
    assert found["model"](images).shape == (len(images), 3)
