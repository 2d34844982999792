"""A small purifier with strength and gate, and its ONNX file."""

import onnx
import pytest
import torch
from torch import nn

from nrpurify.export import export
from nrpurify.export.program import trace
from nrpurify.purifiers import Card, Design, Gate, Purifier, Strength

DESIGN = Design("unshuffle-unet", {"widths": [12, 14], "blocks": [1, 1], "factor": 2})
SIZES = ((1, 24, 24), (3, 19, 40), (1, 513, 18), (2, 20, 700), (1, 1100, 17))


def build():
    """A purifier that corrects, the more the more its gate opens."""
    generator = torch.Generator().manual_seed(2)
    network, gate = DESIGN.build(), Gate()
    for module in (network, gate):
        for weight in module.parameters():
            if weight.ndim > 1:
                std = (1 / weight[0].numel()) ** 0.5
                nn.init.normal_(weight, std=std, generator=generator)
            else:
                nn.init.zeros_(weight)
    with torch.no_grad():
        network.tail.weight.mul_(0.3)
        gate.last.weight.mul_(3)
        for weight in network.parameters():  # as checkpoints hold them
            weight.copy_(weight.half())
    card = Card("small", DESIGN.architecture, dict(DESIGN.arguments))
    return Purifier(network, card, Strength(2, 1.5), gate).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def purifier():
    return build()


@pytest.fixture(scope="session")
def traced(purifier):
    """The purifier and its program: tracing takes seconds."""
    return trace(purifier, None)


@pytest.fixture
def quick_trace(traced, monkeypatch):
    """Exports of the purifier need not trace."""
    monkeypatch.setattr("nrpurify.export.exporter.trace", lambda *_: traced)


@pytest.fixture(scope="session")
def exported(purifier, tmp_path_factory):
    """What the export of the purifier to ONNX returned."""
    return export(purifier, tmp_path_factory.mktemp("export") / "small.onnx", sizes=SIZES)


@pytest.fixture
def onnx_model(exported, quick_trace, monkeypatch):
    """The model in that file, which the next exports write too."""
    model = onnx.load(exported.path)
    monkeypatch.setattr("nrpurify.export.formats._to_onnx", lambda *_: model)
    return model
