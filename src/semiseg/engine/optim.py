"""Optimizers by name and the learning rate as a pure function of the iteration."""

from __future__ import annotations

import torch
from torch import nn

from semiseg import schedules
from semiseg.config import OptimizerConfig, ScheduleConfig


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of one trainable network. Parameters without gradient are left out."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if config.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
            foreach=True,
        )
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(parameters, lr=config.lr, weight_decay=config.weight_decay, foreach=True)


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
