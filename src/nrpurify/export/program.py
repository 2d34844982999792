"""A defense, alone or with a classifier behind it, as one program with open sizes."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from nrpurify.core.errors import InputError, first_line
from nrpurify.defenses import make
from nrpurify.defenses.opaque import Opaque
from nrpurify.defenses.randomness import RandomDefense
from nrpurify.models import Classifier, load_classifier
from nrpurify.purifiers import DynamicPurifier, Purifier

SHORTEST = 17
"""Sides below it are other programs to ``torch.export``; ONNX and OpenVINO files take them too."""
_EXAMPLE = (2, 3, 70, 75)
"""Not one image, and sides that need padding: else the program would hold for such alone."""


def load_defense(source: str | Path | nn.Module) -> nn.Module:
    """A defense to export, in eval mode on the CPU; a module that is given stays as it is.

    Args:
        source: A spec, a checkpoint file, or a module from images to images.

    Raises:
        InputError: No such defense, or one that cannot be exported.
    """
    defense = _copied(source).cpu().eval() if isinstance(source, nn.Module) else make(str(source))
    for part in defense.modules():
        if isinstance(part, Opaque):
            raise _refused(source, f"{type(part).__name__} works outside of torch")
        if isinstance(part, RandomDefense | DynamicPurifier):
            raise _refused(source, f"{type(part).__name__} draws at random, a file cannot")
        if isinstance(part, Purifier):
            part.smallest = 0  # the images of the parity check are no user's
    return defense.requires_grad_(False)


def _refused(source: object, why: str) -> InputError:
    name = source if isinstance(source, str | Path) else type(source).__name__
    return InputError(
        f"{str(name)!r} cannot be exported: {why}; expected a purifier, such as fast, tiny, "
        "fast:coarse=1,fine=1 or a checkpoint file"
    )


def load_model(source: str | nn.Module) -> Classifier:
    """A classifier to export behind a defense, from a victim's spec or a module.

    Raises:
        InputError: No such classifier.
    """
    if isinstance(source, nn.Module):
        return load_classifier(_copied(source).cpu())
    return load_classifier(source)


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # what holds a lock, a session or a file cannot be copied
        raise _refused(module, f"it cannot be copied ({first_line(error)})") from error


def trace(defense: nn.Module, model: nn.Module | None) -> tuple[nn.Module, ExportedProgram]:
    """The module to export, and its program for any batch, height and width.

    Raises:
        InputError: ``torch.export`` cannot trace it.
    """
    module = (defense if model is None else nn.Sequential(defense, model)).eval()
    sides = {
        0: Dim("batch", min=1),
        2: Dim("height", min=SHORTEST),
        3: Dim("width", min=SHORTEST),
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            example = torch.full(_EXAMPLE, 0.5)
            program = torch.export.export(module, (example,), dynamic_shapes=(sides,))
    except Exception as error:  # tracing runs foreign code
        raise InputError(
            f"torch.export cannot trace it for any size: {first_line(error)}"
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names files of this machine
    return module, program
