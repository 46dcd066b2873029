"""From networks and a preprocessed image to class probabilities, and how sure they are, voxel by voxel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semiseg.errors import UsageError, unknown_name
from semiseg.inference.accumulate import Slab
from semiseg.inference.window import Predict, slabs
from semiseg.settings.config import InferenceConfig

VOXELS_PER_FORWARD = {"cpu": 2**18, "cuda": 2**22}
"""Windows are batched up to about this many voxels. Batching large windows gains nothing on a CPU."""

AUTOCAST = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


def _softmax(logits: Tensor) -> Tensor:
    return logits.float().softmax(1)


def predict_slabs(
    networks: Sequence[nn.Module],
    image: Tensor,
    *,
    dim: int,
    patch: Sequence[int],
    config: InferenceConfig | None = None,
    mirrored: Sequence[int] = (),
    precision: str = "32",
    probabilities: Callable[[Tensor], Tensor] = _softmax,
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
        probabilities: logits (B, K, *S) -> probabilities, float32.

    Yields:
        Slabs that cover T0 in order, on the networks' device, or on the CPU where they do not fit there.

    Raises:
        UsageError: no network, or sizes that do not fit one another.
        DeviceError: one window does not fit into the device's memory.
    """
    config = config or InferenceConfig()
    _check(networks, image, dim, config)
    device = _device(networks)
    size = config.slice_size or tuple(patch)
    batch = config.window_batch or max(1, VOXELS_PER_FORWARD.get(device.type, 2**22) // math.prod(size))
    views, number_format = mirrored_views(mirrored), partial(autocasting, device, precision)
    forward = _predict(networks, views, number_format, probabilities)
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


def predict_probabilities(networks: Sequence[nn.Module], image: Tensor, **options: Any) -> Tensor:
    """As :func:`predict_slabs`, all at once: (K, T0, T1, T2) float32 on the CPU."""
    return torch.cat([slab.probabilities.cpu() for slab in predict_slabs(networks, image, **options)], 1)


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
    activate: Callable[[Tensor], Tensor],
) -> Predict:
    def predict(x: Tensor) -> Tensor:
        with torch.inference_mode(), number_format():
            return mean(x)

    def mean(x: Tensor) -> Tensor:
        total: Tensor | None = None
        for network, axes in itertools.product(networks, flips):
            output = network(x.flip(axes) if axes else x)
            logits: Tensor = output if isinstance(output, Tensor) else output.logits
            probabilities = activate(logits)
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
    tensors = itertools.chain(networks[0].parameters(), networks[0].buffers(), [torch.zeros(0)])
    return next(tensors).device


def _check(networks: Sequence[nn.Module], image: Tensor, dim: int, config: InferenceConfig) -> None:
    if not networks:
        raise UsageError("prediction needs at least one network", hint="give a model", code="NO_MODEL")
    if image.ndim != 4:
        raise UsageError(
            f"prediction wants an image (C, T0, T1, T2), got shape {tuple(image.shape)}",
            hint="put the channels first; a 2D image has T0 = 1",
        )
    if config.slice_size and dim != 2:
        raise UsageError("inference.slice_size is for 2D plans; this plan is 3D", hint="leave it out")


def nearest_index(old: int, new: int) -> Tensor:
    """Which of ``old`` samples each of ``new`` samples takes, when the end points are kept in place.

    The coordinate rule of an order-0 ``scipy.ndimage.zoom``: sample i reads i * (old - 1) / (new - 1),
    rounded half up. (new,) int64.
    """
    if new == 1:
        return torch.zeros(1, dtype=torch.int64)
    scale = (old - 1) / (new - 1)
    index = np.floor(np.arange(new) * scale + 0.5).astype(np.int64)
    return torch.from_numpy(np.minimum(index, old - 1))


def resize_nearest(images: Tensor, size: Sequence[int]) -> Tensor:
    """(A, B, H, W) to (A, B, *size) by picking samples; the same tensor when nothing changes."""
    for axis, new in enumerate(size, start=images.ndim - len(size)):
        old = images.shape[axis]
        if old != new:
            images = images.index_select(axis, nearest_index(old, new).to(images.device))
    return images


def predict_slices(
    predict: Predict,
    image: Tensor,
    size: Sequence[int],
    *,
    batch: int = 1,
    device: torch.device | None = None,
) -> Generator[Slab, None, None]:
    """Resize each slice to ``size`` (nearest), predict it whole, and resize the result back (nearest).

    Picking samples commutes with argmax, so labels taken from the result are those of the scripts of SSL4MIS
    for ACDC (Luo, 2020), which resize label slices. A slice that has the size already is not resampled.
    Arguments as in :func:`semiseg.inference.window.slabs`.
    """
    for slab in slabs(predict, resize_nearest(image, size), size, batch=batch, device=device):
        yield Slab(slab.start, resize_nearest(slab.probabilities, image.shape[2:]))


def entropy(probabilities: Tensor, dim: int = 0, *, regions: bool = False) -> Tensor:
    """Entropy over the classes divided by ln K: 0 is certain, 1 is uniform. Of regions the mean over them.

    With an ensemble or mirroring, ``probabilities`` are the mean over members, so that disagreement counts as
    uncertainty (predictive entropy).

    Args:
        probabilities: (K, *S), or the K classes along ``dim``; in [0, 1], summing to 1.
        dim: the class axis.
        regions: each channel has an entropy of its own, that of p and 1 - p.

    Returns:
        The shape without ``dim``, float32, in [0, 1].
    """
    if regions:
        pairs = torch.stack([probabilities, 1 - probabilities])
        return entropy(pairs).mean(dim)
    classes = probabilities.shape[dim]
    if classes < 2:
        return torch.zeros_like(probabilities.select(dim, 0))
    # torch.special.entr(p) = -p ln p, with 0 at p = 0
    nats: Tensor = torch.special.entr(probabilities.float()).sum(dim)
    return (nats / math.log(classes)).clamp_(0, 1)
