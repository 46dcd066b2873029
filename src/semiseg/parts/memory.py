"""What a method remembers of past batches, as buffers: in the checkpoint, and equal on all ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import IGNORE
from semiseg.parts.ranks import sum_over_ranks


class Prototypes(nn.Module):
    """One direction per class: the moving average of its voxels' features, each scaled to length 1.

    Sized by the first batch. A class keeps its prototype while it is absent; ``seen`` says which have one.

    Args:
        momentum: share of the old prototype in the new one.
    """

    mean: Tensor
    seen: Tensor

    def __init__(self, momentum: float = 0.99) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(0, 0))
        self.register_buffer("seen", torch.zeros(0, dtype=torch.bool))

    @torch.no_grad()
    def update(self, features: Tensor, target: Tensor, guess: Tensor, classes: int) -> None:
        """Learn from the voxels of each class that are guessed right, or from all of it if none is.

        Over the voxels of all ranks.

        Args:
            features: (B, D, *S).
            target: (B, *S) int64 in [0, K), or :data:`semiseg.core.IGNORE`.
            guess: (B, *S) int64, predicted classes.
            classes: K.
        """
        if not self.mean.numel():
            self.mean = features.new_zeros((classes, features.shape[1]), dtype=torch.float32)
            self.seen = torch.zeros(classes, dtype=torch.bool, device=features.device)
        with torch.autocast(features.device.type, enabled=False):
            direction = F.normalize(features.float(), dim=1, eps=1e-12).movedim(1, -1).flatten(0, -2)
            right = _sums(direction, target.where(target == guess, IGNORE).flatten(), classes)
            every = _sums(direction, target.flatten(), classes)
        sums = sum_over_ranks(torch.stack([right, every]))
        chosen = torch.where(sums[0, :, -1:] > 0, sums[0], sums[1])
        new = F.normalize(chosen[:, :-1] / chosen[:, -1:].clamp_min(1.0), dim=1, eps=1e-12)
        present = (chosen[:, -1] > 0) & new.isfinite().all(1)  # a bad batch must not spoil the memory
        moved = F.normalize(self.momentum * self.mean + (1.0 - self.momentum) * new, dim=1, eps=1e-12)
        moved = torch.where(self.seen[:, None], moved, new)
        self.mean.copy_(torch.where(present[:, None], moved, self.mean))
        self.seen |= present

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("mean", "seen"):
            if (saved := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.zeros_like(saved, device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _sums(direction: Tensor, target: Tensor, classes: int) -> Tensor:
    """(K, D + 1): the sum of the directions of each class, and how many they are."""
    onehot = (target[:, None] == torch.arange(classes, device=target.device)).to(direction.dtype)
    return torch.cat([onehot.T @ direction, onehot.sum(0)[:, None]], dim=1)
