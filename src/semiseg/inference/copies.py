"""A copy of a network that only predicts: batch norm folded into convolutions, weights in the final format.

In eval mode a batch norm multiplies each channel by one number and adds another, which the convolution before
it can do by itself. Which convolution that is, one small forward pass tells: no other operation may read its
output. The same input then goes through the copy; a copy that answers otherwise is not used.
"""

from __future__ import annotations

import copy
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from semiseg.inference.predictor import AUTOCAST, autocasting

log = logging.getLogger("semiseg.inference")

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)

TOLERANCE = {"32": 1e-3, "bf16": 0.2, "16": 0.2}
"""Largest accepted relative error of the logits; healthy networks stay below 1e-5 in float32 and 0.05 in
bf16."""

CHECK_EDGE = 2
"""The check's input has this many voxels per axis on the deepest feature map."""


def prediction_copy(
    network: nn.Module, channels: int, patch: Sequence[int], precision: str
) -> tuple[nn.Module, float]:
    """A copy of a network in eval mode for many forward passes under autocast to ``precision``.

    Convolutions and linear layers hold their weights in that format (autocast would convert them anew), and
    a batch norm that follows one convolution is folded into it. Values are those of the network up to
    rounding. A network that cannot be copied is used as it is.

    Args:
        network: stays as it is.
        channels: C of its input.
        patch: the planned window, two or three edges.
        precision: ``32``, ``bf16`` or ``16``.

    Returns:
        The copy, and how far its logits are from those of the network in float32, ``|z - z32| / |z32|``, on
        a small random input: above :data:`TOLERANCE` the precision should not be used. NaN: not measured.
    """
    try:
        plain = copy.deepcopy(network).eval().requires_grad_(False)
        x = _sample(plain, channels, patch)
        with torch.inference_mode():
            wanted, pairs = _observed(plain, x)
        for fold in (pairs, {}) if pairs else ({},):
            made = _converted(_folded(plain, fold), AUTOCAST[precision])
            error = relative_error(made, x, wanted, precision)
            if error <= TOLERANCE[precision]:
                break
            log.debug("a copy with %d norms folded is off by %.2g", len(fold), error)
        return made, error
    except Exception as error:  # somebody's network may do anything; it still predicts as it is
        log.debug("predicting with the network itself: %s", error, exc_info=True)
        return network, math.nan


def relative_error(network: nn.Module, x: Tensor, wanted: Tensor, precision: str) -> float:
    """``|z - wanted| / |wanted|`` of the logits of a network in eval mode; inf where they are not finite."""
    with torch.inference_mode(), autocasting(x.device, precision):
        found = _logits(network(x)).float()
    gap = float((found - wanted).norm() / wanted.norm().clamp_min(1e-12))
    return gap if math.isfinite(gap) else math.inf


def _sample(network: nn.Module, channels: int, patch: Sequence[int]) -> Tensor:
    """The same small random input every time, without a mark on the global generator."""
    divisor = getattr(network, "divisor", None) or patch
    edges = [min(CHECK_EDGE * int(d), max(int(p), int(d))) for d, p in zip(divisor, patch, strict=True)]
    parameter = next(network.parameters(), torch.zeros(0))
    values = torch.randn(1, channels, *edges, generator=torch.Generator().manual_seed(0))
    layout = torch.channels_last if len(edges) == 2 else torch.channels_last_3d
    return values.to(parameter.device).contiguous(memory_format=layout)


def _logits(output: Any) -> Tensor:
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


_FACTS = (int, torch.Size, torch.dtype, torch.device, torch.layout)
"""What an operation returns that asks for a tensor's form, not for its values."""


class _Readers(TorchFunctionMode):
    """Counts how often each of some tensors is given to an operation."""

    def __init__(self, watched: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.watched = watched
        self.count: Counter[int] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not isinstance(result, _FACTS):
            self.count.update(id(v) for v in _tensors((args, kwargs or {})) if id(v) in self.watched)
        return result


def _observed(network: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, str]]:
    """The logits of ``x``, and norm name -> name of the convolution that it can be folded into."""
    made: dict[int, Tensor] = {}  # holding the tensors keeps their ids unique
    maker: dict[int, str] = {}
    norm_of: dict[int, str] = {}
    calls: Counter[str] = Counter()
    handles = []

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            calls[name] += 1
            if not isinstance(module, NORMS):
                made[id(output)] = output
                maker[id(output)] = name
            elif id(inputs[0]) in made:
                norm_of[id(inputs[0])] = name

        return hook

    candidates = dict(_foldable(network))
    for name, module in candidates.items():
        handles.append(module.register_forward_hook(note(name)))
    readers = _Readers(made)
    try:
        with readers:
            output = network(x)
    finally:
        for handle in handles:
            handle.remove()
    for value in _tensors(output):  # what the caller sees must stay what it is
        readers.count[id(value)] += 1
    pairs = {
        norm_of[key]: conv
        for key, conv in maker.items()
        if key in norm_of and readers.count[key] == 1 and calls[conv] == calls[norm_of[key]] == 1
    }
    return _logits(output).float(), pairs


def _foldable(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Plain convolutions and batch norms with weights of their own and nobody listening."""
    shared = Counter(id(p) for m in network.modules() for p in m.parameters(recurse=False))
    for name, module in network.named_modules():
        listened = module._forward_hooks or module._forward_pre_hooks
        tied = any(shared[id(p)] > 1 for p in module.parameters(recurse=False))
        if (_is_convolution(module) or type(module) in NORMS) and not listened and not tied:
            grouped = getattr(module, "transposed", False) and getattr(module, "groups", 1) > 1
            without_statistics = isinstance(module, NORMS) and module.running_mean is None
            if not grouped and not without_statistics:
                yield name, module


def _is_convolution(module: nn.Module) -> bool:
    """One of PyTorch's, or one derived from it that has its weights and no others."""
    own = {name for name, _ in module.named_parameters(recurse=False)}
    return isinstance(module, CONVOLUTIONS) and {"weight"} <= own <= {"weight", "bias"}


def _folded(network: nn.Module, pairs: Mapping[str, str]) -> nn.Module:
    made = copy.deepcopy(network)
    for norm_name, conv_name in pairs.items():
        _absorb(made.get_submodule(conv_name), made.get_submodule(norm_name))
        parent, _, last = norm_name.rpartition(".")
        setattr(made.get_submodule(parent), last, nn.Identity())
    return made


def _absorb(conv: Any, norm: Any) -> None:
    """Give the convolution the scale and shift of the norm, computed in float64."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    mean = norm.running_mean.double()
    bias = -mean if conv.bias is None else conv.bias.double() - mean
    shift = bias * scale if norm.bias is None else bias * scale + norm.bias.double()
    out_axis = 1 if conv.transposed else 0
    along = scale.reshape([-1 if axis == out_axis else 1 for axis in range(conv.weight.ndim)])
    layout = torch.channels_last if conv.weight.ndim == 4 else torch.channels_last_3d
    weight = (conv.weight.double() * along).to(conv.weight.dtype).contiguous(memory_format=layout)
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(shift.to(conv.weight.dtype), requires_grad=False)


def _converted(network: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """Weights in the format that autocast would give them in every forward pass."""
    if dtype is not None:
        for module in network.modules():
            if _is_convolution(module) or type(module) is nn.Linear:
                module.to(dtype)
    return network


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
