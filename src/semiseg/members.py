"""The networks of a model: where each came from, which fit together, and how far they are trusted here."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from semiseg.data.plan import Plan
from semiseg.errors import UsageError
from semiseg.inference.copies import TOLERANCE, prediction_copy

log = logging.getLogger("semiseg.model")


class Member(NamedTuple):
    """One network of a model, and where it came from."""

    plan: Plan
    network: nn.Module
    source: Mapping[str, Any] = {}
    """``file``, ``sha256``, ``step``, ``score``, ``method``; empty for a network in training."""
    mirrored: tuple[int, ...] = ()
    """Patch axes that its training mirrored; prediction mirrors no others."""


def trusted(members: Sequence[Member], precision: str) -> tuple[str, dict[int, nn.Module]]:
    """``precision``, or float32 where the networks answer otherwise here; and their prediction copies."""
    copies: dict[int, nn.Module] = {}
    for member in members:
        plan = member.plan
        made, error = prediction_copy(member.network, len(plan.channels), plan.patch, precision)
        if precision != "32" and error > TOLERANCE[precision]:
            log.warning("%s is off by %.0f %% on this machine: predicting in float32", precision, 100 * error)
            return "32", {}
        copies[id(member.network)] = made
    return precision, copies


FREE = ("dataset", "batch", "foreground", "network", "memory_gb", "reasons", "version", "patch", "channels")
"""Keys of a plan in which the members of an ensemble may differ."""


def require_same(first: Member, other: Member) -> None:
    """Members must have the same classes and lay a scan out on the same voxels."""
    mine, theirs = (member.plan.model_dump(exclude=set(FREE)) for member in (first, other))
    wrong = [
        key for key in mine if mine[key] != theirs[key] or list(_keys(mine[key])) != list(_keys(theirs[key]))
    ]
    if len(first.plan.channels) != len(other.plan.channels):
        wrong.append("channels")
    if wrong:
        names = [str(member.source.get("file", "a network")) for member in (first, other)]
        key = wrong[0]
        raise UsageError(
            f"{names[0]} and {names[1]} cannot form an ensemble: their plans differ in {', '.join(wrong)} "
            f"({mine.get(key)} and {theirs.get(key)})",
            hint="combine runs on the same dataset and plan only",
            code="ENSEMBLE",
        )


def _keys(value: Any) -> Sequence[Any]:
    return list(value) if isinstance(value, dict) else []


def digest(network: nn.Module) -> str:
    """Of the weights: the same for the same ``state_dict``."""
    found = hashlib.sha256()
    for key, value in network.state_dict().items():
        found.update(key.encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
