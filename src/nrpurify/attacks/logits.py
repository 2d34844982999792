"""How attacks ask a classifier, and their objective there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from nrpurify.attacks.adaptive import EOT
from nrpurify.attacks.ascent import Objective
from nrpurify.attacks.goal import Goal
from nrpurify.attacks.surrogate import Model, classify
from nrpurify.core.precision import Amp, at_least_fp32, autocast
from nrpurify.core.scale import enlarged

Transform = Callable[[Tensor], Tensor]
"""Maps one image 1×3×H×W to 1×3×H'×W'."""


def groups(inputs: Sequence[Tensor]) -> list[list[int]]:
    """Which of the N inputs, each 1×3×H×W, go through a model together.

    Which of them have one shape, or are still attacked, depends on the others. So in fp32 on the
    CPU each goes alone: kernels round by batch size, and signs would flip. Elsewhere those of one
    shape go together.
    """
    if inputs[0].device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        return [[index] for index in range(len(inputs))]
    by_shape: dict[torch.Size, list[int]] = {}
    for index, one in enumerate(inputs):
        by_shape.setdefault(one.shape, []).append(index)
    return list(by_shape.values())


def in_groups(function: Model, inputs: Sequence[Tensor], amp: Amp = False) -> Tensor:
    """``function`` of N inputs, each 1×3×H×W, whose sizes may differ; N rows in their order."""
    with autocast(inputs[0].device, amp):
        parts = groups(inputs)
        answers = [function(torch.cat([inputs[index] for index in part])) for part in parts]
    order = torch.tensor([index for part in parts for index in part], device="cpu")
    return torch.cat(answers)[order.argsort()]


def together(function: Model, images: Tensor, amp: Amp = False) -> Tensor:
    """``function`` of N×3×H×W images that always go through it together; N rows."""
    with autocast(images.device, amp):
        return function(images)


def ask(model: Model, images: Tensor) -> Tensor:
    """Logits N×draws×classes of N×3×H×W images; one draw except from :class:`EOT`."""
    return at_least_fp32(
        model.each(images) if isinstance(model, EOT) else classify(model, images)[:, None]
    )


def cross_entropy(
    model: Model,
    goal: Goal,
    diversity: Callable[[], Iterable[Transform]] | None = None,
    amp: Amp = False,
) -> Objective:
    """The objective of a :class:`Goal`.

    Args:
        model: The surrogate.
        goal: What is to grow.
        diversity: Draws one transformation an image, anew at each step.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"``.
    """

    def objective(images: Tensor) -> Tensor:
        if diversity is None:
            return goal.loss(together(lambda batch: ask(model, batch), images, amp))
        pairs = zip(diversity(), torch.split(images, 1), strict=True)
        inputs = [draw(one) for draw, one in pairs]

        def answer(batch: Tensor) -> Tensor:
            with enlarged(images, batch):
                return ask(model, batch)

        return goal.loss(in_groups(answer, inputs, amp))

    return objective


@torch.no_grad()
def predict(model: Model, images: Tensor, amp: Amp = False) -> Tensor:
    """The N classes that the model sees in N×3×H×W images."""
    return together(lambda batch: ask(model, batch), images, amp).mean(1).argmax(1)
