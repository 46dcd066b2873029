"""From networks and a preprocessed image to class probabilities, for validation and prediction alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn

from semiseg.errors import UsageError, unknown_name
from semiseg.inference.accumulate import Slab
from semiseg.inference.slices import predict_slices
from semiseg.inference.window import Predict, Weighting, slabs

VOXELS_PER_FORWARD = {"cpu": 2**18, "cuda": 2**22}
"""Windows are batched up to about this many voxels. Batching large windows gains nothing on a CPU."""

AUTOCAST = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


class InferenceSettings(Protocol):
    """What the predictor reads of the ``inference`` section of a configuration."""

    @property
    def overlap(self) -> float:
        """Share of a window that its neighbor covers too."""

    @property
    def stride(self) -> tuple[int, ...] | None:
        """Voxels between windows, instead of ``overlap``."""

    @property
    def weighting(self) -> Weighting:
        """How overlapping windows are averaged."""

    @property
    def window_batch(self) -> int | None:
        """Windows per forward pass; None chooses for the device."""

    @property
    def slice_size(self) -> tuple[int, int] | None:
        """2D only: predict whole slices resized to this."""


@dataclass(frozen=True)
class Settings:
    """The defaults, for code without a configuration."""

    overlap: float = 0.5
    stride: tuple[int, ...] | None = None
    weighting: Weighting = "gaussian"
    window_batch: int | None = None
    slice_size: tuple[int, int] | None = None


def predict_slabs(
    networks: Sequence[nn.Module],
    image: Tensor,
    *,
    dim: int,
    patch: Sequence[int],
    config: InferenceSettings | None = None,
    mirrored: Sequence[int] = (),
    precision: str = "32",
) -> Generator[Slab, None, None]:
    """Class probabilities of a preprocessed image, averaged over networks (and mirrored views).

    Networks are put into eval mode and given back as they came, so a network in training may be passed.
    Autocast and inference mode are on during the forward passes only, not while the caller has a slab.

    Args:
        networks: one or more on one device, each (B, C, *patch) -> ``SegOutput`` (or plain logits).
        image: (C, T0, T1, T2) on any device.
        dim: 3, or 2 to treat axis T0 as a stack of slices.
        patch: size of every window in voxels, ``dim`` entries: that of the training patches.
        config: sliding window, or ``slice_size`` for whole resized slices.
        mirrored: patch axes along which to average over mirrored views, 2 ** their number in all.
        precision: ``"32"``, or ``"bf16"`` / ``"16"`` for autocast. Probabilities are float32 always.

    Yields:
        Slabs that cover T0 in order, on the networks' device, or on the CPU where they do not fit there.

    Raises:
        UsageError: no network, or sizes that do not fit one another.
        DeviceError: one window does not fit into the device's memory.
    """
    config = config or Settings()
    _check(networks, image, dim, config)
    device = _device(networks)
    size = config.slice_size or tuple(patch)
    batch = config.window_batch or max(1, VOXELS_PER_FORWARD.get(device.type, 2**22) // prod(size))
    forward = _predict(networks, mirrored_views(mirrored), partial(autocasting, device, precision))
    with evaluating(networks):
        if config.slice_size:
            yield from predict_slices(forward, image, size, batch=batch, device=device)
        else:
            yield from slabs(
                forward,
                image,
                size,
                overlap=config.overlap,
                stride=config.stride,
                weighting=config.weighting,
                batch=batch,
                device=device,
            )


def predict_probabilities(
    networks: Sequence[nn.Module],
    image: Tensor,
    *,
    dim: int,
    patch: Sequence[int],
    config: InferenceSettings | None = None,
    mirrored: Sequence[int] = (),
    precision: str = "32",
) -> Tensor:
    """As :func:`predict_slabs`, all at once: (K, T0, T1, T2) float32 on the CPU."""
    parts = predict_slabs(
        networks, image, dim=dim, patch=patch, config=config, mirrored=mirrored, precision=precision
    )
    return torch.cat([slab.probabilities.cpu() for slab in parts], 1)


def mirrored_views(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every combination of patch axes to mirror, none included, as axes of a (B, C, *S) tensor."""
    return [c for n in range(len(axes) + 1) for c in itertools.combinations([a + 2 for a in axes], n)]


@contextmanager
def evaluating(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Eval mode inside; every module's own mode is restored afterwards, frozen parts included."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _predict(
    networks: Sequence[nn.Module],
    flips: Sequence[tuple[int, ...]],
    number_format: Callable[[], AbstractContextManager[object]],
) -> Predict:
    def predict(x: Tensor) -> Tensor:
        with torch.inference_mode(), number_format():
            return mean(x)

    def mean(x: Tensor) -> Tensor:
        total: Tensor | None = None
        for network, axes in itertools.product(networks, flips):
            output = network(x.flip(axes) if axes else x)
            logits: Tensor = output if isinstance(output, Tensor) else output.logits
            probabilities = logits.float().softmax(1)
            probabilities = probabilities.flip(axes) if axes else probabilities
            total = probabilities if total is None else total.add_(probabilities)
        if total is None:
            raise RuntimeError("no network")
        return total.div_(len(networks) * len(flips))

    return predict


def autocasting(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Autocast to ``precision``, or nothing for ``32``.

    Raises:
        UsageError: an unknown precision.
    """
    if precision not in AUTOCAST:
        raise unknown_name("precision", precision, AUTOCAST)
    dtype = AUTOCAST[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def _device(networks: Sequence[nn.Module]) -> torch.device:
    for tensor in itertools.chain(networks[0].parameters(), networks[0].buffers()):
        return tensor.device
    return torch.device("cpu")


def _check(networks: Sequence[nn.Module], image: Tensor, dim: int, config: InferenceSettings) -> None:
    if not networks:
        raise UsageError("prediction needs at least one network", hint="give a model", code="NO_MODEL")
    if image.ndim != 4:
        raise UsageError(
            f"prediction wants an image (C, T0, T1, T2), got shape {tuple(image.shape)}",
            hint="put the channels first; a 2D image has T0 = 1",
        )
    if config.slice_size and dim != 2:
        raise UsageError("inference.slice_size is for 2D plans; this plan is 3D", hint="leave it out")
