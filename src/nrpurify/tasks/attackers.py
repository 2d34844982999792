"""Attacks on whole images, which need no labels: made once into the run's folder, or before."""

from __future__ import annotations

from pathlib import Path, PurePath

import torch
from torch import Tensor

import nrpurify
from nrpurify.attacks import registry
from nrpurify.attacks.spec import merge_settings, read_spec
from nrpurify.core.errors import InputError
from nrpurify.core.files import find_images, read_json
from nrpurify.core.hashing import content_hashes, digest, pixels_hash, slug
from nrpurify.core.image_tensors import image_tensor_path
from nrpurify.core.manifest import read_records
from nrpurify.core.precision import arithmetic
from nrpurify.evaluation.adversaries import MANIFEST, Adversaries
from nrpurify.evaluation.attack_runner import AttackSpec
from nrpurify.evaluation.harness import Batch
from nrpurify.evaluation.lookup import look_up
from nrpurify.tasks.plan import TaskPlan
from nrpurify.tasks.segmentation_cells import Attacked


def prepare_attacks(plan: TaskPlan, folder: Path) -> list[Attacked]:
    """Make the plan's attacks ready, each at each eps.

    Args:
        plan: What to evaluate.
        folder: Attacked images are kept in sub-folders, as 8-bit files with a manifest; what is
            there already and still fits is not made again.

    Raises:
        InputError: No such attack, one that needs labels, or a folder of attacked images without
            a manifest.
        WeightsError: Weights are not to be had.
    """
    if plan.attacked is not None:
        return [made_before(plan.attacked)]
    specs = [spec for spec in dict.fromkeys(plan.attacks) if spec != "none"]
    return [_attack(plan, spec, eps, folder) for spec in specs for eps in dict.fromkeys(plan.eps)]


def _attack(plan: TaskPlan, text: str, eps: float, folder: Path) -> Attacked:
    spec = attack_spec(plan, text, eps)
    network = spec.load()
    if network is not None:
        network = network.to(plan.device)
    settings = {
        "preset": spec.preset,
        **spec.described(network),
        "seed": plan.seed,
        "group": 1,
        "precision": arithmetic(plan.amp, plan.device),
        "weights_sha256": spec.weights_sha256(network),
    }
    surrogate = ",".join(spec.networks) or None
    record = {"attack": spec.name, "surrogate": surrogate, "eps": eps, **settings}
    head = record | {"nrpurify": nrpurify.__version__, "torch": str(torch.__version__)}
    sources: dict[str, str] = {}

    runner = spec.runner(network, seed=plan.seed, amp=plan.amp)

    def make(batch: Batch) -> Tensor:
        with torch.enable_grad():
            return runner(batch.images).detach()

    stored = Adversaries(folder / slug(text, f"{255 * eps:g}"), head, make, eps, "uint8")

    def images(batch: Batch) -> Tensor:
        own = [_stored_name(name, sources) for name in batch.names]
        return stored.get(batch._replace(names=own), [pixels_hash(batch.images)])

    return Attacked(
        text,
        eps,
        images,
        surrogate=surrogate,
        steps=settings.get("steps"),
        settings=settings,
        gradients=stored.gradients,
    )


def _stored_name(name: str, sources: dict[str, str]) -> str:
    """A name without its suffix, or with it where that is another image's in ``sources``.

    Args:
        name: Of the image.
        sources: Names of images by the names already given; this one is added.
    """
    own = PurePath(name).with_suffix("").as_posix()
    if sources.get(own, name) != name:
        own = name
    while sources.setdefault(own, name) != name:
        own += "-"
    return own


def attack_spec(plan: TaskPlan, text: str, eps: float) -> AttackSpec:
    """One of a plan's attacks at one budget; settings that it does not have are left out.

    Raises:
        InputError: No such attack, or one that needs labels.
    """
    name, settings = read_spec(text)
    entry = registry.get(name)
    if entry.surrogate == "classifier":
        free = [n for n in registry.names() if registry.get(n).surrogate != "classifier"]
        raise InputError(f"{name} attacks classifiers; other tasks take {', '.join(free)}")
    looks = entry.surrogate == "features"
    shared = {"steps": plan.steps, "step_size": plan.step_size}
    return AttackSpec(
        name,
        (plan.surrogate,) if looks else (),
        (plan.layer,) if looks and plan.layer else (),
        eps,
        plan.preset,
        merge_settings(settings, **{k: v for k, v in shared.items() if k in entry.settings}),
        plan.trained.get(name),
    )


def made_before(folder: Path) -> Attacked:
    """Attacked images of ``nrpurify attack``, or of an earlier run, with what its manifest says.

    The eps is that of the manifest, or the largest change that it notes if rounding made that more.

    Raises:
        InputError: No manifest there, one that says too little, or no image.
    """
    try:
        records = read_records(folder)
        if records is None:  # made by an earlier run
            found = read_json(folder / MANIFEST)
            said, files = dict(found.get("settings") or found["head"]), found["files"]
        else:
            said, files = records.head()["settings"], records.files
        eps = max([float(said["eps"]), *(entry["linf"] for entry in files.values())])
        name, steps, surrogate = str(said["attack"]), said.get("steps"), said.get("surrogate")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{str(folder)!r} has no manifest of one attack ({error}); give a folder that "
            "`nrpurify attack` made"
        ) from error
    settings = {"attacked": folder.name, "attacked_sha256": _folder_hash(folder), **said}
    return Attacked(name, eps, look_up(folder), surrogate, steps, settings=settings)


def _folder_hash(folder: Path) -> str:
    """sha256 of all images of a folder, and of unrounded values beside them."""
    images = find_images(folder, recursive=True)
    paths = [path for image in images for path in (image.path, image_tensor_path(image.path))]
    held = [path for path in paths if path.is_file()]
    names = [path.relative_to(folder).as_posix() for path in held]
    return digest([list(row) for row in zip(names, content_hashes(held), strict=True)])
