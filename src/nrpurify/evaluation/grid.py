"""The evaluation grid: attacks × eps × defenses × victims, cell by cell, from one recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from nrpurify.attacks.constraints import lost_by_rounding
from nrpurify.core.config import Gathered, to_yaml
from nrpurify.core.errors import InputError
from nrpurify.core.files import check_writable, write_text
from nrpurify.core.images import shorter_side
from nrpurify.core.plugins import check_trusted, load_plugins
from nrpurify.core.versions import versions
from nrpurify.data.labels import LabeledImage
from nrpurify.evaluation.bench import Bench
from nrpurify.evaluation.cells import Unit, read_cell, save_cell, units
from nrpurify.evaluation.diagnostics import Warned, find_warnings
from nrpurify.evaluation.grid_checks import check_grid
from nrpurify.evaluation.grid_recipe import GridRecipe, read_grid
from nrpurify.evaluation.label_check import FIRST, check_labels
from nrpurify.evaluation.networks import Models, Networks, name_problems
from nrpurify.evaluation.photos import Photos, open_photos
from nrpurify.evaluation.provenance import provenance
from nrpurify.evaluation.strips import write_strips
from nrpurify.purifiers.purifier import small_images_notes
from nrpurify.results import Result, Run, write_run


class GridWatcher(Protocol):
    """What a user interface sees of a grid."""

    def worked(self, what: str, done: int, total: int) -> None:
        """Images of the present piece of work."""

    def finished(self, cell: Result, done: int, total: int, *, kept: bool) -> None:
        """Another cell is there, measured now or ``kept`` from before."""

    def warned(self, warning: Warned) -> None:
        """A warning, as soon as it is known."""


class SilentGrid:
    """Watches nothing."""

    def worked(self, what: str, done: int, total: int) -> None:
        """Ignore it."""

    def finished(self, cell: Result, done: int, total: int, *, kept: bool) -> None:
        """Ignore it."""

    def warned(self, warning: Warned) -> None:
        """Ignore it."""


def run_grid(
    recipe: GridRecipe | str | Path,
    out: str | Path,
    *,
    items: Sequence[LabeledImage] | None = None,
    models: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    resume: bool = False,
    device: str = "cpu",
    watch: GridWatcher | None = None,
    trust_plan: bool = False,
) -> Run:
    """Run a grid into a folder.

    ``out`` gets ``recipe.yaml``, ``run.json`` (updated after each cell), ``cells/`` with one
    file a cell, ``adversaries/`` with the attacked images of transfers and their manifests, and
    ``strips/`` with pictures. What is finished there is kept when a run is resumed, as long as
    nothing that decides it has changed; the rest is measured.

    Args:
        recipe: A recipe, a shipped one's name, or a YAML file.
        out: A folder.
        items: Labeled images in place of the recipe's folder.
        models: The user's own classifiers, modules or functions from images to logits, by the names
            that the recipe's victims and surrogates have.
        resume: Go on in a folder that holds a run.
        device: Where to work.
        watch: Sees cells, progress and warnings.
        trust_plan: Run the code that a file's ``plugins``, ``python:`` and ``file.py:`` name; a
            :class:`GridRecipe` object is the caller's own.

    Returns:
        The run as in ``run.json``.

    Raises:
        InputError: A recipe that cannot be used (lines are named when it is a file), or a folder
            that holds a run already and ``resume`` was not given.
        MissingExtraError: PyYAML is not installed.
        WeightsError: Weights are not to be had.
        AssertionError: An attack left its budget.
    """
    if not isinstance(recipe, GridRecipe):
        read, marks = read_grid(recipe)
        check_trusted(read.to_dict(), [], trust_all=trust_plan)
        with marks.naming_lines():
            return run_grid(
                read, out, items=items, models=models, resume=resume, device=device, watch=watch
            )
    load_plugins(recipe.plugins)
    folder = _enter(Path(out), resume)
    watch = watch or SilentGrid()
    own = models or {}
    photos = _photos(recipe, items, device, own)
    bench = _prepare(recipe, photos, folder, device, watch, own)
    write_text(folder / "recipe.yaml", to_yaml(recipe.to_dict()))
    return _Run(bench, folder, watch, list(units(recipe))).all()


def _enter(folder: Path, resume: bool) -> Path:
    if not resume and ((folder / "run.json").exists() or (folder / "cells").exists()):
        raise InputError(
            f"{str(folder)!r} holds a run; resume it (--resume) or choose another folder"
        )
    check_writable(folder / "run.json")
    return folder


def _photos(
    recipe: GridRecipe, items: Sequence[LabeledImage] | None, device: str, own: Models
) -> Photos:
    """The images, once the recipe is checked; all that is wrong so far comes in one error."""
    gathered, photos = Gathered(), None
    with gathered.at():
        check_grid(recipe)
    if not any(place[:1] == ("images",) for place, _ in gathered.problems):
        with gathered.at("images"):
            photos = open_photos(recipe.images, items, device)
    if photos is None or gathered.problems:
        gathered.problems += name_problems(recipe, own)
        gathered.end()
    assert photos is not None
    return photos


def _prepare(
    recipe: GridRecipe,
    photos: Photos,
    folder: Path,
    device: str,
    watch: GridWatcher,
    own: Models,
) -> Bench:
    """Load and try everything once, before any time is spent on attacks."""
    networks = Networks.load(recipe, photos.batch(0, 1).images, device, own)
    side = min(photos.size, shorter_side([item.path for item in photos.items]))
    behind = (networks.defense(name) for name in recipe.defenses)
    photos.notes.extend(small_images_notes(side, behind))
    if recipe.rounding == "uint8":
        budgets = sorted({eps for attack in recipe.attacks for eps in attack.eps})
        photos.notes.extend(text for eps in budgets for text in lost_by_rounding(eps))
    classes = check_labels(
        networks.victims,
        photos.batch(0, FIRST),
        max(item.label for item in photos.items),
        chance=recipe.images.check_labels,
    )
    return Bench(
        recipe, photos, networks, classes, folder / "adversaries", versions(), watch.worked
    )


@dataclass
class _Run:
    bench: Bench
    folder: Path
    watch: GridWatcher
    units: list[Unit]
    head: dict[str, Any] = field(default_factory=dict)
    cells: list[Result] = field(default_factory=list)
    clean: dict[str, Tensor] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)

    def all(self) -> Run:
        """Measure what is not there yet."""
        self.head = _head(self.bench)
        for unit in self.units:
            found = {victim: self._read(unit, victim) for victim in unit.victims}
            if kept := all(found.values()):
                done = {victim: cell for victim, cell in found.items() if cell is not None}
            else:
                done = self.bench.measure(unit, self.clean)
            self._take(unit, done, kept=kept)
        strips = write_strips(self.bench, self.cells, self.folder / "strips")
        return self._save(strips)

    def _read(self, unit: Unit, victim: str) -> tuple[Result, Tensor] | None:
        name = self.bench.cell_id(unit, victim)
        return read_cell(self.folder / "cells", name, len(self.bench.photos))

    def _take(self, unit: Unit, done: dict[str, tuple[Result, Tensor]], *, kept: bool) -> None:
        total = sum(len(unit.victims) for unit in self.units)
        for victim, (cell, hits) in done.items():
            if unit.attack is None and unit.defense == "none":
                self.clean[victim] = hits
            if not kept:
                save_cell(self.folder / "cells", cell, hits)
            self.cells.append(cell)
            self._save([])
            self.watch.finished(cell, len(self.cells), total, kept=kept)

    def _save(self, strips: list[dict[str, Any]]) -> Run:
        warnings = [*_image_notes(self.bench.photos), *find_warnings(self.cells)]
        for warning in warnings:
            if warning["text"] not in self.warned:
                self.warned.add(warning["text"])
                self.watch.warned(warning)
        run = Run(tuple(self.cells), **self.head, warnings=warnings, strips=strips)
        write_run(self.folder, run)
        return run


def _head(bench: Bench) -> dict[str, Any]:
    recipe, photos = bench.recipe, bench.photos
    return {
        "name": recipe.name,
        "title": recipe.title or recipe.name,
        "images": {
            "folder": photos.folder,
            "n": len(photos),
            "size": photos.size,
            "rule": photos.rule,
            **({"broken": photos.broken} if photos.broken else {}),
        },
        "settings": recipe.to_dict(),
        "weights_sha256": bench.networks.hashes,
        **provenance(seed=recipe.seed, amp=recipe.amp, device=photos.device),
    }


def _image_notes(photos: Photos) -> list[Warned]:
    texts = list(photos.notes)
    if photos.broken:
        texts.append(f"{len(photos.broken)} left out: {'; '.join(photos.broken)}")
    return [{"kind": "images", "text": text, "cells": []} for text in texts]
