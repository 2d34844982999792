import copy
import pickle

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.func import grad, vmap

from nrpurify import attacks
from nrpurify.core.errors import InputError
from nrpurify.defenses import MajorityVote, Protected, protect
from nrpurify.models import as_classifier
from nrpurify.purifiers import (
    DESIGNS,
    Card,
    Design,
    DynamicPurifier,
    Purifier,
    Strength,
    build_purifier,
    load_purifier,
    save_purifier,
)
from nrpurify.purifiers import checkpoint as checkpoint_module
from nrpurify.purifiers.gate import Gate
from nrpurify.weights import Preprocessing


class Victim(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, images, scale=1.0, *, bias=0.0):
        return self.conv(images).mean((2, 3)) * scale + bias


class Halve(nn.Module):
    def forward(self, images):
        return images / 2


@pytest.fixture
def victim():
    torch.manual_seed(0)
    return Victim().eval()


@pytest.fixture
def purifier():
    torch.manual_seed(1)
    return build_purifier("micro").eval()


def test_defense_comes_first_and_the_signature_stays(victim, images):
    protected = protect(victim, Halve())
    assert isinstance(protected, Protected)
    torch.testing.assert_close(protected(images), victim(images / 2))
    torch.testing.assert_close(protected(images, 3.0, bias=1.0), victim(images / 2, 3.0, bias=1.0))
    torch.testing.assert_close(protected(images=images, scale=2.0), victim(images / 2, 2.0))


def test_lists_of_images_of_different_sizes(purifier):
    class Detector(nn.Module):
        def forward(self, images, targets=None):
            return [(tuple(image.shape), image) for image in images], targets

    images = [torch.rand(3, 7, 9), torch.rand(3, 20, 4)]
    found, targets = protect(Detector(), purifier)(images, targets="t")
    assert targets == "t"
    assert [shape for shape, _ in found] == [(3, 7, 9), (3, 20, 4)]
    for image, (_, defended) in zip(images, found, strict=True):
        torch.testing.assert_close(defended, purifier(image[None])[0])


def test_a_victim_in_half_precision_is_attacked_as_it_is(victim, purifier, images):
    protected = protect(victim.to(torch.bfloat16), purifier)
    assert attacks.pgd(protected, images, eps=8 / 255, steps=1).shape == images.shape
    assert protected(images).dtype == torch.bfloat16


def test_a_vote_has_no_gradient_and_says_so(victim, images):
    voting = protect(victim, "noise:passes=3,combine=vote")
    with pytest.raises(InputError, match=r"a vote has none; .* or use square"):
        attacks.pgd(voting, images, eps=8 / 255, steps=1)


def test_any_callable_is_a_model(images):
    protected = protect(lambda x: x.mean((2, 3)), Halve())
    torch.testing.assert_close(protected(images), images.mean((2, 3)) / 2)


MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def normalized(images, order=(0, 1, 2)):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images[:, list(order)] - mean) / std


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_normalization_stands_between_defense_and_model(victim, images, order):
    given = {"preprocessing": Preprocessing(MEAN, STD, bgr=order[0] == 2)}
    if order[0] == 0:
        given = {"mean": MEAN, "std": STD}
    expected = victim(normalized(images / 2, order))
    torch.testing.assert_close(protect(victim, Halve(), **given)(images), expected)
    undone = protect(victim, Halve(), **given, images="normalized")
    torch.testing.assert_close(undone(normalized(images, order)), expected)
    (alone,) = protect(lambda batch: batch, Halve(), **given)([images[0]])
    torch.testing.assert_close(alone, normalized(images / 2, order)[0])


def test_normalization_leaves_the_state_and_the_precision_alone(victim, images):
    assert protect(victim, Halve(), mean=MEAN, std=STD).state_dict().keys() == {
        f"model.{name}" for name in victim.state_dict()
    }
    half = protect(victim.to(torch.bfloat16), Halve(), mean=MEAN, std=STD, images="normalized")
    assert half(normalized(images).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_normalized_images_of_any_precision_pass(dtype):
    extremes = torch.tensor([0.0, 1.0, 0.5]).view(1, 1, 1, 3).expand(2, 3, 4, 3)
    same = protect(lambda x: x, lambda z: z, mean=MEAN, std=STD, images="normalized")
    given = normalized(extremes).to(dtype)
    assert same(given).dtype == dtype
    torch.testing.assert_close(same(given), given)


@pytest.mark.parametrize(
    ("change", "given", "said"),
    [
        (lambda x: (x - 0.5) / 0.2, {}, r"images .*from -2.* give protect\(\) the model's mean="),
        (lambda x: (x - 0.5) / 0.2, {"mean": 0.5, "std": 0.2}, "normalizes inside"),
        (lambda x: x * 255, {}, "divide uint8 values by 255"),
        (lambda x: (x * 255).byte(), {}, "images is torch.uint8; expected floats"),
        (lambda x: x * torch.nan, {}, "remove NaN"),
        (lambda x: x[:, :1], {}, "expected N×3×H×W, RGB: gray images are repeated with .*expand"),
        (lambda x: x.permute(0, 2, 3, 1), {}, "the channels come last"),
        (lambda x: torch.cat([x, x[:, :1]], 1), {}, "leave out the alpha channel"),
        (lambda x: x[0], {}, "add a batch dimension"),
        (lambda x: x[..., :0], {}, "sides of at least 1 pixel: leave out empty crops"),
        (lambda x: [x[0], x[0, :, :0]], {}, r"images\[1\] .*sides of at least 1 pixel"),
        (lambda x: [x[0], x[0] * 300], {}, r"images\[1\] .*divide uint8"),
        (
            lambda x: x * -4,
            {"mean": 0.5, "std": 0.5, "images": "normalized"},
            "what the images have after undoing mean and std",
        ),
        (lambda x: "text", {}, r"no images among the arguments \(str\)"),
    ],
)
def test_images_that_cannot_be_are_refused(images, change, given, said):
    images[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    with pytest.raises(InputError, match=said):
        protect(lambda x: x, Halve(), **given)(change(images))


def test_normalized_images_that_are_not_normalized_warn(images):
    same = protect(lambda x: x, Halve(), mean=0.5, std=0.5, images="normalized")
    with pytest.warns(UserWarning, match="as images in .0, 1.; with images='normalized'"):
        same(images)


def test_a_model_of_one_channel_is_named(images):
    gray = nn.Conv2d(1, 2, 3)
    for model in (protect(gray, Halve()), as_classifier(gray)):
        with pytest.raises(InputError, match=r"one channel .*lambda x: model\(x\.mean\(1, keepdim"):
            model(images)
    protect(lambda x: gray(x.mean(1, keepdim=True)), Halve())(images)


def test_the_first_advice_fits_what_is_out_of_range(images):
    for given, said in (
        ({}, "clamp"),
        ({"mean": 0.5, "std": 0.5}, "clamp"),
    ):
        protected = protect(lambda x: x, Halve(), **given)
        for values in (images - 0.05, images + 0.1):
            with pytest.raises(InputError, match=r"expected \[0, 1\]: a little outside.*" + said):
                protected(values)
        with pytest.raises(InputError, match=r"expected \[0, 1\]: (pass images|this model)"):
            protected(images * 4 - 2)


def test_the_check_can_be_left_out(images):
    free = protect(lambda x: x, Halve(), check=False)
    assert torch.equal(free(images * 9), images * 4.5)


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        (lambda x: x, {"mean": 0.5}, "mean was given alone"),
        (lambda x: x, {"images": "normalized"}, "needs the normalization to undo"),
        (lambda x: x, {"images": "bytes"}, "images is 'bytes'; expected 'unit' or 'normalized'"),
        (Victim, {}, r"model is the class Victim; expected an object of it: Victim\(...\)"),
        ("resnet", {}, "model is a str; expected a module or function"),
        (lambda x: x, {"defense": Halve}, "defense is the class Halve"),
        (lambda x: x, {"defense": 3}, "defense is a int; expected .* or a name such as 'fast'"),
        (lambda x: x, {"defense": None}, "defense is None; expected .* or a name such as 'fast'"),
        (as_classifier(Victim(), mean=0.5, std=0.2), {"mean": 0.5, "std": 0.2}, "normalizes its"),
    ],
)
def test_arguments_that_cannot_be(model, given, said):
    with pytest.raises(InputError, match=said):
        protect(model, **{"defense": Halve(), **given})


@pytest.mark.parametrize("defense", ["jpeg", None, 3])
def test_names_are_for_protect(defense, images):
    for put in (lambda x: Protected(Victim(), x), attacks.BPDA):
        with pytest.raises(InputError, match=r"defense is .*; expected a module or function"):
            put(defense)
    with pytest.raises(InputError, match=r"protect\(\) takes names"):
        Protected(Victim(), defense)
    with pytest.raises(InputError, match=r"BPDA\(nrpurify\.defenses\.make\(name\)\)"):
        attacks.BPDA(defense)
    with pytest.raises(InputError, match="surrogate is a str"):
        attacks.BPDA(Halve(), "jpeg")
    with pytest.raises(InputError, match="model is a str"):
        MajorityVote("resnet50", 3)
    with pytest.raises(InputError, match="model is a str"):
        attacks.EOT("resnet50", 3)
    halved = Protected(lambda x: x, lambda x: x / 2)
    assert torch.equal(halved(images), images / 2)
    assert torch.equal(attacks.BPDA(lambda x: x / 2)(images), images / 2)


def test_a_model_of_a_library_without_normalization_warns():
    def of(home):
        kind = type("Net", (nn.Identity,), {"__module__": home})
        return protect(kind(), Halve())

    for home in ("torchvision.models.resnet", "timm.models.vgg", "transformers.models.vit"):
        with pytest.warns(UserWarning, match="Net of .* expects normalized images"):
            of(home)
    of("torchvision.models.detection.ssd")


class Texts(nn.Module):
    """As models of transformers: keywords, a config, methods of its own."""

    def __init__(self):
        super().__init__()
        self.config = {"labels": 3}

    def forward(self, input_ids=None, pixel_values=None, mask=None):
        return {"ids": input_ids, "seen": pixel_values, "mask": mask}

    def generate(self, pixel_values):
        return pixel_values


def test_images_are_found_by_position_or_keyword(images):
    ids, model = torch.ones(3, 7).long(), protect(Texts(), Halve())
    for found in (
        model(ids, images),
        model(pixel_values=images, input_ids=ids),
        model(ids, mask=None, pixel_values=images),
    ):
        assert torch.equal(found["seen"], images / 2)
        assert torch.equal(found["ids"], ids)
    mask = torch.ones(3, 1, 4, 4)
    for found in (
        protect(Texts(), Halve(), input="pixel_values")(mask=mask, pixel_values=images),
        protect(Texts(), Halve(), input="pixel_values")(mask, images, mask),
    ):
        assert torch.equal(found["mask"], mask)
        assert torch.equal(found["seen"], images / 2)
    with pytest.raises(InputError, match=r"no argument 'pixels' .*takes input_ids, pixel_values"):
        protect(Texts(), Halve(), input="pixels")(images)
    with pytest.raises(InputError, match=r"no images among the arguments \(no argument\)"):
        model()


@pytest.mark.parametrize("nothing", [[], ()])
def test_images_behind_an_empty_list_are_found(images, nothing):
    model = protect(Texts(), Halve())
    assert torch.equal(model(nothing, images)["seen"], images / 2)
    assert torch.equal(model(nothing, pixel_values=list(images))["seen"][0], images[0] / 2)
    assert model(nothing)["ids"] == []


@pytest.mark.parametrize("kind", [torch.clone, list])
def test_no_image_passes_undefended_unnoticed(images, kind):
    left, right = kind(images), kind(images / 2)
    with pytest.raises(InputError, match="pixel_values and mask both look like images"):
        protect(Texts(), Halve())(pixel_values=left, mask=right)
    found = protect(Texts(), Halve(), input="mask")(pixel_values=left, mask=right)
    assert torch.equal(found["seen"][0], images[0])
    assert torch.equal(found["mask"][0], images[0] / 4)


def test_attributes_of_the_model_are_reachable_but_not_its_methods(images):
    model = protect(Texts(), lambda z: z / 2)
    assert model.config == {"labels": 3}
    with pytest.raises(AttributeError, match=r"generate .*undefended.*\.model\.generate"):
        model.generate(images)
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = model.missing
    assert (
        copy.deepcopy(model).config == pickle.loads(pickle.dumps(protect(Texts(), Halve()))).config
    )


def test_any_callable_is_a_defense(images):
    protected = protect(lambda x: x.mean((2, 3)), lambda z: z / 2)
    torch.testing.assert_close(protected(images), images.mean((2, 3)) / 2)


def test_gradient_reaches_the_input_through_everything(victim, purifier, images):
    images.requires_grad_(True)
    protect(victim, purifier)(images).sum().backward()
    through = images.grad.clone()
    images.grad = None
    victim(images).sum().backward()
    assert through.abs().sum() > 0
    assert not torch.allclose(through, images.grad)


def test_model_is_not_changed(victim, purifier, images):
    state = copy.deepcopy(victim.state_dict())
    victim.train()
    protect(victim, purifier)(images)
    assert victim.training
    assert all(p.requires_grad for p in victim.parameters())
    assert all(torch.equal(v, state[k]) for k, v in victim.state_dict().items())


def test_names_and_files(monkeypatch, tmp_path, victim, purifier, images):
    file = tmp_path / "p.safetensors"
    save_purifier(purifier, file)
    expected = victim(purifier(images))
    monkeypatch.setattr(checkpoint_module, "shipped", lambda: {"fast": file})
    for arguments in ((), ("fast",), (file,), (str(file),)):
        protected = protect(victim, *arguments)
        assert isinstance(protected.defense, Purifier)
        torch.testing.assert_close(protected(images), expected)


def test_dynamic_mode(victim, purifier, images):
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return protect(victim, purifier, mode="dynamic", generator=generator)(images)

    assert isinstance(protect(victim, purifier, mode="dynamic").defense, DynamicPurifier)
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    with pytest.raises(InputError, match="mode is 'random'; expected 'static' or 'dynamic'"):
        protect(victim, purifier, mode="random")


def test_defense_follows_the_model_to_its_device(purifier):
    on_meta = nn.BatchNorm2d(3, affine=False, device="meta")
    protected = protect(on_meta, copy.deepcopy(purifier))
    assert {p.device.type for p in protected.parameters()} == {"meta"}
    assert {p.device.type for p in protect(nn.ReLU(), purifier).parameters()} == {"cpu"}


def test_data_parallel(victim, purifier, images):
    protected = protect(victim, purifier)
    parallel = nn.DataParallel(protected)
    torch.testing.assert_close(parallel(images, bias=2.0), protected(images, bias=2.0))


def exported(module, key=None):
    """Its program with batch, height and width left open, traced on images of odd sides."""
    sides = {0: Dim("batch", min=1), 2: Dim("height", min=17), 3: Dim("width", min=17)}
    shapes = (sides,) if key is None else {key: (sides,)}
    return torch.export.export(module, (torch.rand(2, 3, 37, 53),), dynamic_shapes=shapes).module()


def gated(design):
    """A purifier that corrects, with strength and gate."""
    torch.manual_seed(2)
    network = design.build()
    for weight in network.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=(2 / weight[0].numel()) ** 0.5)
    card = Card("small", design.architecture, dict(design.arguments))
    return Purifier(network, card, Strength(2, 1.5), Gate()).eval()


SIZES = [(1, 18, 19), (3, 48, 32), (2, 33, 64), (1, 17, 130)]


@pytest.mark.parametrize("given", [{}, {"mean": MEAN, "std": STD}])
def test_export_leaves_batch_and_sides_open(victim, given):
    design = Design("unshuffle-unet", {"widths": [12, 14], "blocks": [1, 1], "factor": 2})
    protected = protect(victim, gated(design) if given else "none", **given).eval()
    program = exported(protected, "args")
    for size in SIZES:
        images = torch.rand(size[0], 3, *size[1:])
        torch.testing.assert_close(program(images), protected(images))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast", "tiny", "nrp", "resg", "unet", "hgd", "ape-gan", "edsr"])
def test_every_network_is_exported(name):
    if name in ("fast", "tiny"):
        purifier = load_purifier(name)
    else:
        small = {"nrp": Design("nrp", {"width": 6, "blocks": 1, "growth": 3})}
        purifier = build_purifier(name) if name == "edsr" else gated(small.get(name, DESIGNS[name]))
    program = exported(purifier)
    for size in SIZES:
        images = torch.rand(size[0], 3, *size[1:])
        torch.testing.assert_close(program(images), purifier(images), atol=1e-5, rtol=1e-5)


def test_export_of_a_protected_model_with_fixed_sides(victim, purifier):
    protected = protect(victim, purifier).eval()
    program = torch.export.export(protected, (torch.rand(2, 3, 13, 21),))
    fresh = torch.rand(2, 3, 13, 21)
    torch.testing.assert_close(program.module()(fresh), protected(fresh))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("defense", ["gated", "jpeg", "median"])
def test_vmap_of_a_gradient(victim, images, defense):
    design = Design("unshuffle-unet", {"widths": [12, 14], "blocks": [1, 1], "factor": 2})
    protected = protect(victim, gated(design) if defense == "gated" else defense)
    found = vmap(grad(lambda image: protected(image[None])[0, 1]))(images)
    images.requires_grad_(True)
    (expected,) = torch.autograd.grad(protected(images)[:, 1].sum(), images)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_compile(victim, purifier):
    protected = protect(victim, purifier).eval()
    compiled = torch.compile(protected, backend="eager", fullgraph=True)
    for size in ((16, 16), (13, 21)):
        images = torch.rand(2, 3, *size, requires_grad=True)
        found = compiled(images, bias=1.0)
        torch.testing.assert_close(found, protected(images, bias=1.0))
        (gradient,) = torch.autograd.grad(found.sum(), images)
        assert gradient.abs().sum() > 0


class Scripted(nn.Module):
    """Votes for the listed classes in turn."""

    def __init__(self, votes):
        super().__init__()
        self.votes = iter(votes)

    def forward(self, images):
        return nn.functional.one_hot(torch.tensor(next(self.votes)), 3).float()


def test_majority_vote():
    shares = MajorityVote(Scripted([[0, 2], [1, 2], [0, 2], [0, 1]]), 4)(torch.zeros(2, 3, 1, 1))
    torch.testing.assert_close(shares, torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.25, 0.75]]))
    assert shares.argmax(1).tolist() == [0, 2]


def test_majority_vote_over_a_random_defense(victim, purifier, images):
    def votes():
        generator = torch.Generator().manual_seed(0)
        dynamic = protect(victim, purifier, mode="dynamic", generator=generator)
        return MajorityVote(dynamic, 5)(images)

    assert torch.equal(votes(), votes())
    torch.testing.assert_close(votes().sum(1), torch.ones(3))
    with pytest.raises(InputError, match="passes is 0; expected at least 1"):
        MajorityVote(victim, 0)
