"""Several surrogates attacked as one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nrpurify.attacks.surrogate import classify
from nrpurify.core.errors import InputError


class Ensemble(nn.Module):
    """A classifier whose logits are the mean of those of its members (Dong et al., 2018).

    Members may differ in input size as long as each, like
    :class:`nrpurify.models.Classifier`, resizes inside.

    Args:
        models: Classifiers from N×3×H×W images in [0, 1] to N×classes logits.

    Raises:
        InputError: No member; or, when called, members with different numbers of classes.
    """

    def __init__(self, *models: nn.Module) -> None:
        super().__init__()
        if not models:
            raise InputError("an ensemble of no model was given; expected at least one")
        self.models = nn.ModuleList(models)

    def forward(self, images: Tensor) -> Tensor:
        """Mean logits N×classes of N×3×H×W images in [0, 1]."""
        answers = [classify(model, images) for model in self.models]
        classes = [answer.shape[1] for answer in answers]
        if len(set(classes)) > 1:
            raise InputError(
                f"the members of the ensemble have {', '.join(map(str, classes))} classes; "
                "expected the same number from all"
            )
        return torch.stack(answers).mean(0)
