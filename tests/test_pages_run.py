"""The Python blocks of README and the pages run, on small images; downloads of hubs are replaced.

Other tests run those of docs/architecture.md and docs/interoperability.md, the client of
docs/operations.md and the commands of README.
"""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import nrpurify
from nrpurify.core.images import to_picture, write_png
from nrpurify.core.registry import Registry

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


def run(page, names, leave_out=()):
    found = blocks(page)
    for index, block in enumerate(found):
        if index not in leave_out:
            exec(compile(block, f"{page}, block {index}", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def hubs(monkeypatch):
    """Networks of hubs come without their weights, those of transformers small."""
    import timm
    import torchvision
    import transformers

    for module, name in (
        (torchvision.models, "resnet50"),
        (torchvision.models.detection, "ssdlite320_mobilenet_v3_large"),
    ):
        build = getattr(module, name)

        def bare(weights=None, build=build, **more):
            if "ssd" in build.__name__:
                more = {"weights_backbone": None, **more}
            return build(weights=None, **more)

        monkeypatch.setattr(module, name, bare)
    create = timm.create_model

    def random_model(name, pretrained=False, **more):
        return create(name, pretrained=False, **more)

    monkeypatch.setattr(timm, "create_model", random_model)
    small = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2, "image_size": 64, "patch_size": 8}
    vit = transformers.ViTForImageClassification(transformers.ViTConfig(**small))
    processor = transformers.ViTImageProcessor(size={"height": 64, "width": 64})
    for name, result in (
        ("AutoImageProcessor", processor),
        ("AutoModelForImageClassification", vit),
    ):
        auto = getattr(transformers, name)
        monkeypatch.setattr(auto, "from_pretrained", lambda _, result=result: result)


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """What pages register is gone afterwards."""
    for one in (r for r in vars(sys.modules["nrpurify"]).values() if isinstance(r, Registry)):
        monkeypatch.setattr(one, "_entries", dict(one._entries))


@pytest.fixture
def names(tmp_path, monkeypatch):
    """Small inputs under the names that the pages use."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 1000)).eval()
    images = torch.rand(2, 3, 64, 64)
    for index, image in enumerate(images):
        write_png(Path("photos") / f"{index}.png", image)
    Path("photos.csv").write_text("image,label\n0.png,1\n1.png,2\n")
    return {
        "__name__": "page",
        "nrpurify": nrpurify,
        "torch": torch,
        "images": images,
        "photos": [to_picture(image) for image in images],
        "photo": images[0],
        "another_photo": images[1],
        "labels": model(images).argmin(1),  # wrong already, so attacks end early
        "model": model,
        "classifier": model,
        "first": model,
        "second": model,
        "generator": torch.Generator(),
    }


def test_readme(names):
    found = run("README.md", names)
    assert (found["attacked"] - found["images"]).abs().max() <= 16 / 255 + 1e-6


def test_quickstart(names):
    found = run("docs/index.md", names)
    assert found["logits"].shape == (2, 1000)
    assert found["purified"].shape == found["images"].shape


def test_python(names):
    found = run("docs/python.md", names, leave_out=range(4, 9))
    assert found["logits"].shape == (2, 2)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    names |= {"net": plain, "model": nrpurify.protect(plain)}  # of any size, as the page asks
    run("docs/python.md", names, leave_out=range(4))
    assert found["clean"].shape == (2, 3, 64, 64)


def test_defenses(names):
    names["images"] = torch.rand(1, 3, 64, 64)
    names["model"] = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 10))
    run("docs/defenses.md", names)


def test_attacks(names):
    layer = nn.Sequential(nn.Conv2d(3, 4, 9, 9))
    names["extractor"] = nrpurify.FeatureExtractor(layer, "0")
    defense = nrpurify.defenses.make("jpeg:quality=75")
    names |= {"defense": defense, "my_purifier": nn.Identity(), "random_defense": nn.Dropout(0.1)}
    found = run("docs/attacks.md", names)
    attack = nrpurify.attacks.create("spsa:steps=2,samples=1")
    attacked = attack(names["model"], names["images"], names["labels"], eps=4 / 255)
    assert attacked.shape == found["images"].shape


def test_evaluation(names):
    from nrpurify.data.demo import foolbox_photos

    names["labeled_images"] = foolbox_photos()[:2]
    plan, build = blocks("docs/evaluation.md")
    quick = ('evaluate("quick", "runs/quick"', 'evaluate("demo", "runs/quick"')
    exec(
        plan.replace(*quick).replace(
            'labels="photos.csv"', 'labels="photos.csv", size=64, check_labels=False'
        ),
        names,
    )
    assert {cell.threat for cell in names["run"].cells} == {"none", "full gradient"}
    exec(build, names)
    network, _ = names["build"](8)
    assert network(names["images"]).shape == (2, 8)


def test_judge_a_defense(names):
    Path("my_defense.py").write_text(blocks("docs/guides/judge-a-defense.md")[0])
    found = run("docs/guides/judge-a-defense.md", names)
    assert found["attacked"].shape == found["images"].shape


def test_plug_ins(names):
    Path("my_plugin.py").write_text(blocks("docs/guides/plug-ins.md")[0])
    found = run("docs/guides/plug-ins.md", names, leave_out=[0])
    assert found["logits"].shape == (2, 10)
    assert (found["attacked"] - found["images"]).abs().max() > 0


def test_detector(names):
    found = run("docs/guides/detector.md", names)
    assert {"boxes", "scores", "labels"} <= set(found["found"][0])


def test_batch_job(names):
    found = run("docs/guides/batch-job.md", names)
    assert found["done"].failures == []
    assert len(list(Path("purified").glob("*.png"))) == 2


def test_tasks(names):
    for folder in ("val2017", "object_detection", "camvid/test", "camvid/testannot"):
        Path(folder).mkdir(parents=True)
    write_png(Path("val2017/a.png"), torch.rand(3, 64, 64))
    Path("object_detection/a.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    write_png(Path("camvid/test/a.png"), torch.rand(3, 64, 64))
    from PIL import Image

    Image.new("L", (64, 64), 3).save("camvid/testannot/a.png")
    write_png(Path("attacked/ssp-16/a.png"), torch.rand(3, 64, 64))
    first, others, plan, segmenter, _ = blocks("docs/tasks.md")
    for block in (first, others, plan.replace("steps=30", "steps=2"), segmenter):
        exec(block, names)
    assert {cell.task for cell in names["run"].cells} == {"detect"}
    assert names["classes"].shape == (2, 64, 64)


def test_training(names):
    """The page's recipe takes hours: its calls run with the recipe ``smoke`` on a CPU."""
    (block,) = blocks("docs/training.md")
    block = block.replace('"fast", steps=3000', '"smoke", steps=1').replace('"cuda"', '"cpu"')
    for index in range(8):
        write_png(Path("photos") / f"more{index}.png", torch.rand(3, 96, 96))
    exec(block.replace("resume=True", "resume=False"), names)
    assert json.loads(Path("runs/mine/recipe.json").read_text())
