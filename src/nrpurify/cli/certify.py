"""``nrpurify certify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nrpurify.cli.common import (
    AmpChoice,
    AmpOption,
    Classes,
    Device,
    Json,
    Labels,
    Limit,
    PluginOption,
    Seed,
    load_plugin_option,
    resolve_amp,
    resolve_device,
)
from nrpurify.cli.output import exit_if_unread, note, print_json, print_table, show_progress
from nrpurify.core.errors import InputError
from nrpurify.core.files import write_text
from nrpurify.core.image_files import LeftOut, log_left_out
from nrpurify.core.words import plural

EXAMPLES = """Examples:

nrpurify certify images/ --labels images.csv --limit 100 --out runs/certify

nrpurify certify one-folder-per-class/ --victim timm:resnet50 --purifier mine.safetensors
--sigma 0.5 --n 10000 --out runs/certify-050 --resume"""


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Images, or one sub-folder for each class.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    labels: Labels = None,
    classes: Classes = None,
    victim: Annotated[str, typer.Option(help="The classifier.")] = "efficientnet_lite0",
    purifier: Annotated[
        str, typer.Option(help="A shipped purifier's name, a file, or none.")
    ] = "denoise-025",
    sigma: Annotated[
        float, typer.Option(help="Standard deviation of the noise, of [0, 1] images.")
    ] = 0.25,
    n0: Annotated[int, typer.Option(min=1, help="Samples that choose the class.")] = 100,
    n: Annotated[int, typer.Option(min=1, help="Samples that certify it.")] = 1000,
    alpha: Annotated[float, typer.Option(help="Probability of a wrong certificate.")] = 0.001,
    size: Annotated[int, typer.Option(min=16, help="Side of the images in pixels.")] = 224,
    limit: Limit = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep finished images.")] = False,
    seed: Seed = 0,
    device: Device = None,
    amp: AmpOption = AmpChoice.AUTO,
    plugin: PluginOption = None,
    json: Json = False,
) -> None:
    """Certify a classifier behind a purifier by randomized smoothing (l2 radii).

    OUT gets certify.json, certify.svg and a line for each image.
    """
    load_plugin_option(plugin)
    from nrpurify.data.labels import labeled_images, read_labeled_folder
    from nrpurify.evaluation.certify_plan import CertifyPlan
    from nrpurify.evaluation.certify_run import certify_images
    from nrpurify.report.certified import draw_certified

    plan = CertifyPlan(
        victim=victim,
        purifier=None if purifier == "none" else purifier,
        sigma=sigma,
        n0=n0,
        n=n,
        alpha=alpha,
        size=size,
        seed=seed,
        device=resolve_device(device),
        amp=resolve_amp(amp),
    )
    left_out: list[LeftOut] = []
    if labels is None:
        items, _ = read_labeled_folder(folder, classes, left_out=left_out)
    elif classes is not None:
        raise InputError("--classes goes with one sub-folder a class; leave it or --labels out")
    else:
        paired = labeled_images(folder, labels, left_out=left_out)
        items = paired.items
        for text in paired.notes():
            note(text)
    log_left_out([left for left in left_out if not left.lost])
    with show_progress() as progress:
        found = certify_images(
            items[:limit],
            plan,
            out,
            resume=resume,
            progress=progress,
            left_out=[f"cannot read {left}" for left in left_out if left.lost],
        )
    summary = found.summary()
    write_text(out / "certify.svg", draw_certified(summary))
    if json:
        print_json(summary)
    else:
        rows = [[r, f"{100 * share:.1f}"] for r, share in summary["certified_accuracy"].items()]
        print_table(["l2 radius", "certified accuracy, %"], rows)
        note(f"{plural(summary['images'], 'image')}, abstained on {summary['abstained']}")
        note(f"certificate: {out / 'certify.json'}; as a plot {out / 'certify.svg'}")
    exit_if_unread(found.broken, "image")
