"""Whole folders of image files: purified or attacked, file by file, with names and structure."""

from nrpurify.folders.attack import attack_folder
from nrpurify.folders.attackers import prepare_attack
from nrpurify.folders.jobs import FolderResult, Item, Job, Watch, image_generator
from nrpurify.folders.manifest import MANIFEST, Manifest, Records, read_records
from nrpurify.folders.options import Attacker, AttackOptions
from nrpurify.folders.planning import JobPlan, plan_jobs
from nrpurify.folders.purify import purify_folder

__all__ = [
    "MANIFEST",
    "AttackOptions",
    "Attacker",
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
    "prepare_attack",
    "purify_folder",
    "read_records",
]
