"""Beginning a training with the weights of an earlier one instead of random ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from semiseg.core import Method
from semiseg.dataset.split import Split
from semiseg.errors import SemisegError, UsageError
from semiseg.prediction.members import HEAD, read_member
from semiseg.runs.run import Run

log = logging.getLogger("semiseg.train")


def start_from(method: Method, path: Path, split: Split) -> None:
    """Give a method's predictor, and what is a copy of it (a teacher), the weights of an earlier run.

    A second network that must differ from the first one keeps its random weights.

    Args:
        method: as it was built.
        path: a run folder or a checkpoint.
        split: of the new run.

    Raises:
        UsageError: no such model, one of another network, or one that has learned from scans that the new run
            holds out.
    """
    require_unseen(path, split)
    member, _ = read_member(path)
    weights = member.network.state_dict()
    predictor = getattr(method, method.predictor)
    before = _own(predictor)
    if before.keys() != weights.keys() or any(before[k].shape != v.shape for k, v in weights.items()):
        raise UsageError(
            f"{path} holds another network than the one that is trained here",
            hint="use the same network and plan: --plan RUN/plan.json --network NAME",
            code="WARM_START",
        )
    copies = [child for child in method.children() if child is predictor or _equal(_own(child), before)]
    for child in copies:
        child.load_state_dict(weights, strict=False)  # heads are the new run's own
    log.info("%d networks begin with the weights of %s", len(copies), path)


def require_unseen(path: Path, split: Split) -> None:
    """Refuse a model that has learned from the labels of scans that are held out now.

    Raises:
        UsageError: it has; names the first.
    """
    try:
        labeled = set(Run(path).split.get("labeled") or [])
    except SemisegError:  # a checkpoint alone does not say
        return
    seen = sorted(labeled & {case.id for case in (*split.val, *split.test)})
    if seen:
        raise UsageError(
            f"{path} has learned from {seen[0]}, which is held out in this run",
            hint="begin from a run with the same validation and test lists, or without --warm-start",
            code="WARM_START_SAW_HELD_OUT",
            details={"cases": seen},
        )


def _own(network: nn.Module) -> dict[str, Tensor]:
    return {key: value for key, value in network.state_dict().items() if not HEAD.match(key)}


def _equal(some: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return some.keys() == other.keys() and all(
        some[key].shape == value.shape and torch.equal(some[key], value) for key, value in other.items()
    )
