"""Weights out of an ONNX file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nrpurify.core.errors import MissingExtraError, WeightsError


def read_onnx(path: Path) -> Mapping[str, Any]:
    """Read the parameters of an ONNX graph.

    Weights kept in other files are not followed, and nothing is run.

    Returns:
        The convolutions first, in the order of the graph: float arrays by ``NODE.weight``
        (outputs×inputs×height×width) and ``NODE.bias``. Then matrices by ``NODE.matrix``
        (inputs×outputs) and what else the graph stores, by its own name.

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
        convolutions = {
            f"{node.name}.{part}": arrays[source]
            for node in graph.node
            if node.op_type == "Conv"
            for part, source in zip(("weight", "bias"), node.input[1:], strict=False)
        }
        matrices = {
            f"{node.name}.matrix": arrays[node.input[1]]
            for node in graph.node
            if node.op_type == "MatMul" and node.input[1] in arrays
        }
        return convolutions | matrices | arrays
    except Exception as error:  # a broken file may raise nearly anything
        raise WeightsError(f"{path.name} is not a readable ONNX model: {error}") from error
