"""Certificates of labeled image files, kept in a folder so that a run can be resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nrpurify import models
from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.files import write_json, write_text
from nrpurify.core.hashing import pixels_hash
from nrpurify.core.images import load_batch
from nrpurify.core.precision import arithmetic
from nrpurify.core.progress import SILENT, Progress
from nrpurify.core.random import derive_generator
from nrpurify.core.registry import origins_used
from nrpurify.core.versions import versions
from nrpurify.data.labels import LabeledImage
from nrpurify.evaluation.certify import base_classifier, certify
from nrpurify.evaluation.certify_plan import CertifyPlan, warn_of_sigma
from nrpurify.purifiers import load_purifier
from nrpurify.weights import weights_hash

RADII = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Radii of the summary."""
RESULTS, SUMMARY = "certificates.jsonl", "certify.json"


@dataclass
class Certified:
    """The certificates of a folder.

    Attributes:
        rows: One an image: name, label and the fields of
            :class:`~nrpurify.evaluation.certify.Certificate`.
        settings: What decided them.
        broken: Images that could not be read, with reasons; they are in no number.
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]
    broken: list[str] = field(default_factory=list)

    def accuracy(self, radius: float = 0.0) -> float:
        """Share of the images whose right answer is certified at ``radius``."""
        right = [r for r in self.rows if r["prediction"] == r["label"] and r["radius"] >= radius]
        return len(right) / len(self.rows)

    def summary(self) -> dict[str, Any]:
        """Settings, counts and certified accuracy at :data:`RADII`, and each image."""
        return {
            "settings": self.settings,
            "images": len(self.rows),
            "abstained": sum(r["prediction"] is None for r in self.rows),
            "certified_accuracy": {f"{radius:g}": self.accuracy(radius) for radius in RADII},
            "rows": self.rows,
            "broken": self.broken,
        }


def certify_images(
    items: Sequence[LabeledImage],
    plan: CertifyPlan,
    out: str | Path,
    *,
    resume: bool = False,
    progress: Progress = SILENT,
    left_out: Sequence[str] = (),
) -> Certified:
    """Certify labeled image files, image by image.

    Args:
        items: Files with labels from 0.
        plan: How.
        out: Folder that gets ``certificates.jsonl``, a line for each finished image, and in the end
            ``certify.json``.
        resume: Keep the finished images of a run with the same settings in ``out``.
        progress: Sees the images done.
        left_out: Images that are in no item since they could not be read, with reasons.

    Warns:
        UserWarning: The purifier was trained against noise of another sigma.

    Raises:
        InputError: No image that can be read, a label that the victim has no class for, a run in
            ``out`` without ``resume``, or one with other settings.
    """
    device = torch.device(plan.device)
    with origins_used() as origins:
        victim = models.load_classifier(plan.victim).to(device)
        purifier = load_purifier(plan.purifier, device=device) if plan.purifier else None
    if purifier is not None:
        warn_of_sigma(purifier.card, plan.sigma)
    settings = {
        **asdict(plan),
        "purifier_sha256": purifier.card.sha256 if purifier else None,
        "victim_sha256": weights_hash(plan.victim, victim),
        "precision": arithmetic(plan.amp, plan.device),
        **versions(origins),
    }
    log = _Log(Path(out), settings)
    kept = log.open(resume)
    classify = base_classifier(victim, purifier, plan.amp)
    certified = Certified([], settings, list(left_out))
    highest = max((item.label for item in items), default=0)
    for index, item in enumerate(items):
        try:
            image = load_batch([item.path], plan.size, crop=True)[0]
        except ImageError as error:
            certified.broken.append(str(error))
            continue
        if not certified.rows:
            _check_label(highest, classify, image.to(device), plan.victim)
        digest = pixels_hash(image)
        row = kept.get((digest, item.label))
        if row is None:
            found = certify(
                classify,
                image.to(device),
                sigma=plan.sigma,
                n0=plan.n0,
                n=plan.n,
                alpha=plan.alpha,
                group=plan.group,
                generator=derive_generator(plan.seed, "certify", digest),
            )
            row = {"name": item.path.name, "label": item.label, **asdict(found), "pixels": digest}
            log.add(row)
        certified.rows.append({**row, "name": item.path.name})
        progress.update("certify", index + 1, len(items))
    if not certified.rows:
        reasons = "; ".join(certified.broken[:3])
        raise InputError(f"no image of {len(items)} can be read: {reasons}")
    write_json(Path(out) / SUMMARY, certified.summary())
    return certified


@torch.no_grad()
def _check_label(
    highest: int, classify: Callable[[Tensor], Tensor], image: Tensor, victim: str
) -> None:
    classes = classify(image[None]).shape[1]
    if highest >= classes:
        raise InputError(
            f"label {highest} (counted from 0); {victim} has classes 0 to {classes - 1}"
        )


@dataclass
class _Log:
    """Finished images on disk: a line of settings, then a line for each image."""

    folder: Path
    settings: dict[str, Any]

    @property
    def file(self) -> Path:
        return self.folder / RESULTS

    def open(self, resume: bool) -> dict[tuple[str, int], dict[str, Any]]:
        """The finished images by pixels and label."""
        first = json.dumps({"settings": self.settings}, sort_keys=True)
        if not self.file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.file, first + "\n")
            return {}
        if not resume:
            raise InputError(f"{str(self.folder)!r} holds a run; add --resume to go on with it")
        lines = self.file.read_text(encoding="utf-8").split("\n")
        if lines[0] != first:
            raise InputError(
                f"{str(self.file)!r} was made with other settings; use the same, or another folder"
            )
        finished = lines[1:-1]  # what follows the last line break was cut off
        write_text(self.file, "".join(f"{line}\n" for line in (first, *finished)))
        rows = [json.loads(line) for line in finished]
        return {(row["pixels"], row["label"]): row for row in rows}

    def add(self, row: dict[str, Any]) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, sort_keys=True) + "\n")
