"""Networks of MONAI (``monai:SegResNet``) and of anybody else (``package.module:Class``), by their names.

The constructor's signature says what it wants: the axes, channels and classes are filled in under whatever
name they have there; the sizes that a MONAI U-Net demands come from the plan; all other options pass through.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from semiseg.errors import UsageError, unknown_name
from semiseg.networks.base import SegNetwork
from semiseg.networks.outside import OutsideNetwork
from semiseg.settings.options import MONAI, check_options, signature_of

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
    """Build ``monai:Class`` or ``package.module:Class``; arguments as in :func:`semiseg.networks.build`.

    Heads are passed on when the constructor takes ``heads``, and put on the features otherwise.

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
