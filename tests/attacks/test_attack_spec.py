"""Attacks and their settings in one line of text."""

import pytest
import torch

from nrpurify import attacks
from nrpurify.attacks.spec import merge_settings, read_spec, spec_settings
from nrpurify.batch import AttackOptions
from nrpurify.core.errors import InputError
from nrpurify.core.spec import split_specs

WRITTEN = {float: "0.5", int: "3", bool: "true", str: "text", type(None): "0.01"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("ssp", ("ssp", {})),
        ("pgd:steps=40,step_size=2/255", ("pgd", {"steps": 40, "step_size": 2 / 255})),
        ("mi-fgsm:momentum=0.9", ("mi-fgsm", {"momentum": 0.9})),
        ("apgd-ce:early_stop=false", ("apgd-ce", {"early_stop": False})),
    ],
)
def test_a_spec_gives_name_and_settings(spec, expected):
    name, settings = read_spec(spec)
    assert (name, settings) == (expected[0], pytest.approx(expected[1]))


@pytest.mark.parametrize("name", attacks.names())
def test_every_setting_of_an_attack_can_be_written(name):
    settings = spec_settings(attacks.get(name))
    for key, default in settings.items():
        assert key in read_spec(f"{name}:{key}={WRITTEN[type(default)]}")[1]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pgdd", "did you mean pgd"),
        ("pgd:stepz=3", "no setting 'stepz'; did you mean steps"),
        ("pgd:steps=many", "steps is 'many'"),
        ("pgd:eps=8/255", "--eps"),
        ("pgd+fgsm", "joins 2"),
        ("pgd:steps", "steps"),
    ],
)
def test_a_spec_that_cannot_be_used_says_why(spec, message):
    with pytest.raises(InputError, match=message):
        read_spec(spec)


def test_commas_between_specs_are_no_commas_between_settings():
    found = split_specs("ssp:steps=4,step_size=2/255, cda,noise:kind=uniform")
    assert found == ["ssp:steps=4,step_size=2/255", "cda", "noise:kind=uniform"]


def test_a_setting_is_given_once():
    assert merge_settings({"steps": 4}, step_size=0.1, restarts=None) == {
        "steps": 4,
        "step_size": 0.1,
    }
    with pytest.raises(InputError, match="steps is given twice"):
        merge_settings({"steps": 4}, steps=5)


def test_options_of_files_take_a_spec():
    options = AttackOptions(name="pgd:steps=4", step_size=0.1)
    assert (options.name, options.given) == ("pgd", {"steps": 4, "step_size": 0.1})


def test_the_settings_decide_the_images():
    """``noise:kind=uniform`` and ``noise`` differ, and the first is the keyword's result."""
    images = torch.full((1, 3, 8, 8), 0.5)
    name, settings = read_spec("noise:kind=uniform")
    drawn = [
        attacks.get(name).function(None, images, generator=torch.Generator().manual_seed(0), **more)
        for more in (settings, {"kind": "uniform"}, {})
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
