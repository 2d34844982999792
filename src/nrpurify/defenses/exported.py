"""A purifier in an exported file, as a defense."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from nrpurify.core.errors import WeightsError
from nrpurify.core.hashing import file_hash
from nrpurify.defenses.engines import Engine, open_engine
from nrpurify.defenses.opaque import Opaque


class ExportedPurifier(Opaque):
    """A purifier that ``nrpurify export`` wrote, run by onnxruntime or OpenVINO on the CPU.

    It has no gradient. Images are purified one by one and as a whole, so memory grows with their
    sides.

    Attributes:
        about: What the file says of itself: the purifier's card, strength and gate.
        sha256: Hash of the file, 32 bytes; part of the state, so that hashes see it.

    Args:
        path: An ``.onnx`` file, or an ``.xml`` file of OpenVINO with its ``.bin`` beside it.

    Raises:
        MissingExtraError: onnxruntime or openvino is not installed.
        WeightsError: The file is missing or damaged, or holds no purifier.
    """

    sha256: Tensor

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path).absolute()  # copies open it again, in whatever folder they are
        self._engine: Engine | None = open_engine(path)
        self.about = dict(self._engine.about)
        if self.about["kind"] != "purifier":
            raise WeightsError(
                f"{path} holds a purifier and a {self.about['kind']}, which returns no images; "
                "expected a file that was exported without --model"
            )
        digest = bytearray.fromhex(file_hash(self.path))
        self.register_buffer("sha256", torch.frombuffer(digest, dtype=torch.uint8))

    def process(self, image: Tensor) -> Tensor:
        """A 3×H×W image in [0, 1] to a purified one."""
        if self._engine is None:  # a copy
            self._engine = open_engine(self.path)
        return torch.from_numpy(self._engine(image[None].contiguous().numpy())[0])

    def __getstate__(self) -> dict[str, Any]:
        """All but the loaded file, which neither copies nor travels to other processes."""
        return {**self.__dict__, "_engine": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(self.path)
