"""Finding image files, and naming their outputs."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path, PurePath

from nrpurify.core.errors import InputError

HEIF_SUFFIXES = frozenset({".heic", ".heif"})
_READ = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    | {".avif", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"}
)
SUFFIXES = _READ | HEIF_SUFFIXES if find_spec("pillow_heif") else _READ
"""Endings (lower case) by which image files are recognized in folders and globs; those of HEIC
are among them where pillow-heif is installed."""

_UNREAD = HEIF_SUFFIXES | (
    {".jxl", ".tga", ".psd", ".xcf", ".exr", ".hdr", ".svg", ".eps", ".ico", ".pfm", ".pcx"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw"}
)
"""Endings of images that are not read: a search names them instead of passing them over."""

CONTAINERS = {
    **dict.fromkeys((".mkv", ".mp4", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg"), "video"),
    ".tar": "tar",
    ".parquet": "parquet",
}
"""Endings (lower case) of files that hold many images, and what they are. No search of a folder
takes them; a name or a glob with the ending does."""

MAX_PIXELS = 200_000_000
"""More pixels are neither read, unless that is asked for, nor made by resizing."""

_FLAT = "; sub-folders were not searched: --recursive (in Python recursive=True) searches them"

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFile:
    """One image found by :func:`find_images`: where it is and its place below the source."""

    path: Path
    relative: Path


@dataclass(frozen=True)
class LeftOut:
    """An entry of a folder that the search did not take.

    Attributes:
        path: The entry.
        reason: Why, such as ``Permission denied``.
        lost: Whether images may be missing because of it; False for a second way to a folder and
            for types of images that are never read.
    """

    path: Path
    reason: str
    lost: bool = True

    def __str__(self) -> str:
        """Name and reason."""
        return f"{str(self.path)!r}: {self.reason}"


@dataclass
class ImageScan:
    """The images of a folder, sorted by path, and the entries that the search left out."""

    files: list[ImageFile] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def scan_images(folder: Path, *, recursive: bool, pattern: str = "*") -> ImageScan:
    """Search `folder` for images whose relative path matches the glob `pattern`.

    A pattern that ends in one of :data:`CONTAINERS` finds those files too.

    Linked folders are followed; each folder is searched once, real ones before links, so loops
    end. Hidden files and folders are passed over. Entries that look like images, or may hold some,
    and cannot be used are listed in ``left_out``: folders that cannot be opened, dangling links,
    pipes, images of types that are not read.

    """
    parts = tuple(part for part in Path(pattern).parts if part != os.curdir)
    walk = _Walk(folder, ("**", *parts) if recursive else parts)
    walk.run()
    walk.scan.files.sort(key=lambda file: file.path)
    walk.scan.left_out.sort(key=lambda left: left.path)
    return walk.scan


def log_left_out(left_out: Sequence[LeftOut], shown: int = 10) -> None:
    """Count and name entries that a search left out, as a warning in the log."""
    if left_out:
        names = [f"  {left}" for left in left_out[:shown]]
        more = [f"  and {len(left_out) - shown} more"] if len(left_out) > shown else []
        _LOGGER.warning("%s", "\n".join([f"left out ({len(left_out)}):", *names, *more]))


class _Walk:
    """One search: a glob as a list of parts, matched name by name on the way down.

    A state is an index into ``pattern``: the parts before it have matched.
    """

    def __init__(self, folder: Path, pattern: tuple[str, ...]) -> None:
        self.pattern = pattern
        ending = PurePath(pattern[-1]).suffix.lower()
        self.suffixes = SUFFIXES | ({ending} & CONTAINERS.keys())
        self.scan = ImageScan()
        self.seen: dict[tuple[int, int], Path] = {}
        self.links: list[tuple[Path, Path, frozenset[int]]] = []
        self.folders = [(folder, Path(), self._closed({0}))]

    def run(self) -> None:
        while self.folders or self.links:
            path, relative, states = self.folders.pop() if self.folders else self.links.pop(0)
            try:
                self._enter(path, relative, states)
            except OSError as error:
                self.scan.left_out.append(LeftOut(path, _reason(error)))

    def _enter(self, path: Path, relative: Path, states: frozenset[int]) -> None:
        status = path.stat()
        first = self.seen.setdefault((status.st_dev, status.st_ino), path)
        if first != path:
            reason = f"the same folder as {str(first)!r}, which is searched"
            self.scan.left_out.append(LeftOut(path, reason, lost=False))
            return
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if not entry.name.startswith("."):
                    place = relative / entry.name
                    self._take(entry, path / entry.name, place, self._step(states, entry.name))

    def _take(
        self, entry: os.DirEntry[str], path: Path, relative: Path, states: frozenset[int]
    ) -> None:
        matches, suffix = len(self.pattern) in states, path.suffix.lower()
        wanted = matches and suffix in self.suffixes
        deeper = any(state < len(self.pattern) for state in states)
        try:
            if entry.is_dir():
                if deeper:
                    queue = self.links if entry.is_symlink() else self.folders
                    queue.append((path, relative, states))
            elif wanted and entry.is_file():
                self.scan.files.append(ImageFile(path, relative))
            elif wanted:
                reason = "a link to nothing" if entry.is_symlink() else "not a regular file"
                self.scan.left_out.append(LeftOut(path, reason))
            elif deeper and not suffix and entry.is_symlink() and not path.exists():
                self.scan.left_out.append(LeftOut(path, "a link to nothing"))  # to a folder, once
            elif matches and suffix in _UNREAD and entry.is_file():
                self.scan.left_out.append(LeftOut(path, _unread(suffix), lost=False))
        except OSError as error:  # a link to itself, or no permission
            if wanted or deeper:
                self.scan.left_out.append(LeftOut(path, _reason(error)))

    def _step(self, states: frozenset[int], name: str) -> frozenset[int]:
        after = set()
        for state in states:
            if state < len(self.pattern):
                part = self.pattern[state]
                if part == "**":
                    after.add(state)
                elif fnmatch(name, part):
                    after.add(state + 1)
        return self._closed(after)

    def _closed(self, states: set[int]) -> frozenset[int]:
        """Add the states that are reached because ``**`` also matches no folder at all."""
        for state in range(len(self.pattern)):
            if state in states and self.pattern[state] == "**":
                states.add(state + 1)
        return frozenset(states)


def _unread(suffix: str) -> str:
    if suffix in HEIF_SUFFIXES:
        return "HEIC needs the package pillow-heif; install it with: pip install pillow-heif"
    return f"{suffix} files are not read; save it as PNG"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def find_images(source: str | Path, *, recursive: bool) -> list[ImageFile]:
    """Find the images that `source` means: one file, a folder, or a glob such as ``a/**/*.jpg``.

    Folders and globs yield files with one of :data:`SUFFIXES`, sorted by path, without hidden
    files and folders; a single file is taken whatever its name. `recursive` looks into the
    sub-folders of a folder, or of the folder in which the glob begins. Entries that were left out
    are named in the log.

    Raises:
        InputError: `source` does not exist, or no image is there.

    """
    scan = search_images(source, recursive=recursive)
    log_left_out(scan.left_out)
    return scan.files


def search_images(source: str | Path, *, recursive: bool) -> ImageScan:
    """What :func:`find_images` finds, with the entries that were left out.

    Raises:
        InputError: `source` does not exist, cannot be opened, or has no image.

    """
    path = Path(source)
    try:
        if path.is_file():
            return ImageScan([ImageFile(path, Path(path.name))])
        is_folder = path.is_dir()
    except OSError as error:
        raise InputError(f"cannot read {str(source)!r}: {_reason(error)}") from error
    folder, pattern = (path, "*") if is_folder else _split_glob(path)
    scan = scan_images(folder, recursive=recursive, pattern=pattern)
    if not scan.files:
        left = f"; left out: {scan.left_out[0]}" if scan.left_out else ""
        raise InputError(
            f"no image found in {str(source)!r}: expected files ending in "
            f"{', '.join(sorted(SUFFIXES))}{'' if recursive else _FLAT}{left}"
        )
    return scan


def _split_glob(path: Path) -> tuple[Path, str]:
    """Split a glob into its fixed folder and its pattern."""
    wild = [i for i, part in enumerate(path.parts) if any(c in part for c in "*?[")]
    if not wild:
        what = "is not a regular file" if path.exists() else "does not exist"
        if not path.exists() and path.is_symlink():
            what = "is a link to nothing"
        raise InputError(f"{str(path)!r} {what}; give an image, a folder or a glob")
    return Path(*path.parts[: wild[0]]), str(Path(*path.parts[wild[0] :]))


def output_path(
    dst_dir: str | Path, relative: Path, *, keep_suffix: bool = False, suffix: str = ".png"
) -> Path:
    """Where the image made from `relative` goes below `dst_dir`.

    ``a/b.jpg`` becomes ``a/b.png``, or ``a/b.jpg.png`` with `keep_suffix`.

    Raises:
        InputError: `relative` is absolute or climbs out with ``..``.

    """
    if relative.anchor or ".." in relative.parts or not relative.name:
        raise InputError(f"{str(relative)!r} would leave {str(dst_dir)!r}: give a relative path")
    name = f"{relative.name if keep_suffix else relative.stem}{suffix}"
    return Path(dst_dir) / relative.with_name(name)


def output_paths(
    dst_dir: str | Path,
    relatives: Sequence[Path],
    *,
    suffix: str = ".png",
    taken: Iterable[Path] = (),
) -> list[Path]:
    """Give each of `relatives` its own :func:`output_path`, none of them in `taken`.

    Inputs whose outputs would share a name (``a.jpg`` and ``a.png``; letter case is ignored, as
    some file systems do) all keep their full name: ``a.jpg.png`` and ``a.png.png``.

    Raises:
        InputError: one of them would leave `dst_dir`, or its full name is taken too.

    """
    others = Counter(str(path).casefold() for path in taken)
    keep: set[Path] = set()
    while True:
        outputs = [output_path(dst_dir, r, keep_suffix=r in keep, suffix=suffix) for r in relatives]
        uses = others + Counter(str(path).casefold() for path in outputs)
        clashing = {
            r for r, out in zip(relatives, outputs, strict=True) if uses[str(out).casefold()] > 1
        }
        if clashing <= keep:
            break
        keep |= clashing
    for path in outputs:
        if str(path).casefold() in others:
            raise InputError(f"{str(path)!r} was made from another source; choose another folder")
    return outputs


def image_tensor_path(png: Path) -> Path:
    """Where the unrounded values of ``png`` go: beside it, under the same name."""
    return png.with_suffix(".safetensors")
