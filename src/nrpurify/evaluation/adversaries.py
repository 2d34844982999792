"""Attacked images on disk: made once, verified by a manifest each time they are read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from nrpurify.attacks.box import round_within
from nrpurify.attacks.gradient_log import GradientCount, log_gradients
from nrpurify.core.files import read_json, write_json
from nrpurify.core.hashing import file_hash
from nrpurify.core.image_tensors import load_image_tensor, save_image_tensor
from nrpurify.core.images import read_image, write_png
from nrpurify.evaluation.harness import Batch, check_budget

Rounding = Literal["float", "uint8"]
MANIFEST = "manifest.json"


def checked(clean: Tensor, attacked: Tensor, eps: float, rounding: Rounding) -> Tensor:
    """The attacked images within their budget; ``uint8`` rounds them to 8 bits inside it.

    Raises:
        AssertionError: The attack left its budget or [0, 1].
    """
    check_budget(clean, attacked, eps)
    return round_within(attacked, clean, eps).to(clean) if rounding == "uint8" else attacked


@dataclass
class Adversaries:
    """The attacked images of one attack at one eps: a folder with a manifest.

    ``manifest.json`` holds the ``head`` (all that decides the images), ``seconds`` spent, and by
    file ``source_sha256``, ``sha256`` and ``linf``, the ‖δ‖∞ as it is stored; where gradients led
    nowhere, ``gradient`` with the counts of :class:`nrpurify.attacks.gradient_log.GradientCount`.

    Attributes:
        folder: Where they are.
        head: Settings, versions and hashes of weights, as plain values.
        make: Attacks a batch.
        eps: The budget.
        rounding: ``uint8`` keeps PNG files, ``float`` safetensors.
    """

    folder: Path
    head: dict[str, Any]
    make: Callable[[Batch], Tensor]
    eps: float
    rounding: Rounding
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.head = json.loads(json.dumps(self.head))
        try:
            found = read_json(self.folder / MANIFEST)
            if found["head"] == self.head:
                self.files = dict(found["files"])
                self.seconds = float(found["seconds"])
        except (OSError, ValueError, TypeError, KeyError):
            self.files = {}  # made anew: what no manifest vouches for is not used

    def get(self, batch: Batch, hashes: Sequence[str]) -> Tensor:
        """The attacked images of a batch, from disk if all are there, whole and unchanged.

        Args:
            batch: Clean images.
            hashes: sha256 of their files.

        Raises:
            AssertionError: The attack left its budget.
        """
        paths = [self._path(name) for name in batch.names]
        if not all(self._holds(path, sha) for path, sha in zip(paths, hashes, strict=True)):
            self._make(batch, paths, hashes)
        return torch.stack([self._read(path) for path in paths]).to(batch.images)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{'.png' if self.rounding == 'uint8' else '.safetensors'}"

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _read(self, path: Path) -> Tensor:
        return read_image(path).rgb if self.rounding == "uint8" else load_image_tensor(path)

    def _holds(self, path: Path, source: str) -> bool:
        entry = self.files.get(self._key(path))
        return (
            entry is not None
            and entry.get("source_sha256") == source
            and path.is_file()
            and entry.get("sha256") == file_hash(path)
        )

    def gradients(self) -> list[GradientCount]:
        """What the attack met at each image made so far."""
        return [GradientCount.from_dict(entry.get("gradient")) for entry in self.files.values()]

    def _make(self, batch: Batch, paths: Sequence[Path], hashes: Sequence[str]) -> None:
        begun = time.perf_counter()
        with log_gradients() as log:
            made = self.make(batch)
        counts = log.images or [GradientCount()] * len(paths)
        attacked = checked(batch.images, made, self.eps, self.rounding)
        self.seconds += time.perf_counter() - begun
        write = write_png if self.rounding == "uint8" else save_image_tensor
        rows = zip(paths, hashes, attacked, batch.images, counts, strict=True)
        for path, source, image, clean, count in rows:
            write(path, image)
            self.files[self._key(path)] = {
                "source_sha256": source,
                "sha256": file_hash(path),
                "linf": float((image - clean).abs().max()),
                **({"gradient": known} if (known := count.to_dict()) else {}),
            }
        write_json(
            self.folder / MANIFEST,
            {"head": self.head, "seconds": round(self.seconds, 3), "files": self.files},
        )
