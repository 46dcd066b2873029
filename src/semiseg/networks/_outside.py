"""A network that somebody else wrote, made to answer like ours.

Its output may be a tensor, a list or tuple (deep supervision, auxiliary losses), a dict, or a tensor with an
extra axis for deep supervision: the main logits are taken. The features are the input of the layer that made
the logits, found by one dry run without data; a network whose last layer cannot be told gives None.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import SegOutput
from semiseg.errors import UsageError
from semiseg.networks._base import SegNetwork, check_input, make_heads, run_heads
from semiseg.networks._layers import layers

logger = logging.getLogger("semiseg.networks")

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_HALVINGS = (1, 2, 4, 8, 16, 32, 64)


class OutsideNetwork(SegNetwork):
    """Wraps ``net``; its keys in the state_dict are ``net.*``, those of the heads ``heads.*``.

    Args:
        net: returns logits (B, K, *S) in one of the forms above.
        label: how the user named it, for messages.
        dim: 2 or 3.
        in_channels: C.
        classes: K.
        heads: extra 1x1(x1) convolutions on the features, name -> channels.
        size: the only input size it takes, when it is built for one.

    Raises:
        UsageError: heads are asked for, but no last layer was found to put them on.
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
        name = _last_layer(hollow, in_channels, classes, size or (64,) * dim)
        self._seen: list[Tensor] = []
        self.heads = nn.ModuleDict()
        if name is not None:
            last: Any = net.get_submodule(name)
            last.register_forward_pre_hook(self._remember)
            self.heads = make_heads(dim, last.in_channels, heads)
        elif heads:
            raise UsageError(
                f"{label} has no recognizable last convolution to put the head(s) {', '.join(heads)} on",
                hint="use a network of this package, or one that ends with a convolution to the classes",
            )

    def forward(self, x: Tensor) -> SegOutput:
        """(B, C, *S) -> logits, features and heads; features of a lower resolution are interpolated.

        Raises:
            UsageError: an input that does not fit, or an output that is no segmentation of it.
        """
        check_input(self.label, x.shape, self.dim, self.in_channels, self.divisor)
        self._seen.clear()
        result = self.net(x)
        answer = result if isinstance(result, SegOutput) else SegOutput(self._main(result, x))
        if not self._seen:
            return answer
        features = self._seen.pop()
        if features.shape[2:] != x.shape[2:]:
            features = F.interpolate(features, size=x.shape[2:], mode=layers(self.dim).linear_mode)
        own = features if answer.features is None else answer.features
        return SegOutput(answer.logits, own, {**answer.heads, **run_heads(self.heads, features)})

    def _remember(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._seen[:] = [inputs[0]]

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


def _fits(hollow: nn.Module, in_channels: int, classes: int, size: Sequence[int]) -> bool:
    """Whether it turns an input of that size into logits of that size."""
    try:
        with torch.no_grad():
            result = hollow(torch.empty((1, in_channels, *size), device="meta"))
    except ImportError as error:
        raise UsageError(
            f"the network needs a package that is not installed: {str(error).splitlines()[0]}",
            hint="install it with pip, or choose another network (`semiseg networks`)",
        ) from None
    except Exception as error:  # whatever somebody else's network raises, this size does not fit
        logger.debug("a dry run of size %s failed: %s", tuple(size), error)
        return False
    wanted = (1, classes, *size)
    tensors = [result.logits] if isinstance(result, SegOutput) else _tensors(result)
    return any(t.shape in (wanted, (1, t.shape[1], *wanted[1:])) for t in tensors)


def _divisor(hollow: nn.Module, in_channels: int, classes: int, dim: int) -> tuple[int, ...]:
    """Per axis, the least power of two whose odd multiples fit; 1 where even that cannot be found out."""
    found = []
    for axis in range(dim):
        sizes = {d: [64 + d * (a == axis) for a in range(dim)] for d in _HALVINGS}
        found.append(next((d for d, size in sizes.items() if _fits(hollow, in_channels, classes, size)), 1))
    return tuple(found)


def _last_layer(hollow: nn.Module, in_channels: int, classes: int, size: Sequence[int]) -> str | None:
    """The name of the last convolution to run whose output has the shape of the logits, if there is one."""
    ran: list[nn.Module] = []

    def note(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.shape == (1, classes, *size):
            ran.append(layer)

    hooks = [m.register_forward_hook(note) for m in hollow.modules() if isinstance(m, _CONVOLUTIONS)]
    fits = _fits(hollow, in_channels, classes, size)
    for hook in hooks:
        hook.remove()
    if not fits or not ran:
        return None
    names: dict[nn.Module, str] = {module: name for name, module in hollow.named_modules()}
    return names[ran[-1]]
