import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nrpurify.attacks.ssp import ssp
from nrpurify.core.errors import InputError, MissingExtraError, WeightsError
from nrpurify.defenses import protect
from nrpurify.models import detectors
from nrpurify.models.detectors import COCO_CATEGORIES, COCO_IDS, as_detector, load_detector, zoo
from nrpurify.models.detectors.anchors import anchors
from nrpurify.models.detectors.boxes import into_frame
from nrpurify.models.detectors.layers import resize_bilinear
from nrpurify.models.detectors.registry import DETECTORS, register_detector
from nrpurify.models.features import FeatureExtractor

pytest.importorskip("torchvision")
IMAGES = [
    torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    for size in ((40, 64), (72, 50))
]


@pytest.fixture(scope="module", params=detectors.detector_names())
def detector(request):
    torch.manual_seed(0)
    found = load_detector(request.param, pretrained=False, min_score=0.0, max_detections=7)
    if request.param == "centernet":
        found.size = 128  # it takes any size; a small one is quick
    return found


def test_answers_have_torchvisions_form(detector):
    found = detector(IMAGES)
    for answer, image in zip(found, IMAGES, strict=True):
        height, width = image.shape[1:]
        assert answer["boxes"].shape == (len(answer["scores"]), 4)
        assert 0 < len(answer["scores"]) <= 7
        assert answer["scores"].diff().le(0).all()
        assert (answer["boxes"] >= 0).all()
        assert (answer["boxes"] <= torch.tensor([width, height, width, height])).all()
        assert set(answer["labels"].tolist()) <= set(range(1, 91))


def test_one_image_alone_answers_as_in_a_list(detector):
    alone = detector(IMAGES[0][None])[0]
    torch.testing.assert_close(alone["boxes"], detector(IMAGES)[0]["boxes"], atol=1e-3, rtol=1e-4)
    assert detector([]) == []


def test_raw_outputs_are_differentiable_and_weights_are_frozen(detector):
    image = IMAGES[0][None].clone().requires_grad_()
    sum(part.square().mean() for part in detector.raw(image)).backward()
    assert image.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in detector.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_boxes_are_found_in_whole_precision(detector, dtype, monkeypatch):
    raw = tuple(part.to(dtype) for part in detector.raw(IMAGES[:1]))
    monkeypatch.setattr(detector, "_ask", lambda images: raw)
    (want,) = detector(IMAGES[:1])
    (found,) = copy.deepcopy(detector).to(dtype)(IMAGES[:1])
    assert found["boxes"].dtype == torch.float32
    torch.testing.assert_close(found["boxes"], want["boxes"], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("given", [torch.float32, torch.float16])
def test_weights_in_half_precision(dtype, given):
    detector = load_detector("coco_ssd", pretrained=False).to(dtype)
    found = detector([image.to(given) for image in IMAGES])
    assert [one["scores"].dtype for one in found] == [torch.float32] * 2
    assert all(part.dtype == dtype for part in detector.raw(IMAGES))


def test_a_module_gets_images_in_the_precision_of_its_weights():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 1)

        def forward(self, images):
            scores = [self.conv(image).mean()[None] for image in images]
            return [{"boxes": s.expand(1, 4), "scores": s, "labels": s.long()} for s in scores]

    found = as_detector(Net().to(torch.bfloat16))(IMAGES)
    assert found[0]["scores"].dtype == torch.bfloat16


def test_features_can_be_attacked_by_layer_name():
    torch.manual_seed(0)
    detector = load_detector("coco_ssd", pretrained=False)
    extractor = FeatureExtractor(
        detector.network, "blocks.2.project", nn.Upsample(size=(64, 64), mode="bilinear")
    )
    image = torch.rand(1, 3, 40, 64)
    attacked = ssp(extractor, image, eps=8 / 255, steps=2)
    assert 0 < float((attacked - image).abs().max()) <= 8 / 255 + 1e-6


@pytest.mark.parametrize(
    "images",
    [
        *(torch.rand(3, 8, 8), [torch.rand(1, 8, 8)], [torch.rand(1, 3, 8, 8)], ["x"]),
        *([torch.rand(3, 0, 8)], torch.rand(1, 3, 8, 0)),
    ],
)
def test_other_shapes_are_named(detector, images):
    with pytest.raises(InputError, match="expected"):
        detector(images)


def test_protect_keeps_boxes_in_the_frame_of_each_image(detector):
    class Flip(nn.Module):
        def forward(self, images):
            return images.flip(3)

    protected = protect(detector, Flip())
    flipped = detector([image.flip(2) for image in IMAGES])
    for found, want, image in zip(protected(IMAGES), flipped, IMAGES, strict=True):
        torch.testing.assert_close(found["boxes"], want["boxes"])
        assert float(found["boxes"][:, 0::2].max()) > 0.5 * image.shape[2]


def test_anchors_of_the_usual_grids():
    found = anchors()
    assert found.shape == (1917, 4)
    torch.testing.assert_close(found[0], torch.tensor([0.5 / 19, 0.5 / 19, 0.1, 0.1]))
    torch.testing.assert_close(found[-6], torch.tensor([0.5, 0.5, 0.95, 0.95]))


def test_categories():
    assert len(COCO_IDS) == 80
    assert [COCO_CATEGORIES[k] for k in (1, 13, 27, 44, 67, 90)] == [
        *("person", "stop sign", "backpack", "bottle", "dining table", "toothbrush")
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12), st.integers(1, 12))
def test_resize_reads_at_unaligned_places(height, width, new_height, new_width):
    """On a ramp, output i is the ramp's value at i · old / new, flat behind the last pixel."""
    rows = torch.arange(float(height)).view(1, 1, -1, 1).expand(1, 1, height, width)
    resized = resize_bilinear(rows, new_height, new_width)
    want = (torch.arange(new_height) * (height / new_height)).clamp(max=height - 1)
    assert resized.shape == (1, 1, new_height, new_width)
    torch.testing.assert_close(resized[0, 0, :, 0], want)


def test_boxes_are_cut_at_the_frame():
    boxes = into_frame(torch.tensor([[-0.5, 0.25, 1.5, 0.75]]), 20, 40)
    assert boxes.tolist() == [[0, 5, 40, 15]]


@pytest.mark.parametrize(
    "name", ["maskrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn"]
)
def test_torchvisions_detectors_by_name(name, monkeypatch):
    from torchvision.models import detection

    build = getattr(detection, name)
    small = {"weights": None, "weights_backbone": None, "min_size": 64, "max_size": 96}
    small["detections_per_img" if "retina" in name else "box_detections_per_img"] = 5
    monkeypatch.setattr("torchvision.models.get_model", lambda name, **kwargs: build(**small))
    torch.manual_seed(0)
    detector = load_detector(f"torchvision:{name}", pretrained=False)
    found = detector(IMAGES)
    assert [set(one) >= {"boxes", "scores", "labels"} for one in found] == [True, True]
    assert ("masks" in found[0]) == name.startswith("mask")
    assert not detector.training
    assert len(detector(torch.rand(1, 3, 40, 40))) == 1


def test_a_spec_has_settings():
    detector = load_detector("coco_ssd:min_score=0.25,max_iou=1/4", pretrained=False)
    assert (detector.min_score, detector.max_iou) == (0.25, 0.25)
    assert detector.name == "coco_ssd:min_score=0.25,max_iou=1/4"
    with pytest.raises(InputError, match="did you mean min_score"):
        load_detector("coco_ssd:min_scor=1", pretrained=False)


def test_anyone_registers_a_detector():
    @register_detector("corner", source="here")
    def corner(side: float = 4.0):
        found = {"boxes": torch.tensor([[0, 0, side, side]]), "scores": torch.ones(1)}
        return lambda images: [{**found, "labels": torch.ones(1)} for _ in images]

    try:
        assert "corner" in detectors.detector_names()
        detector = load_detector("corner:side=2")
        assert detector.name == "corner:side=2"
        assert detector(IMAGES)[1]["boxes"].tolist() == [[0, 0, 2, 2]]
    finally:
        DETECTORS.forget("corner")


def test_torchvision_names_and_options():
    with pytest.raises(InputError, match="maskrcnn_resnet50_fpn"):
        load_detector("torchvision:maskrcnn_resnet50", pretrained=False)
    with pytest.raises(InputError, match="has no setting 'max_iou'"):
        load_detector("torchvision:ssd300_vgg16", pretrained=False, max_iou=0.5)
    with pytest.raises(InputError, match="coco_ssd"):
        load_detector("coco_sd", pretrained=False)


def test_hub_out_of_reach(monkeypatch):
    def fail(name, **kwargs):
        raise OSError("unreachable")

    monkeypatch.setattr("torchvision.models.get_model", fail)
    with pytest.raises(WeightsError, match="coco_ssd, centernet"):
        load_detector("torchvision:fasterrcnn_resnet50_fpn")
    with pytest.raises(OSError, match="unreachable"):
        load_detector("torchvision:fasterrcnn_resnet50_fpn", pretrained=False)


def test_without_torchvision(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    monkeypatch.setitem(__import__("sys").modules, "torchvision.ops", None)
    with pytest.raises(MissingExtraError, match="nrpurify\\[models\\]"):
        zoo.torchvision_detector("x", pretrained=False)
    with pytest.raises(MissingExtraError, match="torchvision"):
        load_detector("coco_ssd", pretrained=False)(IMAGES)


def answer(k=2):
    return {
        "boxes": torch.zeros(k, 4),
        "scores": torch.zeros(k),
        "labels": torch.zeros(k, dtype=torch.long),
    }


def test_any_detector():
    detector = as_detector(lambda images: [answer() for _ in images], name="mine")
    assert len(detector(torch.rand(3, 3, 8, 8))) == 3
    assert as_detector(detector) is detector
    assert detector([]) == []
    with pytest.raises(InputError, match="callable"):
        as_detector(3)


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        ([answer()] * 2, "2 of them for 1 images"),
        (torch.zeros(1), "returned Tensor"),
        ([answer() | {"boxes": torch.zeros(2, 5)}], "boxes K×4"),
        ([{"boxes": torch.zeros(2, 4)}], "'scores': None"),
    ],
)
def test_any_detectors_wrong_answer(returned, text):
    with pytest.raises(InputError, match=text):
        as_detector(lambda images: returned)([torch.rand(3, 8, 8)])
