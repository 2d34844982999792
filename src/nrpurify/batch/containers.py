"""Files of many images: videos, tar shards, Parquet; one after another, each by all threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from nrpurify.batch.archives import Count, Parts, purify_parquet, purify_tar
from nrpurify.batch.jobs import Item
from nrpurify.batch.work import Made, Worker
from nrpurify.core.files import atomic_path
from nrpurify.core.hashing import file_hash
from nrpurify.core.image_files import CONTAINERS
from nrpurify.core.manifest import Job, Manifest
from nrpurify.core.progress import Progress


def make_containers(
    stream: Iterable[Item | Job],
    convert: Callable[[Job], Made],
    manifest: Manifest,
) -> Iterator[Item]:
    """Make outputs one by one, and note each in the manifest just before and when it is there."""
    for entry in stream:
        if isinstance(entry, Item):
            yield entry
            continue
        manifest.begin(entry)
        made = convert(entry)
        if made.item.status == "done":
            manifest.record_all([(entry, made.record)])
        yield made.item


def converter(
    worker: Worker,
    pool: Executor,
    window: int,
    *,
    column: str | None,
    codec: str,
    progress: Progress,
) -> Callable[[Job], Made]:
    """A function that makes one output.

    Args:
        worker: Does the work on images.
        pool: Where it is done.
        window: Images in work at the same time.
        column: Of images in Parquet files.
        codec: Of videos.
        progress: Sees the images inside each file, under the file's name.
    """

    def convert(job: Job) -> Made:
        def count(done: int, total: int | None) -> None:
            progress.update(job.source.name, done, total)

        try:
            source = file_hash(job.source)
            with atomic_path(job.output) as target:
                parts = _convert(job, target, count)
            record: dict[str, Any] = {"source_sha256": source, "sha256": file_hash(job.output)}
        except Exception as error:  # whatever one file does, the others are made
            return Made(Item.failed(job, error))
        record |= {"parts": parts.done, "broken": parts.failed}
        item = Item(job, "done", parts=parts.done, broken=tuple(parts.failed))
        return Made(item, record)

    def _convert(job: Job, target: Path, progress: Count) -> Parts:
        given = (job.source, target, job.relative, worker, pool, window, progress)
        kind = CONTAINERS[job.source.suffix.lower()]
        if kind == "tar":
            return purify_tar(*given)
        if kind == "parquet":
            return purify_parquet(*given, column=column)
        from nrpurify.batch.video import purify_video

        return purify_video(*given, codec=codec)

    return convert
