"""ONNX files as victims: scores by onnxruntime, gradients by onnx2pytorch where that works."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.core.hashing import digest, file_hash
from nrpurify.core.preprocessing import Preprocessing
from nrpurify.models.classifier import Classifier

FLOATS = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
"""The types of inputs that are taken, as onnxruntime names them."""
AGREEMENT = 1e-3
"""Greatest difference of the converted network's scores, relative to the largest score."""


@dataclass(frozen=True)
class Signature:
    """What an ONNX file takes and returns.

    Attributes:
        name: Of its input.
        output: Of the output that holds the scores.
        channels_last: Whether the input is N×H×W×3 rather than N×3×H×W.
        batch: Images that it takes at a time; None for any number.
        side: Of its square images in pixels; None for any.
        classes: Number of scores; None where the file does not tell.
        dtype: Of its input.
    """

    name: str
    output: str
    channels_last: bool
    batch: int | None
    side: int | None
    classes: int | None
    dtype: torch.dtype


class OnnxNetwork(nn.Module):
    """An ONNX file as a module from N×3×H×W images, normalized as the file expects, to scores.

    Without gradients, onnxruntime answers, on the CPU. Where a gradient is asked for, the graph is
    converted to a PyTorch module once and its answers are compared with onnxruntime's.

    Args:
        path: The file; weights that it keeps in other files are read from its folder.
        output: Name of the output to read; empty for the only one of two dimensions.

    Raises:
        InputError: No readable ONNX file, or one that is no classifier of images.
        MissingExtraError: onnx or onnxruntime is not installed.
    """

    def __init__(self, path: Path, output: str = "") -> None:
        super().__init__()
        self.path = path
        self._model, files = _read(path)
        self.source_sha256 = digest([file_hash(file) for file in files])
        self._session = _session(path)
        self.signature = _signature(self._session, path, output)
        self._lock = Lock()
        self._converted: list[nn.Module] = []  # in a list it is no submodule: hashes stay the same

    def forward(self, images: Tensor) -> Tensor:
        """Scores N×C of preprocessed N×3×H×W images.

        Raises:
            InputError: Another size than the file's, or a gradient is asked for and the graph
                cannot be converted.
        """
        side = self.signature.side
        if side is not None and tuple(images.shape[2:]) != (side, side):
            raise InputError(
                f"{self.path.name} takes images of {side}×{side} pixels and was given "
                f"{images.shape[2]}×{images.shape[3]}; leave size out, or export it for any size"
            )
        if torch.is_grad_enabled() and images.requires_grad:
            return self._by_torch(images)
        return self._by_runtime(images)

    def _by_runtime(self, images: Tensor) -> Tensor:
        return self._in_batches(self._run, images.detach())

    def _run(self, shown: Tensor) -> Tensor:
        feed = {self.signature.name: shown.cpu().contiguous().numpy()}
        (scores,) = self._session.run([self.signature.output], feed)
        return torch.from_numpy(scores).to(shown.device)

    def _by_torch(self, images: Tensor) -> Tensor:
        with self._lock:
            if not self._converted:
                self._converted.append(self._convert(images.detach()))
        network = self._converted[0].to(images.device)
        return self._in_batches(lambda shown: self._scores(network, shown), images)

    def _convert(self, images: Tensor) -> nn.Module:
        """The graph as a module that answers as onnxruntime does."""
        converter = _converter()
        instead = (
            "take an attack that needs scores only, such as square, or the network as a module "
            "(FILE.py:FUNCTION)"
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                network = converter.ConvertModel(self._model, experimental=True)
            network = network.eval().requires_grad_(False).to(images.device)
            # judged in fp32: in the bf16 of an attack no network is as near as AGREEMENT
            with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
                answers = self._in_batches(lambda shown: self._scores(network, shown), images)
        except Exception as error:  # a converter may fail in nearly any way
            raise InputError(
                f"{self.path.name} cannot be converted, so no gradient leads through it: "
                f"{type(error).__name__}: {error}; {instead}"
            ) from error
        expected = self._by_runtime(images)
        apart = float((answers - expected).abs().max())
        if not apart <= AGREEMENT * max(1.0, float(expected.abs().max())):
            raise InputError(
                f"{self.path.name} was converted to a network whose scores are {apart:.3g} away "
                f"from onnxruntime's, so its gradients are of no use; {instead}"
            )
        made: nn.Module = network
        return made

    def _scores(self, network: nn.Module, shown: Tensor) -> Tensor:
        answers = network(shown)
        if isinstance(answers, tuple | list):
            names = [one.name for one in self._session.get_outputs()]
            answers = answers[names.index(self.signature.output)]
        scores: Tensor = answers
        return scores

    def _in_batches(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """The function of so many images at a time as the file takes; the last are repeated."""
        known = self.signature
        shown = images.to(known.dtype)
        if known.channels_last:
            shown = shown.permute(0, 2, 3, 1)
        if known.batch is None:
            return function(shown).to(images.dtype)
        parts = []
        for part in torch.split(shown, known.batch):
            missing = known.batch - len(part)
            filled = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])])
            parts.append(function(filled)[: len(part)])
        return torch.cat(parts).to(images.dtype)


def onnx_classifier(path: str, *, bgr: bool = False, output: str = "") -> Classifier:
    """The victim of an ONNX file; without ``mean`` and ``std`` it gets images in [0, 1].

    Args:
        path: The file.
        bgr: Whether it expects blue first.
        output: Name of the output that holds the scores, where there are several.

    Raises:
        InputError: See :class:`OnnxNetwork`.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    network = OnnxNetwork(Path(path), output)
    known = network.signature
    expected = Preprocessing((0.0,) * 3, (1.0,) * 3, bgr=bgr, size=known.side)
    return Classifier(
        network,
        name=path,
        num_classes=known.classes,
        preprocessing=expected,
        fixed_size=known.side is not None,
    )


def _read(path: Path) -> tuple[Any, list[Path]]:
    """The graph with its weights, and the files that it was read from."""
    try:
        import onnx
        from onnx import external_data_helper
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}; expected an ONNX file")
    try:
        model = onnx.load(str(path), load_external_data=False)
        beside = sorted(
            {
                external_data_helper.ExternalDataInfo(one).location
                for one in _tensors(model)
                if external_data_helper.uses_external_data(one)
            }
        )
        folder = path.resolve().parent
        files = [folder / name for name in beside]
        for file in files:
            if folder not in file.resolve().parents:
                raise InputError(
                    f"{path.name} keeps weights in {str(file)!r}, outside of its own folder; "
                    "expected a file beside it"
                )
        external_data_helper.load_external_data_for_model(model, str(folder))
    except InputError:
        raise
    except Exception as error:  # a broken file may raise nearly anything
        raise InputError(f"{path.name} is not a readable ONNX model: {error}") from error
    return model, [path, *files]


def _tensors(part: Any) -> Iterator[Any]:
    """All tensors of a model, a graph or a node: initializers, and those of attributes."""
    from onnx import TensorProto

    for field, value in part.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        for one in value if hasattr(value, "__len__") else (value,):
            if isinstance(one, TensorProto):
                yield one
            else:
                yield from _tensors(one)


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of the runtime's own kinds
        raise InputError(f"onnxruntime cannot run {path.name}: {error}") from error


def _converter() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import onnx2pytorch
    except ImportError as error:
        raise MissingExtraError("onnx2pytorch", "onnx") from error
    return onnx2pytorch


def _signature(session: Any, path: Path, output: str) -> Signature:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shapes = ", ".join(f"{one.name} {_shape(one.shape)} {one.type}" for one in inputs)
    expected = "expected one input of N×3×H×W or N×H×W×3 floats"
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in FLOATS:
        raise InputError(f"{path.name} takes {shapes}; {expected}")
    batch, *rest = inputs[0].shape
    if 3 not in (rest[0], rest[2]):
        raise InputError(f"{path.name} takes {shapes}; {expected}")
    channels_last = rest[0] != 3
    height, width = rest[:2] if channels_last else rest[1:]
    if isinstance(height, int) and isinstance(width, int) and height != width:
        raise InputError(f"{path.name} takes images of {height}×{width}; expected square ones")
    flat = [one for one in outputs if len(one.shape) == 2]
    chosen = [one for one in outputs if one.name == output] if output else flat
    if len(chosen) != 1:
        names = ", ".join(f"{one.name} {_shape(one.shape)}" for one in outputs)
        raise InputError(
            f"{path.name} returns {names}; expected one of two dimensions, N×classes, or its name "
            "as output=NAME"
        )
    classes = chosen[0].shape[-1]
    return Signature(
        inputs[0].name,
        chosen[0].name,
        channels_last,
        batch if isinstance(batch, int) else None,
        next((one for one in (height, width) if isinstance(one, int)), None),
        classes if isinstance(classes, int) else None,
        FLOATS[inputs[0].type],
    )


def _shape(sizes: Sequence[object]) -> str:
    return "×".join(str(size) for size in sizes)
