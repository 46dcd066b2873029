"""One iteration: each loss that the method yields becomes one backward pass and one optimizer step.

Of several processes networks stay unwrapped, and gradients are averaged right before each optimizer step. So
every order of forwards, backwards and updates is correct, a gradient-free teacher is no special case, and
parameters stay equal on all ranks, which apply the same mean gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semiseg.core import Batch, Clock, Gradient, Method, Update
from semiseg.training.optim import skips_by_itself, step_unless

_DTYPES = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


class Precision:
    """Autocast for forward passes, and the loss scaler that float16 needs."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self.dtype = _DTYPES[name]
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type) if name == "16" else None

    def autocast(self) -> torch.autocast:
        """The context for forward passes and losses."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def backward(self, loss: Tensor) -> None:
        """Back-propagate a loss, scaled where float16 needs it."""
        torch.autograd.backward(loss if self.scaler is None else self.scaler.scale(loss))

    def state_dict(self) -> dict[str, float]:
        """The scaler's state, empty without one."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore :meth:`state_dict`."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)


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


@dataclass(frozen=True)
class Found:
    """What :meth:`Skips.read` tells."""

    new: int
    """Iterations with a skipped update since the last reading."""
    longest: int
    """Most of them in a row since then; those before the reading count in."""


class Skips:
    """Iterations with an update that was not finite, in all and in a row, counted on the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._counts = torch.zeros(3, dtype=torch.int64, device=device)  # all, in a row, longest row
        self._told = 0

    def add(self, finite: Tensor) -> None:
        """Note an iteration's flag, a bool scalar on the device."""
        total, row, longest = self._counts.unbind()
        bad = (~finite).long()
        row = (row + bad) * bad
        self._counts = torch.stack([total + bad, row, torch.maximum(longest, row)])

    def read(self) -> Found:
        """What is new since the last reading; waits for the device."""
        total, row, longest = self._counts.tolist()
        new, self._told = total - self._told, total
        self._counts[2] = row
        return Found(new, longest)

    @property
    def total(self) -> int:
        """Iterations with a skipped update."""
        return int(self._counts[0])

    @property
    def in_a_row(self) -> int:
        """Those up to now without a good one between them."""
        return int(self._counts[1])

    def restore(self, total: int, in_a_row: int) -> None:
        """Go on from :attr:`total` and :attr:`in_a_row`."""
        self._counts = torch.tensor([total, in_a_row, in_a_row], device=self.device)
        self._told = total
