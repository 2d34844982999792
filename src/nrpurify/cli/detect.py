"""``nrpurify detect``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nrpurify.cli.common import (
    AmpChoice,
    AmpOption,
    Device,
    Json,
    PluginOption,
    is_given,
    load_plugin_option,
    resolve_amp,
    resolve_device,
)
from nrpurify.cli.output import (
    check_result_file,
    complain,
    note,
    print_json,
    print_table,
    show_progress,
)
from nrpurify.core.errors import InputError
from nrpurify.core.files import write_json
from nrpurify.core.image_files import ImageFile, find_images
from nrpurify.core.words import plural

EXAMPLES = """Examples:

nrpurify detect photos/

nrpurify detect photos/ --attacked attacked/ --false-alarms 0.05 --out scores.json"""


def command(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="SOURCE", help="An image, a folder or a glob.")],
    attacked: Annotated[
        str | None, typer.Option(help="Attacked images, for a ROC curve; SOURCE must be clean.")
    ] = None,
    purifier: Annotated[str, typer.Option(help="A shipped purifier's name, or a file.")] = "fast",
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Scores of at least this count as attacked.",
            show_default="by --false-alarms; without --attacked a gate's 0",
        ),
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(help="Share of clean images that may count as attacked.")
    ] = 0.05,
    out: Annotated[Path | None, typer.Option(help="JSON file.")] = None,
    device: Device = None,
    amp: AmpOption = AmpChoice.AUTO,
    plugin: PluginOption = None,
    json: Json = False,
) -> None:
    """Score images: a high score means that the purifier takes an image for attacked.

    The score is the gate's logit or, for a purifier without a gate, the size of its correction.

    The gate of fast does not detect SSP (docs/defenses.md).
    """
    load_plugin_option(plugin)
    from nrpurify.evaluation.detect import detect
    from nrpurify.purifiers import load_purifier

    if is_given(context, "false_alarms") and (attacked is None or threshold is not None):
        raise InputError(
            "--false-alarms was given; it chooses the threshold where --attacked is given and "
            "--threshold is not"
        )
    if out is not None:
        check_result_file(out, {"score", "threshold", "images"})
    files = find_images(folder, recursive=True)
    known = find_images(attacked, recursive=True) if attacked else []
    if attacked:
        _tell_names(files, known)
    where = resolve_device(device)
    with show_progress() as progress:
        found = detect(
            files,
            load_purifier(purifier, device=where),
            attacked=known,
            threshold=threshold,
            false_alarms=false_alarms,
            amp=resolve_amp(amp),
            device=where,
            progress=progress,
        )
    result = found.to_dict()
    if out is not None:
        write_json(out, result)
    if json:
        print_json(result)
    else:
        _show(result)
    for text in found.broken:
        complain(text)
    if found.broken:
        raise typer.Exit(1)


def _tell_names(files: Sequence[ImageFile], attacked: Sequence[ImageFile]) -> None:
    """Say how many attacked images have a clean one's name, as those have that `attack` made."""
    names = {file.relative.with_suffix("") for file in files}
    both = sum(file.relative.with_suffix("") in names for file in attacked)
    if both:
        every = plural(len(attacked), "attacked image")
        note(f"{both} of {every} {'has' if both == 1 else 'have'} the name of a clean one")
    else:
        complain(
            "warning: no attacked image has the name of a clean one; the curve may tell two kinds "
            "of photos apart, not clean ones from attacked"
        )


def _show(result: dict[str, Any]) -> None:
    limit = result["threshold"]
    rows = [
        [name, f"{score:.2f}", "" if limit is None else ("attacked" if score >= limit else "clean")]
        for name, score in result["images"].items()
    ]
    if "auc" not in result:
        print_table(["image", result["score"], "looks"], rows)
    if limit is not None:
        every = plural(len(rows), "image")
        note(f"{result['detected']} of {every} at or above {limit:.2f} ({result['score']})")
    if "auc" in result:
        every = plural(len(result["attacked_images"]), "attacked image")
        note(f"{result['attacked_detected']} of {every} at or above it")
        note(f"area under the ROC curve {result['auc']:.3f}")
