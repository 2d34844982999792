"""Export of a purifier, alone or with a classifier behind it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.core.files import check_writable
from nrpurify.core.hashing import tensors_hash
from nrpurify.core.versions import versions
from nrpurify.export.formats import find_format, written
from nrpurify.export.parity import IMAGES, LOGITS, SIZES, Parity, Size, check_parity
from nrpurify.export.program import load_defense, load_model, trace
from nrpurify.models import Classifier
from nrpurify.purifiers import Purifier

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: The file.
        format: ``onnx``, ``openvino`` or ``pt2``.
        size: Bytes, of all files together.
        parity: The largest difference from the eager module, for each size of images.
        tolerance: The largest that was allowed.
        about: What the file says of itself.
        seconds: Wall time, the check included.
    """

    path: Path
    format: str
    size: int
    parity: list[Parity]
    tolerance: float
    about: dict[str, Any]
    seconds: float

    @property
    def unit(self) -> str:
        """Of the differences."""
        return "of 255" if self.about["kind"] == "purifier" else "of the largest logit"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "path": str(self.path),
            "format": self.format,
            "bytes": self.size,
            "parity": {str(one): one.difference for one in self.parity},
            "unit": self.unit,
            "tolerance": self.tolerance,
            "about": self.about,
            "seconds": round(self.seconds, 2),
        }


def export(
    purifier: str | Path | nn.Module,
    path: str | Path,
    *,
    format: str | None = None,
    model: str | nn.Module | None = None,
    sizes: Sequence[Size] = SIZES,
    precision: str = "fp32",
) -> Exported:
    """Write a purifier with its strength and gate to one file for images of any size.

    The file takes ``images``, N×3×H×W float32 RGB in [0, 1], and returns ``purified`` images, or
    with ``model`` the N×C ``logits`` of the purified images. It is compared with the eager module,
    and takes its name only where both agree.

    Args:
        purifier: A spec that :func:`nrpurify.defenses.make` takes (``fast``,
            ``fast:coarse=1,fine=1``, a checkpoint file, a chain of such), or a module.
        path: Where to: ``.onnx``, ``.xml`` (OpenVINO, which puts a ``.bin`` beside it) or ``.pt2``
            (``torch.export``, for sides of at least 17 pixels).
        format: ``onnx``, ``openvino`` or ``pt2``; by default what ``path`` ends in.
        model: A victim's spec or a module from images to logits, see
            :func:`nrpurify.load_classifier`.
        sizes: Number of images, height and width of the images that are compared.
        precision: Of the arithmetic: ``fp32``, or ``fp16`` for a purifier alone as ONNX. Input
            and output stay float32.

    Raises:
        InputError: Names that do not exist, or a defense or model that cannot be exported.
        MissingExtraError: A library of the extra ``export`` is not installed.
        OSError: The file cannot be written.
        ParityError: The file gives other values; none is left.
    """
    started, path = time.monotonic(), Path(path)
    format = find_format(path, format)
    _check_precision(precision, format, model)
    check_writable(path)
    defense = load_defense(purifier)
    classifier = None if model is None else load_model(model)
    _LOG.info("tracing and comparing; this takes a minute on one core")
    module, program = trace(defense, classifier)
    about = {**_describe(defense, classifier), "precision": precision}
    tolerance = IMAGES[precision] if classifier is None else LOGITS
    output = "purified" if classifier is None else "logits"
    with written(program, path, format, about, output) as run:
        logits = classifier is not None
        parity = check_parity(module, run, logits=logits, sizes=sizes, tolerance=tolerance)
    files = [path, path.with_suffix(".bin")] if format == "openvino" else [path]
    size = sum(file.stat().st_size for file in files)
    seconds = time.monotonic() - started
    return Exported(path, format, size, parity, tolerance, about, seconds)


def _check_precision(precision: str, format: str, model: str | nn.Module | None) -> None:
    if precision == "int8":
        raise InputError(
            "the precision int8 is not offered: it cost more than one point of accuracy "
            "(docs/operations.md); take fp16 or fp32"
        )
    if precision not in IMAGES:
        raise InputError(f"the precision is {precision!r}; expected one of {', '.join(IMAGES)}")
    if precision == "fp16" and (format != "onnx" or model is not None):
        raise InputError(
            "the precision fp16 is for a purifier alone as ONNX: OpenVINO chooses its arithmetic "
            "when it loads a file, and a classifier's accuracy in fp16 is not measured; take fp32"
        )


def _describe(defense: nn.Module, classifier: Classifier | None) -> dict[str, Any]:
    """What a file records about itself: versions, purifiers' cards, strength and gate, model."""
    purifiers = [
        {
            "card": asdict(part.card),
            "strength": [round(factor, 6) for factor in part.strength.tolist()],
            "gate": part.gate is not None,
        }
        for part in defense.modules()
        if isinstance(part, Purifier)
    ]
    made = versions()
    about: dict[str, Any] = {
        "kind": "purifier" if classifier is None else "classifier",
        "nrpurify": made["nrpurify"],
        "torch": made["torch"],
        "images": "N×3×H×W float32 RGB in [0, 1]",
        "purifiers": purifiers,
        "sha256": tensors_hash(defense.state_dict()),
    }
    if classifier is not None:
        about["model"] = {
            "name": Path(classifier.name).name,
            "sha256": tensors_hash(classifier.state_dict()),
        }
    return about
