"""A network that somebody else wrote, made to answer like ours.

Its output may be a tensor, a list or tuple (deep supervision, auxiliary losses), a dict, or a tensor with an
extra axis for deep supervision: the main logits are taken. The features are the input of the layer that made
the logits, found by one dry run without data; a network whose last layer cannot be told gives None. The same
run finds the deepest map, so that there are two levels.

Networks of MONAI (``monai:SegResNet``) and of anybody else (``package.module:Class``).

The constructor's signature says what it wants: the axes, channels and classes are filled in under whatever
name they have there; the sizes that a MONAI U-Net demands come from the plan; all other options pass through.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import SegOutput
from semiseg.errors import UsageError, unknown_name
from semiseg.networks.base import SegNetwork, check_input, make_heads, run_heads
from semiseg.networks.layers import layers, too_small
from semiseg.networks.options import MONAI, check_options, signature_of

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


_ALIASES = {
    "dim": ("spatial_dims", "dimensions", "dim", "ndim", "n_dims"),
    "in_channels": ("in_channels", "in_chns", "in_ch", "n_channels", "n_input_channels", "input_channels"),
    "classes": ("out_channels", "classes", "num_classes", "n_classes", "class_num", "out_ch"),
    "heads": ("heads",),
}
_SIZE_NAMES = ("img_size", "image_size", "input_image_size")
_NO_DEFAULT = inspect.Parameter.empty


def build_outside(
    name: str,
    *,
    dim: int,
    in_channels: int,
    classes: int,
    heads: Mapping[str, int] | None,
    plan: Mapping[str, Any],
    options: Mapping[str, Any],
) -> nn.Module:
    """Build ``monai:Class`` or ``package.module:Class``.

    Args:
        name: as above.
        dim: 2 or 3.
        in_channels: C.
        classes: K.
        heads: extra heads; passed on when the constructor takes ``heads``, put on the features otherwise.
        plan: ``features``, ``strides``, ``kernels`` and ``patch`` where known.
        options: for the constructor.

    Raises:
        UsageError: no such class (with the nearest one), an option it does not take or lacks (with its
            signature), or values that it refuses (with its own words).
    """
    network = _find(name)
    parameters = inspect.signature(network).parameters
    given = {"dim": dim, "in_channels": in_channels, "classes": classes, "heads": heads}
    ours = {alias: given[key] for key, names in _ALIASES.items() for alias in _first(names, parameters)}
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    allowed = [p for p, v in parameters.items() if p not in ours and v.kind is not v.VAR_KEYWORD]
    if not takes_any:
        check_options(name, options, allowed, network)
    arguments = {**_sizes(parameters, dim, plan), **ours, **options}
    _complete(name, network, parameters, arguments, allowed)
    try:
        net = network(**arguments)
    except ImportError as error:  # such as einops
        raise UsageError(
            f"network {name!r} needs a package that is not installed: {str(error).splitlines()[0]}",
            hint='pip install "semiseg[monai]"' if name.startswith(MONAI) else "install it where semiseg is",
            code="MISSING_EXTRA" if name.startswith(MONAI) else "USAGE",
        ) from None
    except (TypeError, ValueError, AssertionError, NotImplementedError, KeyError, IndexError) as error:
        raise UsageError(
            f"network {name!r} cannot be built: {error or type(error).__name__}",
            hint=signature_of(network, allowed),
            code="NETWORK_OPTION",
        ) from error
    if isinstance(net, SegNetwork) or ("heads" in ours and hasattr(net, "divisor")):
        return net
    size = next((arguments[n] for n in _SIZE_NAMES if arguments.get(n)), None)
    return OutsideNetwork(
        net,
        label=name,
        dim=dim,
        in_channels=in_channels,
        classes=classes,
        heads=None if "heads" in ours else heads,
        size=None if size is None else _per_axis(size, dim),
    )


def _find(name: str) -> type[nn.Module]:
    """The class behind ``monai:Class`` or ``package.module:Class``."""
    module_name, _, wanted = name.partition(":")
    try:
        module = importlib.import_module("monai.networks.nets" if module_name == "monai" else module_name)
    except ImportError as error:
        raise UsageError(
            f"cannot import {module_name!r} for network {name!r}: {error}",
            hint="install it, or put its folder on PYTHONPATH",
            code="UNKNOWN_NETWORK",
        ) from None
    known = [key for key, value in vars(module).items() if _is_network(key, value)]
    if wanted not in known and not _is_module(getattr(module, wanted, None)):
        raise unknown_name("network", name, [f"{module_name}:{key}" for key in known])
    return cast("type[nn.Module]", getattr(module, wanted))


def _is_module(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, nn.Module)


def _is_network(key: str, value: Any) -> bool:
    """A module that takes channels, under its own name (MONAI has many spellings of one class)."""
    if not (_is_module(value) and value.__name__ == key):
        return False
    return bool(_first(_ALIASES["in_channels"], inspect.signature(value).parameters))


def _first(names: tuple[str, ...], parameters: Mapping[str, Any]) -> list[str]:
    return [n for n in names if n in parameters][:1]


def _sizes(parameters: Mapping[str, inspect.Parameter], dim: int, plan: Mapping[str, Any]) -> dict[str, Any]:
    """What the plan says in MONAI's words, for the constructors that cannot do without."""
    features = tuple(plan.get("features", (32, 64, 128, 256)))
    strides = tuple(plan.get("strides", ((1,) * dim, *[(2,) * dim] * (len(features) - 1))))
    kernels = tuple(plan.get("kernels", ((3,) * dim,) * len(features)))
    needed = {name for name, p in parameters.items() if p.default is _NO_DEFAULT}
    if plan.get("patch") and needed & set(_SIZE_NAMES):  # UNETR
        return {name: plan["patch"] for name in needed & set(_SIZE_NAMES)}
    if {"kernel_size", "upsample_kernel_size"} <= needed:  # DynUNet
        sizes = {"kernel_size": kernels, "strides": strides, "upsample_kernel_size": strides[1:]}
        return sizes | ({"filters": features} if "filters" in parameters else {})
    if {"channels", "strides"} <= needed:  # UNet, AttentionUnet
        return {"channels": features, "strides": strides[1:]}
    return {}


def _complete(
    name: str,
    network: type[nn.Module],
    parameters: Mapping[str, inspect.Parameter],
    arguments: Mapping[str, Any],
    allowed: list[str],
) -> None:
    """Raise UsageError when a demanded argument is still open."""
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    missing = [
        n
        for n, p in parameters.items()
        if p.default is _NO_DEFAULT and p.kind not in variable and n not in arguments
    ]
    if missing:
        raise UsageError(
            f"network {name!r} also needs the option(s) {', '.join(missing)}",
            hint=signature_of(network, allowed),
            code="NETWORK_OPTION",
            details={"missing": missing},
        )


def _per_axis(size: Any, dim: int) -> tuple[int, ...]:
    return (int(size),) * dim if isinstance(size, int) else tuple(int(s) for s in size)
