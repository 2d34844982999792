"""Anyone's model is a victim: specs of libraries and of the user's files, with settings."""

import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nrpurify import models
from nrpurify.core.errors import InputError, PluginError, WeightsError
from nrpurify.core.spec import same_network, split_specs
from nrpurify.models.detectors import load_detector
from nrpurify.models.features import feature_extractor
from nrpurify.models.segmenters import load_segmenter
from nrpurify.weights import weights_hash

SOURCE = """
import torch
from torch import nn
from nrpurify.weights import Preprocessing

def build(classes: int = 4, scale: float = 1.0):
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))

def normalized():
    return build(), Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), size=8)

def function():
    return lambda images: images.mean((2, 3))

def broken():
    raise RuntimeError("no luck")

def failing():
    return nn.Sequential(nn.Flatten(), nn.Linear(7, 3))

def words():
    return "resnet50"

def mapping():
    return lambda images: {"logits": images}

def maps():
    return nn.Identity()

def detector():
    return lambda images: [{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0),
                            "labels": torch.zeros(0, dtype=torch.int64)} for _ in images]

def segmenter():
    return nn.Conv2d(3, 2, 1), ("road", "rest")

class Viewing(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 8, 3), nn.Linear(8 * 6 * 6, 4)

    def forward(self, images):
        return self.linear(self.conv(images).view(len(images), -1))
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return "mine.py"


def test_a_function_in_a_file_makes_a_victim(file, images):
    victim = models.load_classifier(f"{file}:build:classes=6")
    assert victim.name == f"{file}:build:classes=6"
    assert victim(images).shape == (len(images), 6)
    assert not any(p.requires_grad for p in victim.parameters())
    assert models.load_classifier(f"./{file}:function")(images).shape == (len(images), 3)


def test_a_module_on_the_path_makes_one(file, images, tmp_path, monkeypatch):
    (tmp_path / "module_of_mine.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert models.load_classifier("python:module_of_mine:build")(images).shape[1] == 4


def test_preprocessing_is_the_functions_or_the_specs(file):
    victim = models.load_classifier(f"{file}:normalized")
    assert (victim.input_size, float(victim.mean[0]), float(victim.std[2])) == (8, 0.5, 0.25)
    victim = models.load_classifier(f'{file}:normalized:size=12,mean="0.1,0.2,0.3",std=1/2')
    assert victim.input_size == 12
    assert victim.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert victim.std.flatten().tolist() == [0.5] * 3


@pytest.mark.parametrize("kind", ["safetensors", "pt", "wrapped"])
def test_a_checkpoint_of_ones_own(file, tmp_path, kind):
    state = {
        key: value + 1
        for key, value in models.load_classifier(f"{file}:build").network.state_dict().items()
    }
    path = tmp_path / ("own.safetensors" if kind == "safetensors" else "own.pt")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "pt":
        torch.save(state, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, path)
    victim = models.load_classifier(f"{file}:build:checkpoint={path}")
    assert torch.equal(victim.network.state_dict()["2.bias"], state["2.bias"])


def test_checkpoints_that_do_not_fit_or_run_code(file, tmp_path):
    torch.save({"2.weight": torch.zeros(4, 3)}, tmp_path / "part.pt")
    with pytest.raises(WeightsError, match=r"1 tensors missing, such as 2\.bias"):
        models.load_classifier(f"{file}:build:checkpoint=part.pt")
    (tmp_path / "code.pt").write_bytes(pickle.dumps(nn.Linear))
    with pytest.raises(WeightsError, match="cannot be read as weights alone"):
        models.load_classifier(f"{file}:build:checkpoint=code.pt")
    with pytest.raises(InputError, match=r"no file 'absent\.pt'"):
        models.load_classifier(f"{file}:build:checkpoint=absent.pt")
    with (
        zipfile.ZipFile("part.pt") as given,
        zipfile.ZipFile("bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in given.namelist():
            bomb.writestr(name, given.read(name))
    with pytest.raises(WeightsError, match=r"bomb\.pt: .* is compressed"):
        models.load_classifier(f"{file}:build:checkpoint=bomb.pt")


@pytest.mark.parametrize(
    ("weight", "problem"),
    [
        (torch.ones(4, 3, dtype=torch.int8), r"2\.weight is torch\.int8; expected torch\.float32"),
        (torch.ones(4, 3, dtype=torch.cfloat), r"2\.weight is torch\.complex64; expected"),
        (torch.ones(4, 3, dtype=torch.double) * 1e300, r"2\.weight has NaN or infinite values"),
        (torch.ones(4, 3).to_sparse(), "a plain tensor each"),
        (torch.ones(4, 3, device="meta"), "a plain tensor each"),
        (None, "a plain tensor each"),  # under a name that is none
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_tensors_of_a_checkpoint_that_are_no_weights(file, tmp_path, weight, problem):
    state = {"2.weight": weight} if weight is not None else {2: torch.ones(4, 3)}
    torch.save({**state, "2.bias": torch.zeros(4)}, tmp_path / "odd.pt")
    with pytest.raises(WeightsError, match=problem):
        models.load_classifier(f"{file}:build:checkpoint=odd.pt")


def test_weights_of_8_bit_floats_are_taken(file, tmp_path):
    state = {"2.weight": torch.ones(4, 3).to(torch.float8_e4m3fn), "2.bias": torch.zeros(4)}
    torch.save(state, tmp_path / "small.pt")
    victim = models.load_classifier(f"{file}:build:checkpoint=small.pt")
    assert torch.equal(victim.network[2].weight, torch.ones(4, 3))


def test_settings_of_libraries(tmp_path):
    pytest.importorskip("timm")
    pytest.importorskip("torchvision")
    own = models.load_classifier("timm:test_efficientnet:pretrained=false,num_classes=7,size=64")
    assert (own.num_classes, own.input_size) == (7, 64)
    torch.save(own.network.state_dict(), tmp_path / "own.pt")
    spec = f"timm:test_efficientnet:num_classes=7,checkpoint={tmp_path / 'own.pt'}"
    again = models.load_classifier(spec)
    assert torch.equal(again.network.classifier.bias, own.network.classifier.bias)
    vision = "torchvision:squeezenet1_1:pretrained=false,weights=IMAGENET1K_V1"
    assert models.load_classifier(vision).name == vision


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("mine.py:broken", PluginError, r"mine\.py failed: RuntimeError: no luck"),
        ("mine.py:words", InputError, "returned a str; expected a model"),
        ("mine.py:build:clases=3", InputError, "no setting 'clases'; did you mean classes"),
        ("mine.py:build:size=0", InputError, "size is 0"),
        ("mine.py:build:mean=red", InputError, "mean is 'red'; expected one number, or three"),
        ("mine.py:build:std=0", InputError, "std is '0'; expected numbers above 0"),
        ("mine.py:biuld", InputError, "no function 'biuld'"),
        ("mine.py", InputError, "names no factory"),
        ("timm:test_efficientnet:pretraned=false", InputError, "did you mean pretrained"),
    ],
)
def test_specs_that_cannot_be_used(file, spec, error, message):
    with pytest.raises(error, match=message):
        models.load_classifier(spec, pretrained=False)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("failing", PluginError, r"mine\.py:failing of the plug-in mine\.py failed: RuntimeError"),
        ("mapping", InputError, r"mine\.py:mapping returned a dict"),
        ("maps", InputError, r"mine\.py:maps returned shape \(3, 3, .*expected logits"),
    ],
)
def test_outputs_that_are_no_logits(file, images, name, error, message):
    victim = models.load_classifier(f"mine.py:{name}")
    with pytest.raises(error, match=message):
        victim(images)


def test_a_changed_file_is_another_victim(file, tmp_path):
    first = models.load_classifier("mine.py:function")
    (tmp_path / "other.py").write_text(SOURCE + "\n# changed\n")
    second = models.load_classifier("other.py:function")
    assert weights_hash("a", first)
    assert weights_hash("a", first) != weights_hash("a", second)


def test_any_callable_is_a_victim(images):
    assert models.load_classifier(lambda x: x.mean((2, 3)))(images).shape == (len(images), 3)


def test_a_victim_of_a_file_is_a_surrogate_by_its_features(file, images):
    extractor = feature_extractor("mine.py:build", "network.2")
    assert extractor(images)[0].shape == (len(images), 4)


def test_detectors_and_segmenters_come_from_files_too(file, images):
    detector = load_detector("mine.py:detector")
    assert (detector.name, len(detector(list(images)))) == ("mine.py:detector", len(images))
    segmenter = load_segmenter("mine.py:segmenter")
    assert segmenter.classes == ("road", "rest")
    assert segmenter(images).shape[:2] == (len(images), 2)
    with pytest.raises(InputError, match="returned a str; expected a Segmenter"):
        load_segmenter("mine.py:words")


@pytest.mark.parametrize(
    ("load", "spec"),
    [
        (models.load_classifier, "squeezenet1_1"),
        (models.load_classifier, "xception_ridge"),
        (models.load_classifier, "torchvision:resnet18"),
        (load_detector, "coco_ssd"),
        (load_segmenter, "segnet-basic-camvid"),
    ],
)
def test_convolutions_of_known_models_lie_channels_last(load, spec):
    model = load(spec, pretrained=False)
    weights = [weight for weight in model.parameters() if weight.ndim == 4]
    assert weights
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


def test_a_model_of_ones_own_may_take_views(file):
    victim = models.load_classifier(f"{file}:Viewing")
    assert victim.network.conv.weight.is_contiguous()
    assert victim(torch.rand(2, 3, 8, 8)).shape == (2, 4)


def test_several_specs_in_one_text():
    text = 'a,timm:b:size=8,mean="0.1,0.2,0.3",c.py:d , e'
    assert split_specs(text) == ["a", 'timm:b:size=8,mean="0.1,0.2,0.3"', "c.py:d", "e"]
    assert split_specs("") == []


def test_one_network_under_several_names():
    assert same_network("timm:resnet50", "resnet50")
    assert same_network("timm:resnet50:size=256", "resnet50")
    assert same_network("xception", "xception_ridge")
    assert not same_network("a.py:build", "b.py:build")
    assert not same_network("timm:resnet50:checkpoint=a.pt", "timm:resnet50")


def test_a_neighbor_that_is_not_found_says_where_to_look(tmp_path, monkeypatch):
    (tmp_path / "own_network.py").write_text(SOURCE)
    (tmp_path / "victim.py").write_text("from own_network import build\n")
    (tmp_path / "other.py").write_text("import no_such_module\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PluginError, match=f"own_network.*set PYTHONPATH={tmp_path}"):
        models.load_classifier("victim.py:build")
    with pytest.raises(PluginError, match=r"No module named 'no_such_module'$"):
        models.load_classifier("other.py:build")
    monkeypatch.syspath_prepend(tmp_path)
    assert models.load_classifier("victim.py:build").num_classes is None
