"""A real plug-in: by a file, by an installed package, and by a plan, from the command line."""

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
import torch

from nrpurify.attacks.registry import ATTACKS
from nrpurify.cli import main
from nrpurify.core import plugins
from nrpurify.core.errors import WeightsError
from nrpurify.core.images import read_image, write_png
from nrpurify.defenses.registry import DEFENSES
from nrpurify.evaluation.metrics import METRICS
from nrpurify.evaluation.tasks import TASKS
from nrpurify.models.registry import VICTIMS
from nrpurify.purifiers import build_purifier, load_purifier, save_purifier
from nrpurify.purifiers.registry import PURIFIERS

EXAMPLE = Path(__file__).parent / "example"
FILE = EXAMPLE / "nrpurify_example.py"
REGISTRIES = (ATTACKS, DEFENSES, VICTIMS, PURIFIERS, TASKS, METRICS)
NAMES = (
    *("one-color", "posterize", "brightest-channel", "two-convolutions", "retrieve", "recall"),
)
SHA256 = hashlib.sha256(FILE.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def clean(no_plugins):
    """Forget plug-ins behind each test."""
    before = set(sys.modules)
    yield
    forget()
    for name in set(sys.modules) - before:
        if "nrpurify_example" in name:
            del sys.modules[name]


def forget():
    for registry, name in zip(REGISTRIES, NAMES, strict=True):
        registry.forget(name)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as pip lays it out: the module and its dist-info with entry points."""
    site = tmp_path / "site"
    info = site / "nrpurify_example-1.2.3.dist-info"
    info.mkdir(parents=True)
    (site / FILE.name).write_bytes(FILE.read_bytes())
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: nrpurify-example\nVersion: 1.2.3\n"
    )
    (info / "top_level.txt").write_text("nrpurify_example\n")
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in project["entry-points"].items()
        )
    )
    monkeypatch.syspath_prepend(str(site))
    forget()  # the list of entry points is read again
    return site


@pytest.fixture
def photos(tmp_path):
    """Six images in three folders, a channel each."""
    for label in range(3):
        for index in range(2):
            image = 0.2 * torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(index))
            image[label] += 0.5
            path = tmp_path / "photos" / str(label) / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, image)
    return tmp_path / "photos"


def plan(tmp_path, photos, more=""):
    path = tmp_path / "plan.yaml"
    path.write_text(
        f"images: {{folder: {photos}, size: 16, check_labels: false}}\n"
        "victims: [brightest-channel]\n"
        'defenses: ["posterize:levels=16"]\n'
        f"attacks: [{{name: one-color, eps: 8/255}}]\n{more}"
    )
    return path


def check_run(folder, version=""):
    run = json.loads((folder / "run.json").read_text("utf-8"))
    assert {cell["victim"] for cell in run["cells"]} == {"brightest-channel"}
    assert {cell["defense"] for cell in run["cells"]} == {"none", "posterize:levels=16"}
    (plugin,) = run["plugins"]
    assert (plugin["version"], plugin["sha256"]) == (version, SHA256)


def test_a_file_from_the_command_line(tmp_path, photos):
    command = [
        "purify",
        str(photos / "0"),
        str(tmp_path / "out"),
        "--defense",
        "posterize:levels=3",
    ]
    assert main(command) == 2
    assert main([*command, "--plugin", str(FILE)]) == 0
    image = read_image(tmp_path / "out" / "0.png").pixels
    assert len(image.unique()) <= 3
    run = tmp_path / "run"
    assert (
        main(["grid", str(plan(tmp_path, photos)), "--out", str(run), "--plugin", str(FILE)]) == 0
    )
    check_run(run)


def test_a_plugin_that_is_loaded_and_not_used_changes_no_id(tmp_path, photos):
    other = tmp_path / "other.py"
    other.write_text(
        "import nrpurify\n\n\n"
        '@nrpurify.register_defense("other")\n'
        "def other():\n    return lambda images: images\n"
    )

    def ids(name, *options):
        command = ["grid", str(plan(tmp_path, photos)), "--out", str(tmp_path / name)]
        assert main([*command, "--plugin", str(FILE), *options]) == 0
        run = json.loads((tmp_path / name / "run.json").read_text("utf-8"))
        return [cell["id"] for cell in run["cells"]], [one["name"] for one in run["plugins"]]

    alone, loaded = ids("alone")
    assert loaded == [FILE.name]
    assert ids("both", "--plugin", str(other)) == (alone, [FILE.name, "other.py"])
    adversaries = {path.name for path in (tmp_path / "alone" / "adversaries").iterdir()}
    assert {path.name for path in (tmp_path / "both" / "adversaries").iterdir()} == adversaries
    DEFENSES.forget("other")


@pytest.mark.parametrize("command", ["purify", "attack"])
def test_a_folder_is_kept_when_another_plugin_is_loaded(tmp_path, photos, capsys, command):
    other = tmp_path / "other.py"
    other.write_text("import nrpurify\n")
    option = {"purify": ["--defense", "posterize"], "attack": ["--name", "one-color"]}[command]
    words = [command, str(photos / "0"), str(tmp_path / "out"), *option, "--plugin", str(FILE)]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--plugin", str(other)]) == 0
    assert "2 kept" in capsys.readouterr().err
    head = (tmp_path / "out" / "manifest.jsonl").read_text("utf-8")
    assert FILE.name in head  # which is used, and decides the images
    assert "other.py" not in head


def test_an_installed_package_needs_no_option(installed, tmp_path, photos):
    run = tmp_path / "run"
    assert main(["grid", str(plan(tmp_path, photos)), "--out", str(run)]) == 0
    check_run(run, "1.2.3")
    out = tmp_path / "result.json"
    command = ["evaluate", str(photos), "--victim", "brightest-channel:sharpness=2", "--size", "16"]
    assert main([*command, "--attack", "noise", "--out", str(out), "--no-check-labels"]) == 0
    assert "brightest-channel:sharpness=2" in json.loads(out.read_text("utf-8"))["victims"]


def test_a_plan_loads_its_plugins_only_if_trusted(tmp_path, photos, capsys):
    path = plan(tmp_path, photos, f"plugins: [{FILE}]\n")
    command = ["grid", str(path), "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert "code that would run" in capsys.readouterr().err
    assert not any("nrpurify_example" in name for name in sys.modules)
    assert main([*command, "--trust-plan"]) == 0
    check_run(tmp_path / "run")


def test_a_checkpoint_loads_no_plug_in(installed, tmp_path):
    purifier = build_purifier("two-convolutions")
    file = tmp_path / "own.safetensors"
    save_purifier(purifier, file)
    assert load_purifier(file).card.architecture == "two-convolutions"
    PURIFIERS.forget("two-convolutions")
    with pytest.raises(WeightsError, match="is not loaded; give --plugin nrpurify_example"):
        load_purifier(file)


RETRIEVE = (
    *("--task", "retrieve", "--metric", "recall", "--victim", "brightest-channel"),
    *("--size", "16", "--attack", "one-color:darker=true", "--eps", "16/255"),
    *("--defense", "posterize:levels=16"),
)


def check_retrieval(folder):
    run = json.loads((folder / "run.json").read_text("utf-8"))
    assert {(cell["task"], cell["metric"]) for cell in run["cells"]} == {("retrieve", "recall")}
    assert len(run["cells"]) == 4  # clean and attacked, with and without the defense
    clean = next(cell for cell in run["cells"] if cell["attack"] == "clean")
    assert (clean["value"], clean["n"]) == (1.0, 3)
    assert run["strips"]


def test_a_task_and_its_metric_from_the_command_line(tmp_path, photos):
    run = tmp_path / "run"
    command = ["evaluate", str(photos), *RETRIEVE, "--out", str(run), "--device", "cpu"]
    assert main([*command, "--plugin", str(FILE)]) == 0
    check_retrieval(run)
    assert main([*command, "--plugin", str(FILE), "--resume"]) == 0
    assert main(["report", str(run)]) == 0


def test_recall_counts_the_first_k(tmp_path):
    plugins.load_plugin(str(FILE))
    ranks, targets = torch.tensor([[0, 1], [1, 0], [2, 2]]), [0, 0, 0]
    for k, hits in ((1, 1), (2, 2)):
        metric = METRICS.create(f"recall:k={k}")
        metric.update(ranks, targets)
        assert metric.compute()["recall"].value == hits / 3


def list_installed(python, kind):
    done = subprocess.run(
        [python, "-m", "nrpurify", "list", kind, "--json"], capture_output=True, check=True
    )
    return {row["name"] for row in json.loads(done.stdout)}


@pytest.mark.slow
def test_pip_installs_all_six_kinds(tmp_path, photos):
    """Into an environment that sees this one's packages and nothing of this test."""
    venv.create(tmp_path / "env", system_site_packages=False, with_pip=False)
    python = str(tmp_path / "env" / "bin" / "python")
    site = Path(
        subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"])
        .decode()
        .strip()
    )
    seen = [path for path in sys.path if path and Path(path).is_dir()]
    (site / "seen.pth").write_text("\n".join(seen))
    source = tmp_path / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, str(source)], check=True)

    def nrpurify(*arguments):
        return subprocess.run([python, "-m", "nrpurify", *map(str, arguments)], check=True)

    kinds = ("attacks", "defenses", "victims", "purifiers", "tasks", "metrics")
    for kind, name in zip(kinds, NAMES, strict=True):
        assert name in list_installed(python, kind)
    out = tmp_path / "out"
    nrpurify("attack", photos, out / "attacked", "--name", "one-color", "--recursive")
    nrpurify("purify", photos, out / "purified", "--defense", "posterize", "--recursive")
    nrpurify("grid", plan(tmp_path, photos), "--out", out / "grid")
    check_run(out / "grid", "1.2.3")
    nrpurify("evaluate", photos, *RETRIEVE, "--out", out / "retrieve", "--device", "cpu")
    check_retrieval(out / "retrieve")
    code = (
        "from nrpurify.purifiers import build_purifier, save_purifier;"
        f"save_purifier(build_purifier('two-convolutions'), {str(tmp_path / 'own.safetensors')!r})"
    )
    subprocess.run([python, "-c", code], check=True)
    own = ("--purifier", tmp_path / "own.safetensors", "--plugin", "nrpurify_example")
    nrpurify("purify", photos / "0", out / "own", *own)
    assert len(list((out / "own").glob("*.png"))) == 2
