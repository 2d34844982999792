"""Annotations of either kind: COCO's one file, or YOLO's many."""

from __future__ import annotations

from pathlib import Path

from nrpurify.core.errors import InputError
from nrpurify.data.coco import read_coco
from nrpurify.data.detection import Scenes
from nrpurify.data.yolo import read_yolo


def read_annotations(annotations: Path, images: Path) -> Scenes:
    """Read what is in the photos of the folder ``images``.

    Args:
        annotations: A COCO JSON file, or a folder of YOLO text files.
        images: The folder of the photos.

    Raises:
        InputError: The annotations cannot be read, or belong to no photo.
    """
    if not annotations.exists():
        raise InputError(
            f"there are no annotations {str(annotations)!r}; expected a COCO JSON file or a folder "
            "of YOLO text files"
        )
    read = read_yolo if annotations.is_dir() else read_coco
    return read(annotations, images)
