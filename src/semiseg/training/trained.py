"""The networks that a training makes: how, how large, of what description, and whether a patch fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from semiseg import networks
from semiseg.core import Average, Method
from semiseg.errors import UsageError
from semiseg.preparation.network_size import fitting_patch
from semiseg.preparation.plan import Plan
from semiseg.settings.config import Config


def factory(config: Config, plan: Plan) -> networks.Factory:
    """What makes the networks of a training."""
    return networks.Factory(
        config.network.name,
        dim=plan.dim,
        in_channels=len(plan.channels),
        classes=plan.classes,
        options=config.network.options,
        plan=plan.network,
        patch=plan.patch,
        checkpointing=config.network.checkpointing,
    )


def trained_parameters(method: Method) -> int:
    """How many numbers the optimizers change; one that two networks share counts once."""
    networks = (getattr(method, name) for name in method.trainable)
    distinct = {id(p): p.numel() for net in networks for p in net.parameters() if p.requires_grad}
    return sum(distinct.values())


def described(network: torch.nn.Module, unknown: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its network, to build it again; ``unknown`` of one that does not tell."""
    if not isinstance(network, Average):
        return dict(getattr(network, "described", unknown))
    members = [described(member, unknown) for member in network]
    return {**members[0], "average_of": members}


def require_fit(patch: Sequence[int], *trained: torch.nn.Module) -> None:
    """Compare the patch with what the networks can halve.

    Raises:
        UsageError: an edge that is not divisible; names the nearest patch that is.
    """
    divisors = [divisor for network in trained if (divisor := getattr(network, "divisor", None))]
    needed = [math.lcm(*edges) for edges in zip(*divisors, strict=True)] or [1] * len(patch)
    if any(p % d for p, d in zip(patch, needed, strict=True)):
        nearest = list(fitting_patch(patch, needed))
        names = {told["name"] for network in trained if (told := getattr(network, "described", None))}
        which = " and ".join(sorted(names)) or "the network"
        raise UsageError(
            f"patch {list(patch)} does not fit {which}: its edges must be divisible by {needed}",
            hint=f"use --set 'plan.patch={nearest}'",
            code="PATCH_DIVISOR",
        )
