"""Which file becomes which."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nrpurify.core.errors import InputError
from nrpurify.core.image_files import CONTAINERS, ImageFile, LeftOut, output_paths, search_images
from nrpurify.core.images import OUTPUT_SUFFIXES
from nrpurify.core.manifest import REPLACE_FILE, Job
from nrpurify.core.random import derive_seed
from nrpurify.core.records import MANIFEST, Records, leads_out, read_records

Sources = str | Path | Sequence[str | Path]
_ARCHIVE = re.compile(r"\.(tar\.\w+|tgz|tbz2?|txz|tzst|zip|7z|rar)$", re.IGNORECASE)


@dataclass(frozen=True)
class Shard:
    """One of several parts of a run, for machines that need not know of each other.

    A file's part depends on its path below the source folder alone.

    Attributes:
        index: Which part, from 0.
        count: How many parts there are.

    Raises:
        InputError: There is no such part.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InputError(
                f"shard is {self.index}/{self.count}; expected i/n with i from 0 to n - 1"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``i/n``.

        Raises:
            InputError: It is none.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if found is None:
            raise InputError(f"shard is {text!r}; expected i/n, such as 0/4, with i from 0")
        return cls(int(found[1]), int(found[2]))

    @property
    def manifest(self) -> str:
        """The file in which this part notes its outputs."""
        return MANIFEST if self.count == 1 else f"manifest-{self.index}-of-{self.count}.jsonl"

    def takes(self, relative: Path) -> bool:
        """Whether a file, named by its path below the source folder, is of this part."""
        return derive_seed(0, "shard", relative.as_posix()) % self.count == self.index

    def of(self, jobs: Sequence[Job], group: int = 1) -> list[Job]:
        """The jobs of this part; ``group`` neighbors stay together, by the first of them."""
        starts = range(0, len(jobs), group)
        chunks = (jobs[start : start + group] for start in starts)
        return [job for chunk in chunks if self.takes(chunk[0].relative) for job in chunk]


@dataclass(frozen=True)
class JobPlan:
    """What to read and where to write.

    Attributes:
        jobs: One for each image.
        left_out: Entries of the sources that were not taken.
        folder: The folder of the outputs; None where one file becomes one file.
        format: What the outputs are: png, webp or jpeg.
    """

    jobs: list[Job]
    left_out: list[LeftOut]
    folder: Path | None
    format: str

    @property
    def where(self) -> str:
        """The folder or the file of the outputs."""
        return str(self.folder or self.jobs[0].output)

    def check_shard(self, shard: Shard) -> None:
        """Raise InputError for one file that is cut into several parts."""
        if self.folder is None and shard.count > 1:
            raise InputError("one file has no shards; expected a folder as destination")


def plan_jobs(
    source: Sources,
    dst: str | Path,
    *,
    recursive: bool,
    overwrite: bool = False,
    format: str | None = None,
) -> JobPlan:
    """List what to read and where to write, without touching anything.

    Sources that the manifest in ``dst`` lists keep the names of their outputs.

    Args:
        source: An image, a folder or a glob, see
            :func:`nrpurify.core.image_files.search_images`; or several, of which those without an
            image are left out.
        dst: The folder of the outputs, whose files are no sources; with one source file also a
            name in .png, .webp, .jpg or .jpeg, or for a file of many images one in .mkv, .mp4,
            .tar or .parquet.
        recursive: Search sub-folders, whose structure is kept.
        overwrite: ``dst`` may name a file that is there.
        format: png, webp or jpeg; None for the suffix of ``dst``, else png.

    Raises:
        InputError: No image found, ``dst`` cannot be used, two sources would have one output, or
            an output would replace a source.
    """
    sources = [source] if isinstance(source, str | Path) else list(source)
    target = Path(dst)
    found, left_out = _search(sources, recursive)
    single = _named_file(sources, str(dst), overwrite)
    format = _format(format, target if single else None)
    if single:
        jobs = [Job(found[0].path, found[0].relative, target)]
    else:
        if target.exists() and not target.is_dir():
            raise InputError(f"{str(dst)!r} is a file; expected a folder for the outputs")
        records = read_records(target) or Records()
        found, own = _without_outputs(found, target, records)
        if own:
            left_out.append(
                LeftOut(target, f"{own} of its images are outputs of this job", lost=False)
            )
        if not found:
            raise InputError(f"{str(source)!r} holds no image but those in {str(dst)!r}")
        jobs = _name(found, target, records, OUTPUT_SUFFIXES[format])
    _check_sources_survive(jobs)
    return JobPlan(jobs, left_out, None if single else target, format)


def _search(
    sources: Sequence[str | Path], recursive: bool
) -> tuple[list[ImageFile], list[LeftOut]]:
    files: dict[tuple[str, Path], ImageFile] = {}
    left_out: list[LeftOut] = []
    for source in sources:
        try:
            _check_no_archive(Path(source))
            scan = search_images(source, recursive=recursive)
        except InputError as error:
            if len(sources) == 1:
                raise
            left_out.append(LeftOut(Path(source), str(error)))
            continue
        left_out += scan.left_out
        for file in scan.files:
            if leads_out(file.relative.as_posix()):  # no manifest may list its output
                reason = "on Windows its name would lead out of a folder; give it another name"
                left_out.append(LeftOut(file.path, reason))
                continue
            files.setdefault((os.path.realpath(file.path), file.relative), file)
    if not files:
        raise InputError(f"none of the {len(sources)} sources has an image; {left_out[0].reason}")
    return list(files.values()), left_out


def _check_no_archive(source: Path) -> None:
    if _ARCHIVE.search(source.name) and not source.is_dir():
        raise InputError(
            f"{str(source)!r} is a packed archive, which is not read; unpack it (purify also reads "
            ".tar files that are not compressed)"
        )


def _named_file(sources: Sequence[str | Path], dst: str, overwrite: bool) -> bool:
    """Whether ``dst`` names one output rather than a folder."""
    path = Path(dst)
    container = CONTAINERS.get(Path(sources[0]).suffix.lower())
    suffix = path.suffix.lower()
    names_file = suffix in _IMAGE_NAMES or suffix in CONTAINERS
    if dst.endswith(("/", os.sep)) or path.is_dir() or not names_file:
        return False
    if len(sources) > 1 or not Path(sources[0]).is_file():
        raise InputError(
            f"{dst!r} names one file and the source is more than one; end it in / for a folder"
        )
    if container and CONTAINERS.get(suffix) != container:
        raise InputError(f"{dst!r}: expected a name in {_CONTAINER_SUFFIXES[container]}")
    if not container and suffix not in _FORMATS:
        raise InputError(f"{dst!r}: expected a name in {', '.join(sorted(_FORMATS))}")
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"the destination {dst!r} (the last path) is there already{REPLACE_FILE}")
    return True


_CONTAINER_SUFFIXES = {"video": ".mkv", "tar": ".tar", "parquet": ".parquet"}
_FORMATS = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}
_IMAGE_NAMES = {*_FORMATS, ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".jpe", ".jp2"}


def _format(wanted: str | None, target: Path | None) -> str:
    if wanted is not None and wanted not in OUTPUT_SUFFIXES:
        raise InputError(f"format is {wanted!r}; expected one of {', '.join(OUTPUT_SUFFIXES)}")
    if target is None or target.suffix.lower() in CONTAINERS:
        return wanted or "png"
    named = _FORMATS[target.suffix.lower()]
    if wanted not in (None, named):
        raise InputError(f"{str(target)!r} and the format {wanted!r} differ; leave one out")
    return named


def _without_outputs(
    found: Sequence[ImageFile], dst: Path, records: Records
) -> tuple[list[ImageFile], int]:
    """Leave out files of a ``dst`` inside the source, and outputs that its manifest lists."""
    listed = {os.path.realpath(dst / output) for output in records.files}
    kept = [
        file
        for file in found
        if not _lies_in(file, dst) and os.path.realpath(file.path) not in listed
    ]
    return kept, len(found) - len(kept)


def _lies_in(file: ImageFile, dst: Path) -> bool:
    """Whether ``dst`` is a folder inside the source and ``file`` lies in it."""
    base = Path(os.path.realpath(file.path.parents[len(file.relative.parts) - 1]))
    folder = Path(os.path.realpath(dst))
    return base in folder.parents and folder in (base / file.relative).parents


def _name(found: Sequence[ImageFile], dst: Path, records: Records, suffix: str) -> list[Job]:
    kinds: dict[str, list[ImageFile]] = defaultdict(list)
    for file in found:
        container = CONTAINERS.get(file.path.suffix.lower())
        kinds[_CONTAINER_SUFFIXES[container] if container else suffix].append(file)
    outputs: dict[Path, Path] = {}
    for ending, files in kinds.items():
        outputs |= _outputs(files, dst, records, ending)
    jobs = [Job(file.path, file.relative, outputs[file.path]) for file in found]
    first: dict[Path, Job] = {}
    for job in jobs:
        other = first.setdefault(job.output, job)
        if other is not job:
            raise InputError(
                f"{str(other.source)!r} and {str(job.source)!r} would both become "
                f"{str(job.output)!r}; give them folders of their own"
            )
    return jobs


def _outputs(
    found: Sequence[ImageFile], dst: Path, records: Records, suffix: str
) -> dict[Path, Path]:
    """The output of each file, by the file; those that the manifest lists keep their names."""
    before = {
        str(entry.get("source")): output
        for output, entry in records.files.items()
        if output.endswith(suffix)
    }
    fixed = [file for file in found if file.relative.as_posix() in before]
    free = [file for file in found if file.relative.as_posix() not in before]
    outputs = {file.path: dst / before[file.relative.as_posix()] for file in fixed}
    taken = [dst / output for output in records.files]
    names = output_paths(dst, [file.relative for file in free], suffix=suffix, taken=taken)
    return outputs | {file.path: name for file, name in zip(free, names, strict=True)}


def _check_sources_survive(jobs: Sequence[Job]) -> None:
    sources = {os.path.realpath(job.source) for job in jobs}
    for job in jobs:
        if os.path.realpath(job.output) in sources:
            raise InputError(
                f"{str(job.output)!r} would replace a source image; choose another folder"
            )
