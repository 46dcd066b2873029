"""ONNX files: the networks of one input as one graph from windows to probabilities."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semiseg.delivery.graph import examples, predictor, program, require_same
from semiseg.errors import missing_extra
from semiseg.prediction.members import Member

OPSET = 18
"""What onnxruntime has read since 1.14 (2023)."""

MODULES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """See that the extra is there before anything is written.

    Raises:
        UsageError: it is not; names the command that installs it.
    """
    from importlib.util import find_spec

    for name in MODULES:
        if find_spec(name) is None:
            raise missing_extra("onnx", name, "export --to onnx")


def write(path: Path, members: Sequence[Member], *, half: bool = False) -> dict[str, Any]:
    """Write one graph: ``image`` (batch, C, *patch) -> ``probabilities`` (batch, K, *patch), both float32.

    Args:
        path: of the ``.onnx`` file.
        members: networks that see the same input; the graph has the mean of their probabilities.
        half: weights and sums in 16 bits; input and output stay as they are.

    Returns:
        What ``model.json`` tells of the file: name, hash, opset, IR version, how far it is from the network.

    Raises:
        UsageError: a network that cannot be exported.
    """
    import onnx

    with _quiet():
        made: Any = torch.onnx.export(
            program(members), dynamo=True, opset_version=OPSET, output_names=["probabilities"], verbose=False
        )
    model = _cleaned(made.model_proto)
    if half:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(model, keep_io_types=True)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    difference = _difference(content, members)
    if not half:
        require_same(members, difference)
    path.write_bytes(content)
    return {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "precision": "16" if half else "32",
        "opset": max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")),
        "ir_version": model.ir_version,
        "input": "image",
        "output": "probabilities",
        "largest_difference": float(f"{difference:.2g}"),
    }


def _cleaned(model: Any) -> Any:
    """Without notes of where code lies on this machine; the batch has its name."""
    for thing in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.functions):
        thing.doc_string = ""
        if hasattr(thing, "metadata_props"):
            del thing.metadata_props[:]
    for tensor in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        tensor.doc_string = ""
        if hasattr(tensor, "metadata_props"):
            del tensor.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    return model


def _difference(content: bytes, members: Sequence[Member]) -> float:
    """The largest difference of a probability to PyTorch, for one window and for three."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    module, worst = predictor(members), 0.0
    for count in (1, 3):
        x = examples(members[0], count)
        with torch.inference_mode():
            wanted = module(x).numpy()
        found = session.run(["probabilities"], {"image": x.numpy()})[0]
        worst = max(worst, float(np.abs(found - wanted).max()))
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of its progress on stdout, and of packages that no network here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
