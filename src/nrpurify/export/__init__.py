"""Purifiers as files that run without this package: ONNX, OpenVINO and ``torch.export``."""

from nrpurify.export.exporter import Exported, export
from nrpurify.export.parity import ParityError

__all__ = ["Exported", "ParityError", "export"]
