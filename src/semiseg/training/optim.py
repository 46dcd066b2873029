"""Optimizers by name and the learning rate as a pure function of the iteration."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semiseg import schedules
from semiseg.settings.config import OptimizerConfig, ScheduleConfig


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of one trainable network. Parameters without gradient are left out."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    fused = can_fuse(parameters)
    foreach = not fused
    if config.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
            foreach=foreach,
            fused=fused,
        )
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(parameters, lr=config.lr, weight_decay=config.weight_decay, foreach=foreach, fused=fused)


def can_fuse(parameters: Sequence[Tensor]) -> bool:
    """Whether torch has one kernel that reads and writes each weight once, for all of these parameters."""
    able = [p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters]
    return bool(able) and all(able)


def fuse(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """A method's own optimizer, fused where it can be and leaves the choice to torch."""
    if type(optimizer) in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        for group in optimizer.param_groups:
            open_choice = group["fused"] is None and group["foreach"] is None
            if open_choice and can_fuse(group["params"]):
                group["fused"] = True
    return optimizer


def skips_by_itself(optimizer: torch.optim.Optimizer) -> bool:
    """Whether :func:`step_unless` works with it."""
    return all(group.get("fused") for group in optimizer.param_groups)


def step_unless(optimizer: torch.optim.Optimizer, bad: Tensor) -> None:
    """A step of a fused optimizer that leaves everything as it is where ``bad``, without waiting for it.

    This is the way in which torch's own gradient scaler skips the steps of these optimizers.
    """
    _begin_momentum(optimizer)
    optimizer.grad_scale = None  # type: ignore[attr-defined]
    optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.grad_scale, optimizer.found_inf  # type: ignore[attr-defined]


def _begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Momentum of 0, which is what a first step begins with; a skipped first step would leave it unset."""
    if isinstance(optimizer, torch.optim.SGD):
        for group in optimizer.param_groups:
            for p in group["params"] if group["momentum"] else ():
                state = optimizer.state[p]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(p)


def lr_factor(config: ScheduleConfig, step: int, total: int, *, constant: bool = False) -> float:
    """What the base learning rate is multiplied with during iteration ``step`` of ``total``.

    ``constant`` leaves only the warm-up.
    """
    factor = schedules.warmup(step, config.warmup)
    if constant:
        return factor
    if config.name == "poly":
        factor *= schedules.poly(step, total, config.power, config.lag)
    elif config.name == "step":
        factor *= schedules.staircase(step, config.every, config.factor)
    elif config.name == "cosine":
        factor *= schedules.cosine_rampdown(step, total)
    return factor
