"""A self-check on the real network before a number format and a memory format are trusted.

Convolution gradients in bf16 can be garbage on some CPUs for very small feature maps (inf or NaN was seen for
maps of 2 voxels per axis). So the gradients of the first batch are compared with float32 before training.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from semiseg.core import Batch, Method
from semiseg.losses import dice_ce
from semiseg.training.update import Precision, any_rank

TRIALS = 3
"""Garbage comes and goes from call to call, so the low-precision gradient is taken this many times."""

PATCHES = 2
"""More would take, in float32, more memory than the training itself."""

TOLERANCE = 0.25
"""Largest accepted relative error of the whole gradient vector; healthy networks stay below 0.1."""


class Choice(NamedTuple):
    """What a run uses."""

    precision: Precision
    form: torch.memory_format
    notice: str | None = None
    """Why it is not what was wanted."""


def choose(
    fabric: Fabric, method: Method, batch: Batch, name: str, form: torch.memory_format, *, asked: bool
) -> Choice:
    """The wanted formats, or what can be trusted instead: first another memory format, then float32.

    The method's weights are left in the chosen memory format.

    Args:
        fabric: all ranks choose alike.
        method: its first trainable network is checked.
        batch: of patches as in training.
        name: of the wanted precision.
        form: the wanted memory format.
        asked: the precision was asked for by name, and is used whatever the check says.
    """
    precision = Precision(name, fabric.device)
    if precision.dtype is None:
        return Choice(precision, form)
    network = getattr(method, method.trainable[0])
    error = gradient_error(network, batch, precision, form)
    if not any_rank(fabric, error > TOLERANCE):
        return Choice(precision, form)
    text = f"gradients in {precision.name} are {error:.0%} off float32 here"
    if form != torch.contiguous_format:
        plain = gradient_error(network, batch, precision)
        if not any_rank(fabric, plain > TOLERANCE):
            to_format(method, torch.contiguous_format)
            return Choice(
                precision, torch.contiguous_format, f"{text} with channels last: training without it"
            )
        to_format(method, form)
    if asked:
        return Choice(precision, form, f"{text}; {name} is used because it was asked for")
    return Choice(Precision("32", fabric.device), form, f"{text}: training in float32")


def gradient_error(
    network: nn.Module,
    batch: Batch,
    precision: Precision,
    form: torch.memory_format = torch.contiguous_format,
) -> float:
    """``|g - g32| / |g32|`` of the supervised loss on two labeled patches; inf if any gradient is not finite.

    g is in the precision and the memory format, g32 in float32 and contiguous. Runs in eval mode (no dropout,
    no change to running statistics) and leaves the network as it was, in that format. The worst of a few
    trials counts; above :data:`TOLERANCE` precision and format should not be used together.
    """
    was_training = network.training
    x, y = batch.x_l[:PATCHES], batch.y_l[:PATCHES]
    network.eval()
    try:
        to_format(network, torch.contiguous_format)
        exact = _gradient(network, x.contiguous(), y, Precision("32", precision.device))
        to_format(network, form)
        trials = [_gradient(network, x.contiguous(memory_format=form), y, precision) for _ in range(TRIALS)]
    finally:
        to_format(network, form)
        network.train(was_training)
        network.zero_grad(set_to_none=True)
    scale = exact.norm().clamp_min(1e-12)
    return max(float(((trial - exact).norm() / scale).nan_to_num(torch.inf)) for trial in trials)


def to_format(module: nn.Module, form: torch.memory_format) -> None:
    """Lay out the weights, in place."""
    module.to(memory_format=form)  # type: ignore[call-overload]


def _gradient(network: nn.Module, x: Tensor, y: Tensor, precision: Precision) -> Tensor:
    network.zero_grad(set_to_none=True)
    with torch.enable_grad(), precision.autocast():
        loss = dice_ce(network(x).logits, y)
    torch.autograd.backward(loss)
    return torch.cat([p.grad.flatten().float() for p in network.parameters() if p.grad is not None])
