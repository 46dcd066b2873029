"""Several processes as one: networks stay unwrapped, gradients are averaged right before each optimizer step.

Every order of forwards, backwards and updates is correct this way, a gradient-free teacher is no special
case, and parameters stay equal on all ranks because all ranks apply the same mean gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def average_gradients(fabric: Fabric, parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over the ranks, in one flat all-reduce.

    A parameter without a gradient on this rank takes part with zeros, so that all ranks reduce the same
    vector.
    """
    if fabric.world_size == 1:
        return
    parameters = [p for p in parameters if p.requires_grad]
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    _reduce_flat(fabric, [p.grad for p in parameters if p.grad is not None])


def average_batch_norm(fabric: Fabric, module: nn.Module) -> None:
    """Average the running statistics of batch norm over the ranks.

    Training uses each rank's own batch statistics; only what prediction will use is shared.
    """
    if fabric.world_size == 1:
        return
    _reduce_flat(fabric, running_statistics(module))


def running_statistics(module: nn.Module) -> list[Tensor]:
    """The running means and variances of every batch norm inside."""
    layers = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    return [b for m in layers for b in (m.running_mean, m.running_var) if b is not None]


def any_rank(fabric: Fabric, flag: bool) -> bool:
    """Whether the flag is up on any rank, so that all ranks stop at the same iteration."""
    if fabric.world_size == 1:
        return flag
    total = fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="sum")
    return bool(torch.as_tensor(total).item() > 0)


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All values in one vector, a copy; empty without tensors."""
    return torch.cat([t.reshape(-1) for t in tensors]) if tensors else torch.zeros(0)


def unflatten(vector: Tensor, tensors: Sequence[Tensor]) -> None:
    """Write :func:`flat` back into the tensors."""
    if tensors:
        parts = torch.split(vector, [t.numel() for t in tensors])
        views = [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]
        torch._foreach_copy_(list(tensors), views)


def _reduce_flat(fabric: Fabric, tensors: Sequence[Tensor]) -> None:
    if tensors:
        unflatten(torch.as_tensor(fabric.all_reduce(flat(tensors), reduce_op="mean")), tensors)
