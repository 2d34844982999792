"""Tar shards (WebDataset) and Parquet files of encoded images, image by image in bounded memory."""

from __future__ import annotations

import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from nrpurify.core.errors import ImageError, InputError, MissingExtraError
from nrpurify.core.image_files import SUFFIXES
from nrpurify.core.images import OUTPUT_SUFFIXES, encode_image

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from nrpurify.batch.work import Worker

MAX_MEMBER = 2**28
"""Bytes of a member of a tar file, or of an image in Parquet; larger ones are refused."""
_ROWS = 32

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Parts:
    """What came of the images inside a file.

    Attributes:
        done: How many are in the output.
        failed: Reasons why others are not, with their names.
    """

    done: int = 0
    failed: list[str] = field(default_factory=list)


Count = Callable[[int, int | None], None]
"""Called with the number of finished images or frames, and of all where that is known."""


def in_order(
    pool: Executor, function: Callable[[T], R], things: Iterable[T], window: int
) -> Iterator[R]:
    """``function`` of each thing, in their order; ``window`` things at most are in work."""
    running: deque[Future[R]] = deque()
    try:
        for thing in things:
            running.append(pool.submit(function, thing))
            if len(running) >= window:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()


def purify_bytes(worker: Worker, content: bytes, name: PurePosixPath, place: Path) -> bytes:
    """Purify an encoded image.

    Args:
        worker: Does it.
        content: The image file's bytes.
        name: The file's name, for errors and the suffix.
        place: What the randomness of this image depends on.

    Raises:
        ImageError: It is too large, broken or no image.
    """
    if len(content) > MAX_MEMBER:
        raise ImageError(
            f"cannot read '{name}': it has {len(content):,} bytes; expected at most {MAX_MEMBER:,}"
        )
    try:
        image = worker.read(content)
    except ImageError as error:
        raise ImageError(str(error).replace("the image", f"'{name}'", 1)) from error
    rgb, alpha = worker.defend(image, place)
    return encode_image(rgb, alpha, format=worker.work.format)


def purify_tar(
    source: Path,
    target: Path,
    place: Path,
    worker: Worker,
    pool: Executor,
    window: int,
    progress: Count,
) -> Parts:
    """Purify the images of a tar file into another; its other members are copied.

    Members keep their order, names (but for the image format's suffix), times and owners. Links,
    devices, sparse members and names that lead out of a folder are left out and counted as failed.

    Args:
        source: A tar file that is not compressed.
        target: The file to write.
        place: The source's path below the source folder.
        worker: Does the work.
        pool: Where it is done.
        window: Members in work at the same time.
        progress: Sees the number of finished members.

    Raises:
        ImageError: The file is broken or no plain tar file.
    """
    suffix, parts, used = OUTPUT_SUFFIXES[worker.work.format], Parts(), set[str]()

    def work(member: _Member) -> _Member:
        name = PurePosixPath(member.info.name)
        if member.error or member.content is None or name.suffix.lower() not in SUFFIXES:
            return member
        try:
            content = purify_bytes(worker, member.content, name, place / name)
        except Exception as error:  # whatever one image does, the others are made
            return _Member(member.info, error=_reason(error, name))
        return _Member(member.info, content, name=str(name.with_suffix(suffix)))

    try:
        with tarfile.open(source, "r:") as given, tarfile.open(target, "w") as made:
            for count, member in enumerate(in_order(pool, work, _members(given), window)):
                progress(count + 1, None)
                if member.error:
                    parts.failed.append(f"{source.name}: {member.error}")
                    continue
                info = member.info
                if member.name is not None:
                    parts.done += 1
                    taken = member.name in used
                    info.name = f"{info.name}{suffix}" if taken else member.name
                    info.pax_headers = {}
                used.add(info.name)
                info.size = len(member.content or b"")
                made.addfile(info, BytesIO(member.content or b""))
    except tarfile.TarError as error:
        raise ImageError(
            f"cannot read {str(source)!r}: {error}; expected a whole tar file that is not "
            "compressed"
        ) from error
    return parts


@dataclass(frozen=True)
class _Member:
    """A member of a tar file: its bytes, or why it has none; ``name`` is a new name of an image."""

    info: tarfile.TarInfo
    content: bytes | None = None
    error: str = ""
    name: str | None = None


def _members(archive: tarfile.TarFile) -> Iterator[_Member]:
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # else it keeps all of them
        name = PurePosixPath(info.name)
        if name.is_absolute() or ".." in name.parts or "\\" in info.name or ":" in info.name:
            yield _Member(info, error=f"{info.name!r} leads out of its folder; it is left out")
        elif info.isdir():
            yield _Member(info)
        elif not info.isreg() or info.issparse():
            yield _Member(info, error=f"{info.name!r} is no ordinary file; it is left out")
        elif info.size > MAX_MEMBER:
            limit = f"expected at most {MAX_MEMBER:,}; it is left out"
            yield _Member(info, error=f"{info.name!r} has {info.size:,} bytes; {limit}")
        else:
            file = archive.extractfile(info)
            assert file is not None
            yield _Member(info, file.read())
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # the mark of the end
        raise tarfile.ReadError("unexpected end of data")


def purify_parquet(
    source: Path,
    target: Path,
    place: Path,
    worker: Worker,
    pool: Executor,
    window: int,
    progress: Count,
    *,
    column: str | None = None,
) -> Parts:
    """Purify the encoded images in a column of a Parquet file; other columns are copied.

    An image that fails becomes null, or empty where the column takes no null, so that rows stay
    aligned. Structs with a path and no bytes fail too: the image is not in this file.

    Args:
        source: A Parquet file. Images are binary values, or structs of ``bytes`` and ``path`` as
            the package datasets has them.
        target: The file to write.
        place: The source's path below the source folder.
        worker: Does the work.
        pool: Where it is done.
        window: Images in work at the same time.
        progress: Sees the number of finished rows and of all.
        column: Of the images; by default ``image``, or the only column that can hold them.

    Raises:
        InputError: No such column.
        ImageError: The file is broken or no Parquet file.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    parts, count = Parts(), 0
    suffix = OUTPUT_SUFFIXES[worker.work.format]

    def work(row: tuple[int, Any]) -> _Row:
        index, scalar = row
        name = PurePosixPath(f"row-{index}")
        try:
            value = scalar.as_py()
            fields = value if isinstance(value, dict) else {"bytes": value}
            path = fields.get("path")
            if path and isinstance(path, str):
                name = PurePosixPath(path)
            if fields["bytes"] is None:
                _check_no_path(path)
                return _Row(value)
            found: Any = purify_bytes(worker, fields["bytes"], name, place / str(index))
            if isinstance(value, dict):
                found = {**value, "bytes": found, "path": _renamed(path, suffix)}
            return _Row(found, made=True)
        except Exception as error:  # whatever one image does, the others are made
            return _Row(None, error=f"row {index}: {_reason(error, name)}")

    with _reading(source):
        opened = pq.ParquetFile(source)
        schema = opened.schema_arrow
    with opened as given:
        index = _image_column(schema, column, source)
        empty = None if schema.field(index).nullable else _empty(schema.field(index))
        total = given.metadata.num_rows
        kind = _compression(given)
        with pq.ParquetWriter(target, schema, compression=kind) as made:
            for batch in _batches(given, source):
                rows = list(enumerate(batch.column(index), count))
                values = []
                for row in in_order(pool, work, rows, window):
                    values.append(empty if row.error else row.value)
                    parts.done += row.made
                    if row.error:
                        parts.failed.append(f"{source.name}: {row.error}")
                count += len(rows)
                images = pa.array(values, type=schema.field(index).type)
                columns = [*batch.columns]
                columns[index] = images
                made.write_batch(pa.record_batch(columns, schema=schema))
                progress(count, total)
    return parts


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Name the Parquet file when reading it fails in the block."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise ImageError(f"cannot read {str(source)!r}: {_line(error)}") from error


def _batches(given: pq.ParquetFile, source: Path) -> Iterator[pa.RecordBatch]:
    with _reading(source):
        yield from given.iter_batches(batch_size=_ROWS)


@dataclass(frozen=True)
class _Row:
    """What becomes of a row: its value, and whether an image was made of it, or why not."""

    value: Any
    made: bool = False
    error: str = ""


def _check_no_path(path: Any) -> None:
    if path:
        raise ImageError(
            f"only the path '{path}' is stored, and no image; embed the images in the file"
        )


def _renamed(path: Any, suffix: str) -> Any:
    """A path with another suffix; what names no file, such as ``/``, as it is."""
    if not isinstance(path, str) or PurePosixPath(path).name in ("", ".."):
        return path
    return str(PurePosixPath(path).with_suffix(suffix))


def _compression(given: Any) -> str:
    """The compression of a Parquet file's first column."""
    groups = given.metadata.num_row_groups
    name = given.metadata.row_group(0).column(0).compression if groups else "SNAPPY"
    return "NONE" if name == "UNCOMPRESSED" else str(name)


def _image_column(schema: pa.Schema, wanted: str | None, source: Path) -> int:
    able = [field.name for field in schema if _holds_images(field.type)]
    name = wanted or ("image" if "image" in able else able[0] if len(able) == 1 else None)
    if name not in able:
        given = "none was named" if wanted is None else f"{wanted!r} was named"
        raise InputError(
            f"{str(source)!r}: {given} as the column of images; columns of bytes, or of structs "
            f"with bytes, are {', '.join(able) or 'not there'} (--column)"
        )
    return int(schema.get_field_index(name))


def _holds_images(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        return "bytes" in names and _holds_images(kind.field(names.index("bytes")).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _empty(field: Any) -> Any:
    import pyarrow as pa

    if not pa.types.is_struct(field.type):
        return b""
    index = field.type.get_field_index("path")
    takes_null = index < 0 or field.type.field(index).nullable
    return {"bytes": b"", "path": None if takes_null else ""}


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _reason(error: Exception, name: PurePosixPath) -> str:
    line = _line(error)
    return line if str(name) in line else f"cannot process '{name}': {line}"
