"""Weights out of an ONNX file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nrpurify.errors import MissingExtraError, WeightsError


def read_onnx(path: Path) -> Mapping[str, Any]:
    """Read the parameters of an ONNX graph's convolutions, in the order of the graph.

    Weights kept in other files are not followed, and nothing is run.

    Returns:
        Float arrays by ``NODE.weight`` (outputs×inputs×height×width) and ``NODE.bias``.

    Raises:
        MissingExtraError: The package onnx is not installed.
        WeightsError: The file is no readable ONNX model.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingExtraError("onnx", "tasks") from error
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
        arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        return {
            f"{node.name}.{part}": arrays[source]
            for node in graph.node
            if node.op_type == "Conv"
            for part, source in zip(("weight", "bias"), node.input[1:], strict=False)
        }
    except Exception as error:  # a broken file may raise nearly anything
        raise WeightsError(f"{path.name} is not a readable ONNX model: {error}") from error
