"""Number formats: bf16 where the hardware has it, and a self-check on the real network before it is trusted.

Convolution gradients in bf16 can be garbage on some CPUs for very small feature maps (inf or NaN was seen for
maps of 2 voxels per axis). So the gradients of the first batch are compared with float32 before training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semiseg.core import Batch
from semiseg.losses import dice_ce

TRIALS = 3
"""Garbage comes and goes from call to call, so the low-precision gradient is taken this many times."""

PATCHES = 2
"""More would take, in float32, more memory than the training itself."""

TOLERANCE = 0.25
"""Largest accepted relative error of the whole gradient vector; healthy networks stay below 0.1."""

_DTYPES = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


class Precision:
    """Autocast for forward passes, and the loss scaler that float16 needs.

    Args:
        name: ``32``, ``bf16`` or ``16``.
        device: where the networks are.
    """

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


def gradient_error(network: nn.Module, batch: Batch, precision: Precision) -> float:
    """``|g - g32| / |g32|`` of the supervised loss on two labeled patches; inf if any gradient is not finite.

    Runs in eval mode (no dropout, no change to running statistics) and leaves the network as it was. The
    worst of a few trials counts; above :data:`TOLERANCE` the precision should not be used.
    """
    was_training = network.training
    network.eval()
    try:
        exact = _gradient(network, batch, Precision("32", precision.device))
        trials = [_gradient(network, batch, precision) for _ in range(TRIALS)]
    finally:
        network.train(was_training)
        network.zero_grad(set_to_none=True)
    scale = exact.norm().clamp_min(1e-12)
    return max(float(((trial - exact).norm() / scale).nan_to_num(torch.inf)) for trial in trials)


def _gradient(network: nn.Module, batch: Batch, precision: Precision) -> Tensor:
    network.zero_grad(set_to_none=True)
    with torch.enable_grad(), precision.autocast():
        loss = dice_ce(network(batch.x_l[:PATCHES]).logits, batch.y_l[:PATCHES])
    torch.autograd.backward(loss)
    return torch.cat([p.grad.flatten().float() for p in network.parameters() if p.grad is not None])
