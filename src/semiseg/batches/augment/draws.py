"""Random numbers of samples: one generator per sample, read together as tensors with one row per sample."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Draws:
    """Rows of random numbers, each row from its own sample's generator.

    Args:
        keys: one tuple per sample, such as ``(seed, "labeled", n, "warp")``; equal keys draw equally.
        device: where the results are wanted.
    """

    def __init__(self, keys: Sequence[tuple[object, ...]], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.seeds = [seed_from(*key) for key in keys]
        self._generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]

    def on(self, device: torch.device | str) -> Draws:
        """The same generators, with results on another device."""
        moved = copy.copy(self)
        moved.device = torch.device(device)
        return moved

    def __len__(self) -> int:
        return len(self._generators)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(B, *shape) uniform in [low, high)."""
        return self._rows(lambda g: torch.rand(shape, generator=g)) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) standard normal, drawn on the device: this one is large."""
        if self.device.type == "cpu":
            return self._rows(lambda g: torch.randn(shape, generator=g))
        rows = []
        for generator in self._generators:
            seed = int(torch.randint(2**62, (), generator=generator))
            on_device = torch.Generator(self.device).manual_seed(seed)
            rows.append(torch.randn(shape, generator=on_device, device=self.device))
        return torch.stack(rows)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """(B, *shape) bool, true with this probability."""
        return self.uniform(0.0, 1.0, *shape) < probability

    def integer(self, high: int) -> int:
        """One integer in [0, high), for a single sample."""
        return int(torch.randint(high, (), generator=self._generators[0]))

    def _rows(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        rows = [draw(g) for g in self._generators]
        return torch.stack(rows).to(self.device, non_blocking=True)


def seed_from(*key: object) -> int:
    """A 63-bit seed from anything printable: stable across processes, machines and Python versions."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
