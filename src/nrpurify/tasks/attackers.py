"""Attacks on whole images, which need no labels: made once into the run's folder, or before."""

from __future__ import annotations

from pathlib import Path, PurePath

import torch
from torch import Tensor

from nrpurify.attacks import registry
from nrpurify.attacks.spec import merge_settings, read_spec
from nrpurify.core.errors import InputError
from nrpurify.core.hashing import pixels_hash, slug
from nrpurify.core.manifest import make_head
from nrpurify.core.precision import arithmetic
from nrpurify.evaluation.attack_runner import AttackSpec
from nrpurify.evaluation.cache import AttackCache, look_up, read_made_before
from nrpurify.evaluation.harness import Batch
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
    }
    weights = spec.weights_sha256(network)
    surrogate = ",".join(spec.networks) or None
    head = make_head({"attack": spec.name, "surrogate": surrogate, "eps": eps, **settings}, weights)
    sources: dict[str, str] = {}

    runner = spec.runner(network, seed=plan.seed, amp=plan.amp)

    def make(batch: Batch) -> Tensor:
        with torch.enable_grad():
            return runner(batch.images).detach()

    stored = AttackCache(folder / slug(text, f"{255 * eps:g}"), head, make, eps, "uint8")

    def images(batch: Batch) -> Tensor:
        own = [_stored_name(name, sources) for name in batch.names]
        return stored.get(batch._replace(names=own), [pixels_hash(batch.images)])

    return Attacked(
        text,
        eps,
        images,
        surrogate=surrogate,
        steps=settings.get("steps"),
        settings={**settings, "weights_sha256": weights},
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
    settings, eps = read_made_before(folder)
    name, steps, surrogate = settings["attack"], settings.get("steps"), settings.get("surrogate")
    return Attacked(name, eps, look_up(folder), surrogate, steps, settings=settings)
