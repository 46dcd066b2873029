"""The running sum of window probabilities: on the device while it fits, else in main memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from semiseg.errors import DeviceError

log = logging.getLogger("semiseg.inference")

SHARE_OF_FREE_MEMORY = 0.5
"""The sums may take this share of a GPU's free memory; the forward passes need the rest."""

Place = tuple[int, tuple[slice, ...]]
"""Which image, and where in it (class axis included)."""


class Accumulator:
    """Weighted sums of probabilities, (N, K, *S) float32, allocated when K is known.

    Args:
        images: N.
        size: ``*S``.
        weight: (*patch) float32, or None when one window covers everything and nothing is to be averaged.
        device: where the sums are kept while they fit.
    """

    def __init__(self, images: int, size: Sequence[int], weight: Tensor | None, device: torch.device) -> None:
        self._images = images
        self._size = tuple(size)
        self._weight = weight
        self._wanted = device
        self._sum: Tensor | None = None

    def add(self, probabilities: Tensor, places: Sequence[Place]) -> None:
        """Add a batch of windows, (B, K, *patch), each at its place."""
        total = self._allocated(probabilities.shape[1])
        probabilities = probabilities.to(total.device)
        if self._weight is None:
            for window, (n, _) in zip(probabilities, places, strict=True):
                total[n] = window
            return
        weight = self._weight = self._weight.to(total.device)
        for window, (n, where) in zip(probabilities, places, strict=True):
            total[n][where].addcmul_(window, weight)

    def divide(self, sums: Sequence[Tensor]) -> None:
        """Turn sums into means, given the weight that each voxel received along each axis."""
        total = self.result()
        last = len(sums) - 1
        for axis, vector in enumerate(sums):
            total /= vector.to(total.device).reshape(-1, *([1] * (last - axis)))

    def make_room(self, batch: int) -> int:
        """After running out of memory: fewer windows at once, then the sums moved to main memory.

        Returns:
            The batch size to go on with.

        Raises:
            DeviceError: nothing is left to give.
        """
        if self._wanted.type == "cuda":
            torch.cuda.empty_cache()
        if batch > 1:
            log.warning("out of memory with %d windows at once, going on with %d", batch, batch // 2)
            return batch // 2
        if self._wanted.type != "cpu":
            log.warning("out of memory, keeping the probabilities in main memory")
            self._wanted = torch.device("cpu")
            self._sum = None if self._sum is None else self._sum.cpu()
            return batch
        raise DeviceError(
            "one single window does not fit into memory",
            hint="use a smaller patch (a new plan), fewer networks, or --device cpu",
            code="OUT_OF_MEMORY",
        )

    def result(self) -> Tensor:
        """The sums as they are."""
        if self._sum is None:
            raise RuntimeError("nothing was added")
        return self._sum

    def _allocated(self, classes: int) -> Tensor:
        if self._sum is None:
            shape = (self._images, classes, *self._size)
            device = self._wanted
            if device.type == "cuda":
                free, _ = torch.cuda.mem_get_info(device)
                if 4 * torch.Size(shape).numel() > SHARE_OF_FREE_MEMORY * free:
                    log.info(
                        "probabilities of %s do not fit on %s, keeping them in main memory", shape, device
                    )
                    device = self._wanted = torch.device("cpu")
            self._sum = torch.zeros(shape, dtype=torch.float32, device=device)
        return self._sum
