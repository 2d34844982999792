"""Segmenters by spec: a registered name, a file, torchvision's, or the user's own."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.models.factories import make_model, ready
from nrpurify.models.segmenters.camvid import segnet_of_file
from nrpurify.models.segmenters.registry import SEGMENTERS
from nrpurify.models.segmenters.segmenter import Segmenter, as_segmenter
from nrpurify.models.segmenters.zoo import torchvision_segmenter


def load_segmenter(
    name: str | Path, *, pretrained: bool = True, device: torch.device | str | None = None
) -> Segmenter:
    """Return a segmenter, in eval mode, without weight gradients.

    Args:
        name: ``segnet-basic-camvid`` (shipped with the package), ``u2netp`` (salient objects, not
            classes: two logits, background and object), ``torchvision:NAME`` such as
            ``torchvision:deeplabv3_resnet50``, a file that ``nrpurify
            train-segmenter`` wrote, or ``python:package.module:function`` and
            ``path/to/file.py:function``, with settings behind a colon. A function returns a
            :class:`Segmenter`, or a network and the names of its classes.
        pretrained: False gives random weights and touches neither files nor network.
        device: Where to put it; None leaves it on the CPU.

    Raises:
        InputError: there is no such name; near matches are named.
        MissingExtraError: the library that has it, or that reads its weights, is not installed.
        WeightsError: the weights could not be fetched, or a file is damaged.
    """
    spec = str(name)
    if spec not in SEGMENTERS and (spec.endswith(".safetensors") or Path(spec).is_file()):
        return ready(segnet_of_file(Path(spec)), device)
    made, source = make_model(
        spec,
        SEGMENTERS,
        {"torchvision": torchvision_segmenter},
        "segmenter",
        pretrained=pretrained,
        options={},
    )
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        made = as_segmenter(made[0], tuple(made[1]))
    if not isinstance(made, Segmenter):
        raise InputError(
            f"{spec} returned a {type(made).__name__}; expected a Segmenter, or a network and the "
            "names of its classes"
        )
    made.name, made.source_sha256 = spec, source.sha256
    return ready(made, device, foreign=source.is_foreign)
