"""``nrpurify grid``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nrpurify.cli.common import (
    AmpChoice,
    Classes,
    Device,
    Json,
    Labels,
    Limit,
    PluginOption,
    RecipeSeed,
    Trained,
    TrustPlan,
    load_plugin_option,
    note,
    note_precision,
    print_json,
    print_table,
    progress_bar,
    resolve_amp,
    resolve_device,
)
from nrpurify.core.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

    from nrpurify.data.labels import LabeledImage
    from nrpurify.evaluation import GridRecipe
    from nrpurify.results import Result, Run

EXAMPLES = """Examples:

nrpurify grid quick --out runs/quick

nrpurify grid my.yaml --out runs/mine --images photos/ --labels photos.csv --resume"""


def command(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A YAML file, or quick or transfer.")
    ],
    out: Annotated[Path, typer.Option(metavar="RUN_DIR", help="Folder of the run.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what is finished in RUN_DIR and do the rest.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="Images, in place of the recipe's folder.")
    ] = None,
    labels: Labels = None,
    classes: Classes = None,
    limit: Limit = None,
    trained: Trained = None,
    seed: RecipeSeed = None,
    device: Device = None,
    amp: Annotated[
        AmpChoice | None,
        typer.Option(
            "--amp",
            help="bf16 arithmetic; auto: where the hardware has it.",
            show_default="recipe's",
        ),
    ] = None,
    plugin: PluginOption = None,
    trust_plan: TrustPlan = False,
    json: Json = False,
) -> None:
    """Measure attacks x eps x defenses x victims from one recipe, cell by cell.

    RUN_DIR gets run.json, recipe.yaml and all attacked images. Images that cannot be read are in
    no number; they are listed, with exit code 1. A recipe without a folder of images
    takes the demo's 20 photographs.
    """
    load_plugin_option(plugin)
    from nrpurify.core.plugins import check_trusted
    from nrpurify.evaluation import read_grid, run_grid

    loaded, marks = read_grid(recipe)
    check_trusted(loaded.to_dict(), plugin or (), trust_all=trust_plan)
    loaded = _changed(loaded, images, labels, classes, limit, seed)
    loaded = _with_trained(loaded, trained or ())
    if amp is not None:
        loaded = replace(loaded, amp=resolve_amp(amp))
    device = resolve_device(device)
    with marks.naming_lines(), progress_bar() as progress:
        run = run_grid(
            loaded,
            out,
            items=None if loaded.images.folder else _demo_photos(loaded.images.limit),
            resume=resume,
            device=device,
            watch=_Watcher(progress),
        )
    _show(run, json)
    note_precision(run, "transfers")
    note(f"run: {out / 'run.json'}")
    if run.images.get("broken"):
        raise typer.Exit(1)


def _changed(
    recipe: GridRecipe,
    images: Path | None,
    labels: Path | None,
    classes: Path | None,
    limit: int | None,
    seed: int | None,
) -> GridRecipe:
    given: dict[str, Any] = {}
    tables = {"labels": labels, "classes": classes}
    for name, file in tables.items():
        if file is not None and images is None and not recipe.images.folder:
            raise InputError(f"--{name} {file} goes with images; give their folder by --images")
    if images is not None:
        given = {"folder": str(images), "labels": "", "classes": ""}
    given |= {name: str(file) for name, file in tables.items() if file is not None}
    if limit is not None:
        given["limit"] = limit
    changed = replace(recipe, images=replace(recipe.images, **given))
    return changed if seed is None else replace(changed, seed=seed)


def _with_trained(recipe: GridRecipe, given: Sequence[str]) -> GridRecipe:
    """The recipe with files for those of its trained attacks that name none."""
    from dataclasses import replace

    from nrpurify.attacks.trained import read_trained

    files = read_trained(given)
    if idle := sorted(files.keys() - {a.name for a in recipe.attacks if not a.trained}):
        raise InputError(f"--trained names {idle[0]}; no attack of the recipe can take it")
    attacks = [
        replace(a, trained=str(files[a.name])) if a.name in files and not a.trained else a
        for a in recipe.attacks
    ]
    return replace(recipe, attacks=tuple(attacks)) if files else recipe


def _demo_photos(limit: int | None) -> list[LabeledImage]:
    from nrpurify.data.demo import foolbox_photos

    return foolbox_photos()[:limit]


def _show(run: Run, as_json: bool) -> None:
    from nrpurify.evaluation import compact_table

    if as_json:
        print_json(run.to_dict())
    else:
        print_table(*compact_table(run))


class _Watcher:
    """Shows cells and images as they are done, and warnings as they come up."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.cells = progress.add_task("cells", total=None)
        self.work = progress.add_task("images", total=None)

    def worked(self, what: str, done: int, total: int) -> None:
        self.progress.update(self.work, description=what, completed=done, total=total)

    def finished(self, cell: Result, done: int, total: int, *, kept: bool) -> None:
        self.progress.update(self.cells, completed=done, total=total)

    def warned(self, warning: dict[str, Any]) -> None:
        note(f"warning, {warning['kind']}: {warning['text']}")
