"""A network that somebody else wrote, made to answer like ours.

Its output may be a tensor, a list or tuple (deep supervision, auxiliary losses), a dict, or a tensor with an
extra axis for deep supervision: the main logits are taken. The features are the input of the layer that made
the logits, found by one dry run without data; a network whose last layer cannot be told gives None. The same
run finds the deepest map, so that there are two levels.
"""

from __future__ import annotations

import copy
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import SegOutput
from semiseg.errors import UsageError
from semiseg.networks.base import SegNetwork, check_input, make_heads, run_heads
from semiseg.networks.layers import layers, too_small

logger = logging.getLogger("semiseg.networks")

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_HALVINGS = (1, 2, 4, 8, 16, 32, 64)
_LAST, _DEEPEST = "last", "deepest"


class OutsideNetwork(SegNetwork):
    """Wraps ``net``; its keys in the state_dict are ``net.*``, those of the heads ``heads.*``.

    The levels are those of ``net`` if it gives any; else the last map of the smallest size and the features;
    the features alone where no map is smaller; none where the features cannot be told.

    Args:
        net: returns logits (B, K, *S) in one of the forms above.
        label: how the user named it, for messages.
        dim: 2 or 3.
        in_channels: C.
        classes: K.
        heads: extra 1x1(x1) convolutions on the features, name -> channels.
        size: the only input size it takes, when it is built for one.

    Raises:
        UsageError: heads are asked for, but no last layer was found to put them on; or a network that does
            not take the size that it is built for.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        label: str,
        dim: int,
        in_channels: int,
        classes: int,
        heads: Mapping[str, int] | None = None,
        size: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(dim, in_channels, classes)
        self.net = net
        self.label = label
        hollow = _hollow(net)
        self.divisor = size or _divisor(hollow, in_channels, classes, dim)
        # At least two voxels along each axis of the deepest map: a single one is taken for global pooling.
        if size is not None and not _fits(_try(hollow, in_channels, size), classes, size):
            raise _wrong_size(label, size)
        found = _layout(hollow, in_channels, classes, size or tuple(max(64, 2 * d) for d in self.divisor))
        self.widths = found.widths
        self._seen: dict[str, Tensor] = {}
        self.heads = nn.ModuleDict()
        if found.deepest is not None:
            net.get_submodule(found.deepest).register_forward_hook(self._remember_output)
        if found.last is not None:
            last: Any = net.get_submodule(found.last)
            last.register_forward_pre_hook(self._remember_input)
            self.heads = make_heads(dim, last.in_channels, heads)
        elif heads:
            raise UsageError(
                f"{label} has no recognizable last convolution to put the head(s) {', '.join(heads)} on",
                hint="use a network of this package, or one that ends with a convolution to the classes",
            )

    def forward(self, x: Tensor) -> SegOutput:
        """(B, C, *S) -> logits, features, heads, levels; features of a lower resolution are interpolated.

        Raises:
            UsageError: an input that does not fit, or an output that is no segmentation of it.
        """
        check_input(self.label, x.shape, self.dim, self.in_channels, self.divisor)
        self._seen.clear()
        result = self._run(x)
        answer = result if isinstance(result, SegOutput) else SegOutput(self._main(result, x))
        deepest = self._seen.pop(_DEEPEST, None)
        if _LAST not in self._seen:
            return answer
        features = self._seen.pop(_LAST)
        if features.shape[2:] != x.shape[2:]:
            features = F.interpolate(features, size=x.shape[2:], mode=layers(self.dim).linear_mode)
        own = features if answer.features is None else answer.features
        heads = {**answer.heads, **run_heads(self.heads, features)}
        levels = answer.levels or ((own,) if deepest is None else (deepest, own))
        return SegOutput(answer.logits, own, heads, levels)

    def _run(self, x: Tensor) -> Any:
        try:
            return self.net(x)
        except ValueError as error:
            if self.training and "Expected more than 1" in str(error):  # what PyTorch's norms say
                raise too_small() from None
            raise

    def _remember_input(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._seen[_LAST] = inputs[0]

    def _remember_output(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._seen[_DEEPEST] = output

    def _main(self, result: Any, x: Tensor) -> Tensor:
        wanted = (x.shape[0], self.classes, *x.shape[2:])
        for tensor in _tensors(result):
            if tensor.shape == wanted:
                return tensor
            if tensor.ndim == x.ndim + 1 and tensor[:, 0].shape == wanted:
                return tensor[:, 0]  # deep supervision, stacked
        shapes = [tuple(t.shape) for t in _tensors(result)]
        raise UsageError(
            f"{self.label} returned {shapes or type(result).__name__} instead of logits of shape {wanted}",
            hint="use a segmentation network that keeps the size of its input",
            code="NETWORK_OUTPUT",
        )


def _tensors(result: Any) -> list[Tensor]:
    """The tensors of an output in order; the likely names of a dict first."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, Mapping):
        first = [result[key] for key in ("logits", "out", "pred") if key in result]
        return [t for item in (*first, *result.values()) for t in _tensors(item)]
    if isinstance(result, Sequence) and not isinstance(result, str):
        return [t for item in result for t in _tensors(item)]
    return []


def _hollow(net: nn.Module) -> nn.Module:
    """A copy in eval mode on the meta device, which has shapes but no numbers; weights are not copied."""
    memo: dict[int, Any] = {id(p): nn.Parameter(torch.empty_like(p, device="meta")) for p in net.parameters()}
    return copy.deepcopy(net, memo).to("meta").eval()


def _try(hollow: nn.Module, in_channels: int, size: Sequence[int]) -> Any:
    """Its output for an input of that size; None where it raises."""
    try:
        with torch.no_grad():
            return hollow(torch.empty((1, in_channels, *size), device="meta"))
    except ImportError as error:
        raise UsageError(
            f"the network needs a package that is not installed: {str(error).splitlines()[0]}",
            hint="install it with pip, or choose another network (`semiseg networks`)",
        ) from None
    except Exception as error:  # whatever somebody else's network raises, this size does not fit
        logger.debug("a dry run of size %s failed: %s", tuple(size), error)
        return None


def _fits(result: Any, classes: int, size: Sequence[int]) -> bool:
    """Whether the output holds logits of that size."""
    wanted = (1, classes, *size)
    tensors = [result.logits] if isinstance(result, SegOutput) else _tensors(result)
    return any(t.shape in (wanted, (1, t.shape[1], *wanted[1:])) for t in tensors)


def _divisor(hollow: nn.Module, in_channels: int, classes: int, dim: int) -> tuple[int, ...]:
    """Per axis, the least power of two whose odd multiples fit; 1 where even that cannot be found out."""
    found = []
    for axis in range(dim):
        sizes = {d: [64 + d * (a == axis) for a in range(dim)] for d in _HALVINGS}
        fitting = (d for d, size in sizes.items() if _fits(_try(hollow, in_channels, size), classes, size))
        found.append(next(fitting, 1))
    return tuple(found)


def _wrong_size(label: str, size: Sequence[int]) -> UsageError:
    nearest = [max(-(-edge // 16), 1) * 16 for edge in size]
    return UsageError(
        f"{label} is built for one size of input, and {list(size)} cannot be halved as often as it needs",
        hint=f"most such networks want multiples of 16 or 32: try --set 'plan.patch={nearest}'",
        code="PATCH_DIVISOR",
    )


_Run = tuple[nn.Module, torch.Size]
"""A module and the shape of its output."""


@dataclass(frozen=True)
class _Layout:
    """The modules of a network that its features and its deepest map are taken from, by name."""

    last: str | None = None
    """The last convolution to run whose output has the shape of the logits; its input are the features."""
    deepest: str | None = None
    """The last module to run whose output has the fewest voxels."""
    widths: tuple[int, ...] = ()


def _layout(hollow: nn.Module, in_channels: int, classes: int, size: tuple[int, ...]) -> _Layout:
    """What one dry run tells; nothing of a network that does not take that size."""
    ran: list[_Run] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 2 + len(size):
            ran.append((module, output.shape))

    hooks = [m.register_forward_hook(note) for m in hollow.modules()]
    result = _try(hollow, in_channels, size)
    for hook in hooks:
        hook.remove()
    heads = [m for m, shape in ran if isinstance(m, _CONVOLUTIONS) and shape == (1, classes, *size)]
    names: dict[nn.Module, str] = {module: name for name, module in hollow.named_modules()}
    ours = result if isinstance(result, SegOutput) else None
    if ours is not None and ours.levels:
        last_name = names[heads[-1]] if heads else None
        return _Layout(last_name, widths=tuple(level.shape[1] for level in ours.levels))
    if not heads or not _fits(result, classes, size):
        return _Layout()
    last: Any = heads[-1]
    own = None if ours is None else ours.features
    width = last.in_channels if own is None else own.shape[1]
    deepest = _deepest(ran, size)
    if deepest is None:
        return _Layout(names[last], widths=(width,))
    module, shape = deepest
    return _Layout(names[last], names[module], (shape[1], width))


def _deepest(ran: Sequence[_Run], size: Sequence[int]) -> _Run | None:
    """The last map with the fewest voxels; of a module that runs twice, a hook could not tell which."""
    runs = Counter(module for module, _ in ran)
    maps = [
        (module, shape)
        for module, shape in ran
        if runs[module] == 1 and all(e > 1 and s % e == 0 for s, e in zip(size, shape[2:], strict=True))
    ]
    least = min((math.prod(shape[2:]) for _, shape in maps), default=math.prod(size))
    if least == math.prod(size):
        return None
    return next((module, shape) for module, shape in reversed(maps) if math.prod(shape[2:]) == least)
