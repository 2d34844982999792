"""Auto-PGD with the cross entropy and with the difference-of-logits ratio (Croce & Hein, 2020)."""

from __future__ import annotations

from torch import Tensor

from nrpurify.attacks.ascent import Callback
from nrpurify.attacks.autostep import ApgdPlan, auto_ascend
from nrpurify.attacks.box import Eps
from nrpurify.attacks.draws import Source, start_each
from nrpurify.attacks.goal import Goal
from nrpurify.attacks.inference import with_gradients
from nrpurify.attacks.margins import dlr
from nrpurify.attacks.presets import choose
from nrpurify.attacks.restarts import Attempt, Watch, best_of
from nrpurify.attacks.scene import Scene
from nrpurify.attacks.surrogate import Model, frozen
from nrpurify.core.precision import Amp

PRESETS = {"paper": ApgdPlan(), "authors": ApgdPlan(restarts=1)}
"""``paper``: five attempts of 100 steps; ``authors``: one, as in their package's standard."""


@with_gradients
def apgd_ce(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    steps: int | None = None,
    restarts: int | None = None,
    early_stop: bool | None = None,
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """PGD with momentum, up the cross entropy, that halves its step where it makes no progress.

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        steps: Number of steps of an attempt.
        restarts: Number of attempts, each from a random point of the box.
        early_stop: Leave an image alone as soon as it is misclassified (targeted: classified as
            the target), which may be at once. That is all that accuracy asks for. False goes on
            to the greatest loss, for instance because other models are to be fooled, too.
        generator: Makes the starts reproducible.
        callback: Its steps are numbered through all attempts; images that are left alone keep
            their last loss.
    """
    plan = choose(PRESETS, preset, steps=steps, restarts=restarts, early_stop=early_stop)
    with frozen(model):
        scene = Scene.of(
            model, images, labels, Goal.loss, eps=eps, targets=targets, generator=generator, amp=amp
        )
        return scene.box.cast(_attack(scene, plan, callback), images.dtype)


@with_gradients
def apgd_dlr(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: Eps = 16 / 255,
    preset: str = "paper",
    steps: int | None = None,
    restarts: int | None = None,
    early_stop: bool | None = None,
    targets: Tensor | None = None,
    generator: Source = None,
    amp: Amp = False,
    callback: Callback | None = None,
) -> Tensor:
    """:func:`apgd_ce` with the difference-of-logits ratio in place of the cross entropy.

    The targeted ratio leads from ``labels`` (or what the model says of the clean images) to
    ``targets``. See :func:`nrpurify.attacks.margins.dlr`.

    Arguments that are not listed, the result and errors: see
    :func:`nrpurify.attacks.gradient.gradient_attack`.

    Args:
        preset: ``paper`` or ``authors``; whatever follows overrides it.
        steps: Number of steps of an attempt.
        restarts: Number of attempts, each from a random point of the box.
        early_stop: As in :func:`apgd_ce`.
        generator: Makes the starts reproducible.
        callback: As in :func:`apgd_ce`.

    Raises:
        InputError: A model of fewer than three classes, or four when targeted.
    """
    plan = choose(PRESETS, preset, steps=steps, restarts=restarts, early_stop=early_stop)
    with frozen(model):
        scene = Scene.of(
            model, images, labels, dlr, eps=eps, targets=targets, generator=generator, amp=amp
        )
        return scene.box.cast(_attack(scene, plan, callback), images.dtype)


def _attack(scene: Scene, plan: ApgdPlan, callback: Callback | None) -> Tensor:
    def attempt(rows: Tensor, watch: Watch) -> Attempt:
        part = scene.part(rows)
        start = start_each("uniform", part.clean, part.radii, part.generators)
        start = part.box.project(start)
        return auto_ascend(part.judge, part.box, start, 2 * part.radii, rows, plan, watch)

    return best_of(
        plan.restarts,
        attempt,
        scene.clean,
        scene.judge,
        early_stop=plan.early_stop,
        callback=callback,
    )
