"""One iteration: each loss that the method yields becomes one backward pass and one optimizer step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from lightning_fabric import Fabric
from torch import Tensor

from semiseg.core import Batch, Clock, Gradient, Method, Update
from semiseg.engine.parallel import average_batch_norm, average_gradients, running_statistics
from semiseg.engine.precision import Precision

Optimizers = Mapping[str, torch.optim.Optimizer]

ABSURD = 1e12
"""A gradient of this norm is a fault of the number format, not a slope: some CPUs give 1e29 to 1e37 for bf16
convolutions on very small maps, now and then."""


def iterate(
    fabric: Fabric,
    method: Method,
    batch: Batch,
    optimizers: Optimizers,
    t: Clock,
    precision: Precision,
    *,
    clip: float | None = None,
) -> tuple[dict[str, Tensor], bool]:
    """Run one iteration of any method.

    Forward passes run under the precision's autocast, the method's code after a ``yield`` sees the stepped
    weights, gradients are averaged over ranks before they are clipped, and an update whose gradient is not
    finite (or absurd) on any rank is skipped on all of them. Running statistics of batch norm, which one bad
    forward pass would spoil for good, then go back to what they were.

    Returns:
        Detached logs (``loss`` is the sum over the updates that count), and whether every update was finite.
    """
    logs: dict[str, Tensor] = {}
    finite = True
    statistics = running_statistics(method)
    before = [b.clone() for b in statistics]
    stream = method.step(batch, t)
    while True:
        with precision.autocast():
            update = next(stream, None)
        if update is None:
            break
        optimizer = optimizers[update.on]
        optimizer.zero_grad(set_to_none=True)
        precision.backward(update.loss)
        parameters = list(getattr(method, update.on).parameters())
        average_gradients(fabric, parameters)
        finite &= _apply(precision.scaler, optimizer, parameters, clip, update)
        if update.counts:
            logs["loss"] = logs.get("loss", torch.zeros_like(update.loss)) + update.loss.detach()
        logs.update(update.logs)
    if not finite:
        for now, then in zip(statistics, before, strict=True):
            now.copy_(then)
    method.after_step(t)
    average_batch_norm(fabric, method)
    return logs, finite


def _apply(
    scaler: torch.amp.GradScaler | None,
    optimizer: torch.optim.Optimizer,
    parameters: list[Tensor],
    clip: float | None,
    update: Update,
) -> bool:
    """Clip and step, unless the gradient is not finite or no step is wanted."""
    if scaler is not None:
        scaler.unscale_(optimizer)
    if update.gradient is not None:
        _leave(update.gradient, optimizer, parameters)
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None], foreach=True)
    finite = bool(norm < ABSURD)  # false for NaN, too
    if finite and update.step:
        if clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm, foreach=True)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
    if scaler is not None:
        scaler.update()  # it has seen any overflow when it unscaled, and lowers the scale
    return finite


def _leave(gradient: Gradient, optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> None:
    """A copy: clipping and some optimizers write into the gradients."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters if p.requires_grad]
    gradient.vector = torch.cat([part.flatten().float() for part in parts])
    gradient.lr = float(optimizer.param_groups[0]["lr"])
