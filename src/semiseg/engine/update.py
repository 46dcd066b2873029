"""One iteration: each loss that the method yields becomes one backward pass and one optimizer step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from lightning_fabric import Fabric
from torch import Tensor

from semiseg.core import Batch, Clock, Gradient, Method, Update
from semiseg.engine.optim import skips_by_itself, step_unless
from semiseg.engine.parallel import average_batch_norm, average_gradients, flat, running_statistics, unflatten
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
) -> tuple[dict[str, Tensor], Tensor]:
    """Run one iteration of any method.

    Forward passes run under the precision's autocast, the method's code after a ``yield`` sees the stepped
    weights, gradients are averaged over ranks before they are clipped, and an update whose gradient is not
    finite (or absurd) on any rank is skipped on all of them. Running statistics of batch norm, which one bad
    forward pass would spoil for good, then go back to what they were.

    On a GPU nothing here waits for the device: the optimizer itself leaves a bad update out.

    Returns:
        Detached logs (``loss`` is the sum over the updates that count), and whether every update was finite
        (a bool scalar on the device: reading it waits for the device).
    """
    logs: dict[str, Tensor] = {}
    finite = torch.ones((), dtype=torch.bool, device=fabric.device)
    statistics = running_statistics(method)
    before = flat(statistics)
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
        finite = finite & _apply(precision.scaler, optimizer, parameters, clip, update)
        if update.counts:
            logs["loss"] = logs.get("loss", torch.zeros_like(update.loss)) + update.loss.detach()
        logs.update(update.logs)
    unflatten(torch.where(finite, flat(statistics), before), statistics)
    method.after_step(t)
    average_batch_norm(fabric, method)
    return logs, finite


def _apply(
    scaler: torch.amp.GradScaler | None,
    optimizer: torch.optim.Optimizer,
    parameters: list[Tensor],
    clip: float | None,
    update: Update,
) -> Tensor:
    """Clip and step, unless the gradient is not finite or no step is wanted."""
    if scaler is not None:
        scaler.unscale_(optimizer)
    if update.gradient is not None:
        _leave(update.gradient, optimizer, parameters)
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None], foreach=True)
    finite = norm < ABSURD  # false for NaN, too
    if update.step:
        _step(scaler, optimizer, parameters, clip, norm, finite)
    if scaler is not None:
        scaler.update()  # it has seen any overflow when it unscaled, and lowers the scale
    return finite


def _step(
    scaler: torch.amp.GradScaler | None,
    optimizer: torch.optim.Optimizer,
    parameters: list[Tensor],
    clip: float | None,
    norm: Tensor,
    finite: Tensor,
) -> None:
    waits = scaler is not None or not finite.is_cuda or not skips_by_itself(optimizer)
    if waits and not bool(finite):
        return
    if clip is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm, foreach=True)
    if scaler is not None:
        scaler.step(optimizer)
    elif waits:
        optimizer.step()
    else:
        step_unless(optimizer, ~finite)


def _leave(gradient: Gradient, optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> None:
    """A copy: clipping and some optimizers write into the gradients."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters if p.requires_grad]
    gradient.vector = torch.cat([part.flatten().float() for part in parts])
    gradient.lr = float(optimizer.param_groups[0]["lr"])
