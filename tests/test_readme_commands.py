"""Each command of README runs as it is written, on few small images, and leaves what is promised.

Options behind the command make it cheap. Weights of a hub are random; nothing else is replaced.
"""

import csv
import itertools
import json
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import httpx2
import pytest
import torch

from nrpurify.cli import main
from nrpurify.core.images import encode_png, from_uint8, read_image, write_png
from nrpurify.data.demo import foolbox_photos
from nrpurify.purifiers import load_purifier

ROOT = Path(__file__).parent.parent
SECTION = (ROOT / "README.md").read_text("utf-8").split("\n## Commands\n")[1].split("\n## ")[0]
LINES = re.findall(r"^nrpurify .*", SECTION, re.MULTILINE)
KINDS = ["attacks", *re.findall(r"\w+", LINES[-1].partition("# or ")[2])]


def words(name):
    """README's arguments of the command ``name``."""
    (line,) = [one for one in LINES if one.startswith(f"nrpurify {name} ")]
    return shlex.split(line, comments=True)[1:]


def pixels(path):
    return from_uint8(read_image(path).pixels)


@pytest.fixture
def run(capfd):
    """Run arguments in the current folder; gives stdout and stderr."""

    def command(*args, code=0):
        capfd.readouterr()
        found = main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        assert found == code, err
        return out, err

    return command


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photos(empty_folder):
    """Three photographs in photos/, one of them in a sub-folder, and labels.csv."""
    with Path("labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "label"])
        for index, photo in enumerate(foolbox_photos()[:3]):
            name = f"{'sub/' if index == 2 else ''}{index}.png"
            write_png(Path("photos") / name, pixels(photo.path))
            table.writerow([name, photo.label])


def pngs(folder):
    return {str(p.relative_to(folder)): pixels(p) for p in sorted(Path(folder).rglob("*.png"))}


def test_all_commands_are_here():
    names = {line.split()[1] for line in LINES}
    assert len(LINES) == len(names) >= 11
    source = Path(__file__).read_text("utf-8")
    assert [name for name in names if f'words("{name}")' not in source] == []


@pytest.mark.usefixtures("photos")
def test_purify(run):
    """Images with a broken one among them, then what the command's remark names."""
    sources = pngs("photos")
    Path("photos/broken.png").write_bytes(b"no image")
    _, err = run(*words("purify"), code=1)
    assert "3 purified, 0 kept, 1 failed" in err
    assert "broken.png" in err.splitlines()[-1]
    made = pngs("purified")
    assert made.keys() == sources.keys()
    for name, image in made.items():
        difference = (image - sources[name]).abs()
        assert image.shape == sources[name].shape
        assert 0 < difference.mean() < 0.05, name
    Path("photos/broken.png").unlink()
    Path("purified/0.png").unlink()
    assert "1 purified, 2 kept, 0 failed" in run(*words("purify"))[1]
    parts = [run(*words("purify"), "--overwrite", "--shard", f"{k}/2")[1] for k in (0, 1)]
    counts = [int(re.search(r"(\d) purified", part)[1]) for part in parts]
    assert sum(counts) == 3
    assert max(counts) < 3


@pytest.mark.usefixtures("photos")
def test_purify_tars_and_videos(run):
    av = pytest.importorskip("av")
    with tarfile.open("shard.tar", "w") as archive:
        archive.add("photos/0.png", "0.png")
    program, *_ = words("purify")
    run(program, "shard.tar", "purified/")
    with tarfile.open("purified/shard.tar") as archive:
        assert archive.getnames() == ["0.png"]
    with av.open("clip.mkv", "w") as clip:
        stream = clip.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "bgr0"
        frame = av.VideoFrame(48, 32, "bgr0")
        clip.mux(stream.encode(frame))
        clip.mux(stream.encode())
    run(program, "clip.mkv", "purified/")
    with av.open("purified/clip.mkv") as clip:
        assert [(f.width, f.height) for f in clip.decode(video=0)] == [(48, 32)]


@pytest.mark.parametrize("kind", KINDS)
def test_list(run, kind):
    known = {
        "attacks": "mi-fgsm",
        "defenses": "jpeg",
        "purifiers": "tiny",
        "victims": "efficientnet_lite0",
        "tasks": "segment",
        "metrics": "mIoU",
    }
    command, given = words("list")
    assert given == "attacks"
    assert known[kind] in run(command, kind)[0]


@pytest.mark.slow
def test_paper(run):
    """Then the report of that run, one self-contained page."""
    out, _ = run(*words("paper"))
    made = json.loads(Path("runs/table1/run.json").read_text())
    assert {"FGSM", "DIM-TI"} <= {entry["column"] for entry in made["paper"]}
    assert "each cell: paper / here" in out
    run("report", "runs/table1")
    check_report("runs/table1")


def check_report(folder):
    page = (Path(folder) / "report.html").read_text("utf-8")
    assert "<table" in page
    sources = re.findall(r"(?:src|<link[^>]* href)\s*=\s*[\"']([^\"']*)", page)
    assert all(source.startswith("data:") for source in sources)


@pytest.mark.slow
@pytest.mark.usefixtures("photos")
def test_attack(run):
    run(*words("attack"), "--recursive", "--steps", 2)
    clean, attacked = pngs("photos"), pngs("attacked")
    assert attacked.keys() == clean.keys()
    for name, image in attacked.items():
        assert (255 * (image - clean[name]).abs().max()).round() == 16
    settings = json.loads(Path("attacked/manifest.jsonl").read_text().splitlines()[0])["settings"]
    assert (settings["attack"], settings["surrogate"]) == ("ssp", "vgg16")


@pytest.mark.slow
@pytest.mark.usefixtures("photos")
def test_evaluate(run, monkeypatch):
    timm = pytest.importorskip("timm")
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, pretrained=False, **more: create(name, **more)
    )
    out, _ = run(*words("evaluate"), "--steps", 1, "--victim", "squeezenet1_1")
    found = json.loads(Path("results.json").read_text())
    assert found["settings"]["attack"] == "dim-ti"
    assert found["settings"]["surrogate"] == "efficientnet_lite0"
    assert set(found["mean"]) == {"clean", "attacked", "purified", "purified_clean"}
    assert f"{100 * found['mean']['purified']:.1f}" in out
    assert found["mean"]["clean"] >= 1 / 3  # the labels are those of the photographs


@pytest.mark.slow
def test_grid_and_its_report(run):
    """Of one photograph; the report is of the folder that the grid made."""
    run(*words("grid"), "--limit", 1)
    made = json.loads(Path("runs/quick/run.json").read_text())
    names = ("attack", "threat", "eps", "defense", "victim")
    cells = {tuple(cell.get(name) for name in names) for cell in made["cells"]}
    attacks, defenses, victims = ({c[k] for c in cells} for k in (slice(0, 3), 3, 4))
    assert len(attacks) == 6  # five, and clean images
    assert defenses == {"none", "jpeg:quality=75", "fast"}
    assert len(victims) == 2
    assert {"BPDA", "full gradient"} < {threat for _, threat, _ in attacks}
    transfers = [one for one in attacks if one[1] in ("none", "oblivious transfer")]
    assert len(transfers) == 4
    assert {(*a, d, v) for a, d, v in itertools.product(transfers, defenses, victims)} <= cells
    run(*words("report"))
    check_report("runs/quick")


@pytest.mark.slow
@pytest.mark.usefixtures("photos")
def test_train(run):
    """The recipe's losses and adversaries, but two photographs, one step and one of the gate."""
    changes = ["gate.steps=1", "gate.updates=1", "batch=2", "crop=64", "holdout=0.34"]
    changes += ["cache.shards=1", "cache.shard_size=2", "cache.crop=64"]
    changes += ["validation.photos=1", "validation.side=64", "validation.steps=1"]
    options = itertools.chain.from_iterable(("--set", change) for change in changes)
    run(*words("train"), "--steps", 1, *options)
    purifier = load_purifier("runs/mine/purifier.safetensors")
    assert purifier.card.architecture == load_purifier("fast").card.architecture
    assert purifier.card.training["recipe"]["steps"] == 1
    assert purifier.purify(torch.rand(1, 3, 32, 48)).shape == (1, 3, 32, 48)


@pytest.mark.slow
@pytest.mark.usefixtures("photos")
def test_serve():
    """Started on a free port, asked for its page and once for each of its works, and stopped."""
    command = [sys.executable, "-m", "nrpurify", *words("serve"), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            lines = iter(server.stderr.readline, "")
            address = next(f[1] for line in lines if (f := re.search(r"serving on (\S+);", line)))
            with httpx2.Client(base_url=address, timeout=120) as client:
                ask(client)
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate()
    assert server.returncode == 0


def ask(client):
    end = time.monotonic() + 120
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.1)
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" in page.text
    png, headers = encode_png(pixels("photos/0.png")), {"content-type": "image/png"}
    purified = client.post("/v1/purify", content=png, headers=headers)
    assert purified.headers["content-type"] == "image/png"
    Path("answer.png").write_bytes(purified.content)
    assert pixels("answer.png").shape == pixels("photos/0.png").shape
    victims = [model["name"] for model in client.get("/v1/models").json()["victims"]]
    assert victims == ["efficientnet_lite0"]


@pytest.mark.slow
def test_export(run):
    onnxruntime = pytest.importorskip("onnxruntime")
    out, _ = run(*words("export"))
    assert "largest difference" in out
    images = torch.rand(2, 3, 48, 40)
    session = onnxruntime.InferenceSession("fast.onnx")
    (name,) = [one.name for one in session.get_inputs()]
    made = torch.from_numpy(session.run(None, {name: images.numpy()})[0])
    assert (made - load_purifier("fast").purify(images)).abs().max() < 0.01
    assert (made - images).abs().max() > 0.01


@pytest.mark.slow
@pytest.mark.usefixtures("photos")
def test_certify(run):
    out, _ = run(*words("certify"), "--limit", 2, "--n0", 4, "--n", 40, "--size", 96)
    found = json.loads(Path("runs/certify/certify.json").read_text())
    assert found["images"] == 2
    assert found["settings"]["purifier"] == "denoise-025"
    assert Path("runs/certify/certify.svg").read_text().startswith("<svg")
    assert "l2 radius" in out


@pytest.mark.slow
def test_make_demo(run):
    """What ``make demo`` runs, whole: 20 photographs, five networks."""
    recipe = re.search(
        r"^demo:.*\n\t\$\(BIN\)/nrpurify (.*)", (ROOT / "Makefile").read_text(), re.M
    )
    run(*shlex.split(recipe[1]))
    assert "<table" in Path("out/demo/report.html").read_text("utf-8")
    found = json.loads(Path("out/demo/results.json").read_text())
    mean = found["mean"]
    assert len(found["victims"]) == 5
    assert mean["attacked"] + 0.1 < mean["purified"] < mean["clean"] + 0.05
