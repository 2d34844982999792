"""Attacked images that were made before, by ``nrpurify attack`` or an earlier run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.records import read_records
from nrpurify.core.spec import split_specs
from nrpurify.evaluation.batches import Batch
from nrpurify.evaluation.cache import folder_hash, look_up, read_made_before, unreadable
from nrpurify.evaluation.plan import PlannedAttack
from nrpurify.evaluation.tasks import Samples

HALF_STEP = 0.5 / 255
"""What rounding to 8 bits may add to a budget."""
DEFAULT_EPS = 16 / 255


@dataclass(frozen=True)
class MadeBefore:
    """A folder of attacked images.

    Attributes:
        folder: Where they are.
        eps: Their budget.
        name: Of the attack, as the manifest has it.
        surrogates: The networks that were attacked.
        steps: Iterations.
        settings: What the manifest says, with a hash of all images.
    """

    folder: Path
    eps: float
    name: str = "made before"
    surrogates: tuple[str, ...] = ()
    steps: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, attack: PlannedAttack) -> MadeBefore:
        """Read what is known of a plan's folder.

        Without a budget in the plan, it is that of the manifest, or the largest change that the
        manifest notes if rounding made that more.

        Raises:
            InputError: No such folder, or a manifest that cannot be read.
        """
        folder = Path(attack.attacked)
        if not folder.is_dir():
            raise InputError(f"{attack.attacked!r} is not a folder; expected attacked images")
        given = attack.eps[0] if attack.eps else None
        if read_records(folder) is None:
            found = {"attacked": folder.name, "attacked_sha256": folder_hash(folder)}
            return cls(folder, given or DEFAULT_EPS, attack.name or cls.name, settings=found)
        settings, eps = read_made_before(folder)
        return cls(
            folder,
            given or eps,
            attack.name or str(settings["attack"]),
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
            raise InputError(
                f"none of the {len(names)} attacked images can be read; {reasons[names[0]]}"
            )
        return {index: reasons[name] for index, name in enumerate(names) if name in reasons}

    def get(self, batch: Batch, paths: Sequence[Path]) -> Tensor:
        """The attacked images of a batch.

        Raises:
            InputError: One is missing, has another size, or is further off than its budget.
        """
        own = batch._replace(names=[str(path.absolute()) for path in paths])
        attacked = look_up(self.folder)(own)
        changes = (attacked - batch.images).abs().flatten(1).amax(1).tolist()
        for path, change in zip(paths, changes, strict=True):
            if change > self.eps + HALF_STEP:
                raise InputError(
                    f"{self.folder} changes {path.name} by {255 * change:.1f}/255; expected at "
                    f"most eps {255 * self.eps:g}/255: give the --eps at which it was attacked, "
                    "and the images and --size that were"
                )
        return attacked
