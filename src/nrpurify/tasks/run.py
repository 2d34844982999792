"""A task's evaluation into a run folder: cells, attacked images, pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nrpurify import defenses
from nrpurify.attacks.gradient_log import gradient_notes
from nrpurify.core.errors import InputError
from nrpurify.core.files import check_writable
from nrpurify.core.random import derive_seed
from nrpurify.core.spec import same_network
from nrpurify.defenses.chain import passes_of
from nrpurify.evaluation.provenance import networks_seen, provenance, weights_hashes
from nrpurify.evaluation.strips import shown_defense
from nrpurify.evaluation.threats import is_random
from nrpurify.results import RUN_FILE, Result, Run, read_result, write_run
from nrpurify.results.reader import load_run
from nrpurify.tasks.attackers import prepare_attacks
from nrpurify.tasks.draws import Draws, check_one_pass, remembered
from nrpurify.tasks.plan import TaskPlan
from nrpurify.tasks.segmentation_cells import Attacked
from nrpurify.tasks.strips import strongest, write_strips
from nrpurify.tasks.victims import Victim, open_victim

Watch = Callable[[str, int, int], None]
"""Called with (what is worked on, images done, images in all)."""


def evaluate_task(
    plan: TaskPlan, out: str | Path, *, resume: bool = False, watch: Watch | None = None
) -> Run:
    """Measure a detector or segmenter clean and attacked, behind each defense.

    ``out`` gets ``run.json``, which ``nrpurify report`` shows, ``adversaries/`` with the attacked
    images and ``strips/`` with pictures of what the model sees.

    Args:
        plan: What to evaluate.
        out: A folder.
        resume: Go on in a folder that holds a run: attacked images that still fit are kept, and
            finished cells of segmentation.
        watch: Sees progress.

    Returns:
        The run as in ``run.json``, see docs/evaluation.md.

    Raises:
        InputError: Something in the plan that cannot be used, nothing to evaluate, or a folder
            that holds a run.
        ImageError: An image is broken.
        MissingExtraError: A library of the extras is needed.
        WeightsError: Weights are not to be had.
        AssertionError: An attack left its budget.
    """
    folder = Path(out)
    if not resume and (folder / RUN_FILE).exists():
        raise InputError(
            f"{str(folder)!r} holds a run; resume it (--resume) or choose another folder"
        )
    check_writable(folder / RUN_FILE)
    made = {spec: _defense(plan, spec) for spec in plan.specs}
    bench = _Bench(
        plan,
        folder,
        open_victim(plan),
        prepare_attacks(plan, folder / "adversaries"),
        {spec: defense for spec, (defense, _) in made.items()},
        frozenset(spec for spec, (_, random) in made.items() if random),
    )
    return bench.run(_cells(folder) if resume else [], watch or (lambda what, done, total: None))


def _defense(plan: TaskPlan, spec: str) -> tuple[nn.Module, bool]:
    """A defense that keeps an image's size, on which boxes and masks depend; is it random?"""
    seed = derive_seed(plan.seed, "defense", spec)
    defense = defenses.make(spec, device=plan.device, seed=seed)
    fresh = Draws(defense)
    probe = torch.full((1, 3, 64, 80), 0.5, device=plan.device)
    with torch.no_grad():
        shape, random = defense(probe).shape, is_random(defense, probe)
    if shape != probe.shape:
        raise InputError(
            f"{spec} makes {tuple(shape[2:])} pixels of (64, 80); {plan.task} needs defenses that "
            "keep the size"
        )
    if plan.task != "segment":
        check_one_pass(spec, defense, plan.task)
    fresh.again()  # the probe drew
    return defense, random


def _cells(folder: Path) -> list[Result]:
    """The results of an earlier run that can be read."""
    found = []
    with suppress(InputError, TypeError, KeyError):
        for values in load_run(folder)["cells"]:
            with suppress(InputError):
                found.append(read_result(values))
    return found


@dataclass
class _Bench:
    plan: TaskPlan
    folder: Path
    victim: Victim
    attacks: list[Attacked]
    defenses: dict[str, nn.Module]
    random: frozenset[str]
    head: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        plan = self.plan
        self.head = provenance(seed=plan.seed, amp=plan.amp, device=plan.device)

    def run(self, before: Sequence[Result], watch: Watch) -> Run:
        """Measure, saving as far as it has come, and write the pictures."""
        hashes, again = self._hashes(), remembered(self.defenses)
        cells = self.victim.measure(
            self.defenses,
            self.attacks,
            hashes,
            before,
            lambda finished: self._save(finished, [], hashes),
            watch,
        )
        again()
        shown = strongest(self.attacks)
        alike = None if shown is None else (shown.attack, shown.eps)
        under = [cell for cell in cells if (cell.attack, cell.eps) == alike] or cells
        spec = shown_defense(self.defenses, under)
        strips = write_strips(
            self.folder / "strips",
            self.victim.views(),
            self.victim.look,
            shown,
            None if spec is None else (spec, self.defenses[spec]),
        )
        return self._save(cells, strips, hashes)

    def _hashes(self) -> dict[str, str]:
        modules = {self.plan.model_name: self.victim.network, **self.defenses}
        found = weights_hashes(modules)
        for attack in self.attacks:
            found |= attack.settings.get("weights_sha256", {})
        return found

    def _save(
        self, cells: Sequence[Result], strips: list[dict[str, Any]], hashes: Mapping[str, str]
    ) -> Run:
        plan = self.plan
        run = Run(
            tuple(cells),
            name=f"{plan.task}-{plan.model_name}",
            title=f"{plan.model_name} on {plan.images.name}",
            images={
                "folder": plan.images.name,
                "n": max((cell.n or 0 for cell in cells), default=0),
                "size": None,
                "rule": "the first with labels, in the order of the annotations"
                if plan.limit
                else "all with labels",
            },
            settings=_plain(plan),
            weights_sha256=dict(hashes),
            warnings=[
                *_left_out(self.victim),
                *self._one_draw(cells),
                *self._seen(cells),
                *self._gradients(cells),
            ],
            left_out=self.victim.left_out,
            strips=strips,
            **self.head,
        )
        write_run(self.folder, run)
        return run

    def _gradients(self, cells: Sequence[Result]) -> list[dict[str, Any]]:
        """Warn of attacks whose gradients led nowhere."""
        return [
            {
                "kind": "no gradient",
                "text": f"{attack.attack}: {text}",
                "cells": [cell.id for cell in cells if cell.attack == attack.attack],
            }
            for attack in self.attacks
            for text in gradient_notes(attack.gradients())
        ]

    def _one_draw(self, cells: Sequence[Result]) -> list[dict[str, Any]]:
        """Warn of random defenses that no passes average over."""
        single = [s for s, made in self.defenses.items() if passes_of(made)[0] == 1]
        warnings = []
        for spec in (spec for spec in single if spec in self.random):
            ids = [cell.id for cell in cells if cell.defense == spec]
            text = f"{spec} is random and was judged on one draw an image; another seed differs"
            warnings.append({"kind": "one draw", "text": text, "cells": ids})
        return warnings

    def _seen(self, cells: Sequence[Result]) -> list[dict[str, Any]]:
        """Warn of surrogates that a defense has seen in training."""
        warnings = []
        for spec, module in self.defenses.items():
            for name in networks_seen(module):
                mine = [cell for cell in cells if cell.defense == spec]
                ids = [cell.id for cell in mine if same_network(name, cell.surrogate or "")]
                if ids:
                    text = f"{spec} was trained on features of {name}, the surrogate here"
                    warnings.append({"kind": "seen in training", "text": text, "cells": ids})
        return warnings


def _plain(plan: TaskPlan) -> dict[str, Any]:
    """The plan for the record; of paths the names only."""
    named = {k: v.name if isinstance(v, Path) else v for k, v in vars(plan).items()}
    named["trained"] = {name: file.name for name, file in plan.trained.items()}
    return {**named, "victim": plan.model_name, "defenses": list(plan.specs)}


def _left_out(victim: Victim) -> list[dict[str, Any]]:
    return [{"kind": "images", "text": text, "cells": []} for text in victim.problems]
