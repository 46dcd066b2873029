"""ONNX files: the networks of one input as one graph from windows to probabilities, in 32, 16 or 8 bits."""

from __future__ import annotations

import hashlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from semiseg.delivery.graph import examples, predictor, program, require_same
from semiseg.errors import missing_extra
from semiseg.prediction.members import Member

OPSET = 18
"""What onnxruntime has read since 1.14 (2023)."""

MODULES = ("onnx", "onnxscript", "onnxruntime")

Precision = Literal["32", "16", "int8"]


def require_onnx() -> None:
    """See that the extra is there before anything is written (UsageError: what installs it)."""
    from importlib.util import find_spec

    for name in MODULES:
        if find_spec(name) is None:
            raise missing_extra("onnx", name, "export --to onnx")


def write(
    path: Path, members: Sequence[Member], precision: Precision, windows: Sequence[NDArray[np.float32]] = ()
) -> dict[str, Any]:
    """Write one graph: ``image`` (batch, C, *patch) -> ``probabilities`` (batch, K, *patch), both float32.

    Args:
        path: of the ``.onnx`` file.
        members: networks that see the same input; the graph has the mean of their probabilities.
        precision: of weights and feature maps: ``16`` halves the file; ``int8`` quantizes the convolutions
            (static, per channel; Jacob et al., CVPR 2018, arXiv 1712.05877).
        windows: for ``int8``: (1, C, *patch) each, from which the range of every feature map is taken.

    Returns:
        What ``model.json`` tells of the file. A network that cannot be exported is a UsageError.
    """
    import onnx

    with _quiet():
        made: Any = torch.onnx.export(
            program(members), dynamo=True, opset_version=OPSET, output_names=["probabilities"], verbose=False
        )
        model = _cleaned(made.model_proto)
        if precision == "16":
            model = _halved(model)
        elif precision == "int8":
            model = _quantized(model, windows)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    difference = _difference(content, members)
    if precision == "32":
        require_same(members, difference)
    path.write_bytes(content)
    return {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "precision": precision,
        "opset": max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")),
        "ir_version": model.ir_version,
        "input": "image",
        "output": "probabilities",
        "largest_difference": float(f"{difference:.2g}"),
    }


def _cleaned(model: Any) -> Any:
    """Without notes of where code lies on this machine; the batch has its name."""
    graph = model.graph
    things = (*graph.node, *graph.initializer, *graph.input, *graph.output, *model.functions)
    for thing in (model, graph, *things):
        thing.doc_string = ""
        if hasattr(thing, "metadata_props"):
            del thing.metadata_props[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]
    return model


def _halved(model: Any) -> Any:
    """Weights and feature maps in 16 bits, but for the operations that have none; input and output in 32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    made = convert_float_to_float16(model, keep_io_types=True)
    OnnxModel.graph_topological_sort(made.graph)  # what was inserted stands at the end
    return made


def _quantized(model: Any, windows: Sequence[NDArray[np.float32]]) -> Any:
    """Convolutions in 8 bits; norms, activations and the last softmax stay as they are.

    Weights have 7 bits, so that sums do not saturate on CPUs without VNNI instructions.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Windows(CalibrationDataReader):  # type: ignore[misc]
        """Hands out one window after another, and None at the end."""

        def __init__(self) -> None:
            self.left = iter(windows)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            window = next(self.left, None)
            return None if window is None else {"image": window}

    with tempfile.TemporaryDirectory() as folder:
        plain, ready, made = (str(Path(folder) / name) for name in ("plain.onnx", "ready.onnx", "int8.onnx"))
        onnx.save(model, plain)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantize_static(
            ready,
            made,
            Windows(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
        )
        return _cleaned(onnx.load(made))


def _difference(content: bytes, members: Sequence[Member]) -> float:
    """The largest difference of a probability to PyTorch, for one window and for three."""
    session = open_session(content)
    module, worst = predictor(members), 0.0
    for count in (1, 3):
        x = examples(members[0], count)
        with torch.inference_mode():
            wanted = module(x).numpy()
        found = session.run(["probabilities"], {"image": x.numpy()})[0]
        worst = max(worst, float(np.abs(found - wanted).max()))
    return worst


def open_session(content: bytes) -> Any:
    """A session on the CPU, with as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence exporter and quantizer, which print their progress and warn of what no network here needs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "root")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
