"""Annotations of either kind: COCO's one file, or YOLO's many."""

from __future__ import annotations

from pathlib import Path

from nrpurify.core.errors import InputError
from nrpurify.data.coco import read_coco
from nrpurify.data.detection import Scenes
from nrpurify.data.yolo import read_yolo, read_yolo_names


def read_annotations(annotations: Path, images: Path, classes: Path | None = None) -> Scenes:
    """Read what is in the photos of the folder ``images``.

    Args:
        annotations: A COCO JSON file, or a folder of YOLO text files.
        images: The folder of the photos.
        classes: A file of class names for YOLO text files, see
            :func:`nrpurify.data.yolo.read_yolo_names`; None for what :func:`read_yolo` finds.

    Raises:
        InputError: The annotations cannot be read or belong to no photo, or class names are given
            for a COCO file.
    """
    if not annotations.exists():
        raise InputError(
            f"there are no annotations {str(annotations)!r}; expected a COCO JSON file or a folder "
            "of YOLO text files"
        )
    if annotations.is_dir():
        return read_yolo(
            annotations, images, classes=None if classes is None else read_yolo_names(classes)
        )
    if classes is not None:
        raise InputError(
            f"class names in {str(classes)!r} go with a folder of YOLO text files; "
            f"{str(annotations)!r} is a file, and COCO's files name their classes: leave them out"
        )
    return read_coco(annotations, images)
