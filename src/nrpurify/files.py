"""Finding image files, naming their outputs, and writing files that are never half there."""

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nrpurify.errors import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
"""Endings (lower case) by which image files are recognized in folders and globs."""


@dataclass(frozen=True)
class ImageFile:
    """One image found by :func:`find_images`: where it is and its place below the source."""

    path: Path
    relative: Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name when the block succeeds.

    Parent folders are created. When the block raises, the temporary file is removed and a file
    that was at `path` before is untouched. The suffix is kept, for writers that look at it.

    Raises:
        OSError: the folder cannot be created or the block wrote no file.

    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    mode = _ordinary_mode(temporary)
    try:
        yield temporary
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _ordinary_mode(path: Path) -> int:
    """The permissions that a new file gets here; some writers would leave narrower ones."""
    path.touch()
    mode = path.stat().st_mode
    path.unlink()
    return mode


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with ``\\n`` line ends, atomically. Raises OSError.

    Of a file name that is no UTF-8, Python's lone surrogates are written as ``\\udce9``, which
    JSON reads back as it was.

    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(path: str | Path, obj: object) -> None:
    """Write `obj` as indented JSON, atomically.

    Raises:
        TypeError: `obj` holds something that JSON has no form for.
        ValueError: `obj` holds a NaN or an infinity.
        OSError: the file cannot be written.

    """
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def list_images(folder: Path, *, recursive: bool, pattern: str = "*") -> list[ImageFile]:
    """Images below `folder` that match the glob `pattern`, sorted; hidden ones are left out."""
    matches = folder.rglob(pattern) if recursive else folder.glob(pattern)
    found = {path: path.relative_to(folder) for path in matches if _looks_like_image(path)}
    return [
        ImageFile(path, relative)
        for path, relative in sorted(found.items())
        if not any(part.startswith(".") for part in relative.parts)
    ]


def _looks_like_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def find_images(source: str | Path, *, recursive: bool) -> list[ImageFile]:
    """Find the images that `source` means: one file, a folder, or a glob such as ``a/**/*.jpg``.

    Folders and globs yield files with one of :data:`SUFFIXES`, sorted by path, without hidden
    files and folders; a single file is taken whatever its name. `recursive` looks into the
    sub-folders of a folder, or of the folder in which the glob begins.

    Raises:
        InputError: `source` does not exist, or no image is there.

    """
    path = Path(source)
    if path.is_file():
        return [ImageFile(path, Path(path.name))]
    folder, pattern = (path, "*") if path.is_dir() else _split_glob(path)
    try:
        found = list_images(folder, recursive=recursive, pattern=pattern)
    except ValueError as error:
        raise InputError(f"{str(source)!r} is not a glob: {error}") from error
    if not found:
        raise InputError(
            f"no image found in {str(source)!r}: expected files ending in "
            f"{', '.join(sorted(SUFFIXES))}{'' if recursive else '; sub-folders were not searched'}"
        )
    return found


def _split_glob(path: Path) -> tuple[Path, str]:
    """Split a glob into its fixed folder and its pattern."""
    wild = [i for i, part in enumerate(path.parts) if any(c in part for c in "*?[")]
    if not wild:
        raise InputError(f"{str(path)!r} does not exist; give an image, a folder or a glob")
    return Path(*path.parts[: wild[0]]), str(Path(*path.parts[wild[0] :]))


def output_path(dst_dir: str | Path, relative: Path, *, keep_suffix: bool = False) -> Path:
    """Where the PNG made from `relative` goes below `dst_dir`.

    ``a/b.jpg`` becomes ``a/b.png``, or ``a/b.jpg.png`` with `keep_suffix`.

    Raises:
        InputError: `relative` is absolute or climbs out with ``..``.

    """
    if relative.anchor or ".." in relative.parts or not relative.name:
        raise InputError(f"{str(relative)!r} would leave {str(dst_dir)!r}: give a relative path")
    name = f"{relative.name}.png" if keep_suffix else f"{relative.stem}.png"
    return Path(dst_dir) / relative.with_name(name)


def output_paths(dst_dir: str | Path, relatives: Sequence[Path]) -> list[Path]:
    """Give each of `relatives` its own :func:`output_path`.

    Inputs whose outputs would share a name (``a.jpg`` and ``a.png``; letter case is ignored, as
    some file systems do) all keep their full name: ``a.jpg.png`` and ``a.png.png``.

    Raises:
        InputError: one of them would leave `dst_dir`.

    """
    keep: set[Path] = set()
    while True:
        outputs = [output_path(dst_dir, r, keep_suffix=r in keep) for r in relatives]
        uses = Counter(str(path).casefold() for path in outputs)
        clashing = {
            r for r, out in zip(relatives, outputs, strict=True) if uses[str(out).casefold()] > 1
        }
        if clashing <= keep:
            return outputs
        keep |= clashing
