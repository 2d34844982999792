"""Small nets with random, not identity, weights."""

import pytest
import torch
from torch import nn

from nrpurify.purifiers import Card, Design, Purifier, build_purifier

SMALL = {
    "detail-unet": {
        "widths": [12, 14],
        "blocks": [1, 2],
        "factor": 2,
        "detail": 6,
        "detail_blocks": 1,
    },
    "nrp": {"width": 6, "blocks": 1, "growth": 3},
    "resg": {"width": 6, "blocks": 2},
    "unet": {"width": 4, "levels": 2},
    "unshuffle-rrdb": {"width": 14, "blocks": 1, "growth": 4, "factor": 2},
    "unshuffle-unet": {"widths": [12, 14], "blocks": [1, 2], "factor": 2},
}


@pytest.fixture(params=SMALL)
def small(request) -> Purifier:
    torch.manual_seed(0)
    design = Design(request.param, SMALL[request.param])
    network = design.build()
    for weight in network.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=(2 / weight[0].numel()) ** 0.5)
    return Purifier(network.eval(), Card("small", design.architecture, dict(design.arguments)))


@pytest.fixture
def changed() -> Purifier:
    """The micro design, frozen, that corrects a little."""
    torch.manual_seed(0)
    purifier = build_purifier("micro")
    with torch.no_grad():
        purifier.network.tail.weight.mul_(0.8)
    return purifier.eval().requires_grad_(False)
