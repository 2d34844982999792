"""Whole folders of image files: purified or attacked, file by file, with names and structure."""

from nrpurify.batch.attack import attack_folder
from nrpurify.batch.jobs import FolderResult, Item, Watch, image_generator
from nrpurify.batch.options import AttackOptions
from nrpurify.batch.planning import JobPlan, plan_jobs
from nrpurify.batch.purify import purify_folder
from nrpurify.core.manifest import MANIFEST, Job, Manifest, Records, read_records

__all__ = [
    "MANIFEST",
    "AttackOptions",
    "FolderResult",
    "Item",
    "Job",
    "JobPlan",
    "Manifest",
    "Records",
    "Watch",
    "attack_folder",
    "image_generator",
    "plan_jobs",
    "purify_folder",
    "read_records",
]
