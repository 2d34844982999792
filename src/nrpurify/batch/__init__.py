"""Whole folders of image files: purified or attacked, file by file, with names and structure."""

from typing import TYPE_CHECKING

from nrpurify.core.lazy import lazy_exports

if TYPE_CHECKING:
    from nrpurify.batch.attack import attack_folder
    from nrpurify.batch.jobs import FolderResult, Item, image_generator
    from nrpurify.batch.options import AttackOptions
    from nrpurify.batch.planning import JobPlan, plan_jobs
    from nrpurify.batch.purify import purify_folder
    from nrpurify.core.manifest import Job, Manifest
    from nrpurify.core.records import MANIFEST, Records, read_records

__all__ = [
    "MANIFEST",
    "AttackOptions",
    "FolderResult",
    "Item",
    "Job",
    "JobPlan",
    "Manifest",
    "Records",
    "attack_folder",
    "image_generator",
    "plan_jobs",
    "purify_folder",
    "read_records",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "nrpurify.batch.attack": ("attack_folder",),
        "nrpurify.batch.jobs": (
            "FolderResult",
            "Item",
            "image_generator",
        ),
        "nrpurify.batch.options": ("AttackOptions",),
        "nrpurify.batch.planning": (
            "JobPlan",
            "plan_jobs",
        ),
        "nrpurify.batch.purify": ("purify_folder",),
        "nrpurify.core.manifest": ("Job", "Manifest"),
        "nrpurify.core.records": ("MANIFEST", "Records", "read_records"),
    },
)
