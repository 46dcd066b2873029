"""PyTorch programs: the networks of one input as a ``.pt2`` file that ``torch.export.load`` reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from semiseg.delivery.graph import program
from semiseg.prediction.members import Member


def write(path: Path, members: Sequence[Member]) -> dict[str, Any]:
    """Write the program: ``image`` (batch, C, *patch) -> probabilities (batch, K, *patch), both float32.

    Args:
        path: of the file; its ending is set.
        members: networks that see the same input; the program has the mean of their probabilities.

    Returns:
        What ``model.json`` tells of the file.

    Raises:
        UsageError: a network that cannot be exported.
    """
    path = path.with_suffix(".pt2")
    torch.export.save(program(members), path)
    content = path.read_bytes()
    return {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "precision": "32",
        "torch": str(torch.__version__),
    }
