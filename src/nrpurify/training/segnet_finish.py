"""The end of a segmenter's training: batch-norm statistics in full size, accuracy."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from nrpurify.data.masks import IGNORED, Sample


@torch.no_grad()
def settle_norms(network: nn.Module, images: Iterable[Tensor]) -> None:
    """Replace all batch-norm statistics by the means over ``images``, each 3×H×W in [0, 1].

    Training saw small views; whole images differ from them. The network is in eval mode afterwards.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
    network.train()
    for image in images:
        network(image[None])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@torch.no_grad()
def measure(network: nn.Module, samples: Iterable[Sample], device: torch.device) -> float:
    """Pixel accuracy of a network that returns logits N×classes×H×W, void ignored."""
    right = counted = 0
    for sample in samples:
        predicted = network(sample.image[None].to(device)).argmax(1)[0].cpu()
        known = sample.mask != IGNORED
        right += int((predicted == sample.mask)[known].sum())
        counted += int(known.sum())
    return right / max(counted, 1)
