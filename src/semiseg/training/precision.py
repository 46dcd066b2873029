"""Number formats of the forward passes."""

from __future__ import annotations

import torch
from torch import Tensor

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
