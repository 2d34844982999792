"""Specs: what they make, what holds for all of it, and what they refuse."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nrpurify import defenses
from nrpurify.attacks import BPDA, pgd
from nrpurify.core.errors import GradientWarning, InputError
from nrpurify.core.spec import convert, parse
from nrpurify.defenses.create import defaults, is_random
from nrpurify.purifiers import Card, DynamicPurifier, Purifier, build_purifier, save_purifier

FREE = ["none", "jpeg", "tvm", "median", "rp:low=17,high=24", "nips-r3", "noise", "wavelet"]
RANDOM = ["rp:low=17,high=24", "nips-r3", "noise"]


@pytest.fixture
def tiny(tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "tiny.safetensors"
    save_purifier(build_purifier("micro"), file)
    return str(file)


def checkpoint(folder, defense, design="micro"):
    file = folder / f"{defense}.safetensors"
    network = build_purifier(design)
    card = network.card
    card = Card(card.name, card.architecture, card.arguments, {"recipe": {"defense": defense}})
    save_purifier(Purifier(network.network, card), file)
    return str(file)


@pytest.mark.parametrize("spec", FREE)
@pytest.mark.parametrize("size", [(16, 16), (13, 22)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_range_shape_and_dtype(spec, size, dtype):
    images = torch.rand(2, 3, *size).to(dtype)
    before = images.clone()
    found = defenses.make(spec)(images)
    assert found.dtype == dtype
    assert found.shape == ((2, 3, 24, 24) if spec.startswith("rp") else images.shape)
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("spec", FREE)
def test_images_alone_and_together_give_the_same(spec, images):
    together = defenses.make(spec, seed=3)(images)
    defense = defenses.make(spec, seed=3)
    alone = torch.cat([defense(image[None]) for image in images])
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=0)


@pytest.mark.parametrize("spec", [*FREE[1:], "tiny", "fast-v2"])
def test_other_than_batches_of_images_are_named(spec):
    defense = defenses.make(spec)
    for shape in ((3, 16, 16), (1, 1, 16, 16), (1, 3, 0, 16)):
        with pytest.raises(InputError, match=rf"shape {re.escape(str(shape))}; expected N×3×H×W"):
            defense(torch.rand(shape))
    with pytest.raises(InputError, match=r"uint8; expected floats"):
        defense(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


@pytest.mark.parametrize("spec", RANDOM)
def test_seeds_decide(spec, images):
    def draw(spec, seed=0):
        return defenses.make(spec, seed=seed)(images)

    assert torch.equal(draw(spec), draw(spec))
    assert not torch.equal(draw(spec), draw(spec, 1))
    own = f"{spec}{',' if ':' in spec else ':'}seed=1"
    assert torch.equal(draw(own), draw(spec, 1))
    defense = defenses.make(spec)
    assert not torch.equal(defense(images), defense(images))


@pytest.mark.parametrize("name", ["jpeg", "tvm", "wavelet", "nips-r3"])
def test_opaque_ones_have_no_gradient_and_work_with_bpda(name, images):
    assert not defenses.get(name).info["differentiable"]
    images.requires_grad_(True)
    defended = defenses.make(name)(images)
    (gradient,) = torch.autograd.grad(defended.sum(), images)
    assert torch.equal(gradient, torch.zeros_like(images))
    straight = BPDA(defenses.make(name))(images)
    (gradient,) = torch.autograd.grad(straight.sum(), images)
    assert torch.equal(gradient, torch.ones_like(images))


@pytest.mark.parametrize("spec", ["median", "rp:low=17,high=24", "noise"])
def test_the_others_have_one(spec, images):
    assert defenses.get(spec.partition(":")[0]).info.get("differentiable", True)
    images.requires_grad_(True)
    (gradient,) = torch.autograd.grad(defenses.make(spec)(images).sum(), images)
    assert gradient.abs().sum() > 0


def test_an_attack_through_an_opaque_defense_runs(images):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    hidden = defenses.Protected(model, defenses.make("jpeg"))
    with pytest.warns(GradientWarning, match="zero everywhere"):
        attacked = pgd(hidden, images, torch.zeros(3, dtype=torch.int64), eps=0.1)
    assert (attacked - images).abs().max() <= 0.1 + 1e-6


def test_a_chain_goes_from_left_to_right(images):
    chain = defenses.make("jpeg:quality=20 + median:size=5")
    expected = defenses.Median(5)(defenses.JPEG(20)(images))
    assert torch.equal(chain(images), expected)
    assert not torch.equal(chain(images), defenses.JPEG(20)(defenses.Median(5)(images)))


def test_links_of_a_chain_draw_apart(images):
    first, second = defenses.make("noise+noise")
    grey = torch.full_like(images, 0.5)
    assert not torch.equal(first(grey), second(grey))


def test_passes_of_a_chain_are_its_greatest():
    chain = defenses.make("noise:passes=3+rp:passes=7+jpeg")
    assert (chain.passes, chain.combine) == (7, "mean")
    assert defenses.make("jpeg+median").passes == 1
    with pytest.raises(InputError, match="one way to combine passes"):
        defenses.make("noise:passes=3,combine=vote+rp")


def test_purifiers(tiny, images):
    assert isinstance(defenses.make(tiny), Purifier)
    dynamic = defenses.make(f"{tiny}:mode=dynamic,seed=4,passes=5,eps=8/255")
    assert isinstance(dynamic, DynamicPurifier)
    assert (dynamic.passes, dynamic.combine, dynamic.eps) == (5, "vote", 8 / 255)
    expected = DynamicPurifier(
        defenses.make(tiny), eps=8 / 255, generator=torch.Generator().manual_seed(4)
    )
    assert torch.equal(dynamic(images), expected(images))


def test_a_file_whose_name_looks_like_a_chain(tmp_path, images):
    torch.manual_seed(0)
    file = tmp_path / "a+b:c=1.safetensors"
    save_purifier(build_purifier("micro"), file)
    assert isinstance(defenses.make(str(file)), Purifier)


@pytest.mark.parametrize("name", ["hgd", "ape-gan", "gnp", "fgsp"])
def test_trained_ones_come_from_their_own_recipe(tmp_path, name, tiny):
    file = checkpoint(tmp_path, name)
    assert isinstance(defenses.make(f"{name}:checkpoint={file}"), Purifier)
    with pytest.raises(InputError, match=rf"trained as 'nrp'; .* recipe '{name}'"):
        defenses.make(f"{name}:checkpoint={tiny}")
    with pytest.raises(InputError, match=rf"no weights are shipped; .*--recipe {name}"):
        defenses.make(name)


def test_super_resolution_doubles_the_size(tmp_path, images):
    file = checkpoint(tmp_path, "sr", "edsr")
    found = defenses.make(f"sr:checkpoint={file}")(images)
    assert found.shape == (3, 3, 24, 20)
    assert found.max() <= 1


def test_settings_are_all_told(tiny):
    assert defenses.settings("tvm:weight=10+none") == [
        {"name": "tvm", "weight": 10.0, "iterations": 100},
        {"name": "none"},
    ]
    (dynamic,) = defenses.settings(f"{tiny}:mode=dynamic,noise=1/10")
    assert dynamic["noise"] == 0.1
    assert dynamic["eps"] == 16 / 255


@pytest.mark.parametrize("name", defenses.names())
def test_entries_are_complete(name):
    entry = defenses.get(name)
    assert entry.info["source"]
    assert is_random(entry) == (name in ("rp", "nips-r3", "noise"))
    assert "generator" not in defaults(entry)
    for key, value in defaults(entry).items():
        assert convert(name, key, str(value), value) == value


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("jpg", "no defense 'jpg'; did you mean jpeg"),
        ("zzzz", "no defense 'zzzz'; expected one of none, jpeg"),
        ("resg", "resg is a purifier's design: train it first"),
        ("", "has an empty part"),
        ("jpeg+", "has an empty part"),
        ("x" * 5000, "no defense 'xxx"),
        ("a\0b", "no defense 'a"),
        ("nofile.onnx", "no defense 'nofile.onnx': there is no such file; expected"),
        ("runs/x.safetensors", "no defense 'runs/x.safetensors': there is no such file; expected"),
        ("jpeg+nofile.xml", "no defense 'nofile.xml': there is no such file; expected"),
        ("jpeg,fast", "for 2 defenses repeat --defense .* one chain by .: jpeg.fast"),
        ("jpeg:quality=75,fast", "'fast' is no setting; .*; another defense is a spec of its own"),
        ("jpeg:qualty=3", "jpeg has no setting 'qualty'; did you mean quality"),
        ("none:a=1", "none has no setting 'a'; there is none"),
        ("jpeg:seed=1", "jpeg has no setting 'seed'"),
        ("jpeg:quality=high", "jpeg: quality is 'high'; expected an integer"),
        ("jpeg:quality=7.5", "jpeg: quality is '7.5'; expected an integer"),
        ("jpeg:quality=500", "jpeg: quality is 500; expected 1 to 95"),
        ("tvm:weight=1/0", "tvm: weight is '1/0'; expected a number"),
        ("tvm:weight=nan", "tvm: weight is 'nan'; expected a number"),
        ("jpeg:quality=", "'quality=' is no setting"),
        ("rp:low=3,low=4", "rp: low is given twice"),
        ("rp:combine=max", "rp: combine is 'max'"),
        ("fast:mode=random", "mode is 'random'; expected 'static' or 'dynamic'"),
        ("fast:passes=3", "passes is 3; a static purifier answers always alike"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(InputError, match=message):
        defenses.make(spec)


words = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
values = st.from_regex(r"[a-z0-9./_-]{1,8}", fullmatch=True)


@given(
    st.lists(st.tuples(words, st.dictionaries(words, values, max_size=3)), min_size=1, max_size=4)
)
def test_what_is_written_is_parsed(links):
    texts = [
        name + (":" if chosen else "") + ",".join(f"{k}={v}" for k, v in chosen.items())
        for name, chosen in links
    ]
    found = parse("+".join(texts))
    assert [(link.name, link.settings) for link in found] == links
