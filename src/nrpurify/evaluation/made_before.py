"""Attacked images that were made before, by ``nrpurify attack`` or an earlier run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.records import read_records
from nrpurify.core.spec import split_specs
from nrpurify.evaluation.batches import Batch, sizes
from nrpurify.evaluation.cache import folder_hash, look_up, read_made_before, unreadable
from nrpurify.evaluation.plan import PlannedAttack
from nrpurify.evaluation.tasks import Samples
from nrpurify.results.budget import Budget

HALF_STEP = 0.5 / 255
"""What rounding to 8 bits may add to a value."""
DEFAULT_EPS = 16 / 255


@dataclass(frozen=True)
class MadeBefore:
    """A folder of attacked images.

    Attributes:
        folder: Where they are.
        eps: Their budget.
        norm: Of the budget.
        name: Of the attack, as the manifest has it.
        surrogates: The networks that were attacked.
        steps: Iterations.
        settings: What the manifest says, with a hash of all images.
    """

    folder: Path
    eps: float
    norm: str = "linf"
    name: str = "made before"
    surrogates: tuple[str, ...] = ()
    steps: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, attack: PlannedAttack) -> MadeBefore:
        """Read what is known of a plan's folder.

        Without a budget in the plan, budget and norm are those of the manifest, or the largest
        change that the manifest notes if rounding made that more.

        Raises:
            InputError: No such folder, a manifest that cannot be read, or an l2 norm without any
                budget.
        """
        folder = Path(attack.attacked)
        if not folder.is_dir():
            raise InputError(f"{attack.attacked!r} is not a folder; expected attacked images")
        if read_records(folder) is None:
            settings: dict[str, Any] = {"attacked": folder.name}
            settings["attacked_sha256"] = folder_hash(folder)
            eps, norm = DEFAULT_EPS, "linf"
        else:
            settings, eps, norm = read_made_before(folder)
        if attack.eps:
            eps, norm = attack.eps[0], attack.norm
        elif attack.norm == "l2" != norm:
            raise InputError(
                f"norm l2 given; {attack.attacked!r} records no ℓ2 length: give the one at which "
                "its images were attacked as eps"
            )
        return cls(
            folder,
            eps,
            norm,
            attack.name or settings.get("attack", cls.name),
            tuple(split_specs(settings.get("surrogate") or "")),
            settings.get("steps"),
            settings,
        )

    def unreadable(self, samples: Samples) -> dict[int, str]:
        """Why attacked images cannot be read, by the numbers of their images.

        Raises:
            InputError: One is missing, or none can be read.
        """
        names = [str(path.absolute()) for path in samples.paths]
        reasons = unreadable(self.folder, names)
        if names and len(reasons) == len(names):
            raise InputError(f"no attacked image of {len(names)} can be read; {reasons[names[0]]}")
        return {index: reasons[name] for index, name in enumerate(names) if name in reasons}

    def get(self, batch: Batch, paths: Sequence[Path]) -> Tensor:
        """The attacked images of a batch.

        Raises:
            InputError: One is missing, has another size, or is further off than its budget.
        """
        own = batch._replace(names=[str(path.absolute()) for path in paths])
        attacked = look_up(self.folder)(own)
        changes = sizes(attacked - batch.images, self.norm).tolist()
        for path, change in zip(paths, changes, strict=True):
            if change > self.allowed(attacked):
                raise InputError(
                    f"{self.folder} changes {path.name} by {Budget(change, self.norm).text()}; "
                    f"expected at most eps {Budget(self.eps, self.norm).text()}: give the --eps "
                    "and --norm at which it was attacked, and the images and --size that were"
                )
        return attacked

    def allowed(self, images: Tensor) -> float:
        """The budget of N×3×H×W images, with what rounding to 8 bits may add to it."""
        values = images[0].numel() if self.norm == "l2" else 1
        return self.eps + HALF_STEP * math.sqrt(values)
